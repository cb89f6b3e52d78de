//! Plans that the embedding program changes before it executes them.

use std::{fs, os::unix::fs::symlink, time::Duration};

use s3keep::{Direction, Keeper, Plan, Report, WithheldReason, exit};

use crate::{
    embedding::config,
    support::{
        World, files, markers,
        store::{Fault, Folding, Folds, Listed, Object},
    },
};

fn keeper(world: &World, direction: Direction) -> Keeper {
    let dir = if direction == Direction::Backup { "src" } else { "dst" };
    let mut config = config(world, dir, "");
    config.guards.allow_unrelated = true;
    Keeper::new(config).unwrap()
}

/// Plans, lets `change` change the plan, and executes it.
#[track_caller]
fn run(world: &World, direction: Direction, change: impl FnOnce(&mut Plan)) -> Report {
    let keeper = keeper(world, direction);
    let mut plan = keeper.plan(direction, &mut |_| {}).unwrap();
    change(&mut plan);
    keeper.execute(plan, &mut |_| {}).unwrap()
}

fn without(paths: &'static [&'static str]) -> impl FnOnce(&mut Plan) {
    move |plan| {
        let before = plan.transfers.len();
        plan.transfers.retain(|transfer| !paths.contains(&transfer.path()));
        assert_eq!(plan.transfers.len(), before - paths.len());
    }
}

/// Each withheld deletion, with the removed transfer.
fn withheld(report: &Report) -> Vec<(&str, &str)> {
    let all = report.withheld_deletions.iter();
    assert_eq!(report.withheld, report.withheld_deletions.len() as u64);
    all.map(|withheld| {
        assert_eq!(withheld.reason, WithheldReason::LeftOut);
        (&*withheld.deletion.path, &*withheld.because_of)
    })
    .collect()
}

/// Puts an object that was stored an hour before everything else, or after.
fn put(world: &World, key: &str, body: &str, is_later: bool) {
    let hour = Duration::from_secs(3_600);
    let now = world.store().now();
    let time = if is_later { now + hour } else { now - hour };
    world.store().put_object(key, Object::new(body.to_owned()).last_modified(time));
}

#[test]
fn backup_keeps_the_object_of_a_renamed_file_whose_upload_was_removed() {
    let world = World::in_process();
    world.write("src/old name", "the only copy");
    world.write("src/kept", "kept");
    run(&world, Direction::Backup, |_| {});
    fs::rename(world.path("src/old name"), world.path("src/new name")).unwrap();
    let report = run(&world, Direction::Backup, without(&["new name"]));
    assert_eq!(world.store().keys(), ["kept", "old name"]);
    assert_eq!(withheld(&report), [("old name", "new name")]);
    assert_eq!((report.deleted, report.exit_code()), (0, exit::PARTIAL));
    let text = report.withheld_deletions[0].to_string();
    assert!(text.contains("the transfer of new name was removed from the plan"), "{text}");
    // A plan that is not changed makes up for it.
    let report = run(&world, Direction::Backup, |_| {});
    assert_eq!((report.deleted, report.exit_code()), (1, exit::SUCCESS));
    assert_eq!(world.store().keys(), ["kept", "new name"]);
}

#[test]
fn removed_upload_withholds_what_a_failed_one_would_and_nothing_else() {
    let world = World::in_process();
    world.write("src/d/new", "content");
    world.write("src/other", "other");
    world.write("src/known", "content of another size");
    put(&world, "known", "older", false);
    put(&world, "known/below", "?", false);
    put(&world, "d/sibling", "?", false);
    put(&world, "d/later", "?", true);
    put(&world, "d/sub/elsewhere", "?", false);
    put(&world, "same size", "CONTENT", false);
    put(&world, "same size later", "CONTENT", true);
    put(&world, "unrelated", "?", false);
    let report = run(&world, Direction::Backup, without(&["d/new", "known"]));
    let expected = [("d/sibling", "d/new"), ("known/below", "known"), ("same size", "d/new")];
    assert_eq!(withheld(&report), expected);
    assert_eq!((report.transferred.entries, report.deleted), (1, 4));
    let left = ["d/sibling", "known", "known/below", "other", "same size"];
    assert_eq!(world.store().keys(), left);
}

#[test]
fn plan_without_its_transfers_deletes_only_what_no_transfer_can_replace() {
    let world = World::in_process();
    for n in 0..50 {
        world.write(&format!("src/d/{n}"), format!("content of {n}"));
    }
    world.write("src/stays", "stays");
    run(&world, Direction::Backup, |_| {});
    fs::rename(world.path("src/d"), world.path("src/moved")).unwrap();
    put(&world, "else/unrelated", "?", false);
    let report = run(&world, Direction::Backup, |plan| plan.transfers.clear());
    assert_eq!((report.deleted, report.withheld), (1, 50));
    assert_eq!(world.store().keys().len(), 51);
    // In another order, nothing is missing.
    let report = run(&world, Direction::Backup, |plan| plan.transfers.reverse());
    assert_eq!((report.deleted, report.withheld, report.exit_code()), (50, 0, exit::SUCCESS));
}

