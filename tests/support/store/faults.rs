//! The HTTP side of the store: it logs each request, plays the faults that a test has scripted,
//! and hands the rest to the S3 service.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use s3s::service::S3Service;

use super::{Payload, Shared, Store, http_date};

/// One request that the store has seen.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// S3's name of the operation, `PutObject` for instance.
    pub operation: &'static str,
    pub method: String,
    /// The path as it was sent, percent-encoded.
    pub path: String,
    pub bucket: String,
    /// The decoded key; empty when the request is not about an object.
    pub key: String,
    /// The decoded query.
    pub query: BTreeMap<String, String>,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// 0 as long as there is no answer, and when the connection was closed instead.
    pub status: u16,
    /// Which TCP connection brought it; the first one is 1.
    pub connection: usize,
    /// How many requests were being answered when it came, itself included.
    pub under_way: usize,
}

impl Request {
    fn read(parts: &Parts, connection: usize, under_way: usize) -> Request {
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
        let copy = headers.contains_key("x-amz-copy-source");
        Request {
            operation: operation(&parts.method, bucket, key, &query, copy),
            method: parts.method.to_string(),
            path: path.to_owned(),
            bucket: decode(bucket),
            key: decode(key),
            query,
            headers,
            status: 0,
            connection,
            under_way,
        }
    }

    /// The region that the request is signed for.
    fn region(&self) -> Option<&str> {
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

/// S3's name for a request. The S3 service knows it too, but not before the signature is checked.
fn operation(
    method: &Method,
    bucket: &str,
    key: &str,
    query: &BTreeMap<String, String>,
    copy: bool,
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
        ("PUT", false, false) if has("uploadId") && copy => "UploadPartCopy",
        ("PUT", false, false) if has("uploadId") => "UploadPart",
        ("PUT", false, false) if copy => "CopyObject",
        ("PUT", false, false) => "PutObject",
        ("DELETE", false, false) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", false, false) => "DeleteObject",
        ("POST", false, false) if has("uploads") => "CreateMultipartUpload",
        ("POST", false, false) if has("uploadId") => "CompleteMultipartUpload",
        _ => "Unknown",
    }
}

type When = Arc<dyn Fn(&Request) -> bool + Send + Sync>;
type Run = Arc<dyn Fn(&Store) + Send + Sync>;

/// Something that goes wrong: which requests it hits, and what then happens to them.
///
/// `Fault::on("PutObject").key("a/b").skip(1).times(2).status(503, "SlowDown")` lets the first PUT
/// of `a/b` pass and answers the two after it with an error. Without `times` it hits always.
/// `delay`, `run` and `flip_request_body` go together with any other; of the rest, the last one
/// named counts.
#[derive(Clone)]
pub struct Fault {
    operation: String,
    key: Option<String>,
    part: Option<String>,
    when: Option<When>,
    skip: usize,
    times: usize,
    delay: Duration,
    run: Option<Run>,
    flip_request: Option<usize>,
    unread: bool,
    headers: Vec<(String, String)>,
    outcome: Outcome,
}

#[derive(Clone)]
enum Outcome {
    AsUsual,
    Status { status: u16, code: String, processed: bool },
    Close { processed: bool },
    Refuse(Option<Duration>),
    Cut(usize),
    Stall(usize, Option<Duration>),
    Flip(usize),
    ContentLength(u64),
    Replace(Bytes),
    Truncate(usize),
    InChunks(Bytes, bool),
}

impl Fault {
    /// Hits the requests of one operation, by S3's name of it; `"*"` is any.
    pub fn on(operation: &str) -> Fault {
        Fault {
            operation: operation.to_owned(),
            key: None,
            part: None,
            when: None,
            skip: 0,
            times: usize::MAX,
            delay: Duration::ZERO,
            run: None,
            flip_request: None,
            unread: false,
            headers: Vec::new(),
            outcome: Outcome::AsUsual,
        }
    }

    /// Only on this key.
    pub fn key(mut self, key: &str) -> Fault {
        self.key = Some(key.to_owned());
        self
    }

    /// Only on this part of a multipart upload.
    pub fn part(mut self, number: i32) -> Fault {
        self.part = Some(number.to_string());
        self
    }

