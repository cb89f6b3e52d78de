//! Why a run was refused before it changed anything.

use std::fmt;

use crate::model::{escape::Escaped, paths::MAX_KEY_BYTES};

/// Why a run was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The source is empty, and the target is not.
    EmptySource {
        /// The number of entries in the target.
        target_entries: u64,
    },
    /// The run would delete more entries than the guards allow.
    TooManyDeletions {
        /// The number of entries that the run would delete.
        deletions: u64,
        /// The number of entries in the target.
        target_entries: u64,
    },
    /// Some keys are too long. All of them are listed.
    KeysTooLong(Vec<String>),
    /// The question was not answered with yes.
    NotConfirmed,
    /// Another run is active in this directory.
    Busy(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::EmptySource { target_entries } => write!(
                f,
                "the source is empty, but the target has {target_entries} entries; check that the \
                 directory is mounted and the prefix is right, or use --allow-empty"
            ),
            Refusal::TooManyDeletions { deletions, target_entries } => write!(
                f,
                "{deletions} of the target's {target_entries} entries would be deleted; raise the \
                 limit with --max-delete N or P%, or keep them with --no-delete"
            ),
            Refusal::KeysTooLong(keys) => {
                write!(f, "{} keys are longer than {} bytes:", keys.len(), MAX_KEY_BYTES)?;
                keys.iter().try_for_each(|key| write!(f, "\n  {}", Escaped(key)))
            }
            Refusal::NotConfirmed => f.write_str("not confirmed"),
            Refusal::Busy(dir) => {
                write!(f, "another s3keep is running in {}; try again later", Escaped(dir))
            }
        }
    }
}

impl std::error::Error for Refusal {}
