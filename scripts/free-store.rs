//! An S3 server that costs next to nothing, to measure clients by:
//!
//! ```sh
//! cargo run --release --example free-store [PORT]
//! ```
//!
//! It throws bodies away: whatever was sent, every byte that it serves is zero, and ETags and checksums
//! are those of as many zeros. It asks nobody who he is, and every bucket exists. Beside S3 it listens
//! to whoever measures:
//!
//! - `GET /-/counts` says how many connections and requests of each kind came, as JSON, and
//!   `POST /-/reset` begins to count anew;
//! - `POST /-/delay?request=MS&connection=MS` makes a far store of it, by a pause before each answer and
//!   one more before the first of each connection;
//! - `PUT /-/objects/BUCKET` makes the objects that its body names, a line `SIZE KEY` each, and
//!   `POST /-/clear` forgets all.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::Bound,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
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
    let port = std::env::args().nth(1).map_or(Ok(0), |port| port.parse());
    let port = port.map_err(|_| io::Error::other("PORT must be a number"))?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    // Far stores don't drop whom they can't greet at once, and neither does this one while its clients keep
    // all processors busy.
    let listener = socket.listen(4_096)?;
    println!("listening on http://{}", listener.local_addr()?);
    let store = Arc::new(Store::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            // Counted with its first request of S3.
            let is_new = AtomicU64::new(1);
            let answer = service_fn(|request| store.answer(request, is_new.swap(0, Relaxed) == 1));
            // A connection that breaks is the client's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

#[derive(Default)]
struct Store {
    buckets: Mutex<HashMap<String, BTreeMap<Box<str>, Object>>>,
    uploads: Mutex<HashMap<u64, BTreeMap<u32, u64>>>,
    sums: Mutex<HashMap<u64, Arc<Sums>>>,
    begun: AtomicU64,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    connections: AtomicU64,
    received: AtomicU64,
    served: AtomicU64,
    request_delay: AtomicU64,
    connection_delay: AtomicU64,
}

#[derive(Clone)]
struct Object {
    size: u64,
    modified: SystemTime,
    etag: Arc<str>,
}

/// What stands for a number of zeros.
struct Sums {
    md5: [u8; 16],
    etag: Arc<str>,
    crc64nvme: String,
}

type Answer = Response<Either<Full<Bytes>, Zeros>>;

/// A request, as far as it matters here.
struct Ask {
    method: Method,
    bucket: String,
    key: String,
    query: HashMap<String, String>,
    headers: HeaderMap,
    /// The bytes of the object that is sent.
    size: u64,
}

impl Store {
    async fn answer(&self, request: Request<Incoming>, is_new: bool) -> hyper::Result<Answer> {
        let (head, mut body) = request.into_parts();
        let path = head.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = head.uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        let mut ask = Ask {
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
        let reads = ask.bucket == "-" || ask.method == Method::POST;
        let mut kept = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                ask.size += data.len() as u64;
                if reads {
                    kept.extend_from_slice(&data);
                }
            }
        }
        if ask.bucket == "-" {
            return Ok(self.command(&ask, &String::from_utf8_lossy(&kept)));
        }
        self.received.fetch_add(ask.size, Relaxed);
        // Chunked with signatures or a trailer, the body is longer than what it holds.
        if let Some(decoded) = ask.headers.get("x-amz-decoded-content-length") {
            ask.size = decoded.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(ask.size);
        }
        let (kind, answer) = self.operation(&ask, &String::from_utf8_lossy(&kept));
        *lock(&self.counts).entry(kind).or_default() += 1;
        let mut delay = self.request_delay.load(Relaxed);
        if is_new {
            self.connections.fetch_add(1, Relaxed);
            delay += self.connection_delay.load(Relaxed);
        }
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        Ok(answer)
    }

    /// What whoever measures asks for.
    fn command(&self, ask: &Ask, body: &str) -> Answer {
        let number = |name| ask.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        match ask.key.split_once('/').unwrap_or((&ask.key, "")) {
            ("counts", _) => {
                let counts = json!({
                    "connections": self.connections.load(Relaxed),
                    "requests": *lock(&self.counts),
                    "in": self.received.load(Relaxed),
                    "out": self.served.load(Relaxed),
                });
                return text(StatusCode::OK, counts.to_string());
            }
            ("reset", _) => {
                lock(&self.counts).clear();
                for count in [&self.connections, &self.received, &self.served] {
                    count.store(0, Relaxed);
                }
            }
            ("delay", _) => {
                self.request_delay.store(number("request"), Relaxed);
                self.connection_delay.store(number("connection"), Relaxed);
            }
            ("clear", _) => {
                lock(&self.buckets).clear();
                lock(&self.uploads).clear();
            }
            ("objects", bucket) => {
                for (size, key) in body.lines().filter_map(|line| line.split_once(' ')) {
                    let size = size.parse().unwrap_or(0);
                    self.keep(bucket, key, size, Arc::clone(&self.sums(size).etag));
                }
            }
            _ => return text(StatusCode::NOT_FOUND, String::new()),
        }
        text(StatusCode::OK, String::new())
    }

    /// The name of an operation of S3, and its answer.
    fn operation(&self, ask: &Ask, body: &str) -> (&'static str, Answer) {
        let asks = |name| ask.query.contains_key(name);
        let xml = |body| text(StatusCode::OK, body);
        match (ask.method.as_str(), ask.key.is_empty()) {
            ("GET", true) if ask.bucket.is_empty() => {
                ("ListBuckets", xml("<ListAllMyBucketsResult/>".to_owned()))
            }
            ("GET", true) if asks("location") => {
                ("GetBucketLocation", xml("<LocationConstraint/>".to_owned()))
            }
            ("GET", true) if asks("uploads") => {
                let none = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
                            </ListMultipartUploadsResult>";
                ("ListMultipartUploads", xml(none.to_owned()))
            }
            ("GET", true) if ask.query.get("list-type").is_some_and(|kind| kind == "2") => {
                ("ListObjectsV2", xml(self.list(ask)))
            }
            ("GET", true) if asks("versioning") => {
                ("GetBucketVersioning", xml("<VersioningConfiguration/>".to_owned()))
            }
            ("GET", true) => ("ListObjects", xml(self.list(ask))),
            ("HEAD", true) => ("HeadBucket", xml(String::new())),
            ("PUT", true) => ("CreateBucket", xml(String::new())),
            ("POST", true) if asks("delete") => ("DeleteObjects", xml(self.delete(ask, body))),
            ("POST", false) if asks("uploads") => {
                let id = self.begun.fetch_add(1, Relaxed);
                lock(&self.uploads).insert(id, BTreeMap::new());
                let body = format!(
                    "<InitiateMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key>\
                     <UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
                    ask.bucket,
                    encode(&ask.key)
                );
                ("CreateMultipartUpload", xml(body))
            }
            ("POST", false) => ("CompleteMultipartUpload", xml(self.complete(ask))),
            ("PUT", false) if asks("uploadId") => {
                let sums = self.sums(ask.size);
                if let Some(parts) = lock(&self.uploads).get_mut(&ask.number("uploadId")) {
                    parts.insert(ask.number("partNumber") as u32, ask.size);
                }
                ("UploadPart", with_etag(xml(String::new()), &sums.etag))
            }
            ("PUT", false) => {
                let sums = self.sums(ask.size);
                self.keep(&ask.bucket, &ask.key, ask.size, Arc::clone(&sums.etag));
                ("PutObject", with_etag(xml(String::new()), &sums.etag))
            }
            ("DELETE", _) => {
                if let Some(bucket) = lock(&self.buckets).get_mut(&ask.bucket) {
                    bucket.remove(ask.key.as_str());
                }
                ("DeleteObject", text(StatusCode::NO_CONTENT, String::new()))
            }
            ("HEAD", false) => ("HeadObject", self.get(ask)),
            ("GET", false) => ("GetObject", self.get(ask)),
            _ => ("other", error(StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
        }
    }

    fn keep(&self, bucket: &str, key: &str, size: u64, etag: Arc<str>) {
        let object = Object { size, modified: SystemTime::now(), etag };
        let mut buckets = lock(&self.buckets);
        if !buckets.contains_key(bucket) {
            buckets.insert(bucket.to_owned(), BTreeMap::new());
        }
        if let Some(objects) = buckets.get_mut(bucket) {
            objects.insert(key.into(), object);
        }
    }

    /// The sums of `size` zeros, computed once.
    fn sums(&self, size: u64) -> Arc<Sums> {
        if let Some(known) = lock(&self.sums).get(&size) {
            return Arc::clone(known);
        }
        let mut md5 = Md5::new();
        let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        for at in (0..size).step_by(ZEROS.len()) {
            let bytes = &ZEROS[..ZEROS.len().min((size - at) as usize)];
            md5.update(bytes);
            crc.update(bytes);
        }
        let md5: [u8; 16] = md5.finalize().into();
        let etag = format!("\"{:032x}\"", u128::from_be_bytes(md5)).into();
        let crc64nvme = BASE64_STANDARD.encode(crc.finalize().to_be_bytes());
        let sums = Arc::new(Sums { md5, etag, crc64nvme });
        lock(&self.sums).insert(size, Arc::clone(&sums));
        sums
    }

    fn complete(&self, ask: &Ask) -> String {
        let parts = lock(&self.uploads).remove(&ask.number("uploadId")).unwrap_or_default();
        let mut whole = Md5::new();
        parts.values().for_each(|size| whole.update(self.sums(*size).md5));
        let md5 = u128::from_be_bytes(whole.finalize().into());
        let etag = format!("\"{md5:032x}-{}\"", parts.len());
        self.keep(&ask.bucket, &ask.key, parts.values().sum(), etag.as_str().into());
        format!(
            "<CompleteMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><ETag>{etag}</ETag>\
             </CompleteMultipartUploadResult>",
            ask.bucket,
            encode(&ask.key)
        )
    }

    fn delete(&self, ask: &Ask, body: &str) -> String {
        let mut answer = String::from("<DeleteResult>");
        let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        for escaped in keys {
            let key = quick_xml::escape::unescape(escaped).unwrap_or_default();
            if let Some(objects) = lock(&self.buckets).get_mut(&ask.bucket) {
                objects.remove(&*key);
            }
            answer.push_str(&format!("<Deleted><Key>{escaped}</Key></Deleted>"));
        }
        answer + "</DeleteResult>"
    }

    fn get(&self, ask: &Ask) -> Answer {
        let found = lock(&self.buckets).get(&ask.bucket).and_then(|b| b.get(&*ask.key).cloned());
        let Some(object) = found else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
        let header = |name: &str| ask.headers.get(name).and_then(|value| value.to_str().ok());
        let is_as_asked = |etag: &str| etag.trim_matches('"') == object.etag.trim_matches('"');
        if !header("if-match").is_none_or(is_as_asked) {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let last = object.size.saturating_sub(1);
        let range = range.map(|(first, end)| {
            (first.parse().unwrap_or(0), end.parse().unwrap_or(last).min(last))
        });
        let mut answer = Response::builder()
            .header("etag", &*object.etag)
            .header("last-modified", httpdate::fmt_http_date(object.modified))
            .header("accept-ranges", "bytes");
        let len = match range {
            Some((first, last)) if first <= last && first < object.size => {
                let range = format!("bytes {first}-{last}/{}", object.size);
                answer = answer.status(206).header("content-range", range);
                last - first + 1
            }
            Some(_) => return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            None => object.size,
        };
        if range.is_none() && header("x-amz-checksum-mode").is_some() {
            answer = answer
                .header("x-amz-checksum-crc64nvme", &self.sums(object.size).crc64nvme)
                .header("x-amz-checksum-type", "FULL_OBJECT");
        }
        if ask.method == Method::HEAD {
            answer = answer.header("content-length", len);
            return answer.body(Either::Left(Full::default())).expect("plain headers");
        }
        self.served.fetch_add(len, Relaxed);
        answer.body(Either::Right(Zeros(len))).expect("plain headers")
    }

    /// A page of a listing, in either version.
    fn list(&self, ask: &Ask) -> String {
        let get = |name| ask.query.get(name).map_or("", String::as_str);
        let is_v2 = ask.query.contains_key("list-type");
        let (prefix, delimiter) = (get("prefix"), get("delimiter"));
        let most = ask.query.get("max-keys").and_then(|n| n.parse().ok()).unwrap_or(1_000);
        let url = get("encoding-type") == "url";
        let shown = |key: &str| match url {
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
        let nothing = BTreeMap::new();
        let objects = buckets.get(&ask.bucket).unwrap_or(&nothing);
        // What begins with a common prefix is passed over in one step: beyond its last key.
        let mut begin = match after.as_str() {
            "" => Bound::Included(prefix.to_owned()),
            after if after < prefix => Bound::Included(prefix.to_owned()),
            after if !delimiter.is_empty() && after.ends_with(delimiter) => {
                Bound::Excluded(format!("{after}\u{10ffff}"))
            }
            after => Bound::Excluded(after.to_owned()),
        };
        'pages: loop {
            let from = (begin.as_ref().map(String::as_str), Bound::Unbounded);
            let mut range = objects.range::<str, _>(from);
            loop {
                let Some((key, object)) = range.next() else { break 'pages };
                let Some(rest) = key.strip_prefix(prefix) else { break 'pages };
                if count == most {
                    is_truncated = true;
                    break 'pages;
                }
                count += 1;
                if !delimiter.is_empty()
                    && let Some(at) = rest.find(delimiter)
                {
                    after = key[..prefix.len() + at + delimiter.len()].to_owned();
                    prefixes.push_str(&format!(
                        "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                        shown(&after)
                    ));
                    begin = Bound::Excluded(format!("{after}\u{10ffff}"));
                    continue 'pages;
                }
                let time = OffsetDateTime::from(object.modified).replace_nanosecond(0);
                let time = time.ok().and_then(|time| time.format(&Rfc3339).ok());
                contents.push_str(&format!(
                    "<Contents><Key>{}</Key><LastModified>{}</LastModified>\
                     <ETag>&quot;{}&quot;</ETag><Size>{}</Size>\
                     <StorageClass>STANDARD</StorageClass></Contents>",
                    shown(key),
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
            (true, false) => format!("<NextMarker>{}</NextMarker>", shown(&after)),
        };
        let encoding = if url { "<EncodingType>url</EncodingType>" } else { "" };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name>\
             <Prefix>{}</Prefix><Delimiter>{}</Delimiter><MaxKeys>{most}</MaxKeys>{encoding}\
             <KeyCount>{count}</KeyCount><IsTruncated>{is_truncated}</IsTruncated>{next}\
             {contents}{prefixes}</ListBucketResult>",
            ask.bucket,
            shown(prefix),
            shown(delimiter),
        )
    }
}

impl Ask {
    fn number(&self, name: &str) -> u64 {
        self.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// A body of as many zeros.
struct Zeros(u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let now = self.0.min(ZEROS.len() as u64);
        self.0 -= now;
        let data = Bytes::from_static(&ZEROS[..now as usize]);
        Poll::Ready((now > 0).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(body)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/xml"));
    answer
}

fn error(status: StatusCode, code: &str) -> Answer {
    text(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

fn with_etag(mut answer: Answer, etag: &str) -> Answer {
    if let Ok(etag) = etag.parse() {
        answer.headers_mut().insert("etag", etag);
    }
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', "%20")).decode_utf8_lossy().into_owned()
}

/// As S3 encodes keys on request.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}
