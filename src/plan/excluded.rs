//! How many entries a run does not look at.

/// The number of excluded entries. A directory that was not read counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Excluded {
    /// Local entries.
    pub local: u64,
    /// Objects.
    pub remote: u64,
}

impl Excluded {
    /// Whether nothing is excluded.
    pub fn is_empty(&self) -> bool {
        *self == Excluded::default()
    }
}
