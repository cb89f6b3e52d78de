//! Keys, a web identity or a command in a profile.

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            process::Process,
            source::{Loader, NamedSource, Source},
            static_keys,
            web_identity::{StsEndpoint, WebIdentity},
        },
        profile::Profile,
    },
};

/// Settings for ways to get credentials that only the AWS CLI supports. The AWS tools prefer these
/// ways to keys in the same profile. Such keys must not be used: with `role_arn`, for example, they
/// are those of the user that assumes the role.
const CLI_ONLY: [(&str, &str); 3] = [
    ("role_arn", "assumes a role"),
    ("sso_account_id", "signs in through IAM Identity Center"),
    ("login_session", "signs in through the browser"),
];

/// The web identity of the profile, else its keys, else its command.
///
/// If the profile needs the AWS CLI, its keys are ignored, and its command is used: the error for a
/// profile without one recommends a command that returns the right keys.
pub(super) fn find(
    profile: &Profile,
    sts: &StsEndpoint,
) -> Result<Option<NamedSource>, CredentialsError> {
    let name = format!("profile {}", profile.name());
    let get = |key| profile.get(key);
    let names = ["web_identity_token_file", "role_arn", "role_session_name"];
    if let Some(identity) = WebIdentity::find(&name, names, get, sts)? {
        let name = format!("web identity of {name}");
        return Ok(Some(NamedSource::loader(name, Loader::WebIdentity(identity))));
    }
    let cli_only = CLI_ONLY.iter().find(|(key, _)| get(key).is_some());
    if cli_only.is_none() {
        let names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
        if let Some(keys) = static_keys::find(&name, names, get)? {
            return Ok(Some(NamedSource::new(name, Source::Static(keys))));
        }
    }
    match (get("credential_process"), cli_only) {
        (Some(command), _) => {
            let name = format!("credential_process of {name}");
            let process = Process::parse(&name, command)?;
            Ok(Some(NamedSource::loader(name, Loader::Process(process))))
        }
        (None, Some((_, way))) => {
            Err(CredentialsError::Unsupported { profile: profile.name().to_owned(), way })
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{
        credentials::testing::{Home, STATIC, check_harmless},
        env::Env,
    };

    fn find_in(
        config: &str,
        profile: Option<&str>,
    ) -> Result<Option<NamedSource>, CredentialsError> {
        let profile = Home::new(config).profile(profile);
        let sts = StsEndpoint { env: &Env::default(), profile: &profile, region: "eu-west-1" };
        find(&profile, &sts)
    }

    #[test]
    fn keys_are_found() {
        assert!(find_in("", None).unwrap().is_none());
        let found = find_in(STATIC, Some("p")).unwrap().unwrap();
        assert_eq!(found.name, "profile p");
        let Source::Static(keys) = found.source else { panic!("not static") };
        assert_eq!((&*keys.access_key, &*keys.secret_key), ("PKEY", "psecret"));
        let error = find_in("[default]\naws_access_key_id = X\n", None).map(drop).unwrap_err();
        let text = check_harmless(&error);
        assert!(text.starts_with("profile default: aws_access_key_id is set without"), "{text}");
    }

    #[test]
    fn web_identity_takes_precedence_over_keys() {
        let config = "[profile w]\nrole_arn = arn:r\nweb_identity_token_file = /t\n\
                      aws_access_key_id = half";
        let found = find_in(config, Some("w")).unwrap().unwrap();
        assert_eq!(found.name, "web identity of profile w");
        assert!(matches!(found.source, Source::Loader(Loader::WebIdentity(_))));
    }

    #[test]
    fn keys_take_precedence_over_a_command() {
        let config = format!("{STATIC}credential_process = c\n");
        assert_eq!(find_in(&config, Some("p")).unwrap().unwrap().name, "profile p");
        let config = "[profile p]\ncredential_process = a 'b\n";
        let text = check_harmless(&find_in(config, Some("p")).map(drop).unwrap_err());
        assert!(text.contains("unclosed quote"), "{text}");
    }

    #[test]
    fn profile_for_the_cli_only_is_refused_with_advice_that_works() {
        let advice =
            "credential_process = aws configure export-credentials --profile p --format process";
        for lines in [
            "role_arn = r\nsource_profile = p",
            "role_arn = r\ncredential_source = Environment",
            "sso_session = s\nsso_account_id = 1\nsso_role_name = r",
        ] {
            let error = find_in(&format!("{STATIC}{lines}\n"), Some("p")).map(drop).unwrap_err();
            let text = check_harmless(&error);
            assert!(text.contains(advice), "{text}");
            let found = find_in(&format!("{STATIC}{lines}\n{advice}\n"), Some("p"));
            let found = found.unwrap().unwrap();
            assert_eq!(found.name, "credential_process of profile p");
            assert!(matches!(found.source, Source::Loader(Loader::Process(_))));
        }
    }
}
