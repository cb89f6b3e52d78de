//! Scheduling the transfers of a run: which job comes next, and what follows from its outcome.
//!
//! All state belongs to the caller's thread, so it needs no locks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet, VecDeque},
    mem,
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    error::{Cause, Error, Result},
    model::{count::Count, direction::Direction, escape::Escaped},
    plan::Transfer,
    report::{Event, Progress, Report},
    s3::parts::is_large,
    transfer::{
        context::RunContext,
        in_flight::{InFlight, Measured},
        job::{Failed, Job, LargeId, Outcome, Unpublished},
        large::LargeTransfer,
        steps::Transferred,
    },
    worker_pool::JobSource,
};

/// The most small objects in one job. Handing a job to a worker costs about as much as a small
/// file.
const MAX_JOB_OBJECTS: usize = 16;

/// The most bytes of the small objects in one job.
const MAX_JOB_BYTES: u64 = 1 << 20;

/// The most complete downloads that wait to be published. Each batch costs one `syncfs`, but after
/// a crash, the downloads that waited are repeated.
const MAX_BATCH_FILES: usize = 1_000;

/// The most bytes of the complete downloads that wait to be published.
const MAX_BATCH_BYTES: u64 = 1 << 30;

/// The most bytes in flight to and from a server that is near. A single part may exceed it.
///
/// Such a server keeps fewer connections busy: eight parts in flight transfer the same bytes with a
/// quarter less work than 32.
const MAX_BYTES_IN_FLIGHT_NEAR: u64 = 128 << 20;

/// The most bytes in flight to and from a server that is far. A single part may exceed it.
///
/// More connections than this keeps busy would only slow each other down, and their unfinished
/// parts are lost if the run is interrupted.
const MAX_BYTES_IN_FLIGHT_FAR: u64 = 512 << 20;

/// With a bandwidth limit, the bytes in flight take at most this long. Two parts may exceed it.
const MAX_SECONDS_IN_FLIGHT: u64 = 8;

/// The most large objects to transfer in parts at a time. More than one, because the system lets
/// only one thread at a time write to a file.
const MAX_LARGE_TRANSFERS: usize = 4;

/// Smaller downloads are not compared with the free disk space.
const MIN_CHECKED_SIZE: u64 = 1 << 20;

/// The longest time that a complete download waits to be published. If the process is killed on a slow
/// link, only the downloads of this time are repeated.
const MAX_BATCH_AGE: Duration = Duration::from_secs(3);

/// While as many batches are being published, none is published only for its age.
const MAX_PUBLISHING_FOR_AGE: usize = 2;

/// Decides which job comes next. `H` is the handle of a large transfer.
pub(super) struct Scheduler<'a, H> {
    context: &'a RunContext<'a>,
    direction: Direction,
    total: Count,
    /// The transfers that were not started yet.
    waiting: VecDeque<Transfer>,
    /// Downloads that may not fit on the disk. One that fits by now is started once no other transfer
    /// waits. The others may be mostly zeros, so each is tried alone, once everything before it is done:
    /// it cannot take the space of others then.
    deferred: VecDeque<Transfer>,
    /// The free space of the disk when it was last asked for, minus everything that was started then or
    /// later. Some file systems take long to answer.
    free_space: u64,
    /// Something ended since the free space was last asked for.
    may_have_more_space: bool,
    has_warned_of_space: bool,
    /// The paths of the transfers that were queued a second time.
    repeated: HashSet<String>,
    large: BTreeMap<LargeId, LargeTransfer<H>>,
    next_id: LargeId,
    /// Jobs that only wait for a worker. They come before anything new.
    ready: VecDeque<Job<H>>,
    /// The number of transfers that were started and have not ended.
    in_flight: usize,
    /// The bytes of the small objects and parts in flight.
    bytes_in_flight: u64,
    /// The requests in flight. Of the small objects in one job, the largest counts.
    requests: InFlight,
    /// Complete downloads that wait to be published.
    unpublished: Vec<Unpublished>,
    /// When the first of them was complete.
    unpublished_since: Option<Instant>,
    /// The number of publish jobs that are not done.
    publishing: usize,
    /// The transfers that failed.
    failed: Vec<Failed>,
    /// The failures of the server since the last transfer that succeeded. If the run gives up on the server,
    /// they have the same cause, and are not reported one by one.
    server_failures: Vec<Error>,
    /// Do not report uploads that the store refuses: they may be repeated.
    defers_refusals: bool,
    report: &'a mut Report,
    on_event: &'a mut dyn FnMut(Event),
}

