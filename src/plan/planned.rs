//! What a plan keeps of its own lists, because a program may change them before it executes the plan.
//!
//! | change by the program | consequence |
//! | --- | --- |
//! | a transfer is removed | it withholds the deletions that it would withhold if it failed |
//! | a download is removed | the restore is not complete: its marker lists the path |
//! | a skipped entry is removed | its path stays protected |
//! | a deletion is removed | it is not made |
//! | a deletion is added or changed | the plan is refused |
//!
//! A plan without deletions keeps little but the paths of downloads: 15 to 20 bytes each in source trees,
//! because neighbors share most of their paths. With deletions, it keeps the transfers that one of these may
//! depend on, and a hash of each deletion. It always keeps the uploads of files whose names the store may
//! not distinguish from others, because the check of these names may upload files again.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use crate::{
    model::{
        direction::Direction,
        paths::{above, split},
    },
    plan::{
        actions::{Deletion, Transfer},
        withheld::{Needs, Untransferred},
    },
};

/// What a plan keeps of its own lists.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Hashes of the deletions.
    deletions: HashSet<u64>,
    hasher: RandomState,
    /// The transfers that a deletion, or the check of similar names, may depend on.
    pub transfers: Vec<Untransferred>,
    /// The paths of a restore's transfers.
    pub downloads: PathList,
}

impl Planned {
    pub(super) fn new(
        direction: Direction,
        transfers: &[Transfer],
        deletions: &[Deletion],
        alike: &HashSet<&str>,
    ) -> Planned {
        let mut planned = Planned::default();
        if direction == Direction::Restore {
            transfers.iter().for_each(|transfer| planned.downloads.push(transfer.path()));
        }
        if !deletions.is_empty() {
            planned.deletions = deletions.iter().map(|deletion| planned.hash(deletion)).collect();
        }
        if !(deletions.is_empty() && alike.is_empty()) {
            let index = DeletionIndex::new(deletions);
            let is_needed =
                |entry: &Untransferred| alike.contains(&*entry.path) || index.may_depend_on(entry);
            let entries = transfers.iter().map(|t| Untransferred::of_transfer(t, direction));
            planned.transfers = entries.filter(is_needed).collect();
        }
        planned.transfers.shrink_to_fit();
        planned.downloads.shrink_to_fit();
        planned
    }

    fn hash(&self, deletion: &Deletion) -> u64 {
        let Deletion { path, size, modified, is_link, is_excluded } = deletion;
        self.hasher.hash_one((path, size, modified.nanos(), is_link, is_excluded))
    }

    pub(super) fn has_deletion(&self, deletion: &Deletion) -> bool {
        self.deletions.contains(&self.hash(deletion))
    }

    /// Whether `transfers` has all that matter. Needs little memory if nothing was removed.
    pub(super) fn is_complete(&self, transfers: &[Transfer]) -> bool {
        let mut missing: HashSet<&str> = self.transfers.iter().map(|entry| &*entry.path).collect();
        if !missing.is_empty() {
            transfers.iter().for_each(|transfer| {
                missing.remove(transfer.path());
            });
        }
        let mut paths = transfers.iter().map(Transfer::path);
        let mut has_downloads = true;
        self.downloads.for_each(|path| has_downloads &= paths.next() == Some(path));
        missing.is_empty() && has_downloads
    }
}

/// The deletions, by what they have in common with a transfer that they may depend on.
struct DeletionIndex<'a> {
    paths: HashSet<&'a str>,
    /// The directories above the paths.
    above: HashSet<&'a str>,
    dirs: HashSet<&'a str>,
    sizes: HashSet<u64>,
}

