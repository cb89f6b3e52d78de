//! Resuming multipart uploads that earlier runs left unfinished.
//!
//! They are not visible as objects, but their parts are billed. If this run uploads the same key,
//! it resumes or aborts them. All others are left alone: they may belong to another program.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use crate::{
    error::Result,
    local::FileState,
    model::{direction::Direction, etag::ETag},
    plan::Transfer,
    report::{Event, Report},
    s3::{
        Checksum, Client, ContentDigest, ListedPart, OpenUpload, Payload, UploadedPart, base64,
        parts::is_large,
    },
    transfer::context::RunContext,
    worker_pool,
};

/// The unfinished multipart uploads that this run may resume, by the path of the file.
#[derive(Default)]
pub(super) struct UnfinishedUploads(HashMap<String, OpenUpload>);

impl UnfinishedUploads {
    /// Lists the unfinished uploads of the files in `transfers`. Keeps the latest one of each large
    /// file, and aborts the others.
    pub(super) fn find(
        context: &RunContext,
        transfers: &[Transfer],
        report: &mut Report,
        on_event: &mut dyn FnMut(Event),
    ) -> UnfinishedUploads {
        let mut unfinished = UnfinishedUploads::default();
        if transfers.is_empty() {
            return unfinished;
        }
        let open = match context.client.list_uploads(context.config.bucket.prefix()) {
            Ok(open) => open,
            Err(error) => {
                // Some stores cannot list uploads, and the permission for it may be missing. The
                // uploads then stay, which does no harm.
                if error.is_fatal() {
                    report.fail(error, on_event);
                }
                return unfinished;
            }
        };
        if open.is_empty() {
            return unfinished;
        }
        let obsolete = unfinished.select(context, transfers, open);
        let workers = context.config.transfer.workers;
        let limit = || context.client.limit();
        let abort =
            |upload: OpenUpload| context.client.abort_upload(&upload.key, &upload.upload_id);
        worker_pool::for_each(workers, &limit, obsolete.into_iter(), &abort, |result| {
            if let Err(error) = result {
                report.fail(error, on_event);
            }
        });
        unfinished
    }

    /// Inserts the latest upload of each large file. Returns the other uploads of the planned
    /// files.
    fn select(
        &mut self,
        context: &RunContext,
        transfers: &[Transfer],
        open: Vec<OpenUpload>,
    ) -> Vec<OpenUpload> {
        let part_size = context.config.transfer.part_size;
        let is_large = |transfer: &Transfer| is_large(transfer.size(Direction::Backup), part_size);
        let planned: HashMap<&str, bool> =
            transfers.iter().map(|transfer| (transfer.path(), is_large(transfer))).collect();
        let mut obsolete = Vec::new();
        let mut seen = HashSet::new();
        for upload in open {
            let Some(path) = upload.key.strip_prefix(context.config.bucket.prefix()) else {
                continue;
            };
            if !seen.insert(upload.upload_id.clone()) {
                continue;
            }
            match planned.get(path) {
                None => {}
                Some(false) => obsolete.push(upload),
                Some(true) => match self.0.entry(path.to_owned()) {
                    Entry::Vacant(entry) => {
                        entry.insert(upload);
                    }
                    Entry::Occupied(entry) if entry.get().initiated > upload.initiated => {
                        obsolete.push(upload);
                    }
                    Entry::Occupied(mut entry) => obsolete.push(entry.insert(upload)),
                },
            }
        }
        obsolete
    }

    /// The ID of the unfinished upload of a file, and the parts that the server has.
    ///
    /// `None` if there is no such upload, or if it cannot be resumed: it is aborted then.
    pub(super) fn resume(
        &self,
        client: &Client,
        transfer: &Transfer,
        state: FileState,
        key: &str,
    ) -> Result<Option<(String, StoredParts)>> {
        let Some(upload) = self.0.get(transfer.path()) else { return Ok(None) };
        // S3 sets LastModified to the time at which the upload was started. If the file changed
        // after that, the object would look older than the file in every later run.
        let margin = i64::try_from(client.clock_margin()).unwrap_or(i64::MAX);
        let changed = state.modified.nanos().saturating_add(margin);
        if upload.initiated.nanos() > changed
            && let Ok(listed) = client.list_parts(key, &upload.upload_id)
            && client.can_resume_with(listed.algorithm.as_deref())
        {
            let parts = listed.parts.into_iter().map(|part| (part.number, part)).collect();
            return Ok(Some((upload.upload_id.clone(), StoredParts(parts))));
        }
        client.abort_upload(key, &upload.upload_id)?;
        Ok(None)
    }
}

/// The parts of a resumed upload that the server has, by number.
#[derive(Default)]
pub(super) struct StoredParts(HashMap<u32, ListedPart>);

impl StoredParts {
    /// The stored part of this number, if its content is that of `payload`.
    pub(super) fn find(
        &self,
        client: &Client,
        number: u32,
        payload: Payload,
    ) -> Result<Option<UploadedPart>> {
        let Some(part) = self.0.get(&number) else { return Ok(None) };
        let ETag::Md5(md5) = ETag::parse(&part.etag) else { return Ok(None) };
        if part.size != payload.len() || client.md5(&payload)? != md5 {
            return Ok(None);
        }
        let digest = ContentDigest { algorithm: Checksum::None, value: base64(&md5) };
        let (etag, len) = (part.etag.clone(), part.size);
        Ok(Some(UploadedPart { etag, len, checksum: None, digest }))
    }
}
