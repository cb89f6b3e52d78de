//! The entries of both sides: files and objects.
//!
//! A run may hold millions of them in memory, so they are kept small.

use std::path::Path;

use crate::model::{etag::ETag, time::Timestamp};

/// A local file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path below the directory, separated by `/`.
    pub path: Box<str>,
    /// The size in bytes.
    pub size: u64,
    /// The time of the last modification (mtime).
    pub modified: Timestamp,
    /// The time of the last change of the content or the attributes (ctime). Programs cannot set it.
    /// For a symlink: the later of its own and that of its target.
    pub changed: Timestamp,
    /// If `path` is or passes through a symlink: the real path of the file below the directory.
    pub target: Option<Box<Path>>,
}

impl File {
    /// The path to read the content from, below the directory.
    pub(crate) fn source(&self) -> &Path {
        self.target.as_deref().unwrap_or(Path::new(&*self.path))
    }
}

/// An object in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The key without the prefix of the run.
    pub path: Box<str>,
    /// The size in bytes.
    pub size: u64,
    /// `LastModified`, in whole seconds.
    pub modified: Timestamp,
    /// The `ETag`.
    pub etag: ETag,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures that the guide gives for memory per entry.
    #[test]
    fn an_object_and_a_file_take_56_bytes_plus_the_path() {
        assert_eq!(size_of::<Object>(), 56);
        assert_eq!(size_of::<File>(), 56);
    }
}
