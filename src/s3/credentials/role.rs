//! A role that is assumed with the keys of another source.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html>

use std::time::{Duration, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            access_keys::Credentials,
            exchange::{exchange, request},
            reply::Reply,
            signature::signed_headers,
            sts::{self, StsEndpoint},
        },
        fetch::{Fetch, FetchReply},
        profile::Profile,
    },
};

/// STS refuses a signature whose time differs by more than this from its own.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A role, and the conditions under which it is assumed.
pub(super) struct Role {
    arn: String,
    session: String,
    external_id: Option<String>,
    duration: Option<u32>,
    url: Url,
    region: String,
}

impl Role {
    /// The role in the settings of a profile.
    pub(super) fn new(
        arn: &str,
        profile: &Profile,
        sts: &StsEndpoint,
    ) -> Result<Role, CredentialsError> {
        let url = Url::parse(&sts.url()?).ok().filter(Url::has_host).ok_or_else(|| {
            CredentialsError::setting("the endpoint of STS", "is not a valid URL")
        })?;
        Ok(Role {
            arn: arn.to_owned(),
            session: profile.get("role_session_name").unwrap_or("s3keep").to_owned(),
            external_id: profile.get("external_id").map(str::to_owned),
            // One that is not a number is ignored, as by the AWS SDKs: the keys are renewed in time.
            duration: profile.get("duration_seconds").and_then(|text| text.parse().ok()),
            url,
            region: sts.signing_region().to_owned(),
        })
    }

    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    pub(super) fn load(
        &self,
        keys: &Credentials,
        fetch: &Fetch,
        now: SystemTime,
    ) -> Result<Reply, String> {
        let reply = self.send(keys, fetch, now)?;
        let reply = match reply.date {
            // The clock of this machine is wrong.
            Some(date) if reply.status == 403 && differs(date, now) => {
                self.send(keys, fetch, date)?
            }
            _ => reply,
        };
        let secrets =
            [Some(&keys.secret_key), keys.session_token.as_ref(), self.external_id.as_ref()];
        let secrets: Vec<_> = secrets.into_iter().flatten().map(String::as_str).collect();
        sts::parse(reply, &secrets)
    }

    fn send(
        &self,
        keys: &Credentials,
        fetch: &Fetch,
        time: SystemTime,
    ) -> Result<FetchReply, String> {
        let field = |value| utf8_percent_encode(value, NON_ALPHANUMERIC);
        let mut body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn={}&RoleSessionName={}",
            field(&self.arn),
            field(&self.session),
        );
        if let Some(seconds) = self.duration {
            body += &format!("&DurationSeconds={seconds}");
        }
        if let Some(id) = &self.external_id {
            body += &format!("&ExternalId={}", field(id));
        }
        let headers = signed_headers(&self.url, &body, &self.region, keys, time);
        let mut request = request("POST", self.url.as_str(), headers, 10);
        request.by_proxy = true;
        request.body = Some(body);
        exchange(fetch, 3, &request)
    }
}

fn differs(date: SystemTime, now: SystemTime) -> bool {
    let difference = date.duration_since(now).unwrap_or_else(|error| error.duration());
    difference > MAX_CLOCK_SKEW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::credentials::testing::{
        Home, SECRET, TOKEN, at, check_harmless, count, recording, role_response,
    };

    fn keys() -> Credentials {
        Credentials {
            access_key: "SOURCE".to_owned(),
            secret_key: SECRET.to_owned(),
            session_token: Some(TOKEN.to_owned()),
            expires: None,
            is_extended: false,
        }
    }

    fn role(settings: &str) -> Result<Role, CredentialsError> {
        let home = Home::new(&format!("[default]\n{settings}\n"));
        let profile = home.profile(None);
        let sts = StsEndpoint { env: &home.env, profile: &profile, region: "eu-west-1" };
        Role::new("arn:aws:iam::1:role/a b", &profile, &sts)
    }

    #[test]
    fn role_is_assumed_with_a_signed_request() {
        let (fetch, requests) = recording(|_| {
            Ok(FetchReply { status: 200, body: role_response("ROLEKEY"), date: None })
        });
        let settings = "role_session_name = me&you\nexternal_id = x/1\nduration_seconds = 900";
        let reply = role(settings).unwrap().load(&keys(), &fetch, at(0)).unwrap();
        let found = reply.into_credentials(at(0)).unwrap();
        assert_eq!((&*found.access_key, found.expires), ("ROLEKEY", Some(at(3600))));
        role("duration_seconds = 1h").unwrap().load(&keys(), &fetch, at(0)).unwrap();
        let requests = requests.lock().unwrap();
        assert_eq!(requests[0].url, "https://sts.eu-west-1.amazonaws.com/");
        assert!(requests[0].by_proxy);
        let body = requests[0].body.as_deref().unwrap();
        assert_eq!(
            body,
            "Action=AssumeRole&Version=2011-06-15\
             &RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b&RoleSessionName=me%26you\
             &DurationSeconds=900&ExternalId=x%2F1"
        );
        let body = requests[1].body.as_deref().unwrap();
        assert!(body.ends_with("&RoleSessionName=s3keep"), "{body}");
        let header = |name| requests[0].headers.iter().find(|header| header.0 == name).unwrap();
        assert_eq!(header("x-amz-security-token").1, TOKEN);
        let scope = "Credential=SOURCE/20260101/eu-west-1/sts/aws4_request, ";
        assert!(header("authorization").1.contains(scope));
    }

    #[test]
    fn refusal_is_reported_with_its_message_unless_that_has_a_secret() {
        let fails = |message: &str| {
            let body = format!(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{message}</Message>\
                 </Error></ErrorResponse>"
            );
            let (fetch, requests) =
                recording(move |_| Ok(FetchReply { status: 403, body: body.clone(), date: None }));
            let reply = role("external_id = hidden").unwrap().load(&keys(), &fetch, at(0));
            (check_harmless(&reply.map(drop).unwrap_err()), count(&requests))
        };
        let text = "it responded with AccessDenied: User u may not assume r";
        assert_eq!(fails("User u may not assume r"), (text.to_owned(), 1));
        for secret in [SECRET, TOKEN, "hidden"] {
            assert_eq!(fails(&format!("x {secret} y")).0, "it responded with AccessDenied");
        }
    }

    #[test]
    fn wrong_clock_is_corrected_by_the_time_of_the_service() {
        let (fetch, requests) = recording(|request| {
            let is_right = request.headers.iter().any(|header| header.1 == "20260101T020000Z");
            let (status, body) =
                if is_right { (200, role_response("K")) } else { (403, String::new()) };
            Ok(FetchReply { status, body, date: Some(at(2 * 3600)) })
        });
        // By the local clock, the keys are valid for one hour longer than they are.
        assert!(role("").unwrap().load(&keys(), &fetch, at(0)).is_ok());
        assert_eq!(count(&requests), 2);
        // A service that refuses for another reason is asked once.
        assert!(role("").unwrap().load(&keys(), &fetch, at(2 * 3600 - 9)).is_err());
        assert_eq!(count(&requests), 3);
    }
}