impl<'a> DeletionIndex<'a> {
    fn new(deletions: &'a [Deletion]) -> DeletionIndex<'a> {
        let paths = || deletions.iter().map(|deletion| &*deletion.path);
        DeletionIndex {
            paths: paths().collect(),
            above: paths().flat_map(above).collect(),
            dirs: paths().map(|path| split(path).0).collect(),
            sizes: deletions.iter().map(|deletion| deletion.size).collect(),
        }
    }

    /// Whether the entry may withhold a deletion. Times are ignored.
    fn may_depend_on(&self, entry: &Untransferred) -> bool {
        let path = &*entry.path;
        let conflicts = self.above.contains(path)
            || above(path).chain([path]).any(|above| self.paths.contains(above));
        conflicts
            || match entry.needs {
                Needs::Nothing => false,
                Needs::File(size) => {
                    self.dirs.contains(split(path).0) || self.sizes.contains(&size)
                }
                Needs::Anything => !self.paths.is_empty(),
            }
    }
}

/// A list of paths in little memory: each without what it shares with the one before.
#[derive(Debug, Default)]
pub(super) struct PathList {
    /// The number of bytes that each path shares with the one before.
    shared: Vec<u16>,
    /// The rest of each path, and a NUL, which no path has.
    rests: String,
    last: String,
}

impl PathList {
    fn push(&mut self, path: &str) {
        let same = path.bytes().zip(self.last.bytes()).take_while(|(a, b)| a == b).count();
        let mut shared = same.min(usize::from(u16::MAX));
        while !path.is_char_boundary(shared) {
            shared -= 1;
        }
        self.shared.push(u16::try_from(shared).unwrap_or(0));
        self.rests.push_str(&path[shared..]);
        self.rests.push('\0');
        self.last.truncate(shared);
        self.last.push_str(&path[shared..]);
    }

    fn shrink_to_fit(&mut self) {
        self.shared.shrink_to_fit();
        self.rests.shrink_to_fit();
    }

    pub(super) fn for_each(&self, mut with: impl FnMut(&str)) {
        let mut path = String::new();
        for (shared, rest) in self.shared.iter().zip(self.rests.split_terminator('\0')) {
            path.truncate(usize::from(*shared));
            path.push_str(rest);
            with(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::time::Timestamp, plan::withheld::withhold};

    #[test]
    fn every_entry_that_withholds_a_deletion_is_kept() {
        let paths = ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "ab"];
        let deletions = paths.map(|path| Deletion {
            path: path.into(),
            size: path.len() as u64,
            modified: Timestamp::from_secs(0),
            is_link: false,
            is_excluded: false,
        });
        let needs =
            [Needs::Nothing, Needs::File(1), Needs::File(3), Needs::File(9), Needs::Anything];
        let (mut withheld_by, mut not_kept) = (0, 0);
        for path in paths.into_iter().chain(["a/x", "x", "x/y", "e/f/g/h"]) {
            for needs in needs {
                for deletion in &deletions {
                    let deletions = std::slice::from_ref(deletion);
                    let entry = Untransferred { path: path.into(), needs, changed: None };
                    let is_kept = DeletionIndex::new(deletions).may_depend_on(&entry);
                    let (_, withheld) = withhold(deletions.to_vec(), &[entry], 0);
                    assert_eq!(is_kept, !withheld.is_empty(), "{path} {needs:?} {deletions:?}");
                    withheld_by += u32::from(is_kept);
                    not_kept += u32::from(!is_kept);
                }
            }
        }
        assert!(withheld_by > 0 && not_kept > 0);
    }

    #[test]
    fn path_list_returns_the_paths_in_less_memory() {
        let mut paths: Vec<String> =
            (0..1_000).map(|n| format!("some/directory/{:02}/file-{n:04}", n / 50)).collect();
        paths.extend(["", "ä", "äö", "äü", "a", "\u{1f600}", "\u{1f601}b"].map(str::to_owned));
        let mut list = PathList::default();
        paths.iter().for_each(|path| list.push(path));
        let mut found = Vec::new();
        list.for_each(|path| found.push(path.to_owned()));
        assert_eq!(found, paths);
        assert!(list.rests.len() + 2 * list.shared.len() < 6 * paths.len());
        PathList::default().for_each(|path| panic!("{path}"));
    }
}
