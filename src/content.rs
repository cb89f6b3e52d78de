//! Whether a local file holds what the server says of an object: by checksum or ETag.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use crate::{
    cancel::Cancel,
    entry::ETag,
    error::Cause,
    s3::{CHUNK, Checksum, Hasher, Head, Sink, base64},
    transfer::part_size,
};

/// What an object's content can be told by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The checksum of the whole, in base64.
    Checksum(Checksum, String),
    /// The MD5 of the whole.
    Md5([u8; 16]),
    /// The ETag of a multipart upload, whose part size is not said.
    Parts([u8; 16], u32),
    /// Nothing.
    None,
}

impl Proof {
    /// By what a listing says: the ETag. One that looks like an MD5 may be none.
    pub(crate) fn of_etag(etag: &ETag) -> Proof {
        match etag {
            ETag::Md5(md5) => Proof::Md5(*md5),
            ETag::Parts(md5, parts) => Proof::Parts(*md5, *parts),
            ETag::Other(_) | ETag::None => Proof::None,
        }
    }

    /// By all that the server says.
    pub(crate) fn of_head(head: &Head) -> Proof {
        match &head.checksum {
            Some((algorithm, value)) => Proof::Checksum(*algorithm, value.clone()),
            None if head.opaque_etag => Proof::None,
            None => Proof::of_etag(&head.etag),
        }
    }

    /// What has to be computed over the whole content; nothing where that would not do.
    pub(crate) fn hasher(&self) -> Option<Hasher> {
        match self {
            Proof::Checksum(algorithm, _) => Some(Hasher::new(*algorithm)),
            Proof::Md5(_) => Some(Hasher::md5()),
            Proof::Parts(..) | Proof::None => None,
        }
    }

    /// Whether the digest of [`hasher`](Proof::hasher) is the one that was said.
    pub(crate) fn agrees(&self, digest: &[u8]) -> bool {
        match self {
            Proof::Checksum(_, value) => *value == base64(digest),
            Proof::Md5(md5) => md5 == digest,
            Proof::Parts(..) | Proof::None => false,
        }
    }
}

/// What a download in pieces is told by: the sum of each, computed as it arrives.
pub(crate) struct PieceSums {
    proof: Proof,
    /// The sum of each piece that has arrived, and its length in bytes.
    sums: Mutex<Vec<(Vec<u8>, u64)>>,
}

impl PieceSums {
    /// `None` where the whole can't be told from so many pieces.
    pub(crate) fn new(proof: &Proof, pieces: u64) -> Option<PieceSums> {
        let can_tell = match proof {
            Proof::Checksum(algorithm, _) => algorithm.spans_parts(),
            Proof::Parts(_, parts) => u64::from(*parts) == pieces,
            Proof::Md5(_) | Proof::None => false,
        };
        let sums = vec![(Vec::new(), 0); usize::try_from(pieces).ok()?];
        can_tell.then(|| PieceSums { proof: proof.clone(), sums: Mutex::new(sums) })
    }

    pub(crate) fn hasher(&self) -> Hasher {
        self.proof.hasher().unwrap_or(Hasher::md5())
    }

    /// Piece number `index`, from 0 on, has arrived.
    pub(crate) fn add(&self, index: u64, sum: Hasher, len: u64) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = usize::try_from(index).ok().and_then(|index| sums.get_mut(index)) {
            *slot = (sum.finish(), len);
        }
    }

    /// Whether they are the sums of what was said.
    pub(crate) fn agree(&self) -> bool {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.proof {
            Proof::Checksum(algorithm, value) => {
                algorithm.of_pieces(&sums).is_some_and(|whole| *value == base64(&whole))
            }
            Proof::Parts(md5, _) => {
                let mut whole = Hasher::md5();
                sums.iter().for_each(|(sum, _)| whole.update(sum));
                whole.finish() == md5
            }
            Proof::Md5(_) | Proof::None => false,
        }
    }
}

/// What the content says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Same,
    Different,
    Unknown,
}

