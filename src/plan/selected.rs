//! Leaving out the entries that a run does not look at.

use std::collections::HashSet;

use crate::{
    local::Scan,
    model::direction::Direction,
    plan::{excluded::Excluded, merge, plan::Plan, protected::ProtectedPaths},
    remote::Listing,
    selection::Selector,
};

/// Removes what is not selected from both sides. Without a `direction`, for a verification. Returns the
/// paths of the objects that a backup deletes because patterns exclude them.
pub(crate) fn select(
    selector: &Selector,
    direction: Option<Direction>,
    scan: &mut Scan,
    listing: &mut Listing,
) -> (Excluded, HashSet<Box<str>>) {
    let before = listing.objects.len() + listing.skipped.len();
    let mut excluded = Excluded { local: scan.excluded_count(), remote: 0 };
    // What is excluded in the target of a backup only by its name may be deleted there.
    let deletes = selector.selection.delete_excluded && direction == Some(Direction::Backup);
    let trees = ProtectedPaths::new(scan.excluded.iter().cloned());
    let mut filter = selector.path_filter(&scan.ignore_files);
    let mut deletable = HashSet::new();
    let mut is_excluded = |path: &str| {
        if trees.covering(path).is_some() {
            return true;
        }
        let is_excluded = filter.excludes(path);
        if is_excluded && deletes {
            deletable.insert(path.into());
        }
        is_excluded && !deletes
    };
    listing.objects.retain(|object| !is_excluded(&object.path));
    listing.skipped.retain(|skipped| !is_excluded(&skipped.path));
    excluded.remote += (before - listing.objects.len() - listing.skipped.len()) as u64;
    if selector.limits_size_or_age() {
        select_by_size_and_age(selector, direction, scan, listing, &mut excluded);
    }
    (excluded, deletable)
}

impl Plan {
    /// Marks the deletions of excluded objects, whose files may exist.
    pub(crate) fn mark_excluded(&mut self, paths: &HashSet<Box<str>>) {
        for deletion in &mut self.deletions {
            deletion.is_excluded = paths.contains(&deletion.path);
        }
    }
}

/// The entry of the source decides, or the other one if the source has none.
fn select_by_size_and_age(
    selector: &Selector,
    direction: Option<Direction>,
    scan: &mut Scan,
    listing: &mut Listing,
    excluded: &mut Excluded,
) {
    let (mut keep_file, mut keep_object) = (Vec::new(), Vec::new());
    for (file, object) in merge::pairs(&scan.files, &listing.objects) {
        let file_is = file.map(|file| selector.has_selected_size_and_age(file.size, file.modified));
        let object_is =
            object.map(|object| selector.has_selected_size_and_age(object.size, object.modified));
        let is_selected = match direction {
            Some(Direction::Restore) => object_is.or(file_is),
            _ => file_is.or(object_is),
        };
        let is_selected = is_selected.unwrap_or(true);
        keep_file.extend(file.map(|_| is_selected));
        keep_object.extend(object.map(|_| is_selected));
    }
    let count = |keep: &[bool]| keep.iter().filter(|keep| !**keep).count() as u64;
    excluded.local += count(&keep_file);
    excluded.remote += count(&keep_object);
    let (mut keep_file, mut keep_object) = (keep_file.into_iter(), keep_object.into_iter());
    scan.files.retain(|_| keep_file.next().unwrap_or(true));
    listing.objects.retain(|_| keep_object.next().unwrap_or(true));
}
