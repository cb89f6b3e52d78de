//! Builds the HTTP agents: what they trust, and how they connect.

use std::{path::Path, sync::Arc};

use rustls::ClientConfig;
use ureq::{
    Agent,
    config::Config,
    tls::{RootCerts, TlsConfig},
    typestate::AgentScope,
    unversioned::transport::{Connector, RustlsConnector},
};

use crate::{
    error::Result,
    s3::{
        access::Proxy,
        transport::{
            bandwidth::{Bandwidth, BandwidthConnector},
            certificates::bundle_config,
            connections::{CountingConnector, WorkingConnections},
            dns::DnsCache,
            early_response::EarlyResponseConnector,
            progress::Meter,
            proxy::ProxyRules,
            route::RouteConnector,
            tls::TlsConnector,
        },
    },
};

/// How the connections of an agent are made.
#[derive(Clone, Default)]
pub(crate) struct Connecting {
    pub rules: Option<ProxyRules>,
    /// The TLS configuration with the certificates of the bundle, if there is one.
    pub bundle: Option<Arc<ClientConfig>>,
    pub connections: WorkingConnections,
    pub meter: Meter,
    /// The limit that all connections share, if there is one.
    pub bandwidth: Option<Bandwidth>,
}

impl Connecting {
    pub(crate) fn new(proxy: Option<&Proxy>, ca_bundle: Option<&Path>) -> Result<Connecting> {
        Ok(Connecting {
            rules: ProxyRules::new(proxy)?,
            bundle: bundle_config(ca_bundle)?,
            connections: WorkingConnections::default(),
            meter: Meter::default(),
            bandwidth: None,
        })
    }

    /// A configuration with the proxy.
    pub(crate) fn config(&self) -> ureq::config::ConfigBuilder<AgentScope> {
        Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // It is used only if there is no bundle.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .proxy(self.rules.as_ref().map(|rules| rules.proxy.clone()))
    }

    /// An agent with a configuration that began as [`config`](Self::config).
    pub(crate) fn agent(&self, config: Config) -> Agent {
        let proxy = self.rules.as_ref().map(|rules| rules.proxy.uri().clone());
        let connector = RouteConnector::new(self.rules.clone(), self.meter.clone())
            .chain(BandwidthConnector { bandwidth: self.bandwidth.clone(), proxy: proxy.clone() })
            .chain(EarlyResponseConnector)
            .chain(TlsConnector { config: self.bundle.clone() })
            .chain(RustlsConnector::default())
            .chain(CountingConnector { working: self.connections.clone(), proxy });
        Agent::with_parts(config, connector, DnsCache::default())
    }
}
