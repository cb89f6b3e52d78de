//! The proxy of the environment.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, Uri};
use ureq::ProxyProtocol;

use crate::{
    error::{Cause, Error, Result},
    s3::{access::Proxy, transport::no_proxy::NoProxy},
};

/// What to write instead of a value that is not valid.
const FORM: &str = "use http://HOST:PORT, https://HOST:PORT, socks5://HOST:PORT or \
                    socks5h://HOST:PORT, with USER:PASSWORD@ before HOST if the proxy requires them. \
                    Percent-encode other characters than letters and digits in USER and PASSWORD";

/// A proxy, and the servers that are reached without it.
#[derive(Clone, Debug)]
pub(crate) struct ProxyRules {
    pub proxy: ureq::Proxy,
    except: NoProxy,
}

impl ProxyRules {
    /// Parses the proxy of the environment. The messages do not contain the URL, which may contain a
    /// password.
    pub(crate) fn new(proxy: Option<&Proxy>) -> Result<Option<ProxyRules>> {
        let Some(Proxy { variable, url, except }) = proxy else { return Ok(None) };
        let invalid = |problem| Error::config(format!("the value of {variable} {problem}: {FORM}"));
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        // Otherwise, what precedes an unescaped character would be taken for the host.
        if rest.rfind('@') > rest.find(['/', '?', '#']) && rest.contains(['/', '?', '#']) {
            return Err(invalid("is not a valid URL"));
        }
        if scheme.to_ascii_lowercase().starts_with("socks4") {
            return Err(invalid("is a SOCKS4 proxy, which is not supported"));
        }
        let proxy = ureq::Proxy::new(&format!("{scheme}://{rest}"))
            .map_err(|_| invalid("is not a valid URL of a proxy"))?;
        if proxy.host().is_empty() {
            return Err(invalid("names no host"));
        }
        let authority = proxy.uri().authority().map_or("", |authority| authority.as_str());
        let port = authority.rsplit('@').next().and_then(|host| host.strip_prefix(proxy.host()));
        if port.is_some_and(|port| port.len() > 1) && proxy.uri().port_u16().is_none() {
            return Err(invalid("has a port that is not a number up to 65535"));
        }
        Ok(Some(ProxyRules { proxy, except: NoProxy::parse(except) }))
    }

    /// Whether requests for this URL go through the proxy.
    pub(crate) fn applies_to(&self, url: &Uri) -> bool {
        !self.except.matches(url)
    }

    /// Whether requests over http are sent to the proxy itself, in absolute form. A SOCKS proxy
    /// connects to the server instead.
    pub(crate) fn is_http(&self) -> bool {
        matches!(self.proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
    }

    /// The header with the user name and password of the proxy, with its line end. Empty without them.
    pub(crate) fn authorization(&self) -> String {
        let Some(user) = self.proxy.username() else { return String::new() };
        let password = self.proxy.password().unwrap_or_default();
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        format!("Proxy-Authorization: Basic {encoded}\r\n")
    }
}

/// Whether a proxy asks for a user name and a password with this status. tinyproxy responds with 401
/// to wrong ones.
pub(crate) fn is_login_required(status: u16) -> bool {
    matches!(status, 401 | 407)
}

/// The error if the proxy asks for a user name and a password. More tries would not help.
pub(crate) fn login_required() -> Cause {
    Cause::Config(
        "the proxy requires a user name and a password, or rejects those that it got: set them in \
         the variable that names the proxy (HTTPS_PROXY, http_proxy or ALL_PROXY), as in \
         http://USER:PASSWORD@HOST:PORT"
            .to_owned(),
    )
}

/// The response of a proxy that does not pass on a request.
pub(crate) fn describe_refusal(status: u16) -> String {
    match status {
        500.. => format!("the proxy cannot reach the server (it responded with {status})"),
        _ => format!(
            "the proxy refuses the request (it responded with {status}): allow it in the proxy, or \
             add the server to NO_PROXY"
        ),
    }
}

/// The error if a response over http comes from the proxy itself, not from the server behind it.
pub(crate) fn own_response(status: u16, headers: &HeaderMap) -> Option<Cause> {
    // A server does not use 407. Squid marks its error pages. Others are known by their name, which a
    // response of the server does not have: they pass on its headers.
    let is_own = status == 407
        || headers.contains_key("x-squid-error")
        || headers.get("server").and_then(|name| name.to_str().ok()).is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            ["squid", "tinyproxy", "privoxy"].iter().any(|proxy| name.starts_with(proxy))
        });
    // Stores respond with XML.
    let is_page = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("text/html"));
    match status {
        403 | 405 | 500.. if !is_own && is_page => Some(Cause::S3 {
            status,
            code: String::new(),
            message: "an HTML page, probably of the proxy: allow the request in the proxy, or add \
                      the server to NO_PROXY"
                .to_owned(),
            retry_after: None,
        }),
        _ if !is_own => None,
        _ if is_login_required(status) => Some(login_required()),
        500.. => Some(Cause::Network(describe_refusal(status))),
        400.. => Some(Cause::S3 {
            status,
            code: String::new(),
            message: describe_refusal(status),
            retry_after: None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(url: &str) -> Result<ProxyRules> {
        let proxy =
            Proxy { variable: "HTTPS_PROXY", url: url.to_owned(), except: "direct".to_owned() };
        ProxyRules::new(Some(&proxy)).map(Option::unwrap)
    }

    #[test]
    fn proxy_url_is_parsed_with_or_without_a_scheme() {
        for (url, protocol, host, port) in [
            ("host:3128", ProxyProtocol::Http, "host", 3128),
            ("host", ProxyProtocol::Http, "host", 80),
            ("http://host:3128/", ProxyProtocol::Http, "host", 3128),
            ("http://host:", ProxyProtocol::Http, "host", 80),
            ("HTTPS://host", ProxyProtocol::Https, "host", 443),
            ("user:p%40ss@host:3128", ProxyProtocol::Http, "host", 3128),
            ("http://[::1]:3128", ProxyProtocol::Http, "[::1]", 3128),
            ("socks5://host", ProxyProtocol::Socks5, "host", 1080),
            ("socks://host", ProxyProtocol::Socks5, "host", 1080),
            ("socks5h://user:a@b@host:1", ProxyProtocol::Socks5h, "host", 1),
        ] {
            let rules = rules(url).unwrap();
            let proxy = &rules.proxy;
            assert_eq!((proxy.protocol(), proxy.host(), proxy.port()), (protocol, host, port));
            assert!(rules.applies_to(&"http://server".parse().unwrap()), "{url}");
            assert!(!rules.applies_to(&"http://direct".parse().unwrap()), "{url}");
        }
        let header = rules("user%20name:p%40%3Ass@host").unwrap().authorization();
        let encoded = BASE64_STANDARD.encode("user name:p@:ss");
        assert_eq!(header, format!("Proxy-Authorization: Basic {encoded}\r\n"));
        assert_eq!(rules("http://host").unwrap().authorization(), "");
    }

    #[test]
    fn invalid_proxy_is_an_error_without_its_password() {
        for url in [
            "http://user:secret@host:port",
            "http://user:secret@host:65536",
            "http://user:1/secret@host:3128",
            "http://user:1#secret@host:3128",
            "http://user:1?secret@host:3128",
            "user:secret://host",
            "secret://host",
            "ftp://user:secret@host",
            "socks4://user:secret@host",
            "socks4a://user:secret@host",
            "http://",
            "http://user:secret@",
            "not a secret",
            "http://user:%ff@secret:3128",
        ] {
            let error = rules(url).unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{url}: {error}");
        }
    }
}
