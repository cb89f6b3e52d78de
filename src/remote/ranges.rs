//! Ranges, side by side.
//!
//! What is left of a bucket is cut into ranges: each begins behind some path ([`guess`] or a file of the
//! local side names one) and goes on, page after page, until it meets the next one's first keys. Only if
//! every range ends just where the next begins are they the whole; for then the store itself went on from
//! one to the other. Where they don't, or where any page is out of byte order (SeaweedFS lists `a/b` before
//! `a-b`), all is listed anew, by [`prefixes`](super::prefixes).
//!
//! That proves a listing whole where what begins behind a path is what follows it in the store's order. A
//! store that lists in one order and compares by another could still lose a key. So ranges are for stores
//! whose order is known, and for backups, where a lost key costs no more than an upload in vain.

use std::sync::OnceLock;

use super::{Found, Page, Pages, is_final};
use crate::{
    error::{Error, Result},
    local::Scan,
    model::{entry::File, paths},
    s3::ListFrom,
    worker_pool::JobSource,
};

/// How many pages a range has to fill before it is cut where nothing is known of what it holds. So a
/// bucket of a few pages is listed in as many requests, and any other in no more than a third beyond.
const PAGES_PER_GUESS: usize = 3;

/// A part of the listing, from behind one path on to where the next range begins.
struct Range {
    id: usize,
    /// Empty for the first.
    after: String,
    pages: Pages,
    /// How many pages it has filled since it began or was cut.
    filled: usize,
    /// What stood behind its end on its last page.
    beyond: Vec<Found>,
}

impl Range {
    fn new(id: usize, after: String) -> Range {
        let from =
            if after.is_empty() { ListFrom::Beginning } else { ListFrom::After(after.clone()) };
        Range { id, after, pages: Pages::new(from), filled: 0, beyond: Vec::new() }
    }

    fn first(&self) -> Option<&[u8]> {
        self.pages.found.first().and_then(|page| page.first()).map(Found::path)
    }

    /// How far it has come.
    fn last(&self) -> &[u8] {
        let last = self.pages.found.last().and_then(|page| page.last());
        last.map_or(self.after.as_bytes(), Found::path)
    }
}

/// The ranges of one listing, in byte order, as [`run`](crate::worker_pool::run) fetches their pages.
pub(super) struct Ranges<'a> {
    ranges: Vec<Range>,
    /// How many there ever were.
    begun: usize,
    scan: &'a OnceLock<Option<Scan>>,
    limit: &'a dyn Fn() -> usize,
    /// The most that a page has held.
    page_size: usize,
    /// Something was out of byte order, or refused: what was cut is worth nothing.
    distrusted: bool,
    failed: Option<Error>,
}

