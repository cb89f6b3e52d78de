//! Object to file: into a temporary file beside the final name, checked, and only then renamed, in
//! batches, once the bytes are on the disk.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Mutex, atomic::Ordering},
};

use super::{Moved, Mover, RunContext};
use crate::{
    content::{self, CompareSink, Comparison, PartSums, Proof},
    error::{Cause, Error, Result},
    local::{self, Expected, FileState, ParentCache, Temporary},
    model::{entry::Object, etag::ETag},
    plan::Transfer,
    s3::{
        Hasher, Head, Sink,
        parts::{part_range, part_size},
    },
};

pub(super) struct Downloader<'a>(pub &'a RunContext<'a>);

/// A download in ranges under way.
pub(super) struct Download {
    object: Object,
    key: String,
    expected: Expected,
    part_size: u64,
    proof: Proof,
    sums: Option<PartSums>,
    /// Taken by the last step.
    temporary: Mutex<Option<Temporary>>,
    file: File,
}

fn planned(transfer: &Transfer) -> Result<&Object> {
    transfer.object.as_ref().ok_or_else(|| {
        Error::new("download", transfer.path(), Cause::Config("no object is planned".to_owned()))
    })
}

fn expected(transfer: &Transfer) -> Expected {
    match &transfer.file {
        None => Expected::Nothing,
        Some(file) if file.target.is_some() => Expected::Link,
        Some(file) => Expected::File(FileState::of_scanned(file)),
    }
}

impl Mover for Downloader<'_> {
    type Large = Download;

    fn whole(&self, transfer: &Transfer, cache: &mut ParentCache) -> Result<Moved> {
        let object = planned(transfer)?;
        let temporary = self.temporary(transfer, cache)?;
        let key = self.0.key(&object.path);
        let mut sink = Checked { context: self.0, file: &temporary.file, state: None };
        self.0.client.get(&key, &object.etag, object.size, 0..object.size, &mut sink)?;
        let checked = match sink.state {
            Some((proof, Some(hasher))) => {
                proof.matches(&hasher.finish())
                    || self.second_opinion(&key, object, &temporary.file, &proof)?
            }
            Some((proof, None)) => self.compare(&key, object, &temporary.file, &proof)?,
            None => false,
        };
        let complete = temporary
            .complete(&object.path, expected(transfer), object.modified)
            .map_err(|cause| Error::new("download", &*object.path, cause))?;
        Ok(Moved { bytes: object.size, checked, complete: Some(complete) })
    }

    fn begin(&self, transfer: &Transfer) -> Result<Download> {
        let mut object = planned(transfer)?.clone();
        let key = self.0.key(&object.path);
        let head = self.0.client.head(&key)?;
        let proof = Proof::of_head(&head);
        if object.etag == ETag::None {
            // Not every listing names it, and all ranges have to be of one version.
            object.etag = head.etag;
        }
        let temporary = self.temporary(transfer, &mut ParentCache::default())?;
        let fail = |error| Error::new("create file", transfer.path(), Cause::from(error));
        temporary.file.set_len(object.size).map_err(fail)?;
        let file = temporary.file.try_clone().map_err(fail)?;
        let part_size = part_size(object.size, self.0.config.transfer.part_size);
        Ok(Download {
            sums: PartSums::new(&proof, object.size.div_ceil(part_size)),
            object,
            key,
            expected: expected(transfer),
            part_size,
            proof,
            temporary: Mutex::new(Some(temporary)),
            file,
        })
    }

    fn pieces(&self, download: &Download) -> u64 {
        download.object.size.div_ceil(download.part_size)
    }

    fn piece(&self, download: &Download, index: u64) -> Result<()> {
        let Download { object, key, .. } = download;
        let range = part_range(object.size, download.part_size, index);
        let hasher = download.sums.as_ref().map(PartSums::hasher);
        let begun = range.start;
        let mut sink = Piece { context: self.0, file: &download.file, hasher, begun };
        self.0.client.get(key, &object.etag, object.size, range.clone(), &mut sink)?;
        if let (Some(sums), Some(sum)) = (&download.sums, sink.hasher) {
            sums.add(index, sum, range.end - range.start);
        }
        Ok(())
    }

    fn finish(&self, download: &Download) -> Result<Moved> {
        let Download { object, key, file, proof, sums, .. } = download;
        let agree = sums.as_ref().is_some_and(PartSums::match_proof);
        let checked = agree || self.compare(key, object, file, proof)?;
        let complete = take(download)
            .map(|temporary| temporary.complete(&object.path, download.expected, object.modified))
            .transpose()
            .map_err(|cause| Error::new("download", &*object.path, cause))?;
        Ok(Moved { bytes: object.size, checked, complete })
    }

    fn abandon(&self, download: &Download) -> Result<()> {
        drop(take(download));
        Ok(())
    }
}

