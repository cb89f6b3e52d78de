//! The one file that names rust-s3: addressing, signing, and what stands in S3's XML.
//!
//! Everything here is a function of its arguments; [`http`](super::http) does the talking. The `Url`
//! type folds `a/../b` into `b`, and would make a request on another object: no key with such a
//! segment may come here (see [`paths`](crate::model::paths)).

use std::{
    mem,
    sync::{Arc, RwLock},
    time::SystemTime,
};

use hmac::Mac;
use percent_encoding::percent_decode_str;
pub(crate) use s3::creds::Credentials;
use s3::{
    Bucket, Region,
    serde_types::{DeleteObjectsRequest, InitiateMultipartUploadResponse, ObjectIdentifier, Part},
    signing,
};
use serde::Deserialize;
use time::OffsetDateTime;
use ureq::http::HeaderMap;
use url::Url;

use crate::{
    error::Cause,
    model::time::Timestamp,
    s3::{UploadedPart, access::Addressing, xml::elements},
};

/// Where a bucket is.
pub(super) struct Address {
    /// The URL of the bucket.
    base: Url,
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
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if region.is_empty() || !region.bytes().all(plain) {
            return Err(wrong(&"not a name that a region has"));
        }
        let region = match (endpoint, region.parse::<Region>()) {
            (Some(endpoint), _) => {
                let host = endpoint
                    .strip_prefix("https://")
                    .or_else(|| endpoint.strip_prefix("http://"))
                    .ok_or_else(|| {
                        Cause::Config(format!(
                            "endpoint {endpoint}: it must begin with http:// or https://"
                        ))
                    })?;
                if host.contains('@') {
                    // Not repeated: there may be a password in it.
                    return Err(Cause::Config("the endpoint must not hold a user name".to_owned()));
                }
                if host.trim_matches('/').is_empty() {
                    return Err(Cause::Config(format!("endpoint {endpoint}: no host in it")));
                }
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
        // A host name knows no capitals: the request would go to the bucket of that name in small letters.
        let has_capitals = bucket.bytes().any(|b| b.is_ascii_uppercase());
        let path_style = match addressing {
            Addressing::Path => true,
            Addressing::Virtual if has_capitals => {
                return Err(Cause::Config(format!(
                    "bucket {bucket}: no host name has capitals; use the addressing style path"
                )));
            }
            Addressing::Virtual => false,
            // No wildcard certificate covers a bucket name with dots, and few stores other than AWS
            // have a host name for each bucket.
            Addressing::Auto => endpoint.is_some() || has_capitals || bucket.contains('.'),
        };
        let mut place =
            Bucket::new_public(bucket, region.clone()).map_err(|error| wrong(&error))?;
        if path_style {
            place.set_path_style();
        }
        // `Url` drops the default port, as the Host header has to.
        let mut base = Url::parse(&place.url())
            .map_err(|error| Cause::Config(format!("endpoint {}: {error}", place.url())))?;
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        Ok(Address { base, region })
    }

    /// The URL of the bucket, or of one object in it.
    pub(super) fn url(&self, key: Option<&str>, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Some(key) = key {
            let bucket = self.base.path().trim_end_matches('/');
            url.set_path(&format!("{bucket}/{}", signing::uri_encode(key, false)));
        }
        if !query.is_empty() {
            let pairs = query.iter();
            let pairs =
                pairs.map(|(name, value)| format!("{name}={}", signing::uri_encode(value, true)));
            url.set_query(Some(&pairs.collect::<Vec<_>>().join("&")));
        }
        url
    }

    /// Whether it leads to AWS: rust-s3 knows regions of others by their names, too.
    pub(super) fn is_aws(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
    }

    pub(super) fn is_https(&self) -> bool {
        self.base.scheme() == "https"
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

/// What a signature covers.
pub(super) struct ToSign<'a> {
    pub method: &'a str,
    pub url: &'a Url,
    /// All of them are covered.
    pub headers: &'a HeaderMap,
    /// The SHA-256 of the body in hexadecimal, or what stands for it.
    pub payload: &'a str,
}

struct SigningKey {
    date: time::Date,
    region: Region,
    credentials: Arc<Credentials>,
    key: Vec<u8>,
}

impl Signer {
    /// Signs a request.
    pub(super) fn authorization(
        &self,
        request: &ToSign,
        address: &Address,
        credentials: &Arc<Credentials>,
        time: SystemTime,
    ) -> Result<String, Cause> {
        let wrong = |error: s3::error::S3Error| Cause::Config(format!("signing: {error}"));
        let time = OffsetDateTime::from(time);
        let region = &address.region;
        let key = self.key(&time, region, credentials).map_err(wrong)?;
        let ToSign { method, url, headers, payload } = request;
        let canonical = signing::canonical_request(method, url, headers, payload).map_err(wrong)?;
        let to_sign = signing::string_to_sign(&time, region, &canonical).map_err(wrong)?;
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

fn malformed(what: &str) -> impl Fn(quick_xml::DeError) -> Cause {
    move |error| Cause::Malformed(format!("{what}: {error}"))
}

/// Undoes `encoding-type=url`: percent-encoding, and `+` for a space.
pub(super) fn decode(key: String) -> Result<String, Vec<u8>> {
    if !key.contains(['%', '+']) {
        return Ok(key);
    }
    let spaced = key.replace('+', " ");
    let bytes: Vec<u8> = percent_decode_str(&spaced).collect();
    String::from_utf8(bytes).map_err(|error| error.into_bytes())
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

/// A multipart upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug)]
pub(crate) struct OpenUpload {
    pub key: String,
    pub upload_id: String,
    pub initiated: Timestamp,
}

/// Open uploads, and the markers (key, upload ID) where the next page begins.
pub(super) type UploadsPage = (Vec<OpenUpload>, Option<(String, String)>);

/// Reads the answer to ListMultipartUploads. rust-s3's own type asks for more than every store says.
pub(super) fn parse_uploads(xml: &str) -> Result<UploadsPage, Cause> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Uploads {
        is_truncated: bool,
        encoding_type: Option<String>,
        next_key_marker: Option<String>,
        next_upload_id_marker: Option<String>,
        #[serde(default)]
        upload: Vec<Upload>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Upload {
        key: String,
        upload_id: String,
        initiated: String,
    }
    let page: Uploads = quick_xml::de::from_str(xml).map_err(malformed("ListMultipartUploads"))?;
    let encoded = page.encoding_type.is_some_and(|kind| kind.eq_ignore_ascii_case("url"));
    let plain = |key: String| if encoded { decode(key) } else { Ok(key) };
    let uploads = page.upload.into_iter().filter_map(|upload| {
        let initiated = Timestamp::parse_rfc3339(&upload.initiated)?;
        let key = plain(upload.key).ok()?;
        Some(OpenUpload { key, upload_id: upload.upload_id, initiated })
    });
    let uploads = uploads.collect();
    let next = match page.next_key_marker.map(plain) {
        Some(Ok(key)) if page.is_truncated => {
            Some((key, page.next_upload_id_marker.unwrap_or_default()))
        }
        _ => None,
    };
    Ok((uploads, next))
}

/// A part that the server has of an open upload.
#[derive(Debug)]
pub(crate) struct ListedPart {
    pub number: u32,
    pub size: u64,
    pub etag: String,
}

/// What the server has of an open upload.
#[derive(Debug, Default)]
pub(crate) struct ListedParts {
    pub parts: Vec<ListedPart>,
    /// The checksum algorithm that the upload was begun with.
    pub algorithm: Option<String>,
    /// Where the next page begins.
    pub(super) next: Option<u32>,
}

/// Reads the answer to ListParts.
pub(super) fn parse_parts(xml: &str) -> Result<ListedParts, Cause> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Parts {
        is_truncated: bool,
        next_part_number_marker: Option<u32>,
        checksum_algorithm: Option<String>,
        #[serde(default)]
        part: Vec<ListedXml>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct ListedXml {
        part_number: u32,
        size: u64,
        #[serde(rename = "ETag")]
        e_tag: String,
    }
    let page: Parts = quick_xml::de::from_str(xml).map_err(malformed("ListParts"))?;
    let part = |part: ListedXml| ListedPart {
        number: part.part_number,
        size: part.size,
        etag: part.e_tag,
    };
    Ok(ListedParts {
        parts: page.part.into_iter().map(part).collect(),
        algorithm: page.checksum_algorithm.filter(|name| !name.is_empty()),
        next: page.next_part_number_marker.filter(|_| page.is_truncated),
    })
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
    if let Some((code, message)) = parse_error(xml) {
        return Err(Cause::S3 { status: 200, code, message, retry_after: None });
    }
    let (mut deleted, mut failed, mut is_result) = (Vec::new(), Vec::new(), false);
    let (mut key, mut code, mut message) = (None, String::new(), String::new());
    // Not every store says first what is gone and then what is not.
    elements("DeleteObjects", xml, |path, text| {
        match path {
            "/DeleteResult/Deleted/Key" | "/DeleteResult/Error/Key" => key = Some(text.to_owned()),
            "/DeleteResult/Error/Code" => text.clone_into(&mut code),
            "/DeleteResult/Error/Message" => text.clone_into(&mut message),
            "/DeleteResult/Deleted" => deleted.extend(key.take()),
            "/DeleteResult/Error" => {
                let (code, message) = (mem::take(&mut code), mem::take(&mut message));
                failed.extend(key.take().map(|key| (key, code, message)));
            }
            "/DeleteResult" => is_result = true,
            _ => {}
        }
        Ok(())
    })?;
    if !is_result {
        return Err(Cause::Malformed("DeleteObjects: it is no result".to_owned()));
    }
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

/// The region that an error body names.
pub(super) fn parse_region(xml: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorBody {
        #[serde(rename = "Region")]
        region: String,
    }
    let body: ErrorBody = quick_xml::de::from_str(xml).ok()?;
    Some(body.region).filter(|region| !region.is_empty())
}

/// `x-amz-date`: ISO 8601 without separators.
pub(super) fn amz_date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}

/// The server's `Date` header.
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Every parser but that of listings, for the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn parse_answers(xml: &str) {
    let _ = (parse_error(xml), parse_region(xml), parse_completed(xml), parse_upload_id(xml));
    let _ = (parse_uploads(xml), parse_parts(xml), parse_deleted(xml));
    let _ = (Timestamp::parse_rfc3339(xml), http_date(xml), decode(xml.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the AWS documentation, "GET Object":
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.
    #[test]
    fn the_signature_is_that_of_the_documentation() {
        let credentials = Arc::new(
            credentials(
                "AKIAIOSFODNN7EXAMPLE".to_owned(),
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
                None,
                None,
            )
            .unwrap(),
        );
        let address = Address::new("examplebucket", "us-east-1", None, Addressing::Auto).unwrap();
        let url = address.url(Some("test.txt"), &[]);
        let mut headers = HeaderMap::new();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let time = humantime::parse_rfc3339("2013-05-24T00:00:00Z").unwrap();
        headers.insert("host", "examplebucket.s3.amazonaws.com".parse().unwrap());
        headers.insert("range", "bytes=0-9".parse().unwrap());
        headers.insert("x-amz-content-sha256", empty.parse().unwrap());
        headers.insert("x-amz-date", amz_date(time).parse().unwrap());
        let signer = Signer::default();
        for _ in 0..2 {
            let request = ToSign { method: "GET", url: &url, headers: &headers, payload: empty };
            let authorization =
                signer.authorization(&request, &address, &credentials, time).unwrap();
            assert_eq!(
                authorization,
                "AWS4-HMAC-SHA256 \
                 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                 Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            );
        }
    }

    #[test]
    fn regions_of_others_are_not_taken_for_those_of_aws() {
        let is_aws = |region| {
            Address::new("bkt", region, None, Addressing::Auto).is_ok_and(|found| found.is_aws())
        };
        assert!(["us-east-1", "cn-north-1", "xx-new-7"].into_iter().all(is_aws));
        assert!(!["nyc3", "wa-us-east-1", "ru-central1"].into_iter().any(is_aws));
    }

    #[test]
    fn addresses() {
        let url = |bucket: &str, region: &str, endpoint: Option<&str>, style| {
            let address = Address::new(bucket, region, endpoint, style).unwrap();
            let bucket = address.url(None, &[("prefix", "a/ +")]).to_string();
            (address.url(Some("a/b c+%\u{e9}~"), &[]).to_string(), bucket)
        };
        use Addressing::{Auto, Path, Virtual};
        let cases = [
            ("bkt", "us-east-1", None, Auto, "https://bkt.s3.amazonaws.com/", "/"),
            ("bkt", "eu-central-1", None, Auto, "https://bkt.s3.eu-central-1.amazonaws.com/", "/"),
            ("bkt", "xx-new-7", None, Auto, "https://bkt.s3.xx-new-7.amazonaws.com/", "/"),
            ("b.k.t", "us-east-1", None, Auto, "https://s3.amazonaws.com/b.k.t/", ""),
            ("Bkt", "us-east-1", None, Auto, "https://s3.amazonaws.com/Bkt/", ""),
            ("Bkt", "r", Some("http://h"), Auto, "http://h/Bkt/", ""),
            ("bkt", "us-east-1", None, Path, "https://s3.amazonaws.com/bkt/", ""),
            ("bkt", "r", Some("http://[::1]:80/"), Auto, "http://[::1]/bkt/", ""),
            ("bkt", "r", Some("https://h:443"), Auto, "https://h/bkt/", ""),
            ("bkt", "r", Some("https://h:9000/base/"), Auto, "https://h:9000/base/bkt/", ""),
            ("bkt", "r", Some("http://h:9000"), Virtual, "http://bkt.h:9000/", "/"),
        ];
        for (bucket, region, endpoint, style, base, slash) in cases {
            let (object, listing) = url(bucket, region, endpoint, style);
            assert_eq!(object, format!("{base}a/b%20c%2B%25%C3%A9~"));
            let expected = format!("{}{slash}?prefix=a%2F%20%2B", base.trim_end_matches('/'));
            assert_eq!(listing, expected);
        }
        for endpoint in ["ftp://h", "http://", "not a url"] {
            assert!(Address::new("bkt", "r", Some(endpoint), Auto).is_err(), "{endpoint}");
        }
        // As a host name, it would be that of another bucket.
        for endpoint in [None, Some("http://h")] {
            assert!(Address::new("Bkt", "us-east-1", endpoint, Virtual).is_err());
        }
    }

    #[test]
    fn an_error_in_a_200_is_an_error() {
        let done =
            "<CompleteMultipartUploadResult><ETag>\"x-1\"</ETag></CompleteMultipartUploadResult>";
        assert!(parse_completed(done).is_ok());
        for text in ["", "<Error><Code>InternalError</Code><Message>m</Message></Error>", "<x/>"] {
            assert!(parse_completed(text).is_err(), "{text}");
        }
        assert_eq!(parse_error("<Error><Code>A</Code></Error>"), Some(("A".into(), String::new())));
    }

    #[test]
    fn what_is_gone_and_what_is_not_may_come_in_any_order() {
        let deleted = |key: &str| format!("<Deleted><Key>{key}</Key></Deleted>\n");
        let failed = |key: &str, more: &str| {
            format!("<Error><Key>{key}</Key><Code>AccessDenied</Code>{more}</Error>")
        };
        let answer = [
            deleted("a&amp;&quot;"),
            failed("b", "<Message>no</Message>"),
            deleted("c"),
            failed("d", ""),
        ];
        let xml = format!("<DeleteResult xmlns=\"x\">{}</DeleteResult>", answer.concat());
        let (deleted, failed) = parse_deleted(&xml).unwrap();
        assert_eq!(deleted, ["a&\"", "c"]);
        let reason = |key: &str, message: &str| (key.into(), "AccessDenied".into(), message.into());
        assert_eq!(failed, [reason("b", "no"), reason("d", "")]);
        assert_eq!(parse_deleted("<DeleteResult/>").unwrap(), (vec![], vec![]));
        for text in ["", "<DeleteResult>", "<DeleteResult><Deleted><Key>a</Key>"] {
            assert!(parse_deleted(text).is_err(), "{text}");
        }
    }
}
