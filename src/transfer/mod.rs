//! Executing a plan: transfers first, then deletions.
//!
//! Decisions and work are separate. The [`scheduler`] decides on the caller's thread which [`job`]
//! comes next, and records each outcome; a [`worker`] executes one job at a time and decides
//! nothing. Uploads and downloads differ only in their [`steps`].
//!
//! ```text
//! 0  restore: write a marker that lists what is not restored yet
//! 1  restore: rename the leftover temporary files of earlier runs that hold a missing object, and
//!    remove the other leftovers
//! 2  backup: list the unfinished multipart uploads of the files to upload; keep the latest one of
//!    each large file, to resume it; abort the others
//! 3  choose the number of workers; sort the transfers, largest first
//! 4  until every transfer is done, workers execute
//!        small       transfer a few small objects, one request each
//!        start       start a large transfer: create or resume a multipart upload, or create the
//!                    temporary file of a download
//!        part        transfer one part of a large object
//!        complete    all parts are done: join them into one object, or verify the file
//!        abort       a part failed, or the run stops: discard the parts
//!        publish     flush complete downloads, and rename them to their final names
//!    - a corrupt download is repeated once
//!    - a fatal error, 1,000 network failures in a row or a cancellation stops the run: no further
//!      transfer starts, jobs in flight finish, large transfers with parts left are aborted, and
//!      complete downloads are published
//! 5  restore: flush again, so that the renames are on disk, too
//! 6  if the run was stopped: end here
//! 7  backup: check the directory again, and upload files that appeared after the scan; withhold all
//!    deletions if it keeps changing
//! 8  backup: list again what contains names that the store may not distinguish, and keep the objects
//!    that are another spelling of a file
//! 9  backup: where the store refused an upload because of an object that is to be deleted, delete the
//!    object, and upload the file at once
//! 10 withhold the deletions that depend on a transfer that failed: an entry to delete may be the only
//!    copy of a file whose transfer under a new name failed
//! 11 make the other deletions, except those of entries that changed after the scan
//! 12 restore: remove the marker if everything was restored; if not, but the run was not stopped,
//!    replace it by a shorter one
//! ```

mod context;
mod delete;
mod download;
mod growth;
mod holes;
mod in_flight;
mod job;
mod large;
mod learn;
mod leftovers;
mod publish;
mod recheck;
mod replace;
mod restore_marker;
mod resume;
mod reuse;
mod run;
mod scheduler;
mod spellings;
mod steps;
mod stored;
mod upload;
mod worker;

pub(crate) use context::RunContext;
pub(crate) use restore_marker::Markers;
pub(crate) use run::run;
