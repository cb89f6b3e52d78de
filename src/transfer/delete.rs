//! Deleting what the source does not have.

use std::cell::Cell;

use crate::{
    error::{Cause, Error, Result},
    local::{Expected, FileState, RealNames},
    plan::{Deletion, protected::ProtectedPaths},
    report::{Event, Report},
    s3::MAX_DELETE_BATCH,
    transfer::{context::RunContext, restore_marker},
    worker_pool,
};

/// Deletes objects, in batches and on worker threads.
pub(super) fn objects(
    context: &RunContext,
    deletions: &[Deletion],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    // A fatal error of one batch would repeat for the others.
    let has_failed = Cell::new(false);
    let batches = deletions
        .chunks(MAX_DELETE_BATCH)
        .take_while(|_| !context.cancel.is_cancelled() && !has_failed.get());
    let workers = context.config.transfer.workers;
    let limit = || context.client.limit();
    // A restore that began since may still have to fetch these objects.
    let paths = deletions.iter().map(|deletion| &*deletion.path);
    let restoring = match restore_marker::find_new(context, paths) {
        Ok(new) => ProtectedPaths::new(new.into_iter().map(|(dir, _)| dir.into())),
        Err(error) => return report.fail(error, on_event),
    };
    let delete = |batch| delete_batch(context, batch, &restoring);
    worker_pool::for_each(workers, &limit, batches, &delete, |results| {
        for (path, result) in results {
            match result {
                Ok(()) => record_deleted(path, report, on_event),
                Err(error) => {
                    has_failed.set(has_failed.get() || error.is_fatal());
                    report.fail(error, on_event);
                }
            }
        }
    });
    report.note_interruption(context.cancel);
}

/// Deletes the objects of one batch, except those whose file may exist again: it may have been
/// created after the scan.
fn delete_batch<'a>(
    context: &RunContext,
    batch: &'a [Deletion],
    restoring: &ProtectedPaths,
) -> Vec<(&'a str, Result<()>)> {
    let mut names = RealNames::new(context.root);
    let mut check = |deletion: &Deletion| -> Result<(), Cause> {
        if restoring.covering(&deletion.path).is_some() {
            return Err(Cause::Changed("a restore into its directory began after the scan"));
        }
        if deletion.is_excluded {
            return Ok(());
        }
        match context.root.has_no_file(&deletion.path, context.config.links, &mut names) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Cause::Changed("the local file may exist again")),
            Err(error) => Err(error.into()),
        }
    };
    let (mut absent, mut kept) = (Vec::new(), Vec::new());
    for deletion in batch {
        match check(deletion) {
            Ok(()) => absent.push(deletion),
            Err(cause) => kept.push((deletion, cause)),
        }
    }
    let keys: Vec<String> = absent.iter().map(|deletion| context.key(&deletion.path)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let deleted = context.client.delete(&keys);
    let deleted = absent.into_iter().zip(deleted).map(|(deletion, result)| {
        (&*deletion.path, result.map_err(|error| error.of_path(&deletion.path)))
    });
    let kept = kept.into_iter().map(|(deletion, cause)| {
        (&*deletion.path, Err(Error::new("delete", &*deletion.path, cause)))
    });
    deleted.chain(kept).collect()
}

/// Deletes the local files and links that did not change since the scan.
pub(super) fn files(
    context: &RunContext,
    deletions: &[Deletion],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    for deletion in deletions {
        if context.cancel.is_cancelled() {
            break;
        }
        match delete_file(context, deletion) {
            Ok(()) => record_deleted(&deletion.path, report, on_event),
            Err(cause) => report.fail(Error::new("delete", &*deletion.path, cause), on_event),
        }
    }
    report.note_interruption(context.cancel);
}

fn delete_file(context: &RunContext, deletion: &Deletion) -> Result<(), Cause> {
    let expected = if deletion.is_link {
        Expected::Link
    } else {
        Expected::File(FileState { size: deletion.size, modified: deletion.modified })
    };
    context.root.parent(&deletion.path, false)?.remove(expected)
}

fn record_deleted(path: &str, report: &mut Report, on_event: &mut dyn FnMut(Event)) {
    report.deleted += 1;
    on_event(Event::Deleted { path });
}
