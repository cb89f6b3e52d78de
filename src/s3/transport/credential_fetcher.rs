//! Sends the requests that obtain credentials. They do not go to S3, and each has a time limit.

use std::{sync::Arc, time::SystemTime};

use http::{Request, header::DATE};
use ureq::{Agent, Body};

use crate::{
    error::Result,
    s3::{
        access::{Access, Proxy},
        clock::Clock,
        fetch::{Fetch, FetchReply, FetchRequest},
        transport::{agent::Connecting, describe::describe},
    },
};

/// The function that sends the requests for credentials. `clock` learns the time of the servers.
pub(crate) fn credential_fetcher(access: &Access, clock: &Arc<Clock>) -> Box<Fetch> {
    let direct = agent(&Connecting::default());
    let (access, clock) = (access.clone(), Arc::clone(clock));
    Box::new(move |request| {
        let agent = match request.by_proxy {
            // Created when it is needed: an invalid proxy is not an error if no request uses it.
            true => by_proxy(&access, &request.url).map_err(|error| error.to_string())?,
            false => direct.clone(),
        };
        let sent = SystemTime::now();
        let mut response = send(&agent, &request).map_err(|error| describe(&error))?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        clock.observe_issuer(date, sent);
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let body = response.body_mut().read_to_string().map_err(|error| describe(&error))?;
        Ok(FetchReply { status: response.status().as_u16(), body, date })
    })
}

fn by_proxy(access: &Access, url: &str) -> Result<Agent> {
    // The endpoint of the service may be that of a store, over http.
    let chosen = match url.starts_with("https:") {
        true => access.https_proxy.clone(),
        false => Proxy::from_env(&access.env, false),
    };
    Ok(agent(&Connecting::new(chosen.as_ref(), access.ca_bundle.as_deref())?))
}

fn agent(connecting: &Connecting) -> Agent {
    connecting.agent(connecting.config().build())
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
