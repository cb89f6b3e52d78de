//! Profiles: the settings in the shared files of the AWS tools.
//!
//! S3 users already have a region, an endpoint and credentials where the AWS tools look for them.
//! The same names and files work here, by the rules of the [AWS SDKs and tools reference
//! guide][guide].
//!
//! [guide]: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html

mod error;
mod files;
mod parser;
// The main type of this module has the name of the module.
#[allow(clippy::module_inception)]
mod profile;

pub(crate) use error::ProfileError;
pub(crate) use profile::Profile;
