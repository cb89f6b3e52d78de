//! Fakes for the tests of this module: a home directory, and services that issue credentials.

use std::{
    fmt::{Debug, Display},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::s3::{
    env::Env,
    fetch::{Fetch, FetchReply, FetchRequest},
    profile::Profile,
};

pub(super) const SECRET: &str = "sEcReT/Key+0";
pub(super) const TOKEN: &str = "tOkEn-Of.The_Session";
pub(super) const WEB: &str = "eyJ.web-identity.sIg";

/// A config file with keys in profile `p`.
pub(super) const STATIC: &str =
    "[profile p]\naws_access_key_id = PKEY\naws_secret_access_key = psecret\n";

/// The requests that were sent.
pub(super) type Requests = Arc<Mutex<Vec<FetchRequest>>>;

/// A number of seconds after 2026-01-01T00:00:00Z.
pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
}

pub(super) fn ok(body: impl Into<String>) -> Result<FetchReply, String> {
    Ok(FetchReply { status: 200, body: body.into(), date: None })
}

/// An error response with a secret in it.
pub(super) fn status(status: u16) -> Result<FetchReply, String> {
    Ok(FetchReply { status, body: format!("an error page with {SECRET}"), date: None })
}

/// Temporary keys as services return them.
pub(super) fn keys_json(access_key: &str, expiration: SystemTime) -> String {
    let expiration = OffsetDateTime::from(expiration).format(&Rfc3339).unwrap();
    format!(
        r#"{{"AccessKeyId":"{access_key}","SecretAccessKey":"{SECRET}",
           "Token":"{TOKEN}","Expiration":"{expiration}"}}"#
    )
}

/// A response of STS to AssumeRole, whose keys expire after an hour.
pub(super) fn role_response(access_key: &str) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleResult><AssumedRoleUser><AssumedRoleId>i</AssumedRoleId><Arn>r</Arn>\
         </AssumedRoleUser><Credentials><AccessKeyId>{access_key}</AccessKeyId><SecretAccessKey>\
         {SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken><Expiration>\
         2026-01-01T01:00:00Z</Expiration></Credentials></AssumeRoleResult><ResponseMetadata>\
         <RequestId>x</RequestId></ResponseMetadata></AssumeRoleResponse>"
    )
}

/// Responds to each request, and records it.
pub(super) fn recording(
    respond: impl Fn(&FetchRequest) -> Result<FetchReply, String> + Send + Sync + 'static,
) -> (Box<Fetch>, Requests) {
    let requests = Requests::default();
    let log = Arc::clone(&requests);
    let fetch = move |request: FetchRequest| {
        let reply = respond(&request);
        log.lock().unwrap().push(request);
        reply
    };
    (Box::new(fetch), requests)
}

pub(super) fn count(requests: &Requests) -> usize {
    requests.lock().unwrap().len()
}

/// Fails the test: there must be no request.
pub(super) fn no_fetch(request: FetchRequest) -> Result<FetchReply, String> {
    panic!("unexpected request for {}", request.url)
}

/// The metadata service of an instance with this list of roles.
pub(super) fn metadata_service(roles: &'static str) -> (Box<Fetch>, Requests) {
    recording(move |request| match request.url.strip_prefix("http://169.254.169.254/latest/") {
        Some("api/token") if request.method == "PUT" => ok("IMDSTOKEN"),
        _ if request.headers != [("x-aws-ec2-metadata-token", "IMDSTOKEN".to_owned())] => {
            status(401)
        }
        Some("meta-data/iam/security-credentials/") => ok(roles),
        Some("meta-data/iam/security-credentials/my-role") => {
            ok(keys_json("INST", at(3600)).replace('{', r#"{"Code":"Success","#))
        }
        _ => status(404),
    })
}

/// Checks that an error contains no secret, and returns its message.
pub(super) fn check_harmless(error: &(impl Display + Debug)) -> String {
    let text = error.to_string();
    for secret in [SECRET, TOKEN, WEB] {
        assert!(!format!("{text}{error:?}").contains(secret), "{text}");
    }
    text
}

/// A home directory with a config file and a token file.
pub(super) struct Home {
    dir: tempfile::TempDir,
    pub(super) env: Env,
}

impl Home {
    pub(super) fn new(config: &str) -> Home {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".aws")).unwrap();
        fs::write(dir.path().join(".aws/config"), config).unwrap();
        fs::write(dir.path().join("token"), format!("{WEB}\n")).unwrap();
        let env = Env::default().set("HOME", dir.path().to_str().unwrap());
        Home { dir, env }
    }

    pub(super) fn set(mut self, name: &str, value: &str) -> Home {
        self.env = self.env.set(name, value);
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn token_file(&self) -> String {
        self.path("token").to_str().unwrap().to_owned()
    }

    pub(super) fn profile(&self, name: Option<&str>) -> Profile {
        Profile::load(&self.env, name).unwrap()
    }
}
