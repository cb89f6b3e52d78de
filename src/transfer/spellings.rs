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
//! is uploaded again at once, and the other objects of that kind are kept. A trial may prove nothing,
//! because a request failed, or the file changed. Then it is repeated with another object. After a few, the
//! other deletions of that kind are withheld.
//!
//! Only directories whose names are the same in all spellings are listed: a store may list the objects of a
//! directory under the spelling of the request.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    sync::OnceLock,
};

use crate::{
    error::{Cause, Error, Result},
    model::{
        direction::Direction,
        entry::File,
        escape::Escaped,
        fold::{Difference, folded},
        found::Found,
        paths::{above, is_under, tree_order},
    },
    plan::{
        Alike, Deletion, Reason, Transfer, Untransferred, Withheld, WithheldReason,
        describe_spellings, protected::ProtectedPaths,
    },
    remote,
    report::{Event, Report},
    transfer::{
        context::RunContext,
        delete,
        job::Failed,
        steps::Transferred,
        stored::{self, Stored},
    },
};

/// If names in more directories than this have to be checked, everything is listed at once.
const MAX_LISTINGS: usize = 16;

/// How much of a file is read after the deletion of an object with a similar name.
const TRIAL_BYTES: u64 = 64 << 10;

/// So many checks of one kind of difference may prove nothing.
const MAX_TRIALS: u32 = 3;

/// A file, and an object to delete that is listed under another spelling of its name.
pub(super) struct Distinct {
    file: File,
    object: Box<str>,
}

impl Distinct {
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn object(&self) -> &str {
        &self.object
    }
}

/// The files that the run does not upload.
pub(super) struct NotUploaded<'a> {
    /// Those whose upload failed.
    pub failed: &'a [Failed],
    /// Those that the program removed from the plan.
    pub left_out: &'a [Untransferred],
    /// Those that the plan skips.
    pub skipped: &'a ProtectedPaths,
}

impl NotUploaded<'_> {
    /// The files in `alike` that are not uploaded, each with the reason to withhold a deletion.
    fn find(&self, alike: &[Alike], report: &Report) -> HashMap<String, WithheldReason> {
        let failed: HashSet<&str> =
            self.failed.iter().map(|failed| failed.transfer.path()).collect();
        let left_out: HashSet<&str> = self.left_out.iter().map(|entry| &*entry.path).collect();
        let found_later = ProtectedPaths::of_skipped(&report.skipped);
        let reason = |path: &str| {
            if left_out.contains(path) {
                return Some(WithheldReason::LeftOut);
            }
            let is_skipped = self.skipped.contains(path) || found_later.contains(path);
            (is_skipped || failed.contains(path)).then_some(WithheldReason::Conflict)
        };
        let files = alike.iter().flat_map(|alike| &alike.files);
        files.filter_map(|file| Some((file.path.to_string(), reason(&file.path)?))).collect()
    }
}

/// Removes the deletions from `deletions` that must not be made. Returns the files that may not be
/// stored, and the remaining deletions that need a trial.
///
/// `alike` are the names to check. The files in `not_uploaded` are not uploaded here either.
pub(super) fn check(
    context: &RunContext,
    alike: Vec<Alike>,
    not_uploaded: &NotUploaded,
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
                alike
                    .objects
                    .iter()
                    .map(move |object| (&**object, (file, WithheldReason::MayBeSameEntry)))
            });
            withhold(deletions, &others.collect(), report, on_event);
            // Each of several files may have replaced the others.
            let several = alike.iter().filter(|alike| alike.files.len() > 1);
            let unproven = several.flat_map(|alike| &alike.files).map(not_stored);
            return (unproven.collect(), Vec::new());
        }
    };
    let unavailable = not_uploaded.find(&alike, report);
    let mut outcome = Outcome::default();
    for alike in &alike {
        outcome.add(alike, &listed, &unavailable);
    }
    outcome.read_back(context);
    let Outcome {
        one_object,
        kept,
        conflicts,
        again,
        lost,
        vanished,
        listed_both,
        unproven,
        errors,
        several: _,
    } = outcome;
    withhold(deletions, &conflicts, report, on_event);
    deletions.retain(|deletion| !kept.contains(&*deletion.path));
    if let Some(text) = describe_spellings(&one_object, "the store") {
        on_event(Event::Warning(&text));
    }
    let mut failed: Vec<Failed> = unproven.into_iter().map(not_stored).collect();
    errors.into_iter().for_each(|error| report.fail(error, on_event));
    for file in vanished {
        let cause = Cause::Changed("the store does not list it after the uploads");
        report.fail(Error::new("upload", &*file.path, cause), on_event);
        failed.push(not_stored(file));
    }
    for (file, other) in lost.into_values() {
        let cause = Cause::SameEntry { other: other.to_owned() };
        report.fail(Error::new("upload", &*file.path, cause), on_event);
        failed.push(not_stored(file));
    }
    if !again.is_empty() {
        // These files are already counted.
        let counted = report.transferred;
        failed.extend(upload(again, report, on_event));
        report.transferred = counted;
    }
    (failed, listed_both)
}

