//! The headers that describe an object.

use crate::{
    error::{Cause, Result},
    model::{etag::ETag, time::Timestamp},
    s3::{checksum::Checksum, client::Client, request::S3Request, transport::Response},
};

/// An object, as the headers of a response describe it.
#[derive(Debug)]
pub(crate) struct Head {
    /// The size of the object. `None` if there is no such header: some proxies drop it.
    pub size: Option<u64>,
    pub etag: ETag,
    /// Whether the ETag is weak: it cannot be used in `If-Match`.
    pub is_weak: bool,
    /// `Last-Modified`, in whole seconds.
    pub modified: Option<Timestamp>,
    /// Whether the ETag is not an MD5 even if it looks like one: under SSE-KMS and SSE-C.
    pub opaque_etag: bool,
    /// The checksum of the whole object, in base64.
    pub checksum: Option<(Checksum, String)>,
    /// Whether there is a checksum that cannot be one: its length or its base64 is wrong.
    pub has_bad_checksum: bool,
    /// Whether the store says that the response does not have the stored bytes: it decodes them.
    pub is_decoded: bool,
    /// `Content-Encoding`. Empty if there is none.
    pub encoding: String,
}

impl Head {
    pub(crate) fn read(response: &Response) -> Head {
        let encryption = response.header("x-amz-server-side-encryption");
        let customer_key = response.header("x-amz-server-side-encryption-customer-algorithm");
        let is_decoded = is_decoded(response);
        let size = match response.header("content-range") {
            Some(range) => range.rsplit('/').next(),
            None if is_decoded => response.header("x-goog-stored-content-length"),
            // The length of a part that the response does not name.
            None if response.status() == 206 => None,
            None => response.header("content-length"),
        };
        let etag = response.header("etag").unwrap_or_default();
        let modified = response.header("last-modified");
        let modified = modified.and_then(|text| httpdate::parse_http_date(text).ok());
        let (checksum, has_bad_checksum) = full_object_checksum(response);
        Head {
            size: size.and_then(|text| text.trim().parse().ok()),
            etag: ETag::parse_weak(etag),
            is_weak: etag.trim().starts_with("W/"),
            modified: modified.map(Timestamp::from),
            opaque_etag: encryption.is_some_and(|kind| kind.starts_with("aws:kms"))
                || customer_key.is_some(),
            checksum,
            has_bad_checksum,
            is_decoded,
            encoding: response.header("content-encoding").unwrap_or_default().to_owned(),
        }
    }

    /// Whether a proxy says that it has changed the encoding: a weak ETag, or one with its suffix.
    pub(super) fn may_be_recoded(&self) -> bool {
        self.is_decoded || self.is_weak || self.etag != self.etag.plain()
    }
}

impl Client {
    /// Reads the headers of an object, its checksum included.
    pub(crate) fn head(&self, key: &str) -> Result<Head> {
        self.retry("read metadata of", key, || self.head_once(key))
    }

    /// The size of the first part of an object that was uploaded in `parts` parts. `None` if the store does
    /// not tell, or the permission for it is missing.
    ///
    /// # Errors
    /// An error that ends the run.
    pub(crate) fn first_part_size(&self, key: &str, parts: u32) -> Result<Option<u64>> {
        if self.quirks.hides_part_sizes.is_set() {
            return Ok(None);
        }
        let result = self.retry("read metadata of", key, || {
            let query = [("partNumber", "1")];
            let response = self.send(&S3Request::new("HEAD", Some(key)).query(&query))?;
            let header = |name| response.header(name).and_then(|text| text.trim().parse().ok());
            let found: (Option<u64>, Option<u64>) =
                (header("x-amz-mp-parts-count"), header("content-length"));
            response.drain()?;
            Ok(found)
        });
        match result {
            Ok((Some(count), size)) => Ok(size.filter(|_| count == u64::from(parts))),
            Ok((None, _)) => {
                self.quirks.hides_part_sizes.set();
                Ok(None)
            }
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                if matches!(error.cause(), Cause::S3 { status: 400 | 403 | 405 | 501, .. }) {
                    self.quirks.hides_part_sizes.set();
                }
                Ok(None)
            }
        }
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

/// Whether the store says that it decodes the object for this response.
///
/// Google Cloud Storage does so for objects with `Content-Encoding: gzip`
/// (<https://cloud.google.com/storage/docs/transcoding>).
fn is_decoded(response: &Response) -> bool {
    let header = |name| response.header(name).map(str::trim).unwrap_or_default();
    let stored = header("x-goog-stored-content-encoding");
    let is_stored_encoded = !stored.is_empty() && !stored.eq_ignore_ascii_case("identity");
    // RFC 7234: 214 is "Transformation Applied".
    let is_named = header("warning").starts_with("214")
        || is_stored_encoded && header("content-encoding").is_empty();
    // Where there is a length, it tells whether the bytes are the stored ones.
    is_named && header("content-length").is_empty() && header("content-range").is_empty()
}

/// The checksum of the whole object, and whether there was one that is malformed.
///
/// A composite one is of no use: it is a checksum of the checksums of parts whose sizes are unknown. Its
/// value ends in `-` and the number of parts.
fn full_object_checksum(response: &Response) -> (Option<(Checksum, String)>, bool) {
    if response.header("x-amz-checksum-type").is_some_and(|kind| kind == "COMPOSITE") {
        return (None, false);
    }
    let mut has_bad_one = false;
    for algorithm in Checksum::ALL {
        let value = algorithm.header().and_then(|name| response.header(name)).map(str::trim);
        match value.filter(|value| !is_composite(value)) {
            Some(value) if algorithm.is_value(value) => {
                return (Some((algorithm, value.to_owned())), has_bad_one);
            }
            Some(_) => has_bad_one = true,
            None => {}
        }
    }
    (None, has_bad_one)
}

/// Whether the value of a checksum ends in `-` and a number.
fn is_composite(value: &str) -> bool {
    value.rsplit_once('-').is_some_and(|(_, parts)| parts.parse::<u32>().is_ok())
}
