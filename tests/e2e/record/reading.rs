//! What is read and requested, and what is not.

use std::{fs, os::unix::fs::PermissionsExt};

use s3keep::{Direction, Keeper};

use super::{plan, run, settle, with_record};
use crate::{
    embedding,
    support::{
        World, noise, set_age,
        store::{Fault, Object},
    },
};

#[test]
fn recorded_files_are_not_read_and_cost_one_listing() {
    let world = World::in_process();
    for n in 0..30 {
        world.write(&format!("src/{n}"), noise(n, 100));
    }
    // Modified after the upload, by the clock of the store: only the record can keep them.
    for n in 0..10 {
        set_age(&world.path(&format!("src/{n}")), 0);
    }
    settle();
    let (src, back) = (with_record(&world, "src"), with_record(&world, "back"));
    let (report, _) = run(src.clone(), Direction::Backup);
    assert_eq!(report.transferred.entries, 30);
    let (report, _) = run(back.clone(), Direction::Restore);
    assert_eq!(report.transferred.entries, 30);
    for (config, direction) in [
        (&src, Direction::Backup),
        (&src, Direction::Restore),
        (&back, Direction::Restore),
        (&back, Direction::Backup),
    ] {
        world.store().clear_requests();
        let (report, read) = run(config.clone(), direction);
        assert_eq!((report.transferred.entries, report.kept.entries, read), (0, 30, 0));
        let requests: Vec<&str> =
            world.store().requests().into_iter().map(|request| request.operation).collect();
        assert_eq!(requests, ["ListObjectsV2"]);
    }
}

#[test]
fn comparison_is_recorded() {
    let world = World::in_process();
    world.write("src/a", "content");
    world.write("src/empty", "");
    for key in ["a", "empty"] {
        let body = if key == "a" { "content" } else { "" };
        world.store().put(key, body);
    }
    settle();
    for direction in [Direction::Backup, Direction::Restore] {
        let mut config = with_record(&world, "src");
        config.by_content = true;
        assert_eq!(run(config.clone(), direction).1, 2);
        config.by_content = false;
        let (report, read) = run(config.clone(), direction);
        assert_eq!((report.kept.entries, read), (2, 0));
        fs::remove_file(config.record.unwrap()).unwrap();
    }
}

#[test]
fn fresh_file_is_not_recorded() {
    let world = World::in_process();
    world.write("src/a", "content");
    let config = with_record(&world, "src");
    run(config.clone(), Direction::Backup);
    settle();
    let (report, read) = run(config.clone(), Direction::Backup);
    assert_eq!((report.kept.entries, read), (1, 1), "the comparison is recorded");
    assert_eq!(run(config, Direction::Backup).1, 0);
}

#[test]
fn upload_in_parts_is_recorded() {
    let world = World::in_process();
    world.write("src/large", noise(1, 11 << 20));
    settle();
    let mut config = with_record(&world, "src");
    config.transfer.part_size = 5 << 20;
    run(config.clone(), Direction::Backup);
    // Its ctime is within the margin of LastModified, so only the record can keep it unread.
    set_age(&world.path("src/large"), 3_600);
    assert_eq!(run(config.clone(), Direction::Backup).1, 1);
    settle();
    run(config.clone(), Direction::Backup);
    assert_eq!(run(config.clone(), Direction::Backup).1, 0);
    config.dir = world.path("back");
    config.record = Some(world.path("another"));
    run(config.clone(), Direction::Restore);
    assert_eq!(run(config, Direction::Backup).1, 0);
}

#[test]
fn ignore_ctime_keeps_files_whose_ctimes_changed_without_reading_them() {
    let world = World::in_process();
    for n in 0..3 {
        world.write(&format!("src/{n}"), "content");
    }
    settle();
    let mut config = with_record(&world, "src");
    run(config.clone(), Direction::Backup);
    for n in 0..3 {
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(world.path(&format!("src/{n}")), mode).unwrap();
    }
    config.ignore_ctime = true;
    for direction in [Direction::Backup, Direction::Restore] {
        let (plan, read) = plan(config.clone(), direction);
        assert_eq!((plan.kept.entries, read), (3, 0));
    }
    config.record = None;
    assert_eq!(plan(config.clone(), Direction::Backup).1, 0);
    config.ignore_ctime = false;
    assert_eq!(plan(config, Direction::Backup).1, 3);
    // The command has the option, too.
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(world.path("src/0"), mode).unwrap();
    world.expect(0, "backup src BUCKET --yes --ignore-ctime").assert_nothing_to_do();
}

