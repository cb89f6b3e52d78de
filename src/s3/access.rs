//! The settings of a connection: server, region, certificates, proxy and credentials.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{
    error::{Error, Result},
    s3::{
        account_headers::AccountHeaders,
        aws_hosts::AwsEndpoints,
        checksum::Checksum,
        env::Env,
        profile::{Profile, ProfileError},
    },
};

/// Whether the bucket name is in the host name or in the path of a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// On AWS in the host name, on other servers in the path. In the path, too, if the name has
    /// dots or capitals.
    #[default]
    Auto,
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

impl FromStr for Addressing {
    type Err = String;

    fn from_str(text: &str) -> Result<Addressing, String> {
        match text {
            "auto" => Ok(Addressing::Auto),
            "path" => Ok(Addressing::Path),
            "virtual" => Ok(Addressing::Virtual),
            _ => Err(format!("'{text}' is not an addressing style: use auto, path or virtual")),
        }
    }
}

/// The settings that the caller gives explicitly. The others come from the environment and the
/// profile.
#[derive(Clone, Debug, Default)]
pub struct AccessOptions {
    /// The profile in the shared configuration files.
    pub profile: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The URL of an S3-compatible server.
    pub endpoint: Option<String>,
    /// Whether the bucket name is in the host name or in the path of a URL.
    pub addressing: Option<Addressing>,
    /// Send unsigned requests, for public buckets.
    pub unsigned: bool,
    /// Agree to pay for the requests and the data transfer, as a "Requester Pays" bucket demands.
    pub request_payer: bool,
    /// The number of the AWS account that must own the bucket. The server refuses every request if
    /// another account owns it.
    pub expected_bucket_owner: Option<String>,
}

/// The settings of a connection: server, region, certificates, proxy and credentials.
#[derive(Clone, Debug)]
pub struct Access {
    pub(crate) env: Env,
    pub(crate) profile: Profile,
    pub(crate) region: String,
    /// The URL of the server. `None` for AWS.
    pub(crate) endpoint: Option<String>,
    pub(crate) addressing: Addressing,
    pub(crate) aws_endpoints: AwsEndpoints,
    pub(crate) unsigned: bool,
    pub(crate) account_headers: AccountHeaders,
    /// The certificates to trust instead of the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// The proxy for requests to the server.
    pub(crate) proxy: Option<Proxy>,
    /// The proxy for requests to the service that issues credentials, if its URL is https.
    pub(crate) https_proxy: Option<Proxy>,
}

/// A proxy. Its URL may contain a password, so `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// The environment variable that names it.
    pub variable: &'static str,
    pub url: String,
    /// The hosts to connect to directly, separated by commas.
    pub except: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

