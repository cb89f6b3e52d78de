//! Listing a bucket by prefixes, several at the same time, in whatever order the store lists.
//!
//! # How a prefix is split
//!
//! 1. A listing starts with one prefix, that of the run, and requests it page by page.
//! 2. When some pages were received and a worker is idle, the *level* of the prefix is requested:
//!    with the delimiter `/`, a response contains the objects directly under the prefix and its
//!    common prefixes. Meanwhile the prefix is listed further.
//! 3. If the level is conclusive, its objects are kept, and its common prefixes are listed in place
//!    of the prefix. They may be split in turn. The pages of the prefix are discarded: only the
//!    order of the store could show which keys are still missing in them.
//!
//! # When the parts are the whole bucket
//!
//! The keys under a prefix are those directly under it and those under its common prefixes. This
//! holds in any order of listing if the level is complete, and if the store reads a common prefix
//! in a request as it wrote it in the response. So all of this must hold:
//!
//! 1. The level is a single page.
//! 2. Its common prefixes are UTF-8. They and its objects are all directly under the prefix, and
//!    none of them is listed twice.
//! 3. It contains everything that the pages have shown directly under the prefix so far.
//! 4. Each common prefix, when it is listed, has at least one key. It is not refused, and none of
//!    its pages is repeated.
//!
//! If one of the first three fails, the prefix is not split, and listed further page by page. If
//! the fourth fails, the whole bucket is listed again in one sequence.
//!
//! # When a split saves time
//!
//! - The prefix has filled some pages, so that a bucket of a few pages takes one request per page.
//! - Its common prefixes seem to fill at least a page each.
//! - The pages that are discarded in total stay few compared to those received.

use std::{
    collections::{BTreeMap, HashSet},
    sync::OnceLock,
};

use crate::{
    error::{Error, Result},
    local::Scan,
    remote::{
        entry::ListedEntry,
        pages::{MAX_IN_FLIGHT, Page, PageRequest, Pages, concerns_whole_listing},
    },
    s3::ListFrom,
    worker_pool::JobSource,
};

/// The pages that a prefix has to fill before it may be split. So many of its last pages also show
/// how large its common prefixes are.
const MIN_PAGES_TO_SPLIT: usize = 3;

/// The pages that may be discarded, however few were received.
const FREE_DISCARDS: usize = 8;

/// The number of received pages that allow one more page to be discarded.
const RECEIVED_PER_DISCARD: usize = 8;

/// The most objects and common prefixes directly under a prefix that fit in one response.
const MAX_LEVEL_ENTRIES: usize = 1_000;

/// A prefix that is listed page by page.
struct Prefix {
    /// The prefix that is requested: empty, or ending in `/`.
    dir: String,
    /// The prefix that is split. It is `dir`, or longer if all keys under `dir` have a longer
    /// prefix in common.
    common_dir: String,
    pages: Pages,
    pages_received: usize,
    /// The names that the pages have shown directly under `common_dir`. Directories end in `/`.
    children: HashSet<Box<[u8]>>,
    /// The number of directories that each of the last pages was the first to show.
    new_dirs: [usize; MIN_PAGES_TO_SPLIT],
    split: SplitState,
}

enum SplitState {
    /// The prefix may be split once it has filled this number of pages.
    AfterPages(usize),
    /// The level was requested.
    InFlight,
    Never,
}

impl Prefix {
    fn new(dir: String, pages: Pages) -> Prefix {
        let mut prefix = Prefix {
            common_dir: dir.clone(),
            dir,
            pages_received: pages.received.len(),
            pages,
            children: HashSet::new(),
            new_dirs: [0; MIN_PAGES_TO_SPLIT],
            split: SplitState::AfterPages(MIN_PAGES_TO_SPLIT),
        };
        prefix.note_children(0);
        prefix
    }

    /// Notes the children that the pages from index `first` on show.
    fn note_children(&mut self, first: usize) {
        let mut last: &[u8] = &[];
        for page in self.pages.received.iter().skip(first) {
            let mut new_dirs = 0;
            for entry in page.iter().filter(|entry| !entry.is_marker()) {
                let Some(path) = entry.path().strip_prefix(self.common_dir.as_bytes()) else {
                    self.split = SplitState::Never;
                    return;
                };
                let child = path.split_inclusive(|byte| *byte == b'/').next().unwrap_or_default();
                if child != last && !self.children.contains(child) {
                    self.children.insert(child.into());
                    new_dirs += usize::from(child.ends_with(b"/"));
                }
                last = child;
            }
            self.new_dirs.rotate_left(1);
            self.new_dirs[MIN_PAGES_TO_SPLIT - 1] = new_dirs;
        }
        if self.children.len() > MAX_LEVEL_ENTRIES {
            self.split = SplitState::Never;
            self.children = HashSet::new();
        }
    }

