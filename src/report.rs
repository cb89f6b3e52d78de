//! What a run says while it goes on, and what it has come to.

use std::time::Duration;

use crate::{
    entry::Skipped,
    error::Error,
    plan::{Count, Direction},
};

/// Something the caller may want to know at once. Handed over on the caller's own thread.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another stage begins.
    Stage(Stage),
    /// How far the transfers are.
    Progress(Progress),
    /// A file was uploaded or downloaded.
    Transferred {
        /// Its path below the root.
        path: &'a str,
        /// Its size in bytes.
        bytes: u64,
    },
    /// An object or file was deleted.
    Deleted {
        /// Its path below the root.
        path: &'a str,
    },
    /// Something could not be done.
    Failed(&'a Error),
}

/// The stages of a run, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Walking the directory and listing the bucket.
    Looking,
    /// Reading the files of which size and time could not tell.
    Comparing {
        /// How many files.
        entries: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Moving objects.
    Transferring(Count),
    /// Deleting what the source no longer has.
    Deleting {
        /// How many entries.
        entries: u64,
    },
}

/// How far the transfers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is done: whole files, and bytes of any. What is fetched again counts again.
    pub done: Count,
    /// What there is to do.
    pub total: Count,
}

/// How many failures a report keeps whole; more are only counted.
pub const KEPT_FAILURES: usize = 1_000;

/// What a run has come to.
#[derive(Debug)]
pub struct Report {
    /// Which side was made to look like the other.
    pub direction: Direction,
    /// What was transferred.
    pub transferred: Count,
    /// How many entries were deleted.
    pub deleted: u64,
    /// What was already the same.
    pub kept: Count,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// What failed, the first [`KEPT_FAILURES`] of it.
    pub failures: Vec<Error>,
    /// How much failed in all.
    pub failed: u64,
    /// Deletions that were not made because transfers failed: what is deleted on one side may be
    /// what was to be transferred under another name.
    pub withheld: u64,
    /// Downloads that the server said nothing of to check them by.
    pub unchecked: u64,
    /// What ended the run early, if anything.
    pub fatal: Option<Error>,
    /// How long it took, the look at both sides not included.
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
            unchecked: 0,
            fatal: None,
            elapsed: Duration::ZERO,
        }
    }

    /// Takes in a failure. The first fatal one ends the run, and is kept apart.
    pub(crate) fn fail(&mut self, error: Error, on_event: &mut dyn FnMut(Event)) {
        if error.is_fatal() {
            if self.fatal.is_none() {
                self.fatal = Some(error);
            }
            return;
        }
        on_event(Event::Failed(&error));
        self.failed += 1;
        if self.failures.len() < KEPT_FAILURES {
            self.failures.push(error);
        }
    }

    /// The exit code that this comes to: see [`exit`].
    pub fn exit_code(&self) -> u8 {
        match &self.fatal {
            Some(error) => error.exit_code(),
            None if self.failed > 0 || self.withheld > 0 || !self.skipped.is_empty() => {
                exit::PARTLY
            }
            None => exit::DONE,
        }
    }
}

/// The exit codes of the command line.
pub mod exit {
    /// Done, nothing wrong.
    pub const DONE: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Finished, but some entries failed or were left out; differences were found.
    pub const PARTLY: u8 = 2;
    /// Refused by a guard or not confirmed; nothing was changed.
    pub const REFUSED: u8 = 3;
    /// Interrupted.
    pub const INTERRUPTED: u8 = 130;
}

impl Error {
    /// The exit code of a run that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self.cause() {
            crate::Cause::Interrupted => exit::INTERRUPTED,
            crate::Cause::Refused(_) => exit::REFUSED,
            _ => exit::FAILED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, entry::SkipReason, guard::Refusal};

    #[test]
    fn exit_codes() {
        let report = || Report::new(Direction::Backup, Count::default(), Vec::new());
        let io = || Error::new("read", "a", std::io::Error::other("broken"));
        let fail = |error| {
            let mut report = report();
            report.fail(error, &mut |_| {});
            report.exit_code()
        };
        assert_eq!(report().exit_code(), 0);
        assert_eq!(fail(io()), 2);
        assert_eq!(fail(Error::config("no")), 1);
        assert_eq!(fail(Error::interrupted()), 130);
        assert_eq!(io().exit_code(), 1);
        assert_eq!(Error::new("", "", Cause::Refused(Refusal::NotConfirmed)).exit_code(), 3);
        let mut partly = report();
        partly.skipped.push(Skipped { path: "a".into(), reason: SkipReason::Special });
        assert_eq!(partly.exit_code(), 2);
        partly.fail(Error::interrupted(), &mut |_| {});
        assert_eq!(partly.exit_code(), 130);
    }
}
