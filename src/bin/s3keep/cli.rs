//! The command line, in two steps: words into flags, flags into plain resolved data.
//!
//! The only file that names the argument parser.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use argh::FromArgs;
use bytesize::ByteSize;
use s3keep::{
    Access, AccessOptions, BucketUrl, Config, Direction, Env, Guards, Links, MaxDelete,
    TransferConfig,
};

/// What was asked for, ready to be done.
pub struct Request {
    pub command: Command,
    pub output: Output,
}

pub enum Command {
    Sync { direction: Direction, config: Config, mock: bool, yes: bool },
    Verify { config: Config, read_data: bool },
    Cleanup { dir: PathBuf, mock: bool },
}

/// How results are told.
#[derive(Clone, Copy, Default)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
}

/// What the words came to, when not to a request: text to print, and whether it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Early {
    pub text: String,
    pub asked_for: bool,
}

const USAGE: &str = "\
Keeps a directory in an S3 bucket and gets it back.

  s3keep backup  <dir> <s3://bucket[/prefix]>   make the bucket mirror the directory
  s3keep restore <s3://bucket[/prefix]> <dir>   make the directory mirror the bucket
  s3keep verify  <dir> <s3://bucket[/prefix]>   compare content; change nothing
  s3keep cleanup <dir>                          remove empty directories

`s3keep <command> --help` lists the options. backupmock and restoremock are backup and restore with
--mock; -b, -p and --region name bucket, directory and region as in older scripts.

Credentials, region and endpoint come from where the AWS tools look for them: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL_S3, or a profile. Exit codes: 0 done, 1 failed,
2 finished but some entries failed, were left out or (verify) differ, 3 refused, 130 interrupted.
";

/// The options that say where the bucket is and how it is reached, and then some of the command's own.
macro_rules! reaching_a_bucket {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(FromArgs)]
        // Not the parser's usual `help` as well: that may be the name of a directory.
        #[argh(help_triggers("-h", "--help"))]
        struct $name {
            /// the directory and the bucket, s3://bucket[/prefix]: the source first
            #[argh(positional)]
            places: Vec<String>,
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
            /// auto, path or virtual: where the bucket's name goes in the URL
            #[argh(option)]
            addressing_style: Option<s3keep::Addressing>,
            /// send unsigned requests, for public buckets
            #[argh(switch)]
            unsigned: bool,
            /// follow: links to directories count as directories, too; skip: no link counts. Without it,
            /// links to files do. No link is ever followed out of the directory
            #[argh(option, from_str_fn(links))]
            links: Option<Links>,
            /// how many requests are under way at once
            #[argh(option)]
            workers: Option<usize>,
            /// size of the parts that large objects travel in, such as 16MiB
            #[argh(option)]
            part_size: Option<ByteSize>,
            /// how often a request that failed for a passing reason is tried again
            #[argh(option)]
            retries: Option<u32>,
            /// how long a connection may stand still, such as 60s
            #[argh(option, from_str_fn(duration))]
            timeout: Option<Duration>,
            /// one JSON object a line on standard output
            #[argh(switch)]
            json: bool,
            /// print failures, warnings and verify's differences only
            #[argh(switch, short = 'q')]
            quiet: bool,
            $($own)*
        }

        impl $name {
            fn config(&self, direction: Direction, env: Env) -> Result<Config> {
                let (dir, bucket) = places(direction, &self.places, &self.prefix, &self.bucket)?;
                let options = AccessOptions {
                    profile: self.profile.clone(),
                    region: self.region.clone(),
                    endpoint: self.endpoint_url.clone(),
                    addressing: self.addressing_style,
                    unsigned: self.unsigned,
                };
                let access = Access::resolve(options, env)?;
                let mut config = Config::new(dir, bucket, access);
                let usual = config.transfer.clone();
                config.links = self.links.unwrap_or_default();
                config.transfer = TransferConfig {
                    workers: self.workers.unwrap_or(usual.workers),
                    part_size: self.part_size.map_or(usual.part_size, |size| size.as_u64()),
                    retries: self.retries.unwrap_or(usual.retries),
                    stall_timeout: self.timeout.unwrap_or(usual.stall_timeout),
                    ..usual
                };
                Ok(config)
            }

            fn output(&self) -> Output {
                Output { json: self.json, quiet: self.quiet }
            }
        }
    };
}

