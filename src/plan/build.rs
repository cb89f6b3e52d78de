//! Building a plan from the entries of both sides.

use std::collections::HashMap;

use crate::{
    local::{Scan, Unread},
    model::{
        count::Count,
        direction::Direction,
        entry::{File, Object},
        paths::{is_under, tree_order},
        skip::{SkipReason, Skipped},
    },
    plan::{
        actions::Deletion,
        emptied::EmptiedDirectories,
        excluded::Excluded,
        merge::Merge,
        plan::{LinkedPaths, Plan},
        planned::Planned,
        protected::ProtectedPaths,
        rule::{Decision, Policy, Reason, decide},
        spellings::{Candidate, Spellings},
        withheld::{Needs, Untransferred},
    },
    record::{Known, Record},
    remote::Listing,
};

/// Plans a run in `direction`, given the entries of both sides and the record.
pub(crate) fn build(
    direction: Direction,
    scan: Scan,
    listing: Listing,
    record: Record,
    policy: &Policy,
) -> Plan {
    let (source_entries, target_entries) = match direction {
        Direction::Backup => (scan.files.len(), listing.objects.len()),
        Direction::Restore => (listing.objects.len(), scan.files.len()),
    };
    let mut through: HashMap<_, Vec<_>> = HashMap::new();
    for (link, hop) in scan.through {
        through.entry(link).or_default().push(hop);
    }
    let mut plan = Plan {
        direction,
        transfers: Vec::new(),
        deletions: Vec::new(),
        withheld: Vec::new(),
        skipped: Vec::new(),
        excluded: Excluded::default(),
        kept: Count::default(),
        archived: Count::default(),
        leftovers: scan.leftovers,
        unfinished: Vec::new(),
        markers: Vec::new(),
        unrestored: Vec::new(),
        undecided: Vec::new(),
        recorded: HashMap::new(),
        margin: policy.margin,
        record,
        planned: Planned::default(),
        left_out: Vec::new(),
        protected: ProtectedPaths::default(),
        only_ctime: Count::default(),
        pairs: 0,
        source_entries,
        target_entries,
        snapshot: None,
        scope: None,
        one_object_in: None,
        no_objects: None,
        spellings: Spellings::find(direction, &scan.files, &listing.objects),
        links: LinkedPaths {
            kept: Vec::new(),
            through,
            directories: ProtectedPaths::new(scan.linked),
        },
        overlap: None,
        emptied: Vec::new(),
    };
    let local = ProtectedPaths::of_skipped(&scan.skipped);
    let remote = ProtectedPaths::of_skipped(&listing.skipped);
    let untransferred: Vec<Untransferred> =
        scan.unread.iter().map(|unread| of_unread(unread, &listing.objects)).collect();
    let merged = Merge::new(scan.files, listing.objects);
    match direction {
        Direction::Backup => {
            let emptied = EmptiedDirectories::new(&scan.dirs, &scan.skipped);
            plan.backup(merged, &local, emptied, policy);
            plan.withhold(&untransferred);
        }
        Direction::Restore => plan.restore(merged, &scan.dirs, &local, remote, policy),
    }
    if policy.no_delete {
        plan.deletions.clear();
        plan.withheld.clear();
    }
    plan.skipped.extend(scan.skipped);
    plan.skipped.extend(listing.skipped);
    plan.complete();
    plan.count_overlap();
    plan
}

/// What an unread entry of the directory needs from the bucket. `objects` are in tree order.
fn of_unread(unread: &Unread, objects: &[Object]) -> Untransferred {
    let Unread { path, is_dir, changed } = unread.clone();
    let has_object = || objects.binary_search_by(|o| tree_order(&o.path, &path)).is_ok();
    let needs = if !is_dir && has_object() { Needs::Nothing } else { Needs::Anything };
    Untransferred { path, needs, changed }
}

