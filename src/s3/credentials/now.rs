//! The time by which the expiration of credentials is judged.

use std::time::SystemTime;

/// The time by which the expiration of credentials is judged.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub time: SystemTime,
    /// Whether this is the time of the server that checks the credentials. The local clock may be
    /// wrong. Until the server's clock is known, new credentials count as valid.
    pub is_certain: bool,
}

impl From<SystemTime> for Now {
    fn from(time: SystemTime) -> Now {
        Now { time, is_certain: true }
    }
}
