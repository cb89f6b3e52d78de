//! Responses that do not come from the S3 service: errors, and bodies that break on purpose.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::{self, HeaderValue},
};

/// An error response in S3's format. `details` is the XML that only some errors have.
pub(super) fn error_response(
    status: StatusCode,
    code: &str,
    message: &str,
    details: &str,
) -> Response<Bytes> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message>{details}\
         <RequestId>0</RequestId></Error>"
    );
    let mut response = Response::new(Bytes::from(xml));
    *response.status_mut() = status;
    let xml_type = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, xml_type);
    response
}

/// The error that makes hyper close a connection without a response, or in the middle of one.
#[derive(Debug)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault has closed the connection")
    }
}

impl std::error::Error for Closed {}

/// A response's body, as a script of steps: it may pause, or end too early.
pub(super) struct ScriptedBody {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    /// None for a body that breaks: hyper would compare the length with Content-Length.
    length: Option<u64>,
}

pub(super) enum Step {
    Send(Bytes),
    /// Without a duration, waits forever.
    Wait(Option<Duration>),
    Abort,
}

/// A pause in which hyper sends its buffer. It discards the buffer when the body fails.
pub(super) const FLUSH: Step = Step::Wait(Some(Duration::from_millis(5)));

impl ScriptedBody {
    pub fn whole(body: Bytes) -> ScriptedBody {
        let length = Some(body.len() as u64);
        ScriptedBody { steps: VecDeque::from([Step::Send(body)]), pause: None, length }
    }

    pub fn steps(steps: impl IntoIterator<Item = Step>) -> ScriptedBody {
        ScriptedBody { steps: steps.into_iter().collect(), pause: None, length: None }
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Send(body)) if body.is_empty() => {}
                Some(Step::Send(body)) => return Poll::Ready(Some(Ok(Frame::data(body)))),
                Some(Step::Wait(Some(duration))) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(duration)))
                }
                Some(Step::Wait(None)) => {
                    self.steps.push_front(Step::Wait(None));
                    return Poll::Pending;
                }
                Some(Step::Abort) => return Poll::Ready(Some(Err(Closed))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
