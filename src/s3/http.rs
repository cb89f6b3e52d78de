//! The one transport: a pooled blocking HTTP client, and the only file that names it.
//!
//! No call has a time limit of its own: objects may be large and lines slow. What is limited is each
//! connect, and each read or write that stands still.

use std::{
    cell::Cell,
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::RwLock,
    time::{Duration, Instant},
};

use ureq::{
    Agent, ProxyProtocol, SendBody, Timeout,
    config::Config,
    http::{HeaderMap, Request, Response, Uri},
    tls::{Certificate, PemItem, RootCerts, TlsConfig},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{
            Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout,
            RustlsConnector, TcpConnector, Transport,
        },
    },
};

use super::{
    Access, CHUNK,
    access::Proxy,
    credentials::{FetchReply, FetchRequest},
};
use crate::{
    cancel::Cancel,
    error::{Cause, Error, Result},
    s3::options::ClientOptions,
};

/// The parts of a client that HTTP knows.
pub(super) struct Http {
    config: Config,
    agent: RwLock<Agent>,
}

/// What goes with a request. It can be read again, for another try.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// Part of a file, read when it is sent.
    File {
        /// Open for reading.
        file: &'a File,
        /// Where the part begins, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        len: u64,
    },
}

impl Payload<'_> {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File { len, .. } => *len,
        }
    }

    pub(super) fn reader(&self) -> PayloadReader<'_> {
        PayloadReader { payload: *self, at: 0, ended: None, fault: None }
    }

    /// Reads the whole payload and passes it on chunk by chunk.
    pub(crate) fn for_each_chunk(
        &self,
        cancel: &Cancel,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Cause> {
        if let Payload::Bytes(bytes) = self {
            each(bytes);
            return Ok(());
        }
        let mut reader = self.reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            if cancel.is_cancelled() {
                return Err(Cause::Interrupted);
            }
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => each(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reader.into_fault().unwrap_or(error.into())),
            }
        }
    }
}

/// Reads a payload from its beginning.
pub(super) struct PayloadReader<'a> {
    payload: Payload<'a>,
    at: u64,
    /// When all of it had been read.
    ended: Option<Instant>,
    /// Why the payload could not be read to its end: not to be taken for a fault of the network.
    fault: Option<Cause>,
}

impl PayloadReader<'_> {
    pub(super) fn into_fault(self) -> Option<Cause> {
        self.fault
    }
}

impl Read for PayloadReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.payload.len() - self.at;
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..want];
        let read = match self.payload {
            Payload::Bytes(bytes) => (&bytes[self.at as usize..]).read(buffer),
            Payload::File { file, offset, .. } => file.read_at(buffer, offset + self.at),
        };
        match read {
            Ok(0) if want > 0 => {
                self.fault = Some(Cause::Changed("the file became shorter while it was read"));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(read) => {
                self.at += read as u64;
                if self.at == self.payload.len() {
                    self.ended.get_or_insert_with(Instant::now);
                }
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.fault = Some(io::Error::new(error.kind(), error.to_string()).into());
                Err(error)
            }
        }
    }
}

/// An answer whose body has not been read yet.
pub(super) struct Answer {
    pub status: u16,
    /// How long the server took for it once it had been sent the whole request.
    pub took: Duration,
    pub headers: HeaderMap,
    body: ureq::BodyReader<'static>,
}

impl Answer {
    /// A header's value, where it is plain text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads a part of the body. A body that ends early is an error.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Cause> {
        loop {
            match self.body.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| network(&ureq::Error::from(error))),
            }
        }
    }

    /// Reads the body to its end, but no more than `limit` bytes, and keeps nothing of it.
    pub(super) fn discard(self, limit: u64) -> Result<(), Cause> {
        let read = io::copy(&mut self.body.take(limit), &mut io::sink());
        read.map(drop).map_err(|error| network(&ureq::Error::from(error)))
    }

    /// Reads the whole body as text, of at most `limit` bytes.
    pub(super) fn text(self, limit: u64) -> Result<String, Cause> {
        let mut bytes = Vec::new();
        self.body
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| network(&ureq::Error::from(error)))?;
        String::from_utf8(bytes).map_err(|_| Cause::Malformed("an answer that is not UTF-8".into()))
    }
}

