//! How many requests are under way at a time: as TCP does with its window (RFC 5681), it begins with some
//! (with all, where the server is known to be far), doubles them with every round that shows the server to
//! be far rather than busy, halves them when the server asks to slow down, and from then on adds one a round.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::cancel::Cancel;

/// How many requests it begins with.
const BEGIN: usize = 64;

/// A server that takes less for an answer, by and large, is near: more requests would only wait for the
/// same processors.
const NEAR: Duration = Duration::from_millis(10);

/// One that takes so many times as long as it once took is busy: more requests would only wait in its queue
/// (as TCP Vegas tells the one from the other).
const BUSY: u32 = 4;

/// A server that has never taken less is far, beyond doubt: it gets all at once.
const FAR: Duration = Duration::from_millis(20);

/// How often those that wait for their turn look whether a stop was asked for.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct Throttle {
    most: AtomicUsize,
    /// What `state` says, to be read without its lock.
    limit: AtomicUsize,
    is_far: AtomicBool,
    under_way: AtomicUsize,
    waiting: AtomicUsize,
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    limit: f64,
    /// What the server has taken for an answer, the last ones counting most: at first, the least known.
    usual: Duration,
    /// The least that it has ever taken.
    least: Option<Duration>,
    cut: Option<Instant>,
}

impl State {
    fn is_far(&self) -> bool {
        let least = self.least.unwrap_or_default();
        self.usual >= NEAR && self.usual < least * BUSY
    }
}

/// One request under way, until it is dropped.
pub(super) struct Turn<'a>(&'a Throttle);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            // Taking the lock keeps the wake-up from falling between a waiter's look and its sleep.
            drop(self.0.state());
            self.0.room.notify_one();
        }
    }
}

impl Throttle {
    pub(super) fn new() -> Throttle {
        Throttle {
            most: AtomicUsize::new(1),
            limit: AtomicUsize::new(1),
            is_far: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(State { limit: 1.0, usual: Duration::ZERO, least: None, cut: None }),
            room: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something begins that has at most `most` requests under way.
    pub(super) fn start_phase(&self, most: usize) {
        let mut state = self.state();
        let least = state.least.unwrap_or_default();
        let begin = if least >= FAR { most } else { most.min(BEGIN) };
        *state = State { limit: begin as f64, usual: least, cut: None, ..*state };
        self.most.store(most, Ordering::Relaxed);
        self.limit.store(begin, Ordering::Relaxed);
        self.is_far.store(state.is_far(), Ordering::Relaxed);
    }

    /// How many requests may be under way now; at least one.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether the server is far, as its last answers tell: then more at a time gets more done.
    pub(super) fn is_far(&self) -> bool {
        self.is_far.load(Ordering::Relaxed)
    }

    /// Waits until one more request may be under way, or a stop was asked for.
    pub(super) fn turn(&self, cancel: &Cancel) -> Turn<'_> {
        let has_room = || {
            let one_more = |under_way| (under_way < self.limit()).then_some(under_way + 1);
            self.under_way.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
        };
        if has_room() {
            return Turn(self);
        }
        let mut state = self.state();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while !has_room() {
            if cancel.is_cancelled() {
                self.under_way.fetch_add(1, Ordering::SeqCst);
                break;
            }
            let woken = self.room.wait_timeout(state, LOOK);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Turn(self)
    }

    fn is_open(&self) -> bool {
        self.limit() >= self.most.load(Ordering::Relaxed)
    }

    /// The server has asked for less, in answer to a request that was sent at `sent`. Requests that were
    /// under way at the last cut are refused together, and count as one refusal. Whether there is less now
    /// than when it was sent.
    pub(super) fn slow_down(&self, sent: Instant, now: Instant) -> bool {
        let mut state = self.state();
        if state.cut.is_some_and(|cut| sent < cut) {
            return true;
        }
        let was = self.limit();
        state.cut = Some(now);
        state.limit = (state.limit / 2.0).max(1.0);
        self.limit.store(state.limit as usize, Ordering::Relaxed);
        self.limit() < was
    }

    /// The server has begun to answer a request after that time.
    pub(super) fn answered(&self, took: Duration) {
        // One more or less doesn't matter.
        let Ok(mut state) = self.state.try_lock() else { return };
        state.usual = state.usual * 15 / 16 + took / 16;
        state.least = Some(state.least.map_or(took, |least| least.min(took)));
        let is_far = state.is_far();
        self.is_far.store(is_far, Ordering::Relaxed);
        if state.cut.is_none() && is_far {
            self.grow(&mut state, 1.0);
        }
    }

    /// A request has succeeded.
    pub(super) fn went_well(&self) {
        if self.is_open() {
            return;
        }
        let mut state = self.state();
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
        throttle.start_phase(32);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        for n in 0..32 {
            assert!(throttle.slow_down(start, after(100 + n)));
        }
        assert_eq!(throttle.limit(), 16);
        let gave_way = (1..10).filter(|n| throttle.slow_down(after(200 * n), after(200 * n + 100)));
        assert_eq!((gave_way.count(), throttle.limit()), (4, 1));
        throttle.went_well();
        assert_eq!(throttle.limit(), 2);
        (0..1_000).for_each(|_| throttle.went_well());
        assert_eq!(throttle.limit(), 32);
    }

    #[test]
    fn doubles_with_every_round_while_the_server_is_far() {
        let throttle = Throttle::new();
        throttle.start_phase(256);
        (0..1_000).for_each(|_| throttle.answered(NEAR * 4 / 5));
        assert_eq!(throttle.limit(), BEGIN);
        throttle.answered(NEAR * 2);
        assert_eq!(throttle.limit(), BEGIN, "only one of many");
        (0..BEGIN).for_each(|_| throttle.answered(NEAR * 3));
        assert!((2 * BEGIN - 10..=2 * BEGIN).contains(&throttle.limit()));
        (0..1_000).for_each(|_| throttle.answered(NEAR * 3));
        assert_eq!(throttle.limit(), 256);
        throttle.start_phase(8);
        assert_eq!(throttle.limit(), 8);
        throttle.start_phase(256);
        assert_eq!(throttle.limit(), BEGIN, "it was near once");
        throttle.answered(NEAR / 10);
        (0..1_000).for_each(|_| throttle.answered(NEAR * 3));
        assert_eq!((throttle.limit(), throttle.is_far()), (BEGIN, false), "it is only busy");
        let throttle = Throttle::new();
        throttle.answered(FAR);
        throttle.start_phase(1_000);
        assert_eq!((throttle.limit(), throttle.is_far()), (1_000, true));
        throttle.answered(FAR);
        assert!(throttle.is_far(), "from the first answer on");
    }

    #[test]
    fn never_more_at_a_time_than_the_limit() {
        let (throttle, cancel) = (Throttle::new(), Cancel::new());
        throttle.start_phase(3);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _turn = throttle.turn(&cancel);
                        let busy = now.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(busy, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_micros(200));
                        now.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
        // Who is asked to stop does not wait.
        let _turns = [0; 3].map(|_| throttle.turn(&cancel));
        cancel.cancel();
        drop(throttle.turn(&cancel));
    }
}
