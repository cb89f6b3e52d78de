//! Requests to the services that issue credentials, with retries.

use std::{thread, time::Duration};

use crate::s3::{
    credentials::reply::{one_line, refusal},
    fetch::{Fetch, FetchReply, FetchRequest},
};

/// The pause after the first failure. It is twice as long after the second.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 300 });

/// A request with a timeout in seconds.
pub(super) fn request(
    method: &'static str,
    url: &str,
    headers: impl IntoIterator<Item = (&'static str, String)>,
    timeout: u64,
) -> FetchRequest {
    FetchRequest {
        method,
        url: url.to_owned(),
        headers: headers.into_iter().collect(),
        body: None,
        timeout: Duration::from_secs(timeout),
        by_proxy: false,
    }
}

/// Sends a request, up to `attempts` times while the failure may be temporary.
pub(super) fn exchange(
    fetch: &Fetch,
    attempts: u32,
    request: &FetchRequest,
) -> Result<FetchReply, String> {
    let mut attempt = 1;
    loop {
        let problem = match fetch(request.clone()) {
            Ok(reply) if reply.status < 500 && reply.status != 429 => return Ok(reply),
            Ok(reply) => refusal(reply.status, None),
            Err(problem) => one_line(&problem),
        };
        if attempt >= attempts {
            return Err(problem);
        }
        thread::sleep(PAUSE * attempt);
        attempt += 1;
    }
}
