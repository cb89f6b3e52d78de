//! Scripts that complete command lines in a shell.
//!
//! They are made from the same definitions as the parser. Directories and files are completed by the
//! shell; names of buckets and objects are not, because that takes requests.

use std::{fmt::Write, str::FromStr};

use argh::{FlagInfo, FlagInfoKind};

use crate::commands::{DEFINITIONS, TEXT_COMMANDS, VALUES};

/// The shells that have completions.
#[derive(Clone, Copy)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub const NAMES: &str = "bash zsh fish";
}

impl FromStr for Shell {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Shell, anyhow::Error> {
        match name {
            "bash" => Ok(Shell::Bash),
            "zsh" => Ok(Shell::Zsh),
            "fish" => Ok(Shell::Fish),
            _ => anyhow::bail!("there are completions for bash, zsh and fish, not for '{name}'"),
        }
    }
}

/// The script of a shell.
pub fn script(shell: Shell) -> String {
    let mut text = String::new();
    let written = match shell {
        Shell::Bash => bash(&mut text),
        Shell::Zsh => zsh(&mut text),
        Shell::Fish => fish(&mut text),
    };
    // Writing to a string does not fail.
    debug_assert!(written.is_ok());
    text
}

/// Each command with its options and its summary.
fn commands() -> impl Iterator<Item = (&'static str, Vec<&'static FlagInfo<'static>>, &'static str)>
{
    DEFINITIONS.iter().map(|command| (command.name, command.flags().collect(), command.summary))
}