impl<'a, H> Scheduler<'a, H> {
    /// Creates a scheduler for `transfers`, which have the number and size `total`.
    pub(super) fn new(
        context: &'a RunContext<'a>,
        mut transfers: Vec<Transfer>,
        total: Count,
        report: &'a mut Report,
        on_event: &'a mut dyn FnMut(Event),
    ) -> Scheduler<'a, H> {
        let direction = report.direction;
        // Largest first. Small ones keep their order, so that files of one directory share a job.
        transfers.sort_by_key(|transfer| match transfer.size(direction) {
            small if small <= MAX_JOB_BYTES => Reverse(0),
            large => Reverse(large),
        });
        Scheduler {
            context,
            direction,
            total,
            waiting: transfers.into(),
            deferred: VecDeque::new(),
            free_space: 0,
            may_have_more_space: true,
            has_warned_of_space: false,
            repeated: HashSet::new(),
            large: BTreeMap::new(),
            next_id: 0,
            ready: VecDeque::new(),
            in_flight: 0,
            bytes_in_flight: 0,
            requests: InFlight::new(),
            unpublished: Vec::new(),
            unpublished_since: None,
            publishing: 0,
            failed: Vec::new(),
            server_failures: Vec::new(),
            defers_refusals: false,
            report,
            on_event,
        }
    }

    /// Leaves it to the caller to report the uploads that the store refuses.
    pub(super) fn defer_refusals(&mut self) {
        self.defers_refusals = true;
    }

    /// The transfers that failed.
    pub(super) fn into_failed(mut self) -> Vec<Failed> {
        if !self.report.fatal.as_ref().is_some_and(Error::has_given_up) {
            self.report_server_failures();
        }
        self.failed
    }

    fn report_server_failures(&mut self) {
        for error in mem::take(&mut self.server_failures) {
            self.report.fail(error, self.on_event);
        }
    }

    fn is_stopping(&self) -> bool {
        self.report.fatal.is_some() || self.context.cancel.is_cancelled()
    }

    fn max_bytes_in_flight(&self) -> u64 {
        let transfer = &self.context.config.transfer;
        let useful = transfer.bandwidth_limit.map_or(u64::MAX, |limit| {
            // While one part waits for its response, another one uses the bandwidth.
            limit.saturating_mul(MAX_SECONDS_IN_FLIGHT).max(transfer.part_size.saturating_add(1))
        });
        let most = if self.context.client.is_latency_bound() {
            MAX_BYTES_IN_FLIGHT_FAR
        } else {
            MAX_BYTES_IN_FLIGHT_NEAR
        };
        most.min(useful)
    }

    /// Whether another request may be in flight.
    fn may_start(&mut self) -> bool {
        let client = self.context.client;
        let measured = Measured { moved: client.bytes_moved(), min_latency: client.min_latency() };
        self.bytes_in_flight < self.max_bytes_in_flight()
            && self.requests.may_start(Instant::now(), measured)
    }

    /// A part of the large object that has the fewest parts in flight.
    fn next_part(&mut self) -> Option<Job<H>> {
        let open = self
            .large
            .iter_mut()
            .filter_map(|(id, large)| large.parts_in_flight().map(|parts| (parts, *id, large)));
        let (_, id, large) = open.min_by_key(|(parts, ..)| *parts)?;
        let job = large.next_part(id)?;
        if let Job::Part { bytes, .. } = &job {
            self.bytes_in_flight += bytes;
            self.requests.start(*bytes);
        }
        Some(job)
    }

    /// Whether there is disk space for a transfer beside those that were started.
    fn fits(&mut self, transfer: &Transfer) -> bool {
        let size = transfer.size(self.direction);
        if self.direction == Direction::Backup || size < MIN_CHECKED_SIZE {
            return true;
        }
        if self.free_space < size && mem::take(&mut self.may_have_more_space) {
            let large = self.large.values().map(LargeTransfer::bytes_not_started);
            let needed = large.fold(self.bytes_in_flight, u64::saturating_add);
            let free = self.context.root.free_space();
            self.free_space = free.map_or(u64::MAX, |free| free.saturating_sub(needed));
        }
        // The space of a file system that is mounted below the root is not known.
        size <= self.free_space || !self.context.root.is_on_its_file_system(transfer.path())
    }

    /// The next transfer to start. Downloads that may not fit on the disk are deferred.
    fn next_transfer(&mut self) -> Option<Transfer> {
        while let Some(transfer) = self.waiting.pop_front() {
            if self.fits(&transfer) {
                return Some(transfer);
            }
            self.deferred.push_back(transfer);
        }
        None
    }

    /// A deferred download, if there is space for it now, or nothing else is left to do.
    fn next_deferred(&mut self) -> Option<Transfer> {
        let is_idle = self.in_flight == 0 && self.publishing == 0;
        let next = self.deferred.pop_front()?;
        if self.fits(&next) {
            return Some(next);
        }
        if !is_idle {
            self.deferred.push_front(next);
            return None;
        }
        if !self.has_warned_of_space {
            self.has_warned_of_space = true;
            let text = warning_of_space(self.deferred.len() + 1, &self.context.config.dir);
            (self.on_event)(Event::Warning(&text));
        }
        Some(next)
    }

    fn start_large(&mut self, transfer: Transfer) -> Job<H> {
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight += 1;
        let size = transfer.size(self.direction);
        self.free_space = self.free_space.saturating_sub(size);
        let large = LargeTransfer::new(transfer.clone(), size);
        self.large.insert(id, large);
        Job::Start { id, transfer }
    }

    /// A job for a small object, and for as many more as leave enough for the other workers.
    fn start_small(&mut self, first: Transfer) -> Job<H> {
        let share = self.waiting.len() / (4 * self.context.client.limit());
        let mut bytes = first.size(self.direction);
        let mut transfers = vec![first];
        while transfers.len() < share.min(MAX_JOB_OBJECTS)
            && let Some(next) = self.waiting.front()
            && bytes.saturating_add(next.size(self.direction)) <= MAX_JOB_BYTES
        {
            bytes += next.size(self.direction);
            transfers.extend(self.waiting.pop_front());
        }
        self.in_flight += transfers.len();
        self.bytes_in_flight += bytes;
        self.requests.start(largest(&transfers, self.direction));
        self.free_space = self.free_space.saturating_sub(bytes);
        Job::Small(transfers)
    }

    fn publish_all(&mut self) -> Job<H> {
        self.publishing += 1;
        self.unpublished_since = None;
        Job::Publish(mem::take(&mut self.unpublished))
    }

    /// The downloads that are still unpublished, once no transfer is in flight.
    fn last_batch(&mut self) -> Option<Job<H>> {
        let is_last = self.in_flight == 0 && !self.unpublished.is_empty();
        is_last.then(|| self.publish_all())
    }

    /// Queues the last job of a large transfer, if it is due.
    fn queue_last_job(&mut self, id: LargeId) {
        let is_stopping = self.is_stopping();
        if let Some(large) = self.large.get_mut(&id) {
            self.ready.extend(large.last_job(id, is_stopping));
        }
    }

    /// A transfer has ended. Its result is final, unless it is a download that has to be published
    /// or repeated.
    fn end(&mut self, transfer: Transfer, result: Result<Transferred>) {
        self.in_flight -= 1;
        match result {
            Ok(Transferred { complete: Some(complete), bytes, checked, .. }) => {
                self.unpublished.push(Unpublished { transfer, complete, bytes, checked });
                self.unpublished_since.get_or_insert_with(Instant::now);
                let bytes: u64 = self.unpublished.iter().map(|file| file.bytes).sum();
                if self.unpublished.len() >= MAX_BATCH_FILES || bytes >= MAX_BATCH_BYTES {
                    let job = self.publish_all();
                    self.ready.push_back(job);
                }
            }
            // If the content was corrupted in transit, a second transfer probably succeeds. If there were
            // too many parts, the second one has larger ones.
            Err(error)
                if matches!(error.cause(), Cause::Corrupt(_) | Cause::TooManyParts(_))
                    && self.repeated.insert(transfer.path().to_owned()) =>
            {
                self.waiting.push_back(transfer);
            }
            result => self.record(&transfer, result),
        }
    }

    /// Records the final result of a transfer.
    fn record(&mut self, transfer: &Transfer, result: Result<Transferred>) {
        match result {
            Ok(transferred) => {
                self.report_server_failures();
                transferred.record(transfer.path(), self.report, self.on_event);
            }
            Err(error) => {
                let error = error.of_path(transfer.path());
                let (transfer, direction) = (transfer.clone(), self.direction);
                let refusal = if self.defers_refusals && error.cause().is_refusal() {
                    Some(error)
                } else {
                    if error.cause().is_server_failure() {
                        self.server_failures.push(error);
                    } else {
                        self.report.fail(error, self.on_event);
                    }
                    None
                };
                self.failed.push(Failed { transfer, direction, refusal });
            }
        }
        self.report_progress();
    }

    fn report_progress(&mut self) {
        let done = Count {
            entries: self.report.transferred.entries - self.report.reused,
            bytes: self.context.bytes_done.load(Ordering::Relaxed),
        };
        (self.on_event)(Event::Progress(Progress { done, total: self.total }));
    }
}

