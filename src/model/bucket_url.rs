//! Bucket URLs: `s3://bucket[/prefix]`.

use std::{fmt, str::FromStr};

use crate::model::{escape::Escaped, paths};

/// A bucket, or the part of one below a key prefix: `s3://bucket[/prefix]`.
///
/// `s3://bucket/photos` and `s3://bucket/photos/` are the same: all keys that start with `photos/`.
///
/// ```
/// let url: s3keep::BucketUrl = "s3://bucket/photos".parse()?;
/// assert_eq!(url.prefix(), "photos/");
/// assert_eq!(url.key("a.jpg"), "photos/a.jpg");
/// # Ok::<(), s3keep::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    bucket: String,
    prefix: String,
}

impl BucketUrl {
    /// The name of the bucket.
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

    /// The part of it below a directory. The empty path is the whole.
    pub(crate) fn below(&self, dir: &str) -> BucketUrl {
        let slash = if dir.is_empty() { "" } else { "/" };
        let prefix = format!("{}{dir}{slash}", self.prefix);
        BucketUrl { bucket: self.bucket.clone(), prefix }
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
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if bucket.is_empty()
            || bucket.len() > 63
            || !bucket.bytes().all(is_allowed)
            || bucket.contains("..")
            || bucket.starts_with('.')
            || bucket.ends_with('.')
        {
            return Err(invalid(
                "a bucket name has 1 to 63 letters, digits, '-', '.' or '_' (ARNs are not supported)",
            ));
        }
        if prefix.is_empty() {
            return Ok(BucketUrl { bucket: bucket.to_owned(), prefix: String::new() });
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        // The `/` that follows the prefix counts towards the length of each key.
        paths::check(prefix, 1).map_err(|reason| invalid(&reason.to_string()))?;
        Ok(BucketUrl { bucket: bucket.to_owned(), prefix: format!("{prefix}/") })
    }
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
}
