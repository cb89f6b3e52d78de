//! A response whose body has not been read yet.

use std::{
    io::{self, Read},
    time::Duration,
};

use http::HeaderMap;

use crate::{
    error::Cause,
    s3::{responses::not_s3, transport::describe::network_error},
};

/// The longest XML body that S3 sends, with room to spare: a listing of 1,000 keys of 1,024 bytes,
/// each three times as long when percent-encoded, has about 4 MB.
const MAX_XML_BODY: u64 = 16 << 20;

/// A response whose body has not been read yet.
pub(crate) struct Response {
    pub(super) status: u16,
    pub(super) latency: Duration,
    pub(super) headers: HeaderMap,
    pub(super) body: ureq::BodyReader<'static>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status means success.
    pub(crate) fn is_success(&self) -> bool {
        self.status < 300
    }

    /// The time from the end of the request to the head of the response.
    pub(crate) fn latency(&self) -> Duration {
        self.latency
    }

    /// The value of a header, if it is plain text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads some bytes of the body. It is an error if the body ends early.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        loop {
            match self.body.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| network_error(&error.into())),
            }
        }
    }

    /// Reads and drops the rest of the body, so that the connection can be used again.
    pub(crate) fn drain(self) -> Result<(), Cause> {
        let read = io::copy(&mut self.body.take(MAX_XML_BODY), &mut io::sink());
        read.map(drop).map_err(|error| network_error(&error.into()))
    }

    /// Reads the whole body as XML.
    pub(crate) fn xml(self) -> Result<String, Cause> {
        let text = self.text(MAX_XML_BODY)?;
        not_s3::describe(&text).map_or(Ok(text), |what| Err(Cause::Malformed(what)))
    }

    /// Reads the body as text, up to `limit` bytes. The rest of a longer body is ignored.
    pub(crate) fn text(self, limit: u64) -> Result<String, Cause> {
        let bytes = self.bytes(limit)?;
        String::from_utf8(bytes).map_err(|_| Cause::Malformed("the body is not UTF-8".to_owned()))
    }

    /// Reads the body of an error like [`text`](Response::text). A web page may not be UTF-8.
    pub(crate) fn lossy_text(self, limit: u64) -> Result<String, Cause> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        self.bytes(limit).map(text)
    }

    fn bytes(self, limit: u64) -> Result<Vec<u8>, Cause> {
        let mut bytes = Vec::new();
        let read = self.body.take(limit).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| network_error(&error.into()))
    }
}
