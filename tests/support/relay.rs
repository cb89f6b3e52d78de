//! A slow line between the command and its store: a relay that passes on a few bytes at a time.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How fast bytes pass in one direction: so many at a time, with a pause after each time.
#[derive(Clone, Copy)]
pub struct Speed {
    bytes: usize,
    pause: Duration,
    /// All connections together have this speed.
    is_shared: bool,
}

impl Speed {
    /// As fast as possible.
    pub const FULL: Speed = Speed { bytes: 1 << 16, pause: Duration::ZERO, is_shared: false };
    /// Nothing passes for an hour, which is longer than any test takes.
    pub const NOTHING: Speed =
        Speed { bytes: 0, pause: Duration::from_secs(3_600), is_shared: false };

    pub fn new(bytes: usize, millis: u64) -> Speed {
        Speed { bytes, pause: Duration::from_millis(millis), is_shared: false }
    }

    pub fn shared(bytes: usize, millis: u64) -> Speed {
        Speed { is_shared: true, ..Speed::new(bytes, millis) }
    }
}

/// The speed of the rest of a request, and that of its response.
pub type Speeds = (Speed, Speed);

/// A relay. It ends with the process.
pub struct Relay {
    pub endpoint: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    sent: AtomicU64,
    /// When the line that all connections share is free again.
    free_at: Mutex<Option<Instant>>,
}

impl Shared {
    /// Waits until `pause` has passed since the last bytes of any connection.
    fn wait_for_line(&self, pause: Duration) {
        let slot = {
            let mut free_at = self.free_at.lock().unwrap();
            let slot = free_at.unwrap_or_else(Instant::now).max(Instant::now()) + pause;
            *free_at = Some(slot);
            slot
        };
        thread::sleep(slot.saturating_duration_since(Instant::now()));
    }
}

impl Relay {
    /// Starts a relay to the server at `endpoint`. `speeds` chooses the speeds of a request by its first line.
    pub fn start(
        endpoint: &str,
        speeds: impl Fn(&str) -> Speeds + Send + Sync + Copy + 'static,
    ) -> Relay {
        let server = endpoint.strip_prefix("http://").expect("an http endpoint").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let line = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                line.connections.fetch_add(1, Ordering::Relaxed);
                let Ok(server) = TcpStream::connect(&server) else { return };
                let current = Arc::new(Mutex::new((Speed::FULL, Speed::FULL)));
                let (up, down) = (Arc::clone(&current), current);
                let both = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (line_up, line_down) = (Arc::clone(&line), Arc::clone(&line));
                thread::spawn(move || {
                    pass(both.0, both.1, &line_up, true, |bytes| {
                        let mut current = up.lock().unwrap();
                        if let Some(line) = request_line(bytes) {
                            *current = speeds(line);
                        }
                        current.0
                    });
                });
                thread::spawn(move || {
                    pass(server, client, &line_down, false, |_| down.lock().unwrap().1);
                });
            }
        });
        Relay { endpoint, shared }
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The bytes that were passed on to the server so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

/// The first line, if these bytes are the start of a request.
fn request_line(bytes: &[u8]) -> Option<&str> {
    let methods: [&[u8]; 5] = [b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE "];
    let is_start = methods.iter().any(|method| bytes.starts_with(method));
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    is_start.then(|| std::str::from_utf8(line).ok())?
}

/// Passes on bytes until one side closes the connection.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    line: &Shared,
    counts: bool,
    mut speed: impl FnMut(&[u8]) -> Speed,
) {
    let mut buffer = vec![0; 4 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut left = &buffer[..read];
        while !left.is_empty() {
            let Speed { bytes, pause, is_shared } = speed(left);
            let (now, later) = left.split_at(bytes.min(left.len()));
            if to.write_all(now).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            if counts {
                line.sent.fetch_add(now.len() as u64, Ordering::Relaxed);
            }
            left = later;
            match is_shared {
                true => line.wait_for_line(pause),
                false => thread::sleep(pause),
            }
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
