//! Counts and names in texts for people.

use std::fmt::Write;

use indicatif::HumanCount;
use s3keep::Escaped;

/// The width that lines keep to, where names are not too long for it.
const COLUMNS: usize = 80;

/// How many names a line has at most.
pub const FIRST_NAMES: usize = 3;

/// A number with separators.
pub fn number(number: impl TryInto<u64>) -> HumanCount {
    HumanCount(number.try_into().unwrap_or(u64::MAX))
}

/// A number of things, with a regular plural.
pub fn count(count: impl TryInto<u64>, noun: &str) -> String {
    let count = number(count);
    let plural = if count.0 == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A number of entries, such as `2 local entries`. `kind` is empty, or a word with a space at its end.
pub fn count_entries(kind: &str, entries: u64) -> String {
    let noun = if entries == 1 { "entry" } else { "entries" };
    format!("{} {kind}{noun}", number(entries))
}

/// `text` with the first of `total` names behind it: as many as the line has space for, but at least one.
pub fn with_names<'a>(text: &str, names: impl IntoIterator<Item = &'a str>, total: u64) -> String {
    let mut line = text.to_owned();
    let mut named = 0;
    for name in names.into_iter().take(FIRST_NAMES) {
        let more = total - named - 1;
        let next = format!("{}{}", if named == 0 { "" } else { ", " }, Escaped(name));
        let width = textwrap::core::display_width(&format!("{line}{next}{}", and_more(more)));
        if named > 0 && width > COLUMNS {
            break;
        }
        line += &next;
        named += 1;
    }
    line + &and_more(total - named)
}

fn and_more(more: u64) -> String {
    if more == 0 { String::new() } else { format!(" and {} more", number(more)) }
}

/// Joins counts with their words: `5,000 missing, 3 newer`.
pub fn join_counts(counts: &[(u64, &str)]) -> String {
    let mut text = String::new();
    for (count, word) in counts {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{} {word}", number(*count));
    }
    text
}

/// Counts how often each word occurs, in the order of the first occurrence.
pub fn count_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<(u64, &'a str)> {
    let mut counts: Vec<(u64, &str)> = Vec::new();
    for word in words {
        match counts.iter_mut().find(|(_, known)| *known == word) {
            Some((count, _)) => *count += 1,
            None => counts.push((1, word)),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        for (number, text) in [(0_u64, "0 files"), (1, "1 file"), (999, "999 files")] {
            assert_eq!(count(number, "file"), text);
        }
        assert_eq!(count(5_003_u64, "file"), "5,003 files");
        assert_eq!(count(1_234_567_u64, "file"), "1,234,567 files");
    }

    #[test]
    fn line_has_three_names_at_most_and_says_how_many_more_there_are() {
        let names = ["a", "b", "c", "d"];
        assert_eq!(with_names("1 file: ", ["a\n"], 1), r"1 file: a\u{a}");
        assert_eq!(with_names("", names, 3), "a, b, c");
        assert_eq!(with_names("", names, 2_004), "a, b, c and 2,001 more");
    }

    #[test]
    fn line_keeps_to_its_width_unless_the_first_name_is_too_long() {
        let long = "x".repeat(40);
        let text = with_names("", [&*long, &*long, "c"], 3);
        assert_eq!(text, format!("{long} and 2 more"));
        let longer = "x".repeat(100);
        assert_eq!(with_names("", [&*longer, "b"], 2), format!("{longer} and 1 more"));
        // A wide character takes two columns.
        let wide = "漢".repeat(20);
        assert_eq!(with_names("", [&*wide, &*wide], 2), format!("{wide} and 1 more"));
    }

    #[test]
    fn words_are_counted_in_the_order_of_their_first_occurrence() {
        let counts = count_words(["b", "a", "b"]);
        assert_eq!(join_counts(&counts), "2 b, 1 a");
    }
}
