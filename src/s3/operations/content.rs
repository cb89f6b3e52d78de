//! Sending the content of an object or part, and checking what the store says that it received.
//!
//! # Headers that a store refuses
//!
//! Some stores refuse the checksum headers (Backblaze B2), others a payload that is not signed. If the
//! first uploads are refused for a reason that these headers may be, they are sent again: with
//! `Content-MD5` in place of the checksum, or with a signed payload. What the store accepts is used for
//! all later uploads. Each form proves to the store which bytes it should have received.
//!
//! # Proof
//!
//! A store may lose bytes that it confirms. So the response is compared with what was sent: the
//! checksum, if the store returns it, or else the ETag, if it is known that the store uses MD5.

use crate::{
    error::{Cause, Result, s3_code},
    model::etag::ETag,
    s3::{
        checksum::{Checksum, ContentDigest, Hasher, base64},
        client::Client,
        operations::head::Head,
        payload::Payload,
        quirks::Flag,
        request::S3Request,
        transport::Response,
    },
};

/// Content that the store has received.
pub(super) struct SentContent {
    pub etag: ETag,
    /// The ETag as the store sent it.
    pub etag_header: String,
    /// The digest of what was sent.
    pub digest: ContentDigest,
    /// Whether the store returned the checksum.
    pub is_confirmed: bool,
}

/// How content is sent.
#[derive(Clone, Copy, PartialEq)]
struct Form {
    /// The algorithm of the checksum header. [`Checksum::None`] stands for `Content-MD5`.
    checksum: Checksum,
    is_signed: bool,
}

impl Client {
    /// The algorithm of the checksums of uploads.
    pub(super) fn upload_checksum(&self) -> Checksum {
        if self.quirks.refuses_checksums.is_set() { Checksum::None } else { self.checksum }
    }

    /// Sends the content of an object or, with a query, of a part. `operation` names it in an error.
    pub(super) fn send_content(
        &self,
        operation: &str,
        key: &str,
        query: &[(&str, &str)],
        payload: Payload,
    ) -> Result<SentContent, Cause> {
        let accepted = match query {
            [] => &self.quirks.accepted_object,
            _ => &self.quirks.accepted_part,
        };
        let form = self.upload_form();
        let send = |form| self.send_form(operation, key, query, payload, form);
        let cause = match send(form) {
            Ok(sent) => {
                accepted.set();
                return Ok(sent);
            }
            Err(cause) => cause,
        };
        for other in self.other_forms(form, &cause, accepted) {
            match send(other) {
                Ok(sent) => {
                    if other.checksum != form.checksum {
                        self.quirks.refuses_checksums.set();
                    }
                    if other.is_signed != form.is_signed {
                        self.quirks.requires_signed_content.set();
                    }
                    accepted.set();
                    return Ok(sent);
                }
                Err(Cause::S3 { status: 400..=499 | 501, .. }) => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(cause)
    }

    /// The form that the store is known or expected to accept.
    fn upload_form(&self) -> Form {
        let is_signed = self.signs_payloads() || self.quirks.requires_signed_content.is_set();
        Form { checksum: self.upload_checksum(), is_signed }
    }

    /// The forms to try after the store has refused `form`: none if it has `accepted` that form, and
    /// the right one if it has accepted another in the meantime.
    fn other_forms(&self, form: Form, cause: &Cause, accepted: &Flag) -> Vec<Form> {
        let Cause::S3 { code, .. } = cause else { return Vec::new() };
        let may_be_header = cause.may_reject_a_header();
        let may_be_payload = may_be_header || s3_code::may_reject_an_unsigned_payload(code);
        if accepted.is_set() {
            let right = self.upload_form();
            return if may_be_payload && right != form { vec![right] } else { Vec::new() };
        }
        let mut forms = Vec::new();
        let may_sign = may_be_payload && !form.is_signed && self.signs_requests();
        let has_checksum = form.checksum != Checksum::None;
        if may_be_header && has_checksum {
            forms.push(Form { checksum: Checksum::None, ..form });
        }
        if may_sign {
            forms.push(Form { is_signed: true, ..form });
        }
        if may_be_header && has_checksum && may_sign {
            forms.push(Form { checksum: Checksum::None, is_signed: true });
        }
        forms
    }

    fn send_form(
        &self,
        operation: &str,
        key: &str,
        query: &[(&str, &str)],
        payload: Payload,
        form: Form,
    ) -> Result<SentContent, Cause> {
        let mut request = S3Request::new("PUT", Some(key)).query(query);
        let Form { checksum, is_signed } = form;
        let digest = request.attach_content(payload, checksum, is_signed, &self.cancel)?;
        let response = self.send(&request)?;
        let is_confirmed = self.check_received(&response, payload, &digest, is_signed)?;
        // A proxy may respond with 200 to anything. Only a store sends the ETag of what it stored.
        let etag_header = response.header("etag").map(str::to_owned);
        response.drain()?;
        let missing = || Cause::Malformed(format!("{operation} without an ETag"));
        let etag_header = etag_header.ok_or_else(missing)?;
        Ok(SentContent { etag: ETag::parse(&etag_header), etag_header, digest, is_confirmed })
    }

    /// Compares what the store has received with what was sent. Returns whether it confirms the
    /// checksum.
    fn check_received(
        &self,
        response: &Response,
        payload: Payload,
        digest: &ContentDigest,
        is_signed: bool,
    ) -> Result<bool, Cause> {
        let header = digest.algorithm.header().and_then(|header| response.header(header));
        // One of another length is malformed.
        let received = header.filter(|value| value.len() == digest.value.len());
        if received == Some(&digest.value) {
            return Ok(true);
        }
        let head = Head::read(response);
        let ETag::Md5(etag) = head.etag else {
            return if received.is_some() { Err(not_what_was_sent()) } else { Ok(false) };
        };
        let md5 = match digest.algorithm {
            Checksum::None => digest.value.clone(),
            // The store has checked the hash in the signature.
            _ if is_signed && received.is_none() => return Ok(false),
            _ if received.is_none() && self.quirks.etags_are_opaque.is_set() => return Ok(false),
            _ => {
                let [md5] = payload.hash([Hasher::md5()], &self.cancel)?;
                base64(&md5)
            }
        };
        if base64(&etag) == md5 {
            self.quirks.etags_are_md5.set();
        } else if received.is_some() || self.quirks.etags_are_md5.is_set() && !head.opaque_etag {
            return Err(not_what_was_sent());
        } else {
            self.quirks.etags_are_opaque.set();
        }
        Ok(false)
    }
}

fn not_what_was_sent() -> Cause {
    let what = "the store confirms other bytes than were sent: its checksum or ETag differs";
    Cause::Corrupt(what.to_owned())
}
