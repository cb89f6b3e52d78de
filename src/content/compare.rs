//! Comparing a local file with the proof of an object's content.

use std::{fs::File as OpenFile, io, time::SystemTime};

use crate::{
    cancel::Cancel,
    content::{
        multipart_etag::{self, MultipartHasher},
        proof::Proof,
    },
    error::{Cause, Error, Result},
    local::{FileState, HIDDEN_CONTENT, Preparation, Prepared, Root, has_hidden_content},
    model::entry::File,
    record::RecordedState,
    s3::Payload,
};

/// So often a file is compared while its attributes keep changing.
const MAX_COMPARISONS: u32 = 3;

/// The result of comparing a file with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Same,
    Different,
    /// The proof is not conclusive.
    Unknown,
}

/// Reads `size` bytes of `file` and compares them with `proof`. `part_size` is the part size that
/// s3keep itself would use for an upload.
pub(crate) fn compare(
    file: &OpenFile,
    size: u64,
    proof: &Proof,
    part_size: u64,
    cancel: &Cancel,
) -> Result<Comparison, Cause> {
    let content = Payload::File { file, offset: 0, len: size };
    if let Some(mut hasher) = proof.hasher() {
        content.for_each_chunk(cancel, |bytes| hasher.update(bytes))?;
        let is_same = proof.matches(&hasher.finish());
        return Ok(if is_same { Comparison::Same } else { Comparison::Different });
    }
    let (md5, mut hashers): (_, Vec<_>) = match proof {
        Proof::Parts(md5, parts) => {
            (md5, multipart_etag::candidates(size, *parts, part_size).collect())
        }
        Proof::PartSizes(md5, sizes) => {
            (md5, sizes.iter().map(|part| MultipartHasher::new(*part)).collect())
        }
        _ => return Ok(Comparison::Unknown),
    };
    if hashers.is_empty() {
        return Ok(Comparison::Unknown);
    }
    content.for_each_chunk(cancel, |bytes| {
        hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
    })?;
    let is_same = hashers.into_iter().any(|hasher| hasher.finish() == md5);
    // A mismatch does not prove a difference: the upload may have used another part size.
    Ok(if is_same { Comparison::Same } else { Comparison::Unknown })
}

/// Compares a scanned file with `proof`. It is an error if the file changed since the scan.
pub(crate) fn compare_scanned(
    root: &Root,
    file: &File,
    proof: &Proof,
    part_size: u64,
    cancel: &Cancel,
) -> Result<Comparison> {
    let open = open(root, file)?;
    let fail = |error: io::Error| Error::new("read", &*file.path, error);
    if file.size == 0 && has_hidden_content(&open).map_err(fail)? {
        return Err(fail(io::Error::other(HIDDEN_CONTENT)));
    }
    let comparison = compare(&open, file.size, proof, part_size, cancel)
        .map_err(|cause| Error::new("read", &*file.path, cause))?;
    check_unchanged(file, &open)?;
    Ok(comparison)
}

/// Compares a scanned file with `proof`. Returns also the state of the file, if it may be recorded.
///
/// It is an error if the file changed since the scan, other than in its attributes.
pub(crate) fn compare_for_record(
    root: &Root,
    file: &File,
    proof: &Proof,
    part_size: u64,
    preparation: Preparation,
    cancel: &Cancel,
) -> Result<(Comparison, Option<RecordedState>)> {
    let fail = |cause| Error::new("read", &*file.path, cause);
    for _ in 0..MAX_COMPARISONS {
        let open = open(root, file)?;
        let Prepared { mut state, is_settled } =
            preparation.prepare(&open, cancel).map_err(|error| fail(error.into()))?;
        let comparison = compare(&open, file.size, proof, part_size, cancel).map_err(fail)?;
        check_unchanged(file, &open)?;
        let after = RecordedState::of(&open).map_err(|error| fail(error.into()))?;
        if after != state {
            // Its ctime changed: perhaps only attributes did.
            continue;
        }
        if file.target.is_some() && state.changed <= file.changed {
            // The ctime of a link may be later than that of its target.
            state.changed = file.changed;
        }
        let is_settled = is_settled && state.is_settled(SystemTime::now().into());
        return Ok((comparison, is_settled.then_some(state)));
    }
    Err(fail(Cause::FILE_CHANGED))
}

/// Opens a scanned file.
pub(crate) fn open(root: &Root, file: &File) -> Result<OpenFile> {
    let opened = root.read(file.source()).map(|(open, _)| open);
    opened.map_err(|error| Error::new("read", &*file.path, error))
}

/// Checks that an open file is still in the state in which it was scanned.
pub(crate) fn check_unchanged(file: &File, open: &OpenFile) -> Result<()> {
    let fail = |cause| Error::new("read", &*file.path, cause);
    match FileState::of(open) {
        Ok(now) if now == FileState::of_scanned(file) => Ok(()),
        Ok(_) => Err(fail(Cause::FILE_CHANGED)),
        Err(error) => Err(fail(error.into())),
    }
}
