//! What is known of a file, of an object, and of what had to be left out.

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{error::Shown, names::Unfit};

/// A point in time in UTC: nanoseconds since 1970, clamped to the years 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const SECOND: i64 = 1_000_000_000;

impl Timestamp {
    /// The time that is this many nanoseconds after (or before) the beginning of 1970.
    pub const fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp(nanos)
    }

    /// The beginning of the `seconds`-th second since 1970.
    pub const fn from_secs(seconds: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(SECOND))
    }

    /// Nanoseconds since 1970.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The beginning of the second that this is in: all that S3 keeps of a time.
    pub const fn whole_second(self) -> Timestamp {
        Timestamp(self.0.saturating_sub(self.0.rem_euclid(SECOND)))
    }

    /// How far apart two times are, in nanoseconds.
    pub const fn distance(self, other: Timestamp) -> u64 {
        self.0.abs_diff(other.0)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        Timestamp(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => nanos(before.duration()).saturating_neg(),
        })
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> SystemTime {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        if time.0 >= 0 {
            SystemTime::UNIX_EPOCH + distance
        } else {
            SystemTime::UNIX_EPOCH - distance
        }
    }
}

/// A local file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path below the root, `/`-separated.
    pub path: Box<str>,
    /// The size in bytes.
    pub size: u64,
    /// The time of the last change.
    pub modified: Timestamp,
    /// Where the bytes are, below the root, when `path` leads there through a symbolic link.
    pub target: Option<Box<Path>>,
}

impl File {
    /// Where the bytes are, below the root.
    pub(crate) fn source(&self) -> &Path {
        self.target.as_deref().unwrap_or(Path::new(&*self.path))
    }
}

/// An object in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The key without the prefix of the run.
    pub path: Box<str>,
    /// The size in bytes.
    pub size: u64,
    /// `LastModified`, whole seconds.
    pub modified: Timestamp,
    /// The `ETag`.
    pub etag: ETag,
}

/// An entity tag, held compactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ETag {
    /// Of the form of an MD5. It is the MD5 of the content for a plain upload, but only looks like
    /// one under SSE-KMS or SSE-C
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>).
    Md5([u8; 16]),
    /// Of a multipart upload: the MD5 of the parts' MD5s, and the number of parts.
    Parts([u8; 16], u32),
    /// Anything else, without its quotes.
    Other(Box<str>),
    /// The server gave none.
    None,
}

impl ETag {
    /// Reads an ETag as it stands in a header or a listing, with or without quotes. A weak one, or one
    /// that no header can hold, names no version that could be asked for, and is none.
    pub fn parse(text: &str) -> ETag {
        let text = text.trim().trim_matches('"');
        if text.starts_with("W/") || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return ETag::None;
        }
        let (hex, parts) = match text.split_once('-') {
            Some((hex, parts)) => {
                (hex, parts.parse().ok().filter(|n: &u32| n.to_string() == parts))
            }
            None => (text, Some(0)),
        };
        match (from_hex(hex), parts) {
            _ if text.is_empty() => ETag::None,
            (Some(md5), Some(0)) if !text.contains('-') => ETag::Md5(md5),
            (Some(md5), Some(parts)) => ETag::Parts(md5, parts),
            _ => ETag::Other(text.into()),
        }
    }

    /// As a header wants it, in quotes; `None` where there is no ETag.
    pub fn quoted(&self) -> Option<String> {
        match self {
            ETag::None => None,
            other => Some(format!("\"{other}\"")),
        }
    }
}

/// 32 lower-case hexadecimal digits: what [`ETag`]'s `Display` writes back unchanged.
fn from_hex(text: &str) -> Option<[u8; 16]> {
    let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 32 || !text.as_bytes().iter().all(lower) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ETag::Md5(md5) => write!(f, "{:032x}", u128::from_be_bytes(*md5)),
            ETag::Parts(md5, parts) => write!(f, "{:032x}-{parts}", u128::from_be_bytes(*md5)),
            ETag::Other(text) => f.write_str(text),
            ETag::None => Ok(()),
        }
    }
}

/// Something that is neither transferred nor deleted, and why. It is named in every report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The path below the root; not UTF-8 ones with replacement characters.
    pub path: String,
    /// Why.
    pub reason: SkipReason,
}

