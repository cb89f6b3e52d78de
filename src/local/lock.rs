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
    pub(crate) fn is_locked_by_another_run(&self, path: &str) -> bool {
        let root = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let below = above(path).map(|dir| root.join(dir));
        below.chain(root.ancestors().skip(1).map(Path::to_owned)).any(|dir| is_locked(&dir))
    }
}

fn is_locked(dir: &Path) -> bool {
    let shared_lock = open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|dir| flock(dir, FlockOperation::NonBlockingLockShared));
    shared_lock == Err(Errno::WOULDBLOCK)
}
