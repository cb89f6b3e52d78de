//! Where the keys come from, and new ones in time when they are temporary.
//!
//! The order is that of the [AWS SDKs][chain], so that a machine set up for the AWS tools needs
//! nothing more: the environment, a web identity, the profile, the container, the instance. The
//! first source that is set up is the one for the whole run. If it fails, that is an error, and
//! never a reason to go on as somebody else.
//!
//! The chain is our own, not rust-s3's, because that one reads the process environment, leaves out
//! the config file and `credential_process`, and renews only what has already expired: all threads
//! of a long backup would meet `ExpiredToken` at once.
//!
//! Nothing secret gets into an error. Answers are never quoted there, not even by way of a parser's
//! message, which may name what it stumbled over.
//!
//! [chain]: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html

use std::{
    fmt, fs,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use url::{Host, Url};

use crate::{
    error::CredentialsError,
    model::time::Timestamp,
    s3::{
        access_keys::Credentials,
        fetch::{Fetch, FetchReply, FetchRequest},
        profile::{Env, Profile, list},
    },
};

/// With this much left, one thread renews while the others go on with what there is.
const ADVISORY: Duration = Duration::from_secs(5 * 60);
/// With this much left, nobody goes on without new ones.
const MANDATORY: Duration = Duration::from_secs(60);
/// How long the outcome of a renewal stands before the source is asked again: threads that waited
/// for it share it, and a source that only has short-lived keys isn't asked for every request.
const SETTLED: Duration = Duration::from_secs(10);
/// After a first failure at a source; twice that after a second.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 300 });
/// Enough for somebody to touch a security key.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 120 });
/// An answer longer than this many bytes has no keys in it.
const PROCESS_OUTPUT: u64 = 1 << 20;

/// The credentials of one run: one source, asked when need be, by one thread at a time.
pub(crate) struct Provider {
    source: Source,
    place: String,
    looked_in: String,
    fetch: Box<Fetch>,
    cached: RwLock<Option<Arc<Credentials>>>,
    /// Held while the source is asked; what came of it last.
    renewal: Mutex<Option<Renewal>>,
}

enum Source {
    Unsigned,
    Static(Arc<Credentials>),
    WebIdentity { token_file: PathBuf, role: String, session: String, url: String },
    Process(Vec<String>),
    Container { url: Url, token_file: Option<PathBuf>, token: Option<String> },
    Instance { base: String },
}

/// A source, if it is set up, and what to call it in messages.
type Found = Result<Option<(Source, String)>, CredentialsError>;

struct Renewal {
    outcome: Result<(), CredentialsError>,
    /// When the outcome stands. It has a start too: if the clock is set back, it doesn't for hours.
    stands: Range<SystemTime>,
}

impl Renewal {
    fn new(outcome: Result<(), CredentialsError>, asked: SystemTime, took: Duration) -> Renewal {
        let start = asked.checked_sub(SETTLED).unwrap_or(asked);
        let end = asked.checked_add(took + SETTLED).unwrap_or(asked);
        Renewal { outcome, stands: start..end }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.place).finish()
    }
}

