//! The marker of a restore, from before its first change to its end, and the markers of other runs.
//!
//! ```text
//! before the first change   write a marker that lists everything that is not restored yet
//! everything is restored    remove this marker and the older ones of the same root
//! some of it failed         replace them by one marker that lists just that
//! stopped early             keep them all
//! ```
//!
//! A backup writes none. It checks that no restore began since it was planned: before its first change
//! and, by [`find_new`], before its deletions.

use std::{mem, path::PathBuf};

use crate::{
    error::{Cause, Error, Result},
    model::{direction::Direction, paths::tree_order},
    plan::{Plan, Transfer},
    report::{Event, Report, Stage},
    transfer::context::RunContext,
};

/// The markers that a run writes and removes.
pub(crate) struct Markers<'a> {
    context: &'a RunContext<'a>,
    direction: Direction,
    /// The name of the marker that this run wrote.
    name: Option<String>,
    /// Why it was not written although the restore is not complete.
    problem: Option<Error>,
    /// The markers of earlier runs that this one removes.
    older: Vec<String>,
    /// The paths of the objects that this restore skips.
    skipped: Vec<Box<str>>,
    /// The number of transfers in the plan.
    transfers: u64,
    is_transferring: bool,
    /// The paths of the failed transfers.
    failed: Vec<String>,
}

impl<'a> Markers<'a> {
    /// Writes the marker of a restore.
    ///
    /// # Errors
    /// The marker of a restore cannot be written, or a restore began after a backup was planned. The run
    /// must not change anything.
    pub(crate) fn begin(context: &'a RunContext, plan: &mut Plan) -> Result<Markers<'a>> {
        let mut marker = Markers {
            context,
            direction: plan.direction,
            name: None,
            problem: None,
            older: mem::take(&mut plan.markers),
            skipped: mem::take(&mut plan.unrestored),
            transfers: plan.transfers.len() as u64,
            is_transferring: false,
            failed: Vec::new(),
        };
        let changes_nothing = plan.is_empty() && plan.leftovers.is_empty();
        if plan.direction == Direction::Backup {
            check_no_restore_began(context, plan)?;
            return Ok(marker);
        }
        if changes_nothing && marker.skipped.is_empty() {
            return Ok(marker);
        }
        let transfers = plan.transfers.iter().map(Transfer::path);
        match marker.write_list(transfers.chain(marker.skipped.iter().map(|path| &**path))) {
            Ok(name) => marker.name = Some(name),
            Err(error) if changes_nothing => marker.problem = Some(error),
            Err(error) => return Err(error),
        }
        Ok(marker)
    }

    /// Notes which transfers fail.
    pub(crate) fn watch(&mut self, event: &Event) {
        match event {
            Event::Stage(stage) => self.is_transferring = matches!(stage, Stage::Transferring(_)),
            Event::Failed(error)
                if self.is_transferring && self.direction == Direction::Restore =>
            {
                self.failed.push(error.subject().to_owned());
            }
            _ => {}
        }
    }

    /// Removes or replaces the markers at the end of the run.
    pub(crate) fn finish(mut self, report: &mut Report, on_event: &mut dyn FnMut(Event)) {
        if let Some(error) = self.problem.take() {
            report.fail(error, on_event);
            return;
        }
        // After an early end, this marker and the older ones stay.
        if report.fatal.is_none() {
            self.replace(report);
            for path in mem::take(&mut self.older) {
                if let Err(cause) = self.remove(&path) {
                    report.fail(Error::new("delete restore marker", path, cause), on_event);
                }
            }
        }
        let dir = &self.context.config.dir;
        report.unfinished = self.name.map(|name| dir.join(name));
    }

    /// Adds the marker of this run to those to remove, and writes a shorter one if necessary.
    fn replace(&mut self, report: &Report) {
        if self.direction == Direction::Backup {
            return;
        }
        let ended = report.transferred.entries + self.failed.len() as u64;
        if ended != self.transfers || self.failed.iter().any(String::is_empty) {
            // It is not known what was restored, so everything stays listed.
            self.older.clear();
            return;
        }
        let is_shorter = report.transferred.entries > 0;
        let failed = self.failed.iter().map(String::as_str);
        let mut rest: Vec<&str> = failed.chain(self.skipped.iter().map(|path| &**path)).collect();
        rest.sort_unstable_by(|a, b| tree_order(a, b));
        if rest.is_empty() {
            self.older.extend(self.name.take());
        } else if is_shorter {
            match self.write_list(rest.into_iter()) {
                Ok(name) => self.older.extend(self.name.replace(name)),
                // The longer list is as safe. The disk may be full.
                Err(_) => self.older.clear(),
            }
        }
    }

    fn write_list<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Result<String> {
        self.context.root.write_marker(paths).map_err(|cause| {
            let dir = self.context.config.dir.display().to_string();
            Error::new("write restore marker in", dir, cause)
        })
    }

    /// Removes a marker, unless it belongs to a run that is active in a directory below.
    fn remove(&self, path: &str) -> Result<(), Cause> {
        let root = self.context.root;
        let is_of_this_root = !path.contains('/');
        if is_of_this_root || !root.is_locked_by_another_run(path)? {
            root.remove_marker(path)?;
        }
        Ok(())
    }
}

/// Checks that no restore began in a directory in which the backup would overwrite or delete objects.
fn check_no_restore_began(context: &RunContext, plan: &Plan) -> Result<()> {
    let replaced = plan.transfers.iter().filter(|transfer| transfer.object.is_some());
    let deleted = plan.deletions.iter().map(|deletion| &*deletion.path);
    match find_new(context, replaced.map(Transfer::path).chain(deleted))?.first() {
        None => Ok(()),
        Some((_, marker)) => {
            let dir = marker.parent().unwrap_or(marker).display().to_string();
            Err(Error::new("back up", dir, Cause::Changed(RESTORE_BEGAN)))
        }
    }
}

/// Why a backup changes nothing where a restore began after it was planned.
pub(super) const RESTORE_BEGAN: &str =
    "a restore into this directory began after the scan; run the backup again when it is complete";

/// The markers of restores that began after the run was planned, in the directories of `paths` and
/// above: the directory of each below the root, and where it is.
pub(super) fn find_new<'p>(
    context: &RunContext,
    paths: impl Iterator<Item = &'p str>,
) -> Result<Vec<(String, PathBuf)>> {
    let mut paths = paths.peekable();
    if paths.peek().is_none() {
        return Ok(Vec::new());
    }
    let found = context.root.new_markers(paths, &context.known_markers);
    let dir = || context.config.dir.display().to_string();
    found.map_err(|error| Error::new("read directory", dir(), error))
}
