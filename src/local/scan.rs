//! Scanning the directory: a rayon pool reads directories and the metadata of files.
//!
//! A scan returns the entries, and a reason for each entry that it skips. An unreadable directory
//! is skipped. Only an unreadable root is an error. An entry that is not selected is excluded, and an
//! excluded directory is not read.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rayon::prelude::*;
use walkdir::WalkDir;

use crate::{
    cancel::Cancel,
    error::{Cause, Error, Result},
    local::{
        directory_times::DirectoryTimes,
        file_state::FileState,
        links::{self, LinkTarget},
    },
    model::{
        entry::File,
        found::Found,
        links::Links,
        paths,
        skip::{SkipReason, Skipped},
        time::Timestamp,
    },
    selection::{IgnoreFiles, PatternList, Rules, Selector},
};

/// The file with the patterns of a directory.
const IGNORE_FILE: &str = ".s3keepignore";

/// How the tag of a cache directory begins: <https://bford.info/cachedir/>.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The least number of directory entries that one job of the pool looks at.
const MIN_ENTRIES_PER_JOB: usize = 64;

/// The most links to directories that are followed in one path.
///
/// Directories with links to each other have a path for every order in which one can pass through them:
/// with 12 directories more than a billion. With this limit, the number of paths grows at most with
/// the third power of the number of directories. The limit depends on nothing but the path, so all runs
/// skip the same links, in whatever order they read the directories.
const MAX_FOLLOWED: usize = 2;

/// The most entries of directories behind [`MAX_FOLLOWED`] links, all together. More come from links
/// between very many directories, and would exhaust the memory.
const MAX_ENTRIES_BEHIND_LINKS: usize = 10_000_000;

/// What a scan reads.
#[derive(Clone, Debug)]
pub(crate) struct ScanOptions {
    /// The length of the key prefix, which counts towards the length of each key.
    pub prefix_len: usize,
    pub links: Links,
    pub selector: Arc<Selector>,
    /// Also find what patterns exclude.
    pub ignores_patterns: bool,
    /// Counts the entries.
    pub found: Found,
}

/// The entries below the root. `files`, `dirs` and `skipped` are in tree order.
#[derive(Debug, Default)]
pub struct Scan {
    /// The files.
    pub files: Vec<File>,
    /// Links to files, each paired with the real path of another link that it leads through.
    pub through: Vec<(Box<str>, Box<Path>)>,
    /// All directories below the root.
    pub dirs: Vec<Box<str>>,
    /// The directories that are followed links.
    pub linked: Vec<Box<str>>,
    /// The skipped entries. Each protects everything at and below its path on the other side.
    pub skipped: Vec<Skipped>,
    /// The temporary files that earlier runs left behind, in tree order.
    pub leftovers: Vec<String>,
    /// The markers of unfinished restores.
    pub markers: Vec<FoundMarker>,
    /// The skipped entries whose content is unknown.
    pub unread: Vec<Unread>,
    /// The entries that are excluded whatever their names are. Each excludes everything at and below its
    /// path on the other side.
    pub excluded: Vec<Box<str>>,
    /// The directories that patterns exclude with everything below them.
    pub excluded_dirs: Vec<Box<str>>,
    /// The directories with files that patterns exclude, and the number of these.
    pub with_excluded: Vec<(Box<str>, u64)>,
    /// The patterns of the ignore files, by the paths of their directories.
    pub(crate) ignore_files: IgnoreFiles,
    /// The canonical path of the root.
    pub(crate) root: PathBuf,
    /// All directories that were read, the root included.
    pub(crate) read_dirs: Vec<ReadDirectory>,
}

/// The marker of an unfinished restore. It may be anything but a directory.
#[derive(Debug)]
pub(crate) struct FoundMarker {
    /// The path below the root.
    pub path: String,
    /// The real path below the root.
    pub real: PathBuf,
    /// Its directory is or passes through a followed link.
    pub is_linked: bool,
}

