//! Runs of the command, and assertions about their output.

use std::process::Command;

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
        let plan = self.stdout.lines().find(|line| line.contains("unchanged")).unwrap_or_default();
        assert!(
            plan.starts_with("0 to ") && plan.contains(" 0 to delete"),
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
