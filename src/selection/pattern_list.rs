//! An ordered list of patterns.

use std::{collections::HashMap, fmt};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Patterns in the syntax of gitignore files: those of the options, or those of one file.
pub(crate) struct PatternList {
    lines: Vec<String>,
    matcher: Gitignore,
    /// The position of each pattern by its text. Of equal ones, the last.
    positions: HashMap<String, usize>,
    /// The position of the last pattern that includes.
    last_include: Option<usize>,
}

/// A pattern that matches an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PatternMatch {
    pub position: usize,
    pub is_excluded: bool,
}

impl PatternList {
    /// # Errors
    /// Names the first line that is not a valid pattern.
    pub(crate) fn new(lines: Vec<String>) -> Result<PatternList, String> {
        let mut builder = GitignoreBuilder::new("");
        let mut positions = HashMap::new();
        let mut last_include = None;
        for (position, line) in lines.iter().enumerate() {
            let invalid =
                |error: ignore::Error| format!("'{line}' is not a valid pattern: {error}");
            builder.add_line(None, line).map_err(invalid)?;
            // The matcher knows a pattern by its line without the spaces at the end.
            let text = if line.ends_with("\\ ") { line } else { line.trim_end() };
            if text.starts_with('!') {
                last_include = Some(position);
            }
            positions.insert(text.to_owned(), position);
        }
        let matcher = builder.build().map_err(|error| error.to_string())?;
        Ok(PatternList { lines, matcher, positions, last_include })
    }

    /// The lines of a file.
    pub(crate) fn of_text(text: &str) -> Result<PatternList, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        PatternList::new(text.lines().map(str::to_owned).collect())
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    pub(super) fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    pub(crate) fn has_same_lines(&self, other: &PatternList) -> bool {
        self.lines == other.lines
    }

    /// The last pattern that matches the entry itself. `path` is relative to the directory of the list.
    pub(super) fn last_match(&self, path: &str, is_dir: bool) -> Option<PatternMatch> {
        if self.matcher.is_empty() {
            return None;
        }
        let found = self.matcher.matched(path, is_dir);
        let position = |glob: &ignore::gitignore::Glob| {
            self.positions.get(glob.original()).copied().unwrap_or_default()
        };
        let is_excluded = found.is_ignore();
        found.inner().map(|glob| PatternMatch { position: position(glob), is_excluded })
    }

    /// Whether a pattern after this position includes entries. `None`: a pattern at any position.
    pub(super) fn includes_after(&self, position: Option<usize>) -> bool {
        self.last_include.is_some_and(|last| position.is_none_or(|position| last > position))
    }
}

impl fmt::Debug for PatternList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.lines).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_of_the_matching_patterns_counts() {
        let text =
            "\u{feff}# a comment\r\n*.tmp  \r\n\r\n!keep.tmp\n/top\nonly-dirs/\n*.tmp\n!a.tmp\n";
        let list = PatternList::of_text(text).unwrap();
        let matched = |path: &str, is_dir| {
            list.last_match(path, is_dir).map(|found| (found.position, found.is_excluded))
        };
        assert_eq!(matched("b/x.tmp", false), Some((6, true)));
        assert_eq!(matched("keep.tmp", false), Some((6, true)));
        assert_eq!(matched("b/a.tmp", false), Some((7, false)));
        assert_eq!(matched("top", false), Some((4, true)));
        assert_eq!(matched("b/top", false), None);
        assert_eq!(matched("only-dirs", false), None);
        assert_eq!(matched("b/only-dirs", true), Some((5, true)));
        assert!(list.includes_after(Some(6)) && !list.includes_after(Some(7)));
    }

    #[test]
    fn invalid_pattern_is_named() {
        let error = PatternList::new(vec!["fine".into(), "[z-a]".into()]).unwrap_err();
        assert!(error.contains("'[z-a]' is not a valid pattern"), "{error}");
    }
}
