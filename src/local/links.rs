//! Symlinks: the target of a link, and the other links on the way there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::model::skip::SkipReason;

/// The most links that the kernel follows in one path.
const MAX_HOPS: usize = 40;

/// The target of a link. Real paths are relative to the root.
pub(super) enum LinkTarget {
    Directory {
        real: PathBuf,
    },
    /// Anything but a directory.
    File {
        real: PathBuf,
        metadata: fs::Metadata,
    },
    /// Nothing that a scan can include.
    Skipped(SkipReason),
}

/// Follows the link at `link` to its end. `root` must be canonical.
pub(super) fn follow(root: &Path, link: &Path) -> io::Result<LinkTarget> {
    let target = match link.canonicalize() {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(LinkTarget::Skipped(SkipReason::LinkDangling));
        }
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            return Ok(LinkTarget::Skipped(SkipReason::LinkLoop));
        }
        Err(error) => return Err(error),
    };
    let Ok(real) = target.strip_prefix(root) else {
        return Ok(LinkTarget::Skipped(SkipReason::LinkOutside));
    };
    let real = real.to_owned();
    let metadata = fs::symlink_metadata(&target)?;
    Ok(if metadata.is_dir() {
        LinkTarget::Directory { real }
    } else {
        LinkTarget::File { real, metadata }
    })
}

/// The real paths of the other links below the root that the link at `link` leads through. `root`
/// must be canonical.
pub(super) fn hops(root: &Path, link: &Path) -> Vec<PathBuf> {
    let mut hops = Vec::new();
    let mut current = link.to_owned();
    for _ in 0..MAX_HOPS {
        let Ok(target) = fs::read_link(&current) else { break };
        let next = current.parent().unwrap_or(root).join(target);
        let (Some(dir), Some(name)) = (next.parent(), next.file_name()) else { break };
        let Ok(dir) = dir.canonicalize() else { break };
        current = dir.join(name);
        if current.is_symlink()
            && let Ok(hop) = current.strip_prefix(root)
        {
            hops.push(hop.to_owned());
        }
    }
    hops
}
