//! The arguments of each command, and how they become a request.
//!
//! This file and `arguments` are the only ones that name the argument parser, argh.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use argh::{ArgsInfo, FromArgs};
use bytesize::ByteSize;
use s3keep::{
    Access, AccessOptions, BucketUrl, Config, Direction, Env, Guards, Links, MaxDelete, Selection,
    TransferConfig,
};

use crate::request::{Command, Output, Request, Sizes};

/// The arguments of a command.
pub trait Flags: FromArgs + ArgsInfo {
    /// The request. Settings that the arguments do not contain come from `env`.
    fn request(self, env: Env) -> Result<Request>;
}

/// Defines the arguments of a command that sends requests: its own, then those of location, performance
/// and output.
macro_rules! command {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        #[derive(FromArgs, ArgsInfo)]
        // Without this, argh also treats the word `help` as a request for help; it may be a directory.
        #[argh(help_triggers("-h", "--help"))]
        $(#[$meta])*
        pub struct $name {
            $($own)*
            /// the bucket, if it is not an argument: a name, or s3://bucket[/prefix]
            #[argh(option, short = 'b', arg_name = "bucket")]
            bucket: Option<String>,
            /// the region of the bucket
            #[argh(option, arg_name = "name")]
            region: Option<String>,
            /// the profile in the shared configuration files
            #[argh(option, arg_name = "name")]
            profile: Option<String>,
            /// the URL of an S3-compatible store
            #[argh(option, arg_name = "url")]
            endpoint_url: Option<String>,
            /// where the bucket name goes in the URL: auto, path or virtual [default: auto]
            #[argh(option, arg_name = "style")]
            addressing_style: Option<s3keep::Addressing>,
            /// send unsigned requests, for public buckets
            #[argh(switch)]
            unsigned: bool,
            /// agree to pay for requests and data transfer, as a "Requester Pays" bucket demands
            #[argh(switch)]
            request_payer: bool,
            /// the number of the AWS account that must own the bucket (12 digits)
            #[argh(option, arg_name = "account")]
            expected_bucket_owner: Option<String>,
            /// the most requests in flight [default: 512]
            #[argh(option, arg_name = "n")]
            workers: Option<usize>,
            /// how often to retry a request after a temporary failure [default: 5]
            #[argh(option, arg_name = "n")]
            retries: Option<u32>,
            /// how long a read or write may stall [default: 60s]
            #[argh(option, arg_name = "time", from_str_fn(duration))]
            timeout: Option<Duration>,
            /// the most bytes per second, sent and received together, such as 10MiB/s. 0 is no limit
            #[argh(option, arg_name = "rate", from_str_fn(bandwidth))]
            bwlimit: Option<u64>,
            /// print one JSON object per line
            #[argh(switch)]
            json: bool,
            /// print only failures, warnings and the differences that verify finds
            #[argh(switch, short = 'q')]
            quiet: bool,
        }

        impl $name {
            fn access(&self, env: Env) -> Result<Access> {
                let options = AccessOptions {
                    profile: self.profile.clone(),
                    region: self.region.clone(),
                    endpoint: self.endpoint_url.clone(),
                    addressing: self.addressing_style,
                    unsigned: self.unsigned,
                    request_payer: self.request_payer,
                    expected_bucket_owner: self.expected_bucket_owner.clone(),
                };
                Ok(Access::resolve(options, env)?)
            }

            fn transfer(&self, default: TransferConfig) -> TransferConfig {
                TransferConfig {
                    workers: self.workers.unwrap_or(default.workers),
                    retries: self.retries.unwrap_or(default.retries),
                    stall_timeout: self.timeout.unwrap_or(default.stall_timeout),
                    bandwidth_limit: self.bwlimit.filter(|limit| *limit > 0),
                    ..default
                }
            }

            fn output(&self) -> Output {
                Output { json: self.json, quiet: self.quiet, list: false }
            }
        }
    };
}

