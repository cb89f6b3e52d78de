//! Storing an object in one request.

use crate::{
    error::{Cause, Result},
    model::etag::ETag,
    s3::{checksum::ContentDigest, client::Client, payload::Payload, request::S3Request},
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
            let mut request = S3Request::new("PUT", Some(key));
            let digest = self.attach_content(&mut request, payload)?;
            let response = self.send(&request)?;
            // A proxy may respond with 200 to anything. Only a store sends the ETag of what it
            // stored.
            let etag = response.header("etag").map(ETag::parse);
            response.drain()?;
            let missing = || Cause::Malformed("PutObject without an ETag".to_owned());
            etag.map(|etag| Stored { etag, digest }).ok_or_else(missing)
        })
    }
}
