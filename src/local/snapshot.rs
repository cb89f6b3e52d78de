//! Reading directories again that changed after the scan.
//!
//! A scan reads one directory after another. A file that is moved during the scan, out of a
//! directory that was not read yet and into one that was, is found under neither name. A backup
//! would then delete the object of its old name without having uploaded the file under its new one.
//!
//! So before a backup deletes objects, it compares the times of all directories with those taken
//! right before each was read, reads the changed ones again, and uploads what is new. The same finds
//! files that were moved into the directory between the plan and its execution.
//!
//! The file may also have been moved over another one that the scan had found. A path that is known
//! counts as new if its file has another state, and if its ctime is not its mtime: a file that was only
//! written has the same time for both. A file that the run has uploaded was read after the scan.

use std::{
    hash::{BuildHasher, RandomState},
    mem::take,
    path::PathBuf,
};

use rayon::prelude::*;

use crate::{
    cancel::Cancel,
    error::Result,
    local::{
        directory_times::DirectoryTimes,
        scan::{Directory, ReadDirectory, Scan, ScanOptions, Walk, may_exist},
    },
    model::{entry::File, paths, skip::Skipped},
};

/// What a scan has found, as far as it is needed to recognize changes.
#[derive(Debug)]
pub(crate) struct Snapshot {
    root: PathBuf,
    options: ScanOptions,
    directories: Vec<ReadDirectory>,
    /// Hashes of the paths of all entries.
    known: Hashes<u128>,
    /// Hashes of the states of all files, and of the paths of the uploaded ones.
    states: Hashes<u64>,
    hashers: [RandomState; 2],
}

/// A set of hashes. It is sorted only when a directory has changed, which is rare.
#[derive(Debug, Default)]
struct Hashes<T> {
    values: Vec<T>,
    is_sorted: bool,
}

impl<T: Copy + Ord + Send> Hashes<T> {
    fn add(&mut self, values: impl ParallelIterator<Item = T>) {
        self.values.par_extend(values);
        self.is_sorted = false;
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            self.values.par_sort_unstable();
            self.is_sorted = true;
        }
    }

    /// Whether the set has a hash. Only after [`sort`](Hashes::sort).
    fn contains(&self, value: T) -> bool {
        debug_assert!(self.is_sorted);
        self.values.binary_search(&value).is_ok()
    }
}

/// What has changed since the last reading.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Files that are new, or were moved over another one, in tree order.
    pub files: Vec<File>,
    /// Entries that are new and have to be skipped.
    pub skipped: Vec<Skipped>,
    /// Entries that are excluded with everything at and below their paths. They may be new.
    pub excluded: Vec<Box<str>>,
    /// Whether a restore into a changed directory began.
    pub has_marker: bool,
    /// Whether no directory had to be read again.
    pub is_settled: bool,
}

impl Snapshot {
    /// A snapshot of everything that `scan` has found.
    pub(crate) fn new(pool: &rayon::ThreadPool, options: ScanOptions, scan: &mut Scan) -> Snapshot {
        let mut snapshot = Snapshot {
            root: scan.root.clone(),
            options,
            directories: take(&mut scan.read_dirs),
            known: Hashes::default(),
            states: Hashes::default(),
            hashers: [RandomState::new(), RandomState::new()],
        };
        pool.install(|| snapshot.add_entries(scan));
        snapshot
    }

    /// Compares all directories with the file system, and reads those again that may have changed.
    ///
    /// # Errors
    /// There are too many entries behind links, or the run was cancelled.
    pub(crate) fn update(&mut self, pool: &rayon::ThreadPool, cancel: &Cancel) -> Result<Changes> {
        let current = |read: &ReadDirectory| {
            DirectoryTimes::read(&self.root.join(&read.dir.real), read.times.as_ref())
        };
        let times: Vec<_> = pool.install(|| self.directories.par_iter().map(current).collect());
        cancel.check()?;
        let mut changed = Vec::new();
        let mut kept = Vec::with_capacity(self.directories.len());
        for (read, now) in take(&mut self.directories).into_iter().zip(times) {
            match (&read.times, now) {
                (Some(before), Some(now)) if before.prove_unchanged(&now) => kept.push(read),
                // It was removed, or moved to another directory that has changed, too.
                (_, None) if !may_exist(&self.root, &read.dir) => {}
                _ => changed.push(Directory { previous: read.times, ..read.dir }),
            }
        }
        self.directories = kept;
        let is_settled = changed.is_empty();
        if is_settled {
            return Ok(Changes { is_settled, ..Changes::default() });
        }
        pool.install(|| {
            self.known.sort();
            self.states.sort();
        });
        let is_known = |path: &str| self.known.contains(self.hash(path));
        let walk = Walk::new(&self.root, &self.options, cancel);
        let mut found = walk.read(pool, changed, &is_known)?;
        let has_marker = found.markers.iter().any(|marker| !is_known(&marker.path));
        found.files.retain(|file| !is_known(&file.path) || self.may_have_been_moved(file));
        found.skipped.retain(|skipped| !self.known.contains(self.hash_skipped(&skipped.path)));
        self.directories.append(&mut found.read_dirs);
        pool.install(|| self.add_entries(&found));
        found.files.sort_by(|a, b| paths::tree_order(&a.path, &b.path));
        found.files.dedup_by(|a, b| a.path == b.path);
        let Scan { mut files, skipped, mut excluded, .. } = found;
        let selector = &self.options.selector;
        if selector.limits_size_or_age() {
            let (selected, others): (Vec<_>, Vec<_>) = files
                .into_iter()
                .partition(|file| selector.has_selected_size_and_age(file.size, file.modified));
            files = selected;
            excluded.extend(others.into_iter().map(|file| file.path));
        }
        Ok(Changes { files, skipped, excluded, has_marker, is_settled })
    }

