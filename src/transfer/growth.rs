//! Files that only grow while they are uploaded, such as logs.
//!
//! Such a file is stored with the size that it had when it was opened. It only grew if the path still
//! refers to the same file, the file is larger, and its first bytes, read again, have the digest of
//! what was sent. So the object is what the file was at one moment. No later run takes it for the
//! whole file, because the sizes differ.
//!
//! A file that was smaller when it was opened than when it was scanned is not treated like this. It
//! was emptied, and may be in the middle of being written anew.

use std::{fs::File, io, os::unix::fs::MetadataExt};

use crate::{
    error::Cause,
    local::FileState,
    plan::Transfer,
    s3::{Client, ContentDigest, Payload},
};

/// Whether the file was at least as large when it was opened as when it was scanned, and not empty.
pub(super) fn may_be_a_log(transfer: &Transfer, opened: FileState) -> bool {
    opened.size > 0 && transfer.file.as_ref().is_none_or(|file| opened.size >= file.size)
}

/// Whether `now` is `file`, and larger than when it was opened.
pub(super) fn is_same_and_larger(
    file: &File,
    opened: FileState,
    now: &File,
    state: FileState,
) -> io::Result<bool> {
    let (before, after) = (file.metadata()?, now.metadata()?);
    let is_same = (before.dev(), before.ino()) == (after.dev(), after.ino());
    Ok(is_same && state.size > opened.size)
}

/// Whether all of the payloads, read again, have the digests with which they were sent.
pub(super) fn is_unchanged<'a>(
    client: &Client,
    sent: impl IntoIterator<Item = (Payload<'a>, &'a ContentDigest)>,
) -> Result<bool, Cause> {
    for (payload, digest) in sent {
        match client.has_digest(&payload, digest) {
            Ok(true) => {}
            // The file became shorter.
            Ok(false) | Err(Cause::Changed(_)) => return Ok(false),
            Err(cause) => return Err(cause),
        }
    }
    Ok(true)
}
