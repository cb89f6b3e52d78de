//! An S3 store in memory, for tests: served over real HTTP (or HTTPS) on a port of its own, with
//! signatures and checksums checked as S3 does, and with faults on demand.
//!
//! ```ignore
//! let store = Store::start();
//! store.put("a/b", b"body");
//! store.fault(Fault::on("GetObject").key("a/b").times(1).status(503, "SlowDown"));
//! // ... point a client at store.endpoint(), BUCKET, ACCESS_KEY and SECRET_KEY ...
//! assert_eq!(store.count("GetObject"), 2);
//! ```
//!
//! The store answers on one thread, which ends when the last `Store` is dropped.

// Every test program uses a part of this.
#![allow(dead_code, unused_imports)]

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{StatusCode, server::conn::http1};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::crypto::Checksum as _;
use s3s::dto::{self, ETag, ETagCondition, Timestamp, TimestampFormat};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders, crypto, s3_error,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle as Task, JoinSet};

// By path, so that they are found wherever this file is included from.
#[path = "store/faults.rs"]
mod faults;
#[path = "store/tls.rs"]
mod tls;

pub use faults::{Fault, Hits, Request};

pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// The bucket that every store starts with.
pub const BUCKET: &str = "bucket";
/// The region of a bucket that none was set for. Such a bucket takes requests signed for any.
pub const REGION: &str = "us-east-1";

/// S3 wants all parts of a multipart upload but the last to be this large.
const MIN_PART_SIZE: usize = 5 << 20;

/// A running store. Clones are the same store; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// None in the `Store` that a fault's callback gets, which must not keep the server alive.
    server: Option<Arc<Server>>,
}

/// An object, as the store keeps it and as a test may forge it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub body: Bytes,
    /// A fraction of a second is shown in listings, as some stores do, but not in headers.
    pub last_modified: SystemTime,
    /// Without the quotes.
    pub etag: String,
    pub checksum: Option<Checksum>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

impl Object {
    /// What a plain PUT makes of `body`, at this very second of real time.
    pub fn new(body: impl Into<Bytes>) -> Object {
        let body = body.into();
        Object {
            last_modified: whole_seconds(SystemTime::now()),
            etag: hex(&crypto::Md5::checksum(&body)),
            checksum: Some(Checksum::of("CRC64NVME", &body)),
            content_type: None,
            content_encoding: None,
            metadata: BTreeMap::new(),
            body,
        }
    }

    pub fn last_modified(mut self, time: SystemTime) -> Object {
        self.last_modified = time;
        self
    }

    pub fn etag(mut self, etag: &str) -> Object {
        self.etag = etag.to_owned();
        self
    }

    pub fn no_checksum(mut self) -> Object {
        self.checksum = None;
        self
    }
}

/// A checksum that S3 keeps with an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Checksum {
    /// CRC32, CRC32C, CRC64NVME, SHA1 or SHA256.
    pub algorithm: &'static str,
    /// In base64, with `-N` after it if it was made of the checksums of N parts.
    pub value: String,
    /// S3's COMPOSITE, made of the checksums of the parts; else FULL_OBJECT.
    pub composite: bool,
}

impl Checksum {
    pub fn of(algorithm: &'static str, body: &[u8]) -> Checksum {
        Checksum { algorithm, value: BASE64.encode(digest(algorithm, body)), composite: false }
    }

    fn kind(&self) -> dto::ChecksumType {
        let kind = if self.composite {
            dto::ChecksumType::COMPOSITE
        } else {
            dto::ChecksumType::FULL_OBJECT
        };
        dto::ChecksumType::from_static(kind)
    }
}

/// The order in which a store lists its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ListOrder {
    /// By the bytes of the key: S3's.
    Bytes,
    /// A directory's content together, that is with `/` before all other bytes: SeaweedFS's.
    Paths,
}

/// How a request is turned down that is signed for another region than the bucket's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WrongRegion {
    /// 400 AuthorizationHeaderMalformed: what the endpoint says that serves all regions.
    Malformed,
    /// The same, but without a header that names the region: what Garage and MinIO say.
    Unheaded,
    /// 301 PermanentRedirect: what another region's endpoint says.
    Redirect,
}

impl Store {
    /// Starts a store that is served over http.
    pub fn start() -> Store {
        Store::serve(None)
    }

    /// Starts a store that is served over https. A client has to trust `ca_pem`.
    pub fn start_tls() -> Store {
        Store::serve(Some(tls::new()))
    }

