//! The client of one run: it makes requests of calls, signs and sends them, and tries again where that
//! may help. What the calls are stands in [`operations`](super::operations).

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::RecvTimeoutError;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST},
};

use super::{
    Access, Checksum, Hasher, Payload,
    access_keys::Credentials,
    address::Address,
    base64,
    checksum::hex,
    credentials::Provider,
    responses::error::{ErrorBody, parse_error, parse_region},
    sign::{SignedParts, Signer, amz_date},
    throttle::Throttle,
    transport::{HttpClient, Response, credential_fetcher},
};
use crate::{
    cancel::Cancel,
    error::{Cause, Error, Result},
    model::time::Timestamp,
    s3::options::ClientOptions,
};

/// How long requests under way may take to end, once a stop was asked for.
const GRACE: Duration = Duration::from_millis(700);

/// How long those may take that clean up behind them, over new connections.
const CLEAN_UP: Duration = Duration::from_millis(2_500);

/// The bucket of one run, as its worker threads share it.
pub(crate) struct Client {
    pub(super) bucket: String,
    access: Access,
    http: HttpClient,
    provider: Provider,
    signer: Signer,
    address: RwLock<Arc<Address>>,
    pub(super) checksum: Checksum,
    unsigned_payload: bool,
    /// Whether the server has not refused yet to be asked for them.
    gives_checksums: AtomicBool,
    retries: u32,
    pub(super) cancel: Cancel,
    throttle: Throttle,
    /// The farthest that the server's clock was seen from the local one: nanoseconds.
    skew: AtomicU64,
    /// What the server's clock showed beyond the local one: nanoseconds, zero while they may agree.
    offset: AtomicI64,
}

/// A request in the making.
pub(super) struct Call<'a> {
    pub method: &'static str,
    pub key: Option<&'a str>,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: Vec<(&'static str, String)>,
    pub payload: Option<Payload<'a>>,
    /// The SHA-256 of the payload in hexadecimal, or what stands for it, where that is settled already.
    pub sha256: Option<String>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: &'static str, key: Option<&'a str>) -> Call<'a> {
        Call { method, key, query: &[], headers: Vec::new(), payload: None, sha256: None }
    }
}

impl Client {
    pub(crate) fn new(
        bucket: &str,
        access: &Access,
        options: &ClientOptions,
        cancel: &Cancel,
    ) -> Result<Client> {
        let fail = |cause: Cause| Error::new("open", format!("s3://{bucket}"), cause);
        let address =
            Address::new(bucket, &access.region, access.endpoint.as_deref(), access.addressing)
                .map_err(fail)?;
        let provider = Provider::new(
            &access.env,
            &access.profile,
            &access.region,
            access.unsigned,
            credential_fetcher(access),
        )
        .map_err(|error| fail(error.into()))?;
        Ok(Client {
            bucket: bucket.to_owned(),
            access: access.clone(),
            http: HttpClient::new(access, options)?,
            provider,
            signer: Signer::default(),
            address: RwLock::new(Arc::new(address)),
            checksum: options.checksum,
            unsigned_payload: options.unsigned_payload,
            gives_checksums: AtomicBool::new(true),
            retries: options.retries,
            cancel: cancel.clone(),
            throttle: Throttle::new(),
            skew: AtomicU64::new(0),
            offset: AtomicI64::new(0),
        })
    }

    /// Times of this machine and of the server that are at most this far apart may be equal: the measured
    /// clock skew plus the second that S3's timestamps are rounded to, in nanoseconds.
    pub(crate) fn clock_margin(&self) -> u64 {
        self.skew.load(Ordering::Relaxed).saturating_add(1_000_000_000)
    }

    /// Whether what it lists is known to be in byte order, so that no range of it can be lost: by AWS's
    /// word, but for directory buckets
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
    pub(crate) fn lists_in_byte_order(&self) -> bool {
        self.access.endpoint.is_none()
            && self.address().is_aws()
            && !self.bucket.ends_with("--x-s3")
    }

