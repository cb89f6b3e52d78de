//! The simulated world: a directory, a bucket, two clocks, snapshots, and a record.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::{
    model::{
        entry::{File, Object},
        etag::ETag,
        time::Timestamp,
    },
    record::RecordedState,
};

pub const MILLISECOND: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MILLISECOND;
const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

/// Dirty pages are written at the latest after so long.
const WRITE_BACK: i64 = 35 * SECOND;

/// All paths of the world. The two directories can swap their names.
pub const PATHS: [&str; 4] = ["d/a", "d/b", "e/a", "e/b"];

/// How a file system keeps times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Nanoseconds that change with the timer of the kernel.
    Fine,
    WholeSeconds,
    /// Like `Fine`, but a write through a memory map never changes the times (tmpfs).
    Memory,
    /// Whole seconds, and the ctime is the mtime.
    NoCtime,
}

impl FileSystem {
    fn tick(self) -> i64 {
        match self {
            FileSystem::Fine | FileSystem::Memory => 4 * MILLISECOND,
            FileSystem::WholeSeconds | FileSystem::NoCtime => SECOND,
        }
    }
}

/// What the store tells about the content of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The ETag is the MD5.
    Md5,
    /// Every version has an ETag of its own, and the store keeps a checksum.
    Checksum,
    /// Every version has an ETag of its own, and the store keeps no checksum.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub struct SimulatedFile {
    /// Equal numbers are equal contents.
    pub content: u64,
    pub size: u64,
    pub modified: i64,
    pub changed: i64,
    /// Until this time, a write through a memory map changes no times.
    pub dirty_until: i64,
}

#[derive(Clone, Debug)]
pub struct SimulatedObject {
    pub content: u64,
    pub size: u64,
    pub modified: Timestamp,
    pub etag: ETag,
}

