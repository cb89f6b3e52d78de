//! Uploads: one request for a small file, a multipart upload for a large one.
//!
//! A file of up to 256 KiB is read into memory once. A larger one is read twice: once to compute
//! its checksum, and once to send it. If it changes in between, the server refuses it. A later
//! change, before the end of the upload, needs a check afterwards: the object is then newer than the
//! change, and no later run would see the difference.
//! A small file that changed is uploaded again at once. A file that only [grew](growth) is stored with
//! the size that it had when it was opened.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use crate::{
    error::{Cause, Error, Result},
    local::{FileState, HIDDEN_CONTENT, ParentCache, Preparation, Prepared, has_hidden_content},
    model::{entry, time::Timestamp},
    plan::Transfer,
    record::RecordedState,
    s3::{
        Payload, SentUpload, Stored, UploadedPart,
        parts::{part_count, part_range, part_size_within},
    },
    transfer::{
        context::RunContext,
        growth, learn,
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

/// Some stores allow no more parts than this.
const MANY_PARTS: u64 = 100;

/// The pause between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

/// The steps of an upload.
pub(super) struct Uploader<'a> {
    pub context: &'a RunContext<'a>,
    pub unfinished: UnfinishedUploads,
    pub preparation: Preparation,
}

/// A multipart upload.
pub(super) struct MultipartUpload {
    transfer: Transfer,
    key: String,
    upload_id: String,
    file: File,
    /// The state of the file when it was opened.
    state: FileState,
    prepared: Prepared,
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
            let (file, state, prepared) = self.open_for_reading(transfer).map_err(fail)?;
            if let Some(Stored { etag, digest }) = self.put(transfer, &file, state)? {
                let end = Timestamp::from(SystemTime::now());
                let (now_file, recorded) = self.open(transfer).map_err(fail)?;
                let now = file_state(recorded);
                // A file that was emptied before it grew gets time to become complete.
                let may_grow = growth::may_be_a_log(transfer, state) || attempts >= MAX_ATTEMPTS;
                let grew = now != state
                    && may_grow
                    && growth::is_same_and_larger(&file, state, &now_file, now)
                        .map_err(|error| fail(error.into()))?
                    && growth::is_unchanged(
                        self.context.client,
                        [(Payload::File { file: &file, offset: 0, len: state.size }, &digest)],
                    )
                    .map_err(fail)?;
                // If only the ctime changed, the mtime may have been set back after a change.
                let may_differ = recorded != prepared.state && attempts < MAX_ATTEMPTS;
                if grew || now == state && !may_differ {
                    if !grew {
                        learn::uploaded(self.context, transfer, prepared, recorded, etag);
                    }
                    self.context.bytes_done.fetch_add(state.size, Ordering::Relaxed);
                    let bytes = state.size;
                    return Ok(Transferred::uploaded(bytes, grew));
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
        let (file, state, prepared) = self
            .open_for_reading(transfer)
            .map_err(|cause| Error::new("upload", transfer.path(), cause))?;
        let key = self.context.key(transfer.path());
        let wanted = self.context.config.transfer.part_size;
        let part_size = part_size_within(state.size, wanted, client.max_parts());
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
            prepared,
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
        let index = nth_to_send(index, self.part_count(upload));
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
        let parts: Option<Vec<UploadedPart>> = {
            let parts = upload.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.iter().cloned().collect()
        };
        let parts = parts.ok_or_else(|| fail(Cause::Malformed("a part is missing".to_owned())))?;
        let size = upload.state.size;
        let now = FileState::of(&upload.file).map_err(|error| fail(error.into()))?;
        let mut grew = now != upload.state;
        if grew && !self.only_grew(upload, &upload.file, now, Some(&parts)).map_err(fail)? {
            return Err(fail(Cause::FILE_CHANGED));
        }
        let client = self.context.client;
        let etag = client.complete_upload(&SentUpload {
            key: &upload.key,
            upload_id: &upload.upload_id,
            parts: &parts,
            size,
        })?;
        // The file may have changed, or another may have been renamed to its path. If its first bytes
        // were already read again, they were right when the object was made, so once is enough.
        let (file, recorded) = self.open(&upload.transfer).map_err(fail)?;
        let now = file_state(recorded);
        if now != upload.state {
            let parts = (!grew).then_some(&parts[..]);
            grew = true;
            if !self.only_grew(upload, &file, now, parts).map_err(fail)? {
                return Err(fail(Cause::FILE_CHANGED));
            }
        }
        if !grew {
            learn::uploaded(self.context, &upload.transfer, upload.prepared, recorded, etag);
        }
        Ok(Transferred::uploaded(size, grew))
    }

    fn abort(&self, upload: &MultipartUpload) -> Result<()> {
        self.context.client.abort_upload(&upload.key, &upload.upload_id)
    }
}

impl Uploader<'_> {
    fn open(&self, transfer: &Transfer) -> Result<(File, RecordedState), Cause> {
        Ok(self.context.root.open_recorded(source(transfer))?)
    }

