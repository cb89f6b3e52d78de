//! Checksums: those that S3 keeps with an object, and MD5 for ETags.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use s3s::{S3Result, crypto, crypto::Checksum as _, dto, s3_error};

pub(super) const ALGORITHMS: [&str; 5] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

/// The algorithm of an upload without a checksum: S3's default.
pub(super) const DEFAULT_ALGORITHM: &str = "CRC64NVME";

/// A checksum that S3 keeps with an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Checksum {
    /// CRC32, CRC32C, CRC64NVME, SHA1 or SHA256.
    pub algorithm: &'static str,
    /// In base64. A composite checksum of N parts ends in `-N`.
    pub value: String,
    /// S3's type COMPOSITE, a checksum of the parts' checksums; otherwise FULL_OBJECT.
    pub composite: bool,
}

impl Checksum {
    pub fn of(algorithm: &'static str, body: &[u8]) -> Checksum {
        Checksum { algorithm, value: BASE64.encode(digest(algorithm, body)), composite: false }
    }

    pub(super) fn kind(&self) -> dto::ChecksumType {
        checksum_type(self.composite)
    }
}

pub(super) fn checksum_type(composite: bool) -> dto::ChecksumType {
    dto::ChecksumType::from_static(if composite {
        dto::ChecksumType::COMPOSITE
    } else {
        dto::ChecksumType::FULL_OBJECT
    })
}

/// Finds the algorithm that a request names.
pub(super) fn algorithm(name: &str) -> S3Result<&'static str> {
    let known = ALGORITHMS.into_iter().find(|known| *known == name);
    known.ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))
}

pub(super) fn digest(algorithm: &str, body: &[u8]) -> Vec<u8> {
    match algorithm {
        "CRC32" => crypto::Crc32::checksum(body).to_vec(),
        "CRC32C" => crypto::Crc32c::checksum(body).to_vec(),
        "CRC64NVME" => crypto::Crc64Nvme::checksum(body).to_vec(),
        "SHA1" => crypto::Sha1::checksum(body).to_vec(),
        "SHA256" => crypto::Sha256::checksum(body).to_vec(),
        other => panic!("S3 has no checksum algorithm {other}"),
    }
}

pub(super) fn md5(body: &[u8]) -> [u8; 16] {
    crypto::Md5::checksum(body)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sets the field for a checksum in an s3s output or part, if there is a checksum.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                "CRC32" => $output.checksum_crc32 = value,
                "CRC32C" => $output.checksum_crc32c = value,
                "CRC64NVME" => $output.checksum_crc64nvme = value,
                "SHA1" => $output.checksum_sha1 = value,
                _ => $output.checksum_sha256 = value,
            }
        }
    };
}
pub(super) use set_checksum;

/// The value of an algorithm's field in an s3s input or part.
macro_rules! checksum_field {
    ($input:expr, $algorithm:expr) => {
        match $algorithm {
            "CRC32" => $input.checksum_crc32.as_deref(),
            "CRC32C" => $input.checksum_crc32c.as_deref(),
            "CRC64NVME" => $input.checksum_crc64nvme.as_deref(),
            "SHA1" => $input.checksum_sha1.as_deref(),
            _ => $input.checksum_sha256.as_deref(),
        }
    };
}
pub(super) use checksum_field;
