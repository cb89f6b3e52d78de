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
mod tests {
    use super::*;

    /// A home directory with both files.
    fn home(config: &str, credentials: &str) -> (tempfile::TempDir, Env) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".aws")).unwrap();
        fs::write(dir.path().join(".aws/config"), config).unwrap();
        fs::write(dir.path().join(".aws/credentials"), credentials).unwrap();
        let env = Env::default().set("HOME", dir.path().to_str().unwrap());
        (dir, env)
    }

    fn load(config: &str, credentials: &str, flag: Option<&str>) -> Result<Profile, ProfileError> {
        let (_dir, env) = home(config, credentials);
        Profile::load(&env, flag)
    }

    fn default(config: &str) -> Profile {
        load(config, "", None).unwrap()
    }

    #[test]
    fn env_says_nothing_of_its_values() {
        let env: Env = [("AWS_SECRET_ACCESS_KEY", "s3cret"), ("EMPTY", "")].into_iter().collect();
        assert_eq!(env.get("AWS_SECRET_ACCESS_KEY"), Some("s3cret"));
        assert_eq!(env.get("EMPTY"), None);
        assert_eq!(format!("{env:?}"), r#"{"AWS_SECRET_ACCESS_KEY", "EMPTY"}"#);
        assert!(Env::from_process().get("PATH").is_some());
    }

    #[test]
    fn the_files_of_the_guide() {
        let config = "\u{feff}# comment\r\n[default]\r\nregion=us-west-2\r\n\r\n; more\r\n\
            [profile dev] # the second\r\nRegion = eu-west-1   # near\r\ns3 =\r\n  addressing_style = path\r\n  \
            # inside\r\n\tendpoint_url = http://a:1\r\nca_bundle = /c#a;b ; comment\r\noutput = json\r\n";
        let keys =
            "[dev]\naws_access_key_id = AKIA\naws_secret_access_key = a/b+c=%s\\\nregion = \n";
        let profile = load(config, keys, Some("dev")).unwrap();
        assert_eq!(profile.name(), "dev");
        assert!(profile.named_by_flag());
        assert_eq!(profile.get("aws_secret_access_key"), Some("a/b+c=%s\\"));
        assert_eq!(profile.addressing_style(), Some("path"));
        assert_eq!(profile.endpoint_url(), Some("http://a:1"));
        assert_eq!(profile.nested("s3", "endpoint_url"), Some("http://a:1"));
        assert_eq!(profile.ca_bundle(), Some("/c#a;b"));
        assert_eq!(profile.get("output"), Some("json"));
        // The credentials file has the last word, even if that is nothing.
        assert_eq!(profile.region(), None);
        let profile = load(config, keys, None).unwrap();
        assert_eq!((profile.region(), profile.named_by_flag()), (Some("us-west-2"), false));
        assert_eq!(profile.get("output"), None);
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let value =
            |text: &str| default(&format!("[default]\nk = {text}\n")).get("k").map(str::to_owned);
        for text in [
            "C:\\new\\table",
            "\"quoted\" 'words'",
            "a=b=c",
            "%(region)s ${HOME} $(id)",
            "a#b;c",
            "http://[::1]:9/x?y=z#f",
            "täglich 🐱",
            "a: b",
        ] {
            assert_eq!(value(text).as_deref(), Some(text));
        }
        assert_eq!(value("a\t; b").as_deref(), Some("a"));
        assert_eq!(value("# only").as_deref(), None);
        assert_eq!(value("one\n  two # c\n\n   three").as_deref(), Some("one\ntwo\nthree"));
    }

    #[test]
    fn sections() {
        let region =
            |config: &str, flag| load(config, "", flag).map(|p| p.region().map(str::to_owned));
        // Twice the same one: together, and the last setting counts.
        let twice = default("[default]\nregion=a\nx=1\n[other]\nregion=b\n[default]\nregion=c\n");
        assert_eq!((twice.region(), twice.get("x")), (Some("c"), Some("1")));
        // [profile default] goes before [default].
        for config in [
            "[default]\nregion=a\n[profile default]\nregion=b",
            "[profile default]\nregion=b\n[default]\nregion=a",
        ] {
            assert_eq!(region(config, None).unwrap().as_deref(), Some("b"));
        }
        assert_eq!(
            region("[ profile\t \"a b\" ]\nregion=q", Some("a b")).unwrap().as_deref(),
            Some("q")
        );
        assert_eq!(region("[profile 'a#1']\nregion=q", Some("a#1")).unwrap().as_deref(), Some("q"));
        // All indented alike, as the AWS CLI accepts it.
        let indented =
            default("[default]\n  region = a\n  s3 =\n    addressing_style = path\n  k = v");
        assert_eq!(indented.region(), Some("a"));
        assert_eq!(indented.addressing_style(), Some("path"));
        assert_eq!(indented.get("k"), Some("v"));
        // Without "profile" it's no profile in the config file.
        assert!(region("[dev]\nregion=a", Some("dev")).is_err());
    }

    #[test]
    fn endpoints() {
        let config = "[default]\nendpoint_url = http://any\nservices = mine\n[services mine]\n\
            dynamodb =\n  endpoint_url = http://dynamo\ns3 =\n  endpoint_url = http://s3\n";
        assert_eq!(default(config).endpoint_url(), Some("http://s3"));
        let config = "[default]\nendpoint_url = http://any\ns3 =\n  endpoint_url = http://block\n";
        assert_eq!(default(config).endpoint_url(), Some("http://block"));
        let config = "[default]\nendpoint_url = http://any\n";
        assert_eq!(default(config).endpoint_url(), Some("http://any"));
        let off = default(&format!("{config}ignore_configured_endpoint_urls = TRUE\n"));
        assert_eq!((off.endpoint_url(), off.ignores_endpoint_urls()), (None, true));
        let (_dir, env) = home(config, "");
        let env = env.set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        assert_eq!(Profile::load(&env, None).unwrap().endpoint_url(), None);
        let error = load("[default]\nservices = gone\n", "", None).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"profile "default" refers to [services gone], which is not in the config file"#
        );
    }

    #[test]
    fn which_profile() {
        let (_dir, env) =
            home("[profile a]\nregion=ra\n[profile b]\nregion=rb\n", "[c]\nregion=rc\n");
        let region =
            |env: &Env, flag| Profile::load(env, flag).unwrap().region().map(str::to_owned);
        let env = env.set("AWS_DEFAULT_PROFILE", "a");
        assert_eq!(region(&env, None).as_deref(), Some("ra"));
        let env = env.set("AWS_PROFILE", "b");
        assert_eq!(region(&env, None).as_deref(), Some("rb"));
        assert_eq!(region(&env, Some("c")).as_deref(), Some("rc"));
        let error = Profile::load(&env, Some("d\u{1b}[2J")).unwrap_err().to_string();
        assert!(error.starts_with(r#"there is no profile "d\u{1b}[2J" (looked in: "#), "{error}");
        assert!(load("", "", Some("default")).is_err());
        assert!(load("", "", None).is_ok());
    }

    #[test]
    fn which_files() {
        let (dir, env) = home("[default]\nregion=home\n", "");
        fs::write(dir.path().join("other"), "[default]\nregion=other\n").unwrap();
        let region = |env: &Env| Profile::load(env, None).unwrap().region().map(str::to_owned);
        assert_eq!(region(&env).as_deref(), Some("home"));
        assert_eq!(
            region(&env.clone().set("AWS_CONFIG_FILE", "~/other")).as_deref(),
            Some("other")
        );
        let env =
            env.set("AWS_SHARED_CREDENTIALS_FILE", dir.path().join("other").to_str().unwrap());
        assert_eq!(region(&env).as_deref(), Some("other"));
        assert_eq!(
            region(&env.set("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/x")).as_deref(),
            Some("home")
        );
        assert_eq!(region(&Env::default()), None);
        let homeless = Profile::load(&Env::default(), None).unwrap();
        assert_eq!(list(homeless.files()), "no files, for want of a home directory");
    }

    #[test]
    fn errors_name_the_line_and_quote_nothing() {
        for (text, line, problem) in [
            ("aws_secret_access_key = s3cret", 1, "before any [section]"),
            ("\n\n[default\naws_secret_access_key = s3cret", 3, "without its ']'"),
            ("[default] s3cret", 1, "after the ']'"),
            ("[default]\ns3cret", 2, "without a '='"),
            ("[default]\n = s3cret", 2, "without a name"),
            ("[default]\r\ns3 =\r\n  s3cret\r\n", 3, "without a '='"),
            ("[default]\nk # = s3cret", 2, "without a '='"),
        ] {
            let error = load("", text, None).unwrap_err();
            assert!(!format!("{error}{error:?}").contains("s3cret"), "{error}");
            let end = format!(".aws/credentials, line {line}: ");
            let text = error.to_string();
            assert!(text.contains(&end) && text.contains(problem), "{text}");
        }
    }

    #[test]
    fn errors_name_a_file_that_cannot_be_read() {
        let (dir, env) = home("", "");
        let path = dir.path().join(".aws/config");
        fs::write(&path, b"[default]\nk = s3cret\xff\n").unwrap();
        let error = Profile::load(&env, None).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(!format!("{error}{error:?}").contains("s3cret"), "{error}");
        let env = env.set("AWS_CONFIG_FILE", dir.path().to_str().unwrap());
        assert!(matches!(Profile::load(&env, None), Err(ProfileError::Read { .. })));
    }

    #[test]
    fn debug_shows_no_value() {
        let profile = load("", "[default]\naws_secret_access_key = s3cret\n", None).unwrap();
        let text = format!("{profile:?}");
        assert!(text.contains("aws_secret_access_key") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    #[cfg(unix)]
    fn a_file_of_keys_that_others_can_read_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, env) = home("", "");
        let path = dir.path().join(".aws/credentials");
        for (mode, warns) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let profile = Profile::load(&env, None).unwrap();
            assert_eq!(profile.warnings().len(), usize::from(warns), "{mode:o}");
            assert!(profile.warnings().iter().all(|text| text.contains(path.to_str().unwrap())));
        }
        let env = env.set("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        assert!(Profile::load(&env, None).unwrap().warnings().is_empty());
    }

    #[test]
    fn any_text_is_parsed_or_refused() {
        for text in [
            "[",
            "[]",
            "[]]",
            "=",
            "[a]\n=",
            "[a]\n\u{a0}",
            "[a]\n\0=\0",
            "[a]\nk=\n =",
            "\u{feff}\u{feff}[a]",
            "[a]\r\r\nk=v\r",
        ] {
            let _ = parse(text);
        }
        let long = format!("[a]\nk = {}\n", "x ;".repeat(200_000));
        assert_eq!(parse(&long).unwrap()["a"]["k"], "x");
    }
}
