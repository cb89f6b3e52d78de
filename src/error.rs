//! One error type: what was being done, to what, and why it failed.
//!
//! Whether an error is worth another try, or ends the whole run, is asked of it by method, so that the
//! rule stands in one place.

use std::{fmt, io};

use crate::guard::Refusal;
pub use crate::s3::CredentialsError;

/// What was being done, to which path, key or bucket, and what came in between.
///
/// Holds no secret: neither keys nor signatures nor request headers reach it.
#[derive(Debug)]
pub struct Error {
    action: &'static str,
    subject: String,
    cause: Cause,
}

/// Why something failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The file system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server could not be reached, or the connection broke or stalled.
    #[error("{0}")]
    Network(String),
    /// The server answered with an error.
    #[error("{}", s3_sentence(*status, code, message))]
    S3 {
        /// The HTTP status.
        status: u16,
        /// The error code of S3, such as `NoSuchKey`; the status text where the body named none.
        code: String,
        /// The server's own words.
        message: String,
        /// Seconds that the server asked to wait (`Retry-After`).
        retry_after: Option<u64>,
    },
    /// The server answered with something that S3 does not answer.
    #[error("the server's answer can't be understood: {0}")]
    Malformed(String),
    /// No credentials, or none that can be had now.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
    /// The settings contradict each other or can't be read.
    #[error("{0}")]
    Config(String),
    /// A guard stepped in; nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The file or object is no longer what was looked at.
    #[error("{0}")]
    Changed(&'static str),
    /// The bytes are not those that the checksum was made of.
    #[error("{0}")]
    Corrupt(String),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// The answers that every user meets once, in plain words; the rest in the server's.
fn s3_sentence(status: u16, code: &str, message: &str) -> String {
    let plain = match code {
        "NoSuchBucket" => "the bucket does not exist",
        "InvalidAccessKeyId" => "the server does not know this access key",
        "SignatureDoesNotMatch" => "the server rejects the signature: the secret key is wrong",
        "AccessDenied" => "permission denied",
        "ExpiredToken" => "the credentials have expired",
        "RequestTimeTooSkewed" => "this machine's clock is too far from the server's",
        "NoSuchKey" => "the object does not exist (any more)",
        _ => {
            let said =
                [(" ", code), (": ", message)].into_iter().filter(|(_, text)| !text.is_empty());
            let said = said.map(|(mark, text)| format!("{mark}{}", Shown(text)));
            return format!("the server answered {status}{}", said.collect::<String>());
        }
    };
    format!("{plain} ({code})")
}

impl Error {
    pub(crate) fn new(
        action: &'static str,
        subject: impl Into<String>,
        cause: impl Into<Cause>,
    ) -> Error {
        match cause.into() {
            // Whatever it met, it is about none of it.
            Cause::Interrupted => Error::interrupted(),
            cause => Error { action, subject: subject.into(), cause },
        }
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new("", "", Cause::Config(message.into()))
    }

    /// The same again, for each of the many things that one failed request was about.
    pub(crate) fn repeated(&self) -> Error {
        let cause = match &self.cause {
            Cause::Io(error) => Cause::Io(io::Error::new(error.kind(), error.to_string())),
            Cause::Network(why) => Cause::Network(why.clone()),
            Cause::S3 { status, code, message, retry_after } => Cause::S3 {
                status: *status,
                code: code.clone(),
                message: message.clone(),
                retry_after: *retry_after,
            },
            Cause::Malformed(why) => Cause::Malformed(why.clone()),
            Cause::Credentials(error) => Cause::Credentials(error.clone()),
            Cause::Config(why) => Cause::Config(why.clone()),
            Cause::Refused(refusal) => Cause::Refused(refusal.clone()),
            Cause::Changed(why) => Cause::Changed(why),
            Cause::Corrupt(why) => Cause::Corrupt(why.clone()),
            Cause::Interrupted => Cause::Interrupted,
        };
        Error { action: self.action, subject: self.subject.clone(), cause }
    }

    /// The same, said of the path below the root that it was about: a request only knows the key. What is
    /// about nothing, as an interruption, stays so.
    pub(crate) fn of_path(self, path: &str) -> Error {
        if self.action.is_empty() { self } else { Error { subject: path.to_owned(), ..self } }
    }

    pub(crate) fn interrupted() -> Error {
        Error { action: "", subject: String::new(), cause: Cause::Interrupted }
    }

    /// The path, key or bucket that the action was about; empty where there was none.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Why it failed.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Whether everything else would fail in the same way, so that the run stops at once.
    pub fn is_fatal(&self) -> bool {
        match &self.cause {
            Cause::Credentials(_) | Cause::Config(_) | Cause::Interrupted => true,
            Cause::S3 { code, .. } => matches!(
                code.as_str(),
                "NoSuchBucket"
                    | "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "ExpiredToken"
                    | "InvalidToken"
                    | "TokenRefreshRequired"
                    | "RequestTimeTooSkewed"
                    | "AccountProblem"
                    | "AllAccessDisabled"
                    | "NotSignedUp"
                    | "PermanentRedirect"
            ),
            _ => false,
        }
    }

    /// The S3 error code, where the server gave one.
    pub fn code(&self) -> Option<&str> {
        match &self.cause {
            Cause::S3 { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the run was asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.cause, Cause::Interrupted)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::new("", "", refusal)
    }
}

impl Cause {
    /// Whether the same request may well succeed a moment later.
    ///
    /// The list is that of the AWS SDKs' standard mode (transient and throttling errors), plus what
    /// Cloudflare answers for a store that is out of its reach (520 to 524), and the checksum mismatches: a
    /// byte that flipped on the way does not flip twice.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Cause::Network(_) | Cause::Malformed(_) | Cause::Corrupt(_) => true,
            Cause::S3 { status, code, .. } => {
                matches!(status, 408 | 429 | 500 | 502..=504 | 520..=524)
                    || matches!(
                        code.as_str(),
                        "SlowDown"
                            | "InternalError"
                            | "RequestTimeout"
                            | "ServiceUnavailable"
                            | "Throttling"
                            | "ThrottlingException"
                            | "RequestLimitExceeded"
                            | "RequestTimeTooSkewed"
                            | "BadDigest"
                            | "InvalidDigest"
                            | "XAmzContentSHA256Mismatch"
                            | "XAmzContentChecksumMismatch"
                            | "IncompleteBody"
                            | "OperationAborted"
                    )
            }
            _ => false,
        }
    }
}

