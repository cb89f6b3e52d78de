//! The client for one bucket. It signs and sends requests and retries them where that may help.
//!
//! The [operations](crate::s3::operations) of S3 are further methods of the [`Client`].

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST},
};
use url::{Position, Url};

use crate::{
    cancel::Cancel,
    error::{Cause, Error, Result, s3_code},
    model::escape::Escaped,
    s3::{
        access::Access,
        address::Address,
        checksum::{Checksum, ContentDigest, Hasher, base64},
        clock::Clock,
        credentials::{Credentials, Now, Provider},
        error_response::ErrorResponse,
        options::ClientOptions,
        outage::Outage,
        payload::Payload,
        quirks::Quirks,
        request::S3Request,
        retry::{Circumstances, Retries},
        sign::{SignedParts, Signer, amz_date},
        throttle::{ConnectionUse, Permit, Throttle},
        transport::{Exchange, HttpClient, Response, credential_fetcher},
        watchdog,
    },
};

const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// A request on an idle connection that the server had closed fails within this time.
const MAX_STALE_TIME: Duration = Duration::from_secs(5);

/// A client for one bucket. It serves all runs of a keeper, and their worker threads share it.
pub(crate) struct Client {
    pub(super) bucket: String,
    pub(super) access: Access,
    http: HttpClient,
    provider: Provider,
    signer: Signer,
    address: RwLock<Arc<Address>>,
    pub(super) checksum: Checksum,
    unsigned_payload: bool,
    /// False once the server has rejected a request for a checksum.
    requests_checksums: AtomicBool,
    pub(super) quirks: Quirks,
    retries: u32,
    pub(super) cancel: Cancel,
    throttle: Throttle,
    /// A bandwidth limit allows no more requests in flight.
    max_requests: usize,
    outage: Outage,
    /// Responses with status 500 may refuse single uploads.
    expects_refusals: AtomicBool,
    /// No request of the phase waits for others.
    is_phase_ending: AtomicBool,
    clock: Arc<Clock>,
}

impl Client {
    pub(crate) fn new(
        bucket: &str,
        access: &Access,
        options: &ClientOptions,
        cancel: &Cancel,
    ) -> Result<Client> {
        let fail = |cause: Cause| Error::new("open", format!("s3://{bucket}"), cause);
        let address = Address::new(bucket, &access.region, access).map_err(fail)?;
        let clock = Arc::<Clock>::default();
        let provider = Provider::new(
            &access.env,
            &access.profile,
            &access.region,
            access.unsigned,
            credential_fetcher(access, &clock),
        )
        .map_err(|error| fail(error.into()))?;
        Ok(Client {
            bucket: bucket.to_owned(),
            access: access.clone(),
            http: HttpClient::new(access, options, cancel)?,
            provider,
            signer: Signer::default(),
            address: RwLock::new(Arc::new(address)),
            checksum: options.checksum,
            unsigned_payload: options.unsigned_payload,
            requests_checksums: AtomicBool::new(true),
            quirks: Quirks::new(),
            retries: options.retries,
            cancel: cancel.clone(),
            throttle: Throttle::new(),
            max_requests: options.max_requests(),
            outage: Outage::new(),
            expects_refusals: AtomicBool::new(false),
            is_phase_ending: AtomicBool::new(false),
            clock,
        })
    }

    /// The margin within which a local time and a time of the server may be equal, in nanoseconds.
    pub(crate) fn clock_margin(&self) -> u64 {
        self.clock.margin()
    }

    /// Whether listings are certain to be in byte order, so that listing by ranges cannot lose a
    /// key.
    ///
    /// AWS guarantees the order except for directory buckets, which are not supported
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
    pub(crate) fn lists_in_byte_order(&self) -> bool {
        self.access.endpoint.is_none() && self.address().is_aws()
    }

    /// Starts a phase that has at most `workers` requests in flight.
    pub(crate) fn start_phase(&self, workers: usize) {
        self.throttle.start_phase(workers.min(self.max_requests));
        self.outage.end();
        self.is_phase_ending.store(false, Ordering::Relaxed);
    }

    /// Sets whether all requests of the phase are in flight. Those that the server answers with an error
    /// then fail one by one: perhaps only they do.
    pub(crate) fn set_phase_ending(&self, is_ending: bool) {
        self.is_phase_ending.store(is_ending, Ordering::Relaxed);
    }

    /// Sets whether a status of 500 may refuse a single upload, as it does on SeaweedFS if another object
    /// is in the way. It then says nothing about the server as a whole.
    pub(crate) fn expect_refusals(&self, expected: bool) {
        self.expects_refusals.store(expected, Ordering::Relaxed);
    }

