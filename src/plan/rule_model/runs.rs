//! Backups and restores of the simulated world.
//!
//! The decisions are those of the real functions: the rule, the comparison with the record, and what
//! may be recorded. The order of their steps is that of `plan/build.rs`, `content/compare.rs`,
//! `transfer/upload.rs`, `transfer/publish.rs` and `transfer/learn.rs`.

use std::collections::BTreeMap;

use crate::{
    local::{is_recent, time_until_next_tick},
    model::{direction::Direction, entry::File, etag::ETag, time::Timestamp},
    plan::{
        rule::{Decision, Policy, decide, decide_without_comparison},
        rule_model::world::{Entry, Evidence, MILLISECOND, PATHS, SECOND, SimulatedFile, World},
    },
    record::{Known, RecordedState},
};

/// A run waits so long before it writes a record with downloads.
const TICK: i64 = 20 * MILLISECOND;

/// What a run does with a path that both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Kept without reading the file.
    Kept,
    /// The contents were compared, and the file is kept.
    Compared,
    Transferred,
}

/// The entries that a run keeps or learns.
type Entries = BTreeMap<&'static str, Entry>;

impl World {
    fn policy(&mut self) -> Policy {
        let skew = self.local_offset.abs_diff(self.store_offset);
        // The `Date` header has whole seconds, so the measured skew is up to one second more.
        let rounding = self.random.u64(..SECOND.unsigned_abs());
        Policy {
            now: Timestamp::from_nanos(self.local_now()),
            margin: skew + rounding + SECOND.unsigned_abs(),
            by_content: false,
            no_delete: false,
            ignore_ctime: false,
        }
    }

    fn known(&self, path: &'static str) -> Known {
        let entry = self.record.as_ref().and_then(|record| record.get(path));
        match (entry, self.file(path), self.object(path)) {
            (Some((state, etag)), Some(file), Some(object)) => {
                Known::of(*state, etag, &file, &object, false)
            }
            _ => Known::Nothing,
        }
    }

    /// What a run would do now with a path that both sides have.
    pub fn outcome(&mut self, direction: Direction, path: &'static str) -> Outcome {
        let policy = self.policy();
        self.decide(direction, path, &policy, &mut Entries::new())
    }

    fn decide(
        &mut self,
        direction: Direction,
        path: &'static str,
        policy: &Policy,
        entries: &mut Entries,
    ) -> Outcome {
        let (Some(file), Some(object)) = (self.file(path), self.object(path)) else {
            return Outcome::Transferred;
        };
        let decision = decide(direction, &file, &object, self.known(path), policy);
        if let Decision::Transfer(_) = decision {
            return Outcome::Transferred;
        }
        let entry = self.record.as_ref().and_then(|record| record.get(path));
        entries.extend(entry.map(|entry| (path, entry.clone())));
        if decision == Decision::Keep {
            return Outcome::Kept;
        }
        let (state, is_settled) = self.prepare(path);
        if self.evidence == Evidence::Nothing {
            return match decide_without_comparison(direction, &file, &object, policy) {
                None => Outcome::Compared,
                Some(_) => Outcome::Transferred,
            };
        }
        if !self.is_in_sync(path) {
            return Outcome::Transferred;
        }
        if is_settled {
            entries.insert(path, (state, object.etag));
        }
        Outcome::Compared
    }

    /// Prepares a file for reading. Returns its state, and whether that may be recorded.
    fn prepare(&mut self, path: &'static str) -> (RecordedState, bool) {
        let local_now = |world: &World| Timestamp::from_nanos(world.local_now());
        let state = self.state(path);
        if is_recent(state, local_now(self))
            && let Some(file) = self.files.get_mut(path)
        {
            file.dirty_until = self.now;
        }
        let pause = time_until_next_tick(state.changed, local_now(self));
        self.now += i64::try_from(pause.as_nanos()).unwrap_or_default();
        (state, state.is_settled(local_now(self)))
    }

    fn state(&self, path: &'static str) -> RecordedState {
        let none = || File {
            path: path.into(),
            size: 0,
            modified: Timestamp::from_nanos(0),
            changed: Timestamp::from_nanos(0),
            target: None,
        };
        RecordedState::of_scanned(&self.file(path).unwrap_or_else(none))
    }

    pub fn run(&mut self, direction: Direction) {
        let policy = self.policy();
        let (mut entries, mut transfers) = (Entries::new(), Vec::new());
        for path in PATHS {
            match (self.files.contains_key(path), self.objects.contains_key(path)) {
                (true, true) => {
                    let outcome = self.decide(direction, path, &policy, &mut entries);
                    if outcome == Outcome::Transferred {
                        transfers.push(path);
                    }
                }
                (true, false) if direction == Direction::Backup => transfers.push(path),
                (false, true) if direction == Direction::Restore => transfers.push(path),
                (true, false) => drop(self.files.remove(path)),
                (false, true) => drop(self.objects.remove(path)),
                (false, false) => {}
            }
        }
        for path in transfers {
            match direction {
                Direction::Backup => self.upload(path, &mut entries),
                Direction::Restore => self.download(path, &mut entries),
            }
        }
        self.now += TICK;
        self.record = self.record.is_some().then_some(entries);
    }

    fn upload(&mut self, path: &'static str, entries: &mut Entries) {
        let is_large = self.random.bool();
        // Some stores give a large object the time at which its upload began.
        let has_first_time = is_large && self.random.bool();
        loop {
            let (prepared, is_settled) = self.prepare(path);
            let Some(SimulatedFile { content, size, .. }) = self.files.get(path).copied() else {
                return;
            };
            let started = self.store_now();
            self.pause();
            if let Some((_, change)) = self.during_upload.take_if(|(at, _)| *at == path) {
                change(self, path);
                self.pause();
            }
            let now = self.state(path);
            let has_changed = (now.size, now.modified) != (prepared.size, prepared.modified);
            if is_large && has_changed {
                // The upload is aborted, and the run names the file.
                return;
            }
            self.put(path, content, size, if has_first_time { started } else { self.store_now() });
            let etag = self.objects[path].etag.clone();
            if now == prepared {
                if is_settled {
                    entries.insert(path, (now, etag));
                }
                return;
            }
            if is_large {
                // Only its ctime differs. Perhaps the content changed and the mtime was set back.
                entries.insert(path, (now, ETag::None));
                return;
            }
        }
    }

    fn download(&mut self, path: &'static str, entries: &mut Entries) {
        let object = self.objects[path].clone();
        self.pause();
        self.write(path, object.size);
        self.set_mtime(path, object.modified.nanos());
        if let Some(file) = self.files.get_mut(path) {
            (file.content, file.dirty_until) = (object.content, self.now);
        }
        let state = self.state(path);
        if state.modified == object.modified && state.has_exact_times() {
            entries.insert(path, (state, object.etag));
        }
    }
}
