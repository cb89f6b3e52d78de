//! An S3 server that uses almost no CPU time, for benchmarks of clients:
//!
//! ```sh
//! cargo run --release --example free-store [PORT | ADDRESS:PORT]
//! ```
//!
//! It discards bodies: it serves bytes of one value, regardless of the content that was uploaded, and its
//! ETags and checksums are those of such bytes. They are not zeros, which a restore does not write. It checks no signatures, and every bucket exists. Besides S3,
//! there are control requests for the benchmark:
//!
//! - `GET /-/counts` returns, as JSON, the number of connections and of requests by operation.
//! - `POST /-/reset` sets all counts to zero.
//! - `POST /-/delay?request=MS&connection=MS` simulates a distant store: it delays each response,
//!   and the first one of each connection by the sum of both.
//! - `PUT /-/objects/BUCKET` creates the objects in its body, a line `SIZE KEY` for each.
//! - `POST /-/clear` removes all objects and uploads.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddrV4},
    ops::Bound,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Method, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::HeaderMap,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[tokio::main(worker_threads = 2)]
async fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or("0".to_owned());
    let loopback = argument.parse().map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let address = loopback.or(argument.parse::<SocketAddrV4>());
    let address =
        address.map_err(|_| io::Error::other("the argument is no PORT or ADDRESS:PORT"))?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(address.into())?;
    // Clients may keep all processors busy. A long backlog keeps the connections that this process
    // cannot accept at once, as a distant store would.
    let listener = socket.listen(4_096)?;
    println!("listening on http://{}", listener.local_addr()?);
    let store = Arc::new(Store::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            // A connection counts if its first request is for S3, so control connections do not.
            let is_first = AtomicBool::new(true);
            let respond =
                service_fn(|request| store.respond(request, is_first.swap(false, Relaxed)));
            // The client reports a broken connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), respond).await;
        });
    }
}

#[derive(Default)]
struct Store {
    buckets: Mutex<HashMap<String, BTreeMap<Box<str>, Object>>>,
    /// The sizes of the parts, by upload id and part number.
    uploads: Mutex<HashMap<u64, BTreeMap<u32, u64>>>,
    checksums: Mutex<HashMap<u64, Arc<Checksums>>>,
    uploads_created: AtomicU64,
    /// The number of requests, by operation.
    counts: Mutex<BTreeMap<&'static str, u64>>,
    connections: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    request_delay_ms: AtomicU64,
    connection_delay_ms: AtomicU64,
}

#[derive(Clone)]
struct Object {
    size: u64,
    modified: SystemTime,
    etag: Arc<str>,
}

/// The checksums of a number of such bytes.
struct Checksums {
    md5: [u8; 16],
    etag: Arc<str>,
    crc64nvme: String,
}

type Response = hyper::Response<Either<Full<Bytes>, Filled>>;

/// The parts of a request that matter here.
struct Request {
    method: Method,
    bucket: String,
    key: String,
    query: HashMap<String, String>,
    headers: HeaderMap,
    /// The size of the object or part in the body.
    size: u64,
}

