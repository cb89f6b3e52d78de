//! The servers that are reached without the proxy (`NO_PROXY`).

use std::net::IpAddr;

use http::Uri;

/// The entries of `NO_PROXY`, separated by commas or white space.
///
/// | entry | matches |
/// | --- | --- |
/// | `*` | everything |
/// | `example.net`, `.example.net` | the name and all names below it |
/// | `*.example.net` | all names below it |
/// | `10.0.*` | what begins like this |
/// | `192.0.2.7`, `2001:db8::7`, `[2001:db8::7]` | the address |
/// | `192.0.2.0/24`, `2001:db8::/32` | the addresses of the network. Names are not resolved |
/// | any of the names and addresses with `:PORT` | only this port |
#[derive(Clone, Debug, Default)]
pub(crate) struct NoProxy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Hosts {
    All,
    /// A name and the names below it.
    Name(String),
    Below(String),
    Prefix(String),
    Address(IpAddr),
    Network {
        address: IpAddr,
        bits: u32,
    },
}

impl NoProxy {
    pub(crate) fn parse(text: &str) -> NoProxy {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        NoProxy { entries: entries.filter(|entry| !entry.is_empty()).map(Entry::parse).collect() }
    }

    /// Whether the server of this URL is reached directly.
    pub(crate) fn matches(&self, url: &Uri) -> bool {
        let host = url.host().unwrap_or_default();
        let host = without_brackets(host).trim_end_matches('.').to_ascii_lowercase();
        let is_https = url.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        self.entries.iter().any(|entry| {
            entry.port.is_none_or(|wanted| wanted == port) && entry.hosts.contains(&host)
        })
    }
}

impl Entry {
    fn parse(text: &str) -> Entry {
        let text = text.to_ascii_lowercase();
        if let Some(hosts) = Hosts::address(&text) {
            return Entry { hosts, port: None };
        }
        let with_port = text.rsplit_once(':');
        let with_port = with_port.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = match with_port {
            Some((host, port)) => (host, Some(port)),
            None => (text.as_str(), None),
        };
        let hosts = Hosts::address(host).unwrap_or_else(|| Hosts::name(host));
        Entry { hosts, port }
    }
}

impl Hosts {
    /// Parses an address or a network.
    fn address(text: &str) -> Option<Hosts> {
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = without_brackets(address).parse().ok()?;
            let width = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= width)?;
            return Some(Hosts::Network { address, bits });
        }
        without_brackets(text).parse().ok().map(Hosts::Address)
    }

    fn name(text: &str) -> Hosts {
        let name = text.trim_end_matches('.');
        match (name.strip_prefix("*."), name.strip_suffix('*')) {
            (_, Some("")) => Hosts::All,
            (Some(parent), _) => Hosts::Below(parent.to_owned()),
            (_, Some(prefix)) => Hosts::Prefix(prefix.to_owned()),
            _ => Hosts::Name(name.trim_start_matches('.').to_owned()),
        }
    }

    /// `host` is in lower case, without brackets.
    fn contains(&self, host: &str) -> bool {
        let is_below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        let address = || host.parse::<IpAddr>().ok();
        match self {
            Hosts::All => true,
            Hosts::Name(name) => host == name || is_below(name),
            Hosts::Below(name) => is_below(name),
            Hosts::Prefix(prefix) => host.starts_with(prefix.as_str()),
            Hosts::Address(wanted) => address() == Some(*wanted),
            Hosts::Network { address: network, bits } => {
                address().is_some_and(|address| is_in(address, *network, *bits))
            }
        }
    }
}

/// Whether the first `bits` bits of both addresses are the same.
fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let different = address.to_bits() ^ network.to_bits();
            different.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let different = address.to_bits() ^ network.to_bits();
            different.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_matches_names_addresses_networks_and_ports() {
        for (entry, direct, proxied) in [
            ("", &[][..], &["http://a", "http://[::1]"][..]),
            ("*", &["http://a", "https://[::1]:9000"], &[]),
            (
                "store.example.net",
                &["https://store.example.net", "https://bkt.STORE.example.net:9000"],
                &["https://otherstore.example.net", "https://example.net"],
            ),
            (".example.org", &["https://a.example.org", "https://example.org"], &["http://org"]),
            ("*.example.com", &["http://a.b.example.com"], &["http://example.com"]),
            ("Example.NET.", &["http://a.example.net"], &["http://example.net.org"]),
            ("10.0.*", &["http://10.0.3.4:80"], &["http://10.1.0.0"]),
            (
                "store:9000",
                &["http://store:9000", "https://bkt.store:9000"],
                &["http://store", "https://store:9001"],
            ),
            ("store:443", &["https://store"], &["http://store", "https://store:444"]),
            ("store:80", &["http://store"], &["https://store"]),
            ("192.0.2.7", &["http://192.0.2.7"], &["http://192.0.2.70", "http://a.192.0.2.7.a"]),
            ("192.0.2.7:9000", &["http://192.0.2.7:9000"], &["http://192.0.2.7"]),
            (
                "192.168.0.0/16",
                &["http://192.168.255.1:9000"],
                &["http://192.169.0.1", "http://name", "http://[::1]"],
            ),
            ("0.0.0.0/0", &["http://1.2.3.4"], &["http://name", "http://[::1]"]),
            ("10.1.2.3/32", &["http://10.1.2.3"], &["http://10.1.2.2"]),
            ("2001:DB8::/32", &["http://[2001:db8:1::1]:9000"], &["http://[2001:db9::1]"]),
            ("[fd00::]/8", &["http://[fdff::1]"], &["http://[fe00::1]"]),
            ("::1", &["http://[0:0::1]:9000"], &["http://[::2]"]),
            ("[::1]", &["https://[::1]"], &["http://[::2]"]),
            ("[::1]:9000", &["http://[::1]:9000"], &["http://[::1]:9001"]),
            ("10.0.0.0/99, a", &["http://a"], &["http://10.0.0.1"]),
            (" a , b\tc", &["http://a", "http://b", "http://c"], &["http://d"]),
        ] {
            let list = NoProxy::parse(entry);
            let is_direct = |url: &&str| list.matches(&url.parse().unwrap());
            for url in direct {
                assert!(is_direct(url), "{entry}: {url}");
            }
            for url in proxied {
                assert!(!is_direct(url), "{entry}: {url}");
            }
        }
    }
}
