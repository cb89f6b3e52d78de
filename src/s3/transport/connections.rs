//! Counts the connections that work, and notes how the current request fares on its connection.
//!
//! Both show why a request failed: because the server allows no further connection, or because it has
//! closed an idle one in the meantime.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Uri;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// What this thread's current request has seen of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exchange {
    /// The connection has served an earlier request.
    pub is_reused: bool,
    /// A part of the response has arrived.
    pub has_response: bool,
    /// The request failed for a reason that fewer connections do not help against, such as an invalid
    /// certificate.
    pub is_refused_for_good: bool,
}

thread_local! {
    static EXCHANGE: Cell<Exchange> = Cell::default();
}

impl Exchange {
    /// Starts a request of this thread.
    pub(super) fn start() {
        EXCHANGE.set(Exchange::default());
    }

    /// That of this thread's last request.
    pub(crate) fn last() -> Exchange {
        EXCHANGE.get()
    }

    /// Notes why the current request has failed.
    pub(super) fn note_error(error: &ureq::Error) {
        let may_be_congestion = match error {
            ureq::Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
            ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
            _ => false,
        };
        update(|exchange| exchange.is_refused_for_good = !may_be_congestion);
    }
}

fn update(change: impl FnOnce(&mut Exchange)) {
    let mut exchange = EXCHANGE.get();
    change(&mut exchange);
    EXCHANGE.set(exchange);
}

/// Counts the open connections that have served a request, idle ones included.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkingConnections(Arc<AtomicUsize>);

impl WorkingConnections {
    pub(crate) fn working(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes connections that are counted while they work.
#[derive(Debug)]
pub(crate) struct CountingConnector {
    pub working: WorkingConnections,
    /// The URL of the proxy.
    pub proxy: Option<Uri>,
}

impl<In: Transport> Connector<In> for CountingConnector {
    type Out = CountedTransport<In>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<CountedTransport<In>>, ureq::Error> {
        // The connection to a proxy is made through all connectors as well.
        let is_to_proxy = self.proxy.as_ref() == Some(details.uri);
        let count = |transport| CountedTransport {
            transport,
            is_counted: !is_to_proxy,
            is_working: false,
            working: self.working.clone(),
        };
        Ok(chained.map(count))
    }
}

/// A connection that is counted once it has received something.
#[derive(Debug)]
pub(crate) struct CountedTransport<T> {
    transport: T,
    is_counted: bool,
    is_working: bool,
    working: WorkingConnections,
}

impl<T> Drop for CountedTransport<T> {
    fn drop(&mut self) {
        if self.is_working {
            self.working.remove();
        }
    }
}

impl<T: Transport> Transport for CountedTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.is_counted {
            let is_working = self.is_working;
            update(|exchange| exchange.is_reused = is_working && !exchange.has_response);
        }
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let has_progressed = self.transport.await_input(timeout)?;
        if has_progressed && self.is_counted {
            update(|exchange| exchange.has_response = true);
            if !self.is_working {
                self.is_working = true;
                self.working.add();
            }
        }
        Ok(has_progressed)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
