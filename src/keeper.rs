//! The whole flow: scan and list, plan, transfer.

use std::{
    collections::HashSet,
    mem,
    panic::resume_unwind,
    path,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicU64},
    thread,
    time::{Duration, SystemTime},
};

use crate::{
    cancel::Cancel,
    config::Config,
    content::{self, Comparer},
    error::{Error, Result},
    local::{self, FoundMarker, Lock, Marker, RealNames, Root, Scan, ScanOptions, Snapshot},
    model::{
        bucket_url::BucketUrl,
        contents::{Contents, Usage},
        count::Count,
        direction::Direction,
        file_mode::FileMode,
        found::Found,
    },
    one_object,
    plan::{
        self, Archived, Candidate, Excluded, Incomplete, Plan, PlanScope, Transfer, rule::Policy,
    },
    record::{Facts, Location, Record},
    remote::{self, Listing},
    report::{Event, Report, Stage},
    s3::Client,
    selection::Selector,
    transfer,
    verify::{Verification, Verifier},
};

/// A plan that reads more files or bytes only because of ctime says so.
const MANY_FILES: u64 = 1_000;
const MANY_BYTES: u64 = 1 << 30;

/// Keeps one directory in one bucket.
///
/// A process may have several keepers, each with its own threads and connections. Two keepers cannot
/// change the same directory at the same time.
pub struct Keeper {
    config: Config,
    client: Client,
    cancel: Cancel,
    /// Reads local files in parallel.
    file_pool: rayon::ThreadPool,
    /// The lock of the directory, from [`lock`](Keeper::lock) to the end of the run.
    held: Mutex<Option<Lock>>,
    found: Found,
}

impl Keeper {
    /// Creates a keeper. No request is sent yet.
    ///
    /// # Errors
    /// The configuration cannot work, or no credentials are configured.
    pub fn new(mut config: Config) -> Result<Keeper> {
        config.check()?;
        config.transfer.workers = affordable_workers(config.transfer.workers);
        let cancel = Cancel::new();
        let options = config.transfer.client_options();
        let client = Client::new(config.bucket.bucket(), &config.access, &options, &cancel)?;
        let held = Mutex::new(None);
        let (file_pool, found) = (local::file_pool()?, Found::default());
        Ok(Keeper { config, client, cancel, file_pool, held, found })
    }

    /// The configuration of this keeper.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The mode that a restore gives to new files: that of the configuration, or what the umask of the
    /// process leaves. `None` if that is unknown. A directory with a default ACL ignores the umask.
    pub fn new_file_mode(&self) -> Option<FileMode> {
        self.config.file_mode.or_else(|| local::umask().map(FileMode::with_umask))
    }

    /// A handle that cancels whatever this keeper is doing or will do, from any thread.
    #[must_use = "nothing is cancelled before `cancel` is called on the handle"]
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// How many entries the scan and the listing have found so far.
    pub fn found(&self) -> Found {
        self.found.clone()
    }

