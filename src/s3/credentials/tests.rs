use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::*;

const SECRET: &str = "sEcReT/Key+0";
const TOKEN: &str = "tOkEn-Of.The_Session";
const WEB: &str = "eyJ.web-identity.sIg";

/// The log of what was asked, for a look at it afterwards.
type Asked = Arc<Mutex<Vec<FetchRequest>>>;

fn at(seconds: u64) -> SystemTime {
    // 2026-01-01T00:00:00Z
    UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
}

fn stamp(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap()
}

fn ok(body: impl Into<String>) -> Result<FetchReply, String> {
    Ok(FetchReply { status: 200, body: body.into() })
}

fn status(status: u16) -> Result<FetchReply, String> {
    Ok(FetchReply { status, body: format!("an error page that says {SECRET}") })
}

fn keys(id: &str, ends: SystemTime) -> String {
    format!(
        r#"{{"AccessKeyId":"{id}","SecretAccessKey":"{SECRET}","Token":"{TOKEN}","Expiration":"{}"}}"#,
        stamp(ends)
    )
}

fn sts(id: &str) -> String {
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Audience>a</Audience><AssumedRoleUser><Arn>r</Arn>\
         </AssumedRoleUser><Credentials><SessionToken>{TOKEN}</SessionToken><SecretAccessKey>\
         {SECRET}</SecretAccessKey><Expiration>{}</Expiration><AccessKeyId>{id}</AccessKeyId>\
         </Credentials></AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>x\
         </RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>",
        stamp(at(3600))
    )
}

fn fetch(
    answer: impl Fn(&FetchRequest) -> Result<FetchReply, String> + Send + Sync + 'static,
) -> (Box<Fetch>, Asked) {
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let fetch = move |request: FetchRequest| {
        let reply = answer(&request);
        log.lock().unwrap().push(request);
        reply
    };
    (Box::new(fetch), asked)
}

fn nobody() -> Box<Fetch> {
    Box::new(|request| panic!("asked {}", request.url))
}

/// A home directory with a config file, and the profile in it.
struct Home {
    dir: tempfile::TempDir,
    env: Env,
}

fn home(config: &str) -> Home {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".aws")).unwrap();
    fs::write(dir.path().join(".aws/config"), config).unwrap();
    fs::write(dir.path().join("token"), format!("{WEB}\n")).unwrap();
    let env = Env::default().set("HOME", dir.path().to_str().unwrap());
    Home { dir, env }
}

impl Home {
    fn set(mut self, name: &str, value: &str) -> Home {
        self.env = self.env.set(name, value);
        self
    }

    fn token(&self) -> String {
        self.dir.path().join("token").to_str().unwrap().to_owned()
    }

    fn open(&self, flag: Option<&str>, fetch: Box<Fetch>) -> Result<Provider, CredentialsError> {
        let profile = Profile::load(&self.env, flag).unwrap();
        Provider::new(&self.env, &profile, "eu-west-1", false, fetch)
    }

    /// The error of setting up.
    fn refused(&self, flag: Option<&str>) -> String {
        harmless(&self.open(flag, nobody()).unwrap_err())
    }
}

/// An error's texts, which must not give anything away.
fn harmless(error: &CredentialsError) -> String {
    let text = error.to_string();
    for secret in [SECRET, TOKEN, WEB] {
        assert!(!format!("{text}{error:?}").contains(secret), "{text}");
    }
    text
}

fn fails(provider: &Provider) -> String {
    harmless(&provider.get(at(0)).unwrap_err())
}

fn id(provider: &Provider, now: SystemTime) -> String {
    provider.get(now).unwrap().unwrap().access_key.clone()
}

const ENV_KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "ENVKEY"), ("AWS_SECRET_ACCESS_KEY", "envsecret")];
const STATIC: &str = "[profile p]\naws_access_key_id = PKEY\naws_secret_access_key = psecret\n";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

fn with_env_keys(home: Home) -> Home {
    ENV_KEYS.iter().fold(home, |home, (name, value)| home.set(name, value))
}

/// A container whose answers are given one after another.
fn renewing(
    answer: impl Fn(usize) -> Result<FetchReply, String> + Send + Sync + 'static,
) -> (Provider, Asked) {
    let count = AtomicUsize::new(0);
    let (fetch, asked) = fetch(move |_| answer(count.fetch_add(1, SeqCst)));
    (home("").set(RELATIVE, "/keys").open(None, fetch).unwrap(), asked)
}

