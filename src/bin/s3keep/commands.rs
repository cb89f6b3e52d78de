//! The commands: their names, arguments and options, for parsing, help, completions and manual pages.

use anyhow::Result;
use argh::{CommandInfoWithArgs, EarlyExit, FlagInfo};
use s3keep::Env;

use crate::{
    flags::{Backup, Cleanup, Du, Flags, Ls, Restore, Verify},
    request::Request,
};

/// Turns the name of a command and its arguments into a request.
pub type Parse = fn(&str, &[&str], Env) -> Result<Result<Request>, EarlyExit>;

/// A command that works with directories and buckets.
pub struct Definition {
    pub name: &'static str,
    /// The arguments that are no options.
    pub arguments: &'static str,
    pub summary: &'static str,
    /// The description of its options.
    pub info: fn() -> CommandInfoWithArgs,
    pub request: Parse,
}

impl Definition {
    /// Its options, except for `--help`.
    pub fn flags(&self) -> impl Iterator<Item = &'static FlagInfo<'static>> {
        (self.info)().flags.iter().filter(|flag| flag.long != "--help")
    }
}

const fn define<F: Flags>(
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
) -> Definition {
    let request: Parse =
        |name, args, env| F::from_args(&["s3keep", name], args).map(|flags| flags.request(env));
    Definition { name, arguments, summary, info: F::get_args_info, request }
}

const DIR_FIRST: &str = "<dir> <s3://bucket[/prefix]>";
const BUCKET_FIRST: &str = "<s3://bucket[/prefix]> <dir>";
const BUCKET: &str = "<s3://bucket[/prefix]>";

/// The commands that work with directories and buckets.
pub const DEFINITIONS: &[Definition] = &[
    define::<Backup>("backup", DIR_FIRST, "make the bucket mirror the directory"),
    define::<Restore>("restore", BUCKET_FIRST, "make the directory mirror the bucket"),
    define::<Verify>("verify", DIR_FIRST, "compare contents, change nothing"),
    define::<Ls>("ls", BUCKET, "list objects and directories"),
    define::<Du>("du", BUCKET, "add up the sizes of each directory"),
    define::<Cleanup>("cleanup", "<dir>", "remove empty directories"),
];

/// The commands that print a text: name, arguments, summary.
pub const TEXT_COMMANDS: &[(&str, &str, &str)] = &[
    ("completions", "<shell>", "print completions for bash, zsh or fish"),
    ("man", "[command]", "print a manual page"),
    ("help", "[command]", "print a help text"),
    ("version", "", "print the version"),
];

/// The names in older scripts, and what they stand for: the command with `--mock`.
pub const MOCK_ALIASES: &[(&str, &str)] = &[("backupmock", "backup"), ("restoremock", "restore")];

/// The command of this name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|command| command.name == name)
}

/// The options of a command, in groups with a title.
pub const GROUPS: &[(&str, &[&str])] = &[
    (
        "Behaviour",
        &[
            "--mock",
            "--dry-run",
            "--yes",
            "--wait",
            "--checksum",
            "--ignore-ctime",
            "--no-record",
            "--read-data",
            "--accept-incomplete",
            "--file-mode",
            "--no-sync",
            "--recursive",
            "--max-depth",
        ],
    ),
    (
        "Deletion and guards",
        &[
            "--no-delete",
            "--delete-excluded",
            "--max-delete",
            "--allow-empty",
            "--allow-unrelated",
            "--allow-doubt",
        ],
    ),
    (
        "Selection",
        &[
            "--exclude",
            "--include",
            "--exclude-from",
            "--min-size",
            "--max-size",
            "--newer-than",
            "--older-than",
            "--one-file-system",
            "--exclude-caches",
            "--links",
            "--special",
        ],
    ),
    (
        "Location",
        &[
            "--bucket",
            "--prefix",
            "--region",
            "--profile",
            "--endpoint-url",
            "--addressing-style",
            "--unsigned",
            "--request-payer",
            "--expected-bucket-owner",
        ],
    ),
    (
        "Performance",
        &[
            "--workers",
            "--part-size",
            "--bwlimit",
            "--retries",
            "--timeout",
            "--checksum-algorithm",
            "--unsigned-payload",
        ],
    ),
    ("Output", &["--list", "--json", "--quiet", "--bytes"]),
];

/// The values of options that take one of a few words.
pub const VALUES: &[(&str, &str)] = &[
    ("--addressing-style", "auto path virtual"),
    ("--links", "follow skip"),
    ("--special", "skip"),
    ("--checksum-algorithm", "crc64nvme crc32 crc32c sha1 sha256 none"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_one_group() {
        for command in DEFINITIONS {
            for flag in command.flags() {
                let groups = GROUPS.iter().filter(|(_, options)| options.contains(&flag.long));
                assert_eq!(groups.count(), 1, "{} {}", command.name, flag.long);
            }
        }
        let known: Vec<_> = DEFINITIONS.iter().flat_map(Definition::flags).collect();
        for option in GROUPS.iter().flat_map(|(_, options)| *options) {
            assert!(known.iter().any(|flag| flag.long == *option), "{option}");
        }
        for (option, _) in VALUES {
            assert!(known.iter().any(|flag| flag.long == *option), "{option}");
        }
    }
}
