//! SIGKILL at any moment of a backup and of a restore: no name ever stands for half a file, and the next
//! run finds its way from whatever was left.
//!
//! `S3KEEP_KILLS` says how many kills each direction gets (8), `S3KEEP_SEED` repeats the choices of an
//! earlier run; `scripts/kills` is for a long one. Most kills come after a random number of requests,
//! the rest after a random time.

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
    World, files, noise,
    store::{Fault, Object},
    write,
};

/// The files of a directory, or the objects of the bucket, by path.
type Tree = BTreeMap<String, Vec<u8>>;

const SMALL: usize = 300;
const LARGE: [&str; 2] = ["large", "d1/e1/large"];

fn from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// A choice of files, and how they change from one version to the next.
struct Maker {
    random: Rng,
    noise: Vec<u8>,
    made: u64,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        Maker { random: Rng::with_seed(seed), noise: noise(seed, 12 << 20), made: 0 }
    }

    /// Differs from all others, in each of its parts.
    fn large(&mut self) -> Vec<u8> {
        self.made += 1;
        let mut body = self.noise[..self.random.usize(11 << 20..=12 << 20)].to_vec();
        for block in body.chunks_exact_mut(1 << 20) {
            block[..8].copy_from_slice(&self.made.to_le_bytes());
        }
        body
    }

    fn small(&mut self) -> Vec<u8> {
        self.made += 1;
        // A few sizes, so that many a change keeps its file's.
        let mut body = self.noise[..8 + 500 * self.random.usize(0..4)].to_vec();
        body[..8].copy_from_slice(&self.made.to_le_bytes());
        body
    }

    fn first(&mut self) -> Tree {
        let path = |n| format!("d{}/e{}/f{n}", n % 7, n % 5);
        let mut tree: Tree = (0..SMALL).map(|n| (path(n), self.small())).collect();
        tree.extend(LARGE.map(|path| (path.to_owned(), self.large())));
        tree
    }

    /// Some changed, some gone, some new; and at least one of the large ones changed.
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
            let path = format!("d{}/new{}/f{}", self.random.u8(..7), self.made % 5, self.made);
            let body = self.small();
            new.insert(path, body);
        }
        new
    }
}

/// A world that is slow enough for a kill to find a run at work, and the runs in it.
struct Killing {
    name: &'static str,
    seed: u64,
    world: World,
    random: Rng,
    line: &'static str,
    requests: Arc<AtomicUsize>,
    /// What a whole run takes.
    typical: (usize, Duration),
    killed: u64,
    ended_before: u64,
}

impl Killing {
    fn new(name: &'static str, seed: u64, line: &'static str) -> Killing {
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
        Killing {
            name,
            seed,
            world,
            random: Rng::with_seed(seed),
            line,
            requests,
            typical: (1, Duration::ZERO),
            killed: 0,
            ended_before: 0,
        }
    }

