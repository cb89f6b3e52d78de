//! Names as they are printed: one line each, and harmless to a terminal.

use std::fmt;

/// Displays a path or key with control and invisible format characters escaped.
///
/// A hostile name can then neither move the cursor, nor break a line, nor look like another name.
///
/// ```
/// use s3keep::Escaped;
///
/// assert_eq!(Escaped("a\nb").to_string(), r"a\u{a}b");
/// ```
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_printable(*c)) {
            write!(f, "{}{}", &rest[..at], c.escape_unicode())?;
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Format characters, such as bidirectional overrides, can make one name look like another.
fn is_printable(c: char) -> bool {
    let is_format = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !is_format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_name_is_printed_on_one_line_without_control_characters() {
        let escaped = Escaped("a\n\u{1b}[2Jb\u{202e}c").to_string();
        assert_eq!(escaped, "a\\u{a}\\u{1b}[2Jb\\u{202e}c");
    }
}
