//! The sources of credentials.

use std::{sync::Arc, time::SystemTime};

use crate::s3::{
    credentials::{
        access_keys::Credentials, container::Container, instance::Instance, process::Process,
        web_identity::WebIdentity,
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
    /// A service or command that returns keys, which may expire.
    Loader(Loader),
}

/// A service or command that returns keys.
pub(super) enum Loader {
    WebIdentity(WebIdentity),
    Process(Process),
    Container(Container),
    Instance(Instance),
}

impl NamedSource {
    pub(super) fn new(name: impl Into<String>, source: Source) -> NamedSource {
        NamedSource { name: name.into(), source }
    }

    pub(super) fn loader(name: impl Into<String>, loader: Loader) -> NamedSource {
        NamedSource::new(name, Source::Loader(loader))
    }
}

impl Loader {
    /// Gets credentials that are valid at `now`. The error is a message without a subject.
    pub(super) fn load(&self, fetch: &Fetch, now: SystemTime) -> Result<Credentials, String> {
        let reply = match self {
            Loader::WebIdentity(identity) => identity.load(fetch),
            Loader::Process(process) => process.load(),
            Loader::Container(container) => container.load(fetch),
            Loader::Instance(instance) => instance.load(fetch),
        };
        reply?.into_credentials(now)
    }

    /// Whether the user configured this source. The metadata service is tried without that, and
    /// this machine may not be an instance at all.
    pub(super) fn is_configured(&self) -> bool {
        !matches!(self, Loader::Instance(_))
    }
}
