//! Sends the requests that obtain credentials. They do not go to S3, and each has a time limit.

use http::Request;
use ureq::{
    Agent, Body,
    config::Config,
    tls::{RootCerts, TlsConfig},
};

use crate::{
    error::Result,
    s3::{
        access::Access,
        fetch::{Fetch, FetchReply, FetchRequest},
        transport::{describe::describe, proxy::proxy, tls::root_certs},
    },
};

/// The function that sends the requests for credentials.
pub(crate) fn credential_fetcher(access: &Access) -> Box<Fetch> {
    let direct = agent(RootCerts::PlatformVerifier, None);
    let access = access.clone();
    Box::new(move |request| {
        let agent = match request.by_proxy {
            // Created when it is needed: an invalid proxy is not an error if no request uses it.
            true => by_proxy(&access).map_err(|error| error.to_string())?,
            false => direct.clone(),
        };
        let mut response = send(&agent, &request).map_err(|error| describe(&error))?;
        let body = response.body_mut().read_to_string().map_err(|error| describe(&error))?;
        Ok(FetchReply { status: response.status().as_u16(), body })
    })
}

fn by_proxy(access: &Access) -> Result<Agent> {
    Ok(agent(root_certs(access.ca_bundle.as_deref())?, proxy(access.https_proxy.as_ref())?))
}

fn agent(roots: RootCerts, proxy: Option<ureq::Proxy>) -> Agent {
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .into()
}

fn send(agent: &Agent, request: &FetchRequest) -> Result<http::Response<Body>, ureq::Error> {
    let mut builder = Request::builder().method(request.method).uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    let timeout = Some(request.timeout);
    match &request.body {
        None if request.method == "GET" => {
            let request = agent.configure_request(builder.body(())?);
            agent.run(request.timeout_global(timeout).build())
        }
        body => {
            let request = agent.configure_request(builder.body(body.clone().unwrap_or_default())?);
            agent.run(request.timeout_global(timeout).build())
        }
    }
}
