//! The objects that a restore cannot download because they are archived: the plan skips them.
//!
//! Their local files stay, and so does everything that may be the only readable copy of one. The marker
//! of the restore lists them, so that no backup deletes or overwrites the objects.

use std::collections::HashMap;

use crate::{
    error::explanation::THAW,
    model::{
        archive_class::ArchiveClass,
        count::Count,
        direction::Direction,
        entry::Object,
        skip::{SkipReason, Skipped},
    },
    plan::{actions::Transfer, plan::Plan, withheld::Untransferred},
};

/// The archived objects of a listing, by path.
pub(crate) type Archived = HashMap<Box<str>, ArchiveClass>;

impl Plan {
    /// The archived objects that the restore would have to download.
    pub(crate) fn archived_objects(&self, archived: &Archived) -> Vec<&Object> {
        if self.direction == Direction::Backup || archived.is_empty() {
            return Vec::new();
        }
        let objects = self.transfers.iter().filter_map(|transfer| transfer.object.as_ref());
        objects.filter(|object| archived.contains_key(&object.path)).collect()
    }

    /// Skips the downloads of archived objects. Returns a description of them, if there are any.
    pub(crate) fn skip_archived(&mut self, archived: &Archived) -> Option<String> {
        if self.direction == Direction::Backup || archived.is_empty() {
            return None;
        }
        let mut untransferred = Vec::new();
        let Plan { transfers, skipped, unrestored, archived: count, .. } = self;
        let class = |transfer: &Transfer| archived.get(&transfer.object.as_ref()?.path).copied();
        transfers.retain(|transfer| {
            let Some(class) = class(transfer) else { return true };
            count.add(transfer.size(Direction::Restore));
            untransferred.push(Untransferred::of_transfer(transfer, Direction::Restore));
            let path = transfer.path().to_owned();
            unrestored.push(transfer.path().into());
            skipped.push(Skipped { path, reason: SkipReason::Archived(class) });
            false
        });
        if untransferred.is_empty() {
            return None;
        }
        self.withhold(&untransferred);
        self.complete();
        Some(describe_archived(self.archived))
    }
}

/// What a run says about archived objects that it would have to read.
pub(crate) fn describe_archived(count: Count) -> String {
    let Count { entries, bytes } = count;
    let (objects, are) = match entries {
        1 => ("1 object".to_owned(), "it is"),
        _ => (format!("{entries} objects"), "they are"),
    };
    format!("{objects} ({bytes} bytes) cannot be read because {are} archived: {THAW}")
}