/// A file that the store may not have. If that is a failure, it is already reported.
fn not_stored(file: &File) -> Failed {
    Failed { transfer: upload_of(file), direction: Direction::Backup, refusal: None }
}

fn upload_of(file: &File) -> Transfer {
    Transfer { reason: Reason::Missing, file: Some(file.clone()), object: None }
}

/// One kind of difference, and what the trials showed.
struct Kind<'a> {
    difference: Difference,
    pairs: Vec<&'a Distinct>,
    /// The trials that proved nothing.
    inconclusive: u32,
    are_distinct: Option<bool>,
}

/// Deletes one object for each kind of difference, and reads its file from the store. Removes from
/// `deletions` what was deleted, and the objects of each kind that is not proven to be harmless.
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
    let mut kinds: Vec<Kind> = Vec::new();
    for pair in &distinct {
        let difference = Difference::between(&pair.file.path, &pair.object);
        match kinds.iter_mut().find(|kind| kind.difference == difference) {
            Some(kind) => kind.pairs.push(pair),
            None => kinds.push(Kind {
                difference,
                pairs: vec![pair],
                inconclusive: 0,
                are_distinct: None,
            }),
        }
    }
    for index in 0..kinds.len() {
        for pair in kinds[index].pairs.clone() {
            if kinds[index].are_distinct.is_some() || kinds[index].inconclusive >= MAX_TRIALS {
                break;
            }
            // A file that changed proves nothing.
            if !stored::is_unchanged(context, &pair.file)
                || !delete_one(context, &pair.object, deletions, report, on_event)
            {
                if report.fatal.is_some() {
                    return;
                }
                continue;
            }
            for kind in &mut kinds {
                let same = kind.pairs.iter().filter(|other| other.object == pair.object);
                for pair in same {
                    match confirm(context, pair, report, on_event, &upload) {
                        Stored::Same => _ = kind.are_distinct.get_or_insert(true),
                        Stored::Other => kind.are_distinct = Some(false),
                        Stored::Unknown(_) => kind.inconclusive += 1,
                    }
                    if report.fatal.is_some() {
                        return;
                    }
                }
            }
        }
    }
    let (mut kept, mut unproven) = (Vec::new(), HashMap::new());
    for Kind { pairs, are_distinct, .. } in &kinds {
        let pairs = pairs.iter().map(|pair| (&*pair.file.path, &*pair.object));
        match are_distinct {
            Some(true) => {}
            Some(false) => kept.extend(pairs),
            None => unproven.extend(
                pairs.map(|(file, object)| (object, (file, WithheldReason::MayBeSameEntry))),
            ),
        }
    }
    let left: HashSet<&str> = deletions.iter().map(|deletion| &*deletion.path).collect();
    kept.retain(|(_, object)| left.contains(object));
    let objects: HashSet<&str> = kept.iter().map(|(_, object)| *object).collect();
    deletions.retain(|deletion| !objects.contains(&*deletion.path));
    if let Some(text) = describe_spellings(&kept, "the store") {
        on_event(Event::Warning(&text));
    }
    withhold(deletions, &unproven, report, on_event);
}

