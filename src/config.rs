//! What a run is told: plain data, resolved before any work begins.

use std::{path::PathBuf, time::Duration};

use crate::{
    error::Error,
    guard::Guards,
    names::BucketUrl,
    s3::{Access, Checksum},
};

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory: nothing outside it is read, written or deleted.
    pub dir: PathBuf,
    /// The bucket, or the part of it, that belongs to the directory.
    pub bucket: BucketUrl,
    /// How the server is reached and with whose credentials.
    pub access: Access,
    /// What becomes of symbolic links.
    pub links: Links,
    /// Let the content decide wherever the sizes are equal.
    pub by_content: bool,
    /// Leave deletions out of the plan.
    pub no_delete: bool,
    /// What keeps a plan from being carried out unasked.
    pub guards: Guards,
    /// How objects are moved.
    pub transfer: TransferConfig,
}

impl Config {
    /// The defaults for a directory and a bucket, as far as `access` says nothing else.
    pub fn new(dir: impl Into<PathBuf>, bucket: BucketUrl, access: Access) -> Config {
        let transfer = TransferConfig { checksum: access.checksum(), ..TransferConfig::default() };
        Config {
            dir: dir.into(),
            bucket,
            access,
            links: Links::Inside,
            by_content: false,
            no_delete: false,
            guards: Guards::default(),
            transfer,
        }
    }

    /// Refuses settings that can't work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let transfer = &self.transfer;
        if transfer.workers == 0 || transfer.workers > 1_024 {
            return Err(Error::config("the number of workers must be 1 to 1024"));
        }
        if transfer.part_size < crate::transfer::MIN_PART_SIZE
            || transfer.part_size > crate::transfer::MAX_PART_SIZE
        {
            return Err(Error::config("the part size must be 5MiB to 5GiB"));
        }
        if transfer.stall_timeout.is_zero() || transfer.connect_timeout.is_zero() {
            return Err(Error::config("a timeout of nothing would let no request through"));
        }
        Ok(())
    }
}

/// What becomes of symbolic links on the local side. None is ever written through, and none is
/// followed out of the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// A link to a file inside the root counts as that file; every other is left out and named.
    #[default]
    Inside,
    /// A link to a directory inside the root counts as that directory, too.
    Follow,
    /// Every link is left out and named.
    Skip,
}

/// How objects are moved.
#[derive(Clone, Debug)]
pub struct TransferConfig {
    /// How many requests are under way at once at most: the number of worker threads. Fewer where there
    /// is little to move, or the process may not have enough files open.
    pub workers: usize,
    /// Objects larger than this many bytes travel in parts (ranges) of this size or, where 10,000
    /// would not do, larger ones.
    pub part_size: u64,
    /// Don't wait for restored files to be on the disk before they get their names: after a power cut
    /// some may be empty.
    pub no_sync: bool,
    /// The checksum that goes with every upload, for the server to check.
    pub checksum: Checksum,
    /// Leave the content of uploads out of the signature over http, as it is over https anyway: the
    /// checksum has to do. Saves a SHA-256 where the network is trusted.
    pub unsigned_payload: bool,
    /// How often a request that failed for a passing reason is tried again; more often while the server only
    /// asks to slow down, and there is way to give.
    pub retries: u32,
    /// How long a connection may take to come about. More than nothing, as the next.
    pub connect_timeout: Duration,
    /// How long a read or write may stand still.
    pub stall_timeout: Duration,
}

impl Default for TransferConfig {
    fn default() -> TransferConfig {
        TransferConfig {
            workers: 512,
            part_size: 16 << 20,
            no_sync: false,
            checksum: Checksum::default(),
            unsigned_payload: false,
            retries: 5,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
        }
    }
}
