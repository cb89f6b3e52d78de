//! Random trees, random changes and random faults, against an oracle: the decision rule once more, in
//! plain loops over what is really on both sides.
//!
//! A case is plain data ([`Case`]), so that a failing one shrinks to the smallest that fails. The world is
//! built from it: a tree is backed up, perhaps restored elsewhere, and then both sides are changed behind
//! the program's back. Without `S3KEEP_WORLDS` (how many cases, all tests together) a few fixed ones run;
//! `scripts/worlds` runs thousands of new ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::RangeInclusive,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    strategy::BoxedStrategy,
    test_runner::{Config as ProptestConfig, RngAlgorithm, TestError, TestRng, TestRunner},
};
use s3keep::{
    Access, AccessOptions, BucketUrl, Config, Direction, ETag, Env, Event, Guards, Keeper,
    MaxDelete, Plan, Report, exit,
};
use tempfile::TempDir;

use crate::support::{
    noise,
    store::{self, Fault, ListOrder, Object, Store},
};

type Outcome = Result<(), TestCaseError>;
type Paths = BTreeSet<String>;

// What a case is made of

/// Neighbours in byte order and in tree order, and what encodings trip over.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "a-b",
    "a0",
    "a!",
    "a b",
    " ",
    "+",
    "%",
    "%2F",
    "é",
    "e\u{301}",
    "\u{1f600}",
    "a\\b",
    "&<\"",
    "a\u{1}",
];
/// Few, so that many files are of the same size.
const SIZES: [usize; 5] = [0, 1, 7, 300, 3_000];
const PREFIXES: [&str; 4] = ["", "p/", "a/", "p q/+%/"];
const DAY: u64 = 86_400;

/// When a file was changed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Age {
    Past,
    PastWholeSecond,
    Now,
    Future,
}

#[derive(Clone, Copy, Debug)]
struct Body {
    seed: u64,
    size: usize,
}

#[derive(Clone, Debug)]
enum What {
    File(Body, Age),
    /// A link to one of the files that are there already.
    Link(Index),
    LinkToDirectory(Index),
    LinkDangling,
    LinkOutside,
    EmptyDirectory,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    what: What,
}

/// A change in the directory.
#[derive(Clone, Debug)]
enum Edit {
    /// Whatever is in the way goes, directories and all.
    Put(Entry),
    Remove(Index),
    /// Other content of the same size.
    Rewrite(Index, u64, Age),
    Touch(Index, Age),
}

/// A change in the bucket that is not the program's.
#[derive(Clone, Debug)]
enum Foreign {
    Put(String, Body, Odd),
    Remove(Index),
    Rewrite(Index, u64, Odd),
    /// Some object's key with something added, which makes another name of it.
    Around(Index, &'static str, Body),
    Marker(String),
    /// No file can have this name.
    Unfit(&'static str, String, Body),
}

/// What is unusual about an object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Odd {
    Nothing,
    LongAgo,
    OpaqueETag,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Status(u16, &'static str),
    StatusAfter(u16, &'static str),
    Close,
    CloseAfter,
    CutBody,
    FlipBody,
}

#[derive(Clone, Debug)]
struct Failure {
    operation: &'static str,
    key: Index,
    trouble: Trouble,
    always: bool,
}

#[derive(Clone, Debug)]
struct Case {
    prefix: usize,
    page_size: usize,
    order: bool,
    /// The store's clock, in seconds from ours: at the time of the first backup, and since.
    clock: (i64, i64),
    tree: Vec<Entry>,
    /// Goes on in a restored copy rather than in the original.
    restored: bool,
    edits: Vec<Edit>,
    foreign: Vec<Foreign>,
}

fn path() -> impl Strategy<Value = String> {
    // Mostly the first few names, for them to meet.
    let name = prop_oneof![3 => select(&NAMES[..4]), 2 => select(&NAMES[..])];
    vec(name, 1..=4).prop_map(|names| names.join("/"))
}

fn body() -> impl Strategy<Value = Body> {
    (0..3u64, select(&SIZES[..])).prop_map(|(seed, size)| Body { seed, size })
}

fn age() -> impl Strategy<Value = Age> {
    select(vec![Age::Past, Age::PastWholeSecond, Age::Now, Age::Future])
}

fn entry() -> impl Strategy<Value = Entry> {
    let what = prop_oneof![
        12 => (body(), age()).prop_map(|(body, age)| What::File(body, age)),
        4 => any::<Index>().prop_map(What::Link),
        1 => any::<Index>().prop_map(What::LinkToDirectory),
        1 => Just(What::LinkDangling),
        1 => Just(What::LinkOutside),
        1 => Just(What::EmptyDirectory),
    ];
    (path(), what).prop_map(|(path, what)| Entry { path, what })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => entry().prop_map(Edit::Put),
        2 => any::<Index>().prop_map(Edit::Remove),
        2 => (any::<Index>(), 3..6u64, age()).prop_map(|(n, seed, age)| Edit::Rewrite(n, seed, age)),
        1 => (any::<Index>(), age()).prop_map(|(n, age)| Edit::Touch(n, age)),
    ]
}

fn foreign() -> impl Strategy<Value = Foreign> {
    let odd = || prop_oneof![3 => Just(Odd::Nothing), 1 => Just(Odd::LongAgo), 1 => Just(Odd::OpaqueETag)];
    let unfit = vec!["/{}", "{}//b", "{}/", "{}/../b", "./{}", "{}/.", "{}\0", "{}/{255}"];
    prop_oneof![
        4 => (path(), body(), odd()).prop_map(|(path, body, odd)| Foreign::Put(path, body, odd)),
        2 => any::<Index>().prop_map(Foreign::Remove),
        2 => (any::<Index>(), 6..9u64, odd()).prop_map(|(n, seed, odd)| Foreign::Rewrite(n, seed, odd)),
        2 => (any::<Index>(), select(vec!["/a", "/a/b", "-b", "0", " "]), body())
            .prop_map(|(n, more, body)| Foreign::Around(n, more, body)),
        1 => path().prop_map(Foreign::Marker),
        1 => (select(unfit), path(), body()).prop_map(|(how, path, body)| Foreign::Unfit(how, path, body)),
    ]
}

fn clock() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 1 => -3..=3i64, 2 => -600..=600i64]
}

