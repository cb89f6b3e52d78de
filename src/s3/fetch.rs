//! The small HTTP requests that obtain credentials, as plain data.
//!
//! The sources of credentials depend only on these types, so that their tests need no network.

use std::time::{Duration, SystemTime};

/// A request for credentials. No `Debug`: headers and body contain tokens. The URL never does.
#[derive(Clone)]
pub(crate) struct FetchRequest {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<String>,
    /// The time limit of the whole exchange.
    pub timeout: Duration,
    /// Whether the request uses the configured proxy and CA bundle, as the requests to S3 do.
    pub by_proxy: bool,
}

/// A response of any status. No `Debug`: the body contains secrets.
pub(crate) struct FetchReply {
    pub status: u16,
    pub body: String,
    /// The time of the server (its `Date` header), if it sent one.
    pub date: Option<SystemTime>,
}

/// Sends one request. A response of any status is `Ok`; `Err` describes why there is no response.
///
/// An implementation must not follow redirects, which could carry a token to another host. It must
/// connect to link-local and loopback hosts directly, not through a proxy. It must limit the size
/// of a body.
pub(crate) type Fetch = dyn Fn(FetchRequest) -> Result<FetchReply, String> + Send + Sync;
