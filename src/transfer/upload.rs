//! File to object.
//!
//! A file is read twice, once for its checksum and once to be sent: the server refuses what has changed
//! in between. What has changed by the end of it is a failure; the next run sends it again.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, atomic::Ordering},
};

use super::{Context, Moved, Mover, part_range, part_size};
use crate::{
    error::{Cause, Error, Result},
    plan::Transfer,
    root::State,
    s3::{Payload, UploadedPart},
};

/// Files up to this size are read into memory once rather than from the page cache twice.
const SMALL: u64 = 256 << 10;

pub(super) struct Uploader<'a>(pub &'a Context<'a>);

/// A multipart upload under way.
pub(super) struct Upload {
    path: String,
    key: String,
    upload_id: String,
    file: File,
    state: State,
    part_size: u64,
    parts: Mutex<Vec<Option<UploadedPart>>>,
}

const CHANGED: Cause = Cause::Changed("the file was changed while it was read");

impl Uploader<'_> {
    fn open(&self, transfer: &Transfer) -> Result<(File, State), Cause> {
        let target = transfer.file.as_ref().and_then(|file| file.target.as_deref());
        let file = self.0.root.read(target.unwrap_or(Path::new(transfer.path())))?;
        let state = State::of(&file)?;
        Ok((file, state))
    }

    fn small(&self, transfer: &Transfer) -> Result<Moved> {
        let fail = |cause| Error::new("upload", transfer.path(), cause);
        let (file, state) = self.open(transfer).map_err(fail)?;
        let key = self.0.key(transfer.path());
        if state.size <= SMALL {
            let mut body = vec![0; usize::try_from(state.size).unwrap_or(0)];
            let read = file.read_exact_at(&mut body, 0);
            // Nothing is sent of a file that is being written right now.
            if read.is_err() || State::of(&file).map_err(|error| fail(error.into()))? != state {
                return Err(fail(read.err().map_or(CHANGED, Cause::Io)));
            }
            self.0.client.put(&key, Payload::Bytes(&body))?;
        } else {
            self.0.client.put(&key, Payload::File { file: &file, offset: 0, len: state.size })?;
            if State::of(&file).map_err(|error| fail(error.into()))? != state {
                return Err(fail(CHANGED));
            }
        }
        self.0.moved.fetch_add(state.size, Ordering::Relaxed);
        Ok(Moved { bytes: state.size, checked: true })
    }
}

impl Mover for Uploader<'_> {
    type Large = Upload;

    fn whole(&self, transfer: &Transfer) -> Result<Moved> {
        self.small(transfer)
    }

    fn begin(&self, transfer: &Transfer) -> Result<Upload> {
        let (file, state) =
            self.open(transfer).map_err(|cause| Error::new("upload", transfer.path(), cause))?;
        let key = self.0.key(transfer.path());
        let part_size = part_size(state.size, self.0.config.transfer.part_size);
        // One part even of nothing: the file may have shrunk since it was looked at.
        let count = usize::try_from(state.size.div_ceil(part_size).max(1)).unwrap_or(usize::MAX);
        let upload_id = self.0.client.create_upload(&key)?;
        let path = transfer.path().to_owned();
        let parts = Mutex::new(vec![None; count]);
        Ok(Upload { path, key, upload_id, file, state, part_size, parts })
    }

    fn pieces(&self, upload: &Upload) -> u64 {
        upload.state.size.div_ceil(upload.part_size).max(1)
    }

    fn piece(&self, upload: &Upload, index: u64) -> Result<()> {
        let range = part_range(upload.state.size, upload.part_size, index);
        let len = range.end - range.start;
        let payload = Payload::File { file: &upload.file, offset: range.start, len };
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let part = self.0.client.upload_part(&upload.key, &upload.upload_id, number, payload)?;
        let mut parts = upload.parts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(slot) = usize::try_from(index).ok().and_then(|index| parts.get_mut(index)) {
            *slot = Some(part);
        }
        self.0.moved.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self, upload: &Upload) -> Result<Moved> {
        let fail = |cause| Error::new("upload", upload.path.as_str(), cause);
        if State::of(&upload.file).map_err(|error| fail(error.into()))? != upload.state {
            return Err(fail(CHANGED));
        }
        let parts: Option<Vec<UploadedPart>> = {
            let parts = upload.parts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            parts.iter().cloned().collect()
        };
        let parts = parts.ok_or_else(|| fail(Cause::Malformed("a part is missing".to_owned())))?;
        let size = upload.state.size;
        self.0.client.complete_upload(&upload.key, &upload.upload_id, &parts, size)?;
        Ok(Moved { bytes: size, checked: true })
    }

    fn abandon(&self, upload: &Upload) -> Result<()> {
        self.0.client.abort_upload(&upload.key, &upload.upload_id)
    }
}