/// A change that concerns a path.
pub type Change = fn(&mut World, &'static str);

pub type Files = BTreeMap<&'static str, SimulatedFile>;

/// The state of a file and the ETag of its object, as the record has them.
pub type Entry = (RecordedState, ETag);

#[derive(Clone)]
pub struct World {
    pub random: Rng,
    /// The true time.
    pub now: i64,
    /// How far the local clock is ahead of the true time.
    pub local_offset: i64,
    /// How far the clock of the store is ahead of the true time.
    pub store_offset: i64,
    pub file_system: FileSystem,
    pub evidence: Evidence,
    pub files: Files,
    pub objects: BTreeMap<&'static str, SimulatedObject>,
    /// `None` if the runs keep no record.
    pub record: Option<BTreeMap<&'static str, Entry>>,
    pub snapshots: Vec<Files>,
    /// A change of a file during its next upload, after it was read.
    pub during_upload: Option<(&'static str, Change)>,
    /// The number of contents and versions so far.
    versions: u64,
}

impl World {
    /// A world without files and objects.
    pub fn new(mut random: Rng, file_system: FileSystem, evidence: Evidence) -> World {
        let skew = if random.bool() { 0 } else { random.i64(-600 * SECOND..600 * SECOND) };
        let now = 1_000_000 * HOUR / 2 + random.i64(0..DAY);
        let record = random.bool().then(BTreeMap::new);
        World {
            random,
            now,
            local_offset: 0,
            store_offset: skew,
            file_system,
            evidence,
            files: Files::new(),
            objects: BTreeMap::new(),
            record,
            snapshots: Vec::new(),
            during_upload: None,
            versions: 0,
        }
    }

    // Time

    pub fn local_now(&self) -> i64 {
        self.now + self.local_offset
    }

    pub fn store_now(&self) -> i64 {
        self.now + self.store_offset
    }

    /// A duration of any order of magnitude, up to some days.
    pub fn some_time(&mut self) -> i64 {
        let longest = [5 * MILLISECOND, 900 * MILLISECOND, 5 * SECOND, 90 * SECOND, HOUR, 5 * DAY];
        let longest = longest[self.random.usize(..longest.len())];
        self.random.i64(1..=longest)
    }

    pub fn pause(&mut self) {
        self.now += self.some_time();
    }

    /// The time that the file system gives to a change.
    fn stamp(&self) -> i64 {
        let now = self.local_now();
        now - now.rem_euclid(self.file_system.tick())
    }

    // The directory

    /// A file as the scan sees it.
    pub fn file(&self, path: &'static str) -> Option<File> {
        let SimulatedFile { size, modified, changed, .. } = *self.files.get(path)?;
        let changed = if self.file_system == FileSystem::NoCtime { modified } else { changed };
        let (modified, changed) = (Timestamp::from_nanos(modified), Timestamp::from_nanos(changed));
        Some(File { path: path.into(), size, modified, changed, target: None })
    }

    pub fn new_content(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// Writes new content. A memory map of the file stays as it is.
    pub fn write(&mut self, path: &'static str, size: u64) {
        let (content, stamp) = (self.new_content(), self.stamp());
        let dirty_until = self.files.get(path).map_or(self.now, |file| file.dirty_until);
        let file = SimulatedFile { content, size, modified: stamp, changed: stamp, dirty_until };
        self.files.insert(path, file);
    }

    /// Changes the attributes of a file, and nothing else.
    pub fn touch_ctime(&mut self, path: &'static str) {
        let stamp = self.stamp();
        if let Some(file) = self.files.get_mut(path) {
            file.changed = stamp;
        }
    }

    /// Sets the mtime, as `touch -d` does.
    pub fn set_mtime(&mut self, path: &'static str, modified: i64) {
        let modified = modified
            - modified.rem_euclid(match self.file_system {
                FileSystem::Fine | FileSystem::Memory => 1,
                coarse => coarse.tick(),
            });
        if let Some(file) = self.files.get_mut(path) {
            file.modified = modified;
        }
        self.touch_ctime(path);
    }

    /// Writes new content through a memory map.
    pub fn write_mapped(&mut self, path: &'static str) {
        let (content, stamp, now) = (self.new_content(), self.stamp(), self.now);
        let dirty_until = now + self.random.i64(0..WRITE_BACK);
        let has_times = self.file_system != FileSystem::Memory;
        let Some(file) = self.files.get_mut(path) else { return };
        file.content = content;
        if has_times && file.dirty_until <= now {
            (file.modified, file.changed, file.dirty_until) = (stamp, stamp, dirty_until);
        }
    }

    /// Swaps the names of the two directories. The times of the files stay.
    pub fn swap_directories(&mut self) {
        for (a, b) in [("d/a", "e/a"), ("d/b", "e/b")] {
            let (in_a, in_b) = (self.files.remove(a), self.files.remove(b));
            self.files.extend(in_a.map(|file| (b, file)));
            self.files.extend(in_b.map(|file| (a, file)));
        }
    }

    // The bucket

    /// An object as the listing shows it.
    pub fn object(&self, path: &'static str) -> Option<Object> {
        let SimulatedObject { size, modified, etag, .. } = self.objects.get(path)?.clone();
        Some(Object { path: path.into(), size, modified, etag })
    }

    /// Stores an object at `time` of the store's clock.
    pub fn put(&mut self, path: &'static str, content: u64, size: u64, time: i64) {
        let modified = Timestamp::from_nanos(time).whole_second();
        let etag = match self.evidence {
            Evidence::Md5 => ETag::Md5(u128::from(content).to_be_bytes()),
            Evidence::Checksum | Evidence::Nothing => {
                ETag::Other(format!("version {}", self.new_content()).into())
            }
        };
        self.objects.insert(path, SimulatedObject { content, size, modified, etag });
    }

    // Both

    /// Whether both sides have the path, with the same content.
    pub fn is_in_sync(&self, path: &'static str) -> bool {
        match (self.files.get(path), self.objects.get(path)) {
            (Some(file), Some(object)) => file.content == object.content,
            _ => false,
        }
    }

    pub fn has_entry(&self, path: &'static str) -> bool {
        self.record.as_ref().is_some_and(|record| record.contains_key(path))
    }
}
