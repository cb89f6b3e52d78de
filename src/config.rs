//! The configuration of a keeper: plain data, resolved before any work starts.

use std::{path::PathBuf, time::Duration};

use crate::{
    error::{Error, Result},
    model::{bucket_url::BucketUrl, file_mode::FileMode, links::Links},
    plan::Guards,
    record::{Location, RecordScope},
    s3::{
        Access, Checksum,
        options::ClientOptions,
        parts::{MAX_PART_SIZE, MIN_PART_SIZE},
    },
    selection::Selection,
};

/// The most workers that a configuration may ask for.
const MAX_WORKERS: usize = 1_024;

/// The least bandwidth limit, in bytes per second. With less, servers would close connections as stalled.
const MIN_BANDWIDTH: u64 = 4 << 10;

/// All settings of a run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The local directory. Nothing outside of it is read, written or deleted.
    pub dir: PathBuf,
    /// The bucket or prefix that mirrors the directory.
    pub bucket: BucketUrl,
    /// The server and the credentials.
    pub access: Access,
    /// How symlinks are treated.
    pub links: Links,
    /// Which entries the run looks at.
    pub selection: Selection,
    /// Compare the contents of every pair of equal size, whatever the times are.
    pub by_content: bool,
    /// Do not delete anything.
    pub no_delete: bool,
    /// In a backup, the directory counts as it is, even if a restore into it has not finished: its
    /// missing files are deleted from the bucket. The run removes the markers of such restores.
    pub accept_incomplete: bool,
    /// In a restore, the mode of new files. Neither the umask nor a default ACL changes it. If it is `None`,
    /// the umask and the default ACL decide. A file that replaces another one keeps the permissions of that file.
    pub file_mode: Option<FileMode>,
    /// Decide without ctime, for directories whose ctimes change although contents do not. A change
    /// that keeps the size and the mtime is then not detected.
    pub ignore_ctime: bool,
    /// The file of the record: which files and objects were last known to have the same content.
    /// Without it, more files are read, and less is detected: see the [guide](crate::guide).
    ///
    /// The file and its directory are created. It belongs to one directory and one bucket or prefix:
    /// see [`record_file_name`](Config::record_file_name).
    pub record: Option<PathBuf>,
    /// The limits that refuse a dangerous plan.
    pub guards: Guards,
    /// How objects are transferred.
    pub transfer: TransferConfig,
}

impl Config {
    /// The default configuration for a directory and a bucket, with the checksum that `access` asks for.
    pub fn new(dir: impl Into<PathBuf>, bucket: BucketUrl, access: Access) -> Config {
        let transfer = TransferConfig { checksum: access.checksum(), ..TransferConfig::default() };
        Config {
            dir: dir.into(),
            bucket,
            access,
            links: Links::default(),
            selection: Selection::default(),
            by_content: false,
            no_delete: false,
            accept_incomplete: false,
            file_mode: None,
            ignore_ctime: false,
            record: None,
            guards: Guards::default(),
            transfer,
        }
    }

    /// A file name for the record that no other endpoint, bucket, prefix or directory has.
    ///
    /// The command keeps its records below such names in `~/.cache/s3keep`.
    pub fn record_file_name(&self) -> String {
        self.record_scope().file_name()
    }

    pub(crate) fn record_scope(&self) -> RecordScope {
        RecordScope::new(self.access.endpoint.as_deref(), &self.bucket, &self.dir)
    }

    /// Whether a path below the directory is the record, or one next to it. A record is no part of
    /// the directory: every run would change it.
    pub(crate) fn is_record(&self) -> impl Fn(&str) -> bool {
        let record = self.record.as_deref();
        let is_record = record.map(|path| Location(path).is_record(&self.dir));
        move |path| is_record.as_ref().is_some_and(|is_record| is_record(path))
    }

    /// Rejects settings that cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let transfer = &self.transfer;
        if transfer.workers == 0 || transfer.workers > MAX_WORKERS {
            return Err(Error::config(format!(
                "the number of workers (--workers, S3KEEP_WORKERS) must be 1 to {MAX_WORKERS}"
            )));
        }
        if !(MIN_PART_SIZE..=MAX_PART_SIZE).contains(&transfer.part_size) {
            let (min, max) = (MIN_PART_SIZE >> 20, MAX_PART_SIZE >> 30);
            return Err(Error::config(format!(
                "the part size (--part-size, S3KEEP_PART_SIZE) must be {min}MiB to {max}GiB"
            )));
        }
        if transfer.stall_timeout.is_zero() || transfer.connect_timeout.is_zero() {
            return Err(Error::config(
                "a timeout (--timeout, S3KEEP_TIMEOUT) must be longer than zero",
            ));
        }
        if transfer.bandwidth_limit.is_some_and(|limit| limit < MIN_BANDWIDTH) {
            let min = MIN_BANDWIDTH >> 10;
            return Err(Error::config(format!(
                "the bandwidth limit (--bwlimit, S3KEEP_BWLIMIT) must be at least {min}KiB per second"
            )));
        }
        Ok(())
    }
}

/// How objects are transferred.
#[derive(Clone, Debug)]
pub struct TransferConfig {
    /// The number of worker threads, which is also the most requests in flight. A run uses fewer if
    /// there is little to transfer, or if the process may not open enough files.
    pub workers: usize,
    /// The part size in bytes. Larger objects are transferred in parts of this size, or in larger
    /// parts if there would be more than 10,000.
    pub part_size: u64,
    /// Do not flush restored files to disk before they are renamed. After a power failure, some of
    /// them may be empty.
    pub no_sync: bool,
    /// The checksum that the server verifies for every upload.
    pub checksum: Checksum,
    /// Leave the content of uploads out of the signature over http, as is always done over https. The
    /// checksum alone then protects it. This saves one SHA-256 on a trusted network.
    pub unsigned_payload: bool,
    /// How often a request is retried after a temporary failure. While the server throttles or allows few
    /// connections, and concurrency can still drop, a request is retried more often.
    pub retries: u32,
    /// How long establishing a connection may take. Must not be zero.
    pub connect_timeout: Duration,
    /// How long a single read or write may take. Must not be zero. A request that moves less than 64 bytes
    /// per second in ten times as long fails as well.
    pub stall_timeout: Duration,
    /// The most bytes per second that are sent to and received from the server, all connections and both
    /// directions together. At least 4 KiB. A low limit also reduces the number of requests in flight.
    /// Requests for credentials do not count. `None` sets no limit.
    pub bandwidth_limit: Option<u64>,
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
            bandwidth_limit: None,
        }
    }
}

impl TransferConfig {
    /// The part of the options that the S3 client needs.
    pub(crate) fn client_options(&self) -> ClientOptions {
        ClientOptions {
            max_connections: self.workers,
            retries: self.retries,
            connect_timeout: self.connect_timeout,
            stall_timeout: self.stall_timeout,
            bandwidth_limit: self.bandwidth_limit,
            checksum: self.checksum,
            unsigned_payload: self.unsigned_payload,
        }
    }
}
