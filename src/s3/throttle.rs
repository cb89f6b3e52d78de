//! Limits the requests in flight, like the congestion window of TCP (RFC 5681).
//!
//! - A phase starts with [`INITIAL_LIMIT`] requests, or with the maximum if latency is known to be
//!   high.
//! - While responses are slow because of latency and not because of load, the limit doubles every
//!   round trip (slow start).
//! - When the server throttles, the limit is halved, and from then on it grows by one every round
//!   trip.
//! - When a connection fails, the limit drops to the connections that are left: see [`Ceiling`].

use std::{
    mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
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

/// The pause after a new connection has failed, until more connections are tried again.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The longest such pause.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(300);

/// A failed probe that took long, because it was never answered, is repeated after this many times that
/// long.
const PROBE_COST_FACTOR: u32 = 10;

/// How long the limit grows slowly after a working connection has broken.
const RECOVERY_TIME: Duration = Duration::from_secs(1);

/// How often a thread that waits for a permit checks for a cancellation.
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Limits the requests in flight.
pub(crate) struct Throttle {
    /// The most requests in flight that this phase can use.
    max: AtomicUsize,
    /// The limit in `window`, rounded down. It can be read without the lock.
    limit: AtomicUsize,
    is_latency_bound: AtomicBool,
    /// A copy of that in the window, in nanoseconds: each request reads it, and must not wait for the lock.
    min_latency: AtomicU64,
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
    /// When the limit was last lowered because a connection failed.
    lowered_at: Option<Instant>,
    ceiling: Option<Ceiling>,
}

/// The number of connections that the server, or something on the way to it, seems to allow.
///
/// Some servers, routers and storage devices refuse, reset or ignore all connections above a limit. When
/// a new connection fails, those that are left show the limit. The run stays just below it, and tries
/// more connections only now and then: after a pause that doubles with each failure. If more
/// connections work, the next probe follows at once, with twice as many. So a connection that failed
/// by chance costs a few round trips.
struct Ceiling {
    level: usize,
    /// How many more connections the next probe tries.
    step: usize,
    probe_at: Instant,
    /// The pause before `probe_at`.
    interval: Duration,
}

impl Window {
    fn is_latency_bound(&self) -> bool {
        let min = self.min_latency.unwrap_or_default();
        self.usual_latency >= HIGH_LATENCY && self.usual_latency < min * BUSY_FACTOR
    }

    /// The highest limit that the ceiling allows now.
    fn allowed(&self, now: Instant) -> usize {
        match &self.ceiling {
            None => usize::MAX,
            Some(ceiling) if now < ceiling.probe_at => ceiling.level,
            Some(ceiling) => ceiling.level + ceiling.step,
        }
    }
}

/// The permission to have one request in flight, until it is dropped.
pub(crate) struct Permit<'a> {
    throttle: &'a Throttle,
    /// The number of requests that were in flight when this one began, itself included.
    rank: usize,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.throttle.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.throttle.waiting.load(Ordering::SeqCst) > 0 {
            // Taking the lock ensures that no thread is between its check and its wait, where it
            // would miss the notification.
            drop(self.throttle.window());
            self.throttle.permit_returned.notify_one();
        }
    }
}

/// The connection of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionUse {
    /// It was opened for this request.
    pub is_new: bool,
    /// A part of the response has arrived.
    pub has_response: bool,
    /// The open connections that have served a request, idle ones included.
    pub working: usize,
}

impl Permit<'_> {
    /// Takes account of a request that succeeded.
    pub(crate) fn on_success(self, used: ConnectionUse, now: Instant) {
        self.throttle.on_success(self.rank, used, now);
    }

    /// Lowers the limit, because the connection failed of a request that was sent at `sent`.
    ///
    /// Returns whether the limit is lower now than when the request was sent.
    pub(crate) fn on_connection_failed(
        self,
        used: ConnectionUse,
        sent: Instant,
        now: Instant,
    ) -> bool {
        let throttle = self.throttle;
        let mut window = throttle.window();
        let is_lower = throttle.on_connection_failed(&mut window, used, sent, now);
        // Returned only now, so that no other request takes its place, and before the next failure is
        // counted.
        throttle.in_flight.fetch_sub(1, Ordering::SeqCst);
        mem::forget(self);
        drop(window);
        if throttle.waiting.load(Ordering::SeqCst) > 0 {
            throttle.permit_returned.notify_one();
        }
        is_lower
    }
}

