//! The completions of shells, and the manual pages.

use std::process::{Command, Stdio};

use crate::support::World;

/// What the command prints.
fn printed(world: &World, args: &[&str]) -> String {
    let output = world.command().args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a shell prints that runs a script. `None` if it is not installed.
fn run_in(shell: &str, script: &str) -> Option<String> {
    let output = Command::new(shell).args(["-c", script]).stdin(Stdio::null()).output();
    let Ok(output) = output else {
        println!("skipped: there is no {shell}");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Command lines, and words that complete the last one of them.
const CASES: &[(&[&str], &str)] = &[
    (&["ba"], "backup"),
    (&["backup", "--no-d"], "--no-delete"),
    (&["restore", "s3://bucket", "dir", "--file-"], "--file-mode"),
    (&["-q", "verify", "--read"], "--read-data"),
    (&["backup", "--links", ""], "follow skip"),
    (&["backup", "--checksum-algorithm", "crc3"], "crc32 crc32c"),
    (&["completions", ""], "bash fish zsh"),
    (&["help", "l"], "ls"),
    (&["restore", "--checksum-"], ""),
];

#[test]
fn bash_completes_commands_options_and_values() {
    let world = World::in_process();
    let script = printed(&world, &["completions", "bash"]);
    for (words, expected) in CASES {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let call = format!(
            "{script}\nCOMP_WORDS=(s3keep {}); COMP_CWORD={}\n_s3keep\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\" | sort",
            words.join(" "),
            words.len()
        );
        let Some(found) = run_in("bash", &call) else { return };
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), *expected, "{words:?}");
    }
}

#[test]
fn fish_completes_commands_options_and_values() {
    let world = World::in_process();
    let script = printed(&world, &["completions", "fish"]);
    // fish completes `-q verify` only as a file.
    for (words, expected) in CASES.iter().filter(|(words, _)| words[0] != "-q") {
        let line = format!("s3keep {}", words.join(" "));
        let call = format!("{script}\ncomplete -C '{line}' | string replace -r '\\t.*' '' | sort");
        let Some(found) = run_in("fish", &call) else { return };
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), *expected, "{line}");
    }
}

#[test]
fn zsh_accepts_the_script() {
    let world = World::in_process();
    let script = printed(&world, &["completions", "zsh"]);
    assert!(script.contains("'--file-mode[") || script.contains("--file-mode["), "{script}");
    let Some(found) = run_in("zsh", &format!("compdef() {{ echo $*; }}\n{script}")) else { return };
    assert_eq!(found.trim(), "_s3keep s3keep");
}

#[test]
fn manual_page_describes_every_option() {
    let world = World::in_process();
    for command in ["backup", "restore", "verify", "ls", "du", "cleanup"] {
        let page = printed(&world, &["man", command]).replace("\\-", "-");
        let help = printed(&world, &[command, "--help"]);
        let options =
            help.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with("--")));
        for option in options.filter(|option| help.contains(&format!("  {option}"))) {
            assert!(page.contains(option), "{command} {option}");
        }
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{page}");
    }
    assert!(
        printed(&world, &["man"]).contains("s3keep-restore(1)")
            || printed(&world, &["man"]).contains("s3keep\\-restore(1)")
    );
    let unknown = world.command().args(["man", "bakcup"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean backup?"));
    let unknown = world.command().args(["completions", "tcsh"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("bash, zsh and fish"));
}