impl Plan {
    fn backup(
        &mut self,
        mut merged: Merge,
        local: &ProtectedPaths,
        mut emptied: EmptiedDirectories,
        policy: &Policy,
    ) {
        let mut recorded = 0;
        while let Some(pair) = merged.next() {
            if let (Some(file), _) = &pair {
                emptied.file(&file.path);
            }
            match pair {
                (Some(file), Some(object)) => self.add_pair(file, object, policy),
                (Some(file), None) => {
                    self.look_up_spellings(&file.path, &mut recorded, policy);
                    self.transfer(Reason::Missing, Some(file), None);
                }
                (None, Some(object)) if local.covering(&object.path).is_none() => {
                    emptied.deletion(&object.path, merged.next_file());
                    self.deletions.push(Deletion {
                        path: object.path,
                        size: object.size,
                        modified: object.modified,
                        is_link: false,
                        is_excluded: false,
                    });
                }
                (None, _) => {}
            }
        }
        self.emptied = emptied.finish();
    }

    /// Like `backup` with the sides swapped. In addition, a directory cannot hold everything that a
    /// bucket can: a file cannot have other files below its own name.
    fn restore(
        &mut self,
        mut merged: Merge,
        dirs: &[Box<str>],
        local: &ProtectedPaths,
        mut remote: ProtectedPaths,
        policy: &Policy,
    ) {
        // In tree order, the objects below a file's name directly follow the file.
        let mut last_file: Option<Box<str>> = None;
        let mut recorded = 0;
        while let Some((file, object)) = merged.next() {
            if let Some(file) = &file {
                last_file = Some(file.path.clone());
            }
            let Some(object) = object else {
                let Some(file) = file else { continue };
                // A file at the place of a directory stays: the objects below its name are not
                // restored in this run.
                let is_in_the_way = merged.next_object_is_under(&file.path);
                if remote.covering(&file.path).is_none() && !is_in_the_way {
                    self.deletions.push(Deletion {
                        path: file.path,
                        size: file.size,
                        modified: file.modified,
                        is_link: file.target.is_some(),
                        is_excluded: false,
                    });
                }
                continue;
            };
            let path = &object.path;
            let obstacle = if let Some(skipped) = local.covering(path) {
                Some(SkipReason::SkippedInTheWay(skipped.to_owned()))
            } else if merged.next_object_is_under(path)
                || (file.is_none() && dirs.binary_search_by(|dir| tree_order(dir, path)).is_ok())
            {
                Some(SkipReason::DirectoryInTheWay)
            } else {
                last_file
                    .as_deref()
                    .filter(|last| is_under(path, last))
                    .map(|last| SkipReason::FileInTheWay(last.to_owned()))
            };
            match (obstacle, file) {
                (Some(reason), _) => {
                    remote.insert(path);
                    self.unrestored.push(path.clone());
                    // If the skipped entry has this very path, it is already listed.
                    if reason != SkipReason::SkippedInTheWay(path.to_string()) {
                        self.skipped.push(Skipped { path: path.to_string(), reason });
                    }
                }
                (None, Some(file)) => self.add_pair(file, object, policy),
                (None, None) => {
                    self.look_up_spellings(&object.path, &mut recorded, policy);
                    self.transfer(Reason::Missing, None, Some(object));
                }
            }
        }
    }

    /// Looks up the candidates of `path` in the record, which is read in tree order. The first `done`
    /// candidates are done.
    fn look_up_spellings(&mut self, path: &str, done: &mut usize, policy: &Policy) {
        while let Some(candidate) = self.spellings.candidates.get_mut(*done)
            && tree_order(&candidate.file.path, path).is_le()
        {
            *done += 1;
            if *candidate.file.path == *path && !candidate.is_taken {
                let Candidate { file, object, known, .. } = candidate;
                *known = self.record.compare(file, object, policy.ignore_ctime);
                if *known != Known::Nothing {
                    self.record.keep();
                }
            }
        }
    }

