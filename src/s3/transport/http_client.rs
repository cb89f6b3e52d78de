//! The client that sends the requests to S3.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Uri, uri::Scheme};
use ureq::{Agent, SendBody, config::Config};

use crate::{
    cancel::Cancel,
    error::{Cause, Result},
    s3::{
        access::Access,
        options::ClientOptions,
        payload::Payload,
        transport::{
            agent::Connecting,
            bandwidth::Bandwidth,
            connections::Exchange,
            describe::{is_closed, network_error},
            early_response,
            proxy::{self, ProxyRules},
            response::Response,
        },
    },
};

/// The longest timeout: `Duration::MAX` overflows `Instant`.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The size of the buffers of a connection, in bytes.
const BUFFER_SIZE: usize = 32 << 10;

/// An HTTP client with a pool of connections.
pub(crate) struct HttpClient {
    connecting: Connecting,
    config: Config,
    agent: RwLock<Agent>,
    /// Whether the server has responded to any request.
    has_response: AtomicBool,
}

impl HttpClient {
    pub(crate) fn new(
        access: &Access,
        options: &ClientOptions,
        cancel: &Cancel,
    ) -> Result<HttpClient> {
        let mut connecting = Connecting::new(access.proxy.as_ref(), access.ca_bundle.as_deref())?;
        connecting.bandwidth =
            options.bandwidth_limit.map(|limit| Bandwidth::new(limit.max(1), cancel));
        let config = connecting
            .config()
            .user_agent(concat!("s3keep/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_idle_connections(options.max_connections)
            .max_idle_connections_per_host(options.max_connections)
            .input_buffer_size(BUFFER_SIZE)
            .output_buffer_size(BUFFER_SIZE)
            .timeout_connect(Some(options.connect_timeout.min(MAX_TIMEOUT)))
            .timeout_per_read(Some(options.stall_timeout.min(MAX_TIMEOUT)))
            .timeout_per_write(Some(options.stall_timeout.min(MAX_TIMEOUT)))
            .build();
        let agent = RwLock::new(connecting.agent(config.clone()));
        Ok(HttpClient { connecting, config, agent, has_response: AtomicBool::new(false) })
    }

    /// Breaks all connections, so that no thread waits for one any longer. Later requests open new
    /// connections.
    pub(crate) fn break_connections(&self) {
        let new = self.connecting.agent(self.config.clone());
        let mut agent = self.agent.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *agent, new).shutdown();
    }

    /// The number of open connections that have served a request, idle ones included.
    pub(crate) fn working_connections(&self) -> usize {
        self.connecting.connections.working()
    }

    /// The bytes that all connections have sent and received.
    pub(crate) fn bytes_moved(&self) -> u64 {
        self.connecting.meter.bytes()
    }

    /// Whether requests to `server` go through a proxy, which may be the one that fails.
    pub(crate) fn uses_proxy(&self, server: &str) -> bool {
        server.parse().is_ok_and(|url| self.is_proxied(&url))
    }

    fn is_proxied(&self, url: &Uri) -> bool {
        self.connecting.rules.as_ref().is_some_and(|rules| rules.applies_to(url))
    }

    fn describe(&self, error: &ureq::Error, is_https: bool) -> Cause {
        match network_error(error) {
            // Some servers close the connection if they expect TLS.
            Cause::Network(text)
                if !is_https && is_closed(error) && !self.has_response.load(Ordering::Relaxed) =>
            {
                Cause::Network(format!("{text}; does the port expect https?"))
            }
            cause => cause,
        }
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) fn send(
        &self,
        request: Request<()>,
        payload: Option<&Payload>,
    ) -> Result<Response, Cause> {
        let url = request.uri().clone();
        let is_https = url.scheme() == Some(&Scheme::HTTPS);
        let started = Instant::now();
        let mut payload_sent = None;
        early_response::reset();
        Exchange::start();
        let response = match payload {
            None => self.agent().run(request),
            Some(payload) => {
                let mut reader = payload.reader();
                let request = request.map(|()| SendBody::from_reader(&mut reader));
                let response = self.agent().run(request);
                payload_sent = reader.finished_at();
                if let Some(error) = reader.into_error() {
                    return Err(error);
                }
                response
            }
        };
        let latency = payload_sent.unwrap_or(started).elapsed();
        let response = response.inspect_err(Exchange::note_error);
        let (head, body) = response.map_err(|error| self.describe(&error, is_https))?.into_parts();
        self.has_response.store(true, Ordering::Relaxed);
        if !is_https
            && self.connecting.rules.as_ref().is_some_and(ProxyRules::is_http)
            && self.is_proxied(&url)
            && let Some(cause) = proxy::own_response(head.status.as_u16(), &head.headers)
        {
            return Err(cause);
        }
        let response = Response {
            status: head.status.as_u16(),
            latency,
            headers: head.headers,
            body: body.into_reader(),
        };
        if early_response::write_failed() && response.is_success() {
            // A server that did not read the whole request cannot have executed it.
            return Err(Cause::closed_early());
        }
        Ok(response)
    }

    fn agent(&self) -> Agent {
        self.agent.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