impl Access {
    /// Resolves every setting like the [AWS tools][settings]: the first column that has a value
    /// applies.
    ///
    /// | setting | `options` | `env` | profile | default |
    /// | --- | --- | --- | --- | --- |
    /// | profile | `profile` | `AWS_PROFILE`, `AWS_DEFAULT_PROFILE` | | `default` |
    /// | region | `region` | `AWS_REGION`, `AWS_DEFAULT_REGION` | `region` | `us-east-1` |
    /// | endpoint | `endpoint` | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` | `endpoint_url` | AWS |
    /// | addressing | `addressing` | | `addressing_style` in `s3` | `auto` |
    /// | dual-stack | | `AWS_USE_DUALSTACK_ENDPOINT` | `use_dualstack_endpoint`, also in `s3` | `false` |
    /// | FIPS | | `AWS_USE_FIPS_ENDPOINT` | `use_fips_endpoint`, also in `s3` | `false` |
    /// | certificates | | `AWS_CA_BUNDLE`, after the profile `REQUESTS_CA_BUNDLE` | `ca_bundle` | the system's |
    /// | proxy for https | | `HTTPS_PROXY`, `https_proxy`, `ALL_PROXY`, `all_proxy` | | none |
    /// | proxy for http | | `http_proxy`, `ALL_PROXY`, `all_proxy` | | none |
    /// | no proxy for | | `NO_PROXY`, `no_proxy` | | |
    ///
    /// With `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` or the profile's setting of that name, only the
    /// endpoint in `options` counts. The settings for dual-stack and FIPS choose among the endpoints of
    /// AWS. With another endpoint, the first one has no effect, and the second one is an error.
    ///
    /// # Errors
    /// The profile that was named does not exist, a shared file cannot be read, the addressing style
    /// is unknown, or the owner of the bucket is not the number of an account.
    ///
    /// [settings]: https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
    pub fn resolve(options: AccessOptions, env: Env) -> Result<Access> {
        let profile = load_profile(&options, &env)?;
        let region = first_of(
            options.region,
            env.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]),
            profile.region(),
        );
        let endpoint = first_of(
            options.endpoint,
            env.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
                .filter(|_| !profile.ignores_endpoint_urls()),
            profile.endpoint_url(),
        );
        let addressing = match (options.addressing, profile.addressing_style()) {
            (Some(addressing), _) => addressing,
            (None, Some(text)) => text.parse().map_err(Error::config)?,
            (None, None) => Addressing::Auto,
        };
        // The last one is a setting of the HTTP library that the AWS CLI uses.
        let ca_bundle = first_of(None, env.get("AWS_CA_BUNDLE"), profile.ca_bundle())
            .or_else(|| env.get("REQUESTS_CA_BUNDLE").map(str::to_owned));
        let is_https = endpoint.as_ref().is_none_or(|endpoint| endpoint.starts_with("https:"));
        Ok(Access {
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            endpoint,
            addressing,
            aws_endpoints: AwsEndpoints::configured(&env, &profile),
            unsigned: options.unsigned,
            account_headers: AccountHeaders::new(
                options.request_payer,
                options.expected_bucket_owner,
                options.unsigned,
            )?,
            ca_bundle: ca_bundle.map(PathBuf::from),
            proxy: Proxy::from_env(&env, is_https),
            https_proxy: Proxy::from_env(&env, true),
            profile,
            env,
        })
    }

    /// The default checksum of uploads. It is none if `AWS_REQUEST_CHECKSUM_CALCULATION` or the
    /// profile has `when_required`, which users set for stores that refuse checksums.
    pub fn checksum(&self) -> Checksum {
        let env = self.env.get("AWS_REQUEST_CHECKSUM_CALCULATION");
        match env.or(self.profile.get("request_checksum_calculation")) {
            Some(text) if text.eq_ignore_ascii_case("when_required") => Checksum::None,
            _ => Checksum::default(),
        }
    }

    /// The URL of the server. `None` for AWS.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The region of the bucket, as far as it is known before a request.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The name of the profile. `None` if the files have no profile, and none was named.
    pub fn profile(&self) -> Option<&str> {
        self.profile.is_in_files().then(|| self.profile.name())
    }

    /// Problems of the configuration that do not prevent a run, such as a credentials file that
    /// other users have access to.
    pub fn warnings(&self) -> &[String] {
        self.profile.warnings()
    }
}

/// Loads the profile. A file that this user may not read is ignored if nothing needs to be in it:
/// services often run with the home directory of another user.
fn load_profile(options: &AccessOptions, env: &Env) -> Result<Profile> {
    let name = options.profile.as_deref().filter(|name| !name.is_empty());
    let profile = match Profile::load(env, name) {
        Err(error) if error.is_missing_permission() && is_complete_without_files(options, env) => {
            Profile::load_readable(env, name)
        }
        other => other,
    };
    profile.map_err(|error: ProfileError| Error::config(error.to_string()))
}

