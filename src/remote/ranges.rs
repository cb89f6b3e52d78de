//! Listing a bucket in ranges, several at the same time.
//!
//! A range starts after some path and is listed page by page until it reaches the start of the next
//! range. When a worker is idle, the rest of one range is split in two: in the middle of the local
//! files that belong there ([`middle_of_files`]), or at a guessed path ([`guess_middle`]).
//!
//! # When the ranges are the whole bucket
//!
//! The result is used only if it is proven to be complete. All of this must hold:
//!
//! 1. The pages of each range are in strict byte order: every key comes after the one before,
//!    across pages as well. SeaweedFS, which lists `a/b` before `a-b`, fails here.
//! 2. The store refused no start of a range, and no range repeats a page.
//! 3. Each range was listed up to its end: its last page either contains keys past that end, or is
//!    the last page of the bucket.
//! 4. The keys past its end are the first keys of the ranges that follow, in the same order. So the
//!    store itself continues from one range to the next, with no key in between.
//! 5. If the last page of a range has no key past its end, all ranges that follow are empty.
//!
//! Otherwise the bucket is listed again by prefixes. A bucket that was never split needs no proof:
//! it is complete, in any order, once its last page was received. If a page before that is out of
//! order, the listing by prefixes continues after it.
//!
//! # The assumption
//!
//! The keys that the store returns after a path (`start-after`) must be those that follow the path
//! in the order of its listing. A store that lists in one order and compares in another could still
//! lose a key. Ranges are therefore used only for stores whose order is known, and for backups,
//! where a lost key causes no more than a needless upload.

use std::sync::OnceLock;

use crate::{
    error::{Error, Result},
    local::Scan,
    model::{entry::File, paths},
    remote::{
        entry::ListedEntry,
        pages::{Page, PageRequest, Pages, concerns_whole_listing},
    },
    s3::ListFrom,
    worker_pool::JobSource,
};

/// The pages that a range has to fill before it is split at a guess.
///
/// A bucket of fewer pages takes one request per page, and any other at most a third more.
const MIN_PAGES_TO_GUESS: usize = 3;

/// The part of the listing after one path, up to and including the path after which the next range
/// starts.
struct Range {
    id: usize,
    /// The path after which the range starts. Empty for the first range.
    after: String,
    pages: Pages,
    /// The pages since the range started or was split, without its last page.
    pages_since_split: usize,
    /// The entries past the end of the range that its last page contained.
    past_end: Vec<ListedEntry>,
}

impl Range {
    fn new(id: usize, after: String) -> Range {
        let from =
            if after.is_empty() { ListFrom::Beginning } else { ListFrom::After(after.clone()) };
        Range { id, after, pages: Pages::new(from), pages_since_split: 0, past_end: Vec::new() }
    }

    /// The first path of the range, as far as it was listed.
    fn first(&self) -> Option<&[u8]> {
        self.pages.received.first().and_then(|page| page.first()).map(ListedEntry::path)
    }

    /// The path that the range has reached.
    fn last(&self) -> &[u8] {
        let last = self.pages.received.last().and_then(|page| page.last());
        last.map_or(self.after.as_bytes(), ListedEntry::path)
    }
}

/// The ranges of one listing, whose pages [`run`](crate::worker_pool::run) fetches.
pub(super) struct Ranges<'a> {
    /// In byte order.
    ranges: Vec<Range>,
    next_id: usize,
    scan: &'a OnceLock<Option<Scan>>,
    limit: &'a dyn Fn() -> usize,
    /// The most entries that a page has had, unless it was a last page.
    page_size: usize,
    /// Condition 1 or 2 failed, so the ranges prove nothing.
    is_unreliable: bool,
    failed: Option<Error>,
}

