//! Asking the target whether it has an entry under another spelling of its name.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use crate::{
    cancel::Cancel,
    error::{Error, Result},
    model::{bucket_url::BucketUrl, etag::ETag},
    plan::Candidate,
    s3::Client,
    worker_pool,
};

/// Asks the store for each file whether it finds the object of the other name. One HEAD for each pair of
/// different names: files below a renamed directory share one.
///
/// The first file that the store does not find ends this, so a store that does not fold names costs one
/// request. The remaining files count as different from the objects. That is always safe: they are
/// uploaded, and before the object of the other name is deleted, the bucket is listed again.
///
/// # Errors
/// A request failed with a fatal error, or the run was cancelled.
pub(crate) fn find_same_objects(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    candidates: &[Candidate],
    cancel: &Cancel,
) -> Result<Vec<bool>> {
    let mut questions: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let names = different_part(&candidate.file.path, &candidate.other);
        questions.entry(names).or_default().push(index);
    }
    let mut is_same = vec![false; candidates.len()];
    let fatal: RefCell<Option<Error>> = RefCell::new(None);
    let is_over = Cell::new(false);
    let workers = workers.min(questions.len());
    if workers == 0 {
        return Ok(is_same);
    }
    client.start_phase(workers);
    let limit = || client.limit();
    let ask = |indices: Vec<usize>| {
        let candidate = indices.first().map(|index| &candidates[*index]);
        let answer = candidate.map(|candidate| is_same_object(client, bucket, candidate));
        (indices, answer.unwrap_or(Ok(false)))
    };
    let mut done = |(indices, answer): (Vec<usize>, Result<bool>)| match answer {
        Ok(true) => indices.into_iter().for_each(|index| is_same[index] = true),
        Ok(false) => is_over.set(true),
        Err(error) => {
            is_over.set(true);
            if error.is_fatal() {
                fatal.borrow_mut().get_or_insert(error);
            }
        }
    };
    let mut questions =
        questions.into_values().take_while(|_| !cancel.is_cancelled() && !is_over.get());
    // Most stores do not fold names. So the first one alone, then many at a time.
    for first in [true, false] {
        let count = if first { 1 } else { usize::MAX };
        let next = questions.by_ref().take(count);
        worker_pool::for_each(workers, &limit, next, &ask, &mut done);
    }
    cancel.check()?;
    fatal.into_inner().map_or(Ok(is_same), Err)
}

fn is_same_object(client: &Client, bucket: &BucketUrl, candidate: &Candidate) -> Result<bool> {
    let object = &candidate.object;
    let head = client.head(&bucket.key(&object.path))?;
    let is_same_size = head.size.is_none_or(|size| size == object.size);
    let is_same_etag = match (&head.etag, &object.etag) {
        (ETag::None, _) | (_, ETag::None) => true,
        (found, listed) => found == listed,
    };
    Ok(is_same_size && is_same_etag)
}

/// Two paths without the names at their ends that are equal.
fn different_part<'a, 'b>(a: &'a str, b: &'b str) -> (&'a str, &'b str) {
    let (mut a, mut b) = (a, b);
    while let (Some((a_dirs, a_name)), Some((b_dirs, b_name))) =
        (a.rsplit_once('/'), b.rsplit_once('/'))
        && a_name == b_name
    {
        (a, b) = (a_dirs, b_dirs);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_a_renamed_directory_share_the_different_part() {
        assert_eq!(different_part("photos/a/b", "Photos/a/b"), ("photos", "Photos"));
        assert_eq!(different_part("x/photos/a", "x/Photos/a"), ("x/photos", "x/Photos"));
        assert_eq!(different_part("x/a", "x/A"), ("x/a", "x/A"));
        assert_eq!(different_part("x\\a", "x/a"), ("x\\a", "x/a"));
        assert_eq!(different_part("a", "A"), ("a", "A"));
    }
}
