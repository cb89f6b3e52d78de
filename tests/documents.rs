//! The documents agree with the code and with each other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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
    assert_eq!(table.len(), 10, "{table:?}");
    assert_eq!(decision_table("README.md"), table);
    assert_eq!(decision_table("src/guide/decision_rule.md"), table);
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
    for command in ["backup", "restore", "verify", "cleanup"] {
        let mut s3keep = Command::new(env!("CARGO_BIN_EXE_s3keep"));
        let output = s3keep.args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
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