impl Provider {
    /// Decides on the source; nothing is fetched or run yet. `region` is for a web identity, whose
    /// endpoint is regional; an empty one means the global endpoint.
    ///
    /// # Errors
    /// No source, or one that is set up wrongly.
    pub(crate) fn new(
        env: &Env,
        profile: &Profile,
        region: &str,
        unsigned: bool,
        fetch: Box<Fetch>,
    ) -> Result<Provider, CredentialsError> {
        let metadata_off = env.is_true("AWS_EC2_METADATA_DISABLED");
        let looked_in = format!(
            "environment, {}, web identity, container, instance metadata{}",
            list(profile.files()),
            if metadata_off { " (off by AWS_EC2_METADATA_DISABLED)" } else { "" },
        );
        // Keys in the environment go before those of a profile, unless the command line names it.
        let by_flag = profile.named_by_flag();
        let keys = |of_profile| match of_profile {
            true => in_profile(profile, || sts_url(env, profile, region)),
            false => in_env(env, || sts_url(env, profile, region)),
        };
        let steps: [&dyn Fn() -> Found; 4] = [
            &|| Ok(unsigned.then(|| (Source::Unsigned, "nowhere (unsigned)".to_owned()))),
            &|| keys(by_flag),
            &|| if by_flag { Ok(None) } else { keys(true) },
            &|| in_container(env),
        ];
        let mut found = None;
        for step in steps {
            found = if found.is_none() { step()? } else { found };
        }
        if found.is_none() && !metadata_off {
            let base = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
            let base = base.unwrap_or("http://169.254.169.254").trim_end_matches('/').to_owned();
            found = Some((Source::Instance { base }, "instance metadata".to_owned()));
        }
        let Some((source, place)) = found else {
            return Err(CredentialsError::NotFound { looked_in });
        };
        let (cached, renewal) = (RwLock::default(), Mutex::default());
        Ok(Provider { source, place, looked_in, fetch, cached, renewal })
    }

