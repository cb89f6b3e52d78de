//! File to object.
//!
//! A file is read twice, once for its checksum and once to be sent: the server refuses what has changed
//! in between. What has changed by the end of it is sent again at once: the object is younger than the
//! change by then, and no later run would see the difference.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, atomic::Ordering},
    time::{Duration, SystemTime},
};

use super::{Moved, Mover};
use crate::{
    error::{Cause, Error, Result},
    local::{FileState, ParentCache},
    model::{entry, time::Timestamp},
    plan::Transfer,
    s3::{
        Payload, UploadedPart,
        parts::{part_range, part_size},
    },
    transfer::{
        context::RunContext,
        resume::{StoredParts, UnfinishedUploads},
    },
};

/// Files up to this size are read into memory once rather than from the page cache twice.
const SMALL: u64 = 256 << 10;

pub(super) struct Uploader<'a> {
    pub context: &'a RunContext<'a>,
    pub unfinished: UnfinishedUploads,
}

/// A multipart upload under way.
pub(super) struct Upload {
    transfer: Transfer,
    key: String,
    upload_id: String,
    file: File,
    state: FileState,
    part_size: u64,
    parts: Mutex<Vec<Option<UploadedPart>>>,
    /// The parts that an earlier run has uploaded.
    stored: StoredParts,
}

/// How often a file that changes while it is sent is sent again before it is given up.
const TRIES: u32 = 5;

/// How long it is left alone in between.
const PAUSE: Duration = Duration::from_millis(200);

const CHANGED: Cause = Cause::Changed("the file was changed while it was read");

impl Uploader<'_> {
    fn open(&self, transfer: &Transfer) -> Result<(File, FileState), Cause> {
        let source = transfer.file.as_ref().map_or(Path::new(transfer.path()), entry::File::source);
        Ok(self.context.root.read(source)?)
    }

    fn small(&self, transfer: &Transfer) -> Result<Moved> {
        let fail = |cause| Error::new("upload", transfer.path(), cause);
        let mut tries = 0;
        loop {
            let (file, state) = self.open(transfer).map_err(fail)?;
            if self.put(transfer, &file, state)? {
                let ended = Timestamp::from(SystemTime::now());
                let now = self.open(transfer).map_err(fail)?.1;
                if now == state {
                    self.context.bytes_done.fetch_add(state.size, Ordering::Relaxed);
                    return Ok(Moved { bytes: state.size, checked: true, complete: None });
                }
                // It goes on changing. A change from now on is younger than the object, and the next
                // run will see it.
                if tries >= TRIES && now.modified >= ended {
                    return Err(fail(CHANGED));
                }
            }
            tries += 1;
            if tries >= TRIES * 2 {
                return Err(fail(CHANGED));
            }
            self.context.cancel.sleep(PAUSE);
            self.context.cancel.check()?;
        }
    }

    /// Stores a file as it is now. `false` where it was just being written, and nothing was sent.
    fn put(&self, transfer: &Transfer, file: &File, state: FileState) -> Result<bool> {
        let key = self.context.key(transfer.path());
        if state.size > SMALL {
            let put =
                self.context.client.put(&key, Payload::File { file, offset: 0, len: state.size });
            return match put {
                Err(error) if matches!(error.cause(), Cause::Changed(_)) => Ok(false),
                other => other.map(|()| true),
            };
        }
        let fail = |error| Error::new("upload", transfer.path(), Cause::from(error));
        let mut body = vec![0; usize::try_from(state.size).unwrap_or(0)];
        match file.read_exact_at(&mut body, 0) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other.map_err(fail)?,
        }
        if FileState::of(file).map_err(fail)? != state {
            return Ok(false);
        }
        self.context.client.put(&key, Payload::Bytes(&body)).map(|()| true)
    }
}

impl Mover for Uploader<'_> {
    type Large = Upload;

    fn whole(&self, transfer: &Transfer, _: &mut ParentCache) -> Result<Moved> {
        self.small(transfer)
    }

    fn begin(&self, transfer: &Transfer) -> Result<Upload> {
        let (file, state) =
            self.open(transfer).map_err(|cause| Error::new("upload", transfer.path(), cause))?;
        let key = self.context.key(transfer.path());
        let part_size = part_size(state.size, self.context.config.transfer.part_size);
        // One part even of nothing: the file may have shrunk since it was looked at.
        let count = usize::try_from(state.size.div_ceil(part_size).max(1)).unwrap_or(usize::MAX);
        let client = self.context.client;
        let (upload_id, stored) = match self.unfinished.resume(client, transfer, state, &key)? {
            Some(unfinished) => unfinished,
            None => (client.create_upload(&key)?, StoredParts::default()),
        };
        let parts = Mutex::new(vec![None; count]);
        Ok(Upload {
            transfer: transfer.clone(),
            key,
            upload_id,
            file,
            state,
            part_size,
            parts,
            stored,
        })
    }

    fn pieces(&self, upload: &Upload) -> u64 {
        upload.state.size.div_ceil(upload.part_size).max(1)
    }

    fn piece(&self, upload: &Upload, index: u64) -> Result<()> {
        let range = part_range(upload.state.size, upload.part_size, index);
        let len = range.end - range.start;
        let payload = Payload::File { file: &upload.file, offset: range.start, len };
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let part = match upload.stored.find(self.context.client, number, payload)? {
            Some(part) => part,
            None => {
                self.context.client.upload_part(&upload.key, &upload.upload_id, number, payload)?
            }
        };
        let mut parts = upload.parts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(slot) = usize::try_from(index).ok().and_then(|index| parts.get_mut(index)) {
            *slot = Some(part);
        }
        self.context.bytes_done.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self, upload: &Upload) -> Result<Moved> {
        let fail = |cause| Error::new("upload", upload.transfer.path(), cause);
        if FileState::of(&upload.file).map_err(|error| fail(error.into()))? != upload.state {
            return Err(fail(CHANGED));
        }
        let parts: Option<Vec<UploadedPart>> = {
            let parts = upload.parts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            parts.iter().cloned().collect()
        };
        let parts = parts.ok_or_else(|| fail(Cause::Malformed("a part is missing".to_owned())))?;
        let size = upload.state.size;
        self.context.client.complete_upload(&upload.key, &upload.upload_id, &parts, size)?;
        // The file that bears the name now is the one that was sent, unchanged to the end.
        if self.open(&upload.transfer).map_err(fail)?.1 != upload.state {
            return Err(fail(CHANGED));
        }
        Ok(Moved { bytes: size, checked: true, complete: None })
    }

    fn abandon(&self, upload: &Upload) -> Result<()> {
        self.context.client.abort_upload(&upload.key, &upload.upload_id)
    }
}
