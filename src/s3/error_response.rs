//! Interprets responses that report an error.

use crate::{
    error::{Cause, s3_code},
    s3::{
        responses::{
            error::{ErrorBody, parse_error, parse_nested_error, parse_region},
            not_s3,
        },
        retry::retry_after_seconds,
        transport::{Response, USE_HTTPS, expects_tls},
    },
};

/// The longest error body that is read, in bytes.
const MAX_ERROR_BODY: u64 = 64 << 10;

/// A response that reports an error.
pub(crate) struct ErrorResponse {
    pub cause: Cause,
    /// The region that the request should have been sent to or signed for, if the server names one.
    pub region: Option<String>,
}

impl ErrorResponse {
    /// Reads a response without success. `is_conditional`: the request has an If-Match, so that 412
    /// means another version of the object.
    pub(crate) fn read(response: Response, is_conditional: bool) -> ErrorResponse {
        let status = response.status();
        let retry_after = response.header("retry-after");
        let retry_after =
            retry_after.and_then(|text| retry_after_seconds(text, response.header("date")));
        let bucket_region = response.header("x-amz-bucket-region").map(str::to_owned);
        let location = response.header("location").map(str::to_owned);
        let body = match response.lossy_text(MAX_ERROR_BODY) {
            Ok(body) => body,
            // The error is unknown. The status alone must not stand for it: a 404 may mean success.
            Err(cause) => return ErrorResponse { cause, region: None },
        };
        if status == 412 && is_conditional {
            return ErrorResponse { cause: Cause::OBJECT_REPLACED, region: None };
        }
        let parsed = parse_error(&body).or_else(|| parse_nested_error(&body));
        let ErrorBody { code, mut message } = parsed.unwrap_or_else(|| {
            // A body that is not from S3 says nothing about the object.
            let code = if body.is_empty() { s3_code::of_status(status) } else { "" };
            ErrorBody { code: code.to_owned(), message: not_s3::message(status, &body) }
        });
        if code.is_empty() && expects_tls(status, &body) {
            message = USE_HTTPS.to_owned();
        }
        if let Some(location) = location
            && (300..400).contains(&status)
            && (code.is_empty() || message.is_empty())
        {
            // For example from http to https. Redirects are not followed to a server that the user
            // did not name.
            let target = location.split('?').next().unwrap_or_default();
            message = format!("redirect to {target}, which is not followed; change the endpoint");
        }
        let region = bucket_region.or_else(|| {
            let is_wrong_region = code == s3_code::AUTHORIZATION_HEADER_MALFORMED;
            is_wrong_region.then(|| parse_region(&body)).flatten()
        });
        let region = region.filter(|_| matches!(status, 301 | 307 | 400 | 403));
        ErrorResponse { cause: Cause::S3 { status, code, message, retry_after }, region }
    }
}
