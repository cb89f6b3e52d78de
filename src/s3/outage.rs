//! Detects that the server fails every request, and gives up on it.
//!
//! A request that fails is retried several times, with pauses. Trying all requests of a large run in that
//! way would take days. Consecutive failures of all threads are therefore counted together:
//!
//! - After [`PACED_AFTER`] failures without a success, requests are sent one by one, at intervals of
//!   [`PACE`], and failures do not use up the retries of a request.
//! - If the server responds, only with errors, that begins after [`CERTAIN_AFTER`]. Until then, the errors
//!   may concern only the requests that are in flight, and those that wait may succeed. Retries count, and
//!   the interval is [`FAST_PACE`].
//! - After [`MAX_FAILURES`] failures that lasted [`MIN_TIME`], or after a few that lasted [`MAX_TIME`],
//!   the run ends. The time lets a server restart, and lets a burst of refused connections end.
//! - A response that is no failure of the server ends the outage.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{cancel::Cancel, error::Cause};

/// After this many consecutive failures, requests are sent one by one.
const PACED_AFTER: u32 = 32;

/// The interval of requests that are sent one by one.
const PACE: Duration = Duration::from_millis(200);

/// The interval while errors in responses may still concern only the requests in flight.
const FAST_PACE: Duration = Duration::from_millis(20);

/// The interval once there were failures enough, and only the time is left.
const SLOW_PACE: Duration = Duration::from_secs(1);

/// How long errors in responses may concern only the requests in flight. Their retries end within this time,
/// and others follow.
const CERTAIN_AFTER: Duration = Duration::from_secs(8);

/// After this many consecutive failures, the run ends.
const MAX_FAILURES: u32 = 300;

/// The least time that these failures must have lasted.
const MIN_TIME: Duration = Duration::from_secs(60);

/// After this time, [`FEW_FAILURES`] consecutive failures end the run.
const MAX_TIME: Duration = Duration::from_secs(300);

/// Fewer failures never end a run, however long they lasted.
const FEW_FAILURES: u32 = PACED_AFTER;

/// The consecutive failures of a server.
pub(crate) struct Outage {
    /// The failures since the last success. It can be read without the lock.
    failures: AtomicU32,
    is_ongoing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the first of the failures happened.
    since: Option<Instant>,
    /// The server has responded to one of the failed requests.
    has_responded: bool,
    /// When the next request may be sent while requests are sent one by one.
    next_turn: Option<Instant>,
    /// Why the run gave up.
    gave_up: Option<Cause>,
}

impl Outage {
    pub(crate) fn new() -> Outage {
        Outage {
            failures: AtomicU32::new(0),
            is_ongoing: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests are sent one by one, and their retries are not counted.
    pub(crate) fn is_ongoing(&self) -> bool {
        self.is_ongoing.load(Ordering::Relaxed)
    }

    /// Takes account of a response that is no failure of the server.
    pub(crate) fn end(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            let mut state = self.state();
            *state = State::default();
            self.failures.store(0, Ordering::Relaxed);
            self.is_ongoing.store(false, Ordering::Relaxed);
        }
    }

    /// Takes account of a failure. Returns why the run must give up, if it must.
    pub(crate) fn on_failure(&self, cause: Cause, now: Instant) -> Option<Cause> {
        let mut state = self.state();
        if state.gave_up.is_some() {
            return state.gave_up.clone();
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let lasted = now.saturating_duration_since(*state.since.get_or_insert(now));
        state.has_responded |= !matches!(cause, Cause::Network(_));
        if failures >= PACED_AFTER && (!state.has_responded || lasted >= CERTAIN_AFTER) {
            self.is_ongoing.store(true, Ordering::Relaxed);
        }
        let is_over = (failures >= MAX_FAILURES && lasted >= MIN_TIME)
            || (failures >= FEW_FAILURES && lasted >= MAX_TIME);
        if is_over {
            let (seconds, last) = (lasted.as_secs(), Box::new(cause));
            state.gave_up = Some(Cause::GaveUp { failures, seconds, last });
        }
        state.gave_up.clone()
    }

    /// During an outage, waits until the next request may be sent. Returns why the run gave up, if it did.
    pub(crate) fn wait_for_turn(&self, cancel: &Cancel) -> Option<Cause> {
        let failures = || self.failures.load(Ordering::Relaxed);
        while failures() >= PACED_AFTER && !cancel.is_cancelled() {
            let mut state = self.state();
            if state.gave_up.is_some() {
                return state.gave_up.clone();
            }
            let pace = match self.is_ongoing() {
                false => FAST_PACE,
                true if failures() < MAX_FAILURES => PACE,
                true => SLOW_PACE,
            };
            let now = Instant::now();
            if state.next_turn.is_none_or(|turn| turn <= now) {
                state.next_turn = Some(now + pace);
                return None;
            }
            drop(state);
            cancel.sleep(pace / 4);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Cause {
        Cause::Network("lost".to_owned())
    }

    #[test]
    fn server_is_given_up_after_many_failures_or_a_long_time() {
        let start = Instant::now();
        // The interval of the failures in milliseconds, and the failure that ends the run.
        for (interval, last) in [
            (0, None),
            (1, None),
            (100, Some(601)),
            (200, Some(301)),
            (250, Some(300)),
            (1_000, Some(300)),
            (2_000, Some(151)),
            (60_000, Some(32)),
        ] {
            let outage = Outage::new();
            let gave_up = (1..2_000).find(|n| {
                let now = start + Duration::from_millis(interval * (n - 1));
                outage.on_failure(failed(), now).is_some()
            });
            assert_eq!(gave_up, last, "{interval} ms");
        }
    }

    #[test]
    fn errors_in_responses_must_last_before_they_count_as_outage() {
        let response = || Cause::S3 {
            status: 500,
            code: String::new(),
            message: String::new(),
            retry_after: None,
        };
        let (outage, start) = (Outage::new(), Instant::now());
        (0..1_000).for_each(|_| _ = outage.on_failure(response(), start));
        assert!(!outage.is_ongoing());
        outage.on_failure(response(), start + CERTAIN_AFTER);
        assert!(outage.is_ongoing());
    }

    #[test]
    fn success_ends_an_outage() {
        let (outage, cancel) = (Outage::new(), Cancel::new());
        let start = Instant::now();
        for n in 0..10_000 {
            let now = start + Duration::from_secs(n);
            assert!(outage.on_failure(failed(), now).is_none());
            if n % 100 == 99 {
                assert!(outage.is_ongoing());
                outage.end();
                assert!(!outage.is_ongoing());
            }
        }
        assert!(outage.wait_for_turn(&cancel).is_none());
    }

    #[test]
    fn all_threads_end_once_the_run_gave_up() {
        let (outage, cancel) = (Outage::new(), Cancel::new());
        let start = Instant::now();
        for n in 0..MAX_FAILURES {
            outage.on_failure(failed(), start + MIN_TIME * n);
        }
        let cause = outage.wait_for_turn(&cancel);
        assert!(matches!(cause, Some(Cause::GaveUp { failures: FEW_FAILURES, .. })), "{cause:?}");
        outage.end();
        assert!(outage.wait_for_turn(&cancel).is_none());
    }

    #[test]
    fn requests_are_sent_one_by_one_during_an_outage() {
        let (outage, cancel) = (Outage::new(), Cancel::new());
        (0..PACED_AFTER).for_each(|_| _ = outage.on_failure(failed(), Instant::now()));
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| outage.wait_for_turn(&cancel));
            }
        });
        assert!(started.elapsed() >= PACE * 3);
    }
}