#[test]
fn object_in_the_way_of_an_upload_stays_if_a_removed_upload_may_need_it() {
    let world = World::in_process();
    world.write("src/a/x", "x");
    world.write("src/renamed", "the only copy");
    put(&world, "a", "the only copy", false);
    world.store().fault(Fault::on("PutObject").key("a/x").status(400, "ParentIsAnObject"));
    let report = run(&world, Direction::Backup, without(&["renamed"]));
    assert_eq!(withheld(&report), [("a", "renamed")]);
    assert_eq!(world.store().keys(), ["a"]);
}

#[test]
fn restore_keeps_the_file_of_a_renamed_object_whose_download_was_removed() {
    let world = World::in_process();
    world.store().put("d/new", b"content");
    world.store().put("e/kept", b"kept");
    for (path, content) in
        [("d/old", "other"), ("e/moved", "CONTENT"), ("e/unrelated", "?"), ("e/kept", "kept")]
    {
        world.write(&format!("dst/{path}"), content);
    }
    let report = run(&world, Direction::Restore, without(&["d/new"]));
    assert_eq!(withheld(&report), [("d/old", "d/new"), ("e/moved", "d/new")]);
    assert_eq!((report.deleted, report.exit_code()), (1, exit::PARTIAL));
    let left = files(&world.path("dst"));
    assert!(left.contains_key("d/old") && left.contains_key("e/moved"), "{left:?}");
    assert!(!left.contains_key("e/unrelated"), "{left:?}");
}

#[test]
fn restore_keeps_the_target_of_a_link_whose_download_was_removed() {
    let world = World::in_process();
    world.store().put("link", b"content");
    world.store().put("other", b"other");
    world.write("dst/elsewhere/target", "content");
    symlink("elsewhere/target", world.path("dst/link")).unwrap();
    let report = run(&world, Direction::Restore, without(&["link"]));
    assert_eq!(withheld(&report), [("elsewhere/target", "link")]);
    assert_eq!(fs::read(world.path("dst/link")).unwrap(), b"content");
    run(&world, Direction::Restore, |_| {});
    assert!(!world.path("dst/link").is_symlink() && !world.path("dst/elsewhere/target").exists());
}

#[test]
fn backup_after_a_restore_without_some_downloads_keeps_their_objects() {
    let world = World::in_process();
    for key in ["a", "b", "d/c", "d/dd", "e"] {
        world.store().put(key, b"object");
    }
    // All of them are listed by the marker of a restore that failed.
    world.store().fault(Fault::on("GetObject").status(403, "AccessDenied"));
    run(&world, Direction::Restore, |_| {});
    world.store().clear_faults();
    let report = run(&world, Direction::Restore, without(&["b", "d/dd"]));
    assert_eq!(report.transferred.entries, 3);
    assert!(report.unfinished.is_some());
    assert_eq!(markers(&world.path("dst")).len(), 1);
    world.write("dst/e", "changed since");
    let done = world.expect(2, "backup dst BUCKET --yes");
    for path in ["b", "d/dd"] {
        done.assert_says(&format!("skipped: {path}: an unfinished restore still has to write it"));
    }
    done.assert_says("1 uploaded");
    assert_eq!(world.store().keys(), ["a", "b", "d/c", "d/dd", "e"]);
    // A complete restore ends the protection.
    let report = run(&world, Direction::Restore, |_| {});
    assert_eq!((&report.unfinished, report.exit_code()), (&None, exit::SUCCESS));
    assert!(markers(&world.path("dst")).is_empty());
}

#[test]
fn restore_without_any_download_leaves_a_marker() {
    let world = World::in_process();
    world.store().put("a", b"object");
    let report = run(&world, Direction::Restore, |plan| plan.transfers.clear());
    assert!(report.unfinished.is_some());
    world.write("dst/b", "b");
    world.expect(2, "backup dst BUCKET --yes").assert_says("skipped: a: an unfinished restore");
    assert_eq!(world.store().keys(), ["a", "b"]);
}

