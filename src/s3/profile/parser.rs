//! The format of the shared files.
//!
//! The format looks like INI, but general INI parsers read it wrong:
//! - A backslash is an ordinary character. Parsers that treat it as a line continuation would
//!   append the next line to a secret key that ends in one.
//! - Indentation marks nested settings.
//! - Inside a value, `#` or `;` starts a comment only after a blank.

use std::collections::BTreeMap;

/// The sections of a file, by the text between their brackets. It has one space after the first
/// word, as in `profile my-name`.
pub(super) type Sections = BTreeMap<String, Settings>;

/// The settings of a section. An unset and an empty setting are the same: `None`.
#[derive(Clone, Default)]
pub(super) struct Settings {
    /// By the name in lower case. See [`nested_key`] for nested settings.
    values: BTreeMap<String, String>,
}

impl Settings {
    /// A setting by its name in lower case.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A setting in an indented block, such as `addressing_style` in `s3 =`.
    pub(super) fn nested(&self, block: &str, key: &str) -> Option<&str> {
        self.get(&nested_key(block, key))
    }

    /// Adds the settings of `other`, which replace those of the same name, even if they are empty.
    pub(super) fn override_with(&mut self, other: Settings) {
        self.values.extend(other.values);
    }

    /// The names of all settings.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// A line that fits none of the forms of the format. Contains nothing of the file's content.
#[derive(Debug)]
pub(super) struct Malformed {
    /// The line number, from 1.
    pub line: usize,
    /// What is wrong with the line.
    pub problem: &'static str,
}

const BLANK: [char; 3] = [' ', '\t', '\r'];

/// Parses a file. Sections of the same name are merged. Of settings of the same name, the last one
/// counts.
pub(super) fn parse(text: &str) -> Result<Sections, Malformed> {
    let mut sections = Sections::new();
    let mut section: Option<&mut Settings> = None;
    // The last setting that was not nested, and its indentation. A line that is indented more
    // belongs to it. The AWS CLI accepts files that indent all settings alike, so only the
    // difference counts.
    let mut current: Option<(usize, String)> = None;

    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let body = line.trim_matches(BLANK);
        let indent = line.len() - line.trim_start_matches(BLANK).len();
        if body.is_empty() || body.starts_with(['#', ';']) {
            continue;
        }
        let malformed = |problem| Malformed { line: number, problem };
        if let (Some(settings), Some((outer, key))) = (&mut section, &current)
            && indent > *outer
        {
            match settings.values.get_mut(key).filter(|value| !value.is_empty()) {
                // A value that continues on this line.
                Some(value) => value.extend(["\n", without_comment(body)]),
                // A block of nested settings.
                None => {
                    let (nested, value) = parse_setting(body).map_err(malformed)?;
                    settings.values.insert(nested_key(key, &nested), value);
                }
            }
        } else if let Some(rest) = body.strip_prefix('[') {
            let (name, rest) = rest.split_once(']').ok_or(malformed("'[' without ']'"))?;
            let rest = rest.trim_start_matches(BLANK);
            if !rest.is_empty() && !rest.starts_with(['#', ';']) {
                return Err(malformed("text after ']'"));
            }
            section = Some(sections.entry(section_name(name)).or_default());
            current = None;
        } else {
            let settings =
                section.as_mut().ok_or(malformed("a setting before the first [section]"))?;
            let (key, value) = parse_setting(body).map_err(malformed)?;
            settings.values.insert(key.clone(), value);
            current = Some((indent, key));
        }
    }
    Ok(sections)
}

/// The key of a nested setting. No other name contains a newline, so it is unique.
fn nested_key(block: &str, key: &str) -> String {
    format!("{block}\n{key}")
}

/// Normalizes a section name: `profile  "my name"` becomes `profile my name`.
fn section_name(name: &str) -> String {
    match name.trim_matches(BLANK).split_once(BLANK) {
        None => name.trim_matches(BLANK).to_owned(),
        Some((kind, name)) => {
            let name = name.trim_matches(BLANK);
            let unquoted = ['"', '\''].iter().find_map(|&q| name.strip_prefix(q)?.strip_suffix(q));
            format!("{kind} {}", unquoted.unwrap_or(name))
        }
    }
}

/// Splits `key = value` at the first `=`.
fn parse_setting(body: &str) -> Result<(String, String), &'static str> {
    let (key, value) = without_comment(body).split_once('=').ok_or("a line without '='")?;
    match key.trim_matches(BLANK) {
        "" => Err("'=' without a name before it"),
        key => Ok((key.to_ascii_lowercase(), value.trim_matches(BLANK).to_owned())),
    }
}

/// Removes a comment, which starts with `#` or `;` after a blank.
fn without_comment(body: &str) -> &str {
    let is_start =
        |&(at, mark): &(usize, &str)| matches!(mark, "#" | ";") && body[..at].ends_with(BLANK);
    let end = body.match_indices(['#', ';']).find(is_start).map_or(body.len(), |(at, _)| at);
    body[..end].trim_end_matches(BLANK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_interpreted() {
        let value = |text: &str| {
            let sections = parse(&format!("[default]\nk = {text}\n")).unwrap();
            sections["default"].get("k").map(str::to_owned)
        };
        for text in [
            "C:\\new\\table",
            "ends in a backslash\\",
            "\"quoted\" 'words'",
            "a=b=c",
            "%(region)s ${HOME} $(id)",
            "a#b;c",
            "http://[::1]:9/x?y=z#f",
            "täglich 🐱",
            "a: b",
        ] {
            assert_eq!(value(text).as_deref(), Some(text));
        }
        assert_eq!(value("a\t; b").as_deref(), Some("a"));
        assert_eq!(value("# only").as_deref(), None);
        assert_eq!(value("one\n  two # c\n\n   three").as_deref(), Some("one\ntwo\nthree"));
    }

    #[test]
    fn any_text_is_parsed_or_refused() {
        for text in [
            "[",
            "[]",
            "[]]",
            "=",
            "[a]\n=",
            "[a]\n\u{a0}",
            "[a]\n\0=\0",
            "[a]\nk=\n =",
            "\u{feff}\u{feff}[a]",
            "[a]\r\r\nk=v\r",
        ] {
            let _ = parse(text);
        }
        let long = format!("[a]\nk = {}\n", "x ;".repeat(200_000));
        assert_eq!(parse(&long).unwrap()["a"].get("k"), Some("x"));
    }
}
