//! Planning: which entries to transfer, delete, keep or skip. A dry run (`--mock`) prints the result.
//!
//! Everything here is a pure function of the entries of both sides and a [`Policy`](rule::Policy).
//! Pairs that size and time cannot decide are returned as undecided;
//! [`content`](crate::content) compares their contents later.

mod actions;
mod archived;
mod build;
mod doubt;
mod emptied;
mod excluded;
mod guards;
mod incomplete;
mod join;
mod left_out;
pub(crate) mod merge;
mod one_object;
mod overlap;
// The main type of this module has the name of the module.
#[allow(clippy::module_inception)]
mod plan;
mod planned;
pub(crate) mod protected;
pub(crate) mod rule;
#[cfg(test)]
mod rule_model;
mod selected;
mod spellings;
mod unreadable;
mod withheld;

pub use actions::{Deletion, Transfer, Withheld, WithheldReason};
pub(crate) use archived::{Archived, describe_archived};
pub(crate) use build::build;
pub use excluded::Excluded;
pub use guards::{Guards, MaxDelete};
pub(crate) use incomplete::Incomplete;
pub(crate) use one_object::{markers_of_one, select_one};
pub(crate) use plan::PlanScope;
pub use plan::{Plan, UnfinishedRestore};
pub use rule::Reason;
pub(crate) use selected::select;
pub(crate) use spellings::{Alike, Candidate, Spellings, describe_spellings};
pub(crate) use withheld::{Untransferred, withhold};
