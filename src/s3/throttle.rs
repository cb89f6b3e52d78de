//! Limits the requests in flight, like the congestion window of TCP (RFC 5681).
//!
//! - A phase starts with [`INITIAL_LIMIT`] requests, or with the maximum if latency is known to be
//!   high.
//! - While responses are slow because of latency and not because of load, the limit doubles every
//!   round trip (slow start).
//! - When the server throttles, the limit is halved, and from then on it grows by one every round
//!   trip.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::cancel::Cancel;

/// The limit at the start of a phase.
const INITIAL_LIMIT: usize = 64;

/// A usual latency below this means a server nearby: more requests would only wait for the same
/// processors.
const HIGH_LATENCY: Duration = Duration::from_millis(10);

/// A usual latency of this many times the minimum means a busy server: more requests would only
/// wait in its queue. TCP Vegas uses the same distinction.
const BUSY_FACTOR: u32 = 4;

/// A minimum latency above this leaves no doubt about the distance: a phase starts with all
/// requests.
const CERTAINLY_HIGH_LATENCY: Duration = Duration::from_millis(20);

/// How often a thread that waits for a permit checks for a cancellation.
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Limits the requests in flight.
pub(crate) struct Throttle {
    /// The most requests in flight that this phase can use.
    max: AtomicUsize,
    /// The limit in `window`, rounded down. It can be read without the lock.
    limit: AtomicUsize,
    is_latency_bound: AtomicBool,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    window: Mutex<Window>,
    permit_returned: Condvar,
}

struct Window {
    limit: f64,
    /// A moving average of the latency. A phase starts with the minimum.
    usual_latency: Duration,
    min_latency: Option<Duration>,
    /// When the limit was last halved in this phase.
    halved_at: Option<Instant>,
}

impl Window {
    fn is_latency_bound(&self) -> bool {
        let min = self.min_latency.unwrap_or_default();
        self.usual_latency >= HIGH_LATENCY && self.usual_latency < min * BUSY_FACTOR
    }
}

/// The permission to have one request in flight, until it is dropped.
pub(crate) struct Permit<'a>(&'a Throttle);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            // Taking the lock ensures that no thread is between its check and its wait, where it
            // would miss the notification.
            drop(self.0.window());
            self.0.permit_returned.notify_one();
        }
    }
}

