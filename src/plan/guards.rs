//! The limits that refuse a dangerous plan.

use std::path::Path;

use crate::{
    error::Refusal,
    model::{
        bucket_url::BucketUrl,
        paths::InvalidName,
        skip::{SkipReason, Skipped},
    },
    plan::plan::Plan,
};

/// By default, a run may delete up to this many entries, or up to half of the target.
const MAX_DELETIONS: u64 = 100;

/// How much a run may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxDelete {
    /// At most this many entries.
    Entries(u64),
    /// At most this percentage of the target's entries.
    Percent(u8),
}

/// The limits that refuse a dangerous plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// Accept an empty source: a restore or verification without any object, an empty source that empties
    /// the target, and a directory that is now empty and loses its objects.
    ///
    /// Otherwise a backup is refused if a directory still exists but is empty, while the bucket has 20
    /// or more objects below it: its file system may not be mounted.
    pub allow_empty: bool,
    /// Allow deletions although source and target have almost nothing in common.
    ///
    /// Otherwise a run that would delete something is refused if fewer than 1 % of the entries of the
    /// smaller side have the same path on the other side, or the same base name and size: the directory
    /// or the prefix may be wrong. A backup may replace a single object by a single file.
    pub allow_unrelated: bool,
    /// How much a run may delete. The default is up to 100 entries, or up to half of the target.
    pub max_delete: Option<MaxDelete>,
    /// Allow a run that transfers much only because contents could not be compared.
    pub allow_doubt: bool,
}

impl Plan {
    /// Checks that the guards allow this plan. A refusal names `dir` and `bucket`.
    pub(crate) fn check(
        &self,
        guards: &Guards,
        dir: &Path,
        bucket: &BucketUrl,
    ) -> Result<(), Refusal> {
        let is_too_long =
            |skipped: &&Skipped| skipped.reason == SkipReason::Name(InvalidName::TooLong);
        let too_long: Vec<String> =
            self.skipped.iter().filter(is_too_long).map(|skipped| skipped.path.clone()).collect();
        if !too_long.is_empty() {
            return Err(Refusal::KeysTooLong(too_long));
        }
        self.check_doubt(guards.allow_doubt)?;
        let target_entries = self.target_entries as u64;
        let deletions = self.deletions.len() as u64;
        if deletions == 0 {
            return Ok(());
        }
        if self.source_entries == 0 && !guards.allow_empty {
            return Err(Refusal::EmptySource { target_entries });
        }
        let (dir, bucket) = (dir.display().to_string(), Box::new(bucket.clone()));
        if let Some(overlap) = self.overlap
            && overlap.is_almost_nothing()
            && self.source_entries > 0
            && !guards.allow_unrelated
        {
            let (shared, smaller) = (overlap.shared, overlap.smaller());
            return Err(Refusal::Unrelated { dir, bucket, shared, smaller, deletions });
        }
        if !self.emptied.is_empty() && !guards.allow_empty {
            let directories = self.emptied.clone();
            return Err(Refusal::EmptiedDirectories { dir, bucket, directories });
        }
        let is_allowed = match guards.max_delete {
            None => deletions <= MAX_DELETIONS || deletions * 2 <= target_entries,
            Some(MaxDelete::Entries(limit)) => deletions <= limit,
            Some(MaxDelete::Percent(limit)) => deletions * 100 <= u64::from(limit) * target_entries,
        };
        if is_allowed {
            Ok(())
        } else {
            Err(Refusal::TooManyDeletions { deletions, target_entries })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        local::Scan,
        model::{direction::Direction, entry::Object, etag::ETag, time::Timestamp},
        plan::{build::build, rule::Policy},
        record::Record,
        remote::Listing,
    };

    const POLICY: Policy = Policy {
        now: Timestamp::from_secs(1_000),
        margin: 1_000_000_000,
        by_content: false,
        no_delete: false,
        ignore_ctime: false,
    };

    fn check(plan: &Plan, guards: &Guards) -> Result<(), Refusal> {
        plan.check(guards, Path::new("dir"), &"s3://bucket/prefix".parse().unwrap())
    }

    #[test]
    fn deletions_beyond_the_limit_are_refused() {
        let plan = |deletions: usize, source: usize, target: usize| {
            let object = |n: usize| Object {
                path: format!("{n:04}").into(),
                size: 1,
                modified: Timestamp::from_secs(500),
                etag: ETag::None,
            };
            let objects = (0..deletions).map(object).collect();
            let listing = Listing { objects, skipped: Vec::new(), ..Listing::default() };
            let mut plan =
                build(Direction::Backup, Scan::default(), listing, Record::empty(), &POLICY);
            (plan.source_entries, plan.target_entries) = (source, target);
            plan
        };
        // These plans consist of deletions only, whatever the numbers of entries are.
        let default = Guards { allow_unrelated: true, ..Guards::default() };
        let limit = |max_delete| Guards { max_delete: Some(max_delete), ..default };
        let empty = Guards { allow_empty: true, ..default };
        let cases = [
            // Deletions, entries of the source, entries of the target, guards, whether it is allowed.
            (0, 0, 50, default, true),
            (1, 0, 1, default, false),
            (1, 0, 1, empty, true),
            (101, 0, 101, empty, false),
            (100, 1, 100, default, true),
            (101, 1, 202, default, true),
            (101, 1, 201, default, false),
            (101, 1, 201, limit(MaxDelete::Entries(101)), true),
            (2, 1, 201, limit(MaxDelete::Entries(1)), false),
            (101, 1, 201, limit(MaxDelete::Percent(50)), false),
            (101, 1, 201, limit(MaxDelete::Percent(51)), true),
            (1, 1, 201, limit(MaxDelete::Percent(0)), false),
        ];
        for (deletions, source, target, guards, is_allowed) in cases {
            let refusal = check(&plan(deletions, source, target), &guards);
            assert_eq!(refusal.is_ok(), is_allowed, "{deletions} {source} {target} {guards:?}");
        }
    }

    #[test]
    fn every_key_that_is_too_long_is_named() {
        let long = |path: &str| Skipped {
            path: path.to_owned(),
            reason: SkipReason::Name(InvalidName::TooLong),
        };
        let listing =
            Listing { objects: Vec::new(), skipped: vec![long("d")], ..Listing::default() };
        let scan = Scan { skipped: vec![long("b"), long("c")], ..Scan::default() };
        let plan = build(Direction::Backup, scan, listing, Record::empty(), &POLICY);
        let refusal = check(&plan, &Guards::default());
        assert_eq!(refusal, Err(Refusal::KeysTooLong(["b", "c", "d"].map(str::to_owned).into())));
    }
}