    fn add_pair(&mut self, file: File, object: Object, policy: &Policy) {
        self.pairs += 1;
        let known = self.record.compare(&file, &object, policy.ignore_ctime);
        let decision = decide(self.direction, &file, &object, known, policy);
        if known != Known::Nothing && !matches!(decision, Decision::Transfer(_)) {
            // Also if something changed: what the entry says remains true, and a comparison does not
            // replace the entry of a file that changed just now.
            self.record.keep();
        }
        match decision {
            Decision::Keep => self.keep(file, object),
            Decision::Transfer(reason) => self.transfer(reason, Some(file), Some(object)),
            Decision::CompareContents => {
                let recorded = self.record.etag_of_unchanged(&file, policy.ignore_ctime);
                if let Some(etag) = recorded.filter(|_| !policy.by_content) {
                    // Perhaps the listing of this store has another ETag than its other responses.
                    self.record.keep();
                    self.recorded.insert(object.path.clone(), etag);
                }
                let without_ctime = Policy { ignore_ctime: true, ..*policy };
                let known = self.record.compare(&file, &object, true);
                let decision = decide(self.direction, &file, &object, known, &without_ctime);
                if decision == Decision::Keep {
                    self.only_ctime.add(file.size);
                }
                self.compare(file, object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{etag::ETag, time::Timestamp};

    const S: i64 = 1_000_000_000;

    fn file(path: &str, size: u64, modified: i64) -> File {
        let modified = Timestamp::from_nanos(modified);
        File { path: path.into(), size, modified, changed: modified, target: None }
    }

    fn object(path: &str, size: u64, seconds: i64) -> Object {
        let modified = Timestamp::from_secs(seconds);
        Object { path: path.into(), size, modified, etag: ETag::None }
    }

    fn skipped(path: &str) -> Skipped {
        Skipped { path: path.to_owned(), reason: SkipReason::LinkDangling }
    }

    const POLICY: Policy = Policy {
        now: Timestamp::from_secs(1_000),
        margin: S.unsigned_abs(),
        by_content: false,
        no_delete: false,
        ignore_ctime: false,
    };

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
        /// The paths of the transfers, deletions and skipped entries.
        fn plan(mut self, direction: Direction) -> (Vec<String>, Vec<String>, Vec<String>) {
            self.files.sort_by(|a, b| tree_order(&a.path, &b.path));
            self.objects.sort_by(|a, b| tree_order(&a.path, &b.path));
            self.dirs.sort_by(|a, b| tree_order(a, b));
            let dirs = self.dirs.iter().map(|dir| Box::from(*dir)).collect();
            let scan = Scan { files: self.files, dirs, skipped: self.local, ..Scan::default() };
            let listing =
                Listing { objects: self.objects, skipped: self.remote, ..Listing::default() };
            let mut plan = build(direction, scan, listing, Record::empty(), &POLICY);
            // The contents are the same wherever they are compared.
            plan.decide_undecided(|pairs| Ok(vec![None; pairs.len()])).unwrap();
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
    fn target_becomes_a_mirror_of_the_source() {
        let both = || sides(&["a", "both", "d/x"], &["b", "both", "d-x"]);
        let (uploads, deleted, skipped) = both().plan(Direction::Backup);
        assert_eq!((uploads, deleted), (owned(&["a", "d/x"]), owned(&["b", "d-x"])));
        assert!(skipped.is_empty());
        let (downloads, deleted, skipped) = both().plan(Direction::Restore);
        assert_eq!((downloads, deleted), (owned(&["b", "d-x"]), owned(&["a", "d/x"])));
        assert!(skipped.is_empty());
    }

    #[test]
    fn skipped_path_protects_everything_below_it() {
        let objects = ["link", "link/a", "link-b", "other"];
        let mut backup = sides(&["other"], &objects);
        backup.local = vec![skipped("link")];
        assert_eq!(backup.plan(Direction::Backup).1, owned(&["link-b"]));

        let mut restore = sides(&["other"], &objects);
        restore.local = vec![skipped("link")];
        let (downloads, deleted, left) = restore.plan(Direction::Restore);
        assert_eq!((downloads, deleted), (owned(&["link-b"]), owned(&[])));
        assert_eq!(left, owned(&["link", "link/a"]));

        let mut restore = sides(&["odd/a", "odd", "gone"], &[]);
        restore.remote = vec![skipped("odd/")];
        assert_eq!(restore.plan(Direction::Restore).1, owned(&["gone"]));

        let mut unknown = sides(&[], &["a", "b/c"]);
        unknown.local = vec![skipped("")];
        assert_eq!(unknown.plan(Direction::Backup).1, owned(&[]));
    }

    #[test]
    fn unread_entry_withholds_the_deletions_of_older_objects() {
        let unread = |path: &str, is_dir, changed: Option<i64>| {
            let changed = changed.map(Timestamp::from_secs);
            vec![Unread { path: path.into(), is_dir, changed }]
        };
        let cases = [
            // The unread entry, and the deletions of the objects `e/500` and `e/900` that remain.
            (unread("dir", true, Some(700)), &["e/900"][..]),
            (unread("dir", true, Some(400)), &["e/500", "e/900"]),
            // A directory that disappeared.
            (unread("dir", true, None), &[]),
            // A file of unknown size that has no object may be any of them.
            (unread("new", false, Some(700)), &["e/900"]),
            (unread("new", false, None), &[]),
            (unread("known", false, None), &["e/500", "e/900"]),
        ];
        for (unread, remaining) in cases {
            let case = format!("{unread:?}");
            let objects =
                vec![object("e/500", 1, 500), object("e/900", 1, 900), object("known", 1, 500)];
            let path = unread[0].path.to_string();
            let scan = || Scan {
                unread: unread.clone(),
                skipped: vec![Skipped { path: path.clone(), reason: SkipReason::Vanished }],
                ..Scan::default()
            };
            let listing =
                || Listing { objects: objects.clone(), skipped: Vec::new(), ..Listing::default() };
            let plan = build(Direction::Backup, scan(), listing(), Record::empty(), &POLICY);
            let deletions = plan.deletions.iter().map(|deletion| &*deletion.path);
            let deletions: Vec<&str> = deletions.filter(|path| *path != "known").collect();
            assert_eq!(deletions, remaining, "{case}");
            let withheld = plan.withheld.iter().map(|withheld| &*withheld.deletion.path);
            let withheld = withheld.filter(|path| *path != "known").count();
            assert_eq!(withheld, 2 - remaining.len(), "{case}");

            let policy = Policy { no_delete: true, ..POLICY };
            let plan = build(Direction::Backup, scan(), listing(), Record::empty(), &policy);
            assert!(plan.deletions.is_empty() && plan.withheld.is_empty(), "{case}");
            // A restore knows all objects.
            let plan = build(Direction::Restore, scan(), listing(), Record::empty(), &POLICY);
            assert!(plan.withheld.is_empty(), "{case}");
        }
    }

    #[test]
    fn link_is_kept_only_together_with_its_target() {
        let link = |files: &[&str], objects: &[&str]| {
            let mut both = sides(files, objects);
            both.files[0].target = Some(Path::new("f").into());
            both.plan(Direction::Restore)
        };
        assert_eq!(link(&["l", "f"], &["l", "f"]), (owned(&[]), owned(&[]), owned(&[])));
        // The target is deleted.
        assert_eq!(link(&["l", "f"], &["l"]), (owned(&["l"]), owned(&["f"]), owned(&[])));
        // The target is replaced.
        let mut both = sides(&["l", "f"], &["l", "f"]);
        both.files[0].target = Some(Path::new("f").into());
        both.files[1].size = 2;
        assert_eq!(both.plan(Direction::Restore).0, owned(&["f", "l"]));
    }

    #[test]
    fn file_and_directory_of_the_same_name_are_both_left_alone() {
        // Only in the bucket: the directory is restored, the object is skipped.
        let (downloads, _, skipped) = sides(&[], &["a", "a/b", "a/c"]).plan(Direction::Restore);
        assert_eq!((downloads, skipped), (owned(&["a/b", "a/c"]), owned(&["a"])));
        // A local file at the place of a directory: both stay.
        let (downloads, deleted, skipped) =
            sides(&["a", "z"], &["a/b", "a/c"]).plan(Direction::Restore);
        assert_eq!((downloads, deleted), (owned(&[]), owned(&["z"])));
        assert_eq!(skipped, owned(&["a/b", "a/c"]));
        // A local directory at the place of a file, empty or not.
        for files in [&["a/b"][..], &[]] {
            let mut both = sides(files, &["a", "b"]);
            both.dirs = vec!["a"];
            let (downloads, deleted, skipped) = both.plan(Direction::Restore);
            assert_eq!((downloads, deleted), (owned(&["b"]), owned(&[])));
            assert_eq!(skipped, owned(&["a"]));
        }
        // A bucket can hold both until the old object is deleted.
        let (uploads, deleted, skipped) = sides(&["a/b"], &["a"]).plan(Direction::Backup);
        assert_eq!((uploads, deleted, skipped), (owned(&["a/b"]), owned(&["a"]), owned(&[])));
    }

    #[test]
    fn object_that_is_a_file_under_another_spelling_is_not_deleted() {
        for (file, object) in [("a\\b", "a/b"), ("p/img", "P/IMG"), ("caf\u{e9}", "cafe\u{301}")] {
            let plan = |is_same: bool| {
                let files = vec![self::file(file, 1, 10 * S)];
                let scan = Scan { files, ..Scan::default() };
                let objects = vec![self::object(object, 1, 500), self::object("zz", 1, 500)];
                let listing = Listing { objects, skipped: Vec::new(), ..Listing::default() };
                let mut plan = build(Direction::Backup, scan, listing, Record::empty(), &POLICY);
                plan.join_spellings(&[is_same], &POLICY);
                let deletions: Vec<String> =
                    plan.deletions.iter().map(|deletion| deletion.path.to_string()).collect();
                (plan.transfers.len(), deletions, plan.kept.entries, plan.spellings.alike.len())
            };
            assert_eq!(plan(true), (0, owned(&["zz"]), 1, 0));
            // Both are transferred and deleted, after a check.
            assert_eq!(plan(false), (1, owned(&[object, "zz"]), 0, 1));
        }
    }

    #[test]
    fn second_spelling_of_one_entry_is_skipped() {
        let plan = |direction, files: &[&str], objects: &[&str], is_same: &[bool]| {
            let both = sides(files, objects);
            let scan = Scan { files: both.files, ..Scan::default() };
            let listing =
                Listing { objects: both.objects, skipped: Vec::new(), ..Listing::default() };
            let mut plan = build(direction, scan, listing, Record::empty(), &POLICY);
            assert_eq!(plan.spellings.candidates.len(), is_same.len());
            plan.join_spellings(is_same, &POLICY);
            let (transfers, skipped) = (plan.transfers.iter(), plan.skipped.iter());
            (
                transfers.map(|transfer| transfer.path().to_owned()).collect::<Vec<_>>(),
                skipped.map(|skipped| skipped.path.clone()).collect::<Vec<_>>(),
                plan.deletions.len(),
                plan.unrestored.len(),
            )
        };
        use Direction::{Backup, Restore};
        let none = owned(&[]);
        assert_eq!(plan(Backup, &["A", "a"], &["A"], &[true]), (none.clone(), owned(&["a"]), 0, 0));
        assert_eq!(
            plan(Backup, &["A", "a"], &["A"], &[false]),
            (owned(&["a"]), none.clone(), 0, 0)
        );
        let both = plan(Backup, &["Ab", "aB"], &["ab"], &[true, true]);
        assert_eq!(both, (none.clone(), owned(&["aB"]), 0, 0));
        // A restore has to fetch it one day, so its marker lists it.
        assert_eq!(
            plan(Restore, &["A"], &["A", "a"], &[true]),
            (none.clone(), owned(&["a"]), 0, 1)
        );
        assert_eq!(plan(Restore, &["A"], &["A", "a"], &[false]), (owned(&["a"]), none, 0, 0));
    }
}
