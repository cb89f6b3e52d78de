//! The local side: a rayon pool walks a directory and stats what it finds.
//!
//! A scan yields entries, what had to be left out, and nothing else: one unreadable directory does not
//! end it. Only a root that can't be read does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use rayon::prelude::*;
use rustix::io::Errno;
use walkdir::WalkDir;

use crate::{
    cancel::Cancel,
    error::{Error, Result},
    model::{
        entry::File,
        links::Links,
        paths,
        skip::{SkipReason, Skipped},
        time::Timestamp,
    },
};

/// What was found below a root, each list in tree order.
#[derive(Debug, Default)]
pub struct Scan {
    /// The files.
    pub files: Vec<File>,
    /// Links, with each other link that they lead to their file through.
    pub through: Vec<(Box<str>, Box<Path>)>,
    /// All directories below the root.
    pub dirs: Vec<Box<str>>,
    /// Those of them that are followed links.
    pub linked: Vec<Box<str>>,
    /// What was left out. It shields whatever stands at and under its path on the other side.
    pub skipped: Vec<Skipped>,
    /// Unfinished downloads that an earlier run left behind.
    pub leftovers: Vec<String>,
}

/// A rayon pool for the file system, apart from any that the embedding program has.
pub(crate) fn pool() -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .thread_name(|n| format!("s3keep-files-{n}"))
        .build()
        .map_err(|error| Error::new("start", "threads", io::Error::other(error)))
}

/// Walks `root`. `prefix_len` is the length of the key prefix, which a path has to leave room for.
///
/// # Errors
/// Only when the root itself can't be read, or on cancellation.
pub(crate) fn scan(
    pool: &rayon::ThreadPool,
    root: &Path,
    prefix_len: usize,
    links: Links,
    cancel: &Cancel,
) -> Result<Scan> {
    let fail = |error: io::Error| Error::new("read directory", root.display().to_string(), error);
    let root = root.canonicalize().map_err(fail)?;
    fs::read_dir(&root).map_err(fail)?;
    let walk = Walk { root: &root, prefix_len, links, cancel, found: Mutex::default() };
    let top = Directory { path: String::new(), real: PathBuf::new(), hops: Vec::new() };
    pool.scope(|scope| walk.directory(scope, top));
    cancel.check()?;
    let mut found = walk.found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    pool.install(|| found.put_in_order());
    Ok(found)
}

impl Scan {
    fn put_in_order(&mut self) {
        self.files.par_sort_unstable_by(|a, b| paths::tree_order(&a.path, &b.path));
        // A directory that changes while it is read may name a file twice; a file beside its own object
        // would look like one that has none.
        self.files.dedup_by(|a, b| a.path == b.path);
        self.dirs.par_sort_unstable_by(|a, b| paths::tree_order(a, b));
        self.dirs.dedup();
        self.skipped.par_sort_unstable_by(|a, b| paths::tree_order(&a.path, &b.path));
    }
}

struct Walk<'a> {
    /// Canonical, so that a link's target can be told to be inside.
    root: &'a Path,
    prefix_len: usize,
    links: Links,
    cancel: &'a Cancel,
    found: Mutex<Scan>,
}

/// A directory to read.
struct Directory {
    /// Its path below the root, as keys see it.
    path: String,
    /// Where it really is below the root; differs from `path` behind a followed link.
    real: PathBuf,
    /// The real directories of the links that led here.
    hops: Vec<PathBuf>,
}

/// What became of one directory entry.
enum Seen {
    File(File),
    Directory(Directory),
    Skipped(Skipped),
    Leftover(String),
}

