//! The decision rule a second time, in plain loops over the actual content of both sides.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use s3keep::Direction;

use crate::{
    support::store::Object,
    worlds::observe::{
        LocalFile, LocalTree, Objects, Paths, Recorded, is_below, is_protected, split_by_validity,
    },
};

/// What the plan must contain.
#[derive(Debug, Default)]
pub struct ExpectedPlan {
    pub transfers: Paths,
    /// Paths near a limit of the rule: the decision depends on the moment of the run.
    pub maybe_transfers: Paths,
    pub deletions: Paths,
    pub skipped: Paths,
    recorded: Recorded,
}

pub fn expected_plan(
    direction: Direction,
    local: &LocalTree,
    bucket: &Objects,
    recorded: &Recorded,
    skew: i64,
) -> ExpectedPlan {
    let (objects, invalid) = split_by_validity(bucket);
    let mut expected = ExpectedPlan { recorded: recorded.clone(), ..ExpectedPlan::default() };
    expected.skipped.extend(local.skipped.keys().cloned());
    expected.skipped.extend(invalid.iter().cloned());
    match direction {
        Direction::Backup => expected.add_backup(local, &objects, skew),
        Direction::Restore => expected.add_restore(local, &objects, &invalid, skew),
    }
    expected
}

impl ExpectedPlan {
    /// The paths that are transferred or may be transferred.
    pub fn possible_transfers(&self) -> Paths {
        &self.transfers | &self.maybe_transfers
    }

    fn add_backup(&mut self, local: &LocalTree, objects: &Objects, skew: i64) {
        let protected: Paths = local.skipped.keys().cloned().collect();
        for (path, file) in &local.files {
            match objects.get(path) {
                None => drop(self.transfers.insert(path.clone())),
                Some(object) => self.add_pair(Direction::Backup, path, file, object, skew),
            }
        }
        for path in objects.keys().filter(|path| !local.files.contains_key(*path)) {
            // Some stores treat `\` as `/`, so both names may refer to this object.
            if local.files.keys().any(|file| *path == file.replace('\\', "/")) {
                self.skipped.insert(path.clone());
            } else if !is_protected(path, &protected) {
                self.deletions.insert(path.clone());
            }
        }
    }

    fn add_restore(&mut self, local: &LocalTree, objects: &Objects, invalid: &Paths, skew: i64) {
        let skipped_links: Paths = local.skipped.keys().cloned().collect();
        let mut protected: Paths =
            invalid.iter().map(|path| path.trim_end_matches('/').to_owned()).collect();
        for (path, object) in objects {
            let file = local.files.get(path);
            let at_or_below_link = is_protected(path, &skipped_links);
            let has_objects_below = objects.keys().any(|other| is_below(other, path));
            let is_directory = local.dirs.contains(path);
            let file_above = local.files.keys().any(|file| is_below(path, file));
            if at_or_below_link || has_objects_below || is_directory || file_above {
                self.skipped.insert(path.clone());
                protected.insert(path.clone());
            } else if let Some(file) = file {
                self.add_pair(Direction::Restore, path, file, object, skew);
            } else {
                self.transfers.insert(path.clone());
            }
        }
        for path in local.files.keys().filter(|path| !objects.contains_key(*path)) {
            let blocks_objects = objects.keys().any(|object| is_below(object, path));
            if !blocks_objects && !is_protected(path, &protected) {
                self.deletions.insert(path.clone());
            }
        }
        self.add_links_to_changed_files(local, objects, &protected);
    }

    /// Transfers a symlink if its target, or a link on the way to it, is replaced or deleted.
    fn add_links_to_changed_files(
        &mut self,
        local: &LocalTree,
        objects: &Objects,
        protected: &Paths,
    ) {
        let (mut changed, mut maybe_changed) = (Paths::new(), Paths::new());
        for (path, file) in &local.files {
            let Some(link) = &file.link else { continue };
            if !objects.contains_key(path) || protected.contains(path) {
                continue;
            }
            let changes =
                |hop: &String| self.transfers.contains(hop) || self.deletions.contains(hop);
            if link.hops.iter().any(changes) {
                changed.insert(path.clone());
            } else if link.hops.iter().any(|hop| self.maybe_transfers.contains(hop)) {
                maybe_changed.insert(path.clone());
            }
        }
        self.maybe_transfers.extend(maybe_changed);
        self.transfers.extend(changed);
        self.maybe_transfers = &self.maybe_transfers - &self.transfers;
    }

    fn add_pair(
        &mut self,
        direction: Direction,
        path: &str,
        file: &LocalFile,
        object: &Object,
        skew: i64,
    ) {
        let recorded = self.recorded.get(path);
        let now = (file.body.len(), file.modified, file.changed, object.etag.clone());
        let known = match recorded {
            None => Known::Nothing,
            Some(entry) if *entry == now => Known::Same,
            Some(_) => Known::Changed,
        };
        match is_transferred(direction, file, object, known, skew) {
            Some(true) => self.transfers.insert(path.to_owned()),
            Some(false) => false,
            None => self.maybe_transfers.insert(path.to_owned()),
        };
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Known {
    Nothing,
    Same,
    Changed,
}

/// Whether a pair is transferred; `None` if it depends on the moment of the run.
fn is_transferred(
    direction: Direction,
    file: &LocalFile,
    object: &Object,
    known: Known,
    skew: i64,
) -> Option<bool> {
    let (mtime, last_modified) = (file.modified, object.last_modified);
    if file.body.len() != object.body.len() {
        return Some(true);
    }
    if known == Known::Same {
        return Some(false);
    }
    let is_incomparable =
        object.etag == "opaque" && object.checksum.is_none() && !file.body.is_empty();
    let by_content = if is_incomparable {
        mtime != last_modified || file.link.is_some()
    } else {
        file.body != object.body
    };
    let second = Duration::from_secs(1);
    // The measured skew depends on the fraction of the second and on the duration of the responses.
    let skew = Duration::from_secs(skew.unsigned_abs());
    let least_measured = if skew <= second { Duration::ZERO } else { skew };
    let now = SystemTime::now();
    let decisions: BTreeSet<bool> = [(least_measured, now), (skew + 3 * second, now - 2 * second)]
        .into_iter()
        .map(|(skew, now)| {
            let margin = skew + second;
            let is_earlier = |time| time + margin < last_modified;
            if mtime > last_modified + margin && mtime <= now {
                true
            } else if direction == Direction::Backup
                && known == Known::Nothing
                && file.link.is_none()
                && is_earlier(mtime)
                && is_earlier(file.changed)
            {
                false
            } else if is_incomparable && file.link.is_some() && direction == Direction::Backup {
                !(is_earlier(mtime) && is_earlier(file.changed))
            } else {
                by_content
            }
        })
        .collect();
    (decisions.len() == 1).then(|| decisions.contains(&true))
}
