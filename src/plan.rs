//! Deciding: a pure function of what was found on both sides. A mock run prints its result.
//!
//! The rule, for a file L (size, mtime) and the object R of the same path (size, LastModified):
//!
//! | case | backup | restore |
//! | --- | --- | --- |
//! | only L | upload (missing) | delete file |
//! | only R | delete object | download (missing) |
//! | sizes differ | upload (size) | download (size) |
//! | same size, mtime = LastModified to the nanosecond | keep: a restored copy | keep |
//! | same size, mtime near LastModified (of a link, also equal), or in the future | in doubt | in doubt |
//! | same size, mtime > LastModified | upload (newer) | download (newer) |
//! | same size, mtime < LastModified and of a whole second | keep | in doubt |
//! | otherwise | keep | keep |
//!
//! The last row but one: so looks a copy that an earlier restore made of a predecessor of the object. For
//! a backup it is an older file, as any other.
//!
//! "Near" is the measured clock skew plus a second. What is in doubt is handed on to
//! [`settle`](crate::settle), which reads the content; nothing here reads or asks anything.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    mem,
    path::{Path, PathBuf},
};

use crate::{
    entry::{File, Object, SkipReason, Skipped, Timestamp},
    list::Listing,
    names::{BucketUrl, is_under, tree_order},
    scan::Scan,
};

/// Which side is made to look like the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The bucket is made to mirror the directory.
    Backup,
    /// The directory is made to mirror the bucket.
    Restore,
}

/// Why a file is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The other side doesn't have it.
    Missing,
    /// The sizes differ.
    Size,
    /// The file was changed after the object was stored.
    Newer,
    /// Size and time could not tell, and the content differs.
    Content,
    /// Neither size nor time nor any checksum could tell, so it is sent to be sure.
    Doubt,
}

impl Reason {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Size => "size",
            Reason::Newer => "newer",
            Reason::Content => "content",
            Reason::Doubt => "doubt",
        }
    }
}

/// What is needed, beside the entries, to decide.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The local time.
    pub now: Timestamp,
    /// How far the server's clock may be from the local one, in nanoseconds.
    pub skew: u64,
    /// Let the content decide wherever the sizes are equal, whatever the times say.
    pub by_content: bool,
    /// Delete nothing.
    pub no_delete: bool,
}

/// What the rule says of a file and an object of the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are the same.
    Keep,
    /// They differ.
    Transfer(Reason),
    /// The content has to be asked.
    Doubt,
}

const SECOND: u64 = 1_000_000_000;

/// The rule for a pair.
pub fn compare(direction: Direction, file: &File, object: &Object, terms: &Terms) -> Verdict {
    let (mtime, last_modified) = (file.modified, object.modified);
    if file.size != object.size {
        Verdict::Transfer(Reason::Size)
    } else if terms.by_content {
        Verdict::Doubt
    } else if mtime == last_modified && file.target.is_none() {
        // No link is a restored copy: the time is that of what it leads to, restored from another object.
        Verdict::Keep
    } else if mtime > terms.now
        || mtime.distance(last_modified) <= terms.skew.saturating_add(SECOND)
    {
        Verdict::Doubt
    } else if mtime > last_modified {
        Verdict::Transfer(Reason::Newer)
    } else if direction == Direction::Restore && mtime == mtime.whole_second() {
        Verdict::Doubt
    } else {
        Verdict::Keep
    }
}

/// A file to send or an object to fetch, with what stands on the other side now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Why.
    pub reason: Reason,
    /// The local file: the source of an upload, what a download replaces.
    pub file: Option<File>,
    /// The object: the source of a download, what an upload replaces.
    pub object: Option<Object>,
}

impl Transfer {
    /// The path below the root.
    pub fn path(&self) -> &str {
        match (&self.file, &self.object) {
            (Some(file), _) => &file.path,
            (None, Some(object)) => &object.path,
            (None, None) => "",
        }
    }

    /// How many bytes will travel.
    pub fn size(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Backup => self.file.as_ref().map_or(0, |file| file.size),
            Direction::Restore => self.object.as_ref().map_or(0, |object| object.size),
        }
    }
}

/// Something on the target side that the source side no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The path below the root.
    pub path: Box<str>,
    /// The size in bytes.
    pub size: u64,
    /// When it was last changed: a local file that is no longer as old is not deleted.
    pub modified: Timestamp,
    /// The path is a symbolic link, and only that would be removed.
    pub is_link: bool,
}

