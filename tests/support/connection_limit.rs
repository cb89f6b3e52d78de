//! A TCP proxy in front of a server that allows only some connections at a time, as routers, NAS devices
//! and providers do.

use std::{
    io::{self, Read},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What happens to a connection above the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surplus {
    /// The port is closed while as many connections are open as allowed.
    Refuse,
    /// The connection is reset once the request arrives.
    Reset,
    /// The connection is closed once the request arrives.
    Close,
    /// The request is never answered.
    Stall,
}

/// A running proxy. It stops accepting connections when it is dropped.
pub struct ConnectionLimit {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    limit: usize,
    surplus: Surplus,
    open: AtomicUsize,
    most: AtomicUsize,
    turned_away: AtomicUsize,
    stopped: AtomicBool,
    stalled: Mutex<Vec<TcpStream>>,
}

impl ConnectionLimit {
    /// Allows `limit` connections at a time to the server at `endpoint` (`http://HOST:PORT`).
    pub fn start(endpoint: &str, limit: usize, surplus: Surplus) -> ConnectionLimit {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let shared = Arc::new(Shared {
            server,
            limit,
            surplus,
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            stalled: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(listener, address));
        ConnectionLimit { address, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The most connections that were open to the server at a time.
    pub fn most_open(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// The connections above the limit that were accepted and then reset, closed or stalled.
    pub fn turned_away(&self) -> usize {
        self.shared.turned_away.load(Ordering::SeqCst)
    }
}

impl Drop for ConnectionLimit {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: Arc<Shared>, mut listener: TcpListener, address: SocketAddr) {
        loop {
            let Ok((client, _)) = listener.accept() else { return };
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            if self.open.load(Ordering::SeqCst) >= self.limit {
                self.turn_away(client);
                continue;
            }
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(open, Ordering::SeqCst);
            let relaying = Arc::clone(&self);
            thread::spawn(move || {
                let _ = relay(client, relaying.server);
                relaying.open.fetch_sub(1, Ordering::SeqCst);
            });
            if self.surplus == Surplus::Refuse && open == self.limit {
                drop(listener);
                while self.open.load(Ordering::SeqCst) >= self.limit {
                    if self.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                listener = TcpListener::bind(address).unwrap();
            }
        }
    }

    fn turn_away(&self, mut client: TcpStream) {
        self.turned_away.fetch_add(1, Ordering::SeqCst);
        match self.surplus {
            Surplus::Stall => self.stalled.lock().unwrap().push(client),
            surplus => {
                _ = thread::spawn(move || {
                    let mut buffer = [0; 1 << 16];
                    // Closing a socket with unread data resets the connection.
                    let _ = match surplus {
                        Surplus::Close => client.read(&mut buffer),
                        _ => client.peek(&mut buffer),
                    };
                })
            }
        }
    }
}

/// Copies both directions until one side closes the connection.
fn relay(mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let (mut client_reader, mut server_writer) = (client.try_clone()?, server.try_clone()?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let upstream = thread::spawn(move || {
        let _ = io::copy(&mut client_reader, &mut server_writer);
        let _ = client_reader.shutdown(Shutdown::Both);
        let _ = server_writer.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    let _ = upstream.join();
    Ok(())
}