/// A skipped entry whose content is unknown: it cannot be read, or it disappeared.
#[derive(Clone, Debug)]
pub struct Unread {
    /// The path below the root.
    pub path: Box<str>,
    /// Whether it is a directory, so that files may be below it.
    pub is_dir: bool,
    /// The ctime of the directory, or of the one that contains the file: the last time at which a
    /// file can have been moved there. `None` if it is unknown.
    pub changed: Option<Timestamp>,
}

/// Creates a rayon pool for the file system, separate from any pool of the embedding program.
pub(crate) fn file_pool() -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .thread_name(|n| format!("s3keep-files-{n}"))
        .build()
        .map_err(|error| Error::new("start", "threads", io::Error::other(error)))
}

/// Scans the directory `root`.
///
/// # Errors
/// The root cannot be read, there are too many entries behind links, or the run was cancelled.
pub(crate) fn scan(
    pool: &rayon::ThreadPool,
    root: &Path,
    options: &ScanOptions,
    cancel: &Cancel,
) -> Result<Scan> {
    let fail = |error: io::Error| Error::new("read directory", root.display().to_string(), error);
    let root = root.canonicalize().map_err(fail)?;
    fs::read_dir(&root).map_err(fail)?;
    let walk = Walk::new(&root, options, cancel);
    let mut found = walk.read(pool, vec![Directory::default()], &|_| false)?;
    pool.install(|| found.sort());
    found.root = root;
    Ok(found)
}

impl Scan {
    /// The number of excluded entries. A directory that was not read counts once.
    pub(crate) fn excluded_count(&self) -> u64 {
        let files: u64 = self.with_excluded.iter().map(|(_, files)| files).sum();
        files + (self.excluded.len() + self.excluded_dirs.len()) as u64
    }

    pub(super) fn sort(&mut self) {
        self.files.par_sort_unstable_by(|a, b| paths::tree_order(&a.path, &b.path));
        // A directory that changes while it is read can return a file twice. The second one would
        // be paired with no object, and look like a new file.
        self.files.dedup_by(|a, b| a.path == b.path);
        self.dirs.par_sort_unstable_by(|a, b| paths::tree_order(a, b));
        self.dirs.dedup();
        self.skipped.par_sort_unstable_by(|a, b| paths::tree_order(&a.path, &b.path));
        // One below a followed link is found under its real path as well.
        self.leftovers.sort_unstable_by(|a, b| paths::tree_order(a, b));
        self.leftovers.dedup();
        self.markers.sort_unstable_by(|a, b| paths::tree_order(&a.path, &b.path));
        self.markers.dedup_by(|a, b| a.path == b.path);
    }
}

pub(super) struct Walk<'a> {
    /// Canonical, so that it is a prefix of every canonical path inside.
    root: &'a Path,
    /// The file system of the root, if the run stays on it.
    device: Option<u64>,
    options: &'a ScanOptions,
    cancel: &'a Cancel,
    found: Mutex<Scan>,
    /// The number of entries of directories behind [`MAX_FOLLOWED`] links, and their limit.
    behind_links: AtomicUsize,
    max_behind_links: usize,
    /// Why the root cannot be read.
    root_error: Mutex<Option<io::Error>>,
}

/// A directory to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    /// The path below the root, as keys have it.
    pub path: String,
    /// The real path below the root. It differs from `path` below a followed link.
    pub real: PathBuf,
    /// The real directories that contain the followed links in `path`.
    pub linked_from: Vec<PathBuf>,
    /// If the directory is read again: its times before the last reading.
    pub previous: Option<DirectoryTimes>,
    /// The patterns that apply to it, without those of its own ignore file.
    pub rules: Rules,
}

/// A directory that was read.
#[derive(Clone, Debug)]
pub(crate) struct ReadDirectory {
    pub dir: Directory,
    /// Its times right before it was read. `None` if these could not be read.
    pub times: Option<DirectoryTimes>,
}

