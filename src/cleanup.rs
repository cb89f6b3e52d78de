//! Removing empty directories, which a bucket can't hold and the other commands ignore.

use std::{collections::HashSet, path::Path};

use crate::{
    cancel::Cancel,
    config::Links,
    entry::{SkipReason, Skipped},
    error::{Error, Result},
    report::{Event, exit},
    root::Root,
    scan,
};

/// What a clean-up did, or would do.
#[derive(Debug, Default)]
pub struct Cleanup {
    /// The empty directories, innermost first.
    pub removed: Vec<String>,
    /// What could not be looked into, and was left alone with all above it.
    pub skipped: Vec<Skipped>,
    /// What could not be removed.
    pub failures: Vec<Error>,
}

impl Cleanup {
    /// 0 where all went well, else 2.
    pub fn exit_code(&self) -> u8 {
        let well = self.skipped.is_empty() && self.failures.is_empty();
        if well { exit::DONE } else { exit::PARTLY }
    }
}

/// Removes the directories below `dir` that hold nothing but empty directories; never `dir` itself,
/// and nothing behind a link. With `mock`, only says which.
///
/// # Errors
/// When `dir` can't be read, when another run is at work in it, or on cancellation.
pub fn cleanup(
    dir: &Path,
    mock: bool,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Cleanup> {
    let root = Root::open(dir)?;
    let _lock = if mock { None } else { Some(root.lock()?) };
    let found = scan::scan(&scan::pool()?, dir, 0, Links::Skip, cancel)?;
    let mut occupied: HashSet<&str> = HashSet::new();
    let files = found.files.iter().map(|file| &*file.path);
    let skipped = found.skipped.iter().map(|skipped| skipped.path.as_str());
    for path in files.chain(skipped).chain(found.leftovers.iter().map(String::as_str)) {
        occupied.insert(path);
        for (end, _) in path.rmatch_indices('/') {
            // What is above an occupied directory has been marked with it.
            if !occupied.insert(&path[..end]) {
                break;
            }
        }
    }
    let mut result = Cleanup::default();
    // Backwards in tree order, children come before their parents.
    for path in found.dirs.iter().rev().filter(|path| !occupied.contains(&***path)) {
        cancel.check()?;
        let removed = match mock {
            true => Ok(()),
            false => root.parent(path, false).and_then(|parent| parent.remove_empty_dir()),
        };
        match removed {
            Ok(()) => {
                on_event(Event::Deleted { path });
                result.removed.push(path.to_string());
            }
            Err(error) => {
                let error = Error::new("remove directory", &**path, error);
                on_event(Event::Failed(&error));
                result.failures.push(error);
            }
        }
    }
    let unseen = |skipped: &Skipped| {
        use SkipReason::{DirectoryNotUtf8, Unreadable, Vanished};
        matches!(skipped.reason, Unreadable(_) | Vanished | DirectoryNotUtf8)
    };
    result.skipped = found.skipped.into_iter().filter(unseen).collect();
    Ok(result)
}
