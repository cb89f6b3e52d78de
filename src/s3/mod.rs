//! S3 in S3's own terms: one method an operation, each signed, retried where that is safe, and sent
//! over one pool of connections.

mod access;
mod checksum;
mod credentials;
mod http;
mod profile;
mod throttle;
mod wire;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{
        Arc, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::RecvTimeoutError;
use ureq::http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST},
};

pub use access::{Access, AccessOptions, Addressing};
pub use checksum::Checksum;
pub(crate) use checksum::{Hasher, base64, hex};
pub use credentials::CredentialsError;
use credentials::Provider;
pub(crate) use http::Payload;
use http::{Answer, Http};
pub use profile::Env;
use throttle::Throttle;
use wire::{Address, Credentials, Signer, ToSign};
pub(crate) use wire::{ListedPart, ListedParts, OpenUpload, Page, parse_page};

use crate::{
    cancel::Cancel,
    config::TransferConfig,
    entry::{ETag, Timestamp},
    error::{Cause, Error, Result},
};

/// The most keys that DeleteObjects takes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>).
pub(crate) const MAX_DELETE_BATCH: usize = 1_000;

/// Documents larger than this are not S3's: 1,000 keys of 1,024 bytes, each three times as long when
/// percent-encoded, come to some 4 MB.
const MAX_DOCUMENT: u64 = 16 << 20;

/// How long requests under way may take to end, once a stop was asked for.
const GRACE: Duration = Duration::from_millis(700);

/// How much is read or hashed at a time, in bytes.
pub(crate) const CHUNK: usize = 128 << 10;

/// The bucket of one run, as its worker threads share it.
pub(crate) struct Client {
    bucket: String,
    access: Access,
    http: Http,
    provider: Provider,
    signer: Signer,
    address: RwLock<Arc<Address>>,
    checksum: Checksum,
    retries: u32,
    cancel: Cancel,
    throttle: Throttle,
    /// The farthest that the server's clock was seen from the local one: nanoseconds.
    skew: AtomicU64,
    /// What the server's clock showed beyond the local one: nanoseconds, zero while they may agree.
    offset: AtomicI64,
}

/// A request in the making.
struct Call<'a> {
    method: &'static str,
    key: Option<&'a str>,
    query: &'a [(&'a str, &'a str)],
    headers: Vec<(&'static str, String)>,
    payload: Option<Payload<'a>>,
}

impl<'a> Call<'a> {
    fn new(method: &'static str, key: Option<&'a str>) -> Call<'a> {
        Call { method, key, query: &[], headers: Vec::new(), payload: None }
    }
}

/// Where a download goes.
pub(crate) trait Sink {
    /// An answer has begun; comes again when a broken download goes on.
    fn head(&mut self, head: &Head);
    /// The bytes at `offset` of the object, right behind those before.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause>;
}

/// What the server said of a part that it has.
#[derive(Clone, Debug)]
pub(crate) struct UploadedPart {
    pub etag: String,
    /// Its checksum, where completing the upload has to repeat it.
    pub checksum: Option<(Checksum, String)>,
}

/// What a server says of an object.
#[derive(Debug)]
pub(crate) struct Head {
    pub size: u64,
    pub etag: ETag,
    /// Whether the ETag, if it looks like an MD5, is not one: under SSE-KMS and SSE-C.
    pub opaque_etag: bool,
    /// The checksum of the whole object, in base64.
    pub checksum: Option<(Checksum, String)>,
}

impl Head {
    fn read(answer: &Answer) -> Head {
        let encrypted = answer.header("x-amz-server-side-encryption");
        let customer = answer.header("x-amz-server-side-encryption-customer-algorithm");
        // A composite checksum, of parts that nobody knows any more, ends in their number.
        let whole = answer.header("x-amz-checksum-type").is_none_or(|kind| kind != "COMPOSITE");
        let checksum = Checksum::ALL.into_iter().filter(|_| whole).find_map(|algorithm| {
            let value = answer.header(algorithm.header()?)?;
            (!value.contains('-')).then(|| (algorithm, value.to_owned()))
        });
        let length = answer.header("content-length").and_then(|text| text.parse().ok());
        let total = answer
            .header("content-range")
            .and_then(|range| range.rsplit('/').next())
            .and_then(|text| text.parse().ok());
        Head {
            size: total.or(length).unwrap_or(0),
            etag: answer.header("etag").map_or(ETag::None, ETag::parse),
            opaque_etag: encrypted.is_some_and(|kind| kind.starts_with("aws:kms"))
                || customer.is_some(),
            checksum,
        }
    }
}