const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Http {
    pub(super) fn new(access: &Access, options: &ClientOptions) -> Result<Http> {
        let tls = TlsConfig::builder().root_certs(root_certs(access)?).build();
        // Who wants no limit gives the longest there is, which no clock can be put forward by.
        let [connect, stall] =
            [options.connect_timeout, options.stall_timeout].map(|time| Some(time.min(A_YEAR)));
        let config = Config::builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy(access.proxy.as_ref())?)
            .user_agent(concat!("s3keep/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_idle_connections(options.max_connections)
            .max_idle_connections_per_host(options.max_connections)
            .input_buffer_size(32 << 10)
            .output_buffer_size(32 << 10)
            .timeout_connect(connect)
            .timeout_per_read(stall)
            .timeout_per_write(stall)
            .build();
        Ok(Http { agent: RwLock::new(agent(&config)), config })
    }

    /// Breaks all connections, so that whoever waits for one stops waiting. Later requests get new ones.
    pub(super) fn break_connections(&self) {
        let fresh = agent(&self.config);
        let mut current = self.agent.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::mem::replace(&mut *current, fresh).shutdown();
    }

    /// Whether the way to a server is by a proxy, which may be what fails.
    pub(super) fn is_by_proxy(&self, server: &str) -> bool {
        let is_proxied =
            |proxy: &ureq::Proxy| server.parse().is_ok_and(|url| !proxy.is_no_proxy(&url));
        self.config.proxy().is_some_and(is_proxied)
    }

    fn agent(&self) -> Agent {
        self.agent.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) fn send(
        &self,
        request: Request<()>,
        body: Option<&Payload>,
    ) -> Result<Answer, Cause> {
        let begun = Instant::now();
        let mut sent = None;
        CUT_SHORT.set(false);
        let response = match body {
            None => self.agent().run(request),
            Some(payload) => {
                let mut reader = payload.reader();
                let request = request.map(|()| SendBody::from_reader(&mut reader));
                let response = self.agent().run(request);
                sent = reader.ended;
                if let Some(fault) = reader.into_fault() {
                    return Err(fault);
                }
                response
            }
        };
        let took = sent.unwrap_or(begun).elapsed();
        let (head, body) = response.map_err(|error| network(&error))?.into_parts();
        let (status, headers) = (head.status.as_u16(), head.headers);
        if CUT_SHORT.take() && status < 300 {
            // Nobody can have done what he has not heard to its end.
            return Err(Cause::Network("the connection was closed too early".to_owned()));
        }
        Ok(Answer { status, took, headers, body: body.into_reader() })
    }

    /// The small requests that obtain credentials; they are not S3's, and have time limits of their own.
    pub(super) fn fetcher(
        access: &Access,
    ) -> impl Fn(FetchRequest) -> Result<FetchReply, String> + use<> {
        let agent = |roots, proxy| -> Agent {
            Config::builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .proxy(proxy)
                .tls_config(TlsConfig::builder().root_certs(roots).build())
                .build()
                .into()
        };
        let direct = agent(RootCerts::PlatformVerifier, None);
        let access = access.clone();
        move |request| {
            // Only made when it is needed: what is wrong with a way that nobody goes is no fault.
            let by_proxy = || Ok(agent(root_certs(&access)?, proxy(access.https_proxy.as_ref())?));
            let agent = match request.by_proxy {
                true => by_proxy().map_err(|error: Error| error.to_string())?,
                false => direct.clone(),
            };
            let send = || -> Result<Response<ureq::Body>, ureq::Error> {
                let mut builder = Request::builder().method(request.method).uri(&request.url);
                for (name, value) in &request.headers {
                    builder = builder.header(*name, value);
                }
                let limit = Some(request.timeout);
                match &request.body {
                    None if request.method == "GET" => {
                        let ready = agent.configure_request(builder.body(())?);
                        agent.run(ready.timeout_global(limit).build())
                    }
                    body => {
                        let body = body.clone().unwrap_or_default();
                        let ready = agent.configure_request(builder.body(body)?);
                        agent.run(ready.timeout_global(limit).build())
                    }
                }
            };
            let mut response = send().map_err(|error| sentence(&error))?;
            let body = response.body_mut().read_to_string().map_err(|error| sentence(&error))?;
            Ok(FetchReply { status: response.status().as_u16(), body })
        }
    }
}

fn agent(config: &Config) -> Agent {
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(Listening)
            .chain(RustlsConnector::default());
    Agent::with_parts(config.clone(), connector, CachedNames::default())
}

thread_local! {
    /// Whether the server has closed this thread's connection before it had the whole request.
    static CUT_SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Makes connections that still listen when nobody listens to them any more: a server that refuses a large
/// upload may close the connection before it has it all, and why it did stands in what it said before.
#[derive(Debug)]
struct Listening;

impl<In: Transport> Connector<In> for Listening {
    type Out = Listener<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Listener<In>>, ureq::Error> {
        Ok(chained.map(|transport| Listener { transport, is_cut_short: false }))
    }
}

#[derive(Debug)]
struct Listener<T> {
    transport: T,
    is_cut_short: bool,
}

impl<T: Transport> Transport for Listener<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.is_cut_short {
            return Ok(());
        }
        match self.transport.transmit_output(amount, timeout) {
            Err(ureq::Error::Io(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.is_cut_short = true;
                CUT_SHORT.set(true);
                Ok(())
            }
            other => other,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        !self.is_cut_short && self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

fn network(error: &ureq::Error) -> Cause {
    Cause::Network(sentence(error))
}

/// What went wrong between here and the server, in words that don't need the source.
fn sentence(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            // So TLS calls an answer in plain text.
            _ if error.to_string().contains("InvalidContentType") => {
                "the server does not speak TLS: is it http?".to_owned()
            }
            _ => error.to_string(),
        },
        ureq::Error::HostNotFound => "the host name is unknown".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Timeout(Timeout::Connect) => "no connection within the time limit".to_owned(),
        ureq::Error::Timeout(_) => "the connection stands still".to_owned(),
        other => other.to_string(),
    }
}

fn root_certs(access: &Access) -> Result<RootCerts> {
    let Some(path) = &access.ca_bundle else {
        return Ok(RootCerts::PlatformVerifier);
    };
    let fail = |cause| Error::new("read CA bundle", path.display().to_string(), cause);
    let pem = std::fs::read(path).map_err(|error| fail(error.into()))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(fail(Cause::Config("no certificate in it".to_owned())));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn proxy(proxy: Option<&Proxy>) -> Result<Option<ureq::Proxy>> {
    let Some(proxy) = proxy else { return Ok(None) };
    // The URL may hold a password: it is not repeated.
    let wrong = |_| Error::config("the proxy of the environment is not a URL");
    let plain = ureq::Proxy::new(&proxy.url).map_err(wrong)?;
    if !matches!(plain.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(Error::config("the proxy of the environment speaks SOCKS: only http will do"));
    }
    let mut builder = ureq::Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let Some(name) = plain.username() {
        builder = builder.username(name);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for host in proxy.except.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
        // A name stands for all below it, such as that of a bucket, as it does for the AWS tools.
        if !host.contains('*') && !host.starts_with('.') {
            builder = builder.no_proxy(&format!(".{host}"));
        }
    }
    builder.build().map(Some).map_err(wrong)
}

/// Host names looked up once in a while rather than for every request: the client asks its resolver
/// each time, even where a pooled connection waits.
#[derive(Debug, Default)]
struct CachedNames {
    plain: DefaultResolver,
    known: RwLock<HashMap<String, (Instant, ResolvedSocketAddrs)>>,
}

/// Long enough to spare the name server, short enough for S3's rotating addresses.
const NAME_LIFETIME: Duration = Duration::from_secs(5);

impl Resolver for CachedNames {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.authority().map(|host| host.to_string()).unwrap_or_default();
        if let Ok(known) = self.known.read()
            && let Some((since, addresses)) = known.get(&host)
            && since.elapsed() < NAME_LIFETIME
        {
            return Ok(addresses.clone());
        }
        let addresses = self.plain.resolve(uri, config, timeout)?;
        if let Ok(mut known) = self.known.write() {
            known.insert(host, (Instant::now(), addresses.clone()));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{AccessOptions, Env};

    #[test]
    fn a_name_that_needs_no_proxy_stands_for_all_below_it() {
        let env = Env::default()
            .set("HTTPS_PROXY", "http://proxy:3128")
            .set("NO_PROXY", "store.example.net, .example.org,*.example.com");
        let access = Access::resolve(AccessOptions::default(), env).unwrap();
        let proxy = proxy(access.proxy.as_ref()).unwrap().unwrap();
        let is_direct =
            |host: &str| proxy.is_no_proxy(&format!("https://{host}/").parse().unwrap());
        for host in ["store.example.net", "bkt.store.example.net", "a.example.org", "a.example.com"]
        {
            assert!(is_direct(host), "{host}");
        }
        for host in ["otherstore.example.net", "example.net", "s3.amazonaws.com"] {
            assert!(!is_direct(host), "{host}");
        }
    }
}
