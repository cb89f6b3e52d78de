//! Runs in which the server fails some requests.

use std::time::{Duration, SystemTime};

use proptest::{collection::vec, prelude::*};
use s3keep::{Direction, exit};

use crate::{
    support::store::{Fault, Store},
    worlds::{
        case::{FaultKind, FaultSpec, direction, fault_spec, steady_clock_case},
        fixture::Fixture,
        observe::{
            LocalTree, Objects, Paths, check_unchanged, is_below, revived_links, split_by_validity,
        },
        oracle::expected_plan,
        run::{Executed, changes, deletions, execute, skipped, transfers},
        runner::{CheckResult, check},
    },
};

#[test]
fn failures_lose_nothing_are_named_and_the_next_run_recovers() {
    let store = Store::start();
    let faults = vec(fault_spec(), 1..=3);
    // Retries are rare, because each one takes up to 200 ms.
    let retries = prop_oneof![4 => Just(0), 1 => Just(1)];
    let cases = (steady_clock_case(), direction(), faults, retries);
    check(15, cases, |(case, direction, faults, retries)| {
        let fixture = Fixture::new(&store, &case);
        fixture.make_changes_visible();
        let paths: Vec<String> =
            changes(&fixture.plan(&fixture.dir, direction)).into_iter().collect();
        faults.iter().for_each(|fault| inject(&fixture, fault, &paths));

        let (tree, objects) = (LocalTree::read(&fixture.dir), fixture.objects());
        let expected =
            expected_plan(direction, &tree, &objects, &fixture.recorded, case.later_skew);
        let keeper = fixture.keeper(&fixture.dir, retries);
        let executed = keeper.plan(direction, &mut |_| {}).map(|plan| {
            let planned = (transfers(&plan), deletions(&plan));
            (planned, execute(&keeper, plan))
        });
        let may_change = expected.possible_transfers();
        let (tree_after, objects_after) = (LocalTree::read(&fixture.dir), fixture.objects());
        match direction {
            Direction::Backup => {
                prop_assert_eq!(&tree_after, &tree);
                let uploads = &may_change;
                check_objects(&objects, &objects_after, &tree, uploads, &expected.deletions)?;
            }
            Direction::Restore => {
                prop_assert_eq!(&objects_after, &objects);
                let downloads = &may_change;
                check_tree(&tree, &tree_after, &objects, downloads, &expected.deletions)?;
            }
        }
        fixture.check_outside()?;
        let mut not_restored = None;
        match executed {
            // There is no plan, so nothing may have changed.
            Err(_) => prop_assert_eq!((tree_after, objects_after), (tree.clone(), objects)),
            Ok((planned, executed)) => {
                let failed = &planned.0 - &executed.transferred;
                let expected = Withheld::new(direction, &failed, &planned.1, &tree, &objects);
                check_report(&planned, &executed, &expected)?;
                not_restored = Some(failed);
            }
        }

        store.clear_faults();
        if let (Direction::Restore, Some(missing)) = (direction, not_restored) {
            let plan = fixture.plan(&fixture.dir, Direction::Backup);
            let overwritten = &transfers(&plan) & &missing;
            prop_assert_eq!((overwritten, deletions(&plan)), (Paths::new(), Paths::new()));
        }
        let executed = fixture.run(&fixture.dir, direction);
        let code = if executed.report.skipped.is_empty() { exit::SUCCESS } else { exit::PARTIAL };
        prop_assert_eq!(executed.report.exit_code(), code);
        let plan = fixture.plan(&fixture.dir, direction);
        let revived = revived_links(&tree, &LocalTree::read(&fixture.dir));
        prop_assert!(changes(&plan).is_subset(&revived), "again: {:?}", plan);
        check_sides_equal(&fixture, direction, &(&skipped(&plan) | &revived))
    });
}

fn inject(fixture: &Fixture, spec: &FaultSpec, paths: &[String]) {
    let has_checksums = fixture.objects().values().all(|object| object.checksum.is_some());
    if matches!(spec.kind, FaultKind::FlipBody) && !has_checksums {
        // Nothing proves the content of such an object, so a flipped bit cannot be noticed.
        return;
    }
    let mut fault = Fault::on(spec.operation);
    if !spec.operation.ends_with('s') && spec.operation != "ListObjectsV2" {
        if paths.is_empty() {
            return;
        }
        fault = fault.key(&format!("{}{}", fixture.prefix, spec.key.get(paths)));
    }
    if !spec.always {
        fault = fault.times(1);
    }
    fixture.store.fault(match spec.kind {
        FaultKind::Status(status, code) => fault.status(status, code),
        FaultKind::StatusAfter(status, code) => fault.status_after(status, code),
        FaultKind::Close => fault.close(),
        FaultKind::CloseAfter => fault.close_after(),
        FaultKind::CutBody => fault.cut_body(1),
        FaultKind::FlipBody => fault.flip_body(0),
    });
}

/// Checks that only the given uploads and deletions have changed the bucket.
fn check_objects(
    before: &Objects,
    after: &Objects,
    tree: &LocalTree,
    uploads: &Paths,
    deletions: &Paths,
) -> CheckResult {
    for path in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(path), after.get(path));
        let uploaded = uploads.contains(path)
            && new.is_some_and(|object| object.body == tree.files[path].body);
        let deleted = deletions.contains(path) && new.is_none();
        prop_assert!(old == new || uploaded || deleted, "{}: {:?} {:?}", path, old, new);
    }
    Ok(())
}

