//! A restore or verification whose prefix has no objects: it may be the key of one.
//!
//! Such a run is about this object only. The directory of the object in the bucket takes the place of the
//! prefix, and everything else in the local directory is left out, so nothing there is deleted.

use std::{borrow::Cow, mem};

use crate::{
    config::Config,
    error::{Error, Result},
    local::{FoundMarker, Marker, Scan},
    model::{bucket_url::BucketUrl, direction::Direction},
    plan::{markers_of_one, select_one},
    remote::{self, Listing},
    s3::Client,
};

/// What a prefix without objects is.
pub(crate) enum Found {
    /// The key of an object: its directory, and a listing of the object only, with its path there.
    Object(BucketUrl, Listing),
    /// Nothing, which the guards allow.
    Nothing,
    /// Nothing, which is an error.
    Missing(Error),
}

/// Finds out what a prefix without objects is. Without a `direction`, for a verification.
pub(crate) fn find(
    client: &Client,
    config: &Config,
    direction: Option<Direction>,
) -> Result<Found> {
    let bucket = &config.bucket;
    if let Some((dir, listing)) = remote::find_object(client, bucket)? {
        return Ok(Found::Object(dir, listing));
    }
    // The name of a bucket that exists is not misspelled.
    if config.guards.allow_empty || bucket.prefix().is_empty() {
        return Ok(Found::Nothing);
    }
    let action = if direction.is_some() { "restore" } else { "verify" };
    let cause = remote::no_objects(client, bucket, true)?;
    Ok(Found::Missing(Error::new(action, bucket.to_string(), cause)))
}

impl Found {
    /// The listing of the run, the directory of the object, and the error. Leaves in the scan what the run
    /// is about.
    pub(crate) fn select(
        self,
        direction: Option<Direction>,
        scan: &mut Scan,
        read_markers: &dyn Fn(&[FoundMarker]) -> Result<Vec<Marker>>,
    ) -> Result<(Listing, Option<BucketUrl>, Option<Error>)> {
        let (dir, listing) = match self {
            Found::Object(dir, listing) => (dir, listing),
            Found::Nothing => return Ok((Listing::default(), None, None)),
            Found::Missing(error) => return Ok((Listing::default(), None, Some(error))),
        };
        let is_restore = direction == Some(Direction::Restore);
        let path = listing.objects.first().map_or("", |object| &object.path);
        select_one(scan, path, is_restore);
        let markers = mem::take(&mut scan.markers);
        if is_restore && !markers.is_empty() {
            let read = read_markers(&markers)?;
            scan.markers = markers_of_one(markers, &read, path);
        }
        Ok((listing, Some(dir), None))
    }
}

/// The configuration of a run, which is about one object only if its directory is given. Then there is no
/// record: it would be that of another prefix.
pub(crate) fn run_config<'a>(
    config: &'a Config,
    one_object_in: Option<&BucketUrl>,
) -> Cow<'a, Config> {
    match one_object_in {
        None => Cow::Borrowed(config),
        Some(dir) => Cow::Owned(Config { bucket: dir.clone(), record: None, ..config.clone() }),
    }
}