    fn start(&self) -> Child {
        let url = format!("s3://{}", self.world.bucket);
        let mut command = self.world.command();
        command.args(self.line.split(' ').map(|word| word.replace("BUCKET", &url)));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A run that nobody kills.
    fn whole_run(&mut self) {
        self.requests.store(0, Ordering::SeqCst);
        let begun = Instant::now();
        self.world.expect(0, self.line);
        self.typical = (self.requests.load(Ordering::SeqCst), begun.elapsed());
    }

    /// A run that is killed, unless it ends before.
    fn killed_run(&mut self) -> ControlFlow<()> {
        let (requests, duration) = self.typical;
        let (after_requests, pause) = if self.random.u8(..4) > 0 {
            let few = Duration::from_millis(self.random.u64(0..20));
            (self.random.usize(0..=requests), few)
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
        // What is still on its way to the server arrives, or does not.
        thread::sleep(Duration::from_millis(100));
        if output.status.signal() == Some(9) {
            self.killed += 1;
            return ControlFlow::Continue(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        self.ended_before += 1;
        ControlFlow::Break(())
    }

    /// Rounds of a change, one or more killed runs, each followed by `check`, and a whole one, followed
    /// by `complete`.
    fn rounds(
        &mut self,
        change: impl Fn(&World, &Tree, &Tree),
        check: impl Fn(&World, &Tree, &Tree),
        complete: impl Fn(&World, &Tree),
    ) {
        let kills = from_env("S3KEEP_KILLS").unwrap_or(8);
        let mut maker = Maker::new(self.seed);
        let mut old = Tree::new();
        let mut new = maker.first();
        change(&self.world, &old, &new);
        let outside = files(&self.world.path("outside"));
        self.whole_run();
        complete(&self.world, &new);
        while self.killed < kills && self.ended_before <= kills {
            (old, new) = (new.clone(), maker.next(&new));
            change(&self.world, &old, &new);
            // Now and then the run that would have mended it is killed, too.
            for _ in 0..self.random.u8(1..=3) {
                let was_killed = self.killed_run();
                check(&self.world, &old, &new);
                if was_killed.is_break() || self.killed == kills {
                    break;
                }
            }
            self.whole_run();
            complete(&self.world, &new);
            assert_eq!(files(&self.world.path("outside")), outside);
        }
        println!("{}: {} runs killed, {} ended before", self.name, self.killed, self.ended_before);
        assert!(self.killed > 0, "no kill came in time");
    }
}

fn seed(name: &str) -> u64 {
    let seed = from_env("S3KEEP_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    // Shown if the test fails.
    println!("{name}: S3KEEP_SEED={seed}");
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

/// What is there is the old or the new version, whole. Returns whether something is still to be
/// transferred, and whether something was deleted.
#[track_caller]
fn assert_whole(found: &Tree, old: &Tree, new: &Tree) -> (bool, bool) {
    for (path, body) in found {
        let is_whole = old.get(path) == Some(body) || new.get(path) == Some(body);
        assert!(is_whole, "{path}, of {} bytes, is neither version", body.len());
    }
    for path in old.keys() {
        let may_be_gone = !new.contains_key(path);
        assert!(found.contains_key(path) || may_be_gone, "{path} is gone");
    }
    let waiting = new.iter().any(|(path, body)| found.get(path) != Some(body));
    let deleted = old.keys().any(|path| !found.contains_key(path));
    (waiting, deleted)
}

/// As `assert_eq`, without megabytes of output.
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

/// Writes what differs, now, and removes what is no more.
fn change_files(dir: &Path, old: &Tree, new: &Tree) {
    for (path, body) in new.iter().filter(|(path, body)| old.get(*path) != Some(body)) {
        write(&dir.join(path), body);
    }
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        fs::remove_file(dir.join(path)).unwrap();
    }
}

#[test]
fn a_killed_backup_leaves_whole_objects_and_the_next_one_completes_it() {
    let seed = seed("backup");
    let line = "backup tree BUCKET --yes --quiet --part-size 5MiB";
    let mut killing = Killing::new("backup", seed, line);
    let id = killing.world.store().create_upload("elsewhere/foreign");
    // Of a key that is in no plan: somebody else's.
    let foreign = [("elsewhere/foreign".to_owned(), id)];
    killing.rounds(
        |world, old, new| change_files(&world.path("tree"), old, new),
        |world, old, new| {
            assert_same(&files(&world.path("tree")), new);
            let (waiting, deleted) = assert_whole(&bucket(world), old, new);
            assert!(!(waiting && deleted), "an object was deleted before all were sent");
            assert!(world.store().uploads().contains(&foreign[0]));
        },
        |world, new| {
            assert_same(&files(&world.path("tree")), new);
            assert_same(&bucket(world), new);
            world.expect(0, "verify tree BUCKET --part-size 5MiB");
            assert_eq!(world.store().uploads(), foreign);
        },
    );
    killing.world.expect(0, &line.replace(" --quiet", "")).assert_nothing_to_do();
}

#[test]
fn a_killed_restore_leaves_whole_files_and_the_next_one_completes_it() {
    let seed = seed("restore");
    let line = "restore BUCKET tree --yes --quiet --part-size 5MiB";
    let mut killing = Killing::new("restore", seed, line);
    // Each version is younger than the one before, however fast they follow each other.
    let past = killing.world.store().now() - Duration::from_secs(1_000_000);
    let round = AtomicUsize::new(0);
    killing.rounds(
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
            let (waiting, deleted) = assert_whole(&found, old, new);
            assert!(!(waiting && deleted), "a file was deleted before all were fetched");
        },
        |world, new| {
            assert_same(&bucket(world), new);
            // No temporary file either.
            assert_same(&files(&world.path("tree")), new);
            world.expect(0, "verify tree BUCKET --part-size 5MiB");
        },
    );
    killing.world.expect(0, &line.replace(" --quiet", "")).assert_nothing_to_do();
}
