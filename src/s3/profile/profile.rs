//! Loading one profile from the shared files.

use std::{fmt, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use crate::s3::{
    env::Env,
    profile::{
        error::ProfileError,
        files::{ProfileSections, SharedFiles},
        parser::Settings,
    },
};

/// The settings of one profile, from both shared files.
///
/// An unset and an empty setting are the same: `None`.
#[derive(Clone)]
pub(crate) struct Profile {
    name: String,
    is_named_explicitly: bool,
    ignores_endpoint_urls: bool,
    /// The settings of both files.
    settings: Settings,
    sections: ProfileSections,
    services: Settings,
    files: Arc<SharedFiles>,
    warnings: Vec<String>,
}

impl Profile {
    /// Loads a profile from the [shared files]: `name` if given, else `AWS_PROFILE`, else
    /// `AWS_DEFAULT_PROFILE`, else `default`.
    ///
    /// # Errors
    /// See [`ProfileError`]. A missing file is not an error. Neither is a missing `default` that
    /// was not named.
    ///
    /// [shared files]: https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html
    pub(crate) fn load(env: &Env, name: Option<&str>) -> Result<Profile, ProfileError> {
        Profile::from_files(SharedFiles::load(env)?, env, name)
    }

    /// Loads a profile, or its part in one file if this user may not read the other one.
    pub(crate) fn load_readable(env: &Env, name: Option<&str>) -> Result<Profile, ProfileError> {
        Profile::from_files(SharedFiles::load_readable(env)?, env, name)
    }

    fn from_files(
        files: SharedFiles,
        env: &Env,
        name: Option<&str>,
    ) -> Result<Profile, ProfileError> {
        let explicit = name.filter(|name| !name.is_empty());
        let named = explicit.or(env.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]));
        let name = named.unwrap_or("default").to_owned();

        let warnings = files.credentials_path().filter(|path| is_exposed(path)).map(|path| {
            format!("other users have access to {}: run chmod 600 on it", path.display())
        });
        let warnings = warnings.into_iter().collect();
        let sections = match files.profile(&name) {
            Some(sections) => sections,
            None if named.is_none() => ProfileSections::default(),
            None => return Err(ProfileError::NoSuchProfile { name, looked_in: files.list() }),
        };
        let mut profile = Profile::new(Arc::new(files), name, sections)?;
        profile.is_named_explicitly = explicit.is_some();
        profile.ignores_endpoint_urls |= env.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
        profile.warnings = warnings;
        Ok(profile)
    }

    fn new(
        files: Arc<SharedFiles>,
        name: String,
        sections: ProfileSections,
    ) -> Result<Profile, ProfileError> {
        let settings = sections.merged();
        let services = match settings.get("services") {
            None => Settings::default(),
            Some(services) => files.section("services", services).cloned().ok_or_else(|| {
                ProfileError::NoSuchServices { profile: name.clone(), services: services.into() }
            })?,
        };
        let ignores_endpoint_urls = settings
            .get("ignore_configured_endpoint_urls")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Profile {
            name,
            is_named_explicitly: false,
            ignores_endpoint_urls,
            settings,
            sections,
            services,
            files,
            warnings: Vec::new(),
        })
    }

    /// Another profile in the same files, for its credentials. `None` if there is none of this name.
    pub(crate) fn other(&self, name: &str) -> Option<Profile> {
        let sections = self.files.profile(name)?;
        Some(Profile {
            name: name.to_owned(),
            settings: sections.merged(),
            sections,
            ..self.clone()
        })
    }

    /// This profile as it is in the files now. `None` if it is no longer there.
    pub(crate) fn reload(&self) -> Result<Option<Profile>, ProfileError> {
        let files = Arc::new(self.files.reload()?);
        Ok(files.profile(&self.name).map(|sections| Profile {
            settings: sections.merged(),
            sections,
            files,
            ..self.clone()
        }))
    }

    /// Whether the files have this profile.
    pub(crate) fn is_in_files(&self) -> bool {
        self.files.profile(&self.name).is_some()
    }

    /// The name of the profile.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the caller named this profile, not the environment. Its keys then take precedence
    /// over those in the environment.
    pub(crate) fn is_named_explicitly(&self) -> bool {
        self.is_named_explicitly
    }

    /// The paths of the shared files, for a message.
    pub(crate) fn files(&self) -> String {
        self.files.list()
    }

    /// A setting by its name in lower case.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key)
    }

    /// A setting in the credentials file.
    pub(crate) fn get_in_credentials_file(&self, key: &str) -> Option<&str> {
        self.sections.credentials.get(key)
    }

    /// A setting in the config file.
    pub(crate) fn get_in_config_file(&self, key: &str) -> Option<&str> {
        self.sections.config.get(key)
    }

    /// Whether the config file has a section `[sso-session NAME]`.
    pub(crate) fn has_sso_session(&self, name: &str) -> bool {
        self.files.section("sso-session", name).is_some()
    }

    /// A setting in the section `[sso-session NAME]`.
    pub(crate) fn get_in_sso_session(&self, name: &str, key: &str) -> Option<&str> {
        self.files.section("sso-session", name)?.get(key)
    }

    /// The region.
    pub(crate) fn region(&self) -> Option<&str> {
        self.get("region")
    }

    /// The endpoint for S3: from the [services section], else from the `s3 =` block, else from the
    /// profile itself. `None` if the user disabled [all configured endpoints].
    ///
    /// [services section]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    /// [all configured endpoints]: Profile::ignores_endpoint_urls
    pub(crate) fn endpoint_url(&self) -> Option<&str> {
        if self.ignores_endpoint_urls {
            return None;
        }
        self.services
            .nested("s3", "endpoint_url")
            .or(self.settings.nested("s3", "endpoint_url"))
            .or(self.get("endpoint_url"))
    }

    /// The endpoint for a service that issues credentials, such as `sts`: from the services section,
    /// else from the profile itself. `None` if the user disabled all configured endpoints.
    pub(crate) fn endpoint_url_of(&self, service: &str) -> Option<&str> {
        if self.ignores_endpoint_urls {
            return None;
        }
        self.services.nested(service, "endpoint_url").or(self.get("endpoint_url"))
    }

    /// Whether `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`, or the setting of that name, is on. Endpoints
    /// in the environment do not count either then.
    pub(crate) fn ignores_endpoint_urls(&self) -> bool {
        self.ignores_endpoint_urls
    }

    /// The addressing style as written: `path`, `virtual` or `auto`.
    pub(crate) fn addressing_style(&self) -> Option<&str> {
        self.settings.nested("s3", "addressing_style")
    }

    /// Whether a setting is on, in the `s3 =` block or in the profile itself.
    pub(crate) fn is_true_for_s3(&self, key: &str) -> bool {
        let value = self.settings.nested("s3", key).or(self.get(key));
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The file with the certificates to trust instead of the system's.
    pub(crate) fn ca_bundle(&self) -> Option<&str> {
        self.get("ca_bundle")
    }

    /// Problems that the user should fix, but that do not prevent a run.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Shows the names of the settings only: values may be secret.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<_> = self.settings.names().collect();
        f.debug_struct("Profile").field("name", &self.name).field("settings", &settings).finish()
    }
}

