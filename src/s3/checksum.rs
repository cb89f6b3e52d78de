//! Computing the checksums of S3.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A checksum algorithm of S3
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// No checksum, only `Content-MD5`: for stores that support nothing else.
    None,
    /// CRC-64/NVME: the default of S3, and the fastest.
    #[default]
    Crc64Nvme,
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Checksum {
    /// All algorithms, fastest first.
    pub(crate) const ALL: [Checksum; 5] =
        [Checksum::Crc64Nvme, Checksum::Crc32c, Checksum::Crc32, Checksum::Sha1, Checksum::Sha256];

    /// The header for the value. `None` for no checksum.
    pub(crate) fn header(self) -> Option<&'static str> {
        match self {
            Checksum::None => None,
            Checksum::Crc64Nvme => Some("x-amz-checksum-crc64nvme"),
            Checksum::Crc32 => Some("x-amz-checksum-crc32"),
            Checksum::Crc32c => Some("x-amz-checksum-crc32c"),
            Checksum::Sha1 => Some("x-amz-checksum-sha1"),
            Checksum::Sha256 => Some("x-amz-checksum-sha256"),
        }
    }

    /// S3's name of the algorithm.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Checksum::None => "NONE",
            Checksum::Crc64Nvme => "CRC64NVME",
            Checksum::Crc32 => "CRC32",
            Checksum::Crc32c => "CRC32C",
            Checksum::Sha1 => "SHA1",
            Checksum::Sha256 => "SHA256",
        }
    }

    /// Whether a text can be a value of this checksum: base64 of the right length.
    pub(crate) fn is_value(self, text: &str) -> bool {
        BASE64.decode(text).is_ok_and(|value| value.len() == Hasher::new(self).finish().len())
    }

    /// Whether the checksum of a multipart upload is that of the whole object. This is so for the
    /// CRCs; the hashes are only available as a hash of the hashes of the parts.
    pub(crate) fn spans_parts(self) -> bool {
        self.crc().is_some()
    }

    /// The hasher for the content of a request. Without a checksum, it is the one of `Content-MD5`.
    pub(crate) fn content_hasher(self) -> Hasher {
        match self {
            Checksum::None => Hasher::md5(),
            algorithm => Hasher::new(algorithm),
        }
    }

    /// The CRC algorithm and its width in bytes. `None` for hashes.
    fn crc(self) -> Option<(CrcAlgorithm, usize)> {
        match self {
            Checksum::Crc64Nvme => Some((CrcAlgorithm::Crc64Nvme, 8)),
            Checksum::Crc32 => Some((CrcAlgorithm::Crc32IsoHdlc, 4)),
            Checksum::Crc32c => Some((CrcAlgorithm::Crc32Iscsi, 4)),
            Checksum::None | Checksum::Sha1 | Checksum::Sha256 => None,
        }
    }

    /// Computes the checksum of a whole from those of its parts, given with their lengths in bytes.
    /// `None` for hashes, where this is impossible.
    pub(crate) fn combine(self, parts: &[(Vec<u8>, u64)]) -> Option<Vec<u8>> {
        let (crc, width) = self.crc()?;
        let number = |digest: &[u8]| digest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let whole = parts
            .iter()
            .map(|(digest, len)| (number(digest), *len))
            .reduce(|(sum, _), (next, len)| (crc_fast::checksum_combine(crc, sum, next, len), len));
        whole.map(|(sum, _)| sum.to_be_bytes()[8 - width..].to_vec())
    }
}

/// The checksum of the content of an object or part, as it was sent with the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContentDigest {
    /// [`Checksum::None`] stands for `Content-MD5`.
    pub algorithm: Checksum,
    /// The value, in base64.
    pub value: String,
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Checksum, String> {
        [Checksum::None]
            .into_iter()
            .chain(Checksum::ALL)
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                format!(
                    "'{text}' is not a checksum algorithm: none, crc64nvme, crc32, crc32c, sha1, \
                     sha256"
                )
            })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Computes a digest incrementally.
#[derive(Clone)]
pub(crate) enum Hasher {
    None,
    Crc(crc_fast::Digest, usize),
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(crate) fn new(algorithm: Checksum) -> Hasher {
        match (algorithm, algorithm.crc()) {
            (_, Some((crc, width))) => Hasher::Crc(crc_fast::Digest::new(crc), width),
            (Checksum::Sha1, _) => Hasher::Sha1(Sha1::new()),
            (Checksum::Sha256, _) => Hasher::Sha256(Sha256::new()),
            _ => Hasher::None,
        }
    }

    pub(crate) fn md5() -> Hasher {
        Hasher::Md5(Md5::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::None => {}
            Hasher::Crc(crc, _) => crc.update(bytes),
            Hasher::Md5(md5) => md5.update(bytes),
            Hasher::Sha1(sha1) => sha1.update(bytes),
            Hasher::Sha256(sha256) => sha256.update(bytes),
        }
    }

    /// The digest, most significant byte first.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Hasher::None => Vec::new(),
            Hasher::Crc(crc, width) => crc.finalize().to_be_bytes()[8 - width..].to_vec(),
            Hasher::Md5(md5) => md5.finalize().to_vec(),
            Hasher::Sha1(sha1) => sha1.finalize().to_vec(),
            Hasher::Sha256(sha256) => sha256.finalize().to_vec(),
        }
    }
}

/// The MD5 of the MD5s of parts, which is in the ETag of a multipart upload.
pub(crate) fn md5_of_md5s(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut whole = Hasher::md5();
    parts.into_iter().for_each(|md5| whole.update(md5.as_ref()));
    whole.finish()
}

pub(crate) fn base64(digest: &[u8]) -> String {
    BASE64.encode(digest)
}

/// The bytes of a digest in base64. `None` if the text is something else.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

pub(crate) fn hex(digest: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the CRC catalogue, and digests as of RFC 1321 and FIPS 180.
    #[test]
    fn digests_of_the_check_string_are_right() {
        let cases = [
            (Checksum::Crc64Nvme, "ae8b14860a799888"),
            (Checksum::Crc32, "cbf43926"),
            (Checksum::Crc32c, "e3069283"),
            (Checksum::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Checksum::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ];
        for (algorithm, expected) in cases {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            assert_eq!(hex(&hasher.finish()), expected, "{algorithm}");
            assert_eq!(algorithm.name().to_lowercase().parse(), Ok(algorithm));

            let part = |bytes: &[u8]| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(bytes);
                (hasher.finish(), bytes.len() as u64)
            };
            let whole = algorithm.combine(&[part(b"12"), part(b"3456"), part(b"789")]);
            let is_crc = algorithm.spans_parts().then_some(expected);
            assert_eq!(whole.as_deref().map(hex).as_deref(), is_crc, "{algorithm}");
        }
        let mut hasher = Hasher::md5();
        hasher.update(b"123456789");
        assert_eq!(hex(&hasher.finish()), "25f9e794323b453885f5181f1b624d0b");
    }
}
