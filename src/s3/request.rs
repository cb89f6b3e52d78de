//! An S3 request before it is signed.

use crate::{
    cancel::Cancel,
    error::Cause,
    s3::{
        checksum::{Checksum, ContentDigest, Hasher, base64, hex},
        payload::Payload,
    },
};

/// Sent in place of the SHA-256 of a payload that the signature does not cover.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// An S3 request before it is signed.
pub(crate) struct S3Request<'a> {
    pub method: &'static str,
    /// The object. `None` for a request to the bucket.
    pub key: Option<&'a str>,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: Vec<(&'static str, String)>,
    /// The content codings that the response may have. `None` for no coding.
    pub accept_encoding: Option<&'static str>,
    pub payload: Option<Payload<'a>>,
    /// The SHA-256 of the payload in hexadecimal, or [`UNSIGNED_PAYLOAD`], if it is already known.
    payload_sha256: Option<String>,
}

impl<'a> S3Request<'a> {
    pub(crate) fn new(method: &'static str, key: Option<&'a str>) -> S3Request<'a> {
        S3Request {
            method,
            key,
            query: &[],
            headers: Vec::new(),
            accept_encoding: None,
            payload: None,
            payload_sha256: None,
        }
    }

    pub(crate) fn query(self, query: &'a [(&'a str, &'a str)]) -> S3Request<'a> {
        S3Request { query, ..self }
    }

    /// Whether the request is only for a certain version of the object.
    pub(crate) fn is_conditional(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == "if-match")
    }

    /// Adds a payload without a checksum.
    pub(crate) fn payload(self, payload: Payload<'a>) -> S3Request<'a> {
        S3Request { payload: Some(payload), ..self }
    }

    /// Adds the content of an object or part, with its checksum, which is returned.
    ///
    /// This reads the payload. Call it for every try, because the file may have changed.
    pub(crate) fn attach_content(
        &mut self,
        payload: Payload<'a>,
        checksum: Checksum,
        is_payload_signed: bool,
        cancel: &Cancel,
    ) -> Result<ContentDigest, Cause> {
        let sha256 = if is_payload_signed { Checksum::Sha256 } else { Checksum::None };
        let [digest, sha256] =
            payload.hash([checksum.content_hasher(), Hasher::new(sha256)], cancel)?;
        let value = base64(&digest);
        match checksum.header() {
            Some(header) => {
                self.headers.push((header, value.clone()));
                self.headers.push(("x-amz-sdk-checksum-algorithm", checksum.name().to_owned()));
            }
            // Every store supports Content-MD5, and some require it for buckets with object lock.
            None => self.headers.push(("content-md5", value.clone())),
        }
        let sha256 = if is_payload_signed { hex(&sha256) } else { UNSIGNED_PAYLOAD.to_owned() };
        self.payload_sha256 = Some(sha256);
        self.payload = Some(payload);
        Ok(ContentDigest { algorithm: checksum, value })
    }

    /// The value of `x-amz-content-sha256`.
    pub(crate) fn payload_sha256(&self, cancel: &Cancel) -> Result<String, Cause> {
        match (&self.payload, &self.payload_sha256) {
            (None, _) => Ok(EMPTY_SHA256.to_owned()),
            (Some(_), Some(sha256)) => Ok(sha256.clone()),
            (Some(payload), None) => {
                let [sha256] = payload.hash([Hasher::new(Checksum::Sha256)], cancel)?;
                Ok(hex(&sha256))
            }
        }
    }
}