/// Whether other users than the owner have any permission on this file. Only regular files count:
/// `/dev/null`, which is often used to mean "no file", is open to all users.
fn is_exposed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
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
    fn settings_of_both_files_are_merged() {
        let config = "\u{feff}# comment\r\n[default]\r\nregion=us-west-2\r\n\r\n; more\r\n\
            [profile dev] # the second\r\nRegion = eu-west-1   # near\r\n\
            s3 =\r\n  addressing_style = path\r\n  # inside\r\n\tendpoint_url = http://a:1\r\n\
            ca_bundle = /c#a;b ; comment\r\noutput = json\r\n";
        let keys =
            "[dev]\naws_access_key_id = AKIA\naws_secret_access_key = a/b+c=%s\\\nregion = \n";
        let profile = load(config, keys, Some("dev")).unwrap();
        assert_eq!(profile.name(), "dev");
        assert!(profile.is_named_explicitly());
        assert_eq!(profile.get("aws_secret_access_key"), Some("a/b+c=%s\\"));
        assert_eq!(profile.addressing_style(), Some("path"));
        assert_eq!(profile.endpoint_url(), Some("http://a:1"));
        assert_eq!(profile.settings.nested("s3", "endpoint_url"), Some("http://a:1"));
        assert_eq!(profile.ca_bundle(), Some("/c#a;b"));
        assert_eq!(profile.get("output"), Some("json"));
        // The credentials file takes precedence, even with an empty value.
        assert_eq!(profile.region(), None);
        let profile = load(config, keys, None).unwrap();
        assert_eq!((profile.region(), profile.is_named_explicitly()), (Some("us-west-2"), false));
        assert_eq!(profile.get("output"), None);
    }

    #[test]
    fn sections_are_merged_and_their_names_normalized() {
        let region =
            |config: &str, flag| load(config, "", flag).map(|p| p.region().map(str::to_owned));
        // A section that occurs twice is merged, and the last setting counts.
        let twice = default("[default]\nregion=a\nx=1\n[other]\nregion=b\n[default]\nregion=c\n");
        assert_eq!((twice.region(), twice.get("x")), (Some("c"), Some("1")));
        // [profile default] takes precedence over [default].
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
        // All settings are indented alike, which the AWS CLI accepts.
        let indented =
            default("[default]\n  region = a\n  s3 =\n    addressing_style = path\n  k = v");
        assert_eq!(indented.region(), Some("a"));
        assert_eq!(indented.addressing_style(), Some("path"));
        assert_eq!(indented.get("k"), Some("v"));
        // In the config file, a section without "profile" is not a profile.
        assert!(region("[dev]\nregion=a", Some("dev")).is_err());
    }

    #[test]
    fn most_specific_endpoint_is_used_unless_endpoints_are_ignored() {
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
    fn profile_name_comes_from_caller_then_environment() {
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
    fn file_paths_come_from_environment_then_home() {
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
        assert_eq!(homeless.files(), "no files, because the home directory is unknown");
    }

    #[test]
    fn malformed_line_is_located_and_not_quoted() {
        for (text, line, problem) in [
            ("aws_secret_access_key = s3cret", 1, "before the first [section]"),
            ("\n\n[default\naws_secret_access_key = s3cret", 3, "without ']'"),
            ("[default] s3cret", 1, "after ']'"),
            ("[default]\ns3cret", 2, "without '='"),
            ("[default]\n = s3cret", 2, "without a name"),
            ("[default]\r\ns3 =\r\n  s3cret\r\n", 3, "without '='"),
            ("[default]\nk # = s3cret", 2, "without '='"),
        ] {
            let error = load("", text, None).unwrap_err();
            assert!(!format!("{error}{error:?}").contains("s3cret"), "{error}");
            let end = format!(".aws/credentials, line {line}: ");
            let text = error.to_string();
            assert!(text.contains(&end) && text.contains(problem), "{text}");
        }
    }

    #[test]
    fn unreadable_file_is_named_and_not_quoted() {
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
    fn credentials_file_open_to_other_users_is_reported() {
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
}
