//! Running a plan: leftovers, transfers, deletions.

use std::{cell::RefCell, collections::HashSet, mem, time::Instant};

use crate::{
    error::{Error, Result},
    local::Snapshot,
    model::{count::Count, direction::Direction, paths},
    plan::{
        Alike, Deletion, Plan, Transfer, Untransferred, Withheld, WithheldReason,
        protected::ProtectedPaths, withhold,
    },
    report::{Event, Report, Stage},
    s3::parts::{part_count, part_size},
    transfer::{
        context::RunContext,
        delete,
        download::Downloader,
        job::Failed,
        leftovers,
        recheck::recheck,
        replace::{may_be_refused, replace_all, upload},
        resume::UnfinishedUploads,
        reuse::reuse,
        scheduler::Scheduler,
        spellings::{self, Distinct, NotUploaded},
        steps::{Steps, Transferred},
        upload::Uploader,
        worker,
    },
    worker_pool,
};

/// The number of requests that make another worker and its connection worthwhile.
const MIN_REQUESTS_PER_WORKER: u64 = 4;

/// The number of workers for few requests, if the configuration allows as many.
const MIN_WORKERS: usize = 16;

/// Executes a plan that the guards allow.
pub(crate) fn run(context: &RunContext, mut plan: Plan, on_event: &mut dyn FnMut(Event)) -> Report {
    let start = Instant::now();
    let mut report = Report::new(plan.direction, plan.kept, plan.skipped);
    report.withhold(plan.withheld);
    let (mut deletions, withheld) = withhold(plan.deletions, &plan.left_out, plan.margin);
    let left_out = |withheld| Withheld { reason: WithheldReason::LeftOut, ..withheld };
    report.withhold_with(withheld.into_iter().map(left_out).collect(), on_event);
    if plan.direction == Direction::Restore {
        // The caller may have added other paths.
        plan.leftovers.retain(|path| paths::is_temporary(paths::split(path).1));
        plan.transfers = reuse(context, &plan.leftovers, plan.transfers, &mut report, on_event);
        leftovers::remove(context, &plan.leftovers, &mut report, on_event);
    }
    let expects_refusals =
        plan.direction == Direction::Backup && may_be_refused(&plan.transfers, &deletions);
    context.client.expect_refusals(expects_refusals);
    let mut distinct = Vec::new();
    let untransferred: Vec<Untransferred> = match plan.direction {
        Direction::Backup => {
            let Plan { snapshot, protected, left_out, margin, .. } = plan;
            let alike = plan.spellings.alike;
            let backup = Backup { context, snapshot, protected, left_out, margin, alike };
            let (deletions, report) = (&mut deletions, &mut report);
            backup.run(plan.transfers, deletions, &mut distinct, report, on_event)
        }
        Direction::Restore => {
            let steps = Downloader { context };
            let failed =
                transfer_all(context, &steps, plan.transfers, false, &mut report, on_event);
            failed.iter().map(Failed::untransferred).collect()
        }
    };
    report.note_interruption(context.cancel);
    if report.fatal.is_none() {
        let (allowed, withheld) = withhold(deletions, &untransferred, plan.margin);
        deletions = allowed;
        report.withhold_with(withheld, on_event);
        if !distinct.is_empty() {
            try_deletions(context, distinct, &mut deletions, &mut report, on_event);
        }
        if report.fatal.is_none() {
            delete_all(context, &deletions, &mut report, on_event);
        }
    }
    report.warn_of_unpreserved(on_event);
    report.elapsed = start.elapsed();
    report
}

/// The part of a backup before its deletions.
struct Backup<'a> {
    context: &'a RunContext<'a>,
    snapshot: Option<Snapshot>,
    /// The paths that the plan skips.
    protected: ProtectedPaths,
    /// The transfers that the program removed from the plan.
    left_out: Vec<Untransferred>,
    margin: u64,
    /// The names that the store may not distinguish.
    alike: Vec<Alike>,
}

