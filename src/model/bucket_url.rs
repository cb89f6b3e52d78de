//! Bucket URLs: `s3://bucket[/prefix]`.

use std::{fmt, str::FromStr};

use crate::model::{
    access_point::{ARN, AccessPoint},
    escape::Escaped,
    paths,
};

/// A bucket, or the part of one below a key prefix: `s3://bucket[/prefix]`.
///
/// `s3://bucket/photos` and `s3://bucket/photos/` are the same: all keys that start with `photos/`. Where
/// there are none, the first one may also mean the object `photos`.
///
/// The alias or the ARN of an access point may stand in the place of the bucket.
///
/// ```
/// let url: s3keep::BucketUrl = "s3://bucket/photos".parse()?;
/// assert_eq!(url.prefix(), "photos/");
/// assert_eq!(url.key("a.jpg"), "photos/a.jpg");
/// # Ok::<(), s3keep::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BucketUrl {
    bucket: String,
    prefix: String,
    /// The prefix was written without a `/` at its end.
    may_be_key: bool,
}

impl PartialEq for BucketUrl {
    fn eq(&self, other: &BucketUrl) -> bool {
        (&self.bucket, &self.prefix) == (&other.bucket, &other.prefix)
    }
}

impl Eq for BucketUrl {}

impl BucketUrl {
    /// The name of the bucket, or the ARN of an access point.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key prefix: empty, or ending in `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a path below the directory.
    pub fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The prefix as the key of an object: the directory of that key, and its name. `None` for a whole
    /// bucket.
    pub(crate) fn as_key(&self) -> Option<(BucketUrl, &str)> {
        let key = self.prefix.strip_suffix('/')?;
        let (dir, name) = key.split_at(key.rfind('/').map_or(0, |slash| slash + 1));
        let (bucket, prefix) = (self.bucket.clone(), dir.to_owned());
        Some((BucketUrl { bucket, prefix, may_be_key: false }, name))
    }

    /// Whether the prefix may be the key of an object: it was written without a `/` at its end.
    pub(crate) fn may_be_key(&self) -> bool {
        self.may_be_key
    }

    /// The part of it below a directory. The empty path is the whole.
    pub(crate) fn below(&self, dir: &str) -> BucketUrl {
        let slash = if dir.is_empty() { "" } else { "/" };
        let prefix = format!("{}{dir}{slash}", self.prefix);
        BucketUrl { bucket: self.bucket.clone(), prefix, may_be_key: false }
    }
}

/// Why a text is not a bucket URL. The message repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not s3://bucket[/prefix]: {reason}", Escaped(text))]
pub struct InvalidBucketUrl {
    text: String,
    reason: String,
}

impl FromStr for BucketUrl {
    type Err = InvalidBucketUrl;

    fn from_str(text: &str) -> Result<BucketUrl, InvalidBucketUrl> {
        let invalid =
            |reason: &str| InvalidBucketUrl { text: text.to_owned(), reason: reason.to_owned() };
        let rest = text.strip_prefix("s3://").ok_or_else(|| invalid("it must start with s3://"))?;
        let (bucket, prefix) = split_prefix(rest);
        if bucket.starts_with(ARN) {
            AccessPoint::parse(bucket).map_err(invalid)?;
        } else if !is_bucket_name(bucket) {
            return Err(invalid("a bucket name has 1 to 63 letters, digits, '-', '.' or '_'"));
        }
        if prefix.is_empty() {
            let (bucket, prefix) = (bucket.to_owned(), String::new());
            return Ok(BucketUrl { bucket, prefix, may_be_key: false });
        }
        let may_be_key = !prefix.ends_with('/');
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        // The `/` that follows the prefix counts towards the length of each key.
        paths::check(prefix, 1).map_err(|reason| invalid(&reason.to_string()))?;
        let (bucket, prefix) = (bucket.to_owned(), format!("{prefix}/"));
        Ok(BucketUrl { bucket, prefix, may_be_key })
    }
}

/// Splits the bucket from the prefix. In an ARN, the name of the access point may follow a `/`.
fn split_prefix(rest: &str) -> (&str, &str) {
    let Some((bucket, prefix)) = rest.split_once('/') else { return (rest, "") };
    if bucket.starts_with(ARN) && bucket.ends_with(":accesspoint") {
        let name_len = prefix.find('/').unwrap_or(prefix.len());
        let (bucket, prefix) = rest.split_at(bucket.len() + 1 + name_len);
        return (bucket, prefix.strip_prefix('/').unwrap_or(prefix));
    }
    (bucket, prefix)
}

fn is_bucket_name(bucket: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !bucket.is_empty()
        && bucket.len() <= 63
        && bucket.bytes().all(is_allowed)
        && !bucket.contains("..")
        && !bucket.starts_with('.')
        && !bucket.ends_with('.')
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_ends_with_a_slash_whether_or_not_it_was_written() {
        for text in ["s3://bucket/photos", "s3://bucket/photos/"] {
            let url: BucketUrl = text.parse().unwrap();
            assert_eq!((url.bucket(), url.prefix()), ("bucket", "photos/"));
            assert_eq!(url.key("a.jpg"), "photos/a.jpg");
        }
        for text in ["s3://bucket", "s3://bucket/"] {
            assert_eq!(text.parse::<BucketUrl>().unwrap().prefix(), "");
        }
        for text in
            ["bucket", "s3://", "s3:///x", "s3://b//x", "s3://b/../x", "s3://b/a//", "s3://a b"]
        {
            assert!(text.parse::<BucketUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefix_may_be_the_key_of_an_object() {
        let split = |text: &str| {
            let url: BucketUrl = text.parse().unwrap();
            url.as_key().map(|(dir, name)| (dir.to_string(), name.to_owned()))
        };
        let (dir, name) = ("s3://b/a/b/".to_owned(), "c.txt".to_owned());
        assert_eq!(split("s3://b/a/b/c.txt"), Some((dir, name)));
        assert_eq!(split("s3://b/c/"), Some(("s3://b".to_owned(), "c".to_owned())));
        assert_eq!(split("s3://b"), None);
        for (text, may_be_key) in [("s3://b", false), ("s3://b/c", true), ("s3://b/c/", false)] {
            assert_eq!(text.parse::<BucketUrl>().unwrap().may_be_key(), may_be_key);
        }
    }

    #[test]
    fn arn_of_an_access_point_stands_in_the_place_of_the_bucket() {
        for arn in [
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/logs",
            "arn:aws:s3:eu-west-1:123456789012:accesspoint:logs",
        ] {
            for (end, prefix) in
                [("", ""), ("/", ""), ("/a/b", "a/b/"), ("/x:accesspoint/y", "x:accesspoint/y/")]
            {
                let url: BucketUrl = format!("s3://{arn}{end}").parse().unwrap();
                assert_eq!((url.bucket(), url.prefix()), (arn, prefix));
                assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
        for text in
            ["s3://arn:aws:s3:::bucket/x", "s3://arn:aws:s3::123456789012:accesspoint:a.mrap"]
        {
            assert!(text.parse::<BucketUrl>().is_err(), "{text}");
        }
    }
}
