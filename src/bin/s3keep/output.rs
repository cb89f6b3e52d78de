//! Output: results on standard output, as text or as JSON lines; progress, warnings and errors on
//! standard error.

use std::{
    fmt::Display,
    io::{self, BufWriter, IsTerminal, Write},
};

use anyhow::{Context, Result};
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use s3keep::{
    Cleanup, Count, Direction, Error, Escaped, Event, Excluded, Keeper, Plan, Report, Skipped,
    Stage, UnfinishedRestore, UnpreservedAttribute, Verification, Withheld, WithheldReason,
};
use serde_json::json;

use crate::request::Output;

/// Prints results. Neither a closed pipe (`| head`) nor a full disk stops the run.
pub struct Printer {
    output: Output,
    out: BufWriter<io::Stdout>,
    /// The first error of writing results, unless the reader closed the pipe.
    write_error: Option<io::Error>,
    progress: ProgressBar,
}

impl Printer {
    pub fn new(output: Output) -> Printer {
        let progress = ProgressBar::hidden();
        Printer { output, out: BufWriter::new(io::stdout()), write_error: None, progress }
    }

    /// Prints one result as text or JSON. `json` is only called if needed: there may be a million results.
    pub fn line(&mut self, text: impl Display, json: impl FnOnce() -> serde_json::Value) {
        let written = match (self.output.json, self.output.quiet) {
            (true, _) => writeln!(self.out, "{}", json()),
            (false, true) => Ok(()),
            (false, false) => writeln!(self.out, "{text}"),
        };
        self.record(written);
    }

    /// Removes the progress from the terminal, for results to follow.
    pub fn end_progress(&mut self) {
        self.progress.finish_and_clear();
    }

    pub fn flush(&mut self) {
        let flushed = self.out.flush();
        self.record(flushed);
    }

