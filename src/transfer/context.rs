//! The context of a run.

use std::{collections::HashSet, ffi::OsString, sync::atomic::AtomicU64};

use crate::{
    cancel::Cancel,
    config::Config,
    error::{Error, Result},
    local::Root,
    record::Facts,
    s3::Client,
};

/// What all jobs of a run share.
pub(crate) struct RunContext<'a> {
    pub config: &'a Config,
    pub client: &'a Client,
    pub root: &'a Root,
    /// Reads local files in parallel.
    pub file_pool: &'a rayon::ThreadPool,
    pub cancel: &'a Cancel,
    /// What the run learns for the record.
    pub facts: &'a Facts,
    /// The number of bytes transferred so far, those of unfinished transfers included.
    pub bytes_done: AtomicU64,
    /// The names of the restore markers that the plan of a backup takes into account.
    pub known_markers: HashSet<OsString>,
}

impl RunContext<'_> {
    /// Flushes everything that was written below the root, unless the configuration disables it.
    pub(super) fn flush(&self) -> Result<()> {
        if self.config.transfer.no_sync {
            return Ok(());
        }
        let dir = self.config.dir.display().to_string();
        self.root.sync().map_err(|error| Error::new("write to disk", dir, error))
    }

    /// The key of the object that holds the file of this path.
    pub(super) fn key(&self, path: &str) -> String {
        self.config.bucket.key(path)
    }
}
