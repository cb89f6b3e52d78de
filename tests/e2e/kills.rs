//! SIGKILL at random moments of a backup and of a restore.
//!
//! After each kill, every object or file is complete: its old or its new version. The next run
//! completes the work from any intermediate state.
//!
//! `S3KEEP_TEST_KILLS` is the number of kills for each direction (8 by default). `S3KEEP_TEST_SEED` repeats
//! the random choices of an earlier run. `scripts/kills` is for long runs. Most kills come after a
//! random number of requests, the others after a random time.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;

use crate::support::{
    World, files, markers, noise,
    store::{Fault, Object},
    write,
};

/// The files of a directory, or the objects of the bucket, by path.
type Tree = BTreeMap<String, Vec<u8>>;

const SMALL: usize = 300;
const LARGE: [&str; 2] = ["large", "d1/e1/large"];

fn from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// Generates random files and their changes from one version to the next.
struct TreeGenerator {
    random: Rng,
    noise: Vec<u8>,
    /// The number of files generated so far.
    count: u64,
}

impl TreeGenerator {
    fn new(seed: u64) -> TreeGenerator {
        TreeGenerator { random: Rng::with_seed(seed), noise: noise(seed, 12 << 20), count: 0 }
    }

    /// A large file. Each of its parts differs from the parts of all other files.
    fn large(&mut self) -> Vec<u8> {
        self.count += 1;
        let mut body = self.noise[..self.random.usize(11 << 20..=12 << 20)].to_vec();
        for block in body.chunks_exact_mut(1 << 20) {
            block[..8].copy_from_slice(&self.count.to_le_bytes());
        }
        body
    }

    fn small(&mut self) -> Vec<u8> {
        self.count += 1;
        // Few sizes, so that many changes keep the size of the file.
        let mut body = self.noise[..8 + 500 * self.random.usize(0..4)].to_vec();
        body[..8].copy_from_slice(&self.count.to_le_bytes());
        body
    }

    fn first(&mut self) -> Tree {
        let path = |n| format!("d{}/e{}/f{n}", n % 7, n % 5);
        let mut tree: Tree = (0..SMALL).map(|n| (path(n), self.small())).collect();
        tree.extend(LARGE.map(|path| (path.to_owned(), self.large())));
        tree
    }

    /// The next version: some files are changed, some removed, some new. At least one large file
    /// changes.
    fn next(&mut self, old: &Tree) -> Tree {
        let always = self.random.usize(0..LARGE.len());
        let mut new = Tree::new();
        for (path, body) in old {
            let body = match LARGE.iter().position(|large| large == path) {
                Some(n) if n == always || self.random.bool() => self.large(),
                None if self.random.u8(..) < 100 => self.small(),
                None if self.random.u8(..) < 10 => continue,
                _ => body.clone(),
            };
            new.insert(path.clone(), body);
        }
        while new.len() < SMALL + LARGE.len() {
            let path = format!("d{}/new{}/f{}", self.random.u8(..7), self.count % 5, self.count);
            let body = self.small();
            new.insert(path, body);
        }
        new
    }
}

/// A world whose server is slow enough for a kill to hit a run, and the runs in it.
struct KillTest {
    name: &'static str,
    seed: u64,
    world: World,
    random: Rng,
    line: &'static str,
    requests: Arc<AtomicUsize>,
    /// The requests and the duration of the last run that was not killed.
    typical: (usize, Duration),
    killed: u64,
    /// The number of runs that ended before their kill.
    ended_early: u64,
}

