//! Locks that keep two runs out of one directory.
//!
//! The lock is a `flock` on the directory itself. It needs no lock file, and the kernel releases it
//! when the process ends.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};

use crate::{
    error::{Error, Refusal, Result},
    local::root::Root,
    model::{escape::Escaped, paths::above},
};

/// Keeps other runs out of a directory until it is dropped.
pub(crate) struct Lock {
    dir: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the descriptor is not enough: a child process that is just being started may hold
        // a copy of it.
        let _ = self.dir.unlock();
    }
}

impl Root {
    /// Locks the directory against other runs. Returns a warning if the file system cannot lock it.
    pub(crate) fn lock(&self) -> Result<(Lock, Option<String>)> {
        let path = self.path.display().to_string();
        let fail = |error: io::Error| Error::new("lock directory", path.clone(), error);
        // `self.dir` is an `O_PATH` descriptor, which cannot be locked.
        let dir = self.dir.open(".").map_err(fail)?.into_std();
        let warning = match dir.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(Refusal::Busy(path).into()),
            // Some network file systems cannot lock directories. A run without a lock is better
            // than no run.
            Err(TryLockError::Error(error)) => Some(format!(
                "cannot lock {}: {error}; runs are not protected from each other",
                Escaped(&path)
            )),
            Ok(()) => None,
        };
        Ok((Lock { dir }, warning))
    }

    /// Whether another run is active in a directory that contains `path`: one above the root, or
    /// one between the root and `path`. Temporary files there may belong to that run.
    ///
    /// # Errors
    /// The system cannot tell.
    pub(crate) fn is_locked_by_another_run(&self, path: &str) -> io::Result<bool> {
        let root = self.path.canonicalize()?;
        for dir in above(path).map(|dir| root.join(dir)) {
            if is_locked(&dir)? {
                return Ok(true);
            }
        }
        for dir in root.ancestors().skip(1) {
            if is_locked(dir)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_locked(dir: &Path) -> io::Result<bool> {
    let fail = |errno: Errno| {
        let dir = dir.display().to_string();
        let text = format!("cannot check the lock of {}: {errno}", Escaped(&dir));
        io::Error::new(errno.kind(), text)
    };
    let dir = match open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        // A directory that this user may not open is ignored.
        Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
        other => other.map_err(fail)?,
    };
    match flock(dir, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        // Directories of this file system cannot be locked.
        Err(Errno::BADF | Errno::INVAL | Errno::NOLCK | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
        Err(errno) => Err(fail(errno)),
    }
}
