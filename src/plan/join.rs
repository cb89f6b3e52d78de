//! Joining two spellings that the target does not distinguish to one entry.

use std::collections::HashSet;

use crate::{
    model::{
        direction::Direction,
        escape::Escaped,
        paths::tree_order,
        skip::{SkipReason, Skipped},
    },
    plan::{
        plan::Plan,
        rule::{Decision, Policy, Reason, decide},
        withheld::Untransferred,
    },
};

impl Plan {
    /// One sentence about the deletions that are only made after a check. `None` if there are none.
    pub(crate) fn describe_unchecked_spellings(&self) -> Option<String> {
        let deleted = |path: &str| {
            self.deletions.binary_search_by(|deletion| tree_order(&deletion.path, path)).is_ok()
        };
        let alike = self.spellings.alike.iter();
        let mut pairs = alike.flat_map(|alike| {
            let objects = alike.objects.iter().filter(|object| deleted(object));
            objects.zip(alike.files.iter().cycle())
        });
        let (object, file) = pairs.next()?;
        let (object, file) = (Escaped(object), Escaped(&file.path));
        Some(match pairs.count() {
            0 => format!(
                "{object} is deleted only if the bucket lists both this name and {file} after the uploads: \
                 some stores do not distinguish them"
            ),
            more => format!(
                "{} objects are deleted only if the bucket lists both their names and those of similar \
                 files after the uploads, because some stores do not distinguish them (for example \
                 {object} and {file})",
                more + 1
            ),
        })
    }

    /// Joins the candidates that are the same entry. `is_same` tells that for each of them.
    ///
    /// A joined pair is decided like every other pair, and the target entry is not deleted. If the source
    /// has two names for one target entry, only one of them can be transferred; the other one is skipped.
    pub(crate) fn join_spellings(&mut self, is_same: &[bool], policy: &Policy) {
        let candidates = std::mem::take(&mut self.spellings.candidates);
        let (mut removed, mut taken) = (HashSet::new(), HashSet::new());
        let (mut pairs, mut untransferred) = (Vec::new(), Vec::new());
        for (candidate, _) in candidates.into_iter().zip(is_same).filter(|(_, is_same)| **is_same) {
            let path = candidate.file.path.clone();
            let planned = self.transfers.binary_search_by(|t| tree_order(t.path(), &path));
            let Some(transfer) = planned.ok().map(|at| &self.transfers[at]) else { continue };
            if transfer.reason != Reason::Missing || removed.contains(&path) {
                continue;
            }
            if candidate.is_taken || taken.contains(&candidate.other) {
                let reason = SkipReason::Folded(candidate.other.into());
                self.skipped.push(Skipped { path: path.to_string(), reason });
                match self.direction {
                    // An object to delete may be the only copy of the file.
                    Direction::Backup => {
                        untransferred.push(Untransferred::of_transfer(transfer, self.direction));
                    }
                    Direction::Restore => self.unrestored.push(path.clone()),
                }
            } else {
                taken.insert(candidate.other.clone());
                self.spellings.joined.push((path.clone(), candidate.other.clone()));
                pairs.push(candidate);
            }
            removed.insert(path);
        }
        if removed.is_empty() {
            return;
        }
        self.transfers.retain(|transfer| !removed.contains(transfer.path()));
        self.deletions.retain(|deletion| !taken.contains(&deletion.path));
        self.withheld.retain(|withheld| !taken.contains(&withheld.deletion.path));
        self.withhold(&untransferred);
        let skipped: HashSet<&str> = self.skipped.iter().map(|skipped| &*skipped.path).collect();
        self.spellings.alike.retain_mut(|alike| {
            alike.files.retain(|file| !skipped.contains(&*file.path));
            alike.objects.retain(|object| !taken.contains(object));
            alike.needs_check()
        });
        for pair in pairs {
            self.pairs += 1;
            let (file, object) = (pair.file, pair.object);
            match decide(self.direction, &file, &object, pair.known, policy) {
                Decision::Keep => self.keep(file, object),
                Decision::Transfer(reason) => self.transfer(reason, Some(file), Some(object)),
                Decision::CompareContents => self.compare(file, object),
            }
        }
        self.recount_emptied();
        self.complete();
        self.count_overlap();
    }
}
