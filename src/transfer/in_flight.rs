//! Limits the bytes in flight to what a slow line carries.
//!
//! More requests than the line carries only wait in its queues: packets are dropped and sent again, each
//! request takes longer, and more work is lost if the run is interrupted. Fewer do not use the line. So
//! the budget for requests in flight follows the measured throughput:
//!
//! 1. A run starts with [`INITIAL_BUDGET`].
//! 2. The budget never stays below the bytes that are certain to arrive within a few round trips: see
//!    [`budget_for`]. A fast line does not notice it.
//! 3. If requests wait for the budget, it is reduced for a round. If that costs throughput, it is
//!    restored: the requests did not wait for the line, but for a server that takes its time.
//! 4. Then it is raised for a round. If that adds throughput, it stays and is raised further: the
//!    server takes its time, or each connection is slow.

use std::time::{Duration, Instant};

/// The budget at the start, in bytes. A line with 70 kbit/s carries it within the default timeout.
const INITIAL_BUDGET: u64 = 512 << 10;

/// The least budget, in bytes.
const MIN_BUDGET: u64 = 64 << 10;

/// As many requests are always allowed: one uses the line while the other waits for its response.
const MIN_REQUESTS: usize = 2;

/// The bytes of a request that are on their way at a time, at most. A larger one counts as much.
const MAX_ON_THE_WAY: u64 = 512 << 10;

/// How long requests may wait for the line, so that it always has something to do.
const QUEUE_TIME: Duration = Duration::from_millis(150);

/// The round trips that a request of some 100 KiB takes. TCP sends slowly at first.
const ROUND_TRIPS: u32 = 8;

/// From this throughput in bytes per second on, there is more than the usual budget.
const FAST: f64 = 4e6;

/// The shortest time that allows a guess of the throughput.
const MIN_SAMPLE: Duration = Duration::from_millis(10);

/// A round ends when this many times the bytes on their way have moved: what the system buffers then
/// matters little.
const TURNOVERS: u64 = 3;

/// The shortest and the longest round.
const MIN_ROUND: Duration = Duration::from_secs(2);
const MAX_ROUND: Duration = Duration::from_secs(15);

/// The number of rounds without a trial after one that raised the budget for nothing.
const PAUSE: u32 = 8;

/// A budget is replaced by a calculated one only if they differ by more than this factor.
const TOLERANCE: f64 = 1.25;

/// How much the budget is raised.
const RAISE: f64 = 1.5;

/// A raised budget must increase the throughput by this factor.
const MIN_GAIN: f64 = 1.15;

/// A reduced budget must leave this share of the throughput.
const MAX_LOSS: f64 = 0.9;

/// What the client has measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// The bytes that were sent and received.
    pub moved: u64,
    /// The shortest time in which the server has responded.
    pub min_latency: Duration,
}

/// The requests in flight, and how many bytes they may have.
pub(super) struct InFlight {
    /// The bytes on their way.
    bytes: u64,
    requests: usize,
    budget: u64,
    trial: Trial,
    round: Option<Round>,
}

/// What the current round tries.
#[derive(Clone, Copy)]
enum Trial {
    /// Nothing, in this and a number of further rounds.
    None { rounds: u32 },
    /// A smaller budget.
    Less { before: Before },
    /// A larger budget.
    More { before: Before },
}

/// What was before a trial.
#[derive(Clone, Copy)]
struct Before {
    budget: u64,
    /// In bytes per second.
    throughput: f64,
}

struct Round {
    start: Instant,
    moved_before: u64,
    in_flight_before: u64,
    /// The bytes of the requests that have succeeded in this round, each with at most [`MAX_ON_THE_WAY`].
    completed: u64,
    /// A request had to wait.
    was_limited: bool,
}

impl InFlight {
    pub(super) fn new() -> InFlight {
        // In the first round, the system fills its buffers.
        let trial = Trial::None { rounds: 1 };
        InFlight { bytes: 0, requests: 0, budget: INITIAL_BUDGET, trial, round: None }
    }

    /// One that limits nothing.
    #[cfg(test)]
    pub(super) fn unlimited() -> InFlight {
        InFlight { budget: u64::MAX, ..InFlight::new() }
    }

    /// A request for `bytes` starts.
    pub(super) fn start(&mut self, bytes: u64) {
        self.bytes += bytes.min(MAX_ON_THE_WAY);
        self.requests += 1;
    }