fn count(asked: &Asked) -> usize {
    asked.lock().unwrap().len()
}

#[test]
fn keys_from_the_environment() {
    let provider = with_env_keys(home(STATIC))
        .set("AWS_SESSION_TOKEN", "tok")
        .set("AWS_SECRET_ACCESS_KEY", "envsecret\r\n")
        .open(None, nobody())
        .unwrap();
    let keys = provider.get(at(0)).unwrap().unwrap();
    assert_eq!(keys.access_key, "ENVKEY");
    assert_eq!(keys.secret_key, "envsecret");
    assert_eq!(keys.session_token.as_deref(), Some("tok"));
    assert_eq!(provider.place, "environment");
    assert!(!provider.refresh(&keys, at(0)).unwrap());
    assert!(!format!("{provider:?}{keys:?}").contains("envsecret"));
}

#[test]
fn half_a_pair_is_an_error() {
    let text = home("").set("AWS_ACCESS_KEY_ID", SECRET).refused(None);
    assert!(text.contains("AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"), "{text}");
    let text = home("").set("AWS_SECRET_ACCESS_KEY", SECRET).refused(None);
    assert!(text.contains("AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID"), "{text}");
    let text = home("[default]\naws_access_key_id = X\n").refused(None);
    assert!(text.starts_with("profile default: aws_access_key_id is set without"), "{text}");
    let text = home("").set("AWS_WEB_IDENTITY_TOKEN_FILE", "/t").refused(None);
    assert!(text.contains("without AWS_ROLE_ARN"), "{text}");
}

#[test]
fn unsigned_asks_nobody() {
    let home = with_env_keys(home(""));
    let profile = Profile::load(&home.env, None).unwrap();
    let provider = Provider::new(&home.env, &profile, "", true, nobody()).unwrap();
    assert!(provider.get(at(0)).unwrap().is_none());
}

#[test]
fn a_profile_goes_first_only_if_the_flag_names_it() {
    let open = |home: &Home, flag| id(&home.open(flag, nobody()).unwrap(), at(0));
    let home = with_env_keys(home(STATIC));
    assert_eq!(open(&home, Some("p")), "PKEY");
    let home = home.set("AWS_PROFILE", "p");
    assert_eq!(open(&home, None), "ENVKEY");
    let home = home.set("AWS_ACCESS_KEY_ID", "").set("AWS_SECRET_ACCESS_KEY", "");
    assert_eq!(open(&home, None), "PKEY");
    assert_eq!(home.open(None, nobody()).unwrap().place, "profile p");
}

#[test]
fn web_identity_is_asked_of_sts() {
    let home = home("").set("AWS_ROLE_ARN", "arn:aws:iam::1:role/a b");
    let home = home.set("AWS_ROLE_SESSION_NAME", "s&x").set(RELATIVE, "/later");
    let file = home.token();
    let home = home.set("AWS_WEB_IDENTITY_TOKEN_FILE", &file);
    let (fetch, asked) = fetch(|_| ok(sts("WEBKEY")));
    let provider = home.open(None, fetch).unwrap();
    let keys = provider.get(at(0)).unwrap().unwrap();
    assert_eq!(keys.access_key, "WEBKEY");
    assert_eq!(keys.session_token.as_deref(), Some(TOKEN));
    assert_eq!(keys.expires, Some(at(3600)));

    // The token is read anew each time.
    fs::write(&file, "second").unwrap();
    provider.get(at(3590)).unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0].url, "https://sts.eu-west-1.amazonaws.com/");
    assert_eq!(asked[0].method, "POST");
    let body = asked[0].body.clone().unwrap();
    assert!(body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b&"), "{body}");
    assert!(body.contains("RoleSessionName=s%26x&WebIdentityToken=eyJ%2Eweb"), "{body}");
    assert!(asked[1].body.as_ref().unwrap().ends_with("WebIdentityToken=second"));
}

#[test]
fn sts_has_an_endpoint_per_region() {
    let url =
        |env: &Env, region| sts_url(env, &Profile::load(&Env::default(), None).unwrap(), region);
    let none = Env::default();
    assert_eq!(url(&none, "").unwrap(), "https://sts.amazonaws.com/");
    assert_eq!(url(&none, "cn-north-1").unwrap(), "https://sts.cn-north-1.amazonaws.com.cn/");
    assert!(url(&none, "evil.com/#").is_err());
    let set = Env::default().set("AWS_ENDPOINT_URL_STS", "http://localhost:1");
    assert_eq!(url(&set, "evil.com/#").unwrap(), "http://localhost:1");
}