impl<'a> Ranges<'a> {
    pub(super) fn new(
        scan: &'a OnceLock<Option<Scan>>,
        limit: &'a dyn Fn() -> usize,
    ) -> Ranges<'a> {
        Ranges {
            ranges: vec![Range::new(0, String::new())],
            begun: 1,
            scan,
            limit,
            page_size: 1,
            distrusted: false,
            failed: None,
        }
    }

    /// What is listed: all, or a beginning that has to be gone on from. Else it is nothing.
    pub(super) fn into_pages(mut self) -> Result<Pages> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.are_whole() {
            let found = self.ranges.into_iter().flat_map(|range| range.pages.found);
            return Ok(Pages::all(found.collect()));
        }
        let only = self.ranges.pop().filter(|_| self.ranges.is_empty());
        Ok(only.map_or_else(|| Pages::new(ListFrom::Beginning), |range| range.pages))
    }

    /// Whether nothing is missing: each range ends with what the next ones begin with, or with the end of
    /// all.
    fn are_whole(&self) -> bool {
        let meets = |n: usize, range: &Range| {
            let following = self.ranges[n + 1..].iter().flat_map(|range| &range.pages.found);
            let mut following = following.flatten();
            let is_next =
                |found: &Found| following.next().is_some_and(|next| next.path() == found.path());
            range.pages.are_all()
                && range.beyond.iter().all(is_next)
                && (!range.beyond.is_empty() || following.next().is_none())
        };
        !self.distrusted && self.ranges.iter().enumerate().all(|(n, range)| meets(n, range))
    }

    /// Cuts off a part of some range, where one is worth it.
    fn cut(&mut self) -> Option<()> {
        let files = &self.scan.get()?.as_ref()?.files;
        let ends = self.ranges.iter().skip(1).map(|range| Some(range.after.as_str()));
        let open = self.ranges.iter().zip(ends.chain([None])).enumerate();
        let open = open.filter(|(_, (range, _))| range.filled > 0 && !range.pages.are_all());
        // The one with the most to come, as far as the files tell.
        let known = open.clone().filter_map(|(n, (range, end))| {
            let (pages, after) = halfway(files, range.last(), end, self.page_size)?;
            Some((pages, n, after))
        });
        let known = known.max_by_key(|(pages, ..)| *pages).map(|(_, n, after)| (n, after));
        let guessed = || {
            let first = self.ranges.first()?.first()?;
            let guessed = open.filter_map(|(n, (range, end))| {
                let (from, last) = (range.pages.found.last()?.first()?.path(), range.last());
                let in_page = up_to(files, last)?.saturating_sub(up_to(files, from)?);
                let is_known = in_page > self.page_size / 2;
                let may_guess = range.filled >= PAGES_PER_GUESS && !is_known;
                may_guess.then(|| guess(first, from, last, end)).flatten().map(|after| (n, after))
            });
            guessed.last()
        };
        let (n, after) = known.or_else(guessed)?;
        self.ranges[n].filled = 0;
        self.ranges.insert(n + 1, Range::new(self.begun, after));
        self.begun += 1;
        Some(())
    }
}

impl JobSource for Ranges<'_> {
    type Job = (usize, ListFrom);
    type Outcome = (usize, Result<Page>);

    fn next(&mut self) -> Option<Self::Job> {
        if let Some(None) = self.scan.get() {
            self.failed.get_or_insert_with(Error::interrupted);
        }
        if self.failed.is_some() || self.distrusted {
            return None;
        }
        if !self.ranges.iter().any(|range| range.pages.is_ready()) {
            self.cut()?;
        }
        self.ranges.iter_mut().find_map(|range| Some((range.id, range.pages.take()?)))
    }

    fn limit(&self) -> usize {
        (self.limit)()
    }

    fn done(&mut self, (id, page): Self::Outcome) {
        let Some(n) = self.ranges.iter().position(|range| range.id == id) else { return };
        let end = self.ranges.get(n + 1).map(|range| range.after.clone());
        let is_alone = self.ranges.len() == 1;
        let range = &mut self.ranges[n];
        let mut page = match page {
            Ok(page) => page,
            // Not every store can begin behind any path.
            Err(error) if n > 0 && range.pages.found.is_empty() && !is_final(&error) => {
                self.distrusted = true;
                return;
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                return;
            }
        };
        let follows = page.found.first().is_none_or(|found| found.path() > range.last());
        if !(follows || range.id == 0 && range.pages.found.is_empty())
            || !page.found.is_sorted_by(|a, b| a.path() < b.path())
        {
            self.distrusted |= !is_alone || page.next.is_some();
        }
        if let Some(end) = end
            && let at = page.found.partition_point(|found| found.path() <= end.as_bytes())
            && at < page.found.len()
        {
            range.beyond = page.found.split_off(at);
            page.next = None;
        }
        if page.next.is_some() {
            self.page_size = self.page_size.max(page.found.len());
            range.filled += 1;
        }
        range.pages.add(page.found, page.next);
        self.distrusted |= range.pages.is_stuck();
    }
}

/// Halves what is left of a range that now stands at `last`, going by the local files: the number of
/// pages that it would fill, and the path behind which the second half begins. The first half comes to
/// whole pages, with room for the first key of the second half, and of those to come if it is cut again.
fn halfway(
    files: &[File],
    last: &[u8],
    end: Option<&str>,
    page_size: usize,
) -> Option<(usize, String)> {
    let at = up_to(files, last)?;
    let end_at = end.map_or(Some(files.len()), |end| up_to(files, end.as_bytes()));
    let left = end_at?.checked_sub(at)?;
    let stride = page_size.checked_sub(1).filter(|stride| *stride > 0)?;
    let pages = left.div_ceil(stride);
    let cut = &files.get(at + (pages / 2 * stride).checked_sub(1)?)?.path;
    let is_between = cut.as_bytes() > last && end.is_none_or(|end| **cut < *end);
    is_between.then(|| (pages, cut.to_string()))
}

