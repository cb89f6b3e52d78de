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
    let keys = "[dev]\naws_access_key_id = AKIA\naws_secret_access_key = a/b+c=%s\\\nregion = \n";
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
    let region = |config: &str, flag| load(config, "", flag).map(|p| p.region().map(str::to_owned));
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
    let indented = default("[default]\n  region = a\n  s3 =\n    addressing_style = path\n  k = v");
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
    let (_dir, env) = home("[profile a]\nregion=ra\n[profile b]\nregion=rb\n", "[c]\nregion=rc\n");
    let region = |env: &Env, flag| Profile::load(env, flag).unwrap().region().map(str::to_owned);
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
    assert_eq!(region(&env.clone().set("AWS_CONFIG_FILE", "~/other")).as_deref(), Some("other"));
    let env = env.set("AWS_SHARED_CREDENTIALS_FILE", dir.path().join("other").to_str().unwrap());
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
