//! A common mistake: an endpoint that contains the bucket, `https://bucket.s3.example.com` or
//! `https://s3.example.com/bucket`.
//!
//! The server then takes the bucket in the path for the name of an object, so that a listing fails
//! with `NoSuchKey`, or with `AccessDenied` if objects that do not exist are not disclosed.

use url::Url;

use crate::{
    error::{
        Cause,
        s3_code::{ACCESS_DENIED, NO_SUCH_KEY},
    },
    s3::access::{Access, Addressing},
};

/// Advice for a listing that failed, if the endpoint seems to contain the bucket.
pub(crate) fn advice(access: &Access, bucket: &str, cause: &Cause) -> Option<String> {
    let is_possible = match cause {
        Cause::S3 { status, code, .. } => {
            matches!(status, 301 | 307 | 404 | 405)
                || matches!(code.as_str(), ACCESS_DENIED | NO_SUCH_KEY | "NoSuchBucket")
        }
        Cause::Malformed(_) => true,
        // There is no host with the bucket twice in its name, or no certificate for it.
        Cause::Network(_) => access.addressing == Addressing::Virtual,
        _ => false,
    };
    let endpoint = access.endpoint.as_deref()?.trim_end_matches('/');
    let right = without_bucket(endpoint, bucket).filter(|_| is_possible)?;
    Some(format!("the endpoint {endpoint} seems to contain the bucket, try {right} instead"))
}

/// The endpoint without the bucket. `None` if it does not contain it.
fn without_bucket(endpoint: &str, bucket: &str) -> Option<String> {
    let mut url = Url::parse(endpoint).ok()?;
    let rest = url.host_str()?.strip_prefix(bucket).and_then(|host| host.strip_prefix('.'));
    if let Some(host) = rest.map(str::to_owned).filter(|host| host.contains('.')) {
        url.set_host(Some(&host)).ok()?;
    } else {
        let path = url.path().trim_end_matches('/').to_owned();
        let above = path.strip_suffix(bucket).filter(|above| above.ends_with('/'))?;
        url.set_path(above);
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{access::AccessOptions, env::Env};

    #[test]
    fn bucket_is_found_in_host_and_path() {
        for (endpoint, right) in [
            ("https://bkt.s3.eu-west-1.amazonaws.com", Some("https://s3.eu-west-1.amazonaws.com")),
            ("http://bkt.store.test:9000", Some("http://store.test:9000")),
            ("https://store.test/bkt", Some("https://store.test")),
            ("https://store.test/base/bkt/", Some("https://store.test/base")),
            ("https://store.test", None),
            ("https://store.test/other-bkt", None),
            ("https://bkt2.store.test", None),
            ("https://bkt", None),
            ("https://bkt.localhost", None),
            ("not a url", None),
        ] {
            assert_eq!(without_bucket(endpoint, "bkt").as_deref(), right, "{endpoint}");
        }
        let right = without_bucket("https://a.b.s3.example.com", "a.b");
        assert_eq!(right.as_deref(), Some("https://s3.example.com"));
    }

    #[test]
    fn advice_is_given_only_where_the_bucket_may_be_the_reason() {
        let s3 = |status, code: &str| Cause::S3 {
            status,
            code: code.to_owned(),
            message: String::new(),
            retry_after: None,
        };
        let access = |endpoint: Option<&str>, addressing| {
            let options = AccessOptions {
                endpoint: endpoint.map(str::to_owned),
                addressing: Some(addressing),
                ..AccessOptions::default()
            };
            Access::resolve(options, Env::default()).unwrap()
        };
        let endpoint = Some("https://bkt.example.com");
        let path = access(endpoint, Addressing::Path);
        let has_advice = |cause: Cause| advice(&path, "bkt", &cause).is_some();
        assert!(has_advice(s3(404, "NoSuchKey")));
        assert!(has_advice(s3(404, "NoSuchBucket")));
        assert!(has_advice(s3(403, "AccessDenied")));
        assert!(has_advice(Cause::Malformed(String::new())));
        assert!(!has_advice(s3(403, "SignatureDoesNotMatch")));
        assert!(!has_advice(s3(503, "SlowDown")));
        let network = Cause::Network(String::new());
        assert!(!has_advice(network.clone()));
        let host = access(endpoint, Addressing::Virtual);
        assert!(advice(&host, "bkt", &network).is_some());
        // A bucket with the name `s3`, at AWS.
        let aws = access(None, Addressing::Auto);
        assert_eq!(advice(&aws, "s3", &s3(404, "NoSuchBucket")), None);
    }
}