    /// Locks the directory against other runs before it is scanned, until [`execute`](Keeper::execute)
    /// returns or the keeper is dropped. Waits for up to `wait` if another process has locked it.
    ///
    /// Without this, `execute` locks the directory, after the scan. A directory that does not exist yet is
    /// always locked then.
    ///
    /// # Errors
    /// Another process has locked the directory: [`Refusal::Busy`](crate::Refusal::Busy). Or the directory
    /// cannot be opened, or the keeper was cancelled.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # fn run(keeper: &s3keep::Keeper) -> s3keep::Result<()> {
    /// keeper.lock(Duration::from_secs(600), &mut |_| {})?;
    /// let plan = keeper.plan(s3keep::Direction::Backup, &mut |_| {})?;
    /// keeper.execute(plan, &mut |_| {})?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, wait: Duration, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() || matches!(self.config.dir.try_exists(), Ok(false)) {
            return Ok(());
        }
        let root = Root::open(&self.config.dir)?;
        let on_wait = || on_event(Event::Stage(Stage::Waiting));
        let (lock, warning) = root.lock_within(wait, &self.cancel, on_wait)?;
        if let Some(warning) = &warning {
            on_event(Event::Warning(warning));
        }
        *held = Some(lock);
        Ok(())
    }

    /// Scans the directory, lists the bucket, and plans a run in `direction`. Changes nothing.
    ///
    /// If a restore finds nothing below the prefix, but an object whose key it is, the plan is about this
    /// object only: it is restored into the directory, and everything else there stays.
    ///
    /// # Errors
    /// A side cannot be read: the directory (of a backup) or the bucket does not exist, or permission is
    /// denied. Or the keeper was cancelled.
    pub fn plan(&self, direction: Direction, on_event: &mut dyn FnMut(Event)) -> Result<Plan> {
        let selector = Arc::new(Selector::new(&self.config.selection)?);
        let BothSides { mut scan, mut listing, excluded, deletable, one_object_in, no_objects } =
            self.look_at_both_sides(Some(direction), &selector, on_event)?;
        let config = one_object::run_config(&self.config, one_object_in.as_ref());
        let snapshot = self.snapshot(direction, selector, &mut scan, &listing);
        let markers = mem::take(&mut scan.markers);
        let archived = mem::take(&mut listing.archived);
        let record = load_record(&config, on_event);
        let policy = Policy {
            now: SystemTime::now().into(),
            margin: self.client.clock_margin(),
            by_content: config.by_content,
            no_delete: config.no_delete || one_object_in.is_some(),
            ignore_ctime: config.ignore_ctime,
        };
        let mut plan = plan::build(direction, scan, listing, record, &policy);
        plan.mark_excluded(&deletable);
        plan.excluded = excluded;
        plan.scope = Some(self.scope(direction));
        plan.snapshot = snapshot;
        plan.no_objects = no_objects;
        self.join_spellings(&mut plan, &policy, on_event)?;
        let mut incomplete = match direction {
            Direction::Backup => {
                let markers = self.read_markers(&markers)?;
                plan.protect_unrestored(markers, self.config.accept_incomplete)
            }
            Direction::Restore => {
                plan.replace_markers(&markers);
                Incomplete::default()
            }
        };
        incomplete.add_spellings(&plan.spellings.joined);
        plan.compare_unrestored(&incomplete);
        if direction == Direction::Backup
            && !(plan.transfers.is_empty() && plan.undecided.is_empty())
        {
            let root = Root::open(&self.config.dir)?;
            plan.skip_unreadable(|transfers| {
                content::find_unreadable(&self.file_pool, &root, transfers)
            });
        }
        if !plan.undecided.is_empty() {
            self.compare_contents(&config, &mut plan, &policy, on_event)?;
        }
        self.skip_archived(&mut plan, archived, on_event)?;
        plan.skip_unrestored(&incomplete);
        plan.keep_planned();
        plan.one_object_in = one_object_in;
        if let Some(no_objects) = &plan.no_objects
            && !plan.deletions.is_empty()
        {
            // The run is refused because the source is empty.
            on_event(Event::Warning(&no_objects.to_string()));
        }
        Ok(plan)
    }

    /// Skips the archived objects that a restore cannot download.
    fn skip_archived(
        &self,
        plan: &mut Plan,
        mut archived: Archived,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let objects = plan.archived_objects(&archived);
        if !objects.is_empty() {
            let Config { bucket, transfer, .. } = &self.config;
            let (client, workers, cancel) = (&self.client, transfer.workers, &self.cancel);
            client.with_cancel_watchdog(|| {
                let archived = &mut archived;
                content::remove_readable(client, bucket, workers, archived, &objects, cancel)
            })?;
        }
        if let Some(text) = plan.skip_archived(&archived) {
            on_event(Event::Warning(&text));
        }
        Ok(())
    }

    /// Finds the names that the target does not distinguish.
    fn join_spellings(
        &self,
        plan: &mut Plan,
        policy: &Policy,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let candidates = &plan.spellings.candidates;
        let is_same = match plan.direction {
            _ if candidates.is_empty() => Vec::new(),
            Direction::Backup => self.find_same_objects(candidates)?,
            Direction::Restore => {
                let root = Root::open(&self.config.dir)?;
                let mut names = RealNames::new(&root);
                let is_same = |c: &Candidate| names.is_spelling_of(&c.object.path, &c.other);
                candidates.iter().map(is_same).collect()
            }
        };
        plan.join_spellings(&is_same, policy);
        let joined: Vec<(&str, &str)> =
            plan.spellings.joined.iter().map(|(path, other)| (&**path, &**other)).collect();
        let target = match plan.direction {
            Direction::Backup => "the store",
            Direction::Restore => "the file system of the directory",
        };
        if let Some(text) = plan::describe_spellings(&joined, target) {
            on_event(Event::Warning(&text));
        }
        if let Some(text) = plan.describe_unchecked_spellings() {
            on_event(Event::Warning(&text));
        }
        Ok(())
    }

    fn find_same_objects(&self, candidates: &[Candidate]) -> Result<Vec<bool>> {
        let Config { bucket, transfer, .. } = &self.config;
        let find = || {
            let (client, cancel) = (&self.client, &self.cancel);
            content::find_same_objects(client, bucket, transfer.workers, candidates, cancel)
        };
        self.client.with_cancel_watchdog(find)
    }

    /// Decides the undecided pairs of a plan.
    fn compare_contents(
        &self,
        config: &Config,
        plan: &mut Plan,
        policy: &Policy,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let Count { entries, bytes } = plan.only_ctime;
        if entries > MANY_FILES || bytes > MANY_BYTES {
            on_event(Event::Warning(&format!(
                "reading {entries} files ({bytes} bytes) only because their ctimes changed, as \
                 chmod, chown and hard links do; --ignore-ctime decides without ctime"
            )));
        }
        let bytes = plan.undecided.iter().map(|pair| pair.size(plan.direction)).sum();
        let entries = plan.undecided.len() as u64;
        on_event(Event::Stage(Stage::Comparing { entries, bytes }));
        let facts = Facts::new(config.record.is_some());
        let comparer = Comparer {
            direction: plan.direction,
            policy,
            file_pool: &self.file_pool,
            root: &Root::open(&config.dir)?,
            client: &self.client,
            bucket: &config.bucket,
            part_size: config.transfer.part_size,
            workers: config.transfer.workers,
            cancel: &self.cancel,
            facts: &facts,
            recorded: &mem::take(&mut plan.recorded),
        };
        let compare = |pairs: &[Transfer]| comparer.compare_contents(pairs);
        let compared = self.client.with_cancel_watchdog(|| plan.decide_undecided(compare));
        plan.record.learn(facts.into_vec());
        compared
    }

    /// Checks that the guards of the configuration allow `plan`.
    ///
    /// # Errors
    /// The guards refuse it, or a restore found no objects at all: [`Cause::NoObjects`](crate::Cause).
    pub fn check(&self, plan: &Plan) -> Result<()> {
        let Config { dir, bucket, guards, .. } = &self.config;
        // A refusal that names `.` would not help where the working directory is the mistake.
        let dir = path::absolute(dir).unwrap_or_else(|_| dir.clone());
        plan.check(guards, &dir, bucket)?;
        match &plan.no_objects {
            Some(error) if !guards.allow_empty => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Executes a plan: transfers first, then deletions.
    ///
    /// The report contains the failures of single entries. It also contains the error that ended the run
    /// early, if there was one, a cancellation included: see [`Report::fatal`].
    ///
    /// # Errors
    /// The run did not start: a guard refused it, the plan was made for another direction, directory,
    /// bucket or endpoint, it has a deletion that the
    /// program added or changed, another run is active in the directory, the directory cannot be opened, or a restore
    /// cannot write its marker into it.
    pub fn execute(&self, mut plan: Plan, on_event: &mut dyn FnMut(Event)) -> Result<Report> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if plan.scope != Some(self.scope(plan.direction)) {
            return Err(Error::config(
                "the plan was made for another direction, directory, bucket or endpoint; make a new plan",
            ));
        }
        plan.find_left_out()?;
        self.check(&plan)?;
        let config = one_object::run_config(&self.config, plan.one_object_in.as_ref());
        let root = match plan.direction {
            Direction::Backup => Root::open(&config.dir)?,
            Direction::Restore => Root::create(&config.dir)?,
        };
        let (_lock, warning) = match held {
            Some(lock) => (lock, None),
            None => root.lock()?,
        };
        if let Some(warning) = &warning {
            on_event(Event::Warning(warning));
        }
        let facts = Facts::new(config.record.is_some());
        let context = transfer::RunContext {
            config: &config,
            client: &self.client,
            root: &root,
            file_pool: &self.file_pool,
            cancel: &self.cancel,
            facts: &facts,
            bytes_done: AtomicU64::new(0),
            known_markers: plan.known_markers(),
        };
        let mut record = mem::replace(&mut plan.record, Record::empty());
        let mut markers = transfer::Markers::begin(&context, &mut plan)?;
        let mut report = self.client.with_cancel_watchdog(|| {
            transfer::run(&context, plan, &mut |event| {
                markers.watch(&event);
                on_event(event);
            })
        });
        markers.finish(&mut report, on_event);
        let facts = facts.into_vec();
        if let Some(latest) = facts.iter().map(|fact| fact.state.changed).max() {
            // A file that changes after this run has another ctime than the one recorded.
            local::wait_for_next_tick(latest, &self.cancel);
        }
        if let Some(keeps_times) = report.shows_that_times_are_kept() {
            record.set_keeps_times(keeps_times);
        }
        record.learn(facts);
        save_record(&config, record, on_event);
        Ok(report)
    }

    /// Compares the content of every file with its object. Changes nothing.
    ///
    /// If there is nothing below the prefix, but an object whose key it is, only this object is compared
    /// with the file of its name in the directory.
    ///
    /// With `read_data`, objects are downloaded if the server has no checksum that proves their content.
    ///
    /// # Errors
    /// A side cannot be read, there are no objects, a fatal error ended the verification, or the keeper was
    /// cancelled.
    pub fn verify(&self, read_data: bool, on_event: &mut dyn FnMut(Event)) -> Result<Verification> {
        let selector = Arc::new(Selector::new(&self.config.selection)?);
        let BothSides { scan, listing, excluded, one_object_in, no_objects, .. } =
            self.look_at_both_sides(None, &selector, on_event)?;
        no_objects.map_or(Ok(()), Err)?;
        let config = one_object::run_config(&self.config, one_object_in.as_ref());
        let verifier = Verifier {
            config: &config,
            client: &self.client,
            root: &Root::open(&config.dir)?,
            file_pool: &self.file_pool,
            cancel: &self.cancel,
            read_data,
        };
        let verify = || verifier.verify(scan, listing, on_event);
        let verification = self.client.with_cancel_watchdog(verify)?;
        Ok(Verification { excluded, ..verification })
    }

    /// Lists the objects and directories of the prefix: one level, or all of them. Neither reads nor locks
    /// the local directory.
    ///
    /// If there is nothing below the prefix, but an object whose key it is, lists this object.
    ///
    /// # Errors
    /// There is no object below the prefix (but a whole bucket may be empty), or the bucket cannot be listed.
    /// Or the keeper was cancelled.
    ///
    /// ```no_run
    /// # fn run(access: s3keep::Access) -> s3keep::Result<()> {
    /// let config = s3keep::Config::new("", "s3://my-bucket/photos".parse()?, access);
    /// let contents = s3keep::Keeper::new(config)?.list(false, &mut |_| {})?;
    /// for object in &contents.objects {
    ///     println!("{} {} {}", object.modified, object.size, s3keep::Escaped(&object.path));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, is_recursive: bool, on_event: &mut dyn FnMut(Event)) -> Result<Contents> {
        self.found.reset();
        on_event(Event::Stage(Stage::Listing));
        let Config { bucket, transfer, .. } = &self.config;
        let (client, workers) = (&self.client, transfer.workers);
        let list = || remote::list_contents(client, bucket, workers, is_recursive, &self.found);
        self.client.with_cancel_watchdog(list)
    }

    /// Adds up the sizes of all objects of the prefix, for each directory and in total. Neither reads nor
    /// locks the local directory.
    ///
    /// # Errors
    /// Those of [`list`](Keeper::list).
    pub fn usage(&self, on_event: &mut dyn FnMut(Event)) -> Result<Usage> {
        Ok(self.list(true, on_event)?.into_usage())
    }

    /// The state of the directory, to detect later changes. `None` if both sides have the same paths, so
    /// that the run neither deletes objects nor stores new files.
    fn snapshot(
        &self,
        direction: Direction,
        selector: Arc<Selector>,
        scan: &mut Scan,
        listing: &Listing,
    ) -> Option<Snapshot> {
        let has_difference = direction == Direction::Backup
            && !plan::merge::have_same_paths(&scan.files, &listing.objects);
        let options = self.scan_options(Some(direction), selector);
        has_difference.then(|| Snapshot::new(&self.file_pool, options, scan))
    }

    /// The markers that concern a backup, and their lists.
    fn read_markers(&self, found: &[FoundMarker]) -> Result<Vec<Marker>> {
        let root = Root::open(&self.config.dir)?;
        let fail =
            |error| Error::new("read directory", self.config.dir.display().to_string(), error);
        root.markers(found).map_err(fail)
    }

    fn scope(&self, direction: Direction) -> PlanScope {
        let Config { dir, bucket, access, .. } = &self.config;
        PlanScope {
            direction,
            dir: dir.clone(),
            bucket: bucket.clone(),
            endpoint: access.endpoint.clone(),
        }
    }

    /// Scans the directory and lists the bucket at the same time, each with its own threads. Without a
    /// `direction`, for a verification.
    fn look_at_both_sides(
        &self,
        direction: Option<Direction>,
        selector: &Arc<Selector>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<BothSides> {
        self.found.reset();
        on_event(Event::Stage(Stage::Scanning));
        let config = &self.config;
        let options = self.scan_options(direction, Arc::clone(selector));
        // Shared with the listing, which uses local names to guess where to split the key space.
        let scanned = OnceLock::new();
        let scan = || {
            let is_restore = direction == Some(Direction::Restore);
            if is_restore && matches!(config.dir.try_exists(), Ok(false)) {
                return Ok(Scan::default());
            }
            local::scan(&self.file_pool, &config.dir, &options, &self.cancel)
        };
        let workers = config.transfer.workers;
        let may_use_ranges =
            direction == Some(Direction::Backup) || self.client.lists_in_byte_order();
        let (client, bucket, found) = (&self.client, &config.bucket, &self.found);
        let list = || remote::list(client, bucket, workers, may_use_ranges, &scanned, found);
        let listing = thread::scope(|scope| {
            let list = || self.client.with_cancel_watchdog(list);
            let listing_thread = thread::Builder::new().spawn_scoped(scope, list);
            let (scan, scan_error) = match scan() {
                Ok(scan) => (Some(scan), None),
                Err(error) => (None, Some(error)),
            };
            let _ = scanned.set(scan);
            let listing = match listing_thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // The system has no more threads.
                Err(_) => list(),
            };
            scan_error.map_or(listing, Err)
        })?;
        let mut scan = scanned.into_inner().flatten().unwrap_or_default();
        let is_new_backup = listing.is_none() && direction == Some(Direction::Backup);
        let (mut listing, one_object_in, no_objects) = match listing {
            Some(listing) => (listing, None, None),
            None if is_new_backup => Default::default(),
            None => {
                let find = || one_object::find(&self.client, config, direction);
                let found = self.client.with_cancel_watchdog(find)?;
                let read_markers = |found: &[FoundMarker]| self.read_markers(found);
                found.select(direction, &mut scan, &read_markers)?
            }
        };
        let is_record = config.is_record();
        scan.files.retain(|file| !is_record(&file.path));
        listing.objects.retain(|object| !is_record(&object.path));
        let (excluded, deletable) = plan::select(selector, direction, &mut scan, &mut listing);
        Ok(BothSides { scan, listing, excluded, deletable, one_object_in, no_objects })
    }

    fn scan_options(&self, direction: Option<Direction>, selector: Arc<Selector>) -> ScanOptions {
        let deletes_excluded = selector.selection.delete_excluded;
        ScanOptions {
            prefix_len: self.config.bucket.prefix().len(),
            links: self.config.links,
            selector,
            ignores_patterns: deletes_excluded && direction == Some(Direction::Restore),
            found: self.found.clone(),
        }
    }
}

