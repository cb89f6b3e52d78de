//! Downloading an object or a part of it.
//!
//! A response may have less or more than the range that was asked for, or the whole object. It is used if
//! its `Content-Range` says so:
//!
//! | response to a GET of a range | what follows |
//! | --- | --- |
//! | `Content-Range` is the range, with status 206 or 200 | it is read |
//! | `Content-Range` starts earlier or ends later | the bytes around the range are dropped |
//! | `Content-Range` ends earlier | the rest is requested |
//! | `Content-Range` does not have the next byte | the response is broken: another try |
//! | no `Content-Range`, or status 416 or 501 | the object must come in one GET: a response of its size is read |
//!
//! A response that is not for the stored bytes, because the store or a proxy decodes the object, is not
//! read. The request is sent again and accepts encoded content.

use std::ops::Range;

use crate::{
    error::{Cause, Result},
    s3::{
        client::Client,
        operations::{content_range, head::Head, version::Version},
        payload::CHUNK_SIZE,
        request::S3Request,
        transport::Response,
    },
};

/// The codings that a request accepts if the store decodes the object otherwise. Cloudflare decodes both.
const STORED_ENCODINGS: &str = "gzip, br";

/// The most tries of one download that count as progress.
const MAX_TRIES_WITH_PROGRESS: u64 = 1_000;

/// Receives a download.
pub(crate) trait Sink {
    /// Receives the head of a response. Called again when a broken download is resumed.
    fn head(&mut self, head: &Head);
    /// Receives the bytes at `offset` of the object. They follow directly on the previous ones.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause>;
    /// Forgets everything: the download starts again, perhaps with other bytes.
    fn restart(&mut self) -> Result<(), Cause>;
}

/// What a request for a range has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Received {
    /// All bytes of the range.
    Range,
    /// Nothing that can be used: the object must come in one GET.
    Nothing,
}

/// A range of an object, and how much of it was received.
struct Download<'a> {
    key: &'a str,
    version: &'a Version,
    range: Range<u64>,
    /// Where the next byte belongs.
    position: u64,
    /// The `Content-Encoding` of the bytes that were received.
    encoding: Option<String>,
}

/// The result of one request.
enum Step {
    /// All bytes were received.
    Done,
    /// The next request continues.
    Continue,
    /// The object must come in one GET.
    NeedsWhole,
}

/// A response that can be read.
struct Opened {
    response: Response,
    head: Head,
    /// The bytes of the object in the response.
    body: Range<u64>,
}

impl Client {
    /// Downloads a version of an object.
    ///
    /// `sink` receives the head of each response, and then the bytes in order. After a broken
    /// connection, the next try resumes where the last one ended, or starts again.
    pub(crate) fn get(&self, key: &str, version: &Version, sink: &mut impl Sink) -> Result<()> {
        self.get_range(key, version, 0..version.size, sink).map(|_| ())
    }

    /// Downloads the bytes `range` of a version of an object, as [`get`](Client::get) does.
    pub(crate) fn get_range(
        &self,
        key: &str,
        version: &Version,
        range: Range<u64>,
        sink: &mut impl Sink,
    ) -> Result<Received> {
        let len = usize::try_from(range.end - range.start).unwrap_or(CHUNK_SIZE);
        let mut buffer = vec![0; CHUNK_SIZE.min(len).max(1)];
        let position = range.start;
        let mut download = Download { key, version, range, position, encoding: None };
        // The furthest position so far. A download that starts again progresses only beyond it.
        let mut furthest = position;
        loop {
            let receive = |has_progressed: &mut bool| {
                let result = self.receive(&mut download, &mut buffer, sink);
                let received = download.position.saturating_sub(furthest);
                furthest = furthest.max(download.position);
                *has_progressed = is_progress(received, len as u64);
                result
            };
            match self.retry_with_progress("download", key, receive)? {
                Step::Done => return Ok(Received::Range),
                Step::NeedsWhole => return Ok(Received::Nothing),
                Step::Continue => {}
            }
        }
    }

    /// Whether the store is known to return the whole object to a request for a range.
    pub(crate) fn returns_ranges(&self) -> bool {
        !self.quirks.ignores_ranges.is_set()
    }

