//! The entries of a record.

use crate::model::{
    entry::{File, Object},
    etag::ETag,
    time::Timestamp,
};

/// A file whose ctime is younger than this may change again without a change of its times: some file
/// systems keep times in whole or even seconds.
const SETTLING_NANOS: i64 = 2_000_000_000;

/// The state of a file, as the record keeps it.
///
/// It has neither device nor inode number: both change with mounts and snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedState {
    pub size: u64,
    pub modified: Timestamp,
    pub changed: Timestamp,
}

impl RecordedState {
    /// The state in which the scan found a file.
    pub(crate) fn of_scanned(file: &File) -> RecordedState {
        RecordedState { size: file.size, modified: file.modified, changed: file.changed }
    }

    /// Whether every change at `now` or later would show in this state.
    pub(crate) fn is_settled(self, now: Timestamp) -> bool {
        now.nanos().saturating_sub(self.changed.nanos()) >= SETTLING_NANOS
    }

    /// Whether the file system keeps fractions of a second. On others, a file has the times of the
    /// present second for up to a second, so one that was just renamed may not be recorded.
    pub(crate) fn has_exact_times(self) -> bool {
        self.changed != self.changed.whole_second()
    }
}

/// An entry of a record: the file in this state and the object with this ETag have the same content.
///
/// Without an ETag, it says that the content of a file in this state is uncertain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub path: Box<str>,
    pub state: RecordedState,
    pub etag: ETag,
}

/// What a record knows about a file and an object of the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is no entry.
    Nothing,
    /// Both are as recorded, so their contents are the same.
    Same,
    /// One of them is not as recorded.
    Changed,
    /// They are not known to be the same, and the directory does not keep modification times.
    WithoutTimes,
}

impl Known {
    /// Compares a file and an object with the entry of their path.
    pub(crate) fn of(
        state: RecordedState,
        etag: &ETag,
        file: &File,
        object: &Object,
        ignore_ctime: bool,
    ) -> Known {
        let mut now = RecordedState::of_scanned(file);
        if ignore_ctime {
            now.changed = state.changed;
        }
        if object.etag == ETag::None {
            // Some listings have no ETags.
            Known::Nothing
        } else if now == state && object.size == file.size && object.etag.is_same(etag) {
            Known::Same
        } else {
            Known::Changed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_file_is_not_settled() {
        let state = |changed| RecordedState {
            size: 1,
            modified: Timestamp::from_secs(1),
            changed: Timestamp::from_nanos(changed),
        };
        let now = Timestamp::from_secs(100);
        assert!(state(98_000_000_000).is_settled(now));
        assert!(!state(98_000_000_001).is_settled(now));
        assert!(!state(101_000_000_000).is_settled(now), "the clock of a file server is ahead");
    }
}
