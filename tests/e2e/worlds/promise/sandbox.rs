//! A bucket and a directory with a history, and the check of the promise after each run.

use std::{
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use s3keep::Direction;

use crate::{
    support::{
        World, markers,
        store::{Fault, ListOrder, Object, Store},
    },
    worlds::{
        promise::{
            case::{BucketEdit, Case, DIRECTORIES, Disturbance, Edit, Mtime, RunSpec, Step},
            user::{Origin, Tree, User},
        },
        runner::CheckResult,
    },
};

/// How far the store's clock is behind. With such a margin, contents decide wherever the record does
/// not: what times do not show is the subject of other tests.
const SKEW: i64 = -600;

/// The guards are the subject of other tests, too.
const OPTIONS: &str =
    "--yes --retries 0 --allow-empty --allow-unrelated --allow-doubt --max-delete 100%";

/// Contents shorter than this are not unique.
const MIN_UNIQUE: usize = 8;

pub struct Sandbox {
    world: World,
    user: User,
    has_record: bool,
    /// The objects that an unfinished restore still has to write.
    unrestored: Tree,
}

/// A run that has ended.
struct Finished {
    /// `None` if it was killed.
    code: Option<i32>,
    output: String,
    /// What the user created meanwhile.
    created: Tree,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.world.store().clear_faults();
        self.world.store().clear_requests();
        self.world.store().set_folding(None);
        self.world.store().remove_bucket(&self.world.bucket);
    }
}