#[test]
fn plan_that_reads_much_because_of_ctime_names_the_option() {
    let world = World::in_process();
    for n in 0..1_001 {
        world.write(&format!("src/{n:04}"), "x");
    }
    world.expect(0, "backup src BUCKET --yes");
    let chmod = |count: usize| {
        for n in 0..count {
            let path = world.path(&format!("src/{n:04}"));
            let mode = path.metadata().unwrap().permissions().mode() ^ 0o007;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    chmod(1_001);
    let run = world.expect(0, "backup src BUCKET --yes --no-record --ignore-ctime");
    assert!(!run.stderr.contains("reading"), "{run:#?}");
    let run = world.expect(0, "backup src BUCKET --yes --no-record");
    run.assert_nothing_to_do();
    run.assert_says("reading 1001 files (1001 bytes) only because their ctimes changed");
    run.assert_says("--ignore-ctime");
    settle();
    let run = world.expect(0, "backup src BUCKET --yes");
    run.assert_nothing_to_do();
    // Everything is recorded now. A restore, too, reads only what changed.
    chmod(1_000);
    let run = world.expect(0, "restore BUCKET src --yes");
    run.assert_nothing_to_do();
    assert!(!run.stderr.contains("reading"), "{run:#?}");
    chmod(1_001);
    world.expect(0, "restore BUCKET src --yes").assert_says("reading 1001 files");
}

#[test]
fn checksum_of_the_store_decides_where_the_etag_cannot() {
    let world = World::in_process();
    let past = world.store().now() - std::time::Duration::from_secs(60);
    let object = |body: &str| Object::new(body.to_owned()).last_modified(past);
    // An ETag under SSE-KMS, one of unusual parts, and one of another form.
    let etags = ["0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef-7", "x"];
    for (n, etag) in etags.iter().enumerate() {
        world.write(&format!("src/same{n}"), "content");
        world.write(&format!("src/other{n}"), "CONTENT");
        world.store().put_object(&format!("same{n}"), object("content").etag(etag));
        world.store().put_object(&format!("other{n}"), object("content").etag(etag));
    }
    let run = world.expect(0, "backup src BUCKET --mock --list");
    run.assert_says("3 to upload");
    assert_eq!(run.stdout.matches("upload    content").count(), 3, "{run:#?}");
    assert_eq!(world.store().count("HeadObject"), 6);
    world.expect(0, "restore BUCKET src --yes").assert_says("3 downloaded");
    world.expect(0, "restore BUCKET src --yes").assert_nothing_to_do();
}

#[test]
fn restored_copy_that_cannot_be_compared_is_kept() {
    let world = World::in_process();
    let past = world.store().now() - std::time::Duration::from_secs(60);
    for (key, etag) in [("kms", "0123456789abcdef0123456789abcdef-3"), ("odd", "x")] {
        let object = Object::new("content").etag(etag).no_checksum().last_modified(past);
        world.store().put_object(key, object);
    }
    let config = embedding::config(&world, "back", "");
    run(config.clone(), Direction::Restore);
    for direction in [Direction::Restore, Direction::Backup] {
        let (plan, read) = plan(config.clone(), direction);
        assert_eq!((plan.transfers.len(), plan.kept.entries, read), (0, 2, 2));
    }
}

#[test]
fn run_that_is_refused_or_fails_keeps_the_record_true() {
    let world = World::in_process();
    world.write("src/a", "content");
    world.write("src/b", "content");
    settle();
    let config = with_record(&world, "src");
    run(config.clone(), Direction::Backup);
    // The upload of a change fails: the record must not say that it is stored.
    super::rewrite_and_set_mtime_back(&world.path("src/a"), "CONTENT");
    settle();
    world.store().fault(Fault::on("PutObject").key("a").status(403, "AccessDenied"));
    let (report, _) = run(config.clone(), Direction::Backup);
    assert_eq!(report.failed, 1);
    world.store().clear_faults();
    let keeper = Keeper::new(config.clone()).unwrap();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!((plan.transfers.len(), plan.kept.entries), (1, 1));
    keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!(&world.store().get("a").unwrap().body[..], b"CONTENT");
}

#[test]
fn request_for_a_checksum_that_fails_leaves_the_decision_to_the_etag() {
    let world = World::in_process();
    world.write("src/differs", "content");
    world.write("src/unknown", "content");
    world.store().put("differs", b"CONTENT");
    world.store().put_object("unknown", Object::new("content").etag("x"));
    world.store().fault(Fault::on("HeadObject").status(403, "AccessDenied"));
    let run = world.expect(0, "backup src BUCKET --mock --list");
    run.assert_says("upload    content         7 B  differs");
    run.assert_says("upload    doubt           7 B  unknown");
}
