//! Choosing the source of credentials.

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            assumed_role,
            container::Container,
            environment,
            instance::{self, Instance},
            profile_keys,
            source::{NamedSource, Source},
            sts::StsEndpoint,
        },
        env::Env,
        profile::Profile,
    },
};

/// The first of these sources that is configured, in the order of botocore. Nothing is fetched or run.
///
/// 1. None, if the caller wants unsigned requests.
/// 2. Keys in the environment. Skipped if the caller named the profile.
/// 3. The role that the profile assumes.
/// 4. A web identity in the environment. Skipped if the caller named the profile.
/// 5. The other credentials of the profile: see [`profile_keys::find`].
/// 6. The endpoint of a container.
/// 7. The metadata service of an instance, unless it is disabled.
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
    let reads_environment = !profile.is_named_explicitly();
    if reads_environment && let Some(found) = environment::keys(env)? {
        return Ok(Some(found));
    }
    if let Some(found) = assumed_role::find(profile, &sts)? {
        return Ok(Some(found));
    }
    if reads_environment && let Some(found) = environment::web_identity(env, profile, &sts)? {
        return Ok(Some(found));
    }
    if let Some(found) = profile_keys::find(profile, &sts)? {
        return Ok(Some(found));
    }
    if let Some(container) = Container::from_env(env)? {
        return Ok(Some(NamedSource::container(container)));
    }
    Ok(Instance::find(env, profile)?.map(NamedSource::instance))
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
            Source::Static(keys) | Source::File(keys, _) => Some(keys.access_key.clone()),
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
    fn role_of_the_profile_takes_precedence_over_all_but_keys_in_the_environment() {
        let role = "[default]\nrole_arn = r\nsource_profile = p\ncredential_process = x\n\
                    aws_access_key_id = K\naws_secret_access_key = s\n";
        let home = Home::new(&format!("{STATIC}{role}"))
            .set("AWS_ROLE_ARN", "r")
            .set("AWS_WEB_IDENTITY_TOKEN_FILE", "/t");
        assert_eq!(found(&home, None).0, "the role of profile default");
        assert_eq!(found(&home, Some("default")).0, "the role of profile default");
        assert_eq!(found(&with_env_keys(home), None), keys("the environment", "ENVKEY"));
    }

    #[test]
    fn environment_and_profile_complete_each_others_web_identity() {
        let home = Home::new("[default]\nrole_arn = r\nweb_identity_token_file = /t\n");
        assert_eq!(found(&home, None).0, "web identity of profile default");
        let home = home.set("AWS_WEB_IDENTITY_TOKEN_FILE", "/other");
        assert_eq!(found(&home, None).0, "web identity");
        assert_eq!(found(&home, Some("default")).0, "web identity of profile default");
    }

    #[test]
    fn unsupported_profile_is_ignored_if_the_environment_has_keys() {
        let home = with_env_keys(Home::new("[default]\nsso_account_id = 1\n"));
        assert_eq!(found(&home, None), keys("the environment", "ENVKEY"));
        let home = home.set("AWS_ACCESS_KEY_ID", "").set("AWS_SECRET_ACCESS_KEY", "");
        assert!(find(&home.env, &home.profile(None), "eu-west-1", false).is_err());
    }
}
