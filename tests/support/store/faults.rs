//! Faults: the failures that a test scripts, and the choice of the one that hits a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{Store, request::Request};

type Predicate = Arc<dyn Fn(&Request) -> bool + Send + Sync>;
type Rewrite = Arc<dyn Fn(&Request, &str) -> String + Send + Sync>;
type Callback = Arc<dyn Fn(&Store) + Send + Sync>;

/// A failure: the requests that it hits, and its effect on them.
///
/// `Fault::on("PutObject").key("a/b").skip(1).times(2).status(503, "SlowDown")` lets the first PUT
/// of `a/b` pass and fails the next two. Without `times`, a fault hits every matching request.
///
/// `delay`, `run`, `flip_request_body`, `unread`, `header`, `without_headers` and `rewrite` combine with
/// each other and with one of the rest. Of the rest, the last call wins.
#[derive(Clone)]
pub struct Fault {
    operation: String,
    key: Option<String>,
    part: Option<String>,
    predicate: Option<Predicate>,
    skip: usize,
    times: usize,
    pub(super) delay: Duration,
    pub(super) callback: Option<Callback>,
    pub(super) flip_request: Option<usize>,
    pub(super) unread: bool,
    pub(super) headers: Vec<(String, String)>,
    pub(super) removed_headers: Vec<String>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) outcome: Outcome,
}

/// What a fault does to the request, or to its response.
#[derive(Clone)]
pub(super) enum Outcome {
    Unchanged,
    Status { status: u16, code: String, message: String, processed: bool },
    Respond { status: u16, body: Bytes },
    Close { processed: bool },
    RefuseConnections(Option<Duration>),
    CutBody(usize),
    StallBody(usize, Option<Duration>),
    FlipBody(usize),
    ContentLength(u64),
    ReplaceBody(Bytes),
    TruncateBody(usize),
    Chunked { body: Bytes, complete: bool },
}

impl Outcome {
    /// Whether the request reaches the S3 service.
    pub fn processes(&self) -> bool {
        !matches!(
            self,
            Outcome::Status { processed: false, .. }
                | Outcome::Respond { .. }
                | Outcome::Close { processed: false }
                | Outcome::RefuseConnections(_)
        )
    }
}

impl Fault {
    /// Hits the requests of one operation, by S3's name. `"*"` is any operation.
    pub fn on(operation: &str) -> Fault {
        Fault {
            operation: operation.to_owned(),
            key: None,
            part: None,
            predicate: None,
            skip: 0,
            times: usize::MAX,
            delay: Duration::ZERO,
            callback: None,
            flip_request: None,
            unread: false,
            headers: Vec::new(),
            removed_headers: Vec::new(),
            rewrite: None,
            outcome: Outcome::Unchanged,
        }
    }

    /// No fault: every request passes unchanged.
    pub(super) fn none() -> Fault {
        Fault::on("*")
    }

    // Which requests

    /// Hits only this key.
    pub fn key(mut self, key: &str) -> Fault {
        self.key = Some(key.to_owned());
        self
    }

    /// Hits only this part of a multipart upload.
    pub fn part(mut self, number: i32) -> Fault {
        self.part = Some(number.to_string());
        self
    }