    fn record(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.write_error.get_or_insert(error);
        }
    }

    /// Returns an error if a result could not be written.
    pub fn check_written(&mut self) -> Result<()> {
        self.write_error
            .take()
            .map_or(Ok(()), |error| Err(error).context("write to standard output"))
    }

    fn warn(&mut self, text: &str) {
        self.flush();
        self.progress.suspend(|| print_error(text));
    }

    pub fn warning(&mut self, text: &str) {
        self.warn(&format!("warning: {text}"));
    }

    /// Prints a plan. If the user must confirm it, `--quiet` does not apply.
    pub fn plan(&mut self, plan: &Plan, keeper: &Keeper, must_ask: bool) {
        self.progress.finish_and_clear();
        let quiet = self.output.quiet;
        self.output.quiet &= !must_ask;
        let verb = verb(plan.direction);
        for transfer in &plan.transfers {
            let (size, reason) = (transfer.size(plan.direction), transfer.reason.as_str());
            self.line(
                format_args!(
                    "{verb:8}  {reason:7}  {:>10}  {}",
                    ByteSize(size),
                    Escaped(transfer.path())
                ),
                || json!({"type": verb, "path": transfer.path(), "size": size, "reason": reason}),
            );
        }
        for deletion in &plan.deletions {
            let size = deletion.size;
            self.line(
                format_args!(
                    "{:8}  {:7}  {:>10}  {}",
                    "delete",
                    "",
                    ByteSize(size),
                    Escaped(&deletion.path)
                ),
                || json!({"type": "delete", "path": &*deletion.path, "size": size}),
            );
        }
        for withheld in &plan.withheld {
            let size = ByteSize(withheld.deletion.size);
            let text = format_args!("{:8}  {:7}  {size:>10}  {withheld}", "withheld", "");
            self.line(text, || withheld_json(withheld));
        }
        let leftover = match plan.direction {
            Direction::Backup => "leftover",
            Direction::Restore => "sweep",
        };
        for path in &plan.leftovers {
            self.line(
                format_args!("{leftover:8}  {:7}  {:>10}  {}", "", "", Escaped(path)),
                || json!({"type": leftover, "path": path}),
            );
        }
        if plan.direction == Direction::Backup {
            self.leftovers(&plan.leftovers);
        }
        self.unfinished(&plan.unfinished);
        self.skipped(&plan.skipped);
        let transferred = plan.transferred();
        let in_doubt = plan.in_doubt();
        let new_files = plan.new_files();
        let new_file_mode = keeper.new_file_mode().filter(|_| new_files > 0);
        let mut text = format!(
            "{} to {verb} ({}), {} to delete, {} unchanged ({}), {} skipped",
            transferred.entries,
            ByteSize(transferred.bytes),
            plan.deletions.len(),
            plan.kept.entries,
            ByteSize(plan.kept.bytes),
            plan.skipped.len(),
        );
        text += &describe_excluded(plan.excluded);
        if !plan.withheld.is_empty() {
            text += &format!("; {} deletions withheld", plan.withheld.len());
        }
        if plan.archived.entries > 0 {
            let Count { entries, bytes } = plan.archived;
            text += &format!("; {entries} of the skipped are archived ({})", ByteSize(bytes));
        }
        if in_doubt.entries > 0 {
            text += &format!(
                "; {} of these in doubt ({}): the contents could not be compared",
                in_doubt.entries,
                ByteSize(in_doubt.bytes)
            );
        }
        if new_files > 0 {
            text += &format!("; {}", describe_new_files(new_files, keeper));
        }
        self.line(text, || json!({
            "type": "plan", "direction": direction(plan.direction), "transfer": transferred,
            "delete": plan.deletions.len(), "unchanged": plan.kept, "skipped": plan.skipped.len(),
            "excluded": plan.excluded,
            "withheld": plan.withheld.len(), "archived": plan.archived,
            "doubt": in_doubt, "new_files": new_files,
            "new_file_mode": new_file_mode.map(|mode| mode.to_string()),
        }));
        self.output.quiet = quiet;
        self.flush();
    }

    /// Warns of the leftover temporary files in the directory of a backup. The plan lists all of them.
    fn leftovers(&mut self, leftovers: &[String]) {
        let [first, ..] = leftovers else { return };
        let (files, them) = match leftovers.len() {
            1 => ("1 temporary file".to_owned(), "it"),
            count => (format!("{count} temporary files"), "them"),
        };
        self.warning(&format!(
            "not backed up: {files} of restores that did not finish, for example {}; a restore into \
             this directory removes {them}",
            Escaped(first)
        ));
    }

    /// Prints the restores that have not finished, and what the backup makes of them.
    fn unfinished(&mut self, restores: &[UnfinishedRestore]) {
        for restore in restores {
            let marker = restore.marker.display().to_string();
            let marker = Escaped(&marker);
            let dir = restore.marker.parent().unwrap_or(&restore.marker).display().to_string();
            let mut text = format!("a restore into {} has not finished: ", Escaped(&dir));
            text += &match (restore.is_accepted, restore.is_removed, &restore.problem) {
                (true, true, _) => format!("this is accepted, and {marker} will be removed"),
                (true, false, _) => format!(
                    "this is accepted, but {marker} stays, because it is outside of the directory"
                ),
                (false, _, None) => format!(
                    "the objects that {marker} lists are neither overwritten nor deleted; repeat the \
                     restore, or use --accept-incomplete if the directory is complete"
                ),
                (false, _, Some(problem)) => format!(
                    "no object below it is overwritten or deleted, because {marker} cannot be read \
                     ({problem}); repeat the restore, or use --accept-incomplete if the directory is \
                     complete"
                ),
            };
            if self.output.json {
                self.line("", || {
                    json!({
                        "type": "unfinished", "marker": restore.marker.to_string_lossy(),
                        "problem": restore.problem, "accepted": restore.is_accepted,
                        "removed": restore.is_removed,
                    })
                });
            }
            self.warning(&text);
        }
    }

    fn skipped(&mut self, skipped: &[Skipped]) {
        // No limit: a skipped entry that is not named may go unnoticed until a restore.
        for entry in skipped {
            if self.output.json {
                self.line("", || {
                    json!({
                        "type": "skipped", "path": entry.path, "reason": entry.reason.to_string(),
                    })
                });
            }
            self.warn(&format!("skipped: {entry}"));
        }
    }

    /// Prints an event of a run.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Stage(stage) => self.stage(stage),
            Event::Progress(progress) => self.progress.set_position(progress.done.bytes),
            Event::Skipped(skipped) => self.skipped(std::slice::from_ref(skipped)),
            Event::Failed(error) => self.failure(error),
            Event::Withheld(withheld) if self.output.json => {
                self.line("", || withheld_json(withheld));
            }
            Event::Warning(text) => self.warning_event(text),
            Event::Grew { path, bytes } => self.grew(path, bytes),
            _ => {}
        }
    }

    fn stage(&mut self, stage: Stage) {
        self.progress.finish_and_clear();
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        if self.output.quiet || !io::stderr().is_terminal() {
            return;
        }
        self.progress = match stage {
            Stage::Transferring(total) => {
                let template = "{bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta}  {wide_bar}";
                ProgressBar::new(total.bytes).with_style(style(template))
            }
            Stage::Waiting => {
                ProgressBar::new_spinner().with_message("waiting for another run in the directory")
            }
            Stage::Listing => ProgressBar::new_spinner().with_message("listing the bucket"),
            Stage::Scanning => ProgressBar::new_spinner().with_message("scanning both sides"),
            Stage::Comparing { entries, .. } => ProgressBar::new_spinner()
                .with_message(format!("comparing the contents of {entries} files")),
            Stage::Deleting { entries } => {
                ProgressBar::new_spinner().with_message(format!("deleting {entries} entries"))
            }
            _ => return,
        };
        self.progress.enable_steady_tick(std::time::Duration::from_millis(200));
    }

    fn failure(&mut self, error: &Error) {
        if self.output.json {
            // The server is free to send control characters.
            let escaped = |text: Option<&str>| text.map(|text| Escaped(text).to_string());
            self.line("", || {
                json!({
                    "type": "failure", "subject": error.subject(), "message": error.to_string(),
                    "code": escaped(error.code()),
                    "server_message": escaped(error.server_message()),
                })
            });
        }
        self.warn(&error.to_string());
    }

    fn withheld(&mut self, report: &Report) {
        let mut text = format!(
            "{} deletions were withheld because not everything was transferred",
            report.withheld
        );
        let all = &report.withheld_deletions;
        for reason in [
            WithheldReason::MayBeCopy,
            WithheldReason::MayBeMoved,
            WithheldReason::Conflict,
            WithheldReason::DirectoryChanged,
            WithheldReason::MayBeSameEntry,
        ] {
            let count = all.iter().filter(|withheld| withheld.reason == reason).count();
            if let Some(example) = all.iter().find(|withheld| withheld.reason == reason) {
                text += &format!("\n  {count}: for example {example}");
            }
        }
        self.warn(&text);
    }

    fn warning_event(&mut self, text: &str) {
        if self.output.json {
            self.line("", || json!({"type": "warning", "message": text}));
        }
        self.warning(text);
    }

    fn grew(&mut self, path: &str, bytes: u64) {
        if self.output.json {
            self.line("", || json!({"type": "grew", "path": path, "size": bytes}));
        } else if !self.output.quiet {
            self.warn(&format!(
                "{} grew while it was read: its first {} are stored, the next backup uploads it again",
                Escaped(path),
                ByteSize(bytes)
            ));
        }
    }

    pub fn report(&mut self, report: &Report) {
        self.progress.finish_and_clear();
        if report.withheld > 0 {
            self.withheld(report);
        }
        if let Some(marker) = &report.unfinished {
            let marker = marker.display().to_string();
            self.warn(&format!(
                "the restore is not complete: until it is repeated, {} keeps backups from changing \
                 the objects that are missing here",
                Escaped(&marker)
            ));
        }
        let verb = match report.direction {
            Direction::Backup => "uploaded",
            Direction::Restore => "downloaded",
        };
        let mut text = format!(
            "{} {verb} ({}), {} deleted, {} unchanged, {} skipped, {} failed, in {}",
            report.transferred.entries,
            ByteSize(report.transferred.bytes),
            report.deleted,
            report.kept.entries,
            report.skipped.len(),
            report.failed,
            humantime::format_duration(round(report.elapsed)),
        );
        if report.reused > 0 {
            text += &format!("; {} reused from an unfinished restore", report.reused);
        }
        if report.unchecked > 0 {
            text += &format!("; {} could not be verified by a checksum", report.unchecked);
        }
        if report.ignored_checksums > 0 {
            let count = report.ignored_checksums;
            text += &format!("; {count} had a wrong checksum in the store, which was ignored");
        }
        if report.grew > 0 {
            text += &format!("; {} grew while read", report.grew);
        }
        self.line(text, || {
            json!({
                "type": "summary", "direction": direction(report.direction),
                "transferred": report.transferred, "deleted": report.deleted,
                "unchanged": report.kept, "skipped": report.skipped.len(),
                "failed": report.failed, "withheld": report.withheld, "reused": report.reused,
                "unchecked": report.unchecked, "ignored_checksums": report.ignored_checksums,
                "grew": report.grew,
                "unpreserved": unpreserved_json(report),
                "ended_by": report.fatal.as_ref().map(Error::to_string),
                "marker": report.unfinished.as_ref().map(|marker| marker.to_string_lossy()),
                "seconds": report.elapsed.as_secs_f64(), "exit_code": report.exit_code(),
            })
        });
        self.flush();
    }

    pub fn verification(&mut self, found: &Verification) {
        self.progress.finish_and_clear();
        // With `--quiet`, no output means no differences.
        let quiet = std::mem::take(&mut self.output.quiet);
        for (path, difference) in &found.differences {
            let difference = difference.as_str();
            self.line(
                format_args!("{difference:11}  {}", Escaped(path)),
                || json!({"type": "difference", "path": path, "difference": difference}),
            );
        }
        self.output.quiet = quiet;
        self.skipped(&found.skipped);
        let unknown =
            found.differences.iter().filter(|(_, d)| *d == s3keep::Difference::Unknown).count();
        let mut text = format!(
            "{} the same ({}), {} different, {unknown} unknown, {} skipped, {} failed",
            found.same.entries,
            ByteSize(found.same.bytes),
            found.differences.len() - unknown,
            found.skipped.len(),
            found.failures.len(),
        );
        text += &describe_excluded(found.excluded);
        self.line(text, || json!({
            "type": "summary", "same": found.same, "different": found.differences.len() - unknown,
            "unknown": unknown, "skipped": found.skipped.len(), "failed": found.failures.len(),
            "excluded": found.excluded,
            "exit_code": found.exit_code(),
        }));
        self.flush();
    }

    pub fn cleanup(&mut self, cleanup: &Cleanup, mock: bool) {
        for path in &cleanup.removed {
            self.line(
                format_args!("remove  {}", Escaped(path)),
                || json!({"type": "remove", "path": path}),
            );
        }
        self.skipped(&cleanup.skipped);
        let verb = if mock { "to remove" } else { "removed" };
        let text = format!(
            "{} empty directories {verb}, {} failed",
            cleanup.removed.len(),
            cleanup.failures.len()
        );
        self.line(text, || {
            json!({
                "type": "summary", "removed": cleanup.removed.len(), "mock": mock,
                "failed": cleanup.failures.len(), "exit_code": cleanup.exit_code(),
            })
        });
        self.flush();
    }
}

