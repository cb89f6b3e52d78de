//! Executing jobs, on worker threads.

use std::sync::Arc;

use crate::{
    error::{Cause, Error},
    local::ParentCache,
    plan::Transfer,
    transfer::{
        context::RunContext,
        job::{Job, Outcome, Started},
        publish::publish,
        steps::Steps,
    },
};

/// Executes a job.
pub(super) fn execute<S: Steps>(
    context: &RunContext,
    steps: &S,
    job: Job<S::Handle>,
) -> Outcome<S::Handle> {
    match job {
        Job::Small(transfers) => execute_small(steps, transfers),
        Job::Start { id, transfer } => {
            let started = |handle| {
                let part_count = steps.part_count(&handle);
                Started { handle: Arc::new(handle), part_count }
            };
            Outcome::Started { id, result: steps.start(&transfer).map(started) }
        }
        Job::Part { id, handle, index, bytes } => {
            Outcome::Part { id, bytes, result: steps.part(&handle, index) }
        }
        Job::Complete { id, handle } => Outcome::Completed { id, result: steps.complete(&handle) },
        Job::Abort { id, handle, error } => {
            Outcome::Aborted { id, error, result: steps.abort(&handle) }
        }
        Job::Publish(batch) => {
            let (results, flushed) = publish(context, batch);
            Outcome::Published { results, flushed }
        }
    }
}

/// Transfers small objects until one fails with an error that would repeat for the others.
fn execute_small<S: Steps>(steps: &S, transfers: Vec<Transfer>) -> Outcome<S::Handle> {
    let mut results = Vec::with_capacity(transfers.len());
    let mut transfers = transfers.into_iter();
    let mut cache = ParentCache::default();
    for transfer in transfers.by_ref() {
        let result = steps.small(&transfer, &mut cache);
        let stop = result.as_ref().is_err_and(would_repeat);
        results.push((transfer, result));
        if stop {
            break;
        }
    }
    Outcome::Small { results, untried: transfers.collect() }
}

/// Whether the next object would fail in the same way: the run ends, or the server is unreachable
/// or throttles.
fn would_repeat(error: &Error) -> bool {
    let cause = error.cause();
    error.is_fatal() || matches!(cause, Cause::Network(_)) || cause.is_throttling()
}
