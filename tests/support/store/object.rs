//! An object, as the store keeps it.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;

use super::{
    archive::Archive,
    checksum::{Checksum, DEFAULT_ALGORITHM, hex, md5},
    time::whole_seconds,
};

/// An object in the store. A test may set every field to any value.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub body: Bytes,
    /// Listings include the fraction of a second, as on some stores; headers do not.
    pub last_modified: SystemTime,
    /// Without the quotes.
    pub etag: String,
    pub checksum: Option<Checksum>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub archive: Option<Archive>,
}

impl Object {
    /// The object that a plain PUT of `body` creates, at the current second of real time.
    pub fn new(body: impl Into<Bytes>) -> Object {
        let body = body.into();
        Object {
            last_modified: whole_seconds(SystemTime::now()),
            etag: hex(&md5(&body)),
            checksum: Some(Checksum::of(DEFAULT_ALGORITHM, &body)),
            content_type: None,
            content_encoding: None,
            metadata: BTreeMap::new(),
            archive: None,
            body,
        }
    }

    pub fn last_modified(mut self, time: SystemTime) -> Object {
        self.last_modified = time;
        self
    }

    pub fn etag(mut self, etag: &str) -> Object {
        self.etag = etag.to_owned();
        self
    }

    pub fn no_checksum(mut self) -> Object {
        self.checksum = None;
        self
    }
}
