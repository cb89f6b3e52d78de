//! Undecided pairs: size, times and record cannot decide, so the contents are compared.
//!
//! 1. Each file is read and compared with the ETag of its object. This costs no request.
//! 2. An ETag that does not match may only look like an MD5, and that of an upload in parts depends on
//!    the part size. So each file that does not match is compared with the checksum that the store
//!    keeps, which costs one HEAD.

use std::{cell::RefCell, collections::HashMap};

use rayon::prelude::*;

use crate::{
    cancel::Cancel,
    content::{
        compare::{Comparison, compare_for_record},
        proof::Proof,
    },
    error::{Cause, Error, Result},
    local::{Preparation, Root},
    model::{
        bucket_url::BucketUrl,
        direction::Direction,
        entry::{File, Object},
        etag::ETag,
    },
    plan::{
        Reason, Transfer,
        rule::{Policy, decide_without_comparison},
    },
    record::{Facts, Recorded, RecordedState},
    s3::{Client, Version},
    worker_pool,
};

/// After this many requests in a row that failed because of the network, the run gives up.
const MAX_NETWORK_FAILURES: u32 = 100;

/// Compares the contents of undecided pairs.
pub(crate) struct Comparer<'a> {
    pub direction: Direction,
    pub policy: &'a Policy,
    pub file_pool: &'a rayon::ThreadPool,
    pub root: &'a Root,
    pub client: &'a Client,
    pub bucket: &'a BucketUrl,
    pub part_size: u64,
    /// The most requests in flight.
    pub workers: usize,
    pub cancel: &'a Cancel,
    /// Receives the pairs that have the same content.
    pub facts: &'a Facts,
    /// The recorded ETags of files that are as recorded, whose objects have none or another one in the
    /// listing.
    pub recorded: &'a HashMap<Box<str>, ETag>,
}

/// The outcome of comparing one pair.
#[derive(Clone, Copy)]
enum Outcome {
    Compared(Comparison, Option<RecordedState>),
    /// The file could not be read.
    Failed,
}

