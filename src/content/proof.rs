//! Evidence for the content of an object.

use crate::{
    content::multipart_etag::unusual_part_sizes,
    model::etag::ETag,
    s3::{Checksum, Hasher, Head, base64, parts::part_count},
};

/// Evidence for the content of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The checksum of the whole object, in base64.
    Checksum(Checksum, String),
    /// An ETag that looks like an MD5. A match proves the content; a mismatch may not disprove it.
    Md5([u8; 16]),
    /// The ETag of a multipart upload with this number of parts. The part size is unknown.
    Parts([u8; 16], u32),
    /// The ETag of a multipart upload, and the part sizes that it may have had.
    PartSizes([u8; 16], Vec<u64>),
    /// Nothing.
    None,
}

impl Proof {
    /// The proof that an ETag from a listing gives. It may look like an MD5 without being one.
    pub(crate) fn of_etag(etag: &ETag) -> Proof {
        match etag.plain() {
            ETag::Md5(md5) => Proof::Md5(md5),
            ETag::Parts(md5, parts) => Proof::Parts(md5, parts),
            ETag::Other(_) | ETag::None => Proof::None,
        }
    }

    /// The proofs that the ETag of the headers of a response and that of a listing give.
    pub(crate) fn of_etags(head: &Head, listed: &ETag) -> Vec<Proof> {
        let etags = [&head.etag, listed].into_iter().filter(|_| !head.opaque_etag);
        let mut proofs: Vec<Proof> =
            etags.map(Proof::of_etag).filter(|proof| *proof != Proof::None).collect();
        proofs.dedup();
        proofs
    }

    /// The best proof that the headers of a response give.
    pub(crate) fn of_head(head: &Head) -> Proof {
        match &head.checksum {
            Some((algorithm, value)) => Proof::Checksum(*algorithm, value.clone()),
            None if head.opaque_etag => Proof::None,
            None => Proof::of_etag(&head.etag),
        }
    }

    /// The same ETag, with the part sizes that are left to try. A part size that the store knows is one of
    /// them; otherwise, size and number of parts must leave only a few.
    pub(crate) fn with_unusual_part_sizes(&self, size: u64, known: Option<u64>) -> Proof {
        let Proof::Parts(md5, parts) = self else { return Proof::None };
        let is_right = |part: &u64| *part > 0 && part_count(size, *part) == u64::from(*parts);
        let sizes = match known.filter(is_right) {
            Some(known) => vec![known],
            None => unusual_part_sizes(size, *parts),
        };
        if sizes.is_empty() { Proof::None } else { Proof::PartSizes(*md5, sizes) }
    }

    /// The hasher to run over the whole content. `None` if one hash of the whole cannot prove it.
    pub(crate) fn hasher(&self) -> Option<Hasher> {
        match self {
            Proof::Checksum(algorithm, _) => Some(Hasher::new(*algorithm)),
            Proof::Md5(_) => Some(Hasher::md5()),
            Proof::Parts(..) | Proof::PartSizes(..) | Proof::None => None,
        }
    }

    /// Whether the digest of [`hasher`](Proof::hasher) is the expected one.
    pub(crate) fn matches(&self, digest: &[u8]) -> bool {
        match self {
            Proof::Checksum(_, value) => *value == base64(digest),
            Proof::Md5(md5) => md5 == digest,
            Proof::Parts(..) | Proof::PartSizes(..) | Proof::None => false,
        }
    }
}
