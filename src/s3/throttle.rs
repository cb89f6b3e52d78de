//! How many requests are under way at a time: as TCP does with its window (RFC 5681), it begins with some
//! (with all, where the server is known to be far), doubles them with every round that shows the server to
//! be far, halves them when the server asks to slow down, and from then on adds one a round.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How many requests it begins with.
const BEGIN: usize = 64;

/// A server that takes less for an answer, by and large, is near: more requests would only wait for the
/// same processors.
const NEAR: Duration = Duration::from_millis(10);

/// A server that has never taken less is far, beyond doubt.
const FAR: Duration = Duration::from_millis(20);

pub(super) struct Throttle {
    most: AtomicUsize,
    /// What `state` says, to be read without its lock.
    limit: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    limit: f64,
    /// What the server has taken for an answer, the last ones counting most.
    usual: Duration,
    /// The least that it has ever taken.
    least: Option<Duration>,
    cut: Option<Instant>,
}

impl Throttle {
    pub(super) fn new() -> Throttle {
        let state = Mutex::new(State { limit: 1.0, usual: Duration::ZERO, least: None, cut: None });
        Throttle { most: AtomicUsize::new(1), limit: AtomicUsize::new(1), state }
    }

    /// Something begins that has at most `most` requests under way.
    pub(super) fn begin(&self, most: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_far = state.least.is_some_and(|least| least >= FAR);
        let begin = if is_far { most } else { most.min(BEGIN) };
        *state = State { limit: begin as f64, usual: Duration::ZERO, cut: None, ..*state };
        self.most.store(most, Ordering::Relaxed);
        self.limit.store(begin, Ordering::Relaxed);
    }

    /// How many requests may be under way now; at least one.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        self.limit() >= self.most.load(Ordering::Relaxed)
    }

    /// The server has asked for less, in answer to a request that was sent at `sent`. Requests that were
    /// under way at the last cut are refused together, and count as one refusal.
    pub(super) fn slow_down(&self, sent: Instant, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cut.is_none_or(|cut| sent >= cut) {
            state.cut = Some(now);
            state.limit = (state.limit / 2.0).max(1.0);
            self.limit.store(state.limit as usize, Ordering::Relaxed);
        }
    }

    /// The server has begun to answer a request after that time.
    pub(super) fn answered(&self, took: Duration) {
        // One more or less doesn't matter.
        let Ok(mut state) = self.state.try_lock() else { return };
        state.usual = state.usual * 15 / 16 + took / 16;
        state.least = Some(state.least.map_or(took, |least| least.min(took)));
        if state.cut.is_none() && state.usual >= NEAR {
            self.grow(&mut state, 1.0);
        }
    }

    /// A request has succeeded.
    pub(super) fn went_well(&self) {
        if self.is_open() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.cut.is_some() {
            let by = 1.0 / state.limit;
            self.grow(&mut state, by);
        }
    }

    fn grow(&self, state: &mut State, by: f64) {
        state.limit = (state.limit + by).min(self.most.load(Ordering::Relaxed) as f64);
        self.limit.store(state.limit as usize, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_once_a_round_and_grows_back_one_a_round() {
        let throttle = Throttle::new();
        throttle.begin(32);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        for n in 0..32 {
            throttle.slow_down(start, after(100 + n));
        }
        assert_eq!(throttle.limit(), 16);
        (1..10).for_each(|n| throttle.slow_down(after(200 * n), after(200 * n + 100)));
        assert_eq!(throttle.limit(), 1);
        throttle.went_well();
        assert_eq!(throttle.limit(), 2);
        (0..1_000).for_each(|_| throttle.went_well());
        assert_eq!(throttle.limit(), 32);
    }

    #[test]
    fn doubles_with_every_round_while_the_server_is_far() {
        let throttle = Throttle::new();
        throttle.begin(256);
        (0..1_000).for_each(|_| throttle.answered(NEAR / 2));
        assert_eq!(throttle.limit(), BEGIN);
        throttle.answered(NEAR * 8);
        assert_eq!(throttle.limit(), BEGIN, "only one of many");
        (0..BEGIN).for_each(|_| throttle.answered(NEAR * 3));
        assert!((2 * BEGIN - 10..=2 * BEGIN).contains(&throttle.limit()));
        (0..1_000).for_each(|_| throttle.answered(NEAR * 3));
        assert_eq!(throttle.limit(), 256);
        throttle.begin(8);
        assert_eq!(throttle.limit(), 8);
        throttle.begin(256);
        assert_eq!(throttle.limit(), BEGIN, "it was near once");
        let throttle = Throttle::new();
        throttle.answered(FAR);
        throttle.begin(256);
        assert_eq!(throttle.limit(), 256);
    }
}
