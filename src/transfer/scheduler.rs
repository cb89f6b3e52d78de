//! The course of a run's transfers: which step comes next, and what follows from one that is done. It is
//! decided on the caller's thread; the steps themselves are the workers'.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    mem,
    sync::{Arc, atomic::Ordering},
};

use super::{Moved, Mover, RunContext};
use crate::{
    error::{Cause, Error, Result},
    model::{count::Count, direction::Direction},
    plan::Transfer,
    report::{Event, Progress, Report},
    worker_pool::JobSource,
};

/// One step for a worker.
pub(super) enum Job<L> {
    Few(Vec<Transfer>),
    Begin(u64, Transfer),
    Piece(u64, Arc<L>, u64),
    Finish(u64, Arc<L>),
    Abandon(u64, Arc<L>),
    /// Gives a batch of whole files their names.
    Publish(Vec<(Transfer, Moved)>),
}

pub(super) enum Outcome<L> {
    /// And whether their bytes had reached the disk.
    Published(Vec<(Transfer, Result<Moved>)>, Result<()>),
    /// What has been tried, and what has not because of the failure before it.
    Few(Vec<(Transfer, Result<Moved>)>, Vec<Transfer>),
    Begun(u64, Transfer, Result<L>),
    Piece(u64, Result<()>),
    Finished(u64, Result<Moved>),
    Abandoned(u64, Result<()>),
}

/// How many whole files wait for their names at most, and how many bytes they come to: each batch costs
/// one `syncfs`, and what waits is fetched again after a crash.
const BATCH: (usize, u64) = (1_000, 1 << 30);

/// After how many objects in a row, each tried as often as it may be, the server counts as gone: to try all
/// others as often could take days.
const LOST: usize = 1_000;

/// How many small objects make one job at most, and how many bytes they come to: handing a job to a
/// worker costs about as much as a small file does.
pub(super) const FEW: (usize, u64) = (16, 1 << 20);

/// How many bytes are under way at most, but for a single piece that is larger: more connections than
/// this keeps busy would only slow each other down, and what they carry is lost if the run is cut off. A
/// server that is near keeps fewer busy: there, eight pieces move the same bytes with a quarter less work
/// than 32.
const UNDER_WAY: (u64, u64) = (128 << 20, 512 << 20);

/// How many large objects are cut up at a time. Several, for the system lets only one thread at a time
/// write to a file.
const LARGE: usize = 4;

/// A large object under way, as the caller's thread sees it.
struct Large<L> {
    transfer: Transfer,
    /// `None` until it has begun.
    steps: Option<Arc<L>>,
    pieces: u64,
    next_piece: u64,
    under_way: u64,
    failed: Option<Error>,
}

impl<L> Large<L> {
    /// About how many bytes each piece has.
    fn piece_size(&self, direction: Direction) -> u64 {
        self.transfer.size(direction).div_ceil(self.pieces.max(1))
    }
}

pub(super) struct Course<'a, 'c, M: Mover> {
    context: &'a RunContext<'c>,
    mover: &'a M,
    direction: Direction,
    pub(super) total: Count,
    waiting: VecDeque<Transfer>,
    /// What arrived damaged, and is fetched once more.
    repeated: HashSet<String>,
    large: BTreeMap<u64, Large<M::Large>>,
    begun: u64,
    /// Steps that only wait for a worker: they come before anything new.
    ready: VecDeque<Job<M::Large>>,
    /// How many transfers are under way.
    moving: usize,
    /// How many bytes are, in the jobs that move any.
    bytes: u64,
    /// How many objects in a row the network has failed.
    lost: usize,
    /// Whole files that wait for their names.
    complete: Vec<(Transfer, Moved)>,
    report: &'a mut Report,
    pub(super) on_event: &'a mut dyn FnMut(Event),
}

impl<'a, 'c, M: Mover> Course<'a, 'c, M> {
    pub(super) fn new(
        context: &'a RunContext<'c>,
        mover: &'a M,
        direction: Direction,
        transfers: Vec<Transfer>,
        report: &'a mut Report,
        on_event: &'a mut dyn FnMut(Event),
    ) -> Course<'a, 'c, M> {
        let mut total = Count::default();
        transfers.iter().for_each(|transfer| total.add(transfer.size(direction)));
        Course {
            context,
            mover,
            direction,
            total,
            waiting: transfers.into(),
            repeated: HashSet::new(),
            large: BTreeMap::new(),
            begun: 0,
            ready: VecDeque::new(),
            moving: 0,
            bytes: 0,
            lost: 0,
            complete: Vec::new(),
            report,
            on_event,
        }
    }

