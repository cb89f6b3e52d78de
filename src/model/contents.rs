//! What a bucket contains at and below a prefix, as `ls` and `du` show it.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::model::{bucket_url::BucketUrl, count::Count, entry::Object, paths::tree_order};

/// The objects and directories of one level, or of all levels below it: see
/// [`Keeper::list`](crate::Keeper::list).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// What the paths are relative to. If the URL is the key of an object, this is its directory.
    pub bucket: BucketUrl,
    /// The objects in tree order, also those whose keys no file can have. In the path of a key that is
    /// not UTF-8, the invalid bytes are replaced by U+FFFD.
    pub objects: Vec<Object>,
    /// The directories in tree order. Each path ends in `/`. A zero-byte object `name/`, the directory
    /// marker of other tools, counts as a directory and not as an object.
    pub directories: Vec<String>,
}

impl Contents {
    /// Sorts the entries. Adds the directories of all objects, if all levels were listed.
    pub(crate) fn new(
        bucket: BucketUrl,
        mut objects: Vec<Object>,
        mut directories: Vec<String>,
        is_recursive: bool,
    ) -> Contents {
        objects.sort_unstable_by(|a, b| tree_order(&a.path, &b.path));
        // Some stores repeat a key at the end of a page.
        objects.dedup();
        if is_recursive {
            let mut last = "";
            let mut found = Vec::new();
            let marked = std::mem::take(&mut directories);
            for path in
                objects.iter().map(|object| &*object.path).chain(marked.iter().map(|dir| &**dir))
            {
                let is_new = |dir: &&str| !last.starts_with(dir);
                found.extend(above(path).filter(is_new).map(str::to_owned));
                last = path;
            }
            directories = found;
        }
        directories.sort_unstable_by(|a, b| tree_order(a, b));
        directories.dedup();
        Contents { bucket, objects, directories }
    }

    /// The number of objects, and their size.
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        self.objects.iter().for_each(|object| total.add(object.size));
        total
    }

    /// The size of each directory, with everything below it.
    pub(crate) fn into_usage(self) -> Usage {
        let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
        for dir in &self.directories {
            counts.insert(dir, Count::default());
        }
        for object in &self.objects {
            for dir in above(&object.path) {
                counts.entry(dir).or_default().add(object.size);
            }
        }
        let mut directories: Vec<(String, Count)> =
            counts.into_iter().map(|(dir, count)| (dir.to_owned(), count)).collect();
        directories.sort_unstable_by(|a, b| inner_first(&a.0, &b.0));
        Usage { total: self.total(), bucket: self.bucket, directories }
    }
}

/// The size of a prefix and of each directory below it: see [`Keeper::usage`](crate::Keeper::usage).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What the paths are relative to. If the URL is the key of an object, this is its directory.
    pub bucket: BucketUrl,
    /// The number of all objects, and their size.
    pub total: Count,
    /// The directories with the objects at any depth below them. Each path ends in `/`. A directory
    /// follows those that it contains.
    pub directories: Vec<(String, Count)>,
}

/// The directories above a path, from the outermost to the innermost, each with a `/` at its end.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..=at])
}

/// The order of directories in which each one follows those that it contains.
fn inner_first(a: &str, b: &str) -> Ordering {
    match (a.starts_with(b), b.starts_with(a)) {
        (false, false) => tree_order(a, b),
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{etag::ETag, time::Timestamp};

    fn contents(paths: &[(&str, u64)], marked: &[&str]) -> Contents {
        let object = |(path, size): &(&str, u64)| Object {
            path: (*path).into(),
            size: *size,
            modified: Timestamp::from_secs(0),
            etag: ETag::None,
        };
        let objects = paths.iter().map(object).collect();
        let marked = marked.iter().map(|dir| (*dir).to_owned()).collect();
        Contents::new("s3://bucket".parse().unwrap(), objects, marked, true)
    }

    #[test]
    fn directories_are_those_of_all_objects_and_markers() {
        let found =
            contents(&[("b", 1), ("a/b/c", 1), ("a-b/c", 1), ("a//d", 1)], &["e/f/", "a/b/"]);
        assert_eq!(found.directories, ["a/", "a//", "a/b/", "a-b/", "e/", "e/f/"]);
        let paths: Vec<&str> = found.objects.iter().map(|object| &*object.path).collect();
        assert_eq!(paths, ["a//d", "a/b/c", "a-b/c", "b"]);
    }

    #[test]
    fn directory_contains_the_sizes_of_all_levels_below_and_follows_them() {
        let usage =
            contents(&[("a/b/c", 1), ("a/b/d", 2), ("a/x", 4), ("a-b/y", 8), ("z", 16)], &["e/"]);
        let usage = usage.into_usage();
        let count = |entries, bytes| Count { entries, bytes };
        let expected = [
            ("a/b/", count(2, 3)),
            ("a/", count(3, 7)),
            ("a-b/", count(1, 8)),
            ("e/", count(0, 0)),
        ];
        let expected = expected.map(|(dir, count)| (dir.to_owned(), count));
        assert_eq!((usage.directories, usage.total), (expected.to_vec(), count(5, 31)));
    }

    #[test]
    fn sizes_beyond_the_range_do_not_overflow() {
        let usage = contents(&[("a/b", u64::MAX), ("a/c", u64::MAX)], &[]).into_usage();
        assert_eq!(usage.total, Count { entries: 2, bytes: u64::MAX });
    }
}