    /// The most requests that should be in flight at the moment.
    pub(crate) fn limit(&self) -> usize {
        self.throttle.limit()
    }

    /// Whether latency, not the load of the server, determines how long requests take.
    pub(crate) fn is_latency_bound(&self) -> bool {
        self.throttle.is_latency_bound()
    }

    /// The shortest time in which the server has responded.
    pub(crate) fn min_latency(&self) -> Duration {
        self.throttle.min_latency()
    }

    /// The bytes that were sent and received.
    pub(crate) fn bytes_moved(&self) -> u64 {
        self.http.bytes_moved()
    }

    /// Runs `work`, and breaks its connections if it does not end soon after a cancellation.
    pub(crate) fn with_cancel_watchdog<T>(&self, work: impl FnOnce() -> T) -> T {
        watchdog::with_cancel_watchdog(&self.cancel, || self.http.break_connections(), work)
    }

    /// The MD5 of a payload.
    pub(crate) fn md5(&self, payload: &Payload) -> Result<Vec<u8>> {
        let digests = payload.hash([Hasher::md5()], &self.cancel);
        digests.map(|[md5]| md5).map_err(|cause| Error::new("read", "file", cause))
    }

    /// Tries until `attempt` succeeds, fails for good, or has failed too often.
    ///
    /// While the server throttles or allows few connections, and concurrency can still drop, the request
    /// is retried more often.
    pub(super) fn retry<T>(
        &self,
        action: &'static str,
        subject: impl Into<String>,
        mut attempt: impl FnMut() -> Result<T, Cause>,
    ) -> Result<T> {
        self.retry_with_progress(action, subject, |_| attempt())
    }

    /// Like [`retry`](Client::retry), for an `attempt` that continues where the one before failed. It sets
    /// the flag if it has made progress. Earlier failures then do not count any more.
    pub(super) fn retry_with_progress<T>(
        &self,
        action: &'static str,
        subject: impl Into<String>,
        mut attempt: impl FnMut(&mut bool) -> Result<T, Cause>,
    ) -> Result<T> {
        let mut retries = Retries::new(self.retries);
        loop {
            self.cancel.check()?;
            let permit = self.throttle.acquire(&self.cancel);
            if let Some(cause) = self.outage.wait_for_turn(&self.cancel) {
                return Err(self.give_up(cause));
            }
            let sent = Instant::now();
            let mut has_progressed = false;
            let cause = match attempt(&mut has_progressed) {
                Ok(done) => {
                    permit.on_success(self.connection_use(), Instant::now());
                    self.outage.end();
                    return Ok(done);
                }
                Err(cause) => cause,
            };
            // Cancelling breaks the connections, so check for it before reporting a network error.
            self.cancel.check()?;
            if has_progressed {
                retries.reset();
            }
            let mut circumstances = self.on_failure(&cause, permit, sent);
            if has_progressed || !self.may_be_outage(&cause) {
                if has_progressed || matches!(cause, Cause::S3 { .. }) {
                    self.outage.end();
                }
            } else if !circumstances.was_stale {
                let last = self.with_server(cause.clone());
                if let Some(cause) = self.outage.on_failure(last, Instant::now()) {
                    return Err(self.give_up(cause));
                }
                circumstances.is_outage = self.outage.is_ongoing();
            }
            match retries.next_pause(&cause, circumstances) {
                Some(pause) => self.cancel.sleep(pause),
                None => return Err(Error::new(action, subject, self.with_server(cause))),
            }
        }
    }

    /// Takes account of a failed request in the number of requests in flight.
    fn on_failure(&self, cause: &Cause, permit: Permit, sent: Instant) -> Circumstances {
        let now = Instant::now();
        let mut circumstances = Circumstances::default();
        if cause.is_throttling() {
            drop(permit);
            circumstances.limit_dropped = self.throttle.on_throttled(sent, now);
        } else if matches!(cause, Cause::Network(_)) {
            let exchange = Exchange::last();
            let is_at_once = now.saturating_duration_since(sent) < MAX_STALE_TIME;
            if exchange.is_reused && !exchange.has_response && is_at_once {
                circumstances.was_stale = true;
            } else if !exchange.is_refused_for_good {
                let used = self.connection_use();
                circumstances.limit_dropped = permit.on_connection_failed(used, sent, now);
            }
        }
        circumstances
    }

