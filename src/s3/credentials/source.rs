//! The sources of credentials.

use std::sync::{Arc, Mutex, PoisonError};

use crate::s3::{
    credentials::{
        access_keys::Credentials, container::Container, file_keys::FileKeys, instance::Instance,
        now::Now, process::Process, role::Role, sso::Sso, web_identity::WebIdentity,
    },
    fetch::Fetch,
};

/// A source of credentials, and its name for messages.
pub(super) struct NamedSource {
    pub name: String,
    pub source: Source,
}

/// A source of credentials.
pub(super) enum Source {
    /// None: requests are not signed.
    Unsigned,
    /// Keys that never change.
    Static(Arc<Credentials>),
    /// Keys in a file. They do not expire, as far as s3keep knows, but another program may replace
    /// them.
    File(Arc<Credentials>, FileKeys),
    /// A service or command that returns keys, which may expire.
    Loader(Loader),
}

/// A service or command that returns keys.
pub(super) enum Loader {
    WebIdentity(WebIdentity),
    Process(Process),
    Container(Container),
    Instance(Instance),
    /// A role of IAM Identity Center (SSO). The command is used while there is no valid token.
    Sso {
        sso: Sso,
        command: Option<Process>,
    },
    /// A role that the keys of another source assume.
    Role {
        role: Role,
        source: Box<NamedSource>,
        /// The last keys of the source, in case it cannot provide new ones.
        last_keys: Mutex<Option<Arc<Credentials>>>,
    },
}

impl NamedSource {
    pub(super) fn new(name: impl Into<String>, source: Source) -> NamedSource {
        NamedSource { name: name.into(), source }
    }

    pub(super) fn loader(name: impl Into<String>, loader: Loader) -> NamedSource {
        NamedSource::new(name, Source::Loader(loader))
    }

    pub(super) fn container(container: Container) -> NamedSource {
        NamedSource::loader("container", Loader::Container(container))
    }

    pub(super) fn instance(instance: Instance) -> NamedSource {
        NamedSource::loader("instance metadata", Loader::Instance(instance))
    }

    /// The keys of this source as of now.
    fn load(&self, fetch: &Fetch, now: Now) -> Result<Arc<Credentials>, String> {
        match &self.source {
            Source::Unsigned => Err("it has no keys".to_owned()),
            Source::Static(keys) => Ok(Arc::clone(keys)),
            Source::File(keys, file) => Ok(file.reload().unwrap_or_else(|| Arc::clone(keys))),
            Source::Loader(loader) => loader
                .load(fetch, now)
                .map(Arc::new)
                .map_err(|problem| format!("{}: {problem}", self.name)),
        }
    }
}

impl Loader {
    /// Gets credentials that are valid at `now`. The error is a message without a subject.
    ///
    /// Those of an instance may have expired: its metadata service may be unable to get new ones.
    pub(super) fn load(&self, fetch: &Fetch, now: Now) -> Result<Credentials, String> {
        let reply = match self {
            Loader::WebIdentity(identity) => identity.load(fetch),
            Loader::Process(process) => process.load(),
            Loader::Container(container) => container.load(fetch),
            Loader::Instance(instance) => return instance.load(fetch)?.into_keys(),
            Loader::Sso { sso, command: None } => sso.load(fetch, now.time),
            Loader::Sso { sso, command: Some(command) } => match sso.load(fetch, now.time) {
                Ok(reply) => Ok(reply),
                Err(problem) => command
                    .load()
                    .map_err(|error| format!("{problem}; its credential_process: {error}")),
            },
            Loader::Role { role, source, last_keys } => {
                let mut last_keys = last_keys.lock().unwrap_or_else(PoisonError::into_inner);
                let keys = match (source.load(fetch, now), &*last_keys) {
                    (Ok(keys), _) => keys,
                    (Err(_), Some(keys)) => Arc::clone(keys),
                    (Err(problem), None) => return Err(problem),
                };
                *last_keys = Some(Arc::clone(&keys));
                role.load(&keys, fetch, now.time)
            }
        };
        reply?.into_credentials(now)
    }

    /// Whether the user configured this source. The metadata service is tried without that, and
    /// this machine may not be an instance at all.
    pub(super) fn is_configured(&self) -> bool {
        !self.is_instance()
    }

    /// Whether this is the metadata service of an instance.
    pub(super) fn is_instance(&self) -> bool {
        matches!(self, Loader::Instance(_))
    }
}
