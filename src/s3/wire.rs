//! The one file that names rust-s3: addressing, signing, and what stands in S3's XML.
//!
//! Everything here is a function of its arguments; [`http`](super::http) does the talking. The `Url`
//! type folds `a/../b` into `b`, and would make a request on another object: no key with such a
//! segment may come here (see [`names`](crate::names)).

use std::{
    sync::{Arc, RwLock},
    time::SystemTime,
};

use hmac::Mac;
use percent_encoding::percent_decode_str;
pub(crate) use s3::creds::Credentials;
use s3::{
    Bucket, Region,
    serde_types::{
        DeleteObjectsRequest, DeleteObjectsResult, InitiateMultipartUploadResponse,
        ListBucketResult, ObjectIdentifier, Part,
    },
    signing,
};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use ureq::http::HeaderMap;
use url::Url;

use crate::{
    entry::{ETag, Timestamp},
    error::Cause,
    s3::{UploadedPart, access::Addressing},
};

/// Where a bucket is.
pub(super) struct Address {
    base: String,
    path_style: bool,
    region: Region,
}

impl Address {
    /// `endpoint` is the URL of a store; without one it is that of AWS in the region.
    pub(super) fn new(
        bucket: &str,
        region: &str,
        endpoint: Option<&str>,
        addressing: Addressing,
    ) -> Result<Address, Cause> {
        let wrong =
            |error: &dyn std::fmt::Display| Cause::Config(format!("region {region}: {error}"));
        let region = match (endpoint, region.parse::<Region>()) {
            (Some(endpoint), _) => {
                Region::Custom { region: region.to_owned(), endpoint: endpoint.to_owned() }
            }
            // rust-s3 takes the name of a region that it doesn't know for a host name.
            (None, Ok(Region::Custom { .. })) => Region::Custom {
                region: region.to_owned(),
                endpoint: format!("https://s3.{region}.amazonaws.com"),
            },
            (None, Ok(known)) => known,
            (None, Err(error)) => return Err(wrong(&error)),
        };
        let path_style = match addressing {
            Addressing::Path => true,
            Addressing::Virtual => false,
            // No wildcard certificate covers a bucket name with dots, and few stores other than AWS
            // have a host name for each bucket.
            Addressing::Auto => endpoint.is_some() || bucket.contains('.'),
        };
        let mut place =
            Bucket::new_public(bucket, region.clone()).map_err(|error| wrong(&error))?;
        if path_style {
            place.set_path_style();
        }
        // `Url` drops the default port, as the Host header has to.
        let base = Url::parse(&place.url())
            .map_err(|error| Cause::Config(format!("endpoint {}: {error}", place.url())))?;
        if base.host().is_none() || !matches!(base.scheme(), "http" | "https") {
            return Err(Cause::Config(format!("endpoint {base}: not an http or https URL")));
        }
        let base = base.as_str().trim_end_matches('/').to_owned();
        Ok(Address { base, path_style, region })
    }

    /// The URL of the bucket, or of one object in it.
    pub(super) fn url(&self, key: Option<&str>, query: &[(&str, &str)]) -> Result<Url, Cause> {
        let mut url = self.base.clone();
        if let Some(key) = key {
            url.push('/');
            url.push_str(&signing::uri_encode(key, false));
        } else if !self.path_style {
            url.push('/');
        }
        for (n, (name, value)) in query.iter().enumerate() {
            url.push(if n == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&signing::uri_encode(value, true));
        }
        Url::parse(&url).map_err(|error| Cause::Config(format!("{url}: {error}")))
    }

    pub(super) fn is_https(&self) -> bool {
        self.base.starts_with("https:")
    }

    pub(super) fn region(&self) -> String {
        self.region.to_string()
    }

    /// What to call the server in a message.
    pub(super) fn server(&self) -> String {
        format!("{}://{}", self.region.scheme(), self.region.host())
    }
}

/// Makes the `Authorization` header, and derives the signing key only when the day, the region or the
/// credentials change.
#[derive(Default)]
pub(super) struct Signer {
    cached: RwLock<Option<Arc<SigningKey>>>,
}