/// Prints a line to standard error. A closed pipe is not an error.
pub fn print_error(text: &str) {
    let _ = writeln!(io::stderr(), "s3keep: {text}");
}

fn describe_excluded(excluded: Excluded) -> String {
    if excluded.is_empty() {
        return String::new();
    }
    format!("; {} local entries and {} objects excluded", excluded.local, excluded.remote)
}

fn unpreserved_json(report: &Report) -> Vec<serde_json::Value> {
    let json = |one: &UnpreservedAttribute| json!({"attribute": one.attribute.as_str(), "reason": one.reason, "files": one.files});
    report.unpreserved.iter().map(json).collect()
}

/// Which mode the new files of a restore get.
fn describe_new_files(count: u64, keeper: &Keeper) -> String {
    let files = if count == 1 { "new file gets" } else { "new files get" };
    match (keeper.config().file_mode, keeper.new_file_mode()) {
        (Some(mode), _) => format!("{count} {files} mode {mode}"),
        (None, Some(mode)) => {
            format!("{count} {files} mode {mode} (by the umask; --file-mode sets another)")
        }
        (None, None) => {
            format!("{count} {files} the mode that the umask leaves (--file-mode sets another)")
        }
    }
}

fn withheld_json(withheld: &Withheld) -> serde_json::Value {
    let Withheld { deletion, because_of, reason } = withheld;
    let reason = match reason {
        WithheldReason::Conflict => "conflict",
        WithheldReason::MayBeCopy => "may be copy",
        WithheldReason::MayBeMoved => "may be moved",
        WithheldReason::DirectoryChanged => "directory changed",
        WithheldReason::MayBeSameEntry => "may be same entry",
        _ => "other",
    };
    json!({
        "type": "withheld", "path": &*deletion.path, "size": deletion.size,
        "because_of": &**because_of, "reason": reason,
    })
}

fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::Backup => "upload",
        Direction::Restore => "download",
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Backup => "backup",
        Direction::Restore => "restore",
    }
}

/// Rounds down to a hundredth of a second.
fn round(time: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 10 * 10)
}
