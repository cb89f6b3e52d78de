//! Evidence for the content of an object.

use crate::{
    model::etag::ETag,
    s3::{Checksum, Hasher, Head, base64},
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
    /// Nothing.
    None,
}

impl Proof {
    /// The proof that an ETag from a listing gives. It may look like an MD5 without being one.
    pub(crate) fn of_etag(etag: &ETag) -> Proof {
        match etag {
            ETag::Md5(md5) => Proof::Md5(*md5),
            ETag::Parts(md5, parts) => Proof::Parts(*md5, *parts),
            ETag::Other(_) | ETag::None => Proof::None,
        }
    }

    /// The best proof that the headers of a response give.
    pub(crate) fn of_head(head: &Head) -> Proof {
        match &head.checksum {
            Some((algorithm, value)) => Proof::Checksum(*algorithm, value.clone()),
            None if head.opaque_etag => Proof::None,
            None => Proof::of_etag(&head.etag),
        }
    }

    /// The hasher to run over the whole content. `None` if one hash of the whole cannot prove it.
    pub(crate) fn hasher(&self) -> Option<Hasher> {
        match self {
            Proof::Checksum(algorithm, _) => Some(Hasher::new(*algorithm)),
            Proof::Md5(_) => Some(Hasher::md5()),
            Proof::Parts(..) | Proof::None => None,
        }
    }

    /// Whether the digest of [`hasher`](Proof::hasher) is the expected one.
    pub(crate) fn matches(&self, digest: &[u8]) -> bool {
        match self {
            Proof::Checksum(_, value) => *value == base64(digest),
            Proof::Md5(md5) => md5 == digest,
            Proof::Parts(..) | Proof::None => false,
        }
    }
}
