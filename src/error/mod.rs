//! Errors: what failed, on which path, key or bucket, and why.
//!
//! Every question about an error (retry it? end the run?) is a method here, so that each rule has one
//! place.

mod cause;
mod credentials;
// The main type of this module has the name of the module.
#[allow(clippy::module_inception)]
mod error;
pub(crate) mod explanation;
mod refusal;
pub(crate) mod s3_code;
mod server_message;

pub use cause::Cause;
pub use credentials::CredentialsError;
pub use error::{Error, Result};
pub use refusal::Refusal;
