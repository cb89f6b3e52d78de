//! Environment variables that stand for options: `S3KEEP_WORKERS` for `--workers`.
//!
//! The names follow from those of the options. An option on the command line wins over its variable.
//! Options that permit something, delete something, or select what a run looks at have no variable: the
//! command line must show them.

use argh::CommandInfoWithArgs;
use s3keep::Env;

use crate::{
    arguments::{is_switch, nearest},
    commands::{DEFINITIONS, Definition, GROUPS},
};

/// The start of the names.
const PREFIX: &str = "S3KEEP_";

/// What follows it in the variables of the test suite.
const OF_TESTS: &str = "TEST_";

/// The groups of options that have variables.
const GROUPS_WITH_VARIABLES: &[&str] = &["Location", "Performance", "Output"];

/// Options of these groups that have none, because they stand for arguments.
const ARGUMENTS: &[&str] = &["--bucket", "--prefix"];

/// Options for which the AWS tools have a variable. The library reads it.
const AWS_VARIABLES: &[(&str, &str)] = &[
    ("--region", "AWS_REGION"),
    ("--profile", "AWS_PROFILE"),
    ("--endpoint-url", "AWS_ENDPOINT_URL_S3"),
];

/// An option that a variable sets, as arguments.
pub struct FromVariable {
    variable: String,
    option: &'static str,
    value: Option<String>,
}

impl FromVariable {
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        [Some(self.option.to_owned()), self.value.clone()].into_iter().flatten()
    }
}

/// The variable that a help text names for an option.
pub fn variable(option: &str) -> Option<String> {
    aws_variable(option).map(str::to_owned).or_else(|| own_variable(option))
}

fn aws_variable(option: &str) -> Option<&'static str> {
    AWS_VARIABLES.iter().find(|(other, _)| *other == option).map(|(_, variable)| *variable)
}

/// The variable of an option, unless the AWS tools have one.
fn own_variable(option: &str) -> Option<String> {
    let may_have_one = GROUPS
        .iter()
        .any(|(group, options)| GROUPS_WITH_VARIABLES.contains(group) && options.contains(&option));
    let has_one = may_have_one && !ARGUMENTS.contains(&option) && aws_variable(option).is_none();
    has_one.then(|| name(option))
}

fn name(option: &str) -> String {
    format!("{PREFIX}{}", option.trim_start_matches('-').replace('-', "_").to_uppercase())
}

/// The options that variables set, and that the arguments do not contain. `args` are in normal form.
///
/// # Errors
/// Describes a variable whose value is not valid.
pub fn options(
    command: &Definition,
    args: &[String],
    env: &Env,
) -> Result<Vec<FromVariable>, String> {
    let info = (command.info)();
    let Some(given) = given_options(args, &info) else { return Ok(Vec::new()) };
    let mut options = Vec::new();
    for flag in info.flags {
        let option = flag.long;
        let Some(variable) = own_variable(option) else { continue };
        let Some(value) = env.get(&variable).filter(|_| !given.contains(&option)) else { continue };
        let value = if is_switch(flag) {
            match is_on(value) {
                None => return Err(format!("{variable} is '{value}'; use true or false")),
                Some(false) => continue,
                Some(true) => None,
            }
        } else {
            // Parsed alone, so that an error concerns this value.
            if let Err(exit) = (command.request)(command.name, &[option, value], Env::default()) {
                return Err(format!("{variable} is not valid: {}", exit.output.trim_end()));
            }
            Some(value.to_owned())
        };
        options.push(FromVariable { variable, option, value });
    }
    Ok(options)
}

/// The options that the arguments contain, by their long names. `None` if they ask for help.
fn given_options(args: &[String], info: &CommandInfoWithArgs) -> Option<Vec<&'static str>> {
    let mut given = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next().filter(|arg| *arg != "--") {
        if matches!(arg.as_str(), "-h" | "--help") {
            return None;
        }
        let is_named = |short: Option<char>| short.is_some_and(|c| *arg == format!("-{c}"));
        let flag = info.flags.iter().find(|flag| flag.long == arg || is_named(flag.short));
        if let Some(flag) = flag {
            given.push(flag.long);
            if !is_switch(flag) {
                args.next();
            }
        }
    }
    Some(given)
}

