//! The jobs that the scheduler hands to workers, and their outcomes.

use std::sync::Arc;

use crate::{
    error::{Error, Result},
    local::Complete,
    model::direction::Direction,
    plan::{Transfer, Untransferred},
    transfer::steps::{Checked, Transferred},
};

/// Identifies a large transfer within a run.
pub(super) type LargeId = u64;

/// A job for a worker. `H` is the handle of a large transfer.
pub(super) enum Job<H> {
    /// Transfer small objects, one request each.
    Small(Vec<Transfer>),
    /// Start a large transfer.
    Start { id: LargeId, transfer: Transfer },
    /// Transfer one part of a large object, of about this many bytes.
    Part { id: LargeId, handle: Arc<H>, index: u64, bytes: u64 },
    /// Complete a large transfer.
    Complete { id: LargeId, handle: Arc<H> },
    /// Abort a large transfer because of an error.
    Abort { id: LargeId, handle: Arc<H>, error: Error },
    /// Flush complete downloads and rename them to their final names.
    Publish(Vec<Unpublished>),
}

/// The outcome of a [`Job`].
pub(super) enum Outcome<H> {
    /// `untried` are the objects after a failure that would repeat for them.
    Small {
        results: TransferResults,
        untried: Vec<Transfer>,
    },
    Started {
        id: LargeId,
        result: Result<Started<H>>,
    },
    Part {
        id: LargeId,
        bytes: u64,
        result: Result<()>,
    },
    Completed {
        id: LargeId,
        result: Result<Transferred>,
    },
    /// `error` is the one that the transfer was aborted for.
    Aborted {
        id: LargeId,
        error: Error,
        result: Result<()>,
    },
    /// `flushed` is an error if the content of the downloads may not be on disk.
    Published {
        results: TransferResults,
        flushed: Result<()>,
    },
}

/// Transfers, each with its result.
pub(super) type TransferResults = Vec<(Transfer, Result<Transferred>)>;

/// A transfer that failed.
pub(super) struct Failed {
    pub transfer: Transfer,
    pub direction: Direction,
    /// The error, if the store refused an upload, and the failure was not reported yet: the upload may
    /// be possible once the objects in its way are deleted.
    pub refusal: Option<Error>,
}

impl Failed {
    pub(super) fn untransferred(&self) -> Untransferred {
        Untransferred::of_transfer(&self.transfer, self.direction)
    }
}

/// A large transfer that was started.
pub(super) struct Started<H> {
    pub handle: Arc<H>,
    pub part_count: u64,
}

/// A complete download that still has its temporary name.
pub(super) struct Unpublished {
    pub transfer: Transfer,
    pub complete: Complete,
    pub bytes: u64,
    pub checked: Checked,
}
