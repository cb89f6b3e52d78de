//! The times of a directory, and what they prove about its entries.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use crate::{local::file_state::FileState, model::time::Timestamp};

/// A directory that changes twice within this time may show only the first change, on a file system
/// with precise timestamps: the kernel takes them from a clock that ticks every 1 to 10 ms.
const PRECISE_TICK: Duration = Duration::from_millis(50);

/// The same for a file system with timestamps of one or two seconds (FAT).
const COARSE_TICK: Duration = Duration::from_secs(2);

/// The times of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectoryTimes {
    modified: Timestamp,
    changed: Timestamp,
    first_seen: Instant,
    /// Whether every later change of the directory shows in its times.
    is_conclusive: bool,
}

impl DirectoryTimes {
    /// Reads the times of a directory. `previous` are those of an earlier reading.
    pub(super) fn read(path: &Path, previous: Option<&DirectoryTimes>) -> Option<DirectoryTimes> {
        let metadata = fs::symlink_metadata(path).ok()?;
        let modified = metadata.modified().ok()?.into();
        let changed = FileState::changed(&metadata);
        let is_same = |previous: &&DirectoryTimes| {
            (previous.modified, previous.changed) == (modified, changed)
        };
        let first_seen =
            previous.filter(is_same).map_or_else(Instant::now, |previous| previous.first_seen);
        let tick = if changed == changed.whole_second() { COARSE_TICK } else { PRECISE_TICK };
        // The second condition is for clocks that were set back, and for file servers with another
        // clock.
        let age = SystemTime::now().duration_since(changed.into()).unwrap_or_default();
        let is_conclusive = age >= tick || first_seen.elapsed() >= tick;
        Some(DirectoryTimes { modified, changed, first_seen, is_conclusive })
    }

    /// Whether nothing in the directory has changed since these times were read.
    pub(super) fn prove_unchanged(&self, now: &DirectoryTimes) -> bool {
        self.is_conclusive && self.are_equal(now)
    }

    pub(super) fn are_equal(&self, now: &DirectoryTimes) -> bool {
        (self.modified, self.changed) == (now.modified, now.changed)
    }

    #[cfg(test)]
    pub(super) fn inconclusive(self) -> DirectoryTimes {
        DirectoryTimes { is_conclusive: false, ..self }
    }
}
