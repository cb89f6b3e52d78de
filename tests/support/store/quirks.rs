//! Stores that serve objects in other ways than S3.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::{
    object::Object, request::Request, response::error_response, server::Shared, time::http_date,
};

/// How a store responds to a GET of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Ranges {
    /// With the range.
    #[default]
    Honored,
    /// With the range and status 200.
    Status200,
    /// With the whole object.
    Ignored,
    /// With the whole object, but only to the first of these requests.
    IgnoredOnce,
    /// With at most so many bytes.
    AtMost(u64),
    /// With so many bytes before and after the range as well.
    Wider(u64),
    /// With this status, and no body.
    Refused(u16),
    /// With status 206 and no Content-Range.
    Unnamed,
    /// With the range, status 200 and no Content-Range.
    Unnamed200,
}

type Etags = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;
type Decode = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// How a store serves objects.
#[derive(Clone, Default)]
pub struct Quirks {
    pub ranges: Ranges,
    pub etags: Option<Etags>,
    pub decode: Option<Decode>,
    /// The store names the decoding in headers, as Google Cloud Storage does.
    pub names_decoding: bool,
    /// The store decodes whatever a request accepts.
    pub always_decodes: bool,
    /// The checksum header of every object, instead of the right one.
    pub checksum: Option<(&'static str, String)>,
    /// The store sends the right checksums.
    pub sends_checksums: bool,
    /// The size of the parts of every object.
    pub part_size: Option<u64>,
    /// Responses have no LastModified.
    pub hides_time: bool,
    /// Responses have no Content-Length.
    pub hides_length: bool,
    /// The store refuses every If-Match.
    pub refuses_conditions: bool,
}

impl Quirks {
    /// The ETag, in quotes or not, in the responses of an operation. The arguments are the operation and the
    /// ETag that S3 would send.
    pub fn etags(
        mut self,
        etags: impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static,
    ) -> Quirks {
        self.etags = Some(Arc::new(etags));
        self
    }

    /// Decodes objects that have a Content-Encoding, unless the request accepts it.
    pub fn decode(mut self, decode: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Quirks {
        self.decode = Some(Arc::new(decode));
        self
    }

    pub fn ranges(ranges: Ranges) -> Quirks {
        Quirks { ranges, ..Quirks::default() }
    }

    fn etag(&self, operation: &str, etag: &str) -> Option<String> {
        match &self.etags {
            None => Some(format!("\"{etag}\"")),
            Some(etags) => etags(operation, etag),
        }
    }
}

/// Marks a response that has no Content-Length.
#[derive(Clone)]
pub(super) struct Chunked;

/// Serves a GET or HEAD of an object, if the store has quirks.
pub(super) fn serve(shared: &Shared, request: &Request) -> Option<Response<Bytes>> {
    let mut state = shared.state();
    let mut quirks = state.quirks.clone()?;
    if !matches!(request.operation, "GetObject" | "HeadObject") {
        return None;
    }
    if quirks.ranges == Ranges::IgnoredOnce && request.headers.contains_key("range") {
        quirks.ranges = Ranges::Ignored;
        state.quirks = Some(Quirks { ranges: Ranges::Honored, ..quirks.clone() });
    }
    let object = state.object(&request.bucket, &request.key).ok()?;
    Some(quirks.respond(&object, request))
}

/// Changes the ETags of a response.
pub(super) fn rewrite(shared: &Shared, request: &Request, response: &mut Response<Bytes>) {
    let mut state = shared.state();
    let Some(quirks) = state.quirks.clone() else { return };
    match request.operation {
        "PutObject" => {
            let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok());
            let Some(etag) = etag.map(|etag| etag.trim_matches('"').to_owned()) else { return };
            if let Some(etag) = quirks.etag("PutObject", &etag) {
                response.headers_mut().insert("etag", etag.parse().expect("a valid ETag"));
            }
        }
        "ListObjectsV2" => {
            let mut body = String::from_utf8_lossy(response.body()).into_owned();
            let objects = &state.bucket(&request.bucket).expect("the bucket exists").objects;
            let mut etags: Vec<&str> = objects.values().map(|object| &*object.etag).collect();
            etags.sort_unstable();
            etags.dedup();
            for etag in etags {
                body = replace_etags(&body, etag, quirks.etag("ListObjectsV2", etag));
            }
            response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            *response.body_mut() = body.into();
        }
        _ => {}
    }
}

/// Replaces or removes the elements of this ETag.
fn replace_etags(body: &str, etag: &str, by: Option<String>) -> String {
    let (open, close) = ("<ETag>", "</ETag>");
    let mut parts = body.split(open);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (text, rest) = part.split_once(close).expect("the element ends");
        match &by {
            _ if !text.contains(etag) || text.len() > etag.len() + 12 => {
                changed += &format!("{open}{text}{close}{rest}");
            }
            Some(by) => changed += &format!("{open}{}{close}{rest}", by.replace('"', "&quot;")),
            None => changed += rest,
        }
    }
    changed
}

