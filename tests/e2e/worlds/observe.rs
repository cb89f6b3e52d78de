//! What a directory and a bucket hold, read without the code under test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use crate::{
    support::{is_marker, store::Object},
    worlds::runner::CheckResult,
};

pub type Paths = BTreeSet<String>;
/// The objects below the prefix, by path.
pub type Objects = BTreeMap<String, Object>;
/// For each recorded path: the size, mtime and ctime of the file, and the ETag of the object.
pub type Recorded = BTreeMap<String, (usize, SystemTime, SystemTime, String)>;

#[derive(Clone, Debug, PartialEq)]
pub struct LocalFile {
    pub body: Vec<u8>,
    pub modified: SystemTime,
    /// The ctime. For a symlink, the latest of its own, its target's and those on the way.
    pub changed: SystemTime,
    /// For a symlink to a file. The other fields are those of the file.
    pub link: Option<Symlink>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Symlink {
    pub target: PathBuf,
    /// The file that the link leads to, and the links on the way to it.
    pub hops: Vec<String>,
}

/// A directory as the program sees it, according to the README.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalTree {
    pub files: BTreeMap<String, LocalFile>,
    pub dirs: Paths,
    /// The skipped symlinks, with their targets.
    pub skipped: BTreeMap<String, PathBuf>,
}

impl LocalTree {
    pub fn read(dir: &Path) -> LocalTree {
        let root = dir.canonicalize().unwrap();
        let mut tree = LocalTree::default();
        // The program does not treat the markers of unfinished restores as files.
        for found in walk(&root).into_iter().filter(|path| !is_marker(path)) {
            let path = found.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let kind = found.symlink_metadata().unwrap();
            if kind.is_dir() {
                tree.dirs.insert(path);
                continue;
            }
            let mut link = None;
            if kind.is_symlink() {
                let target = fs::read_link(&found).unwrap();
                let resolved = found.canonicalize().ok();
                if resolved.is_none_or(|path| !path.starts_with(&root) || !path.is_file()) {
                    tree.skipped.insert(path, target);
                    continue;
                }
                link = Some(Symlink { target, hops: hops(&root, &found) });
            }
            let modified = found.metadata().unwrap().modified().unwrap();
            let hops = link.iter().flat_map(|link| &link.hops).map(|hop| root.join(hop));
            let changed = hops.chain([found.clone()]).map(|path| ctime(&path)).max().unwrap();
            let body = fs::read(&found).unwrap();
            tree.files.insert(path, LocalFile { body, modified, changed, link });
        }
        tree
    }
}

fn ctime(path: &Path) -> SystemTime {
    let metadata = path.symlink_metadata().unwrap();
    let since_1970 = Duration::new(metadata.ctime().unsigned_abs(), metadata.ctime_nsec() as u32);
    SystemTime::UNIX_EPOCH + since_1970
}

/// All entries below a directory, sorted. Does not follow symlinks.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// The paths below `root` that a symlink to a file leads to, hop after hop.
fn hops(root: &Path, link: &Path) -> Vec<String> {
    let (mut hops, mut at) = (Vec::new(), link.to_owned());
    while at.is_symlink() {
        let next = at.parent().unwrap().join(fs::read_link(&at).unwrap());
        at = next.parent().unwrap().canonicalize().unwrap().join(next.file_name().unwrap());
        hops.push(at.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
    }
    hops
}

/// Separates the objects that can be restored as files from the keys that no file can have.
///
/// Directory markers are in neither result.
pub fn split_by_validity(bucket: &Objects) -> (Objects, Paths) {
    let (mut objects, mut invalid) = (Objects::new(), Paths::new());
    for (path, object) in bucket {
        let is_marker = object.body.is_empty() && (path.is_empty() || path.ends_with('/'));
        let is_invalid =
            |name: &str| matches!(name, "" | "." | "..") || name.len() > 255 || name.contains('\0');
        if path.split('/').any(is_invalid) {
            if !is_marker {
                invalid.insert(path.clone());
            }
        } else {
            objects.insert(path.clone(), object.clone());
        }
    }
    (objects, invalid)
}

pub fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a path is one of the `protected` paths or below one.
pub fn is_protected(path: &str, protected: &Paths) -> bool {
    protected.iter().any(|above| path == above || is_below(path, above))
}

/// The symlinks that were skipped until a restore created their target.
///
/// The run that creates the target still skips the link. Only the next run sees a file.
pub fn revived_links(before: &LocalTree, after: &LocalTree) -> Paths {
    before.skipped.keys().filter(|path| after.files.contains_key(*path)).cloned().collect()
}

/// Checks that a file is unchanged, or that a symlink still has the same target.
pub fn check_unchanged(path: &str, before: Option<&LocalFile>, after: &LocalFile) -> CheckResult {
    let Some(before) = before else { return Err(TestCaseError::fail(format!("{path} is new"))) };
    let target = |file: &LocalFile| file.link.as_ref().map(|link| link.target.clone());
    prop_assert_eq!(target(before), target(after), "{}", path);
    if before.link.is_none() {
        prop_assert_eq!(before, after, "{}", path);
    }
    Ok(())
}
