//! Files that a backup would have to read, but cannot.

use rayon::prelude::*;

use crate::{
    local::{HIDDEN_CONTENT, Root, has_hidden_content},
    model::entry::File,
    plan::Transfer,
};

/// For each transfer of a backup, why its file cannot be read, or `None` if nothing is known to
/// prevent it.
pub(crate) fn find_unreadable(
    pool: &rayon::ThreadPool,
    root: &Root,
    transfers: &[Transfer],
) -> Vec<Option<String>> {
    let check = |transfer: &Transfer| {
        let file = transfer.file.as_ref()?;
        match root.check_readable(file.source()) {
            Err(error) => Some(error.to_string()),
            Ok(()) if hides_content(root, file) => Some(HIDDEN_CONTENT.to_owned()),
            Ok(()) => None,
        }
    };
    pool.install(|| transfers.par_iter().map(check).collect())
}

/// Whether the size of a file is reported as 0 although it has content. It would be stored as empty.
fn hides_content(root: &Root, file: &File) -> bool {
    let open = || root.read(file.source()).and_then(|(open, _)| has_hidden_content(&open));
    file.size == 0 && open().unwrap_or(false)
}