    fn serve(tls: Option<tls::Tls>) -> Store {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let port = socket(0);
        let address = port.local_addr().expect("a bound socket has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            endpoint: format!("{scheme}://{address}"),
            tls,
            runtime: runtime.handle().clone(),
            port,
            serving: Mutex::default(),
            connections: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            state: Mutex::new(State::new()),
        });
        shared.listen();

        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // An error is as good: the sender is gone.
            let _ = runtime.block_on(stopped);
            // Ends all connections, and does not wait for a callback that hangs.
            runtime.shutdown_background();
        };
        let thread =
            std::thread::Builder::new().name("store".to_owned()).spawn(run).expect("a thread");
        let server = Server { stop: Some(stop), thread: Some(thread) };
        Store { shared, server: Some(Arc::new(server)) }
    }

    fn without_server(shared: &Arc<Shared>) -> Store {
        Store { shared: shared.clone(), server: None }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        self.shared.endpoint.clone()
    }

    /// The CA to trust, as PEM.
    pub fn ca_pem(&self) -> String {
        self.shared.tls.as_ref().expect("the store was started with start_tls").ca_pem.clone()
    }

    // Buckets

    pub fn create_bucket(&self, bucket: &str) {
        let mut state = self.state();
        let bucket_of_now = Bucket::new(state.now());
        state.buckets.entry(bucket.to_owned()).or_insert(bucket_of_now);
    }

    pub fn remove_bucket(&self, bucket: &str) {
        self.state().buckets.remove(bucket);
    }

    /// Turns down requests to `bucket` that are signed for another region.
    pub fn set_bucket_region(&self, bucket: &str, region: &str) {
        self.bucket(bucket, |bucket| bucket.region = Some(region.to_owned()));
    }

    /// How they are turned down; `WrongRegion::Malformed` if never set.
    pub fn set_wrong_region(&self, answer: WrongRegion) {
        self.state().wrong_region = answer;
    }

    // Objects

    /// Puts an object into `BUCKET`, as a plain upload at the store's time would.
    pub fn put(&self, key: &str, body: impl AsRef<[u8]>) {
        self.put_in(BUCKET, key, body);
    }

    pub fn put_in(&self, bucket: &str, key: &str, body: impl AsRef<[u8]>) {
        let mut object = Object::new(Bytes::copy_from_slice(body.as_ref()));
        {
            let state = self.state();
            object.last_modified = whole_seconds(state.now());
            object.checksum = object.checksum.filter(|_| state.default_checksum);
        }
        self.put_object_in(bucket, key, object);
    }

    /// Puts an object into `BUCKET` exactly as given.
    pub fn put_object(&self, key: &str, object: Object) {
        self.put_object_in(BUCKET, key, object);
    }

    pub fn put_object_in(&self, bucket: &str, key: &str, object: Object) {
        self.bucket(bucket, |bucket| bucket.objects.insert(key.to_owned(), object));
    }

    pub fn get(&self, key: &str) -> Option<Object> {
        self.get_in(BUCKET, key)
    }

    pub fn get_in(&self, bucket: &str, key: &str) -> Option<Object> {
        self.bucket(bucket, |bucket| bucket.objects.get(key).cloned())
    }

    /// The keys in `BUCKET`, in byte order.
    pub fn keys(&self) -> Vec<String> {
        self.keys_in(BUCKET)
    }

    pub fn keys_in(&self, bucket: &str) -> Vec<String> {
        self.bucket(bucket, |bucket| bucket.objects.keys().cloned().collect())
    }

    pub fn remove(&self, key: &str) -> Option<Object> {
        self.remove_in(BUCKET, key)
    }

    pub fn remove_in(&self, bucket: &str, key: &str) -> Option<Object> {
        self.bucket(bucket, |bucket| bucket.objects.remove(key))
    }

    /// The multipart uploads to `BUCKET` that are neither completed nor aborted: key and upload id.
    pub fn uploads(&self) -> Vec<(String, String)> {
        self.bucket(BUCKET, |bucket| {
            bucket.uploads.values().map(|u| (u.key.clone(), u.id.clone())).collect()
        })
    }

    /// Starts a multipart upload to `BUCKET` and leaves it there, as a killed client does.
    pub fn create_upload(&self, key: &str) -> String {
        self.state().create_upload(BUCKET, Upload::new(key)).expect("the first bucket is there")
    }

    // Time

    /// Stops the store's clock at `time`. It gives LastModified to new objects and Date to answers.
    /// Signatures are checked against real time all the same.
    pub fn set_clock(&self, time: SystemTime) {
        self.state().clock = Clock::Stopped(time);
    }

    /// Moves the store's clock by so many seconds from where it is.
    pub fn shift_clock(&self, seconds: i64) {
        let mut state = self.state();
        state.clock = match state.clock {
            Clock::Running(offset) => Clock::Running(offset + seconds),
            Clock::Stopped(time) => Clock::Stopped(shifted(time, seconds)),
        };
    }

    /// Sets the store's clock to real time again.
    pub fn reset_clock(&self) {
        self.state().clock = Clock::Running(0);
    }

    /// What the store's clock shows.
    pub fn now(&self) -> SystemTime {
        self.state().now()
    }

    // Who may do what

    /// Accepts another pair of keys.
    pub fn allow_key(&self, access_key: &str, secret_key: &str) {
        let key = Key { secret: secret_key.to_owned(), token: None };
        self.state().keys.insert(access_key.to_owned(), key);
    }

    /// Accepts temporary credentials: a pair of keys with a session token, which has to be sent.
    pub fn allow_session(&self, access_key: &str, secret_key: &str, token: &str) {
        let key = Key { secret: secret_key.to_owned(), token: Some(token.to_owned()) };
        self.state().keys.insert(access_key.to_owned(), key);
    }

    /// Does not know this access key any more.
    pub fn revoke_key(&self, access_key: &str) {
        self.state().keys.remove(access_key);
    }

    /// Accepts requests that are not signed.
    pub fn allow_anonymous(&self) {
        self.state().anonymous = true;
    }

    /// Refuses to delete this key, in any bucket.
    pub fn deny_delete(&self, key: &str) {
        self.state().undeletable.insert(key.to_owned());
    }

    // How the store behaves

    /// How much a listing gives at most per page: 1,000 in S3 and here, if never set.
    pub fn set_page_size(&self, size: usize) {
        self.state().page_size = size;
    }

    pub fn set_list_order(&self, order: ListOrder) {
        self.state().list_order = order;
    }

    /// How large all parts but the last have to be: 5 MiB if never set; 0 takes any.
    pub fn set_min_part_size(&self, size: usize) {
        self.state().min_part_size = size;
    }

    /// Whether an upload that brings no checksum gets a CRC64NVME, as in S3. Other stores give it
    /// none.
    pub fn set_default_checksum(&self, on: bool) {
        self.state().default_checksum = on;
    }

    // What happened

    /// All requests since the start or the last `clear_requests`, in the order they arrived in.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.requests.clone()
    }

    /// Those of one operation.
    pub fn requests_of(&self, operation: &str) -> Vec<Request> {
        self.state()
            .log
            .requests
            .iter()
            .filter(|request| request.operation == operation)
            .cloned()
            .collect()
    }

    pub fn clear_requests(&self) {
        self.state().log.clear();
    }

    /// How many requests there were of one operation, also of those that failed.
    pub fn count(&self, operation: &str) -> usize {
        self.state().log.requests.iter().filter(|request| request.operation == operation).count()
    }

    /// How many TCP connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Atomic::SeqCst)
    }

    // Faults

    /// Adds a fault to those that are tried on each request, in this order.
    pub fn fault(&self, fault: Fault) -> Hits {
        self.state().faults.add(fault)
    }

    /// Ends all faults. Where one has closed the port, it is open again.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
        self.shared.listen();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    fn bucket<T>(&self, name: &str, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut state = self.state();
        act(state
            .buckets
            .get_mut(name)
            .unwrap_or_else(|| panic!("the store has no bucket {name:?}")))
    }
}

// The server

struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread may be gone, after a panic.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            // A callback may hold the last `Store`; then this is that very thread.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// A socket on a port of this machine, 0 for a free one. It shares the port with others of its kind, and
/// as long as none listens, connections are refused.
fn socket(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("a port can be shared");
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).expect("a port");
    socket
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut service = S3ServiceBuilder::new(Backend(shared.clone()));
    service.set_auth(Auth(shared.clone()));
    service.set_access(Access(shared.clone()));
    let service = service.build();
    let mut connections = JoinSet::new();
    // Dropped before the connections, so that nobody whose connection was closed finds it still open.
    let listener = listener;
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely; some will be closed.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = shared.connections.fetch_add(1, Atomic::SeqCst) + 1;
        stream.set_nodelay(true).expect("a TCP socket takes TCP_NODELAY");
        let (shared, service) = (shared.clone(), service.clone());
        connections.spawn(async move {
            match shared.tls.as_ref().map(|tls| tls.acceptor.clone()) {
                None => converse(stream, number, shared, service).await,
                Some(tls) => {
                    // A handshake fails when the client does not trust us: its affair.
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, number, shared, service).await;
                    }
                }
            }
        });
    }
}