/// Defines the arguments of a command that compares a directory with a bucket.
macro_rules! comparing_command {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        command! {
            $(#[$meta])*
            pub struct $name {
                /// the directory and the bucket (s3://bucket[/prefix]), the source first
                #[argh(positional)]
                locations: Vec<String>,
                $($own)*
                /// the directory, if it is not an argument
                #[argh(option, short = 'p', arg_name = "dir")]
                prefix: Option<String>,
                /// leave out what matches a pattern, on both sides. Patterns are those of gitignore files; the
                /// last that matches an entry or a directory above it decides
                #[argh(option, arg_name = "pattern", from_str_fn(pattern))]
                exclude: Vec<PatternOption>,
                /// do not leave out what matches a pattern, although an earlier one does
                #[argh(option, arg_name = "pattern", from_str_fn(pattern))]
                include: Vec<PatternOption>,
                /// leave out what matches a pattern of this file
                #[argh(option, arg_name = "file", from_str_fn(pattern))]
                exclude_from: Vec<PatternOption>,
                /// leave out smaller files
                #[argh(option, arg_name = "size")]
                min_size: Option<ByteSize>,
                /// leave out larger files
                #[argh(option, arg_name = "size")]
                max_size: Option<ByteSize>,
                /// leave out files that were modified longer ago, such as 7d
                #[argh(option, arg_name = "time", from_str_fn(duration))]
                newer_than: Option<Duration>,
                /// leave out files that were modified more recently
                #[argh(option, arg_name = "time", from_str_fn(duration))]
                older_than: Option<Duration>,
                /// leave out directories on other file systems
                #[argh(switch)]
                one_file_system: bool,
                /// leave out the content of directories with a CACHEDIR.TAG
                #[argh(switch)]
                exclude_caches: bool,
                /// symlinks: follow or skip. By default, links to files count as files. "follow" enters links to
                /// directories, too (two in one path at most); "skip" leaves out all links. No link is followed
                /// out of the directory
                #[argh(option, arg_name = "what", from_str_fn(links))]
                links: Option<Links>,
                /// sockets, pipes and devices: "skip" leaves them out. By default, each is skipped and named
                #[argh(option, arg_name = "what", from_str_fn(special))]
                special: Option<bool>,
                /// the part size of large objects [default: 16MiB]
                #[argh(option, arg_name = "size")]
                part_size: Option<ByteSize>,
                /// list every entry of the plan, and every failure
                #[argh(switch)]
                list: bool,
            }
        }

        impl $name {
            fn config(&self, direction: Direction, env: Env) -> Result<Config> {
                let (dir, bucket) = locations(direction, &self.locations, &self.prefix, &self.bucket)?;
                let mut config = Config::new(dir, bucket, self.access(env)?);
                config.links = self.links.unwrap_or_default();
                config.selection = selection(&self.exclude, &self.include, &self.exclude_from)?;
                config.selection.min_size = self.min_size.map(|size| size.as_u64());
                config.selection.max_size = self.max_size.map(|size| size.as_u64());
                config.selection.newer_than = self.newer_than;
                config.selection.older_than = self.older_than;
                config.selection.one_file_system = self.one_file_system;
                config.selection.exclude_caches = self.exclude_caches;
                config.selection.skip_special = self.special.unwrap_or_default();
                config.transfer = self.transfer(config.transfer);
                if let Some(size) = self.part_size {
                    config.transfer.part_size = size.as_u64();
                }
                Ok(config)
            }
        }
    };
}

