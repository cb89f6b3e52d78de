//! TCP connections of the HTTP client.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

use crate::s3::transport::{
    dialer::Dialer,
    progress::{self, Meter, Progress},
};

/// Opens a TCP connection to the host of `details`.
pub(crate) fn connect(
    dialer: &Dialer,
    meter: &Meter,
    details: &ConnectionDetails,
) -> Result<TcpTransport, ureq::Error> {
    let resolved = match details.addrs.is_empty() {
        // ureq leaves it to the proxy to resolve names, even if a request does not use it.
        true => &details.resolver.resolve(details.uri, details.config, details.timeout)?,
        false => &details.addrs,
    };
    let addresses: Vec<_> = resolved.iter().copied().collect();
    let timeout = details.timeout;
    let stream = dialer
        .connect(&addresses, timeout.not_zero().map(|after| *after))
        .map_err(|error| with_reason(error, timeout))?;
    stream.set_nodelay(details.config.no_delay())?;
    progress::limit_unsent(&stream);
    let config = details.config;
    let progress = Progress::new(meter.clone(), config.timeout_per_read());
    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
    let stream = Arc::new(stream);
    let transport = TcpTransport { stream, buffers, progress, read: None, write: None };
    let handle: Weak<TcpStream> = Arc::downgrade(&transport.stream);
    let handle: Weak<dyn ShutdownHandle> = handle;
    (details.register_shutdown)(handle)?;
    Ok(transport)
}

/// A TCP connection.
///
/// ureq's own one cannot be created from a connection that exists.
#[derive(Debug)]
pub(crate) struct TcpTransport {
    /// Shared (weakly) with ureq, which shuts it down if the run is cancelled.
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    progress: Progress,
    /// The timeouts that the socket has at the moment.
    read: Option<Duration>,
    write: Option<Duration>,
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = not_expired(timeout.for_write())?;
        let after = timeout.not_zero().map(|after| *after);
        if after != self.write {
            self.stream.set_write_timeout(after)?;
            self.write = after;
        }
        let mut output = &self.buffers.output()[..amount];
        while !output.is_empty() {
            let started = Instant::now();
            match (&*self.stream).write(output) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => {
                    output = &output[written..];
                    self.progress.on_sent(written, started.elapsed())?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(with_reason(error, timeout)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = not_expired(timeout.for_read())?;
        let after = timeout.not_zero().map(|after| *after);
        if after != self.read {
            self.stream.set_read_timeout(after)?;
            self.read = after;
        }
        let started = Instant::now();
        let amount = loop {
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                // Linux does not restart a read that has a timeout after a signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if after.is_some_and(|after| started.elapsed() >= after) {
                        return Err(ureq::Error::Timeout(timeout.reason));
                    }
                }
                other => break other.map_err(|error| with_reason(error, timeout))?,
            }
        };
        self.buffers.input_appended(amount);
        self.progress.on_received(amount, started.elapsed())?;
        Ok(amount > 0)
    }

    /// An idle connection on which the server sent something, or which it closed, is not usable.
    fn is_open(&mut self) -> bool {
        let would_block = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            Ok::<bool, io::Error>(
                peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
            )
        };
        would_block().unwrap_or(false)
    }
}

fn not_expired(timeout: NextTimeout) -> Result<NextTimeout, ureq::Error> {
    match !timeout.after.is_not_happening() && timeout.after.is_zero() {
        true => Err(ureq::Error::Timeout(timeout.reason)),
        false => Ok(timeout),
    }
}

/// Tells a timeout from other errors.
fn with_reason(error: io::Error, timeout: NextTimeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ureq::Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
