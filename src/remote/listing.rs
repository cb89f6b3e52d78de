//! Listing all objects under the prefix of the run.
//!
//! A listing is complete, or an error. A restore would delete the file of every key that is missing
//! in it, so a sign of an incomplete listing (a repeated page, a key that is listed twice with
//! different data) ends the run. A key that is listed twice with the same data counts once: some stores
//! repeat one at the end of a page.
//!
//! A page has at most 1,000 keys, and the next page can only be requested with a token from it. A
//! single sequence of pages therefore takes a round trip per page. To list a large bucket faster,
//! several parts of it are listed at the same time: [`ranges`](crate::remote::ranges) if the order
//! of the store is known or a lost key does no harm, and [`prefixes`](crate::remote::prefixes)
//! otherwise.

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use crate::{
    error::{Cause, Error, Result},
    local::Scan,
    model::{
        archive_class::ArchiveClass, bucket_url::BucketUrl, entry::Object, found::Found, paths,
        skip::Skipped,
    },
    remote::{
        entry::ListedEntry,
        pages::{MAX_IN_FLIGHT, Page, PageRequest, Pages},
        prefixes::Prefixes,
        ranges::Ranges,
    },
    s3::{Client, ListFrom, Listed},
    worker_pool,
};

/// The keys under the prefix of the run. `objects` is in tree order.
#[derive(Debug, Default)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Object>,
    /// The keys that cannot be files. Each protects everything at and below its path on the other
    /// side.
    pub skipped: Vec<Skipped>,
    /// The paths and storage classes of the objects that cannot be read.
    pub archived: HashMap<Box<str>, ArchiveClass>,
}

/// Lists the objects of `bucket` with one request per 1,000 objects, and a few more where that
/// saves time.
///
/// `may_use_ranges` allows ranges. Once `scan` is set, its files show where to divide them. If it
/// is set to `None`, the scan has failed, and the listing ends as interrupted. `found` counts the entries.
///
/// Zero-byte `name/` objects, the directory markers of other tools, are ignored. `None` if there is not
/// even one of these.
pub(crate) fn list(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    may_use_ranges: bool,
    scan: &OnceLock<Option<Scan>>,
    found: &Found,
) -> Result<Option<Listing>> {
    let received = fetch_entries(client, bucket, workers, may_use_ranges, scan, found)?;
    if received.is_empty() {
        return Ok(None);
    }
    let mut listing = Listing::default();
    listing.objects.reserve_exact(received.iter().map(Vec::len).sum());
    for entry in received.into_iter().flatten() {
        match entry {
            ListedEntry::Object(object, archived) => {
                listing.archived.extend(archived.map(|class| (object.path.clone(), class)));
                listing.objects.push(object);
            }
            ListedEntry::Skipped(key) => listing.skipped.push(key.skipped),
            ListedEntry::Marker(_) => {}
        }
    }
    // Not every store lists in byte order, and byte order is not tree order.
    listing.objects.sort_unstable_by(|a, b| paths::tree_order(&a.path, &b.path));
    let is_same = |b: &mut Object, a: &mut Object| b == a;
    listing.objects.dedup_by(is_same);
    let mut paths = HashSet::new();
    listing.skipped.retain(|skipped| paths.insert(skipped.path.clone()));
    if listing.objects.windows(2).any(|pair| pair[0].path == pair[1].path) {
        return Err(malformed(bucket, "the listing contains a key twice"));
    }
    Ok(Some(listing))
}

/// Fetches all pages, each with at least one entry.
pub(super) fn fetch_entries(
    client: &Client,
    bucket: &BucketUrl,
    workers: usize,
    may_use_ranges: bool,
    scan: &OnceLock<Option<Scan>>,
    found: &Found,
) -> Result<Vec<Vec<ListedEntry>>> {
    let workers = workers.min(MAX_IN_FLIGHT);
    client.start_phase(workers);
    let limit = || client.limit();
    let fetch = |request: &PageRequest| {
        let page = fetch_page(client, bucket, request)?;
        found.add_objects(page.entries.len());
        Ok(page)
    };
    let pages = fetch_pages(workers, may_use_ranges, scan, &limit, &fetch)?;
    if !pages.are_complete() {
        return Err(malformed(bucket, "the listing repeats a page"));
    }
    Ok(pages.received)
}