impl Throttle {
    pub(crate) fn new() -> Throttle {
        let window = Window {
            limit: 1.0,
            usual_latency: Duration::ZERO,
            min_latency: None,
            halved_at: None,
            lowered_at: None,
            ceiling: None,
        };
        Throttle {
            max: AtomicUsize::new(1),
            limit: AtomicUsize::new(1),
            is_latency_bound: AtomicBool::new(false),
            min_latency: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            window: Mutex::new(window),
            permit_returned: Condvar::new(),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a phase that has at most `max` requests in flight. A limit of connections that an earlier
    /// phase has met still applies.
    pub(crate) fn start_phase(&self, max: usize) {
        let mut window = self.window();
        let min_latency = window.min_latency.unwrap_or_default();
        let limit =
            if min_latency >= CERTAINLY_HIGH_LATENCY { max } else { max.min(INITIAL_LIMIT) };
        let ceiling = window.ceiling.take().filter(|ceiling| ceiling.level < max);
        let limit = ceiling.as_ref().map_or(limit, |ceiling| limit.min(ceiling.level));
        *window = Window {
            limit: limit as f64,
            usual_latency: min_latency,
            min_latency: window.min_latency,
            halved_at: None,
            lowered_at: window.lowered_at,
            ceiling,
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

    /// The shortest time in which the server has responded. Zero, if it has not responded yet.
    pub(crate) fn min_latency(&self) -> Duration {
        Duration::from_nanos(self.min_latency.load(Ordering::Relaxed))
    }

    /// Waits until another request may be in flight, or until the run is cancelled.
    pub(crate) fn acquire(&self, cancel: &Cancel) -> Permit<'_> {
        let try_acquire = || {
            let one_more = |in_flight| (in_flight < self.limit()).then_some(in_flight + 1);
            self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()
        };
        if let Some(others) = try_acquire() {
            return Permit { throttle: self, rank: others + 1 };
        }
        let mut window = self.window();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let others = loop {
            if let Some(others) = try_acquire() {
                break others;
            }
            if cancel.is_cancelled() {
                break self.in_flight.fetch_add(1, Ordering::SeqCst);
            }
            let woken = self.permit_returned.wait_timeout(window, CANCEL_CHECK_INTERVAL);
            window = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Permit { throttle: self, rank: others + 1 }
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

    fn on_connection_failed(
        &self,
        window: &mut Window,
        used: ConnectionUse,
        sent: Instant,
        now: Instant,
    ) -> bool {
        let was_lowered = window.lowered_at.is_some_and(|lowered_at| sent < lowered_at);
        let others = self.in_flight.load(Ordering::SeqCst).saturating_sub(1);
        if others == 0 && !was_lowered {
            // It did not fail because of other connections.
            return false;
        }
        let have_all_failed = others == 0 && used.working == 0;
        if have_all_failed {
            // That shows no limit of connections.
            window.ceiling = None;
        }
        let left = others.max(used.working).max(1);
        if left >= self.limit() {
            return was_lowered;
        }
        window.lowered_at = Some(now);
        self.set_limit(window, left as f64);
        if used.is_new && !used.has_response && !have_all_failed {
            let interval = match &window.ceiling {
                None => FIRST_PROBE_INTERVAL,
                Some(ceiling) if was_lowered => ceiling.interval,
                Some(ceiling) => ceiling.interval * 2,
            };
            let cost = now.saturating_duration_since(sent).saturating_mul(PROBE_COST_FACTOR);
            let interval = interval.max(cost).min(MAX_PROBE_INTERVAL);
            let probe_at = now + interval;
            window.ceiling = Some(Ceiling { level: left, step: 1, probe_at, interval });
        }
        true
    }

    /// Takes account of the latency of a response.
    pub(crate) fn on_response(&self, latency: Duration) {
        // One sample more or less makes no difference, so do not wait for the lock.
        let Ok(mut window) = self.window.try_lock() else { return };
        window.usual_latency = window.usual_latency * 15 / 16 + latency / 16;
        let min_latency = window.min_latency.map_or(latency, |min| min.min(latency));
        window.min_latency = Some(min_latency);
        let nanos = u64::try_from(min_latency.as_nanos()).unwrap_or(u64::MAX);
        self.min_latency.store(nanos, Ordering::Relaxed);
        let is_latency_bound = window.is_latency_bound();
        self.is_latency_bound.store(is_latency_bound, Ordering::Relaxed);
        if window.halved_at.is_none() && window.ceiling.is_none() && is_latency_bound {
            let has_recovered = |lowered_at: Instant| lowered_at.elapsed() >= RECOVERY_TIME;
            if window.lowered_at.is_none_or(has_recovered) {
                self.grow(&mut window, 1.0);
            }
        }
    }

    /// Called while the permit of the request is still held.
    fn on_success(&self, rank: usize, used: ConnectionUse, now: Instant) {
        let max = self.max.load(Ordering::Relaxed);
        if self.limit() >= max {
            return;
        }
        let mut window = self.window();
        if let Some(ceiling) = &mut window.ceiling {
            let probed = ceiling.level + ceiling.step;
            let is_probe = used.is_new && rank >= probed;
            if now >= ceiling.probe_at && (is_probe || used.working >= probed) {
                *ceiling = Ceiling {
                    level: probed,
                    step: ceiling.step * 2,
                    probe_at: now,
                    interval: FIRST_PROBE_INTERVAL,
                };
                if probed >= max {
                    window.ceiling = None;
                }
            }
        }
        if let Some(ceiling) = &window.ceiling
            && self.limit() >= ceiling.level
        {
            // A probe opens all its connections at once.
            let allowed = window.allowed(now).min(max).max(self.limit());
            self.set_limit(&mut window, allowed as f64);
            return;
        }
        if window.halved_at.is_some() || window.lowered_at.is_some() {
            let one_per_round_trip = 1.0 / window.limit;
            self.grow(&mut window, one_per_round_trip);
        }
    }

    fn grow(&self, window: &mut Window, by: f64) {
        let allowed = window.allowed(Instant::now()).min(self.max.load(Ordering::Relaxed));
        let grown = (window.limit + by).min((allowed as f64).max(window.limit));
        self.set_limit(window, grown);
    }

    fn set_limit(&self, window: &mut Window, limit: f64) {
        window.limit = limit;
        self.limit.store(limit as usize, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(is_new: bool, working: usize) -> ConnectionUse {
        ConnectionUse { is_new, has_response: false, working }
    }

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
        let success = || throttle.acquire(&Cancel::new()).on_success(used(false, 32), start);
        success();
        assert_eq!(throttle.limit(), 2);
        (0..1_000).for_each(|_| success());
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

    /// Sends requests for `rounds` round trips of 100 ms through a limit of connections. Returns the
    /// number of requests that succeeded, and in how many rounds one failed.
    fn through_limit(
        throttle: &Throttle,
        limit: usize,
        keep_alive: bool,
        rounds: u64,
    ) -> (usize, usize) {
        let (cancel, start) = (Cancel::new(), Instant::now());
        let (mut open, mut done, mut failed) = (0, 0, 0);
        for round in 0..rounds {
            let sent = start + Duration::from_millis(100 * round);
            let permits: Vec<_> =
                (0..throttle.limit()).map(|_| throttle.acquire(&cancel)).collect();
            let (reused, before) = (open, done);
            let allowed = permits.len().min(limit);
            let new = allowed.saturating_sub(reused);
            let mut works = Vec::new();
            let mut fails = Vec::new();
            for (n, permit) in permits.into_iter().enumerate() {
                if n < reused || n < reused + new {
                    works.push((n >= reused, permit))
                } else {
                    fails.push(permit)
                }
            }
            failed += usize::from(!fails.is_empty());
            for permit in fails {
                let used = used(true, open);
                permit.on_connection_failed(used, sent, sent + Duration::from_millis(1));
            }
            open = if keep_alive { open.max(allowed) } else { 0 };
            for (is_new, permit) in works {
                permit.on_success(used(is_new, open), sent + Duration::from_millis(100));
                done += 1;
            }
            assert!(done - before <= limit);
        }
        (done, failed)
    }

    #[test]
    fn limit_of_connections_is_found_at_once_and_then_rarely_exceeded() {
        for (max, limit) in [(64, 1), (64, 2), (64, 8), (512, 16), (512, 64), (512, 200), (64, 63)]
        {
            for keep_alive in [true, false] {
                let throttle = Throttle::new();
                throttle.on_response(CERTAINLY_HIGH_LATENCY);
                throttle.start_phase(max);
                let (done, failed) = through_limit(&throttle, limit, keep_alive, 600);
                let case = format!("{limit} of {max}: {done} done, {failed} rounds failed");
                assert!(done >= limit * 595, "{case}");
                assert!(failed <= 12, "{case}");
                // The next phase knows the limit.
                throttle.start_phase(max);
                assert!(throttle.limit() <= limit + 1, "{case}, then {}", throttle.limit());
                // Once the limit is gone, the run soon uses all requests.
                let (done, _) = through_limit(&throttle, usize::MAX, keep_alive, 4_000);
                assert!(throttle.limit() == max && done > max * 600, "{case}, then {done}");
            }
        }
    }

    #[test]
    fn single_broken_connection_costs_little() {
        for is_new in [true, false] {
            let throttle = Throttle::new();
            throttle.on_response(CERTAINLY_HIGH_LATENCY);
            throttle.start_phase(256);
            let (cancel, now) = (Cancel::new(), Instant::now());
            let mut permits: Vec<_> = (0..256).map(|_| throttle.acquire(&cancel)).collect();
            let broken = permits.pop().unwrap();
            assert!(broken.on_connection_failed(used(is_new, 255), now, now));
            assert_eq!(throttle.limit(), 255);
            drop(permits);
            through_limit(&throttle, usize::MAX, true, 5);
            assert_eq!(throttle.limit(), 256);
        }
    }

    #[test]
    fn server_that_comes_back_is_used_fully_again() {
        let throttle = Throttle::new();
        throttle.on_response(CERTAINLY_HIGH_LATENCY);
        throttle.start_phase(256);
        let (cancel, sent) = (Cancel::new(), Instant::now());
        let now = sent + Duration::from_secs(60);
        let permits: Vec<_> = (0..256).map(|_| throttle.acquire(&cancel)).collect();
        for permit in permits {
            permit.on_connection_failed(used(true, 0), sent, now);
        }
        assert_eq!(throttle.limit(), 1);
        // A request that fails alone says nothing about other connections.
        let alone = throttle.acquire(&cancel);
        assert!(!alone.on_connection_failed(used(true, 0), now, now));
        through_limit(&throttle, usize::MAX, true, 300);
        assert_eq!(throttle.limit(), 256);
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
