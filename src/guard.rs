//! What keeps a plan from being carried out unasked, and how a refusal reads.

use std::fmt;

use crate::{
    entry::{SkipReason, Skipped},
    error::Shown,
    names::{MAX_KEY_BYTES, Unfit},
    plan::Plan,
};

/// How much may be deleted without being asked twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxDelete {
    /// At most so many entries.
    Entries(u64),
    /// At most so many of a hundred of the target's entries.
    Percent(u8),
}

/// What keeps a plan from being carried out unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// Let an empty source empty the target.
    pub allow_empty: bool,
    /// How much may be deleted. Without it: up to 100 entries, or up to half of the target.
    pub max_delete: Option<MaxDelete>,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The source has nothing in it, and the target has.
    EmptySource {
        /// How many entries the target has.
        target_entries: u64,
    },
    /// More would be deleted than is allowed.
    TooManyDeletions {
        /// How many entries would be deleted.
        deletions: u64,
        /// How many entries the target has.
        target_entries: u64,
    },
    /// Some keys are too long; all of them.
    KeysTooLong(Vec<String>),
    /// The question was not answered with yes.
    NotConfirmed,
    /// Another run is at work in the same directory.
    Busy(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::EmptySource { target_entries } => write!(
                f,
                "the source is empty and the target has {target_entries} entries: is the right \
                 directory mounted, the prefix right? (--allow-empty if it is meant)"
            ),
            Refusal::TooManyDeletions { deletions, target_entries } => write!(
                f,
                "{deletions} of the target's {target_entries} entries would be deleted \
                 (--max-delete N or P% if it is meant, --no-delete to leave them)"
            ),
            Refusal::KeysTooLong(keys) => {
                write!(f, "{} keys are longer than {} bytes:", keys.len(), MAX_KEY_BYTES)?;
                keys.iter().try_for_each(|key| write!(f, "\n  {}", Shown(key)))
            }
            Refusal::NotConfirmed => f.write_str("not confirmed"),
            Refusal::Busy(dir) => write!(f, "another s3keep is at work in {}", Shown(dir)),
        }
    }
}

impl std::error::Error for Refusal {}

impl Plan {
    /// Whether the guards let this plan be carried out.
    pub(crate) fn check(&self, guards: &Guards) -> Result<(), Refusal> {
        let too_long = |skipped: &&Skipped| skipped.reason == SkipReason::Name(Unfit::TooLong);
        let long: Vec<String> =
            self.skipped.iter().filter(too_long).map(|skipped| skipped.path.clone()).collect();
        if !long.is_empty() {
            return Err(Refusal::KeysTooLong(long));
        }
        let target_entries = self.target_entries as u64;
        let deletions = self.deletions.len() as u64;
        if deletions == 0 {
            return Ok(());
        }
        if self.source_entries == 0 && !guards.allow_empty {
            return Err(Refusal::EmptySource { target_entries });
        }
        let allowed = match guards.max_delete {
            None => deletions <= 100 || deletions * 2 <= target_entries,
            Some(MaxDelete::Entries(most)) => deletions <= most,
            Some(MaxDelete::Percent(most)) => deletions * 100 <= u64::from(most) * target_entries,
        };
        if allowed { Ok(()) } else { Err(Refusal::TooManyDeletions { deletions, target_entries }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{ETag, Object, Timestamp},
        list::Listing,
        plan::{Direction, Terms, plan},
        scan::Scan,
    };

    const TERMS: Terms =
        Terms { now: Timestamp::from_secs(1_000), skew: 0, by_content: false, no_delete: false };

    #[test]
    fn deletions_beyond_the_usual_are_refused() {
        let plan = |deletions: usize, source: usize, target: usize| {
            let object = |n: usize| Object {
                path: format!("{n:04}").into(),
                size: 1,
                modified: Timestamp::from_secs(500),
                etag: ETag::None,
            };
            let objects = (0..deletions).map(object).collect();
            let listing = Listing { objects, skipped: Vec::new() };
            let mut plan = plan(Direction::Backup, Scan::default(), listing, &TERMS);
            (plan.source_entries, plan.target_entries) = (source, target);
            plan
        };
        let default = Guards::default();
        let most = |max_delete| Guards { max_delete: Some(max_delete), ..default };
        let empty = Guards { allow_empty: true, ..default };
        let cases = [
            (0, 0, 50, default, true),
            (1, 0, 1, default, false),
            (1, 0, 1, empty, true),
            (101, 0, 101, empty, false),
            (100, 1, 100, default, true),
            (101, 1, 202, default, true),
            (101, 1, 201, default, false),
            (101, 1, 201, most(MaxDelete::Entries(101)), true),
            (2, 1, 201, most(MaxDelete::Entries(1)), false),
            (101, 1, 201, most(MaxDelete::Percent(50)), false),
            (101, 1, 201, most(MaxDelete::Percent(51)), true),
            (1, 1, 201, most(MaxDelete::Percent(0)), false),
        ];
        for (deletions, source, target, guards, passes) in cases {
            let refusal = plan(deletions, source, target).check(&guards);
            assert_eq!(refusal.is_ok(), passes, "{deletions} {source} {target} {guards:?}");
        }
    }

    #[test]
    fn every_key_that_is_too_long_is_named() {
        let long = |path: &str| Skipped {
            path: path.to_owned(),
            reason: SkipReason::Name(Unfit::TooLong),
        };
        let listing = Listing { objects: Vec::new(), skipped: vec![long("d")] };
        let scan = Scan { skipped: vec![long("b"), long("c")], ..Scan::default() };
        let refusal = plan(Direction::Backup, scan, listing, &TERMS).check(&Guards::default());
        assert_eq!(refusal, Err(Refusal::KeysTooLong(["b", "c", "d"].map(str::to_owned).into())));
    }
}
