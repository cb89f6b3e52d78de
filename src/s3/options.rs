//! The options of a client.

use std::time::Duration;

use crate::s3::checksum::Checksum;

/// The bandwidth that a request needs. Small files need many requests in flight if the server is far.
const MIN_BYTES_PER_SECOND: u64 = 16 << 10;

/// One request uses the bandwidth while the other waits for its response.
const MIN_REQUESTS: usize = 2;

/// How a client sends its requests.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    /// The most idle connections to keep: one for each worker.
    pub max_connections: usize,
    /// How often a failed request is retried.
    pub retries: u32,
    /// How long establishing a connection may take.
    pub connect_timeout: Duration,
    /// How long a single read or write may take.
    pub stall_timeout: Duration,
    /// The most bytes per second, sent and received together.
    pub bandwidth_limit: Option<u64>,
    /// The checksum to send with every upload.
    pub checksum: Checksum,
    /// Whether to leave the content of uploads out of the signature over http, too.
    pub unsigned_payload: bool,
}

impl ClientOptions {
    /// The most requests in flight that a bandwidth limit leaves useful.
    ///
    /// More would wait for each other: each would take longer, and more work would be lost if the run is
    /// interrupted.
    pub(crate) fn max_requests(&self) -> usize {
        let Some(limit) = self.bandwidth_limit else { return usize::MAX };
        let requests = usize::try_from(limit / MIN_BYTES_PER_SECOND).unwrap_or(usize::MAX);
        requests.max(MIN_REQUESTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_bandwidth_leaves_few_requests() {
        let requests = |bandwidth_limit| {
            let options = ClientOptions {
                max_connections: 512,
                retries: 0,
                connect_timeout: Duration::ZERO,
                stall_timeout: Duration::ZERO,
                bandwidth_limit,
                checksum: Checksum::default(),
                unsigned_payload: false,
            };
            options.max_requests()
        };
        assert_eq!(requests(None), usize::MAX);
        assert_eq!(requests(Some(10 << 20)), 640);
        assert_eq!(requests(Some(1 << 20)), 64);
        assert_eq!(requests(Some(4 << 10)), 2);
    }
}
