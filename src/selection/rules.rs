//! The patterns that apply in one directory.

use std::sync::Arc;

use crate::selection::pattern_list::PatternList;

/// What the patterns say about a directory, and which apply in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// The ignore file of the directory or the nearest one above it.
    nearest: Option<Arc<IgnoreFile>>,
    /// The last pattern that matches the directory or one above it.
    decision: Option<Decision>,
}

#[derive(Debug)]
struct IgnoreFile {
    /// The length of the path of its directory, with the `/` after it.
    dir_len: usize,
    patterns: Arc<PatternList>,
    above: Option<Arc<IgnoreFile>>,
}

/// A pattern that matches. The later one decides: patterns of ignore files come from the top down, and
/// those of the options come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Decision {
    source: Source,
    position: usize,
    is_excluded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// An ignore file, by the length of the path of its directory.
    File(usize),
    Options,
}

impl Rules {
    /// Whether the patterns exclude a file in the directory.
    pub(crate) fn exclude(&self, options: &PatternList, path: &str) -> bool {
        self.decide(options, path, false).is_some_and(|decision| decision.is_excluded)
    }

    /// The rules in a subdirectory. `None` if it is excluded with everything below it.
    pub(crate) fn enter(&self, options: &PatternList, path: &str) -> Option<Rules> {
        let decision = self.decide(options, path, true);
        match decision {
            Some(decision) if decision.is_excluded && !self.include_after(options, decision) => {
                None
            }
            _ => Some(Rules { nearest: self.nearest.clone(), decision }),
        }
    }

    /// Whether the directory is excluded, although entries in it may be included.
    pub(crate) fn is_excluded(&self) -> bool {
        self.decision.is_some_and(|decision| decision.is_excluded)
    }

    /// The rules in a directory that has an ignore file. One in an excluded directory does not count.
    pub(crate) fn with_ignore_file(self, dir: &str, patterns: Arc<PatternList>) -> Rules {
        if self.is_excluded() {
            return self;
        }
        let dir_len = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let file = IgnoreFile { dir_len, patterns, above: self.nearest };
        Rules { nearest: Some(Arc::new(file)), decision: self.decision }
    }

    fn ignore_files(&self) -> impl Iterator<Item = &IgnoreFile> {
        let mut next = self.nearest.as_deref();
        std::iter::from_fn(move || {
            let file = next?;
            next = file.above.as_deref();
            Some(file)
        })
    }

    /// The last pattern that matches an entry of the directory, or a directory above it.
    fn decide(&self, options: &PatternList, path: &str, is_dir: bool) -> Option<Decision> {
        let by_options = || {
            let found = options.last_match(path, is_dir)?;
            Some((Source::Options, found))
        };
        let by_file = |file: &IgnoreFile| {
            let found = file.patterns.last_match(path.get(file.dir_len..)?, is_dir)?;
            Some((Source::File(file.dir_len), found))
        };
        let found = by_options().or_else(|| self.ignore_files().find_map(by_file));
        let own = found.map(|(source, found)| Decision {
            source,
            position: found.position,
            is_excluded: found.is_excluded,
        });
        own.max(self.decision)
    }

    /// Whether a pattern after the decision includes entries, so that some below an excluded directory
    /// may be included.
    fn include_after(&self, options: &PatternList, decision: Decision) -> bool {
        let after = |source| (source == decision.source).then_some(decision.position);
        let is_after = |source: &Source| *source >= decision.source;
        let by_file = |file: &IgnoreFile| {
            let source = Source::File(file.dir_len);
            is_after(&source) && file.patterns.includes_after(after(source))
        };
        options.includes_after(after(Source::Options)) || self.ignore_files().any(by_file)
    }
}
