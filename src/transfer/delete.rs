//! Deleting what the source does not have.

use std::collections::VecDeque;

use crate::{
    error::{Cause, Error, Result},
    local::{Expected, FileState, RealNames},
    plan::{Deletion, protected::ProtectedPaths},
    report::{Event, Report},
    transfer::{context::RunContext, restore_marker},
    worker_pool::{self, JobSource},
};

/// Deletes objects, in batches and on worker threads.
pub(super) fn objects(
    context: &RunContext,
    deletions: &[Deletion],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    let workers = context.config.transfer.workers;
    // A restore that began since may still have to fetch these objects.
    let paths = deletions.iter().map(|deletion| &*deletion.path);
    let restoring = match restore_marker::find_new(context, paths) {
        Ok(new) => ProtectedPaths::new(new.into_iter().map(|(dir, _)| dir.into())),
        Err(error) => return report.fail(error, on_event),
    };
    let delete = |batch: Vec<_>| delete_batch(context, &batch, &restoring);
    let waiting = deletions.iter().collect();
    let mut batches = Batches { context, waiting, has_failed: false, report, on_event };
    worker_pool::run(workers, &mut batches, &delete);
    report.note_interruption(context.cancel);
}

/// The batches of objects to delete.
struct Batches<'a, 'r> {
    context: &'a RunContext<'a>,
    /// The objects that no request in flight is for.
    waiting: VecDeque<&'a Deletion>,
    /// A fatal error of one batch would repeat for the others.
    has_failed: bool,
    report: &'r mut Report,
    on_event: &'r mut dyn FnMut(Event),
}

impl<'a> JobSource for Batches<'a, '_> {
    type Job = Vec<&'a Deletion>;
    type Outcome = Vec<Outcome<'a>>;

    fn next(&mut self) -> Option<Vec<&'a Deletion>> {
        if self.waiting.is_empty() || self.context.cancel.is_cancelled() || self.has_failed {
            return None;
        }
        let size = self.context.client.max_delete_batch().min(self.waiting.len());
        Some(self.waiting.drain(..size).collect())
    }

    fn limit(&self) -> usize {
        self.context.client.limit()
    }

    fn done(&mut self, outcomes: Vec<Outcome<'a>>) {
        for (deletion, outcome) in outcomes {
            match outcome {
                Some(Ok(())) => record_deleted(&deletion.path, self.report, self.on_event),
                Some(Err(error)) => {
                    self.has_failed |= error.is_fatal();
                    self.report.fail(error, self.on_event);
                }
                // The store accepts only smaller batches.
                None => self.waiting.push_back(deletion),
            }
        }
    }
}

/// An object to delete, and the result. `None` if the request has to be repeated.
type Outcome<'a> = (&'a Deletion, Option<Result<()>>);

/// Deletes the objects of one batch, except those whose file may exist again: it may have been
/// created after the scan.
fn delete_batch<'a>(
    context: &RunContext,
    batch: &[&'a Deletion],
    restoring: &ProtectedPaths,
) -> Vec<Outcome<'a>> {
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
    for &deletion in batch {
        match check(deletion) {
            Ok(()) => absent.push(deletion),
            Err(cause) => kept.push((deletion, cause)),
        }
    }
    let keys: Vec<String> = absent.iter().map(|deletion| context.key(&deletion.path)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let deleted = context.client.delete(&keys);
    let deleted = absent.into_iter().zip(deleted).map(|(deletion, result)| {
        let of_path = |error: Error| error.of_path(&deletion.path);
        (deletion, result.map(|result| result.map_err(of_path)))
    });
    let kept = kept.into_iter().map(|(deletion, cause)| {
        (deletion, Some(Err(Error::new("delete", &*deletion.path, cause))))
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
