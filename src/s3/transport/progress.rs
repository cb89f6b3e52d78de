//! Ends transfers that hardly move, and counts the bytes that move.
//!
//! A read or write that moves no byte for the stall timeout fails. One byte now and then would defeat that
//! forever, so a request also fails if it moves less than [`MIN_BYTES_PER_SECOND`] on average over
//! [`PATIENCE`] times the stall timeout.
//!
//! What was written to a socket is not progress by itself, because the system may buffer megabytes. On
//! Linux, it therefore accepts only [`MAX_UNSENT`] bytes that it has not sent yet. This does not limit the
//! bytes that were sent and are not acknowledged, which a fast line to a distant server needs.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ureq::Timeout;

/// Far below the share of a request on any usable line.
const MIN_BYTES_PER_SECOND: u128 = 64;

/// How many times the stall timeout a slow transfer is tolerated. AWS sends a space now and then while it
/// assembles the parts of an object, which takes minutes.
const PATIENCE: u32 = 10;

/// The most bytes that the system buffers although it cannot send them yet. Enough for it to send
/// without a pause.
const MAX_UNSENT: u32 = 64 << 10;

/// Makes writes wait until most of what was written before is sent.
pub(crate) fn limit_unsent(stream: &TcpStream) {
    // Some systems do not support the option. Everything works without it, but on a slow line, the time
    // in which the system sends counts as time in which the server does not respond.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, MAX_UNSENT);
}

/// The bytes that all connections of a client have sent and received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The progress of the current request of a connection.
#[derive(Debug)]
pub(crate) struct Progress {
    meter: Meter,
    /// How long a transfer may be slow.
    patience: Option<Duration>,
    is_sending: bool,
    /// How long the client has waited for the bytes in `moved`.
    waited: Duration,
    moved: u64,
}

impl Progress {
    pub(crate) fn new(meter: Meter, stall_timeout: Option<Duration>) -> Progress {
        let patience = stall_timeout.map(|timeout| timeout.saturating_mul(PATIENCE));
        Progress { meter, patience, is_sending: false, waited: Duration::ZERO, moved: 0 }
    }

    /// The system has accepted `bytes` after the client has `waited`.
    pub(crate) fn on_sent(&mut self, bytes: usize, waited: Duration) -> Result<(), ureq::Error> {
        if !self.is_sending {
            self.start_sending(true);
        }
        self.on_moved(bytes, waited, Timeout::PerWrite)
    }

    /// The client has received `bytes` after it has `waited`.
    pub(crate) fn on_received(
        &mut self,
        bytes: usize,
        waited: Duration,
    ) -> Result<(), ureq::Error> {
        if self.is_sending {
            self.start_sending(false);
            // A server may take its time before it responds.
            return self.on_moved(bytes, Duration::ZERO, Timeout::PerRead);
        }
        self.on_moved(bytes, waited, Timeout::PerRead)
    }

    fn start_sending(&mut self, is_sending: bool) {
        self.is_sending = is_sending;
        (self.waited, self.moved) = (Duration::ZERO, 0);
    }

    fn on_moved(
        &mut self,
        bytes: usize,
        waited: Duration,
        reason: Timeout,
    ) -> Result<(), ureq::Error> {
        self.meter.0.fetch_add(bytes as u64, Ordering::Relaxed);
        self.moved += bytes as u64;
        self.waited += waited;
        if self.patience.is_none_or(|patience| self.waited < patience) {
            return Ok(());
        }
        let wanted = self.waited.as_millis() * MIN_BYTES_PER_SECOND / 1_000;
        if u128::from(self.moved) < wanted {
            return Err(ureq::Error::Timeout(reason));
        }
        (self.waited, self.moved) = (Duration::ZERO, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn progress() -> Progress {
        Progress::new(Meter::default(), Some(10 * SECOND))
    }

    #[test]
    fn few_bytes_per_second_are_tolerated_for_a_while_only() {
        for is_sending in [true, false] {
            for (bytes, fails) in [(1, true), (63, true), (65, false)] {
                let mut progress = progress();
                let mut step = || match is_sending {
                    true => progress.on_sent(bytes, SECOND),
                    false => progress.on_received(bytes, SECOND),
                };
                assert!((0..99).all(|_| step().is_ok()), "{bytes} bytes, sending: {is_sending}");
                assert_eq!((0..2_000).any(|_| step().is_err()), fails, "{bytes}, {is_sending}");
            }
        }
    }

    #[test]
    fn time_until_the_response_is_not_slowness() {
        let mut progress = progress();
        for _ in 0..1_000 {
            assert!(progress.on_sent(100, Duration::ZERO).is_ok());
            assert!(progress.on_received(100, 9 * SECOND).is_ok());
            assert!(progress.on_received(100, SECOND).is_ok());
        }
        assert_eq!(progress.meter.bytes(), 300_000);
    }
}
