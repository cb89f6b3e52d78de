//! The record: for each path, the state of the file and the ETag of the object that were last known
//! to hold the same content.
//!
//! A record makes comparing contents unnecessary. It is never needed: without one, contents are
//! compared. A record that is damaged, or that belongs to another directory or bucket, counts as
//! none.
//!
//! One file holds the entries in tree order. A run reads it once, while it merges both sides. It
//! writes a new one at the end: the entries that it kept, and what it learned. Several runs may use
//! one record. The last one that ends replaces it, which loses only what the others learned.

mod entry;
mod facts;
mod format;
mod location;
// The main type of this module has the name of the module.
#[allow(clippy::module_inception)]
mod record;

pub(crate) use entry::{Known, Recorded, RecordedState};
pub(crate) use facts::Facts;
pub(crate) use location::{Location, RecordScope};
pub(crate) use record::Record;
