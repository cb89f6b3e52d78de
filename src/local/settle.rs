//! Reading directories again that changed while the scan was running.
//!
//! A scan reads one directory after another. A file that is moved meanwhile, out of a directory that
//! was not read yet and into one that was, is found under neither name, or under both. So the times of
//! all directories are compared at the end with those taken right before each was read, and the
//! entries of the changed ones are replaced by new ones. A change within the tick of the clock in
//! which the directory was read may not show; the [`snapshot`](crate::local::Snapshot) covers
//! deletions.

use std::{collections::HashSet, path::Path};

use rayon::prelude::*;

use crate::{
    cancel::Cancel,
    error::{Cause, Error, Result},
    local::{
        directory_times::DirectoryTimes,
        scan::{self, Directory, ReadDirectory, Scan, ScanOptions, Walk},
    },
    model::paths,
    selection::IgnoreFiles,
};

/// How often directories are read again. In one that changes all the time, some files may be missing.
const MAX_ROUNDS: u32 = 3;

/// Scans the directory `root`, and reads the directories again that changed meanwhile.
///
/// # Errors
/// The root cannot be read, there are too many entries behind links, or the run was cancelled.
pub(crate) fn scan(
    pool: &rayon::ThreadPool,
    root: &Path,
    options: &ScanOptions,
    cancel: &Cancel,
) -> Result<Scan> {
    let mut found = scan::scan(pool, root, options, cancel)?;
    found.settle(pool, options, cancel)?;
    Ok(found)
}

impl Scan {
    fn settle(
        &mut self,
        pool: &rayon::ThreadPool,
        options: &ScanOptions,
        cancel: &Cancel,
    ) -> Result<()> {
        let root = self.root.clone();
        for _ in 0..MAX_ROUNDS {
            let has_changed = |read: &&ReadDirectory| {
                let now = DirectoryTimes::read(&root.join(&read.dir.real), None);
                !matches!((read.times, now), (Some(times), Some(now)) if times.are_equal(&now))
            };
            let changed: Vec<Directory> = pool.install(|| {
                let changed = self.read_dirs.par_iter().filter(has_changed);
                changed.map(|read| Directory { previous: read.times, ..read.dir.clone() }).collect()
            });
            if changed.is_empty() {
                break;
            }
            let patterns = self.ignore_files.clone();
            self.forget(&changed);
            let changed: Vec<Directory> =
                changed.into_iter().filter(|dir| scan::may_exist(&root, dir)).collect();
            let known = self.read_dirs.iter().map(|read| read.dir.path.clone());
            let known: HashSet<String> =
                known.chain(changed.iter().map(|dir| dir.path.clone())).collect();
            let again: Vec<String> = changed.iter().map(|dir| dir.path.clone()).collect();
            let walk = Walk::new(&root, options, cancel);
            self.append(walk.read(pool, changed, &|path: &str| known.contains(path))?);
            pool.install(|| self.sort());
            self.check_patterns(&again, &patterns)?;
        }
        Ok(())
    }

    /// Requires that these directories have the same patterns as `before`: their subdirectories were read
    /// with those.
    fn check_patterns(&self, dirs: &[String], before: &IgnoreFiles) -> Result<()> {
        let is_same = |dir: &str| match (before.get(dir), self.ignore_files.get(dir)) {
            (None, None) => true,
            (Some(old), Some(new)) => old.has_same_lines(new),
            _ => false,
        };
        if dirs.iter().all(|dir| is_same(dir)) {
            return Ok(());
        }
        let cause = Cause::Changed("an ignore file changed during the scan; run again");
        Err(Error::new("read directory", self.root.display().to_string(), cause))
    }

    /// Removes what was found in directories.
    fn forget(&mut self, dirs: &[Directory]) {
        let dirs: HashSet<&str> = dirs.iter().map(|dir| &*dir.path).collect();
        self.read_dirs.retain(|read| !dirs.contains(&*read.dir.path));
        let is_elsewhere = |path: &str| !dirs.contains(paths::split(path).0);
        // A directory that could not be read is skipped under its own path. It is not read again if only
        // the directory above it has changed.
        let kept: HashSet<&str> = self.read_dirs.iter().map(|read| &*read.dir.path).collect();
        let is_other =
            |path: &str| kept.contains(path) || is_elsewhere(path) && !dirs.contains(path);
        self.files.retain(|file| is_elsewhere(&file.path));
        self.through.retain(|(link, _)| is_elsewhere(link));
        self.dirs.retain(|dir| is_elsewhere(dir));
        self.linked.retain(|dir| is_elsewhere(dir));
        self.skipped.retain(|skipped| is_other(&skipped.path));
        self.leftovers.retain(|path| is_elsewhere(path));
        self.markers.retain(|marker| is_elsewhere(&marker.path));
        self.unread.retain(|unread| is_other(&unread.path));
        self.excluded.retain(|path| is_other(path));
        self.excluded_dirs.retain(|path| is_elsewhere(path));
        self.with_excluded.retain(|(dir, _)| !dirs.contains(&**dir));
        self.ignore_files.retain(|dir, _| !dirs.contains(&**dir));
    }

