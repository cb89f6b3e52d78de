//! How a server is reached, and with whose credentials: resolved from flags, environment and profile.

use std::{path::PathBuf, str::FromStr};

use crate::{
    error::{Error, Result},
    s3::{
        checksum::Checksum,
        profile::{Env, Profile},
    },
};

/// How the bucket's name gets into the URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the host name on AWS, in the path elsewhere and where the name has dots or capitals.
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
            _ => Err(format!("'{text}' is not an addressing style: auto, path, virtual")),
        }
    }
}

/// What the caller asks for explicitly; the rest comes from the environment and the profile.
#[derive(Clone, Debug, Default)]
pub struct AccessOptions {
    /// The profile in the shared configuration files.
    pub profile: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// The URL of an S3-compatible store.
    pub endpoint: Option<String>,
    /// How the bucket's name gets into the URL.
    pub addressing: Option<Addressing>,
    /// Send unsigned requests, for public buckets.
    pub unsigned: bool,
}

/// How a server is reached, and with whose credentials.
#[derive(Clone, Debug)]
pub struct Access {
    pub(crate) env: Env,
    pub(crate) profile: Profile,
    pub(crate) region: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) addressing: Addressing,
    pub(crate) unsigned: bool,
    pub(crate) ca_bundle: Option<PathBuf>,
    pub(crate) proxy: Option<Proxy>,
    /// The way to the service that gives credentials, which is always reached over https.
    pub(crate) https_proxy: Option<Proxy>,
}

/// A proxy, and the hosts that are reached without it. May hold a password: no `Debug` of it.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub url: String,
    pub except: String,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxy")
    }
}

impl Access {
    /// Resolves `options` against the environment (`AWS_REGION`, `AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL`, `AWS_CA_BUNDLE`, `AWS_PROFILE`, `HTTPS_PROXY` and their kin) and the
    /// profile, in this order, as the AWS tools do
    /// (<https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>).
    ///
    /// # Errors
    /// A profile that was asked for and doesn't exist, or a file that can't be read.
    pub fn resolve(options: AccessOptions, env: Env) -> Result<Access> {
        let profile = Profile::load(&env, options.profile.as_deref())
            .map_err(|error| Error::config(error.to_string()))?;
        let first = |names: &[&str]| names.iter().find_map(|name| env.get(name)).map(str::to_owned);
        let ignore_endpoints = profile.ignores_endpoint_urls();
        let configured = |endpoint: Option<String>| endpoint.filter(|_| !ignore_endpoints);
        let endpoint = options
            .endpoint
            .or_else(|| configured(first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])))
            .or_else(|| configured(profile.endpoint_url().map(str::to_owned)));
        let region = options
            .region
            .or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .or_else(|| profile.region().map(str::to_owned))
            .unwrap_or_else(|| "us-east-1".to_owned());
        let addressing = match (options.addressing, profile.addressing_style()) {
            (Some(addressing), _) => addressing,
            (None, Some(text)) => text.parse().map_err(Error::config)?,
            (None, None) => Addressing::Auto,
        };
        let ca_bundle =
            first(&["AWS_CA_BUNDLE"]).or_else(|| profile.ca_bundle().map(str::to_owned));
        let https = endpoint.as_ref().is_none_or(|endpoint| endpoint.starts_with("https:"));
        let proxy = |https: bool| {
            // HTTP_PROXY in capitals may be a request header of a CGI program's caller (httpoxy).
            let own: &[_] = if https { &["HTTPS_PROXY", "https_proxy"] } else { &["http_proxy"] };
            let url = first(own).or_else(|| first(&["ALL_PROXY", "all_proxy"]))?;
            Some(Proxy { url, except: first(&["NO_PROXY", "no_proxy"]).unwrap_or_default() })
        };
        Ok(Access {
            unsigned: options.unsigned,
            region,
            endpoint,
            addressing,
            ca_bundle: ca_bundle.map(PathBuf::from),
            proxy: proxy(https),
            https_proxy: proxy(true),
            profile,
            env,
        })
    }

    /// What goes with uploads unless something else is asked for: nothing where the environment
    /// (`AWS_REQUEST_CHECKSUM_CALCULATION`) or the profile says `when_required`, as it does for stores that
    /// refuse checksums.
    pub fn checksum(&self) -> Checksum {
        let env = self.env.get("AWS_REQUEST_CHECKSUM_CALCULATION");
        match env.or(self.profile.get("request_checksum_calculation")) {
            Some(text) if text.eq_ignore_ascii_case("when_required") => Checksum::None,
            _ => Checksum::default(),
        }
    }

    /// What the user should know of the configuration, such as a credentials file that others can
    /// read.
    pub fn warnings(&self) -> &[String] {
        self.profile.warnings()
    }
}