impl Store {
    async fn respond(
        &self,
        request: hyper::Request<Incoming>,
        is_first: bool,
    ) -> hyper::Result<Response> {
        let (head, mut body) = request.into_parts();
        let path = head.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = head.uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        let mut request = Request {
            method: head.method,
            bucket: bucket.to_owned(),
            key: decode(key),
            query: query
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (name.to_owned(), decode(value)))
                .collect(),
            headers: head.headers,
            size: 0,
        };
        // All other bodies are discarded.
        let keeps_body = request.bucket == "-" || request.method == Method::POST;
        let mut kept = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                request.size += data.len() as u64;
                if keeps_body {
                    kept.extend_from_slice(&data);
                }
            }
        }
        if request.bucket == "-" {
            return Ok(self.control(&request, &String::from_utf8_lossy(&kept)));
        }
        self.bytes_in.fetch_add(request.size, Relaxed);
        // An aws-chunked body is longer than its content: it has signatures or a trailer.
        if let Some(decoded) = request.headers.get("x-amz-decoded-content-length") {
            request.size =
                decoded.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(request.size);
        }
        let (operation, response) = self.operation(&request, &String::from_utf8_lossy(&kept));
        *lock(&self.counts).entry(operation).or_default() += 1;
        let mut delay = self.request_delay_ms.load(Relaxed);
        if is_first {
            self.connections.fetch_add(1, Relaxed);
            delay += self.connection_delay_ms.load(Relaxed);
        }
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        Ok(response)
    }

    /// Executes a control request.
    fn control(&self, request: &Request, body: &str) -> Response {
        match request.key.split_once('/').unwrap_or((&request.key, "")) {
            ("counts", _) => {
                let counts = json!({
                    "connections": self.connections.load(Relaxed),
                    "requests": *lock(&self.counts),
                    "in": self.bytes_in.load(Relaxed),
                    "out": self.bytes_out.load(Relaxed),
                });
                return text(StatusCode::OK, counts.to_string());
            }
            ("reset", _) => {
                lock(&self.counts).clear();
                for count in [&self.connections, &self.bytes_in, &self.bytes_out] {
                    count.store(0, Relaxed);
                }
            }
            ("delay", _) => {
                self.request_delay_ms.store(request.number("request"), Relaxed);
                self.connection_delay_ms.store(request.number("connection"), Relaxed);
            }
            ("clear", _) => {
                lock(&self.buckets).clear();
                lock(&self.uploads).clear();
            }
            ("objects", bucket) => {
                for (size, key) in body.lines().filter_map(|line| line.split_once(' ')) {
                    let size = size.parse().unwrap_or(0);
                    self.put(bucket, key, size, Arc::clone(&self.checksums(size).etag));
                }
            }
            _ => return text(StatusCode::NOT_FOUND, String::new()),
        }
        text(StatusCode::OK, String::new())
    }

    /// Executes an S3 operation. Returns its name and the response.
    fn operation(&self, request: &Request, body: &str) -> (&'static str, Response) {
        let has = |name| request.query.contains_key(name);
        let xml = |body| text(StatusCode::OK, body);
        match (request.method.as_str(), request.key.is_empty()) {
            ("GET", true) if request.bucket.is_empty() => {
                ("ListBuckets", xml("<ListAllMyBucketsResult/>".to_owned()))
            }
            ("GET", true) if has("location") => {
                ("GetBucketLocation", xml("<LocationConstraint/>".to_owned()))
            }
            ("GET", true) if has("uploads") => {
                let empty = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
                            </ListMultipartUploadsResult>";
                ("ListMultipartUploads", xml(empty.to_owned()))
            }
            ("GET", true) if request.query.get("list-type").is_some_and(|kind| kind == "2") => {
                ("ListObjectsV2", xml(self.list(request)))
            }
            ("GET", true) if has("versioning") => {
                ("GetBucketVersioning", xml("<VersioningConfiguration/>".to_owned()))
            }
            ("GET", true) => ("ListObjects", xml(self.list(request))),
            ("HEAD", true) => ("HeadBucket", xml(String::new())),
            ("PUT", true) => ("CreateBucket", xml(String::new())),
            ("POST", true) if has("delete") => ("DeleteObjects", xml(self.delete(request, body))),
            ("POST", false) if has("uploads") => {
                let id = self.uploads_created.fetch_add(1, Relaxed);
                lock(&self.uploads).insert(id, BTreeMap::new());
                let body = format!(
                    "<InitiateMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key>\
                     <UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
                    request.bucket,
                    encode(&request.key)
                );
                ("CreateMultipartUpload", xml(body))
            }
            ("POST", false) => ("CompleteMultipartUpload", xml(self.complete(request))),
            ("PUT", false) if has("uploadId") => {
                let checksums = self.checksums(request.size);
                if let Some(parts) = lock(&self.uploads).get_mut(&request.number("uploadId")) {
                    parts.insert(request.number("partNumber") as u32, request.size);
                }
                ("UploadPart", with_etag(xml(String::new()), &checksums.etag))
            }
            ("PUT", false) => {
                let checksums = self.checksums(request.size);
                self.put(&request.bucket, &request.key, request.size, Arc::clone(&checksums.etag));
                ("PutObject", with_etag(xml(String::new()), &checksums.etag))
            }
            ("DELETE", _) => {
                if let Some(bucket) = lock(&self.buckets).get_mut(&request.bucket) {
                    bucket.remove(request.key.as_str());
                }
                ("DeleteObject", text(StatusCode::NO_CONTENT, String::new()))
            }
            ("HEAD", false) => ("HeadObject", self.get(request)),
            ("GET", false) => ("GetObject", self.get(request)),
            _ => ("other", error(StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
        }
    }

    fn put(&self, bucket: &str, key: &str, size: u64, etag: Arc<str>) {
        let object = Object { size, modified: SystemTime::now(), etag };
        let mut buckets = lock(&self.buckets);
        if !buckets.contains_key(bucket) {
            buckets.insert(bucket.to_owned(), BTreeMap::new());
        }
        if let Some(objects) = buckets.get_mut(bucket) {
            objects.insert(key.into(), object);
        }
    }

    /// The checksums of `size` bytes, computed once per size.
    fn checksums(&self, size: u64) -> Arc<Checksums> {
        if let Some(known) = lock(&self.checksums).get(&size) {
            return Arc::clone(known);
        }
        let mut md5 = Md5::new();
        let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        for at in (0..size).step_by(FILL.len()) {
            let bytes = &FILL[..FILL.len().min((size - at) as usize)];
            md5.update(bytes);
            crc.update(bytes);
        }
        let md5: [u8; 16] = md5.finalize().into();
        let etag = format!("\"{:032x}\"", u128::from_be_bytes(md5)).into();
        let crc64nvme = BASE64_STANDARD.encode(crc.finalize().to_be_bytes());
        let checksums = Arc::new(Checksums { md5, etag, crc64nvme });
        lock(&self.checksums).insert(size, Arc::clone(&checksums));
        checksums
    }

    fn complete(&self, request: &Request) -> String {
        let parts = lock(&self.uploads).remove(&request.number("uploadId")).unwrap_or_default();
        let mut md5 = Md5::new();
        parts.values().for_each(|size| md5.update(self.checksums(*size).md5));
        let md5 = u128::from_be_bytes(md5.finalize().into());
        let etag = format!("\"{md5:032x}-{}\"", parts.len());
        self.put(&request.bucket, &request.key, parts.values().sum(), etag.as_str().into());
        format!(
            "<CompleteMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><ETag>{etag}</ETag>\
             </CompleteMultipartUploadResult>",
            request.bucket,
            encode(&request.key)
        )
    }

    fn delete(&self, request: &Request, body: &str) -> String {
        let mut result = String::from("<DeleteResult>");
        let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        for escaped in keys {
            let key = quick_xml::escape::unescape(escaped).unwrap_or_default();
            if let Some(objects) = lock(&self.buckets).get_mut(&request.bucket) {
                objects.remove(&*key);
            }
            result.push_str(&format!("<Deleted><Key>{escaped}</Key></Deleted>"));
        }
        result + "</DeleteResult>"
    }

    fn get(&self, request: &Request) -> Response {
        let found =
            lock(&self.buckets).get(&request.bucket).and_then(|b| b.get(&*request.key).cloned());
        let Some(object) = found else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let is_current = |etag: &str| etag.trim_matches('"') == object.etag.trim_matches('"');
        if !header("if-match").is_none_or(is_current) {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let last = object.size.saturating_sub(1);
        let range = range.map(|(first, end)| {
            (first.parse().unwrap_or(0), end.parse().unwrap_or(last).min(last))
        });
        let mut response = hyper::Response::builder()
            .header("etag", &*object.etag)
            .header("last-modified", httpdate::fmt_http_date(object.modified))
            .header("accept-ranges", "bytes");
        let len = match range {
            Some((first, last)) if first <= last && first < object.size => {
                let range = format!("bytes {first}-{last}/{}", object.size);
                response = response.status(206).header("content-range", range);
                last - first + 1
            }
            Some(_) => return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            None => object.size,
        };
        if range.is_none() && header("x-amz-checksum-mode").is_some() {
            response = response
                .header("x-amz-checksum-crc64nvme", &self.checksums(object.size).crc64nvme)
                .header("x-amz-checksum-type", "FULL_OBJECT");
        }
        if request.method == Method::HEAD {
            response = response.header("content-length", len);
            return response.body(Either::Left(Full::default())).expect("the headers are valid");
        }
        self.bytes_out.fetch_add(len, Relaxed);
        response.body(Either::Right(Filled(len))).expect("the headers are valid")
    }

    /// A page of a listing, for ListObjects or ListObjectsV2.
    fn list(&self, request: &Request) -> String {
        let get = |name| request.query.get(name).map_or("", String::as_str);
        let is_v2 = request.query.contains_key("list-type");
        let (prefix, delimiter) = (get("prefix"), get("delimiter"));
        let max = request.query.get("max-keys").and_then(|n| n.parse().ok()).unwrap_or(1_000);
        let is_url = get("encoding-type") == "url";
        let encoded = |key: &str| match is_url {
            true => encode(key),
            false => quick_xml::escape::escape(key).into_owned(),
        };
        let mut after = ["continuation-token", "start-after", "marker"]
            .into_iter()
            .map(|name| get(name).to_owned())
            .find(|after| !after.is_empty())
            .unwrap_or_default();
        let (mut contents, mut prefixes) = (String::new(), String::new());
        let (mut count, mut is_truncated) = (0, false);
        let buckets = lock(&self.buckets);
        let empty = BTreeMap::new();
        let objects = buckets.get(&request.bucket).unwrap_or(&empty);
        // One step skips all keys below a common prefix: the next range starts after the last one.
        let mut start = match after.as_str() {
            "" => Bound::Included(prefix.to_owned()),
            after if after < prefix => Bound::Included(prefix.to_owned()),
            after if !delimiter.is_empty() && after.ends_with(delimiter) => {
                Bound::Excluded(format!("{after}\u{10ffff}"))
            }
            after => Bound::Excluded(after.to_owned()),
        };
        'ranges: loop {
            let from = (start.as_ref().map(String::as_str), Bound::Unbounded);
            let mut range = objects.range::<str, _>(from);
            loop {
                let Some((key, object)) = range.next() else { break 'ranges };
                let Some(rest) = key.strip_prefix(prefix) else { break 'ranges };
                if count == max {
                    is_truncated = true;
                    break 'ranges;
                }
                count += 1;
                if !delimiter.is_empty()
                    && let Some(at) = rest.find(delimiter)
                {
                    after = key[..prefix.len() + at + delimiter.len()].to_owned();
                    prefixes.push_str(&format!(
                        "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                        encoded(&after)
                    ));
                    start = Bound::Excluded(format!("{after}\u{10ffff}"));
                    continue 'ranges;
                }
                let time = OffsetDateTime::from(object.modified).replace_nanosecond(0);
                let time = time.ok().and_then(|time| time.format(&Rfc3339).ok());
                contents.push_str(&format!(
                    "<Contents><Key>{}</Key><LastModified>{}</LastModified>\
                     <ETag>&quot;{}&quot;</ETag><Size>{}</Size>\
                     <StorageClass>STANDARD</StorageClass></Contents>",
                    encoded(key),
                    time.unwrap_or_default().replace('Z', ".000Z"),
                    object.etag.trim_matches('"'),
                    object.size
                ));
                after.clear();
                after.push_str(key);
            }
        }
        let next = match (is_truncated, is_v2) {
            (false, _) => String::new(),
            (true, true) => format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                quick_xml::escape::escape(&*after)
            ),
            (true, false) => format!("<NextMarker>{}</NextMarker>", encoded(&after)),
        };
        let encoding = if is_url { "<EncodingType>url</EncodingType>" } else { "" };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name>\
             <Prefix>{}</Prefix><Delimiter>{}</Delimiter><MaxKeys>{max}</MaxKeys>{encoding}\
             <KeyCount>{count}</KeyCount><IsTruncated>{is_truncated}</IsTruncated>{next}\
             {contents}{prefixes}</ListBucketResult>",
            request.bucket,
            encoded(prefix),
            encoded(delimiter),
        )
    }
}

impl Request {
    fn number(&self, name: &str) -> u64 {
        self.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

static FILL: [u8; 256 << 10] = [b's'; 256 << 10];

/// A body of this many bytes.
struct Filled(u64);

impl Body for Filled {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let now = self.0.min(FILL.len() as u64);
        self.0 -= now;
        let data = Bytes::from_static(&FILL[..now as usize]);
        Poll::Ready((now > 0).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

fn text(status: StatusCode, body: String) -> Response {
    let mut response = hyper::Response::new(Either::Left(Full::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/xml"));
    response
}

fn error(status: StatusCode, code: &str) -> Response {
    text(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

fn with_etag(mut response: Response, etag: &str) -> Response {
    if let Ok(etag) = etag.parse() {
        response.headers_mut().insert("etag", etag);
    }
    response
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', "%20")).decode_utf8_lossy().into_owned()
}

/// The characters that S3 leaves unchanged with `encoding-type=url`.
const UNENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNENCODED).to_string()
}
