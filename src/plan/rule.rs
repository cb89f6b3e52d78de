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
//! | recorded, and both are as recorded | keep | keep |
//! | mtime is later than LastModified by more than the margin, and not in the future | upload (`newer`) | download (`newer`) |
//! | not recorded, not a symlink, and mtime and ctime are earlier than LastModified by more than the margin | keep | compare contents |
//! | anything else | compare contents | compare contents |
//!
//! The margin is the measured clock skew plus one second. *Recorded* means that the
//! [record](crate::record) has an entry for the path.
//!
//! If a restore found that the directory does not keep the mtimes that it set, the record says so. The two
//! rows that decide by times do not apply then: the contents are compared.
//!
//! The times of a symlink are those of its target. They do not show that it points to another file now.
//!
//! If the contents cannot be compared, a file whose mtime equals LastModified to the nanosecond is
//! kept: it is a restored copy. Any other is transferred (`doubt`).

use crate::{
    model::{
        direction::Direction,
        entry::{File, Object},
        time::Timestamp,
    },
    record::Known,
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
    /// The contents could not be compared, so it is transferred to be safe.
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
    /// Decide without ctime.
    pub ignore_ctime: bool,
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

/// Applies the rule to a file and an object of the same path. `known` is what the record knows about
/// them.
pub(crate) fn decide(
    direction: Direction,
    file: &File,
    object: &Object,
    known: Known,
    policy: &Policy,
) -> Decision {
    let (mtime, last_modified) = (file.modified, object.modified);
    let is_later = mtime > last_modified && mtime.distance(last_modified) > policy.margin;
    if file.size != object.size {
        Decision::Transfer(Reason::Size)
    } else if policy.by_content {
        Decision::CompareContents
    } else if known == Known::Same {
        Decision::Keep
    } else if known == Known::WithoutTimes {
        Decision::CompareContents
    } else if is_later && mtime <= policy.now {
        Decision::Transfer(Reason::Newer)
    } else if direction == Direction::Backup
        && known == Known::Nothing
        && file.target.is_none()
        && is_unchanged_since_upload(file, object, policy)
    {
        Decision::Keep
    } else {
        Decision::CompareContents
    }
}

/// Decides about a file and an object whose contents cannot be compared. Returns why the file is
/// transferred, or `None` if it is kept.
pub(crate) fn decide_without_comparison(
    direction: Direction,
    file: &File,
    object: &Object,
    policy: &Policy,
) -> Option<Reason> {
    let is_kept = if file.target.is_none() {
        file.modified == object.modified
    } else {
        // The target of a link may have been restored from another object. Its times are all that is
        // left to decide, and they must not upload the link in every run.
        direction == Direction::Backup && is_unchanged_since_upload(file, object, policy)
    };
    (!is_kept).then_some(Reason::Doubt)
}

/// Whether the times say that the file did not change after its object was stored.
fn is_unchanged_since_upload(file: &File, object: &Object, policy: &Policy) -> bool {
    let is_earlier =
        |time: Timestamp| time < object.modified && time.distance(object.modified) > policy.margin;
    is_earlier(file.modified) && (policy.ignore_ctime || is_earlier(file.changed))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::etag::ETag;

    const S: i64 = 1_000_000_000;
    const NOW: i64 = 1_000 * S;

    fn file(size: u64, mtime: i64, ctime: i64) -> File {
        let (modified, changed) = (Timestamp::from_nanos(mtime), Timestamp::from_nanos(ctime));
        File { path: "a".into(), size, modified, changed, target: None }
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
            ignore_ctime: false,
        }
    }

    /// The table of this module, row by row, for LastModified at 500 seconds.
    #[test]
    fn every_row_of_the_table_is_applied() {
        use Decision::{CompareContents, Keep, Transfer};
        use Known::{Changed, Nothing, Same};
        use Reason::{Newer, Size};
        const EARLY: i64 = 10 * S;
        let cases = [
            // Object size, mtime, ctime, clock skew, record; backup, restore.
            // The sizes differ.
            (2, EARLY, EARLY, 0, Nothing, Transfer(Size), Transfer(Size)),
            (2, EARLY, EARLY, 0, Same, Transfer(Size), Transfer(Size)),
            (2, NOW + 1, NOW, 0, Changed, Transfer(Size), Transfer(Size)),
            // Both are as recorded.
            (1, EARLY, EARLY, 0, Same, Keep, Keep),
            (1, 900 * S, 900 * S, 0, Same, Keep, Keep),
            (1, NOW + 1, 900 * S, 0, Same, Keep, Keep),
            (1, 500 * S, 900 * S, 0, Same, Keep, Keep),
            // mtime is later, beyond the margin, and not in the future.
            (1, 501 * S + 1, 501 * S + 1, 0, Nothing, Transfer(Newer), Transfer(Newer)),
            (1, 900 * S, EARLY, 0, Nothing, Transfer(Newer), Transfer(Newer)),
            (1, NOW, NOW, 0, Changed, Transfer(Newer), Transfer(Newer)),
            (1, 802 * S, 802 * S, 300 * S, Nothing, Transfer(Newer), Transfer(Newer)),
            // Not recorded, mtime and ctime are earlier, beyond the margin.
            (1, EARLY, EARLY, 0, Nothing, Keep, CompareContents),
            (1, EARLY + 1, EARLY, 0, Nothing, Keep, CompareContents),
            (1, -5 * S - 1, EARLY, 0, Nothing, Keep, CompareContents),
            (1, 499 * S - 1, 499 * S - 1, 0, Nothing, Keep, CompareContents),
            (1, 198 * S, 198 * S, 300 * S, Nothing, Keep, CompareContents),
            // Anything else: recorded, and something changed.
            (1, EARLY, EARLY, 0, Changed, CompareContents, CompareContents),
            // Within the margin.
            (1, 501 * S, EARLY, 0, Nothing, CompareContents, CompareContents),
            (1, 500 * S, EARLY, 0, Nothing, CompareContents, CompareContents),
            (1, 499 * S, EARLY, 0, Nothing, CompareContents, CompareContents),
            (1, 800 * S, EARLY, 300 * S, Nothing, CompareContents, CompareContents),
            // In the future.
            (1, NOW + 1, EARLY, 0, Nothing, CompareContents, CompareContents),
            (1, i64::MAX, EARLY, 0, Changed, CompareContents, CompareContents),
            // ctime is not earlier, or within the margin.
            (1, EARLY, 900 * S, 0, Nothing, CompareContents, CompareContents),
            (1, EARLY, 499 * S, 0, Nothing, CompareContents, CompareContents),
            (1, EARLY, 200 * S, 300 * S, Nothing, CompareContents, CompareContents),
        ];
        for (object_size, mtime, ctime, skew, known, backup, restore) in cases {
            let (file, object) = (file(1, mtime, ctime), object(object_size, 500));
            let decide = |direction| decide(direction, &file, &object, known, &policy(skew));
            let decisions = (decide(Direction::Backup), decide(Direction::Restore));
            let case = format!("{object_size} {mtime} {ctime} {skew} {known:?}");
            assert_eq!(decisions, (backup, restore), "{case}");
        }
    }

    #[test]
    fn ctime_can_be_ignored() {
        let policy = Policy { ignore_ctime: true, ..policy(0) };
        let file = file(1, 10 * S, 900 * S);
        let decide = |known| decide(Direction::Backup, &file, &object(1, 500), known, &policy);
        assert_eq!(decide(Known::Nothing), Decision::Keep);
        assert_eq!(decide(Known::Changed), Decision::CompareContents);
    }

    #[test]
    fn link_is_compared_even_if_its_times_are_earlier() {
        let link = File { target: Some(Path::new("b").into()), ..file(1, 10 * S, 10 * S) };
        let decide = |known| decide(Direction::Backup, &link, &object(1, 500), known, &policy(0));
        assert_eq!(decide(Known::Nothing), Decision::CompareContents);
        assert_eq!(decide(Known::Same), Decision::Keep);
    }

    #[test]
    fn only_a_restored_copy_is_kept_without_a_comparison() {
        let decide = |direction, file: &File| {
            decide_without_comparison(direction, file, &object(1, 500), &policy(0))
        };
        let copy = file(1, 500 * S, 900 * S);
        let other = file(1, 500 * S + 1, 900 * S);
        let link = |file: &File| File { target: Some(Path::new("b").into()), ..file.clone() };
        for direction in [Direction::Backup, Direction::Restore] {
            assert_eq!(decide(direction, &copy), None);
            assert_eq!(decide(direction, &other), Some(Reason::Doubt));
            assert_eq!(decide(direction, &link(&copy)), Some(Reason::Doubt));
        }
        let early = link(&file(1, 10 * S, 10 * S));
        assert_eq!(decide(Direction::Backup, &early), None);
        assert_eq!(decide(Direction::Restore, &early), Some(Reason::Doubt));
    }

    #[test]
    fn by_content_ignores_times_and_the_record_but_not_sizes() {
        let policy = Policy { by_content: true, ..policy(0) };
        let file = file(1, 10 * S, 10 * S);
        for known in [Known::Nothing, Known::Same, Known::Changed] {
            let decide =
                |size| decide(Direction::Backup, &file, &object(size, 500), known, &policy);
            assert_eq!(decide(1), Decision::CompareContents);
            assert_eq!(decide(2), Decision::Transfer(Reason::Size));
        }
    }
}
