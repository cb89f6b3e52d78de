//! The report of a run.

use std::{path::PathBuf, time::Duration};

use crate::{
    cancel::Cancel,
    error::Error,
    model::{
        attribute::{Attribute, TIME_CHANGED_LATER, Unpreserved},
        count::Count,
        direction::Direction,
        skip::Skipped,
    },
    plan::Withheld,
    report::{
        attributes::{self, UnpreservedAttribute},
        events::Event,
        exit,
    },
};

/// The most failures that a report keeps. Further ones are only counted.
pub const KEPT_FAILURES: usize = 1_000;

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// Which side the run changed.
    pub direction: Direction,
    /// The entries that were transferred.
    pub transferred: Count,
    /// The number of entries that were deleted.
    pub deleted: u64,
    /// The entries that were already the same on both sides.
    pub kept: Count,
    /// The entries that were skipped.
    pub skipped: Vec<Skipped>,
    /// The first [`KEPT_FAILURES`] failures.
    pub failures: Vec<Error>,
    /// The total number of failures.
    pub failed: u64,
    /// The number of deletions that were withheld because something was not transferred: an entry to
    /// delete may be the only copy of a file whose transfer under a new name failed.
    pub withheld: u64,
    /// These deletions, and why each was withheld.
    pub withheld_deletions: Vec<Withheld>,
    /// The number of downloads that an earlier, unfinished run had already made.
    pub reused: u64,
    /// The number of downloads without a checksum or ETag that could verify them.
    pub unchecked: u64,
    /// The number of downloads for which a checksum of the store was ignored: it is malformed, or
    /// contradicts an ETag that the content matches.
    pub ignored_checksums: u64,
    /// The number of files that grew while they were uploaded. They are stored with the size that they
    /// had when they were opened, and the next backup uploads them again. These are not failures.
    pub grew: u64,
    /// The attributes that restored files do not have because the target refuses them or does not keep
    /// them, by cause. These are not failures.
    pub unpreserved: Vec<UnpreservedAttribute>,
    /// The marker that a restore leaves because it did not restore everything. While it exists, backups
    /// of the directory keep the objects that are missing there.
    pub unfinished: Option<PathBuf>,
    /// The error that ended the run early, if any.
    pub fatal: Option<Error>,
    /// The duration of the run, without scan and listing.
    pub elapsed: Duration,
}

impl Report {
    pub(crate) fn new(direction: Direction, kept: Count, skipped: Vec<Skipped>) -> Report {
        Report {
            direction,
            transferred: Count::default(),
            deleted: 0,
            kept,
            skipped,
            failures: Vec::new(),
            failed: 0,
            withheld: 0,
            withheld_deletions: Vec::new(),
            reused: 0,
            unchecked: 0,
            ignored_checksums: 0,
            grew: 0,
            unpreserved: Vec::new(),
            unfinished: None,
            fatal: None,
            elapsed: Duration::ZERO,
        }
    }

    /// Records a failure. The first fatal one becomes [`fatal`](Report::fatal) and ends the run.
    pub(crate) fn fail(&mut self, error: Error, on_event: &mut dyn FnMut(Event)) {
        if error.is_fatal() {
            self.fatal.get_or_insert(error);
            return;
        }
        on_event(Event::Failed(&error));
        self.failed += 1;
        if self.failures.len() < KEPT_FAILURES {
            self.failures.push(error);
        }
    }

    /// Records an interruption, if the run was cancelled and nothing else ended it before.
    pub(crate) fn note_interruption(&mut self, cancel: &Cancel) {
        if cancel.is_cancelled() {
            self.fatal.get_or_insert_with(Error::interrupted);
        }
    }

    /// Counts the attributes that a restored file does not have.
    pub(crate) fn note_unpreserved(&mut self, path: &str, attributes: &[Unpreserved]) {
        attributes.iter().for_each(|one| attributes::add(&mut self.unpreserved, path, one));
    }

    /// Reports the attributes that restored files do not have, each cause as one warning.
    pub(crate) fn warn_of_unpreserved(&self, on_event: &mut dyn FnMut(Event)) {
        self.unpreserved.iter().for_each(|one| on_event(Event::Warning(&one.to_string())));
    }