    /// The credentials to sign with now; `None` means not to sign. Cheap while they hold: to be
    /// asked for every request. Near their end, one caller renews them.
    ///
    /// # Errors
    /// There are none, or they are about to end and there are no new ones.
    pub(crate) fn get(
        &self,
        now: SystemTime,
    ) -> Result<Option<Arc<Credentials>>, CredentialsError> {
        match &self.source {
            Source::Unsigned => return Ok(None),
            Source::Static(keys) => return Ok(Some(Arc::clone(keys))),
            _ => {}
        }
        let seen = self.cached();
        let left = left(seen.as_deref(), now);
        if left > ADVISORY {
            return Ok(seen);
        }
        let urgent = left <= MANDATORY;
        let mut last = match self.renewal.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) if urgent => self.lock(),
            Err(TryLockError::WouldBlock) => return Ok(seen),
        };
        match self.renew(&mut last, seen.as_ref(), now) {
            Ok(()) => Ok(self.cached()),
            Err(_) if !urgent => Ok(seen),
            Err(error) => Err(error),
        }
    }

    /// Gets others in place of credentials that the server refused as expired or invalid, unless
    /// another thread already has. `false` if this source never has others.
    ///
    /// # Errors
    /// The source didn't deliver, or delivered the same ones again.
    pub(crate) fn refresh(
        &self,
        rejected: &Arc<Credentials>,
        now: SystemTime,
    ) -> Result<bool, CredentialsError> {
        if matches!(self.source, Source::Unsigned | Source::Static(_)) {
            return Ok(false);
        }
        let mut last = self.lock();
        // A failure stands for a while. A success that the server refuses doesn't.
        *last = last.take().filter(|last| last.outcome.is_err());
        self.renew(&mut last, Some(rejected), now)?;
        if self.cached().as_ref() != Some(rejected) {
            return Ok(true);
        }
        let problem = "the server refuses what it gives, and it has nothing else: renew it there";
        let error = self.failed(problem.to_owned());
        *last = Some(Renewal::new(Err(error.clone()), now, Duration::ZERO));
        Err(error)
    }

    /// Asks the source, unless that was done since `seen` was current, or just now.
    fn renew(
        &self,
        last: &mut Option<Renewal>,
        seen: Option<&Arc<Credentials>>,
        now: SystemTime,
    ) -> Result<(), CredentialsError> {
        let cached = self.cached();
        let usable = !left(cached.as_deref(), now).is_zero();
        if usable && cached.as_ref().map(Arc::as_ptr) != seen.map(Arc::as_ptr) {
            return Ok(());
        }
        if let Some(last) = last
            && last.stands.contains(&now)
            && (usable || last.outcome.is_err())
        {
            return last.outcome.clone();
        }
        let started = Instant::now();
        let outcome = match self.load(now) {
            Ok(keys) => {
                *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
                Ok(())
            }
            // Nobody set the instance up: it may not be one at all.
            Err(why) if cached.is_none() && matches!(self.source, Source::Instance { .. }) => {
                let looked_in = format!("{}: {why}", self.looked_in);
                Err(CredentialsError::NotFound { looked_in })
            }
            Err(problem) => Err(self.failed(problem)),
        };
        *last = Some(Renewal::new(outcome.clone(), now, started.elapsed()));
        outcome
    }

    fn load(&self, now: SystemTime) -> Result<Credentials, String> {
        let keys = match &self.source {
            Source::Unsigned | Source::Static(_) => return Err("it never has others".to_owned()),
            Source::WebIdentity { token_file, role, session, url } => {
                self.web_identity(&read_token(token_file)?, role, session, url)?
            }
            Source::Process(words) => from_process(words)?,
            Source::Container { url, token_file, token } => {
                let token = match (token_file, token) {
                    (Some(file), _) => Some(read_token(file)?),
                    (None, token) => token.as_deref().map(in_header).transpose()?,
                };
                self.container(url, token)?
            }
            Source::Instance { base } => self.instance(base)?,
        };
        let ends = match keys.expiration.as_deref().map(parse_time) {
            Some(None) => return Err("it gave keys with an unreadable expiry".to_owned()),
            Some(Some(ends)) if ends <= now => {
                return Err("it gave keys that have expired, by this machine's clock".to_owned());
            }
            ends => ends.flatten(),
        };
        match (keys.access_key_id, keys.secret_access_key) {
            (Some(id), Some(secret)) => {
                checked(id, secret, keys.session_token.or(keys.token), ends)
                    .map_err(|problem| format!("it {problem}"))
            }
            _ => Err("its answer lacks an access key or a secret key".to_owned()),
        }
    }

    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
    fn web_identity(
        &self,
        token: &str,
        role: &str,
        session: &str,
        url: &str,
    ) -> Result<Keys, String> {
        let field = |value| utf8_percent_encode(value, NON_ALPHANUMERIC);
        let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
        let mut request = FetchRequest::new("POST", url, [form], 10);
        request.by_proxy = true;
        // A body, not a query: URLs end up in logs.
        request.body = Some(format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}\
             &WebIdentityToken={}",
            field(role),
            field(session),
            field(token),
        ));
        let reply = self.ask(3, &request)?;
        let answer: Option<StsReply> = quick_xml::de::from_str(&reply.body).ok();
        let (result, error) = answer.map_or((None, None), |answer| (answer.result, answer.error));
        match result {
            Some(result) if reply.status == 200 => Ok(result.credentials),
            _ => Err(refusal(reply.status, error.and_then(|error| error.code))),
        }
    }

    /// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>
    fn container(&self, url: &Url, token: Option<String>) -> Result<Keys, String> {
        let headers = token.map(|token| ("authorization", token));
        match self.ask(3, &FetchRequest::new("GET", url.as_str(), headers, 2))? {
            FetchReply { status: 200, body } => json(body.as_bytes()),
            FetchReply { status, .. } => Err(refusal(status, None)),
        }
    }

    /// Version 2 of the [service] only: version 1 gives the keys to whoever gets this machine to
    /// fetch a URL for him.
    ///
    /// [service]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
    fn instance(&self, base: &str) -> Result<Keys, String> {
        const ROLES: &str = "latest/meta-data/iam/security-credentials/";
        let ask = |method, path: &str, header| {
            let request = FetchRequest::new(method, &format!("{base}/{path}"), [header], 1);
            match self.ask(2, &request)? {
                FetchReply { status: 200, body } => Ok(body),
                FetchReply { status: 404, .. } => Err("no role".to_owned()),
                FetchReply { status, .. } => Err(refusal(status, None)),
            }
        };
        let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned());
        let token = in_header(&ask("PUT", "latest/api/token", lifetime)?)?;
        let header = || ("x-aws-ec2-metadata-token", token.clone());
        let roles = ask("GET", ROLES, header())?;
        let role = roles.lines().next().unwrap_or_default().trim();
        // The characters that a role's name may have: none could lead the path elsewhere.
        match role.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c)) {
            true if role.is_empty() => return Err("no role".to_owned()),
            true => {}
            false => return Err("it named a role that can't be".to_owned()),
        }
        let keys = json(ask("GET", &format!("{ROLES}{role}"), header())?.as_bytes())?;
        match keys.code.as_deref() {
            None | Some("Success") => Ok(keys),
            _ => Err(refusal(200, keys.code)),
        }
    }

    /// One exchange, attempted anew after a failure that may pass.
    fn ask(&self, attempts: u32, request: &FetchRequest) -> Result<FetchReply, String> {
        let mut attempt = 1;
        loop {
            let problem = match (self.fetch)(request.clone()) {
                Ok(reply) if reply.status < 500 && reply.status != 429 => return Ok(reply),
                Ok(reply) => refusal(reply.status, None),
                Err(problem) => clean(&problem),
            };
            if attempt >= attempts {
                return Err(problem);
            }
            thread::sleep(PAUSE * attempt);
            attempt += 1;
        }
    }

    fn cached(&self) -> Option<Arc<Credentials>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Renewal>> {
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, problem: String) -> CredentialsError {
        CredentialsError::Failed { place: self.place.clone(), problem }
    }
}

