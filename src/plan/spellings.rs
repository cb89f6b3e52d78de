//! Names that the target may not distinguish: two spellings of one entry.
//!
//! Some stores and file systems keep `IMG.JPG` and `img.jpg` as one entry (see [`fold`](crate::model::fold)).
//! If a file was renamed from one to the other, the target has no entry of the new name, and one of the old
//! name that the source does not have. An upload of the new name then writes to the entry of the old one, and
//! a deletion of the old name deletes what was just stored.
//!
//! Two lists in a plan prevent this:
//!
//! - *Candidates* are pairs of a source entry that the target seems to lack, and a target entry with another
//!   spelling of its name. Before the run, it is asked for the entry by the name of the source. If the answer
//!   is the entry of the other name, both are one entry.
//! - *Alike* names need a check after the uploads. The target may fold names without admitting it when it
//!   is asked, and it cannot be asked about names that it does not have yet.
//!
//! Both lists are empty unless two names have the same folded form, and one side lacks one of them.

use std::collections::BTreeMap;

use crate::{
    model::{
        direction::Direction,
        entry::{File, Object},
        escape::Escaped,
        fold::{FoldHasher, folded},
        paths::tree_order,
    },
    plan::merge::{have_same_paths, pairs},
    record::Known,
};

/// The names of a plan that the target may not distinguish.
#[derive(Debug, Default)]
pub(crate) struct Spellings {
    /// By the names of the source, in tree order.
    pub candidates: Vec<Candidate>,
    pub alike: Vec<Alike>,
    /// The candidates that are one entry: the names in the source and in the target.
    pub joined: Vec<(Box<str>, Box<str>)>,
}

/// A source entry that the target may have under another spelling of its name.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The file and the object, both with the name of the source entry.
    pub file: File,
    pub object: Object,
    /// The name of the target entry.
    pub other: Box<str>,
    /// The source has an entry of that name as well.
    pub is_taken: bool,
    /// What the record knows about file and object.
    pub known: Known,
}

/// Names of a backup with the same folded form.
#[derive(Debug)]
pub(crate) struct Alike {
    pub files: Vec<File>,
    /// The objects without a file of their name.
    pub objects: Vec<Box<str>>,
}

impl Alike {
    pub(crate) fn needs_check(&self) -> bool {
        self.files.len() > 1 || !(self.files.is_empty() || self.objects.is_empty())
    }
}

/// One sentence about pairs of names that are one entry of `target`. `None` if there are none.
pub(crate) fn describe_spellings(pairs: &[(&str, &str)], target: &str) -> Option<String> {
    let (file, object) = pairs.first()?;
    let (file, object) = (Escaped(file), Escaped(object));
    Some(match pairs.len() {
        1 => format!(
            "{target} does not distinguish {file} from {object}: both names are one entry, which is kept"
        ),
        n => format!(
            "{target} does not distinguish some names of files from those of objects: each pair is one \
             entry, which is kept ({n}, for example {file} and {object})"
        ),
    })
}

type Pair<'a> = (Option<&'a File>, Option<&'a Object>);

impl Spellings {
    /// Finds the names with the same folded form. Both lists must be in tree order.
    pub(crate) fn find(direction: Direction, files: &[File], objects: &[Object]) -> Spellings {
        let mut spellings = Spellings::default();
        if direction == Direction::Restore && files.is_empty() {
            return spellings;
        }
        for group in find_groups(files, objects) {
            match direction {
                Direction::Backup => spellings.add_backup_group(&group),
                Direction::Restore => spellings.add_restore_group(&group),
            }
        }
        let candidates = &mut spellings.candidates;
        candidates.sort_by(|a, b| tree_order(&a.file.path, &b.file.path));
        spellings
    }

    fn add_backup_group(&mut self, group: &[Pair]) {
        let files: Vec<File> = group.iter().filter_map(|(file, _)| file.cloned()).collect();
        let missing: Vec<&File> = group
            .iter()
            .filter(|(_, object)| object.is_none())
            .filter_map(|(file, _)| *file)
            .collect();
        // If there are several objects, the store distinguishes their names at least.
        if let [(own_file, Some(object))] =
            group.iter().filter(|(_, object)| object.is_some()).collect::<Vec<_>>()[..]
        {
            self.candidates.extend(missing.iter().map(|file| Candidate {
                file: (*file).clone(),
                object: Object { path: file.path.clone(), ..(*object).clone() },
                other: object.path.clone(),
                is_taken: own_file.is_some(),
                known: Known::Nothing,
            }));
        }
        let is_only_remote = |(file, object): &Pair| {
            object.filter(|_| file.is_none()).map(|object| object.path.clone())
        };
        let objects: Vec<Box<str>> = group.iter().filter_map(is_only_remote).collect();
        let alike = Alike { files, objects };
        if alike.needs_check() && !(missing.is_empty() && alike.objects.is_empty()) {
            self.alike.push(alike);
        }
    }

    fn add_restore_group(&mut self, group: &[Pair]) {
        let missing = group.iter().filter(|(file, _)| file.is_none());
        for object in missing.filter_map(|(_, object)| *object) {
            for (file, own_object) in group {
                let Some(file) = file.filter(|file| file.target.is_none()) else { continue };
                self.candidates.push(Candidate {
                    file: File { path: object.path.clone(), ..file.clone() },
                    object: object.clone(),
                    other: file.path.clone(),
                    is_taken: own_object.is_some(),
                    known: Known::Nothing,
                });
            }
        }
    }
}

