//! s3keep keeps a directory in an S3 bucket and restores it. It is blocking: threads and channels, no
//! async runtime.
//!
//! Objects are plain: the key is the relative path, the body is the file. A backup makes the bucket a
//! mirror of the directory, a restore makes the directory a mirror of the bucket. Decisions are based
//! on name, size and time; contents are only compared where these are inconclusive.
//!
//! ```text
//! config -> scan (rayon pool walks and stats)    \
//!           list (worker threads page through S3) -> plan (pure) -> transfer (worker threads) -> report
//! ```
//!
//! [`Keeper`] runs these stages in two steps, so that a caller can show the plan before anything is
//! changed:
//!
//! ```no_run
//! use s3keep::{Access, AccessOptions, Config, Direction, Env, Keeper};
//!
//! fn main() -> Result<(), s3keep::Error> {
//!     let access = Access::resolve(AccessOptions::default(), Env::from_process())?;
//!     let config = Config::new("/srv/photos", "s3://my-bucket/photos".parse()?, access);
//!     let keeper = Keeper::new(config)?;
//!
//!     let plan = keeper.plan(Direction::Backup, &mut |_| {})?;
//!     println!("{} files to upload, {} objects to delete", plan.transfers.len(), plan.deletions.len());
//!
//!     let report = keeper.execute(plan, &mut |event| println!("{event:?}"))?;
//!     println!("{} files uploaded, {} failed", report.transferred.entries, report.failed);
//!     std::process::exit(report.exit_code().into())
//! }
//! ```
//!
//! The library prints nothing, never exits the process, and has no global state. It reports progress
//! by [`Event`]s on the caller's thread. [`Keeper::cancel`] returns a handle that stops a run from any
//! other thread.
//!
//! The [`guide`] explains the decision rule, what is deleted and when, and how the source is organized.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// Modules import only downward, in the order that tests/layout.rs documents and checks.
mod cancel;
mod cleanup;
mod config;
mod content;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
mod keeper;
mod local;
mod model;
mod one_object;
mod plan;
mod record;
mod remote;
mod report;
mod s3;
mod selection;
mod transfer;
mod verify;
mod worker_pool;

pub use cancel::Cancel;
pub use cleanup::{Cleanup, cleanup};
pub use config::{Config, TransferConfig};
pub use error::{Cause, CredentialsError, Error, Refusal, Result};
pub use keeper::Keeper;
pub use model::{
    archive_class::ArchiveClass,
    attribute::Attribute,
    bucket_url::{BucketUrl, InvalidBucketUrl},
    contents::{Contents, Usage},
    count::Count,
    direction::Direction,
    entry::{File, Object},
    escape::Escaped,
    etag::ETag,
    file_mode::{FileMode, InvalidFileMode},
    found::Found,
    links::Links,
    paths::{InvalidName, MAX_KEY_BYTES, MAX_SEGMENT_BYTES},
    skip::{SkipReason, Skipped},
    time::Timestamp,
};
pub use plan::{
    Deletion, Excluded, Guards, MaxDelete, Plan, Reason, Transfer, UnfinishedRestore, Withheld,
    WithheldReason,
};
pub use report::{Event, KEPT_FAILURES, Progress, Report, Stage, UnpreservedAttribute, exit};
pub use s3::{Access, AccessOptions, Addressing, Checksum, Env};
pub use selection::Selection;
pub use verify::{Difference, Verification};

/// Compiles the examples of the README with the other doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