/// One entry of a directory.
enum Entry {
    File(File),
    Directory(Directory),
    Skipped(Skipped),
    /// The real path, which passes through no link.
    Leftover(String),
    Marker(FoundMarker),
    Unread(Skipped, Unread),
    /// Excluded by a pattern.
    Excluded,
    /// A directory that a pattern excludes with everything below it.
    ExcludedDirectory(String),
    /// Excluded for another reason, with everything at and below its path.
    ExcludedTree(String),
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Path, options: &'a ScanOptions, cancel: &'a Cancel) -> Walk<'a> {
        let (found, root_error) = Default::default();
        let stays = options.selector.selection.one_file_system;
        Walk {
            root,
            device: if stays { device(root) } else { None },
            options,
            cancel,
            found,
            root_error,
            behind_links: AtomicUsize::new(0),
            max_behind_links: MAX_ENTRIES_BEHIND_LINKS,
        }
    }

    /// Reads directories and everything below them, except the subdirectories that `is_known`
    /// accepts. The result is not sorted.
    pub(super) fn read(
        self,
        pool: &rayon::ThreadPool,
        dirs: Vec<Directory>,
        is_known: &(impl Fn(&str) -> bool + Sync),
    ) -> Result<Scan> {
        pool.scope(|scope| {
            for dir in dirs {
                let walk = &self;
                scope.spawn(move |scope| walk.directory(scope, dir, is_known));
            }
        });
        self.cancel.check()?;
        let fail =
            |cause| Err(Error::new("read directory", self.root.display().to_string(), cause));
        if self.has_too_many_behind_links() {
            return fail(Cause::Config(format!(
                "more than {} entries were found behind {MAX_FOLLOWED} symlinks to directories, which may \
                 lead to each other; remove some of these links, or do not use --links follow",
                self.max_behind_links
            )));
        }
        match self.root_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(self.found.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Some(error) => fail(error.into()),
        }
    }

    fn has_too_many_behind_links(&self) -> bool {
        self.behind_links.load(Ordering::Relaxed) > self.max_behind_links
    }

    fn directory<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        mut dir: Directory,
        is_known: &'s (impl Fn(&str) -> bool + Sync),
    ) {
        if self.cancel.is_cancelled() || self.has_too_many_behind_links() {
            return;
        }
        // Taken before the directory is read, so that they show every change from now on.
        let times = DirectoryTimes::read(&self.root.join(&dir.real), dir.previous.as_ref());
        let entries: Vec<_> = WalkDir::new(self.root.join(&dir.real))
            .follow_root_links(false)
            .min_depth(1)
            .max_depth(1)
            .into_iter()
            .collect();
        if dir.linked_from.len() >= MAX_FOLLOWED {
            self.behind_links.fetch_add(entries.len(), Ordering::Relaxed);
        }
        let rules = dir.rules.clone();
        let entries: Vec<Entry> = match self.prepare(&mut dir, &entries) {
            None => entries
                .into_par_iter()
                .with_min_len(MIN_ENTRIES_PER_JOB)
                .map(|entry| self.entry(&dir, entry))
                .collect(),
            Some(instead) => Vec::from([instead]),
        };
        dir.rules = rules;
        self.options.found.add_local(entries.len());
        let (mut subdirs, mut excluded) = (Vec::new(), 0);
        {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in entries {
                match entry {
                    Entry::File(file) => found.files.push(file),
                    Entry::Skipped(skipped) => found.skipped.push(skipped),
                    Entry::Leftover(path) => found.leftovers.push(path),
                    Entry::Marker(marker) => found.markers.push(marker),
                    Entry::Unread(skipped, unread) => {
                        found.skipped.push(skipped);
                        found.unread.push(unread);
                    }
                    Entry::Excluded => excluded += 1,
                    Entry::ExcludedDirectory(path) => found.excluded_dirs.push(path.into()),
                    Entry::ExcludedTree(path) => found.excluded.push(path.into()),
                    Entry::Directory(subdir) => {
                        found.dirs.push(subdir.path.as_str().into());
                        if subdir.linked_from.len() > dir.linked_from.len() {
                            found.linked.push(subdir.path.as_str().into());
                        }
                        if !is_known(&subdir.path) {
                            subdirs.push(subdir);
                        }
                    }
                }
            }
            if excluded > 0 {
                found.with_excluded.push((dir.path.as_str().into(), excluded));
            }
            found.read_dirs.push(ReadDirectory { dir, times });
        }
        for subdir in subdirs {
            scope.spawn(move |scope| self.directory(scope, subdir, is_known));
        }
    }

    /// Reads the ignore file of a directory. Returns what is found instead of its entries, if these are not
    /// looked at.
    fn prepare(
        &self,
        dir: &mut Directory,
        entries: &[walkdir::Result<walkdir::DirEntry>],
    ) -> Option<Entry> {
        let file = |name: &str| {
            let has_name = |entry: &&walkdir::DirEntry| entry.file_name() == name;
            let entry = entries.iter().flatten().find(has_name)?;
            entry.file_type().is_file().then(|| entry.path())
        };
        if self.options.selector.selection.exclude_caches
            && !dir.path.is_empty()
            && file("CACHEDIR.TAG").is_some_and(is_cache_tag)
        {
            return Some(Entry::ExcludedTree(dir.path.clone()));
        }
        let path = file(IGNORE_FILE).filter(|_| !dir.rules.is_excluded())?;
        let read = fs::read_to_string(path).map_err(|error| error.to_string());
        match read.and_then(|text| PatternList::of_text(&text)) {
            Ok(patterns) => {
                let patterns = Arc::new(patterns);
                let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                found.ignore_files.insert(dir.path.as_str().into(), Arc::clone(&patterns));
                let rules = std::mem::take(&mut dir.rules);
                dir.rules = rules.with_ignore_file(&dir.path, patterns);
                None
            }
            Err(why) => {
                let error = io::Error::other(format!("{}: {why}", join(&dir.path, IGNORE_FILE)));
                Some(self.unreadable_as_a_whole(dir, error))
            }
        }
    }

    fn excludes(&self, dir: &Directory, path: &str) -> bool {
        let patterns = &self.options.selector.patterns;
        !self.options.ignores_patterns && dir.rules.exclude(patterns, path)
    }

    /// A subdirectory, or what counts instead of it.
    fn subdirectory(&self, parent: &Directory, mut dir: Directory) -> Entry {
        let is_elsewhere =
            |root| device(&self.root.join(&dir.real)).is_some_and(|device| device != root);
        if self.device.is_some_and(is_elsewhere) {
            return Entry::ExcludedTree(dir.path);
        }
        if !self.options.ignores_patterns {
            match parent.rules.enter(&self.options.selector.patterns, &dir.path) {
                Some(rules) => dir.rules = rules,
                None => return Entry::ExcludedDirectory(dir.path),
            }
        }
        Entry::Directory(dir)
    }

    fn entry(&self, dir: &Directory, entry: walkdir::Result<walkdir::DirEntry>) -> Entry {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return self.unreadable_directory(dir, error),
        };
        let Some(name) = entry.file_name().to_str() else {
            let path = join(&dir.path, &entry.file_name().to_string_lossy());
            if self.excludes(dir, &path) {
                return Entry::Excluded;
            }
            if entry.file_type().is_dir() {
                return unread(path, SkipReason::DirectoryNotUtf8, true, ctime(entry.path()));
            }
            return skip(path, SkipReason::NotUtf8);
        };
        let path = join(&dir.path, name);
        let real = dir.real.join(name);
        let file_type = entry.file_type();
        if file_type.is_dir() {
            let linked_from = dir.linked_from.clone();
            let (previous, rules) = Default::default();
            let subdir = Directory { path, real, linked_from, previous, rules };
            return self.subdirectory(dir, subdir);
        }
        if paths::is_marker(name) {
            let is_linked = !dir.linked_from.is_empty();
            return Entry::Marker(FoundMarker { path, real, is_linked });
        }
        // Whatever the length of its path: it is never a key. A link was replaced by a download.
        if paths::is_temporary(name)
            && (file_type.is_file() || file_type.is_symlink())
            && let Some(real) = real.to_str()
        {
            return Entry::Leftover(real.to_owned());
        }
        if self.excludes(dir, &path) {
            return Entry::Excluded;
        }
        if file_type.is_symlink() {
            return self.link(dir, path, entry.path());
        }
        match entry.metadata() {
            Ok(metadata) => self.file(path, real, &metadata),
            Err(error) => self.unreadable_entry(dir, path, false, &io_error(error)),
        }
    }

    fn unreadable_entry(
        &self,
        dir: &Directory,
        path: String,
        is_dir: bool,
        error: &io::Error,
    ) -> Entry {
        // An entry that disappeared may be anywhere by now. Any other is still in this directory.
        let changed = match error.kind() {
            io::ErrorKind::NotFound => None,
            _ => ctime(&self.root.join(&dir.real)),
        };
        unread(path, unreadable_reason(error), is_dir, changed)
    }

    fn unreadable_directory(&self, dir: &Directory, error: walkdir::Error) -> Entry {
        let real = self.root.join(&dir.real);
        // On some file systems, the kind of an entry takes a call of its own, which may fail.
        let name = error.path().filter(|path| **path != real).and_then(Path::file_name);
        // A marker may protect everything in the directory.
        let name = name.map(OsStr::to_string_lossy).filter(|name| !paths::is_marker(name));
        if let Some(path) = name.map(|name| join(&dir.path, &name)) {
            return self.unreadable_entry(dir, path, true, &io_error(error));
        }
        self.unreadable_as_a_whole(dir, io_error(error))
    }

    fn unreadable_as_a_whole(&self, dir: &Directory, error: io::Error) -> Entry {
        let real = self.root.join(&dir.real);
        let unreadable = unread(dir.path.clone(), unreadable_reason(&error), true, ctime(&real));
        if dir.path.is_empty() {
            *self.root_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        unreadable
    }

    fn link(&self, dir: &Directory, path: String, link: &Path) -> Entry {
        if self.options.links == Links::Skip {
            return Entry::ExcludedTree(path);
        }
        match links::follow(self.root, link) {
            Ok(LinkTarget::Skipped(reason)) => skip(path, reason),
            Ok(LinkTarget::Directory { real }) => self.link_to_directory(dir, path, real),
            Ok(LinkTarget::File { real, metadata }) => {
                let hops = links::hops(self.root, link);
                let changed = self.link_changed(link, &hops);
                if !hops.is_empty() {
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    let link: &str = &path;
                    found.through.extend(hops.into_iter().map(|hop| (link.into(), hop.into())));
                }
                let mut entry = self.file(path, real, &metadata);
                if let Entry::File(file) = &mut entry {
                    file.changed = file.changed.max(changed);
                }
                entry
            }
            Err(error) => unreadable(path, &error),
        }
    }

    /// The time at which a link, or one that it leads through, was last changed.
    fn link_changed(&self, link: &Path, hops: &[PathBuf]) -> Timestamp {
        let links = hops.iter().map(|hop| self.root.join(hop)).chain([link.to_owned()]);
        // One that disappeared counts as changed.
        let changed = |link: PathBuf| match link.symlink_metadata() {
            Ok(metadata) => FileState::changed(&metadata),
            Err(_) => Timestamp::from_nanos(i64::MAX),
        };
        links.map(changed).max().unwrap_or(Timestamp::from_nanos(i64::MIN))
    }

    fn link_to_directory(&self, dir: &Directory, path: String, real: PathBuf) -> Entry {
        let is_below_target = |dir: &PathBuf| dir.starts_with(&real);
        if self.options.links != Links::Follow {
            skip(path, SkipReason::LinkToDirectory)
        } else if is_below_target(&dir.real) || dir.linked_from.iter().any(is_below_target) {
            skip(path, SkipReason::LinkLoop)
        } else if dir.linked_from.len() >= MAX_FOLLOWED {
            skip(path, SkipReason::LinkTooDeep)
        } else {
            let linked_from = dir.linked_from.iter().chain([&dir.real]).cloned().collect();
            let (previous, rules) = Default::default();
            self.subdirectory(dir, Directory { path, real, linked_from, previous, rules })
        }
    }

    fn file(&self, path: String, real: PathBuf, metadata: &fs::Metadata) -> Entry {
        if !metadata.is_file() {
            return match self.options.selector.selection.skip_special {
                true => Entry::ExcludedTree(path),
                false => skip(path, SkipReason::Special),
            };
        }
        match paths::check(&path, self.options.prefix_len) {
            Err(reason) => skip(path, SkipReason::Name(reason)),
            Ok(()) => {
                let modified = match metadata.modified() {
                    Ok(time) => Timestamp::from(time),
                    Err(error) => return unreadable(path, &error),
                };
                let target = (real != Path::new(&path)).then(|| real.into_boxed_path());
                let changed = FileState::changed(metadata);
                let size = metadata.len();
                Entry::File(File { path: path.into(), size, modified, changed, target })
            }
        }
    }
}

