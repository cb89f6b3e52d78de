//! The access control list (ACL) of a file: the permissions of single users and groups.
//!
//! While a file has a POSIX ACL, the group bits of its mode are not the permissions of its group: they
//! are the mask, which limits all entries but those of the owner and of all others. So a mode that is
//! copied without the ACL grants the group what only some users had.
//!
//! A directory may have a default ACL, which new files inherit.

use std::{fs::File, io};

use cap_std::fs::Dir;

/// The ACL of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Acl {
    /// There is none, and the mode counts alone.
    None,
    Posix(Vec<u8>),
    /// The ACL of an NFS version 4 server. Only the server interprets it.
    Nfs4(Vec<u8>),
    /// It cannot be read.
    Unknown,
}

/// The kinds of entries of a POSIX ACL.
mod tag {
    pub(super) const OWNER: u16 = 0x01;
    pub(super) const GROUP: u16 = 0x04;
    pub(super) const NAMED_GROUP: u16 = 0x08;
    pub(super) const MASK: u16 = 0x10;
    pub(super) const OTHERS: u16 = 0x20;
}

/// The version number in front of the entries.
const HEADER_BYTES: usize = 4;

/// Tag and permissions of 16 bits each, and the number of the user or group. All are little-endian.
const ENTRY_BYTES: usize = 8;

impl Acl {
    /// The ACL of a file in `dir`. Links are not followed.
    pub(super) fn of_entry(dir: &Dir, name: &str) -> Acl {
        imp::read_entry(dir, name)
    }

    /// The ACL of an open file.
    pub(super) fn of_file(file: &File) -> Acl {
        imp::read(file)
    }

    /// Gives a file this ACL. Its mode changes accordingly.
    pub(super) fn set(&self, file: &File) -> io::Result<()> {
        match self {
            Acl::Posix(bytes) => imp::set(file, imp::POSIX, bytes),
            Acl::Nfs4(bytes) => imp::set(file, imp::NFS4, bytes),
            Acl::None | Acl::Unknown => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Removes the POSIX ACL of a file, if it has one. Its mode stays as it is.
    pub(super) fn remove(file: &File) -> io::Result<()> {
        imp::remove(file, imp::POSIX)
    }

    /// This ACL for a file of another group. The entries for the group and for all others get what both
    /// had, and every named group as well: its members may be in the other group, too. `None` if that
    /// cannot be expressed.
    pub(super) fn for_other_group(&self) -> Option<Acl> {
        let Acl::Posix(bytes) = self else { return None };
        let limits = |tag| is_group_or_others(tag) || matches!(tag, tag::NAMED_GROUP | tag::MASK);
        let common = self.entries()?.filter(|(tag, _)| limits(*tag));
        let common = common.fold(0o7, |common, (_, permissions)| common & permissions);
        let mut bytes = bytes.clone();
        for entry in bytes.get_mut(HEADER_BYTES..)?.chunks_exact_mut(ENTRY_BYTES) {
            if is_group_or_others(u16::from_le_bytes([entry[0], entry[1]])) {
                entry[2..4].copy_from_slice(&common.to_le_bytes());
            }
        }
        Some(Acl::Posix(bytes))
    }

    /// The permissions, as one digit of a mode, that every user has except the owner.
    pub(super) fn common(&self) -> u32 {
        let Some(entries) = self.entries() else { return 0 };
        let others = entries.filter(|(tag, _)| *tag != tag::OWNER);
        others.fold(0o7, |common, (_, permissions)| common & u32::from(permissions))
    }

    /// Tag and permissions of each entry.
    fn entries(&self) -> Option<impl Iterator<Item = (u16, u16)>> {
        let Acl::Posix(bytes) = self else { return None };
        let entries = bytes.get(HEADER_BYTES..)?.chunks_exact(ENTRY_BYTES);
        Some(entries.map(|entry| {
            (u16::from_le_bytes([entry[0], entry[1]]), u16::from_le_bytes([entry[2], entry[3]]))
        }))
    }
}

fn is_group_or_others(tag: u16) -> bool {
    matches!(tag, tag::GROUP | tag::OTHERS)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::{
        fs::File,
        io,
        os::fd::{AsFd, AsRawFd},
    };

    use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
    use cap_std::fs::{Dir, OpenOptions};
    use rustix::{
        fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr, lgetxattr},
        io::Errno,
    };

    use crate::local::acl::Acl;

    pub(super) const POSIX: &str = "system.posix_acl_access";
    pub(super) const NFS4: &str = "system.nfs4_acl";

    /// Enough for the usual ACLs.
    const USUAL_BYTES: usize = 1 << 10;

    /// The largest value of an extended attribute.
    const MAX_BYTES: usize = 1 << 16;

    pub(super) fn read_entry(dir: &Dir, name: &str) -> Acl {
        // A file need not be readable for its ACL to be read. So it is read by the path of the file
        // below the open directory, which only exists where `/proc` is mounted.
        let path = format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd());
        let acl = acl(|attribute, value| lgetxattr(&*path, attribute, value));
        if acl != Acl::Unknown {
            return acl;
        }
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        dir.open_with(name, &options).map_or(Acl::Unknown, |file| read(&file.into_std()))
    }

