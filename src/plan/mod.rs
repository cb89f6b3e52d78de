//! Planning: which entries to transfer, delete, keep or skip. A mock run prints the result.
//!
//! Everything here is a pure function of the entries of both sides and a [`Policy`](rule::Policy).
//! Pairs that size and time cannot decide are returned as undecided;
//! [`content`](crate::content) compares their contents later.

mod build;
mod guards;
pub(crate) mod merge;
// The main type of this module has the name of the module.
#[allow(clippy::module_inception)]
mod plan;
mod protected;
pub(crate) mod rule;

pub(crate) use build::build;
pub use guards::{Guards, MaxDelete};
pub(crate) use plan::PlanScope;
pub use plan::{Deletion, Plan, Transfer};
pub use rule::Reason;
