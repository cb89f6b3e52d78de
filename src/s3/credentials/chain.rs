//! Choosing the source of credentials.

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            container::Container,
            environment,
            instance::{self, Instance},
            profile_keys,
            source::{Loader, NamedSource, Source},
            web_identity::StsEndpoint,
        },
        env::Env,
        profile::Profile,
    },
};

/// The first of these sources that is configured. Nothing is fetched or run.
///
/// 1. None, if the caller wants unsigned requests.
/// 2. The environment: keys, then a web identity. Skipped if the caller named the profile.
/// 3. The profile: a web identity, then keys, then a command.
/// 4. The endpoint of a container.
/// 5. The metadata service of an instance, unless it is disabled.
///
/// # Errors
/// A source is configured wrongly.
pub(super) fn find(
    env: &Env,
    profile: &Profile,
    region: &str,
    unsigned: bool,
) -> Result<Option<NamedSource>, CredentialsError> {
    if unsigned {
        return Ok(Some(NamedSource::new("unsigned", Source::Unsigned)));
    }
    let sts = StsEndpoint { env, profile, region };
    if !profile.is_named_explicitly()
        && let Some(found) = environment::find(env, &sts)?
    {
        return Ok(Some(found));
    }
    if let Some(found) = profile_keys::find(profile, &sts)? {
        return Ok(Some(found));
    }
    if let Some(container) = Container::from_env(env)? {
        return Ok(Some(NamedSource::loader("container", Loader::Container(container))));
    }
    let named = |instance| NamedSource::loader("instance metadata", Loader::Instance(instance));
    Ok(Instance::from_env(env).map(named))
}

/// The names of all sources, for the message that no credentials were found.
pub(super) fn describe(env: &Env, profile: &Profile) -> String {
    format!(
        "environment, {}, web identity, container, instance metadata{}",
        profile.files(),
        if instance::is_disabled(env) { " (disabled by AWS_EC2_METADATA_DISABLED)" } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::credentials::testing::{Home, STATIC};

    const ENV_KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "ENVKEY"), ("AWS_SECRET_ACCESS_KEY", "envsecret")];

    fn with_env_keys(home: Home) -> Home {
        ENV_KEYS.iter().fold(home, |home, (name, value)| home.set(name, value))
    }

    fn find_in(home: &Home, profile: Option<&str>) -> Option<NamedSource> {
        find(&home.env, &home.profile(profile), "eu-west-1", false).unwrap()
    }

    /// The name of the source, and its access key if that is known without a request.
    fn found(home: &Home, profile: Option<&str>) -> (String, Option<String>) {
        let NamedSource { name, source } = find_in(home, profile).unwrap();
        let access_key = match source {
            Source::Static(keys) => Some(keys.access_key.clone()),
            Source::Unsigned | Source::Loader(_) => None,
        };
        (name, access_key)
    }

    fn keys(name: &str, access_key: &str) -> (String, Option<String>) {
        (name.to_owned(), Some(access_key.to_owned()))
    }

    #[test]
    fn profile_precedes_environment_only_if_the_caller_named_it() {
        let home = with_env_keys(Home::new(STATIC));
        assert_eq!(found(&home, Some("p")), keys("profile p", "PKEY"));
        let home = home.set("AWS_PROFILE", "p");
        assert_eq!(found(&home, None), keys("the environment", "ENVKEY"));
        let home = home.set("AWS_ACCESS_KEY_ID", "").set("AWS_SECRET_ACCESS_KEY", "");
        assert_eq!(found(&home, None), keys("profile p", "PKEY"));
    }

    #[test]
    fn first_configured_source_is_used() {
        let home = Home::new("[profile empty]\n").set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "");
        assert_eq!(found(&home, None).0, "instance metadata");
        let home = home.set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/later");
        assert_eq!(found(&home, None).0, "container");
        assert_eq!(found(&home, Some("empty")).0, "container");
        let home = home.set("AWS_ROLE_ARN", "r").set("AWS_WEB_IDENTITY_TOKEN_FILE", "/t");
        assert_eq!(found(&home, None).0, "web identity");
        let home = with_env_keys(home);
        assert_eq!(found(&home, None).0, "the environment");
        let unsigned = find(&home.env, &home.profile(None), "", true).unwrap().unwrap();
        assert!(matches!(unsigned.source, Source::Unsigned));
    }

    #[test]
    fn no_source_is_left_if_instance_metadata_is_disabled() {
        let home = Home::new("").set("AWS_EC2_METADATA_DISABLED", "true");
        assert!(find_in(&home, None).is_none());
    }

    #[test]
    fn unsupported_profile_is_ignored_if_the_environment_has_keys() {
        let home = with_env_keys(Home::new("[default]\nsso_account_id = 1\n"));
        assert_eq!(found(&home, None), keys("the environment", "ENVKEY"));
        let home = home.set("AWS_ACCESS_KEY_ID", "").set("AWS_SECRET_ACCESS_KEY", "");
        assert!(find(&home.env, &home.profile(None), "eu-west-1", false).is_err());
    }
}
