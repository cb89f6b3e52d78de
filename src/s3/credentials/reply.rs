//! The replies of the sources: the keys in them, and messages about those that have none.

use std::time::SystemTime;

use serde::Deserialize;

use crate::{
    model::time::Timestamp,
    s3::credentials::{access_keys::Credentials, now::Now, validate},
};

/// The reply of a source. Each source sends some of these fields. They are secret, so it is not
/// `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Reply {
    pub(super) version: Option<u32>,
    pub(super) code: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
    /// In place of `expiration`.
    #[serde(skip)]
    expires: Option<SystemTime>,
    /// The time of the service when it sent the reply.
    #[serde(skip)]
    served_at: Option<SystemTime>,
}

impl Reply {
    /// Parses a reply in JSON.
    pub(super) fn from_json(text: &[u8]) -> Result<Reply, String> {
        serde_json::from_slice(text)
            .map_err(|_| "it did not return the expected JSON document".to_owned())
    }

    /// A reply with these keys.
    pub(super) fn new(
        access_key: String,
        secret_key: String,
        session_token: String,
        expires: Option<SystemTime>,
    ) -> Reply {
        Reply {
            version: None,
            code: None,
            access_key_id: Some(access_key),
            secret_access_key: Some(secret_key),
            session_token: Some(session_token),
            token: None,
            expiration: None,
            expires,
            served_at: None,
        }
    }

    /// The same reply, with the time of the service when it sent it.
    pub(super) fn served_at(self, date: Option<SystemTime>) -> Reply {
        Reply { served_at: date, ..self }
    }

    /// The credentials in the reply, unless they are incomplete, invalid or have already expired.
    pub(super) fn into_credentials(self, now: impl Into<Now>) -> Result<Credentials, String> {
        let now = now.into();
        let served_at = self.served_at;
        let keys = self.into_keys()?;
        // The clock of the service is the best one to judge by.
        let has_expired =
            keys.expires.is_some_and(|expires| expires <= served_at.unwrap_or(now.time));
        if has_expired && (served_at.is_some() || now.is_certain) {
            return Err(
                "it returned keys that have expired; check the clock of this machine".to_owned()
            );
        }
        Ok(keys)
    }

    /// The credentials in the reply, unless they are incomplete or invalid. They may have expired.
    pub(super) fn into_keys(self) -> Result<Credentials, String> {
        let expires = match self.expiration.as_deref().map(parse_time) {
            Some(None) => return Err("it returned an expiration that is not a time".to_owned()),
            expires => expires.flatten().or(self.expires),
        };
        let (Some(access_key), Some(secret_key)) = (self.access_key_id, self.secret_access_key)
        else {
            return Err("its reply lacks an access key or a secret key".to_owned());
        };
        let session_token = self.session_token.or(self.token);
        validate::credentials(access_key, secret_key, session_token, expires)
            .ok_or_else(|| "it returned a key that is empty or has invalid characters".to_owned())
    }
}

/// Parses an RFC 3339 time, with `Z` or with an offset, which some services send.
fn parse_time(text: &str) -> Option<SystemTime> {
    let time = Timestamp::parse_rfc3339(text)?;
    (time >= Timestamp::from_secs(0)).then(|| time.whole_second().into())
}

/// A message about a response without keys. It has the service's error code if that looks like one.
pub(super) fn refusal(status: u16, code: Option<String>) -> String {
    match code {
        Some(code) if code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            format!("it responded with {code}")
        }
        _ => format!("it responded with status {status} and no keys"),
    }
}

/// Text from outside as one line for a message, without control characters.
pub(super) fn one_line(text: &str) -> String {
    text.trim().chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::credentials::testing::{at, check_harmless};

    #[test]
    fn reply_without_usable_keys_is_an_error() {
        let long = "[".repeat(100_000);
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "\u{0}",
            &long,
            r#"{"AccessKeyId":"a"}"#,
            r#"{"AccessKeyId":"","SecretAccessKey":""}"#,
            r#"{"AccessKeyId":"a\r\nx: y","SecretAccessKey":"s"}"#,
            r#"{"AccessKeyId":"a","SecretAccessKey":"s","Token":"t\n"}"#,
            r#"{"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"sEcReT/Key+0"}"#,
            r#"{"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"0000-01-01T00:00:00Z"}"#,
            r#"{"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"2025-12-31T23:59:59Z"}"#,
            r#"{"AccessKeyId":{"sEcReT/Key+0":1},"SecretAccessKey":"s"}"#,
        ] {
            let reply = Reply::from_json(body.as_bytes());
            let error = reply.and_then(|reply| reply.into_credentials(at(0))).unwrap_err();
            check_harmless(&error);
        }
    }

    #[test]
    fn times_are_parsed_in_the_formats_that_services_send() {
        for text in
            ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z", "2026-01-01T01:00:00+01:00"]
        {
            assert_eq!(parse_time(text), Some(at(0)), "{text}");
        }
        for text in ["", "2026-01-01", "tomorrow", "1500-01-01T00:00:00Z", "99999-01-01T00:00:00Z"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