    fn is_stopping(&self) -> bool {
        self.report.fatal.is_some() || self.context.cancel.is_cancelled()
    }

    /// A transfer has ended, well or badly.
    fn ended(&mut self, transfer: Transfer, moved: Result<Moved>) {
        self.moving -= 1;
        if moved.is_ok() {
            self.lost = 0;
        }
        match moved {
            Ok(moved) if moved.complete.is_some() => {
                self.complete.push((transfer, moved));
                let bytes: u64 = self.complete.iter().map(|(_, moved)| moved.bytes).sum();
                if self.complete.len() >= BATCH.0 || bytes >= BATCH.1 {
                    self.ready.push_back(Job::Publish(mem::take(&mut self.complete)));
                }
            }
            // What was damaged on its way may well arrive whole the next time.
            Err(error)
                if matches!(error.cause(), Cause::Corrupt(_))
                    && self.repeated.insert(transfer.path().to_owned()) =>
            {
                self.waiting.push_back(transfer);
            }
            moved => self.settled(&transfer, moved),
        }
    }

    fn settled(&mut self, transfer: &Transfer, moved: Result<Moved>) {
        match moved {
            Ok(moved) => {
                self.report.transferred.add(moved.bytes);
                self.report.unchecked += u64::from(!moved.checked);
                (self.on_event)(Event::Transferred { path: transfer.path(), bytes: moved.bytes });
            }
            Err(error) => {
                let is_lost = matches!(error.cause(), Cause::Network(_));
                self.lost = if is_lost { self.lost + 1 } else { 0 };
                self.report.fail(error.of_path(transfer.path()), self.on_event);
            }
        }
        if self.lost >= LOST && self.report.fatal.is_none() {
            let why = format!("{LOST} objects in a row were lost: the rest is not tried");
            let bucket = self.context.config.bucket.to_string();
            self.report.fatal = Some(Error::new("reach", bucket, Cause::Network(why)));
        }
        self.tick();
    }

    /// What still waits for a name, once nothing more is coming.
    fn last_batch(&mut self) -> Option<Job<M::Large>> {
        let last = self.moving == 0 && !self.complete.is_empty();
        last.then(|| Job::Publish(mem::take(&mut self.complete)))
    }

    /// A piece of the large object that has the fewest under way.
    fn next_piece(&mut self) -> Option<Job<M::Large>> {
        let open = self
            .large
            .iter_mut()
            .filter(|(_, large)| large.failed.is_none() && large.next_piece < large.pieces);
        let (id, large) = open.min_by_key(|(_, large)| large.under_way)?;
        let steps = large.steps.as_ref()?;
        let index = large.next_piece;
        large.next_piece += 1;
        large.under_way += 1;
        self.bytes += large.piece_size(self.direction);
        Some(Job::Piece(*id, Arc::clone(steps), index))
    }

    /// A small object, and as many more as leave enough for the other workers.
    fn and_a_few_more(&mut self, first: Transfer) -> Vec<Transfer> {
        let share = self.waiting.len() / (4 * self.limit());
        let mut bytes = first.size(self.direction);
        let mut few = vec![first];
        while few.len() < share.min(FEW.0)
            && let Some(next) = self.waiting.front()
            && bytes.saturating_add(next.size(self.direction)) <= FEW.1
        {
            bytes += next.size(self.direction);
            few.extend(self.waiting.pop_front());
        }
        self.moving += few.len() - 1;
        self.bytes += bytes;
        few
    }

    /// Readies the last step of a large object, once no piece of it is under way any more.
    fn wind_up(&mut self, id: u64) {
        let stopping = self.is_stopping();
        let Some(large) = self.large.get_mut(&id) else { return };
        let Some(steps) = &large.steps else { return };
        if large.under_way > 0 {
            return;
        }
        if large.failed.is_some() || (stopping && large.next_piece < large.pieces) {
            large.next_piece = large.pieces;
            large.under_way = 1;
            self.ready.push_back(Job::Abandon(id, Arc::clone(steps)));
        } else if large.next_piece == large.pieces {
            large.under_way = 1;
            self.ready.push_back(Job::Finish(id, Arc::clone(steps)));
        }
    }
}

impl<M: Mover> JobSource for Course<'_, '_, M> {
    type Job = Job<M::Large>;
    type Outcome = Outcome<M::Large>;

