//! The decision rule with its record: changes that times do not show, what is read and what is not,
//! and records that are lost, damaged or switched off.

mod changes;
mod doubt;
mod file;
mod reading;
mod uploads;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use s3keep::{Config, Direction, Event, Keeper, Plan, Report, Stage};

use crate::{embedding, support::World};

/// Waits until the files that exist now are old enough to be recorded.
fn settle() {
    thread::sleep(Duration::from_millis(2_100));
}

fn mtime(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

fn set_mtime(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Writes other content and sets the mtime back, as `touch -r` does.
fn rewrite_and_set_mtime_back(path: &Path, content: &str) {
    let before = mtime(path);
    fs::write(path, content).unwrap();
    set_mtime(path, before);
}

/// The record of the only directory that a world has runs for.
fn record_of(world: &World) -> PathBuf {
    let mut found = fs::read_dir(world.path(".cache/s3keep")).unwrap();
    let record = found.next().expect("there is a record").unwrap().path();
    assert!(found.next().is_none(), "there is one record");
    record
}

/// The configuration of a library user with a record.
fn with_record(world: &World, dir: &str) -> Config {
    let mut config = embedding::config(world, dir, "");
    config.record = Some(world.path(&format!("record of {dir}")));
    config
}

/// Plans a run. Returns the plan and the number of files that were read.
fn plan(config: Config, direction: Direction) -> (Plan, u64) {
    let mut read = 0;
    let plan = Keeper::new(config)
        .unwrap()
        .plan(direction, &mut |event| {
            if let Event::Stage(Stage::Comparing { entries, .. }) = event {
                read += entries;
            }
        })
        .unwrap();
    (plan, read)
}

/// Plans and executes a run. Returns its report and the number of files that were read to plan it.
fn run(config: Config, direction: Direction) -> (Report, u64) {
    let (plan, read) = plan(config.clone(), direction);
    let report = Keeper::new(config).unwrap().execute(plan, &mut |_| {}).unwrap();
    (report, read)
}
