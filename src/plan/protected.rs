//! Paths that protect everything below them.

use std::collections::HashSet;

use crate::model::{paths::above, skip::Skipped};

/// A set of paths that cover everything at or below them.
#[derive(Debug, Default)]
pub(crate) struct ProtectedPaths(HashSet<Box<str>>);

impl ProtectedPaths {
    pub(crate) fn new(paths: impl IntoIterator<Item = Box<str>>) -> ProtectedPaths {
        ProtectedPaths(paths.into_iter().collect())
    }

    pub(crate) fn of_skipped(skipped: &[Skipped]) -> ProtectedPaths {
        let mut paths = ProtectedPaths::default();
        paths.insert_skipped(skipped);
        paths
    }

    pub(crate) fn insert_skipped(&mut self, skipped: &[Skipped]) {
        // A key `a/` with content is neither a file nor a directory marker: it protects `a` as well.
        self.0.extend(skipped.iter().map(|skip| skip.path.trim_end_matches('/').into()));
    }

    pub(crate) fn insert(&mut self, path: &str) {
        self.0.insert(path.into());
    }

    /// Whether `path` itself is protected.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.0.contains(path)
    }

    /// The protected path that `path` is equal to or below, if any. The empty path protects everything.
    pub(crate) fn covering<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.0.is_empty() {
            return None;
        }
        above(path).chain(["", path]).find(|above| self.0.contains(*above))
    }
}
