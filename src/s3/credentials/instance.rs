//! The metadata service of an EC2 instance.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html>

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            exchange::{exchange, request},
            reply::{Reply, refusal},
            validate,
        },
        env::Env,
        fetch::{Fetch, FetchReply},
        profile::Profile,
    },
};

/// The path of the list of roles. The name of a role, appended to it, is the path of its keys.
const ROLES: &str = "latest/meta-data/iam/security-credentials/";

const NO_ROLE: &str = "the instance has no IAM role";

/// The metadata service, version 2 only. Version 1 would return keys for a plain GET, so an
/// attacker could get them by making this machine fetch a URL.
pub(super) struct Instance {
    /// The URL of the service, without a trailing slash.
    base: String,
}

impl Instance {
    /// The service, unless it is disabled.
    pub(super) fn find(env: &Env, profile: &Profile) -> Result<Option<Instance>, CredentialsError> {
        if is_disabled(env) {
            return Ok(None);
        }
        let get = |variable, setting| env.get(variable).or(profile.get(setting));
        let endpoint = get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
        let mode =
            get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");
        let base = match mode.unwrap_or("ipv4").to_ascii_lowercase().as_str() {
            "ipv4" => "http://169.254.169.254",
            "ipv6" => "http://[fd00:ec2::254]",
            _ => {
                let setting = "the mode of the endpoint of the instance metadata service \
                               (AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE)";
                return Err(CredentialsError::setting(setting, "must be IPv4 or IPv6"));
            }
        };
        let base = endpoint.unwrap_or(base).trim_end_matches('/').to_owned();
        Ok(Some(Instance { base }))
    }

    /// Requests a token, the role of the instance, and its keys.
    pub(super) fn load(&self, fetch: &Fetch) -> Result<Reply, String> {
        let send = |method, path: &str, header| {
            let request = request(method, &format!("{}/{path}", self.base), [header], 1);
            match exchange(fetch, 2, &request)? {
                FetchReply { status: 200, body, .. } => Ok(body),
                FetchReply { status: 404, .. } => Err(NO_ROLE.to_owned()),
                FetchReply { status, .. } => Err(refusal(status, None)),
            }
        };
        let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned());
        let token = validate::token(&send("PUT", "latest/api/token", lifetime)?)?;
        let header = || ("x-aws-ec2-metadata-token", token.clone());
        let roles = send("GET", ROLES, header())?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(NO_ROLE.to_owned());
        }
        // A role name has only these characters. None of them leads to another path.
        if !role.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c)) {
            return Err("it returned an invalid name of a role".to_owned());
        }
        let reply = Reply::from_json(send("GET", &format!("{ROLES}{role}"), header())?.as_bytes())?;
        match reply.code.as_deref() {
            None | Some("Success") => Ok(reply),
            _ => Err(refusal(200, reply.code)),
        }
    }
}

/// Whether the user disabled the service.
pub(super) fn is_disabled(env: &Env) -> bool {
    env.is_true("AWS_EC2_METADATA_DISABLED")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::s3::credentials::testing::{
        Home, at, check_harmless, metadata_service, recording, status,
    };

    fn find(home: &Home) -> Result<Option<Instance>, CredentialsError> {
        Instance::find(&home.env, &home.profile(None))
    }

    #[test]
    fn keys_of_the_role_are_requested_with_a_token() {
        let (fetch, requests) = metadata_service("my-role\n");
        let instance = find(&Home::new("")).unwrap().unwrap();
        let keys = instance.load(&fetch).unwrap().into_credentials(at(0)).unwrap();
        assert_eq!(keys.access_key, "INST");
        let requests = requests.lock().unwrap();
        let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned());
        assert_eq!(requests[0].headers, [lifetime]);
        assert_eq!(requests[0].timeout, Duration::from_secs(1));
        assert_eq!(requests.len(), 3);
    }

    #[test]
    fn missing_or_invalid_role_is_an_error() {
        let instance = find(&Home::new("")).unwrap().unwrap();
        for (role, problem) in [
            ("", NO_ROLE),
            ("\n", NO_ROLE),
            ("../../../user-data", "it returned an invalid name of a role"),
            ("a/b", "it returned an invalid name of a role"),
            ("a?b", "it returned an invalid name of a role"),
        ] {
            let (fetch, requests) = metadata_service(role);
            let error = instance.load(&fetch).map(drop).unwrap_err();
            assert_eq!(check_harmless(&error), problem, "{role}");
            assert_eq!(requests.lock().unwrap().len(), 2);
        }
    }

    #[test]
    fn endpoint_comes_from_the_environment_without_trailing_slash() {
        let url = |home: &Home| {
            let (fetch, requests) = recording(|_| status(404));
            assert!(find(home).unwrap().unwrap().load(&fetch).is_err());
            let url = requests.lock().unwrap()[0].url.clone();
            url.strip_suffix("/latest/api/token").unwrap().to_owned()
        };
        let mode = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
        assert_eq!(url(&Home::new("")), "http://169.254.169.254");
        assert_eq!(url(&Home::new("").set(mode, "IPv6")), "http://[fd00:ec2::254]");
        let config = "[default]\nec2_metadata_service_endpoint_mode = ipv6\n";
        assert_eq!(url(&Home::new(config)), "http://[fd00:ec2::254]");
        assert_eq!(url(&Home::new(config).set(mode, "ipv4")), "http://169.254.169.254");
        let home = Home::new(config).set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[::1]:80/");
        assert_eq!(url(&home), "http://[::1]:80");
        let text = check_harmless(&find(&home.set(mode, "IPv5")).map(drop).unwrap_err());
        assert!(text.ends_with("must be IPv4 or IPv6"), "{text}");
        let disabled = Home::new("").set("AWS_EC2_METADATA_DISABLED", "TRUE");
        assert!(find(&disabled).unwrap().is_none());
    }
}