impl<'a> Ranges<'a> {
    pub(super) fn new(
        scan: &'a OnceLock<Option<Scan>>,
        limit: &'a dyn Fn() -> usize,
    ) -> Ranges<'a> {
        Ranges {
            ranges: vec![Range::new(0, String::new())],
            next_id: 1,
            scan,
            limit,
            page_size: 1,
            is_unreliable: false,
            failed: None,
        }
    }

    /// All pages of the bucket if the ranges are complete. Otherwise the pages of a bucket that was
    /// never split, to be continued, or none.
    pub(super) fn into_pages(mut self) -> Result<Pages> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.are_complete() {
            let received = self.ranges.into_iter().flat_map(|range| range.pages.received);
            return Ok(Pages::complete(received.collect()));
        }
        let only = self.ranges.pop().filter(|_| self.ranges.is_empty());
        Ok(only.map_or_else(|| Pages::new(ListFrom::Beginning), |range| range.pages))
    }

    /// Whether the conditions of the module documentation hold.
    fn are_complete(&self) -> bool {
        let meets_the_next = |(n, range): (usize, &Range)| {
            let following = self.ranges[n + 1..].iter().flat_map(|range| &range.pages.received);
            let mut following = following.flatten();
            let is_next = |entry: &ListedEntry| {
                following.next().is_some_and(|next| next.path() == entry.path())
            };
            range.pages.are_complete()
                && range.past_end.iter().all(is_next)
                && (!range.past_end.is_empty() || following.next().is_none())
        };
        !self.is_unreliable && self.ranges.iter().enumerate().all(meets_the_next)
    }

    /// Splits a range in two. `None` if no split seems to save time.
    fn split(&mut self) -> Option<()> {
        let files = &self.scan.get()?.as_ref()?.files;
        let (n, after) = self.split_at_file(files).or_else(|| self.split_at_guess(files))?;
        self.ranges[n].pages_since_split = 0;
        self.ranges.insert(n + 1, Range::new(self.next_id, after));
        self.next_id += 1;
        Some(())
    }

    /// The unfinished ranges that have advanced since they were split: the index of each, and its
    /// end.
    fn splittable(&self) -> impl Iterator<Item = (usize, &Range, Option<&str>)> {
        let ends = self.ranges.iter().skip(1).map(|range| Some(range.after.as_str()));
        let ranges = self.ranges.iter().zip(ends.chain([None])).enumerate();
        ranges
            .map(|(n, (range, end))| (n, range, end))
            .filter(|(_, range, _)| range.pages_since_split > 0 && !range.pages.are_complete())
    }

    /// Which range to split after which path, according to the local files: the range that has the
    /// most pages left.
    fn split_at_file(&self, files: &[File]) -> Option<(usize, String)> {
        let splits = self.splittable().filter_map(|(n, range, end)| {
            let (pages, after) = middle_of_files(files, range.last(), end, self.page_size)?;
            Some((pages, n, after))
        });
        let (_, n, after) = splits.max_by_key(|(pages, ..)| *pages)?;
        Some((n, after))
    }

    /// Which range to split after which path, by a guess: the last range that the local files show
    /// little of.
    fn split_at_guess(&self, files: &[File]) -> Option<(usize, String)> {
        let first = self.ranges.first()?.first()?;
        let splits = self.splittable().filter_map(|(n, range, end)| {
            let (from, last) = (range.pages.received.last()?.first()?.path(), range.last());
            let files_in_page = count_up_to(files, last)?.saturating_sub(count_up_to(files, from)?);
            let is_known_locally = files_in_page > self.page_size / 2;
            if range.pages_since_split < MIN_PAGES_TO_GUESS || is_known_locally {
                return None;
            }
            Some((n, guess_middle(first, from, last, end)?))
        });
        splits.last()
    }
}

impl JobSource for Ranges<'_> {
    type Job = PageRequest;
    type Outcome = (PageRequest, Result<Page>);

    fn next(&mut self) -> Option<PageRequest> {
        if let Some(None) = self.scan.get() {
            // The scan failed, so the listing is not needed.
            self.failed.get_or_insert_with(Error::interrupted);
        }
        if self.failed.is_some() || self.is_unreliable {
            return None;
        }
        if !self.ranges.iter().any(|range| range.pages.are_ready()) {
            self.split()?;
        }
        self.ranges.iter_mut().find_map(|range| {
            let from = range.pages.take_next()?;
            Some(PageRequest { id: range.id, dir: String::new(), from })
        })
    }

    fn limit(&self) -> usize {
        (self.limit)()
    }

    fn done(&mut self, (request, page): Self::Outcome) {
        let Some(n) = self.ranges.iter().position(|range| range.id == request.id) else { return };
        let end = self.ranges.get(n + 1).map(|range| range.after.clone());
        let was_never_split = self.ranges.len() == 1;
        let range = &mut self.ranges[n];
        let is_first_page = range.pages.received.is_empty();
        let mut page = match page {
            Ok(page) => page,
            // Not every store accepts every path to start after.
            Err(error) if n > 0 && is_first_page && !concerns_whole_listing(&error) => {
                self.is_unreliable = true;
                return;
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                return;
            }
        };
        let follows = page.entries.first().is_none_or(|entry| entry.path() > range.last());
        // The path of the very first entry may be empty: the marker of the prefix itself.
        let is_in_order = (follows || n == 0 && is_first_page)
            && page.entries.is_sorted_by(|a, b| a.path() < b.path());
        let is_whole_bucket = was_never_split && page.next.is_none();
        self.is_unreliable |= !is_in_order && !is_whole_bucket;
        if let Some(end) = end
            && let at = page.entries.partition_point(|entry| entry.path() <= end.as_bytes())
            && at < page.entries.len()
        {
            range.past_end = page.entries.split_off(at);
            page.next = None;
        }
        if page.next.is_some() {
            self.page_size = self.page_size.max(page.entries.len());
            range.pages_since_split += 1;
        }
        range.pages.add(page.entries, page.next);
        self.is_unreliable |= range.pages.are_repeated();
    }
}

