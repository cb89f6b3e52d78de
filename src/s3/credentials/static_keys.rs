//! Keys that are settings themselves, and do not expire.

use std::sync::Arc;

use crate::{
    error::CredentialsError,
    s3::credentials::{access_keys::Credentials, validate},
};

/// The keys in `place`, where `get` returns the value of a setting. `names` are those of the access
/// key and the secret key. `tokens` are those of the session token: an old one, which takes
/// precedence in botocore, and the usual one.
pub(super) fn find<'a>(
    place: &str,
    [access_key, secret_key]: [&'static str; 2],
    tokens: [&'static str; 2],
    get: impl Fn(&'static str) -> Option<&'a str>,
) -> Result<Option<Arc<Credentials>>, CredentialsError> {
    let (id, secret) = match (get(access_key), get(secret_key)) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(CredentialsError::partial(place, access_key, secret_key)),
        (None, Some(_)) => return Err(CredentialsError::partial(place, secret_key, access_key)),
        (Some(id), Some(secret)) => (id.to_owned(), secret.to_owned()),
    };
    let token = tokens.into_iter().find_map(&get).map(str::to_owned);
    match validate::credentials(id, secret, token, None) {
        Some(keys) => Ok(Some(Arc::new(keys))),
        None => Err(CredentialsError::setting(
            &format!("the access key, secret key or session token in {place}"),
            "is empty or has invalid characters",
        )),
    }
}
