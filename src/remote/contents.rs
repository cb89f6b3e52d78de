//! What `ls` and `du` list: every key, also those that cannot be files.

use std::sync::OnceLock;

use crate::{
    error::{Error, Result},
    local::Scan,
    model::{bucket_url::BucketUrl, contents::Contents, found::Found},
    remote::{
        level::list_level,
        listing::fetch_entries,
        one_object::{find_object, no_objects},
    },
    s3::Client,
};

/// Lists one level of `bucket`, or everything below it. If its prefix is the key of an object, lists that
/// object.
///
/// # Errors
/// Among others, there is no object below the prefix. A whole bucket may be empty.
pub(crate) fn list_contents(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    is_recursive: bool,
    found: &Found,
) -> Result<Contents> {
    let (entries, dirs) = if is_recursive {
        let scan = OnceLock::from(Some(Scan::default()));
        let may_use_ranges = client.lists_in_byte_order();
        let pages = fetch_entries(client, bucket, workers, may_use_ranges, &scan, found)?;
        (pages.into_iter().flatten().collect(), Vec::new())
    } else {
        let level = list_level(client, bucket, "", usize::MAX)?;
        (level.entries, level.dirs)
    };
    if entries.is_empty() && dirs.is_empty() && bucket.prefix().is_empty() {
        return Ok(Contents::new(bucket.clone(), Vec::new(), Vec::new(), is_recursive));
    }
    if entries.is_empty() && dirs.is_empty() {
        return match find_object(client, bucket)? {
            Some((dir, listing)) => {
                Ok(Contents::new(dir, listing.objects, Vec::new(), is_recursive))
            }
            None => Err(Error::new("list", bucket.to_string(), no_objects(client, bucket, false)?)),
        };
    }
    let (mut objects, mut dirs) = (Vec::new(), dirs);
    for entry in entries {
        match entry.into_object() {
            // A store that ignores the delimiter lists all levels.
            Ok(object) if !is_recursive && object.path.contains('/') => {
                dirs.push(first_directory(&object.path));
            }
            Ok(object) => objects.push(object),
            // The marker of the prefix itself.
            Err(marker) if marker.is_empty() => {}
            Err(marker) if is_recursive => dirs.push(marker),
            Err(marker) => dirs.push(first_directory(&marker)),
        }
    }
    Ok(Contents::new(bucket.clone(), objects, dirs, is_recursive))
}

/// The outermost directory of a path, with a `/` at its end.
fn first_directory(path: &str) -> String {
    path.split_inclusive('/').next().unwrap_or_default().to_owned()
}
