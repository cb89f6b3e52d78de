//! Files that are moved during a run over files that the scan has found.

use std::fs;

use s3keep::{Direction, Keeper, exit};

use crate::{
    embedding::config,
    support::{World, noise},
};

/// A backup whose scan finds `dir/a` and `dir/log`, but not a file that has an object, as if that file
/// was moved out of a directory that was not read yet and into one that was.
fn moving() -> (World, Keeper) {
    let world = World::in_process();
    for (seed, path) in [(1, "dir/a"), (2, "dir/log"), (3, "old/moved")] {
        world.write(&format!("src/{path}"), noise(seed, 1_000));
    }
    world.expect(0, "backup src BUCKET --yes");
    let keeper = Keeper::new(config(&world, "src", "")).unwrap();
    fs::rename(world.path("src/old/moved"), world.path("moving")).unwrap();
    (world, keeper)
}

#[test]
fn file_that_is_moved_over_another_one_is_uploaded_before_its_object_is_deleted() {
    let (world, keeper) = moving();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!((plan.transfers.len(), plan.deletions.len()), (0, 1));
    fs::rename(world.path("moving"), world.path("src/dir/a")).unwrap();
    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!((report.exit_code(), report.deleted), (exit::SUCCESS, 1));
    assert_eq!(world.store().get("dir/a").unwrap().body, noise(3, 1_000));
}

#[test]
fn file_that_is_written_meanwhile_is_not_uploaded_again() {
    let (world, keeper) = moving();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    fs::rename(world.path("moving"), world.path("src/dir/new")).unwrap();
    fs::write(world.path("src/dir/log"), noise(4, 2_000)).unwrap();
    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!((report.exit_code(), report.transferred.entries), (exit::SUCCESS, 1));
    assert_eq!(world.store().get("dir/new").unwrap().body, noise(3, 1_000));
    assert_eq!(world.store().get("dir/log").unwrap().body, noise(2, 1_000));
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
}

#[test]
fn new_file_that_is_moved_before_its_upload_is_uploaded_under_its_new_name() {
    let world = World::in_process();
    world.write("src/kept", "kept");
    world.expect(0, "backup src BUCKET --yes");
    world.write("src/dir/new", noise(1, 1_000));
    let keeper = Keeper::new(config(&world, "src", "")).unwrap();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!((plan.transfers.len(), plan.deletions.len()), (1, 0));
    fs::rename(world.path("src/dir/new"), world.path("src/moved")).unwrap();
    world.write("src/dir/new", noise(2, 1_000));
    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!((report.exit_code(), report.transferred.entries), (exit::SUCCESS, 2));
    assert_eq!(world.store().get("moved").unwrap().body, noise(1, 1_000));
    assert_eq!(world.store().get("dir/new").unwrap().body, noise(2, 1_000));
}
