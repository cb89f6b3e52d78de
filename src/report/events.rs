//! Events: what happens during a run.

use crate::{
    error::Error,
    model::{count::Count, skip::Skipped},
    plan::Withheld,
};

/// Something that happened during a run. Events are delivered on the caller's thread.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stage starts.
    Stage(Stage),
    /// The progress of the transfers.
    Progress(Progress),
    /// A file was uploaded or downloaded.
    Transferred {
        /// The path below the directory.
        path: &'a str,
        /// The size in bytes.
        bytes: u64,
    },
    /// A file grew while it was uploaded. Its object has the content up to the size that the file had
    /// when it was opened. The next backup uploads the file again.
    Grew {
        /// The path below the directory.
        path: &'a str,
        /// The size of the object in bytes.
        bytes: u64,
    },
    /// An object, file or empty directory was deleted.
    Deleted {
        /// The path below the directory.
        path: &'a str,
    },
    /// An entry was found after the plan was made, and is skipped.
    Skipped(&'a Skipped),
    /// A deletion is withheld because something was not transferred. The plan has named those that were
    /// known before.
    Withheld(&'a Withheld),
    /// Something to know that is not a failure of one entry, such as a directory that cannot be locked.
    Warning(&'a str),
    /// An operation on one entry failed. The run continues with the others.
    Failed(&'a Error),
}

/// The stages of a run, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Waiting for another process that has locked the directory.
    Waiting,
    /// Scanning the directory and listing the bucket.
    Scanning,
    /// Listing the bucket alone.
    Listing,
    /// Reading files to compare contents.
    Comparing {
        /// The number of files.
        entries: u64,
        /// Their total size in bytes.
        bytes: u64,
    },
    /// Uploading or downloading.
    Transferring(Count),
    /// Deleting entries that the source does not have.
    Deleting {
        /// The number of entries.
        entries: u64,
    },
}

/// The progress of the transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is done: complete files, and the bytes of all files. Bytes that are transferred again after
    /// a failure count again.
    pub done: Count,
    /// What the stage has to transfer in total.
    pub total: Count,
}
