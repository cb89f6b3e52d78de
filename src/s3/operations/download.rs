//! Downloading an object or a part of it.

use std::ops::Range;

use crate::{
    error::{Cause, Result},
    model::etag::ETag,
    s3::{
        client::Client, operations::head::Head, payload::CHUNK_SIZE, request::S3Request,
        transport::Response,
    },
};

/// The most tries of one download that count as progress.
const MAX_TRIES_WITH_PROGRESS: u64 = 1_000;

/// Receives a download.
pub(crate) trait Sink {
    /// Receives the head of a response. Called again when a broken download is resumed.
    fn head(&mut self, head: &Head);
    /// Receives the bytes at `offset` of the object. They follow directly on the previous ones.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause>;
}

/// A range of an object, and how much of it was received.
struct Download<'a> {
    key: &'a str,
    /// The version to download. If it is unknown, that of the first response.
    etag: ETag,
    /// The size of the whole object.
    size: u64,
    range: Range<u64>,
    /// Where the next byte belongs.
    position: u64,
}

impl Client {
    /// Downloads the bytes `range` of the version `etag` of an object of `size` bytes.
    ///
    /// `sink` receives the head of each response, and then the bytes in order. After a broken
    /// connection, the next try resumes where the last one ended.
    pub(crate) fn get(
        &self,
        key: &str,
        etag: &ETag,
        size: u64,
        range: Range<u64>,
        sink: &mut impl Sink,
    ) -> Result<()> {
        let len = usize::try_from(range.end - range.start).unwrap_or(CHUNK_SIZE);
        let mut buffer = vec![0; CHUNK_SIZE.min(len).max(1)];
        let position = range.start;
        let mut download = Download { key, etag: etag.clone(), size, range, position };
        self.retry_with_progress("download", key, |has_progressed| {
            let before = download.position;
            let result = self.get_once(&mut download, &mut buffer, sink);
            *has_progressed = is_progress(download.position - before, len as u64);
            result
        })
    }

    fn get_once(
        &self,
        download: &mut Download,
        buffer: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<(), Cause> {
        if download.position == download.range.end && download.position > download.range.start {
            // All bytes were received, and only the end of the response was lost.
            return Ok(());
        }
        let mut response = self.send_for_checksum(&mut download.request())?;
        let head = Head::read(&response);
        download.check(&response, &head)?;
        sink.head(&head);
        if download.etag == ETag::None {
            // A resumed download must continue with the same version.
            download.etag = head.etag;
        }
        let is_whole = download.is_whole();
        while download.position < download.range.end {
            if self.cancel.is_cancelled() {
                return Err(Cause::Interrupted);
            }
            let left = usize::try_from(download.range.end - download.position);
            let want = buffer.len().min(left.unwrap_or(buffer.len()));
            let read = response.read(&mut buffer[..want])?;
            if read == 0 {
                return Err(Cause::closed_early());
            }
            sink.write(download.position, &buffer[..read])?;
            download.position += read as u64;
        }
        // If the response did not state its length, only its end shows the size of the object.
        if is_whole && head.size.is_none() && response.read(&mut [0])? > 0 {
            return Err(Cause::Changed("the object is longer than its listed size"));
        }
        response.drain()
    }
}

impl<'a> Download<'a> {
    /// Whether the next request is for the whole object.
    fn is_whole(&self) -> bool {
        self.position == 0 && self.range.end == self.size
    }

    /// The request for the bytes that are missing.
    fn request(&self) -> S3Request<'a> {
        let mut request = S3Request::new("GET", Some(self.key));
        if !self.is_whole() {
            let (first, last) = (self.position, self.range.end - 1);
            request.headers.push(("range", format!("bytes={first}-{last}")));
        }
        request.headers.extend(self.etag.quoted().map(|etag| ("if-match", etag)));
        request
    }

    /// Checks that a response is for the right version and range.
    fn check(&self, response: &Response, head: &Head) -> Result<(), Cause> {
        // Stores that do not support If-Match respond with the current version.
        let has_etags = self.etag != ETag::None && head.etag != ETag::None;
        let other_size = head.size.filter(|found| *found != self.size);
        if let Some(found) = other_size
            && has_etags
            && head.etag == self.etag
        {
            // The same version cannot have another size, so the response is broken.
            let size = self.size;
            return Err(Cause::Malformed(format!("a size of {found} bytes instead of {size}")));
        }
        if other_size.is_some() || (has_etags && head.etag != self.etag) {
            return Err(Cause::OBJECT_REPLACED);
        }
        let status = response.status();
        if self.is_whole() {
            return match status {
                200 => Ok(()),
                _ => Err(Cause::Malformed(format!("status {status} to a GET of a whole object"))),
            };
        }
        if status != 206 {
            return Err(Cause::Malformed(format!("status {status} to a GET of a range")));
        }
        let content_range = response.header("content-range").unwrap_or("no Content-Range");
        if !starts_at(content_range, self.position) {
            let position = self.position;
            return Err(Cause::Malformed(format!(
                "{content_range} instead of a range that starts at byte {position}"
            )));
        }
        Ok(())
    }
}

/// Whether a try that received `received` of `len` bytes counts as progress. A few bytes do not: a
/// server that sends one byte at a time would otherwise be tried forever.
fn is_progress(received: u64, len: u64) -> bool {
    received > 0 && received >= len / MAX_TRIES_WITH_PROGRESS
}

/// Whether a `Content-Range` starts at this position.
fn starts_at(content_range: &str, position: u64) -> bool {
    let mut numbers = content_range.split(|c: char| !c.is_ascii_digit());
    numbers.find(|number| !number.is_empty()).is_some_and(|first| first.parse() == Ok(position))
}
