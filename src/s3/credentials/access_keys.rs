//! The access keys that sign requests.

use std::{fmt, time::SystemTime};

/// An access key with its secret key, permanent or temporary.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    /// The token that belongs to temporary credentials.
    pub session_token: Option<String>,
    /// When temporary credentials expire.
    pub expires: Option<SystemTime>,
    /// Whether these keys are used beyond their expiration, because their source cannot provide new
    /// ones. `expires` is then the time until which they are used.
    pub is_extended: bool,
}

impl Credentials {
    /// Whether the keys are the same, whatever their expiration is.
    pub(super) fn has_same_keys(&self, other: &Credentials) -> bool {
        let keys = |credentials: &Credentials| {
            let Credentials { access_key, secret_key, session_token, .. } = credentials.clone();
            (access_key, secret_key, session_token)
        };
        keys(self) == keys(other)
    }
}

/// Shows none of the fields, because they are secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}
