//! Temporary files: a download writes to one, and renames it when it is complete.
//!
//! A file that has its final name is therefore always complete:
//!
//! 1. [`Root::temporary`] creates a temporary file in the directory of the final one, and the
//!    download writes to it.
//! 2. [`Temporary::complete`] sets its time and mode, and closes it.
//! 3. [`Root::sync`] flushes any number of them to disk.
//! 4. [`Root::publish`] renames it.
//!
//! A restore that is killed leaves temporary files. The next restore removes these leftovers, and also
//! the temporary files that a restore failed to remove. A backup leaves them alone.

use std::{fs, io, os::unix::fs::PermissionsExt};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::io::Errno;

use crate::{
    error::Cause,
    local::{
        file_state::Expected,
        parent::{Parent, ParentCache},
        refused::{is_refusal, unless_refused},
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
    /// The modification time that it has.
    pub modified: Timestamp,
    /// The attributes that it could not get.
    pub unpreserved: Vec<Unpreserved>,
}

impl Complete {
    pub(super) fn new(
        path: &str,
        name: String,
        expected: Expected,
        modified: Timestamp,
        unpreserved: Vec<Unpreserved>,
    ) -> Complete {
        Complete { path: path.to_owned(), name, expected, modified, unpreserved }
    }
}

impl Root {
    /// Creates a temporary file of `size` bytes for `path`. Missing directories are created.
    ///
    /// No disk space is reserved: the content may be mostly zeros.
    pub(crate) fn temporary(
        &self,
        path: &str,
        replaces_file: bool,
        size: u64,
        cache: &mut ParentCache,
    ) -> io::Result<Temporary> {
        if self.max_file_size.is_some_and(|max| size > max) {
            return Err(Errno::FBIG.into());
        }
        let parent = self.cached_parent(path, true, cache)?;
        let mut temporary = Temporary::create(parent, replaces_file, size)?;
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
        parent.replace(&complete.name, complete.expected)
    }

    /// Removes a complete file that will not be published.
    pub(crate) fn discard(&self, complete: &Complete) {
        if let Ok(parent) = self.parent(&complete.path, false) {
            let _ = parent.dir.remove_file(&complete.name);
        }
    }
}

impl Temporary {
    fn create(parent: Parent, replaces_file: bool, size: u64) -> io::Result<Temporary> {
        let name = paths::temporary();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).follow(FollowSymlinks::No);
        if replaces_file {
            // Private until `complete` sets the mode of the replaced file.
            options.mode(0o600);
        }
        let file = parent.dir.open_with(&name, &options)?.into_std();
        Ok(Temporary { parent, name: Some(name), file, is_sparse: false, size })
    }

    /// Sets the modification time, and the mode of the file that this one replaces, and closes the
    /// file.
    pub(crate) fn complete(
        mut self,
        path: &str,
        expected: Expected,
        modified: Timestamp,
    ) -> Result<Complete, Cause> {
        let mut unpreserved = Vec::new();
        if let Expected::File(_) = expected {
            // Objects have no permissions, so the file keeps those that it had, but not setuid and
            // setgid: the kernel clears these on every write too, and the owner may be another now.
            let replaced = self.parent.dir.symlink_metadata(&self.parent.name)?.permissions();
            let mode = replaced.into_std(&self.file)?.mode() & 0o777;
            let set = self.file.set_permissions(fs::Permissions::from_mode(mode));
            unpreserved.extend(unless_refused(Attribute::Mode, set)?);
        }
        let (state, unkept) = set_modified(&self.file, modified)?;
        unpreserved.extend(unkept);
        if self.is_sparse && state.size != self.size {
            // Zeros at the end are missing, which were not written.
            return Err(io::Error::other("the file system did not extend the file").into());
        }
        let name = self.name.take().unwrap_or_default();
        Ok(Complete::new(path, name, expected, state.modified, unpreserved))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.parent.dir.remove_file(name);
        }
    }
}
