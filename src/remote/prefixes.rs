//! Prefixes, side by side.
//!
//! What stands under a prefix is the objects right under it and what stands under each of its common
//! prefixes, in whatever order a store lists. So a listing begins with one prefix, that of the run. Once it
//! has filled some pages and a worker is idle, the store is asked for what is right under the prefix, while
//! the listing goes on. If the answer is one whole page that leaves no doubt, its common prefixes are listed
//! in place of what they stem from, and may be split in turn. What had been listed of that is thrown away:
//! only the store's order could tell what of it is still missing. So nothing is split that seems to consist
//! of less than a page for each request, nor where too much has been thrown away already.
//!
//! All rests on the store's finding under a common prefix what it named it for. Where it doesn't (it may
//! read a prefix otherwise than it writes it), all is listed anew, in one.

use std::{
    collections::{BTreeMap, HashSet},
    sync::OnceLock,
};

use super::{Found, Page, Pages, SIDE_BY_SIDE, is_final};
use crate::{
    error::{Error, Result},
    local::Scan,
    s3::ListFrom,
    worker_pool::JobSource,
};

/// How many pages a prefix has to fill before it may be split. So a bucket of a few pages is listed in as
/// many requests.
const PAGES_PER_SPLIT: usize = 3;

/// How many pages may be thrown away, beside one in eight.
const PAGES_TO_SPARE: usize = 8;

/// The most that is right under a prefix and still in one answer.
const MOST_IN_LEVEL: usize = 1_000;

/// What to ask the store for.
pub(super) struct Ask {
    node: usize,
    /// Nothing, or a path that ends in `/`.
    pub dir: String,
    pub from: ListFrom,
}

/// What is listed page after page.
struct Node {
    dir: String,
    /// The same or longer: what all its paths begin with, as the store has said.
    shared: String,
    pages: Pages,
    /// How many pages it has filled.
    filled: usize,
    /// What was seen right under `shared`, directories with their `/`.
    children: HashSet<Box<[u8]>>,
    /// How many directories each of the last pages was the first to show.
    new_dirs: [usize; PAGES_PER_SPLIT],
    split: Split,
}

enum Split {
    /// When it has filled that many pages.
    After(usize),
    UnderWay,
    Never,
}

impl Node {
    fn new(dir: String, pages: Pages) -> Node {
        let mut node = Node {
            shared: dir.clone(),
            dir,
            filled: pages.found.len(),
            pages,
            children: HashSet::new(),
            new_dirs: [0; PAGES_PER_SPLIT],
            split: Split::After(PAGES_PER_SPLIT),
        };
        node.look_from(0);
        node
    }

    /// Takes note of what is right under it, on the pages from one on.
    fn look_from(&mut self, page: usize) {
        let mut last: &[u8] = &[];
        for page in self.pages.found.iter().skip(page) {
            let mut dirs = 0;
            for found in page.iter().filter(|found| !found.is_nothing()) {
                let Some(path) = found.path().strip_prefix(self.shared.as_bytes()) else {
                    self.split = Split::Never;
                    return;
                };
                let child = path.split_inclusive(|byte| *byte == b'/').next().unwrap_or_default();
                if child != last && !self.children.contains(child) {
                    self.children.insert(child.into());
                    dirs += usize::from(child.ends_with(b"/"));
                }
                last = child;
            }
            self.new_dirs.rotate_left(1);
            self.new_dirs[PAGES_PER_SPLIT - 1] = dirs;
        }
        if self.children.len() > MOST_IN_LEVEL {
            self.split = Split::Never;
            self.children = HashSet::new();
        }
    }

    /// Whether its directories seem to be worth a request each, as far as its last pages tell.
    fn is_worth_a_split(&self) -> bool {
        matches!(self.split, Split::After(pages) if self.filled >= pages)
            && self.new_dirs.iter().sum::<usize>() <= PAGES_PER_SPLIT
            && self.children.iter().any(|child| child.ends_with(b"/"))
    }