impl FetchRequest {
    fn new(
        method: &'static str,
        url: &str,
        headers: impl IntoIterator<Item = (&'static str, String)>,
        seconds: u64,
    ) -> FetchRequest {
        let (url, headers) = (url.to_owned(), headers.into_iter().collect());
        FetchRequest {
            method,
            url,
            headers,
            body: None,
            timeout: Duration::from_secs(seconds),
            by_proxy: false,
        }
    }
}

/// What the sources answer, each some of these. No `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    version: Option<u32>,
    code: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

#[derive(Deserialize)]
struct StsReply {
    #[serde(rename = "AssumeRoleWithWebIdentityResult")]
    result: Option<StsResult>,
    #[serde(rename = "Error")]
    error: Option<StsError>,
}

#[derive(Deserialize)]
struct StsResult {
    #[serde(rename = "Credentials")]
    credentials: Keys,
}

#[derive(Deserialize)]
struct StsError {
    #[serde(rename = "Code")]
    code: Option<String>,
}

/// The environment's own keys, else its web identity.
fn in_env(env: &Env, sts: impl Fn() -> Result<String, CredentialsError>) -> Found {
    // A line end comes along from many a secret store, and belongs to no key.
    let get = |name| env.get(name).map(str::trim).filter(|value| !value.is_empty());
    let place = "environment".to_owned();
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    if let Some(keys) = fixed(&place, names, get)? {
        return Ok(Some((keys, place)));
    }
    let names = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"];
    let source = web_identity(&place, names, get, sts)?;
    Ok(source.map(|source| (source, "web identity".to_owned())))
}

/// The profile's web identity, static keys or process.
fn in_profile(profile: &Profile, sts: impl Fn() -> Result<String, CredentialsError>) -> Found {
    let place = format!("profile {}", profile.name());
    let get = |name| profile.get(name);
    let names = ["web_identity_token_file", "role_arn", "role_session_name"];
    if let Some(source) = web_identity(&place, names, get, sts)? {
        return Ok(Some((source, format!("web identity of {place}"))));
    }
    // The AWS tools put these before static keys, which then are somebody else's: his who takes on
    // the role. A process next to them is what we advise, and gives the right ones.
    let ways = [
        ("role_arn", "takes on a role"),
        ("sso_account_id", "signs in through IAM Identity Center"),
        ("login_session", "signs in through the browser"),
    ];
    let way = ways.into_iter().find(|(key, _)| get(key).is_some());
    match (way, get("credential_process")) {
        (Some((_, way)), None) => {
            Err(CredentialsError::Unsupported { profile: profile.name().to_owned(), way })
        }
        (Some(_), Some(command)) => process(&place, command),
        (None, command) => {
            let names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
            let keys = fixed(&place, names, get)?;
            match (keys, command) {
                (None, Some(command)) => process(&place, command),
                (keys, _) => Ok(keys.map(|keys| (keys, place))),
            }
        }
    }
}

/// Keys that are simply there, by their names in this place.
fn fixed<'a>(
    place: &str,
    [id, secret, token]: [&'static str; 3],
    get: impl Fn(&'static str) -> Option<&'a str>,
) -> Result<Option<Source>, CredentialsError> {
    let owned = |name| get(name).map(str::to_owned);
    match (owned(id), owned(secret)) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(partial(place, id, secret)),
        (None, Some(_)) => Err(partial(place, secret, id)),
        (Some(id), Some(secret)) => checked(id, secret, owned(token), None)
            .map(|keys| Some(Source::Static(Arc::new(keys))))
            .map_err(|problem| setting(place, problem)),
    }
}

/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html>
fn web_identity<'a>(
    place: &str,
    [token_file, role, session]: [&'static str; 3],
    get: impl Fn(&'static str) -> Option<&'a str>,
    sts: impl Fn() -> Result<String, CredentialsError>,
) -> Result<Option<Source>, CredentialsError> {
    let Some(file) = get(token_file) else { return Ok(None) };
    Ok(Some(Source::WebIdentity {
        token_file: file.into(),
        role: get(role).ok_or_else(|| partial(place, token_file, role))?.to_owned(),
        session: get(session).unwrap_or("s3keep").to_owned(),
        url: sts()?,
    }))
}

fn partial(place: &str, given: &'static str, missing: &'static str) -> CredentialsError {
    CredentialsError::Partial { place: place.to_owned(), given, missing }
}

fn setting(setting: &str, problem: &'static str) -> CredentialsError {
    CredentialsError::Setting { setting: setting.to_owned(), problem }
}

/// The endpoint that gives keys for a web identity.
fn sts_url(env: &Env, profile: &Profile, region: &str) -> Result<String, CredentialsError> {
    let given = env.get("AWS_ENDPOINT_URL_STS").filter(|_| !profile.ignores_endpoint_urls());
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    match given {
        Some(url) => Ok(url.to_owned()),
        None if matches!(region, "" | "aws-global") => Ok("https://sts.amazonaws.com/".to_owned()),
        // It becomes part of the name of a host that a token goes to.
        None if region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            Ok(format!("https://sts.{region}.amazonaws.com{end}/"))
        }
        None => Err(setting("the region", "is none of AWS: set AWS_ENDPOINT_URL_STS")),
    }
}

/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>
fn in_container(env: &Env) -> Found {
    const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let (name, url) = match (env.get(RELATIVE), env.get(FULL)) {
        (Some(path), _) => (RELATIVE, format!("http://169.254.170.2{path}")),
        (None, Some(url)) => (FULL, url.to_owned()),
        (None, None) => return Ok(None),
    };
    let problem = "must lead to an https address, to this machine, or to 169.254.170.2, \
                   169.254.170.23 or [fd00:ec2::23]";
    let url = Url::parse(&url).ok().filter(may_ask).ok_or_else(|| setting(name, problem))?;
    let token_file = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from);
    let token = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned);
    Ok(Some((Source::Container { url, token_file, token }, "container".to_owned())))
}

