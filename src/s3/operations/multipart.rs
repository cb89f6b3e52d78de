//! Multipart uploads.

use std::collections::HashSet;

use crate::{
    error::{Cause, Error, Result, s3_code::NO_SUCH_UPLOAD},
    s3::{
        checksum::Checksum,
        client::Client,
        operations::content::SentContent,
        payload::Payload,
        request::S3Request,
        responses::multipart::{
            ListedParts, OpenUpload, UploadMarker, UploadedPart, parse_parts, parse_upload_id,
            parse_uploads,
        },
    },
};

impl Client {
    /// Starts a multipart upload. Returns its upload ID.
    pub(crate) fn create_upload(&self, key: &str) -> Result<String> {
        let mut response_lost = false;
        let created = self.retry("start upload of", key, || {
            self.create_upload_once(key).inspect_err(|cause| {
                response_lost |= matches!(cause, Cause::Network(_) | Cause::Malformed(_));
            })
        });
        if response_lost {
            self.abort_other_uploads(key, created.as_deref().ok());
        }
        created
    }

    /// Starts an upload. If the store refuses the headers for the checksum, starts one without.
    fn create_upload_once(&self, key: &str) -> Result<String, Cause> {
        let create = |checksum: Checksum| {
            let mut request = S3Request::new("POST", Some(key))
                .query(&[("uploads", "")])
                .payload(Payload::Bytes(b""));
            if checksum != Checksum::None {
                request.headers.push(("x-amz-checksum-algorithm", checksum.name().to_owned()));
                if checksum.spans_parts() {
                    request.headers.push(("x-amz-checksum-type", "FULL_OBJECT".to_owned()));
                }
            }
            parse_upload_id(&self.send(&request)?.xml()?)
        };
        let checksum = self.upload_checksum();
        match create(checksum) {
            Err(refused)
                if checksum != Checksum::None
                    && refused.may_reject_a_header()
                    && (!self.quirks.accepted_start.is_set()
                        || self.upload_checksum() != checksum) =>
            {
                match create(Checksum::None) {
                    Err(Cause::S3 { status: 400..=499 | 501, .. }) => Err(refused),
                    other => other.inspect(|_| self.quirks.refuses_checksums.set()),
                }
            }
            created => created.inspect(|_| self.quirks.accepted_start.set()),
        }
    }

    /// Aborts the uploads of `key` that were started by requests whose responses were lost: all
    /// except `upload_id`. Failures are ignored.
    fn abort_other_uploads(&self, key: &str, upload_id: Option<&str>) {
        for upload in self.list_uploads(key).unwrap_or_default() {
            if upload.key == key && Some(upload.upload_id.as_str()) != upload_id {
                // The next run, or a lifecycle rule, aborts an upload that is left.
                let _ = self.abort_upload(key, &upload.upload_id);
            }
        }
    }

