//! Settling doubts: where size and time can't tell whether a file and an object are the same, the
//! file's content is held against the object's ETag. Only local files are read.

use rayon::prelude::*;

use crate::{
    cancel::Cancel,
    content::{self, Answer, Proof},
    plan::{Reason, Transfer},
    root::{Root, State},
};

/// For each doubtful pair, why it has to be transferred, or `None` where the content is the same.
/// What can't be told is transferred.
pub(crate) fn settle(
    pool: &rayon::ThreadPool,
    root: &Root,
    doubtful: &[Transfer],
    part_size: u64,
    cancel: &Cancel,
) -> Vec<Option<Reason>> {
    let ask = |pair: &Transfer| match content_of(root, pair, part_size, cancel) {
        Some(Answer::Same) => None,
        Some(Answer::Different) => Some(Reason::Content),
        Some(Answer::Unknown) | None => Some(Reason::Doubt),
    };
    pool.install(|| doubtful.par_iter().map(ask).collect())
}

fn content_of(root: &Root, pair: &Transfer, part_size: u64, cancel: &Cancel) -> Option<Answer> {
    let (file, object) = (pair.file.as_ref()?, pair.object.as_ref()?);
    let seen = State::seen(file);
    let (open, _) = root.read(file.source()).ok()?;
    let proof = Proof::of_etag(&object.etag);
    let answer = content::compare(&open, file.size, &proof, part_size, cancel).ok()?;
    (State::of(&open).ok()? == seen).then_some(answer)
}
