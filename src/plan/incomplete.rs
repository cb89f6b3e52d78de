//! What a backup must not change, because a restore has not finished.
//!
//! After an unfinished restore, a missing file was not deleted by the user, and a different file may be
//! older than its object. So a backup neither deletes nor overwrites an object that the marker of the
//! restore lists, unless the file is proven to have its content.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    mem,
};

use crate::{
    local::{FoundMarker, Marker},
    model::{
        direction::Direction,
        entry::File,
        paths::above,
        skip::{SkipReason, Skipped},
    },
    plan::{
        actions::Transfer,
        plan::{Plan, UnfinishedRestore},
        rule::Reason,
    },
};

/// The objects that the markers of unfinished restores list.
#[derive(Default)]
pub(crate) struct Incomplete {
    /// The location of each marker.
    markers: Vec<String>,
    /// The listed paths, each with the index of a marker.
    listed: HashMap<Box<str>, usize>,
    /// The directories below which everything counts as listed.
    dirs: HashMap<Box<str>, usize>,
}

impl Incomplete {
    pub(crate) fn new(markers: Vec<Marker>) -> Incomplete {
        let mut incomplete = Incomplete::default();
        for (index, marker) in markers.into_iter().enumerate() {
            incomplete.markers.push(marker.location.display().to_string());
            match marker.paths {
                Some(paths) => {
                    incomplete.listed.extend(paths.into_iter().map(|path| (path.into(), index)));
                }
                None => {
                    incomplete.dirs.insert(marker.dir.into(), index);
                }
            }
        }
        incomplete
    }

