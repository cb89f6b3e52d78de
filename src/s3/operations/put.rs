//! Storing an object in one request.

use crate::{
    error::Result,
    model::etag::ETag,
    s3::{
        checksum::ContentDigest, client::Client, operations::content::SentContent, payload::Payload,
    },
};

/// An object that was stored.
pub(crate) struct Stored {
    pub etag: ETag,
    /// The digest of what was sent.
    pub digest: ContentDigest,
}

impl Client {
    /// Stores an object in one request.
    pub(crate) fn put(&self, key: &str, payload: Payload) -> Result<Stored> {
        self.retry("upload", key, || {
            let sent = self.send_content("PutObject", key, &[], payload)?;
            let SentContent { etag, digest, .. } = sent;
            Ok(Stored { etag, digest })
        })
    }
}