fn skip(path: String, reason: SkipReason) -> Entry {
    Entry::Skipped(Skipped { path, reason })
}

fn unread(path: String, reason: SkipReason, is_dir: bool, changed: Option<Timestamp>) -> Entry {
    let unread = Unread { path: path.as_str().into(), is_dir, changed };
    Entry::Unread(Skipped { path, reason }, unread)
}

fn unreadable(path: String, error: &io::Error) -> Entry {
    skip(path, unreadable_reason(error))
}

/// Why an entry cannot be read. One that disappears during the scan may be deleted, renamed, or on a
/// file system that was unmounted, so it does not count as deleted.
fn unreadable_reason(error: &io::Error) -> SkipReason {
    match error.kind() {
        io::ErrorKind::NotFound => SkipReason::Vanished,
        _ => SkipReason::Unreadable(error.to_string()),
    }
}

/// Whether a directory may still exist. The root always does: if it cannot be read, that is an error.
pub(super) fn may_exist(root: &Path, dir: &Directory) -> bool {
    dir.path.is_empty() || !matches!(root.join(&dir.real).try_exists(), Ok(false))
}

fn device(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.dev())
}

fn is_cache_tag(path: &Path) -> bool {
    let mut start = [0; CACHE_TAG.len()];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == CACHE_TAG
}

