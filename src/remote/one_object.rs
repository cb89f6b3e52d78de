//! A prefix without objects: it may be the key of one object, or misspelled.

use crate::{
    error::{Cause, Result},
    model::{bucket_url::BucketUrl, similar::similar},
    remote::{entry::ListedEntry, level::list_level, listing::Listing},
    s3::Client,
};

/// The most pages of one level that are searched.
const MAX_PAGES: usize = 10;

/// The most directories above a prefix that are searched for one that exists.
const MAX_LEVELS: usize = 10;

/// The object whose key is the prefix of `bucket`, without the `/` at its end: its directory, and a
/// listing of this object only, with its path there. A prefix that was written with that `/` is no key.
pub(crate) fn find_object(
    client: &Client,
    bucket: &BucketUrl,
) -> Result<Option<(BucketUrl, Listing)>> {
    let Some((dir, name)) = bucket.as_key().filter(|_| bucket.may_be_key()) else {
        return Ok(None);
    };
    // A HEAD would need another permission, and some stores respond to one for a directory.
    let level = match list_level(client, &dir, name, MAX_PAGES) {
        // The user may only be allowed to list what is below the prefix.
        Err(error)
            if matches!(error.cause(), Cause::S3 { status: 403, .. }) && !error.is_fatal() =>
        {
            return Ok(None);
        }
        level => level?,
    };
    let found = level.entries.into_iter().find_map(|entry| match entry {
        ListedEntry::Object(object, archived) if *object.path == *name => Some((object, archived)),
        _ => None,
    });
    Ok(found.map(|(object, archived)| {
        let archived = archived.map(|class| (object.path.clone(), class)).into_iter().collect();
        (dir, Listing { objects: vec![object], skipped: Vec::new(), archived })
    }))
}

/// Why a run that needs objects cannot start, with the names that may be meant.
/// `can_be_allowed`: see [`Cause::NoObjects`].
///
/// # Errors
/// The search was cancelled. Other errors do not matter: the user may not be allowed to list the
/// directories above the prefix.
pub(crate) fn no_objects(
    client: &Client,
    bucket: &BucketUrl,
    can_be_allowed: bool,
) -> Result<Cause> {
    match find_similar(client, bucket) {
        Err(error) if error.is_interrupted() => Err(error),
        found => {
            let (directory, similar) = found.ok().flatten().unzip();
            let similar = similar.unwrap_or_default();
            Ok(Cause::NoObjects { similar, directory, can_be_allowed })
        }
    }
}

/// The closest directory above the prefix that exists, and the URLs of the names in it that are similar to
/// that in the prefix.
fn find_similar(client: &Client, bucket: &BucketUrl) -> Result<Option<(String, Vec<String>)>> {
    let mut wrong = bucket.clone();
    for _ in 0..MAX_LEVELS {
        let Some((dir, name)) = wrong.as_key() else { break };
        let level = list_level(client, &dir, "", MAX_PAGES)?;
        if !level.is_empty() {
            let objects = level.entries.iter().filter_map(|entry| entry.object());
            let names = objects.map(|object| &*object.path);
            let names = names.chain(level.dirs.iter().map(String::as_str));
            let url = |name: &str| format!("s3://{}/{}", dir.bucket(), dir.key(name));
            let similar = similar(name, names).into_iter().map(url).collect();
            return Ok(Some((dir.to_string(), similar)));
        }
        wrong = dir;
    }
    Ok(None)
}
