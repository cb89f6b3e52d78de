//! How much both sides have in common.
//!
//! A directory and its backup share nearly all their paths. Two sides that share almost nothing are
//! not mirrors of each other: most likely, the directory or the prefix is wrong.

use std::{
    cmp::Ordering,
    hash::{BuildHasher, RandomState},
    iter,
};

use crate::{
    model::{direction::Direction, paths},
    plan::actions::{Deletion, Transfer},
};

/// The number of entries on each side, and of those that both sides have.
///
/// Skipped entries do not count: the other side cannot have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    pub source: u64,
    pub target: u64,
    /// Entries with the same path, or else with the same base name and size (a moved file). The only
    /// file of a directory may also be renamed or replaced.
    pub shared: u64,
}

impl Overlap {
    /// Counts what both sides of a plan have in common. `other_pairs` is the number of pairs that are
    /// kept or undecided.
    ///
    /// Most plans share enough paths. Only for the others, base names and sizes are compared.
    pub(super) fn new(
        direction: Direction,
        transfers: &[Transfer],
        deletions: &[Deletion],
        other_pairs: u64,
    ) -> Overlap {
        let is_pair = |transfer: &Transfer| transfer.file.is_some() && transfer.object.is_some();
        let pairs = transfers.iter().filter(|transfer| is_pair(transfer)).count();
        let shared_paths = other_pairs + pairs as u64;
        let mut overlap = Overlap {
            source: shared_paths + (transfers.len() - pairs) as u64,
            target: shared_paths + deletions.len() as u64,
            shared: shared_paths,
        };
        if other_pairs == 0 && is_replaced_file(direction, transfers, deletions) {
            overlap.shared += 1;
        } else if overlap.is_almost_nothing() {
            let new = transfers.iter().filter(|transfer| !is_pair(transfer));
            let new = new.map(|transfer| (transfer.path(), transfer.size(direction)));
            let gone = deletions.iter().map(|deletion| (&*deletion.path, deletion.size));
            overlap.shared += count_moved(new, gone);
        }
        overlap
    }

    /// The number of entries on the smaller side.
    pub fn smaller(&self) -> u64 {
        self.source.min(self.target)
    }

    /// Whether the sides have almost nothing in common: less than 1 % of the smaller side, or nothing.
    pub fn is_almost_nothing(&self) -> bool {
        self.shared == 0 || self.shared.saturating_mul(100) < self.smaller()
    }
}

/// Whether each side has one entry, and the new one takes the place of the other.
///
/// That is an ordinary backup of a directory with one file, such as the dump of the day. In a restore,
/// the file to delete may be the only copy of something else: only a renamed one of the same size counts.
fn is_replaced_file(direction: Direction, transfers: &[Transfer], deletions: &[Deletion]) -> bool {
    match (transfers, deletions) {
        ([new], [gone]) => direction == Direction::Backup || new.size(direction) == gone.size,
        _ => false,
    }
}

/// The number of entries that have the base name and size of one on the other side.
///
/// Hashes take 8 bytes per entry, however long the names are.
fn count_moved<'p>(
    new: impl Iterator<Item = (&'p str, u64)>,
    gone: impl Iterator<Item = (&'p str, u64)>,
) -> u64 {
    let hasher = RandomState::new();
    let hash = |(path, size): (&str, u64)| hasher.hash_one((paths::split(path).1, size));
    let mut new: Vec<u64> = new.map(hash).collect();
    if new.is_empty() {
        return 0;
    }
    let mut gone: Vec<u64> = gone.map(hash).collect();
    new.sort_unstable();
    gone.sort_unstable();
    let (mut new, mut gone) = (new.into_iter().peekable(), gone.into_iter().peekable());
    let next_is_match = || {
        let order = new.peek()?.cmp(gone.peek()?);
        if order != Ordering::Greater {
            new.next();
        }
        if order != Ordering::Less {
            gone.next();
        }
        Some(order.is_eq())
    };
    iter::from_fn(next_is_match).filter(|is_match| *is_match).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_have_almost_nothing_in_common_below_one_percent_of_the_smaller_one() {
        let cases = [
            // Entries of the source, of the target, of both; whether that is almost nothing.
            (1, 1, 0, true),
            (1, 1, 1, false),
            (0, 1, 0, true),
            (1, 2, 0, true),
            (2, 1, 0, true),
            (0, 2, 0, true),
            (50, 1_000_000, 0, true),
            (50, 1_000_000, 1, false),
            (100, 100, 1, false),
            (101, 101, 1, true),
            (200, 5_000, 2, false),
            (5_000, 201, 2, true),
            (u64::MAX, u64::MAX, u64::MAX, false),
        ];
        for (source, target, shared, expected) in cases {
            let overlap = Overlap { source, target, shared };
            assert_eq!(overlap.is_almost_nothing(), expected, "{overlap:?}");
        }
    }

    #[test]
    fn moved_files_are_counted_once_each() {
        let count = |new: &[(&str, u64)], gone: &[(&str, u64)]| {
            assert_eq!(
                count_moved(new.iter().copied(), gone.iter().copied()),
                count_moved(gone.iter().copied(), new.iter().copied())
            );
            count_moved(new.iter().copied(), gone.iter().copied())
        };
        assert_eq!(count(&[], &[("a", 1)]), 0);
        assert_eq!(count(&[("x/a", 1), ("b", 2)], &[("y/z/a", 1), ("x/b", 3)]), 1);
        // A name or a size alone is not enough, and neither is the end of a name.
        assert_eq!(count(&[("a", 1), ("ab", 2)], &[("a", 2), ("b", 1), ("x/b", 2)]), 0);
        // Three files of one name and size, of which the other side has two.
        assert_eq!(count(&[("1/a", 0), ("2/a", 0), ("3/a", 0)], &[("4/a", 0), ("a", 0)]), 2);
    }
}
