//! The headers that describe an object.

use crate::{
    error::{Cause, Result},
    model::etag::ETag,
    s3::{checksum::Checksum, client::Client, request::S3Request, transport::Response},
};

/// An object, as the headers of a response describe it.
#[derive(Debug)]
pub(crate) struct Head {
    /// The size of the object. `None` if there is no such header: some proxies drop it.
    pub size: Option<u64>,
    pub etag: ETag,
    /// Whether the ETag is not an MD5 even if it looks like one: under SSE-KMS and SSE-C.
    pub opaque_etag: bool,
    /// The checksum of the whole object, in base64.
    pub checksum: Option<(Checksum, String)>,
}

impl Head {
    pub(crate) fn read(response: &Response) -> Head {
        let encryption = response.header("x-amz-server-side-encryption");
        let customer_key = response.header("x-amz-server-side-encryption-customer-algorithm");
        let size = match response.header("content-range") {
            Some(range) => range.rsplit('/').next(),
            None => response.header("content-length"),
        };
        Head {
            size: size.and_then(|text| text.parse().ok()),
            etag: response.header("etag").map_or(ETag::None, ETag::parse),
            opaque_etag: encryption.is_some_and(|kind| kind.starts_with("aws:kms"))
                || customer_key.is_some(),
            checksum: full_object_checksum(response),
        }
    }
}

impl Client {
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

/// The checksum of the whole object. A composite one is of no use: it is a checksum of the
/// checksums of parts whose sizes are unknown. Its value ends in `-` and the number of parts.
fn full_object_checksum(response: &Response) -> Option<(Checksum, String)> {
    if response.header("x-amz-checksum-type").is_some_and(|kind| kind == "COMPOSITE") {
        return None;
    }
    Checksum::ALL.into_iter().find_map(|algorithm| {
        let value = response.header(algorithm.header()?)?;
        (!value.contains('-')).then(|| (algorithm, value.to_owned()))
    })
}
