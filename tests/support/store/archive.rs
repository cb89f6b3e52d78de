//! Archived objects.

use std::time::{Duration, SystemTime};

use s3s::{S3Result, dto, s3_error};

/// The storage class of an object, and whether it can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    class: String,
    state: State,
    /// Whether listings contain the state, as those of AWS do on request.
    is_listed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// A class like any other.
    Readable,
    Archived,
    InProgress,
    Retrieved,
}

impl Archive {
    /// The object is archived: a GET is refused.
    pub fn new(class: &str) -> Archive {
        Archive { class: class.to_owned(), state: State::Archived, is_listed: false }
    }

    /// A storage class that makes no difference for a GET.
    pub fn readable(class: &str) -> Archive {
        Archive { state: State::Readable, ..Archive::new(class) }
    }

    /// The store is retrieving the object.
    pub fn in_progress(self) -> Archive {
        Archive { state: State::InProgress, ..self }
    }

    /// The store has retrieved the object: it can be read.
    pub fn retrieved(self) -> Archive {
        Archive { state: State::Retrieved, ..self }
    }

    /// Listings contain the state.
    pub fn listed(self) -> Archive {
        Archive { is_listed: true, ..self }
    }

    pub(super) fn check_read(&self) -> S3Result<()> {
        match self.state {
            State::Readable | State::Retrieved => Ok(()),
            State::Archived | State::InProgress => Err(s3_error!(
                InvalidObjectState,
                "The operation is not valid for the object's storage class"
            )),
        }
    }

    pub(super) fn listed_class(&self) -> dto::ObjectStorageClass {
        dto::ObjectStorageClass::from(self.class.clone())
    }

    pub(super) fn class(&self) -> dto::StorageClass {
        dto::StorageClass::from(self.class.clone())
    }

    pub(super) fn restore_status(&self) -> Option<dto::RestoreStatus> {
        let expiry = SystemTime::now() + Duration::from_secs(86_400);
        let status = |is_in_progress, expiry: Option<SystemTime>| dto::RestoreStatus {
            is_restore_in_progress: Some(is_in_progress),
            restore_expiry_date: expiry.map(Into::into),
        };
        match self.state {
            _ if !self.is_listed => None,
            State::InProgress => Some(status(true, None)),
            State::Retrieved => Some(status(false, Some(expiry))),
            State::Readable | State::Archived => None,
        }
    }

    /// The value of `x-amz-restore`.
    pub(super) fn restore(&self) -> Option<String> {
        match self.state {
            State::InProgress => Some("ongoing-request=\"true\"".to_owned()),
            State::Retrieved => {
                let expiry = "Fri, 21 Dec 2035 00:00:00 GMT";
                Some(format!("ongoing-request=\"false\", expiry-date=\"{expiry}\""))
            }
            State::Readable | State::Archived => None,
        }
    }
}
