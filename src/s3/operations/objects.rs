//! Storing an object in one request, and looking at its headers.

use crate::{
    error::{Cause, Result},
    s3::{client::Client, operations::head::Head, payload::Payload, request::S3Request},
};

impl Client {
    /// Stores an object in one request.
    pub(crate) fn put(&self, key: &str, payload: Payload) -> Result<()> {
        self.retry("upload", key, || {
            let mut request = S3Request::new("PUT", Some(key));
            self.attach_content(&mut request, payload)?;
            let response = self.send(&request)?;
            // A proxy may respond with 200 to anything. Only a store sends the ETag of what it
            // stored.
            let has_etag = response.header("etag").is_some();
            response.drain()?;
            let missing = || Cause::Malformed("PutObject without an ETag".to_owned());
            has_etag.then_some(()).ok_or_else(missing)
        })
    }

    /// Reads the headers of an object, its checksum included.
    pub(crate) fn head(&self, key: &str) -> Result<Head> {
        self.retry("read metadata of", key, || self.head_once(key))
    }

    pub(super) fn head_once(&self, key: &str) -> Result<Head, Cause> {
        let send = || self.send_for_checksum(&mut S3Request::new("HEAD", Some(key)));
        let response = match send() {
            // A response to HEAD has no body with a reason, which may be expired credentials. A GET
            // of one byte has a body, so that `send` renews the credentials.
            Err(Cause::S3 { status: 400, code, .. }) if code.is_empty() => {
                let mut one_byte = S3Request::new("GET", Some(key));
                one_byte.headers.push(("range", "bytes=0-0".to_owned()));
                self.send(&one_byte)?.drain()?;
                send()?
            }
            other => other?,
        };
        let head = Head::read(&response);
        response.drain()?;
        Ok(head)
    }
}
