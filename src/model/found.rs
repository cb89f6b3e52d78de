//! The entries that were found so far.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many entries a scan and a listing have found so far: see [`Keeper::found`](crate::Keeper::found).
///
/// Both count while they run, so that a program can show it from any thread. The numbers are not exact: an
/// object counts again if its page is requested again, and excluded entries count as well.
#[derive(Clone, Debug, Default)]
pub struct Found(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    local: AtomicU64,
    objects: AtomicU64,
}

impl Found {
    /// The entries of the local directory.
    pub fn local(&self) -> u64 {
        self.0.local.load(Ordering::Relaxed)
    }

    /// The objects.
    pub fn objects(&self) -> u64 {
        self.0.objects.load(Ordering::Relaxed)
    }

    pub(crate) fn add_local(&self, entries: usize) {
        self.0.local.fetch_add(entries as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_objects(&self, objects: usize) {
        self.0.objects.fetch_add(objects as u64, Ordering::Relaxed);
    }

    /// Starts from zero, for another scan.
    pub(crate) fn reset(&self) {
        self.0.local.store(0, Ordering::Relaxed);
        self.0.objects.store(0, Ordering::Relaxed);
    }
}
