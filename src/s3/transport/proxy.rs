//! The proxy of the environment.

use ureq::ProxyProtocol;

use crate::{
    error::{Error, Result},
    s3::access::Proxy,
};

/// Converts the proxy of the environment. Its messages do not contain the URL, which may contain a
/// password.
pub(crate) fn proxy(proxy: Option<&Proxy>) -> Result<Option<ureq::Proxy>> {
    let Some(proxy) = proxy else { return Ok(None) };
    let invalid =
        |_| Error::config("the value of HTTPS_PROXY, http_proxy or ALL_PROXY is not a valid URL");
    let parsed = ureq::Proxy::new(&proxy.url).map_err(invalid)?;
    if !matches!(parsed.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(Error::config(
            "the value of HTTPS_PROXY, http_proxy or ALL_PROXY is a SOCKS proxy; use an http or https \
             proxy",
        ));
    }
    let mut builder =
        ureq::Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(name) = parsed.username() {
        builder = builder.username(name);
    }
    if let Some(password) = parsed.password() {
        builder = builder.password(password);
    }
    for host in proxy.except.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
        // A name includes its subdomains, such as those of buckets, as for the AWS tools.
        if !host.contains('*') && !host.starts_with('.') {
            builder = builder.no_proxy(&format!(".{host}"));
        }
    }
    builder.build().map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{
        access::{Access, AccessOptions},
        env::Env,
    };

    #[test]
    fn no_proxy_name_includes_its_subdomains() {
        let env = Env::default()
            .set("HTTPS_PROXY", "http://proxy:3128")
            .set("NO_PROXY", "store.example.net, .example.org,*.example.com");
        let access = Access::resolve(AccessOptions::default(), env).unwrap();
        let proxy = proxy(access.proxy.as_ref()).unwrap().unwrap();
        let is_direct =
            |host: &str| proxy.is_no_proxy(&format!("https://{host}/").parse().unwrap());
        for host in ["store.example.net", "bkt.store.example.net", "a.example.org", "a.example.com"]
        {
            assert!(is_direct(host), "{host}");
        }
        for host in ["otherstore.example.net", "example.net", "s3.amazonaws.com"] {
            assert!(!is_direct(host), "{host}");
        }
    }
}
