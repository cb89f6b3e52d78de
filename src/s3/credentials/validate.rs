//! Checks that keys and tokens can be sent in a header.

use std::{fs, path::Path, time::SystemTime};

use crate::s3::credentials::access_keys::Credentials;

/// Credentials from their parts. `None` if one is empty or has characters that it cannot have.
pub(super) fn credentials(
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    expires: Option<SystemTime>,
) -> Option<Credentials> {
    let session_token = session_token.filter(|token| !token.is_empty());
    let is_valid =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    // The secret key is not sent, so it may have any characters.
    let are_valid = is_valid(&access_key)
        && !secret_key.is_empty()
        && session_token.as_deref().is_none_or(is_valid);
    let is_extended = false;
    are_valid.then_some(Credentials { access_key, secret_key, session_token, expires, is_extended })
}

/// A token that authorizes a request for credentials, without the newline that a file may end in.
pub(super) fn token(text: &str) -> Result<String, &'static str> {
    let token = text.trim();
    if token.is_empty() || token.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        return Err("the token is empty or has invalid characters");
    }
    Ok(token.to_owned())
}

/// Reads a token from a file. Other programs replace such files from time to time.
pub(super) fn read_token(path: &Path) -> Result<String, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    token(&text).map_err(|problem| format!("{name}: {problem}"))
}