/// The size of the largest transfer.
fn largest<'t>(transfers: impl IntoIterator<Item = &'t Transfer>, direction: Direction) -> u64 {
    transfers.into_iter().map(|transfer| transfer.size(direction)).max().unwrap_or(0)
}

/// The warning that so many downloads may not fit on the disk.
fn warning_of_space(count: usize, dir: &Path) -> String {
    let dir = dir.display().to_string();
    let space = format!("may not fit into the free space of {}", Escaped(&dir));
    if count == 1 {
        format!("1 download {space}; it is tried last, because zeros take no space")
    } else {
        format!(
            "{count} downloads {space}; they are tried last, each when the one before is done, because \
             zeros take no space"
        )
    }
}

impl<H: Send + Sync> JobSource for Scheduler<'_, H> {
    type Job = Job<H>;
    type Outcome = Outcome<H>;

    fn next(&mut self) -> Option<Job<H>> {
        if self.is_stopping() {
            for (id, large) in &mut self.large {
                self.ready.extend(large.last_job(*id, true));
            }
            return self.ready.pop_front().or_else(|| self.last_batch());
        }
        if let Some(job) = self.ready.pop_front() {
            return Some(job);
        }
        if !self.may_start() {
            return None;
        }
        let is_ending = self.waiting.is_empty() && self.deferred.is_empty();
        self.context.client.set_phase_ending(is_ending);
        let part_size = self.context.config.transfer.part_size;
        let next = self.waiting.front().or(self.deferred.front());
        let next_is_large = next.is_some_and(|next| is_large(next.size(self.direction), part_size));
        // Parts come before small objects, and before another large object if there are enough.
        if (!next_is_large || self.large.len() >= MAX_LARGE_TRANSFERS)
            && let Some(part) = self.next_part()
        {
            return Some(part);
        }
        let starting = self.large.values().filter(|large| large.is_starting()).count();
        if next_is_large && starting >= MAX_LARGE_TRANSFERS {
            return None;
        }
        let transfer = match self.next_transfer() {
            Some(transfer) => Some(transfer),
            None => match self.last_batch() {
                Some(job) => return Some(job),
                None => self.next_deferred(),
            },
        };
        match transfer {
            // A large one was deferred.
            None => self.next_part(),
            Some(transfer) if is_large(transfer.size(self.direction), part_size) => {
                Some(self.start_large(transfer))
            }
            Some(transfer) => Some(self.start_small(transfer)),
        }
    }

    /// The downloads that have waited too long to be published. While the disk is slow, the next batch grows.
    fn next_urgent(&mut self) -> Option<Job<H>> {
        let is_due = self.unpublished_since.is_some_and(|since| since.elapsed() >= MAX_BATCH_AGE);
        (is_due && self.publishing < MAX_PUBLISHING_FOR_AGE).then(|| self.publish_all())
    }

    fn limit(&self) -> usize {
        self.context.client.limit()
    }

    fn done(&mut self, outcome: Outcome<H>) {
        self.may_have_more_space = true;
        match outcome {
            Outcome::Small { results, untried } => {
                self.in_flight -= untried.len();
                let tried = results.iter().map(|(transfer, _)| transfer);
                let bytes = largest(tried.chain(&untried), self.direction);
                let is_success = results.iter().all(|(_, result)| result.is_ok());
                self.requests.end(bytes, is_success);
                for transfer in untried {
                    self.bytes_in_flight -= transfer.size(self.direction);
                    self.waiting.push_back(transfer);
                }
                for (transfer, result) in results {
                    self.bytes_in_flight -= transfer.size(self.direction);
                    self.end(transfer, result);
                }
            }
            Outcome::Started { id, result: Ok(started) } => {
                if let Some(large) = self.large.get_mut(&id) {
                    large.start(started);
                }
            }
            Outcome::Started { id, result: Err(error) } => {
                if let Some(large) = self.large.remove(&id) {
                    self.end(large.transfer, Err(error));
                }
            }
            Outcome::Part { id, bytes, result } => {
                self.bytes_in_flight -= bytes;
                self.requests.end(bytes, result.is_ok());
                if let Some(large) = self.large.get_mut(&id)
                    && let Some(error) = large.record_part(result)
                    && error.is_fatal()
                {
                    // Stops the run now, not only after the abort.
                    self.report.fail(error, self.on_event);
                }
                self.queue_last_job(id);
                self.report_progress();
            }
            Outcome::Completed { id, result: Ok(transferred) } => {
                if let Some(large) = self.large.remove(&id) {
                    self.end(large.transfer, Ok(transferred));
                }
            }
            Outcome::Completed { id, result: Err(error) } => {
                if let Some(large) = self.large.get_mut(&id) {
                    large.fail_completion(error);
                }
                self.queue_last_job(id);
            }
            Outcome::Aborted { id, error, result } => {
                if let Some(large) = self.large.remove(&id) {
                    self.end(large.transfer, Err(error));
                }
                if let Err(error) = result {
                    self.report.fail(error, self.on_event);
                }
            }
            Outcome::Published { results, flushed } => {
                self.publishing -= 1;
                for (transfer, result) in results {
                    self.record(&transfer, result);
                }
                // The content of later downloads may be lost as well: none of them is renamed.
                if let Err(error) = flushed {
                    self.report.fatal.get_or_insert(error);
                }
            }
        }
    }

    fn tick(&mut self) {
        self.report_progress();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::atomic::AtomicU64,
        thread,
    };

    use super::*;
    use crate::{
        cancel::Cancel,
        config::Config,
        local::{ParentCache, Root},
        model::{entry::Object, etag::ETag, time::Timestamp},
        plan::Reason,
        record::Facts,
        s3::{Access, AccessOptions, Client, Env, ListFrom},
        transfer::{
            steps::{Checked, Steps},
            worker,
        },
    };

    const PART_SIZE: u64 = 16 << 20;

    /// Transfers nothing. Paths that end with 7 fail.
    struct FakeSteps;

    impl FakeSteps {
        fn result(path: &str, bytes: u64) -> Result<Transferred> {
            let error = || Error::new("download", path, Cause::Network("lost".to_owned()));
            let transferred = Transferred::downloaded(bytes, Checked::VERIFIED, None);
            (!path.ends_with('7')).then_some(transferred).ok_or_else(error)
        }
    }

    impl Steps for FakeSteps {
        type Handle = Transfer;

        fn small(&self, transfer: &Transfer, _: &mut ParentCache) -> Result<Transferred> {
            FakeSteps::result(transfer.path(), transfer.size(Direction::Restore))
        }

        fn start(&self, transfer: &Transfer) -> Result<Transfer> {
            Ok(transfer.clone())
        }

        fn part_count(&self, large: &Transfer) -> u64 {
            large.size(Direction::Restore) / PART_SIZE
        }

        fn part(&self, large: &Transfer, index: u64) -> Result<()> {
            if index == 1 { FakeSteps::result(large.path(), PART_SIZE).map(drop) } else { Ok(()) }
        }

        fn complete(&self, large: &Transfer) -> Result<Transferred> {
            FakeSteps::result(large.path(), large.size(Direction::Restore))
        }

        fn abort(&self, _: &Transfer) -> Result<()> {
            Ok(())
        }
    }

    fn bytes(jobs: &[Job<Transfer>]) -> u64 {
        let bytes = |job: &Job<Transfer>| match job {
            Job::Small(transfers) => {
                transfers.iter().map(|transfer| transfer.size(Direction::Restore)).sum()
            }
            Job::Part { .. } => PART_SIZE,
            _ => 0,
        };
        jobs.iter().map(bytes).sum()
    }

    /// A server that responds once, slowly, with an empty listing.
    fn far_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = BufReader::new(&stream).lines().map(|line| line.unwrap());
            request.take_while(|line| !line.is_empty()).for_each(drop);
            thread::sleep(Duration::from_millis(30));
            let page = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len())
        });
        url
    }

    #[test]
    fn bytes_in_flight_and_large_transfers_are_limited() {
        for (is_far, bandwidth, limit, is_deferred) in [
            (false, None, 128 << 20, false),
            (true, None, 512 << 20, false),
            (true, None, 512 << 20, true),
            (true, Some(8 << 20), 64 << 20, false),
            // Two parts.
            (true, Some(1 << 20), PART_SIZE + 1, false),
        ] {
            let options = AccessOptions {
                endpoint: Some(far_server()),
                unsigned: true,
                ..Default::default()
            };
            let access = Access::resolve(options, Env::default()).unwrap();
            let dir = tempfile::TempDir::new().unwrap();
            let mut config = Config::new(dir.path(), "s3://bucket".parse().unwrap(), access);
            config.transfer.bandwidth_limit = bandwidth;
            let cancel = Cancel::new();
            let client =
                Client::new("bucket", &config.access, &config.transfer.client_options(), &cancel)
                    .unwrap();
            if is_far {
                client.list_page("", &ListFrom::Beginning).unwrap();
            }
            client.start_phase(512);
            assert_eq!(client.is_latency_bound(), is_far);
            let root = Root::open(dir.path()).unwrap();
            let file_pool = crate::local::file_pool().unwrap();
            let context = RunContext {
                config: &config,
                client: &client,
                root: &root,
                file_pool: &file_pool,
                cancel: &cancel,
                facts: &Facts::new(false),
                bytes_done: AtomicU64::new(0),
                known_markers: HashSet::new(),
            };

            // Large ones, then the largest that are not transferred in parts, then small ones.
            let sizes = (2..32).rev().map(|parts| parts * PART_SIZE);
            let sizes = sizes.chain([PART_SIZE; 60]).chain([1_000; 2_000]);
            let transfers = sizes.enumerate().map(|(n, size)| {
                let modified = Timestamp::from_secs(0);
                let path = format!("{n}").into();
                let object = Some(Object { path, size, modified, etag: ETag::None });
                Transfer { reason: Reason::Missing, file: None, object }
            });
            let mut report = Report::new(Direction::Restore, Count::default(), Vec::new());
            let mut on_event = |_: Event| {};
            let mut scheduler = Scheduler::new(
                &context,
                transfers.collect(),
                Count::default(),
                &mut report,
                &mut on_event,
            );
            scheduler.requests = InFlight::unlimited();
            if is_deferred {
                // The large ones seemed not to fit when the run began.
                let is_large = |transfer: &Transfer| {
                    is_large(transfer.size(Direction::Restore), config.transfer.part_size)
                };
                let large = scheduler.waiting.iter().take_while(|next| is_large(next)).count();
                scheduler.deferred = scheduler.waiting.drain(..large).collect();
                assert!(large > 4);
            }
            let mut random = fastrand::Rng::with_seed(1);
            let mut jobs = Vec::new();
            let (mut max_bytes, mut max_large) = (0, 0);
            loop {
                // There is no limit of workers here, so only the scheduler itself sets limits.
                let before = bytes(&jobs);
                if let Some(job) = scheduler.next() {
                    jobs.push(job);
                    let after = bytes(&jobs);
                    assert!(after == before || before < limit, "{after}");
                    max_bytes = after.max(max_bytes);
                    let has_parts_left = |large: &&LargeTransfer<_>| {
                        large.is_starting() || large.parts_in_flight().is_some()
                    };
                    let large = scheduler.large.values().filter(has_parts_left).count();
                    max_large = large.max(max_large);
                } else if jobs.is_empty() {
                    break;
                } else {
                    let job = jobs.swap_remove(random.usize(..jobs.len()));
                    scheduler.done(worker::execute(&context, &FakeSteps, job));
                }
            }
            assert!((limit..limit + PART_SIZE).contains(&max_bytes), "{max_bytes}");
            assert_eq!(max_large, 4);
            // A failure does not keep the others from being tried.
            scheduler.report_server_failures();
            let report = &scheduler.report;
            assert_eq!((report.transferred.entries, report.failed), (1_881, 209));
            assert_eq!((scheduler.bytes_in_flight, scheduler.in_flight), (0, 0));
            assert!(scheduler.large.is_empty());
        }
    }
}
