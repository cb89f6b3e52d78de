//! Locks that keep two runs out of one directory.
//!
//! The lock is a `flock` on the directory itself. It needs no lock file, and the kernel releases it
//! when the process ends.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};

use crate::{
    cancel::Cancel,
    error::{Cause, Error, Refusal, Result},
    local::root::Root,
    model::{escape::Escaped, paths::above},
};

/// How often a run that waits for a lock tries again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

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

    /// Locks the directory, and waits for up to `wait` if another process has locked it.
    pub(crate) fn lock_within(
        &self,
        wait: Duration,
        cancel: &Cancel,
        on_wait: impl FnOnce(),
    ) -> Result<(Lock, Option<String>)> {
        let start = Instant::now();
        let mut on_wait = Some(on_wait);
        loop {
            match self.lock() {
                Err(error) if is_busy(&error) && start.elapsed() < wait => {
                    if let Some(on_wait) = on_wait.take() {
                        on_wait();
                    }
                    cancel.sleep(RETRY_INTERVAL.min(wait));
                    cancel.check()?;
                }
                other => return other,
            }
        }
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

fn is_busy(error: &Error) -> bool {
    matches!(error.cause(), Cause::Refused(Refusal::Busy(_)))
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
