//! Checking, after the uploads of a backup, which names the store does not distinguish.
//!
//! Two names with the same folded form may be one object. So the directories that contain such names are
//! listed again after the uploads:
//!
//! | the listing shows | then |
//! | --- | --- |
//! | the names of all files | they are different objects; an object without a file is deleted if it is listed as well |
//! | not the name of the only file, but another spelling | both are one object, which holds the file; it is kept |
//! | not all of several files | each upload may have replaced the others: those with a listed name are uploaded again, the others are failures |
//!
//! A gateway may remember names that its file system does not have. So the deletions begin with a trial: one
//! object for each kind of difference between names. If the store does not return the file afterwards, it
//! is uploaded again at once, and the other objects of that kind are kept.
//!
//! Only directories whose names are the same in all spellings are listed: a store may list the objects of a
//! directory under the spelling of the request.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    sync::OnceLock,
};

use crate::{
    content::{self, CompareSink},
    error::{Cause, Error, Result},
    model::{
        entry::File,
        fold::{Difference, folded},
        paths::{above, is_under},
    },
    plan::{Alike, Deletion, Reason, Transfer, Withheld, WithheldReason, describe_spellings},
    remote,
    report::{Event, Report},
    s3::{Head, Sink},
    transfer::{context::RunContext, delete, job::Failed, steps::Transferred},
};

/// If names in more directories than this have to be checked, everything is listed at once.
const MAX_LISTINGS: usize = 16;

/// How much of a file is read after the deletion of an object with a similar name.
const TRIAL_BYTES: u64 = 64 << 10;

/// A file, and an object to delete that is listed under another spelling of its name.
pub(super) struct Distinct {
    file: File,
    object: Box<str>,
}

impl Distinct {
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Removes the deletions from `deletions` that must not be made. Returns the uploads that failed, and
/// the remaining deletions that need a trial.
///
/// `alike` are the names to check, and `failed` the uploads that failed before.
pub(super) fn check(
    context: &RunContext,
    alike: Vec<Alike>,
    failed: &[Failed],
    deletions: &mut Vec<Deletion>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
    upload: impl Fn(Vec<Transfer>, &mut Report, &mut dyn FnMut(Event)) -> Vec<Failed>,
) -> (Vec<Failed>, Vec<Distinct>) {
    let alike = still_needed(alike, deletions);
    if alike.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let listed = match list(context, &alike) {
        Ok(listed) => listed,
        Err(error) => {
            report.fail(error, on_event);
            let others = alike.iter().flat_map(|alike| {
                let file = alike.files.first().map_or("", |file| &*file.path);
                alike.objects.iter().map(move |object| (&**object, file))
            });
            let others: HashMap<&str, &str> = others.collect();
            withhold(deletions, &others, WithheldReason::MayBeSameEntry, report, on_event);
            return (Vec::new(), Vec::new());
        }
    };
    let skipped = report.skipped.iter().map(|skipped| skipped.path.as_str());
    let failed = failed.iter().map(|failed| failed.transfer.path());
    let not_stored: HashSet<String> = skipped.chain(failed).map(str::to_owned).collect();
    let mut outcome = Outcome::default();
    for alike in &alike {
        outcome.add(alike, &listed, &not_stored);
    }
    outcome.read_back(context);
    let Outcome { one_object, kept, conflicts, again, lost, vanished, listed_both, .. } = outcome;
    withhold(deletions, &conflicts, WithheldReason::Conflict, report, on_event);
    deletions.retain(|deletion| !kept.contains(&*deletion.path));
    if let Some(text) = describe_spellings(&one_object, "the store") {
        on_event(Event::Warning(&text));
    }
    for path in vanished {
        let cause = Cause::Changed("it was uploaded, but the store does not list it");
        report.fail(Error::new("upload", path, cause), on_event);
    }
    for (path, other) in lost {
        let cause = Cause::SameEntry { other: other.to_owned() };
        report.fail(Error::new("upload", path, cause), on_event);
    }
    let failed = if again.is_empty() { Vec::new() } else { upload(again, report, on_event) };
    (failed, listed_both)
}

/// Deletes one object for each kind of difference, and reads its file from the store. Removes from
/// `deletions` what was deleted, and the objects of each kind for which this failed.
///
/// `upload` uploads one file.
pub(super) fn try_deletions(
    context: &RunContext,
    mut distinct: Vec<Distinct>,
    deletions: &mut Vec<Deletion>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
    upload: impl Fn(&Transfer) -> Result<Transferred>,
) {
    let deleted: HashSet<&str> = deletions.iter().map(|deletion| &*deletion.path).collect();
    distinct.retain(|pair| deleted.contains(&*pair.object));
    // Of an empty file, a store may know everything without opening it.
    distinct.sort_by_key(|pair| pair.file.size == 0);
    let mut kinds: Vec<(Difference, Vec<&Distinct>)> = Vec::new();
    for pair in &distinct {
        let kind = Difference::between(&pair.file.path, &pair.object);
        match kinds.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, pairs)) => pairs.push(pair),
            None => kinds.push((kind, vec![pair])),
        }
    }
    let mut one_entry = Vec::new();
    for (_, pairs) in kinds {
        // If a deletion fails, another one.
        let mut is_deleted =
            |pair: &&&Distinct| delete_one(context, &pair.object, deletions, report, on_event);
        let tried = pairs.iter().find(|pair| is_deleted(pair)).copied();
        if report.fatal.is_some() {
            return;
        }
        let Some(Distinct { file, object }) = tried else { continue };
        if is_stored(context, file, TRIAL_BYTES) {
            continue;
        }
        report.note_interruption(context.cancel);
        if report.fatal.is_some() {
            // The next run uploads the file if it is not stored.
            return;
        }
        let others: HashSet<&str> = pairs.iter().map(|pair| &*pair.object).collect();
        deletions.retain(|deletion| !others.contains(&*deletion.path));
        one_entry.extend(pairs.iter().map(|pair| (&*pair.file.path, &*pair.object)));
        let (reason, file) = (Reason::Missing, Some(file.clone()));
        let transfer = Transfer { reason, file, object: None };
        match upload(&transfer) {
            Ok(transferred) => transferred.record(transfer.path(), report, on_event),
            Err(error) => {
                let cause = Box::new(error.cause().clone());
                let lost = Cause::NotReplaced { deleted: vec![object.to_string()], cause };
                report.fail(Error::new("upload", transfer.path(), lost), on_event);
                if error.is_fatal() {
                    report.fatal.get_or_insert(error);
                    return;
                }
            }
        }
    }
    if let Some(text) = describe_spellings(&one_entry, "the store") {
        on_event(Event::Warning(&text));
    }
}

