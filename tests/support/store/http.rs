//! The HTTP side of the store: logs each request, applies the fault that hits it, and passes the
//! rest to the S3 service.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    Method, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::request::Parts,
};
use s3s::service::S3Service;

use super::{
    Store,
    body::RawBody,
    faults::{Fault, Outcome},
    quirks, region,
    request::Request,
    response::{Closed, FLUSH, ScriptedBody, Step, error_response},
    server::Shared,
    time::http_date,
};

/// Responds to a request, in these steps:
///
/// 1. Log the request, and choose its fault.
/// 2. Wait, read the body, run the callback, and flip a bit of the body, as the fault demands.
/// 3. Make the response: from the fault, from the region check, or from the S3 service.
/// 4. Set the headers.
/// 5. Damage the response's body, as the fault demands.
pub(super) async fn respond(
    shared: Arc<Shared>,
    service: S3Service,
    connection: usize,
    request: hyper::Request<Incoming>,
) -> Result<Response<ScriptedBody>, Closed> {
    let in_flight = InFlight::start(shared.clone());
    // `incoming` lives until there is a response: hyper stops reading when it is dropped.
    let (parts, mut incoming) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let request = Request::read(&parts, connection, in_flight.count);
    let (number, fault, rejection) = {
        let mut state = shared.state();
        let number = state.log.add(request.clone());
        (number, state.faults.take(&request), region::rejection(&state, &request))
    };
    let fault = fault.unwrap_or_else(Fault::none);

    let body = receive(&shared, &fault, &parts.headers, &mut incoming).await?;
    let mut response = match rejection {
        // The fault supplies the response below.
        _ if !fault.outcome.processes() => Response::new(Bytes::new()),
        Some(rejection) => rejection,
        None => match quirks::serve(&shared, &request) {
            Some(response) => response,
            None => process(&service, parts, body).await?,
        },
    };
    quirks::rewrite(&shared, &request, &mut response);
    match &fault.outcome {
        Outcome::Status { status, code, message, .. } => {
            let status = StatusCode::from_u16(*status).expect("a status is from 100 to 999");
            response = error_response(status, code, message, "");
        }
        Outcome::Respond { status, body } => {
            *response.status_mut() = StatusCode::from_u16(*status).expect("a valid status");
            *response.body_mut() = body.clone();
        }
        Outcome::Close { .. } => return Err(Closed),
        Outcome::RefuseConnections(time) => {
            if let Some(time) = *time {
                let shared = shared.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    shared.listen();
                });
            }
            // Cancels this task too: it belongs to one of the connections.
            shared.close_port().await;
            return Err(Closed);
        }
        _ => {}
    }

    if let Some(rewrite) = fault.rewrite.clone().filter(|_| response.status().is_success()) {
        let text = String::from_utf8_lossy(response.body()).into_owned();
        response = response.map(|_| rewrite(&request, &text).into());
        let length = HeaderValue::from(response.body().len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }

    let now = {
        let mut state = shared.state();
        state.log.set_status(number, response.status());
        state.now()
    };
    let headers = response.headers_mut();
    headers.insert(header::DATE, http_date(now));
    headers.insert(header::SERVER, HeaderValue::from_static("AmazonS3"));
    headers.insert("x-amz-request-id", HeaderValue::from(number));
    for prefix in &fault.removed_headers {
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in names.iter().filter(|name| name.as_str().starts_with(prefix)) {
            headers.remove(name);
        }
    }
    for (name, value) in &fault.headers {
        let name = HeaderName::try_from(name).expect("the header's name is valid");
        headers.insert(name, HeaderValue::try_from(value).expect("the header's value is valid"));
    }

    // These responses have no body, even if the service made one.
    let is_bodiless =
        matches!(response.status(), StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
    if is_head || is_bodiless {
        if !is_head {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        let body = match response.extensions().get::<quirks::Chunked>() {
            Some(_) => ScriptedBody::steps([]),
            None => ScriptedBody::whole(Bytes::new()),
        };
        return Ok(response.map(|_| body));
    }
    let (mut parts, body) = response.into_parts();
    let is_chunked = parts.extensions.get::<quirks::Chunked>().is_some();
    let outcome = match fault.outcome {
        Outcome::Unchanged if is_chunked => Outcome::Chunked { body: body.clone(), complete: true },
        outcome => outcome,
    };
    let body = damaged(outcome, body, &mut parts.headers);
    Ok(Response::from_parts(parts, body))
}

/// Counts a request as in flight until it is dropped.
struct InFlight {
    shared: Arc<Shared>,
    /// How many requests were in flight at the start, including this one.
    count: usize,
}

impl InFlight {
    fn start(shared: Arc<Shared>) -> InFlight {
        let count = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        InFlight { shared, count }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reads the request's body, and applies the fault's delay, callback and bit flip.
async fn receive(
    shared: &Arc<Shared>,
    fault: &Fault,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<Bytes, Closed> {
    // Even the shortest sleep takes a millisecond.
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    let mut body = if fault.unread { Bytes::new() } else { read(incoming, headers).await? };
    if let Some(callback) = fault.callback.clone() {
        let store = Store::without_server(shared);
        // On another thread, because this one serves all connections.
        let result = tokio::task::spawn_blocking(move || callback(&store)).await;
        result.expect("a fault's callback panicked");
    }
    if let Some(at) = fault.flip_request {
        body = flip_bit(&body, at);
    }
    Ok(body)
}

/// Reads a request's body into one buffer, without reallocation if its length is known.
async fn read(incoming: &mut Incoming, headers: &HeaderMap) -> Result<Bytes, Closed> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = BytesMut::with_capacity(length.unwrap_or(0));
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(|_| Closed)?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    Ok(body.freeze())
}

/// Passes a request to the S3 service, and reads the whole response.
async fn process(
    service: &S3Service,
    mut parts: Parts,
    body: Bytes,
) -> Result<Response<Bytes>, Closed> {
    parts.extensions.insert(RawBody(body.clone()));
    let request = hyper::Request::from_parts(parts, s3s::Body::from(body));
    let response = service.call(request).await.map_err(|_| Closed)?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

/// Applies a fault to a response's body, and sets the headers that belong to the body.
fn damaged(outcome: Outcome, body: Bytes, headers: &mut HeaderMap) -> ScriptedBody {
    let mut set_length =
        |length: u64| headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let length = body.len();
    match outcome {
        Outcome::CutBody(at) => {
            set_length(length as u64);
            let start = body.slice(..at.min(length));
            ScriptedBody::steps([Step::Send(start), FLUSH, Step::Abort])
        }
        Outcome::StallBody(at, pause) => {
            set_length(length as u64);
            let (start, rest) = (body.slice(..at.min(length)), body.slice(at.min(length)..));
            ScriptedBody::steps([Step::Send(start), Step::Wait(pause), Step::Send(rest)])
        }
        Outcome::ContentLength(length) => {
            set_length(length);
            ScriptedBody::steps([Step::Send(body), FLUSH, Step::Abort])
        }
        Outcome::FlipBody(at) => ScriptedBody::whole(flip_bit(&body, at)),
        Outcome::ReplaceBody(body) => {
            set_length(body.len() as u64);
            ScriptedBody::whole(body)
        }
        Outcome::TruncateBody(at) => {
            set_length(at.min(length) as u64);
            ScriptedBody::whole(body.slice(..at.min(length)))
        }
        Outcome::Chunked { body, complete } => {
            headers.remove(header::CONTENT_LENGTH);
            let end = if complete { Vec::new() } else { vec![FLUSH, Step::Abort] };
            ScriptedBody::steps([Step::Send(body)].into_iter().chain(end))
        }
        Outcome::Unchanged
        | Outcome::Status { .. }
        | Outcome::Respond { .. }
        | Outcome::Close { .. }
        | Outcome::RefuseConnections(_) => ScriptedBody::whole(body),
    }
}

fn flip_bit(body: &Bytes, at: usize) -> Bytes {
    let mut bytes = body.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes.into()
}
