//! A profile that assumes a role with the keys of another profile or source.
//!
//! The rules are those of botocore, the library of the AWS CLI.

use std::sync::Mutex;

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            container::Container,
            environment,
            instance::Instance,
            profile_keys,
            role::Role,
            source::{Loader, NamedSource},
            sts::StsEndpoint,
        },
        profile::Profile,
    },
};

/// The role that the profile assumes, if it assumes one. `sts.profile` is the profile of the run.
pub(super) fn find(
    profile: &Profile,
    sts: &StsEndpoint,
) -> Result<Option<NamedSource>, CredentialsError> {
    if !has_role(profile) {
        return Ok(None);
    }
    assume(profile, sts, &mut vec![profile.name().to_owned()]).map(Some)
}

/// Whether the profile assumes a role with other keys, not with a web identity.
fn has_role(profile: &Profile) -> bool {
    profile.get("role_arn").is_some() && profile.get("web_identity_token_file").is_none()
}

fn has_keys(profile: &Profile) -> bool {
    ["aws_access_key_id", "aws_secret_access_key"].iter().any(|key| profile.get(key).is_some())
}

/// The role of a profile. `visited` are the profiles that led to it, and its own name.
fn assume(
    profile: &Profile,
    sts: &StsEndpoint,
    visited: &mut Vec<String>,
) -> Result<NamedSource, CredentialsError> {
    let name = format!("profile {}", profile.name());
    let get = |key| profile.get(key);
    let (by_profile, by_source) = (get("source_profile"), get("credential_source"));
    let is_for_the_cli = get("mfa_serial").is_some();
    if is_for_the_cli || (by_profile, by_source) == (None, None) {
        // A profile that needs the AWS CLI may have a command that runs it.
        if let Some(process) = profile_keys::find_process(profile, sts)? {
            return Ok(profile_keys::named_process(profile, process));
        }
    }
    if is_for_the_cli {
        let profile = profile.name().to_owned();
        let way = "assumes a role with an MFA device (mfa_serial)";
        return Err(CredentialsError::Unsupported { profile, way });
    }
    let source = match (by_profile, by_source) {
        (Some(source), None) => source_profile(profile, source, sts, visited)?,
        (None, Some(kind)) => credential_source(&name, kind, sts)?,
        (None, None) => {
            let missing = "source_profile or credential_source";
            return Err(CredentialsError::Partial { place: name, given: "role_arn", missing });
        }
        (Some(_), Some(_)) => {
            let problem = "has both source_profile and credential_source; remove one of them";
            return Err(CredentialsError::setting(&name, problem));
        }
    };
    let role = Role::new(get("role_arn").unwrap_or_default(), profile, sts)?;
    let loader = Loader::Role { role, source: Box::new(source), last_keys: Mutex::default() };
    Ok(NamedSource::loader(format!("the role of {name}"), loader))
}

/// The credentials of the profile that `source_profile` names.
fn source_profile(
    profile: &Profile,
    source: &str,
    sts: &StsEndpoint,
    visited: &mut Vec<String>,
) -> Result<NamedSource, CredentialsError> {
    let setting = format!("source_profile {source} of profile {}", profile.name());
    let fail = |problem| CredentialsError::setting(&setting, problem);
    let other = profile.other(source).ok_or_else(|| fail("is not in the shared files"))?;
    if visited.iter().any(|name| name == source) {
        if source != profile.name() {
            return Err(fail("leads back to a profile that depends on it"));
        }
        if !has_keys(&other) {
            return Err(fail("is the profile itself, but it has no keys"));
        }
    }
    visited.push(source.to_owned());
    // The keys of a source take precedence over its role: they are those that assume the role here.
    if has_role(&other) && !has_keys(&other) {
        return assume(&other, sts, visited);
    }
    profile_keys::find(&other, sts)?.ok_or_else(|| fail("has no credentials"))
}

