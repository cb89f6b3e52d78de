//! Checking that a file can be read, without opening it.

use std::{io, path::Path};

use rustix::{
    fs::{Access, AtFlags, accessat},
    io::Errno,
};

use crate::local::root::Root;

impl Root {
    /// Returns an error if the permission to read a file is missing.
    ///
    /// Any other obstacle is left to the attempt to read it: it may be gone by then.
    pub(crate) fn check_readable(&self, path: &Path) -> io::Result<()> {
        match accessat(&self.dir, path, Access::READ_OK, AtFlags::EACCESS) {
            Err(error @ (Errno::ACCESS | Errno::PERM)) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