    fn append(&mut self, found: Scan) {
        self.files.extend(found.files);
        self.through.extend(found.through);
        self.dirs.extend(found.dirs);
        self.linked.extend(found.linked);
        self.skipped.extend(found.skipped);
        self.leftovers.extend(found.leftovers);
        self.markers.extend(found.markers);
        self.unread.extend(found.unread);
        self.read_dirs.extend(found.read_dirs);
        self.excluded.extend(found.excluded);
        self.with_excluded.extend(found.with_excluded);
        self.excluded_dirs.extend(found.excluded_dirs);
        self.ignore_files.extend(found.ignore_files);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        local::scan::{Unread, file_pool},
        model::{
            links::Links,
            skip::{SkipReason, Skipped},
        },
    };

    fn options() -> ScanOptions {
        ScanOptions::of_links(Links::Inside)
    }

    /// The files that a scan finds if `change` happens while it runs.
    fn scan_during(files: &[&str], change: impl Fn(&Path)) -> Vec<String> {
        let (dir, pool) = (tempfile::tempdir().unwrap(), file_pool().unwrap());
        let (root, cancel) = (dir.path().canonicalize().unwrap(), Cancel::new());
        for path in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "content").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut found = scan::scan(&pool, &root, &options(), &cancel).unwrap();
        change(&root);
        found.settle(&pool, &options(), &cancel).unwrap();
        let mut read: Vec<&str> = found.read_dirs.iter().map(|read| &*read.dir.path).collect();
        read.sort();
        let mut dirs: Vec<&str> = found.dirs.iter().map(|dir| &**dir).chain([""]).collect();
        dirs.sort();
        assert_eq!(read, dirs);
        found.files.into_iter().map(|file| file.path.into_string()).collect()
    }

    #[test]
    fn file_that_is_moved_during_a_scan_is_found_once() {
        let files = ["a/x", "b/c/y", "z"];
        let found = scan_during(&files, |root| {
            fs::rename(root.join("a/x"), root.join("b/c/x")).unwrap();
        });
        assert_eq!(found, ["b/c/x", "b/c/y", "z"]);
        let found = scan_during(&files, |root| {
            fs::rename(root.join("b"), root.join("a/b")).unwrap();
        });
        assert_eq!(found, ["a/b/c/y", "a/x", "z"]);
    }

    #[test]
    fn directories_that_swap_their_names_or_are_removed_are_read_again() {
        let found = scan_during(&["a/x", "b/y"], |root| {
            for (from, to) in [("a", "swapped"), ("b", "a"), ("swapped", "b")] {
                fs::rename(root.join(from), root.join(to)).unwrap();
            }
        });
        assert_eq!(found, ["a/y", "b/x"]);
        let found = scan_during(&["a/b/x", "c/y"], |root| {
            fs::remove_dir_all(root.join("a")).unwrap();
        });
        assert_eq!(found, ["c/y"]);
    }
    #[test]
    fn unreadable_directory_stays_skipped_if_only_the_directory_above_changes() {
        let (dir, pool) = (tempfile::tempdir().unwrap(), file_pool().unwrap());
        let (root, cancel) = (dir.path().canonicalize().unwrap(), Cancel::new());
        fs::create_dir_all(root.join("d/s")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut found = scan::scan(&pool, &root, &options(), &cancel).unwrap();
        // As if it could not be read. Root can read every directory.
        let reason = SkipReason::Unreadable("permission denied".to_owned());
        found.skipped.push(Skipped { path: "d/s".to_owned(), reason });
        found.unread.push(Unread { path: "d/s".into(), is_dir: true, changed: None });
        fs::write(root.join("d/new"), "content").unwrap();
        found.settle(&pool, &options(), &cancel).unwrap();
        assert_eq!(found.files.len(), 1);
        assert_eq!((found.skipped.len(), found.unread.len()), (1, 1));
        // If it can be read now, it is not skipped.
        fs::write(root.join("d/s/x"), "content").unwrap();
        found.settle(&pool, &options(), &cancel).unwrap();
        assert_eq!(found.files.len(), 2);
        assert_eq!((found.skipped.len(), found.unread.len()), (0, 0));
    }

    #[test]
    fn patterns_that_change_during_a_scan_are_an_error() {
        let (dir, pool) = (tempfile::tempdir().unwrap(), file_pool().unwrap());
        let (root, cancel) = (dir.path().canonicalize().unwrap(), Cancel::new());
        fs::create_dir_all(root.join("d/s")).unwrap();
        let ignore = |dir: &str| fs::write(root.join(dir).join(".s3keepignore"), "*.tmp").unwrap();
        ignore("d");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut found = scan::scan(&pool, &root, &options(), &cancel).unwrap();
        // A new directory was not read with other patterns.
        fs::create_dir(root.join("new")).unwrap();
        ignore("new");
        fs::write(root.join("new/x.tmp"), "").unwrap();
        found.settle(&pool, &options(), &cancel).unwrap();
        assert_eq!((found.files.len(), found.excluded_count()), (2, 1));
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::remove_file(root.join("d/.s3keepignore")).unwrap();
        let error = found.settle(&pool, &options(), &cancel).unwrap_err();
        assert!(error.to_string().contains("an ignore file changed"), "{error}");
    }

    #[test]
    fn root_that_disappears_during_a_scan_is_an_error() {
        let (dir, pool) = (tempfile::tempdir().unwrap(), file_pool().unwrap());
        let (root, cancel) = (dir.path().canonicalize().unwrap(), Cancel::new());
        fs::create_dir(root.join("root")).unwrap();
        let root = root.join("root");
        fs::write(root.join("x"), "content").unwrap();
        let mut found = scan::scan(&pool, &root, &options(), &cancel).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(found.settle(&pool, &options(), &cancel).is_err());
    }
}
