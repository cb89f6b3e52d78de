//! Restore markers: files that list what a restore has not restored yet.
//!
//! A restore writes a marker into its root before its first change, and removes it at the end. As long
//! as the marker exists, a missing or different file does not mean that its object is obsolete: a
//! backup neither overwrites nor deletes the listed objects.
//!
//! ```text
//! a sentence that explains the file            FIRST_LINE
//! "a/b"                                        one path per line, as a JSON string, relative to the
//! "a/c"                                        directory of the marker
//! end 2                                        the number of paths: a truncated list is noticed
//! ```
//!
//! `end all` stands for a list that would be too long. Everything else is unknown, and then all
//! objects below the directory count as listed. A marker is untrusted input: anybody may have written
//! it, or put a link or a pipe in its place.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use rustix::io::Errno;

use crate::{
    error::Cause,
    local::{platform, root::Root, scan::FoundMarker},
    model::{escape::Escaped, paths},
};

/// The first line of every marker.
const FIRST_LINE: &str = "s3keep has not finished a restore into this directory. Backups of it keep \
                          the objects listed below as they are, until a restore is complete and \
                          removes this file. Deleting this file ends that protection.";

/// The last line starts with this.
const END: &str = "end ";

/// The last line, after [`END`], of a marker that lists everything below its directory.
const ALL: &str = "all";

/// The longest marker in bytes. A list that would be longer is replaced by [`ALL`].
const MAX_BYTES: usize = 64 << 20;

/// The marker of a restore that has not finished.
pub(crate) struct Marker {
    /// Where it is, for messages.
    pub location: PathBuf,
    /// Its path below the root of the backup. `None` in the directories above the root.
    pub path: Option<String>,
    /// Its directory is or passes through a followed link.
    pub is_linked: bool,
    /// The directory of the marker, below the root of the backup. Empty for the root itself and the
    /// directories above it.
    pub dir: String,
    /// The paths that it lists, below the root of the backup. `None` if they are unknown or all.
    pub paths: Option<Vec<String>>,
    /// Why the paths are unknown.
    pub problem: Option<String>,
}

/// The places of the markers in all directories above `root`, each with the path of the root below
/// that directory. A directory that this user may not list is ignored.
fn above(root: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let root = root.canonicalize()?;
    let mut found = Vec::new();
    for dir in root.ancestors().skip(1) {
        let below = root.strip_prefix(dir).unwrap_or(Path::new("")).to_owned();
        let fail = |error: io::Error| in_directory(&dir.display().to_string(), &error);
        let entries = match fs::read_dir(dir) {
            Err(error) if is_denied(&error) => continue,
            other => other.map_err(fail)?,
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let is_marker = entry.file_name().to_str().is_some_and(paths::is_marker);
            // A directory of that name is not a marker: see the scan.
            if is_marker && !entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
                found.push((entry.path(), below.clone()));
            }
        }
    }
    Ok(found)
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// An error that names the directory whose markers cannot be found.
fn in_directory(dir: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", Escaped(dir)))
}

impl Root {
    /// Reads the markers that a scan of the root found, and those in all directories above it.
    pub(crate) fn markers(&self, found: &[FoundMarker]) -> io::Result<Vec<Marker>> {
        let mut markers = Vec::new();
        for FoundMarker { path, real, is_linked } in found {
            let (dir, _) = paths::split(path);
            let map = |listed: String| Some(join(dir, &listed));
            let list = read(self, real);
            let marker = Marker::new(self.path.join(path), list, map);
            markers.push(Marker {
                path: Some(path.clone()),
                is_linked: *is_linked,
                dir: dir.to_owned(),
                ..marker
            });
        }
        for (location, below) in above(&self.path)? {
            let (Some(dir), Some(name)) = (location.parent(), location.file_name()) else {
                continue;
            };
            let list = Root::open(dir).map_err(|error| error.to_string());
            let list = list.and_then(|dir| read(&dir, Path::new(name)));
            // A list is UTF-8. It has no path below a directory whose name is not.
            let below = below.to_str().map(|below| format!("{below}/"));
            let map = |listed: String| Some(listed.strip_prefix(below.as_deref()?)?.to_owned());
            markers.push(Marker::new(location, list, map));
        }
        Ok(markers)
    }

