//! Keys that are settings themselves, and do not expire.

use std::sync::Arc;

use crate::{
    error::CredentialsError,
    s3::credentials::{access_keys::Credentials, validate},
};

/// The keys in `place`, where `get` returns the value of a setting. The names are those of the
/// access key, the secret key and the session token.
pub(super) fn find<'a>(
    place: &str,
    [access_key, secret_key, session_token]: [&'static str; 3],
    get: impl Fn(&'static str) -> Option<&'a str>,
) -> Result<Option<Arc<Credentials>>, CredentialsError> {
    let (id, secret) = match (get(access_key), get(secret_key)) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(CredentialsError::partial(place, access_key, secret_key)),
        (None, Some(_)) => return Err(CredentialsError::partial(place, secret_key, access_key)),
        (Some(id), Some(secret)) => (id.to_owned(), secret.to_owned()),
    };
    let token = get(session_token).map(str::to_owned);
    match validate::credentials(id, secret, token, None) {
        Some(keys) => Ok(Some(Arc::new(keys))),
        None => Err(CredentialsError::setting(
            &format!("the access key, secret key or session token in {place}"),
            "is empty or has invalid characters",
        )),
    }
}
