//! What the environment and the shared AWS files say: region, endpoint, keys and the like.
//!
//! People who use S3 already have these settings where the AWS tools look for them, so the same
//! names and files work here, by the rules of the [AWS SDKs and tools reference guide][guide].
//!
//! The parser is our own because the files only look like INI. A backslash is an ordinary character
//! (general parsers take one at a line's end for a continuation, and a secret key then swallows the
//! next line), nested settings are told by their indent, and `#` in a value starts a comment only
//! after a blank.
//!
//! [guide]: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The variables a run may consult: a map, so that an embedder or a test gives its own.
#[derive(Clone, Default)]
pub struct Env {
    vars: BTreeMap<String, String>,
}

impl Env {
    /// The variables of this process. One that isn't UTF-8 counts as unset.
    pub fn from_process() -> Env {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(utf8).collect()
    }

    /// The value of a variable. An empty one counts as unset, as in the AWS tools.
    pub fn get(&self, name: &str) -> Option<&str> {
        filled(self.vars.get(name))
    }

    /// The same variables with this one set.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Env {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// Whether a variable is `true`, in any case: how the AWS tools write a switch.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Env {
        Env { vars: vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

/// Why the shared files gave no profile. Paths, line numbers and names, never a file's content.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// A file is there and can't be read, or isn't UTF-8.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A line fits none of the forms the format has. Lines count from 1.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Malformed { path: PathBuf, line: usize, problem: &'static str },
    /// A profile was asked for by name and no file has it.
    #[error("there is no profile {name:?} (looked in: {looked_in})")]
    NoSuchProfile { name: String, looked_in: String },
    /// The profile's `services` setting names a section that isn't in the config file. Going on
    /// without it could mean another endpoint than the one meant.
    #[error("profile {profile:?} refers to [services {services}], which is not in the config file")]
    NoSuchServices { profile: String, services: String },
}

/// One profile: the settings of both shared files, put together.
///
/// An unset, an absent and an empty setting are the same: `None`.
#[derive(Clone)]
pub struct Profile {
    name: String,
    by_flag: bool,
    ignores_endpoint_urls: bool,
    settings: Settings,
    services: Settings,
    files: Vec<PathBuf>,
    warnings: Vec<String>,
}

impl Profile {
    /// Reads the profile named by `flag`, else by `AWS_PROFILE` or `AWS_DEFAULT_PROFILE`, else
    /// `default`, from the [shared files].
    ///
    /// # Errors
    /// See [`ProfileError`]. A missing file is none, nor is a missing `default` nobody asked for.
    ///
    /// [shared files]: https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html
    pub fn load(env: &Env, flag: Option<&str>) -> Result<Profile, ProfileError> {
        let flag = flag.filter(|name| !name.is_empty());
        let asked = flag.or(env.get("AWS_PROFILE")).or(env.get("AWS_DEFAULT_PROFILE"));
        let name = asked.unwrap_or("default").to_owned();

        let config_path = place(env, "AWS_CONFIG_FILE", "config");
        let keys_path = place(env, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let mut config = read(config_path.as_deref())?;
        let mut keys = read(keys_path.as_deref())?;
        let files: Vec<_> = keys_path.iter().chain(&config_path).cloned().collect();

        // Of `[profile default]` and `[default]` the first counts, wherever it stands. The
        // credentials file has bare names only, and the last word.
        let bare = if name == "default" { config.remove("default") } else { None };
        let from_config = config.remove(&format!("profile {name}")).or(bare);
        let from_keys = keys.remove(&name);
        if asked.is_some() && from_config.is_none() && from_keys.is_none() {
            return Err(ProfileError::NoSuchProfile { name, looked_in: list(&files) });
        }
        let mut settings = from_config.unwrap_or_default();
        settings.extend(from_keys.unwrap_or_default());

        let services = match filled(settings.get("services")) {
            None => Settings::new(),
            Some(services) => config.remove(&format!("services {services}")).ok_or_else(|| {
                ProfileError::NoSuchServices { profile: name.clone(), services: services.into() }
            })?,
        };
        let ignores = "ignore_configured_endpoint_urls";
        let ignores_endpoint_urls = env.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            || settings.get(ignores).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let warnings = keys_path.iter().filter(|path| exposed(path)).map(|path| {
            format!("{path} is open to other users: run chmod 600 on it", path = path.display())
        });

        Ok(Profile {
            by_flag: flag.is_some(),
            warnings: warnings.collect(),
            name,
            ignores_endpoint_urls,
            settings,
            services,
            files,
        })
    }

    /// The profile's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the flag named this profile: its keys then go before those in the environment.
    pub(crate) fn named_by_flag(&self) -> bool {
        self.by_flag
    }

    /// The files looked in, whether they exist or not; none without a home directory.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// A setting by its name, in small letters.
    pub fn get(&self, key: &str) -> Option<&str> {
        filled(self.settings.get(key))
    }

    /// A setting in an indented block, as `addressing_style` in `s3 =`.
    pub fn nested(&self, block: &str, key: &str) -> Option<&str> {
        filled(self.settings.get(&nested_key(block, key)))
    }

    /// The region.
    pub fn region(&self) -> Option<&str> {
        self.get("region")
    }

    /// The endpoint for S3: the [services section]'s, then the `s3 =` block's, then the profile's
    /// own. `None` too where the user switched [all configured endpoints] off.
    ///
    /// [services section]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    /// [all configured endpoints]: Profile::ignores_endpoint_urls
    pub fn endpoint_url(&self) -> Option<&str> {
        if self.ignores_endpoint_urls {
            return None;
        }
        filled(self.services.get(&nested_key("s3", "endpoint_url")))
            .or(self.nested("s3", "endpoint_url"))
            .or(self.get("endpoint_url"))
    }

    /// Whether `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`, or the profile's setting of that name, is on:
    /// then endpoints in the environment don't count either.
    pub fn ignores_endpoint_urls(&self) -> bool {
        self.ignores_endpoint_urls
    }

    /// `path`, `virtual` or `auto`, as written.
    pub fn addressing_style(&self) -> Option<&str> {
        self.nested("s3", "addressing_style")
    }

    /// The file of certificates to trust in place of the system's.
    pub fn ca_bundle(&self) -> Option<&str> {
        self.get("ca_bundle")
    }

    /// What the user should know and nothing fails for.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The names of the settings only: values may be secret.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<_> = self.settings.keys().collect();
        f.debug_struct("Profile").field("name", &self.name).field("settings", &settings).finish()
    }
}

/// Paths for a message.
pub(crate) fn list(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no files, for want of a home directory".to_owned(),
        _ => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    }
}

