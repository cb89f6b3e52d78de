//! A request to stop, shared between the caller and everything that runs.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::error::{Error, Result};

/// Asks a run to stop. Clones are the same request; once made it stands.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Cancel {
    /// Nothing is asked for yet.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Asks every run that was given this value to stop as soon as it safely can.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        // Taking the lock keeps the wake-up from falling between a waiter's check and its sleep.
        drop(self.0.lock.lock());
        self.0.changed.notify_all();
    }

    /// Whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// An error once a stop was asked for.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Sleeps for `time`, or until a stop is asked for.
    pub(crate) fn sleep(&self, time: Duration) {
        let Ok(guard) = self.0.lock.lock() else { return };
        drop(self.0.changed.wait_timeout_while(guard, time, |()| !self.is_cancelled()));
    }
}
