//! The question before a run that changes something.

use bytesize::ByteSize;
use s3keep::{Config, Direction, Escaped, Plan};

use crate::{heading::describe_bucket, words::count};

/// The question whether to execute a plan. It says what will happen, and where.
pub fn question(plan: &Plan, config: &Config) -> String {
    let dir = config.dir.display().to_string();
    let dir = Escaped(&dir);
    let bucket = describe_bucket(&config.bucket);
    let transferred = plan.transferred();
    let size = ByteSize(transferred.bytes);
    let (verb, source, target, deleted) = match plan.direction {
        Direction::Backup => ("upload", "file", bucket, "object"),
        Direction::Restore => ("download", "object", dir.to_string(), "file"),
    };
    let deletions = plan.deletions.len() as u64;
    let mut parts = Vec::new();
    if transferred.entries > 0 {
        let files = count(transferred.entries, source);
        parts.push(format!("{verb} {files} ({size}) to {target}"));
    }
    if deletions > 0 {
        let place =
            if transferred.entries > 0 { "there".to_owned() } else { format!("in {target}") };
        parts.push(format!("delete {} {place}", count(deletions, deleted)));
    }
    if parts.is_empty() {
        let leftovers = count(plan.leftovers.len() as u64, "temporary file");
        parts.push(format!("remove {leftovers} in {target}"));
    }
    let mut text = parts.join(" and ");
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    format!("{text}? [y/N/list] ")
}

/// The answer to a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// List all entries of the plan, and ask again.
    List,
}

/// Reads an answer.
pub fn answer(text: &str) -> Answer {
    match text.trim().to_lowercase().as_str() {
        "y" | "yes" => Answer::Yes,
        "l" | "list" => Answer::List,
        _ => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_confirms() {
        assert!(["y", "Y\n", " yes ", "YES"].iter().all(|text| answer(text) == Answer::Yes));
        assert!(["list\n", "LIST", "l"].iter().all(|text| answer(text) == Answer::List));
        assert!(["", "n", "no", "yess", "ye", "li"].iter().all(|text| answer(text) == Answer::No));
    }
}