/// How many files there are up to a path. Tree order is near enough: wherever a cut is, the ranges have
/// to meet.
fn up_to(files: &[File], path: &[u8]) -> Option<usize> {
    let path = str::from_utf8(path).ok()?;
    Some(files.partition_point(|file| paths::tree_order(&file.path, path).is_le()))
}

/// A path that may well be somewhere in the middle of what is left of a range, whose last page went from
/// `from` to `last`; `first` is the first of all paths. Each guess, right or wrong, halves what is left
/// to guess: wrong is what has nothing behind it, and that is the end of the range from then on.
fn guess(first: &[u8], from: &[u8], last: &[u8], end: Option<&str>) -> Option<String> {
    let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let with = |at: usize, byte: u8| {
        let path = [&last[..at], &[byte]].concat();
        let path = String::from_utf8(path).ok().filter(|_| byte.is_ascii_graphic())?;
        end.is_none_or(|end| *path < *end).then_some(path)
    };
    // Behind all that begins as everything has begun so far.
    let shared = common(first, last);
    if let Some(at) = shared.checked_sub(1)
        && let Some(path) = with(at, last[at].saturating_add(1))
    {
        return Some(path);
    }
    // Or half of what may follow in a place that is still to change, but not within a page.
    let begin = end.map_or(0, |end| common(last, end.as_bytes()));
    (begin..=common(from, last)).find_map(|at| {
        let byte = *last.get(at)?;
        let kind: &[u8] = match byte {
            b'0'..=b'9' => b"0123456789abcdef",
            b'a'..=b'z' => b"abcdefghijklmnopqrstuvwxyz",
            b'A'..=b'Z' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            _ => return None,
        };
        let larger = kind.iter().filter(|larger| **larger > byte);
        let open: Vec<String> = larger.filter_map(|larger| with(at, *larger)).collect();
        open.get(open.len() / 2).cloned()
    })
}

#[cfg(test)]
mod tests {
    use std::{cmp::Ordering, collections::BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{entry::Object, etag::ETag, time::Timestamp},
        worker_pool,
    };

    /// A store, as far as a listing sees it.
    struct Keys {
        /// In the order in which it lists.
        keys: Vec<String>,
        page_size: usize,
        order: fn(&str, &str) -> Ordering,
        /// What begins behind a path is what is larger; else, what stands behind it in the order.
        filters: bool,
        /// Each page is sorted by bytes, whatever the order.
        sorts_pages: bool,
    }

    impl Keys {
        fn page(&self, from: &ListFrom) -> Page {
            let behind = |path: &str| match self.filters {
                true => self.keys.iter().filter(|key| ***key > *path).collect(),
                false => {
                    let behind = |key: &&String| (self.order)(key, path).is_gt();
                    self.keys.iter().filter(behind).collect::<Vec<_>>()
                }
            };
            let keys: Vec<&String> = match from {
                ListFrom::Beginning => self.keys.iter().collect(),
                ListFrom::After(path) => behind(path),
                ListFrom::Token(last) => {
                    self.keys.iter().skip_while(|key| *key != last).skip(1).collect()
                }
                ListFrom::OneLevel => Vec::new(),
            };
            let mut page = keys[..keys.len().min(self.page_size)].to_vec();
            let next = (page.len() < keys.len()).then(|| page.last().map(|key| key.to_string()));
            if self.sorts_pages {
                page.sort();
            }
            let (size, modified) = (1, Timestamp::from_secs(0));
            let object = |key: &&String| {
                Found::Object(Object {
                    path: key.as_str().into(),
                    size,
                    modified,
                    etag: ETag::None,
                })
            };
            let found = page.iter().map(object).collect();
            Page { found, dirs: Some(Vec::new()), next: next.flatten() }
        }
    }