    fn connection_use(&self) -> ConnectionUse {
        let Exchange { is_reused, has_response, .. } = Exchange::last();
        let working = self.http.working_connections();
        ConnectionUse { is_new: !is_reused, has_response, working }
    }

    /// Whether the failure may mean that the server fails every request.
    fn may_be_outage(&self, cause: &Cause) -> bool {
        let may_concern_one_request = match cause {
            Cause::S3 { status: 500, .. } if self.expects_refusals.load(Ordering::Relaxed) => true,
            Cause::S3 { .. } => self.is_phase_ending.load(Ordering::Relaxed),
            _ => false,
        };
        cause.is_server_failure() && !may_concern_one_request
    }

    fn give_up(&self, cause: Cause) -> Error {
        Error::new("reach", format!("s3://{}", self.bucket), cause)
    }

    /// Adds the name of the server to a network error. Removes secrets from the server's own words.
    pub(super) fn with_server(&self, cause: Cause) -> Cause {
        let Cause::Network(why) = cause else {
            return cause.clean(&secrets(self.provider.last_used().as_deref()));
        };
        let address = self.address();
        let server = address.server();
        let through = if self.http.uses_proxy(server) { " through the proxy" } else { "" };
        Cause::Network(format!("{server}{through}: {why}"))
    }

    /// Whether the content of a payload has this digest.
    pub(crate) fn has_digest(
        &self,
        payload: &Payload,
        digest: &ContentDigest,
    ) -> Result<bool, Cause> {
        let hasher = digest.algorithm.content_hasher();
        let [found] = payload.hash([hasher], &self.cancel)?;
        Ok(base64(&found) == digest.value)
    }

    /// Whether requests are signed.
    pub(super) fn signs_requests(&self) -> bool {
        !self.access.unsigned
    }

    /// Whether the signature of an upload covers its content. TLS protects the content in transit, and
    /// the checksum protects it elsewhere.
    pub(super) fn signs_payloads(&self) -> bool {
        self.signs_requests() && !self.address().is_https() && !self.unsigned_payload
    }

    /// Signs and sends a request.
    ///
    /// If the bucket is in another region, the request is sent again there, once. If the server
    /// reports expired credentials and there are new ones, it is sent again with these, once.
    pub(super) fn send(&self, request: &S3Request) -> Result<Response, Cause> {
        let (mut learned_region, mut renewed_credentials) = (None::<LearnedRegion>, false);
        loop {
            let address = self.address();
            let credentials = self.provider.get(self.now())?;
            let sent = self.send_once(request, &address, credentials.as_ref());
            let response = match (sent, &learned_region) {
                (Err(cause), Some(learned)) => return Err(self.forget_region(learned, cause)),
                (sent, _) => sent?,
            };
            if response.is_success() {
                return Ok(response);
            }
            let ErrorResponse { cause, region } =
                ErrorResponse::read(response, request.is_conditional());
            let cause = cause.clean(&secrets(credentials.as_deref()));
            if let Some(region) = region
                && !address.is_in_region(&region)
                && learned_region.is_none()
                && let Some(learned) = self.follow_to_region(&region, &address)
            {
                learned_region = Some(learned);
                continue;
            }
            if let (Cause::S3 { code, .. }, Some(credentials)) = (&cause, &credentials)
                && s3_code::is_expired_credentials(code)
                && !renewed_credentials
                && self.provider.refresh(credentials, self.now())?
            {
                renewed_credentials = true;
                continue;
            }
            return Err(match learned_region {
                Some(learned) => self.forget_region(&learned, cause),
                None => cause,
            });
        }
    }

    /// Sends a request for an object, and asks for its checksum.
    ///
    /// Some stores (Backblaze B2) reject the header that asks for it. The request is then sent
    /// without the header, and later requests, too. A rejected HEAD does not count for later
    /// requests: its response has no body, so the reason may be another one that is temporary.
    pub(super) fn send_for_checksum(&self, request: &mut S3Request) -> Result<Response, Cause> {
        if !self.requests_checksums.load(Ordering::Relaxed) {
            return self.send(request);
        }
        request.headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        let has_reason = match self.send(request) {
            Err(cause) if cause.may_reject_a_header() => {
                matches!(cause, Cause::S3 { code, .. } if !code.is_empty())
            }
            other => return other,
        };
        request.headers.pop();
        let response = self.send(request)?;
        if has_reason {
            self.requests_checksums.store(false, Ordering::Relaxed);
        }
        Ok(response)
    }