#[test]
fn deletion_that_the_plan_did_not_have_is_refused() {
    let world = World::in_process();
    world.write("src/stays", "stays");
    world.write("src/new", "new");
    world.store().put("stays", b"stays");
    put(&world, "gone", "gone", false);
    let refused = |change: fn(&mut Plan)| {
        let keeper = keeper(&world, Direction::Backup);
        let mut plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
        change(&mut plan);
        let refused = keeper.execute(plan, &mut |_| {}).unwrap_err();
        assert_eq!(refused.exit_code(), exit::FAILED);
        assert_eq!(world.store().keys(), ["gone", "stays"]);
        assert_eq!(files(&world.path("src")).len(), 2);
        refused.to_string()
    };
    let changes: [fn(&mut Plan); 3] = [
        |plan| plan.deletions[0].path = "stays".into(),
        |plan| {
            let mut added = plan.deletions[0].clone();
            added.path = "stays".into();
            plan.deletions.push(added);
        },
        |plan| plan.deletions[0].size += 1,
    ];
    for change in changes {
        let refused = refused(change);
        assert!(refused.contains("is not one of the plan"), "{refused}");
    }
    // The deletion of an object would become that of a local file.
    let refused = refused(|plan| plan.direction = Direction::Restore);
    assert!(refused.contains("made for another direction"), "{refused}");
    // Deletions may be removed.
    let report = run(&world, Direction::Backup, |plan| plan.deletions.clear());
    assert_eq!(report.exit_code(), exit::SUCCESS);
    assert_eq!(world.store().keys(), ["gone", "new", "stays"]);
}

#[test]
fn object_of_an_unfinished_restore_is_kept_although_its_skipped_entry_was_removed() {
    let world = World::in_process();
    for key in ["a", "b", "gone"] {
        world.store().put(key, b"object");
    }
    world.store().fault(Fault::on("GetObject").key("a").status(403, "AccessDenied"));
    world.expect(2, "restore BUCKET src --yes");
    world.store().clear_faults();
    fs::remove_file(world.path("src/gone")).unwrap();
    world.write("src/new", "new");
    // A file appears at the place of the object that is protected.
    let appeared = world.path("src/a");
    world.store().fault(
        Fault::on("PutObject").key("new").times(1).run(move |_| fs::write(&appeared, "?").unwrap()),
    );
    run(&world, Direction::Backup, |plan| plan.skipped.clear());
    assert_eq!(world.store().get("a").unwrap().body, "object");
}

#[test]
fn leftovers_that_the_plan_did_not_have_are_not_removed() {
    let world = World::in_process();
    world.store().put("a", b"object");
    world.write("dst/a", "object");
    run(&world, Direction::Restore, |plan| plan.leftovers.push("a".to_owned()));
    assert!(world.path("dst/a").exists());
}

#[test]
fn removed_upload_is_not_made_by_the_check_of_a_similar_name() {
    let world = World::in_process();
    world.write("src/A", "the changed content");
    put(&world, "A", "older", false);
    put(&world, "a", "small", false);
    let report = run(&world, Direction::Backup, without(&["A"]));
    assert_eq!(withheld(&report), [("a", "A")]);
    assert_eq!(world.store().get("A").unwrap().body, "older");
    assert_eq!(world.store().count("PutObject"), 0);
    let report = run(&world, Direction::Backup, |_| {});
    assert_eq!((report.deleted, report.exit_code()), (1, exit::SUCCESS));
    assert_eq!(world.store().get("A").unwrap().body, "the changed content");
}

#[test]
fn removed_upload_is_not_made_instead_of_one_with_a_similar_name() {
    let world = World::in_process();
    world.store().set_folding(Some(Folding {
        folds: Folds::Case,
        listed: Listed::Latest,
        exact_reads: true,
        remembers: false,
    }));
    world.write("src/A", "capital");
    world.write("src/a", "small");
    let report = run(&world, Direction::Backup, without(&["A"]));
    assert_eq!(world.store().count("PutObject"), 1);
    assert_eq!((report.transferred.entries, report.exit_code()), (1, exit::SUCCESS));
    assert_eq!(world.store().get("a").unwrap().body, "small");
}

#[test]
fn object_of_an_unfinished_restore_is_not_overwritten_by_the_check_of_a_similar_name() {
    let world = World::in_process();
    put(&world, "A", "the good content", false);
    put(&world, "a", "small", false);
    world.store().fault(Fault::on("GetObject").key("A").status(403, "AccessDenied"));
    run(&world, Direction::Restore, |_| {});
    world.store().clear_faults();
    fs::remove_file(world.path("dst/a")).unwrap();
    world.write("dst/A", "older");
    fs::rename(world.path("dst"), world.path("src")).unwrap();
    let report = run(&world, Direction::Backup, |plan| plan.skipped.clear());
    assert_eq!(world.store().get("A").unwrap().body, "the good content");
    assert_eq!((report.deleted, report.withheld), (0, 1));
}
