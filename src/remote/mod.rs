//! The remote side: every object under the prefix of the run.
//!
//! A listing is whole or an error. A key that a listing lost would be deleted locally by a restore, so
//! what looks wrong (a page that repeats, a key that comes twice) ends the run.
//!
//! A store gives 1,000 keys a page, and where the next page begins only with the one before. To list a
//! large bucket in less than a round trip a page, parts of it are listed side by side: [`ranges`] where the
//! order in which the store lists is known or a lost key does no harm, [`prefixes`] else.

mod prefixes;
mod ranges;

use std::{collections::HashSet, mem, sync::OnceLock};

use self::{
    prefixes::{Ask, Prefixes},
    ranges::Ranges,
};
use crate::{
    error::{Cause, Error, Result},
    local::Scan,
    model::{
        bucket_url::BucketUrl,
        entry::Object,
        paths,
        skip::{SkipReason, Skipped},
    },
    s3::{Client, ListFrom, Listed},
    worker_pool,
};

/// What was found in the bucket, in tree order.
#[derive(Debug, Default)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Object>,
    /// What can't be a file. It shields whatever stands at and under its path on the other side.
    pub skipped: Vec<Skipped>,
}

/// How many requests are under way at most: what a page costs to read keeps a processor busy long before
/// the network is.
const SIDE_BY_SIDE: usize = 32;

/// Lists the objects of `bucket`: one request per 1,000, and some more where that saves time. `in_ranges`,
/// if it may: once `scan` is there, its files say where to cut. Where `scan` turns out to be none, the
/// listing is given up.
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
    let workers = workers.min(SIDE_BY_SIDE);
    client.start_phase(workers);
    let limit = || client.limit();
    let mut pages = Pages::new(ListFrom::Beginning);
    if in_ranges {
        let mut ranges = Ranges::new(scan, &limit);
        worker_pool::run(workers, &mut ranges, &|(id, from)| (id, page(client, bucket, "", &from)));
        pages = ranges.into_pages()?;
    }
    // What doesn't fit together is listed anew, in one.
    for may_split in [true, false] {
        if !pages.are_all() {
            let mut prefixes = Prefixes::new(pages, may_split, scan, &limit);
            worker_pool::run(workers, &mut prefixes, &|ask: Ask| {
                let page = page(client, bucket, &ask.dir, &ask.from);
                (ask, page)
            });
            pages = prefixes.into_pages()?;
        }
    }
    if !pages.are_all() {
        return Err(fail("the listing repeats a page"));
    }
    let mut listing = Listing::default();
    listing.objects.reserve_exact(pages.found.iter().map(Vec::len).sum());
    for found in pages.found.into_iter().flatten() {
        match found {
            Found::Object(object) => listing.objects.push(object),
            Found::Other(_, skipped) => listing.skipped.extend(skipped),
        }
    }
    // Not every store lists in byte order, and byte order is not tree order.
    listing.objects.sort_unstable_by(|a, b| paths::tree_order(&a.path, &b.path));
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
        Some(match paths::check(path, prefix.len()) {
            Err(reason) => {
                let reason = SkipReason::Name(reason);
                let skipped = Skipped { path: path.to_owned(), reason };
                Found::Other(path.as_bytes().into(), Some(skipped))
            }
            Ok(()) => Found::Object(Object { path: path.into(), size, modified, etag }),
        })
    }

    /// Whether a listing is the same without it.
    fn is_nothing(&self) -> bool {
        matches!(self, Found::Other(_, None))
    }

    fn path(&self) -> &[u8] {
        match self {
            Found::Object(object) => object.path.as_bytes(),
            Found::Other(path, _) => path,
        }
    }
}

/// One answer to a listing.
struct Page {
    found: Vec<Found>,
    /// The common prefixes, without that of the run; `None` if that can't be said of each.
    dirs: Option<Vec<String>>,
    next: Option<String>,
}

