//! The headers that describe an object.

use crate::{
    model::etag::ETag,
    s3::{checksum::Checksum, transport::Response},
};

/// An object, as the headers of a response describe it.
#[derive(Debug)]
pub(crate) struct Head {
    /// The size of the object. `None` if there is no such header: some proxies drop it.
    pub size: Option<u64>,
    pub etag: ETag,
    /// Whether the ETag is not an MD5 even if it looks like one: under SSE-KMS and SSE-C.
    pub opaque_etag: bool,
    /// The checksum of the whole object, in base64.
    pub checksum: Option<(Checksum, String)>,
}

impl Head {
    pub(crate) fn read(response: &Response) -> Head {
        let encryption = response.header("x-amz-server-side-encryption");
        let customer_key = response.header("x-amz-server-side-encryption-customer-algorithm");
        let size = match response.header("content-range") {
            Some(range) => range.rsplit('/').next(),
            None => response.header("content-length"),
        };
        Head {
            size: size.and_then(|text| text.parse().ok()),
            etag: response.header("etag").map_or(ETag::None, ETag::parse),
            opaque_etag: encryption.is_some_and(|kind| kind.starts_with("aws:kms"))
                || customer_key.is_some(),
            checksum: full_object_checksum(response),
        }
    }
}

/// The checksum of the whole object. A composite one is of no use: it is a checksum of the
/// checksums of parts whose sizes are unknown. Its value ends in `-` and the number of parts.
fn full_object_checksum(response: &Response) -> Option<(Checksum, String)> {
    if response.header("x-amz-checksum-type").is_some_and(|kind| kind == "COMPOSITE") {
        return None;
    }
    Checksum::ALL.into_iter().find_map(|algorithm| {
        let value = response.header(algorithm.header()?)?;
        (!value.contains('-')).then(|| (algorithm, value.to_owned()))
    })
}