async fn converse<I>(io: I, number: usize, shared: Arc<Shared>, service: S3Service)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let answer =
        service_fn(move |request| faults::answer(shared.clone(), service.clone(), number, request));
    // It ends with an error when a fault has closed it, or the client has.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(io), answer).await;
}

// What the store holds

struct Shared {
    endpoint: String,
    tls: Option<tls::Tls>,
    runtime: tokio::runtime::Handle,
    /// Never listens: it only keeps the port from others while nothing else does.
    port: TcpSocket,
    /// What takes connections, and ends them all when it ends.
    serving: Mutex<Option<Task<()>>>,
    connections: AtomicUsize,
    /// Requests that are being answered.
    under_way: AtomicUsize,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked with the lock held has failed already; the others may go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes connections, if it does not do so already.
    fn listen(self: &Arc<Shared>) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if serving.is_none() {
            let _runtime = self.runtime.enter();
            let port = self.port.local_addr().expect("a bound socket has an address").port();
            let listener = socket(port).listen(1_024).expect("the port is kept for this");
            *serving = Some(tokio::spawn(accept(self.clone(), listener)));
        }
    }

    /// Closes the port, and then all connections: new ones are refused until it is to listen again.
    async fn hang_up(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(serving) = serving {
            serving.abort();
            let _ = serving.await;
        }
    }
}

struct State {
    buckets: BTreeMap<String, Bucket>,
    keys: HashMap<String, Key>,
    anonymous: bool,
    undeletable: HashSet<String>,
    wrong_region: WrongRegion,
    clock: Clock,
    page_size: usize,
    list_order: ListOrder,
    min_part_size: usize,
    default_checksum: bool,
    uploads_created: u64,
    log: faults::Log,
    faults: faults::Faults,
}

struct Key {
    secret: String,
    token: Option<String>,
}

enum Clock {
    /// So many seconds off real time.
    Running(i64),
    Stopped(SystemTime),
}

struct Bucket {
    region: Option<String>,
    created: SystemTime,
    objects: BTreeMap<String, Object>,
    /// By key and the order of creation, as they are listed.
    uploads: BTreeMap<(String, u64), Upload>,
}

impl Bucket {
    fn new(created: SystemTime) -> Bucket {
        Bucket { region: None, created, objects: BTreeMap::new(), uploads: BTreeMap::new() }
    }
}

#[derive(Clone)]
struct Upload {
    key: String,
    id: String,
    number: u64,
    initiated: SystemTime,
    /// If one was asked for.
    algorithm: Option<&'static str>,
    composite: bool,
    content_type: Option<String>,
    content_encoding: Option<String>,
    metadata: BTreeMap<String, String>,
    parts: BTreeMap<i32, Part>,
}

impl Upload {
    fn new(key: &str) -> Upload {
        Upload {
            key: key.to_owned(),
            id: String::new(),
            number: 0,
            initiated: UNIX_EPOCH,
            algorithm: None,
            composite: false,
            content_type: None,
            content_encoding: None,
            metadata: BTreeMap::new(),
            parts: BTreeMap::new(),
        }
    }
}

#[derive(Clone)]
struct Part {
    body: Bytes,
    md5: [u8; 16],
    checksum: Option<Checksum>,
    last_modified: SystemTime,
}

impl State {
    fn new() -> State {
        let key = Key { secret: SECRET_KEY.to_owned(), token: None };
        State {
            buckets: BTreeMap::from([(BUCKET.to_owned(), Bucket::new(SystemTime::now()))]),
            keys: HashMap::from([(ACCESS_KEY.to_owned(), key)]),
            anonymous: false,
            undeletable: HashSet::new(),
            wrong_region: WrongRegion::Malformed,
            clock: Clock::Running(0),
            page_size: 1000,
            list_order: ListOrder::Bytes,
            min_part_size: MIN_PART_SIZE,
            default_checksum: true,
            uploads_created: 0,
            log: faults::Log::default(),
            faults: faults::Faults::default(),
        }
    }

    fn now(&self) -> SystemTime {
        match self.clock {
            Clock::Running(offset) => shifted(SystemTime::now(), offset),
            Clock::Stopped(time) => time,
        }
    }

    fn bucket(&mut self, name: &str) -> S3Result<&mut Bucket> {
        let missing = || s3_error!(NoSuchBucket, "The specified bucket does not exist");
        self.buckets.get_mut(name).ok_or_else(missing)
    }

    fn upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<&mut Upload> {
        let missing = || s3_error!(NoSuchUpload, "The specified upload does not exist.");
        let mut uploads = self.bucket(bucket)?.uploads.values_mut();
        uploads.find(|upload| upload.key == key && upload.id == id).ok_or_else(missing)
    }

    fn create_upload(&mut self, bucket: &str, mut upload: Upload) -> S3Result<String> {
        self.uploads_created += 1;
        upload.number = self.uploads_created;
        // Some stores' ids hold such characters; one that is not encoded in a query breaks.
        upload.id = format!("2~upload+{}/=", upload.number);
        upload.initiated = whole_seconds(self.now());
        let id = upload.id.clone();
        self.bucket(bucket)?.uploads.insert((upload.key.clone(), upload.number), upload);
        Ok(id)
    }

    /// The answer to a request that is signed for another region than the bucket's.
    fn misplaced(
        &self,
        bucket: &str,
        operation: &str,
        signed_for: Option<&str>,
    ) -> Option<(StatusCode, Option<HeaderValue>, String)> {
        let region = self.buckets.get(bucket)?.region.as_deref()?;
        // S3 tells a bucket's location whatever region it is asked in.
        if operation == "GetBucketLocation" || signed_for.is_none_or(|signed| signed == region) {
            return None;
        }
        let signed = signed_for.unwrap_or_default();
        let header = HeaderValue::try_from(region).expect("a region's name is plain text");
        let (status, xml) = match self.wrong_region {
            WrongRegion::Malformed | WrongRegion::Unheaded => {
                let message = format!(
                    "The authorization header is malformed; the region '{signed}' is wrong; expecting '{region}'"
                );
                let more = format!("<Region>{region}</Region>");
                (
                    StatusCode::BAD_REQUEST,
                    faults::error_xml("AuthorizationHeaderMalformed", &message, &more),
                )
            }
            WrongRegion::Redirect => {
                let message = "The bucket you are attempting to access must be addressed using the specified \
                               endpoint. Please send all future requests to this endpoint.";
                let more = format!(
                    "<Endpoint>s3.{region}.amazonaws.com</Endpoint><Bucket>{bucket}</Bucket>"
                );
                (
                    StatusCode::MOVED_PERMANENTLY,
                    faults::error_xml("PermanentRedirect", message, &more),
                )
            }
        };
        let has_header = self.wrong_region != WrongRegion::Unheaded;
        Some((status, has_header.then_some(header), xml))
    }
}

