//! Verification: comparing the content of every file with its object. Nothing is changed.

use std::{cell::Cell, collections::HashSet, iter};

use rayon::prelude::*;

use crate::{
    cancel::Cancel,
    config::Config,
    content::{self, CompareSink, Comparison, Proof},
    error::{Error, Result},
    local::{Root, Scan},
    model::{
        count::Count,
        direction::Direction,
        entry::{File, Object},
        etag::ETag,
        paths::tree_order,
        skip::Skipped,
    },
    plan::{
        Archived, Candidate, Excluded, Spellings, describe_archived, describe_spellings,
        merge::Merge,
    },
    remote::Listing,
    report::{Event, Stage, exit},
    s3::{Client, Head, Version},
    worker_pool,
};

/// How a file and its object differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is a file, but no object.
    OnlyLocal,
    /// There is an object, but no file.
    OnlyRemote,
    /// The sizes differ.
    Size,
    /// The contents differ.
    Content,
    /// Nothing that the server sends proves whether the contents are the same. A verification with
    /// `read_data` would.
    Unknown,
}

impl Difference {
    /// The difference in one or two words, as the command prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Difference::OnlyLocal => "only local",
            Difference::OnlyRemote => "only remote",
            Difference::Size => "size",
            Difference::Content => "content",
            Difference::Unknown => "unknown",
        }
    }
}

/// The result of a verification.
#[derive(Debug, Default)]
pub struct Verification {
    /// The files that have the same content as their objects.
    pub same: Count,
    /// The paths that differ or could not be compared, in tree order.
    pub differences: Vec<(String, Difference)>,
    /// The entries of either side that were skipped.
    pub skipped: Vec<Skipped>,
    /// The entries that were not looked at: see [`Selection`](crate::Selection).
    pub excluded: Excluded,
    /// The files and objects that could not be read.
    pub failures: Vec<Error>,
}

impl Verification {
    /// [`exit::SUCCESS`] if everything was compared and is the same, otherwise [`exit::PARTIAL`].
    pub fn exit_code(&self) -> u8 {
        let is_identical =
            self.differences.is_empty() && self.skipped.is_empty() && self.failures.is_empty();
        if is_identical { exit::SUCCESS } else { exit::PARTIAL }
    }

    fn add_difference(&mut self, path: &str, difference: Difference) {
        self.differences.push((path.to_owned(), difference));
    }

    /// Records a failure. Returns a fatal error instead, which ends the verification.
    fn fail(&mut self, error: Error, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        if error.is_fatal() {
            return Err(error);
        }
        on_event(Event::Failed(&error));
        self.failures.push(error);
        Ok(())
    }
}

/// Adds a pair to those to compare, unless the sizes differ.
fn add_pair(
    file: File,
    object: Object,
    pairs: &mut Vec<(File, Object)>,
    result: &mut Verification,
) {
    if file.size == object.size {
        pairs.push((file, object));
    } else {
        result.add_difference(&file.path, Difference::Size);
    }
}

/// What a verification works with.
pub(crate) struct Verifier<'a> {
    pub config: &'a Config,
    pub client: &'a Client,
    pub root: &'a Root,
    pub file_pool: &'a rayon::ThreadPool,
    pub cancel: &'a Cancel,
    /// Download objects whose content nothing else proves.
    pub read_data: bool,
}

