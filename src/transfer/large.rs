//! The phases of a large transfer.
//!
//! | phase | next phase |
//! | --- | --- |
//! | starting | transferring |
//! | transferring, all parts done | completing |
//! | transferring, a part fails | failing |
//! | transferring, the run stops | aborting |
//! | failing, no part in flight | aborting |
//! | completing fails | failing |

use std::sync::Arc;

use crate::{
    error::{Error, Result},
    plan::Transfer,
    transfer::job::{Job, LargeId, Started},
};

/// The scheduler's state of a large transfer. `H` is its handle.
pub(super) struct LargeTransfer<H> {
    pub transfer: Transfer,
    /// The size of the object.
    size: u64,
    phase: Phase<H>,
}

enum Phase<H> {
    /// The start job is in flight.
    Starting,
    /// Parts are in flight or wait for a worker.
    Transferring { handle: Arc<H>, part_count: u64, next_part: u64, in_flight: u64 },
    /// A part or the completion failed. The parts in flight finish before the abort.
    Failing { handle: Arc<H>, in_flight: u64, error: Error },
    /// The complete job waits for a worker or is in flight.
    Completing { handle: Arc<H> },
    /// The abort job waits for a worker or is in flight.
    Aborting,
}

impl<H> LargeTransfer<H> {
    pub(super) fn new(transfer: Transfer, size: u64) -> LargeTransfer<H> {
        LargeTransfer { transfer, size, phase: Phase::Starting }
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    /// The start job has succeeded.
    pub(super) fn start(&mut self, started: Started<H>) {
        let Started { handle, part_count } = started;
        self.phase = Phase::Transferring { handle, part_count, next_part: 0, in_flight: 0 };
    }

    /// The number of parts in flight, if there are others that wait for a worker.
    pub(super) fn parts_in_flight(&self) -> Option<u64> {
        match self.phase {
            Phase::Transferring { part_count, next_part, in_flight, .. } => {
                (next_part < part_count).then_some(in_flight)
            }
            _ => None,
        }
    }

    /// The bytes of the parts that were not started yet.
    pub(super) fn bytes_not_started(&self) -> u64 {
        match &self.phase {
            Phase::Starting => self.size,
            Phase::Transferring { part_count, next_part, .. } => {
                let parts = part_count - next_part;
                parts.saturating_mul(self.size.div_ceil((*part_count).max(1))).min(self.size)
            }
            _ => 0,
        }
    }

    /// The job for the next part, if there is one.
    pub(super) fn next_part(&mut self, id: LargeId) -> Option<Job<H>> {
        match &mut self.phase {
            Phase::Transferring { handle, part_count, next_part, in_flight }
                if *next_part < *part_count =>
            {
                let (handle, index) = (Arc::clone(handle), *next_part);
                *next_part += 1;
                *in_flight += 1;
                Some(Job::Part { id, handle, index, bytes: self.size.div_ceil(*part_count) })
            }
            _ => None,
        }
    }

    /// Records the result of a part. Returns its error, if it is the first of this transfer.
    pub(super) fn record_part(&mut self, result: Result<()>) -> Option<Error> {
        match (&mut self.phase, result) {
            (Phase::Transferring { handle, in_flight, .. }, Err(error)) => {
                let (handle, in_flight) = (Arc::clone(handle), *in_flight - 1);
                self.phase = Phase::Failing { handle, in_flight, error: error.clone() };
                Some(error)
            }
            (Phase::Transferring { in_flight, .. } | Phase::Failing { in_flight, .. }, _) => {
                *in_flight -= 1;
                None
            }
            _ => None,
        }
    }

    /// Records that the complete job failed.
    pub(super) fn fail_completion(&mut self, error: Error) {
        if let Phase::Completing { handle } = &self.phase {
            self.phase = Phase::Failing { handle: Arc::clone(handle), in_flight: 0, error };
        }
    }

    /// The last job, once no part is in flight: it completes or aborts the transfer. If the run is
    /// stopping, a transfer with parts that were not started is aborted.
    pub(super) fn last_job(&mut self, id: LargeId, is_stopping: bool) -> Option<Job<H>> {
        match &self.phase {
            Phase::Transferring { handle, part_count, next_part, in_flight: 0 }
                if next_part == part_count =>
            {
                let handle = Arc::clone(handle);
                self.phase = Phase::Completing { handle: Arc::clone(&handle) };
                Some(Job::Complete { id, handle })
            }
            Phase::Transferring { handle, in_flight: 0, .. } if is_stopping => {
                let (handle, error) = (Arc::clone(handle), Error::interrupted());
                self.phase = Phase::Aborting;
                Some(Job::Abort { id, handle, error })
            }
            Phase::Failing { handle, in_flight: 0, error } => {
                let (handle, error) = (Arc::clone(handle), error.clone());
                self.phase = Phase::Aborting;
                Some(Job::Abort { id, handle, error })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Reason;

    fn transferring(part_count: u64) -> LargeTransfer<()> {
        let transfer = Transfer { reason: Reason::Missing, file: None, object: None };
        let mut large = LargeTransfer::new(transfer, 100);
        large.start(Started { handle: Arc::new(()), part_count });
        large
    }

    fn error(subject: &str) -> Error {
        Error::new("upload", subject, std::io::Error::other("broken"))
    }

    fn assert_aborts(job: Option<Job<()>>, because_of: &str) {
        let Some(Job::Abort { error, .. }) = job else { panic!("no abort") };
        assert_eq!(error.to_string(), because_of);
    }

    #[test]
    fn failed_part_lets_parts_in_flight_finish_before_the_abort() {
        let mut large = transferring(4);
        for index in 0..3 {
            let Some(Job::Part { index: next, bytes: 25, .. }) = large.next_part(0) else {
                panic!("no part")
            };
            assert_eq!(next, index);
        }
        assert_eq!(large.parts_in_flight(), Some(3));
        assert!(large.record_part(Err(error("first"))).is_some());
        // No further part is started.
        assert!(large.next_part(0).is_none() && large.parts_in_flight().is_none());
        assert!(large.last_job(0, true).is_none());
        assert!(large.record_part(Err(error("second"))).is_none());
        assert!(large.last_job(0, true).is_none());
        assert!(large.record_part(Ok(())).is_none());
        assert_aborts(large.last_job(0, false), "upload first: broken");
        assert!(large.last_job(0, true).is_none(), "aborted twice");
    }

    #[test]
    fn completion_follows_the_last_part_even_if_the_run_is_stopping() {
        for is_stopping in [false, true] {
            let mut large = transferring(2);
            assert!(large.next_part(0).is_some() && large.next_part(0).is_some());
            assert_eq!(large.parts_in_flight(), None, "no part is left");
            large.record_part(Ok(()));
            assert!(large.last_job(0, is_stopping).is_none());
            large.record_part(Ok(()));
            assert!(matches!(large.last_job(0, is_stopping), Some(Job::Complete { .. })));
            assert!(large.last_job(0, is_stopping).is_none(), "completed twice");
        }
    }

    #[test]
    fn stopping_run_aborts_a_transfer_with_parts_left() {
        let mut large = transferring(2);
        assert!(large.next_part(0).is_some());
        assert!(large.last_job(0, true).is_none());
        large.record_part(Ok(()));
        assert!(large.last_job(0, false).is_none());
        assert_aborts(large.last_job(0, true), "interrupted");
        assert!(large.next_part(0).is_none());
    }

    #[test]
    fn stopping_run_aborts_a_transfer_once_its_start_is_done() {
        let mut large = LargeTransfer::new(transferring(1).transfer, 100);
        assert!(large.is_starting() && large.last_job(0, true).is_none());
        large.start(Started { handle: Arc::new(()), part_count: 1 });
        assert_aborts(large.last_job(0, true), "interrupted");
    }

    #[test]
    fn failed_completion_aborts_the_transfer() {
        let mut large = transferring(1);
        assert!(large.next_part(0).is_some());
        large.record_part(Ok(()));
        assert!(large.last_job(0, false).is_some());
        large.fail_completion(error("a"));
        assert_aborts(large.last_job(0, false), "upload a: broken");
    }
}
