//! Output: results on standard output, as text or as JSON lines; progress, warnings and errors on
//! standard error.

use std::{
    fmt::{self, Display},
    io::{self, BufWriter, IsTerminal, Write},
};

use anyhow::{Context, Result};
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use s3keep::{
    Cleanup, Direction, Error, Escaped, Event, Found, Keeper, Plan, Report, Skipped, Stage,
    UnfinishedRestore, Verification, WithheldReason, exit,
};

use crate::{
    grouped::{Grouped, Print},
    heading::describe_run,
    json, plan_text,
    request::Output,
    summary_text, terminal,
    words::count,
};

/// How many failures are printed one by one, and not in groups.
const NAMED_FAILURES: u64 = 5;

/// How many skipped entries are printed one by one, and not in groups.
const NAMED_SKIPPED: u64 = 10;

/// Prints results. Neither a closed pipe (`| head`) nor a full disk stops the run.
pub struct Printer {
    output: Output,
    out: BufWriter<io::Stdout>,
    /// The first error of writing results, unless the reader closed the pipe.
    write_error: Option<io::Error>,
    progress: ProgressBar,
    /// What the run is about.
    heading: String,
    /// What the scan and the listing have found.
    found: Found,
    failures: Grouped,
    skipped: Grouped,
}

impl Printer {
    pub fn new(output: Output) -> Printer {
        let limit = |limit| if output.list { u64::MAX } else { limit };
        Printer {
            output,
            out: BufWriter::new(io::stdout()),
            write_error: None,
            progress: ProgressBar::hidden(),
            heading: String::new(),
            found: Found::default(),
            failures: Grouped::new(limit(NAMED_FAILURES)),
            skipped: Grouped::new(limit(NAMED_SKIPPED)),
        }
    }

    /// Says what a run is about: on the terminal now, otherwise with the results. Without a direction, it is a
    /// verification.
    pub fn start(&mut self, direction: Option<Direction>, keeper: &Keeper) {
        self.found = keeper.found();
        self.heading = describe_run(direction, keeper.config());
        if !self.output.quiet && io::stderr().is_terminal() {
            let _ = writeln!(io::stderr(), "{}", self.heading);
        }
    }

    /// The heading, if it is not on the same terminal as the results.
    fn heading_of_results(&self) -> Option<&str> {
        let is_shown =
            !self.output.quiet && io::stderr().is_terminal() && io::stdout().is_terminal();
        (!is_shown && !self.heading.is_empty()).then_some(self.heading.as_str())
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

    /// Prints the lines of one result, or its JSON.
    fn lines(&mut self, lines: &[String], json: impl FnOnce() -> serde_json::Value) {
        self.line(lines.join("\n"), json);
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

    /// Prints a plan. If the user must confirm it, `--quiet` does not apply, and the terminal shows it
    /// although standard output is redirected.
    pub fn plan(&mut self, plan: &Plan, keeper: &Keeper, must_ask: bool) -> Result<()> {
        self.end_progress();
        let quiet = self.output.quiet;
        self.output.quiet &= !must_ask;
        if self.output.json {
            json::entries(plan, &mut |value| self.line("", || value));
        } else if !self.output.quiet {
            if let Some(heading) = self.heading_of_results().map(str::to_owned) {
                self.line(heading, Default::default);
            }
            if self.output.list {
                plan_text::list(plan, &mut |text| self.line(text, Default::default));
            }
        }
        if plan.direction == Direction::Backup {
            self.leftovers(&plan.leftovers);
        }
        self.unfinished(&plan.unfinished);
        self.skipped(&plan.skipped);
        self.print_grouped();
        let lines = plan_text::summary(plan, keeper, self.output.list);
        self.lines(&lines, || json::plan(plan, keeper));
        self.output.quiet = quiet;
        self.flush();
        let is_seen = io::stdout().is_terminal() && !self.output.json;
        if must_ask && io::stdin().is_terminal() && !is_seen {
            self.plan_on_terminal(plan, &lines)?;
        }
        Ok(())
    }

    /// Shows a plan on the terminal although the results go elsewhere.
    fn plan_on_terminal(&self, plan: &Plan, summary: &[String]) -> Result<()> {
        let mut terminal = terminal::writer();
        if self.output.quiet || !io::stderr().is_terminal() {
            writeln!(terminal, "{}", self.heading)?;
        }
        if self.output.list {
            list_on(&mut terminal, plan)?;
        }
        writeln!(terminal, "{}", summary.join("\n"))?;
        terminal.flush().context("show the plan")
    }

    /// Warns of the leftover temporary files in the directory of a backup. The plan lists all of them.
    fn leftovers(&mut self, leftovers: &[String]) {
        let [first, ..] = leftovers else { return };
        let (files, them) = match leftovers.len() {
            1 => ("1 temporary file".to_owned(), "it"),
            several => (count(several, "temporary file"), "them"),
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
            self.json(|| json::unfinished(restore));
            self.warning(&text);
        }
    }

    /// Prints something that only JSON has among the results.
    fn json(&mut self, json: impl FnOnce() -> serde_json::Value) {
        if self.output.json {
            self.line("", json);
        }
    }

    /// Names skipped entries, or counts them: one that is neither named nor counted may go unnoticed until a
    /// restore.
    fn skipped(&mut self, skipped: &[Skipped]) {
        let is_few = skipped.len() as u64 <= NAMED_SKIPPED;
        for entry in skipped {
            self.json(|| json::skipped(entry));
            if self.skipped.add_skipped(entry) == Print::Entry && (is_few || self.output.list) {
                self.warn(&format!("skipped: {entry}"));
            }
        }
    }

    /// Prints an event of a run.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Stage(stage) => self.stage(stage),
            Event::Progress(progress) => self.progress.set_position(progress.done.bytes),
            Event::Skipped(skipped) => self.skipped(std::slice::from_ref(skipped)),
            Event::Failed(error) => self.failure(error),
            Event::Withheld(withheld) => self.json(|| json::withheld(withheld)),
            Event::Warning(text) => self.warning_event(text),
            Event::Grew { path, bytes } => self.grew(path, bytes),
            _ => {}
        }
    }

