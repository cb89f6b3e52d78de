//! The local directory: scanning it, and every access to its files.

mod root;
mod scan;

pub(crate) use root::{Complete, Expected, FileState, ParentCache, Root, Temporary, begin_writing};
pub(crate) use scan::{Scan, pool, scan};
