//! The signature of a request to STS: AWS Signature Version 4
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).
//!
//! rust-s3, which signs the requests to S3, signs for no other service.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use url::{Position, Url};

use crate::s3::{
    checksum::{Checksum, Hasher, hex},
    credentials::access_keys::Credentials,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// The headers of a signed POST request with a form as its body.
pub(super) fn signed_headers(
    url: &Url,
    body: &str,
    region: &str,
    keys: &Credentials,
    time: SystemTime,
) -> Vec<(&'static str, String)> {
    let time = humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "");
    let date = &time[..8];
    let host = url[Position::BeforeHost..Position::AfterPort].to_owned();
    // In the order of their names, as the signature requires.
    let mut headers =
        vec![("content-type", FORM.to_owned()), ("host", host), ("x-amz-date", time.clone())];
    if let Some(token) = &keys.session_token {
        headers.push(("x-amz-security-token", token.clone()));
    }
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    // The path of a URL is already encoded. The signature requires that it is encoded once more.
    let path = url.path().replace('%', "%25");
    let query = url.query().unwrap_or_default();
    let request = format!("POST\n{path}\n{query}\n{lines}\n{names}\n{}", sha256(body));
    let scope = format!("{date}/{region}/sts/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(&request));
    let key = [date, region, "sts", "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", keys.secret_key).into_bytes(), |key, part| hmac(&key, part));
    let signature = hex(&hmac(&key, &to_sign));
    // The HTTP client adds the host itself.
    headers.retain(|(name, _)| *name != "host");
    headers.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            keys.access_key
        ),
    ));
    headers
}

fn sha256(text: &str) -> String {
    let mut hasher = Hasher::new(Checksum::Sha256);
    hasher.update(text.as_bytes());
    hex(&hasher.finish())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // A key may have any length, so this does not fail.
    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::credentials::testing::at;

    /// The expected signatures are those of botocore.
    #[test]
    fn signature_is_that_of_botocore() {
        let authorization = |url: &str, token: Option<&str>| {
            let keys = Credentials {
                access_key: "AKID".to_owned(),
                secret_key: "secret".to_owned(),
                session_token: token.map(str::to_owned),
                expires: None,
                is_extended: false,
            };
            let (url, body) = (Url::parse(url).unwrap(), "Action=AssumeRole&Version=2011-06-15");
            signed_headers(&url, body, "eu-west-1", &keys, at(0)).pop().unwrap().1
        };
        let text = authorization("https://sts.eu-west-1.amazonaws.com/", Some("token"));
        assert_eq!(
            text,
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/sts/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=138e779777ca2707f5b66ef4eb2d86e5a0d365fc53702bf098ab95d20d5f5d57"
        );
        let text = authorization("http://localhost:8080/a%20b?x=y", None);
        let end = "c722466fce0f84c611f273b39ebb4707a841fa793ffcbb58b5c230a29b5de051";
        assert!(text.ends_with(end), "{text}");
    }
}
