//! The steps of a transfer, in which uploads and downloads differ.

use crate::{
    error::Result,
    local::{Complete, ParentCache},
    model::attribute::Unpreserved,
    plan::Transfer,
    report::{Event, Report},
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

/// How the content of a transfer was verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    /// A checksum or ETag of the server verified it.
    pub is_verified: bool,
    /// A checksum of the server was ignored: it is malformed, or contradicts an ETag that matches.
    pub ignores_checksum: bool,
    /// The downloaded object had the listed ETag.
    pub has_listed_etag: bool,
}

impl Checked {
    /// A checksum or the listed ETag verified the content.
    pub(super) const VERIFIED: Checked =
        Checked { is_verified: true, ignores_checksum: false, has_listed_etag: true };
}

/// The result of a successful transfer.
pub(super) struct Transferred {
    /// The size of the object.
    pub bytes: u64,
    /// How the content was verified.
    pub checked: Checked,
    /// The temporary file of a download that still has to be renamed.
    pub complete: Option<Complete>,
    /// The file grew while it was uploaded. The object has the content up to its earlier size.
    pub grew: bool,
    /// The attributes that a downloaded file does not have.
    pub unpreserved: Vec<Unpreserved>,
}

impl Transferred {
    /// A download that is complete, but still has to be renamed.
    pub(super) fn downloaded(
        bytes: u64,
        checked: Checked,
        complete: Option<Complete>,
    ) -> Transferred {
        Transferred { bytes, checked, complete, grew: false, unpreserved: Vec::new() }
    }

    /// An upload. The server has verified the content.
    pub(super) fn uploaded(bytes: u64, grew: bool) -> Transferred {
        let checked = Checked::VERIFIED;
        Transferred { bytes, checked, complete: None, grew, unpreserved: Vec::new() }
    }

    /// Records the final result of a transfer.
    pub(super) fn record(&self, path: &str, report: &mut Report, on_event: &mut dyn FnMut(Event)) {
        let Transferred { bytes, checked, grew, .. } = *self;
        report.transferred.add(bytes);
        report.unchecked += u64::from(!checked.is_verified);
        report.ignored_checksums += u64::from(checked.ignores_checksum);
        report.note_unpreserved(path, &self.unpreserved);
        on_event(Event::Transferred { path, bytes });
        if grew {
            report.grew += 1;
            on_event(Event::Grew { path, bytes });
        }
    }
}
