//! The operations of S3 that s3keep needs, one method each.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    Checksum, Client, Hasher, Payload, base64,
    checksum::hex,
    client::Call,
    payload::CHUNK_SIZE,
    request_bodies,
    responses::{
        delete::parse_deleted,
        listing::{ListPage, parse_page},
        multipart::{
            ListedParts, OpenUpload, UploadMarker, UploadedPart, parse_completed, parse_parts,
            parse_upload_id, parse_uploads,
        },
    },
    transport::Response,
};
use crate::{
    error::{Cause, Error, Result},
    model::etag::ETag,
};

/// The most keys that DeleteObjects takes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>).
pub(crate) const MAX_DELETE_BATCH: usize = 1_000;

/// Where a page of a listing begins.
pub(crate) enum ListFrom {
    /// With all there is.
    Beginning,
    /// Behind the key of this path.
    After(String),
    /// Where the page that gave this token ended.
    Token(String),
    /// With all there is, but only down to the next `/`: what goes on behind it is common prefixes.
    Level,
}

/// Where a download goes.
pub(crate) trait Sink {
    /// An answer has begun; comes again when a broken download goes on.
    fn head(&mut self, head: &Head);
    /// The bytes at `offset` of the object, right behind those before.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause>;
}

/// What a server says of an object.
#[derive(Debug)]
pub(crate) struct Head {
    /// Not every proxy passes it on.
    pub size: Option<u64>,
    pub etag: ETag,
    /// Whether the ETag, if it looks like an MD5, is not one: under SSE-KMS and SSE-C.
    pub opaque_etag: bool,
    /// The checksum of the whole object, in base64.
    pub checksum: Option<(Checksum, String)>,
}

impl Head {
    fn read(response: &Response) -> Head {
        let encrypted = response.header("x-amz-server-side-encryption");
        let customer = response.header("x-amz-server-side-encryption-customer-algorithm");
        // A composite checksum, of parts that nobody knows any more, ends in their number.
        let whole = response.header("x-amz-checksum-type").is_none_or(|kind| kind != "COMPOSITE");
        let checksum = Checksum::ALL.into_iter().filter(|_| whole).find_map(|algorithm| {
            let value = response.header(algorithm.header()?)?;
            (!value.contains('-')).then(|| (algorithm, value.to_owned()))
        });
        let size = match response.header("content-range") {
            Some(range) => range.rsplit('/').next(),
            None => response.header("content-length"),
        };
        Head {
            size: size.and_then(|text| text.parse().ok()),
            etag: response.header("etag").map_or(ETag::None, ETag::parse),
            opaque_etag: encrypted.is_some_and(|kind| kind.starts_with("aws:kms"))
                || customer.is_some(),
            checksum,
        }
    }
}