/// Fetches all pages with `fetch`: in ranges, by prefixes, and at last in one sequence. Each step
/// continues where the one before stopped, or starts again if the result of that cannot be used.
///
/// The pages are complete, unless the store repeats one.
fn fetch_pages(
    workers: usize,
    may_use_ranges: bool,
    scan: &OnceLock<Option<Scan>>,
    limit: &dyn Fn() -> usize,
    fetch: &(impl Fn(&PageRequest) -> Result<Page> + Sync),
) -> Result<Pages> {
    let execute = |request: PageRequest| {
        let page = fetch(&request);
        (request, page)
    };
    let mut pages = Pages::new(ListFrom::Beginning);
    if may_use_ranges {
        let mut ranges = Ranges::new(scan, limit);
        worker_pool::run(workers, &mut ranges, &execute);
        pages = ranges.into_pages()?;
    }
    for may_split in [true, false] {
        if !pages.are_complete() {
            let mut prefixes = Prefixes::new(pages, may_split, scan, limit);
            worker_pool::run(workers, &mut prefixes, &execute);
            pages = prefixes.into_pages()?;
        }
    }
    Ok(pages)
}

fn fetch_page(client: &Client, bucket: &BucketUrl, request: &PageRequest) -> Result<Page> {
    let PageRequest { dir, from, .. } = request;
    let prefix = bucket.prefix();
    let page = client.list_page(&format!("{prefix}{dir}"), from)?;
    let entries = entries_below(page.objects, bucket, dir)?;
    let dirs = page.prefixes.into_iter();
    let dirs = dirs.map(|dir| Some(dir.ok()?.strip_prefix(prefix)?.to_owned())).collect();
    Ok(Page { entries, dirs, next: page.next })
}

/// Converts the objects of a page. Their paths must start with `start`.
pub(super) fn entries_below(
    objects: Vec<Listed>,
    bucket: &BucketUrl,
    start: &str,
) -> Result<Vec<ListedEntry>> {
    let entries = objects.into_iter().map(|listed| {
        let entry = ListedEntry::new(listed, bucket.prefix())?;
        entry.path().starts_with(start.as_bytes()).then_some(entry)
    });
    let entries: Option<Vec<ListedEntry>> = entries.collect();
    entries.ok_or_else(|| malformed(bucket, "the listing contains a key without the prefix"))
}

pub(super) fn malformed(bucket: &BucketUrl, why: &str) -> Error {
    Error::new("list", bucket.to_string(), Cause::Malformed(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        model::{etag::ETag, time::Timestamp},
        s3::NextPage,
    };

    /// Each token is a new one, so that only the keys show that the listing has no end.
    #[test]
    fn store_that_ignores_tokens_is_detected() {
        let requests = AtomicUsize::new(0);
        let fetch = |_: &PageRequest| {
            let requests = requests.fetch_add(1, Ordering::Relaxed);
            assert!(requests < 100, "the listing does not end");
            let object = |path: &str| {
                ListedEntry::Object(
                    Object {
                        path: path.into(),
                        size: 1,
                        modified: Timestamp::from_secs(0),
                        etag: ETag::None,
                    },
                    None,
                )
            };
            let marker = ListedEntry::Marker(b"".as_slice().into());
            let entries = vec![marker, object("a"), object("b")];
            Ok(Page {
                entries,
                dirs: Some(Vec::new()),
                next: Some(NextPage::Token(format!("token {requests}"))),
            })
        };
        let pages = fetch_pages(1, true, &OnceLock::new(), &|| 1, &fetch).unwrap();
        assert!(pages.are_repeated());
    }
}