    /// A request for `bytes` has ended.
    pub(super) fn end(&mut self, bytes: u64, is_success: bool) {
        let bytes = bytes.min(MAX_ON_THE_WAY);
        self.bytes -= bytes;
        self.requests -= 1;
        if let Some(round) = self.round.as_mut().filter(|_| is_success) {
            round.completed += bytes;
        }
    }

    /// Whether another request may start.
    pub(super) fn may_start(&mut self, now: Instant, measured: Measured) -> bool {
        self.adapt(now, measured);
        let may_start = self.requests < MIN_REQUESTS || self.bytes < self.budget;
        if let Some(round) = &mut self.round {
            round.was_limited |= !may_start;
        }
        may_start
    }

    fn adapt(&mut self, now: Instant, measured: Measured) {
        let Some(round) = &self.round else { return self.start_round(now, measured) };
        let time = now.saturating_duration_since(round.start);
        if time < MIN_SAMPLE {
            return;
        }
        let seconds = time.as_secs_f64();
        // What was in flight at the start may have been on its way for long.
        let completed = round.completed.saturating_sub(round.in_flight_before);
        let moved = measured.moved.saturating_sub(round.moved_before).max(completed);
        let certain = completed.max(moved.saturating_sub(self.bytes)) as f64 / seconds;
        let budget = budget_for(certain, measured.min_latency);
        if budget as f64 > self.budget as f64 * TOLERANCE {
            self.budget = budget;
            self.trial = Trial::None { rounds: 0 };
            return self.start_round(now, measured);
        }
        if time < MIN_ROUND || moved < self.bytes * TURNOVERS && time < MAX_ROUND {
            return;
        }
        if round.was_limited {
            let throughput = moved as f64 / seconds;
            self.end_round(throughput, budget_for(throughput, measured.min_latency));
        }
        self.start_round(now, measured);
    }

    fn start_round(&mut self, now: Instant, measured: Measured) {
        self.round = Some(Round {
            start: now,
            moved_before: measured.moved,
            in_flight_before: self.bytes,
            completed: 0,
            was_limited: false,
        });
    }

    /// A round has ended in which requests had to wait. The line carries `base` without them.
    fn end_round(&mut self, throughput: f64, base: u64) {
        match self.trial {
            Trial::None { rounds: rounds @ 1.. } => {
                self.trial = Trial::None { rounds: rounds - 1 };
            }
            Trial::More { before } if throughput < before.throughput * MIN_GAIN => {
                self.budget = before.budget;
                self.trial = Trial::None { rounds: PAUSE };
            }
            Trial::More { .. } => self.raise(throughput),
            Trial::Less { before } if throughput < before.throughput * MAX_LOSS => {
                self.budget = before.budget;
                self.raise(before.throughput);
            }
            Trial::None { .. } | Trial::Less { .. }
                if self.budget as f64 > base as f64 * TOLERANCE =>
            {
                self.trial = Trial::Less { before: Before { budget: self.budget, throughput } };
                self.budget = base.max(self.budget / 2);
            }
            Trial::Less { .. } => self.trial = Trial::None { rounds: PAUSE },
            Trial::None { .. } => self.raise(throughput),
        }
    }

    /// Raises the budget for a round.
    fn raise(&mut self, throughput: f64) {
        self.trial = Trial::More { before: Before { budget: self.budget, throughput } };
        self.budget = (self.budget as f64 * RAISE) as u64;
    }
}