reaching_a_bucket! {
    /// Make the target mirror the source: transfer what is missing or differs, then delete what the
    /// source doesn't have.
    struct Sync {
        /// show what would be done and do nothing
        #[argh(switch)]
        mock: bool,
        /// the same as --mock
        #[argh(switch)]
        dry_run: bool,
        /// do it without asking
        #[argh(switch, short = 'y')]
        yes: bool,
        /// where sizes are equal, let the content decide, whatever the times say
        #[argh(switch)]
        checksum: bool,
        /// delete nothing
        #[argh(switch)]
        no_delete: bool,
        /// let an empty source empty the target
        #[argh(switch)]
        allow_empty: bool,
        /// how much may be deleted: a number of entries, or P% of the target's
        #[argh(option, from_str_fn(max_delete))]
        max_delete: Option<MaxDelete>,
        /// don't wait for restored files to be on the disk
        #[argh(switch)]
        no_sync: bool,
        /// leave the content of uploads out of the signature over http, as it is over https
        #[argh(switch)]
        unsigned_payload: bool,
        /// the checksum that goes with uploads: crc64nvme (default), crc32, crc32c, sha1, sha256, none
        #[argh(option)]
        checksum_algorithm: Option<s3keep::Checksum>,
    }
}

reaching_a_bucket! {
    /// Compare every file with its object by content. Changes nothing.
    struct Verify {
        /// download and compare what the server has no checksum of
        #[argh(switch)]
        read_data: bool,
    }
}

/// Remove empty directories, nested ones too; never the directory itself.
#[derive(FromArgs)]
#[argh(help_triggers("-h", "--help"))]
struct Cleanup {
    /// the directory
    #[argh(positional)]
    dir: Option<String>,
    /// the directory
    #[argh(option, short = 'p')]
    prefix: Option<String>,
    /// show what would be removed and do nothing
    #[argh(switch)]
    mock: bool,
    /// the same as --mock
    #[argh(switch)]
    dry_run: bool,
    /// one JSON object a line on standard output
    #[argh(switch)]
    json: bool,
    /// print failures and warnings only
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// Reads the words after the program's name, and what they leave open from `env`.
pub fn parse(words: Vec<String>, env: Env) -> Result<Result<Request, Early>> {
    request(words, env).map(Ok).or_else(|error| error.downcast::<Early>().map(Err))
}

fn request(words: Vec<String>, env: Env) -> Result<Request> {
    let say = |text: &str, asked_for| Err(Early { text: text.to_owned(), asked_for }.into());
    let Some((name, rest)) = words.split_first() else { return say(USAGE, false) };
    match name.as_str() {
        "backup" => read::<Sync>(name, rest)?.request(Direction::Backup, false, env),
        "backupmock" => read::<Sync>(name, rest)?.request(Direction::Backup, true, env),
        "restore" => read::<Sync>(name, rest)?.request(Direction::Restore, false, env),
        "restoremock" => read::<Sync>(name, rest)?.request(Direction::Restore, true, env),
        "verify" => read::<Verify>(name, rest)?.request(env),
        "cleanup" => read::<Cleanup>(name, rest)?.request(),
        "help" | "--help" | "-h" => say(USAGE, true),
        "version" | "--version" | "-V" => {
            say(concat!("s3keep ", env!("CARGO_PKG_VERSION"), "\n"), true)
        }
        other => bail!("'{other}' is no command of s3keep; `s3keep help` lists them"),
    }
}

fn read<Flags: FromArgs>(command: &str, words: &[String]) -> Result<Flags, Early> {
    let words = split_values(words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Flags::from_args(&["s3keep", command], &words)
        .map_err(|exit| Early { text: exit.output, asked_for: exit.status.is_ok() })
}

impl Sync {
    fn request(self, direction: Direction, mock: bool, env: Env) -> Result<Request> {
        let mut config = self.config(direction, env)?;
        config.by_content = self.checksum;
        config.no_delete = self.no_delete;
        config.guards = Guards { allow_empty: self.allow_empty, max_delete: self.max_delete };
        config.transfer.no_sync = self.no_sync;
        config.transfer.unsigned_payload = self.unsigned_payload;
        config.transfer.checksum = self.checksum_algorithm.unwrap_or(config.transfer.checksum);
        let mock = mock || self.mock || self.dry_run;
        let command = Command::Sync { direction, config, mock, yes: self.yes };
        Ok(Request { command, output: self.output() })
    }
}

impl Verify {
    fn request(self, env: Env) -> Result<Request> {
        let config = self.config(Direction::Backup, env)?;
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
        let command = Command::Cleanup { dir: dir.into(), mock: self.mock || self.dry_run };
        Ok(Request { command, output: Output { json: self.json, quiet: self.quiet } })
    }
}

/// The parser knows `--flag value`; everybody also writes `--flag=value`.
fn split_values(words: &[String]) -> Vec<String> {
    let mut only_places = false;
    let mut split = Vec::with_capacity(words.len());
    for word in words {
        only_places |= word == "--";
        match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") && !only_places => {
                split.extend([flag.to_owned(), value.to_owned()]);
            }
            _ => split.push(word.clone()),
        }
    }
    split
}