/// A number of entries and of their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// Files or objects.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.entries += 1;
        // A listing may claim any size.
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What a run will do, in tree order.
#[derive(Debug)]
pub struct Plan {
    /// Which side is made to look like the other.
    pub direction: Direction,
    /// What is sent or fetched.
    pub transfers: Vec<Transfer>,
    /// What is deleted once every transfer has succeeded.
    pub deletions: Vec<Deletion>,
    /// What is left out, on either side.
    pub skipped: Vec<Skipped>,
    /// What is already the same.
    pub kept: Count,
    /// Links to files that are kept, if what they lead to is.
    links: Vec<Transfer>,
    /// The other links that a link leads through, by its path.
    through: HashMap<Box<str>, Vec<Box<Path>>>,
    /// Links to directories. What is behind them can be read, but neither written nor deleted.
    linked: Shields,
    /// Pairs of which only the content can tell; empty after [`settle`](crate::settle).
    pub(crate) doubtful: Vec<Transfer>,
    /// Our own unfinished downloads of earlier runs, to be swept.
    pub leftovers: Vec<String>,
    pub(crate) source_entries: usize,
    pub(crate) target_entries: usize,
    /// What was looked at; what is right there may be wrong elsewhere.
    pub(crate) places: Option<Places>,
}

/// The directory and the bucket of a plan. Two stores may have buckets of one name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub dir: PathBuf,
    pub bucket: BucketUrl,
    pub endpoint: Option<String>,
}

impl Plan {
    /// Whether there is nothing to transfer or delete. There may still be [leftovers](Plan::leftovers) to sweep.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty() && self.deletions.is_empty()
    }

    /// How many files are transferred, and their bytes.
    pub fn transferred(&self) -> Count {
        let mut count = Count::default();
        self.transfers.iter().for_each(|transfer| count.add(transfer.size(self.direction)));
        count
    }
}

/// Decides what `direction` asks for, given both sides.
pub fn plan(direction: Direction, scan: Scan, listing: Listing, terms: &Terms) -> Plan {
    let (source, target) = match direction {
        Direction::Backup => (scan.files.len(), listing.objects.len()),
        Direction::Restore => (listing.objects.len(), scan.files.len()),
    };
    let mut plan = Plan {
        direction,
        transfers: Vec::new(),
        deletions: Vec::new(),
        skipped: Vec::new(),
        kept: Count::default(),
        links: Vec::new(),
        through: HashMap::new(),
        linked: Shields(scan.linked.into_iter().collect()),
        doubtful: Vec::new(),
        leftovers: scan.leftovers,
        source_entries: source,
        target_entries: target,
        places: None,
    };
    for (link, hop) in scan.through {
        plan.through.entry(link).or_default().push(hop);
    }
    let local = Shields::new(&scan.skipped);
    let remote = Shields::new(&listing.skipped);
    let merged = Merge::new(scan.files, listing.objects);
    match direction {
        Direction::Backup => plan.backup(merged, &local, terms),
        Direction::Restore => plan.restore(merged, &scan.dirs, &local, remote, terms),
    }
    if terms.no_delete {
        plan.deletions.clear();
    }
    plan.skipped.extend(scan.skipped);
    plan.skipped.extend(listing.skipped);
    plan.mind_links();
    plan.leave_what_is_behind_links();
    plan.put_in_order();
    plan
}

impl Plan {
    fn backup(&mut self, mut merged: Merge, local: &Shields, terms: &Terms) {
        let folded = merged.folded_files();
        while let Some(pair) = merged.next() {
            match pair {
                (Some(file), Some(object)) => self.pair(file, object, terms),
                (Some(file), None) => self.transfer(Reason::Missing, Some(file), None),
                (None, Some(object)) if folded.contains_key(&*object.path) => {
                    let file = folded[&*object.path].clone();
                    let reason = SkipReason::Folded(file);
                    self.skipped.push(Skipped { path: object.path.into(), reason });
                }
                (None, Some(object)) if local.over(&object.path).is_none() => {
                    self.deletions.push(Deletion {
                        path: object.path,
                        size: object.size,
                        modified: object.modified,
                        is_link: false,
                    });
                }
                (None, _) => {}
            }
        }
    }