    /// Uploads part `number` (from 1).
    pub(crate) fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: u32,
        payload: Payload,
    ) -> Result<UploadedPart> {
        let (text, len) = (number.to_string(), payload.len());
        let query = [("partNumber", text.as_str()), ("uploadId", upload_id)];
        let uploaded = self.retry("upload", key, || {
            let sent = self.send_content("UploadPart", key, &query, payload)?;
            let SentContent { etag_header: etag, digest, is_confirmed, .. } = sent;
            // S3 combines the CRCs of the parts itself. It needs the hashes of the parts again to
            // compute a composite checksum. A store that returned none does not know them (Swift).
            let algorithm = digest.algorithm;
            let is_named = is_confirmed && !algorithm.spans_parts();
            let checksum = is_named.then(|| (algorithm, digest.value.clone()));
            Ok(UploadedPart { etag, len, checksum, digest })
        });
        uploaded.map_err(|error| match part_limit(number.into(), error.cause()) {
            None => error,
            Some(limit) => {
                self.quirks.limit_parts(limit);
                let cause = Box::new(error.cause().clone());
                Error::new("upload", key, Cause::TooManyParts(cause))
            }
        })
    }

    /// The most parts that the store is known or expected to allow in an upload.
    pub(crate) fn max_parts(&self) -> u64 {
        self.quirks.max_parts()
    }

    /// Lists the open uploads under `prefix`.
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
                parse_uploads(&self.send(&S3Request::new("GET", None).query(&query))?.xml()?)
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

    /// Lists the parts of an open upload that the server has.
    pub(crate) fn list_parts(&self, key: &str, upload_id: &str) -> Result<ListedParts> {
        let mut listed = ListedParts::default();
        let mut after = 0;
        loop {
            let marker = after.to_string();
            let query = [("part-number-marker", marker.as_str()), ("uploadId", upload_id)];
            let page = self.retry("list parts of", key, || {
                parse_parts(&self.send(&S3Request::new("GET", Some(key)).query(&query))?.xml()?)
            })?;
            listed.parts.extend(page.parts);
            listed.algorithm = page.algorithm;
            match page.next {
                Some(next) if next > after => after = next,
                _ => return Ok(listed),
            }
        }
    }

    /// Whether an upload whose parts were sent with the checksum `algorithm` can be resumed and
    /// completed.
    pub(crate) fn can_resume_with(&self, algorithm: Option<&str>) -> bool {
        // A composite checksum needs the hashes of all parts, which a listing may not contain.
        let checksum = self.upload_checksum();
        let needs_part_checksums = checksum != Checksum::None && !checksum.spans_parts();
        !needs_part_checksums && algorithm.is_none_or(|name| name == checksum.name())
    }

    /// Aborts an upload, which frees its parts. An upload that does not exist counts as aborted.
    pub(crate) fn abort_upload(&self, key: &str, upload_id: &str) -> Result<()> {
        let query = [("uploadId", upload_id)];
        let request = S3Request::new("DELETE", Some(key)).query(&query);
        let abort_once = || match self.send(&request).and_then(|response| response.drain()) {
            Err(cause) if cause.is_s3(NO_SUCH_UPLOAD) => Ok(()),
            other => other,
        };
        if self.cancel.is_cancelled() {
            // After a cancellation, uploads are still cleaned up, but not retried.
            return abort_once().map_err(|cause| Error::new("abort upload of", key, cause));
        }
        self.retry("abort upload of", key, abort_once)
    }
}

/// The limits of parts that are assumed if an error does not name the limit.
const PART_LIMITS: [u64; 4] = [1_000, 500, 100, 10];

/// No store is expected to allow fewer parts.
const MIN_PART_LIMIT: u64 = 10;

/// The most parts that the store allows, if it may have refused part `number` because of its number.
///
/// Scaleway allows 1,000. If the cause is another one, the next try with larger parts fails as well.
fn part_limit(number: u64, cause: &Cause) -> Option<u64> {
    let Cause::S3 { status: 400, code, message, .. } = cause else { return None };
    let may_be_number =
        code.contains("Part") || ["InvalidArgument", "InvalidRequest"].contains(&&**code);
    let assumed =
        PART_LIMITS.into_iter().find(|limit| *limit < number).filter(|_| may_be_number)?;
    // "Part number must be an integer between 1 and 1000, inclusive"
    let numbers = message.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let named = numbers.filter(|limit| (MIN_PART_LIMIT..number).contains(limit)).max();
    Some(named.unwrap_or(assumed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_of_parts_is_read_from_the_error_or_assumed() {
        let refused = |code: &str, message: &str| {
            let (code, message) = (code.to_owned(), message.to_owned());
            Cause::S3 { status: 400, code, message, retry_after: None }
        };
        let between = "Part number must be an integer between 1 and 2000, inclusive";
        for (number, code, message, limit) in [
            (10_000, "InvalidArgument", between, Some(2_000)),
            (1_500, "InvalidArgument", between, Some(1_000)),
            (1_001, "InvalidPart", "", Some(1_000)),
            (10_000, "TooManyParts", "", Some(1_000)),
            (10_000, "InvalidArgument", "a number between 1 and 1000", Some(1_000)),
            (13, "InvalidPartNumber", "part 13 of 15", Some(10)),
            (10, "InvalidArgument", "", None),
            (1_001, "NoSuchUpload", "", None),
        ] {
            assert_eq!(part_limit(number, &refused(code, message)), limit, "{number} {code}");
        }
    }
}
