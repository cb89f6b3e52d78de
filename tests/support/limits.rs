//! What a real server cannot do, so that a part of a test does not apply to it.
//!
//! `S3KEEP_TEST_LIMITS` names these limits, separated by spaces. A test without such a part must pass.

/// A limit of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `signatures`: the server accepts any signature (MiniStack, moto).
    Signatures,
    /// `newlines`: the server has no address for a key with a line break (moto).
    Newlines,
    /// `paths`: the server keeps objects as files. It cannot hold `a` and `a/b` at the same time, also
    /// not one after the other, and stores the directory marker `a/` as a file (`rclone serve s3`).
    Paths,
}

const NAMES: [(&str, Limit); 3] =
    [("signatures", Limit::Signatures), ("newlines", Limit::Newlines), ("paths", Limit::Paths)];

impl Limit {
    /// The limits that the environment names.
    pub fn of_environment() -> Vec<Limit> {
        let names = std::env::var("S3KEEP_TEST_LIMITS").unwrap_or_default();
        let limit = |name: &str| {
            let found = NAMES.iter().find(|(known, _)| *known == name);
            found.unwrap_or_else(|| panic!("S3KEEP_TEST_LIMITS: unknown limit {name}")).1
        };
        names.split_whitespace().map(limit).collect()
    }
}
