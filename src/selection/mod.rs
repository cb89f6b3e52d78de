//! Which entries a run looks at: patterns of names, sizes, ages, and whole directories.
//!
//! Patterns have the syntax of gitignore files. The last one that matches an entry, or a directory above it,
//! decides. Unlike in Git, an entry in an excluded directory can thus be included again.

mod pattern_list;
mod rules;
// The main type of this module has the name of the module.
#[allow(clippy::module_inception)]
mod selection;
mod selector;

pub(crate) use pattern_list::PatternList;
pub(crate) use rules::Rules;
pub use selection::Selection;
pub(crate) use selector::{IgnoreFiles, Selector};