/// The bytes that have to be in flight to keep a line with this throughput busy.
fn budget_for(throughput: f64, min_latency: Duration) -> u64 {
    let time = QUEUE_TIME + min_latency.saturating_mul(ROUND_TRIPS);
    // A conversion from a float saturates.
    let budget = throughput * time.as_secs_f64() * (throughput / FAST).max(1.0);
    (budget as u64).max(MIN_BUDGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line to a server, and a client that always has more to send.
    struct Line {
        /// In bytes per second, of all connections and of one.
        rate: f64,
        rate_of_a_connection: f64,
        /// The shortest response time, and that of an upload, in seconds.
        latency: f64,
        response_time: f64,
        /// The bytes of a request, on average.
        size: f64,
    }

    /// The averages of the second half of a simulation.
    struct Averages {
        bytes_per_second: f64,
        requests: f64,
    }

    impl Line {
        fn simulate(&self, seconds: f64) -> Averages {
            const STEP: f64 = 0.01;
            let start = Instant::now();
            let mut in_flight = InFlight::new();
            let mut random = fastrand::Rng::with_seed(1);
            // For each request: its bytes, those that are left, and when its response is due.
            let mut requests: Vec<(f64, f64, f64)> = Vec::new();
            let (mut time, mut moved, mut moved_later, mut sum, mut steps) =
                (0.0, 0.0, 0.0, 0.0, 0.0);
            while time < seconds {
                let now = start + Duration::from_secs_f64(time);
                let min_latency = Duration::from_secs_f64(self.latency);
                let measured = Measured { moved: moved as u64, min_latency };
                while requests.len() < 512 && in_flight.may_start(now, measured) {
                    let size = (self.size * (0.5 + random.f64())).floor();
                    in_flight.start(size as u64);
                    requests.push((size, size, f64::INFINITY));
                }
                let is_later = time > seconds / 2.0;
                if is_later {
                    (sum, steps) = (sum + requests.len() as f64, steps + 1.0);
                }
                let sending = requests.iter().filter(|(_, left, _)| *left > 0.0).count();
                let share = self.rate_of_a_connection.min(self.rate / sending.max(1) as f64);
                time += STEP;
                for (_, left, due) in requests.iter_mut().filter(|(_, left, _)| *left > 0.0) {
                    let bytes = (share * STEP).min(*left);
                    *left -= bytes;
                    moved += bytes;
                    moved_later += if is_later { bytes } else { 0.0 };
                    *due = time + self.response_time;
                }
                requests.retain(|(size, left, due)| {
                    let is_done = *left <= 0.0 && *due <= time;
                    if is_done {
                        in_flight.end(*size as u64, true);
                    }
                    !is_done
                });
            }
            Averages { bytes_per_second: moved_later / (seconds / 2.0), requests: sum / steps }
        }
    }

    const KIB: f64 = 1024.0;
    const MIB: f64 = KIB * 1024.0;

    #[test]
    fn slow_line_is_full_with_few_requests() {
        for (rate, latency) in [(1, 0.03), (1, 0.2), (3, 0.03), (3, 0.2), (10, 0.03), (10, 0.2)] {
            let (rate, rate_of_a_connection) = (f64::from(rate) * 125e3, f64::INFINITY);
            let size = 64.0 * KIB;
            let line = Line { rate, rate_of_a_connection, latency, response_time: latency, size };
            let small = line.simulate(120.0);
            assert!(small.bytes_per_second > 0.9 * rate, "{rate} {latency}");
            let most = 3.0 + rate * (8.0 * latency + 0.3) / size;
            assert!(small.requests < most, "{rate} {latency}: {}", small.requests);
            let parts = Line { size: 16.0 * MIB, ..line }.simulate(2_000.0);
            assert!(parts.bytes_per_second > 0.95 * rate, "{rate} {latency}, parts");
            assert!(parts.requests < 6.0, "{rate} {latency}, parts: {}", parts.requests);
        }
    }

    #[test]
    fn fast_line_is_not_limited() {
        let (rate, rate_of_a_connection, latency, response_time) = (1e9, f64::INFINITY, 0.03, 0.03);
        let size = 4.0 * KIB;
        let line = Line { rate, rate_of_a_connection, latency, response_time, size };
        assert!(line.simulate(2.0).requests > 500.0);
        let parts = Line { size: 16.0 * MIB, ..line }.simulate(2.0);
        assert!(parts.bytes_per_second > 0.9 * rate, "{}", parts.bytes_per_second);
    }

    #[test]
    fn server_that_takes_its_time_gets_more_requests() {
        let (rate, rate_of_a_connection, size) = (1e9, f64::INFINITY, 64.0 * KIB);
        let (latency, response_time) = (0.02, 2.0);
        let line = Line { rate, rate_of_a_connection, latency, response_time, size };
        assert!(line.simulate(240.0).requests > 400.0);
    }

    #[test]
    fn slow_connections_are_many() {
        let (rate, rate_of_a_connection, size) = (20e6, 1e6, 16.0 * MIB);
        let (latency, response_time) = (0.2, 0.2);
        let line = Line { rate, rate_of_a_connection, latency, response_time, size };
        let averages = line.simulate(600.0);
        assert!(averages.bytes_per_second > 0.5 * rate, "{}", averages.requests);
    }
}