impl Throttle {
    pub(crate) fn new() -> Throttle {
        let window = Window {
            limit: 1.0,
            usual_latency: Duration::ZERO,
            min_latency: None,
            halved_at: None,
        };
        Throttle {
            max: AtomicUsize::new(1),
            limit: AtomicUsize::new(1),
            is_latency_bound: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            window: Mutex::new(window),
            permit_returned: Condvar::new(),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a phase that has at most `max` requests in flight.
    pub(crate) fn start_phase(&self, max: usize) {
        let mut window = self.window();
        let min_latency = window.min_latency.unwrap_or_default();
        let limit =
            if min_latency >= CERTAINLY_HIGH_LATENCY { max } else { max.min(INITIAL_LIMIT) };
        *window = Window {
            limit: limit as f64,
            usual_latency: min_latency,
            min_latency: window.min_latency,
            halved_at: None,
        };
        self.max.store(max, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        self.is_latency_bound.store(window.is_latency_bound(), Ordering::Relaxed);
    }

    /// The most requests that may be in flight at the moment. At least one.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether latency, not load, determines how long requests take. If so, more requests in flight
    /// complete more requests.
    pub(crate) fn is_latency_bound(&self) -> bool {
        self.is_latency_bound.load(Ordering::Relaxed)
    }

    /// Waits until another request may be in flight, or until the run is cancelled.
    pub(crate) fn acquire(&self, cancel: &Cancel) -> Permit<'_> {
        let try_acquire = || {
            let one_more = |in_flight| (in_flight < self.limit()).then_some(in_flight + 1);
            self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
        };
        if try_acquire() {
            return Permit(self);
        }
        let mut window = self.window();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while !try_acquire() {
            if cancel.is_cancelled() {
                self.in_flight.fetch_add(1, Ordering::SeqCst);
                break;
            }
            let woken = self.permit_returned.wait_timeout(window, CANCEL_CHECK_INTERVAL);
            window = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Permit(self)
    }

    /// Halves the limit, because the server throttled a request that was sent at `sent`. Requests
    /// that were in flight when the limit was last halved are throttled together and count once.
    ///
    /// Returns whether the limit is lower now than when the request was sent.
    pub(crate) fn on_throttled(&self, sent: Instant, now: Instant) -> bool {
        let mut window = self.window();
        if window.halved_at.is_some_and(|halved_at| sent < halved_at) {
            return true;
        }
        let old_limit = self.limit();
        window.halved_at = Some(now);
        window.limit = (window.limit / 2.0).max(1.0);
        self.limit.store(window.limit as usize, Ordering::Relaxed);
        self.limit() < old_limit
    }

    /// Takes account of the latency of a response.
    pub(crate) fn on_response(&self, latency: Duration) {
        // One sample more or less makes no difference, so do not wait for the lock.
        let Ok(mut window) = self.window.try_lock() else { return };
        window.usual_latency = window.usual_latency * 15 / 16 + latency / 16;
        window.min_latency = Some(window.min_latency.map_or(latency, |min| min.min(latency)));
        let is_latency_bound = window.is_latency_bound();
        self.is_latency_bound.store(is_latency_bound, Ordering::Relaxed);
        if window.halved_at.is_none() && is_latency_bound {
            self.grow(&mut window, 1.0);
        }
    }

    /// Takes account of a request that succeeded.
    pub(crate) fn on_success(&self) {
        if self.limit() >= self.max.load(Ordering::Relaxed) {
            return;
        }
        let mut window = self.window();
        if window.halved_at.is_some() {
            let one_per_round_trip = 1.0 / window.limit;
            self.grow(&mut window, one_per_round_trip);
        }
    }

    fn grow(&self, window: &mut Window, by: f64) {
        window.limit = (window.limit + by).min(self.max.load(Ordering::Relaxed) as f64);
        self.limit.store(window.limit as usize, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_halves_once_per_round_trip_and_grows_back_by_one() {
        let throttle = Throttle::new();
        throttle.start_phase(32);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        for n in 0..32 {
            assert!(throttle.on_throttled(start, after(100 + n)));
        }
        assert_eq!(throttle.limit(), 16);
        let dropped =
            (1..10).filter(|n| throttle.on_throttled(after(200 * n), after(200 * n + 100)));
        assert_eq!((dropped.count(), throttle.limit()), (4, 1));
        throttle.on_success();
        assert_eq!(throttle.limit(), 2);
        (0..1_000).for_each(|_| throttle.on_success());
        assert_eq!(throttle.limit(), 32);
    }

    #[test]
    fn limit_doubles_per_round_trip_while_latency_bound() {
        let throttle = Throttle::new();
        throttle.start_phase(256);
        (0..1_000).for_each(|_| throttle.on_response(HIGH_LATENCY * 4 / 5));
        assert_eq!(throttle.limit(), INITIAL_LIMIT);
        throttle.on_response(HIGH_LATENCY * 2);
        assert_eq!(throttle.limit(), INITIAL_LIMIT, "only one of many responses");
        (0..INITIAL_LIMIT).for_each(|_| throttle.on_response(HIGH_LATENCY * 3));
        assert!((2 * INITIAL_LIMIT - 10..=2 * INITIAL_LIMIT).contains(&throttle.limit()));
        (0..1_000).for_each(|_| throttle.on_response(HIGH_LATENCY * 3));
        assert_eq!(throttle.limit(), 256);
        throttle.start_phase(8);
        assert_eq!(throttle.limit(), 8);
        throttle.start_phase(256);
        assert_eq!(throttle.limit(), INITIAL_LIMIT, "the minimum latency was low");
        throttle.on_response(HIGH_LATENCY / 10);
        (0..1_000).for_each(|_| throttle.on_response(HIGH_LATENCY * 3));
        let is_latency_bound = throttle.is_latency_bound();
        assert_eq!((throttle.limit(), is_latency_bound), (INITIAL_LIMIT, false), "only busy");
        let throttle = Throttle::new();
        throttle.on_response(CERTAINLY_HIGH_LATENCY);
        throttle.start_phase(1_000);
        assert_eq!((throttle.limit(), throttle.is_latency_bound()), (1_000, true));
        throttle.on_response(CERTAINLY_HIGH_LATENCY);
        assert!(throttle.is_latency_bound(), "from the first response on");
    }

    #[test]
    fn requests_in_flight_never_exceed_the_limit() {
        let (throttle, cancel) = (Throttle::new(), Cancel::new());
        throttle.start_phase(3);
        let (in_flight, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _permit = throttle.acquire(&cancel);
                        most.fetch_max(
                            in_flight.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        std::thread::sleep(Duration::from_micros(200));
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
        // A cancelled thread does not wait.
        let _permits = [0; 3].map(|_| throttle.acquire(&cancel));
        cancel.cancel();
        drop(throttle.acquire(&cancel));
    }
}