    /// Hits only requests for which `when` returns true.
    pub fn when(mut self, when: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Fault {
        self.predicate = Some(Arc::new(when));
        self
    }

    /// Lets the first `count` matching requests pass.
    pub fn skip(mut self, count: usize) -> Fault {
        self.skip = count;
        self
    }

    /// Hits `count` requests, then no more.
    pub fn times(mut self, count: usize) -> Fault {
        self.times = count;
        self
    }

    // Before the request is processed

    /// Waits before anything else.
    pub fn delay(mut self, delay: Duration) -> Fault {
        self.delay = delay;
        self
    }

    /// Calls `run` before the request is processed.
    ///
    /// It runs on its own thread: it may change the store or the file system, or block until the
    /// test releases it.
    pub fn run(mut self, run: impl Fn(&Store) + Send + Sync + 'static) -> Fault {
        self.callback = Some(Arc::new(run));
        self
    }

    /// Flips a bit in byte `at` of the request's body before the store processes it.
    ///
    /// This simulates a faulty network or faulty memory.
    pub fn flip_request_body(mut self, at: usize) -> Fault {
        self.flip_request = Some(at);
        self
    }

    /// Responds, or closes the connection, without reading the request's body.
    pub fn unread(mut self) -> Fault {
        self.unread = true;
        self
    }

    // Instead of a response

    /// Closes the connection without a response. The request has no effect.
    pub fn close(self) -> Fault {
        self.outcome(Outcome::Close { processed: false })
    }

    /// Closes the connection without a response after the request was executed.
    pub fn close_after(self) -> Fault {
        self.outcome(Outcome::Close { processed: true })
    }

    /// Closes all connections and the port. The request has no effect.
    ///
    /// The store refuses new connections for `time` or, without one, until the faults are cleared.
    pub fn refuse(self, time: Option<Duration>) -> Fault {
        self.outcome(Outcome::RefuseConnections(time))
    }

    // The response

    /// Responds with an error. The request has no effect.
    pub fn status(self, status: u16, code: &str) -> Fault {
        self.with_status(status, code, false)
    }

    /// Responds with an error after the request was executed.
    pub fn status_after(self, status: u16, code: &str) -> Fault {
        self.with_status(status, code, true)
    }

    /// Responds with this status and body, whatever they are. The request has no effect.
    pub fn respond(self, status: u16, body: impl Into<Bytes>) -> Fault {
        self.outcome(Outcome::Respond { status, body: body.into() })
    }

    /// Responds 200 with an error in the body. The request has no effect.
    ///
    /// S3 may do so for CompleteMultipartUpload and CopyObject.
    pub fn error_in_ok(self, code: &str) -> Fault {
        self.status(200, code)
    }

    /// Sets a header of the response, for example `Retry-After`.
    pub fn header(mut self, name: &str, value: &str) -> Fault {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes the headers of the response whose names start with `prefix`.
    pub fn without_headers(mut self, prefix: &str) -> Fault {
        self.removed_headers.push(prefix.to_owned());
        self
    }

    /// Changes the text of a successful response.
    pub fn rewrite(
        mut self,
        rewrite: impl Fn(&Request, &str) -> String + Send + Sync + 'static,
    ) -> Fault {
        self.rewrite = Some(Arc::new(rewrite));
        self
    }

    /// Closes the connection after `at` bytes of the response's body. Content-Length is larger.
    pub fn cut_body(self, at: usize) -> Fault {
        self.outcome(Outcome::CutBody(at))
    }

    /// Sends `at` bytes of the response's body, and the rest after `pause`.
    ///
    /// Without a pause, the rest never follows.
    pub fn stall_body(self, at: usize, pause: Option<Duration>) -> Fault {
        self.outcome(Outcome::StallBody(at, pause))
    }

    /// Flips a bit in byte `at` of the response's body.
    pub fn flip_body(self, at: usize) -> Fault {
        self.outcome(Outcome::FlipBody(at))
    }

    /// Sends a Content-Length of `length` with the unchanged body.
    ///
    /// If the body is longer, its end is not sent. If it is shorter, the connection is closed after
    /// it.
    pub fn content_length(self, length: u64) -> Fault {
        self.outcome(Outcome::ContentLength(length))
    }

    /// Replaces the response's body and Content-Length. Status and other headers stay.
    pub fn body(self, body: impl Into<Bytes>) -> Fault {
        self.outcome(Outcome::ReplaceBody(body.into()))
    }

    /// Shortens the response's body to `length` bytes, with a matching Content-Length.
    pub fn truncate_body(self, length: usize) -> Fault {
        self.outcome(Outcome::TruncateBody(length))
    }

    /// Replaces the response's body by a chunked one, without a Content-Length.
    ///
    /// The final chunk follows if `complete`; otherwise the connection is closed before it.
    pub fn in_chunks(self, body: impl Into<Bytes>, complete: bool) -> Fault {
        self.outcome(Outcome::Chunked { body: body.into(), complete })
    }

    /// Sets the message of the error.
    pub fn message(mut self, text: &str) -> Fault {
        if let Outcome::Status { message, .. } = &mut self.outcome {
            text.clone_into(message);
        }
        self
    }

    fn with_status(self, status: u16, code: &str, processed: bool) -> Fault {
        let message = "The test has injected this error.".to_owned();
        self.outcome(Outcome::Status { status, code: code.to_owned(), message, processed })
    }

    fn outcome(mut self, outcome: Outcome) -> Fault {
        self.outcome = outcome;
        self
    }

    fn matches(&self, request: &Request) -> bool {
        (self.operation == "*" || self.operation == request.operation)
            && self.key.as_ref().is_none_or(|key| *key == request.key)
            && (self.part.is_none() || self.part.as_ref() == request.query.get("partNumber"))
            && self.predicate.as_ref().is_none_or(|predicate| predicate(request))
    }
}

/// Counts the requests that a fault has hit.
#[derive(Clone, Debug)]
pub struct Hits(Arc<AtomicUsize>);

impl Hits {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The faults of a store. The first one that hits a request applies.
#[derive(Default)]
pub(super) struct Faults(Vec<ActiveFault>);

struct ActiveFault {
    fault: Fault,
    matched: usize,
    hits: Hits,
}

impl Faults {
    pub fn add(&mut self, fault: Fault) -> Hits {
        let hits = Hits(Arc::default());
        self.0.push(ActiveFault { fault, matched: 0, hits: hits.clone() });
        hits
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Chooses the fault for a request, and counts the hit.
    pub fn take(&mut self, request: &Request) -> Option<Fault> {
        for active in &mut self.0 {
            if active.hits.count() < active.fault.times && active.fault.matches(request) {
                active.matched += 1;
                if active.matched > active.fault.skip {
                    active.hits.0.fetch_add(1, Ordering::SeqCst);
                    return Some(active.fault.clone());
                }
            }
        }
        None
    }
}
