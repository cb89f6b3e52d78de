//! The bucket: listing the objects under the prefix of the run.

mod contents;
mod entry;
mod level;
mod listing;
mod one_object;
mod pages;
mod prefixes;
mod ranges;
#[cfg(test)]
mod simulated_store;

pub(crate) use contents::list_contents;
pub(crate) use listing::{Listing, list};
pub(crate) use one_object::{find_object, no_objects};
