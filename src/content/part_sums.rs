//! Checking a download in parts without reading it again.

use std::sync::{Mutex, PoisonError};

use crate::{
    content::proof::Proof,
    s3::{Hasher, base64, md5_of_md5s},
};

/// The checksums of the parts of one download, each computed while the part arrives.
pub(crate) struct PartSums {
    proof: Proof,
    /// The checksum and the length in bytes of each part that has arrived.
    sums: Mutex<Vec<(Vec<u8>, u64)>>,
}

impl PartSums {
    /// `None` if the checksums of this number of parts cannot prove the whole.
    pub(crate) fn new(proof: &Proof, parts: u64) -> Option<PartSums> {
        let can_prove = match proof {
            Proof::Checksum(algorithm, _) => algorithm.spans_parts(),
            Proof::Parts(_, count) => u64::from(*count) == parts,
            Proof::Md5(_) | Proof::PartSizes(..) | Proof::None => false,
        };
        let sums = vec![(Vec::new(), 0); usize::try_from(parts).ok()?];
        can_prove.then(|| PartSums { proof: proof.clone(), sums: Mutex::new(sums) })
    }

    /// A hasher for one part.
    pub(crate) fn hasher(&self) -> Hasher {
        self.proof.hasher().unwrap_or(Hasher::md5())
    }

    /// Stores the checksum of part `index` (from 0), which has `len` bytes.
    pub(crate) fn add(&self, index: u64, sum: Hasher, len: u64) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = usize::try_from(index).ok().and_then(|index| sums.get_mut(index)) {
            *slot = (sum.finish(), len);
        }
    }

    /// Whether all parts together match the proof.
    pub(crate) fn match_proof(&self) -> bool {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.proof {
            Proof::Checksum(algorithm, value) => {
                algorithm.combine(&sums).is_some_and(|whole| *value == base64(&whole))
            }
            Proof::Parts(md5, _) => md5_of_md5s(sums.iter().map(|(sum, _)| sum)) == md5,
            Proof::Md5(_) | Proof::PartSizes(..) | Proof::None => false,
        }
    }
}
