//! The documents agree with the code and with each other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use s3keep::{TransferConfig, exit};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages of the guide, relative to the repository.
fn pages() -> Vec<String> {
    let entries = fs::read_dir(root().join("src/guide")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md")).map(|name| format!("src/guide/{name}")).collect()
}

/// The rows of the decision table in a document.
fn decision_table(document: &str) -> Vec<String> {
    let text = read(document);
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let rows = lines.skip_while(|line| !line.starts_with("| case | backup | restore |"));
    rows.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

#[test]
fn decision_table_is_the_same_in_code_readme_and_guide() {
    let table = decision_table("src/plan/rule.rs");
    assert_eq!(table.len(), 9, "{table:?}");
    assert_eq!(decision_table("README.md"), table);
    assert_eq!(decision_table("src/guide/decision_rule.md"), table);
}

/// The rows of the table of exit codes in a document.
fn exit_code_table(document: &str) -> Vec<String> {
    let text = read(document);
    let rows = text.lines().filter(|line| {
        let code = line.strip_prefix("| ").and_then(|row| row.split(" |").next());
        code.is_some_and(|code| code.parse::<u8>().is_ok())
    });
    rows.map(str::to_owned).collect()
}

/// The output of a command that only prints a text.
fn printed(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_s3keep")).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn exit_codes_are_the_same_in_code_help_readme_and_guide() {
    let table = exit_code_table("README.md");
    assert_eq!(exit_code_table("src/guide/credentials_and_settings.md"), table);
    let codes =
        [exit::SUCCESS, exit::FAILED, exit::PARTIAL, exit::REFUSED, exit::BUSY, exit::INTERRUPTED];
    let in_table = table.iter().map(|row| row.split(' ').nth(1).unwrap().parse::<u8>().unwrap());
    assert_eq!(in_table.collect::<Vec<_>>(), codes);
    let help = printed(&["help"]);
    let (_, in_help) = help.split_once("Exit codes: ").unwrap();
    let meanings = in_help.split(';').map(str::trim);
    let in_help = meanings.map(|text| text.split(' ').next().unwrap().parse::<u8>().unwrap());
    assert_eq!(in_help.collect::<Vec<_>>(), codes);
    let refused = "refused by a guard, or not confirmed";
    assert!(help.contains(&format!("{} {refused};", exit::REFUSED)), "{help}");
    assert!(table[3].contains(&format!("| {refused};")), "{}", table[3]);
}

#[test]
fn defaults_in_help_and_guide_are_those_of_the_library() {
    let default = TransferConfig::default();
    let help = printed(&["backup", "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    let page = read("src/guide/credentials_and_settings.md");
    for (option, value) in [
        ("--workers", default.workers.to_string()),
        ("--part-size", format!("{}MiB", default.part_size >> 20)),
        ("--retries", default.retries.to_string()),
        ("--timeout", format!("{}s", default.stall_timeout.as_secs())),
    ] {
        let described = help.split(&format!(" {option} ")).nth(1).unwrap();
        let in_help = described.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
        assert_eq!(in_help, Some(value.as_str()), "{option}");
        let row = page.lines().find(|row| row.starts_with(&format!("| `{option} "))).unwrap();
        assert!(row.ends_with(&format!(" | {value} |")), "{row}");
    }
    let checksum = default.checksum.to_string().to_lowercase();
    assert!(help.contains(&format!("[default: {checksum}]")), "{help}");
    let row = page.lines().find(|row| row.starts_with("| `--checksum-algorithm ")).unwrap();
    assert!(row.ends_with(&format!(" | `{checksum}` |")), "{row}");
}

#[test]
fn readme_is_short() {
    assert!(read("README.md").lines().count() < 200);
}

/// All `--long` options in a text.
fn options(text: &str) -> BTreeSet<String> {
    let is_option_char = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c: char| !is_option_char(c));
    let options = words.filter_map(|word| word.strip_prefix("--"));
    options.filter(|name| name.starts_with(char::is_alphabetic)).map(str::to_owned).collect()
}

#[test]
fn options_in_help_and_guide_are_the_same() {
    let mut in_help = BTreeSet::new();
    for command in ["backup", "restore", "verify", "cleanup", "ls", "du"] {
        let help = printed(&[command, "--help"]);
        // Only the first word of a line, not the options that a description mentions.
        let described = help.lines().filter(|line| line.trim_start().starts_with('-'));
        let names = described.map(|line| line.trim_start().split("  ").next().unwrap_or_default());
        in_help.extend(options(&names.collect::<Vec<_>>().join(" ")));
    }
    in_help.remove("help");
    let page = read("src/guide/credentials_and_settings.md");
    let rows = page.lines().filter(|line| line.starts_with("| `-"));
    let names = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
    assert_eq!(options(&names.collect::<Vec<_>>().join(" ")), in_help);
}

#[test]
fn every_link_leads_to_a_file() {
    for document in pages().into_iter().chain(["README.md".to_owned()]) {
        let text = read(&document);
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let references = text.lines().filter(|line| line.starts_with('['));
        let references = references.filter_map(|line| line.split_once("]: ").map(|(_, to)| to));
        for link in inline.chain(references).filter(|link| !link.contains("://")) {
            let folder = root().join(&document).parent().unwrap().to_owned();
            assert!(folder.join(link).exists(), "{document} links to {link}");
        }
    }
}

#[test]
fn every_page_is_in_the_readme_and_in_the_module_of_the_guide() {
    let (readme, module) = (read("README.md"), read("src/guide/mod.rs"));
    for page in pages() {
        assert!(readme.contains(&format!("]({page})")), "{page} is not in the README");
        let file = Path::new(&page).file_name().unwrap().to_str().unwrap();
        let name = file.strip_suffix(".md").unwrap();
        assert!(module.contains(&format!("include_str!(\"{file}\")")), "{page} is not rendered");
        assert!(module.contains(&format!("//! | [`{name}`]")), "{page} is not listed");
    }
}

#[test]
fn every_file_that_the_guide_names_exists() {
    for (page, folder) in [("promises", "tests/e2e"), ("architecture", "")] {
        let text = read(&format!("src/guide/{page}.md"));
        for name in text.split('`').skip(1).step_by(2) {
            let roots = ["src/", "tests/", "scripts/", ".ci/"];
            let is_path = roots.iter().any(|root| name.starts_with(root))
                || page == "promises" && (name.ends_with(".rs") || name.ends_with('/'));
            let is_pattern = name.contains(|c: char| c.is_whitespace() || "<>[]{}:~".contains(c));
            if is_path && !is_pattern {
                let candidates = [root().join(name), root().join(folder).join(name)];
                let exists = candidates.iter().any(|path: &PathBuf| path.exists());
                assert!(exists, "{page}.md names {name}");
            }
        }
    }
}
