//! The credentials of a client: cached, and renewed before they expire.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError},
    time::{Duration, Instant, SystemTime},
};

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            access_keys::Credentials,
            chain,
            now::Now,
            source::{Loader, NamedSource, Source},
        },
        env::Env,
        fetch::Fetch,
        profile::Profile,
    },
};

/// When credentials expire within this time, one thread renews them. The others keep using them.
const ADVISORY_REFRESH: Duration = Duration::from_secs(5 * 60);

/// When credentials expire within this time, every thread waits for new ones.
const MANDATORY_REFRESH: Duration = Duration::from_secs(60);

/// How long the outcome of a renewal is valid. The threads that waited for it share it, and a
/// source that has only short-lived keys is not used for every request.
const OUTCOME_LIFETIME: Duration = Duration::from_secs(10);

/// How long keys are used beyond their expiration before their source is tried again, in seconds.
/// The clients of many instances must not do so at the same time.
const EXTENSION: Range<u64> = 5 * 60..10 * 60;

/// The credentials of one client. One thread at a time loads them from their source.
pub(crate) struct Provider {
    source: Source,
    /// The name of the source.
    name: String,
    /// All sources, for an error message.
    looked_in: String,
    fetch: Box<Fetch>,
    cached: RwLock<Option<Arc<Credentials>>>,
    /// The last renewal. Locked during a renewal.
    renewal: Mutex<Option<Renewal>>,
}

struct Renewal {
    outcome: Result<(), CredentialsError>,
    /// When the outcome is valid. Limited at both ends: otherwise, if the clock is set back, the
    /// outcome would be valid for hours.
    valid: Range<SystemTime>,
}

impl Renewal {
    fn new(outcome: Result<(), CredentialsError>, started: SystemTime, took: Duration) -> Renewal {
        let start = started.checked_sub(OUTCOME_LIFETIME).unwrap_or(started);
        let end = started.checked_add(took + OUTCOME_LIFETIME).unwrap_or(started);
        Renewal { outcome, valid: start..end }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.name).finish()
    }
}

impl Provider {
    /// Chooses the source. Nothing is fetched or run yet. `region` is for a web identity, which has
    /// regional endpoints; if it is empty, the global endpoint is used.
    ///
    /// # Errors
    /// No source is configured, or one is configured wrongly.
    pub(crate) fn new(
        env: &Env,
        profile: &Profile,
        region: &str,
        unsigned: bool,
        fetch: Box<Fetch>,
    ) -> Result<Provider, CredentialsError> {
        let looked_in = chain::describe(env, profile);
        match chain::find(env, profile, region, unsigned)? {
            None => Err(CredentialsError::NotFound { looked_in }),
            Some(NamedSource { name, source }) => Ok(Provider {
                source,
                name,
                looked_in,
                fetch,
                cached: RwLock::default(),
                renewal: Mutex::default(),
            }),
        }
    }

    /// The credentials that requests were last signed with, to keep them out of messages.
    pub(crate) fn last_used(&self) -> Option<Arc<Credentials>> {
        match &self.source {
            Source::Unsigned => None,
            Source::Static(keys) => Some(Arc::clone(keys)),
            Source::File(keys, _) => Some(self.cached().unwrap_or_else(|| Arc::clone(keys))),
            Source::Loader(_) => self.cached(),
        }
    }

