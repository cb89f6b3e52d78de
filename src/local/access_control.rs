//! The access control of a file: its owner, group, mode and ACL.
//!
//! Objects have no permissions. So a download gets those of the file that it replaces, and those of the
//! target if it replaces a link. No other user gains access that way:
//!
//! - The temporary file is private until its owner and group are set. Mode and ACL follow.
//! - The group bits are not set for another group.
//! - An ACL that the directory gives to its new files is removed.
//! - Setuid and setgid are dropped. The kernel drops them on every write, too.
//!
//! [`Lost`] lists what cannot be preserved. That is an error only if another user would gain access.

use std::{
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::Path,
};

use cap_std::fs::{Dir, MetadataExt as _};

use crate::{
    local::acl::Acl,
    model::{
        attribute::{Attribute, Unpreserved},
        file_mode::FileMode,
    },
};

/// The bits of a mode for everyone but the owner.
const NOT_OWNER: u32 = 0o077;

/// Which access control a download gets.
#[derive(Clone, Debug)]
pub(crate) enum AccessSource {
    /// That of every new file: the directory and the umask decide.
    Directory,
    /// This mode.
    Mode(FileMode),
    /// That of the file that it replaces.
    Replaced,
    /// That of the file at this path below the root: the target of the link that it replaces.
    Target(Box<Path>),
}

/// The access control of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessControl {
    owner: u32,
    group: u32,
    mode: u32,
    acl: Acl,
}

/// The parts of the access control of a replaced file that the new one does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    owner: bool,
    group: bool,
    mode: bool,
    acl: bool,
}

impl Lost {
    /// The access control of the other file is unknown, and the new file stays private.
    pub(super) const UNKNOWN: Lost = Lost { owner: false, group: false, mode: true, acl: false };

    /// Each part, and why it is lost.
    pub(super) fn unpreserved(self) -> impl Iterator<Item = Unpreserved> {
        let restricted = "it is restricted where the owner, group or ACL could not be kept, or the \
                          file system does not keep it; no other user gained access";
        let parts = [
            (self.owner, Attribute::Owner, "only root can give a file to another user"),
            (self.group, Attribute::Group, "only root or a member of the group can set it"),
            (self.mode, Attribute::Mode, restricted),
            (self.acl, Attribute::Acl, "it could not be set; no other user gained access"),
        ];
        parts
            .into_iter()
            .filter(|(is_lost, ..)| *is_lost)
            .map(|(_, attribute, reason)| Unpreserved { attribute, reason: reason.to_owned() })
    }
}

impl AccessControl {
    /// Reads the access control of a file in `dir`. Fails for anything but a regular file.
    pub(super) fn of_entry(dir: &Dir, name: &str) -> io::Result<AccessControl> {
        let metadata = dir.symlink_metadata(name)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a file"));
        }
        Ok(AccessControl::new(&metadata, Acl::of_entry(dir, name)))
    }

    /// That of a file with this metadata and ACL.
    pub(super) fn new(metadata: &cap_std::fs::Metadata, acl: Acl) -> AccessControl {
        let (owner, group) = (metadata.uid(), metadata.gid());
        AccessControl { owner, group, mode: metadata.mode() & 0o7777, acl }
    }

    /// Gives a private file this access control, as far as that is possible.
    ///
    /// # Errors
    /// A user would have access who may not access the other file.
    pub(super) fn apply_to(&self, file: &File) -> io::Result<Lost> {
        let created = file.metadata()?;
        let lost = self.change_owner(file, &created);
        let mode = self.mode & 0o777;
        match (&self.acl, lost.group) {
            (Acl::None, false) => lost.with_mode(file, &created, mode, mode),
            (Acl::None, true) => {
                // Another group has the group bits now, and members of the former one have the last
                // bits.
                let common = mode >> 3 & mode & 0o7;
                let restricted = mode & 0o700 | common << 3 | common;
                lost.with_mode(file, &created, mode, restricted)
            }
            (acl, false) if acl.set(file).is_ok() => Ok(lost),
            (acl, is_lost) => {
                let lost = Lost { acl: true, ..lost };
                if is_lost && acl.for_other_group().is_some_and(|acl| acl.set(file).is_ok()) {
                    return Ok(lost);
                }
                let common = acl.common();
                let restricted = mode & 0o700 | common << 3 | common;
                lost.with_mode(file, &created, restricted, restricted)
            }
        }
    }

    /// Changes owner and group, or only the group if the owner cannot be changed.
    fn change_owner(&self, file: &File, created: &Metadata) -> Lost {
        let mut lost = Lost {
            owner: created.uid() != self.owner,
            group: created.gid() != self.group,
            ..Lost::default()
        };
        if lost.owner && fchown(file, Some(self.owner), Some(self.group)).is_ok() {
            return Lost::default();
        }
        if lost.group {
            lost.group = fchown(file, None, Some(self.group)).is_err();
        }
        lost
    }
}

impl Lost {
    /// Sets a mode, and adds it if the result is not the one that is `wanted`.
    fn with_mode(
        self,
        file: &File,
        created: &Metadata,
        wanted: u32,
        allowed: u32,
    ) -> io::Result<Lost> {
        let set = set_mode(file, created, allowed)?;
        Ok(Lost { mode: set != wanted, ..self })
    }
}

/// Gives a private file this mode. An ACL that it has from its directory is removed.
///
/// # Errors
/// The file system does not keep modes, and lets more users access the file.
pub(super) fn set_new_mode(file: &File, mode: FileMode) -> io::Result<()> {
    set_mode(file, &file.metadata()?, mode.bits()).map(|_| ())
}

/// Sets a mode of a file that has the metadata `created`. Returns the mode that it has then.
fn set_mode(file: &File, created: &Metadata, mut mode: u32) -> io::Result<u32> {
    if matches!(Acl::of_file(file), Acl::Posix(_)) && Acl::remove(file).is_err() {
        // The group bits are the mask of the ACL.
        mode &= !0o070;
    }
    let current = created.mode() & 0o7777;
    if current == mode {
        return Ok(mode);
    }
    let changed = file.set_permissions(Permissions::from_mode(mode));
    let was_private = current & NOT_OWNER & !mode == 0;
    if changed.is_ok() && was_private {
        return Ok(mode);
    }
    // Some file systems refuse modes, others ignore them.
    let current = file.metadata()?.mode() & 0o777;
    if current & NOT_OWNER & !mode != 0 {
        let text = format!("its mode is {current:04o} and cannot be changed to {mode:04o}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(current)
}
