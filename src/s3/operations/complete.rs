//! Completing a multipart upload, and proving that the store has all of it.
//!
//! The request names the size and the CRC of the whole object, so that the store can check both. Some
//! stores refuse one or the other; these get neither.
//!
//! A store may confirm an upload although it has lost a part. An upload counts as complete if one of
//! these holds:
//!
//! 1. The response contains the checksum of what was sent.
//! 2. Its ETag is the one that S3 gives an object of these parts.
//! 3. Neither can be compared (encryption, other kinds of ETags), and a HEAD request shows the right size. An
//!    ETag can be compared once the store is known to form it like S3.

use crate::{
    error::{
        Cause, Error, Result,
        s3_code::{self, NO_SUCH_KEY, NO_SUCH_UPLOAD},
    },
    model::etag::ETag,
    s3::{
        checksum::{Checksum, Hasher, base64, hex, md5_of_md5s, unbase64},
        client::Client,
        payload::Payload,
        request::S3Request,
        request_bodies,
        responses::multipart::{Completed, UploadedPart, parse_completed},
    },
};

/// A multipart upload whose parts were sent.
pub(crate) struct SentUpload<'a> {
    pub key: &'a str,
    pub upload_id: &'a str,
    /// In order, without gaps.
    pub parts: &'a [UploadedPart],
    /// The size of the object.
    pub size: u64,
}

const ACTION: &str = "complete upload of";

impl Client {
    /// Completes an upload: makes the parts one object. Returns its ETag.
    pub(crate) fn complete_upload(&self, upload: &SentUpload) -> Result<ETag> {
        let SentUpload { key, upload_id, parts, size } = *upload;
        let body = request_bodies::complete_upload(parts);
        let query = [("uploadId", upload_id)];
        let mut tries = 0;
        let completed = self.retry(ACTION, key, || {
            tries += 1;
            let request = || {
                S3Request::new("POST", Some(key))
                    .query(&query)
                    .payload(Payload::Bytes(body.as_bytes()))
            };
            let send = |request: &S3Request| {
                self.send(request).and_then(|response| parse_completed(&response.xml()?))
            };
            let mut checked = request();
            checked.headers = self.completion_headers(parts, size);
            let is_checked = !checked.headers.is_empty();
            let mut completed = send(&checked);
            if let Err(cause) = &completed
                && is_checked
            {
                if is_mismatch(cause) {
                    // The parts at the store are not what was sent, or it refuses such a checksum. The
                    // upload begins again, and its completion has no checksum.
                    self.quirks.refuses_whole_checksum.set();
                    return Ok(Err(cause.clone()));
                }
                if self.lacks_part_checksums(parts)
                    && matches!(cause, Cause::S3 { status: 400, .. })
                {
                    // The upload was started with checksums that the store has refused since.
                    return Ok(Err(cause.clone()));
                }
                if may_refuse_headers(cause) && !self.quirks.accepted_completion.is_set() {
                    let plain = send(&request());
                    if plain.is_ok() {
                        self.quirks.refuses_completion_headers.set();
                    }
                    completed = plain.or(completed);
                }
            } else if is_checked {
                self.quirks.accepted_completion.set();
            }
            match completed {
                // An earlier try may have succeeded, and only its response was lost.
                Err(ref cause) if cause.is_s3(NO_SUCH_UPLOAD) && tries > 1 => {
                    let head = self.head_once(key)?;
                    let is_size = head.size.is_none_or(|found| found == size);
                    let is_etag = multipart_etag(parts).is_some_and(|etag| etag == head.etag);
                    let etag = head.etag;
                    let recovered = || Ok(Completed { etag, checksums: Vec::new() });
                    if is_size && is_etag { recovered() } else { completed }
                }
                other => other,
            }
            .map(Ok)
        })?;
        let corrupt = |why: String| Error::new(ACTION, key, Cause::Corrupt(why));
        let completed =
            completed.map_err(|cause| corrupt(format!("the store refuses the parts: {cause}")))?;
        self.check_completed(upload, &completed)?;
        Ok(completed.etag)
    }

    /// The headers with which the store checks the whole object.
    fn completion_headers(&self, parts: &[UploadedPart], size: u64) -> Vec<(&'static str, String)> {
        if self.quirks.refuses_completion_headers.is_set() {
            return Vec::new();
        }
        let mut headers = vec![("x-amz-mp-object-size", size.to_string())];
        if !self.quirks.refuses_whole_checksum.is_set()
            && let Some((algorithm, value)) = whole_checksum(parts)
            && let Some(header) = algorithm.header().filter(|_| algorithm.spans_parts())
        {
            headers.push((header, value));
            headers.push(("x-amz-checksum-type", "FULL_OBJECT".to_owned()));
        }
        headers
    }

