//! What must happen before the content of a file is read, so that a later change shows in its times.
//!
//! - A write through a memory map to a page that is already dirty changes neither mtime nor ctime.
//!   The first write after a flush changes both. So files that were changed in the last minute are
//!   flushed: one by one if they are few, otherwise all together. Their ctime counts as well, because
//!   a program may have set the mtime back.
//! - Two changes within one tick of the file system's clock have the same times. So a file that was
//!   changed within the present tick is read after it. Some file systems keep whole or even seconds.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use cap_std::fs::MetadataExt as _;

use crate::{
    cancel::Cancel,
    local::{file_state::FileState, parent::ParentCache, platform, root::Root},
    model::{entry::File, time::Timestamp},
    record::RecordedState,
};

/// A file that was changed within this time may have dirty pages. The kernel writes them after 30
/// seconds, and 5 more until it looks again.
const RECENT: Duration = Duration::from_secs(60);

/// Up to so many files are flushed one by one.
const MAX_FLUSHED_ONE_BY_ONE: usize = 100;

/// The longest tick of the usual file systems. It is that of the kernel's timer.
const TICK: Duration = Duration::from_millis(20);

/// The longest tick of file systems that keep whole seconds.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Prepares files for reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preparation {
    /// The device whose file system was flushed as a whole.
    flushed: Option<u64>,
}

/// A file that can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    /// Its state. If it is the same after reading, the content is that of this state.
    pub state: RecordedState,
    /// Whether the state may be recorded.
    pub is_settled: bool,
}

impl Root {
    /// Flushes the file system of the root, if many of `files` were changed recently.
    pub(crate) fn prepare_reading<'a>(&self, files: impl Iterator<Item = &'a File>) -> Preparation {
        let now = SystemTime::now().into();
        let recent = files.filter(|file| is_recent(RecordedState::of_scanned(file), now));
        if recent.take(MAX_FLUSHED_ONE_BY_ONE + 1).count() <= MAX_FLUSHED_ONE_BY_ONE {
            return Preparation::default();
        }
        let flush = || -> io::Result<u64> {
            let dir = self.dir.open(".")?.into_std();
            platform::syncfs(&dir)?;
            Ok(dir.metadata()?.dev())
        };
        // If that fails, the files are flushed one by one.
        Preparation { flushed: flush().ok() }
    }
}

impl Preparation {
    /// Prepares an open file.
    pub(crate) fn prepare(self, file: &fs::File, cancel: &Cancel) -> io::Result<Prepared> {
        self.prepare_opened(file, file.metadata()?, cancel)
    }

    /// Prepares a file that was just opened and has this metadata.
    fn prepare_opened(
        self,
        file: &fs::File,
        mut metadata: fs::Metadata,
        cancel: &Cancel,
    ) -> io::Result<Prepared> {
        let is_recent = is_recent(recorded_state(&metadata)?, SystemTime::now().into());
        if is_recent && self.flushed != Some(metadata.dev()) {
            // A failure is that of the program that wrote the file, which learns of it.
            let _ = file.sync_data();
            metadata = file.metadata()?;
        }
        let pause = time_until_next_tick(FileState::changed(&metadata), SystemTime::now().into());
        if !pause.is_zero() {
            cancel.sleep(pause);
            metadata = file.metadata()?;
        }
        let state = recorded_state(&metadata)?;
        Ok(Prepared { state, is_settled: state.is_settled(SystemTime::now().into()) })
    }
}

impl RecordedState {
    /// The present state of an open file.
    pub(crate) fn of(file: &fs::File) -> io::Result<RecordedState> {
        recorded_state(&file.metadata()?)
    }
}

impl Root {
    /// Opens a file and prepares it for reading.
    pub(crate) fn open_prepared(
        &self,
        path: &Path,
        preparation: Preparation,
        cancel: &Cancel,
    ) -> io::Result<(fs::File, Prepared)> {
        let (file, metadata) = self.open_file(path)?;
        let prepared = preparation.prepare_opened(&file, metadata, cancel)?;
        Ok((file, prepared))
    }

    /// Opens a file for reading. Returns its present state.
    pub(crate) fn open_recorded(&self, path: &Path) -> io::Result<(fs::File, RecordedState)> {
        let (file, metadata) = self.open_file(path)?;
        Ok((file, recorded_state(&metadata)?))
    }

    /// The present state of a file that was just renamed to `path`.
    pub(crate) fn state_of_renamed(
        &self,
        path: &str,
        cache: &mut ParentCache,
    ) -> io::Result<RecordedState> {
        let parent = self.cached_parent(path, false, cache)?;
        let metadata = parent.dir.symlink_metadata(&parent.name)?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let nanos = metadata.ctime().saturating_mul(1_000_000_000);
        Ok(RecordedState {
            size: metadata.len(),
            modified: metadata.modified()?.into_std().into(),
            changed: Timestamp::from_nanos(nanos.saturating_add(metadata.ctime_nsec())),
        })
    }
}

fn recorded_state(metadata: &fs::Metadata) -> io::Result<RecordedState> {
    let FileState { size, modified } = FileState::of_metadata(metadata)?;
    Ok(RecordedState { size, modified, changed: FileState::changed(metadata) })
}

/// Whether a file in this state may have dirty pages.
pub(crate) fn is_recent(state: RecordedState, now: Timestamp) -> bool {
    let latest = state.modified.max(state.changed);
    latest > now || u128::from(now.distance(latest)) < RECENT.as_nanos()
}

/// Waits until a further change of a file that was changed at `changed` has another ctime.
pub(crate) fn wait_for_next_tick(changed: Timestamp, cancel: &Cancel) {
    let now = Timestamp::from(SystemTime::now());
    if changed <= now {
        cancel.sleep(TICK.saturating_sub(Duration::from_nanos(now.distance(changed))));
    }
}

/// How long a file that was changed at `changed` may change again without a change of its times.
pub(crate) fn time_until_next_tick(changed: Timestamp, now: Timestamp) -> Duration {
    // A time in the future is that of another clock, and does not tell the age. No later run takes such
    // a file for one that did not change after its upload.
    if changed > now {
        return Duration::ZERO;
    }
    let tick = if changed == changed.whole_second() { COARSE_TICK } else { TICK };
    tick.saturating_sub(Duration::from_nanos(now.distance(changed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_after_the_tick_in_which_it_was_changed() {
        let now = Timestamp::from_nanos(100_500_000_000);
        let pause = |changed| time_until_next_tick(Timestamp::from_nanos(changed), now);
        assert_eq!(pause(100_499_000_000), Duration::from_millis(19));
        assert_eq!(pause(100_480_000_000), Duration::ZERO);
        assert_eq!(pause(100_000_000_000), Duration::from_millis(1_500));
        assert_eq!(pause(98_000_000_000), Duration::ZERO);
        assert_eq!(pause(101_000_000_000), Duration::ZERO);
    }

    #[test]
    fn prepared_file_has_the_state_of_its_descriptor() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        fs::write(&path, "content").unwrap();
        let file = fs::File::open(&path).unwrap();
        let prepared = Preparation::default().prepare(&file, &Cancel::new()).unwrap();
        assert_eq!(prepared.state, RecordedState::of(&file).unwrap());
        assert!(!prepared.is_settled, "it was written just now");
        let age = SystemTime::now().duration_since(file.metadata().unwrap().modified().unwrap());
        assert!(age.unwrap() >= TICK);
    }
}
