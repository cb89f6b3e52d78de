//! Plain words for errors of S3: what happened, and what to do about it.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>

use crate::{
    error::s3_code::{
        self, ACCESS_DENIED, AUTHORIZATION_HEADER_MALFORMED, INVALID_OBJECT_STATE, NO_SUCH_KEY,
        PERMANENT_REDIRECT,
    },
    model::escape::Escaped,
};

/// How to make archived objects readable.
pub(crate) const THAW: &str = "thaw with `aws s3api restore-object` or the tool of the store, which can \
                               take hours, then repeat the run";

/// Describes a response that reports an error: our words, the code, and the server's own message.
pub(crate) fn describe_response(status: u16, code: &str, message: &str) -> String {
    // The message is followed by other text in some places.
    let message = message.trim_end_matches(['.', ' ', '\n']);
    let mut text = match of_code(code) {
        Some(explanation) => format!("{explanation} ({code})"),
        None => {
            let code = if code.is_empty() { String::new() } else { format!(" {}", Escaped(code)) };
            let advice = of_status(status).map(|advice| format!(" ({advice})"));
            format!("the server responded with {status}{code}{}", advice.unwrap_or_default())
        }
    };
    if !message.is_empty() {
        text += &format!(": {}", Escaped(message));
    }
    text
}

/// Words for the codes that users meet. `None` for all others: the server's own words then suffice.
fn of_code(code: &str) -> Option<String> {
    let text = match code {
        INVALID_OBJECT_STATE => return Some(format!("the object is archived: {THAW}")),
        "NoSuchBucket" => {
            "the bucket does not exist; create it, or check its name, the endpoint and the account"
        }
        "InvalidBucketName" => "the store accepts no bucket of this name",
        "InvalidAccessKeyId" => "the server does not know this access key",
        "SignatureDoesNotMatch" => {
            "the server rejects the signature: check the secret key, the region and the clock of this \
             machine"
        }
        ACCESS_DENIED => "permission denied",
        "AccountProblem" | "AllAccessDisabled" | "NotSignedUp" => {
            "the account is not usable; ask the provider of the store"
        }
        "ExpiredToken" => "the credentials have expired; get new ones",
        "InvalidToken" => {
            "the session token is not valid; get new credentials, or remove AWS_SESSION_TOKEN if the \
             keys need none"
        }
        "RequestTimeTooSkewed" => "this machine's clock is too far from the server's; correct it",
        AUTHORIZATION_HEADER_MALFORMED => {
            "the server rejects the access key or the region of the signature; check the key, and name \
             the region with --region"
        }
        PERMANENT_REDIRECT => {
            "the bucket has another address; check the region (--region) and the endpoint"
        }
        "EntityTooLarge" => "the store accepts no request of this size; use a smaller --part-size",
        "MethodNotAllowed" => {
            "the server does not support this request; check that the endpoint is the address of the \
             S3 API"
        }
        NO_SUCH_KEY => "the object does not exist (any more)",
        _ if s3_code::is_full(0, code) => "the store is full, or a quota is used up",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Advice for a status without a code that explains it.
fn of_status(status: u16) -> Option<&'static str> {
    Some(match status {
        // Swift responds with 412 to a path that it cannot interpret.
        412 => "no condition was set; check that the endpoint is the address of the S3 API",
        413 => {
            "the server, or a proxy in front of it, accepts no request of this size: raise its limit, \
             or use a smaller --part-size"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_the_server_follows_ours() {
        for (status, code, message, expected) in [
            (403, "AccessDenied", "denied by x.", "permission denied (AccessDenied): denied by x"),
            (403, "AccessDenied", "", "permission denied (AccessDenied)"),
            (400, "Odd", "no", "the server responded with 400 Odd: no"),
            (500, "", "", "the server responded with 500"),
            (500, "A\u{1b}", "\u{7}b\n", "the server responded with 500 A\\u{1b}: \\u{7}b"),
        ] {
            assert_eq!(describe_response(status, code, message), expected);
        }
    }

    #[test]
    fn explanations_state_what_to_do() {
        for (status, code, advice) in [
            (403, "SignatureDoesNotMatch", "the secret key, the region and the clock"),
            (403, "InvalidObjectState", "aws s3api restore-object"),
            (412, "PreconditionFailed", "check that the endpoint"),
            (413, "", "--part-size"),
        ] {
            let text = describe_response(status, code, "m");
            assert!(text.contains(advice) && text.ends_with(": m"), "{text}");
        }
    }
}
