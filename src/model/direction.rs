//! The direction of a run.

/// Which side a run changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The bucket becomes a mirror of the directory.
    Backup,
    /// The directory becomes a mirror of the bucket.
    Restore,
}
