//! The remote side: every object under the prefix of the run.
//!
//! A listing is whole or an error. A key that a listing lost would be deleted locally by a restore, so
//! what looks wrong (a page that repeats, a key that comes twice) ends the run.

use std::collections::HashSet;

use crate::{
    entry::{Object, SkipReason, Skipped},
    error::{Cause, Error, Result},
    names::{self, BucketUrl},
    s3::Client,
};

/// What was found in the bucket, in tree order.
#[derive(Debug, Default)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Object>,
    /// What can't be a file. It shields whatever stands at and under its path on the other side.
    pub skipped: Vec<Skipped>,
}

/// Lists the objects of `bucket`, page after page: one request per 1,000.
///
/// Zero-byte `name/` objects, the directory markers of other tools, are passed over.
pub(crate) fn list(client: &Client, bucket: &BucketUrl) -> Result<Listing> {
    let fail = |why: &str| Error::new("list", bucket.to_string(), Cause::Malformed(why.to_owned()));
    let mut listing = Listing::default();
    let mut token: Option<String> = None;
    let mut seen = HashSet::new();
    loop {
        let page = client.list_page(bucket.prefix(), token.as_deref())?;
        for listed in page.objects {
            let key = match listed.key {
                Ok(key) => key,
                Err(bytes) => {
                    let path = bytes.strip_prefix(bucket.prefix().as_bytes()).unwrap_or(&bytes);
                    let path = String::from_utf8_lossy(path).into_owned();
                    listing.skipped.push(Skipped { path, reason: SkipReason::NotUtf8 });
                    continue;
                }
            };
            let path = key
                .strip_prefix(bucket.prefix())
                .ok_or_else(|| fail("a key that does not begin with the prefix"))?;
            if listed.size == 0 && (path.is_empty() || path.ends_with('/')) {
                continue;
            }
            match names::unfit(path, bucket.prefix().len()) {
                Some(unfit) => listing
                    .skipped
                    .push(Skipped { path: path.to_owned(), reason: SkipReason::Name(unfit) }),
                None => listing.objects.push(Object {
                    path: path.into(),
                    size: listed.size,
                    modified: listed.modified,
                    etag: listed.etag,
                }),
            }
        }
        token = match page.next {
            None => break,
            Some(next) if !seen.insert(next.clone()) => {
                return Err(fail("the listing repeats a page"));
            }
            next => next,
        };
    }
    // Not every store lists in byte order, and byte order is not tree order.
    listing.objects.sort_unstable_by(|a, b| names::tree_order(&a.path, &b.path));
    if listing.objects.windows(2).any(|pair| pair[0].path == pair[1].path) {
        return Err(fail("the listing names a key twice"));
    }
    Ok(listing)
}
