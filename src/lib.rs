//! s3keep keeps a directory in an S3 bucket and gets it back. Blocking: threads and channels, no async.
//!
//! Objects are plain: the key is the path, the body is the file. What to do is decided from name, size
//! and time of the last change; a backup makes the bucket mirror the directory, a
//! restore makes the directory mirror the bucket. The way through is one:
//!
//! ```text
//! config -> scan (rayon pool walks and stats)  \
//!           list (pages of the bucket)          -> plan (pure) -> transfer (worker threads) -> report
//! ```
//!
//! [`Keeper`] goes it in two steps, so that a caller can show the plan before anything happens:
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
//!     Ok(())
//! }
//! ```
//!
//! The library prints nothing, never exits, and keeps no global state. What it says meanwhile comes as
//! [`Event`]s on the caller's own thread; [`Keeper::cancel`] gives what stops it from any other.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod cancel;
mod cleanup;
mod config;
mod content;
mod entry;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod keeper;
mod list;
mod names;
mod plan;
mod pool;
mod report;
mod root;
mod s3;
mod scan;
mod settle;
mod transfer;
mod verify;

pub use cancel::Cancel;
pub use cleanup::{Cleanup, cleanup};
pub use config::{Config, Links, TransferConfig};
pub use entry::{ETag, File, Object, SkipReason, Skipped, Timestamp};
pub use error::{Cause, CredentialsError, Error, Result, Shown};
pub use guard::{Guards, MaxDelete, Refusal};
pub use keeper::Keeper;
pub use names::{BucketUrl, MAX_KEY_BYTES, MAX_SEGMENT_BYTES, Unfit};
pub use plan::{Count, Deletion, Direction, Plan, Reason, Transfer};
pub use report::{Event, KEPT_FAILURES, Progress, Report, Stage, exit};
pub use s3::{Access, AccessOptions, Addressing, Checksum, Env};
pub use verify::{Difference, Verification};

/// The examples of the README are compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
