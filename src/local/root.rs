//! The directory of a run, and the only hand that changes it.
//!
//! Every access is relative to an open directory and goes through `cap-std`, where the kernel
//! (`openat2`) keeps it beneath that directory. Whatever is written is reached step by step without
//! following any link, so that not even a link that is swapped in meanwhile leads a write astray.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Mutex, PoisonError},
};
use std::{
    fs, io,
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use cap_fs_ext::{DirExt, FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions, OpenOptionsExt},
};

use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

use crate::{
    error::{Cause, Error, Refusal, Result},
    model::{entry::File, links::Links, paths, time::Timestamp},
};

/// How often a file that somebody has a lease on is tried again, and after which time: a file server gives
/// way as soon as its client has.
const LEASE: (u32, Duration) = (20, Duration::from_millis(100));

/// An open directory that nothing leads out of.
pub(crate) struct Root {
    dir: Dir,
    path: PathBuf,
    /// The kernel ends the process, and not just the call, that writes a file beyond this.
    largest_file: Option<u64>,
    /// A directory of each file system that something is written to, by its number.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    disks: Mutex<BTreeMap<u64, Arc<fs::File>>>,
    /// What one of them has failed with.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    disk_failure: Mutex<Option<Errno>>,
}

/// Keeps other runs out of a directory until it is dropped, and leaves nothing behind.
pub(crate) struct Lock {
    locked: fs::File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, if no child that is just being started held a copy of the descriptor.
        let _ = self.locked.unlock();
    }
}

/// What identifies the state of a file, as far as the decision rule looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    pub size: u64,
    pub modified: Timestamp,
}

impl FileState {
    /// What the scan saw of a file.
    pub(crate) fn of_scanned(file: &File) -> FileState {
        FileState { size: file.size, modified: file.modified }
    }

    pub(crate) fn of(file: &fs::File) -> io::Result<FileState> {
        FileState::from_metadata(&file.metadata()?)
    }

    fn from_metadata(metadata: &fs::Metadata) -> io::Result<FileState> {
        Ok(FileState { size: metadata.len(), modified: metadata.modified()?.into() })
    }
}

