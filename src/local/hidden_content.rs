//! Files whose size is reported as 0 although they have content: those of `/proc`, and of some FUSE
//! file systems.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Why such a file is not stored.
pub(crate) const HIDDEN_CONTENT: &str = "its size is reported as 0, but it has content";

/// Whether a file of size 0 has content. A file that has just grown does not count.
pub(crate) fn has_hidden_content(file: &File) -> io::Result<bool> {
    // A file that returns an error has no content that could be taken for empty.
    let has_content = file.read_at(&mut [0], 0).is_ok_and(|read| read > 0);
    Ok(has_content && file.metadata()?.len() == 0)
}