    /// Whether a split seems to save time: the last pages have shown at most one new directory
    /// each, on average, so a directory is expected to fill at least a page.
    fn is_worth_splitting(&self) -> bool {
        matches!(self.split, SplitState::AfterPages(pages) if self.pages_received >= pages)
            && self.new_dirs.iter().sum::<usize>() <= MIN_PAGES_TO_SPLIT
            && self.children.iter().any(|child| child.ends_with(b"/"))
    }

    /// The objects and common prefixes of the level of `common_dir`. `None` if one of the first
    /// three conditions of the module documentation does not hold.
    fn conclusive_level(&self, page: Page) -> Option<(Vec<ListedEntry>, Vec<String>)> {
        let mut objects = page.entries;
        // Some stores list the marker of a directory in addition to the directory.
        objects.retain(|entry| !entry.is_marker());
        let dirs = page.dirs.filter(|_| page.next.is_none())?;
        let below = |path| <[u8]>::strip_prefix(path, self.common_dir.as_bytes());
        let mut level = HashSet::new();
        for object in &objects {
            let name = below(object.path()).filter(|name| !name.contains(&b'/'))?;
            level.insert(name).then_some(())?;
        }
        for dir in &dirs {
            let name = below(dir.as_bytes())?;
            let slash = name.iter().position(|byte| *byte == b'/')?;
            (slash + 1 == name.len() && level.insert(name)).then_some(())?;
        }
        self.children.iter().all(|child| level.contains(&**child)).then_some((objects, dirs))
    }
}

/// The prefixes of one listing, whose pages [`run`](crate::worker_pool::run) fetches.
pub(super) struct Prefixes<'a> {
    /// The prefixes that are not completely listed. The id of the first one is zero.
    open: BTreeMap<usize, Prefix>,
    /// The entries of all others.
    finished: Vec<Vec<ListedEntry>>,
    next_id: usize,
    may_split: bool,
    scan: &'a OnceLock<Option<Scan>>,
    limit: &'a dyn Fn() -> usize,
    pages_received: usize,
    /// The number of pages among them that were discarded.
    pages_discarded: usize,
    /// Condition 4 of the module documentation failed, so the whole bucket is listed again.
    is_unreliable: bool,
    failed: Option<Error>,
}

impl<'a> Prefixes<'a> {
    /// Continues after `pages`. Without `may_split`, all further pages are requested in one
    /// sequence.
    pub(super) fn new(
        pages: Pages,
        may_split: bool,
        scan: &'a OnceLock<Option<Scan>>,
        limit: &'a dyn Fn() -> usize,
    ) -> Prefixes<'a> {
        let root = Prefix::new(String::new(), pages);
        Prefixes {
            pages_received: root.pages_received,
            open: BTreeMap::from([(0, root)]),
            finished: Vec::new(),
            next_id: 1,
            may_split,
            scan,
            limit,
            pages_discarded: 0,
            is_unreliable: false,
            failed: None,
        }
    }

    /// All pages of the bucket. If it has to be listed again, no pages. If the store repeats a page
    /// of an unsplit bucket, the pages so far.
    pub(super) fn into_pages(self) -> Result<Pages> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.is_unreliable {
            return Ok(Pages::new(ListFrom::Beginning));
        }
        let repeated = self.open.into_values().next().map(|prefix| prefix.pages);
        Ok(repeated.unwrap_or_else(|| Pages::complete(self.finished)))
    }

    /// Adds the next page of a prefix.
    fn add_page(&mut self, id: usize, page: Result<Page>) {
        self.pages_received += 1;
        let Some(prefix) = self.open.get_mut(&id) else {
            // It was split in the meantime.
            self.pages_discarded += 1;
            return;
        };
        let is_part = id > 0;
        let page = match page {
            Ok(page) => page,
            Err(error)
                if is_part
                    && prefix.pages.received.is_empty()
                    && !concerns_whole_listing(&error) =>
            {
                self.is_unreliable = true;
                return;
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                return;
            }
        };
        let known = prefix.pages.received.len();
        prefix.pages.add(page.entries, page.next);
        prefix.pages_received += 1;
        if !matches!(prefix.split, SplitState::Never) {
            prefix.note_children(known);
        }
        if prefix.pages.are_complete() {
            self.is_unreliable |= is_part && prefix.pages.received.is_empty();
            let finished = self.open.remove(&id).into_iter();
            self.finished.extend(finished.flat_map(|prefix| prefix.pages.received));
        } else if prefix.pages.are_repeated() {
            self.is_unreliable |= is_part;
            prefix.split = SplitState::Never;
        }
    }

    /// Splits a prefix, given the response to the request for its level. If the prefix was
    /// completely listed before, or if the level is not conclusive, nothing changes.
    fn split(&mut self, id: usize, level: Result<Page>) {
        let Some(prefix) = self.open.get_mut(&id) else { return };
        if matches!(prefix.split, SplitState::Never) {
            return;
        }
        prefix.split = SplitState::Never;
        let level = level.ok().and_then(|page| prefix.conclusive_level(page));
        let Some((objects, dirs)) = level else { return };
        if objects.is_empty()
            && let [only] = &dirs[..]
        {
            // The same keys, one level down.
            prefix.common_dir.clone_from(only);
            prefix.children.clear();
            prefix.split = SplitState::AfterPages(MIN_PAGES_TO_SPLIT);
            prefix.note_children(0);
        } else if dirs.len() > prefix.pages_received * MAX_IN_FLIGHT {
            // They may all be small. The more there are, the more pages must show that they are
            // not.
            prefix.split = SplitState::AfterPages(dirs.len().div_ceil(MAX_IN_FLIGHT));
        } else {
            self.pages_discarded += prefix.pages_received;
            self.open.remove(&id);
            self.finished.push(objects);
            for dir in dirs {
                let part = Prefix::new(dir, Pages::new(ListFrom::Beginning));
                self.open.insert(self.next_id, part);
                self.next_id += 1;
            }
        }
    }

    /// The number of pages that further splits may discard. `None` if too many are discarded
    /// already.
    fn discards_left(&self) -> Option<usize> {
        let in_flight =
            self.open.values().filter(|prefix| matches!(prefix.split, SplitState::InFlight));
        let at_risk: usize = in_flight.map(|prefix| prefix.pages_received).sum();
        let allowed = FREE_DISCARDS + self.pages_received / RECEIVED_PER_DISCARD;
        allowed.checked_sub(self.pages_discarded + at_risk)
    }
}