/// Lists what stands under `dir`, which is nothing, or a path that ends in `/`.
fn page(client: &Client, bucket: &BucketUrl, dir: &str, from: &ListFrom) -> Result<Page> {
    let prefix = bucket.prefix();
    let page = client.list_page(&format!("{prefix}{dir}"), from)?;
    let found = page.objects.into_iter().map(|listed| {
        let found = Found::new(listed, prefix)?;
        found.path().starts_with(dir.as_bytes()).then_some(found)
    });
    let found: Option<Vec<Found>> = found.collect();
    let found = found.ok_or_else(|| {
        let why = "a key that does not begin with the prefix";
        Error::new("list", bucket.to_string(), Cause::Malformed(why.to_owned()))
    })?;
    let dirs = page.prefixes.into_iter();
    let dirs = dirs.map(|dir| Some(dir.ok()?.strip_prefix(prefix)?.to_owned())).collect();
    Ok(Page { found, dirs, next: page.next })
}

/// What is listed page after page, as far as it has come.
struct Pages {
    found: Vec<Vec<Found>>,
    next: Next,
    /// Where it has gone on so far.
    tokens: HashSet<String>,
}

enum Next {
    Ready(ListFrom),
    UnderWay,
    /// It repeats a page: it would go on for ever.
    Stuck,
    Ended,
}

impl Pages {
    fn new(from: ListFrom) -> Pages {
        Pages { found: Vec::new(), next: Next::Ready(from), tokens: HashSet::new() }
    }

    fn all(found: Vec<Vec<Found>>) -> Pages {
        Pages { found, next: Next::Ended, tokens: HashSet::new() }
    }

    fn are_all(&self) -> bool {
        matches!(self.next, Next::Ended)
    }

    fn is_ready(&self) -> bool {
        matches!(self.next, Next::Ready(_))
    }

    fn is_stuck(&self) -> bool {
        matches!(self.next, Next::Stuck)
    }

    /// The next page, to be asked for now.
    fn take(&mut self) -> Option<ListFrom> {
        match mem::replace(&mut self.next, Next::UnderWay) {
            Next::Ready(from) => Some(from),
            other => {
                self.next = other;
                None
            }
        }
    }

    /// A page has come, and where the next one begins.
    fn add(&mut self, mut found: Vec<Found>, next: Option<String>) {
        // A store that doesn't know tokens begins anew, whatever it makes up for the next one.
        let begins_anew =
            match (self.found.iter().find_map(|page| first_object(page)), first_object(&found)) {
                (Some(first), Some(now)) => now.path == first.path,
                _ => false,
            };
        self.next = match next {
            _ if begins_anew => Next::Stuck,
            None => Next::Ended,
            Some(token) if !self.tokens.insert(token.clone()) => Next::Stuck,
            Some(token) => Next::Ready(ListFrom::Token(token)),
        };
        if !found.is_empty() {
            found.shrink_to_fit();
            self.found.push(found);
        }
    }
}

fn first_object(page: &[Found]) -> Option<&Object> {
    page.iter().find_map(|found| match found {
        Found::Object(object) => Some(object),
        Found::Other(..) => None,
    })
}

/// Whether a part of a listing failed in a way in which all of it would.
fn is_final(error: &Error) -> bool {
    matches!(error.cause(), Cause::Interrupted | Cause::Credentials(_))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::{etag::ETag, time::Timestamp};

    /// Each of its tokens is a new one, so that nothing but the keys tells that the listing never ends.
    #[test]
    fn a_store_that_ignores_tokens_is_found_out() {
        let asked = AtomicUsize::new(0);
        let again = || {
            let asked = asked.fetch_add(1, Ordering::Relaxed);
            assert!(asked < 100, "it goes on for ever");
            let object = |path: &str| {
                Found::Object(Object {
                    path: path.into(),
                    size: 1,
                    modified: Timestamp::from_secs(0),
                    etag: ETag::None,
                })
            };
            let marker = Found::Other(b"".as_slice().into(), None);
            let found = vec![marker, object("a"), object("b")];
            Ok(Page { found, dirs: Some(Vec::new()), next: Some(format!("token {asked}")) })
        };
        let (scan, limit) = (OnceLock::new(), || 1);
        let mut ranges = Ranges::new(&scan, &limit);
        worker_pool::run(1, &mut ranges, &|(id, _)| (id, again()));
        let mut pages = ranges.into_pages().unwrap();
        for may_split in [true, false] {
            let mut prefixes = Prefixes::new(pages, may_split, &scan, &limit);
            worker_pool::run(1, &mut prefixes, &|ask| (ask, again()));
            pages = prefixes.into_pages().unwrap();
        }
        assert!(pages.is_stuck());
    }
}
