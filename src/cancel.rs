//! Cancellation: a request to stop, shared by the caller and everything that runs.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::error::{Error, Result};

/// Cancels a run from any thread. Clones share one state, and a cancellation is final.
///
/// ```
/// let cancel = s3keep::Cancel::new();
/// let handle = cancel.clone();
/// std::thread::spawn(move || handle.cancel()).join().unwrap();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Cancel {
    /// A new handle that is not cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Asks every run that uses this handle to stop as soon as it safely can.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        // Taking the lock ensures that no sleeper is between its check and its wait, where it would
        // miss the notification.
        drop(self.0.lock.lock());
        self.0.changed.notify_all();
    }

    /// Whether [`cancel`](Cancel::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Returns an error if the run was cancelled.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Sleeps for `time`, or until the run is cancelled.
    pub(crate) fn sleep(&self, time: Duration) {
        let Ok(guard) = self.0.lock.lock() else { return };
        drop(self.0.changed.wait_timeout_while(guard, time, |()| !self.is_cancelled()));
    }
}