/// Takes the deletion of `path` from `deletions`, and makes it. Returns whether that succeeded.
fn delete_one(
    context: &RunContext,
    path: &str,
    deletions: &mut Vec<Deletion>,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) -> bool {
    let at = deletions.iter().position(|deletion| &*deletion.path == path);
    let Some(deletion) = at.map(|at| deletions.remove(at)) else { return false };
    let mut is_deleted = false;
    delete::objects(context, &[deletion], report, &mut |event| {
        is_deleted |= matches!(event, Event::Deleted { .. });
        on_event(event);
    });
    is_deleted
}

/// Adds the files that were found after the scan to the names to check.
pub(super) fn add_new_files(alike: &mut Vec<Alike>, new: Vec<File>, deletions: &[Deletion]) {
    if new.is_empty() {
        return;
    }
    let mut by_form: HashMap<String, Alike> = HashMap::new();
    for file in new {
        let empty = || Alike { files: Vec::new(), objects: Vec::new() };
        by_form.entry(folded(&file.path)).or_insert_with(empty).files.push(file);
    }
    for deletion in deletions {
        if let Some(alike) = by_form.get_mut(&folded(&deletion.path)) {
            alike.objects.push(deletion.path.clone());
        }
    }
    for old in mem::take(alike) {
        let form = old.files.first().map(|file| folded(&file.path));
        match form.and_then(|form| by_form.get_mut(&form)) {
            Some(new) => new.files.extend(old.files),
            None => alike.push(old),
        }
    }
    alike.extend(by_form.into_values());
}

fn still_needed(alike: Vec<Alike>, deletions: &[Deletion]) -> Vec<Alike> {
    if alike.is_empty() {
        return alike;
    }
    let deleted: HashSet<&str> = deletions.iter().map(|deletion| &*deletion.path).collect();
    let is_needed = |mut alike: Alike| {
        alike.objects.retain(|object| deleted.contains(&**object));
        alike.needs_check().then_some(alike)
    };
    alike.into_iter().filter_map(is_needed).collect()
}

