//! Why a profile could not be loaded.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a profile could not be loaded. Contains paths, line numbers and names, but nothing of a
/// file's content.
#[derive(Debug, Error)]
pub(crate) enum ProfileError {
    /// A file exists, but cannot be read or is not UTF-8.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A line fits none of the forms of the format. Lines count from 1.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Malformed { path: PathBuf, line: usize, problem: &'static str },
    /// No file has the profile that was named.
    #[error("there is no profile {name:?} (looked in: {looked_in})")]
    NoSuchProfile { name: String, looked_in: String },
    /// The `services` setting of the profile names a section that does not exist. Ignoring this
    /// could mean using the wrong endpoint.
    #[error("profile {profile:?} refers to [services {services}], which is not in the config file")]
    NoSuchServices { profile: String, services: String },
}

impl ProfileError {
    /// Whether this user lacks the permission to read a file, or to enter its directory.
    pub(crate) fn is_missing_permission(&self) -> bool {
        matches!(self, ProfileError::Read { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied)
    }
}
