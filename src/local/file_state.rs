//! The state of a file: its size and modification time.
//!
//! Every read, replacement and removal of a file compares its state with the scanned one, so that a
//! change after the scan is detected.

use std::{fs, io, os::unix::fs::MetadataExt};

use crate::model::{entry::File, time::Timestamp};

/// The size and modification time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    pub size: u64,
    pub modified: Timestamp,
}

impl FileState {
    /// The state in which the scan found a file.
    pub(crate) fn of_scanned(file: &File) -> FileState {
        FileState { size: file.size, modified: file.modified }
    }

    /// The present state of an open file.
    pub(crate) fn of(file: &fs::File) -> io::Result<FileState> {
        FileState::of_metadata(&file.metadata()?)
    }

    /// The time of the last change of the content or the attributes (ctime).
    pub(super) fn changed(metadata: &fs::Metadata) -> Timestamp {
        Timestamp::from_unix(metadata.ctime(), metadata.ctime_nsec())
    }

    pub(super) fn of_metadata(metadata: &fs::Metadata) -> io::Result<FileState> {
        Ok(FileState { size: metadata.len(), modified: metadata.modified()?.into() })
    }
}

/// The entry that a path must have to be replaced or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    /// A file in this state.
    File(FileState),
    Link,
}