    /// The markers that are not `known` in the directories of `paths`, and in all directories above:
    /// the directory of each below the root, which is empty for the root and for those above it, and
    /// where it is.
    pub(crate) fn new_markers<'p>(
        &self,
        paths: impl Iterator<Item = &'p str>,
        known: &HashSet<OsString>,
    ) -> io::Result<Vec<(String, PathBuf)>> {
        let mut dirs: HashSet<&str> = HashSet::from([""]);
        for path in paths {
            for dir in paths::above(path).rev() {
                // The directories above are already in the set.
                if !dirs.insert(dir) {
                    break;
                }
            }
        }
        let mut found = Vec::new();
        for dir in dirs {
            let real = if dir.is_empty() { "." } else { dir };
            let fail = |error: io::Error| in_directory(real, &error);
            let entries = match self.dir.read_dir(real) {
                // A directory that does not exist has no marker. One that this user may not list was
                // skipped.
                Err(error) if is_denied(&error) || !platform::is_inconclusive(&error) => continue,
                other => other.map_err(fail)?,
            };
            for entry in entries {
                let entry = entry.map_err(fail)?;
                let name = entry.file_name();
                if name.to_str().is_some_and(paths::is_marker) && !known.contains(&name) {
                    found.push((dir.to_owned(), self.path.join(dir).join(name)));
                }
            }
        }
        for (location, _) in above(&self.path)? {
            if location.file_name().is_some_and(|name| !known.contains(name)) {
                found.push((String::new(), location));
            }
        }
        Ok(found)
    }

    /// Writes a marker that lists `paths`, and flushes it to disk. Returns its name.
    ///
    /// It gets its name once it is complete, so that a killed run leaves no truncated one.
    pub(crate) fn write_marker<'p>(
        &self,
        paths: impl Iterator<Item = &'p str>,
    ) -> Result<String, Cause> {
        let max = self.max_file_size.and_then(|max| usize::try_from(max).ok());
        let content = content(paths, max.map_or(MAX_BYTES, |max| max.min(MAX_BYTES)));
        if max.is_some_and(|max| content.len() > max) {
            return Err(io::Error::from(Errno::FBIG).into());
        }
        let (temporary, name) = (paths::temporary(), paths::marker());
        // The names of files may be private, as their directories may be.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).follow(FollowSymlinks::No).mode(0o600);
        let mut file = self.dir.open_with(&temporary, &options)?.into_std();
        let written = file.write_all(&content).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| self.dir.rename(&temporary, &self.dir, &name));
        if let Err(error) = renamed {
            let _ = self.dir.remove_file(&temporary);
            return Err(error.into());
        }
        if let Err(error) = self.sync_names() {
            let _ = self.dir.remove_file(&name);
            return Err(error.into());
        }
        Ok(name)
    }

    /// Removes the marker at `path` below the root. It is not an error if it does not exist.
    pub(crate) fn remove_marker(&self, path: &str) -> Result<(), Cause> {
        self.parent(path, false)?.remove_any_file()
    }

    /// Flushes the names in the root to disk.
    fn sync_names(&self) -> io::Result<()> {
        match self.dir.open(".")?.into_std().sync_all() {
            // Some file systems cannot flush a single directory.
            Err(error)
                if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOTSUP)) =>
            {
                self.sync()
            }
            other => other,
        }
    }
}

impl Marker {
    /// A marker above the root.
    fn new(
        location: PathBuf,
        list: Result<Option<Vec<String>>, String>,
        map: impl Fn(String) -> Option<String>,
    ) -> Marker {
        let (list, problem) = match list {
            Ok(list) => (list, None),
            Err(problem) => (None, Some(problem)),
        };
        let paths = list.map(|paths| paths.into_iter().filter_map(map).collect());
        Marker { location, path: None, is_linked: false, dir: String::new(), paths, problem }
    }
}

fn join(dir: &str, path: &str) -> String {
    if dir.is_empty() { path.to_owned() } else { format!("{dir}/{path}") }
}

/// The content of a marker: at most `max` bytes, unless even the shortest one is longer.
fn content<'p>(paths: impl Iterator<Item = &'p str>, max: usize) -> Vec<u8> {
    let first_line = format!("{FIRST_LINE}\n");
    let mut text = first_line.clone();
    let mut count = 0_u64;
    for path in paths {
        text.push_str(&serde_json::Value::from(path).to_string());
        text.push('\n');
        count += 1;
        // The last line has at most 25 bytes.
        if text.len() + 25 > max {
            return format!("{first_line}{END}{ALL}\n").into_bytes();
        }
    }
    text.push_str(&format!("{END}{count}\n"));
    text.into_bytes()
}