impl Walk<'_> {
    fn directory<'s>(&'s self, scope: &rayon::Scope<'s>, dir: Directory) {
        if self.cancel.is_cancelled() {
            return;
        }
        let entries: Vec<_> = WalkDir::new(self.root.join(&dir.real))
            .follow_root_links(false)
            .min_depth(1)
            .max_depth(1)
            .into_iter()
            .collect();
        let seen: Vec<Seen> =
            entries.into_par_iter().with_min_len(64).map(|entry| self.entry(&dir, entry)).collect();
        let mut below = Vec::new();
        {
            let mut found = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for seen in seen {
                match seen {
                    Seen::File(file) => found.files.push(file),
                    Seen::Skipped(skipped) => found.skipped.push(skipped),
                    Seen::Leftover(path) => found.leftovers.push(path),
                    Seen::Directory(sub) => {
                        found.dirs.push(sub.path.as_str().into());
                        if sub.hops.len() > dir.hops.len() {
                            found.linked.push(sub.path.as_str().into());
                        }
                        below.push(sub);
                    }
                }
            }
        }
        for sub in below {
            scope.spawn(move |scope| self.directory(scope, sub));
        }
    }

    fn entry(&self, dir: &Directory, entry: walkdir::Result<walkdir::DirEntry>) -> Seen {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return unreadable(dir.path.clone(), &io_error(error)),
        };
        let Some(name) = entry.file_name().to_str() else {
            let path = join(&dir.path, &entry.file_name().to_string_lossy());
            let is_dir = entry.file_type().is_dir();
            let reason = if is_dir { SkipReason::DirectoryNotUtf8 } else { SkipReason::NotUtf8 };
            return Seen::Skipped(Skipped { path, reason });
        };
        let path = join(&dir.path, name);
        let real = dir.real.join(name);
        let kind = entry.file_type();
        if kind.is_dir() {
            return Seen::Directory(Directory { path, real, hops: dir.hops.clone() });
        }
        if kind.is_symlink() {
            return self.link(dir, path, entry.path());
        }
        match entry.metadata() {
            Ok(metadata) => self.file(dir, path, real, &metadata),
            Err(error) => unreadable(path, &io_error(error)),
        }
    }

    fn link(&self, dir: &Directory, path: String, link: &Path) -> Seen {
        let skip = |path, reason| Seen::Skipped(Skipped { path, reason });
        if self.links == Links::Skip {
            return skip(path, SkipReason::Link);
        }
        let target = match link.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return skip(path, SkipReason::LinkDangling);
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                return skip(path, SkipReason::LinkLoop);
            }
            Err(error) => return unreadable(path, &error),
        };
        let Ok(real) = target.strip_prefix(self.root) else {
            return skip(path, SkipReason::LinkOutside);
        };
        let real = real.to_owned();
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => {
                let above = |dir: &PathBuf| dir.starts_with(&real);
                if self.links != Links::Follow {
                    skip(path, SkipReason::LinkToDirectory)
                } else if above(&dir.real) || dir.hops.iter().any(above) {
                    skip(path, SkipReason::LinkLoop)
                } else {
                    let hops = dir.hops.iter().chain([&dir.real]).cloned().collect();
                    Seen::Directory(Directory { path, real, hops })
                }
            }
            Ok(metadata) => {
                let between = self.links_between(&path, link);
                if !between.is_empty() {
                    let mut found =
                        self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    found.through.extend(between);
                }
                self.file(dir, path, real, &metadata)
            }
            Err(error) => unreadable(path, &error),
        }
    }

    /// The links below the root that a link to a file leads through.
    fn links_between(&self, path: &str, link: &Path) -> Vec<(Box<str>, Box<Path>)> {
        let mut between = Vec::new();
        let mut at = link.to_owned();
        // The kernel follows no more than 40.
        for _ in 0..40 {
            let Ok(says) = fs::read_link(&at) else { break };
            let next = at.parent().unwrap_or(self.root).join(says);
            let (Some(dir), Some(name)) = (next.parent(), next.file_name()) else { break };
            let Ok(dir) = dir.canonicalize() else { break };
            at = dir.join(name);
            if at.is_symlink()
                && let Ok(hop) = at.strip_prefix(self.root)
            {
                between.push((path.into(), hop.into()));
            }
        }
        between
    }

    fn file(&self, dir: &Directory, path: String, real: PathBuf, metadata: &fs::Metadata) -> Seen {
        let skip = |path, reason| Seen::Skipped(Skipped { path, reason });
        if !metadata.is_file() {
            return skip(path, SkipReason::Special);
        }
        match paths::check(&path, self.prefix_len) {
            // Behind a link it is not ours to sweep.
            Err(paths::InvalidName::Temporary)
                if dir.hops.is_empty() && real == Path::new(&path) =>
            {
                Seen::Leftover(path)
            }
            Err(reason) => skip(path, SkipReason::Name(reason)),
            Ok(()) => {
                let modified = match metadata.modified() {
                    Ok(time) => Timestamp::from(time),
                    Err(error) => return unreadable(path, &error),
                };
                let target = (real != Path::new(&path)).then(|| real.into_boxed_path());
                Seen::File(File { path: path.into(), size: metadata.len(), modified, target })
            }
        }
    }
}

/// The plain error: walkdir's own text repeats the path.
fn io_error(error: walkdir::Error) -> io::Error {
    let text = error.to_string();
    error.into_io_error().unwrap_or_else(|| io::Error::other(text))
}

/// What vanishes between two looks may be gone, renamed, or on a file system that comes and goes: it is
/// not known to be deleted.
fn unreadable(path: String, error: &io::Error) -> Seen {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => SkipReason::Vanished,
        _ => SkipReason::Unreadable(error.to_string()),
    };
    Seen::Skipped(Skipped { path, reason })
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_its_directory_lists_twice_is_one_file() {
        let modified = Timestamp::from_secs(500);
        let file = File { path: "dir/twice".into(), size: 1, modified, target: None };
        let mut scan = Scan { files: vec![file.clone(), file.clone()], ..Scan::default() };
        scan.put_in_order();
        assert_eq!(scan.files, [file]);
    }
}
