//! Limits the bytes per second of all connections together.
//!
//! One token bucket serves all connections in both directions, in the order in which they ask for it:
//!
//! - Bytes are sent in small pieces. Each piece waits for its turn, so connections alternate.
//! - Received bytes are counted after they have arrived. The connection then waits until they are paid
//!   for before it sends or receives again. TCP slows the server down.
//!
//! A connection waits before it reads or writes, so the timeouts of reads and writes do not see it. The
//! connector is the one next to the network: the bytes of TLS count, and a request that the server has
//! rejected early does not wait for the rest of its body.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::Uri;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::cancel::Cancel;

/// What was not used within this time may be used later: it makes up for the pauses between requests.
const BURST: Duration = Duration::from_millis(100);

/// The smallest and the largest piece that is sent at a time, in bytes. The smallest has the whole first
/// line of any request, which is rewritten for a proxy.
const MIN_PIECE: u64 = 4 << 10;
const MAX_PIECE: u64 = 32 << 10;

/// A piece takes at most this part of a second, unless it is the smallest one.
const PIECES_PER_SECOND: u64 = 16;

/// The bandwidth that all connections of a client share.
#[derive(Clone, Debug)]
pub(crate) struct Bandwidth {
    bytes_per_second: u64,
    /// When everything is sent and received that was asked for so far.
    free_at: Arc<Mutex<Instant>>,
    cancel: Cancel,
}

impl Bandwidth {
    /// `bytes_per_second` must not be zero.
    pub(crate) fn new(bytes_per_second: u64, cancel: &Cancel) -> Bandwidth {
        let free_at = Arc::new(Mutex::new(Instant::now()));
        Bandwidth { bytes_per_second, free_at, cancel: cancel.clone() }
    }

    fn piece(&self) -> usize {
        // Fits into any usize.
        (self.bytes_per_second / PIECES_PER_SECOND).clamp(MIN_PIECE, MAX_PIECE) as usize
    }

    /// Takes its turn for `bytes`: returns when it begins and ends.
    fn take(&self, bytes: usize, now: Instant) -> (Instant, Instant) {
        let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = now.checked_sub(BURST).map_or(*free_at, |earliest| earliest.max(*free_at));
        *free_at = start + time;
        (start, *free_at)
    }

    /// Waits. If the run is cancelled in the meantime, this is an error.
    fn wait_until(&self, time: Instant) -> Result<(), ureq::Error> {
        let pause = time.saturating_duration_since(Instant::now());
        if pause.is_zero() {
            return Ok(());
        }
        self.cancel.sleep(pause);
        if self.cancel.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cancelled").into());
        }
        Ok(())
    }
}

/// Makes connections that share a bandwidth, if there is a limit.
#[derive(Debug)]
pub(crate) struct BandwidthConnector {
    pub bandwidth: Option<Bandwidth>,
    /// The URL of the proxy. A connection to it carries one to the server, which is counted.
    pub proxy: Option<Uri>,
}

impl<In: Transport> Connector<In> for BandwidthConnector {
    type Out = LimitedTransport<In>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<LimitedTransport<In>>, ureq::Error> {
        let is_to_proxy = self.proxy.as_ref() == Some(details.uri);
        let bandwidth = self.bandwidth.as_ref().filter(|_| !is_to_proxy);
        let share = bandwidth.map(|bandwidth| Share {
            bandwidth: bandwidth.clone(),
            paid_at: None,
            is_sending: false,
            is_exempt: false,
        });
        Ok(chained.map(|transport| LimitedTransport { transport, share }))
    }
}

/// A connection's share of the bandwidth.
#[derive(Debug)]
struct Share {
    bandwidth: Bandwidth,
    /// When the bytes are paid for that were received last.
    paid_at: Option<Instant>,
    /// The request is being sent. Otherwise the response is being received.
    is_sending: bool,
    /// The request began after the run was cancelled: it cleans up, and must not wait.
    is_exempt: bool,
}

impl Share {
    /// Waits until the bytes that were received last are paid for.
    fn pay(&mut self) -> Result<(), ureq::Error> {
        match self.paid_at.take() {
            Some(paid_at) if !self.is_exempt => self.bandwidth.wait_until(paid_at),
            _ => Ok(()),
        }
    }

    fn before_sending(&mut self, bytes: usize) -> Result<(), ureq::Error> {
        let (start, _) = self.bandwidth.take(bytes, Instant::now());
        if self.is_exempt { Ok(()) } else { self.bandwidth.wait_until(start) }
    }

    fn after_receiving(&mut self, bytes: usize) {
        if bytes > 0 {
            let (_, end) = self.bandwidth.take(bytes, Instant::now());
            self.paid_at = Some(end);
        }
    }
}

/// A connection that has a share of the bandwidth, or no limit.
#[derive(Debug)]
pub(crate) struct LimitedTransport<T> {
    transport: T,
    share: Option<Share>,
}

impl<T: Transport> Transport for LimitedTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let Some(share) = &mut self.share else {
            return self.transport.transmit_output(amount, timeout);
        };
        if !share.is_sending {
            share.is_sending = true;
            share.is_exempt = share.bandwidth.cancel.is_cancelled();
        }
        share.pay()?;
        let mut left = amount;
        loop {
            let piece = left.min(share.bandwidth.piece());
            share.before_sending(piece)?;
            self.transport.transmit_output(piece, timeout)?;
            left -= piece;
            if left == 0 {
                return Ok(());
            }
            // The output of a transport begins where its buffer does.
            self.transport.buffers().output().copy_within(piece..piece + left, 0);
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let Some(share) = &mut self.share else {
            return self.transport.await_input(timeout);
        };
        share.is_sending = false;
        share.pay()?;
        let before = self.transport.buffers().input().len();
        let has_progressed = self.transport.await_input(timeout)?;
        let after = self.transport.buffers().input().len();
        share.after_receiving(after.saturating_sub(before));
        Ok(has_progressed)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_shared_in_turn_and_saved_for_a_moment_only() {
        let bandwidth = Bandwidth::new(1_000, &Cancel::new());
        let start = *bandwidth.free_at.lock().unwrap();
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(bandwidth.take(500, after(0)), (after(0), after(500)));
        assert_eq!(bandwidth.take(500, after(10)), (after(500), after(1_000)));
        // Nothing was used for 50 ms.
        assert_eq!(bandwidth.take(500, after(1_050)), (after(1_000), after(1_500)));
        // Nothing was used for a minute.
        let later = Duration::from_secs(60);
        let (begin, _) = bandwidth.take(500, after(1_500) + later);
        assert_eq!(begin, after(1_500) + later - BURST);
    }

    #[test]
    fn pieces_are_small_if_the_bandwidth_is() {
        let piece = |bytes_per_second| Bandwidth::new(bytes_per_second, &Cancel::new()).piece();
        assert_eq!((piece(1), piece(64 << 10), piece(u64::MAX)), (4 << 10, 4 << 10, 32 << 10));
    }

    #[test]
    fn waiting_ends_with_an_error_when_the_run_is_cancelled() {
        let bandwidth = Bandwidth::new(1, &Cancel::new());
        assert!(bandwidth.wait_until(Instant::now() + Duration::from_millis(1)).is_ok());
        bandwidth.cancel.cancel();
        let started = Instant::now();
        assert!(bandwidth.wait_until(started + Duration::from_secs(3_600)).is_err());
        assert!(started.elapsed() < Duration::from_secs(60));
        assert!(bandwidth.wait_until(started).is_ok());
    }
}
