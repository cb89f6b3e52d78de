//! Where a bucket is: its URL, from region, endpoint and addressing style.
//!
//! Only this file and [`sign`](crate::s3::sign) name rust-s3.
//!
//! `Url` folds `a/../b` into `b`, so that a request would reach another object. A key with such a
//! segment must not get here; [`paths`](crate::model::paths) rejects it.

use s3::{Region, signing::uri_encode};
use url::Url;

use crate::{
    error::Cause,
    model::access_point::{ARN, AccessPoint},
    s3::{
        access::{Access, Addressing},
        aws_hosts::is_aws_host,
    },
};

/// The end of the name of a directory bucket (S3 Express One Zone).
const DIRECTORY_BUCKET: &str = "--x-s3";

/// Where a bucket is.
pub(crate) struct Address {
    /// The URL of the bucket.
    base: Url,
    /// The URL of the server, for messages.
    server: String,
    region: Region,
}

impl Address {
    /// The address of a bucket, or of an access point, in `region`. An access point is in the region
    /// of its ARN.
    pub(crate) fn new(bucket: &str, region: &str, access: &Access) -> Result<Address, Cause> {
        let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if region.is_empty() || !region.bytes().all(is_name_byte) {
            return Err(Cause::Config(format!("region {region}: not a valid name of a region")));
        }
        if bucket.starts_with(ARN) {
            return Address::of_access_point(bucket, access);
        }
        let server = match &access.endpoint {
            Some(endpoint) => {
                check_endpoint(endpoint)?;
                check_fips(access, endpoint)?;
                endpoint.trim_end_matches('/').to_owned()
            }
            None => format!("https://{}", access.aws_endpoints.s3_host(region)?),
        };
        let url = if uses_path_style(bucket, access)? {
            format!("{server}/{bucket}")
        } else {
            server.replacen("://", &format!("://{bucket}."), 1)
        };
        let address = Address::at(&url, server, region)?;
        if address.is_aws() && bucket.ends_with(DIRECTORY_BUCKET) {
            return Err(Cause::Config(format!(
                "bucket {bucket}: directory buckets (S3 Express One Zone) are not supported; use a \
                 general purpose bucket"
            )));
        }
        Ok(address)
    }

    fn of_access_point(arn: &str, access: &Access) -> Result<Address, Cause> {
        let fail = |cause: &str| Cause::Config(format!("{arn}: {cause}"));
        let point = AccessPoint::parse(arn).map_err(fail)?;
        if access.endpoint.is_some() {
            return Err(fail("an access point belongs to AWS, but another endpoint is set"));
        }
        let server = format!("https://{}", access.aws_endpoints.access_point_host(&point)?);
        Address::at(&server.clone(), server, &point.region)
    }

    fn at(url: &str, server: String, region: &str) -> Result<Address, Cause> {
        // `Url` drops the default port, as the Host header must.
        let mut base =
            Url::parse(url).map_err(|error| Cause::Config(format!("endpoint {url}: {error}")))?;
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        // The endpoint in it is not used.
        let region = Region::Custom { region: region.to_owned(), endpoint: String::new() };
        Ok(Address { base, server, region })
    }

    /// The URL of the bucket, or of one object in it.
    pub(crate) fn url(&self, key: Option<&str>, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Some(key) = key {
            let bucket = self.base.path().trim_end_matches('/');
            url.set_path(&format!("{bucket}/{}", uri_encode(key, false)));
        }
        if !query.is_empty() {
            let pairs = query.iter();
            let pairs = pairs.map(|(name, value)| format!("{name}={}", uri_encode(value, true)));
            url.set_query(Some(&pairs.collect::<Vec<_>>().join("&")));
        }
        url
    }

    /// Whether the server belongs to AWS.
    pub(crate) fn is_aws(&self) -> bool {
        is_aws_host(self.base.host_str().unwrap_or_default())
    }

    pub(crate) fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The region, in the form that signatures need.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Whether the bucket is addressed in the region of this name.
    pub(crate) fn is_in_region(&self, name: &str) -> bool {
        self.region.to_string() == name
    }

    /// The URL of the server, for messages.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), Cause> {
    let host = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"))
        .ok_or_else(|| {
            Cause::Config(format!("endpoint {endpoint}: it must start with http:// or https://"))
        })?;
    if host.contains('@') {
        // The endpoint is not repeated here: it may contain a password.
        return Err(Cause::Config("the endpoint must not contain a user name".to_owned()));
    }
    if host.trim_matches('/').is_empty() {
        return Err(Cause::Config(format!("endpoint {endpoint}: it contains no host")));
    }
    Ok(())
}

/// Rejects an endpoint that may not be a FIPS endpoint, if these are required.
fn check_fips(access: &Access, endpoint: &str) -> Result<(), Cause> {
    if access.aws_endpoints.fips && !endpoint.contains("-fips.") {
        return Err(Cause::Config(format!(
            "FIPS endpoints are required (AWS_USE_FIPS_ENDPOINT or use_fips_endpoint), but the \
             endpoint is set to {endpoint}"
        )));
    }
    Ok(())
}