struct SigningKey {
    date: time::Date,
    region: Region,
    credentials: Arc<Credentials>,
    key: Vec<u8>,
}

impl Signer {
    /// Signs a request; all of `headers` are covered.
    pub(super) fn authorization(
        &self,
        method: &str,
        url: &Url,
        headers: &HeaderMap,
        payload: &str,
        address: &Address,
        credentials: &Arc<Credentials>,
        time: SystemTime,
    ) -> Result<String, Cause> {
        let wrong = |error: s3::error::S3Error| Cause::Config(format!("signing: {error}"));
        let time = OffsetDateTime::from(time);
        let region = &address.region;
        let key = self.key(&time, region, credentials).map_err(wrong)?;
        let request = signing::canonical_request(method, url, headers, payload).map_err(wrong)?;
        let to_sign = signing::string_to_sign(&time, region, &request).map_err(wrong)?;
        let mut hmac = signing::HmacSha256::new_from_slice(&key.key)
            .map_err(|error| Cause::Config(format!("signing: {error}")))?;
        hmac.update(to_sign.as_bytes());
        let signature = super::checksum::hex(&hmac.finalize().into_bytes());
        signing::authorization_header(
            credentials.access_key.as_deref().unwrap_or_default(),
            &time,
            region,
            &signing::signed_header_string(headers),
            &signature,
        )
        .map_err(wrong)
    }

    fn key(
        &self,
        time: &OffsetDateTime,
        region: &Region,
        credentials: &Arc<Credentials>,
    ) -> Result<Arc<SigningKey>, s3::error::S3Error> {
        let cached = self.cached.read().map(|cached| cached.clone()).unwrap_or_default();
        if let Some(key) = cached
            && key.date == time.date()
            && key.region == *region
            && Arc::ptr_eq(&key.credentials, credentials)
        {
            return Ok(key);
        }
        let secret = credentials.secret_key.as_deref().unwrap_or_default();
        let key = Arc::new(SigningKey {
            date: time.date(),
            region: region.clone(),
            credentials: Arc::clone(credentials),
            key: signing::signing_key(time, secret, region, "s3")?,
        });
        if let Ok(mut cached) = self.cached.write() {
            *cached = Some(Arc::clone(&key));
        }
        Ok(key)
    }
}

/// Credentials of the type that rust-s3 signs with.
pub(crate) fn credentials(
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    expiration: Option<SystemTime>,
) -> Result<Credentials, Cause> {
    let mut credentials = Credentials::new(
        Some(&access_key),
        Some(&secret_key),
        None,
        session_token.as_deref(),
        None,
    )
    .map_err(|_| Cause::Config("credentials".to_owned()))?;
    credentials.expiration = expiration.map(|at| OffsetDateTime::from(at).into());
    Ok(credentials)
}

/// When credentials end, if they do.
pub(crate) fn expires(credentials: &Credentials) -> Option<SystemTime> {
    credentials.expiration.map(|at| SystemTime::from(OffsetDateTime::from(at)))
}

/// The token that goes with temporary credentials.
pub(super) fn session_token(credentials: &Credentials) -> Option<&str> {
    credentials.session_token.as_deref().or(credentials.security_token.as_deref())
}

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Page {
    pub objects: Vec<Listed>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// An object as a listing names it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub key: Result<String, Vec<u8>>,
    pub size: u64,
    pub modified: Timestamp,
    pub etag: ETag,
}

fn malformed(what: &str) -> impl Fn(quick_xml::DeError) -> Cause {
    move |error| Cause::Malformed(format!("{what}: {error}"))
}

/// Reads the answer to ListObjectsV2.
pub(crate) fn parse_page(xml: &str) -> Result<Page, Cause> {
    let result: ListBucketResult = quick_xml::de::from_str(xml).map_err(malformed("listing"))?;
    let encoded = result.encoding_type.is_some_and(|kind| kind.eq_ignore_ascii_case("url"));
    let objects = result.contents.into_iter().map(|object| {
        let key = if encoded { decode(&object.key) } else { Ok(object.key) };
        let modified = parse_time(&object.last_modified).ok_or_else(|| {
            Cause::Malformed(format!("listing: LastModified {}", object.last_modified))
        })?;
        let etag = object.e_tag.as_deref().map_or(ETag::None, ETag::parse);
        Ok(Listed { key, size: object.size, modified: modified.whole_second(), etag })
    });
    let objects = objects.collect::<Result<Vec<_>, Cause>>()?;
    let next = match (result.is_truncated, result.next_continuation_token) {
        (false, _) => None,
        (true, Some(token)) if !token.is_empty() => Some(token),
        (true, _) => {
            return Err(Cause::Malformed("listing: cut short, but no token to go on with".into()));
        }
    };
    Ok(Page { objects, next })
}

