//! The local directory: scanning it, and every access to its files.

mod directory_times;
mod file_state;
mod flush;
mod gone;
mod leftover;
mod links;
mod lock;
mod marker;
mod parent;
mod platform;
mod root;
mod scan;
mod snapshot;
mod temporary;

pub(crate) use file_state::{Expected, FileState};
pub(crate) use leftover::Leftover;
pub(crate) use marker::Marker;
pub(crate) use parent::ParentCache;
pub(crate) use platform::start_writeback;
pub(crate) use root::Root;
pub(crate) use scan::{FoundMarker, Scan, file_pool, scan};
pub(crate) use snapshot::Snapshot;
pub(crate) use temporary::{Complete, Temporary};