#[test]
fn web_identity_of_a_profile_and_its_failures() {
    let home = home("");
    let config = format!(
        "[profile w]\nrole_arn = arn:r\nweb_identity_token_file = {}\naws_access_key_id = half",
        home.token()
    );
    fs::write(home.dir.path().join(".aws/config"), config).unwrap();
    let refusing = |body: String, status| {
        let answer = move |_: &_| Ok(FetchReply { status, body: body.clone() });
        let (fetch, asked) = fetch(answer);
        (fails(&home.open(Some("w"), fetch).unwrap()), count(&asked))
    };
    let error = |code| {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{WEB}\
                 </Message></Error></ErrorResponse>"
        )
    };
    let (text, asked) = refusing(error("ExpiredTokenException"), 400);
    assert!(text.ends_with("web identity of profile w: it answered ExpiredTokenException"));
    assert_eq!(asked, 1);
    let (text, asked) = refusing(error("Busy"), 503);
    assert!(text.contains("503"), "{text}");
    assert_eq!(asked, 3);
    // None of these may be shown, or do harm.
    let deep = format!("<a>{}", "<b>".repeat(100_000));
    let bomb = format!("<!DOCTYPE a [<!ENTITY a \"{SECRET}\">]><a>&a;</a>");
    for body in [error(WEB), error(SECRET), String::new(), deep, bomb, "\0<<>&".to_owned()] {
        refusing(body, 400);
    }
    let empty = sts("K").replace(SECRET, "");
    assert!(refusing(empty, 200).0.contains("is empty"), "no secret");

    fs::remove_file(home.token()).unwrap();
    let text = fails(&home.open(Some("w"), nobody()).unwrap());
    assert!(text.contains("cannot read") && text.contains("token"), "{text}");
}

#[test]
fn what_takes_the_cli_is_said() {
    let advice =
        "credential_process = aws configure export-credentials --profile p --format process";
    for lines in [
        "role_arn = r\nsource_profile = p",
        "role_arn = r\ncredential_source = Environment",
        "sso_session = s\nsso_account_id = 1\nsso_role_name = r",
    ] {
        let text = home(&format!("{STATIC}{lines}\n")).refused(Some("p"));
        assert!(text.contains(advice), "{text}");
        // The advice works.
        let home = home(&format!("{STATIC}{lines}\n{advice}\n"));
        let provider = home.open(Some("p"), nobody()).unwrap();
        assert_eq!(provider.place, "credential_process of profile p");
    }
    // A sign-on in a profile that isn't asked is no matter.
    let home = with_env_keys(home("[default]\nsso_account_id = 1\n"));
    assert_eq!(id(&home.open(None, nobody()).unwrap(), at(0)), "ENVKEY");
}

#[cfg(unix)]
fn by_process(command: &str) -> Provider {
    home(&format!("[default]\ncredential_process = {command}\n")).open(None, nobody()).unwrap()
}

#[test]
#[cfg(unix)]
fn a_process_gives_keys() {
    let answer = format!(
        r#"{{"Version":1,"AccessKeyId":"PROC","SecretAccessKey":"{SECRET}",
           "SessionToken":"{TOKEN}","Expiration":"2026-01-01T02:00:00+01:00"}}"#
    );
    let home = home("");
    let script = home.dir.path().join("my script.sh");
    fs::write(&script, format!("echo noise >&2; test \"$1\" = 'a # b' && echo '{answer}'"))
        .unwrap();
    let provider = {
        let config = format!("[default]\ncredential_process = sh \"{}\" 'a # b'", script.display());
        // A comment begins after a blank, in quotes too, as for the AWS tools: so escape it.
        let config = config.replace("'a # b'", "'a '\"#\"' b'");
        fs::write(home.dir.path().join(".aws/config"), config).unwrap();
        home.open(None, nobody()).unwrap()
    };
    let keys = provider.get(at(0)).unwrap().unwrap();
    assert_eq!(keys.access_key, "PROC");
    assert_eq!(keys.session_token.as_deref(), Some(TOKEN));
    assert_eq!(keys.expires, Some(at(3600)));
}