impl Verifier<'_> {
    /// Compares the entries of both sides.
    pub(crate) fn verify(
        &self,
        scan: Scan,
        listing: Listing,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Verification> {
        let mut result = Verification::default();
        result.skipped.extend(scan.skipped);
        result.skipped.extend(listing.skipped);
        let joined = self.find_spellings(&scan.files, &listing.objects, on_event)?;
        let others: HashSet<&str> = joined.iter().map(|candidate| &*candidate.other).collect();
        let files: HashSet<&str> = joined.iter().map(|candidate| &*candidate.file.path).collect();
        let mut pairs = Vec::new();
        for pair in Merge::new(scan.files, listing.objects) {
            match pair {
                (Some(file), Some(object)) => add_pair(file, object, &mut pairs, &mut result),
                (Some(file), None) if !files.contains(&*file.path) => {
                    result.add_difference(&file.path, Difference::OnlyLocal);
                }
                (None, Some(object)) if !others.contains(&*object.path) => {
                    result.add_difference(&object.path, Difference::OnlyRemote);
                }
                _ => {}
            }
        }
        for Candidate { file, object, .. } in joined {
            add_pair(file, object, &mut pairs, &mut result);
        }
        let bytes = pairs.iter().map(|(file, _)| file.size).sum();
        on_event(Event::Stage(Stage::Comparing { entries: pairs.len() as u64, bytes }));
        let unproven = self.compare_by_etags(pairs, &mut result, on_event)?;
        let unreadable = self.find_archived(listing.archived, &unproven)?;
        self.compare_by_requests(unproven, &unreadable, &mut result, on_event)?;
        result.differences.sort_by(|a, b| tree_order(&a.0, &b.0));
        result.skipped.sort_by(|a, b| tree_order(&a.path, &b.path));
        Ok(result)
    }

    /// The files that the store has under another spelling of their names.
    fn find_spellings(
        &self,
        files: &[File],
        objects: &[Object],
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Vec<Candidate>> {
        let mut candidates = Spellings::find(Direction::Backup, files, objects).candidates;
        candidates.retain(|candidate| !candidate.is_taken);
        let (workers, bucket) = (self.config.transfer.workers, &self.config.bucket);
        let is_same =
            content::find_same_objects(self.client, bucket, workers, &candidates, self.cancel)?;
        let mut is_same = is_same.into_iter();
        candidates.retain(|_| is_same.next() == Some(true));
        // Of several files, only one can be the object.
        let mut found = HashSet::new();
        candidates.retain(|candidate| found.insert(candidate.other.clone()));
        let names: Vec<(&str, &str)> =
            candidates.iter().map(|candidate| (&*candidate.file.path, &*candidate.other)).collect();
        if let Some(text) = describe_spellings(&names, "the store") {
            on_event(Event::Warning(&text));
        }
        Ok(candidates)
    }

    /// Compares files with the ETags of the listing, which costs no request. Returns the pairs that the
    /// ETags do not prove to be the same.
    fn compare_by_etags(
        &self,
        pairs: Vec<(File, Object)>,
        result: &mut Verification,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Vec<(File, Object)>> {
        let compare = |(file, object): &(File, Object)| {
            self.compare(file, &Proof::of_etag(&object.etag)).map(|comparison| match file.size {
                // Two empty contents are equal, whatever the ETag is.
                0 => Comparison::Same,
                _ => comparison,
            })
        };
        let compared: Vec<_> = self.file_pool.install(|| pairs.par_iter().map(compare).collect());
        self.cancel.check()?;
        let mut unproven = Vec::new();
        for ((file, object), comparison) in pairs.into_iter().zip(compared) {
            match comparison {
                Ok(Comparison::Same) => result.same.add(file.size),
                // A mismatch proves nothing yet: the ETag may only look like an MD5.
                Ok(Comparison::Different | Comparison::Unknown) => unproven.push((file, object)),
                Err(error) => result.fail(error, on_event)?,
            }
        }
        Ok(unproven)
    }

    /// The archived objects that cannot be read, as far as they have to be.
    fn find_archived(
        &self,
        mut archived: Archived,
        unproven: &[(File, Object)],
    ) -> Result<Archived> {
        if !self.read_data || archived.is_empty() {
            return Ok(Archived::new());
        }
        let objects: Vec<&Object> = unproven.iter().map(|(_, object)| object).collect();
        let (workers, bucket) = (self.config.transfer.workers, &self.config.bucket);
        let (client, cancel) = (self.client, self.cancel);
        content::remove_readable(client, bucket, workers, &mut archived, &objects, cancel)?;
        Ok(archived)
    }

    /// Compares files with what the server returns for their objects one by one. The archived objects
    /// `unreadable` are not downloaded.
    fn compare_by_requests(
        &self,
        pairs: Vec<(File, Object)>,
        unreadable: &Archived,
        result: &mut Verification,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let fatal: Cell<Option<Error>> = Cell::new(None);
        let has_failed = Cell::new(false);
        let compare = |(file, object): (File, Object)| {
            let is_archived = unreadable.contains_key(&object.path);
            let comparison = self.compare_by_request(&file, &object, is_archived);
            (file, comparison, is_archived)
        };
        let mut archived = Count::default();
        let pairs =
            pairs.into_iter().take_while(|_| !self.cancel.is_cancelled() && !has_failed.get());
        let pairs = pairs.chain(iter::from_fn(|| {
            self.client.set_phase_ending(true);
            None
        }));
        let workers = self.config.transfer.workers;
        self.client.start_phase(workers);
        let limit = || self.client.limit();
        worker_pool::for_each(
            workers,
            &limit,
            pairs,
            &compare,
            |(file, comparison, is_archived)| {
                if is_archived && matches!(comparison, Ok(Comparison::Unknown)) {
                    archived.add(file.size);
                }
                match comparison {
                    Ok(Comparison::Same) => result.same.add(file.size),
                    Ok(Comparison::Different) => {
                        result.add_difference(&file.path, Difference::Content);
                    }
                    Ok(Comparison::Unknown) => {
                        result.add_difference(&file.path, Difference::Unknown)
                    }
                    Err(error) => {
                        if let Err(error) = result.fail(error, on_event) {
                            has_failed.set(true);
                            fatal.set(fatal.take().or(Some(error)));
                        }
                    }
                }
            },
        );
        self.cancel.check()?;
        if archived.entries > 0 {
            on_event(Event::Warning(&describe_archived(archived)));
        }
        fatal.take().map_or(Ok(()), Err)
    }

    /// Compares a file with the checksum that a HEAD returns. If that proves nothing and `read_data` is
    /// set, downloads the object.
    fn compare_by_request(
        &self,
        file: &File,
        object: &Object,
        is_archived: bool,
    ) -> Result<Comparison> {
        let key = self.config.bucket.key(&object.path);
        let head = self.client.head(&key)?;
        let proof = Proof::of_head(&head);
        let mut comparison = self.compare(file, &proof)?;
        if let (Comparison::Unknown, Proof::Parts(_, parts @ 2..)) = (comparison, &proof) {
            let known = self.client.first_part_size(&key, *parts)?;
            let proof = proof.with_unusual_part_sizes(file.size, known);
            comparison = self.compare(file, &proof)?;
        }
        let version = Version::listed(object);
        if comparison == Comparison::Different && !version.has_listed_etag(&head) {
            let by_etag = |head: &Head| self.compare(file, &Proof::of_etag(&head.etag));
            match proof {
                // The checksum may be wrong.
                Proof::Checksum(..) if !head.opaque_etag && by_etag(&head)? == Comparison::Same => {
                    comparison = Comparison::Same;
                }
                // The store has several ETags for the object, so they are not MD5s.
                Proof::Md5(_) if object.etag != ETag::None => comparison = Comparison::Unknown,
                _ => {}
            }
        }
        if comparison != Comparison::Unknown || !self.read_data || is_archived {
            return Ok(comparison);
        }
        let open = content::open(self.root, file)?;
        let mut sink = CompareSink::new(&open);
        self.client.get(&key, &version, &mut sink)?;
        content::check_unchanged(file, &open)?;
        Ok(if sink.differs { Comparison::Different } else { Comparison::Same })
    }

    fn compare(&self, file: &File, proof: &Proof) -> Result<Comparison> {
        let part_size = self.config.transfer.part_size;
        content::compare_scanned(self.root, file, proof, part_size, self.cancel)
    }
}
