//! Why there are no credentials.

use thiserror::Error;

/// Why there are no credentials. Each message states what to do, and contains no secret.
#[derive(Clone, Debug, Error)]
pub enum CredentialsError {
    /// No source is configured, and the instance metadata service, the last one, has no credentials
    /// or cannot be reached.
    #[error(
        "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile \
         with --profile, or use --unsigned for a public bucket (looked in: {looked_in})"
    )]
    NotFound {
        /// The sources that were tried.
        looked_in: String,
    },
    /// One of two settings that belong together is missing.
    #[error("{place}: {given} is set without {missing}; set both or neither")]
    Partial {
        /// The environment or a profile.
        place: String,
        /// The setting that is set.
        given: &'static str,
        /// The setting that is missing.
        missing: &'static str,
    },
    /// The profile uses a way to get credentials that only the AWS CLI supports.
    #[error(
        "profile {profile} {way}, which only the AWS CLI supports: add the line \
         `credential_process = aws configure export-credentials --profile {profile} \
         --format process` to the profile"
    )]
    Unsupported {
        /// The name of the profile.
        profile: String,
        /// The way, as a verb: `assumes a role`.
        way: &'static str,
    },
    /// A setting is not usable.
    #[error("{setting} {problem}")]
    Setting {
        /// The setting, or the place of several.
        setting: String,
        /// What is wrong with it, as a verb: `is empty`.
        problem: &'static str,
    },
    /// The source is configured, but did not return credentials.
    #[error("cannot get credentials from {place}: {problem}")]
    Failed {
        /// The source.
        place: String,
        /// Why it did not return any.
        problem: String,
    },
}

impl CredentialsError {
    pub(crate) fn partial(
        place: &str,
        given: &'static str,
        missing: &'static str,
    ) -> CredentialsError {
        CredentialsError::Partial { place: place.to_owned(), given, missing }
    }

    pub(crate) fn setting(setting: &str, problem: &'static str) -> CredentialsError {
        CredentialsError::Setting { setting: setting.to_owned(), problem }
    }
}
