//! A plan as text: a summary, and the list of all entries.

use std::fmt;

use bytesize::ByteSize;
use s3keep::{Direction, Escaped, Excluded, Keeper, Plan, SkipReason};

use crate::words::{
    FIRST_NAMES, count, count_entries, count_words, join_counts, number, with_names,
};

/// The most deletions that the summary names all.
const NAMED_DELETIONS: usize = 20;

/// Skipped entries that are archived.
const ARCHIVED: &str = "archived object";

/// The verb of a transfer.
pub fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::Backup => "upload",
        Direction::Restore => "download",
    }
}

/// What a run does with a leftover temporary file.
pub fn leftover(direction: Direction) -> &'static str {
    match direction {
        Direction::Backup => "leftover",
        Direction::Restore => "sweep",
    }
}

/// Passes on every entry of the plan as a line, except those that are skipped.
pub fn list(plan: &Plan, line: &mut dyn FnMut(fmt::Arguments)) {
    let verb = verb(plan.direction);
    for transfer in &plan.transfers {
        let (size, path) = (ByteSize(transfer.size(plan.direction)), Escaped(transfer.path()));
        line(format_args!("{verb:8}  {:7}  {size:>10}  {path}", transfer.reason.as_str()));
    }
    for deletion in &plan.deletions {
        let (size, path) = (ByteSize(deletion.size), Escaped(&deletion.path));
        line(format_args!("{:8}  {:7}  {size:>10}  {path}", "delete", ""));
    }
    for withheld in &plan.withheld {
        let size = ByteSize(withheld.deletion.size);
        line(format_args!("{:8}  {:7}  {size:>10}  {withheld}", "withheld", ""));
    }
    let leftover = leftover(plan.direction);
    for path in &plan.leftovers {
        line(format_args!("{leftover:8}  {:7}  {:>10}  {}", "", "", Escaped(path)));
    }
}

/// The plan in a few lines: transfers, deletions, entries to keep and entries to skip. Without the names, if
/// all entries are listed.
pub fn summary(plan: &Plan, keeper: &Keeper, is_listed: bool) -> Vec<String> {
    let mut lines = Vec::new();

    let transferred = plan.transferred();
    let mut text = format!(
        "{} to {} ({})",
        number(transferred.entries),
        verb(plan.direction),
        ByteSize(transferred.bytes)
    );
    if transferred.entries > 0 {
        let reasons = count_words(plan.transfers.iter().map(|transfer| transfer.reason.as_str()));
        text += &format!(", {}", join_counts(&reasons));
    }
    let paths = plan.transfers.iter().map(|transfer| transfer.path());
    lines.push(match plan.transfers.len() {
        0 => text,
        _ if is_listed => text,
        total => with_names(&format!("{text}: "), paths, total as u64),
    });
    let doubt = plan.in_doubt();
    if doubt.entries > 0 {
        lines.push(format!(
            "    {} of these in doubt ({}): the contents could not be compared",
            number(doubt.entries),
            ByteSize(doubt.bytes)
        ));
    }
    let new_files = plan.new_files();
    if new_files > 0 {
        lines.push(format!("    {}", describe_new_files(new_files, keeper)));
    }

    lines.extend(deletions(plan, is_listed));
    if plan.direction == Direction::Restore && !plan.leftovers.is_empty() {
        let text = format!("{} to remove", count(plan.leftovers.len(), "temporary file"));
        let paths = &mut plan.leftovers.iter().map(String::as_str);
        lines.push(name_deletions(text, paths, plan.leftovers.len(), is_listed));
    }

    let kept = plan.kept;
    lines.push(format!("{} unchanged ({})", number(kept.entries), ByteSize(kept.bytes)));

    let mut text = format!("{} skipped", number(plan.skipped.len()));
    for (entries, noun) in count_words(plan.skipped.iter().map(|one| noun_for(&one.reason))) {
        text += &format!(", {}", count(entries, noun));
        if noun == ARCHIVED {
            text += &format!(" ({})", ByteSize(plan.archived.bytes));
        }
    }
    // The skipped entries are not part of the list.
    let paths = plan.skipped.iter().map(|skipped| skipped.path.as_str());
    lines.push(match plan.skipped.len() {
        0 => text,
        total => with_names(&format!("{text}: "), paths, total as u64),
    });
    lines.extend(describe_excluded(plan.excluded));
    if !is_listed && is_shortened(plan) {
        lines.push("--list shows every entry".to_owned());
    }
    lines
}

