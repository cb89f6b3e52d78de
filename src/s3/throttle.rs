//! Giving way: the number of requests under way is halved when the server asks to slow down, and grows
//! back by one for every round of successes, as TCP does with its window (RFC 5681).

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

pub(super) struct Throttle {
    most: usize,
    /// What `state` says, to be read without its lock.
    limit: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    limit: f64,
    cut: Option<Instant>,
}

impl Throttle {
    /// At most `most` requests are under way.
    pub(super) fn new(most: usize) -> Throttle {
        let state = Mutex::new(State { limit: most as f64, cut: None });
        Throttle { most, limit: AtomicUsize::new(most), state }
    }

    /// How many requests may be under way now; at least one.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
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

    /// A request has succeeded.
    pub(super) fn went_well(&self) {
        if self.limit() >= self.most {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.limit = (state.limit + 1.0 / state.limit).min(self.most as f64);
        self.limit.store(state.limit as usize, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn halves_once_a_round_and_grows_back_one_a_round() {
        let throttle = Throttle::new(32);
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
}
