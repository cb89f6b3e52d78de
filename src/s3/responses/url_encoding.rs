//! Keys in responses to requests with `encoding-type=url`.

use percent_encoding::percent_decode_str;

/// Decodes percent-encoding, and `+` for a space. A key that is not UTF-8 is returned as bytes.
pub(crate) fn decode(key: String) -> Result<String, Vec<u8>> {
    if !key.contains(['%', '+']) {
        return Ok(key);
    }
    let spaced = key.replace('+', " ");
    let bytes: Vec<u8> = percent_decode_str(&spaced).collect();
    String::from_utf8(bytes).map_err(|error| error.into_bytes())
}
