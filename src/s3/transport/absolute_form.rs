//! Requests for an http server, sent to a proxy.
//!
//! A proxy expects `GET http://host/key` instead of `GET /key`. ureq always asks it for a tunnel
//! (CONNECT), which most proxies allow for https only. So the request line is rewritten here.

use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

/// A connection to a proxy. It adds the server to the first line of each request.
#[derive(Debug)]
pub(crate) struct AbsoluteFormTransport {
    pub inner: Box<dyn Transport>,
    /// The scheme and authority of the server, such as `http://host:9000`.
    pub server: String,
    /// The header with the password of the proxy, with its line end. Empty without one.
    pub authorization: Secret,
    /// Whether the next output is the beginning of a request.
    pub starts_request: bool,
}

/// A text that `Debug` does not show.
pub(crate) struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl AbsoluteFormTransport {
    /// The beginning of a request as the proxy expects it. `None` if it is not understood.
    fn rewrite(&self, head: &[u8]) -> Option<Vec<u8>> {
        let method_end = head.iter().position(|byte| *byte == b' ')? + 1;
        let line_end = head.windows(2).position(|end| end == b"\r\n")? + 2;
        let target = head.get(method_end..line_end).filter(|target| target.starts_with(b"/"))?;
        let parts = [
            &head[..method_end],
            self.server.as_bytes(),
            target,
            self.authorization.0.as_bytes(),
            &head[line_end..],
        ];
        Some(parts.concat())
    }
}

impl Transport for AbsoluteFormTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !self.starts_request {
            return self.inner.transmit_output(amount, timeout);
        }
        self.starts_request = false;
        let head = self.inner.buffers().output()[..amount].to_vec();
        let head = self.rewrite(&head).ok_or(ureq::Error::ConnectionFailed)?;
        let mut rest = head.as_slice();
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let (now, later) = rest.split_at(rest.len().min(output.len()));
            output[..now.len()].copy_from_slice(now);
            self.inner.transmit_output(now.len(), timeout)?;
            rest = later;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    /// ureq asks this between two requests, before it uses the connection again.
    fn is_open(&mut self) -> bool {
        self.starts_request = true;
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
