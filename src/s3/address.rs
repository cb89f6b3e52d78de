//! Where a bucket is: its URL, from region, endpoint and addressing style.
//!
//! Only this file and [`sign`](crate::s3::sign) name rust-s3.
//!
//! `Url` folds `a/../b` into `b`, so that a request would reach another object. A key with such a
//! segment must not get here; [`paths`](crate::model::paths) rejects it.

use std::fmt::Display;

use s3::{Bucket, Region, signing::uri_encode};
use url::Url;

use crate::{error::Cause, s3::access::Addressing};

/// Where a bucket is.
pub(crate) struct Address {
    /// The URL of the bucket.
    base: Url,
    region: Region,
}

impl Address {
    /// The address of `bucket` in a store at the URL `endpoint`. Without an endpoint, the store is
    /// AWS.
    pub(crate) fn new(
        bucket: &str,
        region: &str,
        endpoint: Option<&str>,
        addressing: Addressing,
    ) -> Result<Address, Cause> {
        let invalid = |error: &dyn Display| Cause::Config(format!("region {region}: {error}"));
        let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if region.is_empty() || !region.bytes().all(is_name_byte) {
            return Err(invalid(&"not a valid name of a region"));
        }
        let region = match endpoint {
            Some(endpoint) => {
                check_endpoint(endpoint)?;
                Region::Custom { region: region.to_owned(), endpoint: endpoint.to_owned() }
            }
            None => match region.parse().map_err(|error| invalid(&error))? {
                // rust-s3 takes the name of a region that is not in its table for a host name.
                Region::Custom { .. } => Region::Custom {
                    region: region.to_owned(),
                    endpoint: format!("https://s3.{region}.amazonaws.com"),
                },
                in_table => in_table,
            },
        };
        let mut place =
            Bucket::new_public(bucket, region.clone()).map_err(|error| invalid(&error))?;
        if uses_path_style(bucket, endpoint.is_some(), addressing)? {
            place.set_path_style();
        }
        // `Url` drops the default port, as the Host header must.
        let mut base = Url::parse(&place.url())
            .map_err(|error| Cause::Config(format!("endpoint {}: {error}", place.url())))?;
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        Ok(Address { base, region })
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

    /// Whether the server belongs to AWS. rust-s3's table contains regions of other providers, too.
    pub(crate) fn is_aws(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
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

    /// The name of the server in a message.
    pub(crate) fn server(&self) -> String {
        format!("{}://{}", self.region.scheme(), self.region.host())
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

/// Whether the name of the bucket is part of the path, not of the host name.
fn uses_path_style(
    bucket: &str,
    has_endpoint: bool,
    addressing: Addressing,
) -> Result<bool, Cause> {
    // Host names are not case-sensitive: the request would go to the bucket with the lowercase
    // name.
    let has_capitals = bucket.bytes().any(|b| b.is_ascii_uppercase());
    match addressing {
        Addressing::Path => Ok(true),
        Addressing::Virtual if has_capitals => Err(Cause::Config(format!(
            "bucket {bucket}: a host name cannot have capital letters; use the addressing style \
             path"
        ))),
        Addressing::Virtual => Ok(false),
        // No wildcard certificate covers a bucket name with dots, and few stores other than AWS
        // have a host name for each bucket.
        Addressing::Auto => Ok(has_endpoint || has_capitals || bucket.contains('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_other_providers_are_not_aws() {
        let is_aws = |region| {
            Address::new("bkt", region, None, Addressing::Auto).is_ok_and(|found| found.is_aws())
        };
        assert!(["us-east-1", "cn-north-1", "xx-new-7"].into_iter().all(is_aws));
        assert!(!["nyc3", "wa-us-east-1", "ru-central1"].into_iter().any(is_aws));
    }

    #[test]
    fn urls_follow_region_endpoint_and_addressing_style() {
        let url = |bucket: &str, region: &str, endpoint: Option<&str>, style| {
            let address = Address::new(bucket, region, endpoint, style).unwrap();
            let bucket = address.url(None, &[("prefix", "a/ +")]).to_string();
            (address.url(Some("a/b c+%\u{e9}~"), &[]).to_string(), bucket)
        };
        use Addressing::{Auto, Path, Virtual};
        let cases = [
            ("bkt", "us-east-1", None, Auto, "https://bkt.s3.amazonaws.com/", "/"),
            ("bkt", "eu-central-1", None, Auto, "https://bkt.s3.eu-central-1.amazonaws.com/", "/"),
            ("bkt", "xx-new-7", None, Auto, "https://bkt.s3.xx-new-7.amazonaws.com/", "/"),
            ("b.k.t", "us-east-1", None, Auto, "https://s3.amazonaws.com/b.k.t/", ""),
            ("Bkt", "us-east-1", None, Auto, "https://s3.amazonaws.com/Bkt/", ""),
            ("Bkt", "r", Some("http://h"), Auto, "http://h/Bkt/", ""),
            ("bkt", "us-east-1", None, Path, "https://s3.amazonaws.com/bkt/", ""),
            ("bkt", "r", Some("http://[::1]:80/"), Auto, "http://[::1]/bkt/", ""),
            ("bkt", "r", Some("https://h:443"), Auto, "https://h/bkt/", ""),
            ("bkt", "r", Some("https://h:9000/base/"), Auto, "https://h:9000/base/bkt/", ""),
            ("bkt", "r", Some("http://h:9000"), Virtual, "http://bkt.h:9000/", "/"),
        ];
        for (bucket, region, endpoint, style, base, slash) in cases {
            let (object, listing) = url(bucket, region, endpoint, style);
            assert_eq!(object, format!("{base}a/b%20c%2B%25%C3%A9~"));
            let expected = format!("{}{slash}?prefix=a%2F%20%2B", base.trim_end_matches('/'));
            assert_eq!(listing, expected);
        }
        for endpoint in ["ftp://h", "http://", "not a url"] {
            assert!(Address::new("bkt", "r", Some(endpoint), Auto).is_err(), "{endpoint}");
        }
        // The host name would be that of another bucket.
        for endpoint in [None, Some("http://h")] {
            assert!(Address::new("Bkt", "us-east-1", endpoint, Virtual).is_err());
        }
    }
}