/// The value of a switch.
fn is_on(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Names the variables that set an option which an error message is about.
pub fn name_variables(message: &str, options: &[FromVariable]) -> Option<String> {
    let set = options.iter().filter(|from| message.contains(from.option));
    let set: Vec<_> = set.map(|from| format!("{} sets {}", from.variable, from.option)).collect();
    (!set.is_empty()).then(|| set.join(", "))
}

/// A warning for each variable of the environment that looks like one of ours, but has no effect.
pub fn warnings(names: impl Iterator<Item = String>) -> Vec<String> {
    let options = || DEFINITIONS.iter().flat_map(Definition::flags).map(|flag| flag.long);
    let known: Vec<String> = options().filter_map(own_variable).collect();
    let warn = |variable: String| {
        let rest = variable.strip_prefix(PREFIX)?;
        if rest.starts_with(OF_TESTS) || known.contains(&variable) {
            return None;
        }
        let advice = match options().find(|option| name(option) == variable) {
            Some(option) => match aws_variable(option) {
                Some(other) => format!("use {other}"),
                None => format!("{option} is an option of the command line only"),
            },
            // Compared without the prefix, which makes all names similar.
            None => match nearest(rest, known.iter().map(|other| &other[PREFIX.len()..])) {
                Some(other) => format!("did you mean {PREFIX}{other}?"),
                None => "no option has this variable".to_owned(),
            },
        };
        Some(format!("the environment variable {variable} has no effect: {advice}"))
    };
    let mut warnings: Vec<String> = names.filter_map(warn).collect();
    warnings.sort();
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::definition;

    fn from_env(name: &str, args: &str, vars: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let env = vars.iter().copied().collect();
        let options = options(definition(name).unwrap(), &args, &env)?;
        Ok(options.iter().flat_map(FromVariable::arguments).collect())
    }

    #[test]
    fn each_option_of_location_performance_and_output_has_a_variable() {
        for (option, expected) in [
            ("--workers", Some("S3KEEP_WORKERS")),
            ("--part-size", Some("S3KEEP_PART_SIZE")),
            ("--bwlimit", Some("S3KEEP_BWLIMIT")),
            ("--retries", Some("S3KEEP_RETRIES")),
            ("--timeout", Some("S3KEEP_TIMEOUT")),
            ("--addressing-style", Some("S3KEEP_ADDRESSING_STYLE")),
            ("--expected-bucket-owner", Some("S3KEEP_EXPECTED_BUCKET_OWNER")),
            ("--json", Some("S3KEEP_JSON")),
            ("--quiet", Some("S3KEEP_QUIET")),
            ("--region", Some("AWS_REGION")),
            ("--endpoint-url", Some("AWS_ENDPOINT_URL_S3")),
            ("--bucket", None),
            ("--prefix", None),
        ] {
            assert_eq!(variable(option).as_deref(), expected, "{option}");
        }
    }

    #[test]
    fn options_that_permit_delete_or_select_have_no_variable() {
        let others = GROUPS.iter().filter(|(group, _)| !GROUPS_WITH_VARIABLES.contains(group));
        let others: Vec<&str> = others.flat_map(|(_, options)| *options).copied().collect();
        for option in ["--yes", "--mock", "--no-delete", "--allow-empty", "--exclude", "--links"] {
            assert!(others.contains(&option), "{option}");
        }
        for option in others {
            assert_eq!(variable(option), None, "{option}");
            for command in DEFINITIONS {
                let name = name(option);
                let found = from_env(command.name, "", &[(&name, "true")]);
                assert_eq!(found, Ok(Vec::new()), "{option}");
            }
        }
    }

    #[test]
    fn every_variable_sets_its_option() {
        let values = [
            ("--workers", "7"),
            ("--part-size", "5MiB"),
            ("--bwlimit", "1MiB/s"),
            ("--retries", "3"),
            ("--timeout", "5s"),
            ("--addressing-style", "path"),
            ("--checksum-algorithm", "none"),
            ("--expected-bucket-owner", "123456789012"),
        ];
        for command in DEFINITIONS {
            for flag in command.flags() {
                let Some(variable) = own_variable(flag.long) else { continue };
                let value = values.iter().find(|(option, _)| *option == flag.long);
                let (value, expected) = match value {
                    Some((option, value)) => (*value, vec![*option, *value]),
                    None => ("true", vec![flag.long]),
                };
                if !is_switch(flag) && expected.len() == 1 {
                    continue;
                }
                let env = [(variable.as_str(), value)];
                let found = from_env(command.name, "", &env);
                assert_eq!(found.unwrap(), expected, "{} {variable}", command.name);
                // The option on the command line wins.
                let line = expected.join(" ");
                assert_eq!(from_env(command.name, &line, &env), Ok(Vec::new()), "{line}");
            }
        }
    }

    #[test]
    fn option_on_the_command_line_wins_wherever_it_stands() {
        let env = [("S3KEEP_WORKERS", "7"), ("S3KEEP_QUIET", "1")];
        let added = |line| from_env("backup", line, &env).unwrap().join(" ");
        assert_eq!(added("d s3://b"), "--workers 7 --quiet");
        assert_eq!(added("d s3://b --workers 3"), "--quiet");
        assert_eq!(added("-q d s3://b"), "--workers 7");
        // The value of another option, and a directory.
        assert_eq!(added("--exclude --workers d s3://b"), "--workers 7 --quiet");
        assert_eq!(added("-- --workers s3://b"), "--workers 7 --quiet");
        assert_eq!(added("--help"), "");
        let ls = from_env("ls", "s3://b", &[("S3KEEP_PART_SIZE", "5MiB")]);
        assert_eq!(ls, Ok(Vec::new()), "the command has no such option");
    }

    #[test]
    fn invalid_value_is_an_error_that_names_the_variable() {
        for (variable, value) in [
            ("S3KEEP_WORKERS", "many"),
            ("S3KEEP_PART_SIZE", "big"),
            ("S3KEEP_TIMEOUT", "soon"),
            ("S3KEEP_BWLIMIT", "10"),
            ("S3KEEP_ADDRESSING_STYLE", "round"),
            ("S3KEEP_CHECKSUM_ALGORITHM", "crc"),
            ("S3KEEP_QUIET", "maybe"),
            ("S3KEEP_JSON", "2"),
        ] {
            let error = from_env("backup", "d s3://b", &[(variable, value)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn switch_is_on_or_off_by_several_words() {
        for (value, expected) in
            [("true", "--quiet"), ("1", "--quiet"), ("YES", "--quiet"), ("false", ""), ("0", "")]
        {
            let added = from_env("backup", "d s3://b", &[("S3KEEP_QUIET", value)]).unwrap();
            assert_eq!(added.join(" "), expected, "{value}");
        }
        assert_eq!(from_env("backup", "d s3://b", &[("S3KEEP_QUIET", "")]), Ok(Vec::new()));
    }

    #[test]
    fn unknown_variable_is_a_warning_with_the_nearest_name() {
        let warning =
            |name: &str| warnings([name.to_owned()].into_iter()).pop().unwrap_or_default();
        for (name, expected) in [
            ("S3KEEP_WORKER", "did you mean S3KEEP_WORKERS?"),
            ("S3KEEP_BW_LIMIT", "did you mean S3KEEP_BWLIMIT?"),
            ("S3KEEP_YES", "--yes is an option of the command line only"),
            ("S3KEEP_MAX_DELETE", "--max-delete is an option of the command line only"),
            ("S3KEEP_REGION", "use AWS_REGION"),
            ("S3KEEP_FROBNICATE", "no option has this variable"),
        ] {
            let warning = warning(name);
            assert!(warning.contains(name) && warning.contains(expected), "{warning}");
        }
        for name in ["S3KEEP_WORKERS", "S3KEEP_TEST_ENDPOINT", "PATH", "AWS_REGION"] {
            assert_eq!(warning(name), "", "{name}");
        }
    }
}
