//! Running a plan: leftovers, transfers, deletions.

use std::time::Instant;

use crate::{
    model::{count::Count, direction::Direction},
    plan::{Deletion, Plan, Transfer},
    report::{Event, Report, Stage},
    s3::parts::{part_count, part_size},
    transfer::{
        context::RunContext, delete, download::Downloader, leftovers, recheck,
        resume::UnfinishedUploads, reuse::reuse, scheduler::Scheduler, steps::Steps,
        upload::Uploader, worker,
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
    if plan.direction == Direction::Restore {
        plan.transfers = reuse(context, &plan.leftovers, plan.transfers, &mut report, on_event);
    }
    leftovers::remove(context, &plan.leftovers, &mut report, on_event);
    let failed_leftovers = report.failed;
    match plan.direction {
        Direction::Backup => upload_all(context, plan.transfers, &mut report, on_event),
        Direction::Restore => {
            let steps = Downloader { context };
            transfer_all(context, &steps, plan.transfers, &mut report, on_event);
        }
    }
    report.note_interruption(context.cancel);
    if report.fatal.is_none() {
        if report.failed > failed_leftovers {
            report.withheld = plan.deletions.len() as u64;
        } else {
            let mut deletions = plan.deletions;
            if plan.direction == Direction::Backup {
                let upload = |transfers, report: &mut Report, on_event: &mut dyn FnMut(Event)| {
                    upload_all(context, transfers, report, on_event);
                };
                deletions = recheck::recheck(
                    context,
                    plan.snapshot,
                    deletions,
                    &mut report,
                    on_event,
                    upload,
                );
                report.note_interruption(context.cancel);
            }
            delete_all(context, &deletions, &mut report, on_event);
        }
    }
    report.elapsed = start.elapsed();
    report
}

fn upload_all(
    context: &RunContext,
    transfers: Vec<Transfer>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    let unfinished = UnfinishedUploads::find(context, &transfers, report, on_event);
    transfer_all(context, &Uploader { context, unfinished }, transfers, report, on_event);
}

fn transfer_all<S: Steps>(
    context: &RunContext,
    steps: &S,
    transfers: Vec<Transfer>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    if transfers.is_empty() {
        return;
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
    worker_pool::run(workers, &mut scheduler, &|job| worker::execute(context, steps, job));
    let has_renamed = report.direction == Direction::Restore && report.transferred.entries > 0;
    if has_renamed && let Err(error) = context.flush() {
        // The content is on disk, but a power failure may undo renames.
        report.fatal.get_or_insert(error);
    }
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
