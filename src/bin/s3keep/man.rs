//! Manual pages, made from the same definitions as the parser.

use roff::{Roff, bold, italic, roman};

use crate::{
    commands::{DEFINITIONS, Definition, GROUPS, TEXT_COMMANDS},
    help::{ENVIRONMENT, EXIT_CODES, NO_BREAK_SPACE, description, value_name},
};

/// The manual page of a command, or that of the program.
pub fn page(command: Option<&Definition>) -> String {
    let mut page = Roff::new();
    let name = command.map_or("s3keep".to_owned(), |command| format!("s3keep-{}", command.name));
    let version = concat!("s3keep ", env!("CARGO_PKG_VERSION"));
    page.control("TH", [name.to_uppercase().as_str(), "1", "", version]);
    page.control("SH", ["NAME"]);
    let summary = command.map_or("keep a directory in an S3 bucket and restore it", |c| c.summary);
    page.text([roman(format!("{name} - {summary}"))]);
    match command {
        Some(command) => describe(&mut page, command),
        None => overview(&mut page),
    }
    page.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        page.control("TP", ["6"]);
        page.text([bold(code.to_string())]);
        page.text([roman(*meaning)]);
    }
    page.control("SH", ["SEE ALSO"]);
    let mut others: Vec<String> = DEFINITIONS
        .iter()
        .map(|other| format!("s3keep-{}", other.name))
        .chain(["s3keep".to_owned()])
        .filter(|other| *other != name)
        .collect();
    others.sort();
    let others: Vec<String> = others.iter().map(|other| format!("{other}(1)")).collect();
    page.text([roman(others.join(", "))]);
    page.to_roff()
}

fn describe(page: &mut Roff, command: &Definition) {
    let info = (command.info)();
    page.control("SH", ["SYNOPSIS"]);
    page.text([
        bold(format!("s3keep {}", command.name)),
        roman(" [options] "),
        italic(command.arguments),
    ]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(info.description)]);
    page.control("SH", ["OPTIONS"]);
    for (title, options) in GROUPS {
        let flags: Vec<_> = options
            .iter()
            .filter_map(|option| info.flags.iter().find(|flag| flag.long == *option))
            .collect();
        if !flags.is_empty() {
            page.control("SS", [*title]);
        }
        for flag in flags {
            let short = flag.short.map(|short| format!("-{short}, ")).unwrap_or_default();
            page.control("TP", []);
            page.text([bold(format!("{short}{}", flag.long)), italic(value_name(flag))]);
            page.text([roman(description(flag).replace(NO_BREAK_SPACE, " "))]);
        }
    }
    page.control("SH", ["EXAMPLES"]);
    for example in info.examples {
        let (line, purpose) = example.split_once('\n').unwrap_or((example, ""));
        page.control("TP", []);
        page.text([bold(line)]);
        page.text([roman(purpose)]);
    }
}

fn overview(page: &mut Roff) {
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("s3keep"), roman(" "), italic("command"), roman(" [options] [arguments]")]);
    page.control("SH", ["COMMANDS"]);
    let commands =
        DEFINITIONS.iter().map(|command| (command.name, command.arguments, command.summary));
    for (name, arguments, summary) in commands.chain(TEXT_COMMANDS.iter().copied()) {
        page.control("TP", []);
        page.text([bold(name), roman(" "), italic(arguments)]);
        page.text([roman(summary)]);
    }
    page.control("SH", ["ENVIRONMENT"]);
    page.text([roman(ENVIRONMENT)]);
}