/// Undoes `encoding-type=url`: percent-encoding, and `+` for a space.
fn decode(key: &str) -> Result<String, Vec<u8>> {
    let spaced = key.replace('+', " ");
    let bytes: Vec<u8> = percent_decode_str(&spaced).collect();
    String::from_utf8(bytes).map_err(|error| error.into_bytes())
}

fn parse_time(text: &str) -> Option<Timestamp> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(|time| SystemTime::from(time).into())
}

/// The body of CompleteMultipartUpload: the parts, in order.
pub(super) fn complete_body(parts: &[UploadedPart]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for (number, part) in (1..).zip(parts) {
        // rust-s3's own type for this knows no checksums.
        let etag = quick_xml::escape::escape(part.etag.as_str()).into_owned();
        let known = Part { part_number: number, etag }.to_string();
        body.push_str(known.strip_suffix("</Part>").unwrap_or(&known));
        if let Some((algorithm, value)) = &part.checksum {
            let name = algorithm.name();
            body.push_str(&format!("<Checksum{name}>{value}</Checksum{name}>"));
        }
        body.push_str("</Part>");
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

/// Reads the answer to CreateMultipartUpload.
pub(super) fn parse_upload_id(xml: &str) -> Result<String, Cause> {
    let answer: InitiateMultipartUploadResponse =
        quick_xml::de::from_str(xml).map_err(malformed("CreateMultipartUpload"))?;
    Ok(answer.upload_id)
}

/// Reads the answer to CompleteMultipartUpload, which may be an error in spite of its status 200.
pub(super) fn parse_completed(xml: &str) -> Result<(), Cause> {
    #[derive(Deserialize)]
    struct Completed {
        #[serde(rename = "ETag")]
        _etag: String,
    }
    if let Some((code, message)) = parse_error(xml) {
        return Err(Cause::S3 { status: 200, code, message, retry_after: None });
    }
    quick_xml::de::from_str::<Completed>(xml)
        .map(drop)
        .map_err(malformed("CompleteMultipartUpload"))
}

/// The body of DeleteObjects.
pub(super) fn delete_body(keys: &[&str]) -> String {
    let objects = keys.iter().map(|key| ObjectIdentifier::new(*key)).collect();
    DeleteObjectsRequest { objects, quiet: false }.to_string()
}

/// Whether XML can carry a key unchanged, there and back. XML 1.0 has no control characters, folds
/// line ends, and its readers trim spaces.
pub(super) fn fits_xml(key: &str) -> bool {
    key.trim() == key
        && !key.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// Reads the answer to DeleteObjects: the keys that are gone, and those that are not, with code and
/// message.
#[allow(clippy::type_complexity)]
pub(super) fn parse_deleted(
    xml: &str,
) -> Result<(Vec<String>, Vec<(String, String, String)>), Cause> {
    let result: DeleteObjectsResult =
        quick_xml::de::from_str(xml).map_err(malformed("DeleteObjects"))?;
    let deleted = result.deleted.into_iter().map(|deleted| deleted.key).collect();
    let failed = result.errors.into_iter().map(|e| (e.key, e.code, e.message)).collect();
    Ok((deleted, failed))
}

/// Code and message of an error body.
pub(super) fn parse_error(xml: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct ErrorBody {
        #[serde(rename = "Code")]
        code: String,
        #[serde(rename = "Message", default)]
        message: String,
    }
    let body: ErrorBody = quick_xml::de::from_str(xml).ok()?;
    Some((body.code, body.message))
}

/// `x-amz-date`: ISO 8601 without separators.
pub(super) fn amz_date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}

/// The server's `Date` header.
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}
