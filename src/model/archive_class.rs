//! Storage classes of archived objects.

use std::fmt;

/// A storage class whose objects cannot be read before the store has retrieved them, which may take
/// hours. Objects of `GLACIER_IR` can be read like any others. The archive tiers of
/// `INTELLIGENT_TIERING` do not appear in listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveClass {
    /// `GLACIER`.
    Glacier,
    /// `DEEP_ARCHIVE`.
    DeepArchive,
}

impl ArchiveClass {
    /// The class of this name. `None` for one whose objects can be read.
    pub(crate) fn parse(storage_class: &str) -> Option<ArchiveClass> {
        match storage_class.trim() {
            "GLACIER" => Some(ArchiveClass::Glacier),
            "DEEP_ARCHIVE" => Some(ArchiveClass::DeepArchive),
            _ => None,
        }
    }
}

/// The name of the storage class.
impl fmt::Display for ArchiveClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArchiveClass::Glacier => "GLACIER",
            ArchiveClass::DeepArchive => "DEEP_ARCHIVE",
        })
    }
}
