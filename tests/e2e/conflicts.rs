//! A file and a directory that swap places, on a store that cannot hold both.

use std::{fs, time::Duration};

use crate::support::{
    World, files, noise,
    store::{Fault, Object},
};

const BACKUP: &str = "backup src BUCKET --yes --part-size 5MiB --retries 0 --allow-unrelated";

fn world() -> World {
    let world = World::in_process();
    world.store().set_rejects_conflicts(true);
    world
}

/// A bucket with the object `a`, and a directory with files below `a`.
fn file_became_a_directory() -> World {
    let world = world();
    world.write("src/other", "other");
    world.store().put("a", b"the file");
    world.store().put("gone", b"an unrelated deletion");
    world.write("src/a/x", "x");
    world.write("src/a/y/z", "z");
    world.write("src/a/large", noise(1, 6 << 20));
    world
}

fn assert_equal(world: &World) {
    let stored = world.store().keys().into_iter().map(|key| {
        let body = world.store().get(&key).unwrap().body.to_vec();
        (key, body)
    });
    assert_eq!(stored.collect::<std::collections::BTreeMap<_, _>>(), files(&world.path("src")));
    assert!(world.store().uploads().is_empty());
}

#[test]
fn file_that_became_a_directory_is_replaced_in_one_run() {
    let world = file_became_a_directory();
    let done = world.expect(0, BACKUP);
    done.assert_says("4 uploaded");
    done.assert_says("2 deleted");
    done.assert_says("0 failed");
    assert_eq!(done.stderr, "");
    assert_equal(&world);
    world.expect(0, BACKUP).assert_nothing_to_do();
}

#[test]
fn directory_that_became_a_file_is_replaced_in_one_run() {
    for size in [0, 10, 6 << 20] {
        let world = world();
        for key in ["d/a/x", "d/a/y/z", "d/a-b", "d/e"] {
            world.store().put(key, b"object");
        }
        world.write("src/d/a", noise(1, size));
        world.write("src/d/b/c", "object");
        let done = world.expect(0, BACKUP);
        done.assert_says("2 uploaded");
        done.assert_says("4 deleted");
        assert_equal(&world);
        world.expect(0, BACKUP).assert_nothing_to_do();
    }
}

#[test]
fn failed_second_upload_is_reported_with_the_lost_object() {
    for (key, operation) in [("a/x", "PutObject"), ("a/large", "CompleteMultipartUpload")] {
        let world = file_became_a_directory();
        let fault = Fault::on(operation).key(key).skip(1);
        world.store().fault(fault.status(500, "InternalError"));
        let done = world.expect(2, BACKUP);
        done.assert_says(&format!(
            "upload {key}: the file is not stored, and what was deleted from the bucket to make room \
             for it is gone (a): the server responded with 500 InternalError"
        ));
        done.assert_says("3 uploaded");
        assert!(world.store().get("a").is_none() && world.store().get(key).is_none());
        world.store().clear_faults();
        world.expect(0, BACKUP);
        assert_equal(&world);
    }
}

#[test]
fn expired_credentials_between_deletion_and_upload_name_every_lost_file() {
    let world = file_became_a_directory();
    world.store().fault(Fault::on("PutObject").key("a/x").skip(1).status(403, "ExpiredToken"));
    let done = world.expect(1, &format!("{BACKUP} --json"));
    done.assert_says("upload a/x: the file is not stored, and what was deleted");
    assert!(world.store().get("gone").is_some());
    world.store().clear_faults();
    world.expect(0, BACKUP);
    assert_equal(&world);
}

#[test]
fn upload_that_fails_for_another_reason_deletes_nothing_in_its_way() {
    let faults: [fn(Fault) -> Fault; 4] = [
        |fault| fault.close(),
        |fault| fault.status(403, "AccessDenied"),
        |fault| fault.status(503, "SlowDown"),
        |fault| fault.status(502, ""),
    ];
    for apply in faults {
        let world = world();
        world.store().set_rejects_conflicts(false);
        world.store().put("a", b"object");
        world.write("src/a/x", "content");
        world.write("src/other", "other");
        let hits = world.store().fault(apply(Fault::on("PutObject").key("a/x")));
        let done = world.expect(2, BACKUP);
        done.assert_says("upload a/x: ");
        done.assert_says("a: its path conflicts with a/x, which was not transferred");
        assert_eq!(world.store().keys(), ["a", "other"]);
        assert!(hits.count() > 0);
    }
}

#[test]
fn failed_deletion_leaves_both_sides_as_they_were() {
    let world = file_became_a_directory();
    world.store().deny_delete("a");
    let done = world.expect(2, BACKUP);
    done.assert_says("delete a: permission denied");
    done.assert_says("upload a/x: ");
    assert!(!done.stderr.contains("is not stored"), "{done:?}");
    assert_eq!(world.store().get("a").unwrap().body, "the file");
}

#[test]
fn object_in_the_way_that_another_failure_may_need_is_kept() {
    let world = world();
    world.write("src/a/x", "x");
    world.write("src/renamed", "the file");
    let minute = Duration::from_secs(60);
    let object = Object::new("the file").last_modified(world.store().now() - minute);
    world.store().put_object("a", object);
    world.store().fault(Fault::on("PutObject").key("renamed").status(403, "AccessDenied"));
    let done = world.expect(2, BACKUP);
    done.assert_says("upload a/x: ");
    done.assert_says("2 failed");
    assert_eq!(world.store().keys(), ["a"]);
    world.store().clear_faults();
    world.expect(0, BACKUP);
    assert_equal(&world);
}

#[test]
fn mock_run_and_no_delete_replace_nothing() {
    let world = file_became_a_directory();
    world.expect(0, "backup src BUCKET --mock --allow-unrelated").assert_says("4 to upload");
    assert_eq!(world.store().keys(), ["a", "gone"]);
    world.expect(2, &format!("{BACKUP} --no-delete")).assert_says("upload a/x: ");
    assert_eq!(world.store().keys(), ["a", "gone", "other"]);
}

#[test]
fn file_that_returns_before_the_replacement_keeps_its_object() {
    let world = file_became_a_directory();
    let src = world.path("src");
    world.store().fault(Fault::on("PutObject").key("other").times(1).run(move |_| {
        fs::rename(src.join("a"), src.join("b")).unwrap();
        fs::write(src.join("a"), "it is back").unwrap();
    }));
    let done = world.expect(2, BACKUP);
    assert!(!done.stderr.contains("is not stored"), "{done:?}");
    assert_eq!(world.store().get("a").unwrap().body, "the file");
}
