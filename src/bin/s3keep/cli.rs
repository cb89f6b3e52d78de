//! The command line, in two phases: arguments to flags, then flags to a resolved request.
//!
//! This is the only file that names the argument parser, argh.

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

use crate::arguments::{nearest, normalize};

/// A resolved request.
pub struct Request {
    pub command: Command,
    pub output: Output,
}

pub enum Command {
    Sync { direction: Direction, config: Config, mock: bool, yes: bool, wait: Duration },
    Verify { config: Config, read_data: bool },
    Cleanup { dir: PathBuf, selection: Selection, mock: bool },
    List { config: Config, is_recursive: bool, sizes: Sizes },
    Usage { config: Config, max_depth: Option<usize>, sizes: Sizes },
}

/// How `ls` and `du` print sizes.
#[derive(Clone, Copy)]
pub enum Sizes {
    /// Rounded, with a unit.
    Rounded,
    /// In bytes.
    Exact,
}

/// How results are printed.
#[derive(Clone, Copy, Default)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
}

/// A text to print instead of running a command: help, the version, or a usage error.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Usage {
    pub text: String,
    /// Whether the user requested the text. Otherwise it is an error.
    pub was_requested: bool,
}

const COMMANDS: &[&str] = &[
    "backup",
    "backupmock",
    "restore",
    "restoremock",
    "verify",
    "cleanup",
    "ls",
    "du",
    "help",
    "version",
];

const HELP: &str = "\
Keeps a directory in an S3 bucket and restores it.

  s3keep backup  <dir> <s3://bucket[/prefix]>   make the bucket mirror the directory
  s3keep restore <s3://bucket[/prefix]> <dir>   make the directory mirror the bucket
  s3keep verify  <dir> <s3://bucket[/prefix]>   compare contents, change nothing
  s3keep cleanup <dir>                          remove empty directories
  s3keep ls      <s3://bucket[/prefix]>         list objects and directories
  s3keep du      <s3://bucket[/prefix]>         add up the sizes of each directory

A restore of s3://bucket/path/file restores this one object.

`s3keep <command> --help` lists the options of a command. For older scripts, `backupmock` and
`restoremock` are `backup --mock` and `restore --mock`, and -b and -p name bucket and directory.

Credentials, region and endpoint are read from the same places as the AWS tools read them:
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL_S3, or a profile.

Exit codes: 0 success; 1 failed; 2 finished, but some entries failed, were skipped or (verify) differ;
3 refused by a guard, or not confirmed; 4 another run is working in the directory, try later;
130 interrupted.
";

