//! A proxy in the test process: http (absolute form and CONNECT) and SOCKS5, with or without TLS.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::tls_front::{ServerTls, relay};

/// How a proxy behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// The user name and password that it requires, as `user:password`.
    pub login: Option<&'static str>,
    /// It refuses all requests with this status, and a page.
    pub refuse: Option<u16>,
    /// Its responses do not name it.
    pub is_anonymous: bool,
    /// The server that it connects to, even if the client asks for another one.
    pub server: Option<String>,
    /// Clients speak TLS with it.
    pub tls: Option<ServerTls>,
}

/// A running proxy.
pub struct Proxy {
    /// Its address, as `127.0.0.1:port`.
    pub address: String,
    log: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    pub fn start(behaviour: Behaviour) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (log, connections) = (Arc::default(), Arc::default());
        let proxy = Proxy { address, log, connections };
        let (log, connections) = (Arc::clone(&proxy.log), Arc::clone(&proxy.connections));
        thread::spawn(move || {
            for client in listener.incoming() {
                connections.fetch_add(1, Ordering::Relaxed);
                let session = Session { behaviour: behaviour.clone(), log: Arc::clone(&log) };
                thread::spawn(move || session.run(client.unwrap()));
            }
        });
        proxy
    }

    /// The first line of each request so far. For SOCKS, `SOCKS` and the server that was asked for.
    pub fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

struct Session {
    behaviour: Behaviour,
    log: Arc<Mutex<Vec<String>>>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Session {
    fn run(self, client: TcpStream) -> io::Result<()> {
        let mut first = [0];
        client.peek(&mut first)?;
        if first == [5] {
            return self.socks(client);
        }
        match &self.behaviour.tls {
            None => {
                let mut reader = BufReader::new(client);
                while let Some(server) = self.http(&mut reader)? {
                    relay(&mut reader, server)?;
                }
            }
            Some(tls) => {
                let mut reader = BufReader::new(tls.accept(client)?);
                while let Some(server) = self.http(&mut reader)? {
                    relay(&mut reader, server)?;
                }
            }
        }
        Ok(())
    }

    /// Serves requests. Returns the server of a tunnel, or `None` when the client is done.
    fn http<S: Stream>(&self, client: &mut BufReader<S>) -> io::Result<Option<TcpStream>> {
        loop {
            let head = read_head(client)?;
            let Some(line) = head.first() else { return Ok(None) };
            self.log.lock().unwrap().push(line.clone());
            let login = header(&head, "proxy-authorization");
            let wanted = self.behaviour.login.map(|login| BASE64_STANDARD.encode(login));
            let is_known = wanted.is_none_or(|wanted| login == Some(format!("Basic {wanted}")));
            let refuse = if is_known { self.behaviour.refuse } else { Some(407) };
            if let Some(status) = refuse {
                let page = "<html><h1>The proxy says no</h1></html>";
                let length = page.len();
                let name = if self.behaviour.is_anonymous { "X" } else { "Server" };
                let head = format!(
                    "HTTP/1.1 {status} No\r\n{name}: tinyproxy/1.11.1\r\nContent-Length: {length}\r\n\
                     Content-Type: text/html\r\nConnection: close\r\n\r\n{page}"
                );
                client.get_mut().write_all(head.as_bytes())?;
                client.get_mut().flush()?;
                return Ok(None);
            }
            let words: Vec<&str> = line.split(' ').collect();
            if let ["CONNECT", server, _] = words[..] {
                let server = self.connect(server)?;
                client.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                client.get_mut().flush()?;
                return Ok(Some(server));
            }
            let Some((host, path)) = words[1]
                .strip_prefix("http://")
                .and_then(|rest| Some((rest.split('/').next()?, &rest[rest.find('/')?..])))
            else {
                let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
                client.get_mut().write_all(refusal)?;
                return Ok(None);
            };
            // One connection to the server for each request, so that its end ends the response.
            let mut server = self.connect(host)?;
            let mut request = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", words[0]);
            for line in &head[1..] {
                if !line.to_ascii_lowercase().starts_with("proxy-") {
                    request += &format!("{line}\r\n");
                }
            }
            server.write_all(format!("{request}\r\n").as_bytes())?;
            let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap());
            let _ = io::copy(&mut client.by_ref().take(length), &mut server);
            let mut server = BufReader::new(server);
            let mut response = String::new();
            for line in read_head(&mut server)? {
                if !line.eq_ignore_ascii_case("connection: close") {
                    response += &format!("{line}\r\n");
                }
            }
            client.get_mut().write_all(format!("{response}\r\n").as_bytes())?;
            io::copy(&mut server, client.get_mut())?;
            client.get_mut().flush()?;
        }
    }

    fn socks(&self, mut client: TcpStream) -> io::Result<()> {
        let mut read = |length: usize| {
            let mut bytes = vec![0; length];
            client.read_exact(&mut bytes).map(|()| bytes)
        };
        let count = read(2)?[1];
        let methods = read(count.into())?;
        let login = self.behaviour.login;
        let method = if login.is_some() { 2 } else { 0 };
        if !methods.contains(&method) {
            return client.write_all(&[5, 0xff]);
        }
        client.write_all(&[5, method])?;
        let mut read = |length: usize| {
            let mut bytes = vec![0; length];
            client.read_exact(&mut bytes).map(|()| bytes)
        };
        if let Some(login) = login {
            let length = read(2)?[1];
            let user = String::from_utf8(read(length.into())?).unwrap();
            let length = read(1)?[0];
            let password = String::from_utf8(read(length.into())?).unwrap();
            let is_known = login == format!("{user}:{password}");
            client.write_all(&[1, u8::from(!is_known)])?;
            if !is_known {
                return Ok(());
            }
        }
        let mut read = |length: usize| {
            let mut bytes = vec![0; length];
            client.read_exact(&mut bytes).map(|()| bytes)
        };
        let host = match read(4)?[3] {
            1 => read(4)?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
            3 => {
                let length = read(1)?[0];
                String::from_utf8(read(length.into())?).unwrap()
            }
            _ => panic!("IPv6 is not used here"),
        };
        let port = read(2)?;
        let port = u16::from_be_bytes([port[0], port[1]]);
        self.log.lock().unwrap().push(format!("SOCKS {host}:{port}"));
        let status = if self.behaviour.refuse.is_some() { 2 } else { 0 };
        client.write_all(&[5, status, 0, 1, 0, 0, 0, 0, 0, 0])?;
        if status == 0 {
            let server = self.connect(&format!("{host}:{port}"))?;
            relay(&mut BufReader::new(client), server)?;
        }
        Ok(())
    }

    fn connect(&self, server: &str) -> io::Result<TcpStream> {
        TcpStream::connect(self.behaviour.server.as_deref().unwrap_or(server))
    }
}

/// The lines of a head. Empty if the connection was closed.
fn read_head(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => return Ok(lines),
            text => lines.push(text.to_owned()),
        }
    }
}

fn header(head: &[String], name: &str) -> Option<String> {
    head.iter().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// A server that sends the same bytes to each client that has sent something, and closes.
pub fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = client.read(&mut [0; 4_096]);
            let _ = client.write_all(bytes);
            let _ = client.shutdown(Shutdown::Write);
            while client.read(&mut [0; 4_096]).is_ok_and(|count| count > 0) {}
        }
    });
    address
}