fn deletions(plan: &Plan, is_listed: bool) -> Vec<String> {
    let total = plan.deletions.len();
    let bytes = plan.deletions.iter().fold(0_u64, |sum, one| sum.saturating_add(one.size));
    let mut text = format!("{} to delete", number(total));
    if total > 0 {
        text += &format!(" ({})", ByteSize(bytes));
    }
    let paths = &mut plan.deletions.iter().map(|deletion| &*deletion.path);
    let mut lines = vec![name_deletions(text, paths, total, is_listed)];
    let withheld = plan.withheld.len();
    if withheld > 0 {
        let text = format!("{} withheld", count(withheld, "deletion"));
        lines.push(if is_listed { text } else { format!("{text}:") });
        let shown = match withheld {
            _ if is_listed => 0,
            0..=NAMED_DELETIONS => withheld,
            _ => FIRST_NAMES,
        };
        lines.extend(plan.withheld[..shown].iter().map(|withheld| format!("    {withheld}")));
        if shown > 0 && withheld > shown {
            lines.push(format!("    and {} more", number(withheld - shown)));
        }
    }
    lines
}

/// Names all deletions, each on a line of its own, or the first ones if they are too many.
fn name_deletions(
    text: String,
    paths: &mut dyn Iterator<Item = &str>,
    total: usize,
    is_listed: bool,
) -> String {
    match total {
        _ if is_listed || total == 0 => text,
        1..=NAMED_DELETIONS => {
            let names = paths.map(|path| format!("\n    {}", Escaped(path)));
            names.fold(format!("{text}:"), |text, name| text + &name)
        }
        _ => with_names(&format!("{text}: "), paths, total as u64),
    }
}

/// Whether the summary does not name every entry.
fn is_shortened(plan: &Plan) -> bool {
    plan.transfers.len() > FIRST_NAMES
        || plan.deletions.len() > NAMED_DELETIONS
        || plan.withheld.len() > NAMED_DELETIONS
        || plan.leftovers.len() > NAMED_DELETIONS
        || plan.skipped.len() > FIRST_NAMES
}

/// What skipped entries are, as a noun with a regular plural.
fn noun_for(reason: &SkipReason) -> &'static str {
    match reason {
        SkipReason::Name(_) => "invalid name",
        SkipReason::NotUtf8 | SkipReason::DirectoryNotUtf8 => "non-UTF-8 name",
        SkipReason::LinkOutside => "outbound symlink",
        SkipReason::LinkDangling => "dangling symlink",
        SkipReason::LinkLoop => "looping symlink",
        SkipReason::LinkTooDeep | SkipReason::LinkToDirectory => "directory symlink",
        SkipReason::Special => "special file",
        SkipReason::Unreadable(_) => "unreadable path",
        SkipReason::Vanished => "vanished path",
        SkipReason::Folded(_) => "ambiguous name",
        SkipReason::IncompleteRestore(_) => "unrestored path",
        SkipReason::Archived(_) => ARCHIVED,
        SkipReason::FileInTheWay(_)
        | SkipReason::LinkInTheWay(_)
        | SkipReason::DirectoryInTheWay
        | SkipReason::SkippedInTheWay(_) => "obstructed path",
        _ => "other path",
    }
}

/// How many entries are excluded, if any.
pub fn describe_excluded(excluded: Excluded) -> Option<String> {
    let (local, objects) =
        (count_entries("local ", excluded.local), count(excluded.remote, "object"));
    (!excluded.is_empty()).then(|| format!("{local} and {objects} excluded"))
}

/// Which mode the new files of a restore get.
fn describe_new_files(new_files: u64, keeper: &Keeper) -> String {
    let files = if new_files == 1 { "new file gets" } else { "new files get" };
    let files = format!("{} {files}", number(new_files));
    match (keeper.config().file_mode, keeper.new_file_mode()) {
        (Some(mode), _) => format!("{files} mode {mode}"),
        (None, Some(mode)) => {
            format!("{files} mode {mode} (by the umask; --file-mode sets another)")
        }
        (None, None) => {
            format!("{files} the mode that the umask leaves (--file-mode sets another)")
        }
    }
}