/// Defines the arguments of a command that uses a bucket: the common options, then its own.
macro_rules! bucket_command {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(FromArgs, ArgsInfo)]
        // Without this, argh also treats the word `help` as a request for help; it may be a directory.
        #[argh(help_triggers("-h", "--help"))]
        struct $name {
            /// the directory and the bucket (s3://bucket[/prefix]), the source first
            #[argh(positional)]
            locations: Vec<String>,
            /// the bucket: a name, or s3://bucket[/prefix]
            #[argh(option, short = 'b')]
            bucket: Option<String>,
            /// the directory
            #[argh(option, short = 'p')]
            prefix: Option<String>,
            /// the region of the bucket
            #[argh(option)]
            region: Option<String>,
            /// the profile in the shared configuration files
            #[argh(option)]
            profile: Option<String>,
            /// the URL of an S3-compatible store
            #[argh(option)]
            endpoint_url: Option<String>,
            /// where the bucket name goes in the URL: auto, path or virtual
            #[argh(option)]
            addressing_style: Option<s3keep::Addressing>,
            /// send unsigned requests, for public buckets
            #[argh(switch)]
            unsigned: bool,
            /// agree to pay for requests and data transfer, as a "Requester Pays" bucket demands
            #[argh(switch)]
            request_payer: bool,
            /// the number of the AWS account that must own the bucket (12 digits)
            #[argh(option)]
            expected_bucket_owner: Option<String>,
            /// leave out what matches a pattern, on both sides. Patterns are those of gitignore files; the
            /// last that matches an entry or a directory above it decides
            #[argh(option, from_str_fn(pattern))]
            exclude: Vec<PatternOption>,
            /// do not leave out what matches a pattern, although an earlier one does
            #[argh(option, from_str_fn(pattern))]
            include: Vec<PatternOption>,
            /// leave out what matches a pattern of this file
            #[argh(option, from_str_fn(pattern))]
            exclude_from: Vec<PatternOption>,
            /// leave out smaller files
            #[argh(option)]
            min_size: Option<ByteSize>,
            /// leave out larger files
            #[argh(option)]
            max_size: Option<ByteSize>,
            /// leave out files that were modified longer ago, such as 7d
            #[argh(option, from_str_fn(duration))]
            newer_than: Option<Duration>,
            /// leave out files that were modified more recently
            #[argh(option, from_str_fn(duration))]
            older_than: Option<Duration>,
            /// leave out directories on other file systems
            #[argh(switch)]
            one_file_system: bool,
            /// leave out the content of directories with a CACHEDIR.TAG
            #[argh(switch)]
            exclude_caches: bool,
            /// symlinks: follow enters links to directories, too (two in one path at most); skip leaves out
            /// all links. By default, links to files count as files. No link is followed out of the directory
            #[argh(option, from_str_fn(links))]
            links: Option<Links>,
            /// sockets, pipes and devices: skip leaves them out. By default, each is skipped and named
            #[argh(option, from_str_fn(special))]
            special: Option<bool>,
            /// the most requests in flight (default 512)
            #[argh(option)]
            workers: Option<usize>,
            /// the part size of large objects (default 16MiB)
            #[argh(option)]
            part_size: Option<ByteSize>,
            /// how often to retry a request after a temporary failure (default 5)
            #[argh(option)]
            retries: Option<u32>,
            /// how long a read or write may stall (default 60s)
            #[argh(option, from_str_fn(duration))]
            timeout: Option<Duration>,
            /// print one JSON object per line
            #[argh(switch)]
            json: bool,
            /// print only failures, warnings and the differences that verify finds
            #[argh(switch, short = 'q')]
            quiet: bool,
            $($own)*
        }

        impl $name {
            fn config(&self, direction: Direction, env: Env) -> Result<Config> {
                let (dir, bucket) = locations(direction, &self.locations, &self.prefix, &self.bucket)?;
                let options = AccessOptions {
                    profile: self.profile.clone(),
                    region: self.region.clone(),
                    endpoint: self.endpoint_url.clone(),
                    addressing: self.addressing_style,
                    unsigned: self.unsigned,
                    request_payer: self.request_payer,
                    expected_bucket_owner: self.expected_bucket_owner.clone(),
                };
                let access = Access::resolve(options, env)?;
                let mut config = Config::new(dir, bucket, access);
                let default = config.transfer.clone();
                config.links = self.links.unwrap_or_default();
                config.selection = selection(&self.exclude, &self.include, &self.exclude_from)?;
                config.selection.min_size = self.min_size.map(|size| size.as_u64());
                config.selection.max_size = self.max_size.map(|size| size.as_u64());
                config.selection.newer_than = self.newer_than;
                config.selection.older_than = self.older_than;
                config.selection.one_file_system = self.one_file_system;
                config.selection.exclude_caches = self.exclude_caches;
                config.selection.skip_special = self.special.unwrap_or_default();
                config.transfer = TransferConfig {
                    workers: self.workers.unwrap_or(default.workers),
                    part_size: self.part_size.map_or(default.part_size, |size| size.as_u64()),
                    retries: self.retries.unwrap_or(default.retries),
                    stall_timeout: self.timeout.unwrap_or(default.stall_timeout),
                    ..default
                };
                Ok(config)
            }

            fn output(&self) -> Output {
                Output { json: self.json, quiet: self.quiet }
            }
        }
    };
}