impl Sandbox {
    pub fn new(store: &Store, case: &Case) -> Sandbox {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut world = World::on(store.clone());
        world.bucket = format!("history-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        store.create_bucket(&world.bucket);
        store.set_page_size(case.page_size);
        let order = if case.lists_in_byte_order { ListOrder::Bytes } else { ListOrder::Paths };
        store.set_list_order(order);
        store.set_folding(case.folding);
        store.reset_clock();
        store.shift_clock(SKEW);
        let mut user = User::new(&world.path("dir"));
        for (path, size, mtime) in &case.tree {
            user.create(path, *size, *mtime);
        }
        Sandbox { world, user, has_record: case.has_record, unrestored: Tree::new() }
    }

    pub fn perform(&mut self, step: &Step) -> CheckResult {
        match step {
            Step::Edit(edit) => self.user.edit(edit),
            Step::EditBucket(edit) => self.edit_bucket(edit),
            Step::Lose(dir) => self.user.lose(dir.get::<&str>(&DIRECTORIES)),
            Step::Run(run) if run.direction == Direction::Backup => self.backup(run)?,
            Step::Run(run) => self.restore(run)?,
        }
        Ok(())
    }

    /// Completes an unfinished restore, and makes a backup. Both sides are then equal.
    pub fn complete(&mut self) -> CheckResult {
        let run = |direction| RunSpec {
            direction,
            workers: 4,
            disturbance: Disturbance::Nothing,
            meanwhile: Vec::new(),
            list_delay: 0,
        };
        if !markers(&self.world.path("dir")).is_empty() {
            let code = self.restore_with(&run(Direction::Restore))?;
            prop_assert_eq!(code, Some(0));
        }
        let mut code = self.backup_with(&run(Direction::Backup))?;
        if code == Some(2) {
            // On a file system with whole seconds, a directory that just changed withholds deletions.
            thread::sleep(Duration::from_millis(2_100));
            code = self.backup_with(&run(Direction::Backup))?;
        }
        prop_assert_eq!(code, Some(0));
        check_equal(&self.bucket(), &self.user.tree(), "after the last backup")
    }

    fn bucket(&self) -> Tree {
        let (store, bucket) = (self.world.store(), &self.world.bucket);
        let keys = store.keys_in(bucket).into_iter();
        keys.filter_map(|key| {
            let object = store.get_in(bucket, &key)?;
            Some((key, object.body.to_vec()))
        })
        .collect()
    }

    fn edit_bucket(&mut self, edit: &BucketEdit) {
        let keys: Vec<String> = self.bucket().into_keys().collect();
        let (store, bucket) = (self.world.store(), &self.world.bucket);
        match edit {
            BucketEdit::Put(path, size) => {
                let content = self.user.new_content(*size);
                let whole = store.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(whole);
                let object = Object::new(content.clone()).last_modified(time);
                store.put_object_in(bucket, path, object);
                if let Some(expected) = self.unrestored.get_mut(path) {
                    *expected = content;
                }
            }
            BucketEdit::Remove(_) if keys.is_empty() => {}
            BucketEdit::Remove(n) => {
                let key: &String = n.get(&keys);
                store.remove_in(bucket, key);
                self.unrestored.remove(key);
            }
        }
    }

    fn backup(&mut self, run: &RunSpec) -> CheckResult {
        self.backup_with(run).map(drop)
    }

    fn restore(&mut self, run: &RunSpec) -> CheckResult {
        self.restore_with(run).map(drop)
    }

    fn backup_with(&mut self, run: &RunSpec) -> Result<Option<i32>, TestCaseError> {
        let before = self.bucket();
        self.user.begin();
        let Finished { code, output, .. } = self.execute(run);
        prop_assert!(matches!(code, None | Some(0..=2)), "{:?}: {}", code, output);
        check_equal(&self.user.tree_on_disk(), &self.user.tree(), &output)?;
        let after = self.bucket();
        for (path, content) in &self.unrestored {
            let is_kept = after.get(path) == Some(content);
            prop_assert!(is_kept, "{} is not restored, and lost: {}", path, output);
        }
        if code == Some(0) {
            let local = self.user.tree();
            let missing = self.unrestored.iter().find(|(path, content)| {
                run.meanwhile.is_empty() && local.get(*path) != Some(*content)
            });
            prop_assert!(missing.is_none(), "not named: {:?}: {}", missing, output);
        }
        for origin in self.user.throughout() {
            let Origin { content, paths } = &origin;
            let is_in = |bucket: &Tree| bucket.values().any(|body| body.starts_with(content));
            let is_named = || paths.iter().any(|path| output.contains(path.as_str()));
            let may_be_missing = match code {
                Some(0) => false,
                Some(2) => is_named() || !is_in(&before),
                _ => true,
            };
            let is_stored = content.len() < MIN_UNIQUE || is_in(&after);
            prop_assert!(is_stored || may_be_missing, "{:?} is not stored: {}", paths, output);
        }
        Ok(code)
    }

    fn restore_with(&mut self, run: &RunSpec) -> Result<Option<i32>, TestCaseError> {
        let dir = self.world.path("dir");
        let before = self.bucket();
        let earlier_markers = markers(&dir);
        let Finished { code, output, created } = self.execute(run);
        prop_assert!(matches!(code, None | Some(0..=2)), "{:?}: {}", code, output);
        check_equal(&self.bucket(), &before, &output)?;
        self.user.reload();
        let local = self.user.tree();
        for (path, content) in &created {
            prop_assert_eq!(local.get(path), Some(content), "{} is lost: {}", path, output);
        }
        if code == Some(0) {
            let mut expected = before;
            expected.extend(created);
            check_equal(&local, &expected, &output)?;
            prop_assert!(markers(&dir).is_empty(), "{}", output);
            self.unrestored.clear();
        } else if markers(&dir).iter().any(|marker| !earlier_markers.contains(marker)) {
            let is_unrestored =
                |(path, content): &(String, Vec<u8>)| local.get(path) != Some(content);
            self.unrestored = before.into_iter().filter(is_unrestored).collect();
        }
        Ok(code)
    }

    /// Runs the command with what disturbs it, while the user works.
    fn execute(&mut self, run: &RunSpec) -> Finished {
        self.world.store().clear_requests();
        let (all, reading) = self.set_faults(run);
        let is_backup = run.direction == Direction::Backup;
        let mut child = self.start(run);
        let (user, mut created) = (&mut self.user, Tree::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                for (pause, edit) in &run.meanwhile {
                    thread::sleep(Duration::from_millis(*pause));
                    if is_backup {
                        user.edit(edit);
                    } else if let Edit::Create(..) | Edit::Rename(..) = edit
                        && reading.load(Ordering::SeqCst) > 0
                    {
                        // The scan is over, so the run must not touch new files.
                        let path = format!("new/{}", created.len());
                        user.create(&path, 300, Mtime::Past);
                        created.insert(path.clone(), user.tree().remove(&path).unwrap());
                    }
                }
            });
            if let Disturbance::Kill { requests, pause } = run.disturbance {
                kill(&mut child, &all, requests, pause);
            }
        });
        let output = child.wait_with_output().unwrap();
        if output.status.code().is_none() {
            self.wait_for_late_requests();
        }
        self.world.store().clear_faults();
        let text = [output.stdout, output.stderr].concat();
        let output_text = String::from_utf8_lossy(&text).into_owned();
        Finished { code: output.status.code(), output: output_text, created }
    }

    /// Requests that a killed process has sent may still reach the store.
    fn wait_for_late_requests(&self) {
        thread::sleep(Duration::from_millis(100));
        let is_pending = || self.world.store().requests().iter().any(|request| request.status == 0);
        for _ in 0..20 {
            if !is_pending() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn start(&self, run: &RunSpec) -> Child {
        let url = format!("s3://{}", self.world.bucket);
        let places = match run.direction {
            Direction::Backup => ["backup", "dir", &url],
            Direction::Restore => ["restore", &url, "dir"],
        };
        let mut command = self.world.command();
        command.args(places).args(OPTIONS.split_whitespace());
        command.args(["--list", "--workers", &run.workers.to_string()]);
        if run.direction == Direction::Restore {
            command.arg("--no-sync");
        }
        if !self.has_record {
            command.arg("--no-record");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Returns the counters of all requests and of downloads.
    fn set_faults(&self, run: &RunSpec) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
        let store = self.world.store();
        let counter = |operation: &str| {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            store.fault(Fault::on(operation).when(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                false
            }));
            count
        };
        let counters = (counter("*"), counter("GetObject"));
        if let Disturbance::Fault { operation, skip, times, status } = run.disturbance {
            let code = match status {
                403 => "AccessDenied",
                404 => "NoSuchKey",
                _ => "InternalError",
            };
            store.fault(Fault::on(operation).skip(skip).times(times).status(status, code));
        }
        let slow = Duration::from_millis(run.list_delay);
        store.fault(Fault::on("ListObjectsV2").delay(slow));
        counters
    }
}

/// Kills a process some time after it has sent so many requests.
fn kill(child: &mut Child, sent: &AtomicUsize, requests: usize, pause: u64) {
    while sent.load(Ordering::SeqCst) < requests && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_micros(300));
    }
    thread::sleep(Duration::from_millis(pause));
    child.kill().unwrap();
}

fn check_equal(found: &Tree, expected: &Tree, output: &str) -> CheckResult {
    let shown = |tree: &Tree| -> Vec<(String, Vec<u8>, usize)> {
        let files = tree.iter();
        files
            .map(|(path, body)| (path.clone(), body[..body.len().min(8)].into(), body.len()))
            .collect()
    };
    let message = || format!("{:?} is not {:?}: {output}", shown(found), shown(expected));
    prop_assert!(found == expected, "{}", message());
    Ok(())
}