    fn next(&mut self) -> Option<Self::Job> {
        if self.is_stopping() {
            let all: Vec<u64> = self.large.keys().copied().collect();
            all.into_iter().for_each(|id| self.wind_up(id));
            return self.ready.pop_front().or_else(|| self.last_batch());
        }
        if let Some(job) = self.ready.pop_front() {
            return Some(job);
        }
        let (near, far) = UNDER_WAY;
        if self.bytes >= if self.context.client.is_far() { far } else { near } {
            return None;
        }
        let is_large = |transfer: &Transfer| {
            transfer.size(self.direction) > self.context.config.transfer.part_size
        };
        let next_is_large = self.waiting.front().is_some_and(is_large);
        if (!next_is_large || self.large.len() >= LARGE)
            && let Some(piece) = self.next_piece()
        {
            return Some(piece);
        }
        let beginning = self.large.values().filter(|large| large.steps.is_none()).count();
        if next_is_large && beginning >= LARGE {
            return None;
        }
        let Some(transfer) = self.waiting.pop_front() else { return self.last_batch() };
        self.moving += 1;
        if !next_is_large {
            return Some(Job::Few(self.and_a_few_more(transfer)));
        }
        let id = self.begun;
        self.begun += 1;
        let large = Large {
            transfer: transfer.clone(),
            steps: None,
            pieces: 0,
            next_piece: 0,
            under_way: 0,
            failed: None,
        };
        self.large.insert(id, large);
        Some(Job::Begin(id, transfer))
    }

    fn limit(&self) -> usize {
        self.context.client.limit()
    }

    fn done(&mut self, outcome: Self::Outcome) {
        match outcome {
            Outcome::Published(batch, synced) => {
                for (transfer, moved) in batch {
                    self.settled(&transfer, moved);
                }
                // No file of this run gets its name any more.
                if let Err(error) = synced {
                    self.report.fatal.get_or_insert(error);
                }
            }
            Outcome::Few(tried, left) => {
                self.moving -= left.len();
                for transfer in left {
                    self.bytes -= transfer.size(self.direction);
                    self.waiting.push_back(transfer);
                }
                for (transfer, moved) in tried {
                    self.bytes -= transfer.size(self.direction);
                    self.ended(transfer, moved);
                }
            }
            Outcome::Begun(id, _, Ok(steps)) => {
                if let Some(large) = self.large.get_mut(&id) {
                    large.pieces = self.mover.pieces(&steps);
                    large.steps = Some(Arc::new(steps));
                }
            }
            Outcome::Begun(id, transfer, Err(error)) => {
                self.large.remove(&id);
                self.ended(transfer, Err(error));
            }
            Outcome::Piece(id, outcome) => {
                if let Some(large) = self.large.get_mut(&id) {
                    large.under_way -= 1;
                    self.bytes -= large.piece_size(self.direction);
                    if let Err(error) = outcome
                        && large.failed.is_none()
                    {
                        if error.is_fatal() {
                            self.report.fail(error.clone(), self.on_event);
                        }
                        large.failed = Some(error);
                    }
                }
                self.wind_up(id);
                self.tick();
            }
            Outcome::Finished(id, moved) => {
                if let Some(large) = self.large.get_mut(&id) {
                    large.under_way -= 1;
                    match moved {
                        Ok(moved) => {
                            if let Some(large) = self.large.remove(&id) {
                                self.ended(large.transfer, Ok(moved));
                            }
                        }
                        Err(error) => {
                            large.failed = Some(error);
                            self.wind_up(id);
                        }
                    }
                }
            }
            Outcome::Abandoned(id, abandoned) => {
                if let Some(large) = self.large.remove(&id) {
                    let error = large.failed.unwrap_or_else(Error::interrupted);
                    self.ended(large.transfer, Err(error));
                }
                if let Err(error) = abandoned {
                    self.report.fail(error, self.on_event);
                }
            }
        }
    }

    fn tick(&mut self) {
        let done = Count {
            entries: self.report.transferred.entries,
            bytes: self.context.bytes_done.load(Ordering::Relaxed),
        };
        (self.on_event)(Event::Progress(Progress { done, total: self.total }));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::atomic::AtomicU64,
        thread,
        time::Duration,
    };

    use super::{super::perform, *};
    use crate::{
        cancel::Cancel,
        config::Config,
        local::{ParentCache, Root},
        model::{entry::Object, etag::ETag, time::Timestamp},
        plan::Reason,
        s3::{Access, AccessOptions, Client, Env, ListFrom},
    };

    const PIECE: u64 = 16 << 20;

    /// Moves nothing, and fails where the path or the size says so.
    struct Still;

    impl Still {
        fn moved(path: &str, bytes: u64) -> Result<Moved> {
            let lost = || Error::new("download", path, Cause::Network("lost".to_owned()));
            let moved = Moved { bytes, checked: true, complete: None };
            (!path.ends_with('7')).then_some(moved).ok_or_else(lost)
        }
    }

    impl Mover for Still {
        type Large = Transfer;

