//! Whether an archived object can be read.

use crate::{
    error::{Cause, Result, s3_code::INVALID_OBJECT_STATE},
    s3::{client::Client, request::S3Request, transport::Response},
};

impl Client {
    /// Whether listings contain the state of archived objects. Other stores than AWS are not asked for it:
    /// they may refuse the header.
    pub(crate) fn lists_restore_status(&self) -> bool {
        self.address().is_aws() && !self.quirks.refuses_restore_status.is_set()
    }

    /// Sends a request for a page of a listing, with the state of archived objects where it is listed.
    pub(super) fn send_for_restore_status(
        &self,
        request: &mut S3Request,
    ) -> Result<Response, Cause> {
        if !self.lists_restore_status() {
            return self.send(request);
        }
        request.headers.push(("x-amz-optional-object-attributes", "RestoreStatus".to_owned()));
        match self.send(request) {
            Err(cause) if cause.may_reject_a_header() => {}
            other => return other,
        }
        request.headers.pop();
        let response = self.send(request)?;
        self.quirks.refuses_restore_status.set();
        Ok(response)
    }

    /// Whether the store has retrieved an archived object, according to its headers.
    pub(crate) fn is_retrieved(&self, key: &str) -> Result<bool> {
        self.retry("read metadata of", key, || {
            let response = self.send(&S3Request::new("HEAD", Some(key)))?;
            let is_retrieved = |state: &str| state.contains("ongoing-request=\"false\"");
            let is_retrieved = response.header("x-amz-restore").is_some_and(is_retrieved);
            response.drain()?;
            Ok(is_retrieved)
        })
    }

    /// Whether the store returns the first byte of an object of `size` bytes.
    pub(crate) fn is_readable(&self, key: &str, size: u64) -> Result<bool> {
        let first_byte = || {
            let mut request = S3Request::new("GET", Some(key));
            // Nothing has no first byte.
            let range = (size > 0).then(|| ("range", "bytes=0-0".to_owned()));
            request.headers.extend(range);
            self.send(&request)
        };
        self.retry("read", key, || match first_byte() {
            // A store that ignores the range would send the whole object.
            Ok(response) if response.status() == 206 => response.drain().map(|()| true),
            Ok(_) => Ok(true),
            Err(Cause::S3 { code, .. }) if code == INVALID_OBJECT_STATE => Ok(false),
            Err(cause) => Err(cause),
        })
    }
}
