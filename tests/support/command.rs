//! Runs of the command, and assertions about their output.

use std::process::Command;

/// A number as texts for people have it: `5,003`.
pub fn with_separators(number: usize) -> String {
    indicatif::HumanCount(number as u64).to_string()
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// The exit code, or -1 if a signal ended the process.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Run {
    let output = command.output().expect("run the command");
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    }
}

impl Run {
    /// Asserts that the plan has neither transfers nor deletions.
    #[track_caller]
    pub fn assert_nothing_to_do(&self) {
        let has = |start: &str| self.stdout.lines().any(|line| line.starts_with(start));
        assert!(
            (has("0 to upload ") || has("0 to download ")) && has("0 to delete"),
            "there is something to do: {self:#?}"
        );
    }

    /// Asserts that standard output or standard error contains `text`.
    #[track_caller]
    pub fn assert_says(&self, text: &str) {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(found, "the output does not contain {text:?}: {self:#?}");
    }
}