/// What a path is expected to hold before it is replaced or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    File(FileState),
    Link,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Root> {
        let fail =
            |error: io::Error| Error::new("open directory", path.display().to_string(), error);
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(fail)?;
        let largest_file = getrlimit(Resource::Fsize).current;
        Ok(Root {
            dir,
            path: path.to_owned(),
            largest_file,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            disks: Mutex::default(),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            disk_failure: Mutex::default(),
        })
    }

    /// Opens the directory to write to it, and makes it first where it isn't there.
    pub(crate) fn create(path: &Path) -> Result<Root> {
        let fail =
            |error: io::Error| Error::new("create directory", path.display().to_string(), error);
        fs::create_dir_all(path).map_err(fail)?;
        let root = Root::open(path)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        root.remember_disk(&root.dir).map_err(fail)?;
        Ok(root)
    }

    /// Keeps other runs out, until the lock is dropped.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let shown = self.path.display().to_string();
        let fail = |error: io::Error| Error::new("lock directory", shown.clone(), error);
        // A handle for paths only, which is what `dir` holds, can't be locked.
        let file = self.dir.open(".").map_err(fail)?.into_std();
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Err(Refusal::Busy(shown).into()),
            // Some network file systems lock no directories: better unlocked than not at all.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Lock { locked: file }),
        }
    }

    /// Whether another run is at work in a directory, above the root or below, that `path` is in: what is
    /// unfinished there may be its own.
    pub(crate) fn is_worked_on(&self, path: &str) -> bool {
        use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
        let root = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let below = path.match_indices('/').map(|(end, _)| root.join(&path[..end]));
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let is_locked = |dir: &Path| {
            let tried = open(dir, flags, Mode::empty())
                .and_then(|dir| flock(dir, FlockOperation::NonBlockingLockShared));
            tried == Err(Errno::WOULDBLOCK)
        };
        below.chain(root.ancestors().skip(1).map(Path::to_owned)).any(|dir| is_locked(&dir))
    }

    /// Opens a file for reading. It is never one outside the root, nor anything but a file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<(fs::File, FileState)> {
        let mut options = OpenOptions::new();
        // Nothing but a file was seen here; a pipe that took its place must not hold us up.
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        let mut tries = 0;
        let file = loop {
            match self.dir.open_with(path, &options) {
                // Somebody has a lease on the file, and was just asked to give way.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < LEASE.0 => {
                    tries += 1;
                    thread::sleep(LEASE.1);
                }
                other => break other?.into_std(),
            }
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a file"));
        }
        let state = FileState::from_metadata(&metadata)?;
        Ok((file, state))
    }

    /// Whether there is no file (nor link, nor anything else but a directory) of that path. Where links are
    /// followed into directories, the path may lead through such links, too.
    pub(crate) fn has_no_file(&self, path: &str, links: Links) -> bool {
        let follows = links == Links::Follow;
        let real = if follows { self.followed(path) } else { Ok(path.to_owned()) };
        let found = real
            .and_then(|real| self.parent(&real, false))
            .and_then(|parent| parent.dir.symlink_metadata(&parent.name));
        match found {
            Ok(metadata) => metadata.is_dir(),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound if !follows => true,
                // Below a file there is nothing either, nor below a link to one. Below others there may be,
                // and below a link to nothing there may have been.
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    let is_link = |(at, _)| {
                        let above = self.path.join(&path[..at]);
                        above.is_symlink() && !(above.is_file() || follows && above.is_dir())
                    };
                    !path.match_indices('/').any(is_link)
                }
                _ => false,
            },
        }
    }

    /// Where `path` really is below the root, its last step not followed.
    fn followed(&self, path: &str) -> io::Result<String> {
        let (dirs, name) = paths::split(path);
        // If that fails, nothing is known to be gone.
        let root = self.path.canonicalize().map_err(|_| io::ErrorKind::InvalidInput)?;
        let dirs = self.path.join(dirs).canonicalize()?;
        let below = dirs.strip_prefix(root).ok().map(|below| below.join(name));
        let below = below.and_then(|below| Some(below.to_str()?.to_owned()));
        below.ok_or(io::ErrorKind::InvalidInput.into())
    }

    /// The directory that holds `path`, reached without following a link.
    pub(crate) fn parent(&self, path: &str, create: bool) -> io::Result<Parent> {
        let (dirs, name) = paths::split(path);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(dir) = self.directory_at_once(dirs) {
            return Ok(Parent { dir: Arc::new(dir), name: name.to_owned() });
        }
        let mut dir = self.dir.try_clone()?;
        for step in dirs.split('/').filter(|step| !step.is_empty()) {
            dir = match dir.open_dir_nofollow(step) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                    match dir.create_dir(step) {
                        // Another worker may have made it at the same moment.
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        _ => dir.open_dir_nofollow(step)?,
                    }
                }
                other => other?,
            };
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if create {
            self.remember_disk(&dir)?;
        }
        Ok(Parent { dir: Arc::new(dir), name: name.to_owned() })
    }

    /// `syncfs` is for one file system alone, and has to be told of each that is written to. What a disk
    /// fails to write, each descriptor hears once; one that was opened after another has heard it, never.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn remember_disk(&self, dir: &Dir) -> io::Result<()> {
        let number = dir.dir_metadata()?.dev();
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(unknown) = disks.entry(number) {
            unknown.insert(Arc::new(dir.open(".")?.into_std()));
        }
        Ok(())
    }

    /// As [`parent`](Root::parent), but for the walk where the file before was in the same directory.
    fn parent_near(&self, path: &str, create: bool, cache: &mut ParentCache) -> io::Result<Parent> {
        let (dirs, name) = paths::split(path);
        if let Some((of, dir)) = &cache.0
            && of == dirs
        {
            return Ok(Parent { dir: Arc::clone(dir), name: name.to_owned() });
        }
        let parent = self.parent(path, create)?;
        cache.0 = Some((dirs.to_owned(), Arc::clone(&parent.dir)));
        Ok(parent)
    }

    /// Whether the directory of the file before is still where it was. If somebody has moved it, what was done
    /// in it since was done elsewhere.
    pub(crate) fn is_in_place(&self, cache: &ParentCache) -> bool {
        let Some((dirs, dir)) = &cache.0 else { return true };
        let same = || -> io::Result<bool> {
            let (was, is) = (dir.dir_metadata()?, self.parent(&format!("{dirs}/."), false)?);
            let is = is.dir.dir_metadata()?;
            Ok((was.dev(), was.ino()) == (is.dev(), is.ino()))
        };
        same().unwrap_or(false)
    }

    /// What [`parent`](Root::parent) reaches step by step, in one call. `None` where that doesn't work, for
    /// whatever reason, and where another file system is mounted.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn directory_at_once(&self, path: &str) -> Option<Dir> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let dir = openat2(&self.dir, path, flags, Mode::empty(), resolve).ok()?;
        Some(Dir::from_std_file(dir.into()))
    }
}

