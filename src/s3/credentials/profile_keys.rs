//! The credentials of a profile, except for a role that it assumes.
//!
//! The order is that of botocore, the library of the AWS CLI.

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            file_keys::{self, FileKeys, SharedFile},
            process::Process,
            source::{Loader, NamedSource, Source},
            sso::Sso,
            sts::StsEndpoint,
            web_identity::WebIdentity,
        },
        profile::Profile,
    },
};

/// The first of these that the profile has: a web identity, a role of IAM Identity Center (SSO), keys
/// in the credentials file, a command, keys in the config file.
pub(super) fn find(
    profile: &Profile,
    sts: &StsEndpoint,
) -> Result<Option<NamedSource>, CredentialsError> {
    let name = format!("profile {}", profile.name());
    let names = ["web_identity_token_file", "role_arn", "role_session_name"];
    if let Some(identity) = WebIdentity::find(&name, names, |key| profile.get(key), sts)? {
        let name = format!("web identity of {name}");
        return Ok(Some(NamedSource::loader(name, Loader::WebIdentity(identity))));
    }
    let process = find_process(profile, sts)?;
    if let Some(sso) = Sso::find(sts.env, profile)? {
        return Ok(Some(NamedSource::loader(name, Loader::Sso { sso, command: process })));
    }
    if let Some(keys) = find_keys(profile, SharedFile::Credentials)? {
        return Ok(Some(keys));
    }
    if let Some(process) = process {
        return Ok(Some(named_process(profile, process)));
    }
    if profile.get("login_session").is_some() {
        let profile = profile.name().to_owned();
        let way = "signs in through the browser";
        return Err(CredentialsError::Unsupported { profile, way });
    }
    find_keys(profile, SharedFile::Config)
}

/// The command of the profile.
pub(super) fn find_process(
    profile: &Profile,
    sts: &StsEndpoint,
) -> Result<Option<Process>, CredentialsError> {
    let Some(command) = profile.get("credential_process") else { return Ok(None) };
    let name = format!("credential_process of profile {}", profile.name());
    Process::parse(&name, command, sts.env).map(Some)
}

pub(super) fn named_process(profile: &Profile, process: Process) -> NamedSource {
    let name = format!("credential_process of profile {}", profile.name());
    NamedSource::loader(name, Loader::Process(process))
}

fn find_keys(profile: &Profile, file: SharedFile) -> Result<Option<NamedSource>, CredentialsError> {
    let keys = file_keys::find(profile, file)?;
    let source = |keys| Source::File(keys, FileKeys::new(profile));
    let name = format!("profile {}", profile.name());
    Ok(keys.map(|keys| NamedSource::new(name, source(keys))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::credentials::testing::{Home, STATIC, check_harmless};

    fn find_in(
        config: &str,
        profile: Option<&str>,
    ) -> Result<Option<NamedSource>, CredentialsError> {
        let home = Home::new(config);
        let profile = home.profile(profile);
        let sts = StsEndpoint { env: &home.env, profile: &profile, region: "eu-west-1" };
        find(&profile, &sts)
    }

    #[test]
    fn keys_are_found() {
        assert!(find_in("", None).unwrap().is_none());
        let found = find_in(STATIC, Some("p")).unwrap().unwrap();
        assert_eq!(found.name, "profile p");
        let Source::File(keys, _) = found.source else { panic!("not static") };
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
    fn command_is_between_the_keys_of_the_two_files() {
        let config = format!("{STATIC}credential_process = c\n");
        let found = find_in(&config, Some("p")).unwrap().unwrap();
        assert_eq!(found.name, "credential_process of profile p");
        let home = Home::new(&config);
        let keys = "[p]\naws_access_key_id = K\naws_secret_access_key = s\n";
        std::fs::write(home.path(".aws/credentials"), keys).unwrap();
        let profile = home.profile(Some("p"));
        let sts = StsEndpoint { env: &home.env, profile: &profile, region: "eu-west-1" };
        assert_eq!(find(&profile, &sts).unwrap().unwrap().name, "profile p");
        let config = "[profile p]\ncredential_process = a 'b\n";
        let text = check_harmless(&find_in(config, Some("p")).map(drop).unwrap_err());
        assert!(text.contains("unclosed quote"), "{text}");
    }

    #[test]
    fn session_token_of_another_file_is_not_used() {
        let home = Home::new(&format!("{STATIC}aws_session_token = old\n"));
        let write = |text: &str| std::fs::write(home.path(".aws/credentials"), text).unwrap();
        let keys = |home: &Home| {
            let profile = home.profile(Some("p"));
            let sts = StsEndpoint { env: &home.env, profile: &profile, region: "eu-west-1" };
            let Source::File(keys, _) = find(&profile, &sts).unwrap().unwrap().source else {
                panic!("not from a file")
            };
            (keys.access_key.clone(), keys.session_token.clone())
        };
        let pair = |key: &str, token: Option<&str>| (key.to_owned(), token.map(str::to_owned));
        assert_eq!(keys(&home), pair("PKEY", Some("old")));
        write("[p]\naws_access_key_id = K\naws_secret_access_key = s\n");
        assert_eq!(keys(&home), pair("K", None));
        write("[p]\naws_access_key_id = K\naws_secret_access_key = s\naws_security_token = t\n");
        assert_eq!(keys(&home), pair("K", Some("t")));
    }

    #[test]
    fn browser_login_is_refused_with_advice_that_works() {
        let config = "[profile p]\nlogin_session = arn:aws:iam::1:user/u\n";
        let text = check_harmless(&find_in(config, Some("p")).map(drop).unwrap_err());
        let advice =
            "credential_process = aws configure export-credentials --profile p --format process";
        assert!(text.contains(advice), "{text}");
        let found = find_in(&format!("{config}{advice}\n"), Some("p")).unwrap().unwrap();
        assert_eq!(found.name, "credential_process of profile p");
        assert!(matches!(found.source, Source::Loader(Loader::Process(_))));
    }
}
