//! AWS Signature Version 4
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>).
//!
//! Only this file and [`address`](crate::s3::address) name rust-s3.

use std::{
    sync::{Arc, RwLock},
    time::SystemTime,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use s3::{Region, error::S3Error, signing};
use time::OffsetDateTime;
use url::Url;

use crate::{
    error::Cause,
    s3::{address::Address, checksum::hex, credentials::Credentials},
};

/// Computes the `Authorization` header.
///
/// The signing key is cached. It is derived again only when the day, the region or the credentials
/// change.
#[derive(Default)]
pub(crate) struct Signer {
    cached: RwLock<Option<Arc<SigningKey>>>,
}

/// The parts of a request that a signature covers.
pub(crate) struct SignedParts<'a> {
    pub method: &'a str,
    pub url: &'a Url,
    /// All of these headers are covered.
    pub headers: &'a HeaderMap,
    /// The SHA-256 of the payload in hexadecimal, or `UNSIGNED-PAYLOAD`.
    pub payload_sha256: &'a str,
}

struct SigningKey {
    date: time::Date,
    region: Region,
    credentials: Arc<Credentials>,
    key: Vec<u8>,
}

impl Signer {
    /// The value of the `Authorization` header for a request that is sent at `time`.
    pub(crate) fn authorization(
        &self,
        request: &SignedParts,
        address: &Address,
        credentials: &Arc<Credentials>,
        time: SystemTime,
    ) -> Result<String, Cause> {
        let time = OffsetDateTime::from(time);
        let region = address.region();
        let key = self.signing_key(&time, region, credentials).map_err(|error| failed(&error))?;
        let SignedParts { method, url, headers, payload_sha256 } = request;
        let canonical = signing::canonical_request(method, url, headers, payload_sha256)
            .map_err(|error| failed(&error))?;
        let to_sign =
            signing::string_to_sign(&time, region, &canonical).map_err(|error| failed(&error))?;
        let mut hmac =
            Hmac::<sha2::Sha256>::new_from_slice(&key.key).map_err(|error| failed(&error))?;
        hmac.update(to_sign.as_bytes());
        let signature = hex(&hmac.finalize().into_bytes());
        signing::authorization_header(
            &credentials.access_key,
            &time,
            region,
            &signing::signed_header_string(headers),
            &signature,
        )
        .map_err(|error| failed(&error))
    }

    fn signing_key(
        &self,
        time: &OffsetDateTime,
        region: &Region,
        credentials: &Arc<Credentials>,
    ) -> Result<Arc<SigningKey>, S3Error> {
        let cached = self.cached.read().map(|cached| cached.clone()).unwrap_or_default();
        if let Some(key) = cached
            && key.date == time.date()
            && key.region == *region
            && Arc::ptr_eq(&key.credentials, credentials)
        {
            return Ok(key);
        }
        let key = Arc::new(SigningKey {
            date: time.date(),
            region: region.clone(),
            credentials: Arc::clone(credentials),
            key: signing::signing_key(time, &credentials.secret_key, region, "s3")?,
        });
        if let Ok(mut cached) = self.cached.write() {
            *cached = Some(Arc::clone(&key));
        }
        Ok(key)
    }
}

fn failed(error: &dyn std::fmt::Display) -> Cause {
    Cause::Config(format!("cannot sign the request: {error}"))
}

/// The value of `x-amz-date`: ISO 8601 without separators.
pub(crate) fn amz_date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{
        access::{Access, AccessOptions},
        env::Env,
    };

    /// The example "GET Object" of the AWS documentation:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.
    #[test]
    fn signature_matches_the_documentation() {
        let credentials = Arc::new(Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            expires: None,
            is_extended: false,
        });
        let access = Access::resolve(AccessOptions::default(), Env::default()).unwrap();
        let address = Address::new("examplebucket", "us-east-1", &access).unwrap();
        let url = address.url(Some("test.txt"), &[]);
        let mut headers = HeaderMap::new();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let time = humantime::parse_rfc3339("2013-05-24T00:00:00Z").unwrap();
        headers.insert("host", "examplebucket.s3.amazonaws.com".parse().unwrap());
        headers.insert("range", "bytes=0-9".parse().unwrap());
        headers.insert("x-amz-content-sha256", empty.parse().unwrap());
        headers.insert("x-amz-date", amz_date(time).parse().unwrap());
        let signer = Signer::default();
        for _ in 0..2 {
            let request =
                SignedParts { method: "GET", url: &url, headers: &headers, payload_sha256: empty };
            let authorization =
                signer.authorization(&request, &address, &credentials, time).unwrap();
            assert_eq!(
                authorization,
                "AWS4-HMAC-SHA256 \
                 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                 Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            );
        }
    }
}