    fn receive(
        &self,
        download: &mut Download,
        buffer: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<Step, Cause> {
        if download.position == download.range.end && download.position > download.range.start {
            // All bytes were received, and only the end of the response was lost.
            return Ok(Step::Done);
        }
        if download.position > 0 && download.is_object() && !download.version.has_etag() {
            // Nothing but the ETag proves that the rest is of the same version.
            download.restart(sink)?;
        }
        let Some(opened) = self.open(download, sink)? else { return Ok(Step::NeedsWhole) };
        let Opened { mut response, head, body } = opened;
        sink.head(&head);
        let is_whole = download.is_whole();
        let end = body.end.min(download.range.end);
        let mut to_skip = download.position - body.start;
        while download.position < end {
            if self.cancel.is_cancelled() {
                return Err(Cause::Interrupted);
            }
            let left = usize::try_from(end - download.position + to_skip);
            let want = buffer.len().min(left.unwrap_or(buffer.len()));
            let read = response.read(&mut buffer[..want])?;
            if read == 0 && is_whole && head.size.is_none() {
                return download.end_of_body(&head, "sooner", sink);
            }
            if read == 0 {
                return Err(Cause::closed_early());
            }
            let skipped = usize::try_from(to_skip).unwrap_or(read).min(read);
            to_skip -= skipped as u64;
            let bytes = &buffer[skipped..read];
            if !bytes.is_empty() {
                sink.write(download.position, bytes)?;
                download.position += bytes.len() as u64;
            }
        }
        // If the response did not state its length, only its end shows the size of the object.
        if is_whole && head.size.is_none() && response.read(&mut [0])? > 0 {
            return download.end_of_body(&head, "later", sink);
        }
        if body.end <= download.range.end {
            response.drain()?;
        }
        Ok(if end < download.range.end { Step::Continue } else { Step::Done })
    }

    /// Sends requests until there is a response that can be read. `None` if the object must come in one
    /// GET.
    fn open(&self, download: &mut Download, sink: &mut impl Sink) -> Result<Option<Opened>, Cause> {
        let version = download.version;
        // The ETag that the server refused.
        let mut refused: Option<(String, bool)> = None;
        loop {
            let mut request = download.request();
            let is_plain = request.accept_encoding.is_none();
            let condition = version.condition().filter(|(_, is_listed)| {
                refused.is_none()
                    && !self.quirks.refuses_conditions.is_set()
                    && !(*is_listed && self.quirks.refuses_listed_etags.is_set())
            });
            let if_match = condition.iter().map(|(etag, _)| ("if-match", etag.clone()));
            request.headers.extend(if_match);
            let response = match self.send_for_checksum(&mut request) {
                Err(Cause::Changed(_)) if condition.is_some() => {
                    // The object was replaced, or the store has another ETag for it.
                    refused = condition;
                    continue;
                }
                // The answer to the request with the condition counts.
                Err(Cause::S3 { status: 412, .. }) if refused.is_some() => {
                    return Err(Cause::OBJECT_REPLACED);
                }
                Err(Cause::S3 { status: status @ (416 | 501), .. }) if !download.is_whole() => {
                    if status == 501 {
                        self.quirks.ignores_ranges.set();
                    }
                    if !download.is_object() {
                        return Ok(None);
                    }
                    download.restart(sink)?;
                    continue;
                }
                other => other?,
            };
            let head = download.head(&response);
            if download.is_recoded(&head, is_plain)? {
                if download.position > download.range.start && !download.is_object() {
                    return Ok(None);
                }
                download.restart(sink)?;
                continue;
            }
            if let Some((etag, _)) = &refused
                && !head.is_weak
                && head.etag.quoted().as_ref() == Some(etag)
            {
                if !self.refuses(download.key, etag)? {
                    // The server has just denied to have this version.
                    return Err(Cause::OBJECT_REPLACED);
                }
                self.quirks.refuses_conditions.set();
            }
            version.check(&head, condition.is_some())?;
            if matches!(refused, Some((_, true))) {
                self.quirks.refuses_listed_etags.set();
            }
            let Some(body) = download.body(&response)? else {
                self.quirks.ignores_ranges.set();
                if !download.is_object() {
                    return Ok(None);
                }
                download.restart(sink)?;
                // A response of this size has the whole object.
                if response.status() == 200 && head.size == Some(version.size) {
                    version.check(&head, false)?;
                    let body = 0..version.size;
                    download.encoding = Some(head.encoding.clone());
                    return Ok(Some(Opened { response, head, body }));
                }
                continue;
            };
            if !download.is_whole() {
                self.quirks.ignores_ranges.unset();
            }
            if !version.has_etag() && !download.is_object() {
                // Nothing holds the parts together.
                return Ok(None);
            }
            let encoding = download.encoding.get_or_insert_with(|| head.encoding.clone());
            if *encoding != head.encoding {
                return Err(recoded("arrives with and without Content-Encoding"));
            }
            return Ok(Some(Opened { response, head, body }));
        }
    }

    /// Whether the store refuses a request for an object that must have this ETag.
    fn refuses(&self, key: &str, etag: &str) -> Result<bool, Cause> {
        let mut request = S3Request::new("HEAD", Some(key));
        request.headers.push(("if-match", etag.to_owned()));
        match self.send(&request) {
            Ok(response) => response.drain().map(|()| false),
            Err(Cause::Changed(_)) => Ok(true),
            Err(cause) => Err(cause),
        }
    }
}

impl<'a> Download<'a> {
    /// Whether the download is for the whole object.
    fn is_object(&self) -> bool {
        self.range.start == 0 && self.range.end == self.version.size
    }