/// The files and objects whose names have a folded form in common, provided that one side lacks at least
/// one of the names.
///
/// Only hashes are kept for the names of entries, unless two of them are equal.
fn find_groups<'a>(files: &'a [File], objects: &'a [Object]) -> Vec<Vec<Pair<'a>>> {
    if have_same_paths(files, objects) {
        return Vec::new();
    }
    let mut hasher = FoldHasher::default();
    let is_on_both_sides = |(file, object): &Pair| file.is_some() && object.is_some();
    let mut hashes: Vec<u64> = pairs(files, objects)
        .filter(|pair| !is_on_both_sides(pair))
        .map(|pair| hasher.hash(path(&pair)))
        .collect();
    hashes.sort_unstable();
    let mut shared: Vec<u64> = pairs(files, objects)
        .filter(is_on_both_sides)
        .map(|pair| hasher.hash(path(&pair)))
        .filter(|hash| hashes.binary_search(hash).is_ok())
        .collect();
    shared.extend(hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]));
    if shared.is_empty() {
        return Vec::new();
    }
    drop(hashes);
    shared.sort_unstable();
    let mut groups: BTreeMap<String, Vec<Pair>> = BTreeMap::new();
    for pair in pairs(files, objects) {
        if shared.binary_search(&hasher.hash(path(&pair))).is_ok() {
            groups.entry(folded(path(&pair))).or_default().push(pair);
        }
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

fn path<'a>(pair: &Pair<'a>) -> &'a str {
    match pair {
        (Some(file), _) => &file.path,
        (None, Some(object)) => &object.path,
        (None, None) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{etag::ETag, time::Timestamp};

    fn find(direction: Direction, files: &[&str], objects: &[&str]) -> Spellings {
        let time = Timestamp::from_secs(1);
        let mut files: Vec<File> = files
            .iter()
            .map(|path| File {
                path: (*path).into(),
                size: 1,
                modified: time,
                changed: time,
                target: None,
            })
            .collect();
        let mut objects: Vec<Object> = objects
            .iter()
            .map(|path| Object { path: (*path).into(), size: 1, modified: time, etag: ETag::None })
            .collect();
        files.sort_by(|a, b| tree_order(&a.path, &b.path));
        objects.sort_by(|a, b| tree_order(&a.path, &b.path));
        Spellings::find(direction, &files, &objects)
    }

    /// The source name, the target name, and whether the latter is taken.
    fn candidates(spellings: &Spellings) -> Vec<(&str, &str, bool)> {
        let candidates = spellings.candidates.iter();
        candidates
            .map(|c| {
                assert_eq!(c.file.path, c.object.path);
                (&*c.file.path, &*c.other, c.is_taken)
            })
            .collect()
    }

    /// The files and objects of each group, separated by spaces.
    fn alike(spellings: &Spellings) -> Vec<String> {
        let names = |alike: &Alike| {
            let files: Vec<&str> = alike.files.iter().map(|file| &*file.path).collect();
            format!("{} | {}", files.join(" "), alike.objects.join(" "))
        };
        spellings.alike.iter().map(names).collect()
    }

    type Names = &'static [&'static str];
    /// The source name, the target name, and whether the latter is taken.
    type Candidates = Vec<(&'static str, &'static str, bool)>;

    #[test]
    fn backup_finds_names_that_the_store_may_not_distinguish() {
        let cases: [(Names, Names, Candidates, Names); 10] = [
            (&["a", "b"], &["a", "c"], vec![], &[]),
            // Renamed.
            (&["x/a"], &["X/A"], vec![("x/a", "X/A", false)], &["x/a | X/A"]),
            (&["a\\b"], &["a/b"], vec![("a\\b", "a/b", false)], &["a\\b | a/b"]),
            (
                &["p/a", "p/b"],
                &["P/a", "P/b"],
                vec![("p/a", "P/a", false), ("p/b", "P/b", false)],
                &["p/a | P/a", "p/b | P/b"],
            ),
            // Two files, none of them stored, or one.
            (&["A", "a"], &[], vec![], &["A a | "]),
            (&["A", "a"], &["A"], vec![("a", "A", true)], &["A a | "]),
            // Two files and an object of a third name.
            (
                &["Ab", "aB"],
                &["ab"],
                vec![("Ab", "ab", false), ("aB", "ab", false)],
                &["Ab aB | ab"],
            ),
            // The store distinguishes them.
            (&["A", "a"], &["A", "a"], vec![], &[]),
            (&["A"], &["A", "a"], vec![], &["A | a"]),
            // Nothing to confuse them with.
            (&[], &["A", "a"], vec![], &[]),
        ];
        for (files, objects, expected, groups) in cases {
            let found = find(Direction::Backup, files, objects);
            assert_eq!(candidates(&found), expected, "{files:?} {objects:?}");
            assert_eq!(alike(&found), groups, "{files:?} {objects:?}");
        }
    }

    #[test]
    fn restore_finds_files_that_may_already_have_the_name_of_an_object() {
        let cases: [(Names, Names, Candidates); 5] = [
            (&["IMG"], &["img"], vec![("img", "IMG", false)]),
            (&["A"], &["A", "a"], vec![("a", "A", true)]),
            (&[], &["A", "a"], vec![]),
            (&["A", "a"], &["A", "a"], vec![]),
            (&["a"], &["b"], vec![]),
        ];
        for (files, objects, expected) in cases {
            let found = find(Direction::Restore, files, objects);
            assert_eq!(candidates(&found), expected, "{files:?} {objects:?}");
            assert!(found.alike.is_empty());
        }
    }
}