    /// The credentials to sign a request with at `now`. `None` if requests are not signed.
    ///
    /// To be called for every request: this is cheap unless the credentials expire soon. Then one
    /// caller renews them.
    ///
    /// The metadata service of an instance may be unable to provide new keys. The old ones are then
    /// used beyond their expiration, as by the AWS SDKs: AWS may still accept them.
    ///
    /// # Errors
    /// There are no credentials, or they expire within a minute and cannot be renewed.
    pub(crate) fn get(
        &self,
        now: impl Into<Now>,
    ) -> Result<Option<Arc<Credentials>>, CredentialsError> {
        let now = now.into();
        let loader = match &self.source {
            Source::Unsigned => return Ok(None),
            Source::Static(keys) => return Ok(Some(Arc::clone(keys))),
            Source::File(keys, _) => {
                return Ok(Some(self.cached().unwrap_or_else(|| Arc::clone(keys))));
            }
            Source::Loader(loader) => loader,
        };
        let seen = self.cached();
        let remaining = remaining(seen.as_deref(), now.time);
        if remaining > ADVISORY_REFRESH {
            return Ok(seen);
        }
        let is_mandatory = remaining <= MANDATORY_REFRESH;
        let mut last = match self.renewal.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) if is_mandatory => self.lock_renewal(),
            Err(TryLockError::WouldBlock) => return Ok(seen),
        };
        match self.renew(loader, &mut last, seen.as_ref(), now, Reason::Expiration) {
            Ok(()) => Ok(self.cached()),
            Err(_) if !is_mandatory => Ok(seen),
            Err(error) => Err(error),
        }
    }

    /// Replaces credentials that the server refused as expired or invalid, unless another thread
    /// already has. Returns `false` if the source has no others.
    ///
    /// # Errors
    /// A source other than a file returned no credentials, or the same ones again.
    pub(crate) fn refresh(
        &self,
        refused: &Arc<Credentials>,
        now: impl Into<Now>,
    ) -> Result<bool, CredentialsError> {
        let now = now.into();
        let loader = match &self.source {
            Source::Unsigned | Source::Static(_) => return Ok(false),
            Source::File(first, file) => {
                let _renewal = self.lock_renewal();
                let seen = self.cached().unwrap_or_else(|| Arc::clone(first));
                if !seen.has_same_keys(refused) {
                    return Ok(true);
                }
                let Some(keys) = file.reload() else { return Ok(false) };
                let has_others = !keys.has_same_keys(refused);
                self.store(keys);
                return Ok(has_others);
            }
            Source::Loader(loader) => loader,
        };
        let mut last = self.lock_renewal();
        // A recent failure is still valid. A recent success is not: the server refuses its result.
        *last = last.take().filter(|last| last.outcome.is_err());
        self.renew(loader, &mut last, Some(refused), now, Reason::Refusal)?;
        if !self.cached().is_some_and(|keys| keys.has_same_keys(refused)) {
            return Ok(true);
        }
        let problem = "it returned the same keys again, which the server refuses; \
                       renew the keys of this source";
        let error = self.failed(problem.to_owned());
        *last = Some(Renewal::new(Err(error.clone()), now.time, Duration::ZERO));
        Err(error)
    }

    /// Loads credentials, unless another thread has replaced those that were `seen`, or the last
    /// outcome is still valid.
    fn renew(
        &self,
        loader: &Loader,
        last: &mut Option<Renewal>,
        seen: Option<&Arc<Credentials>>,
        now: Now,
        reason: Reason,
    ) -> Result<(), CredentialsError> {
        let cached = self.cached();
        let left = remaining(cached.as_deref(), now.time);
        let is_usable = !left.is_zero() || cached.is_some() && !now.is_certain;
        if is_usable && cached.as_ref().map(Arc::as_ptr) != seen.map(Arc::as_ptr) {
            return Ok(());
        }
        if let Some(last) = last
            && last.valid.contains(&now.time)
            && (is_usable || last.outcome.is_err())
        {
            return last.outcome.clone();
        }
        let started = Instant::now();
        let outcome = match (loader.load(&*self.fetch, now), &cached) {
            (Ok(keys), _) => {
                let is_old = remaining(Some(&keys), now.time) <= MANDATORY_REFRESH;
                let keys = if loader.is_instance() && is_old { extend(keys, now) } else { keys };
                self.store(Arc::new(keys));
                Ok(())
            }
            (Err(_), Some(old))
                if loader.is_instance()
                    && reason == Reason::Expiration
                    && (old.is_extended || left <= MANDATORY_REFRESH) =>
            {
                self.store(Arc::new(extend(Credentials::clone(old), now)));
                Ok(())
            }
            (Err(problem), None) if !loader.is_configured() => {
                let looked_in = format!("{}: {problem}", self.looked_in);
                Err(CredentialsError::NotFound { looked_in })
            }
            (Err(problem), _) => Err(self.failed(problem)),
        };
        *last = Some(Renewal::new(outcome.clone(), now.time, started.elapsed()));
        outcome
    }

    fn store(&self, keys: Arc<Credentials>) {
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
    }

    fn cached(&self) -> Option<Arc<Credentials>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock_renewal(&self) -> MutexGuard<'_, Option<Renewal>> {
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, problem: String) -> CredentialsError {
        CredentialsError::Failed { place: self.name.clone(), problem }
    }
}

