//! The log of requests, for tests to count and inspect.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode, http::request::Parts};
use percent_encoding::percent_decode_str;

/// One request that the store received.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// S3's name of the operation, for example `PutObject`.
    pub operation: &'static str,
    pub method: String,
    /// The path as it was sent, percent-encoded.
    pub path: String,
    pub bucket: String,
    /// The decoded key. Empty if the request is not for an object.
    pub key: String,
    /// The decoded query.
    pub query: BTreeMap<String, String>,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// 0 until there is a response, and if the store closed the connection instead.
    pub status: u16,
    /// The number of the TCP connection, from 1.
    pub connection: usize,
    /// How many requests were in flight when this one arrived, including this one.
    pub in_flight: usize,
}

impl Request {
    pub(super) fn read(parts: &Parts, connection: usize, in_flight: usize) -> Request {
        let path = parts.uri.path();
        let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| {
                (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
            })
            .collect();
        let headers: BTreeMap<String, String> = parts
            .headers
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let is_copy = headers.contains_key("x-amz-copy-source");
        Request {
            operation: operation(&parts.method, bucket, key, &query, is_copy),
            method: parts.method.to_string(),
            path: path.to_owned(),
            bucket: decode(bucket),
            key: decode(key),
            query,
            headers,
            status: 0,
            connection,
            in_flight,
        }
    }

    /// The region that the request is signed for.
    pub fn region(&self) -> Option<&str> {
        let credential = match self.headers.get("authorization") {
            Some(header) => header.split_once("Credential=")?.1,
            None => self.query.get("X-Amz-Credential")?,
        };
        credential.split('/').nth(2)
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// S3's name of an operation. s3s finds it too, but only after it has verified the signature.
fn operation(
    method: &Method,
    bucket: &str,
    key: &str,
    query: &BTreeMap<String, String>,
    is_copy: bool,
) -> &'static str {
    let has = |name: &str| query.contains_key(name);
    match (method.as_str(), bucket.is_empty(), key.is_empty()) {
        ("GET", true, _) => "ListBuckets",
        ("HEAD", false, true) => "HeadBucket",
        ("PUT", false, true) => "CreateBucket",
        ("DELETE", false, true) => "DeleteBucket",
        ("POST", false, true) if has("delete") => "DeleteObjects",
        ("GET", false, true) if has("location") => "GetBucketLocation",
        ("GET", false, true) if has("uploads") => "ListMultipartUploads",
        ("GET", false, true) if query.get("list-type").is_some_and(|v| v == "2") => "ListObjectsV2",
        ("GET", false, true) => "ListObjects",
        ("HEAD", false, false) => "HeadObject",
        ("GET", false, false) if has("uploadId") => "ListParts",
        ("GET", false, false) => "GetObject",
        ("PUT", false, false) if has("uploadId") && is_copy => "UploadPartCopy",
        ("PUT", false, false) if has("uploadId") => "UploadPart",
        ("PUT", false, false) if is_copy => "CopyObject",
        ("PUT", false, false) => "PutObject",
        ("DELETE", false, false) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", false, false) => "DeleteObject",
        ("POST", false, false) if has("uploads") => "CreateMultipartUpload",
        ("POST", false, false) if has("uploadId") => "CompleteMultipartUpload",
        _ => "Unknown",
    }
}

/// All requests since the start, or since the log was last cleared.
///
/// A number is not reused after the log is cleared: a test may clear it while requests are in
/// flight.
#[derive(Default)]
pub(super) struct Log {
    pub requests: Vec<Request>,
    cleared: usize,
}

impl Log {
    /// Adds a request, and returns its number.
    pub fn add(&mut self, request: Request) -> usize {
        self.requests.push(request);
        self.cleared + self.requests.len() - 1
    }

    pub fn set_status(&mut self, number: usize, status: StatusCode) {
        if let Some(request) =
            number.checked_sub(self.cleared).and_then(|at| self.requests.get_mut(at))
        {
            request.status = status.as_u16();
        }
    }

    pub fn clear(&mut self) {
        self.cleared += self.requests.len();
        self.requests.clear();
    }
}
