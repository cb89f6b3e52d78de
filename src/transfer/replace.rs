//! Replacing a file by a directory in the bucket, or the reverse.
//!
//! Some stores cannot hold `a` and `a/x` at the same time. If a local file `a` becomes a directory, the
//! store refuses `a/x` as long as the object `a` exists. Deletions come after the transfers, and the
//! failed upload would withhold this one in every run.
//!
//! Such an upload is therefore repeated in the deletion phase: the objects in its way are deleted, and
//! the file is uploaded at once. This applies only if the store refused the upload, and only if nothing
//! else may need the objects in the way. If the second upload fails, the object is gone and the file is
//! not stored. The report says exactly that.

use std::collections::{BTreeMap, HashSet};

use crate::{
    error::{Cause, Error, Result},
    local::ParentCache,
    model::{
        direction::Direction,
        paths::{above, is_under},
    },
    plan::{Deletion, Transfer, withhold},
    report::{Event, Report},
    transfer::{
        context::RunContext,
        delete,
        job::Failed,
        steps::{Steps, Transferred},
    },
    worker_pool,
};

/// Uploads that the store refused, and the deletions of the objects in their way.
#[derive(Default)]
struct Replacement {
    deletions: Vec<Deletion>,
    uploads: Vec<Failed>,
}

/// Whether the store may refuse one of the uploads because of an object that is to be deleted.
pub(super) fn may_be_refused(uploads: &[Transfer], deletions: &[Deletion]) -> bool {
    if deletions.is_empty() {
        return false;
    }
    let paths = PathTree::new(deletions.iter().map(|deletion| &*deletion.path));
    uploads.iter().any(|upload| paths.conflicts(upload.path()))
}

/// Repeats the uploads that the store refused because of an object that is to be deleted. Takes these
/// deletions from `deletions`. Returns the transfers that remain failed, and were not reported.
pub(super) fn replace_all<S: Steps>(
    context: &RunContext,
    steps: &S,
    failed: Vec<Failed>,
    deletions: &mut Vec<Deletion>,
    margin: u64,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) -> Vec<Failed> {
    let (replacements, mut remaining) = find_replacements(failed, deletions, margin);
    for replacement in replacements {
        if report.fatal.is_some() || context.cancel.is_cancelled() {
            // The run ends, and deletes nothing more.
            remaining.extend(replacement.uploads);
        } else {
            remaining.extend(replace(context, steps, replacement, report, on_event));
        }
    }
    remaining
}

/// Takes the refused uploads that can be repeated, and the deletions of the objects in their way.
fn find_replacements(
    failed: Vec<Failed>,
    deletions: &mut Vec<Deletion>,
    margin: u64,
) -> (Vec<Replacement>, Vec<Failed>) {
    let paths = PathTree::new(deletions.iter().map(|deletion| &*deletion.path));
    let is_refused =
        |failed: &Failed| failed.refusal.is_some() && paths.conflicts(failed.transfer.path());
    let (mut refused, mut others): (Vec<_>, Vec<_>) = failed.into_iter().partition(is_refused);
    // An object in the way may be the only copy of another file that was not stored.
    loop {
        let needs: Vec<_> = others.iter().map(Failed::untransferred).collect();
        let (allowed, withheld) = withhold(std::mem::take(deletions), &needs, margin);
        let needed = PathTree::new(withheld.iter().map(|withheld| &*withheld.deletion.path));
        let is_free = |failed: &Failed| !needed.conflicts(failed.transfer.path());
        let (free, not_free): (Vec<_>, Vec<_>) = refused.into_iter().partition(is_free);
        deletions.extend(allowed);
        deletions.extend(withheld.into_iter().map(|withheld| withheld.deletion));
        refused = free;
        if not_free.is_empty() {
            break;
        }
        others.extend(not_free);
    }
    (group(refused, deletions), others)
}

