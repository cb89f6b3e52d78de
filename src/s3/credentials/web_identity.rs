//! A web identity: a token, such as that of a Kubernetes pod, which the AWS Security Token Service
//! (STS) exchanges for the keys of a role.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html>

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            exchange::{exchange, request},
            reply::Reply,
            sts::{self, StsEndpoint},
            validate::read_token,
        },
        fetch::Fetch,
    },
};

/// The token, and the role to assume with it.
pub(super) struct WebIdentity {
    token_file: PathBuf,
    role: String,
    session: String,
    url: String,
}

impl WebIdentity {
    /// The web identity in `place`, where `get` returns the value of a setting. The names are those
    /// of the token file, the role and the session.
    pub(super) fn find<'a>(
        place: &str,
        [token_file, role, session]: [&'static str; 3],
        get: impl Fn(&'static str) -> Option<&'a str>,
        sts: &StsEndpoint,
    ) -> Result<Option<WebIdentity>, CredentialsError> {
        let Some(file) = get(token_file) else { return Ok(None) };
        let Some(role_arn) = get(role) else {
            return Err(CredentialsError::partial(place, token_file, role));
        };
        Ok(Some(WebIdentity {
            token_file: file.into(),
            role: role_arn.to_owned(),
            session: get(session).unwrap_or("s3keep").to_owned(),
            url: sts.url()?,
        }))
    }

    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
    pub(super) fn load(&self, fetch: &Fetch) -> Result<Reply, String> {
        let token = read_token(&self.token_file)?;
        let field = |value| utf8_percent_encode(value, NON_ALPHANUMERIC);
        let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
        let mut request = request("POST", &self.url, [form], 10);
        request.by_proxy = true;
        // In the body, because logs often contain the query of a URL.
        request.body = Some(format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}\
             &WebIdentityToken={}",
            field(&self.role),
            field(&self.session),
            field(&token),
        ));
        let reply = exchange(fetch, 3, &request)?;
        sts::parse(reply, &[&token])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::s3::{
        credentials::testing::{
            Home, SECRET, TOKEN, WEB, at, check_harmless, count, no_fetch, recording,
        },
        env::Env,
        fetch::FetchReply,
    };

    fn sts_response(access_key: &str) -> String {
        format!(
            "<AssumeRoleWithWebIdentityResponse \
             xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Audience>a</Audience><AssumedRoleUser><Arn>r</Arn>\
             </AssumedRoleUser><Credentials><SessionToken>{TOKEN}</SessionToken><SecretAccessKey>\
             {SECRET}</SecretAccessKey><Expiration>2026-01-01T01:00:00Z</Expiration><AccessKeyId>\
             {access_key}</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>\
             <ResponseMetadata><RequestId>x</RequestId></ResponseMetadata>\
             </AssumeRoleWithWebIdentityResponse>"
        )
    }

    fn identity(home: &Home) -> WebIdentity {
        let env = Env::default()
            .set("file", home.token_file())
            .set("role", "arn:aws:iam::1:role/a b")
            .set("session", "s&x");
        let profile = home.profile(None);
        let sts = StsEndpoint { env: &env, profile: &profile, region: "eu-west-1" };
        let names = ["file", "role", "session"];
        WebIdentity::find("p", names, |name| env.get(name), &sts).unwrap().unwrap()
    }

    #[test]
    fn token_is_exchanged_for_keys_and_read_each_time() {
        let home = Home::new("");
        let identity = identity(&home);
        let (fetch, requests) =
            recording(|_| Ok(FetchReply { status: 200, body: sts_response("WEBKEY"), date: None }));
        let keys = identity.load(&fetch).unwrap().into_credentials(at(0)).unwrap();
        assert_eq!(keys.access_key, "WEBKEY");
        assert_eq!(keys.secret_key, SECRET);
        assert_eq!(keys.session_token.as_deref(), Some(TOKEN));
        assert_eq!(keys.expires, Some(at(3600)));

        fs::write(home.token_file(), "second").unwrap();
        identity.load(&fetch).unwrap();
        let requests = requests.lock().unwrap();
        assert_eq!(requests[0].url, "https://sts.eu-west-1.amazonaws.com/");
        assert_eq!(requests[0].method, "POST");
        let body = requests[0].body.clone().unwrap();
        assert!(body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b&"), "{body}");
        assert!(body.contains("RoleSessionName=s%26x&WebIdentityToken=eyJ%2Eweb"), "{body}");
        assert!(requests[1].body.as_ref().unwrap().ends_with("WebIdentityToken=second"));
    }

    #[test]
    fn failure_is_reported_without_secrets() {
        let home = Home::new("");
        let fails = |body: String, status| {
            let (fetch, requests) =
                recording(move |_| Ok(FetchReply { status, body: body.clone(), date: None }));
            let reply = identity(&home).load(&fetch);
            let error = reply.and_then(|reply| reply.into_credentials(at(0))).unwrap_err();
            (check_harmless(&error), count(&requests))
        };
        let error = |code| {
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{WEB}\
                 </Message></Error></ErrorResponse>"
            )
        };
        let (text, requests) = fails(error("ExpiredTokenException"), 400);
        assert_eq!(text, "it responded with ExpiredTokenException");
        assert_eq!(requests, 1);
        let (text, requests) = fails(error("Busy"), 503);
        assert!(text.contains("503"), "{text}");
        assert_eq!(requests, 3);
        // Hostile bodies are neither shown nor a reason to crash.
        let deep = format!("<a>{}", "<b>".repeat(100_000));
        let bomb = format!("<!DOCTYPE a [<!ENTITY a \"{SECRET}\">]><a>&a;</a>");
        for body in [error(WEB), error(SECRET), String::new(), deep, bomb, "\0<<>&".to_owned()] {
            fails(body, 400);
        }
        let no_secret = sts_response("K").replace(SECRET, "");
        assert!(fails(no_secret, 200).0.contains("is empty"));

        fs::remove_file(home.token_file()).unwrap();
        let text = check_harmless(&identity(&home).load(&no_fetch).map(drop).unwrap_err());
        assert!(text.contains("cannot read") && text.contains("token"), "{text}");
    }
}
