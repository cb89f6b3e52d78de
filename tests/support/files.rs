//! Files for tests: write them, set their times, and read a whole directory.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// Writes a file, and creates its directory if necessary.
pub fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file has a parent")).unwrap();
    fs::write(path, content).unwrap();
}

/// Sets a file's mtime to `seconds` ago. A negative number is in the future.
pub fn set_age(path: &Path, seconds: i64) {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    let time = if seconds >= 0 { now - distance } else { now + distance };
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// All files below a directory, with their content, except the markers of unfinished restores.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() && !is_marker(entry.path()) {
            files.insert(path_below(dir, entry.path()), fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// The paths of the restore markers below a directory: none, unless a restore has not finished.
pub fn markers(dir: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(Result::unwrap);
    let markers = entries.filter(|entry| is_marker(entry.path()));
    markers.map(|entry| path_below(dir, entry.path())).collect()
}

fn path_below(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()
}

/// Whether a path is that of a restore marker.
pub fn is_marker(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let random = name.strip_prefix(".s3keep-").and_then(|name| name.strip_suffix(".restore"));
    random.is_some_and(|random| random.len() == 16)
}

/// Random bytes, the same for the same seed.
///
/// They cannot be compressed, and two seeds do not give equal content.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}
