//! Why there are no credentials.

use thiserror::Error;

/// Why there are no credentials. Each message says what to do, and none contains a secret.
#[derive(Clone, Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum CredentialsError {
    /// No source is configured, and the instance metadata service, the last one, has no credentials
    /// or cannot be reached.
    #[error(
        "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile \
         with --profile, or use --unsigned for a public bucket (looked in: {looked_in})"
    )]
    NotFound { looked_in: String },
    /// One of two settings that belong together is missing.
    #[error("{place}: {given} is set without {missing}; set both or neither")]
    Partial { place: String, given: &'static str, missing: &'static str },
    /// The profile uses a way to get credentials that only the AWS CLI supports.
    #[error(
        "profile {profile} {way}, which takes the AWS CLI: add the line `credential_process = aws \
         configure export-credentials --profile {profile} --format process` to the profile"
    )]
    Unsupported { profile: String, way: &'static str },
    /// A setting is not usable.
    #[error("{setting} {problem}")]
    Setting { setting: String, problem: &'static str },
    /// The source is configured, but did not return credentials.
    #[error("cannot get credentials from {place}: {problem}")]
    Failed { place: String, problem: String },
}
