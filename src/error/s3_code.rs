//! The error codes of S3 and how s3keep reacts to each: the only place that names them.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>

pub(crate) const ACCESS_DENIED: &str = "AccessDenied";
pub(crate) const AUTHORIZATION_HEADER_MALFORMED: &str = "AuthorizationHeaderMalformed";
pub(crate) const INVALID_OBJECT_STATE: &str = "InvalidObjectState";
pub(crate) const NO_SUCH_KEY: &str = "NoSuchKey";
pub(crate) const NO_SUCH_UPLOAD: &str = "NoSuchUpload";
pub(crate) const PERMANENT_REDIRECT: &str = "PermanentRedirect";
pub(crate) const SLOW_DOWN: &str = "SlowDown";

/// Whether every other request would fail in the same way.
pub(crate) fn is_fatal(code: &str) -> bool {
    matches!(
        code,
        "NoSuchBucket"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "AccountProblem"
            | "AllAccessDisabled"
            | "NotSignedUp"
            | PERMANENT_REDIRECT
    )
}

/// Whether the store has no space left, or a quota is used up: no upload can succeed.
pub(crate) fn is_full(status: u16, code: &str) -> bool {
    status == 507
        || matches!(
            code,
            "QuotaExceeded"
                | "InsufficientStorage"
                | "StorageFull"
                | "StorageQuotaExceeded"
                | "BucketQuotaExceeded"
                | "XMinioStorageFull"
                | "XMinioAdminBucketQuotaExceeded"
        )
}

/// Whether the same request may succeed a moment later.
///
/// The list follows the standard retry mode of the AWS SDKs (transient and throttling errors), plus these:
///
/// - 425 (Too Early), 499 (nginx: the client closed the request), and 509 (the bandwidth is used up);
/// - 520 to 524 and 530, which Cloudflare sends when it cannot reach a store;
/// - checksum mismatches: a bit that flipped in transit is unlikely to flip twice.
pub(crate) fn is_retryable(status: u16, code: &str) -> bool {
    matches!(status, 408 | 425 | 429 | 499 | 500 | 502..=504 | 509 | 520..=524 | 530)
        || is_throttling(status, code)
        || is_wrong_checksum(code)
        || matches!(
            code,
            "InternalError"
                | "RequestTimeout"
                | "RequestTimeoutException"
                | "ServiceUnavailable"
                | "TransactionInProgressException"
                | "RequestTimeTooSkewed"
                | "XAmzContentSHA256Mismatch"
                | "IncompleteBody"
                | "OperationAborted"
        )
}

/// Whether the server asks for fewer requests. Some servers send these codes with status 400.
pub(crate) fn is_throttling(status: u16, code: &str) -> bool {
    matches!(status, 429 | 503 | 509)
        || matches!(
            code,
            // The codes of the AWS SDKs.
            SLOW_DOWN
                | "BandwidthLimitExceeded"
                | "EC2ThrottledException"
                | "LimitExceededException"
                | "PriorRequestNotComplete"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
                | "RequestThrottled"
                | "RequestThrottledException"
                | "ThrottledException"
                | "Throttling"
                | "ThrottlingException"
                | "TooManyRequestsException"
                // Those of other servers.
                | "QpsLimitExceeded"
                | "RateLimitExceeded"
                | "ServerBusy"
                | "SlowDownRead"
                | "SlowDownWrite"
                | "TooManyRequests"
        )
}

/// Whether newer credentials may help.
pub(crate) fn is_expired_credentials(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")
}

/// Whether a store may mean that it does not support a request header. The code is empty where the
/// response had no body to contain one.
pub(crate) fn may_reject_a_header(code: &str) -> bool {
    matches!(code, "" | "InvalidArgument" | "InvalidRequest" | "NotImplemented")
}

/// Whether a store may mean that it requires a signed payload.
pub(crate) fn may_reject_an_unsigned_payload(code: &str) -> bool {
    matches!(code, "SignatureDoesNotMatch" | "XAmzContentSHA256Mismatch")
}

/// Whether a checksum in the request does not match the content.
pub(crate) fn is_wrong_checksum(code: &str) -> bool {
    matches!(code, "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch")
}

/// The code that a response without a body stands for. Responses to HEAD never have a body.
pub(crate) fn of_status(status: u16) -> &'static str {
    match status {
        301 => PERMANENT_REDIRECT,
        403 => ACCESS_DENIED,
        404 => NO_SUCH_KEY,
        503 => SLOW_DOWN,
        _ => "",
    }
}
