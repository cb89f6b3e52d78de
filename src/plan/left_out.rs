//! What a program removed from a plan: see [`Planned`] for the consequences.

use std::{collections::HashSet, mem};

use crate::{
    error::{Error, Result},
    model::{direction::Direction, escape::Escaped},
    plan::{actions::Transfer, plan::Plan, planned::Planned},
};

impl Plan {
    /// Keeps what is needed to notice that the program changes the plan. To be called once, when the
    /// plan is complete.
    pub(crate) fn keep_planned(&mut self) {
        let alike = self.spellings.alike.iter().flat_map(|alike| &alike.files);
        let alike: HashSet<&str> = alike.map(|file| &*file.path).collect();
        self.planned = Planned::new(self.direction, &self.transfers, &self.deletions, &alike);
        if self.direction == Direction::Backup {
            self.protected.insert_skipped(&self.skipped);
        }
    }

    /// Finds the transfers that the program removed.
    ///
    /// # Errors
    /// The program added or changed a deletion.
    pub(crate) fn find_left_out(&mut self) -> Result<()> {
        let planned = mem::take(&mut self.planned);
        if let Some(deletion) = self.deletions.iter().find(|other| !planned.has_deletion(other)) {
            return Err(Error::config(format!(
                "the deletion of {} is not one of the plan; deletions can be removed from a plan, but \
                 neither added nor changed",
                Escaped(&deletion.path)
            )));
        }
        if planned.is_complete(&self.transfers) {
            return Ok(());
        }
        let present: HashSet<&str> = self.transfers.iter().map(Transfer::path).collect();
        planned.downloads.for_each(|path| {
            if !present.contains(path) {
                self.unrestored.push(path.into());
            }
        });
        let left_out = planned.transfers.into_iter();
        self.left_out.extend(left_out.filter(|entry| !present.contains(&*entry.path)));
        Ok(())
    }
}