        fn whole(&self, transfer: &Transfer, _: &mut ParentCache) -> Result<Moved> {
            Still::moved(transfer.path(), transfer.size(Direction::Restore))
        }

        fn begin(&self, transfer: &Transfer) -> Result<Transfer> {
            Ok(transfer.clone())
        }

        fn pieces(&self, large: &Transfer) -> u64 {
            large.size(Direction::Restore) / PIECE
        }

        fn piece(&self, large: &Transfer, index: u64) -> Result<()> {
            if index == 1 { Still::moved(large.path(), PIECE).map(drop) } else { Ok(()) }
        }

        fn finish(&self, large: &Transfer) -> Result<Moved> {
            Still::moved(large.path(), large.size(Direction::Restore))
        }

        fn abandon(&self, _: &Transfer) -> Result<()> {
            Ok(())
        }
    }

    fn bytes(jobs: &[Job<Transfer>]) -> u64 {
        let bytes = |job: &Job<Transfer>| match job {
            Job::Few(few) => few.iter().map(|transfer| transfer.size(Direction::Restore)).sum(),
            Job::Piece(..) => PIECE,
            _ => 0,
        };
        jobs.iter().map(bytes).sum()
    }

    /// A server that takes long to answer, once: an empty listing.
    fn far_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = BufReader::new(&stream).lines().map(|line| line.unwrap());
            asked.take_while(|line| !line.is_empty()).for_each(drop);
            thread::sleep(Duration::from_millis(30));
            let page = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len())
        });
        url
    }

    #[test]
    fn only_so_many_bytes_are_under_way_and_only_so_many_objects_cut_up() {
        for (is_far, most) in [(false, 128 << 20), (true, 512 << 20)] {
            let options = AccessOptions {
                endpoint: Some(far_server()),
                unsigned: true,
                ..Default::default()
            };
            let access = Access::resolve(options, Env::default()).unwrap();
            let dir = tempfile::TempDir::new().unwrap();
            let config = Config::new(dir.path(), "s3://bucket".parse().unwrap(), access);
            let cancel = Cancel::new();
            let client =
                Client::new("bucket", &config.access, &config.transfer.client_options(), &cancel)
                    .unwrap();
            if is_far {
                client.list_page("", &ListFrom::Beginning).unwrap();
            }
            client.start_phase(512);
            assert_eq!(client.is_far(), is_far);
            let root = Root::open(dir.path()).unwrap();
            let moved = AtomicU64::new(0);
            let context = RunContext {
                config: &config,
                client: &client,
                root: &root,
                cancel: &cancel,
                bytes_done: moved,
            };

            // Cut up, as large as can be in one, and small.
            let sizes = (2..32).rev().map(|pieces| pieces * PIECE);
            let sizes = sizes.chain([PIECE; 60]).chain([1_000; 2_000]);
            let transfers = sizes.enumerate().map(|(n, size)| {
                let modified = Timestamp::from_secs(0);
                let path = format!("{n}").into();
                let object = Some(Object { path, size, modified, etag: ETag::None });
                Transfer { reason: Reason::Missing, file: None, object }
            });
            let mut report = Report::new(Direction::Restore, Count::default(), Vec::new());
            let mut silent = |_: Event| {};
            let transfers = transfers.collect();
            let mut course = Course::new(
                &context,
                &Still,
                Direction::Restore,
                transfers,
                &mut report,
                &mut silent,
            );
            let mut random = fastrand::Rng::with_seed(1);
            let mut busy = Vec::new();
            let (mut peak, mut most_cut_up) = (0, 0);
            loop {
                // More than there are workers for: nothing but the course itself sets a limit.
                let before = bytes(&busy);
                if let Some(job) = course.next() {
                    busy.push(job);
                    let after = bytes(&busy);
                    assert!(after == before || before < most, "{after}");
                    peak = after.max(peak);
                    let is_cut_up = |large: &&Large<_>| {
                        large.failed.is_none()
                            && (large.steps.is_none() || large.next_piece < large.pieces)
                    };
                    most_cut_up = course.large.values().filter(is_cut_up).count().max(most_cut_up);
                } else if busy.is_empty() {
                    break;
                } else {
                    let job = busy.swap_remove(random.usize(..busy.len()));
                    course.done(perform(&context, &Still, job));
                }
            }
            assert!((most..most + PIECE).contains(&peak), "{peak}");
            assert_eq!(most_cut_up, 4);
            // All were tried, whatever became of the others.
            let report = &course.report;
            assert_eq!((report.transferred.entries, report.failed), (1_881, 209));
            assert_eq!((course.bytes, course.moving, course.large.len()), (0, 0, 0));
        }
    }
}