/// Reads a file from the store, after the deletion of an object of a similar name. Uploads the file
/// again, unless the store has it for certain.
///
/// `upload` uploads one file.
pub(super) fn confirm(
    context: &RunContext,
    pair: &Distinct,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
    upload: impl Fn(&Transfer) -> Result<Transferred>,
) -> Stored {
    let Distinct { file, object } = pair;
    let found = Stored::find(context, file, TRIAL_BYTES);
    if matches!(found, Stored::Same) {
        return found;
    }
    report.note_interruption(context.cancel);
    if report.fatal.is_some() {
        // The next run uploads the file if it is not stored.
        return found;
    }
    let transfer = upload_of(file);
    match upload(&transfer) {
        Ok(transferred) => {
            // The file is already counted.
            let counted = report.transferred;
            transferred.record(transfer.path(), report, on_event);
            report.transferred = counted;
            if matches!(found, Stored::Other) {
                let (file, object) = (Escaped(&file.path), Escaped(object));
                on_event(Event::Warning(&format!(
                    "the store does not distinguish {file} from {object}, although it listed both: {file} \
                     was uploaded again after the deletion of {object}"
                )));
            }
        }
        Err(error) => {
            let cause = Box::new(error.cause().clone());
            let lost = Cause::NotReplaced { deleted: vec![object.to_string()], cause };
            report.fail(Error::new("upload", transfer.path(), lost), on_event);
            if error.is_fatal() {
                report.fatal.get_or_insert(error);
            }
        }
    }
    found
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
        let listing = remote::list(
            context.client,
            &below,
            workers,
            true,
            &OnceLock::new(),
            &Found::default(),
        )?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        for object in listing.into_iter().flat_map(|listing| listing.objects) {
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
    conflicts: Others<'a>,
    /// Files that may have been replaced by others.
    again: Vec<Transfer>,
    /// Files that are not stored, each with the one that is.
    lost: BTreeMap<&'a str, (&'a File, &'a str)>,
    /// Groups of several files that are all listed.
    several: Vec<Vec<&'a File>>,
    /// The files and objects that are all listed.
    listed_both: Vec<Distinct>,
    /// Files that were uploaded, but are not listed under any name.
    vanished: Vec<&'a File>,
    /// Files of which it is unknown whether they are stored, and why.
    unproven: Vec<&'a File>,
    errors: Vec<Error>,
}

impl<'a> Outcome<'a> {
    fn add(
        &mut self,
        alike: &'a Alike,
        listed: &'a Listed,
        unavailable: &HashMap<String, WithheldReason>,
    ) {
        static NONE: BTreeSet<String> = BTreeSet::new();
        let listed = form(alike).and_then(|form| listed.get(&form)).unwrap_or(&NONE);
        let (failed, stored): (Vec<&File>, Vec<&File>) =
            alike.files.iter().partition(|file| unavailable.contains_key(&*file.path));
        let is_listed = |file: &&File| listed.contains(&*file.path);
        let objects = alike.objects.iter().map(|object| &**object);
        if let Some(file) = failed.first() {
            // A failed upload may need the object of another name.
            let reason = unavailable.get(&*file.path).copied();
            let because = (&*file.path, reason.unwrap_or(WithheldReason::Conflict));
            self.conflicts.extend(objects.map(|object| (object, because)));
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
            self.vanished.extend(missing);
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

    /// Of several files that are all listed, reads one group for each kind of difference from the store. A
    /// file that is not what was uploaded was replaced by another one of its group.
    fn read_back(&mut self, context: &RunContext) {
        let mut groups = mem::take(&mut self.several);
        groups.sort_by_key(|files| files.iter().map(|file| file.size).sum::<u64>());
        let mut kinds = KindsOfFiles::default();
        let mut unproven: Vec<(Difference, [&File; 2])> = Vec::new();
        for files in groups {
            let first = if kinds.needs(&files) { kinds.read(context, &files) } else { 0 };
            let first = files[first];
            let mut replaced = vec![first];
            for other in files.iter().filter(|file| file.path != first.path) {
                let kind = Difference::between(&first.path, &other.path);
                match kinds.are_distinct.get(&kind) {
                    Some(true) => {}
                    Some(false) => replaced.push(*other),
                    None => unproven.push((kind, [first, *other])),
                }
            }
            self.keep_one_of(replaced);
        }
        // Another group may have shown what these did not.
        for (kind, [first, other]) in unproven {
            match kinds.are_distinct.get(&kind) {
                Some(true) => {}
                Some(false) => self.keep_one_of(vec![first, other]),
                None if kinds.failed.contains_key(&kind) => self.unproven.extend([first, other]),
                // Empty files.
                None => {}
            }
        }
        let KindsOfFiles { are_distinct, mut failed } = kinds;
        failed.retain(|kind, _| !are_distinct.contains_key(kind));
        self.errors.extend(failed.into_values().map(|(_, error)| error));
    }

    /// Of several files that are one object, has the first one uploaded again.
    fn keep_one_of(&mut self, mut files: Vec<&'a File>) {
        if files.len() > 1 {
            files.sort_by(|a, b| tree_order(&a.path, &b.path));
            self.upload_again(&files[..1], &files);
        }
    }

    /// Has the files in `again` uploaded again. The others in `missing` are lost.
    fn upload_again(&mut self, again: &[&'a File], missing: &[&'a File]) {
        let Some(kept) = again.first() else { return };
        let lost = missing.iter().filter(|file| file.path != kept.path);
        self.lost.extend(lost.map(|file| (&*file.path, (*file, &*kept.path))));
        for file in again {
            if self.again.iter().all(|other| other.path() != &*file.path) {
                self.again.push(upload_of(file));
            }
        }
    }
}

/// What the files that were read back show of each kind of difference.
#[derive(Default)]
struct KindsOfFiles {
    are_distinct: HashMap<Difference, bool>,
    /// How often the check failed, and the first error.
    failed: HashMap<Difference, (u32, Error)>,
}

impl KindsOfFiles {
    /// Whether a group of files shows something that is not known yet.
    fn needs(&self, files: &[&File]) -> bool {
        let Some((first, others)) = files.split_first() else { return false };
        others.iter().any(|other| {
            let kind = Difference::between(&first.path, &other.path);
            let failures = self.failed.get(&kind).map_or(0, |(count, _)| *count);
            // Empty files have nothing that shows which of them is stored.
            let can_tell = first.size != other.size || first.size > 0;
            can_tell && failures < MAX_TRIALS && !self.are_distinct.contains_key(&kind)
        })
    }

    /// Reads files from the store. Returns the index of one that is stored, if there is one.
    fn read(&mut self, context: &RunContext, files: &[&File]) -> usize {
        let mut found: Vec<Stored> =
            files.iter().map(|file| Stored::find(context, file, u64::MAX)).collect();
        let at = found
            .iter()
            .position(|found| matches!(found, Stored::Same))
            .or_else(|| found.iter().position(|found| matches!(found, Stored::Unknown(_))))
            .unwrap_or(0);
        let first = found.remove(at);
        let others = files.iter().filter(|file| file.path != files[at].path);
        for (other, found) in others.zip(found) {
            let kind = Difference::between(&files[at].path, &other.path);
            match (&first, found) {
                (_, Stored::Other) => _ = self.are_distinct.insert(kind, false),
                (Stored::Same, Stored::Same) => _ = self.are_distinct.entry(kind).or_insert(true),
                (_, Stored::Unknown(error)) => self.failed.entry(kind).or_insert((0, error)).0 += 1,
                (Stored::Unknown(error), _) => {
                    self.failed.entry(kind).or_insert_with(|| (0, error.clone())).0 += 1;
                }
                // If the first file is not stored, none is.
                (Stored::Other, Stored::Same) => {}
            }
        }
        at
    }
}

/// Objects to delete, each with a file because of which it is kept.
type Others<'a> = HashMap<&'a str, (&'a str, WithheldReason)>;

/// Withholds the deletions of the objects in `others`.
fn withhold(
    deletions: &mut Vec<Deletion>,
    others: &Others,
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    let mut withheld = Vec::new();
    let take = |deletion: Deletion| {
        let Some((file, reason)) = others.get(&*deletion.path).copied() else {
            return Some(deletion);
        };
        withheld.push(Withheld { deletion, because_of: file.into(), reason });
        None
    };
    *deletions = mem::take(deletions).into_iter().filter_map(take).collect();
    report.withhold_with(withheld, on_event);
}