impl Backup<'_> {
    /// Uploads files, and removes from `deletions` what must not be deleted any more. Adds to `distinct`
    /// the deletions that need a trial. Returns the files that were not uploaded.
    fn run(
        mut self,
        transfers: Vec<Transfer>,
        deletions: &mut Vec<Deletion>,
        distinct: &mut Vec<Distinct>,
        report: &mut Report,
        on_event: &mut dyn FnMut(Event),
    ) -> Vec<Untransferred> {
        let (context, mut alike) = (self.context, self.alike);
        let unfinished = UnfinishedUploads::find(context, &transfers, report, on_event);
        let files = transfers.iter().filter_map(|transfer| transfer.file.as_ref());
        let preparation = context.root.prepare_reading(files);
        let steps = Uploader { context, unfinished, preparation };
        // Only an object that is to be deleted can be in the way of an upload.
        let may_replace = !deletions.is_empty();
        let upload = |transfers, report: &mut Report, on_event: &mut dyn FnMut(Event)| {
            transfer_all(context, &steps, transfers, may_replace, report, on_event)
        };
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.add_uploads(transfers.iter().map(Transfer::path));
        }
        let mut failed = upload(transfers, report, on_event);
        report.note_interruption(context.cancel);
        if report.fatal.is_none() && self.snapshot.is_some() {
            let new = RefCell::new(Vec::new());
            let upload =
                |transfers: Vec<Transfer>, report: &mut Report, on_event: &mut dyn FnMut(Event)| {
                    let files = transfers.iter().filter_map(|transfer| transfer.file.clone());
                    new.borrow_mut().extend(files);
                    upload(transfers, report, on_event)
                };
            failed.extend(recheck(
                context,
                self.snapshot,
                &self.protected,
                deletions,
                report,
                on_event,
                upload,
            ));
            spellings::add_new_files(&mut alike, new.into_inner(), deletions);
            report.note_interruption(context.cancel);
        }
        if report.fatal.is_none() {
            let not_uploaded =
                NotUploaded { failed: &failed, left_out: &self.left_out, skipped: &self.protected };
            let (again, listed) = spellings::check(
                context,
                alike,
                &not_uploaded,
                deletions,
                report,
                on_event,
                upload,
            );
            distinct.extend(listed);
            failed.extend(again);
            report.note_interruption(context.cancel);
        }
        if report.fatal.is_none() {
            failed = replace_all(context, &steps, failed, deletions, self.margin, report, on_event);
            confirm_replaced(context, distinct, deletions, report, on_event);
        }
        let (untransferred, refusals): (Vec<_>, Vec<_>) =
            failed.into_iter().map(|failed| (failed.untransferred(), failed.refusal)).unzip();
        let has_given_up = report.fatal.as_ref().is_some_and(Error::has_given_up);
        for error in refusals.into_iter().flatten() {
            // If the server fails every request, this is no refusal.
            if !(has_given_up && error.cause().is_server_failure()) {
                report.fail(error, on_event);
            }
        }
        untransferred
    }
}

/// Checks the files whose objects of a similar name were deleted because they were in the way of an upload:
/// that was a trial.
fn confirm_replaced(
    context: &RunContext,
    distinct: &mut Vec<Distinct>,
    deletions: &[Deletion],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    let left: HashSet<&str> = deletions.iter().map(|deletion| &*deletion.path).collect();
    let (rest, replaced): (Vec<_>, Vec<_>) =
        mem::take(distinct).into_iter().partition(|pair| left.contains(pair.object()));
    *distinct = rest;
    if replaced.is_empty() {
        return;
    }
    let uploader = SingleUploader::new(context, &replaced);
    for pair in &replaced {
        if report.fatal.is_none() {
            let upload = |transfer: &Transfer| uploader.upload(transfer);
            spellings::confirm(context, pair, report, on_event, upload);
        }
    }
}

/// Makes the deletions that need a trial first.
fn try_deletions(
    context: &RunContext,
    distinct: Vec<Distinct>,
    deletions: &mut Vec<Deletion>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    let uploader = SingleUploader::new(context, &distinct);
    let upload = |transfer: &Transfer| uploader.upload(transfer);
    spellings::try_deletions(context, distinct, deletions, report, on_event, upload);
}

/// Uploads files one by one.
struct SingleUploader<'a>(Uploader<'a>);

impl SingleUploader<'_> {
    fn new<'a>(context: &'a RunContext, distinct: &[Distinct]) -> SingleUploader<'a> {
        let unfinished = UnfinishedUploads::default();
        let preparation = context.root.prepare_reading(distinct.iter().map(Distinct::file));
        SingleUploader(Uploader { context, unfinished, preparation })
    }

    fn upload(&self, transfer: &Transfer) -> Result<Transferred> {
        upload(self.0.context, &self.0, transfer)
    }
}

/// Executes the transfers. Returns those that failed. With `defer_refusals`, the caller has to report
/// the uploads that the store refused.
fn transfer_all<S: Steps>(
    context: &RunContext,
    steps: &S,
    transfers: Vec<Transfer>,
    defer_refusals: bool,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) -> Vec<Failed> {
    if transfers.is_empty() {
        return Vec::new();
    }
    let (mut total, mut requests) = (Count::default(), 0_u64);
    for transfer in &transfers {
        let size = transfer.size(report.direction);
        let part_size = part_size(size, context.config.transfer.part_size);
        total.add(size);
        requests = requests.saturating_add(part_count(size, part_size));
    }
    let worthwhile = usize::try_from(requests / MIN_REQUESTS_PER_WORKER).unwrap_or(usize::MAX);
    let workers = context.config.transfer.workers.min(worthwhile.max(MIN_WORKERS));
    context.client.start_phase(workers);
    on_event(Event::Stage(Stage::Transferring(total)));
    let mut scheduler = Scheduler::new(context, transfers, total, report, on_event);
    if defer_refusals {
        scheduler.defer_refusals();
    }
    worker_pool::run(workers, &mut scheduler, &|job| worker::execute(context, steps, job));
    let failed = scheduler.into_failed();
    let has_renamed = report.direction == Direction::Restore && report.transferred.entries > 0;
    if has_renamed && let Err(error) = context.flush() {
        // The content is on disk, but a power failure may undo renames.
        report.fatal.get_or_insert(error);
    }
    failed
}

fn delete_all(
    context: &RunContext,
    deletions: &[Deletion],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    if deletions.is_empty() {
        return;
    }
    on_event(Event::Stage(Stage::Deleting { entries: deletions.len() as u64 }));
    match report.direction {
        Direction::Backup => delete::objects(context, deletions, report, on_event),
        Direction::Restore => delete::files(context, deletions, report, on_event),
    }
}