    /// As `backup` with the sides swapped, and with what a directory can't hold and a bucket can:
    /// a file beside others under its name.
    fn restore(
        &mut self,
        mut merged: Merge,
        dirs: &[Box<str>],
        local: &Shields,
        mut remote: Shields,
        terms: &Terms,
    ) {
        // The last file seen: in tree order, whatever it is in the way of follows right behind.
        let mut last_file: Option<Box<str>> = None;
        while let Some((file, object)) = merged.next() {
            if let Some(file) = &file {
                last_file = Some(file.path.clone());
            }
            let Some(object) = object else {
                let Some(file) = file else { continue };
                // A file that is in the way of an object stays: what would follow it isn't here yet.
                if remote.over(&file.path).is_none() && !merged.object_under(&file.path) {
                    self.deletions.push(Deletion {
                        path: file.path,
                        size: file.size,
                        modified: file.modified,
                        is_link: file.target.is_some(),
                    });
                }
                continue;
            };
            let path = &object.path;
            let in_the_way = if let Some(skipped) = local.over(path) {
                Some(SkipReason::SkippedInTheWay(skipped.to_owned()))
            } else if merged.object_under(path)
                || (file.is_none() && dirs.binary_search_by(|dir| tree_order(dir, path)).is_ok())
            {
                Some(SkipReason::DirectoryInTheWay)
            } else {
                last_file
                    .as_deref()
                    .filter(|last| is_under(path, last))
                    .map(|last| SkipReason::FileInTheWay(last.to_owned()))
            };
            match (in_the_way, file) {
                (Some(reason), _) => {
                    remote.insert(path);
                    // What stands at that very path itself is named already.
                    if reason != SkipReason::SkippedInTheWay(path.to_string()) {
                        self.skipped.push(Skipped { path: path.to_string(), reason });
                    }
                }
                (None, Some(file)) => self.pair(file, object, terms),
                (None, None) => self.transfer(Reason::Missing, None, Some(object)),
            }
        }
    }

    fn pair(&mut self, file: File, object: Object, terms: &Terms) {
        match compare(self.direction, &file, &object, terms) {
            Verdict::Keep => self.keep(file, object),
            Verdict::Transfer(reason) => self.transfer(reason, Some(file), Some(object)),
            Verdict::Doubt => self.doubtful.push(Transfer {
                reason: Reason::Doubt,
                file: Some(file),
                object: Some(object),
            }),
        }
    }

    fn keep(&mut self, file: File, object: Object) {
        self.kept.add(file.size);
        if file.target.is_some() && self.direction == Direction::Restore {
            let (file, object) = (Some(file), Some(object));
            self.links.push(Transfer { reason: Reason::Content, file, object });
        }
    }

    /// A link can only be kept with what it leads to, and with the links on the way there. Where one of
    /// these is replaced, deleted or swept, the object that bears the link's name comes in its place.
    fn mind_links(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let changed = self.transfers.iter().map(Transfer::path);
        let changed = changed.chain(self.deletions.iter().map(|deletion| &*deletion.path));
        let changed = changed.chain(self.leftovers.iter().map(String::as_str));
        let changed: HashSet<&Path> = changed.map(Path::new).collect();
        let is_broken = |link: &Transfer| {
            let target = link.file.as_ref().and_then(|file| file.target.as_ref());
            let through = self.through.get(link.path()).into_iter().flatten();
            target.into_iter().chain(through).any(|hop| changed.contains(&**hop))
        };
        let (broken, links): (Vec<_>, Vec<_>) =
            mem::take(&mut self.links).into_iter().partition(is_broken);
        drop(changed);
        self.links = links;
        for link in broken {
            self.kept.entries -= 1;
            self.kept.bytes -= link.file.as_ref().map_or(0, |file| file.size);
            self.transfers.push(link);
        }
    }

    /// Nothing is written or deleted through a link to a directory.
    fn leave_what_is_behind_links(&mut self) {
        if self.direction == Direction::Backup {
            return;
        }
        let Plan { linked, skipped, .. } = self;
        let mut is_within_reach = |path: &str| {
            let Some(link) = linked.over(path) else { return true };
            let reason = SkipReason::LinkInTheWay(link.to_owned());
            skipped.push(Skipped { path: path.to_owned(), reason });
            false
        };
        self.transfers.retain(|transfer| is_within_reach(transfer.path()));
        self.deletions.retain(|deletion| is_within_reach(&deletion.path));
    }

    fn put_in_order(&mut self) {
        self.transfers.sort_by(|a, b| tree_order(a.path(), b.path()));
        self.skipped.sort_by(|a, b| tree_order(&a.path, &b.path));
    }