/// Finds the middle of the local files in the rest of a range, which has been listed up to `last`
/// and ends at `end`.
///
/// The result is the number of pages that these files would fill, and the path after which the
/// second half starts. The first half is a number of whole pages, each with room for one more key:
/// the last page of a range has to contain the first key of the next range, also after further
/// splits.
fn middle_of_files(
    files: &[File],
    last: &[u8],
    end: Option<&str>,
    page_size: usize,
) -> Option<(usize, String)> {
    let listed = count_up_to(files, last)?;
    let all = end.map_or(Some(files.len()), |end| count_up_to(files, end.as_bytes()));
    let left = all?.checked_sub(listed)?;
    let files_per_page = page_size.checked_sub(1).filter(|files| *files > 0)?;
    let pages = left.div_ceil(files_per_page);
    let middle = listed + (pages / 2 * files_per_page).checked_sub(1)?;
    let after = &files.get(middle)?.path;
    let is_inside = after.as_bytes() > last && end.is_none_or(|end| **after < *end);
    is_inside.then(|| (pages, after.to_string()))
}

/// The number of files up to and including `path`.
///
/// The files are in tree order, and ranges in byte order. The difference can make a split less
/// even, but not wrong: wherever a range is split, its parts have to meet.
fn count_up_to(files: &[File], path: &[u8]) -> Option<usize> {
    let path = str::from_utf8(path).ok()?;
    Some(files.partition_point(|file| paths::tree_order(&file.path, path).is_le()))
}