    pub(super) fn read(file: &File) -> Acl {
        acl(|attribute, value| fgetxattr(file, attribute, value))
    }

    fn acl(get: impl Fn(&str, &mut [u8]) -> Result<usize, Errno>) -> Acl {
        let get = |attribute| {
            let mut value = vec![0; USUAL_BYTES];
            let mut result = get(attribute, &mut value);
            if result == Err(Errno::RANGE) {
                value.resize(MAX_BYTES, 0);
                result = get(attribute, &mut value);
            }
            result.map(|len| value[..len.min(value.len())].to_vec())
        };
        match get(POSIX) {
            Ok(acl) => Acl::Posix(acl),
            Err(Errno::NODATA) => Acl::None,
            // The file system has no POSIX ACLs.
            Err(Errno::NOTSUP | Errno::NOSYS) => match get(NFS4) {
                Ok(acl) => Acl::Nfs4(acl),
                Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => Acl::None,
                Err(_) => Acl::Unknown,
            },
            Err(_) => Acl::Unknown,
        }
    }

    pub(super) fn set(file: &File, attribute: &str, acl: &[u8]) -> io::Result<()> {
        Ok(fsetxattr(file, attribute, acl, XattrFlags::empty())?)
    }

    pub(super) fn remove(file: &File, attribute: &str) -> io::Result<()> {
        match fremovexattr(file, attribute) {
            // There is none.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::{fs::File, io};

    use cap_std::fs::Dir;

    use crate::local::acl::Acl;

    pub(super) const POSIX: &str = "";
    pub(super) const NFS4: &str = "";

    pub(super) fn read_entry(_: &Dir, _: &str) -> Acl {
        Acl::None
    }

    pub(super) fn read(_: &File) -> Acl {
        Acl::None
    }

    pub(super) fn set(_: &File, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn remove(_: &File, _: &str) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A POSIX ACL with these tags and permissions.
    fn posix(entries: &[(u16, u16)]) -> Acl {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(u32::MAX.to_le_bytes());
        }
        Acl::Posix(bytes)
    }

    const USER: u16 = 0x02;

    #[test]
    fn another_group_gets_what_the_group_and_all_others_had() {
        let old = [(tag::OWNER, 7), (USER, 6), (tag::GROUP, 7), (tag::MASK, 6), (tag::OTHERS, 5)];
        let new = [(tag::OWNER, 7), (USER, 6), (tag::GROUP, 4), (tag::MASK, 6), (tag::OTHERS, 4)];
        assert_eq!(posix(&old).for_other_group(), Some(posix(&new)));
        for acl in [Acl::None, Acl::Unknown, Acl::Nfs4(vec![1; 100]), Acl::Posix(vec![2, 0])] {
            assert_eq!(acl.for_other_group(), None);
        }
    }

    #[test]
    fn another_group_gets_nothing_that_a_named_group_does_not_have() {
        // Members of the named group may be members of the other group.
        for (named, common) in [(0, 0), (4, 4), (7, 5)] {
            let old = [(tag::OWNER, 7), (tag::GROUP, 7), (tag::NAMED_GROUP, named), (tag::MASK, 7)];
            let new =
                [(tag::OWNER, 7), (tag::GROUP, common), (tag::NAMED_GROUP, named), (tag::MASK, 7)];
            let with =
                |entries: [_; 4], others| posix(&[&entries[..], &[(tag::OTHERS, others)]].concat());
            assert_eq!(with(old, 5).for_other_group(), Some(with(new, common)), "{named}");
        }
    }

    #[test]
    fn common_permissions_are_those_of_everyone_but_the_owner() {
        let entries =
            [(tag::OWNER, 0), (USER, 5), (tag::GROUP, 7), (tag::MASK, 6), (tag::OTHERS, 7)];
        assert_eq!(posix(&entries).common(), 4);
        for acl in [Acl::None, Acl::Unknown, Acl::Nfs4(vec![1; 100]), Acl::Posix(vec![2, 0])] {
            assert_eq!(acl.common(), 0);
        }
    }
}
