//! Arguments as users write them, in the form that the parser accepts.
//!
//! argh accepts `--option value` and single short switches, and its errors do not say what was meant.

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind};

use crate::commands::{DEFINITIONS, Definition};

/// How long `--wait` without a time waits.
const LONGEST_WAIT: &str = "100years";

/// How similar two names must be, from 0 to 1, if one is a typing error for the other.
const MIN_SIMILARITY: f64 = 0.8;

/// Splits `--option=value`, `-yq` and `-bNAME`.
///
/// # Errors
/// Describes an option that does not exist, lacks its value, or takes none.
pub fn normalize(args: &[String], command: &CommandInfoWithArgs) -> Result<Vec<String>, String> {
    let mut normal = Vec::with_capacity(args.len());
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            normal.push(arg.clone());
            normal.extend(args.by_ref().cloned());
        } else if matches!(arg.as_str(), "-h" | "--help" | "-") || !arg.starts_with('-') {
            normal.push(arg.clone());
        } else if arg.starts_with("--") {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let name = if name == "--dryrun" { "--dry-run" } else { name };
            let flag = command.flags.iter().find(|flag| flag.long == name);
            let flag = flag.ok_or_else(|| unknown_option(name, command))?;
            normal.push(name.to_owned());
            match (is_switch(flag), value) {
                (true, None) => {}
                (true, Some(_)) => return Err(format!("{name} takes no value")),
                (false, Some(value)) => normal.push(value),
                (false, None) if name == "--wait" => {
                    let is_time = |text: &&String| {
                        text.parse::<u64>().is_ok() || humantime::parse_duration(text).is_ok()
                    };
                    let time = args.next_if(is_time);
                    normal.push(time.map_or(LONGEST_WAIT.to_owned(), String::clone));
                }
                (false, None) => normal.push(next_value(name, args.next())?),
            }
        } else {
            for (at, short) in arg.char_indices().skip(1) {
                let flag = command.flags.iter().find(|flag| flag.short == Some(short));
                let name = format!("-{short}");
                let flag = flag.ok_or_else(|| format!("there is no option {name}"))?;
                normal.push(name.clone());
                if is_switch(flag) {
                    continue;
                }
                let value = arg.get(at + short.len_utf8()..).unwrap_or_default();
                normal.push(match value.strip_prefix('=').unwrap_or(value) {
                    "" => next_value(&name, args.next())?,
                    value => value.to_owned(),
                });
                break;
            }
        }
    }
    Ok(normal)
}

pub fn is_switch(flag: &FlagInfo) -> bool {
    matches!(flag.kind, FlagInfoKind::Switch)
}

fn next_value(name: &str, next: Option<&String>) -> Result<String, String> {
    next.cloned().ok_or_else(|| format!("{name} needs a value"))
}

fn unknown_option(name: &str, command: &CommandInfoWithArgs) -> String {
    let has_option = |other: &&Definition| other.flags().any(|flag| flag.long == name);
    if let Some(other) = DEFINITIONS.iter().find(has_option) {
        return format!("{name} is an option of {}", other.name);
    }
    let suggestion = nearest(name, command.flags.iter().map(|flag| flag.long));
    let suggestion = suggestion.map(|other| format!("; did you mean {other}?"));
    format!("there is no option {name}{}", suggestion.unwrap_or_default())
}

/// The name that `wrong` is probably a typing error for.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similar = names.map(|name| (strsim::jaro_winkler(wrong, name), name));
    let (similarity, name) = similar.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (similarity >= MIN_SIMILARITY).then_some(name)
}
