//! Credentials: choosing their source, and renewing them in time.
//!
//! The order of the sources is that of the [AWS SDKs][chain], so that a machine with the settings
//! of the AWS tools needs no others. The first source that is configured serves the whole run. If
//! it fails, the run fails: the next source may belong to another account.
//!
//! rust-s3 has such a chain, too, but it reads the environment of the process, ignores the config
//! file and `credential_process`, and renews credentials only after they have expired: all threads
//! of a long backup would get `ExpiredToken` at once.
//!
//! Errors contain no secrets. They quote the error code of a response, and the last line that a
//! failed command writes to stderr. They never quote a body, nor the message of a parser, which may
//! quote its input.
//!
//! [chain]: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html

mod access_keys;
mod assumed_role;
mod chain;
mod container;
mod environment;
mod exchange;
mod file_keys;
mod instance;
mod now;
mod process;
mod profile_keys;
mod provider;
mod reply;
mod role;
mod signature;
mod source;
mod sso;
mod static_keys;
mod sts;
#[cfg(test)]
mod testing;
mod validate;
mod web_identity;

pub(crate) use access_keys::Credentials;
pub(crate) use now::Now;
pub(crate) use provider::Provider;