// Who is asking

struct Auth(Arc<Shared>);

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let message = "The AWS Access Key Id you provided does not exist in our records.";
        match self.0.state().keys.get(access_key) {
            Some(key) => Ok(SecretKey::from(key.secret.clone())),
            None => Err(s3_error!(InvalidAccessKeyId, "{message}")),
        }
    }
}

/// Called when the signature is found right, or found missing.
struct Access(Arc<Shared>);

/// A request's body as it was sent, among the request's extensions.
#[derive(Clone)]
struct Payload(Bytes);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        {
            let state = self.0.state();
            match cx.credentials() {
                None if state.anonymous => {}
                None => return Err(s3_error!(AccessDenied, "Access Denied")),
                Some(credentials) => {
                    let token = state
                        .keys
                        .get(&credentials.access_key)
                        .and_then(|key| key.token.as_deref());
                    let sent = cx.headers().get("x-amz-security-token").map(HeaderValue::as_bytes);
                    if token.map(str::as_bytes) != sent {
                        return Err(s3_error!(
                            InvalidToken,
                            "The provided token is malformed or otherwise invalid."
                        ));
                    }
                }
            }
        }
        if matches!(cx.s3_op().name(), "PutObject" | "UploadPart") {
            // The body may be in chunks still; these check it when it is read.
            return Ok(());
        }
        let Some(Payload(body)) = cx.extensions_mut().get::<Payload>().cloned() else {
            return Ok(());
        };
        let headers = cx.headers();
        // s3s would call this one an internal error, and would not notice it without a body.
        let hash = headers.get("x-amz-content-sha256").map(HeaderValue::as_bytes);
        if hash.is_some_and(|hash| {
            hash.len() == 64 && hash != hex(&crypto::Sha256::checksum(&body)).as_bytes()
        }) {
            return Err(payload_mismatch());
        }
        verify_md5(&body, headers)?;
        if cx.s3_op().name() == "DeleteObjects" {
            let checksum = verify(&body, headers)?;
            if checksum.is_none() && !headers.contains_key("content-md5") {
                let message =
                    "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
                return Err(s3_error!(InvalidRequest, "{message}"));
            }
        }
        Ok(())
    }
}

// Bodies and their checksums

const ALGORITHMS: [&str; 5] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

fn algorithm(name: &str) -> S3Result<&'static str> {
    let known = ALGORITHMS.into_iter().find(|known| *known == name);
    known.ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))
}

fn digest(algorithm: &str, body: &[u8]) -> Vec<u8> {
    match algorithm {
        "CRC32" => crypto::Crc32::checksum(body).to_vec(),
        "CRC32C" => crypto::Crc32c::checksum(body).to_vec(),
        "CRC64NVME" => crypto::Crc64Nvme::checksum(body).to_vec(),
        "SHA1" => crypto::Sha1::checksum(body).to_vec(),
        "SHA256" => crypto::Sha256::checksum(body).to_vec(),
        other => panic!("{other} is not one of S3's checksums"),
    }
}

/// Reads a body, in the course of which s3s checks it against `x-amz-content-sha256`.
async fn read(body: Option<dto::StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    match s3s::Body::from(body).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        // s3s keeps the type of this error to itself, so there is only its text to go by.
        Err(error) if format!("{error:?}").contains("Sha256Mismatch") => Err(payload_mismatch()),
        Err(error) if format!("{error:?}").contains("SignatureMismatch") => {
            Err(s3_error!(SignatureDoesNotMatch, "A chunk's signature does not match."))
        }
        Err(error) => Err(s3_error!(IncompleteBody, "The body cannot be read: {error}")),
    }
}

fn payload_mismatch() -> S3Error {
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    let mut error =
        S3Error::with_message(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()), message);
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