/// Whether the name of the bucket is part of the path, not of the host name.
fn uses_path_style(bucket: &str, access: &Access) -> Result<bool, Cause> {
    // Host names are not case-sensitive: the request would go to the bucket with the lowercase
    // name.
    let has_capitals = bucket.bytes().any(|b| b.is_ascii_uppercase());
    match access.addressing {
        Addressing::Path => Ok(true),
        Addressing::Virtual if has_capitals => Err(Cause::Config(format!(
            "bucket {bucket}: a host name cannot have capital letters; use the addressing style \
             path"
        ))),
        Addressing::Virtual => Ok(false),
        // No wildcard certificate covers a bucket name with dots, and few stores other than AWS
        // have a host name for each bucket.
        Addressing::Auto => Ok(access.endpoint.is_some() || has_capitals || bucket.contains('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{access::AccessOptions, env::Env};

    fn access(endpoint: Option<&str>, addressing: Addressing, env: &[(&str, &str)]) -> Access {
        let options = AccessOptions {
            endpoint: endpoint.map(str::to_owned),
            addressing: Some(addressing),
            ..AccessOptions::default()
        };
        Access::resolve(options, env.iter().copied().collect::<Env>()).unwrap()
    }

    #[test]
    fn server_with_a_host_name_of_aws_is_aws() {
        let is_aws = |endpoint| {
            let access = access(endpoint, Addressing::Auto, &[]);
            Address::new("bkt", "eu-west-1", &access).unwrap().is_aws()
        };
        assert!(is_aws(None));
        assert!(is_aws(Some("https://bucket.vpce-1-2.s3.eu-west-1.vpce.amazonaws.com")));
        assert!(!is_aws(Some("https://s3.example.com")));
    }

    #[test]
    fn urls_follow_region_endpoint_and_addressing_style() {
        let url = |bucket: &str, region: &str, endpoint: Option<&str>, style| {
            let access = access(endpoint, style, &[]);
            let address = Address::new(bucket, region, &access).unwrap();
            let bucket = address.url(None, &[("prefix", "a/ +")]).to_string();
            (address.url(Some("a/b c+%\u{e9}~"), &[]).to_string(), bucket)
        };
        use Addressing::{Auto, Path, Virtual};
        let cases = [
            ("bkt", "us-east-1", None, Auto, "https://bkt.s3.us-east-1.amazonaws.com/", "/"),
            ("bkt", "eu-central-1", None, Auto, "https://bkt.s3.eu-central-1.amazonaws.com/", "/"),
            ("bkt", "xx-new-7", None, Auto, "https://bkt.s3.xx-new-7.amazonaws.com/", "/"),
            ("b.k.t", "us-east-1", None, Auto, "https://s3.us-east-1.amazonaws.com/b.k.t/", ""),
            ("Bkt", "us-east-1", None, Auto, "https://s3.us-east-1.amazonaws.com/Bkt/", ""),
            ("Bkt", "r", Some("http://h"), Auto, "http://h/Bkt/", ""),
            ("bkt", "us-east-1", None, Path, "https://s3.us-east-1.amazonaws.com/bkt/", ""),
            ("bkt", "r", Some("http://[::1]:80/"), Auto, "http://[::1]/bkt/", ""),
            ("bkt", "r", Some("https://h:443"), Auto, "https://h/bkt/", ""),
            ("bkt", "r", Some("https://h:9000/base/"), Auto, "https://h:9000/base/bkt/", ""),
            ("bkt", "r", Some("http://h:9000"), Virtual, "http://bkt.h:9000/", "/"),
            ("bkt", "r", Some("http://h/base"), Virtual, "http://bkt.h/base/", ""),
        ];
        for (bucket, region, endpoint, style, base, slash) in cases {
            let (object, listing) = url(bucket, region, endpoint, style);
            assert_eq!(object, format!("{base}a/b%20c%2B%25%C3%A9~"));
            let expected = format!("{}{slash}?prefix=a%2F%20%2B", base.trim_end_matches('/'));
            assert_eq!(listing, expected);
        }
        for endpoint in ["ftp://h", "http://", "not a url"] {
            let access = access(Some(endpoint), Auto, &[]);
            assert!(Address::new("bkt", "r", &access).is_err(), "{endpoint}");
        }
        // The host name would be that of another bucket.
        for endpoint in [None, Some("http://h")] {
            assert!(Address::new("Bkt", "us-east-1", &access(endpoint, Virtual, &[])).is_err());
        }
    }

    #[test]
    fn access_point_has_the_region_of_its_arn() {
        let arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/logs";
        let new =
            |endpoint| Address::new(arn, "us-east-1", &access(endpoint, Addressing::Auto, &[]));
        let address = new(None).unwrap();
        let host = "https://logs-123456789012.s3-accesspoint.eu-west-1.amazonaws.com";
        assert_eq!(address.url(Some("a/b"), &[]).to_string(), format!("{host}/a/b"));
        assert_eq!(address.server(), host);
        assert!(address.is_in_region("eu-west-1") && address.is_aws());
        assert!(new(Some("http://h")).is_err());
    }

    #[test]
    fn fips_and_dual_stack_endpoints_follow_the_environment() {
        let env = [("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE")];
        let new =
            |endpoint| Address::new("bkt", "us-east-1", &access(endpoint, Addressing::Auto, &env));
        let server = "https://s3-fips.dualstack.us-east-1.amazonaws.com";
        assert_eq!(new(None).unwrap().server(), server);
        assert!(new(Some("https://s3-fips.us-east-1.amazonaws.com")).is_ok());
        let error = new(Some("http://h")).map(drop).unwrap_err().to_string();
        assert!(error.contains("AWS_USE_FIPS_ENDPOINT") && error.contains("http://h"), "{error}");
    }

    #[test]
    fn directory_bucket_is_rejected_on_aws_only() {
        let new = |endpoint| {
            let access = access(endpoint, Addressing::Auto, &[]);
            Address::new("name--usw2-az1--x-s3", "us-west-2", &access).map(drop)
        };
        let error = new(None).unwrap_err().to_string();
        assert!(error.contains("directory buckets"), "{error}");
        assert!(new(Some("http://h")).is_ok());
    }
}