/// Defines the arguments of a command that makes one side a mirror of the other.
macro_rules! mirroring_command {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        comparing_command! {
            $(#[$meta])*
            pub struct $name {
                /// show what would be done, change nothing
                #[argh(switch)]
                mock: bool,
                /// the same as --mock
                #[argh(switch, short = 'n')]
                dry_run: bool,
                /// do not ask for confirmation
                #[argh(switch, short = 'y')]
                yes: bool,
                /// if another run is working in the directory, wait for it: this long, or without a time as
                /// long as it takes
                #[argh(option, arg_name = "time", from_str_fn(duration))]
                wait: Option<Duration>,
                /// compare contents wherever sizes are equal, whatever the times are
                #[argh(switch)]
                checksum: bool,
                /// decide without ctime, which chmod and chown change as well
                #[argh(switch)]
                ignore_ctime: bool,
                /// neither read nor write the record of what was last the same
                #[argh(switch)]
                no_record: bool,
                $($own)*
                /// delete nothing
                #[argh(switch)]
                no_delete: bool,
                /// delete in the target what patterns leave out
                #[argh(switch)]
                delete_excluded: bool,
                /// the most deletions: N entries, or P% of the entries of the target
                #[argh(option, arg_name = "n", from_str_fn(max_delete))]
                max_delete: Option<MaxDelete>,
                /// accept an empty source: that there are no objects to restore, that the target is emptied, and
                /// that a directory that is now empty loses its objects
                #[argh(switch)]
                allow_empty: bool,
                /// allow deletions although source and target have almost nothing in common
                #[argh(switch)]
                allow_unrelated: bool,
                /// allow a run in which most contents could not be compared and are transferred
                #[argh(switch)]
                allow_doubt: bool,
            }
        }

        impl $name {
            /// The settings that both directions have.
            fn mirror_config(&self, direction: Direction, env: Env) -> Result<Config> {
                let cache = cache_directory(&env);
                let mut config = self.config(direction, env)?;
                config.ignore_ctime = self.ignore_ctime;
                config.record =
                    cache.filter(|_| !self.no_record).map(|cache| record_in(&cache, &config));
                config.by_content = self.checksum;
                config.no_delete = self.no_delete;
                config.selection.delete_excluded = self.delete_excluded;
                config.guards = Guards {
                    allow_empty: self.allow_empty,
                    allow_unrelated: self.allow_unrelated,
                    allow_doubt: self.allow_doubt,
                    max_delete: self.max_delete,
                };
                Ok(config)
            }

            fn mirror(&self, direction: Direction, config: Config) -> Request {
                let mock = self.mock || self.dry_run;
                let wait = self.wait.unwrap_or_default();
                let command = Command::Sync { direction, config, mock, yes: self.yes, wait };
                Request { command, output: Output { list: self.list, ..self.output() } }
            }
        }
    };
}

mirroring_command! {
    /// Make the bucket a mirror of the directory: upload what is missing or differs, then delete the objects
    /// that the directory does not have.
    #[argh(example = "s3keep backup photos s3://my-bucket/photos --mock\nshow what would be done")]
    #[argh(example = "s3keep backup photos s3://my-bucket/photos --yes --quiet\nfrom a scheduled job")]
    pub struct Backup {
        /// treat a directory as complete although a restore into it has not finished, and remove the
        /// markers of such restores
        #[argh(switch)]
        accept_incomplete: bool,
        /// the checksum of uploads: crc64nvme, crc32, crc32c, sha1, sha256 or none [default: crc64nvme]
        #[argh(option, arg_name = "name")]
        checksum_algorithm: Option<s3keep::Checksum>,
        /// over http, do not sign the content of uploads (over https, it is never signed)
        #[argh(switch)]
        unsigned_payload: bool,
    }
}

mirroring_command! {
    /// Make the directory a mirror of the bucket: download what is missing or differs, then delete the files
    /// that the bucket does not have. If the URL is that of an object, restore only this one.
    #[argh(example = "s3keep restore s3://my-bucket/photos photos --mock\nshow what would be done")]
    #[argh(example = "s3keep restore s3://my-bucket/photos/cat.jpg .\nrestore one file")]
    pub struct Restore {
        /// the mode of new files, such as 0600, whatever the umask is. Replaced files keep their permissions
        #[argh(option, arg_name = "mode")]
        file_mode: Option<s3keep::FileMode>,
        /// do not flush restored files to disk before they are renamed
        #[argh(switch)]
        no_sync: bool,
    }
}

