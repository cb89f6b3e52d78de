//! Undecided pairs: size and time cannot decide, so the file is compared with the object's ETag. Only
//! local files are read.

use rayon::prelude::*;

use crate::{
    cancel::Cancel,
    content::{
        compare::{Comparison, compare_scanned},
        proof::Proof,
    },
    local::Root,
    plan::{Reason, Transfer},
};

/// For each undecided pair, why it has to be transferred, or `None` if the contents are the same.
///
/// A pair whose comparison is inconclusive or fails is transferred.
pub(crate) fn compare_contents(
    pool: &rayon::ThreadPool,
    root: &Root,
    undecided: &[Transfer],
    part_size: u64,
    cancel: &Cancel,
) -> Vec<Option<Reason>> {
    let reason = |pair: &Transfer| {
        let (Some(file), Some(object)) = (&pair.file, &pair.object) else {
            return Some(Reason::Doubt);
        };
        match compare_scanned(root, file, &Proof::of_etag(&object.etag), part_size, cancel) {
            Ok(Comparison::Same) => None,
            Ok(Comparison::Different) => Some(Reason::Content),
            Ok(Comparison::Unknown) | Err(_) => Some(Reason::Doubt),
        }
    };
    pool.install(|| undecided.par_iter().map(reason).collect())
}
