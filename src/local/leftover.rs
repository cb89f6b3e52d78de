//! Leftover temporary files that may hold a complete download.
//!
//! They are found in a directory that others may write to, so only an ordinary file counts: not a link,
//! no second name (its times would change as well), and the property of this user.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, fchown},
};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::OpenOptions;
use rustix::process::geteuid;

use crate::{
    local::{
        access_control::{self, AccessSource},
        parent::Parent,
        root::Root,
        temporary::{Complete, Temporary},
        times::set_modified,
    },
    model::{
        attribute::{Attribute, Unpreserved},
        paths,
        time::Timestamp,
    },
};

/// A leftover temporary file, open for reading.
pub(crate) struct Leftover {
    parent: Parent,
    pub file: fs::File,
    pub size: u64,
}

impl Root {
    /// Opens a leftover temporary file. `None` if it is not an ordinary file of this user.
    pub(crate) fn open_leftover(&self, path: &str) -> io::Result<Option<Leftover>> {
        // With `create`, the file system is known to be flushed later. The directory exists.
        let parent = self.parent(path, true)?;
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        let file = parent.dir.open_with(&parent.name, &options)?.into_std();
        let metadata = file.metadata()?;
        let is_ordinary =
            metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == geteuid().as_raw();
        let size = metadata.len();
        Ok(is_ordinary.then_some(Leftover { parent, file, size }))
    }
}

impl Leftover {
    /// Makes it the complete temporary file of `path`, which is in the same directory and does not
    /// exist.
    pub(crate) fn complete(
        self,
        path: &str,
        modified: Timestamp,
        access: &AccessSource,
    ) -> io::Result<Complete> {
        // An error of writing the file in an earlier run is reported now.
        self.file.sync_data()?;
        let mut lost = self.set_access(access)?;
        let (state, unkept) = set_modified(&self.file, modified)?;
        lost.extend(unkept);
        debug_assert!(paths::is_temporary(&self.parent.name));
        Ok(Complete::new(path, self.parent.name, state.modified, lost))
    }

    /// Gives it the access control of a new file. It may be that of a file that was to be replaced, or a
    /// file that was replaced itself. Returns what it does not have of it.
    fn set_access(&self, access: &AccessSource) -> io::Result<Vec<Unpreserved>> {
        // Whatever the arguments are, this removes the capabilities that a program has.
        fchown(&self.file, None, None)?;
        let new = Temporary::create(self.parent.clone(), false, 0)?.access_control()?;
        let mut lost = new.apply_to(&self.file)?;
        if let AccessSource::Mode(mode) = access {
            lost.retain(|one| one.attribute != Attribute::Mode);
            lost.extend(access_control::set_new_mode(&self.file, *mode)?);
        }
        Ok(lost)
    }
}
