//! Publishing downloads: flushing them, then renaming them to their final names.

use std::io;

use crate::{
    error::{Cause, Error, Result},
    local::ParentCache,
    model::{attribute::Attribute, paths},
    transfer::{
        context::RunContext,
        job::{TransferResults, Unpublished},
        learn,
        steps::Transferred,
    },
};

/// Flushes a batch of complete downloads and renames them. Returns the result of each download, and
/// that of the flush.
///
/// The flush comes first, so that a file with its final name is complete even after a power
/// failure. If it fails, no file is renamed.
pub(super) fn publish(
    context: &RunContext,
    mut batch: Vec<Unpublished>,
) -> (TransferResults, Result<()>) {
    let flushed = context.flush();
    batch.sort_unstable_by(|a, b| a.transfer.path().cmp(b.transfer.path()));
    let results = match &flushed {
        Ok(()) => rename_batch(context, batch),
        Err(error) => discard_batch(context, batch, error),
    };
    (results, flushed)
}

/// Renames the files of a sorted batch, directory by directory.
fn rename_batch(context: &RunContext, batch: Vec<Unpublished>) -> TransferResults {
    let fail = |path: &str, cause| Error::new("download", path, cause);
    let mut results: TransferResults = Vec::with_capacity(batch.len());
    let mut batch = batch.into_iter().peekable();
    while let Some(file) = batch.peek() {
        let dir = parent_path(file).to_owned();
        let (first, mut cache) = (results.len(), ParentCache::default());
        let mut times = Vec::new();
        while let Some(file) = batch.next_if(|file| parent_path(file) == dir) {
            let Unpublished { transfer, complete, bytes, checked } = file;
            let modified = complete.modified;
            let result = match context.root.publish(&complete, &mut cache) {
                Ok(()) => Ok(Transferred {
                    unpreserved: complete.unpreserved,
                    ..Transferred::downloaded(bytes, checked, None)
                }),
                Err(cause) => Err(fail(transfer.path(), cause)),
            };
            times.push(modified);
            results.push((transfer, result));
        }
        if let Err(cause) = check_place(context, &cache) {
            for (transfer, result) in results[first..].iter_mut().filter(|(_, r)| r.is_ok()) {
                *result = Err(fail(transfer.path(), cause.clone()));
            }
        }
        for ((transfer, result), modified) in results[first..].iter_mut().zip(times) {
            if let Ok(done) = result {
                let is_listed = done.checked.has_listed_etag;
                let unkept = learn::downloaded(context, transfer, modified, is_listed, &mut cache);
                // It is known already if the time was not kept when it was set.
                let is_known = done.unpreserved.iter().any(|one| one.attribute == Attribute::Time);
                done.unpreserved.extend(unkept.filter(|_| !is_known));
            }
        }
    }
    results
}

/// Checks that the directory of the renamed files was not moved.
fn check_place(context: &RunContext, cache: &ParentCache) -> Result<(), Cause> {
    match context.root.is_in_place(cache) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Cause::Changed("its directory was moved during the run")),
        Err(error) => {
            let unknown = format!("cannot check whether its directory was moved: {error}");
            Err(io::Error::new(error.kind(), unknown).into())
        }
    }
}

fn discard_batch(context: &RunContext, batch: Vec<Unpublished>, error: &Error) -> TransferResults {
    let discard = |file: Unpublished| {
        context.root.discard(&file.complete);
        (file.transfer, Err(error.clone()))
    };
    batch.into_iter().map(discard).collect()
}

fn parent_path(file: &Unpublished) -> &str {
    paths::split(file.transfer.path()).0
}
