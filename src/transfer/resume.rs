//! Multipart uploads that a kill cut off. Nothing of them is visible but in the bill; those of keys that
//! are to be uploaded now are taken up again or aborted, those of others are none of our business.

use std::collections::{HashMap, HashSet};

use super::RunContext;
use crate::{
    error::Error,
    model::direction::Direction,
    plan::Transfer,
    report::{Event, Report},
    s3::OpenUpload,
    worker_pool::for_each,
};

/// Looks for such uploads, of keys among `transfers` only. The youngest of each large file is handed
/// back by its path, for the upload to go on with; all others are aborted.
pub(super) fn find(
    context: &RunContext,
    transfers: &[Transfer],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) -> HashMap<String, OpenUpload> {
    let mut youngest: HashMap<String, OpenUpload> = HashMap::new();
    if transfers.is_empty() {
        return youngest;
    }
    let open = match context.client.list_uploads(context.config.bucket.prefix()) {
        Ok(open) => open,
        Err(error) => {
            // Not every store can, and not everybody may: then they stay, and harm nobody.
            if error.is_fatal() {
                report.fail(error, on_event);
            }
            return youngest;
        }
    };
    if open.is_empty() {
        return youngest;
    }
    let part_size = context.config.transfer.part_size;
    let planned: HashMap<&str, bool> = transfers
        .iter()
        .map(|transfer| (transfer.path(), transfer.size(Direction::Backup) > part_size))
        .collect();
    let mut unwanted = Vec::new();
    let mut seen = HashSet::new();
    for upload in open {
        let Some(path) = upload.key.strip_prefix(context.config.bucket.prefix()) else { continue };
        if !seen.insert(upload.upload_id.clone()) {
            continue;
        }
        match planned.get(path) {
            None => {}
            Some(false) => unwanted.push(upload),
            Some(true) => {
                let path = path.to_owned();
                match youngest.remove(&path) {
                    Some(other) if other.initiated > upload.initiated => {
                        unwanted.push(upload);
                        youngest.insert(path, other);
                    }
                    other => {
                        unwanted.extend(other);
                        youngest.insert(path, upload);
                    }
                }
            }
        }
    }
    let abort = |upload: OpenUpload| context.client.abort_upload(&upload.key, &upload.upload_id);
    let workers = context.config.transfer.workers;
    let limit = || context.client.limit();
    for_each(workers, &limit, unwanted.into_iter(), &abort, |outcome: Result<(), Error>| {
        if let Err(error) = outcome {
            report.fail(error, on_event);
        }
    });
    youngest
}
