//! Deleting what the source no longer has, and what earlier runs left behind.

use std::cell::Cell;

use super::RunContext;
use crate::{
    error::{Cause, Error, Result},
    local::{Expected, FileState},
    plan::Deletion,
    report::{Event, Report},
    s3::MAX_DELETE_BATCH,
    worker_pool::for_each,
};

/// Deletes objects, in batches on the workers.
pub(super) fn objects(
    context: &RunContext,
    deletions: &[Deletion],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    // A fatal failure of one batch is one of all.
    let fatal = Cell::new(false);
    let batches = deletions
        .chunks(MAX_DELETE_BATCH)
        .take_while(|_| !context.cancel.is_cancelled() && !fatal.get());
    let delete = |batch: &[Deletion]| -> Vec<(String, Result<()>)> {
        let is_gone =
            |deletion: &&Deletion| context.root.has_no_file(&deletion.path, context.config.links);
        let (gone, back): (Vec<&Deletion>, Vec<&Deletion>) = batch.iter().partition(is_gone);
        let keys: Vec<String> = gone.iter().map(|deletion| context.key(&deletion.path)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let is_back = |deletion: &Deletion| {
            let cause = Cause::Changed("the file is there again");
            (deletion.path.to_string(), Err(Error::new("delete", &*deletion.path, cause)))
        };
        let paths = gone.iter().map(|deletion| deletion.path.to_string());
        let named = |(path, outcome): (String, Result<()>)| {
            let outcome = outcome.map_err(|error| error.of_path(&path));
            (path, outcome)
        };
        paths
            .zip(context.client.delete(&keys))
            .map(named)
            .chain(back.into_iter().map(is_back))
            .collect()
    };
    let limit = || context.client.limit();
    for_each(context.config.transfer.workers, &limit, batches, &delete, |outcomes| {
        for (path, outcome) in outcomes {
            match outcome {
                Ok(()) => deleted(&path, report, on_event),
                Err(error) => {
                    fatal.set(fatal.get() || error.is_fatal());
                    report.fail(error, on_event);
                }
            }
        }
    });
    report.note_interruption(context.cancel);
}

/// Deletes local files, those that are still as they were seen.
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
        let state = FileState { size: deletion.size, modified: deletion.modified };
        let expected = if deletion.is_link { Expected::Link } else { Expected::File(state) };
        match remove(context, &deletion.path, expected) {
            Ok(()) => deleted(&deletion.path, report, on_event),
            Err(cause) => report.fail(Error::new("delete", &*deletion.path, cause), on_event),
        }
    }
    report.note_interruption(context.cancel);
}

/// Removes the temporary files of runs that did not get to do so themselves, and are at work no more.
pub(super) fn sweep(
    context: &RunContext,
    leftovers: &[String],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    for path in leftovers.iter().filter(|path| !context.root.is_worked_on(path)) {
        let removed = context.root.parent(path, false).map_err(Cause::from);
        if let Err(cause) = removed.and_then(|parent| parent.remove_any_file()) {
            report.fail(Error::new("delete temporary file", path.as_str(), cause), on_event);
        }
    }
}

fn remove(context: &RunContext, path: &str, expected: Expected) -> Result<(), Cause> {
    context.root.parent(path, false)?.remove(expected)
}

fn deleted(path: &str, report: &mut Report, on_event: &mut dyn FnMut(Event)) {
    report.deleted += 1;
    on_event(Event::Deleted { path });
}
