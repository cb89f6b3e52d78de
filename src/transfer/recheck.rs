//! Checking the directory again after the uploads of a backup, and before it deletes objects.

use std::{collections::HashSet, mem, time::Duration};

use crate::{
    local::Snapshot,
    plan::{Deletion, Reason, Transfer, Withheld, WithheldReason, protected::ProtectedPaths},
    report::{Event, Report},
    transfer::{context::RunContext, job::Failed},
};

/// How often the directory is checked. If it still changes then, the deletions wait for the next
/// run.
const MAX_ROUNDS: u32 = 3;

/// The pause between two rounds. On a file system with precise timestamps, a change after it shows
/// in the times of its directory.
const ROUND_PAUSE: Duration = Duration::from_millis(60);

/// Uploads the files that appeared after the scan, by `upload`, and removes from `deletions` what must
/// not be deleted. If the directory keeps changing, all deletions are withheld. Nothing is stored at and
/// below a `skipped` path. Returns the uploads that failed.
///
/// An object to delete may be the only copy of a file that was moved while the directory was
/// scanned. Without deletions, one round is enough: it uploads new files that were moved meanwhile.
pub(super) fn recheck(
    context: &RunContext,
    snapshot: Option<Snapshot>,
    skipped: &ProtectedPaths,
    deletions: &mut Vec<Deletion>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
    upload: impl Fn(Vec<Transfer>, &mut Report, &mut dyn FnMut(Event)) -> Vec<Failed>,
) -> Vec<Failed> {
    let mut failed = Vec::new();
    let is_record = context.config.is_record();
    let mut snapshot = snapshot;
    let rounds = if deletions.is_empty() { 1 } else { MAX_ROUNDS };
    for round in 0..rounds {
        let Some(snapshot) = &mut snapshot else { break };
        if round > 0 {
            context.cancel.sleep(ROUND_PAUSE);
        }
        let mut changes = match snapshot.update(context.file_pool, context.cancel) {
            Ok(changes) => changes,
            Err(error) => {
                report.fail(error, on_event);
                break;
            }
        };
        if changes.has_marker {
            // What appears now may come from that restore, and be older than its object.
            break;
        }
        changes.files.retain(|file| !is_record(&file.path));
        let hides_content = changes.skipped.iter().any(|skipped| skipped.reason.hides_content());
        let count = changes.files.len();
        changes.files.retain(|file| skipped.covering(&file.path).is_none());
        let is_incomplete = hides_content || changes.files.len() < count;
        changes.skipped.iter().for_each(|skipped| on_event(Event::Skipped(skipped)));
        let mut protected = ProtectedPaths::of_skipped(&changes.skipped);
        changes.excluded.iter().for_each(|path| protected.insert(path));
        deletions.retain(|deletion| protected.covering(&deletion.path).is_none());
        report.skipped.extend(changes.skipped);
        if !changes.files.is_empty() {
            let new: HashSet<&str> = changes.files.iter().map(|file| &*file.path).collect();
            deletions.retain(|deletion| !new.contains(&*deletion.path));
            let transfer =
                |file| Transfer { reason: Reason::Missing, file: Some(file), object: None };
            let transfers = changes.files.into_iter().map(transfer).collect();
            failed.extend(upload(transfers, report, on_event));
            if report.fatal.is_some() {
                return failed;
            }
        }
        if is_incomplete {
            break;
        }
        if changes.is_settled {
            return failed;
        }
    }
    let withheld = mem::take(deletions).into_iter().map(|deletion| Withheld {
        deletion,
        because_of: Box::default(),
        reason: WithheldReason::DirectoryChanged,
    });
    report.withhold_with(withheld.collect(), on_event);
    failed
}
