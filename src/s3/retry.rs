//! Whether to retry a request, and when.

use std::time::{Duration, SystemTime};

use crate::error::Cause;

/// How many times more often a request is retried while the server throttles or allows few connections,
/// and the limit of requests in flight can still drop.
const THROTTLED_FACTOR: u32 = 4;

/// The longest pause before a retry, not counting `Retry-After`.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// The most seconds of a `Retry-After` that are waited for.
const MAX_RETRY_AFTER: u64 = 60;

/// Counts the failures of one request.
pub(crate) struct Retries {
    limit: u32,
    failed: u32,
    throttled: u32,
    /// Whether the request was repeated because the server had closed an idle connection.
    was_stale: bool,
}

/// What a failure says besides its cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Circumstances {
    /// Fewer requests are in flight because of it: the server throttled the request, or allows no more
    /// connections.
    pub limit_dropped: bool,
    /// The server had closed the idle connection that the request was sent on.
    pub was_stale: bool,
    /// All requests fail at the moment.
    pub is_outage: bool,
}

impl Retries {
    /// Allows `limit` retries.
    pub(crate) fn new(limit: u32) -> Retries {
        Retries { limit, failed: 0, throttled: 0, was_stale: false }
    }

    /// The request has made progress, so earlier failures do not count.
    pub(crate) fn reset(&mut self) {
        *self = Retries::new(self.limit);
    }

    /// The pause before the next try, or `None` if the request has failed for good.
    ///
    /// Failures after which fewer requests are in flight have their own, higher limit. During an outage,
    /// failures are not counted: the run gives up as a whole. Without retries, nothing is retried.
    pub(crate) fn next_pause(
        &mut self,
        cause: &Cause,
        circumstances: Circumstances,
    ) -> Option<Duration> {
        if !cause.is_retryable() {
            return None;
        }
        let Circumstances { limit_dropped, was_stale, is_outage } = circumstances;
        if was_stale && !self.was_stale {
            self.was_stale = true;
            return Some(Duration::ZERO);
        }
        let pause = backoff(self.failed + self.throttled, cause, fastrand::f64());
        if is_outage && self.limit > 0 {
            return Some(pause);
        }
        let (count, limit) = match limit_dropped {
            true => (&mut self.throttled, self.limit.saturating_mul(THROTTLED_FACTOR)),
            false => (&mut self.failed, self.limit),
        };
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(pause)
    }
}

/// The seconds that a `Retry-After` asks to wait: a number, or a date, which is compared with the time of
/// the response by the server's own clock.
pub(crate) fn retry_after_seconds(retry_after: &str, response_date: Option<&str>) -> Option<u64> {
    let text = retry_after.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let date = response_date.and_then(|date| httpdate::parse_http_date(date).ok());
    let now = date.unwrap_or_else(SystemTime::now);
    // A date that has passed asks for no pause.
    Some(until.duration_since(now).map_or(0, |pause| pause.as_secs()))
}

/// Capped exponential backoff with full jitter, after failure number `failed` (from 0).
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
///
/// `random` is from 0 to 1. The pause is at least the server's `Retry-After`, up to a minute.
fn backoff(failed: u32, cause: &Cause, random: f64) -> Duration {
    let ceiling = MAX_PAUSE.min(Duration::from_millis(200) * 2u32.saturating_pow(failed.min(16)));
    let retry_after = match cause {
        Cause::S3 { retry_after: Some(seconds), .. } => (*seconds).min(MAX_RETRY_AFTER),
        _ => 0,
    };
    Duration::from_secs(retry_after) + ceiling.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttled(retry_after: Option<u64>) -> Cause {
        Cause::S3 { status: 503, code: "SlowDown".to_owned(), message: String::new(), retry_after }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_respect_retry_after() {
        let network = Cause::Network(String::new());
        let pause = |failed, random| backoff(failed, &network, random).as_millis();
        assert_eq!([0, 1, 2, 3].map(|failed| pause(failed, 1.0)), [200, 400, 800, 1_600]);
        assert_eq!([7, 100, u32::MAX].map(|failed| pause(failed, 1.0)), [20_000; 3]);
        assert_eq!(pause(3, 0.0), 0);
        assert_eq!(backoff(0, &throttled(Some(7)), 0.0).as_secs(), 7);
        assert_eq!(backoff(0, &throttled(Some(u64::MAX)), 0.0).as_secs(), 60);
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let seconds = |text| retry_after_seconds(text, now);
        assert_eq!([seconds("120"), seconds(" 0 "), seconds("soon")], [Some(120), Some(0), None]);
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:42 GMT"), Some(5));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "in the past");
        let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let by_local_clock = retry_after_seconds(&in_a_minute, None);
        assert!(by_local_clock.is_some_and(|seconds| (55..=60).contains(&seconds)));
    }

    #[test]
    fn retries_depend_on_the_circumstances() {
        let retries = |limit, cause: &Cause, circumstances: Circumstances| {
            let mut retries = Retries::new(limit);
            (0..100).take_while(|_| retries.next_pause(cause, circumstances).is_some()).count()
        };
        let usual = Circumstances::default();
        let limit_dropped = Circumstances { limit_dropped: true, ..usual };
        let was_stale = Circumstances { was_stale: true, ..usual };
        let is_outage = Circumstances { is_outage: true, ..usual };
        assert_eq!(retries(2, &throttled(None), usual), 2);
        assert_eq!(retries(2, &throttled(None), limit_dropped), 8);
        assert_eq!(retries(2, &throttled(None), was_stale), 3, "one more, at once");
        assert_eq!(retries(2, &throttled(None), is_outage), 100);
        assert_eq!(retries(0, &throttled(None), is_outage), 0);
        let mut retries_of_changed = Retries::new(2);
        for circumstances in [usual, limit_dropped, was_stale, is_outage] {
            let changed = Cause::Changed("it changed");
            assert_eq!(retries_of_changed.next_pause(&changed, circumstances), None);
        }
    }

    #[test]
    fn progress_resets_the_count() {
        let mut retries = Retries::new(1);
        for _ in 0..10 {
            assert!(retries.next_pause(&throttled(None), Circumstances::default()).is_some());
            assert!(retries.next_pause(&throttled(None), Circumstances::default()).is_none());
            retries.reset();
        }
    }
}