#[test]
#[cfg(unix)]
fn a_process_without_expiry_is_run_once() {
    let answer = r#"{"Version":1,"AccessKeyId":"PROC","SecretAccessKey":"s","SessionToken":null}"#;
    let home = home("");
    let mark = home.dir.path().join("ran");
    let script = home.dir.path().join("p");
    fs::write(&script, format!("echo x >> '{}'; echo '{answer}'", mark.display())).unwrap();
    let config = format!("[default]\ncredential_process = sh {}", script.display());
    fs::write(home.dir.path().join(".aws/config"), config).unwrap();
    let provider = home.open(None, nobody()).unwrap();
    for hour in 0..3 {
        assert_eq!(id(&provider, at(hour * 3600)), "PROC");
    }
    assert_eq!(fs::read_to_string(mark).unwrap(), "x\n");
}

#[test]
#[cfg(unix)]
fn a_process_that_fails_is_told_without_its_output() {
    let fails = |command: &str| fails(&by_process(command));
    let text =
        fails(&format!("sh -c 'echo {SECRET}; echo first >&2; echo \"no\tlogin\" >&2; exit 3'"));
    assert!(text.contains("exit status: 3: no login") && !text.contains("first"), "{text}");
    let text = fails("/nonexistent/helper --token sEcReT/Key+0");
    assert!(text.contains("cannot run \"/nonexistent/helper\""), "{text}");
    assert!(fails(&format!("echo {SECRET}")).contains("not the JSON"));
    assert!(fails(&format!("printf '{{\"Version\":\"{SECRET}\"}}'")).contains("not the JSON"));
    assert!(fails("echo '{\"Version\":2,\"AccessKeyId\":\"a\"}'").contains("Version"));
    assert!(fails("echo '{\"Version\":1,\"AccessKeyId\":\"a\"}'").contains("lacks"));
    assert!(fails("true").contains("not the JSON"));
    assert!(fails("head -c 3000000 /dev/zero").contains("cannot get"));
    assert!(fails("sleep 60").contains("it wasn't done after 3 s"));
    let text = home("[default]\ncredential_process = a 'b\n").refused(None);
    assert!(text.contains("leaves a quote open"), "{text}");
}

#[test]
fn a_container_gives_keys() {
    let (fetch, asked) = fetch(|_| ok(keys("CONT", at(3600))));
    let home = home("").set(RELATIVE, "/v2/keys?id=1").set(FULL, "http://evil.example/");
    let home = home.set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic x");
    let file = home.token();
    let home = home.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file);
    assert_eq!(id(&home.open(None, fetch).unwrap(), at(0)), "CONT");
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0].url, "http://169.254.170.2/v2/keys?id=1");
    assert_eq!(asked[0].headers, [("authorization", WEB.to_owned())]);
}

#[test]
fn a_container_is_where_the_guide_says() {
    let open = |name, url| home("").set(name, url).open(None, nobody()).map(drop);
    for url in [
        "https://keys.example/x",
        "http://127.0.0.1:9/x",
        "http://[::1]/x",
        "http://localhost/x",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
    ] {
        open(FULL, url).unwrap();
    }
    for url in [
        "http://keys.example/x",
        "http://169.254.170.2.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://evil.example\\@127.0.0.1/",
        "http://localhost@127.0.0.1/",
        "http://localhost.evil.example/",
        "http://169.254.169.254/",
        "http://[::ffff:169.254.169.254]/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "/etc/passwd",
        "https://",
        "nonsense",
    ] {
        let text = harmless(&open(FULL, url).unwrap_err());
        assert!(text.starts_with(FULL) && text.contains("must lead"), "{text}");
    }
    for path in ["@evil.example/", ".evil.example/", "evil.example"] {
        open(RELATIVE, path).unwrap_err();
    }
}

#[test]
fn a_container_is_asked_three_times() {
    let (provider, asked) = renewing(|n| match n {
        0 => status(500),
        1 => Err("connection\nrefused".to_owned()),
        _ => ok(keys("THIRD", at(3600))),
    });
    assert_eq!(id(&provider, at(0)), "THIRD");
    assert_eq!(count(&asked), 3);
    let (provider, asked) = renewing(|_| Err("connection\nrefused".to_owned()));
    let text = fails(&provider);
    assert_eq!(text, "cannot get credentials from container: connection refused");
    assert_eq!(count(&asked), 3);
    let (provider, asked) = renewing(|_| status(403));
    assert!(fails(&provider).contains("403"));
    assert_eq!(count(&asked), 1);
    let text = fails(
        &home("")
            .set(RELATIVE, "/k")
            .set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\r\nb: c")
            .open(None, nobody())
            .unwrap(),
    );
    assert!(text.contains("the token"), "{text}");
}

