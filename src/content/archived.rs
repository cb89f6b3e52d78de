//! Which archived objects can be read nevertheless, where the listing does not say it.
//!
//! AWS lists whether an object was retrieved. Other stores have only the headers of each object, and some
//! use the name of an archive class for a class whose objects can always be read. Of many objects, samples
//! decide whether each one is asked for: an archive of a million objects costs a thousand requests.

use std::cell::RefCell;

use crate::{
    cancel::Cancel,
    error::{Error, Result},
    model::{archive_class::ArchiveClass, bucket_url::BucketUrl, entry::Object},
    plan::Archived,
    s3::Client,
    worker_pool,
};

/// The most objects of a storage class that are asked for before one of them was found to be retrieved.
const SAMPLES: usize = 1_000;

/// Removes the objects from `archived` that can be read. Only `objects` matter.
///
/// # Errors
/// A request failed with a fatal error, or the run was cancelled.
pub(crate) fn remove_readable(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    archived: &mut Archived,
    objects: &[&Object],
    cancel: &Cancel,
) -> Result<()> {
    if client.lists_restore_status() {
        return Ok(());
    }
    for class in [ArchiveClass::Glacier, ArchiveClass::DeepArchive] {
        let is_in_class = |object: &&Object| archived.get(&object.path) == Some(&class);
        let objects: Vec<&Object> = objects.iter().copied().filter(is_in_class).collect();
        for path in find_readable(client, bucket, workers, &objects, cancel)? {
            archived.remove(path);
        }
    }
    Ok(())
}

/// The paths of those `objects`, all of one class, that can be read.
fn find_readable<'a>(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    objects: &[&'a Object],
    cancel: &Cancel,
) -> Result<Vec<&'a str>> {
    let Some(first) = objects.first() else { return Ok(Vec::new()) };
    let (mut samples, mut rest) = (Vec::new(), Vec::new());
    let step = objects.len().div_ceil(SAMPLES);
    for (n, object) in objects.iter().enumerate() {
        if n % step == 0 { samples.push(*object) } else { rest.push(*object) }
    }
    let retrieved = RefCell::new(Vec::new());
    let fatal: RefCell<Option<Error>> = RefCell::new(None);
    let workers = workers.min(objects.len());
    client.start_phase(workers);
    let limit = || client.limit();
    let ask = |object: &'a Object| (object, client.is_retrieved(&bucket.key(&object.path)));
    for objects in [samples, rest] {
        let objects =
            objects.into_iter().take_while(|_| !cancel.is_cancelled() && fatal.borrow().is_none());
        worker_pool::for_each(workers, &limit, objects, &ask, |(object, answer)| match answer {
            Ok(true) => retrieved.borrow_mut().push(&*object.path),
            Ok(false) => {}
            Err(error) if error.is_fatal() => {
                fatal.borrow_mut().get_or_insert(error);
            }
            // The object is then skipped as archived.
            Err(_) => {}
        });
        if retrieved.borrow().is_empty() {
            break;
        }
    }
    cancel.check()?;
    if let Some(error) = fatal.into_inner() {
        return Err(error);
    }
    let retrieved = retrieved.into_inner();
    if retrieved.is_empty() && is_readable(client, bucket, first)? {
        // The store serves this class like any other.
        return Ok(objects.iter().map(|object| &*object.path).collect());
    }
    Ok(retrieved)
}

fn is_readable(client: &Client, bucket: &BucketUrl, object: &Object) -> Result<bool> {
    match client.is_readable(&bucket.key(&object.path), object.size) {
        Err(error) if error.is_fatal() => Err(error),
        answer => Ok(answer.unwrap_or(false)),
    }
}
