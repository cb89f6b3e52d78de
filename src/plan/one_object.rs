//! A run that is about one object only: everything else in the directory stays as it is.

use crate::{
    local::{FoundMarker, Marker, Scan},
    model::{entry::File, fold::folded, paths::is_under},
};

/// Removes the entries of the directory that do not concern `path`. Temporary files and markers of other
/// runs do not concern it.
///
/// If there is no file of this path, and `may_be_spelled` is set, a name that differs only in its spelling
/// stays: it may be the same file.
pub(crate) fn select_one(scan: &mut Scan, path: &str, may_be_spelled: bool) {
    let spelling = folded(path);
    let is_exact = |file: &File| *file.path == *path;
    let is_spelled = may_be_spelled && !scan.files.iter().any(is_exact);
    let concerns = |found: &str| found == path || found.is_empty() || is_under(path, found);
    scan.files.retain(|file| is_exact(file) || is_spelled && folded(&file.path) == spelling);
    scan.through.retain(|(link, _)| concerns(link));
    scan.dirs.retain(|dir| concerns(dir));
    scan.linked.retain(|dir| concerns(dir));
    scan.skipped.retain(|skipped| concerns(&skipped.path));
    scan.unread.retain(|unread| concerns(&unread.path));
    scan.excluded.retain(|excluded| concerns(excluded));
    scan.excluded_dirs.retain(|dir| concerns(dir));
    scan.with_excluded.clear();
    scan.leftovers.clear();
}

/// The markers of restores of this object alone, which a new restore of it replaces.
pub(crate) fn markers_of_one(
    found: Vec<FoundMarker>,
    read: &[Marker],
    path: &str,
) -> Vec<FoundMarker> {
    let lists_only_this = |marker: &Marker| {
        marker.paths.as_ref().is_some_and(|paths| paths.iter().all(|listed| listed == path))
    };
    let is_replaced = |found: &FoundMarker| {
        read.iter()
            .any(|marker| marker.path.as_ref() == Some(&found.path) && lists_only_this(marker))
    };
    found.into_iter().filter(is_replaced).collect()
}