bucket_command! {
    /// Make the target a mirror of the source: transfer what is missing or differs, then delete what the
    /// source does not have.
    struct Sync {
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
        #[argh(option, from_str_fn(duration))]
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
        /// delete nothing
        #[argh(switch)]
        no_delete: bool,
        /// delete in the target what patterns leave out
        #[argh(switch)]
        delete_excluded: bool,
        /// in a backup: treat a directory as complete although a restore into it has not finished, and
        /// remove the markers of such restores
        #[argh(switch)]
        accept_incomplete: bool,
        /// in a restore: the mode of new files, such as 0600, whatever the umask is. Replaced files keep
        /// their permissions
        #[argh(option)]
        file_mode: Option<s3keep::FileMode>,
        /// accept an empty source: that there are no objects to restore, that the target is emptied, and that a
        /// directory that is now empty loses its objects
        #[argh(switch)]
        allow_empty: bool,
        /// allow deletions although source and target have almost nothing in common
        #[argh(switch)]
        allow_unrelated: bool,
        /// allow a run in which most contents could not be compared and are transferred
        #[argh(switch)]
        allow_doubt: bool,
        /// the most deletions: N entries, or P% of the entries of the target
        #[argh(option, from_str_fn(max_delete))]
        max_delete: Option<MaxDelete>,
        /// do not flush restored files to disk before they are renamed
        #[argh(switch)]
        no_sync: bool,
        /// over http, do not sign the content of uploads (over https, it is never signed)
        #[argh(switch)]
        unsigned_payload: bool,
        /// the checksum of uploads: crc64nvme (default), crc32, crc32c, sha1, sha256, none
        #[argh(option)]
        checksum_algorithm: Option<s3keep::Checksum>,
    }
}

bucket_command! {
    /// Compare the content of every file with its object. Changes nothing.
    struct Verify {
        /// download and compare objects that the server has no checksum of
        #[argh(switch)]
        read_data: bool,
        /// accept that there are no objects
        #[argh(switch)]
        allow_empty: bool,
    }
}

/// Defines the arguments of a command that looks at a bucket only: the common options, then its own.
macro_rules! listing_command {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(FromArgs, ArgsInfo)]
        #[argh(help_triggers("-h", "--help"))]
        struct $name {
            /// the bucket: s3://bucket[/prefix]
            #[argh(positional)]
            location: Vec<String>,
            $($own)*
            /// print sizes in bytes
            #[argh(switch)]
            bytes: bool,
            /// the bucket, in place of the argument: a name, or s3://bucket[/prefix]
            #[argh(option, short = 'b')]
            bucket: Option<String>,
            /// the region of the bucket
            #[argh(option)]
            region: Option<String>,
            /// the profile in the shared configuration files
            #[argh(option)]
            profile: Option<String>,
            /// the URL of an S3-compatible store
            #[argh(option)]
            endpoint_url: Option<String>,
            /// where the bucket name goes in the URL: auto, path or virtual
            #[argh(option)]
            addressing_style: Option<s3keep::Addressing>,
            /// send unsigned requests, for public buckets
            #[argh(switch)]
            unsigned: bool,
            /// agree to pay for requests and data transfer, as a "Requester Pays" bucket demands
            #[argh(switch)]
            request_payer: bool,
            /// the number of the AWS account that must own the bucket (12 digits)
            #[argh(option)]
            expected_bucket_owner: Option<String>,
            /// the most requests in flight (default 512)
            #[argh(option)]
            workers: Option<usize>,
            /// how often to retry a request after a temporary failure (default 5)
            #[argh(option)]
            retries: Option<u32>,
            /// how long a read or write may stall (default 60s)
            #[argh(option, from_str_fn(duration))]
            timeout: Option<Duration>,
            /// print one JSON object per line
            #[argh(switch)]
            json: bool,
            /// print only warnings and errors
            #[argh(switch, short = 'q')]
            quiet: bool,
        }

        impl $name {
            fn config(&self, env: Env) -> Result<Config> {
                let bucket = bucket_only(&self.location, &self.bucket)?;
                let options = AccessOptions {
                    profile: self.profile.clone(),
                    region: self.region.clone(),
                    endpoint: self.endpoint_url.clone(),
                    addressing: self.addressing_style,
                    unsigned: self.unsigned,
                    request_payer: self.request_payer,
                    expected_bucket_owner: self.expected_bucket_owner.clone(),
                };
                // No directory is read.
                let mut config = Config::new("", bucket, Access::resolve(options, env)?);
                let transfer = &mut config.transfer;
                transfer.workers = self.workers.unwrap_or(transfer.workers);
                transfer.retries = self.retries.unwrap_or(transfer.retries);
                transfer.stall_timeout = self.timeout.unwrap_or(transfer.stall_timeout);
                Ok(config)
            }

            fn sizes(&self) -> Sizes {
                if self.bytes { Sizes::Exact } else { Sizes::Rounded }
            }

            fn output(&self) -> Output {
                Output { json: self.json, quiet: self.quiet }
            }
        }
    };
}

