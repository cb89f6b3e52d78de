//! Two names of one entry, on a file system that folds names.
//!
//! Only the listing of a directory shows the real name of an entry. Inodes do not help: some FUSE file
//! systems give each spelling an inode of its own.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use cap_fs_ext::MetadataExt;

use crate::{local::root::Root, model::fold::folded};

/// Finds the real names of entries. Each directory is read once.
pub(crate) struct RealNames<'a> {
    root: &'a Root,
    /// The directories that were read.
    read: HashMap<String, Names>,
}

/// The names in a directory.
#[derive(Default)]
struct Names {
    all: HashSet<String>,
    by_form: HashMap<String, Vec<String>>,
}

impl RealNames<'_> {
    pub(crate) fn new(root: &Root) -> RealNames<'_> {
        RealNames { root, read: HashMap::new() }
    }

    /// Whether `path` exists, but only as another spelling of `real`.
    pub(crate) fn is_spelling_of(&mut self, path: &str, real: &str) -> bool {
        path != real
            && self.root.identify(path).is_ok()
            && self.find(path).is_ok_and(|found| found == real)
    }

    /// Whether `path` exists, but only as another spelling of an entry of a different name.
    pub(crate) fn is_other_spelling(&mut self, path: &str) -> bool {
        self.root.identify(path).is_ok() && self.find(path).is_ok_and(|found| found != path)
    }

    /// The path with the names that the directories list.
    fn find(&mut self, path: &str) -> io::Result<String> {
        let mut real = String::new();
        for (end, name) in ends(path).zip(path.split('/')) {
            let name = self.find_name(&real, name, &path[..end])?;
            if !real.is_empty() {
                real.push('/');
            }
            real.push_str(&name);
        }
        Ok(real)
    }

    /// The name that the directory `dir` lists for the entry at `path`, whose last name is `name`.
    fn find_name(&mut self, dir: &str, name: &str, path: &str) -> io::Result<String> {
        if !self.read.contains_key(dir) {
            self.read.insert(dir.to_owned(), self.root.names_in(dir)?);
        }
        let not_found = io::ErrorKind::NotFound;
        let Names { all, by_form } = self.read.get(dir).ok_or(not_found)?;
        if all.contains(name) {
            return Ok(name.to_owned());
        }
        let alike = by_form.get(&folded(name)).ok_or(not_found)?;
        if let [alike] = &alike[..] {
            return Ok(alike.clone());
        }
        let join =
            |name: &str| if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        let wanted = self.root.identify(path)?;
        let is_same =
            |name: &&String| self.root.identify(&join(name)).is_ok_and(|found| found == wanted);
        Ok(alike.iter().find(is_same).ok_or(not_found)?.clone())
    }
}

/// Where each name of a path ends.
fn ends(path: &str) -> impl Iterator<Item = usize> {
    path.match_indices('/').map(|(end, _)| end).chain([path.len()])
}

impl Root {
    /// The device and inode of the entry at `path`.
    fn identify(&self, path: &str) -> io::Result<(u64, u64)> {
        let parent = self.parent(path, false)?;
        let metadata = parent.dir.symlink_metadata(&parent.name)?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn names_in(&self, dir: &str) -> io::Result<Names> {
        // The parent of any name in it.
        let inside = if dir.is_empty() { "x".to_owned() } else { format!("{dir}/x") };
        let parent = self.parent(&inside, false)?;
        let mut names = Names::default();
        for entry in parent.dir.read_dir(".")? {
            // No path has a name that is not UTF-8.
            let Ok(name) = entry?.file_name().into_string() else { continue };
            names.by_form.entry(folded(&name)).or_default().push(name.clone());
            names.all.insert(name);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// On a file system that distinguishes all names.
    #[test]
    fn different_files_are_not_spellings_of_each_other() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("d")).unwrap();
        for path in ["A", "a", "d/x", "IMG"] {
            fs::write(place.path().join(path), "same").unwrap();
        }
        let root = Root::open(place.path()).unwrap();
        let mut names = RealNames::new(&root);
        for (path, real) in
            [("A", "a"), ("a", "A"), ("d/X", "d/x"), ("D/x", "d/x"), ("img", "IMG"), ("a", "a")]
        {
            assert!(!names.is_spelling_of(path, real), "{path} {real}");
            assert!(!names.is_other_spelling(path), "{path}");
        }
        assert_eq!(names.find("D/X").unwrap(), "d/x");
    }
}
