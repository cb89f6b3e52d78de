//! Where a record is, and what it belongs to.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{
    model::{bucket_url::BucketUrl, paths},
    s3::{Checksum, Hasher},
};

/// A larger file is not read. It would have about 100 million entries.
const MAX_BYTES: u64 = 4 << 30;

const NAME_END: &str = ".record";
const NAME_HEX_DIGITS: usize = 16;

/// What a record belongs to: a directory, and a bucket or prefix at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordScope(Vec<u8>);

impl RecordScope {
    pub(crate) fn new(endpoint: Option<&str>, bucket: &BucketUrl, dir: &Path) -> RecordScope {
        let dir = real_path(dir);
        let endpoint = endpoint.unwrap_or_default().as_bytes();
        let parts = [
            endpoint,
            bucket.bucket().as_bytes(),
            bucket.prefix().as_bytes(),
            dir.as_os_str().as_bytes(),
        ];
        RecordScope(parts.join(&0))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A file name for the record of this scope.
    pub(crate) fn file_name(&self) -> String {
        let mut hasher = Hasher::new(Checksum::Sha256);
        hasher.update(&self.0);
        let digits: String = hasher.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{NAME_END}", &digits[..NAME_HEX_DIGITS])
    }
}

/// The file of a record.
#[derive(Clone, Copy)]
pub(crate) struct Location<'a>(pub &'a Path);

impl Location<'_> {
    /// Reads the file. `None` if it does not exist.
    pub(super) fn read(self) -> io::Result<Option<Vec<u8>>> {
        let mut options = OpenOptions::new();
        // Opening a pipe must not hang.
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut file = match options.open(self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        if metadata.len() > MAX_BYTES {
            return Err(io::Error::other("it is too large"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Replaces the file in one step. Only its owner may read it: names of files may be private.
    pub(super) fn write(self, bytes: &[u8]) -> io::Result<()> {
        let folder = match self.0.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => return Err(io::Error::other("it has no directory")),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // A backup of this directory knows such a name as that of a temporary file.
        let temporary = folder.join(paths::temporary());
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        let written = write_all(&mut file, bytes).and_then(|()| fs::rename(&temporary, self.0));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Whether `path` below the directory `dir` is this record or another one next to it. A record
    /// is never backed up: each run would change it.
    pub(crate) fn is_record(self, dir: &Path) -> impl Fn(&str) -> bool {
        let below = real_path(self.0).strip_prefix(real_path(dir)).ok().map(Path::to_owned);
        let below = below.and_then(|below| below.to_str().map(str::to_owned));
        move |path| {
            let Some(own) = &below else { return false };
            let (own_folder, _) = paths::split(own);
            let (folder, name) = paths::split(path);
            path == own || folder == own_folder && is_record_name(name)
        }
    }
}

fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_data()
}

/// Whether `name` has the form that [`RecordScope::file_name`] produces.
fn is_record_name(name: &str) -> bool {
    name.strip_suffix(NAME_END).is_some_and(|digits| {
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == NAME_HEX_DIGITS && digits.bytes().all(is_hex)
    })
}

/// The absolute path without links. The end of a path that does not exist stays as it is.
fn real_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let resolved = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, real)) = resolved else { return path };
    match path.strip_prefix(above) {
        Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
        _ => real,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn record_is_written_with_private_permissions_and_without_leftovers() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("cache/s3keep/a.record");
        for content in [b"one", b"two"] {
            Location(&path).write(content).unwrap();
            assert_eq!(Location(&path).read().unwrap().as_deref(), Some(&content[..]));
        }
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        // What is not a file is an error, and nothing remains of a failed attempt.
        assert!(Location(home.path()).read().is_err());
        assert!(Location(&home.path().join("cache")).write(b"x").is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert_eq!(Location(&home.path().join("none")).read().unwrap(), None);
    }

    #[test]
    fn records_below_the_directory_are_recognized() {
        let home = tempfile::tempdir().unwrap();
        let (bucket, dir) = ("s3://bucket/p".parse().unwrap(), home.path());
        let scope = RecordScope::new(Some("http://host"), &bucket, dir);
        assert_ne!(scope, RecordScope::new(None, &bucket, dir));
        assert_ne!(scope, RecordScope::new(Some("http://host"), &bucket, &dir.join("sub")));
        let other = scope.file_name();
        let path = dir.join("cache/own");
        let is_record = Location(&path).is_record(dir);
        assert!(is_record("cache/own") && is_record(&format!("cache/{other}")));
        assert!(!is_record(&other) && !is_record("cache/own/x") && !is_record("cache/a.record"));
        assert!(!Location(&path).is_record(&dir.join("sub"))("cache/own"));
    }

    #[test]
    fn scope_is_the_same_before_and_after_the_directory_is_created() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(home.path(), home.path().join("link")).unwrap();
        let bucket = "s3://bucket".parse().unwrap();
        let dir = home.path().join("link/new/dir");
        let before = RecordScope::new(None, &bucket, &dir);
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(RecordScope::new(None, &bucket, &dir), before);
        assert_eq!(RecordScope::new(None, &bucket, &home.path().join("new/dir")), before);
    }
}
