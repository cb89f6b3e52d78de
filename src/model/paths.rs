//! Paths and keys: which of them exist on both sides, their order, and the names of temporary files
//! and restore markers.
//!
//! A key is the prefix of the run followed by the path below the directory, in UTF-8, separated by
//! `/`. [`check`] rejects every path that would not survive the conversion in both directions.

use std::{cmp::Ordering, fmt};

/// The longest key in bytes, prefix included.
///
/// S3 allows 1,024 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>). The
/// difference leaves room for stores that append data of their own to a key.
pub const MAX_KEY_BYTES: usize = 1_000;

/// The longest name of a single file or directory in bytes: `NAME_MAX` of common file systems.
pub const MAX_SEGMENT_BYTES: usize = 255;

/// Why a path cannot be a key, or a key cannot be a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidName {
    /// The key is longer than [`MAX_KEY_BYTES`].
    TooLong,
    /// A segment is longer than [`MAX_SEGMENT_BYTES`].
    SegmentTooLong,
    /// A segment is `.` or `..`.
    DotSegment,
    /// A segment is empty: `a//b`, a leading `/` or a trailing `/`.
    EmptySegment,
    /// The name contains a NUL character.
    Nul,
    /// The name is that of a temporary file of s3keep.
    Temporary,
    /// The name is that of a restore marker of s3keep.
    Marker,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidName::TooLong => write!(f, "the key is longer than {MAX_KEY_BYTES} bytes"),
            InvalidName::SegmentTooLong => {
                write!(f, "a name in the key is longer than {MAX_SEGMENT_BYTES} bytes")
            }
            InvalidName::DotSegment => f.write_str("the key has a '.' or '..' segment"),
            InvalidName::EmptySegment => f.write_str("the key has an empty segment"),
            InvalidName::Nul => f.write_str("the key has a NUL character"),
            InvalidName::Temporary => {
                f.write_str("the name is reserved for s3keep's temporary files")
            }
            InvalidName::Marker => f.write_str("the name is reserved for s3keep's restore markers"),
        }
    }
}

/// Checks that a relative path and the key `prefix + path` can be converted into each other.
///
/// `prefix_len` is the length of the prefix in bytes.
pub(crate) fn check(path: &str, prefix_len: usize) -> Result<(), InvalidName> {
    if prefix_len + path.len() > MAX_KEY_BYTES {
        return Err(InvalidName::TooLong);
    }
    if path.contains('\0') {
        return Err(InvalidName::Nul);
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err(InvalidName::EmptySegment),
            "." | ".." => return Err(InvalidName::DotSegment),
            _ if segment.len() > MAX_SEGMENT_BYTES => return Err(InvalidName::SegmentTooLong),
            _ => {}
        }
    }
    let (_, name) = split(path);
    if is_temporary(name) {
        Err(InvalidName::Temporary)
    } else if is_marker(name) {
        Err(InvalidName::Marker)
    } else {
        Ok(())
    }
}

