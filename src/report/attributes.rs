//! The attributes that restored files do not have.
//!
//! A target may refuse them for every file, so they are counted by cause, and each cause is one
//! warning. The content of these files is right: they are restored, and not failures.

use std::fmt;

use crate::model::{
    attribute::{Attribute, Unpreserved},
    escape::Escaped,
};

/// The most paths that are kept for each cause.
const EXAMPLES: usize = 3;

/// What follows from modification times that are not those of the objects.
const ADVICE: &str =
    "; later runs compare the contents of such files, without a record only with --checksum";

/// Restored files that do not have an attribute, all for the same reason. Their content is right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnpreservedAttribute {
    /// What they do not have.
    pub attribute: Attribute,
    /// Why: the words of the system, for example.
    pub reason: String,
    /// The number of files.
    pub files: u64,
    /// The paths of the first few of them.
    pub examples: Vec<String>,
}

/// Adds a file to the others with the same attribute and reason.
pub(super) fn add(
    all: &mut Vec<UnpreservedAttribute>,
    path: &str,
    Unpreserved { attribute, reason }: &Unpreserved,
) {
    let is_same = |one: &UnpreservedAttribute| one.attribute == *attribute && one.reason == *reason;
    let index = all.iter().position(is_same).unwrap_or_else(|| {
        all.push(UnpreservedAttribute {
            attribute: *attribute,
            reason: reason.clone(),
            files: 0,
            examples: Vec::new(),
        });
        all.len() - 1
    });
    if let Some(one) = all.get_mut(index) {
        one.files += 1;
        if one.examples.len() < EXAMPLES {
            one.examples.push(path.to_owned());
        }
    }
}

impl fmt::Display for UnpreservedAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.attribute {
            Attribute::Time => "the modification time of the object",
            Attribute::Mode => "the wanted permissions",
            Attribute::Owner => "the wanted owner",
            Attribute::Group => "the wanted group",
            Attribute::Acl => "the wanted ACL",
        };
        let (files, word) = (self.files, if self.files == 1 { "file does" } else { "files do" });
        write!(f, "{files} restored {word} not have {what} (")?;
        for (n, path) in self.examples.iter().enumerate() {
            write!(f, "{}{}", if n > 0 { ", " } else { "" }, Escaped(path))?;
        }
        match files.saturating_sub(self.examples.len() as u64) {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        write!(f, "): {}", self.reason)?;
        if self.attribute == Attribute::Time {
            f.write_str(ADVICE)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_attribute_and_reason() {
        let mut all = Vec::new();
        let mut note = |path: &str, attribute, reason: &str| {
            add(&mut all, path, &Unpreserved { attribute, reason: reason.to_owned() });
        };
        for n in 1..=5 {
            note(&format!("file {n}"), Attribute::Time, "not permitted");
        }
        note("a", Attribute::Time, "not supported");
        note("b", Attribute::Mode, "not permitted");
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        let expected = [
            "5 restored files do not have the modification time of the object (file 1, file 2, \
             file 3 and 2 more): not permitted; later runs compare the contents of such files, without \
             a record only with --checksum",
            "1 restored file does not have the modification time of the object (a): not supported; \
             later runs compare the contents of such files, without a record only with --checksum",
            "1 restored file does not have the wanted permissions (b): not permitted",
        ];
        assert_eq!(texts, expected);
    }
}