#[test]
fn answers_that_are_none() {
    let long = "[".repeat(100_000);
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "\u{0}",
        &long,
        r#"{"AccessKeyId":"a"}"#,
        r#"{"AccessKeyId":"","SecretAccessKey":""}"#,
        r#"{"AccessKeyId":"a\r\nx: y","SecretAccessKey":"s"}"#,
        r#"{"AccessKeyId":"a","SecretAccessKey":"s","Token":"t\n"}"#,
        r#"{"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"sEcReT/Key+0"}"#,
        r#"{"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"0000-01-01T00:00:00Z"}"#,
        r#"{"AccessKeyId":"a","SecretAccessKey":"s","Expiration":"2025-12-31T23:59:59Z"}"#,
        r#"{"AccessKeyId":{"sEcReT/Key+0":1},"SecretAccessKey":"s"}"#,
    ] {
        let body = body.to_owned();
        fails(&renewing(move |_| ok(body.clone())).0);
    }
}

fn instance(role: &'static str) -> (Box<Fetch>, Asked) {
    fetch(move |request| match request.url.strip_prefix("http://169.254.169.254/latest/") {
        Some("api/token") if request.method == "PUT" => ok("IMDSTOKEN"),
        _ if request.headers != [("x-aws-ec2-metadata-token", "IMDSTOKEN".to_owned())] => {
            status(401)
        }
        Some("meta-data/iam/security-credentials/") => ok(role),
        Some("meta-data/iam/security-credentials/my-role") => {
            ok(keys("INST", at(3600)).replace('{', r#"{"Code":"Success","#))
        }
        _ => status(404),
    })
}

#[test]
fn an_instance_gives_keys() {
    let (fetch, asked) = instance("my-role\n");
    let provider = home("").open(None, fetch).unwrap();
    assert_eq!(id(&provider, at(0)), "INST");
    assert_eq!(provider.place, "instance metadata");
    let asked = asked.lock().unwrap();
    let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned());
    assert_eq!(asked[0].headers, [lifetime]);
    assert_eq!(asked[0].timeout, Duration::from_secs(1));
    assert_eq!(asked.len(), 3);
}

#[test]
fn nothing_found_names_the_places() {
    let home = home("");
    for role in ["", "\n", "../../../user-data", "a/b", "a?b"] {
        let text = fails(&home.open(None, instance(role).0).unwrap());
        assert!(text.starts_with("no credentials found: set AWS_ACCESS_KEY_ID"), "{text}");
    }
    let (fetch, asked) = fetch(|_| Err("no route".to_owned()));
    let text = fails(&home.open(None, fetch).unwrap());
    assert!(text.contains("--profile") && text.contains("--unsigned"), "{text}");
    let credentials = home.dir.path().join(".aws/credentials");
    assert!(text.contains(credentials.to_str().unwrap()), "{text}");
    assert!(text.ends_with("instance metadata: no route)"), "{text}");
    assert_eq!(count(&asked), 2);

    let text = home.set("AWS_EC2_METADATA_DISABLED", "TRUE").refused(None);
    assert!(text.ends_with("instance metadata (off by AWS_EC2_METADATA_DISABLED))"), "{text}");
}

#[test]
fn an_instance_elsewhere() {
    let (fetch, asked) = fetch(|_| status(404));
    let home = home("").set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]/");
    fails(&home.open(None, fetch).unwrap());
    assert_eq!(asked.lock().unwrap()[0].url, "http://[fd00:ec2::254]/latest/api/token");
}

#[test]
fn renewed_in_the_last_five_minutes() {
    let (provider, asked) = renewing(|n| ok(keys(&format!("K{n}"), at(3600 * (n as u64 + 1)))));
    assert_eq!(id(&provider, at(0)), "K0");
    assert_eq!(id(&provider, at(3299)), "K0");
    assert_eq!(count(&asked), 1);
    assert_eq!(id(&provider, at(3300)), "K1");
    assert_eq!(id(&provider, at(3301)), "K1");
    assert_eq!(count(&asked), 2);
}

