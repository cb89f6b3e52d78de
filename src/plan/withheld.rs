//! Which deletions wait because something else was not transferred.
//!
//! A file may have been renamed, so the entry to delete may be the only copy of a file whose transfer
//! under its new name failed. An [`Untransferred`] entry therefore withholds:
//!
//! | not transferred | withheld deletions |
//! | --- | --- |
//! | any entry | those at, below or above its path |
//! | backup: a file that has no object | those of objects stored before the file's ctime, in its directory or of its size |
//! | backup: a file of unknown size that has no object, or a directory | those of all objects stored before its ctime, or of all if that is unknown |
//! | restore: an object | those of files in its directory or of its size |
//!
//! A rename changes the ctime of a file and of the directory that it is moved into. An object that was
//! stored later is the copy of another file.

use std::collections::HashMap;

use crate::{
    model::{
        direction::Direction,
        paths::{above, is_under, split},
        time::Timestamp,
    },
    plan::actions::{Deletion, Transfer, Withheld, WithheldReason},
};

/// An entry of the source that was not transferred.
#[derive(Clone, Debug)]
pub(crate) struct Untransferred {
    pub path: Box<str>,
    pub needs: Needs,
    /// Only target entries that were last modified before this time matter. `None` if it is unknown.
    pub changed: Option<Timestamp>,
}

/// What the target may have only under another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: the target has an entry of the same path.
    Nothing,
    /// A file of this size.
    File(u64),
    /// Anything: the content is unknown.
    Anything,
}

impl Untransferred {
    /// The source entry of a transfer that failed, or that will not be tried.
    pub(crate) fn of_transfer(transfer: &Transfer, direction: Direction) -> Untransferred {
        let path = transfer.path().into();
        match (direction, &transfer.file, &transfer.object) {
            (Direction::Backup, Some(file), object) => Untransferred {
                path,
                needs: if object.is_some() { Needs::Nothing } else { Needs::File(file.size) },
                changed: Some(file.changed),
            },
            // The object may no longer be readable. So it does not matter whether
            // there is a file of its name, nor how old the others are.
            _ => {
                Untransferred { path, needs: Needs::File(transfer.size(direction)), changed: None }
            }
        }
    }
}

/// Splits `deletions` into those that may be made and those that are withheld because of
/// `untransferred`. `margin` is the one of the clocks, in nanoseconds.
pub(crate) fn withhold(
    deletions: Vec<Deletion>,
    untransferred: &[Untransferred],
    margin: u64,
) -> (Vec<Deletion>, Vec<Withheld>) {
    if untransferred.is_empty() {
        return (deletions, Vec::new());
    }
    let index = Index::new(untransferred, margin);
    let (mut allowed, mut withheld) = (Vec::new(), Vec::new());
    for deletion in deletions {
        match index.reason(&deletion) {
            None => allowed.push(deletion),
            Some((entry, reason)) => {
                let because_of = entry.path.clone();
                withheld.push(Withheld { deletion, because_of, reason });
            }
        }
    }
    (allowed, withheld)
}

/// The entry with the latest time among several.
type Latest<'a> = Option<(i64, &'a Untransferred)>;

/// The untransferred entries, by what they withhold.
#[derive(Default)]
struct Index<'a> {
    by_path: HashMap<&'a str, &'a Untransferred>,
    /// By each directory above the entry.
    by_ancestor: HashMap<&'a str, &'a Untransferred>,
    by_dir: HashMap<&'a str, Latest<'a>>,
    by_size: HashMap<u64, Latest<'a>>,
    any: Latest<'a>,
}

impl<'a> Index<'a> {
    fn new(untransferred: &'a [Untransferred], margin: u64) -> Index<'a> {
        let mut index = Index::default();
        let margin = i64::try_from(margin).unwrap_or(i64::MAX);
        for entry in untransferred {
            index.by_path.insert(&entry.path, entry);
            for dir in above(&entry.path) {
                index.by_ancestor.entry(dir).or_insert(entry);
            }
            let time = entry.changed.map_or(i64::MAX, |time| time.nanos().saturating_add(margin));
            let latest = |other: &mut Latest<'a>| {
                if other.is_none_or(|(other, _)| other < time) {
                    *other = Some((time, entry));
                }
            };
            match entry.needs {
                Needs::Nothing => {}
                Needs::File(size) => {
                    latest(index.by_dir.entry(split(&entry.path).0).or_default());
                    latest(index.by_size.entry(size).or_default());
                }
                Needs::Anything => latest(&mut index.any),
            }
        }
        index
    }