listing_command! {
    /// List the objects and directories of a bucket or prefix. Times are in UTC.
    struct Ls {
        /// list all levels, not only the first one
        #[argh(switch, short = 'R')]
        recursive: bool,
    }
}

listing_command! {
    /// Print the size of each directory of a bucket or prefix, with everything below it, and the total.
    struct Du {
        /// print only directories of at most this many levels; 0 prints only the total
        #[argh(option, short = 'd')]
        max_depth: Option<usize>,
    }
}

/// Remove empty directories, including nested ones, but never the directory itself.
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help"))]
struct Cleanup {
    /// the directory
    #[argh(positional)]
    dir: Option<String>,
    /// the directory
    #[argh(option, short = 'p')]
    prefix: Option<String>,
    /// keep directories that match a pattern, and those that contain something that does
    #[argh(option, from_str_fn(pattern))]
    exclude: Vec<PatternOption>,
    /// remove directories that match a pattern, although an earlier one keeps them
    #[argh(option, from_str_fn(pattern))]
    include: Vec<PatternOption>,
    /// keep what matches a pattern of this file
    #[argh(option, from_str_fn(pattern))]
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
    /// print one JSON object per line
    #[argh(switch)]
    json: bool,
    /// print only failures and warnings
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// Parses the arguments after the program's name. Settings that they do not contain come from `env`.
pub fn parse(args: Vec<String>, env: Env) -> Result<Result<Request, Usage>> {
    request(args, env).map(Ok).or_else(|error| error.downcast::<Usage>().map(Err))
}

fn request(args: Vec<String>, env: Env) -> Result<Request> {
    let print =
        |text: &str, was_requested| Err(Usage { text: text.to_owned(), was_requested }.into());
    // Options may come before the command.
    let at = match args.first() {
        None => return print(HELP, false),
        Some(first) if !first.starts_with('-') => 0,
        Some(_) => args.iter().position(|arg| COMMANDS.contains(&&**arg)).unwrap_or_default(),
    };
    let name = args[at].as_str();
    let rest = &[&args[..at], &args[at + 1..]].concat();
    match name {
        "help" if rest.first().is_some_and(|command| COMMANDS.contains(&&**command)) => {
            request(vec![rest[0].clone(), "--help".to_owned()], env)
        }
        "backup" => parse_flags::<Sync>(name, rest)?.request(Direction::Backup, false, env),
        "backupmock" => parse_flags::<Sync>(name, rest)?.request(Direction::Backup, true, env),
        "restore" => parse_flags::<Sync>(name, rest)?.request(Direction::Restore, false, env),
        "restoremock" => parse_flags::<Sync>(name, rest)?.request(Direction::Restore, true, env),
        "verify" => parse_flags::<Verify>(name, rest)?.request(env),
        "cleanup" => parse_flags::<Cleanup>(name, rest)?.request(),
        "ls" => parse_flags::<Ls>(name, rest)?.request(env),
        "du" => parse_flags::<Du>(name, rest)?.request(env),
        "help" | "--help" | "-h" => print(HELP, true),
        "version" | "--version" | "-V" => {
            print(concat!("s3keep ", env!("CARGO_PKG_VERSION"), "\n"), true)
        }
        other => {
            let nearest = nearest(other, COMMANDS.iter().copied());
            let suggestion = nearest.map(|name| format!("; did you mean {name}?"));
            bail!(
                "there is no command '{other}'{}\n`s3keep help` lists the commands",
                suggestion.unwrap_or_default()
            )
        }
    }
}

fn parse_flags<Flags: FromArgs + ArgsInfo>(command: &str, args: &[String]) -> Result<Flags, Usage> {
    let wrong = |why: &str| {
        let why = why.trim_end();
        let text = format!("s3keep: {why}\n`s3keep {command} --help` lists the options\n");
        Usage { text, was_requested: false }
    };
    let args = normalize(args, &Flags::get_args_info()).map_err(|why| wrong(&why))?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Flags::from_args(&["s3keep", command], &args).map_err(|exit| match exit.status {
        Ok(()) => Usage { text: exit.output, was_requested: true },
        Err(()) => wrong(&exit.output),
    })
}

impl Sync {
    fn request(self, direction: Direction, mock: bool, env: Env) -> Result<Request> {
        let cache = cache_directory(&env);
        let mut config = self.config(direction, env)?;
        config.ignore_ctime = self.ignore_ctime;
        config.record = cache.filter(|_| !self.no_record).map(|cache| record_in(&cache, &config));
        config.by_content = self.checksum;
        config.no_delete = self.no_delete;
        config.selection.delete_excluded = self.delete_excluded;
        if self.accept_incomplete && direction == Direction::Restore {
            bail!("--accept-incomplete is an option of backup");
        }
        config.accept_incomplete = self.accept_incomplete;
        if self.file_mode.is_some() && direction == Direction::Backup {
            bail!("--file-mode is an option of restore");
        }
        config.file_mode = self.file_mode;
        config.guards = Guards {
            allow_empty: self.allow_empty,
            allow_unrelated: self.allow_unrelated,
            allow_doubt: self.allow_doubt,
            max_delete: self.max_delete,
        };
        config.transfer.no_sync = self.no_sync;
        config.transfer.unsigned_payload = self.unsigned_payload;
        config.transfer.checksum = self.checksum_algorithm.unwrap_or(config.transfer.checksum);
        let mock = mock || self.mock || self.dry_run;
        let wait = self.wait.unwrap_or_default();
        let command = Command::Sync { direction, config, mock, yes: self.yes, wait };
        Ok(Request { command, output: self.output() })
    }
}

impl Verify {
    fn request(self, env: Env) -> Result<Request> {
        let cache = cache_directory(&env);
        let mut config = self.config(Direction::Backup, env)?;
        config.record = cache.map(|cache| record_in(&cache, &config));
        config.guards.allow_empty = self.allow_empty;
        let command = Command::Verify { config, read_data: self.read_data };
        Ok(Request { command, output: self.output() })
    }
}

impl Cleanup {
    fn request(self) -> Result<Request> {
        let dir = match (self.dir, self.prefix) {
            (Some(dir), None) | (None, Some(dir)) => dir,
            _ => bail!("cleanup takes one directory"),
        };
        let mut selection = selection(&self.exclude, &self.include, &self.exclude_from)?;
        selection.one_file_system = self.one_file_system;
        selection.exclude_caches = self.exclude_caches;
        let mock = self.mock || self.dry_run;
        let command = Command::Cleanup { dir: dir.into(), selection, mock };
        Ok(Request { command, output: Output { json: self.json, quiet: self.quiet } })
    }
}

impl Ls {
    fn request(self, env: Env) -> Result<Request> {
        let (config, output, sizes) = (self.config(env)?, self.output(), self.sizes());
        Ok(Request {
            command: Command::List { config, is_recursive: self.recursive, sizes },
            output,
        })
    }
}

impl Du {
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

