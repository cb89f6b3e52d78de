//! The local directory: scanning it, and every access to its files.

mod access_control;
mod acl;
mod directory_times;
mod file_state;
mod flush;
mod gone;
mod hidden_content;
mod leftover;
mod links;
mod lock;
mod marker;
mod parent;
mod permission;
mod platform;
mod reading;
mod refused;
mod replacement;
mod root;
mod same_entry;
mod scan;
mod settle;
mod snapshot;
mod temporary;
mod times;
mod umask;

pub(crate) use access_control::AccessSource;
pub(crate) use file_state::{Expected, FileState};
pub(crate) use hidden_content::{HIDDEN_CONTENT, has_hidden_content};
pub(crate) use leftover::Leftover;
pub(crate) use lock::Lock;
pub(crate) use marker::Marker;
pub(crate) use parent::ParentCache;
pub(crate) use platform::{release_space, reserve_space, start_writeback};
pub(crate) use reading::{Preparation, Prepared, wait_for_next_tick};
#[cfg(test)]
pub(crate) use reading::{is_recent, time_until_next_tick};
pub(crate) use root::Root;
pub(crate) use same_entry::RealNames;
pub(crate) use scan::{FoundMarker, Scan, ScanOptions, Unread, file_pool};
pub(crate) use settle::scan;
pub(crate) use snapshot::Snapshot;
pub(crate) use temporary::{Complete, Temporary};
pub(crate) use times::{is_kept, unkept};
pub(crate) use umask::umask;