fn verify_md5(body: &[u8], headers: &HeaderMap) -> S3Result<()> {
    let Some(sent) = headers.get("content-md5") else { return Ok(()) };
    match BASE64.decode(sent.as_bytes()) {
        Ok(sent) if sent.len() == 16 => {
            if sent != crypto::Md5::checksum(body) {
                return Err(s3_error!(
                    BadDigest,
                    "The Content-MD5 you specified did not match what we received."
                ));
            }
            Ok(())
        }
        _ => Err(s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid.")),
    }
}

/// Checks a body against the `x-amz-checksum-*` header or trailer, and gives it back.
fn verify(body: &[u8], headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut sent = ALGORITHMS.into_iter().filter_map(|algorithm| {
        let value = headers.get(format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase()))?;
        Some((algorithm, String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    let Some((algorithm, value)) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        let message =
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    let name = algorithm.to_ascii_lowercase();
    let computed = digest(algorithm, body);
    match BASE64.decode(&value) {
        Ok(bytes) if bytes == computed => Ok(Some(Checksum { algorithm, value, composite: false })),
        Ok(bytes) if bytes.len() == computed.len() => Err(s3_error!(
            BadDigest,
            "The {algorithm} you specified did not match the calculated checksum."
        )),
        _ => Err(s3_error!(InvalidRequest, "Value for x-amz-checksum-{name} header is invalid.")),
    }
}

/// Reads a body and checks it in all the ways that the request asks for.
async fn read_verified(
    body: Option<dto::StreamingBlob>,
    headers: &HeaderMap,
    trailers: Option<TrailingHeaders>,
) -> S3Result<(Bytes, Option<Checksum>)> {
    let body = read(body).await?;
    verify_md5(&body, headers)?;
    let trailers = trailers.and_then(|trailers| trailers.take()).unwrap_or_default();
    let checksum = match verify(&body, headers)? {
        Some(checksum) => Some(checksum),
        None => verify(&body, &trailers)?,
    };
    if checksum.is_none() && headers.contains_key("x-amz-sdk-checksum-algorithm") {
        let message = "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                       x-amz-trailer headers were found.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    Ok((body, checksum))
}

/// Sets the field of an output or a part that belongs to a checksum, if there is one.
macro_rules! report {
    ($into:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                "CRC32" => $into.checksum_crc32 = value,
                "CRC32C" => $into.checksum_crc32c = value,
                "CRC64NVME" => $into.checksum_crc64nvme = value,
                "SHA1" => $into.checksum_sha1 = value,
                _ => $into.checksum_sha256 = value,
            }
        }
    };
}

/// The checksum that an input or a part holds, by algorithm.
macro_rules! stated {
    ($from:expr, $algorithm:expr) => {
        match $algorithm {
            "CRC32" => $from.checksum_crc32.as_deref(),
            "CRC32C" => $from.checksum_crc32c.as_deref(),
            "CRC64NVME" => $from.checksum_crc64nvme.as_deref(),
            "SHA1" => $from.checksum_sha1.as_deref(),
            _ => $from.checksum_sha256.as_deref(),
        }
    };
}

// Listings

/// What S3 leaves as it is with `encoding-type=url`. A space becomes `+`.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/').remove(b' ');

/// Encodes what a listing says, if it was asked for encoded.
fn encoder(encoding: Option<&dto::EncodingType>) -> S3Result<impl Fn(&str) -> String + use<>> {
    let url = match encoding.map(dto::EncodingType::as_str) {
        None => false,
        Some("url") => true,
        Some(_) => {
            return Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request"));
        }
    };
    Ok(move |text: &str| {
        if url {
            utf8_percent_encode(text, PLAIN).to_string().replace(' ', "+")
        } else {
            text.to_owned()
        }
    })
}

/// What a listing goes on after.
#[derive(Clone, Debug, PartialEq)]
enum After {
    Key(String),
    /// A common prefix, and so all keys in it.
    Prefix(String),
}

impl After {
    fn text(&self) -> &str {
        let (After::Key(text) | After::Prefix(text)) = self;
        text
    }

    /// Has characters that have to be encoded in a query, as S3's tokens do.
    fn token(&self) -> String {
        let kind = if matches!(self, After::Key(_)) { 'k' } else { 'p' };
        format!("1+/{}=", BASE64.encode(format!("{kind}{}", self.text())))
    }

    fn from_token(token: &str) -> S3Result<After> {
        let read = || {
            let bytes = BASE64.decode(token.strip_prefix("1+/")?.strip_suffix('=')?).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            match text.split_at_checked(1)? {
                ("k", key) => Some(After::Key(key.to_owned())),
                ("p", prefix) => Some(After::Prefix(prefix.to_owned())),
                _ => None,
            }
        };
        read().ok_or_else(|| {
            s3_error!(InvalidArgument, "The continuation token provided is incorrect")
        })
    }
}

enum Listed<'a> {
    Object(&'a str, &'a Object),
    Prefix(&'a str),
}

fn list<'a>(
    objects: &'a BTreeMap<String, Object>,
    order: ListOrder,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&After>,
    max: usize,
) -> (Vec<Listed<'a>>, Option<After>) {
    let start = after.map_or("", After::text);
    let keys: Box<dyn Iterator<Item = (&String, &Object)>> = match order {
        ListOrder::Bytes => {
            let from =
                if start < prefix { Bound::Included(prefix) } else { Bound::Excluded(start) };
            // An empty start is before the first key, not after an empty one.
            let from = if start.is_empty() { Bound::Included(prefix) } else { from };
            Box::new(
                objects
                    .range::<str, _>((from, Bound::Unbounded))
                    .take_while(|(key, _)| key.starts_with(prefix)),
            )
        }
        ListOrder::Paths => {
            let mut keys: Vec<_> =
                objects.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
            keys.sort_by(|(a, _), (b, _)| path_order(a, b));
            Box::new(keys.into_iter().filter(move |(key, _)| path_order(key, start).is_gt()))
        }
    };
    let mut common = match after {
        Some(After::Prefix(prefix)) => Some(prefix.as_str()),
        _ => None,
    };
    let mut listed = Vec::new();
    let mut last = None;
    for (key, object) in keys {
        if common.is_some_and(|common| key.starts_with(common)) {
            continue;
        }
        if listed.len() == max {
            // A page of nothing is no page to go on from.
            return (listed, last);
        }
        let rest = &key[prefix.len()..];
        match delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len())) {
            Some(end) => {
                let found = &key[..prefix.len() + end];
                common = Some(found);
                last = Some(After::Prefix(found.to_owned()));
                listed.push(Listed::Prefix(found));
            }
            None => {
                last = Some(After::Key(key.clone()));
                listed.push(Listed::Object(key, object));
            }
        }
    }
    (listed, None)
}