comparing_command! {
    /// Compare the content of every file with its object. Changes nothing.
    #[argh(example = "s3keep verify photos s3://my-bucket/photos\ncompare with the checksums of the store")]
    pub struct Verify {
        /// download and compare objects that the server has no checksum of
        #[argh(switch)]
        read_data: bool,
        /// accept that there are no objects
        #[argh(switch)]
        allow_empty: bool,
    }
}

/// Defines the arguments of a command that looks at a bucket only.
macro_rules! listing_command {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        command! {
            $(#[$meta])*
            pub struct $name {
                /// the bucket: s3://bucket[/prefix]
                #[argh(positional)]
                location: Vec<String>,
                $($own)*
                /// print sizes in bytes
                #[argh(switch)]
                bytes: bool,
            }
        }

        impl $name {
            fn config(&self, env: Env) -> Result<Config> {
                let bucket = bucket_only(&self.location, &self.bucket)?;
                // No directory is read.
                let mut config = Config::new("", bucket, self.access(env)?);
                config.transfer = self.transfer(config.transfer);
                Ok(config)
            }

            fn sizes(&self) -> Sizes {
                if self.bytes { Sizes::Exact } else { Sizes::Rounded }
            }
        }
    };
}

listing_command! {
    /// List the objects and directories of a bucket or prefix. Times are in UTC.
    #[argh(example = "s3keep ls s3://my-bucket/photos\nthe first level")]
    pub struct Ls {
        /// list all levels, not only the first one
        #[argh(switch, short = 'R')]
        recursive: bool,
    }
}

listing_command! {
    /// Print the size of each directory of a bucket or prefix, with everything below it, and the total.
    #[argh(example = "s3keep du s3://my-bucket -d 1\nthe directories of the first level")]
    pub struct Du {
        /// print only directories of at most this many levels; 0 prints only the total
        #[argh(option, short = 'd', arg_name = "n")]
        max_depth: Option<usize>,
    }
}

/// Remove empty directories, including nested ones, but never the directory itself.
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help"))]
#[argh(example = "s3keep cleanup photos --mock\nshow what would be removed")]
pub struct Cleanup {
    /// the directory
    #[argh(positional)]
    dir: Option<String>,
    /// the directory
    #[argh(option, short = 'p', arg_name = "dir")]
    prefix: Option<String>,
    /// keep directories that match a pattern, and those that contain something that does
    #[argh(option, arg_name = "pattern", from_str_fn(pattern))]
    exclude: Vec<PatternOption>,
    /// remove directories that match a pattern, although an earlier one keeps them
    #[argh(option, arg_name = "pattern", from_str_fn(pattern))]
    include: Vec<PatternOption>,
    /// keep what matches a pattern of this file
    #[argh(option, arg_name = "file", from_str_fn(pattern))]
    exclude_from: Vec<PatternOption>,
    /// keep directories on other file systems
    #[argh(switch)]
    one_file_system: bool,
    /// keep directories below one with a CACHEDIR.TAG
    #[argh(switch)]
    exclude_caches: bool,
    /// show what would be removed, remove nothing
    #[argh(switch)]
    mock: bool,
    /// the same as --mock
    #[argh(switch, short = 'n')]
    dry_run: bool,
    /// name every skipped entry and every failure
    #[argh(switch)]
    list: bool,
    /// print one JSON object per line
    #[argh(switch)]
    json: bool,
    /// print only failures and warnings
    #[argh(switch, short = 'q')]
    quiet: bool,
}

impl Flags for Backup {
    fn request(self, env: Env) -> Result<Request> {
        let mut config = self.mirror_config(Direction::Backup, env)?;
        config.accept_incomplete = self.accept_incomplete;
        config.transfer.unsigned_payload = self.unsigned_payload;
        config.transfer.checksum = self.checksum_algorithm.unwrap_or(config.transfer.checksum);
        Ok(self.mirror(Direction::Backup, config))
    }
}

impl Flags for Restore {
    fn request(self, env: Env) -> Result<Request> {
        let mut config = self.mirror_config(Direction::Restore, env)?;
        config.file_mode = self.file_mode;
        config.transfer.no_sync = self.no_sync;
        Ok(self.mirror(Direction::Restore, config))
    }
}