impl Cause {
    /// Whether the server asks for fewer requests.
    pub(crate) fn is_throttling(&self) -> bool {
        let Cause::S3 { status, code, .. } = self else { return false };
        matches!(status, 429 | 503)
            || matches!(
                code.as_str(),
                "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded"
            )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.action, self.subject.as_str()) {
            ("", "") => write!(f, "{}", self.cause),
            (action, subject) => write!(f, "{action} {}: {}", Shown(subject), self.cause),
        }
    }
}

// No `source`: the message says it all, and must not be said twice.
impl std::error::Error for Error {}

/// A path or key as it may stand on a terminal: control characters escaped, so that a hostile name
/// can neither move the cursor nor break a line.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
            write!(f, "{}{}", &rest[..at], c.escape_unicode())?;
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Format characters (bidirectional overrides and their kin) can make a name read as another.
fn is_plain(c: char) -> bool {
    let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !hidden
}

/// What every fallible call of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_about_nothing() {
        let error = Error::new("read", "a", Cause::Interrupted).of_path("b");
        assert_eq!((error.to_string().as_str(), error.subject()), ("interrupted", ""));
    }

    #[test]
    fn a_hostile_name_is_shown_on_one_line_and_inert() {
        let shown = Shown("a\n\u{1b}[2Jb\u{202e}c").to_string();
        assert_eq!(shown, "a\\u{a}\\u{1b}[2Jb\\u{202e}c");
    }
}