/// The words that may follow a command that prints a text.
fn words_after(name: &str) -> String {
    match name {
        "completions" => Shell::NAMES.to_owned(),
        "man" | "help" => {
            DEFINITIONS.iter().map(|command| command.name).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn values(flag: &FlagInfo) -> Option<&'static str> {
    VALUES.iter().find(|(option, _)| *option == flag.long).map(|(_, values)| *values)
}

fn is_switch(flag: &FlagInfo) -> bool {
    matches!(flag.kind, FlagInfoKind::Switch)
}

fn bash(text: &mut String) -> std::fmt::Result {
    let names =
        commands().map(|(name, ..)| name).chain(TEXT_COMMANDS.iter().map(|(name, ..)| *name));
    let names: Vec<&str> = names.collect();
    writeln!(
        text,
        "_s3keep() {{\n\
         \x20   local word command= options= words=\n\
         \x20   local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}\n\
         \x20   for word in \"${{COMP_WORDS[@]:1:COMP_CWORD - 1}}\"; do\n\
         \x20       case $word in\n\
         \x20           {}) command=$word; break ;;\n\
         \x20       esac\n\
         \x20   done\n\
         \x20   case $command in\n\
         \x20       '') words='{}' ;;",
        names.join(" | "),
        names.join(" ")
    )?;
    for (name, flags, _) in commands() {
        let mut options: Vec<String> = flags.iter().map(|flag| flag.long.to_owned()).collect();
        options.extend(flags.iter().filter_map(|flag| flag.short).map(|short| format!("-{short}")));
        writeln!(text, "        {name}) options='{} --help' ;;", options.join(" "))?;
    }
    for (name, ..) in TEXT_COMMANDS {
        writeln!(text, "        {name}) words='{}' ;;", words_after(name))?;
    }
    writeln!(text, "    esac\n    case $previous in")?;
    for (option, values) in VALUES {
        writeln!(text, "        {option}) options= words='{values}' ;;")?;
    }
    let with_value: Vec<&str> = commands()
        .flat_map(|(_, flags, _)| flags)
        .filter(|flag| !is_switch(flag) && values(flag).is_none())
        .map(|flag| flag.long)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    writeln!(
        text,
        "        {}) return ;;\n\
         \x20   esac\n\
         \x20   [[ $current == -* ]] && words=$options\n\
         \x20   COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n\
         }}\n\
         complete -o bashdefault -o default -F _s3keep s3keep",
        with_value.join(" | ")
    )
}

/// A description in an argument of zsh's `_arguments`.
fn for_zsh(description: &str) -> String {
    let mut text = String::new();
    for c in description.chars() {
        match c {
            '[' | ']' | ':' | '\\' => text.extend(['\\', c]),
            '\'' => text.push_str("'\\''"),
            _ => text.push(c),
        }
    }
    text
}

fn zsh(text: &mut String) -> std::fmt::Result {
    writeln!(text, "#compdef s3keep\n")?;
    writeln!(text, "_s3keep() {{\n    local curcontext=$curcontext state line")?;
    writeln!(text, "    _arguments -C '1: :->command' '*:: :->arguments' && return")?;
    writeln!(text, "    case $state in\n    command)\n        local -a commands=(")?;
    let texts = TEXT_COMMANDS.iter().map(|(name, _, summary)| (*name, *summary));
    for (name, summary) in commands().map(|(name, _, summary)| (name, summary)).chain(texts) {
        writeln!(text, "            '{name}:{}'", for_zsh(summary))?;
    }
    writeln!(text, "        )\n        _describe command commands ;;")?;
    writeln!(text, "    arguments)\n        case $words[1] in")?;
    for (name, flags, _) in commands() {
        writeln!(text, "        {name})\n            _arguments -s \\")?;
        for flag in flags {
            let names = match flag.short {
                Some(short) => format!("'{{-{short},{}}}'", flag.long),
                None => flag.long.to_owned(),
            };
            let value = match (is_switch(flag), values(flag)) {
                (true, _) => String::new(),
                (false, Some(values)) => format!(":value:({values})"),
                (false, None) => ":value:_files".to_owned(),
            };
            let description = for_zsh(flag.description);
            writeln!(text, "                '*{names}[{description}]{value}' \\")?;
        }
        writeln!(text, "                '--help[print the help text]' \\")?;
        writeln!(text, "                '*:directory or bucket:_files' ;;")?;
    }
    for (name, ..) in TEXT_COMMANDS {
        let words = words_after(name);
        writeln!(text, "        {name}) _arguments '1:topic:({words})' ;;")?;
    }
    writeln!(text, "        esac ;;\n    esac\n}}\n")?;
    writeln!(text, "if [[ $funcstack[1] == _s3keep ]]; then\n    _s3keep \"$@\"\nelse")?;
    writeln!(text, "    compdef _s3keep s3keep\nfi")
}

fn for_fish(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

fn fish(text: &mut String) -> std::fmt::Result {
    let texts = TEXT_COMMANDS.iter().map(|(name, _, summary)| (*name, *summary));
    for (name, summary) in commands().map(|(name, _, summary)| (name, summary)).chain(texts) {
        let summary = for_fish(summary);
        let condition = "__fish_use_subcommand";
        writeln!(text, "complete -c s3keep -n {condition} -f -a {name} -d '{summary}'")?;
    }
    for (name, flags, _) in commands() {
        let condition = format!("__fish_seen_subcommand_from {name}");
        for flag in flags {
            let short = flag.short.map(|short| format!(" -s {short}")).unwrap_or_default();
            let value = match (is_switch(flag), values(flag)) {
                (true, _) => String::new(),
                (false, Some(values)) => format!(" -x -a '{values}'"),
                (false, None) => " -r".to_owned(),
            };
            let long = flag.long.trim_start_matches('-');
            let description = for_fish(flag.description);
            writeln!(
                text,
                "complete -c s3keep -n '{condition}' -l {long}{short}{value} -d '{description}'"
            )?;
        }
    }
    for (name, ..) in TEXT_COMMANDS {
        let words = words_after(name);
        writeln!(
            text,
            "complete -c s3keep -n '__fish_seen_subcommand_from {name}' -f -a '{words}'"
        )?;
    }
    Ok(())
}
