//! The entries of a listing.

use crate::{
    model::{
        archive_class::ArchiveClass,
        entry::Object,
        paths,
        skip::{SkipReason, Skipped},
    },
    s3::Listed,
};

/// A key in a listing.
pub(super) enum ListedEntry {
    /// An object, and its storage class if it cannot be read.
    Object(Object, Option<ArchiveClass>),
    /// A key that cannot be a file: its path, and how it is reported.
    Skipped(Box<[u8]>, Skipped),
    /// A zero-byte `name/`, the directory marker of other tools. It is ignored.
    Marker(Box<[u8]>),
}

impl ListedEntry {
    /// Converts an entry of the response. `None` if its key does not start with `prefix`.
    pub(super) fn new(listed: Listed, prefix: &str) -> Option<ListedEntry> {
        let Listed { key, size, modified, etag, archived } = listed;
        let key = match key {
            Ok(key) => key,
            Err(bytes) => {
                let path = bytes.strip_prefix(prefix.as_bytes())?;
                let printable = String::from_utf8_lossy(path).into_owned();
                let skipped = Skipped { path: printable, reason: SkipReason::NotUtf8 };
                return Some(ListedEntry::Skipped(path.into(), skipped));
            }
        };
        let path = key.strip_prefix(prefix)?;
        if size == 0 && (path.is_empty() || path.ends_with('/')) {
            return Some(ListedEntry::Marker(path.as_bytes().into()));
        }
        Some(match paths::check(path, prefix.len()) {
            Err(reason) => {
                let reason = SkipReason::Name(reason);
                let skipped = Skipped { path: path.to_owned(), reason };
                ListedEntry::Skipped(path.as_bytes().into(), skipped)
            }
            Ok(()) => {
                ListedEntry::Object(Object { path: path.into(), size, modified, etag }, archived)
            }
        })
    }

    /// The key without the prefix of the run.
    pub(super) fn path(&self) -> &[u8] {
        match self {
            ListedEntry::Object(object, _) => object.path.as_bytes(),
            ListedEntry::Skipped(path, _) | ListedEntry::Marker(path) => path,
        }
    }

    pub(super) fn object(&self) -> Option<&Object> {
        match self {
            ListedEntry::Object(object, _) => Some(object),
            ListedEntry::Skipped(..) | ListedEntry::Marker(_) => None,
        }
    }

    pub(super) fn is_marker(&self) -> bool {
        matches!(self, ListedEntry::Marker(_))
    }
}
