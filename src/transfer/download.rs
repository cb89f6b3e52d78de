//! Downloads: into a temporary file next to the final path, verified, and renamed later, in
//! batches, once the content is on disk.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use crate::{
    content::{self, CompareSink, Comparison, PartSums, Proof},
    error::{Cause, Error, Result},
    local::{self, AccessSource, Expected, FileState, ParentCache, Temporary},
    model::{direction::Direction, entry::Object, etag::ETag},
    plan::Transfer,
    s3::{
        Hasher, Head, Sink,
        parts::{part_count, part_range, part_size},
    },
    transfer::{
        context::RunContext,
        holes,
        steps::{Steps, Transferred},
    },
};

/// How many bytes of a part to receive before the system starts to write them to disk. The flush at
/// the end then takes less time.
const WRITEBACK_BYTES: u64 = 4 << 20;

/// The size of the largest file for which disk space is reserved, so that workers who write to it at the
/// same time need not wait for each other's allocations. A larger one may be a mostly empty disk image,
/// and other programs need the space as well.
const MAX_RESERVED: u64 = 1 << 30;

/// The steps of a download.
pub(super) struct Downloader<'a> {
    pub context: &'a RunContext<'a>,
}

/// A download in parts.
pub(super) struct PartDownload {
    object: Object,
    key: String,
    expected: Expected,
    access: AccessSource,
    part_size: u64,
    proof: Proof,
    /// `None` if the checksums of the parts cannot prove the whole.
    sums: Option<PartSums>,
    /// Taken by the last step.
    temporary: Mutex<Option<Temporary>>,
    file: File,
    is_sparse: bool,
    is_reserved: bool,
}

impl PartDownload {
    fn take_temporary(&self) -> Option<Temporary> {
        self.temporary.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Steps for Downloader<'_> {
    type Handle = PartDownload;

    fn small(&self, transfer: &Transfer, cache: &mut ParentCache) -> Result<Transferred> {
        let object = planned_object(transfer)?;
        let temporary = self.create_temporary(transfer, cache)?;
        let file = &temporary.file;
        let key = self.context.key(&object.path);
        let output = Output::new(self.context, file, temporary.is_sparse);
        let mut sink = SmallSink { output, verification: None };
        self.context.client.get(&key, &object.etag, object.size, 0..object.size, &mut sink)?;
        let checked = match sink.verification {
            Some((proof, Some(hasher))) => {
                proof.matches(&hasher.finish())
                    || self.confirm_mismatch(&key, object, file, &proof)?
            }
            Some((proof, None)) => self.verify(&key, object, file, &proof)?,
            None => false,
        };
        let complete = temporary
            .complete(
                self.context.root,
                &object.path,
                expected_target(transfer),
                object.modified,
                &self.access_source(transfer),
            )
            .map_err(|cause| Error::new("download", &*object.path, cause))?;
        Ok(Transferred::downloaded(object.size, checked, Some(complete)))
    }

    fn start(&self, transfer: &Transfer) -> Result<PartDownload> {
        let mut object = planned_object(transfer)?.clone();
        let key = self.context.key(&object.path);
        let head = self.context.client.head(&key)?;
        let proof = Proof::of_head(&head);
        if object.etag == ETag::None {
            // Some listings have no ETags, and all parts must be of the same version.
            object.etag = head.etag;
        }
        let temporary = self.create_temporary(transfer, &mut ParentCache::default())?;
        let fail = |error| Error::new("create file", transfer.path(), Cause::from(error));
        let file = temporary.file.try_clone().map_err(fail)?;
        let is_reserved = temporary.is_sparse && object.size <= MAX_RESERVED;
        if is_reserved {
            local::reserve_space(&file, object.size);
        }
        let part_size = part_size(object.size, self.context.config.transfer.part_size);
        Ok(PartDownload {
            sums: PartSums::new(&proof, part_count(object.size, part_size)),
            object,
            key,
            expected: expected_target(transfer),
            access: self.access_source(transfer),
            part_size,
            proof,
            is_sparse: temporary.is_sparse,
            is_reserved,
            temporary: Mutex::new(Some(temporary)),
            file,
        })
    }

    fn part_count(&self, download: &PartDownload) -> u64 {
        part_count(download.object.size, download.part_size)
    }

    fn part(&self, download: &PartDownload, index: u64) -> Result<()> {
        let PartDownload { object, key, file, sums, .. } = download;
        let range = part_range(object.size, download.part_size, index);
        let hasher = sums.as_ref().map(PartSums::hasher);
        let mut output = Output::new(self.context, file, download.is_sparse);
        output.is_reserved = download.is_reserved;
        let mut sink = PartSink { output, hasher, writeback_start: range.start };
        self.context.client.get(key, &object.etag, object.size, range.clone(), &mut sink)?;
        sink.output.release_zeros(range.end);
        if let (Some(sums), Some(hasher)) = (sums, sink.hasher) {
            sums.add(index, hasher, range.end - range.start);
        }
        Ok(())
    }

    fn complete(&self, download: &PartDownload) -> Result<Transferred> {
        let PartDownload { object, key, file, proof, sums, expected, access, .. } = download;
        let is_proven = sums.as_ref().is_some_and(PartSums::match_proof);
        let checked = is_proven || self.verify(key, object, file, proof)?;
        let complete = download
            .take_temporary()
            .map(|temporary| {
                let root = self.context.root;
                temporary.complete(root, &object.path, *expected, object.modified, access)
            })
            .transpose()
            .map_err(|cause| Error::new("download", &*object.path, cause))?;
        Ok(Transferred::downloaded(object.size, checked, complete))
    }

    fn abort(&self, download: &PartDownload) -> Result<()> {
        // Dropping the temporary file removes it.
        drop(download.take_temporary());
        Ok(())
    }
}

impl Downloader<'_> {
    fn create_temporary(&self, transfer: &Transfer, cache: &mut ParentCache) -> Result<Temporary> {
        let path = transfer.path();
        let is_private = !matches!(self.access_source(transfer), AccessSource::Directory);
        let size = transfer.size(Direction::Restore);
        self.context
            .root
            .temporary(path, is_private, size, cache)
            .map_err(|error| Error::new("create file", path, error))
    }

