//! Builds the bucket and the directory of a case, and changes both without the program.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use s3keep::{Direction, Keeper, Plan};
use tempfile::TempDir;

use crate::{
    support::{
        noise,
        store::{ListOrder, Object, Store},
    },
    worlds::{
        case::{BucketEdit, Case, EntryKind, LocalEdit, Mtime, ObjectKind, PREFIXES, TreeEntry},
        observe::{LocalTree, Objects, Recorded, walk},
        run::{self, Executed},
        runner::CheckResult,
    },
};

const DAY: u64 = 86_400;

/// The bucket and the directory of a case.
pub struct Fixture<'a> {
    pub store: &'a Store,
    bucket: String,
    pub prefix: &'static str,
    pub home: TempDir,
    /// The directory of the case: the original or a restored copy.
    pub dir: PathBuf,
    has_record: bool,
    /// What the record of the directory must contain.
    pub recorded: Recorded,
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        self.store.clear_faults();
        self.store.clear_requests();
        self.store.remove_bucket(&self.bucket);
    }
}

/// Keys outside every prefix. A run with a prefix must not touch them.
const KEYS_OUTSIDE_PREFIXES: [&str; 7] = ["p", "p0", "p-", "a", "a0/x", "p q/+%", "zz/a"];

impl<'a> Fixture<'a> {
    pub fn new(store: &'a Store, case: &Case) -> Fixture<'a> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let bucket = format!("case-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        store.create_bucket(&bucket);
        store.set_page_size(case.page_size);
        let order = if case.lists_in_byte_order { ListOrder::Bytes } else { ListOrder::Paths };
        store.set_list_order(order);
        let home = TempDir::new().unwrap();
        let dir = home.path().join("src");
        fs::create_dir(&dir).unwrap();
        fs::write(home.path().join("outside"), "outside").unwrap();
        let prefix = PREFIXES[case.prefix];
        let mut fixture = Fixture {
            store,
            bucket,
            prefix,
            home,
            dir,
            has_record: case.has_record,
            recorded: Recorded::new(),
        };
        if !prefix.is_empty() {
            for key in KEYS_OUTSIDE_PREFIXES {
                store.put_in(&fixture.bucket, key, "outside");
            }
        }
        fixture.set_clock(case.first_skew);
        fixture.populate(case);
        fixture
    }

    /// The objects below the prefix, by path.
    pub fn objects(&self) -> Objects {
        let keys = self.store.keys_in(&self.bucket);
        let ours = keys.iter().filter_map(|key| Some((key.strip_prefix(self.prefix)?, key)));
        ours.map(|(path, key)| (path.to_owned(), self.store.get_in(&self.bucket, key).unwrap()))
            .collect()
    }

    pub fn keeper(&self, dir: &Path, retries: u32) -> Keeper {
        let url = format!("s3://{}/{}", self.bucket, self.prefix).parse().unwrap();
        let name = format!("record of {}", dir.file_name().unwrap().to_str().unwrap());
        let record = self.has_record.then(|| self.home.path().join(name));
        run::keeper(self.store, url, dir, record, retries)
    }

    pub fn plan(&self, dir: &Path, direction: Direction) -> Plan {
        self.keeper(dir, 0).plan(direction, &mut |_| {}).unwrap()
    }

    /// Plans and executes a run, without injected faults.
    pub fn run(&self, dir: &Path, direction: Direction) -> Executed {
        let keeper = self.keeper(dir, 0);
        let plan = keeper.plan(direction, &mut |_| {}).unwrap();
        run::execute(&keeper, plan)
    }

    /// Sets the current time on every file that differs from its object.
    ///
    /// The decision rule does not see a difference if the sizes are equal and the file looks older.
    pub fn make_changes_visible(&self) {
        let objects = self.objects();
        for (path, file) in LocalTree::read(&self.dir).files {
            if objects.get(&path).is_some_and(|object| object.body != file.body) {
                set_mtime(&self.dir.join(path), Mtime::Now);
            }
        }
    }

    /// Checks that nothing outside the directory and outside the prefix has changed.
    pub fn check_outside(&self) -> CheckResult {
        prop_assert_eq!(fs::read_to_string(self.home.path().join("outside")).unwrap(), "outside");
        let keys = self.store.keys_in(&self.bucket);
        let is_outside = |key: &str| !key.starts_with(self.prefix);
        let others: Vec<&String> = keys.iter().filter(|key| is_outside(key)).collect();
        let expected = KEYS_OUTSIDE_PREFIXES.iter().filter(|key| is_outside(key)).count();
        prop_assert_eq!(others.len(), expected);
        for key in others {
            let object = self.store.get_in(&self.bucket, key).unwrap();
            prop_assert_eq!(&object.body[..], b"outside", "{}", key);
        }
        Ok(())
    }

    fn set_clock(&self, skew: i64) {
        self.store.reset_clock();
        self.store.shift_clock(skew);
    }

    fn populate(&mut self, case: &Case) {
        for entry in &case.tree {
            self.create(entry);
        }
        self.run(&self.dir, Direction::Backup);
        if case.in_restored_copy {
            let copy = self.home.path().join("copy");
            fs::create_dir(&copy).unwrap();
            self.run(&copy, Direction::Restore);
            self.dir = copy;
            if self.has_record {
                // The files of the original are too young to be recorded. Downloads are recorded.
                let objects = self.objects();
                let files = LocalTree::read(&self.dir).files.into_iter();
                self.recorded = files
                    .map(|(path, file)| {
                        let etag = objects[&path].etag.clone();
                        (path, (file.body.len(), file.modified, file.changed, etag))
                    })
                    .collect();
            }
        }
        self.set_clock(case.later_skew);
        for edit in &case.local_edits {
            self.edit_directory(edit);
        }
        for edit in &case.bucket_edits {
            self.edit_bucket(edit);
        }
    }

    /// Creates an entry unless another one is in the way.
    fn create(&self, entry: &TreeEntry) {
        let path = self.dir.join(&entry.path);
        let files: Vec<PathBuf> =
            walk(&self.dir).into_iter().filter(|path| path.is_file()).collect();
        if path.symlink_metadata().is_ok() || !self.create_parents(&entry.path) {
            return;
        }
        match &entry.kind {
            EntryKind::File(body, mtime) => write(&path, &noise(body.seed, body.size), *mtime),
            EntryKind::LinkToFile(_) if files.is_empty() => {}
            EntryKind::LinkToFile(target) => symlink(target.get(&files), path).unwrap(),
            EntryKind::LinkToDirectory(target) => {
                let all = walk(&self.dir);
                let is_real_dir = |path: &&PathBuf| path.symlink_metadata().unwrap().is_dir();
                let mut dirs: Vec<&PathBuf> = all.iter().filter(is_real_dir).collect();
                dirs.push(&self.dir);
                symlink(target.get(&dirs), path).unwrap();
            }
            EntryKind::DanglingLink => symlink("nowhere", path).unwrap(),
            EntryKind::LinkOutside => symlink(self.home.path().join("outside"), path).unwrap(),
            EntryKind::EmptyDirectory => fs::create_dir(path).unwrap(),
        }
    }

    /// Creates the directories above a path. Returns whether all of them are real directories.
    fn create_parents(&self, path: &str) -> bool {
        let mut dir = self.dir.clone();
        path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().all(|name| {
            dir.push(name);
            match dir.symlink_metadata() {
                Ok(found) => found.is_dir(),
                Err(_) => fs::create_dir(&dir).is_ok(),
            }
        })
    }

    fn edit_directory(&self, edit: &LocalEdit) {
        let all = walk(&self.dir);
        let files: Vec<&PathBuf> = all.iter().filter(|path| path.is_file()).collect();
        match edit {
            LocalEdit::Put(entry) => {
                for path in path_and_parents(&entry.path) {
                    let existing = self.dir.join(path);
                    match existing.symlink_metadata() {
                        Ok(found) if found.is_dir() && path != entry.path => {}
                        Ok(_) => remove(&existing),
                        Err(_) => {}
                    }
                }
                self.create(entry);
            }
            LocalEdit::Remove(n) if !all.is_empty() => remove(n.get::<PathBuf>(&all)),
            LocalEdit::Rewrite(n, seed, mtime) if !files.is_empty() => {
                let path = n.get(&files).canonicalize().unwrap();
                if path.starts_with(self.dir.canonicalize().unwrap()) {
                    let size = path.metadata().unwrap().len();
                    write(&path, &noise(*seed, size as usize), *mtime);
                }
            }
            LocalEdit::Touch(n, mtime) if !files.is_empty() => {
                set_mtime(n.get::<&PathBuf>(&files), *mtime);
            }
            LocalEdit::RewriteSilently(n, seed) if !files.is_empty() => {
                let path = n.get(&files).canonicalize().unwrap();
                if path.starts_with(self.dir.canonicalize().unwrap()) {
                    let before = path.metadata().unwrap();
                    fs::write(&path, noise(*seed, before.len() as usize)).unwrap();
                    let file = fs::File::options().write(true).open(&path).unwrap();
                    file.set_modified(before.modified().unwrap()).unwrap();
                }
            }
            LocalEdit::MoveOver(from, to) if !files.is_empty() => {
                fs::rename(from.get(&files), to.get(&files)).unwrap();
            }
            LocalEdit::Remove(_)
            | LocalEdit::Rewrite(..)
            | LocalEdit::Touch(..)
            | LocalEdit::RewriteSilently(..)
            | LocalEdit::MoveOver(..) => {}
        }
    }

    fn edit_bucket(&self, edit: &BucketEdit) {
        let existing: Vec<String> = self.objects().into_keys().collect();
        let put = |path: &str, body: Vec<u8>, kind: ObjectKind| {
            let now = self.store.now();
            let whole = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let seconds = if kind == ObjectKind::Old { whole - 400 * DAY } else { whole };
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let object = Object::new(body).last_modified(time);
            let object = match kind {
                ObjectKind::OpaqueETag => object.etag("opaque"),
                ObjectKind::Incomparable => object.etag("opaque").no_checksum(),
                ObjectKind::Plain | ObjectKind::Old => object,
            };
            self.store.put_object_in(&self.bucket, &format!("{}{path}", self.prefix), object);
        };
        match edit {
            BucketEdit::Put(path, body, kind) => put(path, noise(body.seed, body.size), *kind),
            BucketEdit::PutDirectoryMarker(path) => {
                put(&format!("{path}/"), Vec::new(), ObjectKind::Plain);
            }
            BucketEdit::PutInvalidKey(template, path, body) => {
                let path = template.replace("{}", path).replace("{255}", &"s".repeat(256));
                put(&path, noise(body.seed, body.size.max(1)), ObjectKind::Plain);
            }
            _ if existing.is_empty() => {}
            BucketEdit::Remove(n) => {
                let key = format!("{}{}", self.prefix, n.get(&existing));
                self.store.remove_in(&self.bucket, &key);
            }
            BucketEdit::Rewrite(n, seed, kind) => {
                let path = n.get(&existing);
                let size = self.objects()[path].body.len();
                put(path, noise(*seed, size), *kind);
            }
            BucketEdit::PutWithSuffix(n, suffix, body) => {
                let path = format!("{}{suffix}", n.get(&existing));
                put(&path, noise(body.seed, body.size), ObjectKind::Plain);
            }
        }
    }
}

fn write(path: &Path, content: &[u8], mtime: Mtime) {
    fs::write(path, content).unwrap();
    set_mtime(path, mtime);
}

fn set_mtime(path: &Path, mtime: Mtime) {
    let now = SystemTime::now();
    let whole = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(whole - 300 * DAY);
    let time = match mtime {
        Mtime::Past => past + Duration::from_nanos(123_456_789),
        Mtime::PastWholeSecond => past,
        Mtime::Now => now,
        Mtime::Future => now + Duration::from_secs(DAY),
    };
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn remove(path: &Path) {
    let is_dir = path.symlink_metadata().unwrap().is_dir();
    if is_dir { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// `a`, `a/b` and `a/b/c` for the path `a/b/c`.
fn path_and_parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| at).chain([path.len()]).map(|end| &path[..end])
}
