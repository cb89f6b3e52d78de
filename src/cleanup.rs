//! Removing empty directories. A bucket cannot hold them, and the other commands ignore them.

use std::{collections::HashSet, path::Path};

use crate::{
    cancel::Cancel,
    error::{Error, Result},
    local::{self, Root, ScanOptions},
    model::{found::Found, links::Links, paths::above, skip::Skipped},
    report::{Event, exit},
    selection::{Selection, Selector},
};

/// What a cleanup removed, or would remove.
#[derive(Debug, Default)]
pub struct Cleanup {
    /// The empty directories, innermost first.
    pub removed: Vec<String>,
    /// The entries that could not be read. The directories above them are kept.
    pub skipped: Vec<Skipped>,
    /// The directories that could not be removed.
    pub failures: Vec<Error>,
}

impl Cleanup {
    /// [`exit::SUCCESS`] if nothing was skipped and nothing failed, otherwise [`exit::PARTIAL`].
    pub fn exit_code(&self) -> u8 {
        let is_complete = self.skipped.is_empty() && self.failures.is_empty();
        if is_complete { exit::SUCCESS } else { exit::PARTIAL }
    }
}

/// Removes the directories below `dir` that contain nothing but empty directories, except those that
/// `selection` excludes. Sizes and ages do not matter.
///
/// `dir` itself is never removed, and no link is followed. With `mock`, nothing is removed, no
/// [`Event::Deleted`] is sent, and the result lists the directories that would be removed.
///
/// # Errors
/// `dir` cannot be read, another run is active in it, or `cancel` was cancelled. A directory that
/// cannot be removed is not an error: see [`Cleanup::failures`].
///
/// ```no_run
/// let (selection, cancel) = Default::default();
/// let dir = "/srv/restored".as_ref();
/// let done = s3keep::cleanup(dir, &selection, false, &cancel, &mut |_| {})?;
/// println!("{} directories removed", done.removed.len());
/// # Ok::<(), s3keep::Error>(())
/// ```
pub fn cleanup(
    dir: &Path,
    selection: &Selection,
    mock: bool,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Cleanup> {
    let root = Root::open(dir)?;
    let _lock = if mock { None } else { Some(root.lock()?) };
    let options = ScanOptions {
        prefix_len: 0,
        links: Links::Skip,
        selector: Selector::new(selection)?.into(),
        ignores_patterns: false,
        found: Found::default(),
    };
    let scan = local::scan(&local::file_pool()?, dir, &options, cancel)?;
    let mut occupied: HashSet<&str> = HashSet::new();
    let files = scan.files.iter().map(|file| &*file.path);
    let skipped = scan.skipped.iter().map(|skipped| skipped.path.as_str());
    let markers = scan.markers.iter().map(|marker| marker.path.as_str());
    let leftovers = scan.leftovers.iter().map(String::as_str);
    let with_excluded = scan.with_excluded.iter().map(|(dir, _)| dir);
    let excluded = scan.excluded.iter().chain(&scan.excluded_dirs).chain(with_excluded);
    let excluded = excluded.map(|path| &**path);
    for path in files.chain(skipped).chain(leftovers).chain(markers).chain(excluded) {
        occupied.insert(path);
        for dir in above(path).rev() {
            // The directories above an occupied directory are already marked.
            if !occupied.insert(dir) {
                break;
            }
        }
    }
    let mut result = Cleanup::default();
    // In reverse tree order, children come before their parents.
    for path in scan.dirs.iter().rev().filter(|path| !occupied.contains(&***path)) {
        cancel.check()?;
        let removed = match mock {
            true => Ok(()),
            false => root.parent(path, false).and_then(|parent| parent.remove_empty_dir()),
        };
        match removed {
            Ok(()) => {
                if !mock {
                    on_event(Event::Deleted { path });
                }
                result.removed.push(path.to_string());
            }
            Err(error) => {
                let error = Error::new("remove directory", &**path, error);
                on_event(Event::Failed(&error));
                result.failures.push(error);
            }
        }
    }
    let hides_content = |skipped: &Skipped| skipped.reason.hides_content();
    result.skipped = scan.skipped.into_iter().filter(hides_content).collect();
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn mock_cleanup_removes_nothing_and_sends_no_deletion() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let deleted = |mock| {
            let mut deleted = Vec::new();
            let selection = Selection::default();
            let done = cleanup(dir.path(), &selection, mock, &Cancel::new(), &mut |event| {
                if let Event::Deleted { path } = event {
                    deleted.push(path.to_owned());
                }
            });
            assert_eq!(done.unwrap().removed, ["a/b", "a"]);
            deleted
        };
        assert_eq!(deleted(true), Vec::<String>::new());
        assert!(dir.path().join("a/b").exists());
        assert_eq!(deleted(false), ["a/b", "a"]);
    }
}
