//! The selection of a configuration.

use std::{path::Path, time::Duration};

use crate::{
    error::{Cause, Error, Result},
    selection::pattern_list::PatternList,
};

/// Which entries a run looks at. Everything else is excluded: it is neither transferred nor deleted, on
/// either side, and it is no fault.
///
/// Patterns have the syntax of gitignore files and apply to paths below the directory. The last one that
/// matches an entry, or a directory above it, decides. A `.s3keepignore` file in any directory
/// excludes with lower priority. The entry that a run would read decides about size and age: the file
/// in a backup, the object in a restore, or the other one if that does not exist.
///
/// ```
/// let mut selection = s3keep::Selection::default();
/// selection.exclude("*.tmp")?;
/// selection.exclude("/cache/")?;
/// selection.include("/cache/keep.tmp")?;
/// selection.max_size = Some(1 << 30);
/// # Ok::<(), s3keep::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// The lines of the patterns, in their order.
    lines: Vec<String>,
    /// Excludes smaller entries. In bytes.
    pub min_size: Option<u64>,
    /// Excludes larger entries. In bytes.
    pub max_size: Option<u64>,
    /// Excludes entries that were modified longer ago.
    pub newer_than: Option<Duration>,
    /// Excludes entries that were modified more recently.
    pub older_than: Option<Duration>,
    /// Excludes directories on other file systems than the root.
    pub one_file_system: bool,
    /// Excludes the content of each directory below the root that has a
    /// [`CACHEDIR.TAG`](https://bford.info/cachedir/).
    pub exclude_caches: bool,
    /// Excludes sockets, pipes and devices. Otherwise each is skipped and named.
    pub skip_special: bool,
    /// Deletes in the target what a pattern excludes. Sizes, ages and the other exclusions never delete.
    pub delete_excluded: bool,
}

impl Selection {
    /// Excludes what matches a pattern.
    ///
    /// # Errors
    /// The pattern is not valid.
    pub fn exclude(&mut self, pattern: &str) -> Result<()> {
        let comment = pattern.starts_with('#');
        self.add(if comment { format!("\\{pattern}") } else { pattern.to_owned() })
    }

    /// Includes what matches a pattern, although an earlier one excludes it.
    ///
    /// # Errors
    /// The pattern is not valid.
    pub fn include(&mut self, pattern: &str) -> Result<()> {
        if pattern.starts_with('!') {
            return Err(Error::config(format!("'{pattern}' is not a valid pattern to include")));
        }
        self.add(format!("!{pattern}"))
    }

    /// Adds the patterns of a file in the syntax of a gitignore file.
    ///
    /// # Errors
    /// The file cannot be read, or a pattern in it is not valid.
    pub fn exclude_from(&mut self, file: &Path) -> Result<()> {
        let fail = |cause| Error::new("read patterns", file.display().to_string(), cause);
        let text = std::fs::read_to_string(file).map_err(|error| fail(Cause::from(error)))?;
        let patterns = PatternList::of_text(&text).map_err(|why| fail(Cause::Config(why)))?;
        self.lines.extend(patterns.into_lines());
        Ok(())
    }

    fn add(&mut self, line: String) -> Result<()> {
        if line.trim_end_matches(['!', '/']).trim().is_empty() {
            return Err(Error::config("an empty pattern matches nothing; leave it out"));
        }
        PatternList::new(vec![line.clone()]).map_err(Error::config)?;
        self.lines.push(line);
        Ok(())
    }

    pub(super) fn patterns(&self) -> Result<PatternList> {
        PatternList::new(self.lines.clone()).map_err(Error::config)
    }
}
