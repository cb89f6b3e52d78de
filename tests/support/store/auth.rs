//! Access: which keys the store accepts, and which requests it lets pass.

use std::sync::Arc;

use hyper::header::HeaderValue;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    crypto::{self, Checksum as _},
    s3_error,
};

use super::{
    body::{RawBody, sha256_mismatch, verify_checksum, verify_md5},
    checksum::hex,
    server::Shared,
};

/// Looks up secret keys; s3s verifies the signatures with them.
pub(super) struct Auth(pub Arc<Shared>);

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let message = "The AWS Access Key Id you provided does not exist in our records.";
        match self.0.state().keys.get(access_key) {
            Some(key) => Ok(SecretKey::from(key.secret.clone())),
            None => Err(s3_error!(InvalidAccessKeyId, "{message}")),
        }
    }
}

/// Checks each request after s3s has verified its signature or found it unsigned.
pub(super) struct Access(pub Arc<Shared>);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        self.check_credentials(cx)?;
        if matches!(cx.s3_op().name(), "PutObject" | "UploadPart") {
            // The body may still be in chunks. These operations check it when they read it.
            return Ok(());
        }
        let Some(RawBody(body)) = cx.extensions_mut().get::<RawBody>().cloned() else {
            return Ok(());
        };
        let headers = cx.headers();
        // s3s reports this mismatch as an internal error, and misses it if there is no body.
        let hash = headers.get("x-amz-content-sha256").map(HeaderValue::as_bytes);
        if hash.is_some_and(|hash| {
            hash.len() == 64 && hash != hex(&crypto::Sha256::checksum(&body)).as_bytes()
        }) {
            return Err(sha256_mismatch());
        }
        verify_md5(&body, headers)?;
        if cx.s3_op().name() == "DeleteObjects" {
            let checksum = verify_checksum(&body, headers)?;
            if checksum.is_none() && !headers.contains_key("content-md5") {
                let message =
                    "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
                return Err(s3_error!(InvalidRequest, "{message}"));
            }
        }
        Ok(())
    }
}

impl Access {
    fn check_credentials(&self, cx: &S3AccessContext<'_>) -> S3Result<()> {
        let state = self.0.state();
        let Some(credentials) = cx.credentials() else {
            return match state.anonymous {
                true => Ok(()),
                false => Err(s3_error!(AccessDenied, "Access Denied")),
            };
        };
        let token = state.keys.get(&credentials.access_key).and_then(|key| key.token.as_deref());
        let sent = cx.headers().get("x-amz-security-token").map(HeaderValue::as_bytes);
        if token.map(str::as_bytes) != sent {
            let message = "The provided token is malformed or otherwise invalid.";
            return Err(s3_error!(InvalidToken, "{message}"));
        }
        Ok(())
    }
}
