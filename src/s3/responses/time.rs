//! Times in responses.

use crate::model::time::Timestamp;

/// Parses a time in one of the forms that stores send: RFC 3339, the same with an offset without a
/// colon (`+0000`), or an HTTP date. `None` if the text is none of these.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    Timestamp::parse_rfc3339(text)
        .or_else(|| {
            // `2024-02-29T12:34:56.789+0000`
            let at = text.len().checked_sub(5).filter(|_| text.is_ascii())?;
            let (time, offset) = text.split_at(at);
            let digits = offset.strip_prefix(['+', '-'])?;
            let is_offset = digits.bytes().all(|byte| byte.is_ascii_digit());
            let with_colon = format!("{time}{}:{}", &offset[..3], &offset[3..]);
            is_offset.then(|| Timestamp::parse_rfc3339(&with_colon)).flatten()
        })
        .or_else(|| httpdate::parse_http_date(text).ok().map(Timestamp::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_parsed() {
        let expected = Some(Timestamp::from_secs(1_709_210_096));
        for text in [
            "2024-02-29T12:34:56Z",
            "2024-02-29T12:34:56.7Z",
            "2024-02-29T12:34:56.789012345678Z",
            "2024-02-29T12:34:56+00:00",
            "2024-02-29T14:34:56.5+02:00",
            "2024-02-29T12:34:56+0000",
            "2024-02-29T10:34:56.789-0200",
            " Thu, 29 Feb 2024 12:34:56 GMT\n",
            "Thursday, 29-Feb-24 12:34:56 GMT",
        ] {
            assert_eq!(parse_time(text).map(Timestamp::whole_second), expected, "{text}");
        }
        for text in
            ["", "yesterday", "2024-02-29T12:34:56", "2024-02-29T12:34:56+00", "+0000", "é+0000"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
