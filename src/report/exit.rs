//! The exit codes of the command.

use crate::error::{Cause, Error, Refusal};

/// Success: everything was done, and nothing was skipped.
pub const SUCCESS: u8 = 0;
/// The run failed.
pub const FAILED: u8 = 1;
/// The run finished, but some entries failed or were skipped, or a verification found differences.
pub const PARTIAL: u8 = 2;
/// A guard refused the run, or it was not confirmed. Nothing was changed.
pub const REFUSED: u8 = 3;
/// Another run is working in the directory. Nothing was changed; try later.
pub const BUSY: u8 = 4;
/// The run was interrupted.
pub const INTERRUPTED: u8 = 130;

impl Error {
    /// The exit code of a run that ends with this error.
    ///
    /// ```
    /// use s3keep::{Error, Refusal, exit};
    ///
    /// assert_eq!(Error::from(Refusal::NotConfirmed).exit_code(), exit::REFUSED);
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self.cause() {
            Cause::Interrupted => INTERRUPTED,
            Cause::Refused(Refusal::Busy(_)) => BUSY,
            Cause::Refused(_) => REFUSED,
            _ => FAILED,
        }
    }
}