    /// Why a deletion is withheld. `None` if it is not.
    fn reason(&self, deletion: &Deletion) -> Option<(&'a Untransferred, WithheldReason)> {
        let path = &*deletion.path;
        let at_or_above = above(path).chain([path]).find_map(|above| self.by_path.get(above));
        if let Some(entry) = at_or_above.or_else(|| self.by_ancestor.get(path)) {
            debug_assert!(
                *entry.path == *path || is_under(path, &entry.path) || is_under(&entry.path, path)
            );
            return Some((entry, WithheldReason::Conflict));
        }
        let older = |latest: &Latest<'a>| {
            latest.filter(|(time, _)| deletion.modified.nanos() <= *time).map(|(_, entry)| entry)
        };
        let copy = [self.by_dir.get(split(path).0), self.by_size.get(&deletion.size)];
        let copy = copy.into_iter().flatten().find_map(older);
        copy.map(|entry| (entry, WithheldReason::MayBeCopy))
            .or_else(|| older(&self.any).map(|entry| (entry, WithheldReason::MayBeMoved)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn deletion(path: &str, size: u64, seconds: i64) -> Deletion {
        let modified = Timestamp::from_secs(seconds);
        Deletion { path: path.into(), size, modified, is_link: false, is_excluded: false }
    }

    fn entry(path: &str, needs: Needs, changed: Option<i64>) -> Untransferred {
        Untransferred { path: path.into(), needs, changed: changed.map(Timestamp::from_secs) }
    }

    #[test]
    fn each_row_of_the_table_withholds_what_it_names() {
        use Needs::{Anything, File, Nothing};
        use WithheldReason::{Conflict, MayBeCopy, MayBeMoved};
        let cases = [
            // What was not transferred, the deletion, why it is withheld. The margin is a second.
            (entry("d/a", Nothing, Some(100)), deletion("d/a", 1, 500), Some(Conflict)),
            (entry("d/a", Nothing, Some(100)), deletion("d/a/b/c", 1, 500), Some(Conflict)),
            (entry("d/a", Nothing, Some(100)), deletion("d", 1, 500), Some(Conflict)),
            (entry("d/a", Nothing, Some(100)), deletion("d/a-b", 1, 50), None),
            (entry("d/a", Nothing, Some(100)), deletion("d/b", 1, 50), None),
            // A file without an object: its own directory.
            (entry("d/a", File(7), Some(100)), deletion("d/b", 1, 50), Some(MayBeCopy)),
            (entry("d/a", File(7), Some(100)), deletion("d/b", 1, 101), Some(MayBeCopy)),
            (entry("d/a", File(7), Some(100)), deletion("d/b", 1, 102), None),
            (entry("d/a", File(7), Some(100)), deletion("d/e/b", 1, 50), None),
            (entry("a", File(7), Some(100)), deletion("b", 1, 50), Some(MayBeCopy)),
            (entry("a", File(7), Some(100)), deletion("d/b", 1, 50), None),
            // Elsewhere, files of its size.
            (entry("d/a", File(7), Some(100)), deletion("e/b", 7, 50), Some(MayBeCopy)),
            (entry("d/a", File(7), Some(100)), deletion("e/b", 7, 102), None),
            (entry("d/a", File(0), Some(100)), deletion("e/b", 0, 50), Some(MayBeCopy)),
            // Unknown content.
            (entry("d", Anything, Some(100)), deletion("e/b", 3, 101), Some(MayBeMoved)),
            (entry("d", Anything, Some(100)), deletion("e/b", 3, 102), None),
            (entry("d", Anything, None), deletion("e/b", 3, i64::MAX), Some(MayBeMoved)),
            (entry("d", Anything, Some(100)), deletion("d/b", 3, 500), Some(Conflict)),
            // A restore knows no time.
            (entry("d/a", File(7), None), deletion("e/b", 7, 500), Some(MayBeCopy)),
            (entry("d/a", File(7), None), deletion("e/b", 8, 500), None),
        ];
        for (entry, deletion, expected) in cases {
            let case = format!("{entry:?} {deletion:?}");
            let path = entry.path.clone();
            let (allowed, withheld) = withhold(vec![deletion.clone()], &[entry], S);
            match expected {
                None => assert_eq!((allowed, withheld), (vec![deletion], Vec::new()), "{case}"),
                Some(reason) => {
                    assert!(allowed.is_empty(), "{case}");
                    assert_eq!(
                        withheld,
                        [Withheld { deletion, because_of: path, reason }],
                        "{case}"
                    );
                }
            }
        }
    }

    #[test]
    fn latest_of_several_entries_counts() {
        let entries = [
            entry("d/a", Needs::File(7), Some(100)),
            entry("d/b", Needs::File(7), Some(200)),
            entry("d/c", Needs::File(8), Some(150)),
        ];
        let deletions = vec![deletion("d/x", 1, 180), deletion("e", 7, 190), deletion("f", 8, 190)];
        let (allowed, withheld) = withhold(deletions, &entries, S);
        assert_eq!(allowed, [deletion("f", 8, 190)]);
        assert!(withheld.iter().all(|withheld| &*withheld.because_of == "d/b"));
    }

    #[test]
    fn nothing_untransferred_withholds_nothing() {
        let deletions = vec![deletion("a", 1, 1)];
        assert_eq!(withhold(deletions.clone(), &[], S), (deletions, Vec::new()));
    }
}