/// Compares as if `/` were before all other characters.
fn path_order(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

/// How much to list: what was asked for, but no more than a page.
fn page(asked: Option<i32>, page_size: usize) -> S3Result<usize> {
    match asked.map(usize::try_from) {
        None => Ok(page_size),
        Some(Ok(asked)) => Ok(asked.min(page_size)),
        Some(Err(_)) => Err(s3_error!(
            InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647"
        )),
    }
}

// The S3 service

struct Backend(Arc<Shared>);

impl Backend {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn list_buckets(
        &self,
        _: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let state = self.state();
        let buckets = state.buckets.iter().map(|(name, bucket)| dto::Bucket {
            name: Some(name.clone()),
            creation_date: Some(Timestamp::from(whole_seconds(bucket.created))),
            bucket_region: Some(bucket.region.as_deref().unwrap_or(REGION).to_owned()),
        });
        let buckets = Some(buckets.collect());
        Ok(S3Response::new(dto::ListBucketsOutput { buckets, ..Default::default() }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let input = req.input;
        let mut state = self.state();
        if state.buckets.contains_key(&input.bucket) {
            return Err(s3_error!(
                BucketAlreadyOwnedByYou,
                "You already own the bucket that you want to create."
            ));
        }
        let mut bucket = Bucket::new(state.now());
        let region = input
            .create_bucket_configuration
            .and_then(|configuration| configuration.location_constraint);
        bucket.region = region.map(|region| region.as_str().to_owned());
        let location = Some(format!("/{}", input.bucket));
        state.buckets.insert(input.bucket, bucket);
        Ok(S3Response::new(dto::CreateBucketOutput { location }))
    }

    async fn head_bucket(
        &self,
        req: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        let mut state = self.state();
        let region = state.bucket(&req.input.bucket)?.region.as_deref().unwrap_or(REGION);
        let bucket_region = Some(region.to_owned());
        Ok(S3Response::new(dto::HeadBucketOutput { bucket_region, ..Default::default() }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        let mut state = self.state();
        let region = state.bucket(&req.input.bucket)?.region.clone();
        // S3 gives no location for its first region.
        let location_constraint = region.filter(|region| region != REGION).map(Into::into);
        Ok(S3Response::new(dto::GetBucketLocationOutput { location_constraint }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = req.input;
        let encode = encoder(input.encoding_type.as_ref())?;
        let mut state = self.state();
        let (order, page_size) = (state.list_order, state.page_size);
        let bucket = state.bucket(&input.bucket)?;
        let max = page(input.max_keys, page_size)?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let after = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => Some(After::from_token(token)?),
            (None, start_after) => start_after.clone().map(After::Key),
        };
        let (listed, next) =
            list(&bucket.objects, order, &prefix, delimiter.as_deref(), after.as_ref(), max);

        let key_count = listed.len();
        let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
        for item in listed {
            match item {
                Listed::Prefix(prefix) => {
                    common_prefixes.push(dto::CommonPrefix { prefix: Some(encode(prefix)) })
                }
                Listed::Object(key, object) => contents.push(dto::Object {
                    key: Some(encode(key)),
                    size: Some(object.body.len() as i64),
                    last_modified: Some(object.last_modified.into()),
                    e_tag: Some(ETag::Strong(object.etag.clone())),
                    checksum_algorithm: object
                        .checksum
                        .as_ref()
                        .map(|checksum| vec![checksum.algorithm.to_owned().into()]),
                    checksum_type: object.checksum.as_ref().map(Checksum::kind),
                    storage_class: Some(dto::ObjectStorageClass::from_static(
                        dto::ObjectStorageClass::STANDARD,
                    )),
                    ..Default::default()
                }),
            }
        }
        Ok(S3Response::new(dto::ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode(&prefix)),
            delimiter: delimiter.map(|delimiter| encode(&delimiter)),
            start_after: input.start_after.map(|start_after| encode(&start_after)),
            encoding_type: input.encoding_type,
            max_keys: Some(max as i32),
            key_count: Some(key_count as i32),
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next.map(|next| next.token()),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..Default::default()
        }))
    }

    async fn put_object(
        &self,
        req: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let S3Request { input, headers, trailing_headers, .. } = req;
        self.state().bucket(&input.bucket)?;
        let (body, checksum) = read_verified(input.body, &headers, trailing_headers).await?;
        let mut object = Object::new(Bytes::new());
        object.etag = hex(&crypto::Md5::checksum(&body));
        let mut state = self.state();
        let default = state.default_checksum.then(|| Checksum::of("CRC64NVME", &body));
        object.checksum = checksum.or(default);
        object.last_modified = whole_seconds(state.now());
        object.body = body;
        object.content_type = input.content_type;
        object.content_encoding = stored_encoding(input.content_encoding);
        object.metadata = input.metadata.unwrap_or_default().into_iter().collect();

        let objects = &mut state.bucket(&input.bucket)?.objects;
        may_write(objects.get(&input.key), input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let mut output = dto::PutObjectOutput {
            e_tag: Some(ETag::Strong(object.etag.clone())),
            ..Default::default()
        };
        report!(output, &object.checksum);
        output.checksum_type = object.checksum.as_ref().map(Checksum::kind);
        objects.insert(input.key, object);
        Ok(S3Response::new(output))
    }

    async fn get_object(
        &self,
        req: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let input = req.input;
        if input.part_number.is_some() {
            return Err(s3_error!(NotImplemented, "This store does not give single parts."));
        }
        let object = found(&mut self.state(), &input.bucket, &input.key)?;
        may_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (range, content_range) = ranged(&object, input.range)?;
        let body = object.body.slice(range);
        let mut output = dto::GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(body.len() as i64),
            content_range,
            content_type: Some(
                object.content_type.unwrap_or_else(|| "binary/octet-stream".to_owned()),
            ),
            content_encoding: object.content_encoding,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.last_modified.into()),
            metadata: Some(object.metadata.into_iter().collect()),
            body: Some(dto::StreamingBlob::from(s3s::Body::from(body))),
            ..Default::default()
        };
        // A checksum is the whole object's, so there is none with a part of it.
        if input.checksum_mode.is_some_and(|mode| mode.as_str() == "ENABLED")
            && output.content_range.is_none()
        {
            report!(output, &object.checksum);
            output.checksum_type = object.checksum.as_ref().map(Checksum::kind);
        }
        Ok(S3Response::new(output))
    }

    async fn head_object(
        &self,
        req: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let input = req.input;
        let object = found(&mut self.state(), &input.bucket, &input.key)?;
        may_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (range, content_range) = ranged(&object, input.range)?;
        let mut output = dto::HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(range.len() as i64),
            content_range,
            content_type: Some(
                object.content_type.unwrap_or_else(|| "binary/octet-stream".to_owned()),
            ),
            content_encoding: object.content_encoding,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.last_modified.into()),
            metadata: Some(object.metadata.into_iter().collect()),
            ..Default::default()
        };
        if input.checksum_mode.is_some_and(|mode| mode.as_str() == "ENABLED")
            && output.content_range.is_none()
        {
            report!(output, &object.checksum);
            output.checksum_type = object.checksum.as_ref().map(Checksum::kind);
        }
        Ok(S3Response::new(output))
    }

    async fn delete_object(
        &self,
        req: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let mut state = self.state();
        let denied = state.undeletable.contains(&req.input.key);
        let bucket = state.bucket(&req.input.bucket)?;
        if denied {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        // Gone is gone: deleting what is not there is a success.
        bucket.objects.remove(&req.input.key);
        Ok(S3Response::new(dto::DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let dto::DeleteObjectsInput { bucket, delete, .. } = req.input;
        if delete.objects.is_empty() || delete.objects.len() > 1000 {
            let message = "The XML you provided was not well-formed or did not validate against our published schema";
            return Err(s3_error!(MalformedXML, "{message}"));
        }
        let mut state = self.state();
        state.bucket(&bucket)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in delete.objects {
            if state.undeletable.contains(&object.key) {
                errors.push(dto::Error {
                    key: Some(object.key),
                    code: Some("AccessDenied".to_owned()),
                    message: Some("Access Denied".to_owned()),
                    version_id: None,
                });
                continue;
            }
            state.bucket(&bucket)?.objects.remove(&object.key);
            if delete.quiet != Some(true) {
                deleted.push(dto::DeletedObject { key: Some(object.key), ..Default::default() });
            }
        }
        Ok(S3Response::new(dto::DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let input = req.input;
        let mut upload = Upload::new(&input.key);
        upload.algorithm =
            input.checksum_algorithm.as_ref().map(|name| algorithm(name.as_str())).transpose()?;
        upload.composite = match input.checksum_type.as_ref().map(dto::ChecksumType::as_str) {
            None => upload.algorithm.is_some_and(|algorithm| algorithm != "CRC64NVME"),
            Some(kind) => kind == dto::ChecksumType::COMPOSITE,
        };
        let full_only = upload.algorithm == Some("CRC64NVME");
        let composite_only = matches!(upload.algorithm, Some("SHA1" | "SHA256"));
        if upload.algorithm.is_some()
            && (upload.composite && full_only || !upload.composite && composite_only)
        {
            let message =
                "The checksum type requested cannot be used with the specified checksum algorithm.";
            return Err(s3_error!(InvalidRequest, "{message}"));
        }
        upload.content_type = input.content_type;
        upload.content_encoding = stored_encoding(input.content_encoding);
        upload.metadata = input.metadata.unwrap_or_default().into_iter().collect();
        let upload_id = self.state().create_upload(&input.bucket, upload)?;
        Ok(S3Response::new(dto::CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload_id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        req: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let S3Request { input, headers, trailing_headers, .. } = req;
        if !(1..=10_000).contains(&input.part_number) {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            return Err(s3_error!(InvalidArgument, "{message}"));
        }
        let expected = self.state().upload(&input.bucket, &input.key, &input.upload_id)?.algorithm;
        let (body, checksum) = read_verified(input.body, &headers, trailing_headers).await?;
        if let (Some(expected), Some(sent)) = (expected, &checksum)
            && expected != sent.algorithm
        {
            let message = "Checksum Type mismatch occurred";
            let (expected, sent) =
                (expected.to_ascii_lowercase(), sent.algorithm.to_ascii_lowercase());
            return Err(s3_error!(
                InvalidRequest,
                "{message}, expected checksum Type: {expected}, actual checksum Type: {sent}"
            ));
        }
        let checksum = checksum.or_else(|| expected.map(|expected| Checksum::of(expected, &body)));
        let md5 = crypto::Md5::checksum(&body);
        let mut output =
            dto::UploadPartOutput { e_tag: Some(ETag::Strong(hex(&md5))), ..Default::default() };
        report!(output, &checksum);
        let mut state = self.state();
        let part = Part { body, md5, checksum, last_modified: whole_seconds(state.now()) };
        state
            .upload(&input.bucket, &input.key, &input.upload_id)?
            .parts
            .insert(input.part_number, part);
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let input = req.input;
        // Joined and hashed without the lock, which other connections' requests may wait for.
        let (upload, min_part_size, default_checksum) = {
            let mut state = self.state();
            let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?.clone();
            (upload, state.min_part_size, state.default_checksum)
        };
        let listed = input
            .multipart_upload
            .as_ref()
            .and_then(|list| list.parts.as_deref())
            .unwrap_or_default();
        let parts = chosen_parts(&upload, listed, min_part_size)?;
        let body =
            Bytes::from(parts.iter().map(|part| &part.body[..]).collect::<Vec<_>>().concat());
        if input.mpu_object_size.is_some_and(|size| size != body.len() as i64) {
            let message =
                "The provided 'x-amz-mp-object-size' header does not match what was computed.";
            return Err(s3_error!(InvalidRequest, "{message}"));
        }
        let checksum = whole_checksum(&upload, &parts, &body, default_checksum);
        if let Some(checksum) = &checksum
            && let Some(stated) = stated!(input, checksum.algorithm)
            // A composite one may be stated without its count of parts.
            && stated != checksum.value
            && !(checksum.composite && checksum.value.starts_with(&format!("{stated}-")))
        {
            let algorithm = checksum.algorithm;
            return Err(s3_error!(
                BadDigest,
                "The {algorithm} you specified did not match the calculated checksum."
            ));
        }
        let digests: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
        let object = Object {
            body,
            // When the upload was begun, not when it is completed.
            last_modified: upload.initiated,
            etag: format!("{}-{}", hex(&crypto::Md5::checksum(&digests)), parts.len()),
            checksum,
            content_type: upload.content_type.clone(),
            content_encoding: upload.content_encoding.clone(),
            metadata: upload.metadata.clone(),
        };

        let mut state = self.state();
        // Another request may have completed or aborted it meanwhile.
        state.upload(&input.bucket, &input.key, &input.upload_id)?;
        let bucket = state.bucket(&input.bucket)?;
        may_write(
            bucket.objects.get(&input.key),
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        bucket.uploads.remove(&(input.key.clone(), upload.number));
        let mut output = dto::CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key.clone()),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            checksum_type: object.checksum.as_ref().map(Checksum::kind),
            ..Default::default()
        };
        report!(output, &object.checksum);
        bucket.objects.insert(input.key, object);
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let input = req.input;
        let mut state = self.state();
        let number = state.upload(&input.bucket, &input.key, &input.upload_id)?.number;
        state.bucket(&input.bucket)?.uploads.remove(&(input.key, number));
        Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        let input = req.input;
        if input.delimiter.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "This store lists uploads without a delimiter only."
            ));
        }
        let encode = encoder(input.encoding_type.as_ref())?;
        let mut state = self.state();
        let max = page(input.max_uploads, state.page_size)?;
        let uploads = &state.bucket(&input.bucket)?.uploads;
        let prefix = input.prefix.unwrap_or_default();
        let key_marker = input.key_marker.unwrap_or_default();
        // Without the marker of an upload, all uploads to the marker's key are left out.
        let id_marker = input.upload_id_marker.unwrap_or_default();
        let number = uploads
            .values()
            .find(|upload| upload.id == id_marker)
            .map_or(u64::MAX, |upload| upload.number);
        let after = (key_marker.clone(), number);
        let mut rest = uploads
            .iter()
            .filter(|(place, upload)| {
                upload.key.starts_with(&prefix) && (key_marker.is_empty() || **place > after)
            })
            .map(|(_, upload)| upload);
        let page: Vec<&Upload> = rest.by_ref().take(max).collect();
        let next = page.last().filter(|_| rest.next().is_some());
        Ok(S3Response::new(dto::ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(encode(&prefix)),
            key_marker: Some(encode(&key_marker)),
            upload_id_marker: Some(id_marker),
            encoding_type: input.encoding_type,
            max_uploads: Some(max as i32),
            is_truncated: Some(next.is_some()),
            next_key_marker: next.map(|upload| encode(&upload.key)),
            next_upload_id_marker: next.map(|upload| upload.id.clone()),
            uploads: Some(
                page.iter().map(|upload| listed_upload(upload, encode(&upload.key))).collect(),
            ),
            ..Default::default()
        }))
    }

    async fn list_parts(
        &self,
        req: S3Request<dto::ListPartsInput>,
    ) -> S3Result<S3Response<dto::ListPartsOutput>> {
        let input = req.input;
        let mut state = self.state();
        let max = page(input.max_parts, state.page_size)?;
        let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let mut rest = upload.parts.range((Bound::Excluded(marker), Bound::Unbounded));
        let page: Vec<_> = rest.by_ref().take(max).collect();
        let next = page.last().map(|(number, _)| **number).filter(|_| rest.next().is_some());
        let parts = page.into_iter().map(|(number, part)| {
            let mut listed = dto::Part {
                part_number: Some(*number),
                size: Some(part.body.len() as i64),
                e_tag: Some(ETag::Strong(hex(&part.md5))),
                last_modified: Some(part.last_modified.into()),
                ..Default::default()
            };
            report!(listed, &part.checksum);
            listed
        });
        let parts = Some(parts.collect());
        let about = listed_upload(upload, input.key);
        Ok(S3Response::new(dto::ListPartsOutput {
            bucket: Some(input.bucket),
            key: about.key,
            upload_id: about.upload_id,
            checksum_algorithm: about.checksum_algorithm,
            checksum_type: about.checksum_type,
            storage_class: about.storage_class,
            part_number_marker: Some(marker),
            max_parts: Some(max as i32),
            is_truncated: Some(next.is_some()),
            next_part_number_marker: next,
            parts,
            ..Default::default()
        }))
    }
}

fn found(state: &mut State, bucket: &str, key: &str) -> S3Result<Object> {
    let missing = || s3_error!(NoSuchKey, "The specified key does not exist.");
    state.bucket(bucket)?.objects.get(key).cloned().ok_or_else(missing)
}

fn is_met(object: &Object, condition: &ETagCondition) -> bool {
    condition.as_etag().is_none_or(|etag| etag.value() == object.etag)
}

fn may_read(
    object: &Object,
    matched: Option<&ETagCondition>,
    unmatched: Option<&ETagCondition>,
) -> S3Result<()> {
    if matched.is_some_and(|condition| !is_met(object, condition)) {
        return Err(precondition_failed());
    }
    if unmatched.is_some_and(|condition| is_met(object, condition)) {
        return Err(S3Error::new(S3ErrorCode::NotModified));
    }
    Ok(())
}

fn may_write(
    object: Option<&Object>,
    matched: Option<&ETagCondition>,
    unmatched: Option<&ETagCondition>,
) -> S3Result<()> {
    match (matched, object) {
        (Some(_), None) => return Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        (Some(condition), Some(object)) if !is_met(object, condition) => {
            return Err(precondition_failed());
        }
        _ => {}
    }
    match (unmatched, object) {
        (Some(condition), Some(object)) if is_met(object, condition) => Err(precondition_failed()),
        _ => Ok(()),
    }
}

fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

/// The bytes that are asked for, and the Content-Range if they are a part.
fn ranged(
    object: &Object,
    range: Option<dto::Range>,
) -> S3Result<(std::ops::Range<usize>, Option<String>)> {
    let length = object.body.len() as u64;
    let Some(range) = range else { return Ok((0..object.body.len(), None)) };
    let range = range
        .check(length)
        .map_err(|_| s3_error!(InvalidRange, "The requested range is not satisfiable"))?;
    let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
    Ok((range.start as usize..range.end as usize, Some(content_range)))
}

/// S3 keeps a Content-Encoding, but not what is about the transfer only.
fn stored_encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let kept: Vec<&str> =
        encoding.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The parts that a completion lists, if they are there and allowed.
fn chosen_parts<'a>(
    upload: &'a Upload,
    listed: &[dto::CompletedPart],
    min_size: usize,
) -> S3Result<Vec<&'a Part>> {
    if listed.is_empty() {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        return Err(s3_error!(MalformedXML, "{message}"));
    }
    if !listed.is_sorted_by(|a, b| a.part_number < b.part_number) {
        return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order."));
    }
    let mut parts = Vec::new();
    for (at, listed_part) in listed.iter().enumerate() {
        let invalid = || {
            let message = "One or more of the specified parts could not be found. The part may not have been \
                           uploaded, or the specified entity tag may not match the part's entity tag.";
            s3_error!(InvalidPart, "{message}")
        };
        let part = listed_part
            .part_number
            .and_then(|number| upload.parts.get(&number))
            .ok_or_else(invalid)?;
        if listed_part.e_tag.as_ref().is_none_or(|etag| etag.value() != hex(&part.md5)) {
            return Err(invalid());
        }
        if let Some(checksum) = &part.checksum {
            match stated!(listed_part, checksum.algorithm) {
                Some(stated) if stated != checksum.value => return Err(invalid()),
                None if upload.composite && upload.algorithm.is_some() => {
                    let message = "The upload was created using a checksum, so the complete request must include \
                                   the checksum for each part.";
                    return Err(s3_error!(InvalidRequest, "{message}"));
                }
                _ => {}
            }
        }
        if at + 1 < listed.len() && part.body.len() < min_size {
            return Err(s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size"
            ));
        }
        parts.push(part);
    }
    Ok(parts)
}

