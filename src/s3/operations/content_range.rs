//! The header `Content-Range`.

use std::ops::Range;

/// The bytes that a `Content-Range` names. `None` if it names none.
///
/// ```text
/// bytes 0-99/1000
/// ```
pub(super) fn parse(text: &str) -> Option<Range<u64>> {
    let (unit, rest) = text.trim().split_once([' ', '='])?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, _) = rest.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then(|| first..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_parsed() {
        assert_eq!(parse("bytes 0-99/1000"), Some(0..100));
        assert_eq!(parse("bytes 5-5/*"), Some(5..6));
        assert_eq!(parse("Bytes=7-9/10"), Some(7..10));
        for text in ["", "bytes */1000", "bytes 9-5/10", "items 0-1/2", "bytes 0-1", "bytes a-b/c"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