/// The source of the kind that `credential_source` names.
fn credential_source(
    name: &str,
    kind: &str,
    sts: &StsEndpoint,
) -> Result<NamedSource, CredentialsError> {
    let (source, problem) = match kind {
        "Environment" => (
            environment::keys(sts.env)?,
            "has no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        "EcsContainer" => (
            Container::from_env(sts.env)?.map(NamedSource::container),
            "has no container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and \
             AWS_CONTAINER_CREDENTIALS_FULL_URI are not set",
        ),
        "Ec2InstanceMetadata" => (
            Instance::find(sts.env, sts.profile)?.map(NamedSource::instance),
            "is disabled by AWS_EC2_METADATA_DISABLED",
        ),
        _ => (None, "must be Environment, Ec2InstanceMetadata or EcsContainer"),
    };
    let setting = format!("credential_source {kind} of {name}");
    source.ok_or_else(|| CredentialsError::setting(&setting, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::credentials::testing::{Home, STATIC, check_harmless};

    fn find_in(home: &Home) -> Result<Option<NamedSource>, CredentialsError> {
        let profile = home.profile(Some("a"));
        find(&profile, &StsEndpoint { env: &home.env, profile: &profile, region: "eu-west-1" })
    }

    /// The names of the sources, from the role of the profile to its keys.
    fn chain(home: &Home) -> Vec<String> {
        let mut names = Vec::new();
        let mut next = find_in(home).unwrap();
        while let Some(NamedSource { name, source }) = next {
            names.push(name);
            next = match source {
                crate::s3::credentials::source::Source::Loader(Loader::Role { source, .. }) => {
                    Some(*source)
                }
                _ => None,
            };
        }
        names
    }

    #[test]
    fn source_of_the_keys_follows_the_settings() {
        let keys = "aws_access_key_id = K\naws_secret_access_key = s\n";
        let role = "[profile a]\nrole_arn = r\n";
        let cases = [
            (format!("{role}source_profile = p\n{STATIC}"), &["profile p"][..]),
            (format!("{role}source_profile = a\n{keys}"), &["profile a"]),
            (
                format!(
                    "{role}source_profile = b\n[profile b]\nrole_arn = r\nsource_profile = p\n{STATIC}"
                ),
                &["the role of profile b", "profile p"],
            ),
            // The keys of a source take precedence over its role.
            (
                format!(
                    "{role}source_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n{keys}"
                ),
                &["profile b"],
            ),
            (
                format!(
                    "{role}source_profile = b\n[profile b]\nrole_arn = r\nsource_profile = b\n{keys}"
                ),
                &["profile b"],
            ),
            (
                format!("{role}source_profile = b\n[profile b]\ncredential_process = x\n"),
                &["credential_process of profile b"],
            ),
            (
                format!(
                    "{role}source_profile = b\n[profile b]\nrole_arn = r\nweb_identity_token_file = t\n"
                ),
                &["web identity of profile b"],
            ),
            (format!("{role}credential_source = Ec2InstanceMetadata\n"), &["instance metadata"]),
            (format!("{role}credential_source = Environment\n"), &["the environment"]),
            (format!("{role}credential_source = EcsContainer\n"), &["container"]),
            (
                format!(
                    "{role}source_profile = b\n[profile b]\nrole_arn = r\ncredential_source = Environment\n"
                ),
                &["the role of profile b", "the environment"],
            ),
        ];
        for (config, expected) in cases {
            let home = Home::new(&config)
                .set("AWS_ACCESS_KEY_ID", "E")
                .set("AWS_SECRET_ACCESS_KEY", "s")
                .set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/k");
            let names = chain(&home);
            assert_eq!(names[0], "the role of profile a", "{config}");
            assert_eq!(names[1..], *expected, "{config}");
        }
    }

    #[test]
    fn settings_that_lead_to_no_keys_are_rejected() {
        let role = "[profile a]\nrole_arn = r\n";
        for (settings, problem) in [
            ("", "profile a: role_arn is set without source_profile or credential_source"),
            ("source_profile = b\ncredential_source = Environment", "has both"),
            ("source_profile = b", "source_profile b of profile a is not in the shared files"),
            ("source_profile = b\n[profile b]", "source_profile b of profile a has no credentials"),
            ("source_profile = a", "is the profile itself, but it has no keys"),
            (
                "source_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a",
                "source_profile a of profile b leads back",
            ),
            (
                "source_profile = b\n[profile b]\nrole_arn = r\nsource_profile = c\n\
                 [profile c]\nrole_arn = r\nsource_profile = b",
                "source_profile b of profile c leads back",
            ),
            ("source_profile = b\n[profile b]\naws_access_key_id = x", "is set without"),
            ("credential_source = environment", "must be Environment, Ec2InstanceMetadata"),
            ("credential_source = Environment", "has no keys: set AWS_ACCESS_KEY_ID"),
            ("credential_source = EcsContainer", "has no container"),
            ("credential_source = Ec2InstanceMetadata", "is disabled"),
        ] {
            let home = Home::new(&format!("{role}{settings}\n"));
            let home = home.set("AWS_EC2_METADATA_DISABLED", "true");
            let text = check_harmless(&find_in(&home).map(drop).unwrap_err());
            assert!(text.contains(problem), "{settings}: {text}");
        }
    }

    #[test]
    fn role_with_an_mfa_device_is_refused_with_advice_that_works() {
        let advice =
            "credential_process = aws configure export-credentials --profile a --format process";
        let config = format!(
            "{STATIC}[profile a]\nrole_arn = r\nsource_profile = p\nmfa_serial = arn:aws:mfa\n"
        );
        let text = check_harmless(&find_in(&Home::new(&config)).map(drop).unwrap_err());
        assert!(text.contains("mfa_serial") && text.contains(advice), "{text}");
        let home = Home::new(&format!("{config}{advice}\n"));
        assert_eq!(chain(&home), ["credential_process of profile a"]);
    }
}