impl Comparer<'_> {
    /// For each pair, why it has to be transferred, or `None` if it is kept.
    ///
    /// # Errors
    /// A request failed with a fatal error, or the run was cancelled.
    pub(crate) fn compare_contents(&self, undecided: &[Transfer]) -> Result<Vec<Option<Reason>>> {
        let files = undecided.iter().filter_map(|pair| pair.file.as_ref());
        let preparation = self.root.prepare_reading(files);
        let compare = |pair: &Transfer| match (&pair.file, &pair.object) {
            (Some(file), Some(object)) => {
                self.compare(file, &Proof::of_etag(&object.etag), preparation)
            }
            _ => Outcome::Failed,
        };
        let mut outcomes: Vec<Outcome> =
            self.file_pool.install(|| undecided.par_iter().map(compare).collect());
        self.cancel.check()?;
        self.compare_by_checksums(undecided, &mut outcomes, preparation)?;
        self.cancel.check()?;
        let reason = |(pair, outcome): (&Transfer, Outcome)| {
            let (Some(file), Some(object)) = (&pair.file, &pair.object) else {
                return Some(Reason::Doubt);
            };
            match outcome {
                Outcome::Compared(Comparison::Same, state) => {
                    self.learn(object, state);
                    None
                }
                Outcome::Compared(Comparison::Different, _) => Some(Reason::Content),
                Outcome::Compared(Comparison::Unknown, _) => {
                    decide_without_comparison(self.direction, file, object, self.policy)
                }
                Outcome::Failed => Some(Reason::Doubt),
            }
        };
        Ok(undecided.iter().zip(outcomes).map(reason).collect())
    }

    fn compare(&self, file: &File, proof: &Proof, preparation: Preparation) -> Outcome {
        let (part_size, cancel) = (self.part_size, self.cancel);
        match compare_for_record(self.root, file, proof, part_size, preparation, cancel) {
            // Two empty contents are equal, whatever the ETag is.
            Ok((_, state)) if file.size == 0 => Outcome::Compared(Comparison::Same, state),
            Ok((comparison, state)) => Outcome::Compared(comparison, state),
            Err(_) => Outcome::Failed,
        }
    }

    /// Compares the files that their ETags do not prove to be the same with the checksums of the store.
    fn compare_by_checksums(
        &self,
        undecided: &[Transfer],
        outcomes: &mut [Outcome],
        preparation: Preparation,
    ) -> Result<()> {
        let is_unproven = |outcome: &Outcome| {
            matches!(outcome, Outcome::Compared(Comparison::Different | Comparison::Unknown, _))
        };
        let unproven: Vec<(usize, &File, &Object, Outcome)> = undecided
            .iter()
            .zip(&*outcomes)
            .enumerate()
            .filter(|(_, (_, outcome))| is_unproven(outcome))
            .filter_map(|(n, (pair, outcome))| {
                Some((n, pair.file.as_ref()?, pair.object.as_ref()?, *outcome))
            })
            .collect();
        if unproven.is_empty() {
            return Ok(());
        }
        let fatal: RefCell<Option<Error>> = RefCell::new(None);
        let mut network_failures = 0;
        let workers = self.workers.min(unproven.len());
        self.client.start_phase(workers);
        let limit = || self.client.limit();
        let compare = |(n, file, object, outcome): (usize, &File, &Object, Outcome)| {
            (n, self.compare_by_checksum(file, object, outcome, preparation))
        };
        let pairs = unproven
            .into_iter()
            .take_while(|_| !self.cancel.is_cancelled() && fatal.borrow().is_none());
        worker_pool::for_each(workers, &limit, pairs, &compare, |(n, result)| match result {
            Ok(outcome) => {
                outcomes[n] = outcome;
                network_failures = 0;
            }
            Err(error) => {
                network_failures += u32::from(matches!(error.cause(), Cause::Network(_)));
                if error.is_fatal() || network_failures >= MAX_NETWORK_FAILURES {
                    fatal.borrow_mut().get_or_insert(error);
                }
                // Otherwise, the permission may be missing. What the ETag said remains.
            }
        });
        fatal.into_inner().map_or(Ok(()), Err)
    }

    fn compare_by_checksum(
        &self,
        file: &File,
        object: &Object,
        by_etag: Outcome,
        preparation: Preparation,
    ) -> Result<Outcome> {
        let key = self.bucket.key(&object.path);
        let (head, version) = (self.client.head(&key)?, Version::listed(object));
        if !version.is_described_by(&head) {
            // It was replaced after the listing.
            return Ok(Outcome::Compared(Comparison::Unknown, None));
        }
        let is_listed = version.has_listed_etag(&head);
        let proof = Proof::of_head(&head);
        let outcome = match (&proof, by_etag) {
            (Proof::Checksum(..), _) => match self.compare(file, &proof, preparation) {
                // The checksum may be wrong, and the ETag of the listing missing.
                Outcome::Compared(Comparison::Different, _) if !is_listed && !head.opaque_etag => {
                    match self.compare(file, &Proof::of_etag(&head.etag), preparation) {
                        Outcome::Compared(Comparison::Unknown, state) => {
                            Outcome::Compared(Comparison::Different, state)
                        }
                        other => other,
                    }
                }
                other => other,
            },
            // The ETag that did not match is not an MD5.
            (Proof::None, _) => Outcome::Compared(Comparison::Unknown, None),
            (Proof::Parts(_, parts), _) => {
                let tried = match by_etag {
                    outcome if is_listed => outcome,
                    _ => self.compare(file, &proof, preparation),
                };
                match tried {
                    Outcome::Compared(Comparison::Unknown, _) if *parts > 1 => {
                        let known = self.client.first_part_size(&key, *parts)?;
                        let proof = proof.with_unusual_part_sizes(file.size, known);
                        self.compare(file, &proof, preparation)
                    }
                    other => other,
                }
            }
            (_, outcome) if is_listed => outcome,
            _ => self.compare(file, &proof, preparation),
        };
        Ok(match outcome {
            // It is the recorded object, although the listing has another ETag for it.
            Outcome::Compared(Comparison::Unknown | Comparison::Different, _)
                if !matches!(proof, Proof::Checksum(..))
                    && self.is_recorded(&object.path, &head.etag) =>
            {
                Outcome::Compared(Comparison::Same, None)
            }
            // The store has several ETags for the object, so they are not MD5s.
            Outcome::Compared(Comparison::Different, _)
                if !is_listed && object.etag != ETag::None && matches!(proof, Proof::Md5(_)) =>
            {
                Outcome::Compared(Comparison::Unknown, None)
            }
            // An ETag is recorded only if it was seen together with the content.
            Outcome::Compared(comparison, _) if !is_listed => Outcome::Compared(comparison, None),
            other => other,
        })
    }

    /// Whether the record has this ETag for a file that is as recorded.
    fn is_recorded(&self, path: &str, etag: &ETag) -> bool {
        self.recorded.get(path).is_some_and(|recorded| recorded.is_same(etag))
    }

    fn learn(&self, object: &Object, state: Option<RecordedState>) {
        if let Some(state) = state
            && object.etag != ETag::None
        {
            let (path, etag) = (object.path.clone(), object.etag.clone());
            self.facts.add(Recorded { path, state, etag });
        }
    }
}
