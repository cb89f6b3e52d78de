//! The directories in which files are created, replaced and removed.
//!
//! [`Root::parent`] opens the directory of a path without following any link. Every change is made
//! relative to the open directory, so that a link that appears in between cannot redirect it.

use std::{io, sync::Arc};

use cap_fs_ext::{DirExt, MetadataExt};
use cap_std::fs::Dir;

use crate::{
    error::Cause,
    local::{platform, root::Root},
    model::paths,
};

/// The open directory of a path, and the last name of the path.
#[derive(Clone)]
pub(crate) struct Parent {
    pub(super) dir: Arc<Dir>,
    pub(super) name: String,
}

/// The directory of the previous path, kept open for further paths in the same directory.
#[derive(Default)]
pub(crate) struct ParentCache {
    /// The path of the directory below the root, and the directory.
    last: Option<(String, Arc<Dir>)>,
}

impl Root {
    /// Opens the directory that contains `path`, without following any link. With `create`, missing
    /// directories are created.
    pub(crate) fn parent(&self, path: &str, create: bool) -> io::Result<Parent> {
        let (dirs, name) = paths::split(path);
        // This one is on the file system of the root, which `Root::create` has already registered.
        if let Some(dir) = platform::open_beneath(&self.dir, dirs) {
            return Ok(Parent { dir: Arc::new(dir), name: name.to_owned() });
        }
        let mut dir = self.dir.try_clone()?;
        for segment in dirs.split('/').filter(|segment| !segment.is_empty()) {
            dir = match dir.open_dir_nofollow(segment) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                    match dir.create_dir(segment) {
                        // Another worker may have created it at the same moment.
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        _ => dir.open_dir_nofollow(segment)?,
                    }
                }
                other => other?,
            };
        }
        if create {
            self.written.add(&dir)?;
        }
        Ok(Parent { dir: Arc::new(dir), name: name.to_owned() })
    }

    /// Like [`parent`](Root::parent), but does not open the directory again if the previous path
    /// was in the same one.
    pub(super) fn cached_parent(
        &self,
        path: &str,
        create: bool,
        cache: &mut ParentCache,
    ) -> io::Result<Parent> {
        let (dirs, name) = paths::split(path);
        if let Some((cached, dir)) = &cache.last
            && cached == dirs
        {
            return Ok(Parent { dir: Arc::clone(dir), name: name.to_owned() });
        }
        let parent = self.parent(path, create)?;
        cache.last = Some((dirs.to_owned(), Arc::clone(&parent.dir)));
        Ok(parent)
    }

    /// Whether the cached directory is still at its path. If it was moved, everything that the run
    /// did in it is now in another place.
    ///
    /// # Errors
    /// The system cannot tell.
    pub(crate) fn is_in_place(&self, cache: &ParentCache) -> io::Result<bool> {
        let Some((dirs, cached)) = &cache.last else { return Ok(true) };
        let cached = cached.dir_metadata()?;
        match self.parent(&format!("{dirs}/."), false).and_then(|at| at.dir.dir_metadata()) {
            Ok(current) => Ok((cached.dev(), cached.ino()) == (current.dev(), current.ino())),
            Err(error) if platform::is_inconclusive(&error) => Err(error),
            // Something else has the path, or nothing.
            Err(_) => Ok(false),
        }
    }
}

impl Parent {
    /// Removes a temporary file, whatever its state is. It is not an error if it does not exist.
    pub(crate) fn remove_any_file(&self) -> Result<(), Cause> {
        match self.dir.remove_file(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes the directory of this name. Fails if it is not empty.
    pub(crate) fn remove_empty_dir(&self) -> io::Result<()> {
        self.dir.remove_dir(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn moved_directory_is_not_in_place() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::open(place.path()).unwrap();
        let mut cache = ParentCache::default();
        assert!(root.is_in_place(&cache).unwrap());
        drop(root.temporary("top", false, 0, &mut cache).unwrap());
        assert!(root.is_in_place(&cache).unwrap());
        drop(root.temporary("a/b/file", false, 0, &mut cache).unwrap());
        assert!(root.is_in_place(&cache).unwrap());
        fs::rename(place.path().join("a"), place.path().join("moved")).unwrap();
        assert!(!root.is_in_place(&cache).unwrap());
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        assert!(!root.is_in_place(&cache).unwrap(), "another directory has the path now");
    }
}
