//! The way through: look, decide, act.

use std::{
    panic::resume_unwind,
    sync::{OnceLock, atomic::AtomicU64},
    thread,
    time::SystemTime,
};

use crate::{
    cancel::Cancel,
    config::Config,
    error::{Error, Result},
    list::{self, Listing},
    plan::{Direction, Places, Plan, Terms, plan},
    report::{Event, Report, Stage},
    root::Root,
    s3::Client,
    scan::{self, Scan},
    settle, transfer,
    verify::{self, Verification},
};

/// Keeps one directory in one bucket.
///
/// Several may work in one process, each with threads and connections of its own; two at work in the
/// same directory keep out of each other's way.
pub struct Keeper {
    config: Config,
    client: Client,
    cancel: Cancel,
    files: rayon::ThreadPool,
}

impl Keeper {
    /// Takes a configuration. Nothing is sent yet.
    ///
    /// # Errors
    /// Settings that can't work, and credentials that can't be had.
    pub fn new(mut config: Config) -> Result<Keeper> {
        config.check()?;
        config.transfer.workers = affordable_workers(config.transfer.workers);
        let cancel = Cancel::new();
        let client =
            Client::new(config.bucket.bucket(), &config.access, &config.transfer, &cancel)?;
        Ok(Keeper { config, client, cancel, files: scan::pool()? })
    }

    /// What this works with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What stops this keeper from any thread: whatever it is doing, or will do, ends once
    /// [`Cancel::cancel`] is called on it.
    #[must_use = "nothing stops before `cancel` is called on it"]
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Looks at both sides and decides what there is to do. Changes nothing.
    ///
    /// # Errors
    /// When a side can't be looked at: no such directory (for a backup), no such bucket, no permission. And
    /// on cancellation.
    pub fn plan(&self, direction: Direction, on_event: &mut dyn FnMut(Event)) -> Result<Plan> {
        let (scan, listing) = self.look(Some(direction), on_event)?;
        let terms = Terms {
            now: SystemTime::now().into(),
            skew: self.client.skew(),
            by_content: self.config.by_content,
            no_delete: self.config.no_delete,
        };
        let mut plan = plan(direction, scan, listing, &terms);
        plan.places = Some(self.places());
        if !plan.doubtful.is_empty() {
            let bytes = plan.doubtful.iter().map(|pair| pair.size(direction)).sum();
            let entries = plan.doubtful.len() as u64;
            on_event(Event::Stage(Stage::Comparing { entries, bytes }));
            let root = Root::open(&self.config.dir)?;
            let part_size = self.config.transfer.part_size;
            plan.settle(|pairs| settle::settle(&self.files, &root, pairs, part_size, &self.cancel));
            self.cancel.check()?;
        }
        Ok(plan)
    }

    /// Whether the guards of the configuration let `plan` be carried out.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        Ok(plan.check(&self.config.guards)?)
    }

    /// Carries out a plan that was made for the same directory and bucket, if the guards let it pass:
    /// transfers, then deletions.
    ///
    /// What fails for single entries is in the report, as is what ended the run early: a cancellation, too.
    ///
    /// # Errors
    /// Where nothing was done: a guard, a plan for other places, another run in the same directory, a
    /// directory that can't be opened.
    pub fn execute(&self, plan: Plan, on_event: &mut dyn FnMut(Event)) -> Result<Report> {
        if plan.places != Some(self.places()) {
            return Err(Error::config("the plan was made for another directory or bucket"));
        }
        self.check(&plan)?;
        let root = match plan.direction {
            Direction::Backup => Root::open(&self.config.dir)?,
            Direction::Restore => Root::create(&self.config.dir)?,
        };
        let _lock = root.lock()?;
        let context = transfer::Context {
            config: &self.config,
            client: &self.client,
            root: &root,
            cancel: &self.cancel,
            moved: AtomicU64::new(0),
        };
        Ok(self.client.while_watched(|| transfer::run(&context, plan, on_event)))
    }

    /// Compares every file with its object by content. With `read_data`, downloads what the server has
    /// no checksum of. Changes nothing.
    ///
    /// # Errors
    /// When a side can't be looked at, when something ends it early, and on cancellation.
    pub fn verify(&self, read_data: bool, on_event: &mut dyn FnMut(Event)) -> Result<Verification> {
        let (scan, listing) = self.look(None, on_event)?;
        let root = Root::open(&self.config.dir)?;
        let context = verify::Context {
            config: &self.config,
            client: &self.client,
            root: &root,
            files: &self.files,
            cancel: &self.cancel,
            read_data,
        };
        self.client.while_watched(|| verify::verify(&context, scan, listing, on_event))
    }

    fn places(&self) -> Places {
        let Config { dir, bucket, access, .. } = &self.config;
        Places { dir: dir.clone(), bucket: bucket.clone(), endpoint: access.endpoint.clone() }
    }

    /// Both sides at once, each in threads of its own.
    fn look(
        &self,
        direction: Option<Direction>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(Scan, Listing)> {
        on_event(Event::Stage(Stage::Looking));
        let config = &self.config;
        let prefix_len = config.bucket.prefix().len();
        // Shared, as the files of one side hint at the objects of the other.
        let scanned = OnceLock::new();
        let scan = || {
            if direction == Some(Direction::Restore) && matches!(config.dir.try_exists(), Ok(false))
            {
                return Ok(Scan::default());
            }
            scan::scan(&self.files, &config.dir, prefix_len, config.links, &self.cancel)
        };
        let workers = config.transfer.workers;
        let in_ranges = direction == Some(Direction::Backup) || self.client.lists_in_byte_order();
        let list = || list::list(&self.client, &config.bucket, workers, in_ranges, &scanned);
        let listing = thread::scope(|scope| {
            let listing = || self.client.while_watched(list);
            let listed = thread::Builder::new().spawn_scoped(scope, listing);
            let (scan, failed) = match scan() {
                Ok(scan) => (Some(scan), None),
                Err(error) => (None, Some(error)),
            };
            let _ = scanned.set(scan);
            let listing = match listed {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // The system gives no more threads.
                Err(_) => listing(),
            };
            failed.map_or(listing, Err)
        })?;
        Ok((scanned.into_inner().flatten().unwrap_or_default(), listing))
    }
}

/// As many workers as the process may have files open for: each needs a connection, a file and up to two
/// directories at a time, and the rest of the program some more.
fn affordable_workers(wanted: usize) -> usize {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let affordable = open_files.map_or(u64::MAX, |limit| limit.saturating_sub(32) / 4);
    wanted.min(usize::try_from(affordable).unwrap_or(usize::MAX)).max(1)
}
