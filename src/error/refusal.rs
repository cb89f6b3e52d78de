//! Why a run was refused before it changed anything.

use std::fmt;

use crate::model::{bucket_url::BucketUrl, escape::Escaped, paths::MAX_KEY_BYTES};

/// How many empty directories a message names.
const NAMED_DIRECTORIES: usize = 10;

/// Why a run was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The source is empty, and something would be deleted.
    EmptySource {
        /// The number of entries in the target.
        target_entries: u64,
    },
    /// The run would delete more entries than the guards allow.
    TooManyDeletions {
        /// The number of entries that the run would delete.
        deletions: u64,
        /// The number of entries in the target.
        target_entries: u64,
    },
    /// The directory and the bucket have almost nothing in common, and the run would delete something.
    Unrelated {
        /// The directory.
        dir: String,
        /// The bucket.
        bucket: Box<BucketUrl>,
        /// The number of entries with the same path on both sides, or the same base name and size.
        shared: u64,
        /// The number of entries on the smaller side.
        smaller: u64,
        /// The number of entries that the run would delete.
        deletions: u64,
    },
    /// Directories still exist but are empty, and the backup would delete the objects below them.
    EmptiedDirectories {
        /// The directory of the backup.
        dir: String,
        /// The bucket.
        bucket: Box<BucketUrl>,
        /// The paths of the empty directories, each with the number of objects below it. Only the
        /// outermost ones: an empty directory may contain others.
        directories: Vec<(String, u64)>,
    },
    /// The run would transfer much only because contents could not be compared.
    TooMuchDoubt {
        /// The number of entries whose contents could not be compared.
        doubtful: u64,
        /// The number of paths that both sides have.
        pairs: u64,
    },
    /// Some keys are too long. All of them are listed.
    KeysTooLong(Vec<String>),
    /// The question was not answered with yes.
    NotConfirmed,
    /// Another process has locked this directory: another run, or a program such as flock(1).
    Busy(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::EmptySource { target_entries } => write!(
                f,
                "the source is empty, but the target has {target_entries} entries; check that the \
                 directory is mounted and the prefix is right, or use --allow-empty"
            ),
            Refusal::TooManyDeletions { deletions, target_entries } => write!(
                f,
                "{deletions} of the target's {target_entries} entries would be deleted; raise the \
                 limit with --max-delete N or P%, or keep them with --no-delete"
            ),
            Refusal::Unrelated { dir, bucket, shared, smaller, deletions } => write!(
                f,
                "{} and {} have almost nothing in common (shared: {shared} of {smaller} entries; to \
                 delete: {deletions}); check the directory and the prefix. If both are right, use \
                 --allow-unrelated, or keep the entries with --no-delete",
                Escaped(dir),
                Escaped(&bucket.to_string()),
            ),
            Refusal::EmptiedDirectories { dir, bucket, directories } => {
                let (are_empty, them) = match directories.len() {
                    1 => ("directory is empty", "it"),
                    _ => ("directories are empty", "them"),
                };
                write!(
                    f,
                    "in {}, {} {are_empty}, but {} has objects below {them} that would be deleted:",
                    Escaped(dir),
                    directories.len(),
                    Escaped(&bucket.to_string()),
                )?;
                for (path, objects) in directories.iter().take(NAMED_DIRECTORIES) {
                    write!(f, "\n  {}: {objects} objects", Escaped(path))?;
                }
                if directories.len() > NAMED_DIRECTORIES {
                    write!(f, "\n  and {} more", directories.len() - NAMED_DIRECTORIES)?;
                }
                f.write_str(
                    "\ncheck that all file systems are mounted. If the files were removed or moved \
                     on purpose, use --allow-empty, or keep the objects with --no-delete",
                )
            }
            Refusal::TooMuchDoubt { doubtful, pairs } => write!(
                f,
                "the contents of {doubtful} of {pairs} files could not be compared with their \
                 objects, and all of these would be transferred; check with verify whether they \
                 differ, or use --allow-doubt"
            ),
            Refusal::KeysTooLong(keys) => {
                let count = keys.len();
                write!(
                    f,
                    "{count} keys are longer than {MAX_KEY_BYTES} bytes; shorten these names:"
                )?;
                keys.iter().try_for_each(|key| write!(f, "\n  {}", Escaped(key)))
            }
            Refusal::NotConfirmed => f.write_str("the plan was not confirmed; nothing was changed"),
            Refusal::Busy(dir) => {
                write!(
                    f,
                    "{} is locked by another process: another s3keep, or a program such as flock(1) \
                     that locks the same directory; try again later",
                    Escaped(dir)
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_the_first_empty_directories_and_counts_the_others() {
        let message = |count: u64| {
            let directories = (0..count).map(|n| (format!("mnt\n{n}"), 20 + n)).collect();
            let (dir, bucket) = ("/srv".to_owned(), Box::new("s3://bucket/srv".parse().unwrap()));
            Refusal::EmptiedDirectories { dir, bucket, directories }.to_string()
        };
        let one = message(1);
        assert!(
            one.starts_with("in /srv, 1 directory is empty, but s3://bucket/srv/ has"),
            "{one}"
        );
        assert!(one.contains("\n  mnt\\u{a}0: 20 objects\ncheck that"), "{one}");
        let twelve = message(12);
        assert!(twelve.starts_with("in /srv, 12 directories are empty"), "{twelve}");
        assert!(twelve.contains("9: 29 objects\n  and 2 more\ncheck that"), "{twelve}");
        assert!(!message(10).contains(" more\n"));
    }
}
