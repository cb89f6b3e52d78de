//! Storing an object in one request.

use crate::{
    error::{Cause, Result},
    s3::{checksum::ContentDigest, client::Client, payload::Payload, request::S3Request},
};

impl Client {
    /// Stores an object in one request. Returns the digest of what was sent.
    pub(crate) fn put(&self, key: &str, payload: Payload) -> Result<ContentDigest> {
        self.retry("upload", key, || {
            let mut request = S3Request::new("PUT", Some(key));
            let digest = self.attach_content(&mut request, payload)?;
            let response = self.send(&request)?;
            // A proxy may respond with 200 to anything. Only a store sends the ETag of what it
            // stored.
            let has_etag = response.header("etag").is_some();
            response.drain()?;
            let missing = || Cause::Malformed("PutObject without an ETag".to_owned());
            has_etag.then_some(digest).ok_or_else(missing)
        })
    }
}
