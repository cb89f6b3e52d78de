//! Carrying a plan out: transfers first, largest first, then deletions.
//!
//! Small objects are one request each, and a few of them one job while there are many. Large ones are cut
//! up, and their pieces spread over the workers: a job begins it, one job a piece follows, one finishes it,
//! or gives it up. Upload and download are the same course ([`course`]) with different steps ([`Mover`]).

mod context;
mod delete;
mod download;
mod leftovers;
mod resume;
mod scheduler;
mod upload;

use std::{cmp::Reverse, time::Instant};

pub(crate) use context::RunContext;

use scheduler::{Course, FEW, Job, Outcome};

use crate::{
    error::{Cause, Error, Result},
    local::{Complete, ParentCache},
    model::{direction::Direction, paths},
    plan::{Plan, Transfer},
    report::{Event, Report, Stage},
    s3::parts::part_size,
    worker_pool,
};

/// The steps of moving one object. Each is done on a worker thread.
trait Mover: Sync {
    /// A large object under way.
    type Large: Send + Sync;

    /// Moves a small object at once. `cache` is left behind for the next one.
    fn whole(&self, transfer: &Transfer, cache: &mut ParentCache) -> Result<Moved>;
    /// Begins a large one.
    fn begin(&self, transfer: &Transfer) -> Result<Self::Large>;
    /// How many pieces it has.
    fn pieces(&self, large: &Self::Large) -> u64;
    /// Moves one piece.
    fn piece(&self, large: &Self::Large, index: u64) -> Result<()>;
    /// Makes the pieces one object.
    fn finish(&self, large: &Self::Large) -> Result<Moved>;
    /// Gives it up, and cleans up behind it.
    fn abandon(&self, large: &Self::Large) -> Result<()>;
}

/// An object that has arrived.
struct Moved {
    bytes: u64,
    /// Whether its content was held against what the server says of it.
    checked: bool,
    /// A downloaded file, whole, that still has to get its name.
    complete: Option<Complete>,
}

/// Carries out a plan that the guards have let pass.
pub(crate) fn run(context: &RunContext, plan: Plan, on_event: &mut dyn FnMut(Event)) -> Report {
    let begun = Instant::now();
    let mut report = Report::new(plan.direction, plan.kept, plan.skipped);
    leftovers::remove(context, &plan.leftovers, &mut report, on_event);
    let unswept = report.failed;
    let direction = plan.direction;
    let mut transfers = plan.transfers;
    // Small ones keep their order, so that neighbours are moved together.
    transfers.sort_by_key(|transfer| match transfer.size(direction) {
        small if small <= FEW.1 => Reverse(0),
        large => Reverse(large),
    });
    match direction {
        Direction::Backup => {
            let unfinished =
                resume::UnfinishedUploads::find(context, &transfers, &mut report, on_event);
            let uploader = upload::Uploader { context, unfinished };
            all(context, &uploader, direction, transfers, &mut report, on_event);
        }
        Direction::Restore => {
            all(
                context,
                &download::Downloader(context),
                direction,
                transfers,
                &mut report,
                on_event,
            );
        }
    }
    report.note_interruption(context.cancel);
    if report.fatal.is_some() {
        // Nothing more.
    } else if report.failed > unswept {
        report.withheld = plan.deletions.len() as u64;
    } else if !plan.deletions.is_empty() {
        on_event(Event::Stage(Stage::Deleting { entries: plan.deletions.len() as u64 }));
        match direction {
            Direction::Backup => delete::objects(context, &plan.deletions, &mut report, on_event),
            Direction::Restore => delete::files(context, &plan.deletions, &mut report, on_event),
        }
    }
    report.elapsed = begun.elapsed();
    report
}

/// How many requests a worker and its connection are worth, and how many workers there are at least.
const WORTH: u64 = 4;
const FEWEST: usize = 16;

