//! Names: which paths can be keys, which keys can be files, and how a bucket is named.
//!
//! A key is the prefix of the run followed by the path below the root, `/`-separated, in UTF-8. What
//! can't make that journey both ways unchanged is never sent: [`unfit`] says so and why.

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::error::Error;

/// The longest key, prefix included, in bytes. S3's own limit is 1,024
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>); what is left to it is
/// room for stores that keep something of their own beside a key.
pub const MAX_KEY_BYTES: usize = 1_000;

/// The longest name of a single file or directory, in bytes (`NAME_MAX` of the usual file systems).
pub const MAX_SEGMENT_BYTES: usize = 255;

/// Why a name can't travel between a directory and a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// Longer than [`MAX_KEY_BYTES`].
    TooLong,
    /// A segment is longer than [`MAX_SEGMENT_BYTES`].
    SegmentTooLong,
    /// A segment is `.` or `..`.
    DotSegment,
    /// An empty segment: `a//b`, a leading or a trailing `/`.
    EmptySegment,
    /// A NUL character.
    Nul,
    /// The name of one of our own unfinished downloads.
    Temporary,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::TooLong => write!(f, "the key is longer than {MAX_KEY_BYTES} bytes"),
            Unfit::SegmentTooLong => {
                write!(f, "a name in the key is longer than {MAX_SEGMENT_BYTES} bytes")
            }
            Unfit::DotSegment => f.write_str("the key has a '.' or '..' segment"),
            Unfit::EmptySegment => f.write_str("the key has an empty segment"),
            Unfit::Nul => f.write_str("the key has a NUL character"),
            Unfit::Temporary => f.write_str("the name is one of s3keep's temporary files"),
        }
    }
}

/// The directory that holds a path, and the name that it has there.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Why `path` (relative, without the prefix, whose length is `prefix_len` bytes) can't travel.
pub fn unfit(path: &str, prefix_len: usize) -> Option<Unfit> {
    if prefix_len + path.len() > MAX_KEY_BYTES {
        return Some(Unfit::TooLong);
    }
    if path.contains('\0') {
        return Some(Unfit::Nul);
    }
    for segment in path.split('/') {
        match segment {
            "" => return Some(Unfit::EmptySegment),
            "." | ".." => return Some(Unfit::DotSegment),
            _ if segment.len() > MAX_SEGMENT_BYTES => return Some(Unfit::SegmentTooLong),
            _ => {}
        }
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    is_temporary(name).then_some(Unfit::Temporary)
}

/// The order of a tree walk: a directory's content stands right behind its name (`a`, `a/b`, `a-b`),
/// unlike in S3's byte order (`a`, `a-b`, `a/b`). All that stands under a path is one run of it.
pub fn tree_order(a: &str, b: &str) -> Ordering {
    // NUL is in no file's name, so '/' can take its place below every other byte.
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.bytes().zip(b.bytes()).find(|(x, y)| x != y) {
        Some((x, y)) => rank(x).cmp(&rank(y)).then(x.cmp(&y)),
        None => a.len().cmp(&b.len()),
    }
}

/// Whether `path` stands under the directory `dir`.
pub fn is_under(path: &str, dir: &str) -> bool {
    path.len() > dir.len() && path.as_bytes()[dir.len()] == b'/' && path.starts_with(dir)
}

const TEMPORARY_START: &str = ".s3keep-";
const TEMPORARY_END: &str = ".part";

/// A fresh name for a file that is being downloaded.
pub(crate) fn temporary() -> String {
    format!("{TEMPORARY_START}{:016x}{TEMPORARY_END}", fastrand::u64(..))
}

/// Whether `name` is of the form that [`temporary`] makes, and nobody else would.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY_START)
        .and_then(|rest| rest.strip_suffix(TEMPORARY_END))
        .is_some_and(|random| {
            random.len() == 16 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
}

/// A bucket, or the part of one below a key prefix: `s3://bucket[/prefix]`.
///
/// `s3://bucket/photos` and `s3://bucket/photos/` are the same: the keys under `photos/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    bucket: String,
    prefix: String,
}

impl BucketUrl {
    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key prefix: empty, or ending in `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a path below the root.
    pub fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl FromStr for BucketUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<BucketUrl, Error> {
        let wrong =
            |why: &str| Error::config(format!("'{text}' is not s3://bucket[/prefix]: {why}"));
        let rest = text.strip_prefix("s3://").ok_or_else(|| wrong("it must begin with s3://"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if bucket.is_empty()
            || bucket.len() > 63
            || !bucket.bytes().all(plain)
            || bucket.contains("..")
            || bucket.starts_with('.')
            || bucket.ends_with('.')
        {
            return Err(wrong(
                "a bucket's name has 1 to 63 letters, digits, '-', '.' or '_' (no ARN, no account)",
            ));
        }
        let plain = prefix.strip_suffix('/').unwrap_or(prefix);
        let prefix = match unfit(plain, 1) {
            _ if prefix.is_empty() => String::new(),
            Some(reason) => return Err(wrong(&reason.to_string())),
            None => format!("{plain}/"),
        };
        Ok(BucketUrl { bucket: bucket.to_owned(), prefix })
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
    fn keys_that_cannot_be_files_are_named_with_their_reason() {
        let cases = [
            ("a/b", None),
            ("a b+%&<>\"'\u{1}\u{1f600}", None),
            ("..a/b..", None),
            ("", Some(Unfit::EmptySegment)),
            ("/a", Some(Unfit::EmptySegment)),
            ("a//b", Some(Unfit::EmptySegment)),
            ("a/", Some(Unfit::EmptySegment)),
            ("../a", Some(Unfit::DotSegment)),
            ("a/./b", Some(Unfit::DotSegment)),
            ("a/..", Some(Unfit::DotSegment)),
            ("a\0b", Some(Unfit::Nul)),
            ("d/.s3keep-0123456789abcdef.part", Some(Unfit::Temporary)),
            ("d/.s3keep-0123456789ABCDEF.part", None),
            ("d/.s3keep-notes.part", None),
        ];
        for (path, expected) in cases {
            assert_eq!(unfit(path, 0), expected, "{path:?}");
        }
        assert_eq!(unfit(&"s".repeat(255), 0), None);
        assert_eq!(unfit(&"s".repeat(256), 0), Some(Unfit::SegmentTooLong));
        let long = vec!["d".repeat(249); 4].join("/");
        assert_eq!(long.len(), 999);
        assert_eq!(unfit(&long, 1), None);
        assert_eq!(unfit(&long, 2), Some(Unfit::TooLong));
        assert!(is_temporary(&temporary()));
    }

    #[test]
    fn tree_order_keeps_a_directory_together() {
        let mut paths = ["b", "a-b", "a/b", "a", "a/b/c", "a/b-c", "a0", "a\u{1}"];
        paths.sort_by(|a, b| tree_order(a, b));
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/b-c", "a\u{1}", "a-b", "a0", "b"]);
        assert!(is_under("a/b", "a") && !is_under("a-b", "a") && !is_under("a", "a"));
    }

    #[test]
    fn a_prefix_ends_at_a_slash_however_it_is_written() {
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
