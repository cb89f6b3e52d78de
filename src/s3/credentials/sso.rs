//! IAM Identity Center (SSO): the token that `aws sso login` keeps in a file is exchanged for the
//! keys of a role.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html>
//!
//! The token is only read. Refreshing it would replace the file of the AWS CLI, and its refresh
//! token can be used only once.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::{
    error::CredentialsError,
    model::time::Timestamp,
    s3::{
        aws_hosts::AwsEndpoints,
        checksum::{Checksum, Hasher, hex},
        credentials::{
            exchange::{exchange, request},
            reply::{Reply, one_line, refusal},
            sts::configured_url,
            validate,
        },
        env::Env,
        fetch::Fetch,
        profile::Profile,
    },
};

/// The role, and the file with the token.
pub(super) struct Sso {
    profile: String,
    token_file: PathBuf,
    url: String,
}

/// The file that the AWS CLI writes. Its fields are secret, so it is not `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    access_token: String,
    expires_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortalReply {
    role_credentials: Option<RoleCredentials>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    /// In milliseconds.
    expiration: u64,
}

impl Sso {
    /// The role in the settings of a profile, if there is one.
    pub(super) fn find(env: &Env, profile: &Profile) -> Result<Option<Sso>, CredentialsError> {
        let get = |key: &str| profile.get(key);
        if get("sso_account_id").is_none() && get("sso_role_name").is_none() {
            return Ok(None);
        }
        let name = profile.name();
        let session = get("sso_session");
        if let Some(session) = session
            && !profile.has_sso_session(session)
        {
            let setting = format!("profile {name}: sso_session {session}");
            let problem = "is not in the config file as [sso-session NAME]";
            return Err(CredentialsError::setting(&setting, problem));
        }
        let required = |key: &'static str| {
            let in_session = session.and_then(|session| profile.get_in_sso_session(session, key));
            match (in_session, get(key)) {
                (Some(a), Some(b)) if a != b => {
                    let setting = format!("profile {name}: {key}");
                    let problem = "differs from that of the sso-session";
                    Err(CredentialsError::setting(&setting, problem))
                }
                (None, None) => {
                    let problem = "is missing, but the profile has other settings for SSO";
                    Err(CredentialsError::setting(&format!("profile {name}: {key}"), problem))
                }
                (a, b) => Ok(a.or(b).unwrap_or_default()),
            }
        };
        let (account, role) = (required("sso_account_id")?, required("sso_role_name")?);
        let (start_url, region) = (required("sso_start_url")?, required("sso_region")?);
        let server = match configured_url(env, profile, "AWS_ENDPOINT_URL_SSO", "sso") {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let host = AwsEndpoints::configured(env, profile).sso_portal_host(region);
                let setting = format!("profile {name}: sso_region");
                let problem = "is not a region of AWS";
                format!("https://{}", host.ok_or(CredentialsError::setting(&setting, problem))?)
            }
        };
        let Some(home) = env.get("HOME") else {
            let problem = "is not set, so the SSO token of the AWS CLI cannot be found";
            return Err(CredentialsError::setting("HOME", problem));
        };
        let mut hasher = Hasher::new(Checksum::Sha1);
        hasher.update(session.unwrap_or(start_url).as_bytes());
        let file = format!("{}.json", hex(&hasher.finish()));
        let field = |value| utf8_percent_encode(value, NON_ALPHANUMERIC);
        Ok(Some(Sso {
            profile: name.to_owned(),
            token_file: Path::new(home).join(".aws/sso/cache").join(file),
            url: format!(
                "{server}/federation/credentials?role_name={}&account_id={}",
                field(role),
                field(account)
            ),
        }))
    }

    /// <https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html>
    pub(super) fn load(&self, fetch: &Fetch, now: SystemTime) -> Result<Reply, String> {
        let token = self.token(now)?;
        let header = ("x-amz-sso_bearer_token", token.clone());
        let mut request = request("GET", &self.url, [header], 10);
        request.by_proxy = true;
        let reply = exchange(fetch, 3, &request)?;
        if reply.status == 401 {
            return Err(self.log_in("the SSO session has expired"));
        }
        let body: Option<PortalReply> = serde_json::from_str(&reply.body).ok();
        let (keys, message) =
            body.map_or((None, None), |body| (body.role_credentials, body.message));
        match (keys, message) {
            (Some(keys), _) if reply.status == 200 => {
                let expires = UNIX_EPOCH.checked_add(Duration::from_millis(keys.expiration));
                Ok(Reply::new(
                    keys.access_key_id,
                    keys.secret_access_key,
                    keys.session_token,
                    expires,
                )
                .served_at(reply.date))
            }
            (_, Some(message)) if !message.contains(&token) => {
                Err(format!("{}: {}", refusal(reply.status, None), one_line(&message)))
            }
            _ => Err(refusal(reply.status, None)),
        }
    }

    /// The token, unless it has expired.
    fn token(&self, now: SystemTime) -> Result<String, String> {
        let text = match fs::read(&self.token_file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(self.log_in("there is no SSO session"));
            }
            Err(error) => {
                return Err(format!("cannot read {}: {error}", self.token_file.display()));
            }
        };
        let invalid = || self.log_in(&format!("{} is invalid", self.token_file.display()));
        let token: Token = serde_json::from_slice(&text).map_err(|_| invalid())?;
        // Old versions of the AWS CLI wrote `UTC` instead of `Z`.
        let expires = token.expires_at.replace("UTC", "Z");
        let expires = Timestamp::parse_rfc3339(&expires).ok_or_else(invalid)?;
        if SystemTime::from(expires) <= now {
            return Err(self.log_in("the SSO session has expired"));
        }
        validate::token(&token.access_token).map_err(|_| invalid())
    }

    fn log_in(&self, problem: &str) -> String {
        format!("{problem}; run `aws sso login --profile {}`", self.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{
        credentials::testing::{
            Home, SECRET, TOKEN, WEB, at, check_harmless, count, no_fetch, recording,
        },
        fetch::FetchReply,
    };

    const SESSION: &str = "[default]\nsso_session = my-sso\nsso_account_id = 012345678901\n\
        sso_role_name = Read Only\n[sso-session my-sso]\nsso_region = eu-west-1\n\
        sso_start_url = https://my-sso.awsapps.com/start\n";

    const LEGACY: &str = "[default]\nsso_account_id = 012345678901\nsso_role_name = r\n\
        sso_region = cn-north-1\nsso_start_url = https://my-sso.awsapps.com/start\n";

    fn find(home: &Home) -> Result<Option<Sso>, CredentialsError> {
        Sso::find(&home.env, &home.profile(None))
    }

    /// The SHA-1 of the name, computed by another program, is the name of the file.
    fn write_token(home: &Home, sha1: &str, text: &str) {
        let dir = home.path(".aws/sso/cache");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{sha1}.json")), text).unwrap();
    }

    const SESSION_SHA1: &str = "0ad374308c5a4e22f723adf10145eafad7c4031c";
    const LEGACY_SHA1: &str = "a00fce5cb007c23a469c136160398db65edcb180";

    fn token(expires: &str) -> String {
        format!(r#"{{"startUrl":"x","accessToken":"{WEB}","expiresAt":"{expires}"}}"#)
    }

    #[test]
    fn token_of_the_cli_is_exchanged_for_keys() {
        let reply = format!(
            r#"{{"roleCredentials":{{"accessKeyId":"SSOKEY","secretAccessKey":"{SECRET}",
               "sessionToken":"{TOKEN}","expiration":1767229200000}}}}"#
        );
        let (fetch, requests) =
            recording(move |_| Ok(FetchReply { status: 200, body: reply.clone(), date: None }));
        let home = Home::new(SESSION);
        write_token(&home, SESSION_SHA1, &token("2026-01-01T00:00:01Z"));
        let sso = find(&home).unwrap().unwrap();
        let keys = sso.load(&fetch, at(0)).unwrap().into_credentials(at(0)).unwrap();
        assert_eq!((&*keys.access_key, keys.expires), ("SSOKEY", Some(at(3600))));
        let home = Home::new(LEGACY);
        write_token(&home, LEGACY_SHA1, &token("2026-01-01T00:00:01UTC"));
        find(&home).unwrap().unwrap().load(&fetch, at(0)).unwrap();
        let requests = requests.lock().unwrap();
        assert_eq!(
            requests[0].url,
            "https://portal.sso.eu-west-1.amazonaws.com/federation/credentials\
             ?role_name=Read%20Only&account_id=012345678901"
        );
        assert_eq!(requests[0].headers, [("x-amz-sso_bearer_token", WEB.to_owned())]);
        assert!(requests[0].by_proxy);
        assert!(requests[1].url.starts_with("https://portal.sso.cn-north-1.amazonaws.com.cn/"));
    }

    #[test]
    fn missing_or_expired_token_is_reported_with_advice() {
        let home = Home::new(SESSION);
        let fails = || {
            let sso = find(&home).unwrap().unwrap();
            check_harmless(&sso.load(&no_fetch, at(0)).map(drop).unwrap_err())
        };
        let advice = "; run `aws sso login --profile default`";
        assert_eq!(fails(), format!("there is no SSO session{advice}"));
        write_token(&home, SESSION_SHA1, &token("2026-01-01T00:00:00Z"));
        assert_eq!(fails(), format!("the SSO session has expired{advice}"));
        for text in ["", "{}", &token(SECRET), "\0", &format!("[{WEB}")] {
            write_token(&home, SESSION_SHA1, text);
            assert!(fails().ends_with(&format!(" is invalid{advice}")), "{text}");
        }
        write_token(&home, SESSION_SHA1, &token("2026-01-01T00:00:01Z"));
        let (fetch, requests) = recording(|_| {
            Ok(FetchReply { status: 401, body: format!("{{\"message\":\"{WEB}\"}}"), date: None })
        });
        let sso = find(&home).unwrap().unwrap();
        let text = check_harmless(&sso.load(&fetch, at(0)).map(drop).unwrap_err());
        assert_eq!(text, format!("the SSO session has expired{advice}"));
        assert_eq!(count(&requests), 1);
        for (message, end) in [("No access", "no keys: No access"), (WEB, "no keys")] {
            let body = format!("{{\"message\":\"{message}\",\"__type\":\"x\"}}");
            let (fetch, _) =
                recording(move |_| Ok(FetchReply { status: 403, body: body.clone(), date: None }));
            let text = check_harmless(&sso.load(&fetch, at(0)).map(drop).unwrap_err());
            assert!(text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn incomplete_settings_are_rejected() {
        assert!(find(&Home::new("[default]\nsso_session = s\n")).unwrap().is_none());
        for (from, to, problem) in [
            ("sso_role_name = Read Only\n", "", "sso_role_name is missing"),
            ("sso_region = eu-west-1\n", "", "sso_region is missing"),
            ("sso_region = eu-west-1\n", "sso_region = nowhere\n", "is not a region of AWS"),
            ("[sso-session my-sso]", "[sso-session other]", "is not in the config file"),
            ("[default]\n", "[default]\nsso_region = eu-west-2\n", "sso_region differs"),
        ] {
            let error = find(&Home::new(&SESSION.replace(from, to))).map(drop).unwrap_err();
            let text = check_harmless(&error);
            assert!(text.starts_with("profile default") && text.contains(problem), "{text}");
        }
    }
}
