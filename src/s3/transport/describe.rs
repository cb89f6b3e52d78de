//! Plain words for the errors of the HTTP client.

use std::io;

use rustls::{AlertDescription, CertificateError, pki_types::ServerName};
use ureq::Timeout;

use crate::{
    error::Cause,
    s3::transport::{certificates::is_ca_certificate, proxy},
};

/// The error of a request that got no response, or whose response broke off.
pub(crate) fn network_error(error: &ureq::Error) -> Cause {
    if is_proxy_login_missing(error) {
        return proxy::login_required();
    }
    Cause::Network(describe(error))
}

/// A short description of an error, for a message.
pub(crate) fn describe(error: &ureq::Error) -> String {
    if let Some(error) = tls_error(error) {
        return describe_tls(error);
    }
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "the host name is unknown".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Timeout(Timeout::Connect) => "timeout while connecting".to_owned(),
        ureq::Error::Timeout(_) => "timeout: the connection is stalled".to_owned(),
        ureq::Error::ConnectProxyFailed(reason) => match refused_with(reason) {
            Some(status) => proxy::describe_refusal(status),
            None => format!("the proxy opens no connection: {reason}"),
        },
        ureq::Error::Protocol(_) => {
            format!("the response is not HTTP ({error}): does the port expect https?")
        }
        other => other.to_string(),
    }
}

/// Whether the connection was closed or broken.
pub(crate) fn is_closed(error: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ureq::Error::Io(error) = error else { return false };
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Whether a response without success says that the port expects TLS. Servers respond with a text of
/// their own to http on such a port.
pub(crate) fn expects_tls(status: u16, body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    status == 400
        && [
            // Go: MinIO, Garage behind Caddy, SeaweedFS.
            "client sent an http request to an https server",
            // nginx.
            "plain http request was sent to https port",
            // Apache.
            "speaking plain http to an ssl-enabled server port",
            // Jetty, Tomcat.
            "this combination of host and port requires tls",
        ]
        .iter()
        .any(|text| body.contains(text))
}

/// What to do if the port expects TLS.
pub(crate) const USE_HTTPS: &str = "the port expects TLS: begin the endpoint with https://";

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn describe_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => describe_certificate(error),
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS: is it http? Then begin the endpoint with http://"
                .to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion),
        ) => format!(
            "the server supports none of the TLS versions and ciphers of s3keep ({alert:?}): it must \
             offer TLS 1.2 or 1.3"
        ),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a client certificate, which s3keep does not support".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    const BUNDLE: &str = "if you trust it, set AWS_CA_BUNDLE to a PEM file";
    match error {
        // The signature is wrong if another issuer of the same name is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the server's certificate is from an unknown issuer: {BUNDLE} with the certificate of \
             the issuer (or the server's, if it is self-signed)"
        ),
        error if is_ca_certificate(error) => {
            format!("the server's certificate is self-signed: {BUNDLE} with this certificate")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it, or correct the clock of this machine"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: correct the clock of this machine"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = match expected {
                ServerName::DnsName(name) => name.as_ref().to_owned(),
                other => other.to_str().into_owned(),
            };
            let names = match presented.as_slice() {
                [] => "for no name at all (subjectAltName)".to_owned(),
                names => format!("only for {}", describe_names(names)),
            };
            format!(
                "the server's certificate is not for {expected}, {names}: use its name in the \
                 endpoint, or another addressing style (--addressing-style)"
            )
        }
        other => format!("the server's certificate is not valid: {other}"),
    }
}

/// The first few names of a certificate.
fn describe_names(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(|name| without_type(name)).collect();
    let more = if names.len() > shown.len() { " and others" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// rustls writes `DnsName("host")` or `IpAddress(127.0.0.1)`.
fn without_type(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// Whether the proxy wants a user name and a password, or does not accept those it got.
fn is_proxy_login_missing(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::ConnectProxyFailed(reason) => {
            refused_with(reason).is_some_and(proxy::is_login_required)
        }
        // The errors of the SOCKS handshake.
        ureq::Error::Io(error) => matches!(
            error.to_string().as_str(),
            "password authentication failed"
                | "no acceptable auth methods"
                | "unknown auth method"
                | "invalid username"
                | "invalid password"
        ),
        _ => false,
    }
}

/// The status of a proxy that refused to open a tunnel.
fn refused_with(reason: &str) -> Option<u16> {
    let (_, status) = reason.split_once("responded ")?;
    status.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_certificates_say_what_to_do() {
        let describe = |error: CertificateError| {
            let error = rustls::Error::InvalidCertificate(error);
            describe(&io::Error::new(io::ErrorKind::InvalidData, error).into())
        };
        assert!(describe(CertificateError::UnknownIssuer).contains("AWS_CA_BUNDLE"));
        assert!(describe(CertificateError::Expired).contains("has expired: renew it"));
        assert!(describe(CertificateError::NotValidYet).contains("the clock of this machine"));
        let wrong_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("store.example.net").unwrap().to_owned(),
            presented: vec!["DnsName(\"a.example.net\")".to_owned(), "IpAddress(::1)".to_owned()],
        };
        let text = "not for store.example.net, only for a.example.net, ::1: use its name in";
        assert!(describe(wrong_name).contains(text));
    }

    #[test]
    fn refusal_of_a_proxy_is_told_from_other_errors() {
        let failed = |reason: &str| ureq::Error::ConnectProxyFailed(reason.to_owned());
        let login = network_error(&failed("proxy server responded 407/407"));
        assert!(matches!(&login, Cause::Config(text) if text.contains("USER:PASSWORD")));
        let refused = network_error(&failed("proxy server responded 403/403"));
        assert!(matches!(&refused, Cause::Network(text) if text.contains("NO_PROXY")));
        let broken = network_error(&failed("proxy server responded 503/503"));
        assert!(matches!(&broken, Cause::Network(text) if text.contains("cannot reach")));
        assert!(describe(&failed("proxy server did not respond")).contains("did not respond"));
    }
}