/// Checks that only the given downloads and deletions have changed the directory.
fn check_tree(
    before: &LocalTree,
    after: &LocalTree,
    objects: &Objects,
    downloads: &Paths,
    deletions: &Paths,
) -> CheckResult {
    let revived = revived_links(before, after);
    for (path, file) in after.files.iter().filter(|(path, _)| !revived.contains(*path)) {
        let downloaded = downloads.contains(path)
            && (&file.body[..], file.modified)
                == (&objects[path].body[..], objects[path].last_modified);
        if !downloaded {
            check_unchanged(path, before.files.get(path), file)?;
        }
    }
    for (path, file) in &before.files {
        let exists = after.files.contains_key(path);
        let lost_its_target = file.link.is_some() && after.skipped.contains_key(path);
        prop_assert!(exists || deletions.contains(path) || lost_its_target, "{} is gone", path);
    }
    for (path, link) in before.skipped.iter().filter(|(path, _)| !revived.contains(*path)) {
        prop_assert_eq!(after.skipped.get(path), Some(link), "{}", path);
    }
    prop_assert!(after.dirs.is_superset(&before.dirs));
    Ok(())
}

/// The deletions that a run withholds because of the transfers that failed.
#[derive(Debug, Default)]
struct Withheld {
    certain: Paths,
    /// Whether an object was stored before the ctime of a file depends on the moment.
    possible: Paths,
}

impl Withheld {
    fn new(
        direction: Direction,
        failed: &Paths,
        deletions: &Paths,
        tree: &LocalTree,
        objects: &Objects,
    ) -> Withheld {
        let dir = |path: &str| path.rsplit_once('/').map_or(String::new(), |(dir, _)| dir.into());
        let mut withheld = Withheld::default();
        for (failed, deletion) in failed.iter().flat_map(|a| deletions.iter().map(move |b| (a, b)))
        {
            let (file, object) = (tree.files.get(failed), objects.get(failed));
            let (may_need_copy, size, size_to_delete) = match direction {
                Direction::Backup => (
                    object.is_none(),
                    file.map(|file| file.body.len()),
                    objects[deletion].body.len(),
                ),
                Direction::Restore => {
                    (true, object.map(|o| o.body.len()), tree.files[deletion].body.len())
                }
            };
            let conflicts =
                failed == deletion || is_below(failed, deletion) || is_below(deletion, failed);
            let is_related = dir(failed) == dir(deletion) || size == Some(size_to_delete);
            if !(conflicts || may_need_copy && is_related) {
                continue;
            }
            withheld.possible.insert(deletion.clone());
            // All files were made within this hour.
            let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
            let is_old = || objects[deletion].last_modified < hour_ago;
            if conflicts || direction == Direction::Restore || is_old() {
                withheld.certain.insert(deletion.clone());
            }
        }
        withheld
    }
}

/// Checks a report against the planned transfers and deletions.
fn check_report(planned: &(Paths, Paths), executed: &Executed, expected: &Withheld) -> CheckResult {
    let Executed { report, transferred, deleted, failed } = executed;
    prop_assert!(report.fatal.is_none(), "{:?}", report.fatal);
    prop_assert_eq!((report.failed, report.failures.len() as u64), (*failed, *failed));
    let not_transferred: Paths = &planned.0 - transferred;
    prop_assert!(transferred.is_subset(&planned.0) && deleted.is_subset(&planned.1));
    let failures: Paths = report.failures.iter().map(|error| error.subject().to_owned()).collect();
    let withheld = report.withheld_deletions.iter();
    let withheld: Paths = withheld.map(|withheld| withheld.deletion.path.to_string()).collect();
    prop_assert!(withheld.is_superset(&expected.certain), "{:?} {:?}", withheld, expected);
    prop_assert!(withheld.is_subset(&expected.possible), "{:?} {:?}", withheld, expected);
    prop_assert!(withheld.is_disjoint(deleted));
    let failed_deletions = &(&planned.1 - deleted) - &withheld;
    prop_assert_eq!(failures, &not_transferred | &failed_deletions);
    prop_assert_eq!(report.withheld, withheld.len() as u64);
    let withheld = report.withheld;
    let is_partial = *failed > 0 || withheld > 0 || !report.skipped.is_empty();
    prop_assert_eq!(report.exit_code(), if is_partial { exit::PARTIAL } else { exit::SUCCESS });
    Ok(())
}

/// Checks that the target has the content of the source, except at the skipped paths.
fn check_sides_equal(fixture: &Fixture, direction: Direction, skipped: &Paths) -> CheckResult {
    let (objects, files) = (fixture.objects(), LocalTree::read(&fixture.dir).files);
    let sources: Paths = match direction {
        Direction::Backup => files.keys().cloned().collect(),
        Direction::Restore => split_by_validity(&objects).0.into_keys().collect(),
    };
    for path in sources.difference(skipped) {
        let (file, object) = (files.get(path), objects.get(path));
        let (file, object) = (file.map(|f| &f.body[..]), object.map(|o| &o.body[..]));
        prop_assert_eq!(file, object, "{}", path);
    }
    Ok(())
}
