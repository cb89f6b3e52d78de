//! Keys, or a web identity, in environment variables.

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            source::{Loader, NamedSource, Source},
            static_keys,
            sts::StsEndpoint,
            web_identity::WebIdentity,
        },
        env::Env,
        profile::Profile,
    },
};

const NAME: &str = "the environment";

/// The keys in the environment.
pub(super) fn keys(env: &Env) -> Result<Option<NamedSource>, CredentialsError> {
    // Secrets from a file or a secret store often end in a newline, which is not part of the key.
    let get = |name: &str| env.get(name).map(str::trim).filter(|value| !value.is_empty());
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let tokens = ["AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"];
    let keys = static_keys::find(NAME, names, tokens, get)?;
    Ok(keys.map(|keys| NamedSource::new(NAME, Source::Static(keys))))
}

/// The web identity in the environment. The profile completes it, as in botocore.
pub(super) fn web_identity(
    env: &Env,
    profile: &Profile,
    sts: &StsEndpoint,
) -> Result<Option<NamedSource>, CredentialsError> {
    let names = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"];
    let get = |name: &'static str| {
        let setting = match name {
            "AWS_WEB_IDENTITY_TOKEN_FILE" => "web_identity_token_file",
            "AWS_ROLE_ARN" => "role_arn",
            _ => "role_session_name",
        };
        let in_env = env.get(name).map(str::trim).filter(|value| !value.is_empty());
        in_env.or_else(|| profile.get(setting))
    };
    if !names.iter().any(|name| env.get(name).is_some()) {
        return Ok(None);
    }
    let identity = WebIdentity::find(NAME, names, get, sts)?;
    let named = |identity| NamedSource::loader("web identity", Loader::WebIdentity(identity));
    Ok(identity.map(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::credentials::testing::{SECRET, check_harmless};

    fn find_in(env: &Env) -> Result<Option<NamedSource>, CredentialsError> {
        let profile = Profile::load(&Env::default(), None).unwrap();
        match keys(env)? {
            Some(keys) => Ok(Some(keys)),
            None => web_identity(
                env,
                &profile,
                &StsEndpoint { env, profile: &profile, region: "eu-west-1" },
            ),
        }
    }

    #[test]
    fn keys_are_found_and_trimmed() {
        let env = Env::default()
            .set("AWS_ACCESS_KEY_ID", "ENVKEY")
            .set("AWS_SECRET_ACCESS_KEY", "envsecret\r\n")
            .set("AWS_SESSION_TOKEN", "tok")
            .set("AWS_WEB_IDENTITY_TOKEN_FILE", "/t");
        let found = find_in(&env).unwrap().unwrap();
        assert_eq!(found.name, "the environment");
        let Source::Static(keys) = found.source else { panic!("not static") };
        assert_eq!(keys.access_key, "ENVKEY");
        assert_eq!(keys.secret_key, "envsecret");
        assert_eq!(keys.session_token.as_deref(), Some("tok"));
        assert_eq!(keys.expires, None);
    }

    #[test]
    fn web_identity_is_used_without_keys() {
        assert!(find_in(&Env::default()).unwrap().is_none());
        let env =
            Env::default().set("AWS_WEB_IDENTITY_TOKEN_FILE", "/t").set("AWS_ROLE_ARN", "arn:r");
        let found = find_in(&env).unwrap().unwrap();
        assert_eq!(found.name, "web identity");
        assert!(matches!(found.source, Source::Loader(Loader::WebIdentity(_))));
    }

    #[test]
    fn half_of_a_pair_of_variables_is_an_error() {
        for (given, missing) in [
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        ] {
            let error = find_in(&Env::default().set(given, SECRET)).map(drop).unwrap_err();
            let text = check_harmless(&error);
            assert!(text.contains(&format!("{given} is set without {missing}")), "{text}");
        }
    }

    #[test]
    fn invalid_key_is_refused_and_not_quoted() {
        let env = Env::default()
            .set("AWS_ACCESS_KEY_ID", format!("{SECRET}\nx: y"))
            .set("AWS_SECRET_ACCESS_KEY", SECRET);
        let text = check_harmless(&find_in(&env).map(drop).unwrap_err());
        assert_eq!(
            text,
            "the access key, secret key or session token in the environment is empty or has invalid characters"
        );
    }
}
