//! Plans and runs through the library, and the paths that they concern.

use std::path::{Path, PathBuf};

use s3keep::{
    Access, AccessOptions, BucketUrl, Config, Env, Event, Guards, Keeper, MaxDelete, Plan, Report,
};

use crate::{
    support::store::{self, Store},
    worlds::observe::Paths,
};

/// A keeper that deletes any number of entries.
pub fn keeper(
    store: &Store,
    url: BucketUrl,
    dir: &Path,
    record: Option<PathBuf>,
    retries: u32,
) -> Keeper {
    let env = Env::default()
        .set("AWS_ACCESS_KEY_ID", store::ACCESS_KEY)
        .set("AWS_SECRET_ACCESS_KEY", store::SECRET_KEY)
        .set("AWS_CONFIG_FILE", "/nonexistent")
        .set("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    let endpoint = Some(store.endpoint());
    let access =
        Access::resolve(AccessOptions { endpoint, ..AccessOptions::default() }, env).unwrap();
    let mut config = Config::new(dir, url, access);
    config.guards = Guards {
        allow_empty: true,
        allow_unrelated: true,
        allow_doubt: true,
        max_delete: Some(MaxDelete::Percent(100)),
    };
    config.record = record;
    config.transfer.workers = 4;
    config.transfer.retries = retries;
    config.transfer.no_sync = true;
    Keeper::new(config).unwrap()
}

/// The report of a run, and the entries that its events named.
pub struct Executed {
    pub report: Report,
    pub transferred: Paths,
    pub deleted: Paths,
    /// The number of failure events.
    pub failed: u64,
}

pub fn execute(keeper: &Keeper, plan: Plan) -> Executed {
    let (mut transferred, mut deleted, mut failed) = (Paths::new(), Paths::new(), 0);
    let report = keeper.execute(plan, &mut |event| match event {
        Event::Transferred { path, .. } => {
            assert!(transferred.insert(path.to_owned()), "{path} is transferred twice")
        }
        Event::Deleted { path } => {
            assert!(deleted.insert(path.to_owned()), "{path} is deleted twice")
        }
        Event::Failed(_) => failed += 1,
        _ => {}
    });
    Executed { report: report.unwrap(), transferred, deleted, failed }
}

pub fn transfers(plan: &Plan) -> Paths {
    plan.transfers.iter().map(|transfer| transfer.path().to_owned()).collect()
}

pub fn deletions(plan: &Plan) -> Paths {
    plan.deletions.iter().map(|deletion| deletion.path.to_string()).collect()
}

/// The paths that a plan transfers or deletes.
pub fn changes(plan: &Plan) -> Paths {
    &transfers(plan) | &deletions(plan)
}

pub fn skipped(plan: &Plan) -> Paths {
    plan.skipped.iter().map(|skipped| skipped.path.clone()).collect()
}