/// Which is the directory and which the bucket: by position, or by the names of older scripts.
fn places(
    direction: Direction,
    places: &[String],
    dir: &Option<String>,
    bucket: &Option<String>,
) -> Result<(PathBuf, BucketUrl)> {
    let wrong = || {
        anyhow!(match direction {
            Direction::Backup => "expected: <dir> <s3://bucket[/prefix]>",
            Direction::Restore => "expected: <s3://bucket[/prefix]> <dir>",
        })
    };
    let (dir, bucket, named) = match (places, dir, bucket) {
        ([source, target], None, None) => match direction {
            Direction::Backup => (source, target, false),
            Direction::Restore => (target, source, false),
        },
        ([dir], None, Some(bucket)) | ([], Some(dir), Some(bucket)) => (dir, bucket, true),
        ([bucket], Some(dir), None) => (dir, bucket, false),
        _ => return Err(wrong()),
    };
    if dir.starts_with("s3://") || dir.is_empty() {
        return Err(wrong());
    }
    let url = if named && !bucket.starts_with("s3://") {
        format!("s3://{bucket}")
    } else {
        bucket.clone()
    };
    Ok((PathBuf::from(dir), url.parse().with_context(wrong)?))
}

fn links(text: &str) -> Result<Links, String> {
    match text {
        "follow" => Ok(Links::Follow),
        "skip" => Ok(Links::Skip),
        _ => Err(format!("'{text}' is neither follow nor skip")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
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
        let words = line.split(' ').map(str::to_owned).collect();
        match parse(words, Env::default()).unwrap() {
            Ok(Request { command: Command::Sync { direction, config, mock, yes }, .. }) => {
                (direction, config, mock, yes)
            }
            _ => panic!("{line} is a backup or restore"),
        }
    }

    #[test]
    fn both_spellings_name_the_same_places() {
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
    fn a_directory_may_be_called_help() {
        for line in ["backup --yes help s3://b", "restore --yes s3://b help", "backup -b b help"] {
            assert_eq!(parsed(line).1.dir, PathBuf::from("help"), "{line}");
        }
        let cleanup = parse(vec!["cleanup".into(), "help".into()], Env::default()).unwrap();
        assert!(cleanup.is_ok_and(|request| matches!(request.command, Command::Cleanup { .. })));
    }

    #[test]
    fn every_command_explains_itself() {
        for command in ["backup", "backupmock", "restore", "restoremock", "verify", "cleanup"] {
            for help in ["-h", "--help"] {
                let words = vec![command.to_owned(), help.to_owned()];
                let early = parse(words, Env::default()).unwrap();
                assert!(early.is_err_and(|early| early.asked_for), "{command} {help}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "backup dir",
            "backup s3://bucket dir",
            "backup dir bucket",
            "backup dir s3://bucket extra",
            "backup dir s3://bucket -b other",
            "restore dir s3://bucket",
            "cleanup",
            "cleanup a -p b",
            "frobnicate a b",
        ] {
            let words = line.split(' ').map(str::to_owned).collect();
            assert!(parse(words, Env::default()).is_err(), "{line}");
        }
        for line in [
            "backup dir s3://b --read-data",
            "verify dir s3://b --yes",
            "backup --max-delete 101% dir s3://b",
        ] {
            let words = line.split(' ').map(str::to_owned).collect();
            assert!(
                parse(words, Env::default()).unwrap().is_err_and(|early| !early.asked_for),
                "{line}"
            );
        }
        assert_eq!(max_delete("40%"), Ok(MaxDelete::Percent(40)));
        assert_eq!(max_delete("40"), Ok(MaxDelete::Entries(40)));
    }
}