fn all<M: Mover>(
    context: &RunContext,
    mover: &M,
    direction: Direction,
    transfers: Vec<Transfer>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    if transfers.is_empty() {
        return;
    }
    let requests = transfers.iter().map(|transfer| {
        let size = transfer.size(direction);
        size.div_ceil(part_size(size, context.config.transfer.part_size)).max(1)
    });
    let requests = requests.fold(0u64, u64::saturating_add);
    let enough = usize::try_from(requests / WORTH).unwrap_or(usize::MAX).max(FEWEST);
    let workers = context.config.transfer.workers.min(enough);
    context.client.start_phase(workers);
    let mut course = Course::new(context, mover, direction, transfers, report, on_event);
    (course.on_event)(Event::Stage(Stage::Transferring(course.total)));
    worker_pool::run(workers, &mut course, &|job| perform(context, mover, job));
    let published = direction == Direction::Restore && report.transferred.entries > 0;
    if published && let Err(error) = context.flush() {
        // The bytes are there, but the names may not outlive a power cut.
        report.fatal.get_or_insert(error);
    }
}

fn perform<M: Mover>(context: &RunContext, mover: &M, job: Job<M::Large>) -> Outcome<M::Large> {
    match job {
        Job::Publish(batch) => {
            let synced = context.flush();
            Outcome::Published(publish(context, batch, &synced), synced)
        }
        Job::Few(transfers) => {
            let mut tried = Vec::with_capacity(transfers.len());
            let mut transfers = transfers.into_iter();
            let mut cache = ParentCache::default();
            for transfer in transfers.by_ref() {
                let moved = mover.whole(&transfer, &mut cache);
                // What is out of reach, or asks to slow down, is so for the others, too.
                let is_last = moved.as_ref().is_err_and(|error| {
                    let cause = error.cause();
                    error.is_fatal() || matches!(cause, Cause::Network(_)) || cause.is_throttling()
                });
                tried.push((transfer, moved));
                if is_last {
                    break;
                }
            }
            Outcome::Few(tried, transfers.collect())
        }
        Job::Begin(id, transfer) => {
            let large = mover.begin(&transfer);
            Outcome::Begun(id, transfer, large)
        }
        Job::Piece(id, large, index) => Outcome::Piece(id, mover.piece(&large, index)),
        Job::Finish(id, large) => Outcome::Finished(id, mover.finish(&large)),
        Job::Abandon(id, large) => Outcome::Abandoned(id, mover.abandon(&large)),
    }
}

/// Gives whole files their names, once their bytes are on the disk: a name never stands for less.
fn publish(
    context: &RunContext,
    mut batch: Vec<(Transfer, Moved)>,
    synced: &Result<()>,
) -> Vec<(Transfer, Result<Moved>)> {
    batch.sort_unstable_by(|(a, _), (b, _)| a.path().cmp(b.path()));
    let fail = |path: &str, cause| Error::new("download", path, cause);
    let publish = |transfer: &Transfer, moved: Moved, cache: &mut ParentCache| {
        let Some(complete) = &moved.complete else { return Ok(moved) };
        if let Err(error) = synced {
            context.root.discard(complete);
            return Err(error.clone());
        }
        let published = context.root.publish(complete, cache);
        published.map(|()| moved).map_err(|cause| fail(transfer.path(), cause))
    };
    let mut published = Vec::with_capacity(batch.len());
    let mut batch = batch.into_iter().peekable();
    while let Some((first, _)) = batch.peek() {
        let dir = paths::split(first.path()).0.to_owned();
        let (begin, mut cache) = (published.len(), ParentCache::default());
        while let Some((transfer, moved)) =
            batch.next_if(|(transfer, _)| paths::split(transfer.path()).0 == dir)
        {
            let result = publish(&transfer, moved, &mut cache);
            published.push((transfer, result));
        }
        if !context.root.is_in_place(&cache) {
            for (transfer, result) in published[begin..].iter_mut().filter(|(_, r)| r.is_ok()) {
                let why = Cause::Changed("its directory was moved away meanwhile");
                *result = Err(fail(transfer.path(), why));
            }
        }
    }
    published
}
