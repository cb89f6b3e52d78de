//! The modification time of a restored file.
//!
//! Many file systems keep less than they are given, and not all of them say so: FAT keeps every
//! second second, ext4 with small inodes nothing after 2038, and some FUSE file systems nothing at all.
//! So the time is read back.

use std::{
    fs::{self, FileTimes},
    io,
    time::SystemTime,
};

use crate::{
    local::{file_state::FileState, refused::unless_refused},
    model::{
        attribute::{Attribute, Unpreserved},
        time::Timestamp,
    },
};

/// A time that is less than this earlier was only rounded: FAT keeps even seconds.
const ROUNDED_DOWN: u64 = 2_000_000_000;

/// A time that is at most this later was only rounded. More would make the file newer than its object.
const ROUNDED_UP: u64 = 1_000_000_000;

/// Sets the modification time of a file that was written just now. Returns its state after that, and why
/// its time is not the wanted one.
pub(super) fn set_modified(
    file: &fs::File,
    wanted: Timestamp,
) -> io::Result<(FileState, Option<Unpreserved>)> {
    // Both times, and both as numbers: some FUSE file systems ignore a request to set one of them, or
    // to set one to the present time.
    let times = FileTimes::new().set_accessed(SystemTime::now()).set_modified(wanted.into());
    let refused = unless_refused(Attribute::Time, file.set_times(times))?;
    let state = FileState::of(file)?;
    if is_kept(wanted, state.modified) {
        return Ok((state, None));
    }
    let not_kept = || unkept("the file system does not keep it");
    Ok((state, refused.or_else(|| Some(not_kept()))))
}

/// Notes that a file has another modification time than the one that was set.
pub(crate) fn unkept(reason: &str) -> Unpreserved {
    Unpreserved { attribute: Attribute::Time, reason: reason.to_owned() }
}

/// Whether a file system that was given the time `wanted` keeps it, except for rounding.
pub(crate) fn is_kept(wanted: Timestamp, found: Timestamp) -> bool {
    let distance = wanted.distance(found);
    if found <= wanted { distance < ROUNDED_DOWN } else { distance <= ROUNDED_UP }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_time_is_kept() {
        let wanted = Timestamp::from_nanos(7_999_999_999);
        for found in [7_999_999_999, 7_999_999_900, 7_000_000_000, 6_000_000_000, 8_000_000_000] {
            assert!(is_kept(wanted, Timestamp::from_nanos(found)), "{found}");
        }
        for found in [0, 5_999_999_999, 9_000_000_000, 900_000_000_000] {
            assert!(!is_kept(wanted, Timestamp::from_nanos(found)), "{found}");
        }
    }

    #[test]
    fn time_of_an_ordinary_file_is_kept() {
        let file = tempfile::tempfile().unwrap();
        for seconds in [0, 1, 1_700_000_000] {
            let wanted = Timestamp::from_secs(seconds);
            let state = FileState { size: 0, modified: wanted };
            assert_eq!(set_modified(&file, wanted).unwrap(), (state, None));
        }
        let accessed = file.metadata().unwrap().accessed().unwrap();
        assert!(accessed.elapsed().unwrap().as_secs() < 60);
    }
}