    /// Whether checksums of parts, which a composite checksum needs, were refused.
    fn lacks_part_checksums(&self, parts: &[UploadedPart]) -> bool {
        let is_composite = self.checksum != Checksum::None && !self.checksum.spans_parts();
        let are_missing = parts.iter().any(|part| part.checksum.is_none());
        is_composite && are_missing && self.quirks.refuses_checksums.is_set()
    }

    /// Proves that the store has the whole object.
    fn check_completed(&self, upload: &SentUpload, completed: &Completed) -> Result<()> {
        let SentUpload { key, parts, size, .. } = *upload;
        let corrupt = |why: String| Err(Error::new(ACTION, key, Cause::Corrupt(why)));
        let expected = whole_checksum(parts);
        // One of another length is malformed.
        let found = expected.as_ref().and_then(|(algorithm, expected)| {
            let mut checksums = completed.checksums.iter();
            let (_, value) = checksums.find(|(found, _)| found == algorithm)?;
            (value.len() == expected.len()).then_some(value)
        });
        let expected = expected.as_ref().map(|(_, value)| value);
        let expected_etag = multipart_etag(parts);
        let is_etag_of_parts = expected_etag.as_ref() == Some(&completed.etag);
        if is_etag_of_parts {
            self.quirks.etags_are_of_parts.set();
        }
        if found.is_some() && found == expected || is_etag_of_parts {
            return Ok(());
        }
        if found.is_some() {
            return corrupt("the store has another checksum than was sent".to_owned());
        }
        let is_opaque = match self.head(key) {
            Ok(head) if head.size.is_some_and(|found| found != size) => {
                let found = head.size.unwrap_or_default();
                return corrupt(format!(
                    "the store has {found} of {size} bytes, although it confirmed all parts"
                ));
            }
            Err(error) if error.cause().is_s3(NO_SUCH_KEY) => {
                let what = "the store does not have the object, although it confirmed the upload";
                return corrupt(what.to_owned());
            }
            Err(error) if error.is_interrupted() => return Err(error),
            Ok(head) => head.opaque_etag,
            // The permission for HEAD may be missing.
            Err(_) => false,
        };
        // The size is right, so no later run would notice that the content is not.
        // Other stores have other ETags of this form, and keys of SSE-KMS change them.
        if matches!(completed.etag, ETag::Parts(..))
            && expected_etag.is_some()
            && self.quirks.etags_are_of_parts.is_set()
            && !is_opaque
        {
            let _ = self.delete(&[key]);
            let what = "the store has other content than was sent: its ETag differs";
            return corrupt(format!("{what}; the object was deleted"));
        }
        Ok(())
    }
}

/// Whether the store has compared the whole object with what the request names, and found a difference.
fn is_mismatch(cause: &Cause) -> bool {
    let Cause::S3 { code, message, .. } = cause else { return false };
    s3_code::is_wrong_checksum(code) || code == "InvalidRequest" && message.contains("match")
}

/// Whether the store may refuse the additional headers of a completion.
fn may_refuse_headers(cause: &Cause) -> bool {
    let Cause::S3 { status, code, .. } = cause else { return false };
    matches!(status, 200 | 400 | 501) && s3_code::may_reject_a_header(code) && !cause.is_retryable()
}

/// The checksum of the whole object, if all parts were sent with the same algorithm: that of the
/// content or, for hashes, the composite one.
fn whole_checksum(parts: &[UploadedPart]) -> Option<(Checksum, String)> {
    let algorithm = parts.first()?.digest.algorithm;
    let digests: Option<Vec<(Vec<u8>, u64)>> = parts
        .iter()
        .map(|part| {
            let is_same = part.digest.algorithm == algorithm;
            Some((unbase64(&part.digest.value).filter(|_| is_same)?, part.len))
        })
        .collect();
    let digests = digests?;
    if algorithm == Checksum::None {
        return None;
    }
    if let Some(whole) = algorithm.combine(&digests) {
        return Some((algorithm, base64(&whole)));
    }
    let mut composite = Hasher::new(algorithm);
    digests.iter().for_each(|(digest, _)| composite.update(digest));
    Some((algorithm, format!("{}-{}", base64(&composite.finish()), parts.len())))
}

/// The ETag that S3 gives an object made of these parts. `None` if their ETags are not MD5s.
fn multipart_etag(parts: &[UploadedPart]) -> Option<ETag> {
    let md5 = |part: &UploadedPart| match ETag::parse(&part.etag) {
        ETag::Md5(md5) => Some(md5),
        _ => None,
    };
    let md5s: Option<Vec<[u8; 16]>> = parts.iter().map(md5).collect();
    Some(ETag::parse(&format!("{}-{}", hex(&md5_of_md5s(md5s?)), parts.len())))
}