    fn add_entries(&mut self, scan: &Scan) {
        let (mut known, mut states) = (take(&mut self.known), take(&mut self.states));
        known.add(scan.files.par_iter().map(|file| self.hash(&file.path)));
        known.add(scan.dirs.par_iter().map(|dir| self.hash(dir)));
        known.add(scan.markers.par_iter().map(|marker| self.hash(&marker.path)));
        known.add(scan.skipped.par_iter().map(|skipped| self.hash_skipped(&skipped.path)));
        states.add(scan.files.par_iter().map(|file| self.hash_state(file)));
        (self.known, self.states) = (known, states);
    }

    /// Adds the files that are uploaded after the scan, in the state that they have then.
    pub(crate) fn add_uploads<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        let mut states = take(&mut self.states);
        states.values.extend(paths.map(|path| self.hash_uploaded(path)));
        states.is_sorted = false;
        self.states = states;
    }

    /// Whether a file of a known path may be another one than before.
    fn may_have_been_moved(&self, file: &File) -> bool {
        file.modified != file.changed
            && !self.states.contains(self.hash_state(file))
            && !self.states.contains(self.hash_uploaded(&file.path))
    }

    /// 128 bits with random keys: two paths of a tree never have the same hash in practice, and
    /// an attacker cannot choose names that have.
    fn hash(&self, path: &str) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one(path));
        u128::from(high) << 64 | u128::from(low)
    }

    fn hash_uploaded(&self, path: &str) -> u64 {
        self.hashers[0].hash_one((path, "uploaded"))
    }

    fn hash_state(&self, file: &File) -> u64 {
        self.hashers[0].hash_one((&file.path, file.size, file.modified, file.changed))
    }

    /// A skipped entry is not the same as a file or directory of its path.
    fn hash_skipped(&self, path: &str) -> u128 {
        !self.hash(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        local::scan::{file_pool, scan},
        model::links::Links,
    };

    struct Tree {
        dir: tempfile::TempDir,
        pool: rayon::ThreadPool,
        cancel: Cancel,
    }

    impl Tree {
        fn new(files: &[&str]) -> Tree {
            let dir = tempfile::tempdir().unwrap();
            let tree = Tree { dir, pool: file_pool().unwrap(), cancel: Cancel::new() };
            files.iter().for_each(|path| tree.write(path));
            tree
        }

        fn write(&self, path: &str) {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content").unwrap();
        }

        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
        }

        fn snapshot(&self) -> Snapshot {
            let root = self.dir.path().canonicalize().unwrap();
            let options = ScanOptions::of_links(Links::Inside);
            let mut found = scan(&self.pool, &root, &options, &self.cancel).unwrap();
            Snapshot::new(&self.pool, options, &mut found)
        }

        /// The new files that are found until nothing changes any more.
        fn new_files(&self, snapshot: &mut Snapshot) -> Vec<String> {
            let mut files = Vec::new();
            for _ in 0..3 {
                let changes = snapshot.update(&self.pool, &self.cancel).unwrap();
                files.extend(changes.files.into_iter().map(|file| file.path.into_string()));
                if changes.is_settled {
                    return files;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            panic!("the tree keeps changing");
        }
    }

    #[test]
    fn unchanged_tree_has_no_new_files() {
        let tree = Tree::new(&["a/x", "b/c/y", "z"]);
        let mut snapshot = tree.snapshot();
        assert_eq!(tree.new_files(&mut snapshot), [""; 0]);
        // Once the times are conclusive, nothing is read again.
        assert!(snapshot.update(&tree.pool, &tree.cancel).unwrap().is_settled);
    }

    #[test]
    fn file_and_directory_that_move_are_found_under_their_new_names() {
        let tree = Tree::new(&["a/x", "b/c/y", "b/c/d/z", "kept"]);
        let mut snapshot = tree.snapshot();
        tree.rename("a/x", "b/x");
        tree.rename("b/c", "a/moved");
        tree.write("new/deep/file");
        let mut found = tree.new_files(&mut snapshot);
        found.sort();
        assert_eq!(found, ["a/moved/d/z", "a/moved/y", "b/x", "new/deep/file"]);
    }

    #[test]
    fn file_that_is_moved_over_another_one_is_new_and_one_that_is_written_is_not() {
        let tree = Tree::new(&["a/x", "b/log", "b/y", "b/z"]);
        let mut snapshot = tree.snapshot();
        std::thread::sleep(std::time::Duration::from_millis(20));
        tree.rename("a/x", "b/y");
        fs::write(tree.dir.path().join("b/log"), "more content").unwrap();
        assert_eq!(tree.new_files(&mut snapshot), ["b/y"]);
    }

    #[test]
    fn change_right_after_the_scan_is_found_although_the_times_do_not_show_it() {
        let tree = Tree::new(&["a/x"]);
        let mut snapshot = tree.snapshot();
        tree.write("a/y");
        // On a file system with whole seconds, the directory would still have the same times.
        for read in &mut snapshot.directories {
            let path = snapshot.root.join(&read.dir.real);
            read.times = DirectoryTimes::read(&path, None).map(DirectoryTimes::inconclusive);
        }
        let changes = snapshot.update(&tree.pool, &tree.cancel).unwrap();
        assert_eq!(changes.files[0].path, "a/y".into());
    }
}