/// Why something is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// The name can't travel.
    Name(Unfit),
    /// The file's name is not UTF-8, and a key must be.
    NotUtf8,
    /// The directory's name is not UTF-8, and nothing below it was looked at.
    DirectoryNotUtf8,
    /// A symbolic link out of the root.
    LinkOutside,
    /// A symbolic link to nothing.
    LinkDangling,
    /// A symbolic link that leads back to where it stands.
    LinkLoop,
    /// A symbolic link to a directory, without `--links follow`.
    LinkToDirectory,
    /// A symbolic link, with `--links skip`.
    Link,
    /// A socket, pipe or device.
    Special,
    /// It could not be looked at.
    Unreadable(String),
    /// It was there, and then no longer.
    Vanished,
    /// A file stands where a directory would have to be.
    FileInTheWay(String),
    /// A link stands where a directory would have to be.
    LinkInTheWay(String),
    /// A directory stands where a file would have to be.
    DirectoryInTheWay,
    /// The store seems to keep this file, of another name, under this one.
    Folded(String),
    /// Something that was left out itself stands in the way.
    SkippedInTheWay(String),
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SkipReason::Name(unfit) => write!(f, "{unfit}"),
            SkipReason::NotUtf8 => f.write_str("the name is not UTF-8"),
            SkipReason::DirectoryNotUtf8 => f.write_str("the directory's name is not UTF-8"),
            SkipReason::LinkOutside => {
                f.write_str("a symbolic link that leads out of the directory")
            }
            SkipReason::LinkDangling => f.write_str("a symbolic link to nothing"),
            SkipReason::LinkLoop => f.write_str("a symbolic link that leads back to itself"),
            SkipReason::LinkToDirectory => {
                f.write_str("a symbolic link to a directory (--links follow enters it)")
            }
            SkipReason::Link => f.write_str("a symbolic link"),
            SkipReason::Special => f.write_str("neither a file nor a directory"),
            SkipReason::Unreadable(why) => write!(f, "it can't be read: {why}"),
            SkipReason::Vanished => f.write_str("it vanished while it was looked at"),
            SkipReason::FileInTheWay(path) => write!(f, "the file {} is in the way", Shown(path)),
            SkipReason::LinkInTheWay(path) => write!(f, "the link {} is in the way", Shown(path)),
            SkipReason::DirectoryInTheWay => f.write_str("a directory of that name is in the way"),
            SkipReason::Folded(path) => {
                write!(f, "the store may have given this name to the file {}", Shown(path))
            }
            SkipReason::SkippedInTheWay(path) => {
                write!(f, "{}, which was left out, is in the way", Shown(path))
            }
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Shown(&self.path), self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_survive_their_compact_form() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert!(matches!(ETag::parse(&format!("\"{md5}\"")), ETag::Md5(_)));
        assert!(matches!(ETag::parse(&format!("{md5}-3")), ETag::Parts(_, 3)));
        for text in [
            md5,
            &format!("{md5}-10000"),
            &format!("{md5}-03"),
            &format!("{md5}-"),
            "-",
            &md5.to_uppercase(),
            "0x8D",
            &format!("{md5}-0"),
        ] {
            assert_eq!(ETag::parse(text).to_string(), *text);
            assert_eq!(ETag::parse(text).quoted(), Some(format!("\"{text}\"")));
        }
        for none in ["", "\"\"", "W/\"abc\"", "a b", "a\u{1}", "\u{e9}"] {
            assert_eq!(ETag::parse(none).quoted(), None, "{none}");
        }
    }

    #[test]
    fn an_object_takes_56_bytes_and_its_path() {
        assert_eq!(size_of::<Object>(), 56);
        assert_eq!(size_of::<File>(), 48);
    }

    #[test]
    fn times_before_1970_and_beyond_the_range_hold() {
        let before = Timestamp::from_nanos(-1);
        assert_eq!(before.whole_second(), Timestamp::from_secs(-1));
        assert_eq!(Timestamp::from(SystemTime::from(before)), before);
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(Timestamp::from(far).nanos(), i64::MAX);
    }
}