    fn transfer(&mut self, reason: Reason, file: Option<File>, object: Option<Object>) {
        self.transfers.push(Transfer { reason, file, object });
    }

    /// Takes in what the content said of the doubtful pairs: `None` where they are the same.
    pub(crate) fn settle(&mut self, verdicts: impl FnOnce(&[Transfer]) -> Vec<Option<Reason>>) {
        let doubtful = mem::take(&mut self.doubtful);
        let verdicts = verdicts(&doubtful);
        for (pair, verdict) in doubtful.into_iter().zip(verdicts) {
            match (verdict, pair.file, pair.object) {
                (None, Some(file), Some(object)) => self.keep(file, object),
                (reason, file, object) => {
                    self.transfer(reason.unwrap_or(Reason::Doubt), file, object);
                }
            }
        }
        self.mind_links();
        self.leave_what_is_behind_links();
        self.put_in_order();
    }
}

/// Paths that were left out on one side, and with them all that stands under them on the other.
#[derive(Debug)]
struct Shields(HashSet<Box<str>>);

impl Shields {
    fn new(skipped: &[Skipped]) -> Shields {
        // A key `a/` with content is neither a file nor a directory: what is under `a` is as unsure.
        Shields(skipped.iter().map(|s| s.path.trim_end_matches('/').into()).collect())
    }

    fn insert(&mut self, path: &str) {
        self.0.insert(path.into());
    }

    /// The shield that `path` stands at or under, if any. One over the empty path covers everything.
    fn over<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.0.is_empty() {
            return None;
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([0, path.len()]);
        ends.map(|end| &path[..end]).find(|above| self.0.contains(*above))
    }
}

/// Both sides in tree order, paired by path.
pub(crate) struct Merge {
    files: std::vec::IntoIter<File>,
    objects: std::vec::IntoIter<Object>,
}

impl Merge {
    pub(crate) fn new(files: Vec<File>, objects: Vec<Object>) -> Merge {
        Merge { files: files.into_iter(), objects: objects.into_iter() }
    }

