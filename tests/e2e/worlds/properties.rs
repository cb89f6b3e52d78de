//! Properties that hold for every case while all requests succeed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use s3keep::{Direction, exit};

use crate::{
    support::store::Store,
    worlds::{
        case::{case, direction, steady_clock_case},
        fixture::Fixture,
        observe::{
            LocalTree, Paths, check_unchanged, is_below, is_protected, revived_links,
            split_by_validity,
        },
        oracle::expected_plan,
        run::{Executed, changes, deletions, execute, skipped, transfers},
        runner::check,
    },
};

#[test]
fn backup_restored_elsewhere_equals_the_source() {
    let store = Store::start();
    check(15, steady_clock_case(), |case| {
        let fixture = Fixture::new(&store, &case);
        fixture.make_changes_visible();
        let source = LocalTree::read(&fixture.dir);
        let backup = fixture.run(&fixture.dir, Direction::Backup);
        prop_assert_eq!(LocalTree::read(&fixture.dir), source.clone());
        fixture.check_outside()?;

        let copy = fixture.home.path().join("back");
        let skipped = skipped(&fixture.plan(&copy, Direction::Restore));
        let restore = fixture.run(&copy, Direction::Restore);
        prop_assert_eq!(backup.report.failed + restore.report.failed, 0);
        // The copy holds the source, and the objects that the backup kept at or below skipped paths.
        let protected: Paths =
            backup.report.skipped.iter().map(|skipped| skipped.path.clone()).collect();
        let (objects, _) = split_by_validity(&fixture.objects());
        let kept = objects.into_iter().filter(|(path, _)| is_protected(path, &protected));
        let mut expected: BTreeMap<String, Vec<u8>> =
            kept.map(|(path, object)| (path, object.body.to_vec())).collect();
        for (path, file) in source.files {
            // A file is only missing from the copy if such an object lies below its path.
            let is_blocked = expected.keys().any(|kept| is_below(kept, &path));
            prop_assert!(!skipped.contains(&path) || is_blocked, "{} is skipped", path);
            expected.insert(path, file.body);
        }
        expected.retain(|path, _| !skipped.contains(path));
        let found = LocalTree::read(&copy)
            .files
            .into_iter()
            .map(|(path, file)| (path, file.body))
            .collect();
        prop_assert_eq!(expected, found);
        fixture.check_outside()
    });
}

#[test]
fn second_run_has_nothing_to_do() {
    let store = Store::start();
    check(15, steady_clock_case(), |case| {
        let fixture = Fixture::new(&store, &case);
        let nothing = (Paths::new(), Paths::new());
        fixture.run(&fixture.dir, Direction::Backup);
        let plan = fixture.plan(&fixture.dir, Direction::Backup);
        prop_assert_eq!((transfers(&plan), deletions(&plan)), nothing.clone(), "backup again");

        let copy = fixture.home.path().join("back");
        fixture.run(&copy, Direction::Restore);
        let plan = fixture.plan(&copy, Direction::Restore);
        prop_assert_eq!((transfers(&plan), deletions(&plan)), nothing.clone(), "restore again");
        // Not even the objects that the restore skipped.
        let plan = fixture.plan(&copy, Direction::Backup);
        prop_assert_eq!((transfers(&plan), deletions(&plan)), nothing, "backup from the copy");

        let before = LocalTree::read(&fixture.dir);
        fixture.run(&fixture.dir, Direction::Restore);
        let plan = fixture.plan(&fixture.dir, Direction::Restore);
        let revived = revived_links(&before, &LocalTree::read(&fixture.dir));
        prop_assert!(changes(&plan).is_subset(&revived), "restore in place again: {:?}", plan);
        Ok(())
    });
}