fn load_record(config: &Config, on_event: &mut dyn FnMut(Event)) -> Record {
    let Some(path) = &config.record else { return Record::empty() };
    let (record, why) = Record::load(Location(path), &config.record_scope());
    if let Some(why) = why {
        on_event(Event::Warning(&why));
    }
    record
}

/// Writes the record of a run. A failure costs only time in the next run.
fn save_record(config: &Config, record: Record, on_event: &mut dyn FnMut(Event)) {
    let Some(path) = &config.record else { return };
    if let Err(error) = record.save(Location(path), &config.record_scope()) {
        let path = path.display();
        on_event(Event::Warning(&format!(
            "the record {path} could not be written: {error}; the next run reads more files; \
             --no-record does without"
        )));
    }
}

/// What a run looks at.
struct BothSides {
    scan: Scan,
    listing: Listing,
    excluded: Excluded,
    /// The paths of the objects that are deleted because patterns exclude them.
    deletable: HashSet<Box<str>>,
    /// See [`Plan::one_object_in`].
    one_object_in: Option<BucketUrl>,
    /// See [`Plan::no_objects`].
    no_objects: Option<Error>,
}

/// The most open files of one worker: a connection, a file and up to two directories.
const FILES_PER_WORKER: u64 = 4;

/// The open files that are left for the rest of the program.
const OTHER_FILES: u64 = 32;

/// Limits the workers to what the process's limit of open files allows.
fn affordable_workers(wanted: usize) -> usize {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let affordable =
        open_files.map_or(u64::MAX, |limit| limit.saturating_sub(OTHER_FILES) / FILES_PER_WORKER);
    wanted.min(usize::try_from(affordable).unwrap_or(usize::MAX)).max(1)
}