impl Quirks {
    fn respond(&self, object: &Object, request: &Request) -> Response<Bytes> {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        let etag = self.etag(request.operation, &object.etag);
        if let Some(condition) = header("if-match")
            && (self.refuses_conditions
                || etag
                    .as_ref()
                    .is_none_or(|etag| etag.trim_matches('"') != condition.trim_matches('"')))
        {
            let status = StatusCode::PRECONDITION_FAILED;
            return error_response(status, "PreconditionFailed", "no", "");
        }
        let is_encoded = object.content_encoding.is_some();
        let accepts = header("accept-encoding").is_some_and(|accepts| accepts.contains("gzip"));
        let decode = self.decode.as_ref().filter(|_| is_encoded);
        let decode = decode.filter(|_| !accepts || self.always_decodes);
        let mut response = match decode {
            Some(decode) => {
                let mut response = Response::new(Bytes::from(decode(&object.body)));
                response.extensions_mut().insert(Chunked);
                response
            }
            None => self.part(object, request),
        };
        let mut set = |name: &str, value: &str| {
            let name = HeaderName::try_from(name).expect("a valid name");
            let value = HeaderValue::try_from(value).expect("a valid value");
            response.headers_mut().insert(name, value);
        };
        if let Some(etag) = etag {
            set("etag", &etag);
        }
        if is_encoded && self.names_decoding {
            set("x-goog-stored-content-encoding", "gzip");
            set("x-goog-stored-content-length", &object.body.len().to_string());
        }
        match (&object.content_encoding, decode) {
            (Some(encoding), None) => set("content-encoding", encoding),
            (Some(_), Some(_)) if self.names_decoding => set("warning", "214 - gunzipped"),
            _ => {}
        }
        if header("x-amz-checksum-mode").is_some() && header("range").is_none() {
            match (&self.checksum, &object.checksum) {
                (Some((name, value)), _) => set(name, value),
                (None, Some(checksum)) if self.sends_checksums && !checksum.composite => {
                    let name = format!("x-amz-checksum-{}", checksum.algorithm.to_lowercase());
                    set(&name, &checksum.value);
                }
                _ => {}
            }
        }
        if self.hides_length {
            response.extensions_mut().insert(Chunked);
        }
        if !self.hides_time {
            let time = http_date(object.last_modified);
            response.headers_mut().insert(header::LAST_MODIFIED, time);
        }
        response
    }

    /// The bytes that a request is for.
    fn part(&self, object: &Object, request: &Request) -> Response<Bytes> {
        let size = object.body.len() as u64;
        let response = |status, range: Range<u64>, content_range: bool| {
            let body = object.body.slice(range.start as usize..range.end as usize);
            let mut response = Response::new(body.clone());
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            if content_range {
                let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let value = HeaderValue::try_from(text).expect("a valid value");
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            response
        };
        if request.query.contains_key("partNumber") {
            let Some(part_size) = self.part_size else {
                return response(StatusCode::OK, 0..size, false);
            };
            let mut part = response(StatusCode::PARTIAL_CONTENT, 0..part_size.min(size), true);
            let count = HeaderValue::from(size.div_ceil(part_size));
            part.headers_mut().insert("x-amz-mp-parts-count", count);
            return part;
        }
        let range = request.headers.get("range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some(first.parse::<u64>().ok()?..size.min(last.parse::<u64>().ok()? + 1))
        });
        let Some(range) = range else { return response(StatusCode::OK, 0..size, false) };
        let partial = StatusCode::PARTIAL_CONTENT;
        match self.ranges {
            Ranges::Honored => response(partial, range, true),
            Ranges::Status200 => response(StatusCode::OK, range, true),
            Ranges::Ignored | Ranges::IgnoredOnce => response(StatusCode::OK, 0..size, false),
            Ranges::AtMost(most) => {
                response(partial, range.start..range.end.min(range.start + most), true)
            }
            Ranges::Wider(more) => {
                let wider = range.start.saturating_sub(more)..size.min(range.end + more);
                response(partial, wider, true)
            }
            Ranges::Unnamed => response(partial, range, false),
            Ranges::Unnamed200 => response(StatusCode::OK, range, false),
            Ranges::Refused(status) => {
                let status = StatusCode::from_u16(status).expect("a valid status");
                let code = if status == 416 { "InvalidRange" } else { "NotImplemented" };
                error_response(status, code, "no ranges", "")
            }
        }
    }
}
