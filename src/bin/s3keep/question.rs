//! The question before a run that changes something.

use bytesize::ByteSize;
use indicatif::HumanCount;
use s3keep::{BucketUrl, Config, Direction, Escaped, Plan};

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
    format!("{text}? [y/N] ")
}

/// Whether an answer confirms.
pub fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// The bucket, and whether it is the whole one.
fn describe_bucket(bucket: &BucketUrl) -> String {
    let url = bucket.to_string();
    let url = Escaped(&url);
    if bucket.prefix().is_empty() { format!("{url} (the whole bucket)") } else { url.to_string() }
}

fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", HumanCount(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        for (number, text) in [(0, "0 files"), (1, "1 file"), (999, "999 files")] {
            assert_eq!(count(number, "file"), text);
        }
        assert_eq!(count(5_003, "file"), "5,003 files");
        assert_eq!(count(1_234_567, "file"), "1,234,567 files");
    }

    #[test]
    fn only_yes_confirms() {
        assert!(["y", "Y\n", " yes ", "YES"].into_iter().all(is_yes));
        assert!(!["", "n", "no", "yess", "ye"].into_iter().any(is_yes));
    }
}
