//! Comparing the content of a local file with an ETag, a checksum or the object itself.

mod archived;
mod compare;
mod evidence;
mod identify;
mod multipart_etag;
mod part_sums;
mod proof;
mod same_objects;
mod sink;
mod undecided;
mod unreadable;

pub(crate) use archived::remove_readable;
pub(crate) use compare::{Comparison, check_unchanged, compare, compare_scanned, open};
pub(crate) use evidence::Evidence;
pub(crate) use identify::identify;
pub(crate) use part_sums::PartSums;
pub(crate) use proof::Proof;
pub(crate) use same_objects::find_same_objects;
pub(crate) use sink::CompareSink;
pub(crate) use undecided::Comparer;
pub(crate) use unreadable::find_unreadable;