    fn tree(files: &[String]) -> OnceLock<Option<Scan>> {
        let file = |path: &String| File {
            path: path.as_str().into(),
            size: 1,
            modified: Timestamp::from_secs(0),
            target: None,
        };
        let mut files: Vec<File> = files.iter().map(file).collect();
        files.sort_by(|a, b| paths::tree_order(&a.path, &b.path));
        OnceLock::from(Some(Scan { files, ..Scan::default() }))
    }

    /// What is listed, or `None` where it has to be listed anew; and the number of pages that it took.
    fn listed(store: &Keys, scan: &OnceLock<Option<Scan>>) -> (Option<Vec<String>>, usize) {
        let limit = || 4;
        let mut ranges = Ranges::new(scan, &limit);
        let pages = std::sync::atomic::AtomicUsize::new(0);
        worker_pool::run(4, &mut ranges, &|(id, from)| {
            pages.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (id, Ok(store.page(&from)))
        });
        let listed = ranges.into_pages().unwrap();
        let whole = listed.are_all().then(|| {
            let paths = listed.found.iter().flatten().map(|found| found.path().to_owned());
            let mut paths: Vec<_> = paths.map(|path| String::from_utf8(path).unwrap()).collect();
            paths.sort();
            paths
        });
        (whole, pages.into_inner())
    }

    fn numbered(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("dir-{:02}/{:03}/file-{n:06}", n / 10_000, n / 100)).collect()
    }

    fn bytewise(keys: Vec<String>, page_size: usize) -> Keys {
        Keys { keys, page_size, order: |a, b| a.cmp(b), filters: true, sorts_pages: false }
    }

    #[test]
    fn what_the_local_side_has_too_takes_a_request_a_page() {
        let keys = numbered(20_000);
        let (found, pages) = listed(&bytewise(keys.clone(), 100), &tree(&keys));
        assert!(found.as_ref() == Some(&keys));
        assert!((200..=205).contains(&pages), "{pages}");
        // Nothing, or a page of them: no range is tried in vain.
        for few in [0, 1, 100] {
            let (found, pages) = listed(&bytewise(numbered(few), 100), &tree(&keys));
            assert!(found == Some(numbered(few)) && pages == 1, "{pages}");
        }
    }

    #[test]
    fn what_the_local_side_does_not_have_takes_little_more() {
        for keys in [
            numbered(20_000),
            (0..20_000).map(|n: u32| format!("{:08x}", n * 200_000)).collect(),
            (0..20_000).map(|n| format!("data/all/2026/image-{n}.jpeg")).collect(),
        ] {
            let keys = Vec::from_iter(BTreeSet::from_iter(keys));
            let (found, pages) = listed(&bytewise(keys.clone(), 100), &tree(&[]));
            assert!(found.as_ref() == Some(&keys));
            assert!((200..=270).contains(&pages), "{pages}");
            // A few pages are listed as ever.
            let (found, pages) = listed(&bytewise(keys[..300].to_vec(), 100), &tree(&[]));
            assert!(found.as_deref() == Some(&keys[..300]) && pages == 3, "{pages}");
        }
    }

    fn key() -> impl Strategy<Value = String> {
        "[ab]{1,2}([/!.0a-bé][ab01]{1,2}){0,3}"
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the local side says, and in whatever order the store lists.
        #[test]
        fn nothing_is_lost(
            keys in prop::collection::btree_set(key(), 0..120),
            files in prop::collection::vec(key(), 0..120),
            page_size in 1usize..12,
            in_tree_order in any::<bool>(),
            sorts_pages in any::<bool>(),
        ) {
            let mut store = bytewise(keys.iter().cloned().collect(), page_size);
            if in_tree_order {
                store.order = paths::tree_order;
                store.filters = false;
                store.sorts_pages = sorts_pages;
                store.keys.sort_by(|a, b| paths::tree_order(a, b));
            }
            let files = if files.len() % 2 == 0 { files } else { store.keys.clone() };
            let (found, _) = listed(&store, &tree(&files));
            prop_assert!(found.is_some() || in_tree_order);
            if let Some(found) = found {
                prop_assert_eq!(found, keys.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
