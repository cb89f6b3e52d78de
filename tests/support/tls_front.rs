//! TLS with a certificate of the test's choice, in front of a server that speaks plain text.

use std::{
    io::{self, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto, pki_types::PrivatePkcs8KeyDer};

/// A server's side of TLS, with a self-signed certificate.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    /// The certificate.
    pub pem: String,
}

impl ServerTls {
    /// A certificate for this name, which calls itself that of a CA or not. `change` can change it.
    pub fn new(name: &str, is_ca: bool, change: impl FnOnce(&mut CertificateParams)) -> ServerTls {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        ServerTls { config: Arc::new(config), pem: certificate.pem() }
    }

    pub fn accept(&self, client: TcpStream) -> io::Result<Tls> {
        let connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        let mut stream = StreamOwned::new(connection, client);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(stream)
    }

    /// Serves a server at `address` (`host:port`) over TLS. Returns the new address.
    pub fn in_front_of(&self, address: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = listener.local_addr().unwrap().to_string();
        let (tls, address) = (self.clone(), address.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (tls, address) = (tls.clone(), address.clone());
                thread::spawn(move || -> io::Result<()> {
                    let client = tls.accept(client?)?;
                    relay(&mut BufReader::new(client), TcpStream::connect(address)?)
                });
            }
        });
        front
    }
}

pub type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A connection whose reads can have a timeout.
pub trait Timed {
    fn tcp(&self) -> &TcpStream;
}

impl Timed for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Timed for Tls {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

/// Copies in both directions, in turn, until one side closes.
pub fn relay<S: Timed + Read + Write>(
    client: &mut BufReader<S>,
    mut server: TcpStream,
) -> io::Result<()> {
    const TURN: Option<Duration> = Some(Duration::from_millis(1));
    client.get_ref().tcp().set_read_timeout(TURN)?;
    server.set_read_timeout(TURN)?;
    let mut buffer = vec![0; 1 << 16];
    // A pause on one side is the turn of the other one.
    let is_pause = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    loop {
        loop {
            match client.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => server.write_all(&buffer[..count])?,
                Err(error) if is_pause(&error) => break,
                Err(error) => return Err(error),
            }
        }
        loop {
            match server.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => client.get_mut().write_all(&buffer[..count])?,
                Err(error) if is_pause(&error) => break,
                Err(error) => return Err(error),
            }
        }
        client.get_mut().flush()?;
    }
}
