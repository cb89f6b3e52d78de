//! Plain words for the errors of the HTTP client.

use std::io;

use ureq::Timeout;

use crate::error::Cause;

/// The error of a request that got no response, or whose response broke off.
pub(crate) fn network_error(error: &ureq::Error) -> Cause {
    Cause::Network(describe(error))
}

/// A short description of an error, for a message.
pub(crate) fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            // The TLS library's error for a response in plain text.
            _ if error.to_string().contains("InvalidContentType") => {
                "the server does not speak TLS: is it http?".to_owned()
            }
            _ => error.to_string(),
        },
        ureq::Error::HostNotFound => "the host name is unknown".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Timeout(Timeout::Connect) => "timeout while connecting".to_owned(),
        ureq::Error::Timeout(_) => "timeout: the connection is stalled".to_owned(),
        other => other.to_string(),
    }
}