impl Flags for Verify {
    fn request(self, env: Env) -> Result<Request> {
        let cache = cache_directory(&env);
        let mut config = self.config(Direction::Backup, env)?;
        config.record = cache.map(|cache| record_in(&cache, &config));
        config.guards.allow_empty = self.allow_empty;
        let command = Command::Verify { config, read_data: self.read_data };
        Ok(Request { command, output: Output { list: self.list, ..self.output() } })
    }
}

impl Flags for Cleanup {
    fn request(self, _: Env) -> Result<Request> {
        let dir = match (self.dir, self.prefix) {
            (Some(dir), None) | (None, Some(dir)) => dir,
            _ => bail!("cleanup takes one directory"),
        };
        let mut selection = selection(&self.exclude, &self.include, &self.exclude_from)?;
        selection.one_file_system = self.one_file_system;
        selection.exclude_caches = self.exclude_caches;
        let mock = self.mock || self.dry_run;
        let command = Command::Cleanup { dir: dir.into(), selection, mock };
        Ok(Request {
            command,
            output: Output { json: self.json, quiet: self.quiet, list: self.list },
        })
    }
}

impl Flags for Ls {
    fn request(self, env: Env) -> Result<Request> {
        let (config, output, sizes) = (self.config(env)?, self.output(), self.sizes());
        Ok(Request {
            command: Command::List { config, is_recursive: self.recursive, sizes },
            output,
        })
    }
}

impl Flags for Du {
    fn request(self, env: Env) -> Result<Request> {
        let (config, output, sizes) = (self.config(env)?, self.output(), self.sizes());
        Ok(Request { command: Command::Usage { config, max_depth: self.max_depth, sizes }, output })
    }
}

/// A pattern or a file of patterns, with its place among the values of all such options: later ones win.
struct PatternOption {
    place: usize,
    value: String,
}

/// argh collects the values of each option, but not the order of values of different options.
fn pattern(value: &str) -> Result<PatternOption, String> {
    static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);
    let place = NEXT_PLACE.fetch_add(1, Ordering::Relaxed);
    Ok(PatternOption { place, value: value.to_owned() })
}

fn selection(
    exclude: &[PatternOption],
    include: &[PatternOption],
    exclude_from: &[PatternOption],
) -> Result<Selection> {
    type Add = fn(&mut Selection, &str) -> s3keep::Result<()>;
    let kinds: [(_, Add); 3] = [
        (exclude, Selection::exclude),
        (include, Selection::include),
        (exclude_from, |selection, file| selection.exclude_from(Path::new(file))),
    ];
    let mut options: Vec<(&PatternOption, Add)> = Vec::new();
    for (values, add) in kinds {
        options.extend(values.iter().map(|option| (option, add)));
    }
    options.sort_by_key(|(option, _)| option.place);
    let mut selection = Selection::default();
    for (option, add) in options {
        add(&mut selection, &option.value)?;
    }
    Ok(selection)
}

fn special(text: &str) -> Result<bool, String> {
    match text {
        "skip" => Ok(true),
        _ => Err("expected skip".to_owned()),
    }
}

fn record_in(cache: &Path, config: &Config) -> PathBuf {
    cache.join("s3keep").join(config.record_file_name())
}

/// The user's cache directory. `None` if the environment names no absolute one.
fn cache_directory(env: &Env) -> Option<PathBuf> {
    let absolute = |name| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}

