//! Temporary files: a download writes to one, and renames it when it is complete.
//!
//! A file that has its final name is therefore always complete:
//!
//! 1. [`Root::temporary`] creates a temporary file in the directory of the final one, and the
//!    download writes to it.
//! 2. [`Temporary::complete`] sets its time and its access control, and closes it.
//! 3. [`Root::sync`] flushes any number of them to disk.
//! 4. [`Root::publish`] renames it.
//!
//! A restore that is killed leaves temporary files. The next restore removes these leftovers, and also
//! the temporary files that a restore failed to remove. A backup leaves them alone.

use std::{fs, io};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::io::Errno;

use crate::{
    error::Cause,
    local::{
        access_control::{self, AccessControl, AccessSource},
        file_state::Expected,
        parent::{Parent, ParentCache},
        refused::is_refusal,
        replacement::Replaceable,
        root::Root,
        times::set_modified,
    },
    model::{
        attribute::{Attribute, Unpreserved},
        paths,
        time::Timestamp,
    },
};

/// Smaller files are written as a whole: holes in them do not save much. Some FUSE file systems can only
/// write from the start to the end.
const MIN_SPARSE: u64 = 1 << 20;

/// A temporary file that is being written. Dropping it removes the file.
pub(crate) struct Temporary {
    parent: Parent,
    /// `None` once it is complete.
    name: Option<String>,
    pub file: fs::File,
    /// It got its full length when it was created, so zeros need not be written.
    pub is_sparse: bool,
    size: u64,
}

/// A temporary file that only has to be renamed. It holds no descriptor, and dropping it does not
/// remove the file.
pub(crate) struct Complete {
    /// The final path.
    path: String,
    /// The name of the temporary file.
    name: String,
    expected: Expected,
    /// The access control of the file that it replaces. If that has changed, the file is not renamed.
    replaced: Option<AccessControl>,
    /// The modification time that it has.
    pub modified: Timestamp,
    /// The attributes that it could not get.
    pub unpreserved: Vec<Unpreserved>,
}

impl Complete {
    /// The complete file of a path that does not exist.
    pub(super) fn new(
        path: &str,
        name: String,
        modified: Timestamp,
        unpreserved: Vec<Unpreserved>,
    ) -> Complete {
        let (path, expected) = (path.to_owned(), Expected::Nothing);
        Complete { path, name, expected, replaced: None, modified, unpreserved }
    }
}

impl Root {
    /// Creates a temporary file of `size` bytes for `path`. Missing directories are created. A private
    /// file can be accessed only by this user until it is complete.
    ///
    /// No disk space is reserved: the content may be mostly zeros.
    pub(crate) fn temporary(
        &self,
        path: &str,
        is_private: bool,
        size: u64,
        cache: &mut ParentCache,
    ) -> io::Result<Temporary> {
        if self.max_file_size.is_some_and(|max| size > max) {
            return Err(Errno::FBIG.into());
        }
        let parent = self.cached_parent(path, true, cache)?;
        let mut temporary = Temporary::create(parent, is_private, size)?;
        if size >= MIN_SPARSE {
            // Some FUSE file systems cannot extend a file. All of it is written there.
            match temporary.file.set_len(size) {
                Err(error) if is_refusal(&error) => {}
                extended => {
                    extended?;
                    temporary.is_sparse = true;
                }
            }
        }
        Ok(temporary)
    }

    /// Renames a complete file to its final path, in place of the expected entry. A file that
    /// cannot be renamed is removed.
    pub(crate) fn publish(
        &self,
        complete: &Complete,
        cache: &mut ParentCache,
    ) -> Result<(), Cause> {
        let parent = self.cached_parent(&complete.path, false, cache)?;
        let entry = Replaceable { expected: complete.expected, access: complete.replaced.as_ref() };
        parent.replace(&complete.name, entry)
    }

    /// Removes a complete file that will not be published.
    pub(crate) fn discard(&self, complete: &Complete) {
        if let Ok(parent) = self.parent(&complete.path, false) {
            let _ = parent.dir.remove_file(&complete.name);
        }
    }
}

impl Temporary {
    pub(super) fn create(parent: Parent, is_private: bool, size: u64) -> io::Result<Temporary> {
        let name = paths::temporary();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).follow(FollowSymlinks::No);
        if is_private {
            options.mode(0o600);
        }
        let file = parent.dir.open_with(&name, &options)?.into_std();
        Ok(Temporary { parent, name: Some(name), file, is_sparse: false, size })
    }

    /// The access control that the file has now.
    pub(super) fn access_control(&self) -> io::Result<AccessControl> {
        AccessControl::of_entry(&self.parent.dir, self.name.as_deref().unwrap_or_default())
    }

    /// Sets the modification time and the access control, and closes the file.
    pub(crate) fn complete(
        mut self,
        root: &Root,
        path: &str,
        expected: Expected,
        modified: Timestamp,
        access: &AccessSource,
    ) -> Result<Complete, Cause> {
        let (state, unkept) = set_modified(&self.file, modified)?;
        if self.is_sparse && state.size != self.size {
            // Zeros at the end are missing, which were not written.
            return Err(io::Error::other("the file system did not extend the file").into());
        }
        let (replaced, mut lost) = self.set_access(root, access)?;
        lost.extend(unkept);
        let name = self.name.take().unwrap_or_default();
        let modified = state.modified;
        Ok(Complete {
            path: path.to_owned(),
            name,
            expected,
            replaced,
            modified,
            unpreserved: lost,
        })
    }

    /// Returns the access control of the file that this one replaces, and what this one does not have of
    /// the wanted one.
    fn set_access(
        &self,
        root: &Root,
        access: &AccessSource,
    ) -> io::Result<(Option<AccessControl>, Vec<Unpreserved>)> {
        match access {
            AccessSource::Directory => Ok((None, Vec::new())),
            AccessSource::Mode(mode) => {
                let lost = access_control::set_new_mode(&self.file, *mode)?;
                Ok((None, Vec::from_iter(lost)))
            }
            AccessSource::Replaced => {
                let replaced = AccessControl::of_entry(&self.parent.dir, &self.parent.name)?;
                let lost = replaced.apply_to(&self.file)?;
                Ok((Some(replaced), lost))
            }
            AccessSource::Target(target) => {
                let target = || -> Option<AccessControl> {
                    let parent = root.parent(target.to_str()?, false).ok()?;
                    AccessControl::of_entry(&parent.dir, &parent.name).ok()
                };
                let Some(target) = target() else {
                    let reason = "the permissions of the link's target are unknown, so only the owner has access";
                    let lost =
                        Unpreserved { attribute: Attribute::Mode, reason: reason.to_owned() };
                    return Ok((None, vec![lost]));
                };
                Ok((None, target.apply_to(&self.file)?))
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.parent.dir.remove_file(name);
        }
    }
}