    /// The objects and the directories right under it, if the store's answer leaves no doubt.
    fn level(&self, page: Page) -> Option<(Vec<Found>, Vec<String>)> {
        let mut objects = page.found;
        // Some stores show the marker of a directory beside the directory.
        objects.retain(|found| !found.is_nothing());
        let dirs = page.dirs.filter(|_| page.next.is_none())?;
        let below = |path| <[u8]>::strip_prefix(path, self.shared.as_bytes());
        let mut level = HashSet::new();
        for object in &objects {
            let name = below(object.path()).filter(|name| !name.contains(&b'/'))?;
            level.insert(name).then_some(())?;
        }
        for dir in &dirs {
            let name = below(dir.as_bytes())?;
            let at = name.iter().position(|byte| *byte == b'/')?;
            (at + 1 == name.len() && level.insert(name)).then_some(())?;
        }
        self.children.iter().all(|child| level.contains(&**child)).then_some((objects, dirs))
    }
}

/// The prefixes of one listing, as [`run`](crate::worker_pool::run) fetches their pages.
pub(super) struct Prefixes<'a> {
    /// Those that are not listed to their ends.
    nodes: BTreeMap<usize, Node>,
    /// What is listed of all others.
    found: Vec<Vec<Found>>,
    /// How many nodes there ever were.
    begun: usize,
    may_split: bool,
    scan: &'a OnceLock<Option<Scan>>,
    limit: &'a dyn Fn() -> usize,
    /// How many pages have come.
    filled: usize,
    /// How many of them were in vain.
    thrown: usize,
    /// A prefix was refused, or is not what it was named as: what was split is worth nothing.
    distrusted: bool,
    failed: Option<Error>,
}

impl<'a> Prefixes<'a> {
    /// Goes on from `begun`. Without `may_split`, page after page.
    pub(super) fn new(
        begun: Pages,
        may_split: bool,
        scan: &'a OnceLock<Option<Scan>>,
        limit: &'a dyn Fn() -> usize,
    ) -> Prefixes<'a> {
        let root = Node::new(String::new(), begun);
        Prefixes {
            filled: root.filled,
            nodes: BTreeMap::from([(0, root)]),
            found: Vec::new(),
            begun: 1,
            may_split,
            scan,
            limit,
            thrown: 0,
            distrusted: false,
            failed: None,
        }
    }

    /// What is listed: all, or nothing. Where a page repeats, it is neither.
    pub(super) fn into_pages(self) -> Result<Pages> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.distrusted {
            return Ok(Pages::new(ListFrom::Beginning));
        }
        let stuck = self.nodes.into_values().next().map(|node| node.pages);
        Ok(stuck.unwrap_or_else(|| Pages::all(self.found)))
    }

    /// A page of a node has come.
    fn add(&mut self, id: usize, page: Result<Page>) {
        self.filled += 1;
        let Some(node) = self.nodes.get_mut(&id) else {
            self.thrown += 1;
            return;
        };
        let is_part = id > 0;
        let page = match page {
            Ok(page) => page,
            Err(error) if is_part && node.pages.found.is_empty() && !is_final(&error) => {
                self.distrusted = true;
                return;
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                return;
            }
        };
        let known = node.pages.found.len();
        node.pages.add(page.found, page.next);
        node.filled += 1;
        if !matches!(node.split, Split::Never) {
            node.look_from(known);
        }
        if node.pages.are_all() {
            self.distrusted |= is_part && node.pages.found.is_empty();
            self.found.extend(self.nodes.remove(&id).into_iter().flat_map(|node| node.pages.found));
        } else if node.pages.is_stuck() {
            self.distrusted |= is_part;
            node.split = Split::Never;
        }
    }

    /// The answer has come to what is right under a node. If that has ended first, or if the answer is
    /// none, all stays as it is.
    fn split(&mut self, id: usize, page: Result<Page>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if matches!(node.split, Split::Never) {
            return;
        }
        node.split = Split::Never;
        let Some((objects, dirs)) = page.ok().and_then(|page| node.level(page)) else { return };
        if objects.is_empty()
            && let [only] = &dirs[..]
        {
            // It is the same, one level down.
            node.shared.clone_from(only);
            node.children.clear();
            node.split = Split::After(PAGES_PER_SPLIT);
            node.look_from(0);
        } else if dirs.len() > node.filled * SIDE_BY_SIDE {
            // They may all be small: the more of them, the more has to be known.
            node.split = Split::After(dirs.len().div_ceil(SIDE_BY_SIDE));
        } else {
            self.thrown += node.filled;
            self.nodes.remove(&id);
            self.found.push(objects);
            for dir in dirs {
                let node = Node::new(dir, Pages::new(ListFrom::Beginning));
                self.nodes.insert(self.begun, node);
                self.begun += 1;
            }
        }
    }
}