    /// Protects files that the store keeps as the object of a listed name: pairs of the name of the file
    /// and that of the object.
    pub(crate) fn add_spellings(&mut self, spellings: &[(Box<str>, Box<str>)]) {
        for (file, object) in spellings {
            if let Some(index) = self.listed.get(object).copied() {
                self.listed.insert(file.clone(), index);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.dirs.is_empty()
    }

    /// The marker that lists `path`, if any.
    fn marker_of(&self, path: &str) -> Option<&str> {
        let dirs = above(path).chain([""]).filter_map(|dir| self.dirs.get(dir));
        let index = self.listed.get(path).into_iter().chain(dirs).next()?;
        self.markers.get(*index).map(String::as_str)
    }

    /// The marker that lists the object of a file. The file may be read through a link: what the
    /// restore has to write there is the content of this object as well.
    fn marker_of_file(&self, file: &File) -> Option<&str> {
        let target = file.target.as_ref().and_then(|target| target.to_str());
        [Some(&*file.path), target].into_iter().flatten().find_map(|path| self.marker_of(path))
    }

    fn marker_of_transfer(&self, transfer: &Transfer) -> Option<&str> {
        match (&transfer.file, &transfer.object) {
            (Some(file), Some(_)) => self.marker_of_file(file),
            _ => None,
        }
    }
}

impl Plan {
    /// Notes the markers that concern a backup. Returns what they list, which the run must not change.
    ///
    /// If the unfinished restores are accepted, that is nothing, and the run removes the markers in its
    /// directory.
    pub(crate) fn protect_unrestored(
        &mut self,
        mut markers: Vec<Marker>,
        is_accepted: bool,
    ) -> Incomplete {
        if is_accepted {
            // Nothing is removed through a link.
            markers.retain(|marker| !marker.is_linked);
            self.markers = markers.iter().filter_map(|marker| marker.path.clone()).collect();
        }
        let note = |marker: &Marker| UnfinishedRestore {
            marker: marker.location.clone(),
            problem: marker.problem.clone().filter(|_| !is_accepted),
            is_accepted,
            is_removed: is_accepted && marker.path.is_some(),
        };
        self.unfinished = markers.iter().map(note).collect();
        if is_accepted { Incomplete::default() } else { Incomplete::new(markers) }
    }

    /// Notes the markers in the root of a restore, which its own marker replaces.
    pub(crate) fn replace_markers(&mut self, found: &[FoundMarker]) {
        let in_root = |marker: &&FoundMarker| !marker.is_linked && !marker.path.contains('/');
        self.markers = found.iter().filter(in_root).map(|marker| marker.path.clone()).collect();
    }

    /// Has the contents of listed pairs compared that the rule transfers without a comparison. Pairs of
    /// different sizes need none.
    pub(crate) fn compare_unrestored(&mut self, incomplete: &Incomplete) {
        if self.direction == Direction::Restore || incomplete.is_empty() {
            return;
        }
        let must_compare = |transfer: &Transfer| {
            transfer.reason != Reason::Size && incomplete.marker_of_transfer(transfer).is_some()
        };
        let transfers = mem::take(&mut self.transfers);
        let (compared, rest): (Vec<_>, Vec<_>) = transfers.into_iter().partition(must_compare);
        self.transfers = rest;
        self.undecided.extend(compared);
    }

    /// The names of the markers that the plan takes into account.
    pub(crate) fn known_markers(&self) -> HashSet<OsString> {
        let names = self.unfinished.iter().filter_map(|restore| restore.marker.file_name());
        names.map(OsString::from).collect()
    }

    /// Skips everything that would overwrite or delete a listed object. All contents were compared.
    pub(crate) fn skip_unrestored(&mut self, incomplete: &Incomplete) {
        if self.direction == Direction::Restore || incomplete.is_empty() {
            return;
        }
        // A file that appears during the run may be older than its object, too.
        let listed = incomplete.listed.keys().chain(incomplete.dirs.keys());
        listed.for_each(|path| self.protected.insert(path));
        let Plan { links, transfers, deletions, skipped, .. } = self;
        let mut skip = |path: &str, marker: Option<&str>| {
            let Some(marker) = marker else { return false };
            let reason = SkipReason::IncompleteRestore(marker.to_owned());
            skipped.push(Skipped { path: path.to_owned(), reason });
            true
        };
        transfers.retain(|pair| !skip(pair.path(), incomplete.marker_of_transfer(pair)));
        // A list has no paths below links to directories: the restore would write to the real ones.
        let any_marker = incomplete.markers.first().map(String::as_str);
        deletions.retain(|deletion| {
            let path = &*deletion.path;
            let below_link = || links.directories.covering(path).and(any_marker);
            !skip(path, incomplete.marker_of(path).or_else(below_link))
        });
        self.recount_emptied();
        self.complete();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn incomplete(markers: &[(&str, Option<&[&str]>)]) -> Incomplete {
        let marker = |(dir, paths): &(&str, Option<&[&str]>)| Marker {
            location: PathBuf::from(format!("{dir}/marker")),
            path: Some(format!("{dir}/marker")),
            is_linked: false,
            dir: dir.to_string(),
            paths: paths.map(|paths| paths.iter().map(|path| path.to_string()).collect()),
            problem: None,
        };
        Incomplete::new(markers.iter().map(marker).collect())
    }

    #[test]
    fn listed_path_and_everything_below_an_unknown_list_is_protected() {
        let both = incomplete(&[("a", Some(&["a/x", "a/y/z"])), ("b/c", None)]);
        for (path, marker) in [
            ("a/x", Some("a/marker")),
            ("a/y/z", Some("a/marker")),
            ("a/y", None),
            ("a/x/below", None),
            ("b/c/d", Some("b/c/marker")),
            ("b/c/d/e", Some("b/c/marker")),
            ("b/cd", None),
            ("b/x", None),
            ("", None),
        ] {
            assert_eq!(both.marker_of(path), marker, "{path}");
        }
        let all = incomplete(&[("", None)]);
        assert_eq!(all.marker_of("a"), Some("/marker"));
        assert_eq!(all.marker_of("a/b"), Some("/marker"));
        assert!(incomplete(&[("a", Some(&[]))]).is_empty());
    }
}
