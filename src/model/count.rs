//! A number of entries and bytes.

/// A number of entries and their total size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// The number of files or objects.
    pub entries: u64,
    /// Their total size in bytes.
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.entries += 1;
        // A listing may contain any size, so the sum may exceed the range.
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
