//! The two shared files, with all their profiles.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::s3::{
    env::Env,
    profile::{
        error::ProfileError,
        parser::{self, Sections, Settings},
    },
};

/// The content of both shared files.
#[derive(Clone, Default)]
pub(super) struct SharedFiles {
    config_path: Option<PathBuf>,
    credentials_path: Option<PathBuf>,
    config: Sections,
    credentials: Sections,
}

/// The settings of one profile, by their file.
#[derive(Clone, Default)]
pub(super) struct ProfileSections {
    pub config: Settings,
    pub credentials: Settings,
}

impl SharedFiles {
    /// Reads the [shared files]. A missing file is an empty one.
    ///
    /// [shared files]: https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html
    pub(super) fn load(env: &Env) -> Result<SharedFiles, ProfileError> {
        let [config, credentials] = locate_both(env);
        SharedFiles::read(config, credentials, read)
    }

    /// Reads the files. One that this user may not read is an empty one.
    pub(super) fn load_readable(env: &Env) -> Result<SharedFiles, ProfileError> {
        let [config, credentials] = locate_both(env);
        SharedFiles::read(config, credentials, |path| match read(path) {
            Err(error) if error.is_missing_permission() => Ok(Sections::new()),
            other => other,
        })
    }

    /// Reads the same files again.
    pub(super) fn reload(&self) -> Result<SharedFiles, ProfileError> {
        SharedFiles::read(self.config_path.clone(), self.credentials_path.clone(), read)
    }

    fn read(
        config_path: Option<PathBuf>,
        credentials_path: Option<PathBuf>,
        read: impl Fn(Option<&Path>) -> Result<Sections, ProfileError>,
    ) -> Result<SharedFiles, ProfileError> {
        Ok(SharedFiles {
            config: read(config_path.as_deref())?,
            credentials: read(credentials_path.as_deref())?,
            config_path,
            credentials_path,
        })
    }

    /// The profile of this name.
    ///
    /// In the config file, `[profile default]` takes precedence over `[default]`, wherever it is.
    /// The credentials file has names without `profile`.
    pub(super) fn profile(&self, name: &str) -> Option<ProfileSections> {
        let bare = if name == "default" { self.config.get("default") } else { None };
        let config = self.section("profile", name).or(bare);
        let credentials = self.credentials.get(name);
        if config.is_none() && credentials.is_none() {
            return None;
        }
        Some(ProfileSections {
            config: config.cloned().unwrap_or_default(),
            credentials: credentials.cloned().unwrap_or_default(),
        })
    }

    /// A section of the config file, such as `[services NAME]`.
    pub(super) fn section(&self, kind: &str, name: &str) -> Option<&Settings> {
        self.config.get(&format!("{kind} {name}"))
    }

    pub(super) fn credentials_path(&self) -> Option<&Path> {
        self.credentials_path.as_deref()
    }

    /// The paths, for a message.
    pub(super) fn list(&self) -> String {
        let paths = self.credentials_path.iter().chain(&self.config_path);
        let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
        match paths.as_slice() {
            [] => "no files, because the home directory is unknown".to_owned(),
            _ => paths.join(", "),
        }
    }
}

impl ProfileSections {
    /// The settings of both files. Those of the credentials file take precedence, even if they are
    /// empty.
    pub(super) fn merged(&self) -> Settings {
        let mut settings = self.config.clone();
        settings.override_with(self.credentials.clone());
        settings
    }
}

fn locate_both(env: &Env) -> [Option<PathBuf>; 2] {
    [
        locate(env, "AWS_CONFIG_FILE", "config"),
        locate(env, "AWS_SHARED_CREDENTIALS_FILE", "credentials"),
    ]
}

/// The path of a shared file: from its variable, where a leading `~/` means the home directory,
/// else in `~/.aws`.
fn locate(env: &Env, variable: &str, file: &str) -> Option<PathBuf> {
    let home = env.get("HOME").map(Path::new);
    match (env.get(variable), home) {
        (Some(path), Some(home)) => {
            Some(path.strip_prefix("~/").map_or_else(|| path.into(), |rest| home.join(rest)))
        }
        (Some(path), None) => Some(path.into()),
        (None, home) => home.map(|home| home.join(".aws").join(file)),
    }
}

fn read(path: Option<&Path>) -> Result<Sections, ProfileError> {
    let Some(path) = path else { return Ok(Sections::new()) };
    match fs::read_to_string(path) {
        Ok(text) => parser::parse(&text).map_err(|malformed| ProfileError::Malformed {
            path: path.to_owned(),
            line: malformed.line,
            problem: malformed.problem,
        }),
        // A service may have a home directory such as /dev/null, below which there is no file.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(Sections::new())
        }
        Err(source) => Err(ProfileError::Read { path: path.to_owned(), source }),
    }
}
