//! The bucket: listing the objects under the prefix of the run.

mod entry;
mod listing;
mod pages;
mod prefixes;
mod ranges;
#[cfg(test)]
mod simulated_store;

pub(crate) use listing::{Listing, list};