    fn stage(&mut self, stage: Stage) {
        self.end_progress();
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
            Stage::Listing | Stage::Scanning => {
                let found = self.found.clone();
                let describe = move |_: &ProgressState, out: &mut dyn fmt::Write| {
                    let _ = out.write_str(&describe_found(stage, found.local(), found.objects()));
                };
                let style = style("{spinner} {found}, {elapsed}").with_key("found", describe);
                ProgressBar::new_spinner().with_style(style)
            }
            Stage::Comparing { entries, .. } => ProgressBar::new_spinner()
                .with_message(format!("comparing the contents of {}", count(entries, "file"))),
            Stage::Deleting { entries } => {
                ProgressBar::new_spinner().with_message(format!("deleting {entries} entries"))
            }
            _ => return,
        };
        self.progress.enable_steady_tick(std::time::Duration::from_millis(200));
    }

    fn failure(&mut self, error: &Error) {
        self.json(|| json::failure(error));
        match self.failures.add_failure(error) {
            Print::Entry => self.warn(&error.to_string()),
            Print::FirstOfMore => {
                self.warn("more failures follow, grouped by cause at the end (--list names each)");
            }
            Print::Nothing => {}
        }
    }

    /// Prints the failures and skipped entries that were only counted, in groups.
    pub fn print_grouped(&mut self) {
        let skipped = self.skipped.take_lines();
        skipped.iter().for_each(|line| self.warn(line));
        if !skipped.is_empty() {
            self.warn("--list names each skipped entry");
        }
        self.failures.take_lines().iter().for_each(|line| self.warn(line));
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
        self.json(|| serde_json::json!({"type": "warning", "message": text}));
        self.warning(text);
    }

    fn grew(&mut self, path: &str, bytes: u64) {
        if self.output.json {
            self.json(|| serde_json::json!({"type": "grew", "path": path, "size": bytes}));
        } else if !self.output.quiet {
            self.warn(&format!(
                "{} grew while it was read: its first {} are stored, the next backup uploads it again",
                Escaped(path),
                ByteSize(bytes)
            ));
        }
    }

    pub fn report(&mut self, report: &Report) {
        self.end_progress();
        self.print_grouped();
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
        let lines = summary_text::report(report);
        self.lines(&lines, || json::report(report));
        // The error that ended a run is the one thing to say.
        if self.output.quiet && report.fatal.is_none() && report.exit_code() != exit::SUCCESS {
            lines.iter().for_each(|line| self.warn(line));
        }
        self.flush();
    }

    pub fn verification(&mut self, found: &Verification) {
        self.end_progress();
        if !self.output.json
            && let Some(heading) = self.heading_of_results().map(str::to_owned)
        {
            self.line(heading, Default::default);
        }
        // With `--quiet`, no output means no differences.
        let quiet = std::mem::take(&mut self.output.quiet);
        for (path, difference) in &found.differences {
            let difference = difference.as_str();
            self.line(
                format_args!("{difference:11}  {}", Escaped(path)),
                || serde_json::json!({"type": "difference", "path": path, "difference": difference}),
            );
        }
        self.output.quiet = quiet;
        self.skipped(&found.skipped);
        self.print_grouped();
        self.lines(&summary_text::verification(found), || json::verification(found));
        self.flush();
    }

    pub fn cleanup(&mut self, cleanup: &Cleanup, mock: bool) {
        for path in &cleanup.removed {
            self.line(
                format_args!("remove  {}", Escaped(path)),
                || serde_json::json!({"type": "remove", "path": path}),
            );
        }
        self.skipped(&cleanup.skipped);
        self.print_grouped();
        let verb = if mock { "to remove" } else { "removed" };
        let text = format!(
            "{} empty directories {verb}, {} failed",
            cleanup.removed.len(),
            cleanup.failures.len()
        );
        self.line(text, || json::cleanup(cleanup, mock));
        self.flush();
    }
}

/// Lists all entries of a plan.
pub fn list_on(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let mut written = Ok(());
    let mut line = |text: fmt::Arguments| {
        if written.is_ok() {
            written = writeln!(out, "{text}");
        }
    };
    plan_text::list(plan, &mut line);
    for skipped in &plan.skipped {
        line(format_args!("skip      {skipped}"));
    }
    written
}

/// Prints a line to standard error. A closed pipe is not an error.
pub fn print_error(text: &str) {
    let _ = writeln!(io::stderr(), "s3keep: {text}");
}

/// What a scan and a listing have found so far.
fn describe_found(stage: Stage, local: u64, objects: u64) -> String {
    let objects = count(objects, "object");
    match stage {
        Stage::Listing => format!("listing the bucket: {objects}"),
        _ => format!("scanning both sides: {} and {objects} found", count(local, "local path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_a_scan_counts_both_sides() {
        let text = describe_found(Stage::Scanning, 1, 12_000);
        assert_eq!(text, "scanning both sides: 1 local path and 12,000 objects found");
        assert_eq!(describe_found(Stage::Listing, 0, 1), "listing the bucket: 1 object");
    }
}