    /// Starts a phase that has at most `workers` requests in flight.
    pub(crate) fn start_phase(&self, workers: usize) {
        self.throttle.start_phase(workers);
    }

    /// The most requests that should be in flight at the moment.
    pub(crate) fn limit(&self) -> usize {
        self.throttle.limit()
    }

    /// Whether latency, not the load of the server, determines how long requests take.
    pub(crate) fn is_latency_bound(&self) -> bool {
        self.throttle.is_latency_bound()
    }

    /// Does `work`. Once a stop is asked for, gives it [`GRACE`] to come to its end, and then breaks the
    /// connections that it may be waiting for; after every [`CLEAN_UP`] from then on, it does so again.
    pub(crate) fn with_cancel_watchdog<T>(&self, work: impl FnOnce() -> T) -> T {
        let (working, ended) = crossbeam_channel::bounded::<()>(0);
        thread::scope(|scope| {
            let watch = move || {
                // Nothing is ever sent: the channel closes when the work has ended.
                let still = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                let mut grace = GRACE;
                while still(Duration::from_millis(50)) {
                    if self.cancel.is_cancelled() && still(grace) {
                        self.http.break_connections();
                        grace = CLEAN_UP;
                    }
                }
            };
            // Where the system gives no more threads, whoever asks for a stop has to wait for the network.
            let _ = thread::Builder::new().spawn_scoped(scope, watch);
            let _working = working;
            work()
        })
    }

    /// Tries until it works, until it can't, or until it has been tried often enough: with capped
    /// exponential backoff and full jitter
    /// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>). A server that only
    /// asks to slow down works: while there is a way to give, it is tried more often.
    pub(super) fn retry<T>(
        &self,
        action: &'static str,
        subject: impl Into<String>,
        mut attempt: impl FnMut() -> Result<T, Cause>,
    ) -> Result<T> {
        let (mut failed, mut refused) = (0, 0);
        loop {
            self.cancel.check()?;
            let permit = self.throttle.acquire(&self.cancel);
            let sent = Instant::now();
            let cause = match attempt() {
                Ok(done) => {
                    self.throttle.on_success();
                    return Ok(done);
                }
                Err(cause) => cause,
            };
            drop(permit);
            let gave_way =
                cause.is_throttling() && self.throttle.on_throttled(sent, Instant::now());
            // Whoever shuts the connections down makes every request fail, in some way or other.
            self.cancel.check()?;
            let patience = self.retries.saturating_mul(PATIENCE);
            let is_last = if gave_way { refused >= patience } else { failed >= self.retries };
            if is_last || !cause.is_retryable() {
                let cause = match cause {
                    Cause::Network(why) => {
                        let server = self.address().server();
                        let way =
                            if self.http.uses_proxy(&server) { " through the proxy" } else { "" };
                        Cause::Network(format!("{server}{way}: {why}"))
                    }
                    other => other,
                };
                return Err(Error::new(action, subject, cause));
            }
            self.cancel.sleep(backoff(failed + refused, &cause, fastrand::f64()));
            *if gave_way { &mut refused } else { &mut failed } += 1;
        }
    }

    fn address(&self) -> Arc<Address> {
        self.address
            .read()
            .map_or_else(|poisoned| Arc::clone(&poisoned.into_inner()), |a| Arc::clone(&a))
    }