fn take(download: &Download) -> Option<Temporary> {
    download.temporary.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
}

impl Downloader<'_> {
    fn temporary(&self, transfer: &Transfer, cache: &mut ParentCache) -> Result<Temporary> {
        let path = transfer.path();
        let replaces_file = matches!(expected(transfer), Expected::File(_));
        let size = transfer.object.as_ref().map_or(0, |object| object.size);
        self.0
            .root
            .temporary(path, replaces_file, size, cache)
            .map_err(|error| Error::new("create file", path, error))
    }

    /// Whether the file could be told to be what was asked for. An error if it is not.
    fn compare(&self, key: &str, object: &Object, file: &File, proof: &Proof) -> Result<bool> {
        let wanted = self.0.config.transfer.part_size;
        match content::compare(file, object.size, proof, wanted, self.0.cancel) {
            Ok(Comparison::Same) => Ok(true),
            Ok(Comparison::Unknown) => Ok(false),
            Ok(Comparison::Different) => self.second_opinion(key, object, file, proof),
            Err(cause) => Err(Error::new("download", &*object.path, cause)),
        }
    }

    /// What arrived does not match. A checksum is final; but an ETag may only look like an MD5, and
    /// what comes the same twice was not damaged on its way: then it can't be told.
    fn second_opinion(
        &self,
        key: &str,
        object: &Object,
        file: &File,
        proof: &Proof,
    ) -> Result<bool> {
        if let Proof::Md5(_) = proof {
            let mut again = CompareSink::new(file);
            self.0.client.get(key, &object.etag, object.size, 0..object.size, &mut again)?;
            if !again.differs {
                return Ok(false);
            }
        }
        let why = "the bytes that arrived do not match the object's checksum";
        Err(Error::new("download", &*object.path, Cause::Corrupt(why.to_owned())))
    }
}

/// Writes what arrives, and hashes it on the way.
struct Checked<'a> {
    context: &'a RunContext<'a>,
    file: &'a File,
    state: Option<(Proof, Option<Hasher>)>,
}

impl Sink for Checked<'_> {
    fn head(&mut self, head: &Head) {
        // A download that goes on after a break goes on hashing.
        self.state.get_or_insert_with(|| {
            let proof = Proof::of_head(head);
            let hasher = proof.hasher();
            (proof, hasher)
        });
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        if let Some((_, Some(hasher))) = &mut self.state {
            hasher.update(bytes);
        }
        write(self.context, self.file, offset, bytes)
    }
}

fn write(context: &RunContext, file: &File, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
    file.write_all_at(bytes, offset)?;
    context.bytes_done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// The system is told to begin with the disk whenever as many bytes of a piece have come: whoever waits
/// for the disk at the end has less to wait for then.
const WRITE_BEHIND: u64 = 4 << 20;

/// Writes what arrives of a piece, and hashes it on the way where that is of use.
struct Piece<'a> {
    context: &'a RunContext<'a>,
    file: &'a File,
    hasher: Option<Hasher>,
    /// Up to where the system has been told to write.
    begun: u64,
}

impl Sink for Piece<'_> {
    fn head(&mut self, _: &Head) {}

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        write(self.context, self.file, offset, bytes)?;
        // Without a hasher, the file is read again to be checked, and had better stay in memory.
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
            let end = offset + bytes.len() as u64;
            if end - self.begun >= WRITE_BEHIND && !self.context.config.transfer.no_sync {
                local::begin_writing(self.file, self.begun..end);
                self.begun = end;
            }
        }
        Ok(())
    }
}