impl Client {
    /// One page of the objects under `prefix`.
    pub(crate) fn list_page(&self, prefix: &str, from: &ListFrom) -> Result<ListPage> {
        let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)];
        let behind;
        match from {
            ListFrom::Beginning => {}
            ListFrom::After(path) => {
                behind = format!("{prefix}{path}");
                query.push(("start-after", &behind));
            }
            ListFrom::Token(token) => query.insert(0, ("continuation-token", token)),
            ListFrom::Level => query.insert(0, ("delimiter", "/")),
        }
        self.retry("list", format!("s3://{}/{prefix}", self.bucket), || {
            let response = self.send(&Call { query: &query, ..Call::new("GET", None) })?;
            parse_page(&response.xml()?)
        })
    }

    /// Stores an object in one request.
    pub(crate) fn put(&self, key: &str, payload: Payload) -> Result<()> {
        self.retry("upload", key, || {
            let mut call = Call::new("PUT", Some(key));
            self.attach(&mut call, payload)?;
            let response = self.send(&call)?;
            // Whatever stands between may answer 200 to anything; only a store names what it stored.
            let is_stored = response.header("etag").is_some();
            response.drain()?;
            let unclear = || Cause::Malformed("PutObject without an ETag".to_owned());
            is_stored.then_some(()).ok_or_else(unclear)
        })
    }

    /// Begins a multipart upload; the answer is its upload ID.
    pub(crate) fn create_upload(&self, key: &str) -> Result<String> {
        let mut lost = false;
        let attempt = || {
            let mut call = Call { query: &[("uploads", "")], ..Call::new("POST", Some(key)) };
            call.payload = Some(Payload::Bytes(b""));
            if self.checksum != Checksum::None {
                call.headers.push(("x-amz-checksum-algorithm", self.checksum.name().to_owned()));
                if self.checksum.spans_parts() {
                    call.headers.push(("x-amz-checksum-type", "FULL_OBJECT".to_owned()));
                }
            }
            parse_upload_id(&self.send(&call)?.xml()?)
        };
        let begun = self.retry("begin upload of", key, || {
            attempt().inspect_err(|cause| {
                lost |= matches!(cause, Cause::Network(_) | Cause::Malformed(_));
            })
        });
        if lost {
            self.abort_others(key, begun.as_deref().ok());
        }
        begun
    }

    /// Aborts, if it can, the uploads of `key` but `ours`: those that were begun in answers that were lost.
    fn abort_others(&self, key: &str, ours: Option<&str>) {
        for upload in self.list_uploads(key).unwrap_or_default() {
            if upload.key == key && Some(upload.upload_id.as_str()) != ours {
                // What stays is for the next run, or for a lifecycle rule.
                let _ = self.abort_upload(key, &upload.upload_id);
            }
        }
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
            let response = self.send(&call)?;
            let etag = response.header("etag").map(str::to_owned);
            response.drain()?;
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
        let (action, subject) = ("list uploads in", format!("s3://{}/{prefix}", self.bucket));
        let mut marker: Option<UploadMarker> = None;
        let mut seen = HashSet::new();
        loop {
            let mut query = vec![("encoding-type", "url"), ("prefix", prefix), ("uploads", "")];
            if let Some(UploadMarker { key, upload_id }) = &marker {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", upload_id)]);
            }
            let page = self.retry(action, &subject, || {
                let response = self.send(&Call { query: &query, ..Call::new("GET", None) })?;
                parse_uploads(&response.xml()?)
            })?;
            uploads.extend(page.uploads);
            marker = match page.next {
                None => return Ok(uploads),
                Some(next) if !seen.insert(next.clone()) => {
                    let why = "the listing repeats a page".to_owned();
                    return Err(Error::new(action, subject, Cause::Malformed(why)));
                }
                next => next,
            };
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
                let response = self.send(&Call { query: &query, ..Call::new("GET", Some(key)) })?;
                parse_parts(&response.xml()?)
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
        let body = request_bodies::complete_upload(parts);
        let mut tries = 0;
        self.retry("complete upload of", key, || {
            tries += 1;
            let mut call =
                Call { query: &[("uploadId", upload_id)], ..Call::new("POST", Some(key)) };
            call.payload = Some(Payload::Bytes(body.as_bytes()));
            let done = self.send(&call).and_then(|response| parse_completed(&response.xml()?));
            match done {
                // An earlier try went through, and only its answer was lost.
                Err(Cause::S3 { ref code, .. }) if code == "NoSuchUpload" && tries > 1 => {
                    let head = self.head_once(key)?;
                    let ours = etag_of_parts(parts).is_some_and(|etag| etag == head.etag);
                    if head.size.is_none_or(|found| found == size) && ours { Ok(()) } else { done }
                }
                other => other,
            }
        })
    }

    /// Gives a multipart upload up, and frees its parts.
    pub(crate) fn abort_upload(&self, key: &str, upload_id: &str) -> Result<()> {
        let query = [("uploadId", upload_id)];
        let call = Call { query: &query, ..Call::new("DELETE", Some(key)) };
        let attempt = || match self.send(&call).and_then(|response| response.drain()) {
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
        let send = || self.send_for_checksum(&mut Call::new("HEAD", Some(key)));
        let response = match send() {
            // An answer to HEAD has no body that says why: that the credentials have expired, it may be. What
            // is asked for a byte says so, and is sent again with new ones.
            Err(Cause::S3 { status: 400, code, .. }) if code.is_empty() => {
                let mut one_byte = Call::new("GET", Some(key));
                one_byte.headers.push(("range", "bytes=0-0".to_owned()));
                self.send(&one_byte)?.drain()?;
                send()?
            }
            other => other?,
        };
        let head = Head::read(&response);
        response.drain()?;
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
        let mut etag = etag.clone();
        let mut at = range.start;
        let mut buffer = vec![
            0;
            CHUNK_SIZE
                .min(usize::try_from(range.end - range.start).unwrap_or(CHUNK_SIZE))
                .max(1)
        ];
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
            let mut response = self.send_for_checksum(&mut call)?;
            let head = Head::read(&response);
            // Stores that don't know If-Match answer with what they have now.
            let is_known = etag != ETag::None && head.etag != ETag::None;
            let other_size = head.size.filter(|found| *found != size);
            if let Some(found) = other_size
                && is_known
                && head.etag == etag
            {
                // The same object can't have another size: the answer is broken.
                return Err(Cause::Malformed(format!("{found} bytes of {size}")));
            }
            if other_size.is_some() || (is_known && head.etag != etag) {
                return Err(Cause::Changed("the object was replaced after it was listed"));
            }
            if response.status() != if whole { 200 } else { 206 } {
                return Err(Cause::Malformed(format!(
                    "status {} to a ranged GET",
                    response.status()
                )));
            }
            let sent = response.header("content-range").unwrap_or_default();
            if !whole && !begins_at(sent, at) {
                return Err(Cause::Malformed(format!("{sent} in place of bytes from {at} on")));
            }
            sink.head(&head);
            if etag == ETag::None {
                // What goes on after a break has to be of the same version.
                etag = head.etag;
            }
            while at < range.end {
                if self.cancel.is_cancelled() {
                    return Err(Cause::Interrupted);
                }
                let want =
                    buffer.len().min(usize::try_from(range.end - at).unwrap_or(buffer.len()));
                let read = response.read(&mut buffer[..want])?;
                if read == 0 {
                    return Err(Cause::Network("the connection was closed too early".to_owned()));
                }
                sink.write(at, &buffer[..read])?;
                at += read as u64;
            }
            // Where its length was not said, only its end tells.
            if whole && head.size.is_none() && response.read(&mut [0])? > 0 {
                return Err(Cause::Changed("the object is longer than it was listed"));
            }
            response.drain()
        })
    }

    /// Deletes objects, and says of each that stayed why it did.
    pub(crate) fn delete(&self, keys: &[&str]) -> Vec<Result<()>> {
        let (together, alone): (Vec<usize>, Vec<usize>) =
            (0..keys.len()).partition(|&n| request_bodies::fits_xml(keys[n]));
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
            match self.send(&Call::new("DELETE", Some(key))).and_then(|response| response.drain()) {
                // Some stores say so; and an earlier try may have gone through.
                Err(Cause::S3 { code, .. }) if code == "NoSuchKey" => Ok(()),
                other => other,
            }
        })
    }

    fn delete_batch(&self, keys: &[&str]) -> Vec<Result<()>> {
        let mut outcomes: HashMap<&str, Result<()>> = HashMap::new();
        let mut pending: Vec<&str> = keys.to_vec();
        let tried = self.retry("delete", "", || {
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
            .map(|key| outcomes.remove(key).unwrap_or_else(|| Err(failed.clone().of_path(key))))
            .collect()
    }

    /// One request; the outcome of each key, in order.
    fn delete_batch_once(&self, keys: &[&str]) -> Result<Vec<Result<(), Cause>>, Cause> {
        let body = request_bodies::delete_objects(keys);
        let mut md5 = Hasher::md5();
        md5.update(body.as_bytes());
        let mut call = Call { query: &[("delete", "")], ..Call::new("POST", None) };
        call.payload = Some(Payload::Bytes(body.as_bytes()));
        call.headers.push(("content-md5", base64(&md5.finish())));
        let result = parse_deleted(&self.send(&call)?.xml()?)?;
        let deleted: HashSet<String> = result.deleted.into_iter().collect();
        let outcome = |key: &&str| match result.failed.iter().find(|failed| failed.key == **key) {
            _ if deleted.contains(*key) => Ok(()),
            Some(failed) => Err(Cause::S3 {
                status: 200,
                code: failed.code.clone(),
                message: failed.message.clone(),
                retry_after: None,
            }),
            None => Err(Cause::Malformed("DeleteObjects says nothing of this key".to_owned())),
        };
        Ok(keys.iter().map(outcome).collect())
    }
}

/// Whether the range that an answer says it holds begins there.
fn begins_at(content_range: &str, at: u64) -> bool {
    let mut numbers = content_range.split(|c: char| !c.is_ascii_digit());
    numbers.find(|number| !number.is_empty()).is_some_and(|begin| begin.parse() == Ok(at))
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