fn ctime(path: &Path) -> Option<Timestamp> {
    fs::symlink_metadata(path).ok().map(|metadata| FileState::changed(&metadata))
}

/// The error without the path, which the text of walkdir's own error repeats.
fn io_error(error: walkdir::Error) -> io::Error {
    let text = error.to_string();
    error.into_io_error().unwrap_or_else(|| io::Error::other(text))
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

#[cfg(test)]
impl ScanOptions {
    pub(super) fn of_links(links: Links) -> ScanOptions {
        let selector = Selector::new(&crate::selection::Selection::default()).unwrap().into();
        ScanOptions {
            prefix_len: 0,
            links,
            selector,
            ignores_patterns: false,
            found: Found::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_ends_with_an_error_if_links_lead_to_too_many_entries() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for from in 0..4 {
            fs::create_dir(root.join(from.to_string())).unwrap();
            for to in (0..4).filter(|to| *to != from) {
                let link = root.join(format!("{from}/to{to}"));
                std::os::unix::fs::symlink(format!("../{to}"), link).unwrap();
            }
        }
        let (pool, cancel) = (file_pool().unwrap(), Cancel::new());
        let read = |max_behind_links| {
            let options = ScanOptions::of_links(Links::Follow);
            let walk = Walk::new(&root, &options, &cancel);
            let walk = Walk { max_behind_links, ..walk };
            walk.read(&pool, vec![Directory::default()], &|_| false)
        };
        // Each of the 24 directories behind two links has three links.
        assert_eq!(read(72).unwrap().dirs.len(), 4 * (1 + 3 + 6));
        let error = read(71).unwrap_err();
        assert!(error.to_string().contains("more than 71 entries"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn file_that_its_directory_returns_twice_is_one_file() {
        let modified = Timestamp::from_secs(500);
        let file =
            File { path: "dir/twice".into(), size: 1, modified, changed: modified, target: None };
        let mut scan = Scan { files: vec![file.clone(), file.clone()], ..Scan::default() };
        scan.sort();
        assert_eq!(scan.files, [file]);
    }
}