fn whole_checksum(
    upload: &Upload,
    parts: &[&Part],
    body: &[u8],
    by_default: bool,
) -> Option<Checksum> {
    match upload.algorithm {
        None => by_default.then(|| Checksum::of("CRC64NVME", body)),
        Some(algorithm) if !upload.composite => Some(Checksum::of(algorithm, body)),
        Some(algorithm) => {
            let digests: Vec<u8> =
                parts.iter().flat_map(|part| digest(algorithm, &part.body)).collect();
            let value = format!("{}-{}", BASE64.encode(digest(algorithm, &digests)), parts.len());
            Some(Checksum { algorithm, value, composite: true })
        }
    }
}

fn listed_upload(upload: &Upload, key: String) -> dto::MultipartUpload {
    let kind = if upload.composite {
        dto::ChecksumType::COMPOSITE
    } else {
        dto::ChecksumType::FULL_OBJECT
    };
    dto::MultipartUpload {
        key: Some(key),
        upload_id: Some(upload.id.clone()),
        initiated: Some(upload.initiated.into()),
        checksum_algorithm: upload.algorithm.map(dto::ChecksumAlgorithm::from_static),
        checksum_type: upload.algorithm.map(|_| dto::ChecksumType::from_static(kind)),
        storage_class: Some(dto::StorageClass::from_static(dto::StorageClass::STANDARD)),
        ..Default::default()
    }
}

// Small things

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// S3 keeps times in whole seconds.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).expect("a time after 1970");
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - by } else { time + by }
}

fn http_date(time: SystemTime) -> HeaderValue {
    let mut date = Vec::new();
    Timestamp::from(time)
        .format(TimestampFormat::HttpDate, &mut date)
        .expect("a time that has a date");
    HeaderValue::try_from(date).expect("a date is plain text")
}