    /// Whether the directory keeps the modification times of restored files. `None` if the run does not
    /// show it: only one that restored everything shows that no file is without its time.
    ///
    /// A program may change a file right after its rename. So a time that changed later counts only if
    /// most files have lost theirs that way.
    pub(crate) fn shows_that_times_are_kept(&self) -> Option<bool> {
        let is_time = |one: &&UnpreservedAttribute| one.attribute == Attribute::Time;
        let mut lost = self.unpreserved.iter().filter(is_time).peekable();
        if lost.peek().is_some() {
            let is_of_directory = |one: &UnpreservedAttribute| {
                one.reason != TIME_CHANGED_LATER
                    || one.files.saturating_mul(2) > self.transferred.entries
            };
            return lost.any(is_of_directory).then_some(false);
        }
        let restored_all = self.direction == Direction::Restore
            && self.transferred.entries > 0
            && self.kept.entries == 0
            && self.exit_code() == exit::SUCCESS;
        restored_all.then_some(true)
    }

    /// Records deletions that are withheld.
    pub(crate) fn withhold(&mut self, withheld: Vec<Withheld>) {
        self.withheld += withheld.len() as u64;
        self.withheld_deletions.extend(withheld);
    }

    /// Records deletions that were withheld during the run, and reports each as an event.
    pub(crate) fn withhold_with(
        &mut self,
        withheld: Vec<Withheld>,
        on_event: &mut dyn FnMut(Event),
    ) {
        withheld.iter().for_each(|withheld| on_event(Event::Withheld(withheld)));
        self.withhold(withheld);
    }

    /// The exit code of the run: see [`exit`].
    pub fn exit_code(&self) -> u8 {
        match &self.fatal {
            Some(error) => error.exit_code(),
            None if self.failed > 0 || self.withheld > 0 || !self.skipped.is_empty() => {
                exit::PARTIAL
            }
            None => exit::SUCCESS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::{Cause, Refusal},
        model::skip::SkipReason,
    };

    #[test]
    fn one_time_that_changed_later_does_not_show_that_the_directory_keeps_none() {
        for (reason, files, shown) in [
            (TIME_CHANGED_LATER, 0, Some(true)),
            (TIME_CHANGED_LATER, 1, None),
            (TIME_CHANGED_LATER, 5, None),
            (TIME_CHANGED_LATER, 6, Some(false)),
            (TIME_CHANGED_LATER, 10, Some(false)),
            ("the file system does not keep it", 1, Some(false)),
        ] {
            let mut report = Report::new(Direction::Restore, Count::default(), Vec::new());
            (0..10).for_each(|_| report.transferred.add(1));
            let lost = Unpreserved { attribute: Attribute::Time, reason: reason.to_owned() };
            (0..files).for_each(|_| report.note_unpreserved("a", std::slice::from_ref(&lost)));
            assert_eq!(report.shows_that_times_are_kept(), shown, "{reason}, {files}");
        }
    }

    #[test]
    fn exit_code_reflects_the_worst_outcome() {
        let report = || Report::new(Direction::Backup, Count::default(), Vec::new());
        let io = || Error::new("read", "a", std::io::Error::other("broken"));
        let exit_code = |error| {
            let mut report = report();
            report.fail(error, &mut |_| {});
            report.exit_code()
        };
        assert_eq!(report().exit_code(), 0);
        assert_eq!(exit_code(io()), 2);
        assert_eq!(exit_code(Error::config("no")), 1);
        assert_eq!(exit_code(Error::interrupted()), 130);
        assert_eq!(io().exit_code(), 1);
        assert_eq!(Error::new("", "", Cause::Refused(Refusal::NotConfirmed)).exit_code(), 3);
        let mut partial = report();
        partial.skipped.push(Skipped { path: "a".into(), reason: SkipReason::Special });
        assert_eq!(partial.exit_code(), 2);
        partial.fail(Error::interrupted(), &mut |_| {});
        assert_eq!(partial.exit_code(), 130);
    }
}