    /// Whether the next request is for the whole object.
    fn is_whole(&self) -> bool {
        self.position == 0 && self.is_object()
    }

    /// Starts again with the first byte of the range.
    fn restart(&mut self, sink: &mut impl Sink) -> Result<(), Cause> {
        if self.position > self.range.start {
            sink.restart()?;
        }
        self.position = self.range.start;
        self.encoding = None;
        if self.is_object() {
            self.version.restart();
        }
        Ok(())
    }

    /// The request for the bytes that are missing.
    fn request(&self) -> S3Request<'a> {
        let mut request = S3Request::new("GET", Some(self.key));
        if !self.is_whole() {
            let (first, last) = (self.position, self.range.end - 1);
            request.headers.push(("range", format!("bytes={first}-{last}")));
        }
        request.accept_encoding = self.version.accepts_encodings().then_some(STORED_ENCODINGS);
        request
    }

    /// The headers of a response.
    fn head(&self, response: &Response) -> Head {
        let mut head = Head::read(response);
        let asked = self.range.end - self.position;
        let may_be_part = !self.is_whole() && response.header("content-range").is_none();
        if may_be_part && asked < self.version.size {
            // Without Content-Range, this is perhaps the size of the part.
            head.size = head.size.filter(|size| *size != asked);
        }
        head
    }

    /// Whether a response is not for the stored bytes, and the next one may be: it accepts encoded content.
    /// `is_plain`: this one did not.
    fn is_recoded(&self, head: &Head, is_plain: bool) -> Result<bool, Cause> {
        let size = self.version.size;
        let other_size = head.size.filter(|found| *found != size);
        let has_other_size = other_size.is_some() && self.version.may_be_recoded(head);
        if !(head.is_decoded || has_other_size) {
            return Ok(false);
        }
        // Another part of the object may have learned this at the same time.
        if self.version.accept_encodings() || is_plain && self.version.accepts_encodings() {
            return Ok(true);
        }
        match other_size {
            _ if head.may_be_recoded() => Err(recoded("does not arrive as it is stored")),
            Some(found) if self.version.has_listed_etag(head) => {
                // The same version cannot have another size, so the response is broken.
                Err(Cause::Malformed(format!("a size of {found} bytes instead of {size}")))
            }
            _ => Err(Cause::OBJECT_REPLACED),
        }
    }

    /// The body of a response without a length, to a request for the whole object, ended `when` the object
    /// should not.
    fn end_of_body(
        &mut self,
        head: &Head,
        when: &str,
        sink: &mut impl Sink,
    ) -> Result<Step, Cause> {
        if self.version.accept_encodings() {
            self.restart(sink)?;
            return Ok(Step::Continue);
        }
        if when == "sooner" && self.version.refuse_encodings() {
            // It was encoded on its way, or the connection broke.
            self.restart(sink)?;
            return Ok(Step::Continue);
        }
        if head.may_be_recoded() {
            return Err(recoded(&format!("ends {when} than its listed size")));
        }
        match when {
            "later" => Err(Cause::Changed("the object is longer than its listed size")),
            _ => Err(Cause::closed_early()),
        }
    }

    /// The bytes of the object that a response has. `None` if it does not say, though a range was asked
    /// for.
    fn body(&self, response: &Response) -> Result<Option<Range<u64>>, Cause> {
        let status = response.status();
        if self.is_whole() {
            return match status {
                200 => Ok(Some(self.range.clone())),
                _ => Err(Cause::Malformed(format!("status {status} to a GET of a whole object"))),
            };
        }
        if !matches!(status, 200 | 206) {
            return Err(Cause::Malformed(format!("status {status} to a GET of a range")));
        }
        let Some(text) = response.header("content-range") else { return Ok(None) };
        match content_range::parse(text) {
            Some(body) if body.contains(&self.position) => Ok(Some(body)),
            _ => {
                let position = self.position;
                Err(Cause::Malformed(format!(
                    "{text} instead of a range that starts at byte {position}"
                )))
            }
        }
    }
}

/// The error of an object whose stored bytes do not arrive.
fn recoded(why: &str) -> Cause {
    Cause::Recoded(format!(
        "the store or a proxy decodes or encodes the object (Content-Encoding): it {why}; set its \
         Cache-Control to no-transform, or remove its Content-Encoding"
    ))
}

/// Whether a try that received `received` of `len` bytes counts as progress. A few bytes do not: a
/// server that sends one byte at a time would otherwise be tried forever.
fn is_progress(received: u64, len: u64) -> bool {
    received > 0 && received >= len / MAX_TRIES_WITH_PROGRESS
}