#[test]
fn a_renewal_that_fails_early_does_no_harm() {
    let (provider, asked) = renewing(|n| match n {
        0 => ok(keys("OLD", at(3600))),
        1..=3 => status(403),
        _ => ok(keys("NEW", at(7200))),
    });
    assert_eq!(id(&provider, at(0)), "OLD");
    assert_eq!(id(&provider, at(3300)), "OLD");
    // Not asked for every request.
    assert_eq!(id(&provider, at(3305)), "OLD");
    assert_eq!(count(&asked), 2);
    assert_eq!(id(&provider, at(3539)), "OLD");
    assert_eq!(count(&asked), 3);
    // Now it is urgent; the first failure stands for a while here too.
    harmless(&provider.get(at(3540)).unwrap_err());
    assert_eq!(count(&asked), 3);
    harmless(&provider.get(at(3551)).unwrap_err());
    assert_eq!(count(&asked), 4);
    assert_eq!(id(&provider, at(3570)), "NEW");
}

#[test]
fn short_lived_keys_are_not_asked_for_each_time() {
    let (provider, asked) = renewing(|n| ok(keys(&format!("K{n}"), at(30 + n as u64))));
    for second in 0..10 {
        assert_eq!(id(&provider, at(second)), "K0");
    }
    assert_eq!(count(&asked), 1);
    assert_eq!(id(&provider, at(20)), "K1");
    // A clock that is set back doesn't make the outcome stand.
    let (provider, asked) =
        renewing(|n| if n == 0 { status(403) } else { ok(keys("K", at(9000))) });
    harmless(&provider.get(at(5000)).unwrap_err());
    assert_eq!(id(&provider, at(0)), "K");
    assert_eq!(count(&asked), 2);
}

#[test]
fn many_threads_ask_once() {
    let done = Arc::new(AtomicUsize::new(0));
    let others = Arc::clone(&done);
    let (provider, asked) = renewing(move |n| {
        // The second renewal ends after all others have gone on, or never.
        let late = Instant::now() + Duration::from_secs(20);
        while n == 1 && others.load(SeqCst) < 31 {
            assert!(Instant::now() < late, "the others wait");
            thread::sleep(Duration::from_millis(1));
        }
        match n {
            0 | 1 => ok(keys(&format!("K{n}"), at(3600 * (n as u64 + 1)))),
            _ => status(403),
        }
    });
    let all = |now| {
        let one = || {
            let keys = provider.get(now);
            done.fetch_add(1, SeqCst);
            keys.map(|keys| keys.unwrap().access_key.clone()).ok()
        };
        done.store(0, SeqCst);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..32).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    };
    assert!(all(at(0)).iter().all(|id| id.as_deref() == Some("K0")));
    assert_eq!(count(&asked), 1);
    // Early: one renews, and the others don't wait for it.
    let ids = all(at(3400));
    assert_eq!(ids.iter().filter(|id| id.as_deref() == Some("K0")).count(), 31);
    assert_eq!(count(&asked), 2);
    // Late, and it fails: all learn it from one attempt.
    assert!(all(at(7190)).iter().all(Option::is_none));
    assert_eq!(count(&asked), 3);
}

#[test]
fn rejected_keys_are_replaced_once() {
    let (provider, asked) = renewing(|n| match n {
        0 | 1 => ok(keys(&format!("K{n}"), at(3600))),
        _ => ok(keys("K1", at(3600))),
    });
    let first = provider.get(at(0)).unwrap().unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert!(provider.refresh(&first, at(1)).unwrap()));
        }
    });
    assert_eq!(count(&asked), 2);
    let second = provider.get(at(2)).unwrap().unwrap();
    assert_eq!(second.access_key, "K1");
    // The same keys again are no help, and asking on and on neither.
    for _ in 0..3 {
        let text = harmless(&provider.refresh(&second, at(3)).unwrap_err());
        assert!(text.contains("the server refuses"), "{text}");
    }
    assert_eq!(count(&asked), 3);
}

#[test]
fn times_as_services_write_them() {
    for text in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z", "2026-01-01T01:00:00+01:00"] {
        assert_eq!(parse_time(text), Some(at(0)), "{text}");
    }
    for text in ["", "2026-01-01", "tomorrow", "1500-01-01T00:00:00Z", "99999-01-01T00:00:00Z"] {
        assert_eq!(parse_time(text), None, "{text}");
    }
}