/// An open directory and the name in it that a path ends with.
pub(crate) struct Parent {
    dir: Arc<Dir>,
    name: String,
}

/// The directory of the file before, open for its neighbours.
#[derive(Default)]
pub(crate) struct ParentCache(Option<(String, Arc<Dir>)>);

impl Parent {
    /// Makes a new file beside the one that it will become, with room for `size` bytes. What replaces a
    /// file is nobody else's to read until it has that file's mode.
    fn temporary(self, replaces_file: bool) -> io::Result<Temporary> {
        let name = paths::temporary();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).follow(FollowSymlinks::No);
        #[cfg(unix)]
        if replaces_file {
            options.mode(0o600);
        }
        let file = self.dir.open_with(&name, &options)?.into_std();
        Ok(Temporary { parent: self, name: Some(name), file })
    }

    fn holds(&self) -> io::Result<Option<Expected>> {
        let metadata = match self.dir.symlink_metadata(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Expected::Nothing));
            }
            other => other?,
        };
        Ok(if metadata.is_symlink() {
            Some(Expected::Link)
        } else if metadata.is_file() {
            let modified = metadata.modified()?.into_std().into();
            Some(Expected::File(FileState { size: metadata.len(), modified }))
        } else {
            None
        })
    }

    /// Renames a file of this directory to the name of the path, in place of what is expected there.
    fn give_name(&self, temporary: &str, expected: Expected) -> Result<(), Cause> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if expected == Expected::Nothing {
            use rustix::fs::{RenameFlags, renameat_with};
            let (dir, name) = (&*self.dir, self.name.as_str());
            match renameat_with(dir, temporary, dir, name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                // There is something after all, or the file system doesn't know how.
                Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        self.check(expected)?;
        Ok(self.dir.rename(temporary, &self.dir, &self.name)?)
    }

    fn check(&self, expected: Expected) -> Result<(), Cause> {
        match self.holds()? {
            Some(found) if found == expected => Ok(()),
            Some(Expected::Nothing) => {
                Err(Cause::Changed("the file vanished after it was looked at"))
            }
            Some(_) => Err(Cause::Changed("the file was changed after it was looked at")),
            None => {
                Err(Cause::Changed("a directory, or something else that is no file, is in the way"))
            }
        }
    }

    /// Removes the file or link, if it is still the one that was seen.
    pub(crate) fn remove(&self, expected: Expected) -> Result<(), Cause> {
        self.check(expected)?;
        Ok(self.dir.remove_file(&self.name)?)
    }

    /// Removes a file of ours, whatever its state.
    pub(crate) fn remove_any_file(&self) -> Result<(), Cause> {
        match self.dir.remove_file(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes a directory that has nothing in it.
    pub(crate) fn remove_empty_dir(&self) -> io::Result<()> {
        self.dir.remove_dir(&self.name)
    }
}

/// Fails at once on a full disk: a large file would else take the room of all that fit while it is
/// fetched.
fn reserve(file: &fs::File, size: u64) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if size >= 1 << 20 {
        use rustix::fs::{FallocateFlags, fallocate};
        let reserve = || fallocate(file, FallocateFlags::empty(), 0, size);
        match rustix::io::retry_on_intr(reserve) {
            // The file system doesn't know how.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return Ok(other?),
        }
    }
    Ok(())
}

/// Has the system begin to write a range of a file to the disk, so that less is left to wait for at the end.
pub(crate) fn begin_writing(file: &fs::File, range: Range<u64>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(len) = NonZeroU64::new(range.end - range.start) {
        // What is not on the disk yet can't be dropped, but is on its way then. If not, nothing is lost.
        let _ = rustix::fs::fadvise(file, range.start, Some(len), rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (file, range);
}

/// A file in the making; removed when it is dropped before it is kept.
pub(crate) struct Temporary {
    parent: Parent,
    name: Option<String>,
    pub file: fs::File,
}

impl Temporary {
    /// Gives the file its time, and the mode of the file that it will replace. Only the name is missing
    /// then, and no descriptor is held.
    pub(crate) fn complete(
        mut self,
        path: &str,
        expected: Expected,
        modified: Timestamp,
    ) -> Result<Complete, Cause> {
        if let Expected::File(_) = expected {
            // Objects know no permissions; those of the file that is replaced stay. Not so setuid and setgid,
            // which any new content costs a file: its owner may be another now.
            let replaced = self.parent.dir.symlink_metadata(&self.parent.name)?.permissions();
            let mode = replaced.into_std(&self.file)?.mode() & 0o777;
            self.file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        self.file.set_modified(modified.into())?;
        let name = self.name.take().unwrap_or_default();
        Ok(Complete { path: path.to_owned(), name, expected })
    }
}

/// A file that is whole but for its name. One that is never published is swept by the next run.
pub(crate) struct Complete {
    path: String,
    name: String,
    expected: Expected,
}

impl Root {
    /// Has all that was written below the root reach the disk. Whatever was written by the time of a failure
    /// may be what was lost: after one, this fails for good.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // One call for any number of files: the file system writes them in the order that suits it.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // One at a time, as another may just be hearing of a failure of all.
            let mut failure = self.disk_failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failure.is_none() {
                let disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner).clone();
                *failure = disks.values().try_for_each(rustix::fs::syncfs).err();
            }
            failure.map_or(Ok(()), |error| Err(error.into()))
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            rustix::fs::sync();
            Ok(())
        }
    }

    /// Makes a new file beside the one that `path` will be, with room for `size` bytes. Missing directories
    /// are made.
    pub(crate) fn temporary(
        &self,
        path: &str,
        replaces_file: bool,
        size: u64,
        cache: &mut ParentCache,
    ) -> io::Result<Temporary> {
        if self.largest_file.is_some_and(|limit| size > limit) {
            return Err(Errno::FBIG.into());
        }
        let temporary = self.parent_near(path, true, cache)?.temporary(replaces_file)?;
        reserve(&temporary.file, size)?;
        Ok(temporary)
    }

    /// Gives a file its final name, in place of what was expected to be there.
    pub(crate) fn publish(
        &self,
        complete: &Complete,
        cache: &mut ParentCache,
    ) -> Result<(), Cause> {
        let parent = self.parent_near(&complete.path, false, cache)?;
        let published = parent.give_name(&complete.name, complete.expected);
        if published.is_err() {
            let _ = parent.dir.remove_file(&complete.name);
        }
        published
    }

    /// Removes a file that is not to get its name.
    pub(crate) fn discard(&self, complete: &Complete) {
        if let Ok(parent) = self.parent(&complete.path, false) {
            // What can't be removed now is swept by the next run.
            let _ = parent.dir.remove_file(&complete.name);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What can't be removed now is swept by the next run.
            let _ = self.parent.dir.remove_file(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_moved_is_not_in_place() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::open(place.path()).unwrap();
        let mut cache = ParentCache::default();
        assert!(root.is_in_place(&cache));
        drop(root.temporary("top", false, 0, &mut cache).unwrap());
        assert!(root.is_in_place(&cache));
        drop(root.temporary("a/b/file", false, 0, &mut cache).unwrap());
        assert!(root.is_in_place(&cache));
        fs::rename(place.path().join("a"), place.path().join("moved")).unwrap();
        assert!(!root.is_in_place(&cache));
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        assert!(!root.is_in_place(&cache), "another of its name");
    }
}
