//! Request bodies, and the checks of their checksums.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{StatusCode, header::HeaderMap};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, dto, s3_error};

use super::checksum::{ALGORITHMS, Checksum, digest, md5};

/// A request's body as it was sent. It travels in the request's extensions.
#[derive(Clone)]
pub(super) struct RawBody(pub Bytes);

/// Reads a body and makes all checks that the request's headers and trailers ask for.
pub(super) async fn read_verified(
    body: Option<dto::StreamingBlob>,
    headers: &HeaderMap,
    trailers: Option<TrailingHeaders>,
) -> S3Result<(Bytes, Option<Checksum>)> {
    let body = read(body).await?;
    verify_md5(&body, headers)?;
    let trailers = trailers.and_then(|trailers| trailers.take()).unwrap_or_default();
    let checksum = match verify_checksum(&body, headers)? {
        Some(checksum) => Some(checksum),
        None => verify_checksum(&body, &trailers)?,
    };
    if checksum.is_none() && headers.contains_key("x-amz-sdk-checksum-algorithm") {
        let message = "x-amz-sdk-checksum-algorithm specified, but no corresponding \
                       x-amz-checksum-* or x-amz-trailer headers were found.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    Ok((body, checksum))
}

/// Reads a body. While it is read, s3s checks it against `x-amz-content-sha256`.
async fn read(body: Option<dto::StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    match s3s::Body::from(body).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        // The type of this error is private to s3s; its text is the only way to classify it.
        Err(error) if format!("{error:?}").contains("Sha256Mismatch") => Err(sha256_mismatch()),
        Err(error) if format!("{error:?}").contains("SignatureMismatch") => {
            Err(s3_error!(SignatureDoesNotMatch, "A chunk's signature does not match."))
        }
        Err(error) => Err(s3_error!(IncompleteBody, "The body cannot be read: {error}")),
    }
}

pub(super) fn sha256_mismatch() -> S3Error {
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    let mut error =
        S3Error::with_message(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()), message);
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

pub(super) fn verify_md5(body: &[u8], headers: &HeaderMap) -> S3Result<()> {
    let Some(sent) = headers.get("content-md5") else { return Ok(()) };
    match BASE64.decode(sent.as_bytes()) {
        Ok(sent) if sent.len() == 16 => {
            if sent != md5(body) {
                return Err(s3_error!(
                    BadDigest,
                    "The Content-MD5 you specified did not match what we received."
                ));
            }
            Ok(())
        }
        _ => Err(s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid.")),
    }
}

/// Checks a body against the `x-amz-checksum-*` header or trailer, and returns that checksum.
pub(super) fn verify_checksum(body: &[u8], headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut sent = ALGORITHMS.into_iter().filter_map(|algorithm| {
        let value = headers.get(format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase()))?;
        Some((algorithm, String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    let Some((algorithm, value)) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        let message =
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
        return Err(s3_error!(InvalidRequest, "{message}"));
    }
    let name = algorithm.to_ascii_lowercase();
    let computed = digest(algorithm, body);
    match BASE64.decode(&value) {
        Ok(bytes) if bytes == computed => Ok(Some(Checksum { algorithm, value, composite: false })),
        Ok(bytes) if bytes.len() == computed.len() => Err(s3_error!(
            BadDigest,
            "The {algorithm} you specified did not match the calculated checksum."
        )),
        _ => Err(s3_error!(InvalidRequest, "Value for x-amz-checksum-{name} header is invalid.")),
    }
}
