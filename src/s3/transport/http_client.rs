//! The client that sends the requests to S3.

use std::{
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use http::Request;
use ureq::{
    Agent, SendBody,
    config::Config,
    tls::TlsConfig,
    unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector, TcpConnector},
};

use crate::{
    error::{Cause, Result},
    s3::{
        access::Access,
        options::ClientOptions,
        payload::Payload,
        transport::{
            connections::{CountingConnector, Exchange},
            describe::network_error,
            dns::DnsCache,
            early_response::{self, EarlyResponseConnector},
            proxy::proxy,
            response::Response,
            tls::root_certs,
        },
    },
};

/// The longest timeout: `Duration::MAX` overflows `Instant`.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The size of the buffers of a connection, in bytes.
const BUFFER_SIZE: usize = 32 << 10;

/// An HTTP client with a pool of connections.
pub(crate) struct HttpClient {
    config: Config,
    agent: RwLock<Agent>,
    connections: CountingConnector,
}

impl HttpClient {
    pub(crate) fn new(access: &Access, options: &ClientOptions) -> Result<HttpClient> {
        let roots = root_certs(access.ca_bundle.as_deref())?;
        let config = Config::builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy(access.proxy.as_ref())?)
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
        let connections = CountingConnector::new(config.proxy().is_some());
        let agent = RwLock::new(new_agent(&config, &connections));
        Ok(HttpClient { agent, config, connections })
    }

    /// Breaks all connections, so that no thread waits for one any longer. Later requests open new
    /// connections.
    pub(crate) fn break_connections(&self) {
        let new = new_agent(&self.config, &self.connections);
        let mut agent = self.agent.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *agent, new).shutdown();
    }

    /// The number of open connections that have served a request, idle ones included.
    pub(crate) fn working_connections(&self) -> usize {
        self.connections.working()
    }

    /// Whether requests to `server` go through a proxy, which may be the one that fails.
    pub(crate) fn uses_proxy(&self, server: &str) -> bool {
        let is_proxied =
            |proxy: &ureq::Proxy| server.parse().is_ok_and(|url| !proxy.is_no_proxy(&url));
        self.config.proxy().is_some_and(is_proxied)
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) fn send(
        &self,
        request: Request<()>,
        payload: Option<&Payload>,
    ) -> Result<Response, Cause> {
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
        let (head, body) = response.map_err(|error| network_error(&error))?.into_parts();
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

fn new_agent(config: &Config, connections: &CountingConnector) -> Agent {
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(EarlyResponseConnector)
            .chain(RustlsConnector::default())
            .chain(connections.clone());
    Agent::with_parts(config.clone(), connector, DnsCache::default())
}