    fn parsed(line: &str) -> (Direction, Config, bool, bool) {
        let args = line.split(' ').map(str::to_owned).collect();
        match parse(args, Env::default()).unwrap() {
            Ok(Request { command: Command::Sync { direction, config, mock, yes, .. }, .. }) => {
                (direction, config, mock, yes)
            }
            _ => panic!("{line} is a backup or restore"),
        }
    }

    #[test]
    fn old_and_new_spellings_name_the_same_locations() {
        for line in [
            "backup dir s3://bucket/photos",
            "backup -b s3://bucket/photos -p dir",
            "backup --bucket=bucket/photos --prefix=dir",
            "backup dir -b bucket/photos",
            "backup -p dir s3://bucket/photos",
            "backup -- dir s3://bucket/photos/",
        ] {
            let (direction, config, mock, yes) = parsed(line);
            assert_eq!(direction, Direction::Backup);
            assert_eq!(config.dir, PathBuf::from("dir"), "{line}");
            assert_eq!(config.bucket.to_string(), "s3://bucket/photos/", "{line}");
            assert!(!mock && !yes);
        }
        for (line, mock, yes) in [
            ("restore s3://bucket dir", false, false),
            ("restore --yes s3://bucket dir", false, true),
            ("restore --mock s3://bucket dir", true, false),
            ("restore --dry-run s3://bucket dir", true, false),
            ("restoremock -b bucket -p dir --region eu-west-1", true, false),
        ] {
            let (direction, config, is_mock, is_yes) = parsed(line);
            assert_eq!(direction, Direction::Restore);
            assert_eq!(config.bucket.to_string(), "s3://bucket");
            assert_eq!((is_mock, is_yes), (mock, yes), "{line}");
        }
    }

