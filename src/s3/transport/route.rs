//! Decides how each connection reaches its server: directly, or through a proxy.

use std::sync::Arc;

use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, SocksConnector, Transport,
};

use crate::s3::transport::{
    absolute_form::{AbsoluteFormTransport, Secret},
    dialer::Dialer,
    progress::Meter,
    proxy::ProxyRules,
    tcp,
};

/// Opens connections, without TLS to the server.
///
/// | proxy | server | connection |
/// | --- | --- | --- |
/// | none, or the server is in `NO_PROXY` | | direct |
/// | http or https | http | to the proxy, requests in absolute form |
/// | http or https | https | a tunnel (CONNECT) |
/// | SOCKS5 | | as SOCKS5 defines it |
#[derive(Debug)]
pub(crate) struct RouteConnector {
    rules: Option<ProxyRules>,
    dialer: Dialer,
    meter: Meter,
}

impl RouteConnector {
    /// `rules` must be those of the proxy in the configuration of the agent.
    pub(crate) fn new(rules: Option<ProxyRules>, meter: Meter) -> RouteConnector {
        RouteConnector { rules, dialer: Dialer::default(), meter }
    }
}

impl Connector<()> for RouteConnector {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Box<dyn Transport>>, ureq::Error> {
        let rules = self.rules.as_ref().filter(|rules| {
            // The connection to the proxy itself comes through here as well.
            details.uri != rules.proxy.uri() && rules.applies_to(details.uri)
        });
        let Some(rules) = rules else {
            let transport = tcp::connect(&self.dialer, &self.meter, details)?;
            return Ok(Some(Box::new(transport)));
        };
        if rules.is_http() && !details.needs_tls() {
            return to_proxy(rules, details).map(|transport| Some(Box::new(transport) as _));
        }
        // Each of them does nothing unless the proxy is of its kind.
        let tunnel = ConnectProxyConnector::default().connect(details, None::<()>)?;
        let through = SocksConnector::default().connect(details, tunnel)?;
        Ok(through.map(|transport| Box::new(transport) as _))
    }
}

/// Connects to the proxy, for requests in absolute form.
fn to_proxy(
    rules: &ProxyRules,
    details: &ConnectionDetails,
) -> Result<AbsoluteFormTransport, ureq::Error> {
    let uri = rules.proxy.uri();
    let proxy = ConnectionDetails {
        uri,
        addrs: details.resolver.resolve(uri, details.config, details.timeout)?,
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
    };
    let inner = (details.run_connector)(&proxy)?;
    let authority = details.uri.authority().ok_or(ureq::Error::ConnectionFailed)?;
    Ok(AbsoluteFormTransport {
        inner,
        // Not the user name that an endpoint may contain.
        server: format!("http://{}", authority.as_str().rsplit('@').next().unwrap_or_default()),
        authorization: Secret(rules.authorization()),
        starts_request: true,
    })
}
