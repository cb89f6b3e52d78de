//! The plan of a run: plain data.

use std::{
    collections::{HashMap, HashSet},
    mem,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    local::Snapshot,
    model::{
        bucket_url::BucketUrl,
        count::Count,
        direction::Direction,
        entry::{File, Object},
        etag::ETag,
        paths::{is_under, tree_order},
        skip::{SkipReason, Skipped},
    },
    plan::{
        actions::{Deletion, Transfer, Withheld},
        excluded::Excluded,
        overlap::Overlap,
        planned::Planned,
        protected::ProtectedPaths,
        rule::Reason,
        spellings::Spellings,
        withheld::Untransferred,
    },
    record::Record,
};

/// A restore that has not finished, known from its marker: see [`Plan::unfinished`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedRestore {
    /// The marker file.
    pub marker: PathBuf,
    /// Why its list cannot be read. All objects below its directory then count as listed.
    pub problem: Option<String>,
    /// The backup ignores it: see [`Config::accept_incomplete`](crate::Config::accept_incomplete).
    pub is_accepted: bool,
    /// The backup removes it. Those in directories above the root stay.
    pub is_removed: bool,
}

/// What a run will do, in tree order.
#[derive(Debug)]
pub struct Plan {
    /// Which side the run changes.
    pub direction: Direction,
    /// The files or objects to transfer. Removing one withholds the deletions that it would withhold if
    /// it failed.
    pub transfers: Vec<Transfer>,
    /// The entries to delete after the transfers, except those that depend on a transfer that fails. They
    /// can be removed. A plan with a deletion that was added or changed is not executed.
    pub deletions: Vec<Deletion>,
    /// The deletions that the run will not make, because something cannot be transferred.
    pub withheld: Vec<Withheld>,
    /// The entries of either side that are skipped.
    pub skipped: Vec<Skipped>,
    /// The entries that the run does not look at: see [`Selection`](crate::Selection).
    pub excluded: Excluded,
    /// The entries that are the same on both sides.
    pub kept: Count,
    /// The objects that a restore skips because they are archived. They are among `skipped`.
    pub archived: Count,
    /// Temporary files that earlier restores left behind. A restore removes them. A backup neither
    /// stores nor removes them.
    pub leftovers: Vec<String>,
    /// Restores that have not finished, in the directory of a backup, below or above it.
    pub unfinished: Vec<UnfinishedRestore>,
    /// The markers of earlier restores that the run removes.
    pub(crate) markers: Vec<String>,
    /// The objects that a restore skips.
    pub(crate) unrestored: Vec<Box<str>>,
    /// Pairs that need a comparison of their contents. Empty in a finished plan.
    pub(crate) undecided: Vec<Transfer>,
    /// The recorded ETags of undecided files that are as recorded, whose objects have none or another one
    /// in the listing.
    pub(crate) recorded: HashMap<Box<str>, ETag>,
    /// The margin within which two times may be equal, in nanoseconds.
    pub(crate) margin: u64,
    /// What the record knew, and what planning added. The run adds the rest.
    pub(crate) record: Record,
    /// What the plan keeps of its own lists: the program may change them.
    pub(super) planned: Planned,
    /// The transfers that the program removed, if a deletion or the check of similar names may depend on
    /// them.
    pub(crate) left_out: Vec<Untransferred>,
    /// The paths that a backup must not store, whatever appears there: those of all skipped entries, and
    /// those that unfinished restores list.
    pub(crate) protected: ProtectedPaths,
    /// The pairs that only need a comparison because of their ctimes.
    pub(crate) only_ctime: Count,
    /// The number of paths that both sides have.
    pub(super) pairs: u64,
    pub(crate) source_entries: usize,
    pub(crate) target_entries: usize,
    /// The state of the directory that a backup was planned for. `None` if both sides have
    /// the same paths.
    pub(crate) snapshot: Option<Snapshot>,
    /// The locations that were compared. The plan is wrong for any others.
    pub(crate) scope: Option<PlanScope>,
    /// The URL of the directory of the object, if the prefix is the key of one. The run is about this
    /// object only.
    pub(crate) one_object_in: Option<BucketUrl>,
    /// There is no object at all, which the guards do not allow.
    pub(crate) no_objects: Option<Error>,
    pub(super) links: LinkedPaths,
    /// The names that the target may not distinguish.
    pub(crate) spellings: Spellings,
    /// What both sides have in common, if the run deletes something.
    pub(super) overlap: Option<Overlap>,
    /// Directories that still exist but are empty, each with the number of its objects to delete.
    pub(super) emptied: Vec<(String, u64)>,
}

/// The symlinks in the target of a restore.
#[derive(Debug)]
pub(super) struct LinkedPaths {
    /// The links to files that are kept, provided that their targets are kept.
    pub kept: Vec<Transfer>,
    /// The other links that each link passes through, by the path of the link.
    pub through: HashMap<Box<str>, Vec<Box<Path>>>,
    /// Links to directories. A run can read below them, but neither writes nor deletes there.
    pub directories: ProtectedPaths,
}

/// The direction, directory and bucket of a plan. The endpoint belongs to it, as two stores may have
/// buckets of the same name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlanScope {
    pub direction: Direction,
    pub dir: PathBuf,
    pub bucket: BucketUrl,
    pub endpoint: Option<String>,
}

