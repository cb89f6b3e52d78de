//! System calls that only Linux and Android have, with fallbacks for other systems.

pub(crate) use imp::{
    HAS_SYNCFS, exchange, open_beneath, release_space, rename_if_absent, reserve_space,
    start_writeback, syncfs,
};

use std::io;

use rustix::io::Errno;

/// Whether an error of following a path says nothing about what is there: a broken disk, for example.
/// The other errors are a property of the path, such as a name that the file system cannot hold.
pub(crate) fn is_inconclusive(error: &io::Error) -> bool {
    use Errno as E;
    let conclusive = [E::NOENT, E::NOTDIR, E::LOOP, E::XDEV, E::NAMETOOLONG, E::INVAL, E::ILSEQ];
    Errno::from_io_error(error).is_some_and(|errno| !conclusive.contains(&errno))
}

/// Whether an error says that the disk is full, or the user's share of it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT];
    Errno::from_io_error(error).is_some_and(|errno| full.contains(&errno))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::{fs::File, io, num::NonZeroU64, ops::Range};

    use cap_std::fs::Dir;
    use rustix::{
        fs::{
            Advice, FallocateFlags, Mode, OFlags, RenameFlags, ResolveFlags, fadvise, fallocate,
            openat2, renameat_with,
        },
        io::Errno,
    };

    /// Whether [`syncfs`] exists.
    pub(crate) const HAS_SYNCFS: bool = true;

    /// Opens a directory below `root` with one system call, without following any link.
    ///
    /// `None` if that fails for any reason, or if the path enters another file system. The caller
    /// then has to walk the path.
    pub(crate) fn open_beneath(root: &Dir, path: &str) -> Option<Dir> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let dir = openat2(root, path, flags, Mode::empty(), resolve).ok()?;
        Some(Dir::from_std_file(dir.into()))
    }

    /// Renames a file within `dir` in one step with the check that nothing has the new name.
    ///
    /// `false` if the name is taken or the file system does not support this. Nothing was changed
    /// then.
    pub(crate) fn rename_if_absent(dir: &Dir, from: &str, to: &str) -> io::Result<bool> {
        match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Exchanges the names of two entries of `dir` in one step. `false` if the file system does not
    /// support this; nothing was changed then.
    pub(crate) fn exchange(dir: &Dir, a: &str, b: &str) -> io::Result<bool> {
        match renameat_with(dir, a, dir, b, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts writing a range of a file to disk, so that less is left for the flush at the end.
    pub(crate) fn start_writeback(file: &File, range: Range<u64>) {
        if let Some(len) = NonZeroU64::new(range.end - range.start) {
            // This asks to drop the range from the page cache. Linux cannot drop dirty pages, and
            // starts to write them instead. A failure costs only time.
            let _ = fadvise(file, range.start, Some(len), Advice::DontNeed);
        }
    }

    /// Reserves disk space for the first `len` bytes of an empty file. A failure costs only time.
    pub(crate) fn reserve_space(file: &File, len: u64) {
        let _ = fallocate(file, FallocateFlags::KEEP_SIZE, 0, len);
    }

    /// Releases the disk space of a range that holds only zeros. A failure costs only space.
    pub(crate) fn release_space(file: &File, range: Range<u64>) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = fallocate(file, flags, range.start, range.end - range.start);
    }

    /// Flushes the file system that contains `file`.
    pub(crate) fn syncfs(file: &File) -> Result<(), Errno> {
        rustix::fs::syncfs(file)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::{fs::File, io, ops::Range};

    use cap_std::fs::Dir;
    use rustix::io::Errno;

    pub(crate) const HAS_SYNCFS: bool = false;

    pub(crate) fn open_beneath(_: &Dir, _: &str) -> Option<Dir> {
        None
    }

    pub(crate) fn rename_if_absent(_: &Dir, _: &str, _: &str) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn exchange(_: &Dir, _: &str, _: &str) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn start_writeback(_: &File, _: Range<u64>) {}

    pub(crate) fn reserve_space(_: &File, _: u64) {}

    pub(crate) fn release_space(_: &File, _: Range<u64>) {}

    pub(crate) fn syncfs(_: &File) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }
}
