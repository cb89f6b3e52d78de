//! Directories that still exist but are empty, while the bucket has objects below them.
//!
//! That is what a mount point looks like if its file system is not mounted.

use crate::model::{
    paths::{above, is_under, tree_order},
    skip::Skipped,
};

/// A directory with fewer objects may be emptied without a question.
const MIN_OBJECTS: u64 = 20;

/// Finds the emptied directories while a backup is planned: everything is passed in tree order.
///
/// All entries of a directory are neighbors in tree order. So a directory has no file if neither the
/// last file before a deletion below it nor the next file after that deletion is in the directory.
pub(super) struct EmptiedDirectories<'a> {
    /// All directories, in tree order.
    dirs: &'a [Box<str>],
    /// What the scan skipped, in tree order.
    skipped: &'a [Skipped],
    last_file: String,
    /// The emptied directory of the last deletion, and the number of deletions below it so far.
    current: Option<(String, u64)>,
    found: Vec<(String, u64)>,
}

impl<'a> EmptiedDirectories<'a> {
    pub fn new(dirs: &'a [Box<str>], skipped: &'a [Skipped]) -> EmptiedDirectories<'a> {
        let (last_file, current, found) = (String::new(), None, Vec::new());
        EmptiedDirectories { dirs, skipped, last_file, current, found }
    }

    /// A file, whether or not it has an object.
    pub fn file(&mut self, path: &str) {
        self.last_file.clear();
        self.last_file.push_str(path);
    }

    /// An object to delete, and the next file after it.
    pub fn deletion(&mut self, path: &str, next_file: Option<&str>) {
        if let Some((dir, objects)) = &mut self.current
            && is_under(path, dir)
        {
            *objects += 1;
            return;
        }
        self.leave_directory();
        let has_file = |dir: &&str| {
            is_under(&self.last_file, dir) || next_file.is_some_and(|file| is_under(file, dir))
        };
        let exists =
            |dir: &&str| self.dirs.binary_search_by(|other| tree_order(other, dir)).is_ok();
        let has_skipped = |dir: &str| {
            let at = self.skipped.partition_point(|skip| tree_order(&skip.path, dir).is_lt());
            let first = self.skipped.get(at);
            first.is_some_and(|skip| skip.path == dir || is_under(&skip.path, dir))
        };
        // From the outermost directory inwards: those with files come first, those that do not exist
        // come last.
        let emptied =
            above(path).skip_while(has_file).take_while(exists).find(|dir| !has_skipped(dir));
        self.current = emptied.map(|dir| (dir.to_owned(), 1));
    }

    /// The outermost emptied directories, and for each the number of objects to delete below it.
    pub fn finish(mut self) -> Vec<(String, u64)> {
        self.leave_directory();
        self.found
    }

    fn leave_directory(&mut self) {
        self.found.extend(self.current.take().filter(|(_, objects)| *objects >= MIN_OBJECTS));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::skip::SkipReason;

    enum Entry {
        /// A file, with or without an object.
        File(&'static str),
        /// Objects to delete: their directory, and how many.
        Objects(&'static str, u64),
    }
    use Entry::{File, Objects};

    fn emptied(dirs: &[&str], skipped: &[&str], entries: &[Entry]) -> Vec<(String, u64)> {
        let dirs: Vec<Box<str>> = dirs.iter().map(|dir| Box::from(*dir)).collect();
        let skip = |path: &&str| Skipped { path: path.to_string(), reason: SkipReason::Special };
        let skipped: Vec<Skipped> = skipped.iter().map(skip).collect();
        let mut emptied = EmptiedDirectories::new(&dirs, &skipped);
        for (at, entry) in entries.iter().enumerate() {
            match entry {
                File(path) => emptied.file(path),
                Objects(dir, count) => {
                    let next_file = entries[at..].iter().find_map(|entry| match entry {
                        File(path) => Some(*path),
                        Objects(..) => None,
                    });
                    for n in 0..*count {
                        emptied.deletion(&format!("{dir}/{n:03}"), next_file);
                    }
                }
            }
        }
        emptied.finish()
    }

    /// Random trees against a search in plain loops.
    #[test]
    fn search_in_tree_order_finds_what_a_plain_search_finds() {
        let mut random = fastrand::Rng::with_seed(12);
        let mut some = |most: usize, suffix: &str| -> Vec<String> {
            let mut path = || {
                let names = (0..random.usize(1..4)).map(|_| ["a", "a-b", "b"][random.usize(..3)]);
                names.collect::<Vec<_>>().join("/") + suffix
            };
            (0..=most).map(|_| path()).skip(1).collect()
        };
        let mut emptied_trees = 0;
        for _ in 0..2_000 {
            let files = some(3, "/file");
            let links = some(1, "/link");
            let deleted = some(5, "");
            let deleted = deleted.iter().flat_map(|dir| (0..13).map(move |n| format!("{dir}/{n}")));
            let deleted: BTreeSet<String> = deleted.collect();
            let mut dirs = some(5, "/x");
            dirs.extend(files.iter().chain(&links).cloned());
            let dirs: BTreeSet<String> =
                dirs.iter().flat_map(|path| above(path).map(str::to_owned)).collect();

            let is_empty = |dir: &str| {
                let mut entries = files.iter().chain(&links);
                dirs.contains(dir) && !entries.any(|entry| is_under(entry, dir))
            };
            let mut expected = BTreeMap::<String, u64>::new();
            for path in &deleted {
                if let Some(dir) = above(path).find(|dir| is_empty(dir)) {
                    *expected.entry(dir.to_owned()).or_default() += 1;
                }
            }
            expected.retain(|_, objects| *objects >= MIN_OBJECTS);
            emptied_trees += usize::from(!expected.is_empty());

            let in_tree_order = |paths: Vec<String>| {
                let mut paths: Vec<Box<str>> = paths.into_iter().map(Box::from).collect();
                paths.sort_by(|a, b| tree_order(a, b));
                paths
            };
            let skip = |path: Box<str>| Skipped { path: path.into(), reason: SkipReason::Special };
            let skipped: Vec<Skipped> =
                in_tree_order(links.clone()).into_iter().map(skip).collect();
            let dirs = in_tree_order(dirs.iter().cloned().collect());
            let files = in_tree_order(files.clone());
            let mut emptied = EmptiedDirectories::new(&dirs, &skipped);
            let mut rest = files.iter().peekable();
            for path in in_tree_order(deleted.into_iter().collect()) {
                while let Some(file) = rest.next_if(|file| tree_order(file, &path).is_lt()) {
                    emptied.file(file);
                }
                emptied.deletion(&path, rest.peek().map(|file| &***file));
            }
            let found: BTreeMap<String, u64> = emptied.finish().into_iter().collect();
            assert_eq!(found, expected, "{dirs:?} {files:?} {skipped:?}");
        }
        assert!((100..1_900).contains(&emptied_trees), "{emptied_trees}");
    }

    fn found(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(dir, objects)| (dir.to_string(), *objects)).collect()
    }

    #[test]
    fn outermost_empty_directory_is_found_with_all_objects_below_it() {
        let dirs = ["a", "b", "b/x", "b/x/y", "b-c", "c"];
        let entries = [
            File("a/1"),
            Objects("b", 15),
            Objects("b/gone", 3),
            Objects("b/x/y", 2),
            Objects("b-c", 20),
            Objects("c", 19),
            Objects("d", 50),
        ];
        assert_eq!(emptied(&dirs, &[], &entries), found(&[("b", 20), ("b-c", 20)]));
    }

    #[test]
    fn directory_with_a_file_at_any_depth_is_not_empty() {
        let dirs = ["a", "a/b", "a/c"];
        // Before the objects, after them, and between them.
        let before = [File("a/b/1"), Objects("a/c", 20)];
        assert_eq!(emptied(&dirs, &[], &before), found(&[("a/c", 20)]));
        let after = [Objects("a/b", 20), File("a/c/1")];
        assert_eq!(emptied(&dirs, &[], &after), found(&[("a/b", 20)]));
        let between = [Objects("a", 30), File("a/b"), Objects("a/c", 19)];
        assert_eq!(emptied(&dirs, &[], &between), found(&[]));
    }

    #[test]
    fn directory_with_a_skipped_entry_at_any_depth_is_not_empty() {
        let dirs = ["a", "a/b", "a/c"];
        let objects = [Objects("a", 20), Objects("a/b", 20), Objects("a/c", 20)];
        assert_eq!(emptied(&dirs, &["a/b/link"], &objects), found(&[("a/c", 20)]));
        assert_eq!(emptied(&dirs, &["a/x"], &objects), found(&[("a/b", 20), ("a/c", 20)]));
        assert_eq!(emptied(&dirs, &["a-b", "b"], &objects), found(&[("a", 60)]));
    }
}