/// The listed names that are alike, by their folded form.
type Listed = HashMap<String, BTreeSet<String>>;

fn list(context: &RunContext, alike: &[Alike]) -> Result<Listed> {
    let mut listed: Listed =
        alike.iter().filter_map(form).map(|form| (form, BTreeSet::new())).collect();
    let bucket = &context.config.bucket;
    for dir in directories(alike) {
        let below = bucket.below(&dir);
        let workers = context.config.transfer.workers;
        let listing = remote::list(context.client, &below, workers, true, &OnceLock::new())?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        for object in listing.objects {
            let path = format!("{prefix}{}", object.path);
            if let Some(names) = listed.get_mut(&folded(&path)) {
                names.insert(path);
            }
        }
    }
    Ok(listed)
}

fn form(alike: &Alike) -> Option<String> {
    alike.files.first().map(|file| folded(&file.path))
}

fn names(alike: &Alike) -> impl Iterator<Item = &str> {
    let files = alike.files.iter().map(|file| &*file.path);
    files.chain(alike.objects.iter().map(|object| &**object))
}

/// The directories to list: for each group of names, the innermost one that all of them have in common.
fn directories(alike: &[Alike]) -> Vec<String> {
    let common = |alike: &Alike| {
        let first = names(alike).next().unwrap_or_default();
        let contains_all = |dir: &&str| names(alike).all(|name| is_under(name, dir));
        above(first).take_while(contains_all).last().unwrap_or_default().to_owned()
    };
    let all: BTreeSet<String> = alike.iter().map(common).collect();
    if all.contains("") {
        return vec![String::new()];
    }
    let is_uppermost = |dir: &&String| !above(dir).any(|above| all.contains(above));
    let uppermost: Vec<String> = all.iter().filter(is_uppermost).cloned().collect();
    if uppermost.len() > MAX_LISTINGS { vec![String::new()] } else { uppermost }
}

/// What follows from the listing.
#[derive(Default)]
struct Outcome<'a> {
    /// The names of a file and of the object that holds it.
    one_object: Vec<(&'a str, &'a str)>,
    /// The objects that are not deleted.
    kept: HashSet<&'a str>,
    /// The objects that may hold a file that was not stored, each with that file.
    conflicts: HashMap<&'a str, &'a str>,
    /// Files that may have been replaced by others.
    again: Vec<Transfer>,
    /// Files that are not stored, each with the one that is.
    lost: BTreeMap<&'a str, &'a str>,
    /// Groups of several files that are all listed.
    several: Vec<Vec<&'a File>>,
    /// The files and objects that are all listed.
    listed_both: Vec<Distinct>,
    /// Files that were uploaded, but are not listed under any name.
    vanished: Vec<&'a str>,
}

impl<'a> Outcome<'a> {
    fn add(&mut self, alike: &'a Alike, listed: &'a Listed, not_stored: &HashSet<String>) {
        static NONE: BTreeSet<String> = BTreeSet::new();
        let listed = form(alike).and_then(|form| listed.get(&form)).unwrap_or(&NONE);
        let (failed, stored): (Vec<&File>, Vec<&File>) =
            alike.files.iter().partition(|file| not_stored.contains(&*file.path));
        let is_listed = |file: &&File| listed.contains(&*file.path);
        let objects = alike.objects.iter().map(|object| &**object);
        if let Some(file) = failed.first() {
            // A failed upload may need the object of another name.
            self.conflicts.extend(objects.map(|object| (object, &*file.path)));
        } else if stored.iter().all(is_listed) {
            // What is not listed any more is another spelling of the file, or was deleted by others.
            let gone: Vec<&str> = objects.filter(|object| !listed.contains(*object)).collect();
            if let [file] = &stored[..] {
                self.one_object.extend(gone.iter().map(|object| (&*file.path, *object)));
            }
            self.kept.extend(gone);
            for object in alike.objects.iter().filter(|object| listed.contains(&***object)) {
                let distinct =
                    |file: &&File| Distinct { file: (*file).clone(), object: object.clone() };
                self.listed_both.extend(stored.iter().map(distinct));
            }
        } else {
            self.kept.extend(objects);
        }
        let missing: Vec<&File> = stored.iter().copied().filter(|file| !is_listed(file)).collect();
        let Some(first) = missing.first() else {
            if stored.len() > 1 {
                self.several.push(stored);
            }
            return;
        };
        if listed.is_empty() {
            self.vanished.extend(missing.iter().map(|file| &*file.path));
            return;
        }
        let others = listed.iter().find(|name| stored.iter().all(|file| *file.path != ***name));
        if let ([file], Some(other)) = (&stored[..], others) {
            self.one_object.push((&file.path, other));
            return;
        }
        let mut again: Vec<&File> = stored.iter().copied().filter(is_listed).collect();
        if again.is_empty() {
            again.push(first);
        }
        self.upload_again(&again, &missing);
    }