/// Determines directory and bucket, by position or by the options of older scripts.
fn locations(
    direction: Direction,
    positional: &[String],
    dir: &Option<String>,
    bucket: &Option<String>,
) -> Result<(PathBuf, BucketUrl)> {
    let usage = || {
        anyhow!(match direction {
            Direction::Backup => "expected: <dir> <s3://bucket[/prefix]>",
            Direction::Restore => "expected: <s3://bucket[/prefix]> <dir>",
        })
    };
    let (dir, bucket, named) = match (positional, dir, bucket) {
        ([source, target], None, None) => match direction {
            Direction::Backup => (source, target, false),
            Direction::Restore => (target, source, false),
        },
        ([dir], None, Some(bucket)) | ([], Some(dir), Some(bucket)) => (dir, bucket, true),
        ([bucket], Some(dir), None) => (dir, bucket, false),
        _ => return Err(usage()),
    };
    if dir.starts_with("s3://") && !bucket.starts_with("s3://") && !named {
        let usage = usage();
        let other = match direction {
            Direction::Backup => "restore",
            Direction::Restore => "backup",
        };
        bail!("source and target are swapped; {usage}, or use `s3keep {other}`");
    }
    if dir.starts_with("s3://") || dir.is_empty() {
        return Err(usage());
    }
    let url = if named { named_bucket(bucket) } else { bucket.clone() };
    Ok((PathBuf::from(dir), url.parse().with_context(usage)?))
}

/// The location of a command that looks at a bucket only.
fn bucket_only(positional: &[String], bucket: &Option<String>) -> Result<BucketUrl> {
    let usage = "expected: <s3://bucket[/prefix]>";
    let url = match (positional, bucket) {
        ([url], None) => url.clone(),
        ([], Some(bucket)) => named_bucket(bucket),
        _ => bail!(usage),
    };
    url.parse().context(usage)
}

/// The value of `--bucket`, which may be a name only.
fn named_bucket(bucket: &str) -> String {
    let scheme = if bucket.starts_with("s3://") { "" } else { "s3://" };
    format!("{scheme}{bucket}")
}

fn links(text: &str) -> Result<Links, String> {
    match text {
        "follow" => Ok(Links::Follow),
        "skip" => Ok(Links::Skip),
        _ => Err(format!("'{text}' is neither follow nor skip")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Bytes per second. Zero is no limit.
fn bandwidth(text: &str) -> Result<u64, String> {
    let wrong = |why: &str| Err(format!("'{text}' {why}; write a rate as 10MiB/s or 500KB/s"));
    if matches!(text, "0" | "off") {
        return Ok(0);
    }
    let size = text.strip_suffix("/s").unwrap_or(text);
    if size.parse::<f64>().is_ok() {
        // rsync and rclone count in KiB here, most others in bytes.
        return wrong("has no unit");
    }
    if size.ends_with('b') || size.ends_with("bit") || size.ends_with("bps") {
        return wrong("may be in bits");
    }
    match size.parse::<ByteSize>() {
        Ok(size) if size.as_u64() > 0 => Ok(size.as_u64()),
        Ok(_) => wrong("is too low"),
        Err(_) => wrong("is not a rate"),
    }
}

fn max_delete(text: &str) -> Result<MaxDelete, String> {
    let wrong = || format!("'{text}' is neither a number of entries nor a percentage such as 75%");
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent @ 0..=100) => Ok(MaxDelete::Percent(percent)),
            _ => Err(wrong()),
        },
        None => text.parse().map(MaxDelete::Entries).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_a_size_per_second_with_a_unit() {
        for (text, expected) in [
            ("10MiB/s", 10 << 20),
            ("10MiB", 10 << 20),
            ("10M", 10_000_000),
            ("1.5MB/s", 1_500_000),
            ("500k/s", 500_000),
            ("8000B/s", 8_000),
            ("0", 0),
            ("off", 0),
        ] {
            assert_eq!(bandwidth(text), Ok(expected), "{text}");
        }
        for text in
            ["1000", "1000/s", "10Mb/s", "10Mbit/s", "10Mbps", "fast", "", "/s", "-1MiB", "0MiB"]
        {
            let error = bandwidth(text).unwrap_err();
            assert!(error.contains("write a rate as 10MiB/s"), "{error}");
        }
    }

    #[test]
    fn most_deletions_are_a_number_or_a_percentage() {
        assert_eq!(max_delete("40%"), Ok(MaxDelete::Percent(40)));
        assert_eq!(max_delete("40"), Ok(MaxDelete::Entries(40)));
        assert!(max_delete("101%").is_err());
    }
}