impl KillTest {
    fn new(name: &'static str, seed: u64, line: &'static str) -> KillTest {
        let world = World::in_process();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let store = world.store();
        store.fault(Fault::on("*").when(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            false
        }));
        let slow =
            |operation: &str, millis| Fault::on(operation).delay(Duration::from_millis(millis));
        for operation in ["ListObjectsV2", "CreateMultipartUpload", "CompleteMultipartUpload"] {
            store.fault(slow(operation, 20));
        }
        for operation in ["UploadPart", "DeleteObjects", "ListMultipartUploads", "ListParts"] {
            store.fault(slow(operation, 30));
        }
        store.fault(slow("PutObject", 15).when(|request| request.key.ends_with('7')));
        store.fault(slow("GetObject", 15).when(|request| request.key.ends_with(['7', 'e'])));
        write(&world.path("outside/file"), b"not to be touched");
        write(&world.path("outside/dir/file"), b"nor this");
        KillTest {
            name,
            seed,
            world,
            random: Rng::with_seed(seed),
            line,
            requests,
            typical: (1, Duration::ZERO),
            killed: 0,
            ended_early: 0,
        }
    }

    fn start(&self) -> Child {
        let url = format!("s3://{}", self.world.bucket);
        let mut command = self.world.command();
        command.args(self.line.split(' ').map(|word| word.replace("BUCKET", &url)));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the command without a kill.
    fn complete_run(&mut self) {
        self.requests.store(0, Ordering::SeqCst);
        let started = Instant::now();
        self.world.expect(0, self.line);
        self.typical = (self.requests.load(Ordering::SeqCst), started.elapsed());
    }

    /// Runs the command and kills it. `Break` if it ended early.
    fn killed_run(&mut self) -> ControlFlow<()> {
        let (requests, duration) = self.typical;
        let (after_requests, pause) = if self.random.u8(..4) > 0 {
            let pause = Duration::from_millis(self.random.u64(0..20));
            (self.random.usize(0..=requests), pause)
        } else {
            (0, duration.mul_f64(self.random.f64()))
        };
        self.requests.store(0, Ordering::SeqCst);
        let mut child = self.start();
        while self.requests.load(Ordering::SeqCst) < after_requests
            && child.try_wait().unwrap().is_none()
        {
            thread::sleep(Duration::from_micros(500));
        }
        thread::sleep(pause);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        // Requests that the process has sent may still reach the server.
        thread::sleep(Duration::from_millis(100));
        if output.status.signal() == Some(9) {
            self.killed += 1;
            return ControlFlow::Continue(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        self.ended_early += 1;
        ControlFlow::Break(())
    }

    /// Repeats rounds until there were enough kills.
    ///
    /// A round is a `change`, one to three killed runs, each followed by `check`, and a complete
    /// run, followed by `check_complete`.
    fn rounds(
        &mut self,
        change: impl Fn(&World, &Tree, &Tree),
        check: impl Fn(&World, &Tree, &Tree),
        check_complete: impl Fn(&World, &Tree),
    ) {
        let kills = from_env("S3KEEP_TEST_KILLS").unwrap_or(8);
        let mut generator = TreeGenerator::new(self.seed);
        let mut old = Tree::new();
        let mut new = generator.first();
        change(&self.world, &old, &new);
        let outside = files(&self.world.path("outside"));
        self.complete_run();
        check_complete(&self.world, &new);
        while self.killed < kills && self.ended_early <= kills {
            (old, new) = (new.clone(), generator.next(&new));
            change(&self.world, &old, &new);
            // Sometimes the run that would complete the work is killed, too.
            for _ in 0..self.random.u8(1..=3) {
                let was_killed = self.killed_run();
                check(&self.world, &old, &new);
                if was_killed.is_break() || self.killed == kills {
                    break;
                }
            }
            self.complete_run();
            check_complete(&self.world, &new);
            assert_eq!(files(&self.world.path("outside")), outside);
        }
        println!("{}: {} runs killed, {} ended early", self.name, self.killed, self.ended_early);
        assert!(self.killed > 0, "every run ended before its kill");
    }
}

fn seed(name: &str) -> u64 {
    let seed = from_env("S3KEEP_TEST_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    // The test runner prints this if the test fails.
    println!("{name}: S3KEEP_TEST_SEED={seed}");
    seed
}

fn bucket(world: &World) -> Tree {
    let store = world.store();
    store
        .keys()
        .into_iter()
        .map(|key| (key.clone(), store.get(&key).unwrap().body.into()))
        .collect()
}

/// Asserts that each entry is its old or its new version. Returns whether a transfer is still to be
/// done, and whether an entry was deleted.
#[track_caller]
fn assert_no_partial_entry(found: &Tree, old: &Tree, new: &Tree) -> (bool, bool) {
    for (path, body) in found {
        let is_complete = old.get(path) == Some(body) || new.get(path) == Some(body);
        assert!(is_complete, "{path}, of {} bytes, is neither version", body.len());
    }
    for path in old.keys() {
        let may_be_deleted = !new.contains_key(path);
        assert!(found.contains_key(path) || may_be_deleted, "{path} is gone");
    }
    let incomplete = new.iter().any(|(path, body)| found.get(path) != Some(body));
    let deleted = old.keys().any(|path| !found.contains_key(path));
    (incomplete, deleted)
}

/// As `assert_eq`, but does not print megabytes of content.
#[track_caller]
fn assert_same(found: &Tree, wanted: &Tree) {
    let differing: Vec<&String> = found
        .iter()
        .filter(|(path, body)| wanted.get(*path) != Some(body))
        .map(|(path, _)| path)
        .chain(wanted.keys().filter(|path| !found.contains_key(*path)))
        .collect();
    assert!(differing.is_empty(), "these differ: {differing:?}");
}

fn is_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with(".s3keep-") && name.ends_with(".part")
}

/// Writes the files that differ, with the current time, and removes those that are not in `new`.
fn change_files(dir: &Path, old: &Tree, new: &Tree) {
    for (path, body) in new.iter().filter(|(path, body)| old.get(*path) != Some(body)) {
        write(&dir.join(path), body);
    }
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        fs::remove_file(dir.join(path)).unwrap();
    }
}

#[test]
fn killed_backup_leaves_no_partial_object_and_can_be_repeated() {
    let seed = seed("backup");
    let line = "backup tree BUCKET --yes --quiet --part-size 5MiB";
    let mut test = KillTest::new("backup", seed, line);
    // An upload that another program has started: its key is in no plan.
    let id = test.world.store().create_upload("elsewhere/foreign");
    let foreign = [("elsewhere/foreign".to_owned(), id)];
    test.rounds(
        |world, old, new| change_files(&world.path("tree"), old, new),
        |world, old, new| {
            assert_same(&files(&world.path("tree")), new);
            let (incomplete, deleted) = assert_no_partial_entry(&bucket(world), old, new);
            assert!(
                !(incomplete && deleted),
                "an object was deleted before all files were uploaded"
            );
            assert!(world.store().uploads().contains(&foreign[0]));
        },
        |world, new| {
            assert_same(&files(&world.path("tree")), new);
            assert_same(&bucket(world), new);
            world.expect(0, "verify tree BUCKET --part-size 5MiB");
            assert_eq!(world.store().uploads(), foreign);
        },
    );
    test.world.expect(0, &line.replace(" --quiet", "")).assert_nothing_to_do();
}

#[test]
fn killed_restore_leaves_no_partial_file_and_can_be_repeated() {
    let seed = seed("restore");
    let line = "restore BUCKET tree --yes --quiet --part-size 5MiB";
    let mut test = KillTest::new("restore", seed, line);
    // Each version is newer than the one before, even if the rounds follow each other within a
    // second.
    let past = test.world.store().now() - Duration::from_secs(1_000_000);
    let round = AtomicUsize::new(0);
    test.rounds(
        |world, old, new| {
            let number = round.fetch_add(1, Ordering::SeqCst) as u64;
            let time: SystemTime = past + Duration::from_secs(10 * number);
            for (path, body) in new.iter().filter(|(path, body)| old.get(*path) != Some(body)) {
                let object = Object::new(body.clone()).last_modified(time);
                world.store().put_object(path, object);
            }
            for path in old.keys().filter(|path| !new.contains_key(*path)) {
                world.store().remove(path);
            }
        },
        |world, old, new| {
            assert_same(&bucket(world), new);
            let mut found = files(&world.path("tree"));
            found.retain(|path, _| !is_temporary(path));
            let (incomplete, deleted) = assert_no_partial_entry(&found, old, new);
            assert!(
                !(incomplete && deleted),
                "a file was deleted before all objects were downloaded"
            );
            // Once the directory has changed, no backup deletes or overwrites an object.
            if found != *old && found != *new {
                assert!(!markers(&world.path("tree")).is_empty());
                let backup = world.run("backup tree BUCKET --mock --list --part-size 5MiB");
                backup.assert_says("has not finished");
                backup.assert_says("\n0 to delete\n");
                let stored = new.keys().map(|path| format!("  {path}\n"));
                let overwritten = stored.filter(|end| backup.stdout.contains(end.as_str()));
                assert_eq!(overwritten.count(), 0, "{backup:?}");
            }
        },
        |world, new| {
            assert_same(&bucket(world), new);
            // This includes temporary files: none may be left.
            assert_same(&files(&world.path("tree")), new);
            assert!(markers(&world.path("tree")).is_empty());
            world.expect(0, "verify tree BUCKET --part-size 5MiB");
        },
    );
    test.world.expect(0, &line.replace(" --quiet", "")).assert_nothing_to_do();
}
