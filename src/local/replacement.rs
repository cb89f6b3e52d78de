//! Replacing and removing an entry without losing a change of the last moment.
//!
//! A program may change a file between the check of its state and the rename or removal. So the entry
//! is not gone after that:
//!
//! 1. Check that the entry of the path is the expected one.
//! 2. Exchange it with the temporary file. To remove it, rename it to a temporary name.
//! 3. Check it again. A program that looks for the path does not find it any more.
//! 4. Remove it. If it has changed, put it back instead.
//!
//! A program that opened the file before may still write to it; this is not detected. Where the file
//! system or the kernel cannot exchange names, only the first check is made.
//!
//! A run that is killed between 2 and 4 leaves the old entry behind as a temporary file. A changed file
//! that cannot be put back gets an ordinary name, because the next restore removes temporary files.

use std::io;

use cap_std::fs::MetadataExt as _;
use rustix::io::Errno;

use crate::{
    error::Cause,
    local::{
        access_control::AccessControl,
        acl::Acl,
        file_state::{Expected, FileState},
        parent::Parent,
        platform,
    },
    model::{escape::Escaped, paths},
};

/// The file that replaces an entry, to recognize it under another name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NewFile {
    state: Option<Expected>,
    device: u64,
    inode: u64,
}

/// The entry that a path must have to be replaced.
#[derive(Clone, Copy)]
pub(super) struct Replaceable<'a> {
    pub expected: Expected,
    pub access: Option<&'a AccessControl>,
}

impl Parent {
    /// Renames a temporary file of this directory to the name of the path, in place of the expected
    /// entry. A file that cannot be renamed is removed.
    pub(super) fn replace(&self, temporary: &str, old: Replaceable) -> Result<(), Cause> {
        match self.put_in_place(temporary, old) {
            Ok(Some(new)) => self.finish_exchange(temporary, old, new),
            Ok(None) => Ok(()),
            Err(cause) => {
                let _ = self.dir.remove_file(temporary);
                Err(cause)
            }
        }
    }

