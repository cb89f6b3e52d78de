//! The command line: arguments become a request, or a text to print.

use anyhow::{Result, anyhow};
use s3keep::Env;

use crate::{
    arguments::{nearest, normalize},
    commands::{DEFINITIONS, Definition, MOCK_ALIASES, TEXT_COMMANDS, definition},
    completions::{self, Shell},
    environment, help, man,
    request::Request,
};

/// A text to print instead of running a command: help, the version, or a usage error.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Usage {
    pub text: String,
    /// Whether the user requested the text. Otherwise it is an error.
    pub was_requested: bool,
}

fn names() -> impl Iterator<Item = &'static str> {
    let commands = DEFINITIONS.iter().map(|command| command.name);
    let aliases = MOCK_ALIASES.iter().map(|(alias, _)| *alias);
    commands.chain(aliases).chain(TEXT_COMMANDS.iter().map(|(name, ..)| *name))
}

/// Parses the arguments after the program's name. Settings that they do not contain come from `env`.
pub fn parse(args: Vec<String>, env: Env) -> Result<Result<Request, Usage>> {
    request(args, env).map(Ok).or_else(|error| error.downcast::<Usage>().map(Err))
}

fn request(args: Vec<String>, env: Env) -> Result<Request> {
    let print = |text: String, was_requested| Err(Usage { text, was_requested }.into());
    // Options may come before the command.
    let at = match args.first() {
        None => return print(help::overview(), false),
        Some(first) if !first.starts_with('-') => 0,
        Some(_) => args.iter().position(|arg| names().any(|name| name == arg)).unwrap_or_default(),
    };
    let name = args[at].as_str();
    let mut rest = [&args[..at], &args[at + 1..]].concat();
    if let Some(command) = definition(name) {
        return command_request(command, &rest, env);
    }
    if let Some((_, name)) = MOCK_ALIASES.iter().find(|(alias, _)| *alias == name) {
        rest.insert(0, (*name).to_owned());
        rest.insert(1, "--mock".to_owned());
        return request(rest, env);
    }
    // Commands that print a text have no options.
    let asks_for_help = |arg: &String| matches!(arg.as_str(), "-h" | "--help");
    let topic = rest.iter().find(|arg| !asks_for_help(arg)).map(String::as_str);
    match name {
        "completions" if !rest.iter().any(asks_for_help) => {
            let shell = topic.ok_or_else(|| anyhow!("expected: completions {}", Shell::NAMES))?;
            print(completions::script(shell.parse()?), true)
        }
        "man" if !rest.iter().any(asks_for_help) => match topic.map(definition) {
            Some(None) => Err(unknown_command(topic.unwrap_or_default())),
            command => print(man::page(command.flatten()), true),
        },
        "help" => match topic.and_then(definition) {
            Some(command) => print(help::of_command(command, false), true),
            None => print(help::overview(), true),
        },
        "--help" | "-h" | "completions" | "man" => print(help::overview(), true),
        "version" | "--version" | "-V" => {
            print(concat!("s3keep ", env!("CARGO_PKG_VERSION"), "\n").to_owned(), true)
        }
        other => Err(unknown_command(other)),
    }
}

fn unknown_command(name: &str) -> anyhow::Error {
    let suggestion = nearest(name, names()).map(|name| format!("; did you mean {name}?"));
    anyhow!(
        "there is no command '{name}'{}\n`s3keep help` lists the commands",
        suggestion.unwrap_or_default()
    )
}

fn command_request(command: &Definition, args: &[String], env: Env) -> Result<Request> {
    let wrong = |why: &str| {
        let (why, name) = (why.trim_end(), command.name);
        let text = format!("s3keep: {why}\n`s3keep {name} --help` lists the options\n");
        Usage { text, was_requested: false }
    };
    let args = normalize(args, &(command.info)()).map_err(|why| wrong(&why))?;
    let options = environment::options(command, &args, &env).map_err(|why| wrong(&why))?;
    let args: Vec<String> =
        options.iter().flat_map(environment::FromVariable::arguments).chain(args).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match (command.request)(command.name, &args, env) {
        Ok(request) => request.map_err(|error| {
            match environment::name_variables(&format!("{error:#}"), &options) {
                Some(variables) => error.context(variables),
                None => error,
            }
        }),
        // The text of argh has neither groups nor examples.
        Err(exit) if exit.status.is_ok() => {
            let text = help::of_command(command, !args.contains(&"--help"));
            Err(Usage { text, was_requested: true }.into())
        }
        Err(exit) => Err(wrong(&exit.output).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use s3keep::{Config, Direction, Guards, MaxDelete};

    use super::*;
    use crate::request::Command;

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
        for command in names().filter(|name| !matches!(*name, "help" | "version")) {
            for help in ["-h", "--help"] {
                let args = vec![command.to_owned(), help.to_owned()];
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
        assert_eq!(wait("backup --wait 2 d s3://b"), 2);
        assert!(wait("backup --wait d s3://b") > 1_000_000_000);
        assert!(wait("backup d s3://b --wait") > 1_000_000_000);
        assert_eq!(config("backup -- -d s3://b").dir, PathBuf::from("-d"));
    }

    #[test]
    fn error_names_the_option_and_what_may_be_meant() {
        for (line, expected) in [
            ("backup d s3://b --yes=no", "--yes takes no value"),
            ("backup d s3://b -y=no", "there is no option -="),
            ("backup d s3://b --no-sync", "--no-sync is an option of restore"),
            ("restore s3://b d --checksum-algorithm none", "is an option of backup"),
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
        assert!(usage("help").text.contains("  cleanup <dir> "));
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
    }
}
