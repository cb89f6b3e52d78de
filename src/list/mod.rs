//! The remote side: every object under the prefix of the run.
//!
//! A listing is whole or an error. A key that a listing lost would be deleted locally by a restore, so
//! what looks wrong (a page that repeats, a key that comes twice) ends the run.

mod ranges;

use std::sync::OnceLock;

use self::ranges::Ranges;
use crate::{
    entry::{Object, SkipReason, Skipped},
    error::{Cause, Error, Result},
    names::{self, BucketUrl},
    pool::drive,
    s3::{Client, ListFrom, Listed},
    scan::Scan,
};

/// What was found in the bucket, in tree order.
#[derive(Debug, Default)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Object>,
    /// What can't be a file. It shields whatever stands at and under its path on the other side.
    pub skipped: Vec<Skipped>,
}

/// How many ranges are listed side by side at most: what a page costs to read keeps a processor busy
/// long before the network is.
const RANGES: usize = 32;

/// Lists the objects of `bucket`: one request per 1,000; `in_ranges`, if it may. Once `scan` is there, its
/// files say where to cut; where it turns out that there is none, the listing is given up.
///
/// Zero-byte `name/` objects, the directory markers of other tools, are passed over.
pub(crate) fn list(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    in_ranges: bool,
    scan: &OnceLock<Option<Scan>>,
) -> Result<Listing> {
    let fail = |why: &str| Error::new("list", bucket.to_string(), Cause::Malformed(why.to_owned()));
    let page = |(id, from): (usize, ListFrom)| (id, page(client, bucket, &from));
    let workers = workers.min(RANGES);
    client.begin(workers);
    let limit = || client.limit();
    let mut ranges = Ranges::new(scan, in_ranges, &limit);
    drive(workers, &mut ranges, &page);
    if ranges.failed.is_none() && !ranges.are_whole() {
        ranges = Ranges::new(scan, false, &limit);
        drive(1, &mut ranges, &page);
    }
    if let Some(error) = ranges.failed {
        return Err(error);
    }
    if ranges.repeats {
        return Err(fail("the listing repeats a page"));
    }
    let mut listing = Listing::default();
    let count = ranges.pages().map(Vec::len).sum();
    listing.objects.reserve_exact(count);
    for found in ranges.ranges.into_iter().flat_map(|range| range.pages).flatten() {
        match found {
            Found::Object(object) => listing.objects.push(object),
            Found::Other(_, skipped) => listing.skipped.extend(skipped),
        }
    }
    // Not every store lists in byte order, and byte order is not tree order.
    listing.objects.sort_unstable_by(|a, b| names::tree_order(&a.path, &b.path));
    if listing.objects.windows(2).any(|pair| pair[0].path == pair[1].path) {
        return Err(fail("the listing names a key twice"));
    }
    Ok(listing)
}

/// What stands under one key.
enum Found {
    Object(Object),
    /// A key that is no file's, without the prefix, and what there is to say of it.
    Other(Box<[u8]>, Option<Skipped>),
}

impl Found {
    fn new(listed: Listed, prefix: &str) -> Option<Found> {
        let Listed { key, size, modified, etag } = listed;
        let key = match key {
            Ok(key) => key,
            Err(bytes) => {
                let path = bytes.strip_prefix(prefix.as_bytes())?;
                let shown = String::from_utf8_lossy(path).into_owned();
                let skipped = Skipped { path: shown, reason: SkipReason::NotUtf8 };
                return Some(Found::Other(path.into(), Some(skipped)));
            }
        };
        let path = key.strip_prefix(prefix)?;
        if size == 0 && (path.is_empty() || path.ends_with('/')) {
            return Some(Found::Other(path.as_bytes().into(), None));
        }
        Some(match names::unfit(path, prefix.len()) {
            Some(unfit) => {
                let reason = SkipReason::Name(unfit);
                let skipped = Skipped { path: path.to_owned(), reason };
                Found::Other(path.as_bytes().into(), Some(skipped))
            }
            None => Found::Object(Object { path: path.into(), size, modified, etag }),
        })
    }

    fn path(&self) -> &[u8] {
        match self {
            Found::Object(object) => object.path.as_bytes(),
            Found::Other(path, _) => path,
        }
    }
}

struct Page {
    found: Vec<Found>,
    next: Option<String>,
}

fn page(client: &Client, bucket: &BucketUrl, from: &ListFrom) -> Result<Page> {
    let prefix = bucket.prefix();
    let page = client.list_page(prefix, from)?;
    let found = page.objects.into_iter().map(|listed| Found::new(listed, prefix));
    let found: Option<Vec<Found>> = found.collect();
    let found = found.ok_or_else(|| {
        let why = "a key that does not begin with the prefix";
        Error::new("list", bucket.to_string(), Cause::Malformed(why.to_owned()))
    })?;
    Ok(Page { found, next: page.next })
}
