//! What a run is about: direction, directory, bucket, prefix, endpoint and profile.

use std::path;

use s3keep::{BucketUrl, Config, Direction, Escaped};

/// The first lines of a run. Without a direction, it is a verification.
pub fn describe_run(direction: Option<Direction>, config: &Config) -> String {
    let dir = path::absolute(&config.dir).unwrap_or_else(|_| config.dir.clone());
    let dir = dir.display().to_string();
    let (dir, bucket) = (Escaped(&dir), describe_bucket(&config.bucket));
    let what = match direction {
        Some(Direction::Backup) => format!("Backup of {dir} to {bucket}"),
        Some(Direction::Restore) => format!("Restore of {bucket} to {dir}"),
        None => format!("Verification of {dir} with {bucket}"),
    };
    let access = &config.access;
    let mut server = match access.endpoint() {
        Some(url) => format!("endpoint {}", Escaped(&without_password(url))),
        None => format!("endpoint AWS, region {}", Escaped(access.region())),
    };
    if let Some(profile) = access.profile() {
        server += &format!(", profile {}", Escaped(profile));
    }
    format!("{what}\n  {server}")
}

/// The bucket, and whether it is the whole one.
pub fn describe_bucket(bucket: &BucketUrl) -> String {
    let url = bucket.to_string();
    let url = Escaped(&url);
    if bucket.prefix().is_empty() { format!("{url} (the whole bucket)") } else { url.to_string() }
}

/// A URL without user name and password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_of_an_endpoint_is_not_shown() {
        assert_eq!(without_password("http://user:secret@host:1/a@b"), "http://host:1/a@b");
        assert_eq!(without_password("https://host"), "https://host");
    }
}