    #[test]
    fn ls_and_du_name_a_bucket() {
        for line in [
            "ls s3://bucket/photos",
            "ls -b bucket/photos -R",
            "du --bucket=s3://bucket/photos/ -d 1",
            "-q du s3://bucket/photos --bytes",
        ] {
            let args = line.split(' ').map(str::to_owned).collect();
            let request = parse(args, Env::default()).unwrap().unwrap();
            let (Command::List { config, .. } | Command::Usage { config, .. }) = request.command
            else {
                panic!("{line}")
            };
            assert_eq!(config.bucket.to_string(), "s3://bucket/photos/", "{line}");
        }
    }

    #[test]
    fn each_guard_has_its_option() {
        let guards = |option: &str| parsed(&format!("backup dir s3://b{option}")).1.guards;
        assert_eq!(guards(""), Guards::default());
        let (allow_empty, allow_unrelated) = (true, true);
        assert_eq!(guards(" --allow-empty"), Guards { allow_empty, ..Guards::default() });
        assert_eq!(guards(" --allow-unrelated"), Guards { allow_unrelated, ..Guards::default() });
        let max_delete = Some(MaxDelete::Percent(5));
        assert_eq!(guards(" --max-delete 5%"), Guards { max_delete, ..Guards::default() });
    }

    #[test]
    fn directory_may_have_the_name_help() {
        for line in ["backup --yes help s3://b", "restore --yes s3://b help", "backup -b b help"] {
            assert_eq!(parsed(line).1.dir, PathBuf::from("help"), "{line}");
        }
        let cleanup = parse(vec!["cleanup".into(), "help".into()], Env::default()).unwrap();
        assert!(cleanup.is_ok_and(|request| matches!(request.command, Command::Cleanup { .. })));
    }

    #[test]
    fn every_command_has_help() {
        for command in COMMANDS.iter().filter(|name| !matches!(**name, "help" | "version")) {
            for help in ["-h", "--help"] {
                let args = vec![command.to_string(), help.to_owned()];
                let usage = parse(args, Env::default()).unwrap();
                assert!(usage.is_err_and(|usage| usage.was_requested), "{command} {help}");
            }
        }
    }