    fn send_once(
        &self,
        request: &S3Request,
        address: &Address,
        credentials: Option<&Arc<Credentials>>,
    ) -> Result<Response, Cause> {
        let url = address.url(request.key, request.query);
        let mut headers = unsigned_headers(request, &url)?;
        for (name, value) in self.access.account_headers.iter() {
            insert(&mut headers, name, value)?;
        }
        if let Some(credentials) = credentials {
            self.sign(request, &url, &mut headers, address, credentials)?;
        }
        if let Some(encodings) = request.accept_encoding {
            // Not signed: the front end of Google Cloud Storage changes this header.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encodings));
        }
        if let Some(payload) = &request.payload {
            headers.insert(CONTENT_LENGTH, payload.len().into());
        }
        let mut http_request = Request::builder()
            .method(request.method)
            .uri(url.as_str())
            .body(())
            .map_err(|error| Cause::Config(format!("cannot build the request: {error}")))?;
        *http_request.headers_mut() = headers;
        let sent = SystemTime::now();
        let response = self.http.send(http_request, request.payload.as_ref())?;
        if response.is_success() {
            self.throttle.on_response(response.latency());
        }
        self.clock.observe(response.header("date"), sent);
        Ok(response)
    }

    /// Adds the headers of a signed request.
    fn sign(
        &self,
        request: &S3Request,
        url: &Url,
        headers: &mut HeaderMap,
        address: &Address,
        credentials: &Arc<Credentials>,
    ) -> Result<(), Cause> {
        let time = self.clock.signing_time();
        let payload_sha256 = request.payload_sha256(&self.cancel)?;
        insert(headers, X_AMZ_CONTENT_SHA256, &payload_sha256)?;
        insert(headers, X_AMZ_DATE, &amz_date(time))?;
        if let Some(token) = &credentials.session_token {
            insert(headers, X_AMZ_SECURITY_TOKEN, token)?;
        }
        let method = request.method;
        let parts = SignedParts { method, url, headers, payload_sha256: &payload_sha256 };
        let authorization = self.signer.authorization(&parts, address, credentials, time)?;
        insert(headers, AUTHORIZATION, &authorization)?;
        Ok(())
    }

    /// The time at which credentials must be valid.
    fn now(&self) -> Now {
        Now { time: self.clock.signing_time(), is_certain: self.clock.is_known() }
    }

    pub(super) fn address(&self) -> Arc<Address> {
        Arc::clone(&self.address.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends further requests to the region that the server names, if that can be one.
    fn follow_to_region(&self, region: &str, before: &Arc<Address>) -> Option<LearnedRegion> {
        let learned = Arc::new(Address::new(&self.bucket, region, &self.access).ok()?);
        *self.address.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&learned);
        let (before, region) = (Arc::clone(before), region.to_owned());
        Some(LearnedRegion { region, before, learned })
    }

    /// Forgets a region, because the request has failed there, too.
    fn forget_region(&self, learned: &LearnedRegion, cause: Cause) -> Cause {
        let mut address = self.address.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&address, &learned.learned) {
            *address = Arc::clone(&learned.before);
        }
        match cause {
            Cause::Network(why) => {
                let (region, server) = (Escaped(&learned.region), learned.learned.server());
                Cause::Network(format!("{server}, in the region {region} that it names: {why}"))
            }
            cause => cause,
        }
    }
}

/// A region that the server named when it refused a request.
struct LearnedRegion {
    region: String,
    /// The address that was used before.
    before: Arc<Address>,
    /// The address in the region.
    learned: Arc<Address>,
}

/// What must not appear in a message.
fn secrets(credentials: Option<&Credentials>) -> Vec<&str> {
    let Some(credentials) = credentials else { return Vec::new() };
    [Some(&*credentials.secret_key), credentials.session_token.as_deref()]
        .into_iter()
        .flatten()
        .collect()
}

/// The headers of a request before it is signed.
fn unsigned_headers(request: &S3Request, url: &Url) -> Result<HeaderMap, Cause> {
    let mut headers = HeaderMap::with_capacity(12);
    insert(&mut headers, HOST, &url[Position::BeforeHost..Position::AfterPort])?;
    for (name, value) in &request.headers {
        insert(&mut headers, HeaderName::from_static(name), value)?;
    }
    Ok(headers)
}

/// Inserts a header. The error does not contain the value, which may be a secret.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), Cause> {
    let mut header = HeaderValue::from_str(value).map_err(|_| {
        Cause::Config(format!("the value of the {name} header has characters that are not allowed"))
    })?;
    header.set_sensitive(name == AUTHORIZATION);
    headers.insert(name, header);
    Ok(())
}
