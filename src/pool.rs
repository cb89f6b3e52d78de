//! A fixed pool of blocking worker threads that takes jobs from a channel.
//!
//! What to do next, and what came of it, stays on the caller's thread: a [`Flow`] hands out jobs and is
//! told of each outcome, so its state needs no locks and its events reach the caller where he is.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, unbounded};

/// How often a flow is told that time passes, at least.
const TICK: Duration = Duration::from_millis(100);

/// How many workers wait for something to do at most. It takes a system longer to end hundreds of threads at
/// once than one after the other, while the last jobs wait for the network.
const IDLE: usize = 32;

/// Work that comes in jobs, some of which only follow from others.
pub(crate) trait Flow {
    /// Something for a worker to do.
    type Job: Send;
    /// What came of it.
    type Outcome: Send;

    /// The next job; `None` when there is none now. With no job under way, that is the end.
    fn next(&mut self) -> Option<Self::Job>;

    /// How many workers may be busy now, beside the number that there are at most.
    fn limit(&self) -> usize;

    /// A job is done.
    fn done(&mut self, outcome: Self::Outcome);

    /// Some time has passed.
    fn tick(&mut self) {}
}

/// Drives a flow to its end with `workers` threads. A panic in a worker ends it, as a panic.
pub(crate) fn drive<F: Flow>(
    workers: usize,
    flow: &mut F,
    perform: &(impl Fn(F::Job) -> F::Outcome + Sync),
) {
    // `None` tells a worker to leave.
    let (job_sender, jobs) = unbounded::<Option<F::Job>>();
    let (outcome_sender, outcomes) = unbounded();
    thread::scope(|scope| {
        // Moved in, so that every way out of here drops it: that is what tells the workers to stop.
        let job_sender = job_sender;
        let (jobs, outcome_sender) = (jobs, outcome_sender);
        let (mut most, mut threads) = (workers, 0);
        let mut under_way = 0;
        loop {
            let limit = most.min(flow.limit()).max(1);
            // Somewhat more jobs than workers, so that none has to wait for this thread; but nothing else
            // holds threads back that there are beyond the limit.
            let spare = if threads <= limit { limit / 4 + 1 } else { 0 };
            while under_way < limit + spare {
                let Some(job) = flow.next() else { break };
                under_way += 1;
                if under_way > threads && threads < limit {
                    let (jobs, outcomes) = (jobs.clone(), outcome_sender.clone());
                    let work = move || {
                        while let Ok(Some(job)) = jobs.recv() {
                            let outcome = catch_unwind(AssertUnwindSafe(|| perform(job)));
                            if outcomes.send(outcome).is_err() {
                                return;
                            }
                        }
                    };
                    match thread::Builder::new().spawn_scoped(scope, work) {
                        Ok(_) => threads += 1,
                        // The system gives no more: those that there are have to do, or this one.
                        Err(_) => most = threads.max(1),
                    }
                }
                if threads == 0 {
                    under_way -= 1;
                    flow.done(perform(job));
                } else if job_sender.send(Some(job)).is_err() {
                    return;
                }
            }
            if under_way == 0 {
                return;
            }
            while threads > under_way + IDLE && job_sender.send(None).is_ok() {
                threads -= 1;
            }
            match outcomes.recv_timeout(TICK) {
                Ok(Ok(outcome)) => {
                    under_way -= 1;
                    flow.done(outcome);
                }
                Ok(Err(panic)) => resume_unwind(panic),
                Err(RecvTimeoutError::Timeout) => flow.tick(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

/// Does each of `jobs`, in any order, and tells the caller's thread what came of each.
pub(crate) fn for_each<J: Send, O: Send>(
    workers: usize,
    limit: &dyn Fn() -> usize,
    jobs: impl Iterator<Item = J>,
    perform: &(impl Fn(J) -> O + Sync),
    done: impl FnMut(O),
) {
    struct Simple<'a, I, D, O>(I, &'a dyn Fn() -> usize, D, PhantomData<O>);
    impl<J: Send, O: Send, I: Iterator<Item = J>, D: FnMut(O)> Flow for Simple<'_, I, D, O> {
        type Job = J;
        type Outcome = O;
        fn next(&mut self) -> Option<J> {
            self.0.next()
        }
        fn limit(&self) -> usize {
            (self.1)()
        }
        fn done(&mut self, outcome: O) {
            (self.2)(outcome);
        }
    }
    drive(workers, &mut Simple(jobs, limit, done, PhantomData), perform);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let mut sum = 0;
        for_each(4, &|| 3, 1..=1_000u64, &|n| n * 2, |n| sum += n);
        assert_eq!(sum, 1_001_000);
        for_each(4, &|| 4, std::iter::empty::<u64>(), &|n| n, |_| panic!("nothing to do"));
    }

    #[test]
    fn a_panic_in_a_worker_ends_the_flow() {
        let panicked = catch_unwind(|| {
            for_each(2, &|| 2, 0..1_000, &|n| assert!(n != 7, "seven"), |()| {});
        });
        assert!(panicked.is_err());
    }
}
