//! The entries of a listing.

use crate::{
    model::{
        archive_class::ArchiveClass,
        entry::Object,
        etag::ETag,
        paths,
        skip::{SkipReason, Skipped},
        time::Timestamp,
    },
    s3::Listed,
};

/// A key in a listing.
pub(super) enum ListedEntry {
    /// An object, and its storage class if it cannot be read.
    Object(Object, Option<ArchiveClass>),
    /// A key that cannot be a file.
    Skipped(Box<SkippedKey>),
    /// A zero-byte `name/`, the directory marker of other tools. It is ignored.
    Marker(Box<[u8]>),
}

/// A key that cannot be a file.
pub(super) struct SkippedKey {
    path: Box<[u8]>,
    /// How it is reported.
    pub skipped: Skipped,
    size: u64,
    modified: Timestamp,
    etag: ETag,
}

impl ListedEntry {
    /// Converts an entry of the response. `None` if its key does not start with `prefix`.
    pub(super) fn new(listed: Listed, prefix: &str) -> Option<ListedEntry> {
        let Listed { key, size, modified, etag, archived } = listed;
        let skip = |path: &[u8], reason, etag| {
            let printable = String::from_utf8_lossy(path).into_owned();
            let skipped = Skipped { path: printable, reason };
            let key = SkippedKey { path: path.into(), skipped, size, modified, etag };
            ListedEntry::Skipped(Box::new(key))
        };
        let key = match key {
            Ok(key) => key,
            Err(bytes) => {
                let path = bytes.strip_prefix(prefix.as_bytes())?;
                return Some(skip(path, SkipReason::NotUtf8, etag));
            }
        };
        let path = key.strip_prefix(prefix)?;
        if size == 0 && (path.is_empty() || path.ends_with('/')) {
            return Some(ListedEntry::Marker(path.as_bytes().into()));
        }
        Some(match paths::check(path, prefix.len()) {
            Err(reason) => skip(path.as_bytes(), SkipReason::Name(reason), etag),
            Ok(()) => {
                ListedEntry::Object(Object { path: path.into(), size, modified, etag }, archived)
            }
        })
    }

    /// The key without the prefix of the run.
    pub(super) fn path(&self) -> &[u8] {
        match self {
            ListedEntry::Object(object, _) => object.path.as_bytes(),
            ListedEntry::Skipped(key) => &key.path,
            ListedEntry::Marker(path) => path,
        }
    }

    pub(super) fn object(&self) -> Option<&Object> {
        match self {
            ListedEntry::Object(object, _) => Some(object),
            ListedEntry::Skipped(..) | ListedEntry::Marker(_) => None,
        }
    }

    /// The object, whether or not its key can be a file. A marker is the path of a directory instead.
    pub(super) fn into_object(self) -> Result<Object, String> {
        match self {
            ListedEntry::Object(object, _) => Ok(object),
            ListedEntry::Skipped(key) => {
                let SkippedKey { skipped, size, modified, etag, .. } = *key;
                Ok(Object { path: skipped.path.into(), size, modified, etag })
            }
            ListedEntry::Marker(path) => Err(String::from_utf8_lossy(&path).into_owned()),
        }
    }

    pub(super) fn is_marker(&self) -> bool {
        matches!(self, ListedEntry::Marker(_))
    }
}
