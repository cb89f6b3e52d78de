//! Everything that a response says about the content of an object.

use std::fs::File;

use crate::{
    cancel::Cancel,
    content::{
        compare::{Comparison, compare},
        proof::Proof,
    },
    error::Cause,
    model::etag::ETag,
    s3::Head,
};

/// Everything that a response says about the content of an object.
pub(crate) struct Evidence {
    /// The best proof.
    pub proof: Proof,
    /// Whether there is a checksum that cannot be one. It is ignored.
    pub has_bad_checksum: bool,
    /// What the ETags of the response and of the listing prove.
    etags: Vec<Proof>,
}

impl Evidence {
    /// The evidence of a response for an object that has the ETag `listed` in the listing.
    pub(crate) fn new(head: &Head, listed: &ETag) -> Evidence {
        let etags = Proof::of_etags(head, listed);
        let mut proof = Proof::of_head(head);
        if proof == Proof::None {
            proof = etags.first().cloned().unwrap_or(Proof::None);
        }
        Evidence { proof, has_bad_checksum: head.has_bad_checksum, etags }
    }

    /// Whether the first `size` bytes of a file that [`proof`](Evidence::proof) does not prove match an ETag.
    /// It reads the file.
    pub(crate) fn match_etag(
        &self,
        file: &File,
        size: u64,
        part_size: u64,
        cancel: &Cancel,
    ) -> Result<bool, Cause> {
        for proof in self.etags.iter().filter(|proof| **proof != self.proof) {
            if compare(file, size, proof, part_size, cancel)? == Comparison::Same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The number of parts that an ETag names, if there are several.
    pub(crate) fn parts(&self) -> Option<u32> {
        self.etags.iter().find_map(|proof| match proof {
            Proof::Parts(_, parts) if *parts > 1 => Some(*parts),
            _ => None,
        })
    }

    /// The same as [`match_etag`](Evidence::match_etag) for ETags of parts of unusual sizes. `known` is the
    /// size that the store names.
    pub(crate) fn match_unusual_parts(
        &self,
        file: &File,
        size: u64,
        known: Option<u64>,
        cancel: &Cancel,
    ) -> Result<bool, Cause> {
        for proof in &self.etags {
            let proof = proof.with_unusual_part_sizes(size, known);
            if compare(file, size, &proof, 0, cancel)? == Comparison::Same {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