    #[test]
    fn arguments_may_be_written_in_several_ways() {
        let config = |line: &str| parsed(line).1;
        let is_mock = |line: &str| {
            let request = parse(line.split(' ').map(str::to_owned).collect(), Env::default());
            let Ok(Ok(Request { command: Command::Sync { mock, yes, .. }, output })) = request
            else {
                panic!("{line}")
            };
            (mock, yes, output.quiet)
        };
        assert_eq!(is_mock("backup -ynq d s3://b"), (true, true, true));
        assert_eq!(is_mock("-q backup --dryrun d s3://b"), (true, false, true));
        assert_eq!(config("backup -bbucket -p=d").dir, PathBuf::from("d"));
        let timeout = |line| config(line).transfer.stall_timeout.as_secs();
        assert_eq!(timeout("backup d s3://b --timeout 90"), 90);
        assert_eq!(timeout("--timeout=2m backup d s3://b"), 120);
        let wait = |line: &str| {
            let request = parse(line.split(' ').map(str::to_owned).collect(), Env::default());
            match request.unwrap().unwrap().command {
                Command::Sync { wait, .. } => wait.as_secs(),
                _ => panic!("{line}"),
            }
        };
        assert_eq!(wait("backup d s3://b"), 0);
        assert_eq!(wait("backup --wait 5m d s3://b"), 300);
        assert!(wait("backup --wait d s3://b") > 1_000_000_000);
        assert!(wait("backup d s3://b --wait") > 1_000_000_000);
        assert_eq!(config("backup -- -d s3://b").dir, PathBuf::from("-d"));
    }

    #[test]
    fn error_names_the_option_and_what_may_be_meant() {
        for (line, expected) in [
            ("backup d s3://b --yes=no", "--yes takes no value"),
            ("backup d s3://b -y=no", "there is no option -="),
            ("backup d s3://b --excluded x", "did you mean --exclude?"),
            ("backup d s3://b --frobnicate", "there is no option --frobnicate\n"),
            ("backup d s3://b --workers", "--workers needs a value"),
            ("backup d s3://b --workers many", "--workers"),
            ("backup d s3://b -x", "there is no option -x"),
            ("bakcup d s3://b", "did you mean backup?"),
            ("backup s3://b d", "source and target are swapped"),
            ("restore d s3://b", "or use `s3keep backup`"),
        ] {
            let args = line.split(' ').map(str::to_owned).collect();
            let text = match parse(args, Env::default()) {
                Ok(Err(usage)) => usage.text,
                Err(error) => format!("{error:#}"),
                Ok(Ok(_)) => panic!("{line}"),
            };
            assert!(text.contains(expected), "{line}: {text}");
        }
    }

    #[test]
    fn help_of_a_command_can_be_asked_for() {
        let usage = |line: &str| {
            let args = line.split(' ').map(str::to_owned).collect();
            parse(args, Env::default()).unwrap().err().unwrap()
        };
        assert!(usage("help backup").was_requested);
        assert_eq!(usage("help backup").text, usage("backup --help").text);
        assert!(usage("help").text.contains("s3keep cleanup"));
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        for line in [
            "backup dir",
            "backup s3://bucket dir",
            "backup dir bucket",
            "backup dir s3://bucket extra",
            "backup dir s3://bucket -b other",
            "restore dir s3://bucket",
            "cleanup",
            "cleanup a -p b",
            "ls",
            "ls dir",
            "du s3://bucket s3://other",
            "frobnicate a b",
        ] {
            let args = line.split(' ').map(str::to_owned).collect();
            assert!(parse(args, Env::default()).is_err(), "{line}");
        }
        for line in [
            "backup dir s3://b --read-data",
            "verify dir s3://b --yes",
            "backup --max-delete 101% dir s3://b",
        ] {
            let args = line.split(' ').map(str::to_owned).collect();
            assert!(
                parse(args, Env::default()).unwrap().is_err_and(|usage| !usage.was_requested),
                "{line}"
            );
        }
        assert_eq!(max_delete("40%"), Ok(MaxDelete::Percent(40)));
        assert_eq!(max_delete("40"), Ok(MaxDelete::Entries(40)));
    }
}
