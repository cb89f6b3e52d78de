//! The decision rule.
//!
//! The first row that applies to a file and the object of the same path decides. The README and the
//! guide show the same table; tests/documents.rs compares them.
//!
//! | case | backup | restore |
//! | --- | --- | --- |
//! | only the file exists | upload (`missing`) | delete the file |
//! | only the object exists | delete the object | download (`missing`) |
//! | the sizes differ | upload (`size`) | download (`size`) |
//! | mtime equals LastModified to the nanosecond, and the path is not a symlink | keep | keep |
//! | mtime is in the future, or within the margin of LastModified | compare contents | compare contents |
//! | mtime is later than LastModified | upload (`newer`) | download (`newer`) |
//! | mtime is earlier than LastModified, and a whole second | keep | compare contents |
//! | mtime is earlier than LastModified | keep | keep |
//!
//! The margin is the measured clock skew plus one second.
//!
//! A file with an earlier mtime of a whole second may be a copy that an earlier restore made of a
//! predecessor of the object. A backup treats it like any other older file.

use crate::model::{
    direction::Direction,
    entry::{File, Object},
    time::Timestamp,
};

/// Why a file is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The target does not have it.
    Missing,
    /// The sizes differ.
    Size,
    /// The file was modified after the object was stored.
    Newer,
    /// The contents differ.
    Content,
    /// Neither size, time nor content could decide, so it is transferred to be safe.
    Doubt,
}

impl Reason {
    /// The reason as one word, as the command prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Size => "size",
            Reason::Newer => "newer",
            Reason::Content => "content",
            Reason::Doubt => "doubt",
        }
    }
}

/// The other inputs of the rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The local time.
    pub now: Timestamp,
    /// Two times that are at most this many nanoseconds apart may be equal.
    pub margin: u64,
    /// Compare the contents of every pair of equal size, whatever the times are.
    pub by_content: bool,
    /// Do not delete anything.
    pub no_delete: bool,
}

/// What to do with a file and an object of the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// They are the same.
    Keep,
    /// They differ.
    Transfer(Reason),
    /// Size and time cannot decide.
    CompareContents,
}

/// Applies the rule to a file and an object of the same path.
pub(crate) fn decide(
    direction: Direction,
    file: &File,
    object: &Object,
    policy: &Policy,
) -> Decision {
    let (mtime, last_modified) = (file.modified, object.modified);
    if file.size != object.size {
        Decision::Transfer(Reason::Size)
    } else if policy.by_content {
        Decision::CompareContents
    } else if mtime == last_modified && file.target.is_none() {
        // The time of a link is that of its target, which may have been restored from another object.
        Decision::Keep
    } else if mtime > policy.now || mtime.distance(last_modified) <= policy.margin {
        Decision::CompareContents
    } else if mtime > last_modified {
        Decision::Transfer(Reason::Newer)
    } else if direction == Direction::Restore && mtime == mtime.whole_second() {
        Decision::CompareContents
    } else {
        Decision::Keep
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::etag::ETag;

    const S: i64 = 1_000_000_000;
    const NOW: i64 = 1_000 * S;

    fn file(size: u64, mtime: i64) -> File {
        let modified = Timestamp::from_nanos(mtime);
        File { path: "a".into(), size, modified, changed: modified, target: None }
    }

    fn object(size: u64, seconds: i64) -> Object {
        let modified = Timestamp::from_secs(seconds);
        Object { path: "a".into(), size, modified, etag: ETag::None }
    }

    fn policy(skew: i64) -> Policy {
        Policy {
            now: Timestamp::from_nanos(NOW),
            margin: (skew + S).unsigned_abs(),
            by_content: false,
            no_delete: false,
        }
    }

    /// The table of this module, row by row.
    #[test]
    fn every_row_of_the_table_is_applied() {
        use Decision::{CompareContents, Keep, Transfer};
        use Reason::{Newer, Size};
        let cases = [
            // File size and mtime, object size and LastModified (in seconds), clock skew.
            (1, 10 * S, 2, 500, 0, Transfer(Size)),
            (1, 900 * S, 2, 500, 0, Transfer(Size)),
            (1, 500 * S, 1, 500, 0, Keep),
            (1, 500 * S + 1, 1, 500, 0, CompareContents),
            (1, 500 * S - 1, 1, 500, 0, CompareContents),
            (1, 501 * S, 1, 500, 0, CompareContents),
            (1, 499 * S, 1, 500, 0, CompareContents),
            (1, 501 * S + 1, 1, 500, 0, Transfer(Newer)),
            (1, 499 * S - 1, 1, 500, 0, Keep),
            (1, 900 * S, 1, 500, 0, Transfer(Newer)),
            (1, 10 * S, 1, 500, 0, Keep),
            (1, 10 * S + 1, 1, 500, 0, Keep),
            // The clocks are known to differ.
            (1, 800 * S, 1, 500, 300 * S, CompareContents),
            (1, 200 * S, 1, 500, 300 * S, CompareContents),
            (1, 802 * S, 1, 500, 300 * S, Transfer(Newer)),
            (1, 198 * S, 1, 500, 300 * S, Keep),
            // An mtime in the future would be newer in every run.
            (1, NOW + 1, 1, 500, 0, CompareContents),
            (1, i64::MAX, 1, 500, 0, CompareContents),
            (1, NOW + S, 1, 1_001, 0, Keep),
            (2, NOW + 1, 1, 500, 0, Transfer(Size)),
            (1, -5 * S - 1, 1, 500, 0, Keep),
        ];
        for (size, mtime, object_size, last_modified, skew, expected) in cases {
            let (file, object) = (file(size, mtime), object(object_size, last_modified));
            let case = format!("{size} {mtime} {object_size} {last_modified} {skew}");
            let decision = decide(Direction::Backup, &file, &object, &policy(skew));
            assert_eq!(decision, expected, "{case}");
            // A restore decides alike, except for a possible copy of the object's predecessor.
            let decision = decide(Direction::Restore, &file, &object, &policy(skew));
            let is_copy = expected == Keep && mtime < last_modified * S && mtime % S == 0;
            assert_eq!(decision, if is_copy { CompareContents } else { expected }, "{case}");
        }
    }

    #[test]
    fn link_with_the_time_of_its_object_is_not_taken_for_a_restored_copy() {
        let link = File { target: Some(Path::new("b").into()), ..file(1, 500 * S) };
        let decision = decide(Direction::Restore, &link, &object(1, 500), &policy(0));
        assert_eq!(decision, Decision::CompareContents);
    }

    #[test]
    fn by_content_ignores_times_but_not_sizes() {
        let policy = Policy { by_content: true, ..policy(0) };
        let decide =
            |size| decide(Direction::Backup, &file(1, 10 * S), &object(size, 500), &policy);
        assert_eq!(decide(1), Decision::CompareContents);
        assert_eq!(decide(2), Decision::Transfer(Reason::Size));
    }
}
