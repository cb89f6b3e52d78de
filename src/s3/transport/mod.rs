//! HTTP: a blocking client with a pool of connections. Only this folder names ureq and rustls; the `http`
//! crate provides the types that others need.
//!
//! A request to S3 has no time limit as a whole, because objects may be large and networks slow.
//! The limits apply to each connect, read and write, and to the progress of each request.

mod absolute_form;
mod agent;
mod bandwidth;
mod certificates;
mod connections;
mod credential_fetcher;
mod describe;
mod dialer;
mod dns;
mod early_response;
mod http_client;
mod no_proxy;
mod progress;
mod proxy;
mod response;
mod route;
mod tcp;
mod tls;

pub(crate) use connections::Exchange;
pub(crate) use credential_fetcher::credential_fetcher;
pub(crate) use describe::{USE_HTTPS, expects_tls};
pub(crate) use http_client::HttpClient;
pub(crate) use response::Response;
