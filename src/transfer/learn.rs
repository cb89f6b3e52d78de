//! What transfers add to the record.

use std::time::SystemTime;

use crate::{
    local::{self, ParentCache, Prepared},
    model::{
        attribute::{TIME_CHANGED_LATER, Unpreserved},
        etag::ETag,
        time::Timestamp,
    },
    plan::Transfer,
    record::{Recorded, RecordedState},
    transfer::context::RunContext,
};

/// A file in the state `prepared` was uploaded, and had the state `end` afterwards.
pub(super) fn uploaded(
    context: &RunContext,
    transfer: &Transfer,
    prepared: Prepared,
    end: RecordedState,
    etag: ETag,
) {
    let path = transfer.path().into();
    if let Some(link) = transfer.file.as_ref().filter(|file| file.target.is_some()) {
        // The ctime of a link may be later than that of its target, which must be the scanned one.
        let scanned = RecordedState::of_scanned(link);
        let is_scanned = RecordedState { changed: scanned.changed, ..end } == scanned
            && end.changed <= scanned.changed;
        let is_settled = prepared.is_settled && scanned.is_settled(SystemTime::now().into());
        if prepared.state == end && is_scanned && is_settled && etag != ETag::None {
            context.facts.add(Recorded { path, state: scanned, etag });
        }
        return;
    }
    if prepared.state != end {
        // Only its ctime differs. Perhaps the content changed and the mtime was set back, so the next
        // run has to compare.
        context.facts.add(Recorded { path, state: end, etag: ETag::None });
    } else if prepared.is_settled && etag != ETag::None {
        context.facts.add(Recorded { path, state: end, etag });
    }
}

/// A downloaded file was renamed to its final path. It had the time `modified` before. A rename changes
/// the ctime, so its state is read now. An ETag is recorded only if the download had it
/// (`has_listed_etag`). Returns why its time is not that of the object any more.
pub(super) fn downloaded(
    context: &RunContext,
    transfer: &Transfer,
    modified: Timestamp,
    has_listed_etag: bool,
    cache: &mut ParentCache,
) -> Option<Unpreserved> {
    let object = transfer.object.as_ref()?;
    let state = context.root.state_of_renamed(&object.path, cache).ok()?;
    // Another state is not that of the download: the file may have changed already.
    let is_unchanged = state.size == object.size && state.modified == modified;
    // If the time is that of writing the file, a change within the same tick would not show.
    let shows_changes = modified == object.modified || modified < state.changed;
    let is_known = has_listed_etag && object.etag != ETag::None;
    if is_unchanged && shows_changes && state.has_exact_times() && is_known {
        let (path, etag) = (object.path.clone(), object.etag.clone());
        context.facts.add(Recorded { path, state, etag });
    }
    // A file of another size was changed by a program.
    let is_kept = local::is_kept(object.modified, state.modified);
    (state.size == object.size && !is_kept).then(|| local::unkept(TIME_CHANGED_LATER))
}