/// Reads the marker at `path`, a real path below `root`. `Ok(None)` stands for all paths. An error
/// says why they are unknown.
fn read(root: &Root, path: &Path) -> Result<Option<Vec<String>>, String> {
    let (file, state) = root.read(path).map_err(|error| error.to_string())?;
    let is_too_large = |len: u64| len > MAX_BYTES as u64;
    let mut bytes = Vec::new();
    if !is_too_large(state.size) {
        file.take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
    }
    if is_too_large(state.size) || is_too_large(bytes.len() as u64) {
        return Err("it is too large".to_owned());
    }
    parse(&bytes).ok_or_else(|| "it is not a complete marker".to_owned())
}

/// Parses the content of a marker. `Some(None)` stands for all paths, `None` for anything else than a
/// complete marker.
fn parse(bytes: &[u8]) -> Option<Option<Vec<String>>> {
    let text = str::from_utf8(bytes).ok()?;
    let rest = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?.strip_suffix('\n')?;
    let (lines, end) = rest.rsplit_once('\n').unwrap_or(("", rest));
    let end = end.strip_prefix(END)?;
    if end == ALL {
        return lines.is_empty().then_some(None);
    }
    let count: usize = end.parse().ok()?;
    let mut paths = Vec::new();
    for line in lines.split('\n').filter(|_| !lines.is_empty()) {
        let path: String = serde_json::from_str(line).ok()?;
        paths::check(&path, 0).ok()?;
        paths.push(path);
    }
    (paths.len() == count).then_some(Some(paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(paths: &[&str]) -> String {
        String::from_utf8(content(paths.iter().copied(), MAX_BYTES)).unwrap()
    }

    fn parsed(text: &str) -> Option<Option<Vec<String>>> {
        parse(text.as_bytes())
    }

    #[test]
    fn written_list_is_read_again() {
        for paths in
            [&[][..], &["a"], &["a/b", "new\nline", "quote\"\\", "\u{1f600}\u{202e}", "end 1"]]
        {
            let owned = paths.iter().map(|path| path.to_string()).collect();
            assert_eq!(parsed(&text(paths)), Some(Some(owned)), "{paths:?}");
        }
        let long = content(["a"; 100].into_iter(), 400);
        assert!(long.len() < 400);
        assert_eq!(parse(&long), Some(None));
    }

    #[test]
    fn marker_that_is_not_complete_is_not_read() {
        let whole = text(&["a", "b/c"]);
        for end in 0..whole.len() {
            assert_eq!(parsed(&whole[..end]), None, "{end}");
        }
        for damaged in [
            whole.replace("\"a\"\n", ""),
            whole.replace("end 2", "end 3"),
            whole.replace("end 2", "end all"),
            whole.replace("end 2", "end -2"),
            whole.replace("\"a\"", "a"),
            whole.replace("\"a\"", "\"../a\""),
            whole.replace("\"a\"", "\"a\" \"b\""),
            whole.replace("Deleting", "deleting"),
            format!("{whole}\n"),
            format!("{whole}\"d\"\n"),
            format!("{whole}{whole}"),
        ] {
            assert_eq!(parsed(&damaged), None, "{damaged}");
        }
        assert_eq!(parse(&[whole.as_bytes(), b"\xff\n"].concat()), None);
    }

    #[test]
    fn list_of_a_directory_above_is_mapped_to_the_root() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("above/root/below");
        fs::create_dir_all(&dir).unwrap();
        let write = |dir: &Path, paths: &[&str]| {
            let root = Root::open(dir).unwrap();
            root.write_marker(paths.iter().copied()).unwrap()
        };
        write(&place.path().join("above"), &["root/a", "root/b/c", "rooted/d", "root", "e"]);
        let name = write(&dir, &["f", "g/h"]);
        let root = Root::open(&place.path().join("above/root")).unwrap();
        let path = format!("below/{name}");
        let found = FoundMarker { real: PathBuf::from(&path), path, is_linked: false };
        let markers = root.markers(&[found]).unwrap();
        let found: Vec<_> = markers
            .iter()
            .map(|marker| (marker.dir.as_str(), marker.paths.clone().unwrap()))
            .collect();
        let owned = |paths: [&str; 2]| paths.map(str::to_owned).to_vec();
        assert_eq!(found, [("below", owned(["below/f", "below/g/h"])), ("", owned(["a", "b/c"]))]);
        // A marker that disappeared may have listed anything.
        root.remove_marker(&format!("below/{name}")).unwrap();
        let path = format!("below/{name}");
        let found = FoundMarker { real: PathBuf::from(&path), path, is_linked: false };
        assert_eq!(root.markers(&[found]).unwrap()[0].paths, None);
    }
}
