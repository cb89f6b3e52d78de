//! The directory of a run, opened once. Files are read, written and removed only through this
//! handle.
//!
//! All paths are relative to the open directory and go through `cap-std`, where the kernel
//! (`openat2`) keeps them beneath it. Writing and removing also follow no link ([`Root::parent`]),
//! so that a link that appears during the run cannot redirect them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use cap_fs_ext::{FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions},
};
use rustix::{
    fs::fstatvfs,
    process::{Resource, getrlimit},
};

use crate::{
    error::{Error, Result},
    local::{file_state::FileState, flush::WrittenFileSystems},
    model::paths,
};

/// How often opening a file is retried while another process holds a lease on it. A file server
/// releases its lease as soon as its client has done so.
const LEASE_RETRIES: u32 = 20;

/// How long to wait before each of these retries.
const LEASE_RETRY_DELAY: Duration = Duration::from_millis(100);

/// An open directory. No path leads out of it.
pub(crate) struct Root {
    pub(super) dir: Dir,
    pub(super) path: PathBuf,
    /// The size limit of `RLIMIT_FSIZE`. A write beyond it does not fail: it kills the process.
    pub(super) max_file_size: Option<u64>,
    pub(super) written: WrittenFileSystems,
}

impl Root {
    /// Opens an existing directory.
    pub(crate) fn open(path: &Path) -> Result<Root> {
        let fail =
            |error: io::Error| Error::new("open directory", path.display().to_string(), error);
        Ok(Root {
            dir: Dir::open_ambient_dir(path, ambient_authority()).map_err(fail)?,
            path: path.to_owned(),
            max_file_size: getrlimit(Resource::Fsize).current,
            written: WrittenFileSystems::default(),
        })
    }

    /// Opens a directory to write to it. Creates it first if it does not exist.
    pub(crate) fn create(path: &Path) -> Result<Root> {
        let fail =
            |error: io::Error| Error::new("create directory", path.display().to_string(), error);
        fs::create_dir_all(path)
            .or_else(|error| match fs::metadata(path) {
                // It exists, but the system could not tell at first.
                Ok(metadata) if metadata.is_dir() => Ok(()),
                // A missing directory is not the reason: it was to be created.
                Err(reason) if reason.kind() != io::ErrorKind::NotFound => Err(reason),
                _ => Err(error),
            })
            .map_err(fail)?;
        let root = Root::open(path)?;
        root.written.add(&root.dir).map_err(fail)?;
        Ok(root)
    }

    /// Opens a file for reading. Fails for anything but a regular file inside the root.
    pub(crate) fn read(&self, path: &Path) -> io::Result<(fs::File, FileState)> {
        let (file, metadata) = self.open_file(path)?;
        let state = FileState::of_metadata(&metadata)?;
        Ok((file, state))
    }

    /// As [`read`](Root::read), with all metadata of the file.
    pub(super) fn open_file(&self, path: &Path) -> io::Result<(fs::File, fs::Metadata)> {
        let mut options = OpenOptions::new();
        // Non-blocking: the scan found a file here, but opening a pipe that replaced it would hang.
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        let mut retries = 0;
        let file = loop {
            match self.dir.open_with(path, &options) {
                // Another process has a lease on the file, and the kernel just asked it to release
                // it.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && retries < LEASE_RETRIES =>
                {
                    retries += 1;
                    thread::sleep(LEASE_RETRY_DELAY);
                }
                other => break other?.into_std(),
            }
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a file"));
        }
        Ok((file, metadata))
    }

    /// The free space of the file system of the root, in bytes. `None` if that is unknown.
    pub(crate) fn free_space(&self) -> Option<u64> {
        let state = fstatvfs(&self.dir).ok().filter(|state| state.f_blocks > 0)?;
        Some(state.f_bavail.saturating_mul(state.f_frsize))
    }

    /// Whether a new file of this path would be on the file system of the root. `true` if that is not
    /// known.
    pub(crate) fn is_on_its_file_system(&self, path: &str) -> bool {
        let Ok(root) = self.dir.dir_metadata() else { return true };
        let existing = paths::above(path).rev().find_map(|dir| self.dir.symlink_metadata(dir).ok());
        existing.is_none_or(|dir| dir.dev() == root.dev())
    }

    /// Flushes everything that was written below the root to disk. After a failure, every later
    /// call fails as well.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.written.flush()
    }
}
