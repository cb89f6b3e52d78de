//! Detects changes outside the directory of a run.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::support::{World, files};

/// The content of a home directory, except one directory and the cache directory, at the time of [`Watch::all_but`].
pub struct Watch {
    home: PathBuf,
    except: &'static str,
    before: BTreeMap<PathBuf, EntryState>,
}

/// Mode, modification time, and the bytes of a file or the target of a symlink.
type EntryState = (u32, SystemTime, Vec<u8>);

impl Watch {
    pub fn all_but(world: &World, except: &'static str) -> Watch {
        let home = world.path("");
        let before = Watch::read(&home, except);
        Watch { home, except, before }
    }

    /// Also asserts that the cache directory contains nothing but records.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let cache = self.home.join(".cache");
        let cached = if cache.exists() { files(&cache) } else { BTreeMap::new() };
        for path in cached.into_keys() {
            assert!(path.starts_with("s3keep/") && path.ends_with(".record"), "{path}");
        }
        assert_eq!(Watch::read(&self.home, self.except), self.before);
    }

    fn read(home: &Path, except: &str) -> BTreeMap<PathBuf, EntryState> {
        let entries = walkdir::WalkDir::new(home).min_depth(1).into_iter();
        let entries = entries.filter_entry(|entry| {
            entry.depth() > 1 || entry.file_name() != except && entry.file_name() != ".cache"
        });
        let state = |path: &Path| {
            let metadata = fs::symlink_metadata(path).unwrap();
            let content = match metadata.file_type() {
                kind if kind.is_file() => fs::read(path).unwrap(),
                kind if kind.is_symlink() => {
                    fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
                }
                _ => Vec::new(),
            };
            (metadata.mode(), metadata.modified().unwrap(), content)
        };
        entries
            .map(|entry| entry.unwrap().into_path())
            .map(|path| (path.clone(), state(&path)))
            .collect()
    }
}

/// The expected result of `support::files`.
pub fn tree_of<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, Vec<u8>> {
    files.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec())).into()
}
