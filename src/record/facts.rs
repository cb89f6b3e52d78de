//! What a run learns for the record.

use std::sync::{Mutex, PoisonError};

use crate::record::entry::Recorded;

/// Collects entries for the record, from any thread.
pub(crate) struct Facts {
    /// `None` if the run has no record.
    learned: Option<Mutex<Vec<Recorded>>>,
}

impl Facts {
    /// Without a record, nothing is collected.
    pub(crate) fn new(has_record: bool) -> Facts {
        Facts { learned: has_record.then(Mutex::default) }
    }

    pub(crate) fn add(&self, recorded: Recorded) {
        if let Some(learned) = &self.learned {
            learned.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Recorded> {
        let learned = self.learned.map(|learned| learned.into_inner());
        learned.map_or(Vec::new(), |learned| learned.unwrap_or_else(PoisonError::into_inner))
    }
}