/// Groups uploads and the deletions of the objects in their way by the uppermost path of each group.
fn group(refused: Vec<Failed>, deletions: &mut Vec<Deletion>) -> Vec<Replacement> {
    let uploads: Vec<String> =
        refused.iter().map(|failed| failed.transfer.path().to_owned()).collect();
    let uploads = PathTree::new(uploads.iter().map(String::as_str));
    let (in_the_way, rest): (Vec<_>, Vec<_>) =
        std::mem::take(deletions).into_iter().partition(|d| uploads.conflicts(&d.path));
    *deletions = rest;
    let mut groups: BTreeMap<String, Replacement> = BTreeMap::new();
    let objects: Vec<String> = in_the_way.iter().map(|d| d.path.to_string()).collect();
    let objects = PathTree::new(objects.iter().map(String::as_str));
    for failed in refused {
        let path = failed.transfer.path();
        let top = objects.uppermost(path).unwrap_or(path).to_owned();
        groups.entry(top).or_default().uploads.push(failed);
    }
    for deletion in in_the_way {
        let path = &*deletion.path;
        let top = at_and_above(path).find(|above| groups.contains_key(*above));
        let top = top.unwrap_or(path).to_owned();
        groups.entry(top).or_default().deletions.push(deletion);
    }
    groups.into_values().collect()
}

/// Deletes the objects in the way, and uploads the files at once. Returns the uploads that are still
/// impossible, and cost nothing.
fn replace<S: Steps>(
    context: &RunContext,
    steps: &S,
    replacement: Replacement,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) -> Vec<Failed> {
    let Replacement { deletions, uploads } = replacement;
    let mut gone = HashSet::new();
    delete::objects(context, &deletions, report, &mut |event| {
        if let Event::Deleted { path } = event {
            gone.insert(path.to_owned());
        }
        on_event(event);
    });
    let in_the_way = |path: &str| -> Vec<&str> {
        let paths = deletions.iter().map(|deletion| &*deletion.path);
        paths.filter(|other| is_under(path, other) || is_under(other, path)).collect()
    };
    let repeat = |failed: Failed| {
        let in_the_way = in_the_way(failed.transfer.path());
        let deleted: Vec<String> =
            in_the_way.iter().filter(|p| gone.contains(**p)).map(|p| (*p).to_owned()).collect();
        let result = match &failed.refusal {
            // The other objects are still in the way.
            Some(refusal) if deleted.len() < in_the_way.len() => Err(refusal.clone()),
            _ => upload(context, steps, &failed.transfer),
        };
        (failed, deleted, result)
    };
    let mut remaining = Vec::new();
    let workers = context.config.transfer.workers;
    let limit = || context.client.limit();
    worker_pool::for_each(workers, &limit, uploads.into_iter(), &repeat, |done| {
        let (failed, deleted, result) = done;
        let path = failed.transfer.path();
        match result {
            Ok(transferred) => transferred.record(path, report, on_event),
            Err(_) if deleted.is_empty() => remaining.push(failed),
            Err(error) => {
                let cause = Box::new(error.cause().clone());
                let lost = Cause::NotReplaced { deleted, cause };
                report.fail(Error::new("upload", path, lost), on_event);
                if error.is_fatal() {
                    report.fatal.get_or_insert(error);
                }
            }
        }
    });
    remaining
}

/// Uploads one file.
pub(super) fn upload<S: Steps>(
    context: &RunContext,
    steps: &S,
    transfer: &Transfer,
) -> Result<Transferred> {
    if transfer.size(Direction::Backup) <= context.config.transfer.part_size {
        return steps.small(transfer, &mut ParentCache::default());
    }
    let handle = steps.start(transfer)?;
    let parts = (0..steps.part_count(&handle)).try_for_each(|index| steps.part(&handle, index));
    parts.and_then(|()| steps.complete(&handle)).inspect_err(|_| {
        // The failure of the upload is reported. The next run, or a lifecycle rule, aborts an upload
        // that is left.
        let _ = steps.abort(&handle);
    })
}

/// A set of paths, and the directories above them.
struct PathTree<'a> {
    paths: HashSet<&'a str>,
    above: HashSet<&'a str>,
}

impl<'a> PathTree<'a> {
    fn new(paths: impl Iterator<Item = &'a str> + Clone) -> PathTree<'a> {
        let above = paths.clone().flat_map(above).collect();
        PathTree { paths: paths.collect(), above }
    }

    /// Whether `path` is below or above one of the paths, so that they cannot both be files.
    fn conflicts(&self, path: &str) -> bool {
        self.uppermost(path).is_some() || self.above.contains(path)
    }

    /// The uppermost of the paths that is above `path`.
    fn uppermost<'p>(&self, path: &'p str) -> Option<&'p str> {
        above(path).find(|above| self.paths.contains(above))
    }
}

fn at_and_above(path: &str) -> impl Iterator<Item = &str> {
    above(path).chain([path])
}
