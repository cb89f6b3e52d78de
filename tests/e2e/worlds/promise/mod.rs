//! One promise: content that existed throughout a run is always stored in at least one place.
//!
//! A history is a list of steps: edits by the user, changes in the bucket by another program, lost
//! files, and runs of the command. Runs are killed or fail at random moments, and the user edits,
//! renames and appends to files meanwhile. Each content is different, so the oracle needs no paths:
//!
//! - After a backup with exit code 0, each content that the directory had throughout is in the bucket,
//!   under whatever name. If the file grew, the object may have less than the file, but not less than the
//!   file had before the run.
//! - After a backup with exit code 2, the same holds, unless the file is named or was not stored before.
//! - A backup never changes the directory, and a restore never changes the bucket.
//! - After an unfinished restore, what it has not restored stays in the bucket until a restore is
//!   complete.
//! - A file that the user creates while a restore downloads survives.
//!
//! | file | content |
//! | --- | --- |
//! | `case` | histories as data |
//! | `user` | the user of the directory, and what the user remembers |
//! | `sandbox` | the runs and the oracle |

mod case;
mod sandbox;
mod user;

use crate::{
    support::store::Store,
    worlds::{
        promise::{
            case::{busy_directory, folded_names, history},
            sandbox::Sandbox,
        },
        runner::check,
    },
};

#[test]
fn interrupted_restores_followed_by_backups_lose_no_content() {
    let store = Store::start();
    check(8, history(), |case| {
        let mut sandbox = Sandbox::new(&store, &case);
        case.steps.iter().try_for_each(|step| sandbox.perform(step))?;
        sandbox.complete()
    });
}

#[test]
fn content_that_existed_throughout_a_backup_is_stored() {
    let store = Store::start();
    check(8, busy_directory(), |case| {
        let mut sandbox = Sandbox::new(&store, &case);
        case.steps.iter().try_for_each(|step| sandbox.perform(step))?;
        sandbox.complete()
    });
}

#[test]
fn content_is_stored_on_stores_that_fold_names() {
    let store = Store::start();
    check(8, folded_names(), |case| {
        let mut sandbox = Sandbox::new(&store, &case);
        case.steps.iter().try_for_each(|step| sandbox.perform(step))
    });
}
