//! The server: one thread, its port and its connections.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{self, Runtime},
    sync::oneshot,
    task::{JoinHandle as Task, JoinSet},
};

use super::{
    auth::{Access, Auth},
    http::respond,
    service::Service,
    state::State,
    tls::Tls,
};

/// All that the connections share.
pub(super) struct Shared {
    pub endpoint: String,
    pub tls: Option<Tls>,
    runtime: runtime::Handle,
    /// Never listens. It reserves the port while the store refuses connections.
    port: TcpSocket,
    /// Accepts connections. When this task ends, all connections end.
    accepting: Mutex<Option<Task<()>>>,
    /// How many connections were accepted so far.
    pub connections: AtomicUsize,
    /// How many requests have no response yet.
    pub in_flight: AtomicUsize,
    state: Mutex<State>,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked with the lock held has already failed. The others may continue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections, if the port is not open already.
    pub fn listen(self: &Arc<Shared>) {
        let mut accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        if accepting.is_none() {
            let _runtime = self.runtime.enter();
            let port = self.port.local_addr().expect("a bound socket has an address").port();
            let listener = socket(port).listen(1_024).expect("listen on the reserved port");
            *accepting = Some(tokio::spawn(accept(self.clone(), listener)));
        }
    }

    /// Closes the port, and then all connections. Connections are refused until the next `listen`.
    pub async fn close_port(&self) {
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            let _ = accepting.await;
        }
    }
}

/// The server's thread. Dropping it stops the server.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port, over https if there is a certificate.
    pub fn start(tls: Option<Tls>) -> (Server, Arc<Shared>) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("start a runtime");
        let port = socket(0);
        let address = port.local_addr().expect("a bound socket has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            endpoint: format!("{scheme}://{address}"),
            tls,
            runtime: runtime.handle().clone(),
            port,
            accepting: Mutex::default(),
            connections: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            state: Mutex::new(State::new()),
        });
        shared.listen();

        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(move || serve(runtime, stopped)).expect("start a thread");
        (Server { stop: Some(stop), thread: Some(thread) }, shared)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a panic, the thread may have ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            // A callback may hold the last `Store`. Then this is the server's own thread.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn serve(runtime: Runtime, stopped: oneshot::Receiver<()>) {
    // An error means that the sender was dropped, which stops the server as well.
    let _ = runtime.block_on(stopped);
    // Ends all connections, without waiting for a callback that blocks.
    runtime.shutdown_background();
}

/// Binds a socket to a loopback port, 0 for a free one.
///
/// Several such sockets can share a port. While none of them listens, connections are refused.
fn socket(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("create a socket");
    socket.set_reuseport(true).expect("set SO_REUSEPORT");
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).expect("bind the socket to a port");
    socket
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut service = S3ServiceBuilder::new(Service(shared.clone()));
    service.set_auth(Auth(shared.clone()));
    service.set_access(Access(shared.clone()));
    let service = service.build();
    let mut connections = JoinSet::new();
    // Dropped before the connections: a client whose connection was closed must not find the port
    // still open.
    let listener = listener;
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely out of file descriptors; connections that end will free some.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        let (shared, service) = (shared.clone(), service.clone());
        connections.spawn(async move {
            match shared.tls.as_ref().map(|tls| tls.acceptor.clone()) {
                None => serve_connection(stream, number, shared, service).await,
                Some(tls) => {
                    // The handshake fails if the client does not trust the certificate. The client
                    // reports that error.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, number, shared, service).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection<I>(io: I, number: usize, shared: Arc<Shared>, service: S3Service)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let respond =
        service_fn(move |request| respond(shared.clone(), service.clone(), number, request));
    // An error means that a fault or the client has closed the connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(io), respond).await;
}
