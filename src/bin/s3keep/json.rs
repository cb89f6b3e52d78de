//! Results as JSON.

use s3keep::{
    Cleanup, Direction, Error, Escaped, Keeper, Plan, Report, Skipped, UnfinishedRestore,
    UnpreservedAttribute, Verification, Withheld, WithheldReason,
};
use serde_json::{Value, json};

use crate::{
    plan_text::{leftover, verb},
    summary_text::unknown,
};

/// Passes on every entry of a plan, except those that are skipped.
pub fn entries(plan: &Plan, line: &mut dyn FnMut(Value)) {
    let verb = verb(plan.direction);
    for transfer in &plan.transfers {
        let (size, reason) = (transfer.size(plan.direction), transfer.reason.as_str());
        line(json!({"type": verb, "path": transfer.path(), "size": size, "reason": reason}));
    }
    for deletion in &plan.deletions {
        line(json!({"type": "delete", "path": &*deletion.path, "size": deletion.size}));
    }
    plan.withheld.iter().for_each(|one| line(withheld(one)));
    let leftover = leftover(plan.direction);
    plan.leftovers.iter().for_each(|path| line(json!({"type": leftover, "path": path})));
}

/// The totals of a plan.
pub fn plan(plan: &Plan, keeper: &Keeper) -> Value {
    let new_files = plan.new_files();
    let new_file_mode = keeper.new_file_mode().filter(|_| new_files > 0);
    json!({
        "type": "plan", "direction": direction(plan.direction), "transfer": plan.transferred(),
        "delete": plan.deletions.len(), "unchanged": plan.kept, "skipped": plan.skipped.len(),
        "excluded": plan.excluded,
        "withheld": plan.withheld.len(), "archived": plan.archived,
        "doubt": plan.in_doubt(), "new_files": new_files,
        "new_file_mode": new_file_mode.map(|mode| mode.to_string()),
    })
}

pub fn unfinished(restore: &UnfinishedRestore) -> Value {
    json!({
        "type": "unfinished", "marker": restore.marker.to_string_lossy(),
        "problem": restore.problem, "accepted": restore.is_accepted,
        "removed": restore.is_removed,
    })
}

pub fn skipped(entry: &Skipped) -> Value {
    json!({"type": "skipped", "path": entry.path, "reason": entry.reason.to_string()})
}

pub fn failure(error: &Error) -> Value {
    // The server is free to send control characters.
    let escaped = |text: Option<&str>| text.map(|text| Escaped(text).to_string());
    json!({
        "type": "failure", "subject": error.subject(), "message": error.to_string(),
        "code": escaped(error.code()),
        "server_message": escaped(error.server_message()),
    })
}

pub fn withheld(withheld: &Withheld) -> Value {
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

pub fn report(report: &Report) -> Value {
    json!({
        "type": "summary", "direction": direction(report.direction),
        "transferred": report.transferred, "deleted": report.deleted,
        "unchanged": report.kept, "skipped": report.skipped.len(),
        "failed": report.failed, "withheld": report.withheld, "reused": report.reused,
        "unchecked": report.unchecked, "ignored_checksums": report.ignored_checksums,
        "grew": report.grew,
        "unpreserved": unpreserved(report),
        "ended_by": report.fatal.as_ref().map(Error::to_string),
        "marker": report.unfinished.as_ref().map(|marker| marker.to_string_lossy()),
        "seconds": report.elapsed.as_secs_f64(), "exit_code": report.exit_code(),
    })
}

fn unpreserved(report: &Report) -> Vec<Value> {
    let json = |one: &UnpreservedAttribute| json!({"attribute": one.attribute.as_str(), "reason": one.reason, "files": one.files});
    report.unpreserved.iter().map(json).collect()
}

pub fn verification(found: &Verification) -> Value {
    let unknown = unknown(found);
    json!({
        "type": "summary", "same": found.same,
        "different": found.differences.len() as u64 - unknown,
        "unknown": unknown, "skipped": found.skipped.len(), "failed": found.failures.len(),
        "excluded": found.excluded,
        "exit_code": found.exit_code(),
    })
}

pub fn cleanup(cleanup: &Cleanup, mock: bool) -> Value {
    json!({
        "type": "summary", "removed": cleanup.removed.len(), "mock": mock,
        "failed": cleanup.failures.len(), "exit_code": cleanup.exit_code(),
    })
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Backup => "backup",
        Direction::Restore => "restore",
    }
}
