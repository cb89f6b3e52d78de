//! Encoded keys in responses.

use percent_encoding::percent_decode_str;

use crate::s3::quirks::KeyEncoding;

/// Decodes a key. One that is not UTF-8 is returned as bytes.
pub(crate) fn decode(key: String, encoding: KeyEncoding) -> Result<String, Vec<u8>> {
    if encoding == KeyEncoding::None || !key.contains(['%', '+']) {
        return Ok(key);
    }
    let spaced = if encoding == KeyEncoding::Form { key.replace('+', " ") } else { key };
    let bytes: Vec<u8> = percent_decode_str(&spaced).collect();
    String::from_utf8(bytes).map_err(|error| error.into_bytes())
}