impl Plan {
    /// Whether there is nothing to transfer or delete. A restore may still have
    /// [leftovers](Plan::leftovers) to remove.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty() && self.deletions.is_empty()
    }

    /// The number of transfers and their bytes.
    pub fn transferred(&self) -> Count {
        let mut count = Count::default();
        self.transfers.iter().for_each(|transfer| count.add(transfer.size(self.direction)));
        count
    }

    /// The number of files that a restore creates without replacing one.
    pub fn new_files(&self) -> u64 {
        let is_new =
            |transfer: &&Transfer| self.direction == Direction::Restore && transfer.file.is_none();
        self.transfers.iter().filter(is_new).count() as u64
    }

    /// Decides the undecided pairs. `compare` returns for each why it has to be transferred, or `None`
    /// if the contents are the same.
    pub(crate) fn decide_undecided(
        &mut self,
        compare: impl FnOnce(&[Transfer]) -> Result<Vec<Option<Reason>>>,
    ) -> Result<()> {
        let undecided = mem::take(&mut self.undecided);
        let reasons = compare(&undecided)?;
        for (pair, reason) in undecided.into_iter().zip(reasons) {
            match (reason, pair.file, pair.object) {
                (None, Some(file), Some(object)) => self.keep(file, object),
                (reason, file, object) => {
                    self.transfer(reason.unwrap_or(Reason::Doubt), file, object);
                }
            }
        }
        self.complete();
        Ok(())
    }

    pub(super) fn transfer(&mut self, reason: Reason, file: Option<File>, object: Option<Object>) {
        self.transfers.push(Transfer { reason, file, object });
    }

    /// Leaves it to a comparison of the contents what happens to a pair.
    pub(super) fn compare(&mut self, file: File, object: Object) {
        let (file, object) = (Some(file), Some(object));
        self.undecided.push(Transfer { reason: Reason::Doubt, file, object });
    }

    pub(super) fn keep(&mut self, file: File, object: Object) {
        self.kept.add(file.size);
        if file.target.is_some() && self.direction == Direction::Restore {
            let (file, object) = (Some(file), Some(object));
            self.links.kept.push(Transfer { reason: Reason::Content, file, object });
        }
    }

    /// Counts what both sides have in common. To be called after deletions were added or removed.
    pub(super) fn count_overlap(&mut self) {
        let unchanged = self.kept.entries + self.undecided.len() as u64;
        let overlap = || Overlap::new(self.direction, &self.transfers, &self.deletions, unchanged);
        self.overlap = (!self.deletions.is_empty()).then(overlap);
    }

    /// Counts the deletions in emptied directories. To be called after deletions were removed.
    pub(super) fn recount_emptied(&mut self) {
        // A directory that loses no object needs no guard.
        self.emptied.retain_mut(|(dir, objects)| {
            let is_below = |deletion: &&Deletion| is_under(&deletion.path, dir);
            // Both are in tree order.
            let is_before = |deletion: &Deletion| tree_order(&deletion.path, dir).is_le();
            let first = self.deletions.partition_point(is_before);
            *objects = self.deletions[first..].iter().take_while(is_below).count() as u64;
            *objects > 0
        });
    }

    /// Applies the rules about links, and sorts. To be called after entries were added.
    pub(super) fn complete(&mut self) {
        self.replace_broken_links();
        self.skip_paths_below_links();
        self.transfers.sort_by(|a, b| tree_order(a.path(), b.path()));
        self.skipped.sort_by(|a, b| tree_order(&a.path, &b.path));
    }

    /// Transfers the links that cannot be kept. A link is only kept together with its target and with
    /// the links on the way there. If one of these is replaced, deleted or removed as a leftover, the
    /// object of the link's name replaces the link.
    fn replace_broken_links(&mut self) {
        if self.links.kept.is_empty() {
            return;
        }
        let transferred = self.transfers.iter().map(Transfer::path);
        let deleted = self.deletions.iter().map(|deletion| &*deletion.path);
        let leftovers = self.leftovers.iter().map(String::as_str);
        let changed: HashSet<&Path> =
            transferred.chain(deleted).chain(leftovers).map(Path::new).collect();
        let is_broken = |link: &Transfer| {
            let target = link.file.as_ref().and_then(|file| file.target.as_ref());
            let through = self.links.through.get(link.path()).into_iter().flatten();
            target.into_iter().chain(through).any(|hop| changed.contains(&**hop))
        };
        let kept = mem::take(&mut self.links.kept);
        let (broken, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_broken);
        self.links.kept = kept;
        for link in broken {
            self.kept.entries -= 1;
            self.kept.bytes -= link.file.as_ref().map_or(0, |file| file.size);
            self.transfers.push(link);
        }
    }

    /// Skips every change below a link to a directory: a restore never writes or deletes through one.
    fn skip_paths_below_links(&mut self) {
        if self.direction == Direction::Backup {
            return;
        }
        let Plan { links, skipped, unrestored, .. } = self;
        let mut may_change = |path: &str| {
            let Some(link) = links.directories.covering(path) else { return true };
            let reason = SkipReason::LinkInTheWay(link.to_owned());
            skipped.push(Skipped { path: path.to_owned(), reason });
            false
        };
        self.transfers.retain(|transfer| {
            let may_change = may_change(transfer.path());
            if !may_change {
                unrestored.push(transfer.path().into());
            }
            may_change
        });
        self.deletions.retain(|deletion| may_change(&deletion.path));
    }
}
