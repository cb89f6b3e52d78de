//! Events and the report of a run.

mod attributes;
mod events;
pub mod exit;
// The main type of this module has the name of the module.
#[allow(clippy::module_inception)]
mod report;

pub use attributes::UnpreservedAttribute;
pub use events::{Event, Progress, Stage};
pub use report::{KEPT_FAILURES, Report};