fn case() -> impl Strategy<Value = Case> {
    let server = (0..PREFIXES.len(), 1..=5usize, any::<bool>(), (clock(), clock()));
    let sides = (vec(entry(), 0..=12), any::<bool>(), vec(edit(), 0..=6), vec(foreign(), 0..=6));
    (server, sides).prop_map(
        |((prefix, page_size, order, clock), (tree, restored, edits, foreign))| Case {
            prefix,
            page_size,
            order,
            clock,
            tree,
            restored,
            edits,
            foreign,
        },
    )
}

/// One where the store's clock is always as wrong as ever, so that its times can be compared.
fn steady_case() -> impl Strategy<Value = Case> {
    case().prop_map(|case| Case { clock: (case.clock.0, case.clock.0), ..case })
}

fn failure() -> impl Strategy<Value = Failure> {
    let operations =
        vec!["PutObject", "GetObject", "ListObjectsV2", "DeleteObjects", "DeleteObject"];
    let trouble = select(vec![
        Trouble::Status(503, "SlowDown"),
        Trouble::Status(500, "InternalError"),
        Trouble::Status(403, "AccessDenied"),
        Trouble::StatusAfter(500, "InternalError"),
        Trouble::Close,
        Trouble::CloseAfter,
        Trouble::CutBody,
        Trouble::FlipBody,
    ]);
    (select(operations), any::<Index>(), trouble, any::<bool>())
        .prop_map(|(operation, key, trouble, always)| Failure { operation, key, trouble, always })
}

fn direction() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Backup, Direction::Restore])
}

// How a case becomes a world

struct World<'a> {
    store: &'a Store,
    bucket: String,
    prefix: &'static str,
    home: TempDir,
    /// The directory of the case: the original or a restored copy.
    dir: PathBuf,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        self.store.clear_faults();
        self.store.clear_requests();
        self.store.remove_bucket(&self.bucket);
    }
}

/// Keys that are nobody's business where there is a prefix.
const OUTSIDE: [&str; 7] = ["p", "p0", "p-", "a", "a0/x", "p q/+%", "zz/a"];