impl Client {
    pub(crate) fn new(
        bucket: &str,
        access: &Access,
        transfer: &TransferConfig,
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
            Box::new(Http::fetcher()),
        )
        .map_err(|error| fail(error.into()))?;
        Ok(Client {
            bucket: bucket.to_owned(),
            access: access.clone(),
            http: Http::new(access, transfer)?,
            provider,
            signer: Signer::default(),
            address: RwLock::new(Arc::new(address)),
            checksum: transfer.checksum,
            retries: transfer.retries,
            cancel: cancel.clone(),
            throttle: Throttle::new(transfer.workers),
            skew: AtomicU64::new(0),
            offset: AtomicI64::new(0),
        })
    }

    /// How far the server's clock may be from the local one, in nanoseconds: what the `Date` of its
    /// answers left no doubt of.
    pub(crate) fn skew(&self) -> u64 {
        self.skew.load(Ordering::Relaxed)
    }

    /// How many requests should be under way at most, as the server has it.
    pub(crate) fn limit(&self) -> usize {
        self.throttle.limit()
    }

    /// Does `work`. Once a stop is asked for, gives it [`GRACE`] to come to its end, and then breaks the
    /// connections that it may be waiting for.
    pub(crate) fn while_watched<T>(&self, work: impl FnOnce() -> T) -> T {
        let (working, ended) = crossbeam_channel::bounded::<()>(0);
        thread::scope(|scope| {
            scope.spawn(move || {
                // Nothing is ever sent: the channel closes when the work has ended.
                let still = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                while still(Duration::from_millis(50)) {
                    if self.cancel.is_cancelled() && still(GRACE) {
                        self.http.break_connections();
                        return;
                    }
                }
            });
            let _working = working;
            work()
        })
    }

    /// One page of the objects under `prefix`, from `token` on.
    pub(crate) fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<Page> {
        let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)];
        if let Some(token) = token {
            query.insert(0, ("continuation-token", token));
        }
        self.retry("list", format!("s3://{}/{prefix}", self.bucket), || {
            let answer = self.send(&Call { query: &query, ..Call::new("GET", None) })?;
            parse_page(&answer.text(MAX_DOCUMENT)?)
        })
    }

    /// Stores an object in one request.
    pub(crate) fn put(&self, key: &str, payload: Payload) -> Result<()> {
        self.retry("upload", key, || {
            let mut call = Call::new("PUT", Some(key));
            self.attach(&mut call, payload)?;
            self.finish(self.send(&call)?)
        })
    }

    /// Begins a multipart upload; the answer is its upload ID.
    pub(crate) fn create_upload(&self, key: &str) -> Result<String> {
        self.retry("begin upload of", key, || {
            let mut call = Call { query: &[("uploads", "")], ..Call::new("POST", Some(key)) };
            call.payload = Some(Payload::Bytes(b""));
            if self.checksum != Checksum::None {
                call.headers.push(("x-amz-checksum-algorithm", self.checksum.name().to_owned()));
                if self.checksum.spans_parts() {
                    call.headers.push(("x-amz-checksum-type", "FULL_OBJECT".to_owned()));
                }
            }
            wire::parse_upload_id(&self.send(&call)?.text(MAX_DOCUMENT)?)
        })
    }

    /// Sends part `number` (from 1 on).
    pub(crate) fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        payload: Payload,
    ) -> Result<UploadedPart> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload_id)];
        self.retry("upload", key, || {
            let mut call = Call { query: &query, ..Call::new("PUT", Some(key)) };
            self.attach(&mut call, payload)?;
            let answer = self.send(&call)?;
            let etag = answer.header("etag").map(str::to_owned);
            self.finish(answer)?;
            let etag =
                etag.ok_or_else(|| Cause::Malformed("UploadPart without an ETag".to_owned()))?;
            // The sum of the whole is asked for where S3 can make it; a hash of hashes it only makes
            // of what it is told again.
            let checksum =
                call.headers.into_iter().find(|(name, _)| Some(*name) == self.checksum.header());
            let checksum = checksum.filter(|_| !self.checksum.spans_parts());
            Ok(UploadedPart { etag, checksum: checksum.map(|(_, value)| (self.checksum, value)) })
        })
    }

    /// The uploads under `prefix` that were begun and neither completed nor aborted.
    pub(crate) fn list_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let mut uploads = Vec::new();
        let mut marker: Option<(String, String)> = None;
        loop {
            let mut query = vec![("encoding-type", "url"), ("prefix", prefix), ("uploads", "")];
            if let Some((key, upload_id)) = &marker {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", upload_id)]);
            }
            let page =
                self.retry("list uploads in", format!("s3://{}/{prefix}", self.bucket), || {
                    let answer = self.send(&Call { query: &query, ..Call::new("GET", None) })?;
                    wire::parse_uploads(&answer.text(MAX_DOCUMENT)?)
                })?;
            uploads.extend(page.0);
            // A page that repeats would never end.
            match page.1 {
                Some(next) if marker.as_ref() != Some(&next) => marker = Some(next),
                _ => return Ok(uploads),
            }
        }
    }

    /// What the server has of an open upload.
    pub(crate) fn list_parts(&self, key: &str, upload_id: &str) -> Result<ListedParts> {
        let mut found = ListedParts::default();
        let mut after = 0;
        loop {
            let marker = after.to_string();
            let query = [("part-number-marker", marker.as_str()), ("uploadId", upload_id)];
            let page = self.retry("list parts of", key, || {
                let answer = self.send(&Call { query: &query, ..Call::new("GET", Some(key)) })?;
                wire::parse_parts(&answer.text(MAX_DOCUMENT)?)
            })?;
            found.parts.extend(page.parts);
            found.algorithm = page.algorithm;
            match page.next {
                Some(next) if next > after => after = next,
                _ => return Ok(found),
            }
        }
    }

    /// Whether parts that were sent under `algorithm` can be completed with those sent now.
    pub(crate) fn can_go_on_with(&self, algorithm: Option<&str>) -> bool {
        // A hash of hashes wants each part's again, which a listing need not have.
        let whole = self.checksum == Checksum::None || self.checksum.spans_parts();
        whole && algorithm.is_none_or(|name| name == self.checksum.name())
    }

    /// Makes the parts one object of `size` bytes.
    pub(crate) fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[UploadedPart],
        size: u64,
    ) -> Result<()> {
        let body = wire::complete_body(parts);
        let mut tries = 0;
        self.retry("complete upload of", key, || {
            tries += 1;
            let mut call =
                Call { query: &[("uploadId", upload_id)], ..Call::new("POST", Some(key)) };
            call.payload = Some(Payload::Bytes(body.as_bytes()));
            let done = self
                .send(&call)
                .and_then(|answer| wire::parse_completed(&answer.text(MAX_DOCUMENT)?));
            match done {
                // An earlier try went through, and only its answer was lost.
                Err(Cause::S3 { ref code, .. }) if code == "NoSuchUpload" && tries > 1 => {
                    let head = self.head_once(key)?;
                    let ours = etag_of_parts(parts).is_some_and(|etag| etag == head.etag);
                    if head.size == size && ours { Ok(()) } else { done }
                }
                other => other,
            }
        })
    }

    /// Gives a multipart upload up, and frees its parts.
    pub(crate) fn abort_upload(&self, key: &str, upload_id: &str) -> Result<()> {
        let query = [("uploadId", upload_id)];
        let call = Call { query: &query, ..Call::new("DELETE", Some(key)) };
        let attempt = || match self.send(&call).and_then(|answer| self.finish(answer)) {
            Err(Cause::S3 { code, .. }) if code == "NoSuchUpload" => Ok(()),
            other => other,
        };
        if self.cancel.is_cancelled() {
            // Cleaning up is still wanted, waiting is not.
            return attempt().map_err(|cause| Error::new("abort upload of", key, cause));
        }
        self.retry("abort upload of", key, attempt)
    }

    /// What the server knows of an object, its checksum included.
    pub(crate) fn head(&self, key: &str) -> Result<Head> {
        self.retry("look at", key, || self.head_once(key))
    }

    fn head_once(&self, key: &str) -> Result<Head, Cause> {
        let mut call = Call::new("HEAD", Some(key));
        call.headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        let answer = self.send(&call)?;
        let head = Head::read(&answer);
        self.finish(answer)?;
        Ok(head)
    }

    /// Fetches bytes `range` of the version of an object that `etag` names, all of it when the range
    /// is its whole `size`. `sink` is given the head of each answer, then each piece with its offset, in
    /// order; after a broken connection the next try goes on where the last one ended.
    pub(crate) fn get(
        &self,
        key: &str,
        etag: &ETag,
        size: u64,
        range: Range<u64>,
        sink: &mut impl Sink,
    ) -> Result<()> {
        let mut at = range.start;
        let mut buffer =
            vec![0; CHUNK.min(usize::try_from(range.end - range.start).unwrap_or(CHUNK)).max(1)];
        self.retry("download", key, || {
            if at == range.end && at > range.start {
                // All of it came, and only the end of the answer was lost.
                return Ok(());
            }
            let mut call = Call::new("GET", Some(key));
            let whole = at == 0 && range.end == size;
            if !whole {
                call.headers.push(("range", format!("bytes={at}-{}", range.end - 1)));
            }
            call.headers.extend(etag.quoted().map(|etag| ("if-match", etag)));
            call.headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
            let mut answer = self.send(&call)?;
            let head = Head::read(&answer);
            // Stores that don't know If-Match answer with what they have now.
            if head.size != size
                || (head.etag != *etag && *etag != ETag::None && head.etag != ETag::None)
            {
                return Err(Cause::Changed("the object was replaced after it was listed"));
            }
            if answer.status != if whole { 200 } else { 206 } {
                return Err(Cause::Malformed(format!("status {} to a ranged GET", answer.status)));
            }
            sink.head(&head);
            while at < range.end {
                if self.cancel.is_cancelled() {
                    return Err(Cause::Interrupted);
                }
                let want =
                    buffer.len().min(usize::try_from(range.end - at).unwrap_or(buffer.len()));
                let read = answer.read(&mut buffer[..want])?;
                if read == 0 {
                    return Err(Cause::Network("the connection was closed too early".to_owned()));
                }
                sink.write(at, &buffer[..read])?;
                at += read as u64;
            }
            self.finish(answer)
        })
    }

    /// Deletes objects, and says of each that stayed why it did.
    pub(crate) fn delete(&self, keys: &[&str]) -> Vec<Result<()>> {
        let (together, alone): (Vec<usize>, Vec<usize>) =
            (0..keys.len()).partition(|&n| wire::fits_xml(keys[n]));
        let mut outcomes: Vec<Option<Result<()>>> = keys.iter().map(|_| None).collect();
        for n in alone {
            outcomes[n] = Some(self.delete_one(keys[n]));
        }
        for batch in together.chunks(MAX_DELETE_BATCH) {
            let names: Vec<&str> = batch.iter().map(|&n| keys[n]).collect();
            for (&n, outcome) in batch.iter().zip(self.delete_batch(&names)) {
                outcomes[n] = Some(outcome);
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err(Error::interrupted())))
            .collect()
    }

    fn delete_one(&self, key: &str) -> Result<()> {
        self.retry("delete", key, || {
            match self.send(&Call::new("DELETE", Some(key))).and_then(|answer| self.finish(answer))
            {
                // Some stores say so; and an earlier try may have gone through.
                Err(Cause::S3 { code, .. }) if code == "NoSuchKey" => Ok(()),
                other => other,
            }
        })
    }

    fn delete_batch(&self, keys: &[&str]) -> Vec<Result<()>> {
        let mut outcomes: HashMap<&str, Result<()>> = HashMap::new();
        let mut pending: Vec<&str> = keys.to_vec();
        let tried = self.retry("delete from", format!("s3://{}", self.bucket), || {
            let mut again = None;
            for (key, outcome) in pending.iter().zip(self.delete_batch_once(&pending)?) {
                match outcome {
                    Err(cause) if cause.is_retryable() => {
                        again = Some(cause);
                        continue;
                    }
                    Err(Cause::S3 { code, .. }) if code == "NoSuchKey" => {
                        outcomes.insert(key, Ok(()))
                    }
                    Err(cause) => outcomes.insert(key, Err(Error::new("delete", *key, cause))),
                    Ok(()) => outcomes.insert(key, Ok(())),
                };
            }
            pending.retain(|key| !outcomes.contains_key(key));
            again.map_or(Ok(()), Err)
        });
        let failed = tried.err().unwrap_or_else(Error::interrupted);
        keys.iter()
            .map(|key| outcomes.remove(key).unwrap_or_else(|| Err(failed.about(key))))
            .collect()
    }

    /// One request; the outcome of each key, in order.
    fn delete_batch_once(&self, keys: &[&str]) -> Result<Vec<Result<(), Cause>>, Cause> {
        let body = wire::delete_body(keys);
        let mut md5 = Hasher::md5();
        md5.update(body.as_bytes());
        let mut call = Call { query: &[("delete", "")], ..Call::new("POST", None) };
        call.payload = Some(Payload::Bytes(body.as_bytes()));
        call.headers.push(("content-md5", base64(&md5.finish())));
        let (deleted, failed) = wire::parse_deleted(&self.send(&call)?.text(MAX_DOCUMENT)?)?;
        let deleted: HashSet<String> = deleted.into_iter().collect();
        let outcome = |key: &&str| match failed.iter().find(|(failed, ..)| failed == key) {
            _ if deleted.contains(*key) => Ok(()),
            Some((_, code, message)) => Err(Cause::S3 {
                status: 200,
                code: code.clone(),
                message: message.clone(),
                retry_after: None,
            }),
            None => Err(Cause::Malformed("DeleteObjects says nothing of this key".to_owned())),
        };
        Ok(keys.iter().map(outcome).collect())
    }

    /// Tries until it works, until it can't, or until it has been tried often enough: with capped
    /// exponential backoff and full jitter
    /// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    fn retry<T>(
        &self,
        action: &'static str,
        subject: impl Into<String>,
        mut attempt: impl FnMut() -> Result<T, Cause>,
    ) -> Result<T> {
        let mut failed = 0;
        loop {
            self.cancel.check()?;
            let cause = match attempt() {
                Ok(done) => {
                    self.throttle.went_well();
                    return Ok(done);
                }
                Err(cause) => cause,
            };
            if cause.is_throttling() {
                self.throttle.slow_down(Instant::now());
            }
            // Whoever shuts the connections down makes every request fail, in some way or other.
            self.cancel.check()?;
            if failed >= self.retries || !cause.is_retryable() {
                let cause = match cause {
                    Cause::Network(why) => {
                        Cause::Network(format!("{}: {why}", self.address().server()))
                    }
                    other => other,
                };
                return Err(Error::new(action, subject, cause));
            }
            self.cancel.sleep(backoff(failed, &cause, fastrand::f64()));
            failed += 1;
        }
    }

    fn address(&self) -> Arc<Address> {
        self.address
            .read()
            .map_or_else(|poisoned| Arc::clone(&poisoned.into_inner()), |a| Arc::clone(&a))
    }

    /// Adds a payload and its checksums. They are made anew for every try, for the file may have
    /// changed.
    fn attach<'a>(&self, call: &mut Call<'a>, payload: Payload<'a>) -> Result<(), Cause> {
        if let Some(header) = self.checksum.header() {
            call.headers.push((header, base64(&self.hash(&payload, Hasher::new(self.checksum))?)));
            call.headers.push(("x-amz-sdk-checksum-algorithm", self.checksum.name().to_owned()));
        }
        call.payload = Some(payload);
        Ok(())
    }

    fn hash(&self, payload: &Payload, mut hasher: Hasher) -> Result<Vec<u8>, Cause> {
        if let Payload::Bytes(bytes) = payload {
            hasher.update(bytes);
            return Ok(hasher.finish());
        }
        let mut reader = payload.reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            if self.cancel.is_cancelled() {
                return Err(Cause::Interrupted);
            }
            match std::io::Read::read(&mut reader, &mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) => return Err(reader.into_fault().unwrap_or(Cause::Io(error))),
            }
        }
    }

    /// The MD5 of a payload.
    pub(crate) fn md5(&self, payload: &Payload) -> Result<Vec<u8>> {
        self.hash(payload, Hasher::md5()).map_err(|cause| Error::new("read", "file", cause))
    }

    /// Reads an answer to its end, so that its connection can serve again.
    fn finish(&self, answer: Answer) -> Result<(), Cause> {
        answer.text(MAX_DOCUMENT).map(drop)
    }

    /// Sends one request, signed. Follows the bucket into its region, renews credentials that the
    /// server calls expired, and takes on the server's clock where it insists: each once.
    fn send(&self, call: &Call) -> Result<Answer, Cause> {
        let (mut moved, mut renewed) = (false, false);
        loop {
            let address = self.address();
            let credentials = self.provider.get(SystemTime::now())?;
            let answer = self.send_once(call, &address, credentials.as_ref())?;
            if answer.status < 300 {
                return Ok(answer);
            }
            let region = answer.header("x-amz-bucket-region").map(str::to_owned);
            let error = self.error(answer);
            if let Some(region) = region
                && region != address.region()
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

    fn send_once(
        &self,
        call: &Call,
        address: &Address,
        credentials: Option<&Arc<Credentials>>,
    ) -> Result<Answer, Cause> {
        let url = address.url(call.key, call.query)?;
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
                // Over TLS nobody changes a body on its way, and the checksum covers the rest.
                Some(_) if address.is_https() && call.method == "PUT" => {
                    "UNSIGNED-PAYLOAD".to_owned()
                }
                Some(payload) => hex(&self.hash(payload, Hasher::new(Checksum::Sha256))?),
                None => EMPTY_SHA256.to_owned(),
            };
            add(HeaderName::from_static("x-amz-content-sha256"), &sha256)?;
            add(HeaderName::from_static("x-amz-date"), &wire::amz_date(time))?;
            if let Some(token) = wire::session_token(credentials) {
                add(HeaderName::from_static("x-amz-security-token"), token)?;
            }
            let request =
                ToSign { method: call.method, url: &url, headers: &headers, payload: &sha256 };
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
        let answer = self.http.send(request, call.payload.as_ref())?;
        self.note_date(&answer, before);
        Ok(answer)
    }

    /// The error that an answer is.
    fn error(&self, answer: Answer) -> Cause {
        let status = answer.status;
        let retry_after = answer.header("retry-after").and_then(|text| text.parse().ok());
        let body = answer.text(64 << 10).unwrap_or_default();
        let (code, message) = wire::parse_error(&body).unwrap_or_else(|| {
            // HEAD has no body to name the error.
            let code = match status {
                301 => "PermanentRedirect",
                403 => "AccessDenied",
                404 => "NoSuchKey",
                412 => "PreconditionFailed",
                503 => "SlowDown",
                _ => "",
            };
            (code.to_owned(), String::new())
        });
        if status == 412 {
            return Cause::Changed("the object was replaced after it was listed");
        }
        Cause::S3 { status, code, message, retry_after }
    }

    /// Learns from the `Date` of an answer to a request that was sent after `before`.
    fn note_date(&self, answer: &Answer, before: SystemTime) {
        let Some(date) = answer.header("date").and_then(wire::http_date) else { return };
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

/// The ETag of the object that S3 makes of parts, where theirs are MD5s.
fn etag_of_parts(parts: &[UploadedPart]) -> Option<ETag> {
    let mut whole = Hasher::md5();
    for part in parts {
        let ETag::Md5(md5) = ETag::parse(&part.etag) else { return None };
        whole.update(&md5);
    }
    Some(ETag::parse(&format!("{}-{}", hex(&whole.finish()), parts.len())))
}

/// The SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

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
