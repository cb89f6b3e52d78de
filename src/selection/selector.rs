//! The selection of a run, ready to use.

use std::{collections::HashMap, sync::Arc};

use crate::{
    error::Result,
    model::{paths::is_under, time::Timestamp},
    selection::{pattern_list::PatternList, rules::Rules, selection::Selection},
};

/// The patterns of the ignore files of a directory, by the paths of their directories.
pub(crate) type IgnoreFiles = HashMap<Box<str>, Arc<PatternList>>;

/// The selection of a run.
#[derive(Debug)]
pub(crate) struct Selector {
    pub patterns: PatternList,
    pub selection: Selection,
    /// The run excludes what was modified earlier or later than these times.
    modified: (Option<Timestamp>, Option<Timestamp>),
}

impl Selector {
    /// Prepares a selection for a run that begins now.
    ///
    /// # Errors
    /// A pattern is not valid.
    pub(crate) fn new(selection: &Selection) -> Result<Selector> {
        Ok(Selector::with_patterns(selection.patterns()?, selection.clone()))
    }

    fn with_patterns(patterns: PatternList, selection: Selection) -> Selector {
        let now = std::time::SystemTime::now();
        let ago = |age| now.checked_sub(age).map(Timestamp::from);
        let earliest = selection.newer_than.and_then(ago);
        // What is older than any time is nothing.
        let latest =
            selection.older_than.map(|age| ago(age).unwrap_or(Timestamp::from_nanos(i64::MIN)));
        Selector { patterns, selection, modified: (earliest, latest) }
    }

    /// Whether sizes or ages exclude anything.
    pub(crate) fn limits_size_or_age(&self) -> bool {
        let Selection { min_size, max_size, newer_than, older_than, .. } = &self.selection;
        min_size.or(*max_size).is_some() || newer_than.or(*older_than).is_some()
    }

    /// Whether an entry has a selected size and age.
    pub(crate) fn has_selected_size_and_age(&self, size: u64, modified: Timestamp) -> bool {
        let Selection { min_size, max_size, .. } = &self.selection;
        let (earliest, latest) = self.modified;
        min_size.is_none_or(|min| size >= min)
            && max_size.is_none_or(|max| size <= max)
            && earliest.is_none_or(|earliest| modified >= earliest)
            && latest.is_none_or(|latest| modified <= latest)
    }

    /// A filter for paths in tree order, whose directories are those of `ignore_files`.
    pub(crate) fn path_filter<'a>(&'a self, ignore_files: &'a IgnoreFiles) -> PathFilter<'a> {
        let root = match ignore_files.get("") {
            Some(patterns) => Rules::default().with_ignore_file("", Arc::clone(patterns)),
            None => Rules::default(),
        };
        PathFilter { selector: self, ignore_files, root, dirs: Vec::new() }
    }
}

/// Applies patterns to paths. Fast if they are in tree order.
pub(crate) struct PathFilter<'a> {
    selector: &'a Selector,
    ignore_files: &'a IgnoreFiles,
    root: Rules,
    /// The directories above the last path, outermost first. Those that are excluded as a whole have no
    /// rules.
    dirs: Vec<(String, Option<Rules>)>,
}

impl PathFilter<'_> {
    /// Whether the patterns exclude the file of this path.
    pub(crate) fn excludes(&mut self, path: &str) -> bool {
        if self.ignore_files.is_empty() && self.selector.patterns.is_empty() {
            return false;
        }
        while self.dirs.pop_if(|(dir, _)| !is_under(path, dir)).is_some() {}
        let known = self.dirs.last().map_or(0, |(dir, _)| dir.len() + 1);
        let slashes = path.char_indices().filter(|(at, c)| *c == '/' && *at >= known);
        for (end, _) in slashes {
            let Some(dir) = path.get(..end) else { break };
            let above = self.dirs.last().map_or(Some(&self.root), |(_, rules)| rules.as_ref());
            let entered = above.and_then(|above| above.enter(&self.selector.patterns, dir));
            let rules = entered.map(|rules| match self.ignore_files.get(dir) {
                Some(patterns) => rules.with_ignore_file(dir, Arc::clone(patterns)),
                None => rules,
            });
            self.dirs.push((dir.to_owned(), rules));
        }
        let rules = self.dirs.last().map_or(Some(&self.root), |(_, rules)| rules.as_ref());
        rules.is_none_or(|rules| rules.exclude(&self.selector.patterns, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded<'a>(options: &[&str], files: &[(&str, &str)], paths: &[&'a str]) -> Vec<&'a str> {
        let lines = options.iter().map(|line| line.to_string()).collect();
        let patterns = PatternList::new(lines).unwrap();
        let selector = Selector::with_patterns(patterns, Selection::default());
        let of_text = |text| Arc::new(PatternList::of_text(text).unwrap());
        let files = files.iter().map(|(dir, text)| ((*dir).into(), of_text(text))).collect();
        let mut filter = selector.path_filter(&files);
        paths.iter().copied().filter(|path| filter.excludes(path)).collect()
    }

    #[test]
    fn last_pattern_that_matches_an_entry_or_a_directory_above_it_decides() {
        let paths = ["a/b/x.jpg", "a/b/x.txt", "a/x.jpg", "c", "cache/keep", "cache/x"];
        assert_eq!(excluded(&["cache/"], &[], &paths), ["cache/keep", "cache/x"]);
        assert_eq!(excluded(&["cache/", "!keep"], &[], &paths), ["cache/x"]);
        assert_eq!(excluded(&["!keep", "cache/"], &[], &paths), ["cache/keep", "cache/x"]);
        let others = ["a/b/x.txt", "c", "cache/keep", "cache/x"];
        assert_eq!(excluded(&["*", "!*.jpg"], &[], &paths), others);
        assert_eq!(excluded(&["/a/*", "!/a/b/"], &[], &paths), ["a/x.jpg"]);
        assert_eq!(excluded(&["a/**/x.txt"], &[], &paths), ["a/b/x.txt"]);
    }

    #[test]
    fn ignore_files_apply_from_the_top_down_and_options_come_last() {
        let paths = ["a/b/x", "a/b/y", "a/x", "x", "y"];
        assert_eq!(excluded(&[], &[("", "x")], &paths), ["a/b/x", "a/x", "x"]);
        assert_eq!(excluded(&[], &[("a", "/x")], &paths), ["a/x"]);
        assert_eq!(excluded(&[], &[("", "x"), ("a/b", "!x\ny")], &paths), ["a/b/y", "a/x", "x"]);
        assert_eq!(excluded(&["!x"], &[("", "x")], &paths), [""; 0]);
        assert_eq!(excluded(&["y"], &[("", "!y")], &paths), ["a/b/y", "y"]);
        // A file in an excluded directory does not count, one beside it does.
        let files = [("", "a/"), ("a/b", "!x")];
        assert_eq!(excluded(&[], &files, &paths), ["a/b/x", "a/b/y", "a/x"]);
        let files = [("", "a/\n!/a/b/x"), ("a/b", "x")];
        assert_eq!(excluded(&[], &files, &paths), ["a/b/y", "a/x"]);
    }

    #[test]
    fn filter_needs_no_order() {
        let paths = ["a/b/x", "b/x", "a/b/x", "a/x", "a/b/c/d/x", "b/x"];
        assert_eq!(excluded(&["/a/b"], &[], &paths), ["a/b/x", "a/b/x", "a/b/c/d/x"]);
    }
}
