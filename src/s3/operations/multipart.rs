//! Multipart uploads.

use std::collections::HashSet;

use crate::{
    error::{Cause, Error, Result, s3_code::NO_SUCH_UPLOAD},
    model::etag::ETag,
    s3::{
        checksum::{Checksum, hex, md5_of_md5s},
        client::Client,
        payload::Payload,
        request::S3Request,
        request_bodies,
        responses::multipart::{
            ListedParts, OpenUpload, UploadMarker, UploadedPart, parse_completed, parse_parts,
            parse_upload_id, parse_uploads,
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

    fn create_upload_once(&self, key: &str) -> Result<String, Cause> {
        let mut request = S3Request::new("POST", Some(key))
            .query(&[("uploads", "")])
            .payload(Payload::Bytes(b""));
        if self.checksum != Checksum::None {
            let algorithm = self.checksum.name().to_owned();
            request.headers.push(("x-amz-checksum-algorithm", algorithm));
            if self.checksum.spans_parts() {
                request.headers.push(("x-amz-checksum-type", "FULL_OBJECT".to_owned()));
            }
        }
        parse_upload_id(&self.send(&request)?.xml()?)
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
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload_id)];
        self.retry("upload", key, || {
            let mut request = S3Request::new("PUT", Some(key)).query(&query);
            let digest = self.attach_content(&mut request, payload)?;
            let response = self.send(&request)?;
            let etag = response.header("etag").map(str::to_owned);
            response.drain()?;
            let etag =
                etag.ok_or_else(|| Cause::Malformed("UploadPart without an ETag".to_owned()))?;
            // S3 combines the CRCs of the parts itself. It needs the hashes of the parts again to
            // compute a composite checksum.
            let header = self.checksum.header().filter(|_| !self.checksum.spans_parts());
            let checksum = request.headers.into_iter().find(|(name, _)| Some(*name) == header);
            let checksum = checksum.map(|(_, value)| (self.checksum, value));
            Ok(UploadedPart { etag, checksum, digest })
        })
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
        let needs_part_checksums = self.checksum != Checksum::None && !self.checksum.spans_parts();
        !needs_part_checksums && algorithm.is_none_or(|name| name == self.checksum.name())
    }

    /// Completes an upload: makes the parts one object of `size` bytes. Returns its ETag.
    pub(crate) fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[UploadedPart],
        size: u64,
    ) -> Result<ETag> {
        let body = request_bodies::complete_upload(parts);
        let query = [("uploadId", upload_id)];
        let mut tries = 0;
        self.retry("complete upload of", key, || {
            tries += 1;
            let request = S3Request::new("POST", Some(key))
                .query(&query)
                .payload(Payload::Bytes(body.as_bytes()));
            let completed =
                self.send(&request).and_then(|response| parse_completed(&response.xml()?));
            match completed {
                // An earlier try may have succeeded, and only its response was lost.
                Err(ref cause) if cause.is_s3(NO_SUCH_UPLOAD) && tries > 1 => {
                    let head = self.head_once(key)?;
                    let is_size = head.size.is_none_or(|found| found == size);
                    let is_etag = multipart_etag(parts).is_some_and(|etag| etag == head.etag);
                    if is_size && is_etag { Ok(head.etag) } else { completed }
                }
                other => other,
            }
        })
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

/// The ETag that S3 gives an object made of these parts. `None` if their ETags are not MD5s.
fn multipart_etag(parts: &[UploadedPart]) -> Option<ETag> {
    let md5 = |part: &UploadedPart| match ETag::parse(&part.etag) {
        ETag::Md5(md5) => Some(md5),
        _ => None,
    };
    let md5s: Option<Vec<[u8; 16]>> = parts.iter().map(md5).collect();
    Some(ETag::parse(&format!("{}-{}", hex(&md5_of_md5s(md5s?)), parts.len())))
}
