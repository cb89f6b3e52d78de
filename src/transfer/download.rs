//! Object to file: into a temporary file beside the final name, checked, and only then renamed.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Mutex, atomic::Ordering},
};

use super::{Context, Moved, Mover, part_range, part_size};
use crate::{
    content::{self, Answer, Proof},
    entry::{ETag, Timestamp},
    error::{Cause, Error, Result},
    plan::Transfer,
    root::{Expected, State, Temporary},
    s3::{Hasher, Head, Sink},
};

pub(super) struct Downloader<'a>(pub &'a Context<'a>);

/// A download in ranges under way.
pub(super) struct Download {
    path: String,
    key: String,
    size: u64,
    modified: Timestamp,
    etag: ETag,
    expected: Expected,
    part_size: u64,
    proof: Proof,
    /// Taken by the last step.
    temporary: Mutex<Option<Temporary>>,
    file: File,
}

fn not_planned(transfer: &Transfer) -> Error {
    Error::new("download", transfer.path(), Cause::Config("no object is planned".to_owned()))
}

fn expected(transfer: &Transfer) -> Expected {
    match &transfer.file {
        None => Expected::Nothing,
        Some(file) if file.target.is_some() => Expected::Link,
        Some(file) => Expected::File(State { size: file.size, modified: file.modified }),
    }
}

fn corrupt() -> Cause {
    Cause::Corrupt("the bytes that arrived do not match the object's checksum".to_owned())
}

impl Downloader<'_> {
    fn temporary(&self, path: &str) -> Result<Temporary> {
        let made = self.0.root.parent(path, true).and_then(|parent| parent.temporary());
        made.map_err(|error| Error::new("create file", path, error))
    }

    fn small(&self, transfer: &Transfer) -> Result<Moved> {
        let object = transfer.object.as_ref().ok_or_else(|| not_planned(transfer))?;
        let fail = |cause| Error::new("download", transfer.path(), cause);
        let temporary = self.temporary(&object.path)?;
        let mut sink = Checked { context: self.0, file: &temporary.file, state: None };
        let key = self.0.key(&object.path);
        self.0.client.get(&key, &object.etag, object.size, 0..object.size, &mut sink)?;
        let checked = match sink.state {
            Some((proof, Some(hasher))) => {
                if !proof.agrees(&hasher.finish()) {
                    return Err(fail(corrupt()));
                }
                true
            }
            Some((proof, None)) => {
                self.compare(&temporary.file, object.size, &proof).map_err(fail)?
            }
            None => false,
        };
        temporary.keep(expected(transfer), object.modified).map_err(fail)?;
        Ok(Moved { bytes: object.size, checked })
    }
}

impl Mover for Downloader<'_> {
    type Large = Download;

    fn whole(&self, transfer: &Transfer) -> Result<Moved> {
        match self.small(transfer) {
            // What was damaged on its way may well arrive whole the next time.
            Err(error) if matches!(error.cause(), Cause::Corrupt(_)) => self.small(transfer),
            other => other,
        }
    }

    fn begin(&self, transfer: &Transfer) -> Result<Download> {
        let object = transfer.object.as_ref().ok_or_else(|| not_planned(transfer))?;
        let key = self.0.key(&object.path);
        let proof = Proof::of_head(&self.0.client.head(&key)?);
        let temporary = self.temporary(&object.path)?;
        let fail = |error| Error::new("create file", transfer.path(), Cause::Io(error));
        temporary.file.set_len(object.size).map_err(fail)?;
        let file = temporary.file.try_clone().map_err(fail)?;
        Ok(Download {
            path: object.path.to_string(),
            key,
            size: object.size,
            modified: object.modified,
            etag: object.etag.clone(),
            expected: expected(transfer),
            part_size: part_size(object.size, self.0.config.transfer.part_size),
            proof,
            temporary: Mutex::new(Some(temporary)),
            file,
        })
    }

    fn pieces(&self, download: &Download) -> u64 {
        download.size.div_ceil(download.part_size)
    }

    fn piece(&self, download: &Download, index: u64) -> Result<()> {
        let range = part_range(download.size, download.part_size, index);
        let mut sink = Unchecked { context: self.0, file: &download.file };
        self.0.client.get(&download.key, &download.etag, download.size, range, &mut sink)
    }

    fn finish(&self, download: &Download) -> Result<Moved> {
        let fail = |cause| Error::new("download", download.path.as_str(), cause);
        let checked = self.compare(&download.file, download.size, &download.proof).map_err(fail)?;
        if let Some(temporary) = take(download) {
            temporary.keep(download.expected, download.modified).map_err(fail)?;
        }
        Ok(Moved { bytes: download.size, checked })
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
    /// Whether the file could be told to be what was asked for. An error if it is not.
    fn compare(&self, file: &File, size: u64, proof: &Proof) -> Result<bool, Cause> {
        let wanted = self.0.config.transfer.part_size;
        match content::compare(file, size, proof, wanted, self.0.cancel)? {
            Answer::Same => Ok(true),
            Answer::Unknown => Ok(false),
            Answer::Different => Err(corrupt()),
        }
    }
}

/// Writes what arrives, and hashes it on the way.
struct Checked<'a> {
    context: &'a Context<'a>,
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
        Unchecked { context: self.context, file: self.file }.write(offset, bytes)
    }
}

/// Writes what arrives.
struct Unchecked<'a> {
    context: &'a Context<'a>,
    file: &'a File,
}

impl Sink for Unchecked<'_> {
    fn head(&mut self, _: &Head) {}

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        self.file.write_all_at(bytes, offset)?;
        self.context.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