/// Why credentials are renewed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// They expire soon.
    Expiration,
    /// The server refused them.
    Refusal,
}

/// The same keys, used beyond their expiration until the source is tried again.
fn extend(keys: Credentials, now: Now) -> Credentials {
    let pause = ADVISORY_REFRESH + Duration::from_secs(fastrand::u64(EXTENSION));
    Credentials { expires: now.time.checked_add(pause), is_extended: true, ..keys }
}

/// How long credentials remain valid: forever without an expiration, zero if there are none.
fn remaining(keys: Option<&Credentials>, now: SystemTime) -> Duration {
    match keys.map(|keys| keys.expires) {
        None => Duration::ZERO,
        Some(None) => Duration::MAX,
        Some(Some(expires)) => expires.duration_since(now).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
    };

    use super::*;
    use crate::s3::{
        credentials::testing::{
            Home, Requests, SECRET, at, check_harmless, count, keys_json, metadata_service,
            no_fetch, ok, recording, status,
        },
        fetch::FetchReply,
    };

    const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

    fn open(home: &Home, fetch: Box<Fetch>) -> Result<Provider, CredentialsError> {
        Provider::new(&home.env, &home.profile(None), "eu-west-1", false, fetch)
    }

    /// A provider for a container, which responds to its n-th request with `respond(n)`.
    fn container(
        respond: impl Fn(usize) -> Result<FetchReply, String> + Send + Sync + 'static,
    ) -> (Provider, Requests) {
        let count = AtomicUsize::new(0);
        let (fetch, requests) = recording(move |_| respond(count.fetch_add(1, SeqCst)));
        (open(&Home::new("").set(RELATIVE_URI, "/keys"), fetch).unwrap(), requests)
    }

    fn access_key(provider: &Provider, now: SystemTime) -> String {
        provider.get(now).unwrap().unwrap().access_key.clone()
    }

    fn fails(provider: &Provider, now: SystemTime) -> String {
        check_harmless(&provider.get(now).unwrap_err())
    }

    #[test]
    fn static_keys_need_no_request_and_are_never_refreshed() {
        let home = Home::new("")
            .set("AWS_ACCESS_KEY_ID", "ENVKEY")
            .set("AWS_SECRET_ACCESS_KEY", "envsecret\r\n");
        let provider = open(&home, Box::new(no_fetch)).unwrap();
        let keys = provider.get(at(0)).unwrap().unwrap();
        assert_eq!((&*keys.access_key, &*keys.secret_key), ("ENVKEY", "envsecret"));
        assert!(!provider.refresh(&keys, at(0)).unwrap());
        let debug = format!("{provider:?}{keys:?}");
        assert!(debug.contains("environment") && !debug.contains("envsecret"), "{debug}");
    }

    #[test]
    fn unsigned_needs_no_credentials() {
        let home = Home::new("").set("AWS_ACCESS_KEY_ID", "half");
        let profile = home.profile(None);
        let provider = Provider::new(&home.env, &profile, "", true, Box::new(no_fetch)).unwrap();
        assert!(provider.get(at(0)).unwrap().is_none());
    }

    #[test]
    fn failure_names_the_source() {
        let (provider, _) = container(|_| Err("connection\nrefused".to_owned()));
        let text = fails(&provider, at(0));
        assert_eq!(text, "cannot get credentials from container: connection refused");
    }

    #[test]
    fn missing_credentials_are_reported_with_all_sources() {
        let home = Home::new("");
        for roles in ["", "\n", "../../../user-data", "a/b", "a?b"] {
            let text = fails(&open(&home, metadata_service(roles).0).unwrap(), at(0));
            assert!(text.starts_with("no credentials found: set AWS_ACCESS_KEY_ID"), "{text}");
        }
        let (fetch, requests) = recording(|_| Err("no route".to_owned()));
        let text = fails(&open(&home, fetch).unwrap(), at(0));
        assert!(text.contains("--profile") && text.contains("--unsigned"), "{text}");
        let credentials = home.path(".aws/credentials");
        assert!(text.contains(credentials.to_str().unwrap()), "{text}");
        assert!(text.ends_with("instance metadata: no route)"), "{text}");
        assert_eq!(count(&requests), 2);

        let home = home.set("AWS_EC2_METADATA_DISABLED", "TRUE");
        let text = check_harmless(&open(&home, Box::new(no_fetch)).unwrap_err());
        let end = "instance metadata (disabled by AWS_EC2_METADATA_DISABLED))";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn process_without_an_expiration_is_run_once() {
        use std::fs;
        let output =
            r#"{"Version":1,"AccessKeyId":"PROC","SecretAccessKey":"s","SessionToken":null}"#;
        let home = Home::new("");
        let (log, script) = (home.path("log"), home.path("script"));
        fs::write(&script, format!("echo x >> '{}'; echo '{output}'", log.display())).unwrap();
        let config = format!("[default]\ncredential_process = sh {}", script.display());
        fs::write(home.path(".aws/config"), config).unwrap();
        let provider = open(&home, Box::new(no_fetch)).unwrap();
        for hour in 0..3 {
            assert_eq!(access_key(&provider, at(hour * 3600)), "PROC");
        }
        assert_eq!(fs::read_to_string(log).unwrap(), "x\n");
    }

    #[test]
    fn credentials_are_renewed_in_their_last_five_minutes() {
        let (provider, requests) =
            container(|n| ok(keys_json(&format!("K{n}"), at(3600 * (n as u64 + 1)))));
        assert_eq!(access_key(&provider, at(0)), "K0");
        assert_eq!(access_key(&provider, at(3299)), "K0");
        assert_eq!(count(&requests), 1);
        assert_eq!(access_key(&provider, at(3300)), "K1");
        assert_eq!(access_key(&provider, at(3301)), "K1");
        assert_eq!(count(&requests), 2);
    }

    #[test]
    fn early_renewal_that_fails_leaves_the_old_credentials_in_use() {
        let (provider, requests) = container(|n| match n {
            0 => ok(keys_json("OLD", at(3600))),
            1..=3 => status(403),
            _ => ok(keys_json("NEW", at(7200))),
        });
        assert_eq!(access_key(&provider, at(0)), "OLD");
        assert_eq!(access_key(&provider, at(3300)), "OLD");
        // There is no new attempt for every request.
        assert_eq!(access_key(&provider, at(3305)), "OLD");
        assert_eq!(count(&requests), 2);
        assert_eq!(access_key(&provider, at(3539)), "OLD");
        assert_eq!(count(&requests), 3);
        // The renewal is mandatory now. The last failure is still valid.
        fails(&provider, at(3540));
        assert_eq!(count(&requests), 3);
        fails(&provider, at(3551));
        assert_eq!(count(&requests), 4);
        assert_eq!(access_key(&provider, at(3570)), "NEW");
    }

    #[test]
    fn short_lived_keys_are_not_loaded_for_every_request() {
        let (provider, requests) =
            container(|n| ok(keys_json(&format!("K{n}"), at(30 + n as u64))));
        for second in 0..10 {
            assert_eq!(access_key(&provider, at(second)), "K0");
        }
        assert_eq!(count(&requests), 1);
        assert_eq!(access_key(&provider, at(20)), "K1");
    }

    #[test]
    fn failure_is_forgotten_if_the_clock_is_set_back() {
        let (provider, requests) =
            container(|n| if n == 0 { status(403) } else { ok(keys_json("K", at(9000))) });
        fails(&provider, at(5000));
        assert_eq!(access_key(&provider, at(0)), "K");
        assert_eq!(count(&requests), 2);
    }

    #[test]
    fn many_threads_share_one_renewal() {
        let returned = Arc::new(AtomicUsize::new(0));
        let others = Arc::clone(&returned);
        let (provider, requests) = container(move |n| {
            // The second renewal ends only after all other threads have returned.
            let deadline = Instant::now() + Duration::from_secs(20);
            while n == 1 && others.load(SeqCst) < 31 {
                assert!(Instant::now() < deadline, "the other threads wait");
                thread::sleep(Duration::from_millis(1));
            }
            match n {
                0 | 1 => ok(keys_json(&format!("K{n}"), at(3600 * (n as u64 + 1)))),
                _ => status(403),
            }
        });
        let get_in_all_threads = |now| {
            let get = || {
                let keys = provider.get(now);
                returned.fetch_add(1, SeqCst);
                keys.map(|keys| keys.unwrap().access_key.clone()).ok()
            };
            returned.store(0, SeqCst);
            thread::scope(|scope| {
                let threads: Vec<_> = (0..32).map(|_| scope.spawn(get)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            })
        };
        assert!(get_in_all_threads(at(0)).iter().all(|key| key.as_deref() == Some("K0")));
        assert_eq!(count(&requests), 1);
        // Early: one thread renews, and the others do not wait for it.
        let keys = get_in_all_threads(at(3400));
        assert_eq!(keys.iter().filter(|key| key.as_deref() == Some("K0")).count(), 31);
        assert_eq!(count(&requests), 2);
        // Late, and the renewal fails: all threads get the error of one attempt.
        assert!(get_in_all_threads(at(7190)).iter().all(Option::is_none));
        assert_eq!(count(&requests), 3);
    }

    #[test]
    fn refused_keys_are_replaced_once() {
        let (provider, requests) = container(|n| match n {
            0 | 1 => ok(keys_json(&format!("K{n}"), at(3600))),
            _ => ok(keys_json("K1", at(3600))),
        });
        let first = provider.get(at(0)).unwrap().unwrap();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert!(provider.refresh(&first, at(1)).unwrap()));
            }
        });
        assert_eq!(count(&requests), 2);
        let second = provider.get(at(2)).unwrap().unwrap();
        assert_eq!(second.access_key, "K1");
        assert_eq!(second.secret_key, SECRET);
        // The source returns the same keys again. This error is valid for a while, too.
        for _ in 0..3 {
            let text = check_harmless(&provider.refresh(&second, at(3)).unwrap_err());
            assert!(text.contains("the server refuses"), "{text}");
        }
        assert_eq!(count(&requests), 3);
    }

    /// A provider for an instance, whose metadata service returns keys, or fails, by `respond(n)`.
    fn instance(
        respond: impl Fn(usize) -> Option<(String, SystemTime)> + Send + Sync + 'static,
    ) -> (Provider, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let log = Arc::clone(&count);
        let (fetch, _) = recording(move |request| {
            if request.method == "PUT" {
                return ok("IMDSTOKEN");
            }
            if request.url.ends_with("security-credentials/") {
                return ok("role");
            }
            match respond(log.fetch_add(1, SeqCst)) {
                Some((key, expires)) => ok(keys_json(&key, expires)),
                None => status(404),
            }
        });
        (open(&Home::new(""), fetch).unwrap(), count)
    }

    #[test]
    fn instance_keys_are_used_beyond_their_expiration_if_there_are_no_new_ones() {
        for returns_old_keys in [false, true] {
            let (provider, loads) = instance(move |n| match n {
                0 => Some(("OLD".to_owned(), at(3600))),
                1..=3 => returns_old_keys.then(|| ("OLD".to_owned(), at(3600))),
                _ => Some(("NEW".to_owned(), at(20_000))),
            });
            assert_eq!(access_key(&provider, at(0)), "OLD");
            assert_eq!(access_key(&provider, at(3600)), "OLD");
            assert_eq!(loads.load(SeqCst), 2);
            // The next attempts follow after 5 to 10 minutes each.
            for second in 3601..3600 + 300 {
                assert_eq!(access_key(&provider, at(second)), "OLD");
            }
            assert_eq!(loads.load(SeqCst), 2);
            assert_eq!(access_key(&provider, at(3600 + 600)), "OLD");
            assert_eq!(loads.load(SeqCst), 3);
            for second in 4201..4200 + 300 {
                assert_eq!(access_key(&provider, at(second)), "OLD");
            }
            assert_eq!(loads.load(SeqCst), 3);
            assert_eq!(access_key(&provider, at(4200 + 600)), "OLD");
            assert_eq!(access_key(&provider, at(4800 + 600)), "NEW");
            assert_eq!(access_key(&provider, at(4800 + 601)), "NEW");
            assert_eq!(loads.load(SeqCst), 5);
        }
    }

    #[test]
    fn first_keys_of_an_instance_may_have_expired() {
        let (provider, loads) = instance(|n| match n {
            0 => Some(("OLD".to_owned(), at(0))),
            _ => Some(("NEW".to_owned(), at(9000))),
        });
        assert_eq!(access_key(&provider, at(10)), "OLD");
        assert_eq!(access_key(&provider, at(20)), "OLD");
        assert_eq!(loads.load(SeqCst), 1);
        assert_eq!(access_key(&provider, at(620)), "NEW");
    }

    #[test]
    fn expired_instance_keys_that_the_server_refuses_are_not_used_again() {
        let (provider, loads) = instance(|n| (n == 0).then(|| ("OLD".to_owned(), at(3600))));
        provider.get(at(0)).unwrap();
        let old = provider.get(at(3600)).unwrap().unwrap();
        assert_eq!(loads.load(SeqCst), 2);
        let text = check_harmless(&provider.refresh(&old, at(3601)).map(drop).unwrap_err());
        assert!(text.starts_with("cannot get credentials from instance metadata"), "{text}");
        // The keys are still there, but each refusal is reported.
        provider.refresh(&old, at(3602)).unwrap_err();
        assert_eq!(loads.load(SeqCst), 3);
    }

    #[test]
    fn new_keys_count_as_valid_until_the_clock_of_the_server_is_known() {
        let (provider, requests) = container(|n| ok(keys_json(&format!("K{n}"), at(3600))));
        let key = |seconds, is_certain| {
            let now = Now { time: at(seconds), is_certain };
            provider.get(now).map(|keys| keys.unwrap().access_key.clone())
        };
        // The local clock is two hours ahead.
        assert_eq!(key(7200, false).unwrap(), "K0");
        assert_eq!(key(7201, false).unwrap(), "K0");
        assert_eq!(count(&requests), 1);
        assert_eq!(key(2, true).unwrap(), "K0");
        assert_eq!(count(&requests), 1);
        key(7200, true).unwrap_err();
    }

    #[test]
    fn keys_that_another_program_replaced_are_read_again() {
        use std::fs;
        let home = Home::new("");
        let write = |key: &str| {
            let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n");
            fs::write(home.path(".aws/credentials"), text).unwrap();
        };
        write("OLD");
        let provider = open(&home, Box::new(no_fetch)).unwrap();
        let old = provider.get(at(0)).unwrap().unwrap();
        assert_eq!(old.access_key, "OLD");
        assert!(!provider.refresh(&old, at(0)).unwrap());
        // While the file cannot be understood, the old keys remain.
        fs::write(home.path(".aws/credentials"), "[defau").unwrap();
        assert!(!provider.refresh(&old, at(0)).unwrap());
        write("NEW");
        assert_eq!(access_key(&provider, at(1)), "OLD");
        for _ in 0..2 {
            assert!(provider.refresh(&old, at(2)).unwrap());
            assert_eq!(access_key(&provider, at(2)), "NEW");
        }
        let new = provider.get(at(3)).unwrap().unwrap();
        assert!(!provider.refresh(&new, at(3)).unwrap());
    }
}
