//! Why an operation failed, and what follows from it.

use std::{io, sync::Arc};

use crate::{
    error::{
        credentials::CredentialsError, explanation::describe_response, refusal::Refusal, s3_code,
        server_message,
    },
    model::escape::Escaped,
};

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// A file system call failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The server could not be reached, or the connection broke or stalled.
    #[error("{0}")]
    Network(String),
    /// The server responded with an error.
    #[error("{}", describe_response(*status, code, message))]
    S3 {
        /// The HTTP status.
        status: u16,
        /// The S3 error code, such as `NoSuchKey`. Empty if the response did not contain one.
        code: String,
        /// The server's own message: on one line, shortened, and without secrets.
        message: String,
        /// The seconds to wait that the server asked for (`Retry-After`).
        retry_after: Option<u64>,
    },
    /// The response is not one that S3 sends.
    #[error("the server's response cannot be understood: {0}")]
    Malformed(String),
    /// There are no credentials, or they could not be renewed.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
    /// Settings contradict each other, or cannot be read.
    #[error("{0}")]
    Config(String),
    /// A guard refused the run. Nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The file or object changed after it was scanned or listed.
    #[error("{0}")]
    Changed(&'static str),
    /// The bytes do not match their checksum.
    #[error("{0}")]
    Corrupt(String),
    /// The store or a proxy decodes or encodes the object, so its stored bytes do not arrive.
    #[error("{0}")]
    Recoded(String),
    /// The store refuses the number of a part: it allows fewer parts than S3 does.
    #[error("{0}; the store may allow fewer parts than others: use a larger --part-size")]
    TooManyParts(Box<Cause>),
    /// The objects in the way of a file were deleted, but the file could not be uploaded afterwards.
    #[error(
        "the file is not stored, and what was deleted from the bucket to make room for it is gone \
         ({}): {cause}; run the backup again",
        list(deleted)
    )]
    NotReplaced {
        /// The paths of the deleted objects.
        deleted: Vec<String>,
        /// Why the upload failed.
        cause: Box<Cause>,
    },
    /// The target does not distinguish the name from another one, and can hold only one of the two.
    #[error(
        "the target does not distinguish this name from {}, which it holds instead; rename one of them",
        Escaped(other)
    )]
    SameEntry {
        /// The path of the entry that the target holds.
        other: String,
    },
    /// So many requests in a row failed that the run gave up on the server.
    #[error(
        "gave up, because all of the last {failures} requests failed, for {seconds} seconds; the last one: \
         {last}; run the command again when the server works"
    )]
    GaveUp {
        /// The number of failed requests since the last one that succeeded.
        failures: u32,
        /// The time since the first of these failures, in seconds.
        seconds: u64,
        /// The last of these failures.
        last: Box<Cause>,
    },
    /// There is neither an object below the prefix nor one of this key.
    #[error("{}", describe_no_objects(similar, directory.as_deref(), *can_be_allowed))]
    NoObjects {
        /// The URLs of objects and directories that may be meant, the most similar one first.
        similar: Vec<String>,
        /// The URL of the closest directory above the prefix that exists. `None` if there is none, or if it
        /// cannot be listed.
        directory: Option<String>,
        /// Whether [`Guards::allow_empty`](crate::Guards::allow_empty) accepts it.
        can_be_allowed: bool,
    },
    /// The caller cancelled the run.
    #[error("interrupted")]
    Interrupted,
}

fn describe_no_objects(similar: &[String], dir: Option<&str>, can_be_allowed: bool) -> String {
    let mut text = "there are no objects".to_owned();
    let names: Vec<String> = similar.iter().map(|url| Escaped(url).to_string()).collect();
    match (&names[..], dir) {
        ([], None) => {}
        ([], Some(dir)) => text += &format!("; `s3keep ls {}` lists what there is", Escaped(dir)),
        _ => text += &format!("; did you mean {}?", names.join(" or ")),
    }
    if can_be_allowed {
        text += " (--allow-empty accepts that)";
    }
    text
}

/// The first few of the paths.
fn list(paths: &[String]) -> String {
    let shown: Vec<String> = paths.iter().take(3).map(|path| Escaped(path).to_string()).collect();
    let more = paths.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Cause {
        Cause::Io(Arc::new(error))
    }
}

impl Cause {
    /// A local file changed during a transfer or comparison.
    pub(crate) const FILE_CHANGED: Cause = Cause::Changed("the file was changed while it was read");
    /// An object is not the one that was listed.
    pub(crate) const OBJECT_REPLACED: Cause =
        Cause::Changed("the object was replaced after it was listed");

    /// The server or a proxy closed the connection in the middle of a request or response.
    pub(crate) fn closed_early() -> Cause {
        Cause::Network("the connection was closed too early".to_owned())
    }

    /// Shortens the server's own message, and removes `secrets` from it.
    pub(crate) fn clean(mut self, secrets: &[&str]) -> Cause {
        match &mut self {
            Cause::S3 { message: text, code, .. } => {
                *text = server_message::clean(text, secrets);
                *code = server_message::clean(code, secrets);
            }
            Cause::Malformed(text) => *text = server_message::clean(text, secrets),
            _ => {}
        }
        self
    }

    /// The code and the message of the error response that is the cause, also of a cause within this one.
    pub(crate) fn response(&self) -> Option<(&str, &str)> {
        match self {
            Cause::S3 { code, message, .. } => Some((code, message)),
            Cause::TooManyParts(cause) | Cause::NotReplaced { cause, .. } => cause.response(),
            Cause::GaveUp { last, .. } => last.response(),
            _ => None,
        }
    }

    /// Whether every other operation would fail in the same way, so that the run must end.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Cause::Credentials(_)
            | Cause::Config(_)
            | Cause::GaveUp { .. }
            | Cause::Interrupted => true,
            Cause::S3 { status, code, .. } => {
                s3_code::is_fatal(code) || s3_code::is_full(*status, code)
            }
            _ => false,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Cause::Network(_) | Cause::Malformed(_) | Cause::Corrupt(_) => true,
            Cause::S3 { status, code, .. } => s3_code::is_retryable(*status, code),
            _ => false,
        }
    }

    /// Whether the server asks for fewer requests.
    pub(crate) fn is_throttling(&self) -> bool {
        match self {
            Cause::S3 { status, code, .. } => s3_code::is_throttling(*status, code),
            _ => false,
        }
    }

    /// Whether the server may be out of order, so that other requests fail as well.
    pub(crate) fn is_server_failure(&self) -> bool {
        match self {
            Cause::Network(_) => true,
            Cause::S3 { status, .. } => {
                self.is_throttling() || *status >= 500 && self.is_retryable()
            }
            _ => false,
        }
    }

    /// Whether the server refuses this very request, and may accept another one.
    ///
    /// SeaweedFS responds with 500 if a file is in the way of a directory, or the reverse.
    pub(crate) fn is_refusal(&self) -> bool {
        let Cause::S3 { status, code, .. } = self else { return false };
        matches!(status, 200 | 400 | 404 | 405 | 409 | 412 | 500 | 501)
            && code != s3_code::ACCESS_DENIED
            && !self.is_fatal()
            && !self.is_throttling()
    }

    /// Whether a store may mean that it does not support a request header.
    pub(crate) fn may_reject_a_header(&self) -> bool {
        matches!(self, Cause::S3 { status: 400 | 501, code, .. } if s3_code::may_reject_a_header(code))
    }

    /// Whether this is the S3 error `code`.
    pub(crate) fn is_s3(&self, code: &str) -> bool {
        matches!(self, Cause::S3 { code: found, .. } if found == code)
    }
}