    pub(crate) fn next(&mut self) -> Option<(Option<File>, Option<Object>)> {
        let order = match (self.files.as_slice().first(), self.objects.as_slice().first()) {
            (None, None) => return None,
            (Some(file), Some(object)) => tree_order(&file.path, &object.path),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        let file = if order.is_le() { self.files.next() } else { None };
        let object = if order.is_ge() { self.objects.next() } else { None };
        Some((file, object))
    }

    /// The files that a store with file system manners keeps under another name, by that name:
    /// SeaweedFS takes `a\\b` for `a/b`. Seen from here the object is one too many, but it is all there
    /// is of the file.
    fn folded_files(&self) -> HashMap<String, String> {
        let odd = self.files.as_slice().iter().filter(|file| file.path.contains('\\'));
        odd.map(|file| (file.path.replace('\\', "/"), file.path.to_string())).collect()
    }

    /// Whether the next object stands under `path`.
    fn object_under(&self, path: &str) -> bool {
        self.objects.as_slice().first().is_some_and(|object| is_under(&object.path, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::ETag;

    const S: i64 = 1_000_000_000;
    const NOW: i64 = 1_000 * S;

    fn file(path: &str, size: u64, modified: i64) -> File {
        File { path: path.into(), size, modified: Timestamp::from_nanos(modified), target: None }
    }

    fn object(path: &str, size: u64, seconds: i64) -> Object {
        let modified = Timestamp::from_secs(seconds);
        Object { path: path.into(), size, modified, etag: ETag::None }
    }

    fn skipped(path: &str) -> Skipped {
        Skipped { path: path.to_owned(), reason: SkipReason::LinkDangling }
    }

    fn terms(skew: i64) -> Terms {
        Terms {
            now: Timestamp::from_nanos(NOW),
            skew: skew.unsigned_abs(),
            by_content: false,
            no_delete: false,
        }
    }

    /// The module's table, row by row.
    #[test]
    fn the_rule_for_a_pair() {
        use Reason::{Newer, Size};
        use Verdict::{Doubt, Keep, Transfer};
        let cases = [
            // File size and mtime, object size and LastModified (in seconds), skew.
            (1, 10 * S, 2, 500, 0, Transfer(Size)),
            (1, 900 * S, 2, 500, 0, Transfer(Size)),
            (1, 500 * S, 1, 500, 0, Keep),
            (1, 500 * S + 1, 1, 500, 0, Doubt),
            (1, 500 * S - 1, 1, 500, 0, Doubt),
            (1, 501 * S, 1, 500, 0, Doubt),
            (1, 499 * S, 1, 500, 0, Doubt),
            (1, 501 * S + 1, 1, 500, 0, Transfer(Newer)),
            (1, 499 * S - 1, 1, 500, 0, Keep),
            (1, 900 * S, 1, 500, 0, Transfer(Newer)),
            (1, 10 * S, 1, 500, 0, Keep),
            (1, 10 * S + 1, 1, 500, 0, Keep),
            // The clocks are known to be apart.
            (1, 800 * S, 1, 500, 300 * S, Doubt),
            (1, 200 * S, 1, 500, 300 * S, Doubt),
            (1, 802 * S, 1, 500, 300 * S, Transfer(Newer)),
            (1, 198 * S, 1, 500, 300 * S, Keep),
            // The future: it would be newer for ever.
            (1, NOW + 1, 1, 500, 0, Doubt),
            (1, i64::MAX, 1, 500, 0, Doubt),
            (1, NOW + S, 1, 1_001, 0, Keep),
            (2, NOW + 1, 1, 500, 0, Transfer(Size)),
            (1, -5 * S - 1, 1, 500, 0, Keep),
        ];
        for (size, mtime, object_size, last_modified, skew, expected) in cases {
            let (file, object) = (file("a", size, mtime), object("a", object_size, last_modified));
            let case = format!("{size} {mtime} {object_size} {last_modified} {skew}");
            let verdict = compare(Direction::Backup, &file, &object, &terms(skew));
            assert_eq!(verdict, expected, "{case}");
            // The same the other way round, but for what may be a copy of the object's predecessor.
            let verdict = compare(Direction::Restore, &file, &object, &terms(skew));
            let copied = expected == Keep && mtime < last_modified * S && mtime % S == 0;
            assert_eq!(verdict, if copied { Doubt } else { expected }, "{case}");
        }
        // A link's time is that of what it leads to, and no sign of a restored copy.
        let link = File { target: Some(Path::new("b").into()), ..file("a", 1, 500 * S) };
        assert_eq!(compare(Direction::Restore, &link, &object("a", 1, 500), &terms(0)), Doubt);
        let by_content = Terms { by_content: true, ..terms(0) };
        let compare = |size| {
            compare(Direction::Backup, &file("a", 1, 10 * S), &object("a", size, 500), &by_content)
        };
        assert_eq!((compare(1), compare(2)), (Doubt, Transfer(Size)));
    }

    struct Sides {
        files: Vec<File>,
        dirs: Vec<&'static str>,
        objects: Vec<Object>,
        local: Vec<Skipped>,
        remote: Vec<Skipped>,
    }

    fn sides(files: &[&str], objects: &[&str]) -> Sides {
        Sides {
            files: files.iter().map(|path| file(path, 1, 10 * S)).collect(),
            dirs: Vec::new(),
            objects: objects.iter().map(|path| object(path, 1, 500)).collect(),
            local: Vec::new(),
            remote: Vec::new(),
        }
    }

    impl Sides {
        /// What is transferred, deleted and left out.
        fn plan(mut self, direction: Direction) -> (Vec<String>, Vec<String>, Vec<String>) {
            self.files.sort_by(|a, b| tree_order(&a.path, &b.path));
            self.objects.sort_by(|a, b| tree_order(&a.path, &b.path));
            self.dirs.sort_by(|a, b| tree_order(a, b));
            let dirs = self.dirs.iter().map(|dir| Box::from(*dir)).collect();
            let scan = Scan { files: self.files, dirs, skipped: self.local, ..Scan::default() };
            let listing = Listing { objects: self.objects, skipped: self.remote };
            let plan = plan(direction, scan, listing, &terms(0));
            (
                plan.transfers.iter().map(|transfer| transfer.path().to_owned()).collect(),
                plan.deletions.iter().map(|deletion| deletion.path.to_string()).collect(),
                plan.skipped.iter().map(|skipped| skipped.path.clone()).collect(),
            )
        }
    }

    fn owned(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| path.to_string()).collect()
    }

    #[test]
    fn each_side_is_made_to_mirror_the_other() {
        let both = || sides(&["a", "both", "d/x"], &["b", "both", "d-x"]);
        let (up, deleted, left_out) = both().plan(Direction::Backup);
        assert_eq!((up, deleted), (owned(&["a", "d/x"]), owned(&["b", "d-x"])));
        assert!(left_out.is_empty());
        let (down, deleted, left_out) = both().plan(Direction::Restore);
        assert_eq!((down, deleted), (owned(&["b", "d-x"]), owned(&["a", "d/x"])));
        assert!(left_out.is_empty());
    }

    #[test]
    fn what_is_left_out_shields_what_stands_under_it() {
        let objects = ["link", "link/a", "link-b", "other"];
        let mut backup = sides(&["other"], &objects);
        backup.local = vec![skipped("link")];
        assert_eq!(backup.plan(Direction::Backup).1, owned(&["link-b"]));

        let mut restore = sides(&["other"], &objects);
        restore.local = vec![skipped("link")];
        let (down, deleted, left_out) = restore.plan(Direction::Restore);
        assert_eq!((down, deleted), (owned(&["link-b"]), owned(&[])));
        assert_eq!(left_out, owned(&["link", "link/a"]));

        let mut restore = sides(&["odd/a", "odd", "gone"], &[]);
        restore.remote = vec![skipped("odd/")];
        assert_eq!(restore.plan(Direction::Restore).1, owned(&["gone"]));

        let mut unknown = sides(&[], &["a", "b/c"]);
        unknown.local = vec![skipped("")];
        assert_eq!(unknown.plan(Direction::Backup).1, owned(&[]));
    }

    #[test]
    fn a_link_is_only_kept_with_what_it_leads_to() {
        let link = |files: &[&str], objects: &[&str]| {
            let mut both = sides(files, objects);
            // Not of a whole second: an original rather than a restored copy.
            both.files
                .iter_mut()
                .for_each(|file| file.modified = Timestamp::from_nanos(10 * S + 1));
            both.files[0].target = Some(Path::new("f").into());
            both.plan(Direction::Restore)
        };
        assert_eq!(link(&["l", "f"], &["l", "f"]), (owned(&[]), owned(&[]), owned(&[])));
        // The target is deleted, or isn't there for the plan at all.
        assert_eq!(link(&["l", "f"], &["l"]), (owned(&["l"]), owned(&["f"]), owned(&[])));
        let mut both = sides(&["l", "f"], &["l", "f"]);
        both.files.iter_mut().for_each(|file| file.modified = Timestamp::from_nanos(10 * S + 1));
        both.files[0].target = Some(Path::new("f").into());
        both.files[1].size = 2;
        assert_eq!(both.plan(Direction::Restore).0, owned(&["f", "l"]));
    }

    #[test]
    fn a_file_and_a_directory_of_one_name_leave_each_other_alone() {
        // In the bucket alone: the directory goes on, the object is named.
        let (down, _, left_out) = sides(&[], &["a", "a/b", "a/c"]).plan(Direction::Restore);
        assert_eq!((down, left_out), (owned(&["a/b", "a/c"]), owned(&["a"])));
        // A file where a directory would have to be: both stay.
        let (down, deleted, left_out) =
            sides(&["a", "z"], &["a/b", "a/c"]).plan(Direction::Restore);
        assert_eq!((down, deleted), (owned(&[]), owned(&["z"])));
        assert_eq!(left_out, owned(&["a/b", "a/c"]));
        // A directory where a file would have to be, with something in it or not.
        for files in [&["a/b"][..], &[]] {
            let mut both = sides(files, &["a", "b"]);
            both.dirs = vec!["a"];
            let (down, deleted, left_out) = both.plan(Direction::Restore);
            assert_eq!((down, deleted), (owned(&["b"]), owned(&[])));
            assert_eq!(left_out, owned(&["a"]));
        }
        // In a bucket they can stand beside each other until the old one is deleted.
        let (up, deleted, left_out) = sides(&["a/b"], &["a"]).plan(Direction::Backup);
        assert_eq!((up, deleted, left_out), (owned(&["a/b"]), owned(&["a"]), owned(&[])));
    }

    #[test]
    fn an_object_that_may_be_a_file_under_a_folded_name_is_not_deleted() {
        let (up, deleted, left_out) = sides(&["a\\b"], &["a/b", "c"]).plan(Direction::Backup);
        assert_eq!((up, deleted), (owned(&["a\\b"]), owned(&["c"])));
        assert_eq!(left_out, owned(&["a/b"]));
    }
}