impl<'a> World<'a> {
    fn new(store: &'a Store, case: &Case) -> World<'a> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let bucket = format!("world-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        store.create_bucket(&bucket);
        store.set_page_size(case.page_size);
        store.set_list_order(if case.order { ListOrder::Bytes } else { ListOrder::Paths });
        let home = TempDir::new().unwrap();
        let dir = home.path().join("src");
        fs::create_dir(&dir).unwrap();
        fs::write(home.path().join("outside"), "outside").unwrap();
        let prefix = PREFIXES[case.prefix];
        let mut world = World { store, bucket, prefix, home, dir };
        if !prefix.is_empty() {
            for key in OUTSIDE {
                store.put_in(&world.bucket, key, "outside");
            }
        }
        world.set_clock(case.clock.0);
        world.populate(case);
        world
    }

    fn set_clock(&self, seconds: i64) {
        self.store.reset_clock();
        self.store.shift_clock(seconds);
    }

    fn populate(&mut self, case: &Case) {
        for entry in &case.tree {
            self.place(entry);
        }
        self.run(&self.dir, Direction::Backup);
        if case.restored {
            let copy = self.home.path().join("copy");
            fs::create_dir(&copy).unwrap();
            self.run(&copy, Direction::Restore);
            self.dir = copy;
        }
        self.set_clock(case.clock.1);
        for edit in &case.edits {
            self.edit(edit);
        }
        for foreign in &case.foreign {
            self.change_bucket(foreign);
        }
    }

    /// Nothing that is there already is replaced.
    fn place(&self, entry: &Entry) {
        let path = self.dir.join(&entry.path);
        let files: Vec<PathBuf> =
            walk(&self.dir).into_iter().filter(|path| path.is_file()).collect();
        if path.symlink_metadata().is_ok() || !self.make_dirs(&entry.path) {
            return;
        }
        match &entry.what {
            What::File(body, age) => write(&path, &noise(body.seed, body.size), *age),
            What::Link(_) if files.is_empty() => {}
            What::Link(target) => symlink(target.get(&files), path).unwrap(),
            What::LinkToDirectory(target) => {
                let all = walk(&self.dir);
                let real = |path: &&PathBuf| path.symlink_metadata().unwrap().is_dir();
                let mut dirs: Vec<&PathBuf> = all.iter().filter(real).collect();
                dirs.push(&self.dir);
                symlink(target.get(&dirs), path).unwrap();
            }
            What::LinkDangling => symlink("nowhere", path).unwrap(),
            What::LinkOutside => symlink(self.home.path().join("outside"), path).unwrap(),
            What::EmptyDirectory => fs::create_dir(path).unwrap(),
        }
    }

    /// Whether there are all directories above a path now, without help of links.
    fn make_dirs(&self, path: &str) -> bool {
        let mut dir = self.dir.clone();
        path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().all(|name| {
            dir.push(name);
            match dir.symlink_metadata() {
                Ok(found) => found.is_dir(),
                Err(_) => fs::create_dir(&dir).is_ok(),
            }
        })
    }

    fn edit(&self, edit: &Edit) {
        let all = walk(&self.dir);
        let files: Vec<&PathBuf> = all.iter().filter(|path| path.is_file()).collect();
        match edit {
            Edit::Put(entry) => {
                for above in prefixes(&entry.path) {
                    let there = self.dir.join(above);
                    match there.symlink_metadata() {
                        Ok(found) if found.is_dir() && above != entry.path => {}
                        Ok(_) => remove(&there),
                        Err(_) => {}
                    }
                }
                self.place(entry);
            }
            Edit::Remove(n) if !all.is_empty() => remove(n.get::<PathBuf>(&all)),
            Edit::Rewrite(n, seed, age) if !files.is_empty() => {
                let path = n.get(&files).canonicalize().unwrap();
                if path.starts_with(self.dir.canonicalize().unwrap()) {
                    let size = path.metadata().unwrap().len();
                    write(&path, &noise(*seed, size as usize), *age);
                }
            }
            Edit::Touch(n, age) if !files.is_empty() => set_time(n.get::<&PathBuf>(&files), *age),
            Edit::Remove(_) | Edit::Rewrite(..) | Edit::Touch(..) => {}
        }
    }

    fn change_bucket(&self, foreign: &Foreign) {
        let ours: Vec<String> = self.bucket().into_keys().collect();
        let put = |path: &str, body: Vec<u8>, odd: Odd| {
            let now = self.store.now();
            let whole = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let seconds = if odd == Odd::LongAgo { whole - 400 * DAY } else { whole };
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let object = Object::new(body).last_modified(time);
            let object = if odd == Odd::OpaqueETag { object.etag("opaque") } else { object };
            self.store.put_object_in(&self.bucket, &format!("{}{path}", self.prefix), object);
        };
        match foreign {
            Foreign::Put(path, body, odd) => put(path, noise(body.seed, body.size), *odd),
            Foreign::Marker(path) => put(&format!("{path}/"), Vec::new(), Odd::Nothing),
            Foreign::Unfit(how, path, body) => {
                let path = how.replace("{}", path).replace("{255}", &"s".repeat(256));
                put(&path, noise(body.seed, body.size.max(1)), Odd::Nothing);
            }
            _ if ours.is_empty() => {}
            Foreign::Remove(n) => {
                self.store.remove_in(&self.bucket, &format!("{}{}", self.prefix, n.get(&ours)));
            }
            Foreign::Rewrite(n, seed, odd) => {
                let path = n.get(&ours);
                let size = self.bucket()[path].body.len();
                put(path, noise(*seed, size), *odd);
            }
            Foreign::Around(n, more, body) => {
                put(&format!("{}{more}", n.get(&ours)), noise(body.seed, body.size), Odd::Nothing);
            }
        }
    }

    /// Sees to it that no file differs from its object unseen (size and time as of an older one).
    fn make_changes_visible(&self) {
        let bucket = self.bucket();
        for (path, file) in look(&self.dir).files {
            if bucket.get(&path).is_some_and(|object| object.body != file.body) {
                set_time(&self.dir.join(path), Age::Now);
            }
        }
    }

    /// All that is below the prefix, by path.
    fn bucket(&self) -> BTreeMap<String, Object> {
        let keys = self.store.keys_in(&self.bucket);
        let ours = keys.iter().filter_map(|key| Some((key.strip_prefix(self.prefix)?, key)));
        ours.map(|(path, key)| (path.to_owned(), self.store.get_in(&self.bucket, key).unwrap()))
            .collect()
    }

    fn keeper(&self, dir: &Path, retries: u32) -> Keeper {
        let env = Env::default()
            .set("AWS_ACCESS_KEY_ID", store::ACCESS_KEY)
            .set("AWS_SECRET_ACCESS_KEY", store::SECRET_KEY)
            .set("AWS_CONFIG_FILE", "/nonexistent")
            .set("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
        let endpoint = Some(self.store.endpoint());
        let access =
            Access::resolve(AccessOptions { endpoint, ..AccessOptions::default() }, env).unwrap();
        let url = format!("s3://{}/{}", self.bucket, self.prefix).parse().unwrap();
        let mut config = Config::new(dir, url, access);
        config.guards = Guards { allow_empty: true, max_delete: Some(MaxDelete::Percent(100)) };
        config.transfer.workers = 4;
        config.transfer.retries = retries;
        config.transfer.no_sync = true;
        Keeper::new(config).unwrap()
    }

    fn plan(&self, dir: &Path, direction: Direction) -> Plan {
        self.keeper(dir, 0).plan(direction, &mut |_| {}).unwrap()
    }

    /// A whole run where nothing goes wrong.
    fn run(&self, dir: &Path, direction: Direction) -> Done {
        let keeper = self.keeper(dir, 0);
        let plan = keeper.plan(direction, &mut |_| {}).unwrap();
        execute(&keeper, plan)
    }

    /// That what is outside of the directory and of the prefix is as ever.
    fn check_outside(&self) -> Outcome {
        prop_assert_eq!(fs::read_to_string(self.home.path().join("outside")).unwrap(), "outside");
        let keys = self.store.keys_in(&self.bucket);
        let others: Vec<&String> =
            keys.iter().filter(|key| !key.starts_with(self.prefix)).collect();
        let expected = OUTSIDE.iter().filter(|key| !key.starts_with(self.prefix)).count();
        prop_assert_eq!(others.len(), expected);
        for key in others {
            let object = self.store.get_in(&self.bucket, key).unwrap();
            prop_assert_eq!(&object.body[..], b"outside", "{}", key);
        }
        Ok(())
    }
}

fn write(path: &Path, content: &[u8], age: Age) {
    fs::write(path, content).unwrap();
    set_time(path, age);
}

fn set_time(path: &Path, age: Age) {
    let now = SystemTime::now();
    let whole = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(whole - 300 * DAY);
    let time = match age {
        Age::Past => past + Duration::from_nanos(123_456_789),
        Age::PastWholeSecond => past,
        Age::Now => now,
        Age::Future => now + Duration::from_secs(DAY),
    };
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn remove(path: &Path) {
    let is_dir = path.symlink_metadata().unwrap().is_dir();
    if is_dir { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// All that is below a directory, in no link's shade, sorted.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// `a`, `a/b` and `a/b/c` of `a/b/c`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| at).chain([path.len()]).map(|end| &path[..end])
}

struct Done {
    report: Report,
    transferred: Paths,
    deleted: Paths,
    /// How many failures were told meanwhile.
    failed: u64,
}

fn execute(keeper: &Keeper, plan: Plan) -> Done {
    let (mut transferred, mut deleted, mut failed) = (Paths::new(), Paths::new(), 0);
    let report = keeper.execute(plan, &mut |event| match event {
        Event::Transferred { path, .. } => {
            assert!(transferred.insert(path.to_owned()), "{path} twice")
        }
        Event::Deleted { path } => assert!(deleted.insert(path.to_owned()), "{path} twice"),
        Event::Failed(_) => failed += 1,
        _ => {}
    });
    Done { report: report.unwrap(), transferred, deleted, failed }
}

fn transfers(plan: &Plan) -> Paths {
    plan.transfers.iter().map(|transfer| transfer.path().to_owned()).collect()
}

fn deletions(plan: &Plan) -> Paths {
    plan.deletions.iter().map(|deletion| deletion.path.to_string()).collect()
}

fn named(plan: &Plan) -> Paths {
    plan.skipped.iter().map(|skipped| skipped.path.clone()).collect()
}

// What is there

#[derive(Clone, Debug, PartialEq)]
struct LocalFile {
    body: Vec<u8>,
    modified: SystemTime,
    link: Option<Link>,
}

#[derive(Clone, Debug, PartialEq)]
struct Link {
    says: PathBuf,
    /// The file that it leads to, and the links that it leads through.
    leads_to: Vec<String>,
}

/// A directory, as the README says that it is seen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Local {
    files: BTreeMap<String, LocalFile>,
    dirs: Paths,
    /// What is left out, and what it says: the target of a link.
    left_out: BTreeMap<String, PathBuf>,
}

fn look(dir: &Path) -> Local {
    let root = dir.canonicalize().unwrap();
    let mut local = Local::default();
    for found in walk(&root) {
        let path = found.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let kind = found.symlink_metadata().unwrap();
        if kind.is_dir() {
            local.dirs.insert(path);
            continue;
        }
        let mut link = None;
        if kind.is_symlink() {
            let says = fs::read_link(&found).unwrap();
            let target = found.canonicalize().ok();
            if target.is_none_or(|target| !target.starts_with(&root) || !target.is_file()) {
                local.left_out.insert(path, says);
                continue;
            }
            link = Some(Link { says, leads_to: hops(&root, &found) });
        }
        let modified = found.metadata().unwrap().modified().unwrap();
        local.files.insert(path, LocalFile { body: fs::read(&found).unwrap(), modified, link });
    }
    local
}

/// Where a link to a file leads, hop after hop, below `root`.
fn hops(root: &Path, link: &Path) -> Vec<String> {
    let (mut hops, mut at) = (Vec::new(), link.to_owned());
    while at.is_symlink() {
        let next = at.parent().unwrap().join(fs::read_link(&at).unwrap());
        at = next.parent().unwrap().canonicalize().unwrap().join(next.file_name().unwrap());
        hops.push(at.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
    }
    hops
}

/// The objects that a file can be made of, and the keys of those of which it can't.
fn sort_out(bucket: &BTreeMap<String, Object>) -> (BTreeMap<String, Object>, Paths) {
    let (mut objects, mut unfit) = (BTreeMap::new(), Paths::new());
    for (path, object) in bucket {
        let is_marker = object.body.is_empty() && (path.is_empty() || path.ends_with('/'));
        let bad =
            |name: &str| matches!(name, "" | "." | "..") || name.len() > 255 || name.contains('\0');
        if path.split('/').any(bad) {
            if !is_marker {
                unfit.insert(path.clone());
            }
        } else {
            objects.insert(path.clone(), object.clone());
        }
    }
    (objects, unfit)
}

// The rule

/// What the oracle says is to be done.
#[derive(Debug, Default)]
struct Oracle {
    transfers: Paths,
    /// So near the limit of a doubt that a moment decides.
    either: Paths,
    deletions: Paths,
    left_out: Paths,
}

fn is_under(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

fn at_or_under(path: &str, shields: &Paths) -> bool {
    shields.iter().any(|shield| path == shield || is_under(path, shield))
}

/// Whether a pair of the same path is transferred; `None` where it can't be foretold.
fn differs(direction: Direction, file: &LocalFile, object: &Object, clock: i64) -> Option<bool> {
    let (mtime, last_modified) = (file.modified, object.last_modified);
    if file.body.len() != object.body.len() {
        return Some(true);
    }
    if mtime == last_modified && file.link.is_none() {
        return Some(false);
    }
    let content = file.body != object.body || object.etag == "opaque";
    let distance = mtime.duration_since(last_modified).unwrap_or_else(|earlier| earlier.duration());
    let second = Duration::from_secs(1);
    // How wrong the clock seems depends on the fraction of the second, and on how long answers take.
    let clock = Duration::from_secs(clock.unsigned_abs());
    let seen_least = if clock <= second { Duration::ZERO } else { clock };
    let now = SystemTime::now();
    let verdicts: BTreeSet<bool> = [(seen_least, now), (clock + 3 * second, now - 2 * second)]
        .into_iter()
        .map(|(skew, now)| {
            let whole = mtime.duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos() == 0;
            if mtime > now || distance <= skew + second {
                content
            } else if mtime > last_modified {
                true
            } else if direction == Direction::Restore && whole {
                content
            } else {
                false
            }
        })
        .collect();
    (verdicts.len() == 1).then(|| verdicts.contains(&true))
}

fn oracle(
    direction: Direction,
    local: &Local,
    bucket: &BTreeMap<String, Object>,
    clock: i64,
) -> Oracle {
    let (objects, unfit) = sort_out(bucket);
    let mut oracle = Oracle::default();
    oracle.left_out.extend(local.left_out.keys().cloned());
    oracle.left_out.extend(unfit.iter().cloned());
    let local_shields: Paths = local.left_out.keys().cloned().collect();
    let mut shields: Paths =
        unfit.iter().map(|path| path.trim_end_matches('/').to_owned()).collect();
    let pairs = |oracle: &mut Oracle, path: &str, file: &LocalFile, object: &Object| {
        match differs(direction, file, object, clock) {
            Some(true) => oracle.transfers.insert(path.to_owned()),
            Some(false) => false,
            None => oracle.either.insert(path.to_owned()),
        };
    };
    match direction {
        Direction::Backup => {
            for (path, file) in &local.files {
                match objects.get(path) {
                    None => drop(oracle.transfers.insert(path.clone())),
                    Some(object) => pairs(&mut oracle, path, file, object),
                }
            }
            for path in objects.keys().filter(|path| !local.files.contains_key(*path)) {
                if local.files.keys().any(|file| *path == file.replace('\\', "/")) {
                    oracle.left_out.insert(path.clone());
                } else if !at_or_under(path, &local_shields) {
                    oracle.deletions.insert(path.clone());
                }
            }
        }
        Direction::Restore => {
            let (mut broken, mut unsure) = (Paths::new(), Paths::new());
            for (path, object) in &objects {
                let file = local.files.get(path);
                let shielded = at_or_under(path, &local_shields);
                let has_more_under_it = objects.keys().any(|other| is_under(other, path));
                let is_directory = local.dirs.contains(path);
                let file_above = local.files.keys().any(|file| is_under(path, file));
                if shielded || has_more_under_it || is_directory || file_above {
                    oracle.left_out.insert(path.clone());
                    shields.insert(path.clone());
                } else if let Some(file) = file {
                    pairs(&mut oracle, path, file, object);
                } else {
                    oracle.transfers.insert(path.clone());
                }
            }
            for path in local.files.keys().filter(|path| !objects.contains_key(*path)) {
                let in_the_way = objects.keys().any(|object| is_under(object, path));
                if !in_the_way && !at_or_under(path, &shields) {
                    oracle.deletions.insert(path.clone());
                }
            }
            // A link goes with what it leads to, and with the links on the way there.
            for (path, file) in &local.files {
                let Some(link) = &file.link else { continue };
                if !objects.contains_key(path) || shields.contains(path) {
                    continue;
                }
                let goes =
                    |hop: &String| oracle.transfers.contains(hop) || oracle.deletions.contains(hop);
                if link.leads_to.iter().any(goes) {
                    broken.insert(path.clone());
                } else if link.leads_to.iter().any(|hop| oracle.either.contains(hop)) {
                    unsure.insert(path.clone());
                }
            }
            oracle.either.extend(unsure);
            oracle.transfers.extend(broken);
            oracle.either = &oracle.either - &oracle.transfers;
        }
    }
    oracle
}

// How the cases are run

/// Runs `share` of a hundred of all cases.
fn check<S: Strategy>(share: usize, strategy: S, test: impl Fn(S::Value) -> Outcome)
where
    S::Value: std::fmt::Debug,
{
    let asked: Option<usize> =
        std::env::var("S3KEEP_WORLDS").ok().map(|number| number.parse().expect("S3KEEP_WORLDS"));
    let config = ProptestConfig {
        cases: (asked.unwrap_or(300) * share).div_ceil(100) as u32,
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..ProptestConfig::default()
    };
    let mut runner = match asked {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    match runner.run(&strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}\nThe smallest case:\n{case:#?}"),
        Err(other) => panic!("{other}"),
    }
}

// What always holds

#[test]
fn a_backup_restored_elsewhere_is_the_source_byte_for_byte() {
    let store = Store::start();
    check(15, steady_case(), |case| {
        let world = World::new(&store, &case);
        world.make_changes_visible();
        let source = look(&world.dir);
        let backup = world.run(&world.dir, Direction::Backup);
        prop_assert_eq!(look(&world.dir), source.clone());
        world.check_outside()?;

        let back = world.home.path().join("back");
        let plan = world.plan(&back, Direction::Restore);
        let left_out = named(&plan);
        let restore = world.run(&back, Direction::Restore);
        prop_assert_eq!(backup.report.failed + restore.report.failed, 0);
        // The source, and what the backup had to leave in the bucket as it said.
        let shields: Paths =
            backup.report.skipped.iter().map(|skipped| skipped.path.clone()).collect();
        let (objects, _) = sort_out(&world.bucket());
        let shielded = objects.into_iter().filter(|(path, _)| at_or_under(path, &shields));
        let mut expected: BTreeMap<String, Vec<u8>> =
            shielded.map(|(path, object)| (path, object.body.to_vec())).collect();
        for (path, file) in source.files {
            // Only such an object, in the bucket under a file's name, keeps a file from coming back.
            let in_the_way = expected.keys().any(|shielded| is_under(shielded, &path));
            prop_assert!(!left_out.contains(&path) || in_the_way, "{} is left out", path);
            expected.insert(path, file.body);
        }
        expected.retain(|path, _| !left_out.contains(path));
        let found = look(&back).files.into_iter().map(|(path, file)| (path, file.body)).collect();
        prop_assert_eq!(expected, found);
        world.check_outside()
    });
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let store = Store::start();
    check(15, steady_case(), |case| {
        let world = World::new(&store, &case);
        let nothing = (Paths::new(), Paths::new());
        world.run(&world.dir, Direction::Backup);
        let plan = world.plan(&world.dir, Direction::Backup);
        prop_assert_eq!((transfers(&plan), deletions(&plan)), nothing.clone(), "backup again");

        let back = world.home.path().join("back");
        world.run(&back, Direction::Restore);
        let plan = world.plan(&back, Direction::Restore);
        prop_assert_eq!((transfers(&plan), deletions(&plan)), nothing.clone(), "restore again");
        // Of what could not be restored the copy knows nothing.
        let left_out = named(&plan);
        let plan = world.plan(&back, Direction::Backup);
        prop_assert_eq!(transfers(&plan), Paths::new(), "backup from the copy");
        prop_assert!(deletions(&plan).is_subset(&left_out), "backup from the copy: {:?}", plan);

        let before = look(&world.dir);
        world.run(&world.dir, Direction::Restore);
        let plan = world.plan(&world.dir, Direction::Restore);
        let again: Paths = &transfers(&plan) | &deletions(&plan);
        let revived = revived(&before, &look(&world.dir));
        prop_assert!(again.is_subset(&revived), "restore in place again: {:?}", plan);
        Ok(())
    });
}

#[test]
fn a_run_does_what_its_plan_says_and_a_plan_does_nothing() {
    let store = Store::start();
    check(15, (case(), direction()), |(case, direction)| {
        let world = World::new(&store, &case);
        let before = (look(&world.dir), world.bucket());
        let keeper = world.keeper(&world.dir, 0);
        let plan = keeper.plan(direction, &mut |_| {}).unwrap();
        prop_assert_eq!((look(&world.dir), world.bucket()), before);
        let (planned, left_out) = ((transfers(&plan), deletions(&plan)), plan.skipped.clone());
        let Done { report, transferred, deleted, failed } = execute(&keeper, plan);
        prop_assert_eq!((report.transferred.entries, report.deleted), {
            (transferred.len() as u64, deleted.len() as u64)
        });
        prop_assert_eq!((transferred, deleted), planned);
        prop_assert_eq!((failed, report.failed, report.withheld), (0, 0, 0));
        let code = if left_out.is_empty() { exit::SUCCESS } else { exit::PARTIAL };
        prop_assert_eq!((report.exit_code(), report.skipped), (code, left_out));
        world.check_outside()
    });
}

#[test]
fn a_plan_is_what_the_rule_says() {
    let store = Store::start();
    check(25, (case(), direction()), |(case, direction)| {
        let world = World::new(&store, &case);
        let plan = world.plan(&world.dir, direction);
        let oracle = oracle(direction, &look(&world.dir), &world.bucket(), case.clock.1);
        let all: Paths = &oracle.transfers | &oracle.either;
        let planned = transfers(&plan);
        prop_assert!(planned.is_superset(&oracle.transfers), "{:?}: {:?}", planned, oracle);
        prop_assert!(planned.is_subset(&all), "{:?}: {:?}", planned, oracle);
        prop_assert_eq!(deletions(&plan), oracle.deletions);
        prop_assert_eq!(named(&plan), oracle.left_out);
        Ok(())
    });
}

#[test]
fn a_restore_makes_a_changed_directory_the_mirror_of_the_bucket() {
    let store = Store::start();
    check(15, steady_case(), |case| {
        let world = World::new(&store, &case);
        world.make_changes_visible();
        let (before, bucket) = (look(&world.dir), world.bucket());
        let oracle = oracle(Direction::Restore, &before, &bucket, case.clock.1);
        let done = world.run(&world.dir, Direction::Restore);
        prop_assert_eq!(done.report.failed, 0);
        prop_assert_eq!(world.bucket(), bucket.clone());
        let after = look(&world.dir);
        let revived = revived(&before, &after);
        let (objects, unfit) = sort_out(&bucket);
        for (path, object) in &objects {
            if !oracle.left_out.contains(path) {
                let file = after.files.get(path);
                prop_assert_eq!(
                    file.map(|file| &file.body[..]),
                    Some(&object.body[..]),
                    "{}",
                    path
                );
            }
        }
        // Nothing else is there but what is named, is under it, or is itself in the way.
        let shields: Paths = (&unfit | &oracle.left_out)
            .iter()
            .map(|path| path.trim_end_matches('/').to_owned())
            .collect();
        for (path, file) in &after.files {
            let comes_back = objects.contains_key(path) && !oracle.left_out.contains(path);
            let in_the_way = objects.keys().any(|object| is_under(object, path));
            prop_assert!(comes_back || in_the_way || at_or_under(path, &shields), "{}", path);
            if !comes_back && !revived.contains(path) {
                unchanged(path, before.files.get(path), file)?;
            }
        }
        for (path, file) in before.files.iter().filter(|(path, _)| at_or_under(path, &shields)) {
            if !objects.contains_key(path) || oracle.left_out.contains(path) {
                // A link may have lost what it leads to.
                let there = after.files.contains_key(path) || after.left_out.contains_key(path);
                prop_assert!(
                    there && (file.link.is_some() || after.files.contains_key(path)),
                    "{}",
                    path
                );
            }
        }
        for (path, link) in before.left_out.iter().filter(|(path, _)| !revived.contains(*path)) {
            prop_assert_eq!(after.left_out.get(path), Some(link), "{}", path);
        }
        prop_assert!(after.dirs.is_superset(&before.dirs));
        let plan = world.plan(&world.dir, Direction::Restore);
        let again: Paths = &transfers(&plan) | &deletions(&plan);
        prop_assert!(again.is_subset(&revived), "again: {:?}", plan);
        world.check_outside()
    });
}

/// Links that led nowhere and were left out, until what they lead to came back: seen only now.
fn revived(before: &Local, after: &Local) -> Paths {
    before.left_out.keys().filter(|path| after.files.contains_key(*path)).cloned().collect()
}

/// That a file is as it was; a link, that it leads where it did.
fn unchanged(path: &str, before: Option<&LocalFile>, after: &LocalFile) -> Outcome {
    let Some(before) = before else { return Err(TestCaseError::fail(format!("{path} is new"))) };
    let says = |file: &LocalFile| file.link.as_ref().map(|link| link.says.clone());
    prop_assert_eq!(says(before), says(after), "{}", path);
    if before.link.is_none() {
        prop_assert_eq!(before, after, "{}", path);
    }
    Ok(())
}

#[test]
fn failures_destroy_nothing_and_are_named_and_the_next_run_makes_up_for_them() {
    let store = Store::start();
    let failures = vec(failure(), 1..=3);
    // Few are tried again: each time takes up to 200 ms.
    let retries = prop_oneof![4 => Just(0), 1 => Just(1)];
    check(
        15,
        (steady_case(), direction(), failures, retries),
        |(case, direction, failures, retries)| {
            let world = World::new(&store, &case);
            world.make_changes_visible();
            let plan = world.plan(&world.dir, direction);
            let paths: Vec<String> = (&transfers(&plan) | &deletions(&plan)).into_iter().collect();
            failures.iter().for_each(|failure| world.arm(failure, &paths));

            let (files, objects) = (look(&world.dir), world.bucket());
            let oracle = oracle(direction, &files, &objects, case.clock.1);
            let keeper = world.keeper(&world.dir, retries);
            let done = keeper.plan(direction, &mut |_| {}).map(|plan| {
                let planned = (transfers(&plan), deletions(&plan));
                (planned, execute(&keeper, plan))
            });
            let may_change: Paths = &oracle.transfers | &oracle.either;
            match direction {
                Direction::Backup => {
                    prop_assert_eq!(look(&world.dir), files.clone());
                    world.check_bucket(&objects, &files, &may_change, &oracle.deletions)?;
                }
                Direction::Restore => {
                    prop_assert_eq!(world.bucket(), objects.clone());
                    check_files(
                        &files,
                        &look(&world.dir),
                        &objects,
                        &may_change,
                        &oracle.deletions,
                    )?;
                }
            }
            world.check_outside()?;
            match done {
                // The look itself failed: nothing may be different.
                Err(_) => {
                    prop_assert_eq!((look(&world.dir), world.bucket()), (files.clone(), objects))
                }
                Ok((planned, done)) => World::check_report(&planned, &done)?,
            }

            store.clear_faults();
            let done = world.run(&world.dir, direction);
            let code = if done.report.skipped.is_empty() { exit::SUCCESS } else { exit::PARTIAL };
            prop_assert_eq!(done.report.exit_code(), code);
            let plan = world.plan(&world.dir, direction);
            let again: Paths = &transfers(&plan) | &deletions(&plan);
            let revived = revived(&files, &look(&world.dir));
            prop_assert!(again.is_subset(&revived), "again: {:?}", plan);
            // All is as if nothing had happened.
            let left_out: Paths = &named(&plan) | &revived;
            let (objects, files) = (world.bucket(), look(&world.dir).files);
            let sources: Paths = match direction {
                Direction::Backup => files.keys().cloned().collect(),
                Direction::Restore => sort_out(&objects).0.into_keys().collect(),
            };
            for path in sources.difference(&left_out) {
                let (file, object) = (files.get(path), objects.get(path));
                let (file, object) = (file.map(|f| &f.body[..]), object.map(|o| &o.body[..]));
                prop_assert_eq!(file, object, "{}", path);
            }
            Ok(())
        },
    );
}

impl World<'_> {
    fn arm(&self, failure: &Failure, paths: &[String]) {
        let mut fault = Fault::on(failure.operation);
        if !failure.operation.ends_with('s') && failure.operation != "ListObjectsV2" {
            if paths.is_empty() {
                return;
            }
            fault = fault.key(&format!("{}{}", self.prefix, failure.key.get(paths)));
        }
        if !failure.always {
            fault = fault.times(1);
        }
        self.store.fault(match failure.trouble {
            Trouble::Status(status, code) => fault.status(status, code),
            Trouble::StatusAfter(status, code) => fault.status_after(status, code),
            Trouble::Close => fault.close(),
            Trouble::CloseAfter => fault.close_after(),
            Trouble::CutBody => fault.cut_body(1),
            Trouble::FlipBody => fault.flip_body(0),
        });
    }

    /// That the bucket has what it had, but for what was to be uploaded and deleted.
    fn check_bucket(
        &self,
        before: &BTreeMap<String, Object>,
        files: &Local,
        uploads: &Paths,
        deletions: &Paths,
    ) -> Outcome {
        let after = self.bucket();
        for path in before.keys().chain(after.keys()) {
            let (old, new) = (before.get(path), after.get(path));
            let uploaded = uploads.contains(path)
                && new.is_some_and(|object| object.body == files.files[path].body);
            let deleted = deletions.contains(path) && new.is_none();
            prop_assert!(old == new || uploaded || deleted, "{}: {:?} {:?}", path, old, new);
        }
        Ok(())
    }

    fn check_report(planned: &(Paths, Paths), done: &Done) -> Outcome {
        let Done { report, transferred, deleted, failed } = done;
        prop_assert!(report.fatal.is_none(), "{:?}", report.fatal);
        prop_assert_eq!((report.failed, report.failures.len() as u64), (*failed, *failed));
        let not_sent: Paths = &planned.0 - transferred;
        prop_assert!(transferred.is_subset(&planned.0) && deleted.is_subset(&planned.1));
        let subjects: Paths =
            report.failures.iter().map(|error| error.subject().to_owned()).collect();
        let (missing, withheld) = if not_sent.is_empty() {
            (&planned.1 - deleted, 0)
        } else {
            prop_assert_eq!(deleted, &Paths::new());
            (not_sent, planned.1.len() as u64)
        };
        prop_assert_eq!(subjects, missing);
        prop_assert_eq!(report.withheld, withheld);
        let wrong = *failed > 0 || withheld > 0 || !report.skipped.is_empty();
        prop_assert_eq!(report.exit_code(), if wrong { exit::PARTIAL } else { exit::SUCCESS });
        Ok(())
    }
}

/// That the directory has what it had, but for what was to be downloaded and deleted.
fn check_files(
    before: &Local,
    after: &Local,
    objects: &BTreeMap<String, Object>,
    downloads: &Paths,
    deletions: &Paths,
) -> Outcome {
    let revived = revived(before, after);
    for (path, file) in after.files.iter().filter(|(path, _)| !revived.contains(*path)) {
        let downloaded = downloads.contains(path)
            && (&file.body[..], file.modified)
                == (&objects[path].body[..], objects[path].last_modified);
        if !downloaded {
            unchanged(path, before.files.get(path), file)?;
        }
    }
    for (path, file) in &before.files {
        let there = after.files.contains_key(path);
        let lost_its_target = file.link.is_some() && after.left_out.contains_key(path);
        prop_assert!(there || deletions.contains(path) || lost_its_target, "{} is gone", path);
    }
    for (path, link) in before.left_out.iter().filter(|(path, _)| !revived.contains(*path)) {
        prop_assert_eq!(after.left_out.get(path), Some(link), "{}", path);
    }
    prop_assert!(after.dirs.is_superset(&before.dirs));
    Ok(())
}

// Parsing. No request is made, so there are more cases of it.

const STRINGS: RangeInclusive<usize> = 0..=12;

#[test]
fn any_text_is_a_bucket_url_or_an_error() {
    let alphabet =
        select(vec!["s3://", "/", ".", "..", "a", "B", "_", "-", " ", "%", "\0", "é", "\u{1f600}"]);
    let pieces = vec(alphabet, STRINGS).prop_map(|pieces| pieces.concat());
    let likely = pieces.clone().prop_map(|rest| format!("s3://{rest}"));
    let text: BoxedStrategy<String> = prop_oneof![any::<String>(), pieces, likely].boxed();
    check(2_000, text, |text| {
        let Ok(url) = text.parse::<BucketUrl>() else { return Ok(()) };
        prop_assert!(!url.bucket().is_empty() && !url.bucket().contains('/'));
        prop_assert!(url.prefix().is_empty() || url.prefix().ends_with('/'), "{:?}", url);
        prop_assert_eq!(url.key("a"), format!("{}a", url.prefix()));
        prop_assert_eq!(url.to_string().parse::<BucketUrl>().unwrap(), url.clone());
        // At the end, one `/` or none: more are an empty name.
        let text = text.strip_suffix('/').unwrap_or(&text);
        prop_assert_eq!(format!("{text}/"), format!("s3://{}/{}", url.bucket(), url.prefix()));
        Ok(())
    });
}

#[test]
fn any_etag_is_written_back_as_it_was_read() {
    let digit = || select("0123456789abcdefABCDEFg".chars().collect::<Vec<_>>());
    let hex = vec(digit(), 31..=33).prop_map(String::from_iter);
    let number = prop_oneof![any::<u64>().prop_map(|n| n.to_string()), "[0-9+-]{0,3}"];
    let parts = (hex.clone(), number).prop_map(|(hex, number)| format!("{hex}-{number}"));
    // What an ETag is made of (RFC 9110), and what no server should send.
    let proper = "[!#-~\u{80}-\u{ff}]{0,40}";
    let text: BoxedStrategy<String> = prop_oneof![hex, parts, proper, any::<String>()].boxed();
    check(2_000, text, |text| {
        let text = text.replace('"', "");
        let quoted = format!("\"{text}\"");
        let etag = ETag::parse(&quoted);
        if text.starts_with("W/") || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            // A weak one, or one that our own header can't hold: none.
            prop_assert_eq!(etag, ETag::None);
            return Ok(());
        }
        prop_assert_eq!(etag.to_string(), text.clone());
        prop_assert_eq!(etag.quoted().unwrap_or("\"\"".to_owned()), quoted);
        prop_assert_eq!(ETag::parse(text.trim()).to_string(), text.trim());
        Ok(())
    });
}