fn filled(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

/// Where a shared file is: as its variable says, a leading `~/` being the home directory, else in
/// `~/.aws`.
fn place(env: &Env, variable: &str, file: &str) -> Option<PathBuf> {
    let windows_home = || env.get("USERPROFILE").filter(|_| cfg!(windows));
    let home = env.get("HOME").or_else(windows_home).map(Path::new);
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
        Ok(text) => parse(&text).map_err(|(line, problem)| ProfileError::Malformed {
            path: path.to_owned(),
            line,
            problem,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sections::new()),
        Err(source) => Err(ProfileError::Read { path: path.to_owned(), source }),
    }
}

/// Whether others than the owner have any right to this file. Only for files: `/dev/null`, a common
/// way to say "none", is open to everyone.
#[cfg(unix)]
fn exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn exposed(_: &Path) -> bool {
    false
}

/// Settings by name in small letters; one in a block by [`nested_key`].
type Settings = BTreeMap<String, String>;

/// By the text between the brackets, with one space after its first word: `profile my-name`.
type Sections = BTreeMap<String, Settings>;

const BLANK: [char; 3] = [' ', '\t', '\r'];

/// No name has a line end in it, so this can't be that of another setting.
fn nested_key(block: &str, key: &str) -> String {
    format!("{block}\n{key}")
}

/// Sections met twice are one; of a setting met twice the last counts. An error is a line number,
/// from 1, and what is wrong there.
fn parse(text: &str) -> Result<Sections, (usize, &'static str)> {
    let mut sections = Sections::new();
    let mut section: Option<&mut Settings> = None;
    // The setting that a deeper indented line belongs to, and its own indent. Files with all
    // settings indented alike are fine with the AWS CLI, so the indent is compared, not just seen.
    let mut current: Option<(usize, String)> = None;

    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let body = line.trim_matches(BLANK);
        let indent = line.len() - line.trim_start_matches(BLANK).len();
        if body.is_empty() || body.starts_with(['#', ';']) {
            continue;
        }
        let wrong = |problem| (number, problem);
        if let (Some(settings), Some((outer, key))) = (&mut section, &current)
            && indent > *outer
        {
            match settings.get_mut(key).filter(|value| !value.is_empty()) {
                Some(value) => value.extend(["\n", uncommented(body)]),
                None => {
                    let (inner, value) = setting(body).map_err(wrong)?;
                    settings.insert(nested_key(key, &inner), value);
                }
            }
        } else if let Some(rest) = body.strip_prefix('[') {
            let (name, rest) = rest.split_once(']').ok_or(wrong("a '[' without its ']'"))?;
            let rest = rest.trim_start_matches(BLANK);
            if !rest.is_empty() && !rest.starts_with(['#', ';']) {
                return Err(wrong("something after the ']'"));
            }
            section = Some(sections.entry(section_name(name)).or_default());
            current = None;
        } else {
            let settings = section.as_mut().ok_or(wrong("a setting before any [section]"))?;
            let (key, value) = setting(body).map_err(wrong)?;
            settings.insert(key.clone(), value);
            current = Some((indent, key));
        }
    }
    Ok(sections)
}

/// `profile  "my name"` as `profile my name`.
fn section_name(name: &str) -> String {
    match name.trim_matches(BLANK).split_once(BLANK) {
        None => name.trim_matches(BLANK).to_owned(),
        Some((kind, name)) => {
            let name = name.trim_matches(BLANK);
            let bare = ['"', '\''].iter().find_map(|&q| name.strip_prefix(q)?.strip_suffix(q));
            format!("{kind} {}", bare.unwrap_or(name))
        }
    }
}

/// `key = value`; everything after the first `=` is the value, save a comment.
fn setting(body: &str) -> Result<(String, String), &'static str> {
    let (key, value) = uncommented(body).split_once('=').ok_or("a line without a '='")?;
    match key.trim_matches(BLANK) {
        "" => Err("a '=' without a name before it"),
        key => Ok((key.to_ascii_lowercase(), value.trim_matches(BLANK).to_owned())),
    }
}

/// The line without its comment, which begins with `#` or `;` after a blank.
fn uncommented(body: &str) -> &str {
    let starts =
        |&(at, mark): &(usize, &str)| matches!(mark, "#" | ";") && body[..at].ends_with(BLANK);
    let end = body.match_indices(['#', ';']).find(starts).map_or(body.len(), |(at, _)| at);
    body[..end].trim_end_matches(BLANK)
}

#[cfg(test)]
mod tests;