/// Splits a path into its directory and its last name. The directory is empty at the top level.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The directories above a path, from the outermost to the innermost, without the top level.
pub(crate) fn above(path: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// Compares two paths in tree order: the content of a directory directly follows its name
/// (`a`, `a/b`, `a-b`).
///
/// S3 sorts by bytes instead (`a`, `a-b`, `a/b`). In tree order, all paths below a directory are
/// neighbors.
pub(crate) fn tree_order(a: &str, b: &str) -> Ordering {
    // No file name contains NUL, so `/` can be ranked below every other byte.
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.bytes().zip(b.bytes()).find(|(x, y)| x != y) {
        Some((x, y)) => rank(x).cmp(&rank(y)).then(x.cmp(&y)),
        None => a.len().cmp(&b.len()),
    }
}

/// Whether `path` is below the directory `dir`.
pub(crate) fn is_under(path: &str, dir: &str) -> bool {
    path.len() > dir.len() && path.as_bytes()[dir.len()] == b'/' && path.starts_with(dir)
}

const RESERVED_START: &str = ".s3keep-";
const TEMPORARY_END: &str = ".part";
const MARKER_END: &str = ".restore";
const SAVED_MIDDLE: &str = ".s3keep-saved-";

/// A new random name for the temporary file of a download.
pub(crate) fn temporary() -> String {
    format!("{RESERVED_START}{:016x}{TEMPORARY_END}", fastrand::u64(..))
}

/// Whether `name` has exactly the form that [`temporary`] produces.
pub(crate) fn is_temporary(name: &str) -> bool {
    is_reserved(name, TEMPORARY_END)
}

/// A new random name for a changed file that cannot keep the name `name`. It is an ordinary name.
pub(crate) fn saved(name: &str) -> String {
    let end = format!("{SAVED_MIDDLE}{:016x}", fastrand::u64(..));
    let max_len = MAX_SEGMENT_BYTES - end.len();
    let len = (0..=max_len).rev().find(|len| name.is_char_boundary(*len)).unwrap_or(0);
    format!("{}{end}", &name[..len])
}

/// A new random name for the marker of a restore.
pub(crate) fn marker() -> String {
    format!("{RESERVED_START}{:016x}{MARKER_END}", fastrand::u64(..))
}

/// Whether `name` has exactly the form that [`marker`] produces.
pub(crate) fn is_marker(name: &str) -> bool {
    is_reserved(name, MARKER_END)
}

fn is_reserved(name: &str, end: &str) -> bool {
    name.strip_prefix(RESERVED_START).and_then(|rest| rest.strip_suffix(end)).is_some_and(
        |random| {
            random.len() == 16 && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_above_a_path_come_from_the_outermost_to_the_innermost() {
        assert_eq!(above("a/b-c/d").collect::<Vec<_>>(), ["a", "a/b-c"]);
        assert_eq!(above("a").count(), 0);
    }

    #[test]
    fn invalid_names_are_rejected_with_their_reason() {
        let cases = [
            ("a/b", None),
            ("a b+%&<>\"'\u{1}\u{1f600}", None),
            ("..a/b..", None),
            ("", Some(InvalidName::EmptySegment)),
            ("/a", Some(InvalidName::EmptySegment)),
            ("a//b", Some(InvalidName::EmptySegment)),
            ("a/", Some(InvalidName::EmptySegment)),
            ("../a", Some(InvalidName::DotSegment)),
            ("a/./b", Some(InvalidName::DotSegment)),
            ("a/..", Some(InvalidName::DotSegment)),
            ("a\0b", Some(InvalidName::Nul)),
            ("d/.s3keep-0123456789abcdef.part", Some(InvalidName::Temporary)),
            ("d/.s3keep-0123456789ABCDEF.part", None),
            ("d/.s3keep-notes.part", None),
            ("d/.s3keep-0123456789abcdef.restore", Some(InvalidName::Marker)),
            (".s3keep-0123456789abcdef.restore/a", None),
            (".s3keep-0123456789abcdef.restored", None),
        ];
        for (path, expected) in cases {
            assert_eq!(check(path, 0).err(), expected, "{path:?}");
        }
        assert_eq!(check(&"s".repeat(255), 0), Ok(()));
        assert_eq!(check(&"s".repeat(256), 0), Err(InvalidName::SegmentTooLong));
        let long = vec!["d".repeat(249); 4].join("/");
        assert_eq!(long.len(), 999);
        assert_eq!(check(&long, 1), Ok(()));
        assert_eq!(check(&long, 2), Err(InvalidName::TooLong));
        assert!(is_temporary(&temporary()) && is_marker(&marker()));
    }

    #[test]
    fn name_of_a_saved_file_is_ordinary() {
        for name in ["a", &"s".repeat(255), &"\u{1f600}".repeat(63), &temporary(), &marker()] {
            let saved = saved(name);
            assert_eq!(check(&saved, 0), Ok(()), "{saved}");
            assert!(name.chars().take(20).eq(saved.chars().take(20)) || name == "a", "{saved}");
        }
        assert!(saved("a").starts_with("a.s3keep-saved-"));
        assert_ne!(saved("a"), saved("a"));
    }

    #[test]
    fn tree_order_keeps_the_content_of_a_directory_together() {
        let mut paths = ["b", "a-b", "a/b", "a", "a/b/c", "a/b-c", "a0", "a\u{1}"];
        paths.sort_by(|a, b| tree_order(a, b));
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/b-c", "a\u{1}", "a-b", "a0", "b"]);
        assert!(is_under("a/b", "a") && !is_under("a-b", "a") && !is_under("a", "a"));
    }
}
