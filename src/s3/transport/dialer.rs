//! Connects to a host that has several addresses (Happy Eyeballs, RFC 8305).
//!
//! An address may be dead although DNS names it: often IPv6 is set up, but does not work. So the next
//! attempt starts if the one before it does not complete soon, and the first connection is used. What
//! did not answer is remembered, so that later connections begin with what works. The attempts are
//! sockets that one call of `poll` waits for: no threads.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use socket2::{Domain, Protocol, Socket, Type};

/// The shortest time after which the next attempt starts: RFC 8305 recommends it.
const MIN_DELAY: Duration = Duration::from_millis(250);

/// The longest one, for networks where every connection takes long.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// How long an address or family that did not answer is tried last.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// How many addresses are remembered at most. A host has at most 16 in one response of DNS.
const MAX_REMEMBERED: usize = 256;

/// Connects to hosts, and remembers which addresses did not answer.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    history: Mutex<History>,
}

impl Dialer {
    /// Connects to one of the addresses of a host.
    pub(crate) fn connect(
        &self,
        addresses: &[SocketAddr],
        timeout: Option<Duration>,
    ) -> io::Result<TcpStream> {
        let (addresses, delay) = {
            let history = self.history();
            (history.order(addresses, Instant::now()), history.delay())
        };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut race = Race::new(&addresses, delay);
        let result = race.run(deadline);
        match &result {
            Ok(winner) => {
                let took = winner.started.elapsed();
                self.history().on_success(
                    winner.address,
                    took,
                    &race.lost_to(winner),
                    Instant::now(),
                );
            }
            Err(error) if is_local_limit(error) => {}
            Err(_) => *self.history() = History::default(),
        }
        let winner = result?;
        winner.socket.set_nonblocking(false)?;
        Ok(winner.socket.into())
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was learned from earlier connections.
#[derive(Debug, Default)]
struct History {
    /// The family that answered while the other one did not: whether it is IPv6, and since when.
    family: Option<(bool, Instant)>,
    /// The addresses that did not answer while another one did.
    dead: HashMap<IpAddr, Instant>,
    /// The time that the latest connection took.
    connect_time: Duration,
}

impl History {
    /// The time to wait for an attempt before the next one starts. It is longer where connections
    /// take long, so that a slow network is not burdened with attempts that are not needed.
    fn delay(&self) -> Duration {
        (self.connect_time * 2).clamp(MIN_DELAY, MAX_DELAY)
    }

    /// The order of the attempts: both families in turn, beginning with the one that works; last
    /// the addresses that did not answer.
    fn order(&self, addresses: &[SocketAddr], now: Instant) -> Vec<SocketAddr> {
        let is_recent = |since: &Instant| now.saturating_duration_since(*since) < MEMORY;
        let preferred =
            self.family.filter(|(_, since)| is_recent(since)).map(|(is_ipv6, _)| is_ipv6);
        let first_is_ipv6 = preferred.or(addresses.first().map(SocketAddr::is_ipv6));
        let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
            addresses.iter().partition(|address| Some(address.is_ipv6()) == first_is_ipv6);
        let (mut first, mut second) = (first.into_iter(), second.into_iter());
        let mut ordered = Vec::with_capacity(addresses.len());
        while ordered.len() < addresses.len() {
            ordered.extend(first.next());
            ordered.extend(second.next());
        }
        ordered.sort_by_key(|address| self.dead.get(&address.ip()).is_some_and(is_recent));
        ordered
    }

    fn on_success(
        &mut self,
        winner: SocketAddr,
        took: Duration,
        lost: &[SocketAddr],
        now: Instant,
    ) {
        self.connect_time = took;
        self.dead.remove(&winner.ip());
        if lost.iter().any(|address| address.is_ipv6() != winner.is_ipv6()) {
            self.family = Some((winner.is_ipv6(), now));
        }
        if self.dead.len() + lost.len() > MAX_REMEMBERED {
            self.dead.clear();
        }
        self.dead.extend(lost.iter().map(|address| (address.ip(), now)));
    }
}

/// An attempt to connect.
#[derive(Debug)]
struct Attempt {
    address: SocketAddr,
    socket: Socket,
    started: Instant,
}

/// The attempts to connect to one host.
struct Race<'a> {
    /// The addresses that were not tried yet.
    waiting: &'a [SocketAddr],
    delay: Duration,
    pending: Vec<Attempt>,
    /// The addresses that did not accept the connection, and the error to report.
    failed: Vec<SocketAddr>,
    error: Option<io::Error>,
}

impl<'a> Race<'a> {
    fn new(addresses: &'a [SocketAddr], delay: Duration) -> Race<'a> {
        Race { waiting: addresses, delay, pending: Vec::new(), failed: Vec::new(), error: None }
    }

    /// The addresses that failed, or that had more time than the one that won.
    fn lost_to(&self, winner: &Attempt) -> Vec<SocketAddr> {
        let slower = self.pending.iter().filter(|attempt| attempt.started < winner.started);
        self.failed.iter().copied().chain(slower.map(|attempt| attempt.address)).collect()
    }

    /// Returns the first attempt that succeeds.
    fn run(&mut self, deadline: Option<Instant>) -> io::Result<Attempt> {
        let mut next_start = Instant::now();
        loop {
            let now = Instant::now();
            if let Some((address, rest)) = self.waiting.split_first()
                && (self.pending.is_empty() || now >= next_start)
            {
                match start(*address) {
                    Ok(socket) => {
                        self.waiting = rest;
                        let attempt = Attempt { address: *address, socket, started: now };
                        self.pending.push(attempt);
                        next_start = now + self.delay;
                    }
                    // Another socket is not to be had: the attempts in flight must do.
                    Err(error) if is_local_limit(&error) => {
                        if self.pending.is_empty() {
                            return Err(error);
                        }
                        self.waiting = &[];
                    }
                    Err(error) => {
                        self.waiting = rest;
                        self.on_failure(*address, error);
                        continue;
                    }
                }
            }
            if self.pending.is_empty() {
                let error = self.error.take();
                return Err(error.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()));
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wake = (!self.waiting.is_empty()).then_some(next_start);
            let wake = wake.into_iter().chain(deadline).min();
            if let Some(connected) = self.wait(wake.map(|at| at.saturating_duration_since(now)))? {
                return Ok(connected);
            }
        }
    }

    /// Waits until an attempt completes. Returns it if it succeeded.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Option<Attempt>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut sockets: Vec<PollFd<'_>> = self
            .pending
            .iter()
            .map(|attempt| PollFd::new(&attempt.socket, PollFlags::OUT))
            .collect();
        match poll(&mut sockets, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready: Vec<bool> =
            sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
        drop(sockets);
        let mut winner = None;
        for (attempt, is_ready) in std::mem::take(&mut self.pending).into_iter().zip(is_ready) {
            if !is_ready || winner.is_some() {
                self.pending.push(attempt);
                continue;
            }
            match attempt.socket.take_error()? {
                None => winner = Some(attempt),
                Some(error) => self.on_failure(attempt.address, error),
            }
        }
        Ok(winner)
    }

    /// Keeps the error to report. A missing route says less than the response of another address.
    fn on_failure(&mut self, address: SocketAddr, error: io::Error) {
        self.failed.push(address);
        if self.error.is_none() || !is_route_missing(&error) {
            self.error = Some(error);
        }
    }
}

/// Starts to connect, without waiting.
fn start(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn is_route_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkDown | NetworkUnreachable)
}

/// Whether this machine or process has no more sockets.
fn is_local_limit(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// A server that answers no connection: its queue is full.
    fn dead() -> (TcpListener, Vec<Socket>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.2:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let queued = (0..3).map(|_| start(address).unwrap()).collect();
        (listener, queued, address)
    }

    fn timed<T>(work: impl FnOnce() -> T) -> (T, u128) {
        let started = Instant::now();
        (work(), started.elapsed().as_millis())
    }

    const LIMIT: Option<Duration> = Some(Duration::from_secs(5));

    #[test]
    fn dead_address_is_skipped_after_a_moment_and_then_remembered() {
        let (_listener, _queued, dead) = dead();
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = living.local_addr().unwrap();
        let dialer = Dialer::default();
        let (stream, millis) = timed(|| dialer.connect(&[dead, alive], LIMIT).unwrap());
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert!((200..2_000).contains(&millis), "{millis}");
        for _ in 0..3 {
            let (stream, millis) = timed(|| dialer.connect(&[dead, alive], LIMIT).unwrap());
            assert_eq!(stream.peer_addr().unwrap(), alive);
            assert!(millis < 150, "{millis}");
        }
        // The one that works fails, and nothing is remembered.
        drop(living);
        let timeout = Some(Duration::from_millis(100));
        assert!(dialer.connect(&[dead, alive], timeout).is_err());
        assert_eq!(dialer.history().order(&[dead, alive], Instant::now()), [dead, alive]);
    }

    #[test]
    fn address_that_works_is_tried_first_until_it_fails() {
        let now = Instant::now();
        let mut history = History::default();
        let all = addresses(&["[100::1]:80", "[100::2]:80", "192.0.2.1:80", "192.0.2.2:80"]);
        let order = |history: &History, now| history.order(&all, now);
        let in_turn = addresses(&["[100::1]:80", "192.0.2.1:80", "[100::2]:80", "192.0.2.2:80"]);
        assert_eq!(order(&history, now), in_turn);
        // IPv6 does not answer.
        history.on_success(all[2], Duration::ZERO, &all[..1], now);
        let found = order(&history, now);
        assert_eq!(found[0], all[2]);
        assert_eq!(found[3], all[0], "the dead address is the last one");
        assert_eq!(found.len(), 4);
        // Other addresses of the host are subject to it as well.
        let rotated = addresses(&["[100::7]:80", "192.0.2.7:80"]);
        assert_eq!(history.order(&rotated, now)[0], rotated[1]);
        assert_eq!(history.order(&rotated, now + MEMORY)[0], rotated[0]);
        // The first IPv4 address fails, the second one answers.
        history.on_success(all[3], Duration::ZERO, &all[2..3], now);
        assert_eq!(order(&history, now)[0], all[3]);
        assert_eq!(order(&history, now + MEMORY), in_turn);
    }

    #[test]
    fn address_that_had_less_time_than_the_winner_is_not_dead() {
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = living.local_addr().unwrap();
        let socket = || start(alive).unwrap();
        let later = Instant::now() + Duration::from_millis(1);
        let mut race = Race::new(&[], MIN_DELAY);
        let late = Attempt { address: alive, socket: socket(), started: later };
        let winner = Attempt { address: alive, socket: socket(), started: Instant::now() };
        race.pending.push(late);
        assert_eq!(race.lost_to(&winner), []);
        race.pending[0].started = Instant::now();
        let late_winner = Attempt { started: later, ..winner };
        assert_eq!(race.lost_to(&late_winner), [alive]);
    }

    #[test]
    fn failure_of_all_addresses_is_reported_within_the_timeout() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dialer = Dialer::default();
        let error = dialer.connect(&[closed, closed], LIMIT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let (_listener, _queued, dead) = dead();
        let timeout = Some(Duration::from_millis(400));
        let (result, millis) = timed(|| dialer.connect(&[dead, closed, dead], timeout));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!((350..2_000).contains(&millis), "{millis}");
        assert!(dialer.connect(&[], LIMIT).is_err());
    }

    #[test]
    fn one_address_needs_one_socket() {
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialer = Dialer::default();
        let stream = dialer.connect(&[living.local_addr().unwrap()], None).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), living.local_addr().unwrap());
        living.accept().unwrap();
        living.set_nonblocking(true).unwrap();
        assert!(living.accept().is_err());
    }
}