    /// Opens a file and prepares it for reading.
    fn open_for_reading(&self, transfer: &Transfer) -> Result<(File, FileState, Prepared), Cause> {
        let RunContext { root, cancel, .. } = self.context;
        let (file, prepared) = root.open_prepared(source(transfer), self.preparation, cancel)?;
        Ok((file, file_state(prepared.state), prepared))
    }

    /// Whether the file of a multipart upload is `now` and only grew. Reads the parts again, if they
    /// are given.
    fn only_grew(
        &self,
        upload: &MultipartUpload,
        now: &File,
        state: FileState,
        parts: Option<&[UploadedPart]>,
    ) -> Result<bool, Cause> {
        let MultipartUpload { transfer, file, state: opened, part_size, .. } = upload;
        let sent = parts.unwrap_or_default().iter().zip(0..).map(|(part, index)| {
            let range = part_range(opened.size, *part_size, index);
            let len = range.end - range.start;
            (Payload::File { file, offset: range.start, len }, &part.digest)
        });
        Ok(growth::may_be_a_log(transfer, *opened)
            && growth::is_same_and_larger(file, *opened, now, state)?
            && growth::is_unchanged(self.context.client, sent)?)
    }

    /// Uploads the first `state.size` bytes of a file in one request. Returns `None` if these changed
    /// while they were read, so that nothing was stored.
    fn put(&self, transfer: &Transfer, file: &File, state: FileState) -> Result<Option<Stored>> {
        let client = self.context.client;
        let key = self.context.key(transfer.path());
        if state.size > MAX_BYTES_IN_MEMORY {
            let payload = Payload::File { file, offset: 0, len: state.size };
            return match client.put(&key, payload) {
                Err(error) if matches!(error.cause(), Cause::Changed(_)) => Ok(None),
                other => other.map(Some),
            };
        }
        let fail = |error| Error::new("upload", transfer.path(), Cause::from(error));
        let mut body = vec![0; usize::try_from(state.size).unwrap_or(0)];
        match file.read_exact_at(&mut body, 0) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(fail)?,
        }
        let now = FileState::of(file).map_err(fail)?;
        if now == state && state.size == 0 && has_hidden_content(file).map_err(fail)? {
            return Err(fail(io::Error::other(HIDDEN_CONTENT)));
        }
        if now != state {
            let mut again = vec![0; body.len()];
            let is_read = file.read_exact_at(&mut again, 0).is_ok();
            if now.size <= state.size || !is_read || again != body {
                return Ok(None);
            }
        }
        client.put(&key, Payload::Bytes(&body)).map(Some)
    }
}

/// Which part is sent as number `n` (from 0). Of many parts, the last one is the first: if the store
/// allows fewer parts, it refuses that one before much was sent.
fn nth_to_send(n: u64, part_count: u64) -> u64 {
    match n {
        _ if part_count <= MANY_PARTS => n,
        0 => part_count - 1,
        n => n - 1,
    }
}

/// The path to read a file from, below the root.
fn source(transfer: &Transfer) -> &Path {
    transfer.file.as_ref().map_or(Path::new(transfer.path()), entry::File::source)
}

/// What the decision rule sees of a state, the ctime left out.
fn file_state(state: RecordedState) -> FileState {
    FileState { size: state.size, modified: state.modified }
}
