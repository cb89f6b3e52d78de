//! Many failures or skipped entries, grouped by cause.
//!
//! The first few are printed one by one when they happen. If there are more, all are grouped at the end: how
//! many there are of each cause, and the first names. So an outage that fails 2,000 files takes a few lines.

use s3keep::{Cause, Error, SkipReason, Skipped};

use crate::words::{FIRST_NAMES, count, count_entries, number, with_names};

/// How many causes are printed.
const PRINTED_CAUSES: usize = 5;

/// How many causes are counted separately.
const MAX_CAUSES: usize = 100;

/// Entries by cause.
pub struct Grouped {
    /// How many entries are printed one by one.
    limit: u64,
    total: u64,
    groups: Vec<Group>,
    /// The entries of further causes.
    others: u64,
}

struct Group {
    /// What the entries have in common.
    key: String,
    /// The action and the cause of the first entry.
    action: String,
    cause: String,
    count: u64,
    first_names: Vec<String>,
}

/// What to print when an entry is added.
#[derive(Debug, PartialEq, Eq)]
pub enum Print {
    Entry,
    /// The entry is the first of those that are only printed in groups.
    FirstOfMore,
    Nothing,
}

impl Grouped {
    pub fn new(limit: u64) -> Grouped {
        Grouped { limit, total: 0, groups: Vec::new(), others: 0 }
    }

    pub fn add_failure(&mut self, error: &Error) -> Print {
        let cause = match error.cause() {
            // The objects that it names are gone.
            Cause::NotReplaced { .. } => return Print::Entry,
            Cause::S3 { status, code, .. } if !code.is_empty() => format!("{status} {code}"),
            cause => cause.to_string(),
        };
        // One cause has other numbers each time: bytes, seconds, ports.
        let cause: String = cause.split(|c: char| c.is_ascii_digit()).collect();
        let text = || {
            let text = error.to_string();
            let start = format!("{} {}: ", error.action(), s3keep::Escaped(error.subject()));
            text.strip_prefix(&start).unwrap_or(&text).to_owned()
        };
        self.add(&format!("{}: {cause}", error.action()), error.action(), text, error.subject())
    }

    pub fn add_skipped(&mut self, skipped: &Skipped) -> Print {
        let cause = match &skipped.reason {
            SkipReason::FileInTheWay(_) => "a file is in the way".to_owned(),
            SkipReason::LinkInTheWay(_) => "a link is in the way".to_owned(),
            SkipReason::SkippedInTheWay(_) => {
                "another entry, which was skipped, is in the way".to_owned()
            }
            SkipReason::Folded(_) => {
                "the target does not distinguish the name from another one; rename one of them"
                    .to_owned()
            }
            reason => reason.to_string(),
        };
        self.add(&cause, "", || cause.clone(), &skipped.path)
    }

    fn add(
        &mut self,
        key: &str,
        action: &str,
        cause: impl FnOnce() -> String,
        name: &str,
    ) -> Print {
        self.total += 1;
        match self.groups.iter().position(|group| group.key == key) {
            Some(at) => {
                let group = &mut self.groups[at];
                group.count += 1;
                if group.first_names.len() < FIRST_NAMES {
                    group.first_names.push(name.to_owned());
                }
            }
            None if self.groups.len() < MAX_CAUSES => self.groups.push(Group {
                key: key.to_owned(),
                action: action.to_owned(),
                cause: cause(),
                count: 1,
                first_names: vec![name.to_owned()],
            }),
            None => self.others += 1,
        }
        match self.total {
            total if total <= self.limit => Print::Entry,
            total if total == self.limit + 1 => Print::FirstOfMore,
            _ => Print::Nothing,
        }
    }

    /// The groups, the largest first, if not every entry was printed. Forgets all entries.
    pub fn take_lines(&mut self) -> Vec<String> {
        let mut groups = std::mem::take(&mut self.groups);
        let (total, mut others) =
            (std::mem::take(&mut self.total), std::mem::take(&mut self.others));
        if total <= self.limit {
            return Vec::new();
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        let further = groups.split_off(PRINTED_CAUSES.min(groups.len()));
        let mut lines: Vec<String> = groups.iter().map(Group::describe).collect();
        others += further.iter().map(|group| group.count).sum::<u64>();
        if others > 0 {
            lines.push(format!("and {} for other reasons", number(others)));
        }
        lines
    }
}

impl Group {
    fn describe(&self) -> String {
        let Group { action, cause, count: entries, first_names, .. } = self;
        let start = match action.as_str() {
            "" => format!("skipped {}", count_entries("", *entries)),
            action => format!("{action} failed {}", count(*entries, "time")),
        };
        let names = first_names.iter().map(String::as_str);
        format!("{start}: {cause}\n{}", with_names("    ", names, *entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(path: &str, reason: SkipReason) -> Skipped {
        Skipped { path: path.to_owned(), reason }
    }

    #[test]
    fn few_entries_are_printed_one_by_one_and_not_grouped() {
        let mut grouped = Grouped::new(2);
        assert_eq!(grouped.add_skipped(&skipped("a", SkipReason::Special)), Print::Entry);
        assert_eq!(grouped.add_skipped(&skipped("b", SkipReason::Special)), Print::Entry);
        assert!(grouped.take_lines().is_empty());
    }

    #[test]
    fn many_entries_are_grouped_by_cause_and_the_largest_group_comes_first() {
        let mut grouped = Grouped::new(1);
        grouped.add_skipped(&skipped("a", SkipReason::LinkDangling));
        let second = grouped.add_skipped(&skipped("b", SkipReason::FileInTheWay("x".into())));
        assert_eq!(second, Print::FirstOfMore);
        for path in ["c", "d", "e"] {
            let reason = SkipReason::FileInTheWay(path.to_uppercase());
            assert_eq!(grouped.add_skipped(&skipped(path, reason)), Print::Nothing);
        }
        let lines = [
            "skipped 4 entries: a file is in the way\n    b, c, d and 1 more",
            "skipped 1 entry: a symlink whose target does not exist\n    a",
        ];
        assert_eq!(grouped.take_lines(), lines);
        assert!(grouped.take_lines().is_empty());
    }

    #[test]
    fn number_of_lines_is_limited() {
        let mut grouped = Grouped::new(0);
        for n in 0..1_000 {
            let reason = SkipReason::Unreadable(format!("reason {n}"));
            grouped.add_skipped(&skipped("a", reason));
        }
        let lines = grouped.take_lines();
        assert_eq!(lines.len(), PRINTED_CAUSES + 1);
        assert_eq!(lines.last().unwrap(), "and 995 for other reasons");
    }
}