    /// Removes the file or link, if it is the expected one.
    pub(crate) fn remove(&self, expected: Expected) -> Result<(), Cause> {
        self.check(&self.name, Replaceable { expected, access: None })?;
        let aside = paths::temporary();
        match platform::rename_if_absent(&self.dir, &self.name, &aside) {
            Ok(true) => self.finish_removal(&aside, expected),
            Ok(false) => Ok(self.dir.remove_file(&self.name)?),
            // The directory may have no space for a longer name.
            Err(error) if platform::is_full(&error) => Ok(self.dir.remove_file(&self.name)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the temporary file if it was exchanged with the old entry, which has its name then.
    fn put_in_place(&self, temporary: &str, old: Replaceable) -> Result<Option<NewFile>, Cause> {
        if old.expected == Expected::Nothing
            && platform::rename_if_absent(&self.dir, temporary, &self.name)?
        {
            return Ok(None);
        }
        self.check(&self.name, old)?;
        if old.expected != Expected::Nothing {
            let new = self.new_file(temporary)?.ok_or(Errno::NOENT).map_err(io::Error::from)?;
            match platform::exchange(&self.dir, temporary, &self.name) {
                Ok(true) => return Ok(Some(new)),
                Ok(false) => {}
                // The temporary file is removed, so it must still be the new one. Some servers report
                // an error and do what was asked.
                Err(error) => {
                    let is_unchanged =
                        self.new_file(temporary).is_ok_and(|found| found == Some(new));
                    return if is_unchanged { Err(error.into()) } else { Ok(Some(new)) };
                }
            }
        }
        self.dir.rename(temporary, &self.dir, &self.name)?;
        Ok(None)
    }

    /// Removes the old entry after an exchange, or puts it back if it has changed. `new` is the file that
    /// has its place.
    fn finish_exchange(&self, aside: &str, old: Replaceable, new: NewFile) -> Result<(), Cause> {
        let Err(changed) = self.check(aside, old) else { return self.remove_replaced(aside) };
        if matches!(self.state(aside), Ok(Some(Expected::Nothing))) {
            // The file system does not know exchanges, and has replaced the old entry.
            return Ok(());
        }
        let exchange = || matches!(platform::exchange(&self.dir, aside, &self.name), Ok(true));
        if !exchange() {
            return self.put_back(aside, changed);
        }
        let can_be_removed = match self.new_file(aside) {
            Ok(Some(found)) if found == new => true,
            // Another program has just replaced the new file. Its file is the latest.
            Ok(Some(found)) if found.state != new.state => exchange(),
            _ => false,
        };
        if !can_be_removed {
            return self.save(aside, changed);
        }
        let _ = self.dir.remove_file(aside);
        Err(changed)
    }

    /// Removes an entry that was replaced.
    fn remove_replaced(&self, aside: &str) -> Result<(), Cause> {
        self.dir.remove_file(aside).map_err(|error| {
            let text = format!(
                "the new file is in place, but the old one, which is now named {aside}, cannot be \
                 removed: {error}"
            );
            io::Error::new(error.kind(), text).into()
        })
    }

    /// Removes the old entry, which was renamed, or puts it back if it has changed.
    fn finish_removal(&self, aside: &str, expected: Expected) -> Result<(), Cause> {
        let removed = self
            .check(aside, Replaceable { expected, access: None })
            .and_then(|()| Ok(self.dir.remove_file(aside)?));
        removed.or_else(|cause| self.put_back(aside, cause))
    }

    /// Gives an entry its name back, because of `cause`.
    fn put_back(&self, aside: &str, cause: Cause) -> Result<(), Cause> {
        match platform::rename_if_absent(&self.dir, aside, &self.name) {
            Ok(true) => Err(cause),
            Ok(false) | Err(_) => self.save(aside, cause),
        }
    }

    /// Gives an entry that cannot be put back because of `cause` an ordinary name.
    fn save(&self, aside: &str, cause: Cause) -> Result<(), Cause> {
        let saved = paths::saved(&self.name);
        let text = match self.dir.rename(aside, &self.dir, &saved) {
            Ok(()) => format!(
                "{cause}; the changed file cannot be put back, and is now named {} in the same \
                 directory",
                Escaped(&saved)
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(cause),
            Err(error) => format!(
                "{cause}; the changed file cannot be put back, and is now named {aside} in the same \
                 directory ({error}); rename it, because the next restore removes it otherwise"
            ),
        };
        Err(io::Error::other(text).into())
    }

    fn check(&self, name: &str, old: Replaceable) -> Result<(), Cause> {
        let changed = |text| Err(Cause::Changed(text));
        let Some(metadata) = self.metadata(name)? else {
            return match old.expected {
                Expected::Nothing => Ok(()),
                _ => changed("the file disappeared after the scan"),
            };
        };
        match state_of(&metadata)? {
            Some(current) if current == old.expected => {}
            Some(_) => return changed("the file was changed after the scan"),
            None => return changed("a directory or special file is in the way"),
        }
        match old.access {
            Some(access)
                if *access != AccessControl::new(&metadata, Acl::of_entry(&self.dir, name)) =>
            {
                changed("its permissions were changed during the run")
            }
            _ => Ok(()),
        }
    }

    /// The state of an entry. `None` if it is neither a file nor a link.
    fn state(&self, name: &str) -> io::Result<Option<Expected>> {
        self.metadata(name)?.map_or(Ok(Some(Expected::Nothing)), |metadata| state_of(&metadata))
    }

    /// The file of this name, if it exists.
    fn new_file(&self, name: &str) -> io::Result<Option<NewFile>> {
        let Some(metadata) = self.metadata(name)? else { return Ok(None) };
        let (device, inode) = (metadata.dev(), metadata.ino());
        Ok(Some(NewFile { state: state_of(&metadata)?, device, inode }))
    }

    /// The metadata of an entry, if it exists.
    fn metadata(&self, name: &str) -> io::Result<Option<cap_std::fs::Metadata>> {
        match self.dir.symlink_metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

fn state_of(metadata: &cap_std::fs::Metadata) -> io::Result<Option<Expected>> {
    Ok(if metadata.is_symlink() {
        Some(Expected::Link)
    } else if metadata.is_file() {
        let modified = metadata.modified()?.into_std().into();
        Some(Expected::File(FileState { size: metadata.len(), modified }))
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::local::root::Root;

    struct Place {
        dir: tempfile::TempDir,
        parent: Parent,
    }

    const TEMPORARY: &str = ".s3keep-0123456789abcdef.part";

    impl Place {
        /// A directory with a file `a` that is to be replaced, and the temporary file.
        fn new() -> Place {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("a"), "old").unwrap();
            fs::write(dir.path().join(TEMPORARY), "new content").unwrap();
            let parent = Root::open(dir.path()).unwrap().parent("a", false).unwrap();
            Place { dir, parent }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join(name)
        }

        fn expected(&self) -> Expected {
            self.parent.state("a").unwrap().unwrap()
        }

        #[track_caller]
        fn assert_files(&self, expected: &[(&str, &str)]) {
            let names = fs::read_dir(self.dir.path()).unwrap();
            let read = |path: &Path| fs::read_to_string(path).unwrap();
            let mut found: Vec<(String, String)> = names
                .map(|entry| entry.unwrap())
                .map(|entry| (entry.file_name().into_string().unwrap(), read(&entry.path())))
                .collect();
            found.sort();
            let expected = expected.iter().map(|(name, text)| (name.to_string(), text.to_string()));
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }

    fn is_changed(result: &Result<(), Cause>) -> bool {
        matches!(result, Err(Cause::Changed(_)))
    }

    #[test]
    fn expected_file_is_replaced() {
        let place = Place::new();
        let old = Replaceable { expected: place.expected(), access: None };
        place.parent.replace(TEMPORARY, old).unwrap();
        place.assert_files(&[("a", "new content")]);
    }

    #[test]
    fn changed_file_is_not_replaced() {
        let place = Place::new();
        let old = Replaceable { expected: place.expected(), access: None };
        fs::write(place.path("a"), "edited").unwrap();
        assert!(is_changed(&place.parent.replace(TEMPORARY, old)));
        place.assert_files(&[("a", "edited")]);
    }

    #[test]
    fn file_that_changes_after_the_check_is_put_back() {
        let place = Place::new();
        let old = Replaceable { expected: place.expected(), access: None };
        let Some(new) = place.parent.put_in_place(TEMPORARY, old).unwrap() else {
            return println!("skipped: the file system cannot exchange names");
        };
        // This edit was made between check and exchange.
        fs::write(place.path(TEMPORARY), "edited").unwrap();
        assert!(is_changed(&place.parent.finish_exchange(TEMPORARY, old, new)));
        place.assert_files(&[("a", "edited")]);
    }

    #[test]
    fn latest_of_two_changes_after_the_check_is_kept() {
        let place = Place::new();
        let old = Replaceable { expected: place.expected(), access: None };
        let Some(new) = place.parent.put_in_place(TEMPORARY, old).unwrap() else {
            return println!("skipped: the file system cannot exchange names");
        };
        fs::write(place.path(TEMPORARY), "edited").unwrap();
        fs::write(place.path("saved"), "edited and saved again").unwrap();
        fs::rename(place.path("saved"), place.path("a")).unwrap();
        assert!(is_changed(&place.parent.finish_exchange(TEMPORARY, old, new)));
        place.assert_files(&[("a", "edited and saved again")]);
    }

    #[test]
    fn changed_file_is_put_back_even_if_the_new_one_is_gone() {
        let place = Place::new();
        let old = Replaceable { expected: place.expected(), access: None };
        let Some(new) = place.parent.put_in_place(TEMPORARY, old).unwrap() else {
            return println!("skipped: the file system cannot exchange names");
        };
        fs::write(place.path(TEMPORARY), "edited").unwrap();
        fs::remove_file(place.path("a")).unwrap();
        assert!(is_changed(&place.parent.finish_exchange(TEMPORARY, old, new)));
        place.assert_files(&[("a", "edited")]);
    }

    #[test]
    fn file_whose_permissions_change_after_the_check_is_put_back() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new();
        let access = AccessControl::of_entry(&place.parent.dir, "a").unwrap();
        let old = Replaceable { expected: place.expected(), access: Some(&access) };
        let Some(new) = place.parent.put_in_place(TEMPORARY, old).unwrap() else {
            return println!("skipped: the file system cannot exchange names");
        };
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(place.path(TEMPORARY), private).unwrap();
        assert!(is_changed(&place.parent.finish_exchange(TEMPORARY, old, new)));
        place.assert_files(&[("a", "old")]);
    }

    #[test]
    fn replaced_file_is_gone_on_a_file_system_that_ignores_exchanges() {
        let place = Place::new();
        let old = Replaceable { expected: place.expected(), access: None };
        let new = place.parent.new_file(TEMPORARY).unwrap().unwrap();
        fs::rename(place.path(TEMPORARY), place.path("a")).unwrap();
        place.parent.finish_exchange(TEMPORARY, old, new).unwrap();
        place.assert_files(&[("a", "new content")]);
    }

    #[test]
    fn file_that_changes_after_the_check_is_not_removed() {
        let place = Place::new();
        fs::remove_file(place.path(TEMPORARY)).unwrap();
        let expected = place.expected();
        fs::rename(place.path("a"), place.path(TEMPORARY)).unwrap();
        fs::write(place.path(TEMPORARY), "edited").unwrap();
        assert!(is_changed(&place.parent.finish_removal(TEMPORARY, expected)));
        place.assert_files(&[("a", "edited")]);

        let expected = place.expected();
        fs::write(place.path("a"), "edited again").unwrap();
        assert!(is_changed(&place.parent.remove(expected)));
        place.parent.remove(place.expected()).unwrap();
        place.assert_files(&[]);
    }

    #[test]
    fn changed_file_whose_name_is_taken_is_named() {
        let place = Place::new();
        let expected = place.expected();
        fs::rename(place.path("a"), place.path(TEMPORARY)).unwrap();
        fs::write(place.path(TEMPORARY), "edited").unwrap();
        fs::write(place.path("a"), "another one").unwrap();
        let error = place.parent.finish_removal(TEMPORARY, expected).unwrap_err();
        // The next restore removes files that have the name of a temporary file.
        assert!(!place.path(TEMPORARY).exists());
        let names = fs::read_dir(place.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let saved = names.into_iter().find(|name| name.starts_with("a.s3keep-saved-")).unwrap();
        assert!(error.to_string().contains(&format!("is now named {saved} in")), "{error}");
        place.assert_files(&[("a", "another one"), (&saved, "edited")]);
    }

    #[test]
    fn file_that_may_not_be_the_new_one_is_not_removed() {
        let place = Place::new();
        let old = Replaceable { expected: place.expected(), access: None };
        let Some(new) = place.parent.put_in_place(TEMPORARY, old).unwrap() else {
            return println!("skipped: the file system cannot exchange names");
        };
        fs::write(place.path(TEMPORARY), "edited").unwrap();
        // Another program replaces the new file by one of the same size and time.
        let modified = fs::metadata(place.path("a")).unwrap().modified().unwrap();
        fs::write(place.path("other"), "NEW CONTENT").unwrap();
        fs::File::open(place.path("other")).unwrap().set_modified(modified).unwrap();
        fs::rename(place.path("other"), place.path("a")).unwrap();
        let error = place.parent.finish_exchange(TEMPORARY, old, new).unwrap_err();
        let text = error.to_string();
        let saved = text.split(' ').find(|word| word.starts_with("a.s3keep-saved-")).unwrap();
        place.assert_files(&[("a", "edited"), (saved, "NEW CONTENT")]);
    }

    #[test]
    fn new_file_is_named_as_in_place_if_the_old_one_cannot_be_removed() {
        let place = Place::new();
        fs::create_dir(place.path("dir")).unwrap();
        let error = place.parent.remove_replaced("dir").unwrap_err();
        assert!(error.to_string().starts_with("the new file is in place"), "{error}");
    }
}
