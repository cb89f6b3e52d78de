//! The end of a run as text: what was done, and what to do next.

use bytesize::ByteSize;
use s3keep::{Difference, Direction, Report, Verification, exit};

use crate::{plan_text::describe_excluded, words::number};

/// What a backup or restore did.
pub fn report(report: &Report) -> Vec<String> {
    let (run, verb) = match report.direction {
        Direction::Backup => ("backup", "uploaded"),
        Direction::Restore => ("restore", "downloaded"),
    };
    let is_interrupted = report.fatal.as_ref().is_some_and(s3keep::Error::is_interrupted);
    let state = match report.exit_code() {
        exit::SUCCESS => "is complete",
        exit::PARTIAL => "is not complete",
        _ if is_interrupted => "was interrupted",
        _ => "ended early",
    };
    let time = humantime::format_duration(round(report.elapsed));
    let mut lines = vec![
        format!("The {run} {state}, after {time}:"),
        format!(
            "{} {verb} ({}), {} deleted, {} unchanged, {} skipped, {} failed",
            number(report.transferred.entries),
            ByteSize(report.transferred.bytes),
            number(report.deleted),
            number(report.kept.entries),
            number(report.skipped.len()),
            number(report.failed),
        ),
    ];
    for (count, text) in [
        (report.reused, "reused from an unfinished restore"),
        (report.unchecked, "could not be verified by a checksum"),
        (report.ignored_checksums, "had a wrong checksum in the store, which was ignored"),
        (report.grew, "grew while read"),
    ] {
        if count > 0 {
            lines.push(format!("{} {text}", number(count)));
        }
    }
    lines.extend(next_step(report).map(|text| format!("Next: {text}")));
    lines
}

fn next_step(report: &Report) -> Option<&'static str> {
    if report.fatal.is_some() {
        return Some("run the same command again; it does not repeat what is done.");
    }
    if report.failed > 0 {
        return Some("correct the failures, then run the same command again; it does the rest.");
    }
    match (report.withheld, report.skipped.is_empty(), report.direction) {
        (_, false, Direction::Backup) => {
            Some("correct what was skipped, which is not backed up now, or --exclude it.")
        }
        (_, false, Direction::Restore) => {
            Some("correct what was skipped, which is not restored, or --exclude it.")
        }
        (1.., true, _) => Some("run the same command again; it checks the withheld deletions."),
        _ => None,
    }
}

/// What a verification found.
pub fn verification(found: &Verification) -> Vec<String> {
    let unknown = unknown(found);
    let different = found.differences.len() as u64 - unknown;
    let mut text = format!(
        "{} the same ({}), {} different, {} unknown, {} skipped, {} failed",
        number(found.same.entries),
        ByteSize(found.same.bytes),
        number(different),
        number(unknown),
        number(found.skipped.len()),
        number(found.failures.len()),
    );
    text += &describe_excluded(found.excluded).map(|text| format!("; {text}")).unwrap_or_default();
    let verdict = match (different, found.exit_code()) {
        (_, exit::SUCCESS) => "Both sides are equal.",
        (1.., _) => "Both sides differ. Next: back up or restore what differs.",
        _ if unknown > 0 => "Not everything could be compared. Next: use --read-data.",
        _ => "Not everything could be compared.",
    };
    vec![text, verdict.to_owned()]
}

/// The number of pairs that could not be compared.
pub fn unknown(found: &Verification) -> u64 {
    let is_unknown = |difference: Difference| difference == Difference::Unknown;
    found.differences.iter().filter(|(_, difference)| is_unknown(*difference)).count() as u64
}

/// Rounds down to a hundredth of a second.
fn round(time: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 10 * 10)
}