/// Whether options and environment name a region and credentials, but neither a profile nor a file.
fn is_complete_without_files(options: &AccessOptions, env: &Env) -> bool {
    let are_set = |names: &[&str]| names.iter().all(|name| env.get(name).is_some());
    let names_a_file = options.profile.as_deref().is_some_and(|name| !name.is_empty())
        || env
            .first(&[
                "AWS_PROFILE",
                "AWS_DEFAULT_PROFILE",
                "AWS_CONFIG_FILE",
                "AWS_SHARED_CREDENTIALS_FILE",
            ])
            .is_some();
    let has_region =
        options.region.is_some() || env.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).is_some();
    let has_credentials = options.unsigned
        || are_set(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
        || are_set(&["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"])
        || are_set(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"])
        || are_set(&["AWS_CONTAINER_CREDENTIALS_FULL_URI"]);
    !names_a_file && has_region && has_credentials
}

fn first_of(option: Option<String>, env: Option<&str>, profile: Option<&str>) -> Option<String> {
    option.or_else(|| env.or(profile).map(str::to_owned))
}

impl Proxy {
    /// The proxy for requests over https, or over http.
    pub(crate) fn from_env(env: &Env, is_https: bool) -> Option<Proxy> {
        let names: &[&str] = if is_https {
            &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        } else {
            // Not HTTP_PROXY: in a CGI program, it is a request header of the caller (httpoxy).
            &["http_proxy", "ALL_PROXY", "all_proxy"]
        };
        let (variable, url) = names.iter().find_map(|name| Some((*name, env.get(name)?)))?;
        let except = env.first(&["NO_PROXY", "no_proxy"]).unwrap_or_default().to_owned();
        Some(Proxy { variable, url: url.to_owned(), except })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_variables_depend_on_the_scheme_of_the_endpoint() {
        let vars = [("HTTP_PROXY", "cgi"), ("HTTPS_PROXY", "secure"), ("ALL_PROXY", "any")];
        let resolve = |endpoint: &str, vars: &[(&str, &str)]| {
            let endpoint = Some(endpoint.to_owned());
            let options = AccessOptions { endpoint, ..AccessOptions::default() };
            let access = Access::resolve(options, vars.iter().copied().collect()).unwrap();
            let url = |proxy: Option<Proxy>| proxy.map(|proxy| proxy.url).unwrap_or_default();
            (url(access.proxy), url(access.https_proxy))
        };
        let pair = |proxy: &str, https: &str| (proxy.to_owned(), https.to_owned());
        assert_eq!(resolve("https://host", &vars), pair("secure", "secure"));
        assert_eq!(resolve("http://host", &vars), pair("any", "secure"));
        assert_eq!(resolve("http://host", &vars[..2]), pair("", "secure"));
        assert_eq!(resolve("http://host", &[("http_proxy", "plain")]), pair("plain", ""));
    }

    #[test]
    fn unset_options_come_from_the_environment_or_have_defaults() {
        let resolve = |options: &AccessOptions, vars: &[(&str, &str)]| {
            let access = Access::resolve(options.clone(), vars.iter().copied().collect()).unwrap();
            (access.region, access.endpoint)
        };
        let pair =
            |region: &str, endpoint: Option<&str>| (region.to_owned(), endpoint.map(str::to_owned));
        let unset = AccessOptions::default();
        assert_eq!(resolve(&unset, &[]), pair("us-east-1", None));
        let vars = [
            ("AWS_REGION", ""),
            ("AWS_DEFAULT_REGION", "env"),
            ("AWS_ENDPOINT_URL", "http://any"),
            ("AWS_ENDPOINT_URL_S3", "http://s3"),
        ];
        assert_eq!(resolve(&unset, &vars), pair("env", Some("http://s3")));
        let ignored = [&vars[..], &[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True")]].concat();
        assert_eq!(resolve(&unset, &ignored), pair("env", None));
        let set = AccessOptions {
            region: Some("option".to_owned()),
            endpoint: Some("http://option".to_owned()),
            ..unset
        };
        assert_eq!(resolve(&set, &ignored), pair("option", Some("http://option")));
    }

    #[test]
    fn debug_shows_no_password_of_a_proxy() {
        let env = Env::default().set("HTTPS_PROXY", "http://user:s3cret@host");
        let access = Access::resolve(AccessOptions::default(), env).unwrap();
        assert!(access.proxy.is_some());
        assert!(!format!("{access:?}").contains("s3cret"));
    }
}
