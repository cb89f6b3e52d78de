//! Reusing the complete temporary files of a restore that was killed.
//!
//! A killed run leaves up to 1,000 complete downloads that were not renamed yet. If the content of such
//! a file is that of a missing object in the same directory, it is renamed instead of downloading the
//! object again. Only an ETag of the listing counts as a proof.

use std::collections::HashMap;

use crate::{
    content::{self, Proof},
    local::{AccessSource, Leftover, RealNames},
    model::{
        entry::{File, Object},
        links::Links,
        paths,
    },
    plan::Transfer,
    report::{Event, Report},
    transfer::{context::RunContext, job::Unpublished, publish::publish, steps::Checked},
};

/// The missing objects of one directory that a leftover may hold, by size.
type Wanted = HashMap<u64, Vec<usize>>;

/// Renames the leftovers that hold a missing object. Returns the other transfers.
pub(super) fn reuse(
    context: &RunContext,
    leftovers: &[String],
    transfers: Vec<Transfer>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) -> Vec<Transfer> {
    let mut matches = find(context, leftovers, &transfers);
    if matches.is_empty() || context.flush().is_err() {
        // A failed flush is reported when the first download is flushed.
        return transfers;
    }
    let mode = context.config.file_mode;
    let access = mode.map_or(AccessSource::Directory, AccessSource::Mode);
    let mut batch = Vec::new();
    let mut rest = Vec::with_capacity(transfers.len());
    for (index, transfer) in transfers.into_iter().enumerate() {
        let leftover = matches.remove(&index).zip(transfer.object.as_ref());
        let complete = leftover.and_then(|(leftover, object)| {
            leftover.complete(&object.path, object.modified, &access).ok()
        });
        match complete {
            Some(complete) => {
                let bytes = transfer.size(report.direction);
                batch.push(Unpublished { transfer, complete, bytes, checked: Checked::VERIFIED });
            }
            None => rest.push(transfer),
        }
    }
    let (results, _) = publish(context, batch);
    let has_renamed = results.iter().any(|(_, result)| result.is_ok());
    for (transfer, result) in results {
        match result {
            Ok(done) => {
                report.transferred.add(done.bytes);
                report.note_unpreserved(transfer.path(), &done.unpreserved);
                report.reused += 1;
                on_event(Event::Transferred { path: transfer.path(), bytes: done.bytes });
            }
            // The download reports what is wrong.
            Err(_) => rest.push(replacing_reused(context, transfer)),
        }
    }
    if has_renamed && let Err(error) = context.flush() {
        // The content is on disk, but a power failure may undo renames.
        report.fatal.get_or_insert(error);
    }
    rest
}

/// The download of a file whose leftover may already have its final name.
fn replacing_reused(context: &RunContext, mut transfer: Transfer) -> Transfer {
    let mut names = RealNames::new(context.root);
    if let Some(object) = &transfer.object
        && !matches!(context.root.has_no_file(&object.path, Links::Skip, &mut names), Ok(true))
    {
        let Object { path, size, modified, .. } = object.clone();
        transfer.file = Some(File { path, size, modified, changed: modified, target: None });
    }
    transfer
}

/// The leftovers that hold a missing object, by the index of the transfer.
fn find(
    context: &RunContext,
    leftovers: &[String],
    transfers: &[Transfer],
) -> HashMap<usize, Leftover> {
    let mut wanted: HashMap<&str, Wanted> =
        leftovers.iter().map(|path| (paths::split(path).0, Wanted::new())).collect();
    let missing = transfers.iter().enumerate().filter(|(_, transfer)| transfer.file.is_none());
    for (index, transfer) in missing {
        if let Some(object) = &transfer.object
            && let Some(dir) = wanted.get_mut(paths::split(&object.path).0)
        {
            dir.entry(object.size).or_default().push(index);
        }
    }
    let mut found = HashMap::new();
    for path in leftovers {
        if context.cancel.is_cancelled() {
            break;
        }
        let Some(dir) = wanted.get_mut(paths::split(path).0).filter(|dir| !dir.is_empty()) else {
            continue;
        };
        // If it is not known, removing the leftover fails as well, and reports why.
        if context.root.is_locked_by_another_run(path).unwrap_or(true) {
            continue;
        }
        let Ok(Some(leftover)) = context.root.open_leftover(path) else { continue };
        let Some(indices) = dir.get_mut(&leftover.size) else { continue };
        let objects = indices.iter().filter_map(|index| transfers[*index].object.as_ref());
        let proofs: Vec<Proof> = objects.map(|object| Proof::of_etag(&object.etag)).collect();
        let Leftover { file, size, .. } = &leftover;
        let part_size = context.config.transfer.part_size;
        if let Ok(Some(at)) = content::identify(file, *size, &proofs, part_size, context.cancel) {
            found.insert(indices.swap_remove(at), leftover);
        }
    }
    found
}
