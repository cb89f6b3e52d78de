//! Whether to retry a request, and when.

use std::time::Duration;

use crate::error::Cause;

/// How many times more often a request is retried while the server throttles and the limit of
/// requests in flight can still drop.
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
}

impl Retries {
    /// Allows `limit` retries.
    pub(crate) fn new(limit: u32) -> Retries {
        Retries { limit, failed: 0, throttled: 0 }
    }

    /// The pause before the next try, or `None` if the request has failed for good.
    ///
    /// `limit_dropped`: the server throttled the request, and fewer requests are in flight because
    /// of it. Such a failure has its own, higher limit.
    pub(crate) fn next_pause(&mut self, cause: &Cause, limit_dropped: bool) -> Option<Duration> {
        let pause = backoff(self.failed + self.throttled, cause, fastrand::f64());
        let (count, limit) = match limit_dropped {
            true => (&mut self.throttled, self.limit.saturating_mul(THROTTLED_FACTOR)),
            false => (&mut self.failed, self.limit),
        };
        if *count >= limit || !cause.is_retryable() {
            return None;
        }
        *count += 1;
        Some(pause)
    }
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
    fn throttled_requests_are_retried_more_often() {
        let retries = |cause: &Cause, limit_dropped| {
            let mut retries = Retries::new(2);
            (0..100).take_while(|_| retries.next_pause(cause, limit_dropped).is_some()).count()
        };
        assert_eq!(retries(&throttled(None), false), 2);
        assert_eq!(retries(&throttled(None), true), 8);
        assert_eq!(retries(&Cause::Changed("it changed"), false), 0);
    }
}
