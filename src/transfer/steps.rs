//! The steps of a transfer, in which uploads and downloads differ.

use crate::{
    error::Result,
    local::{Complete, ParentCache},
    plan::Transfer,
};

/// The steps of transferring an object. Worker threads execute them.
///
/// A small object takes a single step. A large one is started; then its parts are transferred,
/// several at a time and in any order; then it is completed or aborted.
pub(super) trait Steps: Sync {
    /// A large transfer that was started.
    type Handle: Send + Sync;

    /// Transfers a small object. `cache` keeps its directory open for the next one.
    fn small(&self, transfer: &Transfer, cache: &mut ParentCache) -> Result<Transferred>;

    /// Starts a large transfer.
    fn start(&self, transfer: &Transfer) -> Result<Self::Handle>;

    /// The number of parts, at least one.
    fn part_count(&self, handle: &Self::Handle) -> u64;

    /// Transfers part `index` (from 0).
    fn part(&self, handle: &Self::Handle, index: u64) -> Result<()>;

    /// Completes a large transfer. Every part was transferred.
    fn complete(&self, handle: &Self::Handle) -> Result<Transferred>;

    /// Discards the parts of a large transfer. No part is in flight.
    fn abort(&self, handle: &Self::Handle) -> Result<()>;
}

/// The result of a successful transfer.
pub(super) struct Transferred {
    /// The size of the object.
    pub bytes: u64,
    /// Whether a checksum or ETag of the server verified the content.
    pub checked: bool,
    /// The temporary file of a download that still has to be renamed.
    pub complete: Option<Complete>,
}
