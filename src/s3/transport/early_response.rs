//! Reads the response even if writing the request failed.
//!
//! A server that refuses a large upload may respond and close the connection before it has read the
//! whole request. The response says why. ureq would report the failed write and drop the response.

use std::{cell::Cell, io};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

thread_local! {
    /// Whether a write of this thread's current request failed.
    static WRITE_FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Starts a request of this thread.
pub(crate) fn reset() {
    WRITE_FAILED.set(false);
}

/// Whether the server closed the connection before it received the whole request that this thread
/// has sent since [`reset`].
pub(crate) fn write_failed() -> bool {
    WRITE_FAILED.get()
}

/// Makes connections that read a response after a failed write.
#[derive(Debug)]
pub(crate) struct EarlyResponseConnector;

impl<In: Transport> Connector<In> for EarlyResponseConnector {
    type Out = EarlyResponseTransport<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<EarlyResponseTransport<In>>, ureq::Error> {
        Ok(chained.map(|transport| EarlyResponseTransport { transport, write_failed: false }))
    }
}

/// A connection that reads a response after a failed write.
#[derive(Debug)]
pub(crate) struct EarlyResponseTransport<T> {
    transport: T,
    write_failed: bool,
}

impl<T: Transport> Transport for EarlyResponseTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.write_failed {
            return Ok(());
        }
        match self.transport.transmit_output(amount, timeout) {
            Err(ureq::Error::Io(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.write_failed = true;
                WRITE_FAILED.set(true);
                Ok(())
            }
            other => other,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        !self.write_failed && self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