/// Whether a token may go to this address and keys come from it: encrypted, or no further than the
/// container's host. Not with a user part, behind which a reader can overlook the host.
fn may_ask(url: &Url) -> bool {
    let near = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || matches!(ip.octets(), [169, 254, 170, 2 | 23]),
        Some(Host::Ipv6(ip)) => {
            ip.is_loopback() || ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]
        }
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let encrypted = url.scheme() == "https" && url.has_host();
    (encrypted || url.scheme() == "http" && near)
        && url.username().is_empty()
        && url.password().is_none()
}

/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>
fn process(place: &str, command: &str) -> Found {
    let name = format!("credential_process of {place}");
    // On Windows a backslash stands between directories.
    let command = if cfg!(windows) { command.replace('\\', r"\\") } else { command.to_owned() };
    match shlex::split(&command) {
        Some(words) if !words.is_empty() => Ok(Some((Source::Process(words), name))),
        _ => Err(setting(&name, "has no command, or leaves a quote open")),
    }
}

/// Runs the process, without a shell, and reads its answer.
fn from_process(words: &[String]) -> Result<Keys, String> {
    let (program, args) = words.split_first().ok_or("it has no command")?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program:?}: {error}"))?;
    let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let started = Instant::now();
    let mut status = child.try_wait();
    while matches!(status, Ok(None)) && started.elapsed() < PROCESS_TIMEOUT {
        thread::sleep(Duration::from_millis(10));
        status = child.try_wait();
    }
    let Ok(Some(status)) = status else {
        // Whether it can be ended or not, there is nothing to be had from it.
        let _ = child.kill().and_then(|()| child.wait());
        return Err(format!("it wasn't done after {} s", PROCESS_TIMEOUT.as_secs()));
    };
    // Not for ever: a process that it left behind may hold the pipes open.
    let all = |pipe: mpsc::Receiver<_>| pipe.recv_timeout(Duration::from_secs(1));
    if !status.success() {
        let errors = all(errors).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        return Err(clean(&format!("{status}: {}", errors.trim().lines().last().unwrap_or(""))));
    }
    let keys = json(&all(output).map_err(|_| "it left its output open")?)?;
    match keys.version {
        Some(1) => Ok(keys),
        _ => Err("its answer lacks \"Version\": 1".to_owned()),
    }
}

