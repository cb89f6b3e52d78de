//! The files of a backup that cannot be read: the plan skips them, and withholds the deletions that may
//! depend on them.

use std::mem;

use crate::{
    model::skip::{SkipReason, Skipped},
    plan::{
        actions::Transfer,
        plan::Plan,
        withheld::{Untransferred, withhold},
    },
};

impl Plan {
    /// Skips the files of a backup that cannot be read. `find` returns for each why it cannot be read,
    /// or `None`.
    pub(crate) fn skip_unreadable(&mut self, find: impl Fn(&[Transfer]) -> Vec<Option<String>>) {
        let mut untransferred = Vec::new();
        for transfers in [&mut self.transfers, &mut self.undecided] {
            let mut reasons = find(transfers).into_iter();
            transfers.retain(|transfer| {
                let Some(why) = reasons.next().flatten() else { return true };
                untransferred.push(Untransferred::of_transfer(transfer, self.direction));
                let (path, reason) = (transfer.path().to_owned(), SkipReason::Unreadable(why));
                self.skipped.push(Skipped { path, reason });
                false
            });
        }
        self.withhold(&untransferred);
        self.complete();
    }

    /// Withholds the deletions that depend on entries that are not transferred.
    pub(crate) fn withhold(&mut self, untransferred: &[Untransferred]) {
        let (allowed, withheld) =
            withhold(mem::take(&mut self.deletions), untransferred, self.margin);
        self.deletions = allowed;
        self.withheld.extend(withheld);
    }
}
