//! The AWS Security Token Service (STS), which issues the keys of roles.

use serde::Deserialize;

use crate::{
    error::CredentialsError,
    s3::{
        aws_hosts::AwsEndpoints,
        credentials::reply::{Reply, one_line, refusal},
        env::Env,
        fetch::FetchReply,
        profile::Profile,
    },
};

/// The settings that the endpoint of STS depends on.
pub(super) struct StsEndpoint<'a> {
    pub env: &'a Env,
    pub profile: &'a Profile,
    /// The region of the endpoint. If it is empty, the global endpoint is used.
    pub region: &'a str,
}

impl StsEndpoint<'_> {
    pub(super) fn url(&self) -> Result<String, CredentialsError> {
        if let Some(url) = configured_url(self.env, self.profile, "AWS_ENDPOINT_URL_STS", "sts") {
            return Ok(url.to_owned());
        }
        let region = self.region;
        if self.is_global() {
            return Ok("https://sts.amazonaws.com/".to_owned());
        }
        let host = AwsEndpoints::configured(self.env, self.profile).sts_host(region);
        let host = host.ok_or_else(|| {
            let problem = "is not a region of AWS: set AWS_ENDPOINT_URL_STS";
            CredentialsError::setting("the region", problem)
        })?;
        Ok(format!("https://{host}/"))
    }

    /// The region that requests are signed for.
    pub(super) fn signing_region(&self) -> &str {
        if self.is_global() { "us-east-1" } else { self.region }
    }

    fn is_global(&self) -> bool {
        matches!(self.region, "" | "aws-global")
    }
}

/// The endpoint that the user configured for a service, in the order of the AWS tools.
pub(super) fn configured_url<'a>(
    env: &'a Env,
    profile: &'a Profile,
    variable: &str,
    service: &str,
) -> Option<&'a str> {
    if profile.ignores_endpoint_urls() {
        return None;
    }
    env.first(&[variable, "AWS_ENDPOINT_URL"]).or_else(|| profile.endpoint_url_of(service))
}

/// The keys in a response of STS. `secrets` are those of the request: the message of a response that
/// repeats one is not shown.
pub(super) fn parse(reply: FetchReply, secrets: &[&str]) -> Result<Reply, String> {
    let document: Option<StsReply> = quick_xml::de::from_str(&reply.body).ok();
    let (result, error) = document.map_or((None, None), |xml| (xml.result, xml.error));
    match result {
        Some(result) if reply.status == 200 => Ok(result.credentials.served_at(reply.date)),
        _ => {
            let (code, message) = error.map_or((None, None), |error| (error.code, error.message));
            let problem = refusal(reply.status, code);
            Err(match message {
                Some(message) if !secrets.iter().any(|secret| message.contains(secret)) => {
                    format!("{problem}: {}", one_line(&message))
                }
                _ => problem,
            })
        }
    }
}

#[derive(Deserialize)]
struct StsReply {
    #[serde(rename = "AssumeRoleWithWebIdentityResult", alias = "AssumeRoleResult")]
    result: Option<StsResult>,
    #[serde(rename = "Error")]
    error: Option<StsError>,
}

#[derive(Deserialize)]
struct StsResult {
    #[serde(rename = "Credentials")]
    credentials: Reply,
}

#[derive(Deserialize)]
struct StsError {
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_depends_on_the_region() {
        let profile = Profile::load(&Env::default(), None).unwrap();
        let url = |env: &Env, region: &str| StsEndpoint { env, profile: &profile, region }.url();
        let none = Env::default();
        assert_eq!(url(&none, "").unwrap(), "https://sts.amazonaws.com/");
        assert_eq!(url(&none, "eu-west-1").unwrap(), "https://sts.eu-west-1.amazonaws.com/");
        assert_eq!(url(&none, "cn-north-1").unwrap(), "https://sts.cn-north-1.amazonaws.com.cn/");
        assert!(url(&none, "evil.com/#").is_err());
        let fips = Env::default().set("AWS_USE_FIPS_ENDPOINT", "true");
        assert_eq!(url(&fips, "eu-west-1").unwrap(), "https://sts-fips.eu-west-1.amazonaws.com/");
        let dual_stack = Env::default().set("AWS_USE_DUALSTACK_ENDPOINT", "true");
        assert_eq!(url(&dual_stack, "eu-west-1").unwrap(), "https://sts.eu-west-1.api.aws/");
        let set = Env::default().set("AWS_ENDPOINT_URL", "http://localhost:2");
        assert_eq!(url(&set, "nyc3").unwrap(), "http://localhost:2");
        let set = set.set("AWS_ENDPOINT_URL_STS", "http://localhost:1");
        assert_eq!(url(&set, "evil.com/#").unwrap(), "http://localhost:1");
        let ignored = set.set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        let profile = Profile::load(&ignored, None).unwrap();
        let sts = StsEndpoint { env: &ignored, profile: &profile, region: "eu-west-1" };
        assert_eq!(sts.url().unwrap(), "https://sts.eu-west-1.amazonaws.com/");
    }
}
