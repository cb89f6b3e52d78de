//! Removing leftover temporary files of earlier restores.
//!
//! Only a restore removes them. A backup changes no file in its directory; it only names them.

use crate::{
    error::{Cause, Error},
    report::{Event, Report},
    transfer::context::RunContext,
};

/// Removes the temporary files of restores that ended before they could do so. Those of a run that is
/// still active, in a directory above or below this one, are kept.
pub(super) fn remove(
    context: &RunContext,
    leftovers: &[String],
    report: &mut Report,
    on_event: &mut dyn FnMut(Event),
) {
    for path in leftovers {
        if let Err(cause) = remove_one(context, path) {
            report.fail(Error::new("delete temporary file", path.as_str(), cause), on_event);
        }
    }
}

fn remove_one(context: &RunContext, path: &str) -> Result<(), Cause> {
    if context.root.is_locked_by_another_run(path)? {
        return Ok(());
    }
    context.root.parent(path, false)?.remove_any_file()
}
