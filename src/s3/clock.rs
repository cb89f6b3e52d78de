//! The difference between the clocks of this machine and of the server.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::SystemTime,
};

use crate::model::time::Timestamp;

const SECOND: u64 = 1_000_000_000;

/// Requests with a longer round trip, in nanoseconds, are too imprecise to compare clocks.
const MAX_ROUND_TRIP: u64 = 5 * SECOND;

/// An offset of more than this, in nanoseconds, is corrected in signatures. S3 refuses signatures
/// that are off by more than 15 minutes.
const MAX_SIGNING_OFFSET: u64 = 60 * SECOND;

/// The server's clock, as far as the `Date` headers of responses show it.
#[derive(Default)]
pub(crate) struct Clock {
    /// The largest possible difference of the clocks seen so far, in nanoseconds.
    skew: AtomicU64,
    /// How far the server's clock is ahead of the local one by the last response, in nanoseconds:
    /// the smallest possible value, zero if the clocks may agree.
    offset: AtomicI64,
    /// Whether the offset is known.
    is_known: AtomicBool,
}

impl Clock {
    /// Compares the clocks. `date` is the `Date` header of the response to a request that was sent
    /// at `sent`, and that was received just now.
    pub(crate) fn observe(&self, date: Option<&str>, sent: SystemTime) {
        let Some((smallest, largest)) = compare(date, sent) else { return };
        self.offset.store(smallest, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Relaxed);
        self.skew.fetch_max(largest.unsigned_abs(), Ordering::Relaxed);
    }

    /// Compares the clocks like [`observe`](Clock::observe), with the clock of a service that issues
    /// credentials. It counts only until the server's own clock is known, and never for
    /// [`margin`](Clock::margin): the times of objects come from the server.
    pub(crate) fn observe_issuer(&self, date: Option<&str>, sent: SystemTime) {
        if !self.is_known.load(Ordering::Relaxed)
            && let Some((smallest, _)) = compare(date, sent)
        {
            self.offset.store(smallest, Ordering::Relaxed);
        }
    }

    /// Whether the server's clock is known, not only the local one.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// The margin within which a local time and a time of the server may be equal, in nanoseconds:
    /// the measured clock skew, plus the second that S3 rounds its timestamps to.
    pub(crate) fn margin(&self) -> u64 {
        self.skew.load(Ordering::Relaxed).saturating_add(SECOND)
    }

    /// The time for signatures: the local time, or the server's if the clocks are so far apart that
    /// the server may refuse the local time.
    pub(crate) fn signing_time(&self) -> SystemTime {
        let now = Timestamp::from(SystemTime::now());
        let offset = self.offset.load(Ordering::Relaxed);
        let correction = if offset.unsigned_abs() > MAX_SIGNING_OFFSET { offset } else { 0 };
        Timestamp::from_nanos(now.nanos().saturating_add(correction)).into()
    }
}

/// Compares the local clock with the `Date` header of a response, which was received just now.
/// `None` if the header is missing, or the round trip took too long.
fn compare(date: Option<&str>, sent: SystemTime) -> Option<(i64, i64)> {
    let date = Timestamp::from(httpdate::parse_http_date(date?).ok()?).nanos();
    let (sent, received) =
        (Timestamp::from(sent).nanos(), Timestamp::from(SystemTime::now()).nanos());
    (received.abs_diff(sent) <= MAX_ROUND_TRIP).then(|| offset_range(date, sent, received))
}

/// How far the server's clock is ahead of the local one: the smallest and the largest possible
/// offset by absolute value, or zero if the clocks may agree.
///
/// `date` is the whole second of the server's `Date` header. `sent` and `received` are the local
/// times around the exchange. All are in nanoseconds.
fn offset_range(date: i64, sent: i64, received: i64) -> (i64, i64) {
    let least = date.saturating_sub(received);
    let most = date.saturating_add(SECOND as i64).saturating_sub(sent);
    if least > 0 {
        (least, most)
    } else if most < 0 {
        (most, least)
    } else {
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_may_agree_have_no_offset() {
        const S: i64 = 1_000_000_000;
        // The arguments are `date`, `sent` and `received`.
        let agree = (0, 0);
        assert_eq!(offset_range(100 * S, 100 * S + 5, 100 * S + 9), agree);
        assert_eq!(offset_range(100 * S, 99 * S, 100 * S), agree);
        assert_eq!(offset_range(100 * S, 100 * S + S - 1, 101 * S + 1), agree);
        let ahead = offset_range(400 * S, 100 * S, 100 * S + 10);
        assert_eq!(ahead, (300 * S - 10, 301 * S));
        assert_eq!(offset_range(100 * S, 400 * S, 401 * S), (-299 * S, -301 * S));
        assert_eq!(offset_range(i64::MAX, i64::MIN, i64::MIN).1, i64::MAX);
    }
}