/// Reads a pipe aside, so that a full one can't stop the process.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (done, all) = mpsc::channel();
    // Without a thread, the receiver finds the channel closed.
    let _ = thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        if pipe.is_none_or(|pipe| pipe.take(PROCESS_OUTPUT).read_to_end(&mut bytes).is_ok()) {
            let _ = done.send(bytes);
        }
    });
    all
}

fn json(text: &[u8]) -> Result<Keys, String> {
    serde_json::from_slice(text).map_err(|_| "its answer is not the JSON it should be".to_owned())
}

/// Reads a token that others write anew from time to time.
fn read_token(path: &Path) -> Result<String, String> {
    let place = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {place}: {error}"))?;
    in_header(&text).map_err(|problem| format!("{place}: {problem}"))
}

/// A token as a header can hold it, without the line end that it may have in a file.
fn in_header(token: &str) -> Result<String, &'static str> {
    let token = token.trim();
    match token.is_empty() || token.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        true => Err("the token is empty or has a character that none can have"),
        false => Ok(token.to_owned()),
    }
}

/// Credentials, if what goes into headers is fit for it.
fn checked(
    id: String,
    secret: String,
    token: Option<String>,
    ends: Option<SystemTime>,
) -> Result<Credentials, &'static str> {
    let token = token.filter(|token| !token.is_empty());
    let fit = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fit(&id) || secret.is_empty() || token.as_deref().is_some_and(|token| !fit(token)) {
        return Err("has a key that is empty or has a character that none can have");
    }
    Ok(Credentials { access_key: id, secret_key: secret, session_token: token, expires: ends })
}

/// How long these still hold: not at all if there are none, for ever without an expiry.
fn left(keys: Option<&Credentials>, now: SystemTime) -> Duration {
    match keys.map(|keys| keys.expires) {
        None => Duration::ZERO,
        Some(None) => Duration::MAX,
        Some(Some(ends)) => ends.duration_since(now).unwrap_or_default(),
    }
}

/// RFC 3339, with `Z` or with an offset, which some services send.
fn parse_time(text: &str) -> Option<SystemTime> {
    let seconds =
        u64::try_from(Timestamp::parse_rfc3339(text)?.nanos().div_euclid(1_000_000_000)).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// What a service answered in place of keys, with its error code if that looks like one.
fn refusal(status: u16, code: Option<String>) -> String {
    match code {
        Some(code) if code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            format!("it answered {code}")
        }
        _ => format!("it answered with status {status} and no keys"),
    }
}

/// Text from outside, fit for one line of a message.
fn clean(text: &str) -> String {
    text.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
