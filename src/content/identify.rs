//! Finding the object whose content a file has.

use std::{collections::BTreeMap, fs::File};

use crate::{
    cancel::Cancel,
    content::{multipart_etag, proof::Proof},
    error::Cause,
    s3::{Hasher, Payload},
};

/// The position of the first of `proofs` that matches the first `size` bytes of `file`. Only ETags
/// match. The file is read once, however many proofs there are.
pub(crate) fn identify(
    file: &File,
    size: u64,
    proofs: &[Proof],
    part_size: u64,
    cancel: &Cancel,
) -> Result<Option<usize>, Cause> {
    let mut md5 = proofs.iter().any(|proof| matches!(proof, Proof::Md5(_))).then(Hasher::md5);
    let mut by_parts: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for proof in proofs {
        if let Proof::Parts(_, parts) = proof {
            let candidates = || multipart_etag::candidates(size, *parts, part_size).collect();
            by_parts.entry(*parts).or_insert_with(candidates);
        }
    }
    by_parts.retain(|_, hashers| !hashers.is_empty());
    if md5.is_none() && by_parts.is_empty() {
        return Ok(None);
    }
    Payload::File { file, offset: 0, len: size }.for_each_chunk(cancel, |bytes| {
        md5.iter_mut().for_each(|hasher| hasher.update(bytes));
        by_parts.values_mut().flatten().for_each(|hasher| hasher.update(bytes));
    })?;
    let md5 = md5.map(Hasher::finish);
    let by_parts: BTreeMap<u32, Vec<Vec<u8>>> = by_parts
        .into_iter()
        .map(|(parts, hashers)| (parts, hashers.into_iter().map(|h| h.finish()).collect()))
        .collect();
    let matches = |proof: &Proof| match proof {
        Proof::Md5(expected) => md5.as_deref() == Some(expected),
        Proof::Parts(expected, parts) => {
            by_parts.get(parts).is_some_and(|found| found.iter().any(|digest| digest == expected))
        }
        Proof::Checksum(..) | Proof::PartSizes(..) | Proof::None => false,
    };
    Ok(proofs.iter().position(matches))
}
