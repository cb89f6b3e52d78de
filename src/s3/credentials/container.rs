//! The credentials endpoint of a container on ECS or EKS.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>

use std::path::PathBuf;

use url::{Host, Url};

use crate::{
    error::CredentialsError,
    s3::{
        credentials::{
            exchange::{exchange, request},
            reply::{Reply, refusal},
            validate,
        },
        env::Env,
        fetch::{Fetch, FetchReply},
    },
};

const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// The endpoint, and the token that authorizes the request.
pub(super) struct Container {
    url: Url,
    /// Takes precedence over `token`.
    token_file: Option<PathBuf>,
    token: Option<String>,
}

impl Container {
    /// The endpoint that the environment names.
    pub(super) fn from_env(env: &Env) -> Result<Option<Container>, CredentialsError> {
        let (name, url) = match (env.get(RELATIVE_URI), env.get(FULL_URI)) {
            (Some(path), _) => (RELATIVE_URI, format!("http://169.254.170.2{path}")),
            (None, Some(url)) => (FULL_URI, url.to_owned()),
            (None, None) => return Ok(None),
        };
        let Some(url) = Url::parse(&url).ok().filter(is_trusted) else {
            let problem = "must be an https URL, or an http URL of this machine, 169.254.170.2, \
                           169.254.170.23 or [fd00:ec2::23]";
            return Err(CredentialsError::setting(name, problem));
        };
        let token_file = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from);
        let token = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned);
        Ok(Some(Container { url, token_file, token }))
    }

    /// Requests the keys.
    pub(super) fn load(&self, fetch: &Fetch) -> Result<Reply, String> {
        let token = match (&self.token_file, &self.token) {
            (Some(file), _) => Some(validate::read_token(file)?),
            (None, Some(token)) => Some(validate::token(token)?),
            (None, None) => None,
        };
        let authorization = token.map(|token| ("authorization", token));
        match exchange(fetch, 3, &request("GET", self.url.as_str(), authorization, 2))? {
            FetchReply { status: 200, body, date } => {
                Ok(Reply::from_json(body.as_bytes())?.served_at(date))
            }
            FetchReply { status, .. } => Err(refusal(status, None)),
        }
    }
}

/// Whether this URL may receive a token and return keys: it is encrypted, or leads no farther than
/// to the host of the container. It must have no user part, because that can look like the host.
fn is_trusted(url: &Url) -> bool {
    let is_near = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || matches!(ip.octets(), [169, 254, 170, 2 | 23]),
        Some(Host::Ipv6(ip)) => {
            ip.is_loopback() || ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]
        }
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_encrypted = url.scheme() == "https" && url.has_host();
    (is_encrypted || url.scheme() == "http" && is_near)
        && url.username().is_empty()
        && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::s3::credentials::testing::{
        Home, WEB, at, check_harmless, count, keys_json, no_fetch, ok, recording, status,
    };

    fn container(env: &Env) -> Container {
        Container::from_env(env).unwrap().unwrap()
    }

    fn load(container: &Container, fetch: &Fetch) -> Result<String, String> {
        let keys = container.load(fetch)?.into_credentials(at(0))?;
        Ok(keys.access_key)
    }

    #[test]
    fn relative_uri_and_token_file_take_precedence() {
        let home = Home::new("");
        let env = Env::default()
            .set(RELATIVE_URI, "/v2/keys?id=1")
            .set(FULL_URI, "http://evil.example/")
            .set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic x")
            .set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", home.token_file());
        let (fetch, requests) = recording(|_| ok(keys_json("CONT", at(3600))));
        assert_eq!(load(&container(&env), &fetch).unwrap(), "CONT");
        let requests = requests.lock().unwrap();
        assert_eq!(requests[0].url, "http://169.254.170.2/v2/keys?id=1");
        assert_eq!(requests[0].headers, [("authorization", WEB.to_owned())]);
    }

    #[test]
    fn only_encrypted_or_local_urls_are_allowed() {
        let open = |name, url| Container::from_env(&Env::default().set(name, url)).map(drop);
        for url in [
            "https://keys.example/x",
            "http://127.0.0.1:9/x",
            "http://[::1]/x",
            "http://localhost/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            open(FULL_URI, url).unwrap();
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
            let text = check_harmless(&open(FULL_URI, url).unwrap_err());
            assert!(text.starts_with(&format!("{FULL_URI} must be an https URL")), "{text}");
        }
        for path in ["@evil.example/", ".evil.example/", "evil.example"] {
            open(RELATIVE_URI, path).unwrap_err();
        }
    }

    #[test]
    fn temporary_failure_is_retried_twice() {
        let container = container(&Env::default().set(RELATIVE_URI, "/keys"));
        let attempts = AtomicUsize::new(0);
        let (fetch, requests) = recording(move |_| match attempts.fetch_add(1, SeqCst) {
            0 => status(500),
            1 => Err("connection\nrefused".to_owned()),
            _ => ok(keys_json("THIRD", at(3600))),
        });
        assert_eq!(load(&container, &fetch).unwrap(), "THIRD");
        assert_eq!(count(&requests), 3);

        let (fetch, requests) = recording(|_| Err("connection\nrefused".to_owned()));
        assert_eq!(load(&container, &fetch).unwrap_err(), "connection refused");
        assert_eq!(count(&requests), 3);

        let (fetch, requests) = recording(|_| status(403));
        let text = check_harmless(&load(&container, &fetch).unwrap_err());
        assert!(text.contains("403"), "{text}");
        assert_eq!(count(&requests), 1);
    }

    #[test]
    fn token_with_a_line_break_is_not_sent() {
        let env = Env::default()
            .set(RELATIVE_URI, "/k")
            .set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\r\nb: c");
        let text = load(&container(&env), &no_fetch).unwrap_err();
        assert!(text.contains("the token"), "{text}");
    }
}
