//! How symlinks are treated.

/// How a run treats symlinks in the directory.
///
/// No link is followed out of the directory, and nothing is ever written through a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// A link to a file inside the directory counts as that file. Every other link is skipped and named.
    #[default]
    Inside,
    /// As `Inside`, and a link to a directory inside the directory counts as that directory. In one path,
    /// at most two such links are followed.
    Follow,
    /// Every link is excluded.
    Skip,
}