    fn access_source(&self, transfer: &Transfer) -> AccessSource {
        let target = transfer.file.as_ref().map(|file| &file.target);
        match (target, self.context.config.file_mode) {
            (Some(Some(target)), _) => AccessSource::Target(target.clone()),
            (Some(None), _) => AccessSource::Replaced,
            (None, Some(mode)) => AccessSource::Mode(mode),
            (None, None) => AccessSource::Directory,
        }
    }

    /// Reads a downloaded file and compares it with `proof`. Returns whether it was verified:
    /// `false` if the proof is inconclusive. A mismatch is an error.
    fn verify(&self, key: &str, object: &Object, file: &File, proof: &Proof) -> Result<bool> {
        let part_size = self.context.config.transfer.part_size;
        match content::compare(file, object.size, proof, part_size, self.context.cancel) {
            Ok(Comparison::Same) => Ok(true),
            Ok(Comparison::Unknown) => Ok(false),
            Ok(Comparison::Different) => self.confirm_mismatch(key, object, file, proof),
            Err(cause) => Err(Error::new("download", &*object.path, cause)),
        }
    }

    /// Decides about a file that does not match `proof`: it is corrupt, which is an error, or it
    /// could not be verified, which returns `false`.
    ///
    /// A checksum is final. An ETag may only look like an MD5, so the object is downloaded again:
    /// if the same bytes arrive twice, they were not corrupted in transit.
    fn confirm_mismatch(
        &self,
        key: &str,
        object: &Object,
        file: &File,
        proof: &Proof,
    ) -> Result<bool> {
        if let Proof::Md5(_) = proof {
            let mut sink = CompareSink::new(file);
            self.context.client.get(key, &object.etag, object.size, 0..object.size, &mut sink)?;
            if !sink.differs {
                return Ok(false);
            }
        }
        let cause = "the downloaded bytes do not match the object's checksum";
        Err(Error::new("download", &*object.path, Cause::Corrupt(cause.to_owned())))
    }
}

fn planned_object(transfer: &Transfer) -> Result<&Object> {
    transfer.object.as_ref().ok_or_else(|| {
        let cause = Cause::Config("the plan contains no object for this path".to_owned());
        Error::new("download", transfer.path(), cause)
    })
}

/// What the path of a download must hold when the file is renamed.
fn expected_target(transfer: &Transfer) -> Expected {
    match &transfer.file {
        None => Expected::Nothing,
        Some(file) if file.target.is_some() => Expected::Link,
        Some(file) => Expected::File(FileState::of_scanned(file)),
    }
}

/// Writes a small object to a file and hashes it.
struct SmallSink<'a> {
    output: Output<'a>,
    /// The proof of the content, and the hasher for it, once the first response has started.
    verification: Option<(Proof, Option<Hasher>)>,
}

impl Sink for SmallSink<'_> {
    fn head(&mut self, head: &Head) {
        // A download that continues after a broken connection continues hashing.
        self.verification.get_or_insert_with(|| {
            let proof = Proof::of_head(head);
            let hasher = proof.hasher();
            (proof, hasher)
        });
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        if let Some((_, Some(hasher))) = &mut self.verification {
            hasher.update(bytes);
        }
        self.output.write(offset, bytes)
    }
}

/// Writes a part to a file, and hashes it if the checksums of the parts can prove the whole.
struct PartSink<'a> {
    output: Output<'a>,
    hasher: Option<Hasher>,
    /// The bytes of the part before this offset are already being written to disk.
    writeback_start: u64,
}

impl Sink for PartSink<'_> {
    fn head(&mut self, _: &Head) {}

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        let (context, file) = (self.output.context, self.output.file);
        self.output.write(offset, bytes)?;
        // Without a hasher, the file is read again to verify it, and should stay in the page cache.
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
            let end = offset + bytes.len() as u64;
            if end - self.writeback_start >= WRITEBACK_BYTES && !context.config.transfer.no_sync {
                local::start_writeback(file, self.writeback_start..end);
                self.writeback_start = end;
            }
        }
        Ok(())
    }
}

/// The file that a download is written to.
struct Output<'a> {
    context: &'a RunContext<'a>,
    file: &'a File,
    is_sparse: bool,
    /// Whether disk space may be reserved for the file. It is released where zeros belong.
    is_reserved: bool,
    /// The zeros at the end of what was received so far.
    zeros: Range<u64>,
}

impl<'a> Output<'a> {
    fn new(context: &'a RunContext<'a>, file: &'a File, is_sparse: bool) -> Output<'a> {
        Output { context, file, is_sparse, is_reserved: false, zeros: 0..0 }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        let end = offset + bytes.len() as u64;
        if self.is_sparse {
            if self.zeros.end != offset {
                self.zeros = offset..offset;
            }
            for (offset, data) in holes::data(offset, bytes) {
                self.release_zeros(offset);
                self.file.write_all_at(data, offset)?;
                self.zeros.start = offset + data.len() as u64;
            }
            self.zeros.end = end;
        } else {
            self.file.write_all_at(bytes, offset)?;
        }
        self.context.bytes_done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Releases the space reserved for the zeros that end at `end`.
    fn release_zeros(&self, end: u64) {
        if self.is_reserved && self.zeros.start < end {
            local::release_space(self.file, self.zeros.start..end);
        }
    }
}
