//! What a plan consists of: transfers and deletions.

use std::fmt;

use crate::{
    model::{
        direction::Direction,
        entry::{File, Object},
        escape::Escaped,
        time::Timestamp,
    },
    plan::rule::Reason,
};

/// A file to upload or an object to download, with the entry of the other side, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Why it is transferred.
    pub reason: Reason,
    /// The local file: the source of an upload, or what a download replaces.
    pub file: Option<File>,
    /// The object: the source of a download, or what an upload replaces.
    pub object: Option<Object>,
}

impl Transfer {
    /// The path below the directory.
    pub fn path(&self) -> &str {
        match (&self.file, &self.object) {
            (Some(file), _) => &file.path,
            (None, Some(object)) => &object.path,
            (None, None) => "",
        }
    }

    /// The number of bytes to transfer.
    pub fn size(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Backup => self.file.as_ref().map_or(0, |file| file.size),
            Direction::Restore => self.object.as_ref().map_or(0, |object| object.size),
        }
    }
}

/// An entry of the target that the source does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The path below the directory.
    pub path: Box<str>,
    /// The size in bytes.
    pub size: u64,
    /// The time of the last modification. A local file with another time is not deleted.
    pub modified: Timestamp,
    /// The path is a symlink. Only the link is removed.
    pub is_link: bool,
    /// A pattern excludes the path: the object is deleted although its file may exist.
    pub is_excluded: bool,
}

/// A deletion that a run does not make, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The deletion.
    pub deletion: Deletion,
    /// The path of an entry that was not transferred. For [`MayBeSameEntry`](WithheldReason::MayBeSameEntry),
    /// that of a file with a similar name, which was. Empty for
    /// [`DirectoryChanged`](WithheldReason::DirectoryChanged).
    pub because_of: Box<str>,
    /// What the deletion has to do with that entry.
    pub reason: WithheldReason,
}

/// Why a deletion is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithheldReason {
    /// It is at, below or above the path of an entry that was not transferred.
    Conflict,
    /// It may be the only copy of an entry that was not transferred.
    MayBeCopy,
    /// Its file may have been moved to an entry that could not be read.
    MayBeMoved,
    /// The directory changed during the run, so its file may have been moved.
    DirectoryChanged,
    /// The program removed the transfer of an entry from the plan. Until it is transferred, the
    /// deletion may be needed.
    LeftOut,
    /// The store may not distinguish its name from that of a file, and the check for that failed.
    MayBeSameEntry,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, other) = (Escaped(&self.deletion.path), Escaped(&self.because_of));
        match self.reason {
            WithheldReason::Conflict => {
                write!(f, "{path}: its path conflicts with {other}, which was not transferred")
            }
            WithheldReason::MayBeCopy => {
                write!(f, "{path}: it may be the only copy of {other}, which was not transferred")
            }
            WithheldReason::MayBeMoved => {
                write!(f, "{path}: its file may have been moved to {other}, which was not read")
            }
            WithheldReason::MayBeSameEntry => write!(
                f,
                "{path}: the store may not distinguish it from {other}, and the check for that failed"
            ),
            WithheldReason::DirectoryChanged => {
                write!(f, "{path}: its file may have been moved while the directory changed")
            }
            WithheldReason::LeftOut => write!(
                f,
                "{path}: it is kept because the transfer of {other} was removed from the plan"
            ),
        }
    }
}
