//! The help texts, at most 80 columns wide.

use argh::{FlagInfo, FlagInfoKind};
use textwrap::Options;

use crate::{
    commands::{DEFINITIONS, Definition, GROUPS, TEXT_COMMANDS},
    environment::variable,
};

/// The width of a line.
const WIDTH: usize = 80;

/// The column at which the descriptions of options begin.
const DESCRIPTION: usize = 29;

/// A space at which no line ends.
pub const NO_BREAK_SPACE: char = '\u{a0}';

/// What follows the list of commands, and ends the manual page.
pub const ENVIRONMENT: &str = "\
Credentials, region and endpoint are read from the same places as the AWS tools read them: \
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL_S3, or a profile. \
Variables such as S3KEEP_WORKERS stand for options of location, performance and output: see `[env: ]` \
in the help of a command. An option wins over its variable.";

/// The exit codes and their meanings.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (s3keep::exit::SUCCESS, "success"),
    (s3keep::exit::FAILED, "failed"),
    (s3keep::exit::PARTIAL, "finished, but some entries failed, were skipped or (verify) differ"),
    (s3keep::exit::REFUSED, "refused by a guard, or not confirmed"),
    (s3keep::exit::BUSY, "another run is working in the directory, try later"),
    (s3keep::exit::INTERRUPTED, "interrupted"),
];

/// The help of the program.
pub fn overview() -> String {
    let mut text = "Keeps a directory in an S3 bucket and restores it.\n\nUsage: s3keep <command> [options] [arguments]\n\n".to_owned();
    let commands =
        DEFINITIONS.iter().map(|command| (command.name, command.arguments, command.summary));
    for (name, arguments, summary) in commands.chain(TEXT_COMMANDS.iter().copied()) {
        let command = format!("{name} {arguments}");
        text += &format!("  {command:<37} {summary}\n");
    }
    text += "\nA restore of s3://bucket/path/file restores this one object.\n\n";
    text += &paragraph(
        "`s3keep <command> --help` describes a command and its options, `-h` does so in short. For \
         older scripts, `backupmock` and `restoremock` are `backup --mock` and `restore --mock`, and \
         -b and -p name bucket and directory.",
    );
    text += "\n";
    text += &paragraph(ENVIRONMENT);
    let codes = EXIT_CODES.iter().map(|(code, meaning)| format!("{code} {meaning}"));
    text += "\n";
    text += &paragraph(&format!("Exit codes: {}.", codes.collect::<Vec<_>>().join("; ")));
    text
}

/// The help of a command. The short one has the first sentence of each description, and no examples.
pub fn of_command(command: &Definition, is_short: bool) -> String {
    let info = (command.info)();
    let mut text = format!("Usage: s3keep {} [options] {}\n", command.name, command.arguments);
    if !is_short {
        text += "\n";
        text += &paragraph(info.description);
        text += "\nExamples:\n";
        for example in info.examples {
            let (line, purpose) = example.split_once('\n').unwrap_or((example, ""));
            text += &format!("  {line}\n      {purpose}\n");
        }
    }
    for (title, options) in GROUPS {
        let mut flags = options
            .iter()
            .filter_map(|option| info.flags.iter().find(|flag| flag.long == *option))
            .peekable();
        if flags.peek().is_some() {
            text += &format!("\n{title}:\n");
        }
        for flag in flags {
            text += &option(flag, is_short);
        }
    }
    text += match is_short {
        true => "\n`--help` says more about each option.\n",
        false => "\n`s3keep help` lists the commands and exit codes.\n",
    };
    text
}

fn option(flag: &FlagInfo, is_short: bool) -> String {
    let names = format!("{}{}{}", short_name(flag), flag.long, value_name(flag));
    let description = match is_short {
        true => first_sentence(flag.description),
        false => description(flag),
    };
    let indent = " ".repeat(DESCRIPTION);
    let options = Options::new(WIDTH).initial_indent(&indent).subsequent_indent(&indent);
    let description = textwrap::fill(&description, options).replace(NO_BREAK_SPACE, " ");
    match names.len() + 3 < DESCRIPTION {
        true => format!("  {names:<width$}{}\n", description.trim_start(), width = DESCRIPTION - 2),
        false => format!("  {names}\n{description}\n"),
    }
}

/// The description of an option, with the environment variable that stands for it.
pub fn description(flag: &FlagInfo) -> String {
    let variable = variable(flag.long).map(|name| format!(" [env:{NO_BREAK_SPACE}{name}]"));
    format!("{}{}", flag.description, variable.unwrap_or_default())
}

fn short_name(flag: &FlagInfo) -> String {
    flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "))
}

/// The name of the value of an option, as ` <size>`. Empty for a switch.
pub fn value_name(flag: &FlagInfo) -> String {
    match flag.kind {
        FlagInfoKind::Switch => String::new(),
        FlagInfoKind::Option { arg_name } if flag.long == "--wait" => format!(" [{arg_name}]"),
        FlagInfoKind::Option { arg_name } => format!(" <{arg_name}>"),
    }
}

/// The first sentence of a description, and the default.
fn first_sentence(text: &str) -> String {
    let (first, rest) = text.split_once(". ").unwrap_or((text, ""));
    let default = rest.find("[default").map_or("", |at| &rest[at..]);
    format!("{first} {default}").trim_end().to_owned()
}

fn paragraph(text: &str) -> String {
    textwrap::fill(text, WIDTH) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_into_80_columns() {
        let texts = DEFINITIONS
            .iter()
            .flat_map(|command| [of_command(command, false), of_command(command, true)]);
        for text in texts.chain([overview()]) {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }

    #[test]
    fn help_describes_every_option_and_has_examples() {
        for command in DEFINITIONS {
            let (long, short) = (of_command(command, false), of_command(command, true));
            assert!(long.contains("\nExamples:\n  s3keep "), "{long}");
            assert!(short.lines().count() < long.lines().count());
            for flag in command.flags() {
                for text in [&long, &short] {
                    assert!(text.contains(&format!("{}{}", flag.long, value_name(flag))), "{text}");
                }
            }
        }
    }

    #[test]
    fn options_of_one_direction_belong_to_its_command_only() {
        let help = |name: &str| of_command(crate::commands::definition(name).unwrap(), false);
        for (option, name, other) in [
            ("--checksum-algorithm", "backup", "restore"),
            ("--unsigned-payload", "backup", "restore"),
            ("--accept-incomplete", "backup", "restore"),
            ("--file-mode", "restore", "backup"),
            ("--no-sync", "restore", "backup"),
        ] {
            assert!(help(name).contains(option), "{option}");
            assert!(!help(other).contains(option), "{option}");
        }
    }
}
