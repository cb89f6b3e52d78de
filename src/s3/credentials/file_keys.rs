//! Keys in a profile. Another program may replace them while s3keep runs.

use std::{sync::Arc, thread, time::Duration};

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{access_keys::Credentials, static_keys},
        profile::Profile,
    },
};

/// How often the files are read, if they cannot be understood. A program may be writing them.
const ATTEMPTS: u32 = 3;

const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });

/// The profile with the keys.
pub(super) struct FileKeys {
    profile: Profile,
}

/// One of the shared files.
#[derive(Clone, Copy)]
pub(super) enum SharedFile {
    Credentials,
    Config,
}

impl FileKeys {
    pub(super) fn new(profile: &Profile) -> FileKeys {
        FileKeys { profile: profile.clone() }
    }

    /// The keys that are in the files now. `None` if there are none.
    pub(super) fn reload(&self) -> Option<Arc<Credentials>> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            if let Ok(Some(profile)) = self.profile.reload()
                && let Ok(Some(keys)) = find_in_any(&profile)
            {
                return Some(keys);
            }
        }
        None
    }
}

/// The keys of a profile in one of the files. All of them come from the same file: a session token
/// does not belong to the keys in another one.
pub(super) fn find(
    profile: &Profile,
    file: SharedFile,
) -> Result<Option<Arc<Credentials>>, CredentialsError> {
    let get = |key: &str| match file {
        SharedFile::Credentials => profile.get_in_credentials_file(key),
        SharedFile::Config => profile.get_in_config_file(key),
    };
    let names = ["aws_access_key_id", "aws_secret_access_key"];
    let tokens = ["aws_security_token", "aws_session_token"];
    static_keys::find(&format!("profile {}", profile.name()), names, tokens, get)
}

fn find_in_any(profile: &Profile) -> Result<Option<Arc<Credentials>>, CredentialsError> {
    match find(profile, SharedFile::Credentials)? {
        Some(keys) => Ok(Some(keys)),
        None => find(profile, SharedFile::Config),
    }
}