    /// Adds a payload and its checksums. They are made anew for every try, for the file may have
    /// changed.
    pub(super) fn attach<'a>(
        &self,
        call: &mut Call<'a>,
        payload: Payload<'a>,
    ) -> Result<(), Cause> {
        // Over TLS nobody changes a body on its way, and the checksum covers the rest.
        let signed = !self.access.unsigned && !self.address().is_https() && !self.unsigned_payload;
        let sha256 = if signed { Checksum::Sha256 } else { Checksum::None };
        let checksum = match self.checksum {
            Checksum::None => Hasher::md5(),
            algorithm => Hasher::new(algorithm),
        };
        // In one reading.
        let [checksum, sha256] = payload.hash([checksum, Hasher::new(sha256)], &self.cancel)?;
        let value = base64(&checksum);
        match self.checksum.header() {
            Some(header) => {
                call.headers.push((header, value));
                call.headers
                    .push(("x-amz-sdk-checksum-algorithm", self.checksum.name().to_owned()));
            }
            // Every store knows it, and some want it where objects are locked.
            None => call.headers.push(("content-md5", value)),
        }
        call.sha256 = Some(if signed { hex(&sha256) } else { "UNSIGNED-PAYLOAD".to_owned() });
        call.payload = Some(payload);
        Ok(())
    }

    /// The MD5 of a payload.
    pub(crate) fn md5(&self, payload: &Payload) -> Result<Vec<u8>> {
        let hashed = payload.hash([Hasher::md5()], &self.cancel);
        hashed.map(|[md5]| md5).map_err(|cause| Error::new("read", "file", cause))
    }

    /// Sends one request, signed. Follows the bucket into its region, renews credentials that the
    /// server calls expired, and takes on the server's clock where it insists: each once.
    pub(super) fn send(&self, call: &Call) -> Result<Response, Cause> {
        let (mut moved, mut renewed) = (false, false);
        loop {
            let address = self.address();
            let credentials = self.provider.get(SystemTime::now())?;
            let response = self.send_once(call, &address, credentials.as_ref())?;
            if response.is_success() {
                return Ok(response);
            }
            let region = response.header("x-amz-bucket-region").map(str::to_owned);
            let (error, expected) = self.error(response);
            if let Some(region) = region.or(expected)
                && !address.is_in_region(&region)
                && !moved
                && matches!(&error, Cause::S3 { status: 301 | 307 | 400 | 403, .. })
            {
                self.move_to(&region)?;
                moved = true;
                continue;
            }
            if let (Cause::S3 { code, .. }, Some(credentials)) = (&error, &credentials)
                && matches!(code.as_str(), "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")
                && !renewed
                && self.provider.refresh(credentials, SystemTime::now())?
            {
                renewed = true;
                continue;
            }
            return Err(error);
        }
    }

    /// Sends a request for an object, and asks for its checksum, too. Some stores (Backblaze B2) refuse
    /// whoever does: then it is asked for no more. What refuses a HEAD does not say why, and may be another
    /// thing that has passed by the next one.
    pub(super) fn send_for_checksum(&self, call: &mut Call) -> Result<Response, Cause> {
        if !self.gives_checksums.load(Ordering::Relaxed) {
            return self.send(call);
        }
        call.headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        let says_why = match self.send(call) {
            Err(Cause::S3 { status: 400 | 501, code, .. })
                if matches!(
                    &*code,
                    "" | "InvalidArgument" | "InvalidRequest" | "NotImplemented"
                ) =>
            {
                !code.is_empty()
            }
            other => return other,
        };
        call.headers.pop();
        let response = self.send(call)?;
        if says_why {
            self.gives_checksums.store(false, Ordering::Relaxed);
        }
        Ok(response)
    }

    fn send_once(
        &self,
        call: &Call,
        address: &Address,
        credentials: Option<&Arc<Credentials>>,
    ) -> Result<Response, Cause> {
        let url = address.url(call.key, call.query);
        let mut headers = HeaderMap::with_capacity(12);
        let mut add = |name: HeaderName, value: &str| {
            HeaderValue::from_str(value).map(|value| headers.insert(name, value)).map_err(|_| {
                Cause::Config(format!("a header can't hold the value of {}", call.method))
            })
        };
        add(HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])?;
        for (name, value) in &call.headers {
            add(HeaderName::from_static(name), value)?;
        }
        if let Some(credentials) = credentials {
            let time = self.signing_time();
            let sha256 = match &call.payload {
                Some(payload) => match &call.sha256 {
                    Some(sha256) => sha256.clone(),
                    None => {
                        let [sha256] =
                            payload.hash([Hasher::new(Checksum::Sha256)], &self.cancel)?;
                        hex(&sha256)
                    }
                },
                None => EMPTY_SHA256.to_owned(),
            };
            add(HeaderName::from_static("x-amz-content-sha256"), &sha256)?;
            add(HeaderName::from_static("x-amz-date"), &amz_date(time))?;
            if let Some(token) = &credentials.session_token {
                add(HeaderName::from_static("x-amz-security-token"), token)?;
            }
            let request = SignedParts {
                method: call.method,
                url: &url,
                headers: &headers,
                payload_sha256: &sha256,
            };
            let authorization = self.signer.authorization(&request, address, credentials, time)?;
            let mut value = HeaderValue::from_str(&authorization).map_err(|_| {
                Cause::Config("the access key has characters no header can hold".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(payload) = &call.payload {
            headers.insert(CONTENT_LENGTH, payload.len().into());
        }
        let mut request = Request::builder()
            .method(call.method)
            .uri(url.as_str())
            .body(())
            .map_err(|error| Cause::Config(format!("request: {error}")))?;
        *request.headers_mut() = headers;
        let before = SystemTime::now();
        let response = self.http.send(request, call.payload.as_ref())?;
        if response.is_success() {
            self.throttle.on_response(response.latency());
        }
        self.note_date(&response, before);
        Ok(response)
    }

    /// The error that an answer is, and the region that it says the signature should have been for.
    fn error(&self, response: Response) -> (Cause, Option<String>) {
        let status = response.status();
        let retry_after = response.header("retry-after").and_then(|text| text.parse().ok());
        let location = response.header("location").map(str::to_owned);
        let body = match response.text(64 << 10) {
            Ok(body) => body,
            // Nobody knows what it was: not to be guessed from the status, as 404 may mean "done".
            Err(cause) => return (cause, None),
        };
        let ErrorBody { code, mut message } = parse_error(&body).unwrap_or_else(|| {
            // HEAD has no body to name the error. What has one that is not S3's says nothing of objects.
            let code = match status {
                _ if !body.is_empty() => "",
                301 => "PermanentRedirect",
                403 => "AccessDenied",
                404 => "NoSuchKey",
                412 => "PreconditionFailed",
                503 => "SlowDown",
                _ => "",
            };
            ErrorBody { code: code.to_owned(), message: String::new() }
        });
        if status == 412 {
            return (Cause::Changed("the object was replaced after it was listed"), None);
        }
        if let Some(location) = location
            && (300..400).contains(&status)
            && (code.is_empty() || message.is_empty())
        {
            // Where http leads to https, for instance. Nobody is followed without being asked for.
            message = format!("ask {} instead", location.split('?').next().unwrap_or_default());
        }
        let expected = parse_region(&body).filter(|_| code == "AuthorizationHeaderMalformed");
        (Cause::S3 { status, code, message, retry_after }, expected)
    }

    /// Learns from the `Date` of an answer to a request that was sent after `before`.
    fn note_date(&self, response: &Response, before: SystemTime) {
        let Some(date) =
            response.header("date").and_then(|text| httpdate::parse_http_date(text).ok())
        else {
            return;
        };
        let date = Timestamp::from(date).nanos();
        let now = SystemTime::now();
        let (before, after) = (Timestamp::from(before).nanos(), Timestamp::from(now).nanos());
        if after.abs_diff(before) > LONG_ANSWER {
            // Nobody knows when in the meantime the server looked at its clock.
            return;
        }
        let (nearest, farthest) = clock_offset(date, before, after);
        self.offset.store(nearest, Ordering::Relaxed);
        self.skew.fetch_max(farthest.unsigned_abs(), Ordering::Relaxed);
    }

    /// The local time, or the server's where the two are so far apart that it may refuse a signature
    /// (S3 does at 15 minutes).
    fn signing_time(&self) -> SystemTime {
        let now = Timestamp::from(SystemTime::now());
        let offset = self.offset.load(Ordering::Relaxed);
        let far = offset.unsigned_abs() > 60 * 1_000_000_000;
        Timestamp::from_nanos(now.nanos().saturating_add(if far { offset } else { 0 })).into()
    }

    fn move_to(&self, region: &str) -> Result<(), Cause> {
        let endpoint = self.access.endpoint.as_deref();
        let address = Address::new(&self.bucket, region, endpoint, self.access.addressing)?;
        let mut current = self.address.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        *current = Arc::new(address);
        Ok(())
    }
}

/// Answers that take longer say too little about the server's clock: nanoseconds.
const LONG_ANSWER: u64 = 5_000_000_000;

/// How far ahead of the local clock the server's is, at least and at most, given the whole second of its
/// `Date` and the local times before the request and after the answer, all in nanoseconds. Zero where
/// the clocks may well agree.
fn clock_offset(date: i64, before: i64, after: i64) -> (i64, i64) {
    let least = date.saturating_sub(after);
    let most = date.saturating_add(1_000_000_000).saturating_sub(before);
    if least > 0 {
        (least, most)
    } else if most < 0 {
        (most, least)
    } else {
        (0, 0)
    }
}

/// The SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// How many times as often as after another failure a request is tried again while less and less is under
/// way because the server asked to slow down.
const PATIENCE: u32 = 4;

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// How long to wait after failure number `failed` (from 0 on); `random` is from 0 to 1. The server's
/// own `Retry-After` is the least, up to a minute.
fn backoff(failed: u32, cause: &Cause, random: f64) -> Duration {
    let ceiling = MAX_PAUSE.min(Duration::from_millis(200) * 2u32.saturating_pow(failed.min(16)));
    let asked = match cause {
        Cause::S3 { retry_after: Some(seconds), .. } => Duration::from_secs((*seconds).min(60)),
        _ => Duration::ZERO,
    };
    asked + ceiling.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_never_fall_below_what_the_server_asks() {
        let network = Cause::Network(String::new());
        let pause = |failed, random| backoff(failed, &network, random).as_millis();
        assert_eq!([0, 1, 2, 3].map(|failed| pause(failed, 1.0)), [200, 400, 800, 1_600]);
        assert_eq!([7, 100, u32::MAX].map(|failed| pause(failed, 1.0)), [20_000; 3]);
        assert_eq!(pause(3, 0.0), 0);
        let asked = |seconds| Cause::S3 {
            status: 503,
            code: "SlowDown".to_owned(),
            message: String::new(),
            retry_after: Some(seconds),
        };
        assert_eq!(backoff(0, &asked(7), 0.0).as_secs(), 7);
        assert_eq!(backoff(0, &asked(u64::MAX), 0.0).as_secs(), 60);
    }

    #[test]
    fn clocks_that_may_agree_do() {
        const S: i64 = 1_000_000_000;
        // The Date of an answer, the local time before and after.
        let agree = (0, 0);
        assert_eq!(clock_offset(100 * S, 100 * S + 5, 100 * S + 9), agree);
        assert_eq!(clock_offset(100 * S, 99 * S, 100 * S), agree);
        assert_eq!(clock_offset(100 * S, 100 * S + S - 1, 101 * S + 1), agree);
        let ahead = clock_offset(400 * S, 100 * S, 100 * S + 10);
        assert_eq!(ahead, (300 * S - 10, 301 * S));
        assert_eq!(clock_offset(100 * S, 400 * S, 401 * S), (-299 * S, -301 * S));
        assert_eq!(clock_offset(i64::MAX, i64::MIN, i64::MIN).1, i64::MAX);
    }
}
