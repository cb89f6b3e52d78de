//! The options of a client.

use std::time::Duration;

use crate::s3::checksum::Checksum;

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
    /// The checksum to send with every upload.
    pub checksum: Checksum,
    /// Whether to leave the content of uploads out of the signature over http, too.
    pub unsigned_payload: bool,
}
