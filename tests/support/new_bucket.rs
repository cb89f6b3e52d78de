//! Creating a bucket on a real server.
//!
//! rust-s3 always sends a LocationConstraint with another endpoint than AWS. AWS, Ceph, moto and
//! MiniStack refuse that of us-east-1, so the request here has no body.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use s3::{Region, creds::Credentials, signing};

/// The SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Creates a bucket by a request that is signed as AWS documents it.
pub fn create(endpoint: &str, bucket: &str, region: &str, credentials: &Credentials) {
    let url: url::Url = format!("{}/{bucket}", endpoint.trim_end_matches('/')).parse().unwrap();
    let region = Region::Custom { region: region.to_owned(), endpoint: endpoint.to_owned() };
    let now = SystemTime::now();
    let date = humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "");
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut headers = HeaderMap::new();
    headers.insert("host", host.parse().unwrap());
    headers.insert("x-amz-content-sha256", EMPTY_SHA256.parse().unwrap());
    headers.insert("x-amz-date", date.parse().unwrap());
    let now = now.into();
    let secret = credentials.secret_key.as_deref().unwrap();
    let key = signing::signing_key(&now, secret, &region, "s3").unwrap();
    let canonical = signing::canonical_request("PUT", &url, &headers, EMPTY_SHA256).unwrap();
    let mut hmac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    hmac.update(signing::string_to_sign(&now, &region, &canonical).unwrap().as_bytes());
    let signature: String =
        hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let access_key = credentials.access_key.as_deref().unwrap();
    let signed = signing::signed_header_string(&headers);
    let authorization =
        signing::authorization_header(access_key, &now, &region, &signed, &signature).unwrap();
    headers.insert("authorization", authorization.parse().unwrap());

    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.put(url.as_str());
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
        request = request.header(name, value);
    }
    let mut response = request.send_empty().unwrap();
    let body = response.body_mut().read_to_string().unwrap_or_default();
    assert!(response.status().is_success(), "create bucket: {}: {body}", response.status());
}
