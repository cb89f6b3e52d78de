//! Downloads: into a temporary file next to the final path, verified, and renamed later, in
//! batches, once the content is on disk.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    content::{self, CompareSink, Comparison, Evidence, PartSums, Proof},
    error::{Cause, Error, Result},
    local::{self, AccessSource, Expected, FileState, ParentCache, Temporary},
    model::{direction::Direction, entry::Object, etag::ETag},
    plan::Transfer,
    s3::{
        Hasher, Head, Received, Sink, Version,
        parts::{part_count, part_range, part_size},
    },
    transfer::{
        context::RunContext,
        holes,
        steps::{Checked, Steps, Transferred},
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
    version: Version,
    key: String,
    expected: Expected,
    access: AccessSource,
    part_size: u64,
    evidence: Evidence,
    /// `None` if the checksums of the parts cannot prove the whole.
    sums: Option<PartSums>,
    /// Taken by the last step.
    temporary: Mutex<Option<Temporary>>,
    file: File,
    is_sparse: bool,
    is_reserved: bool,
    /// Whether the last step downloads the object in one GET: the store does not return its parts.
    needs_whole: AtomicBool,
    /// The bytes of the parts that were received.
    received: AtomicU64,
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
        let key = self.context.key(&object.path);
        let version = Version::listed(object);
        let checked =
            self.get_whole(&key, object, &version, &temporary.file, temporary.is_sparse)?;
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
        let object = planned_object(transfer)?.clone();
        let key = self.context.key(&object.path);
        let head = self.context.client.head(&key)?;
        let version = Version::listed(&object);
        if !version.is_described_by(&head) && !version.may_be_recoded(&head) {
            return Err(Error::new("download", &*object.path, Cause::OBJECT_REPLACED));
        }
        if head.is_decoded {
            version.accept_encodings();
        }
        let evidence = Evidence::new(&head, &object.etag);
        let temporary = self.create_temporary(transfer, &mut ParentCache::default())?;
        let fail = |error| Error::new("create file", transfer.path(), Cause::from(error));
        let file = temporary.file.try_clone().map_err(fail)?;
        // Only an ETag shows that two responses are for the same version.
        let is_whole = head.etag == ETag::None || !self.context.client.returns_ranges();
        let is_reserved = temporary.is_sparse && object.size <= MAX_RESERVED && !is_whole;
        if is_reserved {
            local::reserve_space(&file, object.size);
        }
        let part_size = match is_whole {
            true => object.size,
            false => part_size(object.size, self.context.config.transfer.part_size),
        };
        let sums = PartSums::new(&evidence.proof, part_count(object.size, part_size));
        Ok(PartDownload {
            sums,
            version,
            object,
            key,
            expected: expected_target(transfer),
            access: self.access_source(transfer),
            part_size,
            evidence,
            is_sparse: temporary.is_sparse,
            is_reserved,
            temporary: Mutex::new(Some(temporary)),
            file,
            needs_whole: AtomicBool::new(is_whole),
            received: AtomicU64::new(0),
        })
    }

    fn part_count(&self, download: &PartDownload) -> u64 {
        part_count(download.object.size, download.part_size)
    }

    fn part(&self, download: &PartDownload, index: u64) -> Result<()> {
        if !self.context.client.returns_ranges() && download.received.load(Ordering::Relaxed) == 0 {
            download.needs_whole.store(true, Ordering::Relaxed);
        }
        if download.needs_whole.load(Ordering::Relaxed) {
            return Ok(());
        }
        let PartDownload { object, version, key, file, sums, .. } = download;
        let range = part_range(object.size, download.part_size, index);
        let hasher = sums.as_ref().map(PartSums::hasher);
        let mut output = Output::new(self.context, file, download.is_sparse);
        output.is_reserved = download.is_reserved;
        let mut sink = PartSink { output, hasher, writeback_start: range.start };
        let received = self.context.client.get_range(key, version, range.clone(), &mut sink)?;
        download.received.fetch_add(sink.output.written, Ordering::Relaxed);
        if received == Received::Nothing {
            download.needs_whole.store(true, Ordering::Relaxed);
            return Ok(());
        }
        sink.output.release_zeros(range.end);
        if let (Some(sums), Some(hasher)) = (sums, sink.hasher) {
            sums.add(index, hasher, range.end - range.start);
        }
        Ok(())
    }

    fn complete(&self, download: &PartDownload) -> Result<Transferred> {
        let PartDownload { object, version, key, file, sums, .. } = download;
        let checked = if download.needs_whole.load(Ordering::Relaxed) {
            let received = download.received.load(Ordering::Relaxed);
            self.context.bytes_done.fetch_sub(received, Ordering::Relaxed);
            // Zeros are not written, so what parts have written must go.
            let is_empty = received == 0 && !download.is_reserved;
            if download.is_sparse && !is_empty {
                clear(file, object.size)
                    .map_err(|cause| Error::new("download", &*object.path, cause))?;
            }
            self.get_whole(key, object, version, file, download.is_sparse)?
        } else if sums.as_ref().is_some_and(PartSums::match_proof) {
            let ignores_checksum = download.evidence.has_bad_checksum;
            let has_listed_etag = version.is_confirmed_by_etag();
            Checked { is_verified: true, ignores_checksum, has_listed_etag }
        } else {
            self.verify(key, object, version, file, &download.evidence, None)?
        };
        let complete = download
            .take_temporary()
            .map(|temporary| {
                let (root, access) = (self.context.root, &download.access);
                let expected = download.expected;
                temporary.complete(root, &object.path, expected, object.modified, access)
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

    /// Downloads an object in one GET, and verifies it.
    fn get_whole(
        &self,
        key: &str,
        object: &Object,
        version: &Version,
        file: &File,
        is_sparse: bool,
    ) -> Result<Checked> {
        let output = Output::new(self.context, file, is_sparse);
        let mut sink = WholeSink { output, object, verification: None };
        self.context.client.get(key, version, &mut sink)?;
        let missing = || {
            let cause = Cause::Malformed("no response was read".to_owned());
            Error::new("download", &*object.path, cause)
        };
        let (evidence, hasher) = sink.verification.ok_or_else(missing)?;
        let digest = hasher.map(Hasher::finish);
        self.verify(key, object, version, file, &evidence, digest)
    }

    /// Verifies a downloaded file. `digest` is that of [`Proof::hasher`]; without it, the file is read.
    ///
    /// An ETag that matches is final. So is a checksum that does not match, unless an ETag does.
    /// An ETag that does not match may only look like an MD5, so the object is downloaded again: if the same
    /// bytes arrive twice, they were not corrupted in transit. The same holds if there is only a checksum
    /// that is malformed.
    fn verify(
        &self,
        key: &str,
        object: &Object,
        version: &Version,
        file: &File,
        evidence: &Evidence,
        digest: Option<Vec<u8>>,
    ) -> Result<Checked> {
        let fail = |cause| Error::new("download", &*object.path, cause);
        let (size, cancel) = (object.size, self.context.cancel);
        let part_size = self.context.config.transfer.part_size;
        let proof = &evidence.proof;
        let comparison = match digest {
            Some(digest) if proof.matches(&digest) => Comparison::Same,
            Some(_) => Comparison::Different,
            None => content::compare(file, size, proof, part_size, cancel).map_err(fail)?,
        };
        let mut checked = Checked {
            is_verified: comparison == Comparison::Same,
            ignores_checksum: evidence.has_bad_checksum,
            has_listed_etag: version.is_confirmed_by_etag(),
        };
        if checked.is_verified {
            return Ok(checked);
        }
        let mut is_proven = evidence.match_etag(file, size, part_size, cancel).map_err(fail)?;
        if !is_proven && let Some(parts) = evidence.parts() {
            let known = self.context.client.first_part_size(key, parts)?;
            is_proven = evidence.match_unusual_parts(file, size, known, cancel).map_err(fail)?;
        }
        if is_proven {
            checked.is_verified = true;
            checked.ignores_checksum |= matches!(proof, Proof::Checksum(..));
            return Ok(checked);
        }
        if comparison == Comparison::Unknown && !evidence.has_bad_checksum {
            return Ok(checked);
        }
        if comparison == Comparison::Unknown || matches!(proof, Proof::Md5(_)) {
            let mut sink = CompareSink::new(file);
            self.context.client.get(key, version, &mut sink)?;
            if !sink.differs {
                return Ok(checked);
            }
        }
        let cause = "the downloaded bytes do not match the object's checksum";
        Err(fail(Cause::Corrupt(cause.to_owned())))
    }
}

/// Makes a file of `size` bytes read as zeros again.
fn clear(file: &File, size: u64) -> Result<(), Cause> {
    file.set_len(0)?;
    Ok(file.set_len(size)?)
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

/// Writes an object to a file and hashes it.
struct WholeSink<'a> {
    output: Output<'a>,
    object: &'a Object,
    /// The evidence for the content, and the hasher for its proof, once the first response has started.
    verification: Option<(Evidence, Option<Hasher>)>,
}

impl Sink for WholeSink<'_> {
    fn head(&mut self, head: &Head) {
        // A download that continues after a broken connection continues hashing.
        self.verification.get_or_insert_with(|| {
            let evidence = Evidence::new(head, &self.object.etag);
            let hasher = evidence.proof.hasher();
            (evidence, hasher)
        });
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        if let Some((_, Some(hasher))) = &mut self.verification {
            hasher.update(bytes);
        }
        self.output.write(offset, bytes)
    }

    fn restart(&mut self) -> Result<(), Cause> {
        self.verification = None;
        self.output.restart(self.object.size)
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

    fn restart(&mut self) -> Result<(), Cause> {
        // Parts of one version have an ETag, so they are resumed.
        Err(Cause::closed_early())
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
    /// The bytes that were received so far.
    written: u64,
}

impl<'a> Output<'a> {
    fn new(context: &'a RunContext<'a>, file: &'a File, is_sparse: bool) -> Output<'a> {
        Output { context, file, is_sparse, is_reserved: false, zeros: 0..0, written: 0 }
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
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Forgets the bytes of an object of `size` bytes that were received so far.
    fn restart(&mut self, size: u64) -> Result<(), Cause> {
        self.context.bytes_done.fetch_sub(self.written, Ordering::Relaxed);
        (self.written, self.zeros) = (0, 0..0);
        if self.is_sparse { clear(self.file, size) } else { Ok(()) }
    }

    /// Releases the space reserved for the zeros that end at `end`.
    fn release_zeros(&self, end: u64) {
        if self.is_reserved && self.zeros.start < end {
            local::release_space(self.file, self.zeros.start..end);
        }
    }
}