    /// Only on requests that this says yes to.
    pub fn when(mut self, when: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Fault {
        self.when = Some(Arc::new(when));
        self
    }

    /// Lets the first `count` matching requests pass.
    pub fn skip(mut self, count: usize) -> Fault {
        self.skip = count;
        self
    }

    /// Hits `count` requests, then no more.
    pub fn times(mut self, count: usize) -> Fault {
        self.times = count;
        self
    }

    /// Waits before anything else.
    pub fn delay(mut self, delay: Duration) -> Fault {
        self.delay = delay;
        self
    }

    /// Calls `run` before the request is processed, on a thread of its own, so that it may change
    /// the store or the file system, or block until the test lets it go.
    pub fn run(mut self, run: impl Fn(&Store) + Send + Sync + 'static) -> Fault {
        self.run = Some(Arc::new(run));
        self
    }

    /// Flips a bit of the request's body before the store sees it, as a bad line or bad memory would.
    pub fn flip_request_body(mut self, at: usize) -> Fault {
        self.flip_request = Some(at);
        self
    }

    /// Answers (or closes) without reading the request's body first.
    pub fn unread(mut self) -> Fault {
        self.unread = true;
        self
    }

    /// Adds a header to the answer, or replaces one: `Retry-After`, for instance.
    pub fn header(mut self, name: &str, value: &str) -> Fault {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers with an error; the request has no effect.
    pub fn status(self, status: u16, code: &str) -> Fault {
        self.outcome(Outcome::Status { status, code: code.to_owned(), processed: false })
    }

    /// Answers with an error although the request was carried out.
    pub fn status_after(self, status: u16, code: &str) -> Fault {
        self.outcome(Outcome::Status { status, code: code.to_owned(), processed: true })
    }

    /// Closes the connection without an answer; the request has no effect.
    pub fn close(self) -> Fault {
        self.outcome(Outcome::Close { processed: false })
    }

    /// Closes the connection without an answer although the request was carried out.
    pub fn close_after(self) -> Fault {
        self.outcome(Outcome::Close { processed: true })
    }

    /// Closes this connection, all others and the port: new ones are refused from now on until some
    /// time has passed or, if none is named, until the faults are cleared. The request has no effect.
    pub fn refuse(self, time: Option<Duration>) -> Fault {
        self.outcome(Outcome::Refuse(time))
    }

    /// Closes the connection after `at` bytes of the answer's body; Content-Length says more.
    pub fn cut_body(self, at: usize) -> Fault {
        self.outcome(Outcome::Cut(at))
    }

    /// Sends `at` bytes of the answer's body, the rest after a while, or never.
    pub fn stall_body(self, at: usize, pause: Option<Duration>) -> Fault {
        self.outcome(Outcome::Stall(at, pause))
    }

    /// Flips a bit of the answer's body.
    pub fn flip_body(self, at: usize) -> Fault {
        self.outcome(Outcome::Flip(at))
    }

    /// States a Content-Length of `length`. If the body is longer, its end is not sent; if it is
    /// shorter, the connection is closed after it.
    pub fn content_length(self, length: u64) -> Fault {
        self.outcome(Outcome::ContentLength(length))
    }

    /// Replaces the answer's body, with its Content-Length; status and headers stay.
    pub fn body(self, body: impl Into<Bytes>) -> Fault {
        self.outcome(Outcome::Replace(body.into()))
    }

    /// Shortens the answer's body to `length` bytes, with a Content-Length that fits.
    pub fn truncate_body(self, length: usize) -> Fault {
        self.outcome(Outcome::Truncate(length))
    }

    /// Replaces the answer's body by one whose length is not said before: chunks, and then their end unless
    /// the connection is closed before it.
    pub fn in_chunks(self, body: impl Into<Bytes>, ends: bool) -> Fault {
        self.outcome(Outcome::InChunks(body.into(), ends))
    }

    /// Answers 200 with an error in the body, as S3 may for CompleteMultipartUpload and CopyObject.
    pub fn error_in_ok(self, code: &str) -> Fault {
        self.status(200, code)
    }

    fn outcome(mut self, outcome: Outcome) -> Fault {
        self.outcome = outcome;
        self
    }

    fn matches(&self, request: &Request) -> bool {
        (self.operation == "*" || self.operation == request.operation)
            && self.key.as_ref().is_none_or(|key| *key == request.key)
            && (self.part.is_none() || self.part.as_ref() == request.query.get("partNumber"))
            && self.when.as_ref().is_none_or(|when| when(request))
    }

    /// Whether the request goes on to the S3 service.
    fn processes(&self) -> bool {
        !matches!(
            self.outcome,
            Outcome::Status { processed: false, .. }
                | Outcome::Close { processed: false }
                | Outcome::Refuse(_)
        )
    }
}

/// Tells how many requests a fault has hit so far.
#[derive(Clone, Debug)]
pub struct Hits(Arc<AtomicUsize>);

impl Hits {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The faults of a store, in the order in which they are tried; the first that hits is played.
#[derive(Default)]
pub(super) struct Faults(Vec<Armed>);

struct Armed {
    fault: Fault,
    matched: usize,
    hits: Hits,
}

impl Faults {
    pub fn add(&mut self, fault: Fault) -> Hits {
        let hits = Hits(Arc::default());
        self.0.push(Armed { fault, matched: 0, hits: hits.clone() });
        hits
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn take(&mut self, request: &Request) -> Option<Fault> {
        for armed in &mut self.0 {
            if armed.hits.count() < armed.fault.times && armed.fault.matches(request) {
                armed.matched += 1;
                if armed.matched > armed.fault.skip {
                    armed.hits.0.fetch_add(1, Ordering::SeqCst);
                    return Some(armed.fault.clone());
                }
            }
        }
        None
    }
}

/// The requests seen. Numbered, as a test may clear the log while one is under way.
#[derive(Default)]
pub(super) struct Log {
    pub requests: Vec<Request>,
    cleared: usize,
}

impl Log {
    fn add(&mut self, request: Request) -> usize {
        self.requests.push(request);
        self.cleared + self.requests.len() - 1
    }

    fn answered(&mut self, number: usize, status: StatusCode) {
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

/// What makes hyper close the connection: no answer is to be given.
#[derive(Debug)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for Closed {}

/// Counts a request until it is answered.
struct UnderWay {
    shared: Arc<Shared>,
    count: usize,
}

impl UnderWay {
    fn begin(shared: Arc<Shared>) -> UnderWay {
        let count = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        UnderWay { shared, count }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) async fn answer(
    shared: Arc<Shared>,
    service: S3Service,
    connection: usize,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Reply>, Closed> {
    let under_way = UnderWay::begin(shared.clone());
    let (mut parts, incoming) = request.into_parts();
    let request = Request::read(&parts, connection, under_way.count);
    let head = parts.method == Method::HEAD;
    let (number, fault, misplaced) = {
        let mut state = shared.state();
        let number = state.log.add(request.clone());
        (
            number,
            state.faults.take(&request),
            state.misplaced(&request.bucket, request.operation, request.region()),
        )
    };
    let fault = fault.unwrap_or_else(|| Fault::on("*"));

    // Not at all if there is none: even the shortest sleep takes a millisecond.
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    let mut body =
        if fault.unread { Bytes::new() } else { collect(incoming, &parts.headers).await? };
    if let Some(run) = fault.run.clone() {
        let store = Store::without_server(&shared);
        // Off this thread, which serves all connections.
        let ran = tokio::task::spawn_blocking(move || run(&store)).await;
        ran.expect("a fault's callback panicked");
    }
    if let Some(at) = fault.flip_request {
        body = flipped(&body, at);
    }

    let mut response = if !fault.processes() {
        // Its outcome is made below.
        hyper::Response::new(Bytes::new())
    } else if let Some((status, region, xml)) = misplaced {
        let mut response = hyper::Response::new(Bytes::from(xml));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        if let Some(region) = region {
            response.headers_mut().insert("x-amz-bucket-region", region);
        }
        response
    } else {
        parts.extensions.insert(Payload(body.clone()));
        let request = hyper::Request::from_parts(parts, s3s::Body::from(body));
        let response = service.call(request).await.map_err(|_| Closed)?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        hyper::Response::from_parts(parts, body)
    };

    if let Outcome::Status { status, code, .. } = &fault.outcome {
        response = hyper::Response::new(Bytes::from(error_xml(code, "A fault was asked for.", "")));
        *response.status_mut() =
            StatusCode::from_u16(*status).expect("a fault's status is a number from 100 to 999");
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    }
    if matches!(fault.outcome, Outcome::Close { .. }) {
        return Err(Closed);
    }
    if let Outcome::Refuse(time) = fault.outcome {
        if let Some(time) = time {
            let shared = shared.clone();
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                shared.listen();
            });
        }
        // Ends this very task, with its connection.
        shared.hang_up().await;
        return Err(Closed);
    }

    let now = {
        let mut state = shared.state();
        state.log.answered(number, response.status());
        state.now()
    };
    let headers = response.headers_mut();
    headers.insert(header::DATE, http_date(now));
    headers.insert(header::SERVER, HeaderValue::from_static("AmazonS3"));
    headers.insert("x-amz-request-id", HeaderValue::from(number));
    for (name, value) in &fault.headers {
        let name = HeaderName::try_from(name).expect("a fault's header has a valid name");
        headers.insert(
            name,
            HeaderValue::try_from(value).expect("a fault's header has a valid value"),
        );
    }

    // An answer of these kinds has no body, whatever the service made.
    if head
        || response.status() == StatusCode::NOT_MODIFIED
        || response.status() == StatusCode::NO_CONTENT
    {
        if !head {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        return Ok(response.map(|_| Reply::whole(Bytes::new())));
    }
    let (mut parts, body) = response.into_parts();
    let mut state_length =
        |length: u64| parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let whole = body.len();
    let reply = match fault.outcome {
        Outcome::Cut(at) => {
            state_length(whole as u64);
            Reply::steps([Step::Send(body.slice(..at.min(whole))), FLUSH, Step::Abort])
        }
        Outcome::Stall(at, pause) => {
            state_length(whole as u64);
            let (start, rest) = (body.slice(..at.min(whole)), body.slice(at.min(whole)..));
            Reply::steps([Step::Send(start), Step::Wait(pause), Step::Send(rest)])
        }
        Outcome::ContentLength(length) => {
            state_length(length);
            Reply::steps([Step::Send(body), FLUSH, Step::Abort])
        }
        Outcome::Flip(at) => Reply::whole(flipped(&body, at)),
        Outcome::Replace(body) => {
            state_length(body.len() as u64);
            Reply::whole(body)
        }
        Outcome::Truncate(length) => {
            state_length(length.min(whole) as u64);
            Reply::whole(body.slice(..length.min(whole)))
        }
        Outcome::InChunks(body, ends) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            let end = if ends { Vec::new() } else { vec![FLUSH, Step::Abort] };
            Reply::steps([Step::Send(body)].into_iter().chain(end))
        }
        Outcome::AsUsual | Outcome::Status { .. } | Outcome::Close { .. } | Outcome::Refuse(_) => {
            Reply::whole(body)
        }
    };
    Ok(hyper::Response::from_parts(parts, reply))
}

/// Reads a request's body into one piece, with no reallocation on the way if its length is known.
async fn collect(mut incoming: Incoming, headers: &HeaderMap) -> Result<Bytes, Closed> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = BytesMut::with_capacity(length.unwrap_or(0));
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(|_| Closed)?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    Ok(body.freeze())
}

fn flipped(body: &Bytes, at: usize) -> Bytes {
    let mut bytes = body.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes.into()
}

/// An error as S3 writes it; `more` is XML that only some errors have.
pub(super) fn error_xml(code: &str, message: &str, more: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message>{more}<RequestId>0</RequestId></Error>"
    )
}

/// The body of an answer, which may misbehave.
pub(super) struct Reply {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Left out where the headers lie about it, as hyper would check it against them.
    length: Option<u64>,
}

/// hyper throws away what it has buffered when the body fails; a pause lets it send that first.
const FLUSH: Step = Step::Wait(Some(Duration::from_millis(5)));

enum Step {
    Send(Bytes),
    /// For ever, if there is no duration.
    Wait(Option<Duration>),
    Abort,
}

impl Reply {
    fn whole(body: Bytes) -> Reply {
        let length = Some(body.len() as u64);
        Reply { steps: VecDeque::from([Step::Send(body)]), waiting: None, length }
    }

    fn steps(steps: impl IntoIterator<Item = Step>) -> Reply {
        Reply { steps: steps.into_iter().collect(), waiting: None, length: None }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                if waiting.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.waiting = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Send(body)) if body.is_empty() => {}
                Some(Step::Send(body)) => return Poll::Ready(Some(Ok(Frame::data(body)))),
                Some(Step::Wait(Some(pause))) => {
                    self.waiting = Some(Box::pin(tokio::time::sleep(pause)))
                }
                Some(Step::Wait(None)) => {
                    self.steps.push_front(Step::Wait(None));
                    return Poll::Pending;
                }
                Some(Step::Abort) => return Poll::Ready(Some(Err(Closed))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