    /// Of several files that are all listed, reads one group for each kind of difference from the store. If
    /// a file is not what was uploaded, the store has only one object for all of them.
    fn read_back(&mut self, context: &RunContext) {
        let mut groups = mem::take(&mut self.several);
        groups.sort_by_key(|files| files.iter().map(|file| file.size).sum::<u64>());
        let mut kinds: HashMap<Difference, bool> = HashMap::new();
        for files in groups {
            let kind = Difference::between(&files[0].path, &files[1].path);
            let has_changed = files.iter().any(|file| file.size != files[0].size);
            // Empty files have nothing that shows which of them is stored.
            let can_tell = has_changed || files[0].size > 0;
            let are_distinct = match kinds.get(&kind) {
                Some(are_distinct) => *are_distinct,
                None if can_tell => {
                    let are_distinct = files.iter().all(|file| is_stored(context, file, u64::MAX));
                    kinds.insert(kind, are_distinct);
                    are_distinct
                }
                None => true,
            };
            if !are_distinct {
                self.upload_again(&files[..1], &files);
            }
        }
    }

    /// Has the files in `again` uploaded again. The others in `missing` are lost.
    fn upload_again(&mut self, again: &[&'a File], missing: &[&'a File]) {
        let Some(kept) = again.first() else { return };
        let lost = missing.iter().filter(|file| file.path != kept.path);
        self.lost.extend(lost.map(|file| (&*file.path, &*kept.path)));
        self.again.extend(again.iter().map(|file| Transfer {
            reason: Reason::Missing,
            file: Some((*file).clone()),
            object: None,
        }));
    }
}

/// Whether the store has the content of a file under its name, as far as the first `limit` bytes show. Also
/// if that cannot be found out.
///
/// The whole object is requested, because some gateways to file systems do not support ranges.
fn is_stored(context: &RunContext, file: &File, limit: u64) -> bool {
    let Ok(open) = content::open(context.root, file) else { return true };
    if content::check_unchanged(file, &open).is_err() {
        return true;
    }
    let key = context.key(&file.path);
    let head = match context.client.head(&key) {
        Ok(head) => head,
        // Without the permission to read, only the listing counts.
        Err(error) => return matches!(error.cause(), Cause::S3 { status: 403, .. }),
    };
    if head.size.is_some_and(|size| size != file.size) {
        return false;
    }
    if file.size == 0 {
        return true;
    }
    let mut sink = Beginning { compare: CompareSink::new(&open), limit, is_over: false };
    let read = context.client.get(&key, &head.etag, file.size, 0..file.size, &mut sink);
    (read.is_ok() || sink.is_over) && !sink.compare.differs
        || content::check_unchanged(file, &open).is_err()
}

/// Compares the beginning of a download with a file, then ends it.
struct Beginning<'a> {
    compare: CompareSink<'a>,
    limit: u64,
    is_over: bool,
}

impl Sink for Beginning<'_> {
    fn head(&mut self, _: &Head) {}

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        self.compare.write(offset, bytes)?;
        if self.compare.differs || offset + bytes.len() as u64 >= self.limit {
            self.is_over = true;
            return Err(Cause::Changed("the beginning was compared"));
        }
        Ok(())
    }
}

/// Withholds the deletions of the objects in `others`, each because of the file that it is paired with.
fn withhold(
    deletions: &mut Vec<Deletion>,
    others: &HashMap<&str, &str>,
    reason: WithheldReason,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    let mut withheld = Vec::new();
    let take = |deletion: Deletion| {
        let Some(file) = others.get(&*deletion.path) else { return Some(deletion) };
        withheld.push(Withheld { deletion, because_of: (*file).into(), reason });
        None
    };
    *deletions = mem::take(deletions).into_iter().filter_map(take).collect();
    report.withhold_with(withheld, on_event);
}