/// Guesses a path in the middle of the rest of a range. Its last page contained the paths `from` to
/// `last`, and it ends at `end`. `first` is the first path of the bucket.
///
/// A guess that is too far is the start of an empty range, and so becomes the end of the range that
/// was split. Right or wrong, each guess halves the remaining choices.
fn guess_middle(first: &[u8], from: &[u8], last: &[u8], end: Option<&str>) -> Option<String> {
    let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let replace = |at: usize, byte: u8| {
        let path = [&last[..at], &[byte]].concat();
        let path = String::from_utf8(path).ok().filter(|_| byte.is_ascii_graphic())?;
        end.is_none_or(|end| *path < *end).then_some(path)
    };
    // All paths so far have a common start: guess that others follow it.
    let common_start = common(first, last);
    if let Some(at) = common_start.checked_sub(1)
        && let Some(path) = replace(at, last[at].saturating_add(1))
    {
        return Some(path);
    }
    // Otherwise take the leftmost byte that may still change, and skip half of the letters or
    // digits that can follow there. Bytes to the right of the first one that changed within the
    // last page are left alone: they change within each page.
    let leftmost = end.map_or(0, |end| common(last, end.as_bytes()));
    (leftmost..=common(from, last)).find_map(|at| {
        let byte = *last.get(at)?;
        let alphabet: &[u8] = match byte {
            b'0'..=b'9' => b"0123456789abcdef",
            b'a'..=b'z' => b"abcdefghijklmnopqrstuvwxyz",
            b'A'..=b'Z' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            _ => return None,
        };
        let larger = alphabet.iter().filter(|larger| **larger > byte);
        let possible: Vec<String> = larger.filter_map(|larger| replace(at, *larger)).collect();
        possible.get(possible.len() / 2).cloned()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::time::Timestamp,
        remote::simulated_store::{SimulatedStore, numbered_keys},
        worker_pool,
    };

    fn scan_of(paths: &[String]) -> OnceLock<Option<Scan>> {
        let file = |path: &String| File {
            path: path.as_str().into(),
            size: 1,
            modified: Timestamp::from_secs(0),
            changed: Timestamp::from_secs(0),
            target: None,
        };
        let mut files: Vec<File> = paths.iter().map(file).collect();
        files.sort_by(|a, b| paths::tree_order(&a.path, &b.path));
        OnceLock::from(Some(Scan { files, ..Scan::default() }))
    }

    /// The keys, sorted, that four workers list in ranges. `None` if the ranges are not complete.
    fn list(store: &SimulatedStore, scan: &OnceLock<Option<Scan>>) -> Option<Vec<String>> {
        let limit = || 4;
        let mut ranges = Ranges::new(scan, &limit);
        worker_pool::run(4, &mut ranges, &|request| {
            let page = store.page(&request);
            (request, page)
        });
        let pages = ranges.into_pages().unwrap();
        pages.are_complete().then(|| {
            let paths = pages.received.iter().flatten().map(|entry| entry.path().to_owned());
            let mut paths: Vec<_> = paths.map(|path| String::from_utf8(path).unwrap()).collect();
            paths.sort();
            paths
        })
    }

    #[test]
    fn keys_of_local_files_take_one_request_per_page() {
        let keys = numbered_keys(20_000);
        let store = SimulatedStore::new(keys.clone(), 100);
        assert!(list(&store, &scan_of(&keys)).as_ref() == Some(&keys));
        assert!((200..=205).contains(&store.requests()), "{}", store.requests());
        // Up to one page is never split.
        for few in [0, 1, 100] {
            let store = SimulatedStore::new(numbered_keys(few), 100);
            assert!(list(&store, &scan_of(&keys)) == Some(numbered_keys(few)));
            assert_eq!(store.requests(), 1);
        }
    }

    #[test]
    fn keys_without_local_files_take_few_more_requests() {
        for keys in [
            numbered_keys(20_000),
            (0..20_000).map(|n: u32| format!("{:08x}", n * 200_000)).collect(),
            (0..20_000).map(|n| format!("data/all/2026/image-{n}.jpeg")).collect(),
        ] {
            let keys = Vec::from_iter(BTreeSet::from_iter(keys));
            let store = SimulatedStore::new(keys.clone(), 100);
            assert!(list(&store, &scan_of(&[])).as_ref() == Some(&keys));
            assert!((200..=270).contains(&store.requests()), "{}", store.requests());
            // A few pages are never split.
            let store = SimulatedStore::new(keys[..300].to_vec(), 100);
            assert!(list(&store, &scan_of(&[])).as_deref() == Some(&keys[..300]));
            assert_eq!(store.requests(), 3);
        }
    }

    #[test]
    fn store_out_of_byte_order_is_not_listed_in_ranges() {
        let mut keys = numbered_keys(1_000);
        keys.push("dir-00!".to_owned());
        let mut store = SimulatedStore::new(keys.clone(), 100);
        store.keys.sort_by(|a, b| paths::tree_order(a, b));
        store.order = paths::tree_order;
        // The key that is out of order is the last one, on a page of its own.
        assert_eq!(store.keys.last().map(String::as_str), Some("dir-00!"));
        assert_eq!(list(&store, &scan_of(&keys)), None);
    }

    fn key() -> impl Strategy<Value = String> {
        "[ab]{1,2}([/!.0a-bé][ab01]{1,2}){0,3}"
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the local files are, and in whatever order the store lists. In byte order, the
        /// ranges are always complete.
        #[test]
        fn complete_ranges_contain_every_key(
            keys in prop::collection::btree_set(key(), 0..120),
            files in prop::collection::vec(key(), 0..120),
            page_size in 1usize..12,
            in_tree_order in any::<bool>(),
            sorts_pages in any::<bool>(),
        ) {
            let mut store = SimulatedStore::new(keys.iter().cloned().collect(), page_size);
            if in_tree_order {
                store.order = paths::tree_order;
                store.sorts_pages = sorts_pages;
                store.keys.sort_by(|a, b| paths::tree_order(a, b));
            }
            let files = if files.len() % 2 == 0 { files } else { store.keys.clone() };
            let listed = list(&store, &scan_of(&files));
            prop_assert!(listed.is_some() || in_tree_order);
            if let Some(listed) = listed {
                prop_assert_eq!(listed, keys.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