impl JobSource for Prefixes<'_> {
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
        // All prefixes advance at the same pace, so that no large one is left over for the end.
        let ready = self.open.iter_mut().filter(|(_, prefix)| prefix.pages.are_ready());
        if let Some((id, prefix)) = ready.min_by_key(|(_, prefix)| prefix.pages_received) {
            let from = prefix.pages.take_next()?;
            return Some(PageRequest { id: *id, dir: prefix.dir.clone(), from });
        }
        if !self.may_split || self.limit() < 2 {
            return None;
        }
        let discards_left = self.discards_left()?;
        let (id, prefix) = self.open.iter_mut().find(|(_, prefix)| {
            prefix.pages_received <= discards_left && prefix.is_worth_splitting()
        })?;
        prefix.split = SplitState::InFlight;
        Some(PageRequest { id: *id, dir: prefix.common_dir.clone(), from: ListFrom::OneLevel })
    }

    fn limit(&self) -> usize {
        (self.limit)()
    }

    fn done(&mut self, (request, page): Self::Outcome) {
        match request.from {
            ListFrom::OneLevel => self.split(request.id, page),
            _ => self.add_page(request.id, page),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, iter};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::paths,
        remote::simulated_store::{Flaw, SimulatedStore, numbered_keys, size_of},
    };

    /// The flaws that lose no key, whatever was listed before they show.
    const DETECTED_FLAWS: [Flaw; 11] = [
        Flaw::None,
        Flaw::IgnoresDelimiter,
        Flaw::RefusesDelimiter,
        Flaw::TruncatesLevels,
        Flaw::AddsDeeperKeysToLevels,
        Flaw::ListsMarkersTwice,
        Flaw::OmitsMarkers,
        Flaw::RepeatsDirs,
        Flaw::InventsDirs,
        Flaw::MisreadsPrefixes,
        Flaw::RefusesPrefixes,
    ];

    /// The paths that are listed, sorted and without markers. `pick` chooses which of the requests
    /// in flight gets its response next.
    fn list(
        store: &SimulatedStore,
        workers: usize,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Vec<String> {
        let (scan, limit) = (OnceLock::new(), || workers);
        let mut pages = Pages::new(ListFrom::Beginning);
        for may_split in [workers > 1, false] {
            if !pages.are_complete() {
                let mut prefixes = Prefixes::new(pages, may_split, &scan, &limit);
                let mut in_flight = Vec::new();
                loop {
                    let more = workers + workers / 4 + 1 - in_flight.len();
                    in_flight.extend(iter::from_fn(|| prefixes.next()).take(more));
                    if in_flight.is_empty() {
                        break;
                    }
                    let request = in_flight.remove(pick(in_flight.len().min(workers)));
                    let page = store.page(&request);
                    prefixes.done((request, page));
                }
                pages = prefixes.into_pages().unwrap();
            }
        }
        assert!(pages.are_complete());
        let entries = pages.received.iter().flatten().filter(|entry| !entry.is_marker());
        let paths = entries.map(|entry| String::from_utf8(entry.path().to_owned()).unwrap());
        let mut paths: Vec<String> = paths.collect();
        paths.sort();
        paths
    }

    fn list_in_turn(store: &SimulatedStore, workers: usize) -> Vec<String> {
        list(store, workers, |_| 0)
    }

    #[test]
    fn large_directories_take_few_more_requests_than_pages() {
        for keys in [
            numbered_keys(20_000),
            (0..20_000).map(|n| format!("data/all/{:02}/image-{n:05}.jpeg", n / 1_000)).collect(),
            (0..20_000).map(|n| format!("{:02}/image-{n:05}.jpeg", n / 500)).collect(),
        ] {
            let store = SimulatedStore::new(keys.clone(), 100);
            assert!(list_in_turn(&store, 4) == keys);
            assert!((202..=225).contains(&store.requests()), "{}", store.requests());
            assert!(store.level_requests() > 0);
            let store = SimulatedStore::new(keys.clone(), 100);
            assert!(list_in_turn(&store, 1) == keys);
            assert_eq!(store.requests(), 200);
        }
    }

    #[test]
    fn splits_that_would_not_save_time_are_not_made() {
        for keys in [
            // Directories of a few files each: 4,000 of them, which is more than a level can have,
            // then 800 and 80. One directory of files. A large directory, followed by small ones.
            (0..20_000).map(|n| format!("{:04}/{n:05}", n / 5)).collect(),
            (0..20_000).map(|n| format!("{:04}/{n:05}", n / 25)).collect(),
            (0..2_000).map(|n| format!("{:04}/{n:05}", n / 25)).collect(),
            (0..20_000).map(|n| format!("data/all/2026/image-{n:05}.jpeg")).collect(),
            (0..20_000).map(|n: usize| format!("data/{:04}/{n:05}", n.max(2_000) / 25)).collect(),
        ] {
            let keys: Vec<String> = keys;
            let store = SimulatedStore::new(keys.clone(), 100);
            assert!(list_in_turn(&store, 4) == keys);
            let pages = keys.len() / 100;
            assert!((pages..=pages + 6).contains(&store.requests()), "{}", store.requests());
        }
        // Many workers are idle, and every directory could be split again: still few pages are
        // discarded.
        let keys = (0..20_000).map(|n| format!("{:02}/{:02}/{n:05}", n / 1_000, n / 200));
        let keys = Vec::from_iter(keys);
        let store = SimulatedStore::new(keys.clone(), 100);
        assert!(list_in_turn(&store, 32) == keys);
        assert!((205..=290).contains(&store.requests()), "{}", store.requests());
        for few in [0, 1, 100, 300] {
            let store = SimulatedStore::new(numbered_keys(few), 100);
            assert!(list_in_turn(&store, 4) == numbered_keys(few));
            assert_eq!(store.requests(), few.div_ceil(100).max(1));
        }
    }

    #[test]
    fn flawed_store_is_listed_completely() {
        let flaws = [Flaw::OmitsDirs, Flaw::OmitsObjects];
        for flaw in DETECTED_FLAWS.into_iter().chain(flaws) {
            let objects = (0..30).map(|n| format!("0-{n:04}"));
            let dirs = (0..2_000).map(|n| format!("{}/{n:04}", ["a", "b"][n / 1_000]));
            let keys = Vec::from_iter(objects.chain(dirs));
            let mut store = SimulatedStore::new(keys.clone(), 50);
            store.flaw = flaw;
            assert!(list_in_turn(&store, 4) == keys, "{flaw:?}");
            assert!(store.level_requests() > 0);
        }
    }

    fn key() -> impl Strategy<Value = String> {
        "(/|[ab]{1,2}|é)([/!.a][ab/]{1,2}){0,3}/?"
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Whatever the order of the store is, and whatever it does with a delimiter.
        #[test]
        fn every_key_is_listed_exactly_once(
            keys in prop::collection::btree_set(key(), 0..150),
            page_size in 1usize..12,
            workers in 1usize..6,
            order in 0..3,
            seed in any::<u64>(),
            sorts_pages in any::<bool>(),
            flaw in prop::sample::select(&DETECTED_FLAWS[..]),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut in_order: Vec<String> = keys.iter().cloned().collect();
            match order {
                0 => {}
                1 => in_order.sort_by(|a, b| paths::tree_order(a, b)),
                _ => random.shuffle(&mut in_order),
            }
            let mut store = SimulatedStore::new(in_order, page_size);
            (store.sorts_pages, store.flaw) = (sorts_pages, flaw);
            let is_marker = |key: &String| key.ends_with('/') && size_of(key) == 0;
            let expected: BTreeSet<String> =
                keys.into_iter().filter(|key| !is_marker(key)).collect();
            let listed = list(&store, workers, |count| random.usize(..count));
            prop_assert_eq!(listed, Vec::from_iter(expected));
        }
    }
}
