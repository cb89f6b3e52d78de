//! Uploads: one request for a small file, a multipart upload for a large one.
//!
//! A file of up to 256 KiB is read into memory once. A larger one is read twice: once to compute
//! its checksum, and once to send it. If it changes in between, the server refuses it. A later
//! change, before the end of the upload, needs a check afterwards: the object is then newer than the
//! change, and no later run would see the difference.
//! A small file that changed is uploaded again at once.

use std::{
    fs::File,
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use crate::{
    error::{Cause, Error, Result},
    local::{FileState, ParentCache},
    model::{entry, time::Timestamp},
    plan::Transfer,
    s3::{
        Payload, UploadedPart,
        parts::{part_count, part_range, part_size},
    },
    transfer::{
        context::RunContext,
        resume::{StoredParts, UnfinishedUploads},
        steps::{Steps, Transferred},
    },
};

/// Files up to this size are read into memory once, instead of twice from the page cache.
const MAX_BYTES_IN_MEMORY: u64 = 256 << 10;

/// After this many attempts, a file that keeps changing is given up as soon as its last change is
/// one that the next run will see.
const MIN_ATTEMPTS: u32 = 5;

/// After this many attempts, a file that keeps changing is given up in any case.
const MAX_ATTEMPTS: u32 = 10;

/// The pause between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

/// The steps of an upload.
pub(super) struct Uploader<'a> {
    pub context: &'a RunContext<'a>,
    pub unfinished: UnfinishedUploads,
}

/// A multipart upload.
pub(super) struct MultipartUpload {
    transfer: Transfer,
    key: String,
    upload_id: String,
    file: File,
    /// The state of the file when it was opened.
    state: FileState,
    part_size: u64,
    parts: Mutex<Vec<Option<UploadedPart>>>,
    /// The parts that an earlier run has uploaded.
    stored: StoredParts,
}

impl Steps for Uploader<'_> {
    type Handle = MultipartUpload;

    fn small(&self, transfer: &Transfer, _: &mut ParentCache) -> Result<Transferred> {
        let fail = |cause| Error::new("upload", transfer.path(), cause);
        let mut attempts = 0;
        loop {
            let (file, state) = self.open(transfer).map_err(fail)?;
            if self.put(transfer, &file, state)? {
                let end = Timestamp::from(SystemTime::now());
                let now = self.open(transfer).map_err(fail)?.1;
                if now == state {
                    self.context.bytes_done.fetch_add(state.size, Ordering::Relaxed);
                    return Ok(Transferred { bytes: state.size, checked: true, complete: None });
                }
                // The file keeps changing. A change after `end` is newer than the object, so the
                // next run will see it.
                if attempts >= MIN_ATTEMPTS && now.modified >= end {
                    return Err(fail(Cause::FILE_CHANGED));
                }
            }
            attempts += 1;
            if attempts >= MAX_ATTEMPTS {
                return Err(fail(Cause::FILE_CHANGED));
            }
            self.context.cancel.sleep(ATTEMPT_PAUSE);
            self.context.cancel.check()?;
        }
    }

    fn start(&self, transfer: &Transfer) -> Result<MultipartUpload> {
        let client = self.context.client;
        let (file, state) =
            self.open(transfer).map_err(|cause| Error::new("upload", transfer.path(), cause))?;
        let key = self.context.key(transfer.path());
        let part_size = part_size(state.size, self.context.config.transfer.part_size);
        let part_count = usize::try_from(part_count(state.size, part_size)).unwrap_or(usize::MAX);
        let (upload_id, stored) = match self.unfinished.resume(client, transfer, state, &key)? {
            Some(unfinished) => unfinished,
            None => (client.create_upload(&key)?, StoredParts::default()),
        };
        Ok(MultipartUpload {
            transfer: transfer.clone(),
            key,
            upload_id,
            file,
            state,
            part_size,
            parts: Mutex::new(vec![None; part_count]),
            stored,
        })
    }

    fn part_count(&self, upload: &MultipartUpload) -> u64 {
        part_count(upload.state.size, upload.part_size)
    }

    fn part(&self, upload: &MultipartUpload, index: u64) -> Result<()> {
        let client = self.context.client;
        let range = part_range(upload.state.size, upload.part_size, index);
        let len = range.end - range.start;
        let payload = Payload::File { file: &upload.file, offset: range.start, len };
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let part = match upload.stored.find(client, number, payload)? {
            Some(part) => part,
            None => client.upload_part(&upload.key, &upload.upload_id, number, payload)?,
        };
        let mut parts = upload.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = usize::try_from(index).ok().and_then(|index| parts.get_mut(index)) {
            *slot = Some(part);
        }
        self.context.bytes_done.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn complete(&self, upload: &MultipartUpload) -> Result<Transferred> {
        let fail = |cause| Error::new("upload", upload.transfer.path(), cause);
        if FileState::of(&upload.file).map_err(|error| fail(error.into()))? != upload.state {
            return Err(fail(Cause::FILE_CHANGED));
        }
        let parts: Option<Vec<UploadedPart>> = {
            let parts = upload.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.iter().cloned().collect()
        };
        let parts = parts.ok_or_else(|| fail(Cause::Malformed("a part is missing".to_owned())))?;
        let size = upload.state.size;
        self.context.client.complete_upload(&upload.key, &upload.upload_id, &parts, size)?;
        // The file may have changed, or another may have been renamed to its path.
        if self.open(&upload.transfer).map_err(fail)?.1 != upload.state {
            return Err(fail(Cause::FILE_CHANGED));
        }
        Ok(Transferred { bytes: size, checked: true, complete: None })
    }

    fn abort(&self, upload: &MultipartUpload) -> Result<()> {
        self.context.client.abort_upload(&upload.key, &upload.upload_id)
    }
}

impl Uploader<'_> {
    fn open(&self, transfer: &Transfer) -> Result<(File, FileState), Cause> {
        let source = transfer.file.as_ref().map_or(Path::new(transfer.path()), entry::File::source);
        Ok(self.context.root.read(source)?)
    }

    /// Uploads a file in one request. Returns `false` if the file changed while it was read, so
    /// that nothing was stored.
    fn put(&self, transfer: &Transfer, file: &File, state: FileState) -> Result<bool> {
        let client = self.context.client;
        let key = self.context.key(transfer.path());
        if state.size > MAX_BYTES_IN_MEMORY {
            let payload = Payload::File { file, offset: 0, len: state.size };
            return match client.put(&key, payload) {
                Err(error) if matches!(error.cause(), Cause::Changed(_)) => Ok(false),
                other => other.map(|()| true),
            };
        }
        let fail = |error| Error::new("upload", transfer.path(), Cause::from(error));
        let mut body = vec![0; usize::try_from(state.size).unwrap_or(0)];
        match file.read_exact_at(&mut body, 0) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            other => other.map_err(fail)?,
        }
        if FileState::of(file).map_err(fail)? != state {
            return Ok(false);
        }
        client.put(&key, Payload::Bytes(&body)).map(|()| true)
    }
}
