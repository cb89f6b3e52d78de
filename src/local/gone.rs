//! Checking that a file is really gone, right before a backup deletes its object.
//!
//! A file counts as gone only if that is certain. If an error can have another reason than a
//! missing file, such as a denied permission, the file counts as present.

use std::io;

use crate::{
    local::{platform, root::Root, same_entry::RealNames},
    model::{links::Links, paths},
};

impl Root {
    /// Whether there is certainly no file at `path`, nor a link or anything else but a directory.
    ///
    /// With [`Links::Follow`], links in the directories of the path are followed. `names` are those of this
    /// root, read a moment ago.
    ///
    /// # Errors
    /// The system cannot tell.
    pub(crate) fn has_no_file(
        &self,
        path: &str,
        links: Links,
        names: &mut RealNames,
    ) -> io::Result<bool> {
        let follows = links == Links::Follow;
        let real = if follows { self.real_path(path) } else { Ok(path.to_owned()) };
        let metadata = real
            .and_then(|real| self.parent(&real, false))
            .and_then(|parent| parent.dir.symlink_metadata(&parent.name));
        match metadata {
            // A file system that folds names finds another file under this name.
            Ok(metadata) => Ok(metadata.is_dir() || names.is_other_spelling(path)),
            Err(error) if platform::is_inconclusive(&error) => Err(error),
            Err(error) => Ok(match error.kind() {
                io::ErrorKind::NotFound if !follows => true,
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    !self.passes_a_hiding_link(path, follows)
                }
                _ => false,
            }),
        }
    }

    /// Whether a directory of `path` is a link that may hide files: one to a directory, if such
    /// links are not followed, or a dangling one, whose target may be missing only for the moment.
    ///
    /// A link to a file hides nothing, because there is nothing below a file.
    fn passes_a_hiding_link(&self, path: &str, follows: bool) -> bool {
        paths::above(path).any(|dir| {
            let dir = self.path.join(dir);
            dir.is_symlink() && !(dir.is_file() || follows && dir.is_dir())
        })
    }

    /// The real path of `path` below the root: links in its directories are resolved, but not its
    /// last name.
    fn real_path(&self, path: &str) -> io::Result<String> {
        let (dirs, name) = paths::split(path);
        // Not the original error: `NotFound` would count as proof that the file is gone.
        let root = self.path.canonicalize().map_err(|_| io::ErrorKind::InvalidInput)?;
        let dirs = self.path.join(dirs).canonicalize()?;
        let below = dirs.strip_prefix(root).ok().map(|below| below.join(name));
        let below = below.and_then(|below| Some(below.to_str()?.to_owned()));
        below.ok_or(io::ErrorKind::InvalidInput.into())
    }
}
