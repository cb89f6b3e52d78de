//! A cache of host names.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::RwLock,
    time::{Duration, Instant},
};

use http::Uri;
use ureq::{
    config::Config,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// How long a cached address is used: long enough to relieve the name server, short enough for the
/// rotating addresses of S3.
const LIFETIME: Duration = Duration::from_secs(5);

/// Caches resolved host names. ureq resolves the name for every request, even if there is a pooled
/// connection.
#[derive(Debug, Default)]
pub(crate) struct DnsCache {
    resolver: DefaultResolver,
    cached: RwLock<HashMap<String, (Instant, ResolvedSocketAddrs)>>,
}

impl Resolver for DnsCache {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |host| host.as_str())
        );
        if let Ok(cached) = self.cached.read()
            && let Some((since, addresses)) = cached.get(&host)
            && since.elapsed() < LIFETIME
        {
            return Ok(addresses.clone());
        }
        let mut addresses = self.resolver.resolve(uri, config, timeout)?;
        if config.proxy().is_some_and(ureq::Proxy::resolve_target) {
            // A SOCKS proxy gets one address. More of them have IPv4 than IPv6.
            addresses.sort_by_key(SocketAddr::is_ipv6);
        }
        if let Ok(mut cached) = self.cached.write() {
            cached.insert(host, (Instant::now(), addresses.clone()));
        }
        Ok(addresses)
    }
}