/// Reads `size` bytes of `file` and holds them against `proof`. `wanted` is the part size that an
/// upload of ours would have begun with.
pub(crate) fn compare(
    file: &File,
    size: u64,
    proof: &Proof,
    wanted: u64,
    cancel: &Cancel,
) -> Result<Answer, Cause> {
    if let Some(mut hasher) = proof.hasher() {
        read(file, size, cancel, |bytes| hasher.update(bytes))?;
        let same = proof.agrees(&hasher.finish());
        return Ok(if same { Answer::Same } else { Answer::Different });
    }
    let Proof::Parts(md5, parts) = proof else { return Ok(Answer::Unknown) };
    let mut tried: Vec<PartsHasher> = likely_part_sizes(size, *parts, wanted).collect();
    if tried.is_empty() {
        return Ok(Answer::Unknown);
    }
    read(file, size, cancel, |bytes| tried.iter_mut().for_each(|hasher| hasher.update(bytes)))?;
    let same = tried.into_iter().any(|hasher| hasher.finish() == md5);
    // A mismatch may only mean that the parts were cut otherwise.
    Ok(if same { Answer::Same } else { Answer::Unknown })
}

fn read(file: &File, size: u64, cancel: &Cancel, mut each: impl FnMut(&[u8])) -> Result<(), Cause> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        if cancel.is_cancelled() {
            return Err(Cause::Interrupted);
        }
        let want = buffer.len().min(usize::try_from(size - at).unwrap_or(buffer.len()));
        match file.read_at(&mut buffer[..want], at) {
            Ok(0) => return Err(Cause::Changed("the file became shorter while it was read")),
            Ok(read) => {
                each(&buffer[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Cause::Io(error)),
        }
    }
    Ok(())
}

/// The part sizes of the usual tools that cut `size` bytes into just so many parts.
fn likely_part_sizes(size: u64, parts: u32, wanted: u64) -> impl Iterator<Item = PartsHasher> {
    let ours = part_size(size, wanted);
    let usual = [5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024];
    let usual = usual.into_iter().map(|mib| mib << 20).filter(move |usual| *usual != ours);
    std::iter::once(ours)
        .chain(usual)
        .filter(move |part| size.div_ceil(*part).max(1) == u64::from(parts))
        .map(PartsHasher::new)
}

/// Makes the MD5 of the parts' MD5s, which is the ETag of a multipart upload.
struct PartsHasher {
    part_size: u64,
    left: u64,
    part: Hasher,
    whole: Hasher,
}

impl PartsHasher {
    fn new(part_size: u64) -> PartsHasher {
        PartsHasher { part_size, left: part_size, part: Hasher::md5(), whole: Hasher::md5() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.end_part();
            }
            let now = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.part.update(&bytes[..now]);
            self.left -= now as u64;
            bytes = &bytes[now..];
        }
    }

    fn end_part(&mut self) {
        let part = std::mem::replace(&mut self.part, Hasher::md5());
        self.whole.update(&part.finish());
        self.left = self.part_size;
    }

    fn finish(mut self) -> Vec<u8> {
        self.end_part();
        self.whole.finish()
    }
}

/// Holds what arrives against a file.
pub(crate) struct Comparing<'a> {
    file: &'a File,
    pub differs: bool,
}

impl Comparing<'_> {
    pub(crate) fn with(file: &File) -> Comparing<'_> {
        Comparing { file, differs: false }
    }
}

impl Sink for Comparing<'_> {
    fn head(&mut self, _: &Head) {}

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Cause> {
        if !self.differs {
            let mut ours = vec![0; bytes.len()];
            match self.file.read_exact_at(&mut ours, offset) {
                Ok(()) => self.differs = ours != bytes,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    self.differs = true
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_a_multipart_upload_is_made_anew() {
        let mut hasher = PartsHasher::new(2);
        hasher.update(b"aab");
        hasher.update(b"bc");
        let mut expected = Hasher::md5();
        for part in [&b"aa"[..], b"bb", b"c"] {
            let mut md5 = Hasher::md5();
            md5.update(part);
            expected.update(&md5.finish());
        }
        assert_eq!(hasher.finish(), expected.finish());
    }

    #[test]
    fn only_part_sizes_that_give_the_number_of_parts_are_tried() {
        let sizes = |size, parts| -> Vec<u64> {
            likely_part_sizes(size, parts, 16 << 20).map(|hasher| hasher.part_size >> 20).collect()
        };
        assert_eq!(sizes(40 << 20, 5), [8]);
        assert_eq!(sizes(40 << 20, 3), [16, 15]);
        assert_eq!(sizes(40 << 20, 7), Vec::<u64>::new());
    }
}
