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
//! What the system refuses is noted. That is an error only if another user would gain access.

use std::{
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::Path,
};

use cap_std::fs::{Dir, MetadataExt as _};

use crate::{
    local::{acl::Acl, refused::unless_refused},
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
    /// The access control of every new file: the directory and the umask decide.
    Directory,
    /// This mode.
    Mode(FileMode),
    /// The access control of the file that it replaces.
    Replaced,
    /// The access control of the file at this path below the root: the target of the link that it
    /// replaces.
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

impl AccessControl {
    /// Reads the access control of a file in `dir`. Fails for anything but a regular file.
    pub(super) fn of_entry(dir: &Dir, name: &str) -> io::Result<AccessControl> {
        let metadata = dir.symlink_metadata(name)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a file"));
        }
        Ok(AccessControl::new(&metadata, Acl::of_entry(dir, name)))
    }

    /// The access control of a file with this metadata and ACL.
    pub(super) fn new(metadata: &cap_std::fs::Metadata, acl: Acl) -> AccessControl {
        let (owner, group) = (metadata.uid(), metadata.gid());
        AccessControl { owner, group, mode: metadata.mode() & 0o7777, acl }
    }

    /// Gives a private file this access control, as far as that is possible. Returns what it does not
    /// have of it.
    ///
    /// # Errors
    /// A user would have access who may not access the other file, or the disk fails.
    pub(super) fn apply_to(&self, file: &File) -> io::Result<Vec<Unpreserved>> {
        let created = file.metadata()?;
        let mut lost = self.change_owner(file, &created)?;
        let is_other_group = lost.iter().any(|one| one.attribute == Attribute::Group);
        let mode = self.mode & 0o777;
        let allowed = match (&self.acl, is_other_group) {
            (Acl::None, false) => mode,
            // Another group has the group bits now, and members of the old group now count as others.
            (Acl::None, true) => restrict(mode, mode >> 3 & mode & 0o7),
            (acl, false) => match set_acl(file, acl)? {
                None => return Ok(lost),
                Some(refused) => {
                    lost.push(refused);
                    restrict(mode, acl.common())
                }
            },
            (acl, true) => {
                lost.push(restricted(Attribute::Acl));
                if let Some(reduced) = acl.for_other_group()
                    && set_acl(file, &reduced)?.is_none()
                {
                    return Ok(lost);
                }
                restrict(mode, acl.common())
            }
        };
        let unset = set_mode(file, &created, allowed)?;
        if unset.is_none() && self.acl == Acl::None && allowed != mode {
            lost.push(restricted(Attribute::Mode));
        }
        lost.extend(unset);
        Ok(lost)
    }

    /// Changes owner and group, or only the group if the owner cannot be changed.
    fn change_owner(&self, file: &File, created: &Metadata) -> io::Result<Vec<Unpreserved>> {
        let mut lost = Vec::new();
        if created.uid() != self.owner {
            let both = fchown(file, Some(self.owner), Some(self.group));
            match unless_refused(Attribute::Owner, both)? {
                None => return Ok(lost),
                Some(refused) => lost.push(refused),
            }
        }
        if created.gid() != self.group {
            lost.extend(unless_refused(Attribute::Group, fchown(file, None, Some(self.group)))?);
        }
        Ok(lost)
    }
}

/// The owner bits of a mode, with the same bits for the group and all others.
fn restrict(mode: u32, common: u32) -> u32 {
    mode & 0o700 | common << 3 | common
}

/// The note for an attribute that is less than that of the replaced file, because of its group.
fn restricted(attribute: Attribute) -> Unpreserved {
    let reason = "restricted, because the group cannot be kept; no other user gained access";
    Unpreserved { attribute, reason: reason.to_owned() }
}

/// Sets an ACL. Returns why it cannot be set.
fn set_acl(file: &File, acl: &Acl) -> io::Result<Option<Unpreserved>> {
    if *acl == Acl::Unknown {
        let reason = "that ACL cannot be read".to_owned();
        return Ok(Some(Unpreserved { attribute: Attribute::Acl, reason }));
    }
    unless_refused(Attribute::Acl, acl.set(file))
}

/// Gives a private file this mode. An ACL that it has from its directory is removed. Returns why it has
/// another mode, if it does.
///
/// # Errors
/// The file system does not keep modes, and lets more users access the file.
pub(super) fn set_new_mode(file: &File, mode: FileMode) -> io::Result<Option<Unpreserved>> {
    set_mode(file, &file.metadata()?, mode.bits())
}

/// Sets a mode of a file that has the metadata `created`. Returns why it has another mode, if it does.
fn set_mode(file: &File, created: &Metadata, mode: u32) -> io::Result<Option<Unpreserved>> {
    let mut allowed = mode;
    if matches!(Acl::of_file(file), Acl::Posix(_) | Acl::Unknown) && Acl::remove(file).is_err() {
        // The group bits are the mask of the ACL, which may exist.
        allowed &= !0o070;
    }
    let current = created.mode() & 0o7777;
    if current == mode && allowed == mode {
        return Ok(None);
    }
    let set = file.set_permissions(Permissions::from_mode(allowed));
    let refused = unless_refused(Attribute::Mode, set)?;
    let was_private = current & NOT_OWNER & !allowed == 0;
    if refused.is_none() && was_private && allowed == mode {
        return Ok(None);
    }
    // Some file systems refuse modes, others ignore them.
    let current = file.metadata()?.mode() & 0o777;
    if current & NOT_OWNER & !allowed != 0 {
        let text = format!("its mode is {current:04o} and cannot be changed to {allowed:04o}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let ignored = || Unpreserved {
        attribute: Attribute::Mode,
        reason: format!("the mode is {current:04o} and cannot be changed"),
    };
    Ok(refused.or_else(|| (current != mode).then(ignored)))
}