#[test]
fn run_executes_its_plan_and_planning_changes_nothing() {
    let store = Store::start();
    check(15, (case(), direction()), |(case, direction)| {
        let fixture = Fixture::new(&store, &case);
        let before = (LocalTree::read(&fixture.dir), fixture.objects());
        let keeper = fixture.keeper(&fixture.dir, 0);
        let plan = keeper.plan(direction, &mut |_| {}).unwrap();
        prop_assert_eq!((LocalTree::read(&fixture.dir), fixture.objects()), before);
        let (planned, skipped) = ((transfers(&plan), deletions(&plan)), plan.skipped.clone());
        let Executed { report, transferred, deleted, failed } = execute(&keeper, plan);
        prop_assert_eq!((report.transferred.entries, report.deleted), {
            (transferred.len() as u64, deleted.len() as u64)
        });
        prop_assert_eq!((transferred, deleted), planned);
        prop_assert_eq!((failed, report.failed, report.withheld), (0, 0, 0));
        let code = if skipped.is_empty() { exit::SUCCESS } else { exit::PARTIAL };
        prop_assert_eq!((report.exit_code(), report.skipped), (code, skipped));
        fixture.check_outside()
    });
}

#[test]
fn plan_matches_the_decision_rule() {
    let store = Store::start();
    check(25, (case(), direction()), |(case, direction)| {
        let fixture = Fixture::new(&store, &case);
        let plan = fixture.plan(&fixture.dir, direction);
        let tree = LocalTree::read(&fixture.dir);
        let expected =
            expected_plan(direction, &tree, &fixture.objects(), &fixture.recorded, case.later_skew);
        let planned = transfers(&plan);
        prop_assert!(planned.is_superset(&expected.transfers), "{:?}: {:?}", planned, expected);
        let possible = expected.possible_transfers();
        prop_assert!(planned.is_subset(&possible), "{:?}: {:?}", planned, expected);
        prop_assert_eq!(deletions(&plan), expected.deletions);
        prop_assert_eq!(skipped(&plan), expected.skipped);
        Ok(())
    });
}

#[test]
fn restore_makes_a_changed_directory_mirror_the_bucket() {
    let store = Store::start();
    check(15, steady_clock_case(), |case| {
        let fixture = Fixture::new(&store, &case);
        fixture.make_changes_visible();
        let (before, bucket) = (LocalTree::read(&fixture.dir), fixture.objects());
        let expected =
            expected_plan(Direction::Restore, &before, &bucket, &fixture.recorded, case.later_skew);
        let executed = fixture.run(&fixture.dir, Direction::Restore);
        prop_assert_eq!(executed.report.failed, 0);
        prop_assert_eq!(fixture.objects(), bucket.clone());
        let after = LocalTree::read(&fixture.dir);
        let revived = revived_links(&before, &after);
        let (objects, invalid) = split_by_validity(&bucket);
        let is_restored =
            |path: &String| objects.contains_key(path) && !expected.skipped.contains(path);

        for (path, object) in objects.iter().filter(|(path, _)| is_restored(path)) {
            let content = after.files.get(path).map(|file| &file.body[..]);
            prop_assert_eq!(content, Some(&object.body[..]), "{}", path);
        }
        // Every other file is at or below a skipped path, or objects lie below it.
        let protected: Paths = (&invalid | &expected.skipped)
            .iter()
            .map(|path| path.trim_end_matches('/').to_owned())
            .collect();
        for (path, file) in &after.files {
            let blocks_objects = objects.keys().any(|object| is_below(object, path));
            let may_exist = is_restored(path) || blocks_objects || is_protected(path, &protected);
            prop_assert!(may_exist, "{}", path);
            if !is_restored(path) && !revived.contains(path) {
                check_unchanged(path, before.files.get(path), file)?;
            }
        }
        for (path, file) in before.files.iter().filter(|(path, _)| is_protected(path, &protected)) {
            if !is_restored(path) {
                // A symlink may have lost its target.
                let is_file = after.files.contains_key(path);
                let is_skipped_link = file.link.is_some() && after.skipped.contains_key(path);
                prop_assert!(is_file || is_skipped_link, "{}", path);
            }
        }
        for (path, link) in before.skipped.iter().filter(|(path, _)| !revived.contains(*path)) {
            prop_assert_eq!(after.skipped.get(path), Some(link), "{}", path);
        }
        prop_assert!(after.dirs.is_superset(&before.dirs));
        let plan = fixture.plan(&fixture.dir, Direction::Restore);
        prop_assert!(changes(&plan).is_subset(&revived), "again: {:?}", plan);
        fixture.check_outside()
    });
}
