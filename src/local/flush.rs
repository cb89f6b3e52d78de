//! Flushing everything that a run wrote to disk.
//!
//! One `syncfs` per file system flushes any number of files, in the order that suits the file
//! system. A run therefore remembers each file system that it writes to. Where there is no
//! `syncfs`, `sync` flushes all file systems of the machine.
//!
//! A write-back error is reported once per descriptor, and not at all to one opened after it was
//! reported. For this reason the descriptors are opened before the first write and kept for the
//! whole run.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    sync::{Arc, Mutex, PoisonError},
};

use cap_fs_ext::MetadataExt;
use cap_std::fs::Dir;
use rustix::io::Errno;

use crate::local::platform;

/// The file systems that a run writes to.
#[derive(Default)]
pub(super) struct WrittenFileSystems {
    /// A directory on each of them, by device number.
    directories: Mutex<BTreeMap<u64, Arc<fs::File>>>,
    /// The first error of a flush.
    failure: Mutex<Option<Errno>>,
}

impl WrittenFileSystems {
    /// Adds the file system of `dir`. Must be called before the first write to it.
    pub(super) fn add(&self, dir: &Dir) -> io::Result<()> {
        if !platform::HAS_SYNCFS {
            return Ok(());
        }
        let device = dir.dir_metadata()?.dev();
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(entry) = directories.entry(device) {
            entry.insert(Arc::new(dir.open(".")?.into_std()));
        }
        Ok(())
    }

    /// Flushes all of them. After a failure, every later call fails as well: the lost data may
    /// belong to any file written before.
    pub(super) fn flush(&self) -> io::Result<()> {
        if !platform::HAS_SYNCFS {
            rustix::fs::sync();
            return Ok(());
        }
        // One flush at a time: of two calls at the same moment, only one would get an error that
        // concerns both.
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            let directories =
                self.directories.lock().unwrap_or_else(PoisonError::into_inner).clone();
            *failure = directories.values().try_for_each(|dir| platform::syncfs(dir)).err();
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}