impl JobSource for Prefixes<'_> {
    type Job = Ask;
    type Outcome = (Ask, Result<Page>);

    fn next(&mut self) -> Option<Ask> {
        if let Some(None) = self.scan.get() {
            self.failed.get_or_insert_with(Error::interrupted);
        }
        if self.failed.is_some() || self.distrusted {
            return None;
        }
        // All at the same pace: the large ones, whichever they are, should not be left over for the end.
        let ready = self.nodes.iter_mut().filter(|(_, node)| node.pages.is_ready());
        if let Some((id, node)) = ready.min_by_key(|(_, node)| node.filled) {
            let from = node.pages.take()?;
            return Some(Ask { node: *id, dir: node.dir.clone(), from });
        }
        if !self.may_split || self.limit() < 2 {
            return None;
        }
        let at_stake = self.nodes.values().filter(|node| matches!(node.split, Split::UnderWay));
        let gone = self.thrown + at_stake.map(|node| node.filled).sum::<usize>();
        let left = (PAGES_TO_SPARE + self.filled / 8).checked_sub(gone)?;
        let mut open = self.nodes.iter_mut();
        let (id, node) = open.find(|(_, node)| node.filled <= left && node.is_worth_a_split())?;
        node.split = Split::UnderWay;
        Some(Ask { node: *id, dir: node.shared.clone(), from: ListFrom::OneLevel })
    }

    fn limit(&self) -> usize {
        (self.limit)()
    }

    fn done(&mut self, (ask, page): Self::Outcome) {
        match ask.from {
            ListFrom::OneLevel => self.split(ask.node, page),
            _ => self.add(ask.node, page),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        error::Cause,
        model::{etag::ETag, paths, time::Timestamp},
        s3::Listed,
    };

    /// A store, as far as a listing sees it.
    struct Store {
        /// In the order in which it lists.
        keys: Vec<String>,
        page_size: usize,
        sorts_pages: bool,
        flaw: Flaw,
        /// How many pages it was asked for, and how many of them were of what is right under a prefix.
        pages: Cell<usize>,
        levels: Cell<usize>,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Flaw {
        None,
        IgnoresDelimiter,
        RefusesDelimiter,
        TruncatesLevels,
        ListsAll,
        ShowsMarkersTwice,
        HidesMarkers,
        NamesDirsTwice,
        LeavesOutDirs,
        LeavesOutObjects,
        NamesWhatIsNotThere,
        /// The prefix with an `a` in it, as if it were another.
        Misreads,
        RefusesPrefixes,
    }

    /// Those that nothing is lost by, whatever was listed before they show.
    const SEEN_AT_ONCE: [Flaw; 11] = [
        Flaw::None,
        Flaw::IgnoresDelimiter,
        Flaw::RefusesDelimiter,
        Flaw::TruncatesLevels,
        Flaw::ListsAll,
        Flaw::ShowsMarkersTwice,
        Flaw::HidesMarkers,
        Flaw::NamesDirsTwice,
        Flaw::NamesWhatIsNotThere,
        Flaw::Misreads,
        Flaw::RefusesPrefixes,
    ];

    impl Store {
        fn new(keys: Vec<String>, page_size: usize) -> Store {
            let (pages, levels) = (Cell::new(0), Cell::new(0));
            Store { keys, page_size, sorts_pages: false, flaw: Flaw::None, pages, levels }
        }

        fn page(&self, ask: &Ask) -> Result<Page> {
            self.pages.set(self.pages.get() + 1);
            let refused = || Error::new("list", "", Cause::Malformed("refused".to_owned()));
            let is_level = matches!(ask.from, ListFrom::OneLevel);
            self.levels.set(self.levels.get() + usize::from(is_level));
            match self.flaw {
                Flaw::RefusesDelimiter if is_level => return Err(refused()),
                Flaw::RefusesPrefixes if !is_level && !ask.dir.is_empty() => return Err(refused()),
                _ => {}
            }
            let misread = self.flaw == Flaw::Misreads && ask.dir.contains('a') && !is_level;
            let keys = self.keys.iter().filter(|key| key.starts_with(&ask.dir) && !misread);
            let keys: Vec<&str> = keys.map(String::as_str).collect();
            let mut names: Vec<&str> = match &ask.from {
                ListFrom::Token(last) => {
                    keys.into_iter().skip_while(|key| key != last).skip(1).collect()
                }
                ListFrom::OneLevel if self.flaw != Flaw::IgnoresDelimiter => {
                    let mut names = Vec::new();
                    for key in keys {
                        let slash = key[ask.dir.len()..].find('/');
                        let name = slash.map_or(key, |at| &key[..ask.dir.len() + at + 1]);
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                    names
                }
                _ => keys,
            };
            let size = if is_level { 1_000 } else { self.page_size };
            let mut next = (names.len() > size).then(|| names[size - 1].to_owned());
            names.truncate(size);
            if self.sorts_pages {
                names.sort();
            }
            let mut dirs = Vec::new();
            if is_level && self.flaw != Flaw::IgnoresDelimiter {
                let below = |key: &&String| {
                    key.strip_prefix(&*ask.dir).is_some_and(|rest| rest.contains('/'))
                };
                let is_dir = |name: &&str| name[ask.dir.len()..].contains('/');
                dirs = names.iter().filter(|name| is_dir(name)).map(ToString::to_string).collect();
                let is_marker =
                    |name: &str| self.keys.iter().any(|key| key == name) && size_of(name) == 0;
                let shows = self.flaw == Flaw::ShowsMarkersTwice;
                names.retain(|name| !is_dir(name) || shows && is_marker(name));
                match self.flaw {
                    Flaw::TruncatesLevels => {
                        next = dirs.pop().or_else(|| Some(names.pop()?.to_owned()));
                    }
                    Flaw::ListsAll => {
                        names.extend(self.keys.iter().filter(below).map(String::as_str))
                    }
                    Flaw::HidesMarkers => names.retain(|name| !is_marker(name)),
                    Flaw::NamesDirsTwice => dirs.extend(dirs.first().cloned()),
                    Flaw::LeavesOutDirs => drop(dirs.drain(..dirs.len().min(1))),
                    Flaw::LeavesOutObjects => names.clear(),
                    Flaw::NamesWhatIsNotThere => dirs.push(format!("{}none/", ask.dir)),
                    _ => {}
                }
            }
            let found = names.into_iter().filter_map(|name| {
                let (modified, etag) = (Timestamp::from_secs(0), ETag::None);
                let key = Ok(name.to_owned());
                Found::new(Listed { key, size: size_of(name), modified, etag }, "")
            });
            Ok(Page { found: found.collect(), dirs: Some(dirs), next })
        }

        /// All that it holds, as the listing has it; `pick` says which of the requests under way is the
        /// next to be answered.
        fn listed(&self, workers: usize, mut pick: impl FnMut(usize) -> usize) -> Vec<String> {
            let (scan, limit) = (OnceLock::new(), || workers);
            let mut pages = Pages::new(ListFrom::Beginning);
            for may_split in [workers > 1, false] {
                if !pages.are_all() {
                    let mut prefixes = Prefixes::new(pages, may_split, &scan, &limit);
                    let mut asked = Vec::new();
                    loop {
                        let more = workers + workers / 4 + 1 - asked.len();
                        asked.extend(std::iter::from_fn(|| prefixes.next()).take(more));
                        if asked.is_empty() {
                            break;
                        }
                        let ask = asked.remove(pick(asked.len().min(workers)));
                        let page = self.page(&ask);
                        prefixes.done((ask, page));
                    }
                    pages = prefixes.into_pages().unwrap();
                }
            }
            assert!(pages.are_all());
            let found = pages.found.iter().flatten().filter(|found| !found.is_nothing());
            let paths = found.map(|found| String::from_utf8(found.path().to_owned()).unwrap());
            let mut paths: Vec<String> = paths.collect();
            paths.sort();
            paths
        }

        fn listed_in_turn(&self, workers: usize) -> Vec<String> {
            self.listed(workers, |_| 0)
        }
    }

    /// Most keys that end in `/` are markers.
    fn size_of(key: &str) -> u64 {
        u64::from(!key.ends_with('/') || key.len().is_multiple_of(5))
    }

    fn numbered(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("dir-{:02}/{:03}/file-{n:06}", n / 10_000, n / 100)).collect()
    }

    #[test]
    fn large_directories_take_little_more_than_a_request_a_page() {
        for keys in [
            numbered(20_000),
            (0..20_000).map(|n| format!("data/all/{:02}/image-{n:05}.jpeg", n / 1_000)).collect(),
            (0..20_000).map(|n| format!("{:02}/image-{n:05}.jpeg", n / 500)).collect(),
        ] {
            let store = Store::new(keys.clone(), 100);
            assert!(store.listed_in_turn(4) == keys);
            assert!((202..=225).contains(&store.pages.get()), "{:?}", store.pages);
            assert!(store.levels.get() > 0);
            let store = Store::new(keys.clone(), 100);
            assert!(store.listed_in_turn(1) == keys);
            assert_eq!(store.pages.get(), 200);
        }
    }

    #[test]
    fn what_is_not_worth_it_is_listed_in_one() {
        for keys in [
            // Directories of a few files each, more or fewer than an answer holds, a directory of files, and
            // what begins with a large directory.
            (0..20_000).map(|n| format!("{:04}/{n:05}", n / 5)).collect(),
            (0..20_000).map(|n| format!("{:04}/{n:05}", n / 25)).collect(),
            (0..2_000).map(|n| format!("{:04}/{n:05}", n / 25)).collect(),
            (0..20_000).map(|n| format!("data/all/2026/image-{n:05}.jpeg")).collect(),
            (0..20_000).map(|n: usize| format!("data/{:04}/{n:05}", n.max(2_000) / 25)).collect(),
        ] {
            let keys: Vec<String> = keys;
            let store = Store::new(keys.clone(), 100);
            assert!(store.listed_in_turn(4) == keys);
            let pages = keys.len() / 100;
            assert!((pages..=pages + 6).contains(&store.pages.get()), "{:?}", store.pages);
        }
        // Where much is idle, and all of it could be split once more, not too much of it is.
        let keys = (0..20_000).map(|n| format!("{:02}/{:02}/{n:05}", n / 1_000, n / 200));
        let keys = Vec::from_iter(keys);
        let store = Store::new(keys.clone(), 100);
        assert!(store.listed_in_turn(32) == keys);
        assert!((205..=290).contains(&store.pages.get()), "{:?}", store.pages);
        for few in [0, 1, 100, 300] {
            let store = Store::new(numbered(few), 100);
            assert!(store.listed_in_turn(4) == numbered(few));
            assert_eq!(store.pages.get(), few.div_ceil(100).max(1));
        }
    }

    #[test]
    fn what_does_not_hold_what_it_should_is_listed_in_one() {
        let flaws = [Flaw::LeavesOutDirs, Flaw::LeavesOutObjects];
        for flaw in SEEN_AT_ONCE.into_iter().chain(flaws) {
            let objects = (0..30).map(|n| format!("0-{n:04}"));
            let dirs = (0..2_000).map(|n| format!("{}/{n:04}", ["a", "b"][n / 1_000]));
            let keys = Vec::from_iter(objects.chain(dirs));
            let mut store = Store::new(keys.clone(), 50);
            store.flaw = flaw;
            assert!(store.listed_in_turn(4) == keys, "{flaw:?}");
            assert!(store.levels.get() > 0);
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

        /// In whatever order a store lists, and whatever it makes of a delimiter.
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            keys in prop::collection::btree_set(key(), 0..150),
            page_size in 1usize..12,
            workers in 1usize..6,
            order in 0..3,
            seed in any::<u64>(),
            sorts_pages in any::<bool>(),
            flaw in prop::sample::select(&SEEN_AT_ONCE[..]),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut listed: Vec<String> = keys.iter().cloned().collect();
            match order {
                0 => {}
                1 => listed.sort_by(|a, b| paths::tree_order(a, b)),
                _ => random.shuffle(&mut listed),
            }
            let mut store = Store::new(listed, page_size);
            (store.sorts_pages, store.flaw) = (sorts_pages, flaw);
            let is_something = |key: &String| !key.ends_with('/') || size_of(key) > 0;
            let expected: BTreeSet<String> = keys.into_iter().filter(is_something).collect();
            let found = store.listed(workers, |count| random.usize(..count));
            prop_assert_eq!(found, Vec::from_iter(expected));
        }
    }
}
