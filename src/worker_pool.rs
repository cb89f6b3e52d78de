//! A fixed pool of blocking worker threads that take jobs from a channel.
//!
//! Decisions stay on the caller's thread: a [`JobSource`] hands out jobs and receives each outcome
//! there. Its state therefore needs no locks, and its events reach the caller on the caller's thread.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, unbounded};

/// The longest time between two calls of [`JobSource::tick`] while no outcome arrives.
const TICK: Duration = Duration::from_millis(100);

/// The most idle workers. Ending hundreds of threads at once takes the system longer than ending them
/// one by one while the last jobs wait for the network.
const MAX_IDLE: usize = 32;

/// A source of jobs, some of which follow from the outcomes of others.
pub(crate) trait JobSource {
    /// A job for a worker.
    type Job: Send;
    /// The outcome of a job.
    type Outcome: Send;

    /// The next job, or `None` if there is none at the moment. If no job is in flight either, the
    /// source is exhausted.
    fn next(&mut self) -> Option<Self::Job>;

    /// A job that must not wait until a worker is idle: it gets a thread of its own. Asked for regularly.
    fn next_urgent(&mut self) -> Option<Self::Job> {
        None
    }

    /// The most workers that may be busy at the moment. The size of the pool limits them as well.
    fn limit(&self) -> usize;

    /// Receives the outcome of a job.
    fn done(&mut self, outcome: Self::Outcome);

    /// Called regularly while no outcome arrives.
    fn tick(&mut self) {}
}

/// The outcome of a job, or the panic that ended it.
struct Executed<O> {
    outcome: thread::Result<O>,
    is_urgent: bool,
}

/// Runs all jobs of `source` with up to `workers` threads. A panic in a worker ends the run with the
/// same panic.
pub(crate) fn run<S: JobSource>(
    workers: usize,
    source: &mut S,
    execute: &(impl Fn(S::Job) -> S::Outcome + Sync),
) {
    // `None` tells a worker to exit.
    let (job_sender, jobs) = unbounded::<Option<S::Job>>();
    let (outcome_sender, outcomes) = unbounded();
    thread::scope(|scope| {
        // Moved into the scope, so that every exit from it, a panic included, drops the sender. The
        // workers stop when the channel is closed.
        let job_sender = job_sender;
        let (jobs, outcome_sender) = (jobs, outcome_sender);
        let (mut max_threads, mut threads) = (workers, 0);
        let (mut in_flight, mut urgent) = (0, 0);
        loop {
            if let Some(job) = source.next_urgent() {
                let outcomes = outcome_sender.clone();
                let job = Arc::new(Mutex::new(Some(job)));
                let taken = Arc::clone(&job);
                let work = move || {
                    let Some(job) = take(&taken) else { return };
                    let outcome = catch_unwind(AssertUnwindSafe(|| execute(job)));
                    let _ = outcomes.send(Executed { outcome, is_urgent: true });
                };
                match thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(_) => urgent += 1,
                    // The system has no more threads: execute it on this one.
                    Err(_) => take(&job).map(execute).into_iter().for_each(|o| source.done(o)),
                }
            }
            let limit = max_threads.min(source.limit()).max(1);
            // Queue a few more jobs than workers, so that no worker waits for this thread. Not while
            // there are more threads than the limit: they would execute the extra jobs at once.
            let spare = if threads <= limit { limit / 4 + 1 } else { 0 };
            while in_flight < limit + spare {
                let Some(job) = source.next() else { break };
                in_flight += 1;
                if in_flight > threads && threads < limit {
                    let (jobs, outcomes) = (jobs.clone(), outcome_sender.clone());
                    let work = move || {
                        while let Ok(Some(job)) = jobs.recv() {
                            let outcome = catch_unwind(AssertUnwindSafe(|| execute(job)));
                            if outcomes.send(Executed { outcome, is_urgent: false }).is_err() {
                                return;
                            }
                        }
                    };
                    match thread::Builder::new().spawn_scoped(scope, work) {
                        Ok(_) => threads += 1,
                        // The system has no more threads: continue with the existing ones, or
                        // without any on this thread.
                        Err(_) => max_threads = threads.max(1),
                    }
                }
                if threads == 0 {
                    in_flight -= 1;
                    source.done(execute(job));
                } else if job_sender.send(Some(job)).is_err() {
                    return;
                }
            }
            if in_flight + urgent == 0 {
                return;
            }
            while threads > in_flight + MAX_IDLE && job_sender.send(None).is_ok() {
                threads -= 1;
            }
            match outcomes.recv_timeout(TICK) {
                Ok(Executed { outcome: Ok(outcome), is_urgent }) => {
                    *if is_urgent { &mut urgent } else { &mut in_flight } -= 1;
                    source.done(outcome);
                }
                Ok(Executed { outcome: Err(panic), .. }) => resume_unwind(panic),
                Err(RecvTimeoutError::Timeout) => source.tick(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

/// Takes a job that either a new thread or this one executes.
fn take<J>(job: &Mutex<Option<J>>) -> Option<J> {
    job.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Executes all of `jobs`, in any order, and passes each outcome to `done` on the caller's thread.
pub(crate) fn for_each<J: Send, O: Send>(
    workers: usize,
    limit: &dyn Fn() -> usize,
    jobs: impl Iterator<Item = J>,
    execute: &(impl Fn(J) -> O + Sync),
    done: impl FnMut(O),
) {
    struct Independent<'a, I, D, O> {
        jobs: I,
        limit: &'a dyn Fn() -> usize,
        done: D,
        outcome: PhantomData<O>,
    }
    impl<J: Send, O: Send, I: Iterator<Item = J>, D: FnMut(O)> JobSource for Independent<'_, I, D, O> {
        type Job = J;
        type Outcome = O;
        fn next(&mut self) -> Option<J> {
            self.jobs.next()
        }
        fn limit(&self) -> usize {
            (self.limit)()
        }
        fn done(&mut self, outcome: O) {
            (self.done)(outcome);
        }
    }
    run(workers, &mut Independent { jobs, limit, done, outcome: PhantomData }, execute);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_executed_once() {
        let mut sum = 0;
        for_each(4, &|| 3, 1..=1_000u64, &|n| n * 2, |n| sum += n);
        assert_eq!(sum, 1_001_000);
        for_each(4, &|| 4, std::iter::empty::<u64>(), &|n| n, |_| panic!("there is no job"));
    }

    #[test]
    fn panic_in_a_worker_ends_the_run() {
        let panicked = catch_unwind(|| {
            for_each(2, &|| 2, 0..1_000, &|n| assert!(n != 7, "seven"), |()| {});
        });
        assert!(panicked.is_err());
    }
}
