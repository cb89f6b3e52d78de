//! The error type of every fallible call.

use std::fmt;

use crate::{
    error::{cause::Cause, refusal::Refusal},
    model::{bucket_url::InvalidBucketUrl, escape::Escaped},
};

/// The result of every fallible call of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to which path, key or bucket, and why it failed.
///
/// An error contains no secret: no keys, signatures or request headers.
#[derive(Clone, Debug)]
pub struct Error {
    action: &'static str,
    subject: Box<str>,
    cause: Cause,
    /// What else may be wrong, and what to do about it.
    advice: Option<Box<str>>,
}

impl Error {
    pub(crate) fn new(
        action: &'static str,
        subject: impl Into<String>,
        cause: impl Into<Cause>,
    ) -> Error {
        match cause.into() {
            // An interruption concerns the whole run, whichever operation it ended.
            Cause::Interrupted => Error::interrupted(),
            cause => {
                let subject = subject.into().into_boxed_str();
                Error { action, subject, cause, advice: None }
            }
        }
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new("", "", Cause::Config(message.into()))
    }

    pub(crate) fn interrupted() -> Error {
        Error { action: "", subject: Box::default(), cause: Cause::Interrupted, advice: None }
    }

    /// The same error with advice at the end of its message.
    pub(crate) fn with_advice(self, advice: Option<String>) -> Error {
        Error { advice: advice.map(String::into_boxed_str), ..self }
    }

    /// The same error with a path in place of the key that the request was for. An error that is not about
    /// a single request, such as an interruption, stays as it is.
    pub(crate) fn of_path(self, path: &str) -> Error {
        if self.action.is_empty() || self.has_given_up() {
            return self;
        }
        Error { subject: path.into(), ..self }
    }

    /// The action that failed, such as `upload`. Empty if there was none.
    pub fn action(&self) -> &str {
        self.action
    }

    /// The path, key or bucket that the action was about. Empty if there was none.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Why the action failed.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Whether everything else would fail in the same way, so that the run ends at once.
    pub fn is_fatal(&self) -> bool {
        self.cause.is_fatal()
    }

    /// The S3 error code, if the server sent one. Never empty.
    pub fn code(&self) -> Option<&str> {
        self.cause.response().map(|(code, _)| code).filter(|code| !code.is_empty())
    }

    /// The server's own message, if it sent one. Never empty. It may contain any characters: see
    /// [`Escaped`].
    pub fn server_message(&self) -> Option<&str> {
        self.cause.response().map(|(_, message)| message).filter(|message| !message.is_empty())
    }

    /// Whether the run gave up on the server.
    pub(crate) fn has_given_up(&self) -> bool {
        matches!(self.cause, Cause::GaveUp { .. })
    }

    /// Whether the caller cancelled the run.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.cause, Cause::Interrupted)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::new("", "", refusal)
    }
}

impl From<InvalidBucketUrl> for Error {
    fn from(invalid: InvalidBucketUrl) -> Error {
        Error::config(invalid.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.action, &*self.subject) {
            ("", "") => write!(f, "{}", self.cause)?,
            (action, subject) => write!(f, "{action} {}: {}", Escaped(subject), self.cause)?,
        }
        self.advice.iter().try_for_each(|advice| write!(f, "; {}", Escaped(advice)))
    }
}

// No `source`: the message already contains the cause, and an error chain would print it twice.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_none_if_the_server_sent_none() {
        let error = |code: &str| {
            let (code, message) = (code.to_owned(), String::new());
            Error::new("read", "a", Cause::S3 { status: 500, code, message, retry_after: None })
        };
        assert_eq!(error("").code(), None);
        assert_eq!(error("InternalError").code(), Some("InternalError"));
    }

    #[test]
    fn interruption_has_no_subject() {
        let error = Error::new("read", "a", Cause::Interrupted).of_path("b");
        assert_eq!((error.to_string().as_str(), error.subject()), ("interrupted", ""));
    }
}
