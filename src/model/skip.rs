//! Entries that a run skips, and the reasons.

use std::fmt;

use crate::model::{archive_class::ArchiveClass, escape::Escaped, paths::InvalidName};

/// An entry that is neither transferred nor deleted, and why. Every report names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The path below the directory. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub path: String,
    /// Why it is skipped.
    pub reason: SkipReason,
}

/// Why an entry is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// The name is not valid on the other side.
    Name(InvalidName),
    /// The name is not UTF-8, and a key must be.
    NotUtf8,
    /// The name of a directory is not UTF-8. Its content was not read.
    DirectoryNotUtf8,
    /// A symlink that leads out of the directory.
    LinkOutside,
    /// A symlink whose target does not exist.
    LinkDangling,
    /// A symlink that leads back to itself or to a directory above it.
    LinkLoop,
    /// A symlink to a directory, behind as many other followed symlinks as one path may have.
    LinkTooDeep,
    /// A symlink to a directory. [`Links::Follow`](crate::Links::Follow) would enter it.
    LinkToDirectory,
    /// A socket, pipe or device.
    Special,
    /// Reading it failed with this message.
    Unreadable(String),
    /// It disappeared during the scan.
    Vanished,
    /// This local file is at the place of a directory that the entry needs.
    FileInTheWay(String),
    /// This local link is at the place of a directory that the entry needs.
    LinkInTheWay(String),
    /// A local directory is at the place of the file.
    DirectoryInTheWay,
    /// The target does not distinguish its name from this one.
    Folded(String),
    /// This local entry, which was itself skipped, is at the place of the entry or above it.
    SkippedInTheWay(String),
    /// A restore that has not finished may still have to write the file: this marker lists it.
    IncompleteRestore(String),
    /// The object is archived, and a restore cannot read it.
    Archived(ArchiveClass),
}

impl SkipReason {
    /// Whether there may be files at or below the path that the scan did not find.
    pub(crate) fn hides_content(&self) -> bool {
        matches!(
            self,
            SkipReason::Unreadable(_) | SkipReason::Vanished | SkipReason::DirectoryNotUtf8
        )
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SkipReason::Name(reason) => write!(f, "{reason}"),
            SkipReason::NotUtf8 => f.write_str("the name is not UTF-8"),
            SkipReason::DirectoryNotUtf8 => f.write_str("the name of the directory is not UTF-8"),
            SkipReason::LinkOutside => f.write_str("a symlink that leads out of the directory"),
            SkipReason::LinkDangling => f.write_str("a symlink whose target does not exist"),
            SkipReason::LinkLoop => {
                f.write_str("a symlink that leads back to itself or to a directory above it")
            }
            SkipReason::LinkTooDeep => f.write_str(
                "a symlink to a directory, behind two other symlinks to directories (no third one \
                 is followed)",
            ),
            SkipReason::LinkToDirectory => {
                f.write_str("a symlink to a directory (--links follow enters it)")
            }
            SkipReason::Special => f.write_str("neither a file nor a directory"),
            SkipReason::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            SkipReason::Vanished => f.write_str("it disappeared during the scan"),
            SkipReason::FileInTheWay(path) => {
                write!(f, "the file {} is in the way", Escaped(path))
            }
            SkipReason::LinkInTheWay(path) => {
                write!(f, "the link {} is in the way", Escaped(path))
            }
            SkipReason::DirectoryInTheWay => f.write_str("a directory of that name is in the way"),
            SkipReason::Folded(path) => {
                let path = Escaped(path);
                write!(
                    f,
                    "the target does not distinguish this name from {path}; rename one of them"
                )
            }
            SkipReason::SkippedInTheWay(path) => {
                write!(f, "{}, which was skipped, is in the way", Escaped(path))
            }
            SkipReason::Archived(class) => write!(f, "the object is archived ({class})"),
            SkipReason::IncompleteRestore(marker) => {
                write!(f, "an unfinished restore still has to write it ({})", Escaped(marker))
            }
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped(&self.path), self.reason)
    }
}
