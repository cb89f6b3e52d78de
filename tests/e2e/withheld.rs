//! Deletions that wait because something else was not transferred, and those that do not.

use std::{fs, time::Duration};

use crate::support::{
    World, files,
    store::{Fault, Object},
};

const BACKUP: &str = "backup src BUCKET --yes --allow-unrelated";

/// Puts an object that was stored a minute after, or before, everything else.
fn put(world: &World, key: &str, body: &str, is_later: bool) {
    let minute = Duration::from_secs(60);
    let now = world.store().now();
    let time = if is_later { now + minute } else { now - minute };
    world.store().put_object(key, Object::new(body.to_owned()).last_modified(time));
}

fn refuse(world: &World, key: &str) {
    world.store().fault(Fault::on("PutObject").key(key).status(403, "AccessDenied"));
}

#[test]
fn failed_upload_of_a_new_file_withholds_only_what_may_be_its_only_copy() {
    let world = World::in_process();
    world.write("src/d/new", "content");
    world.write("src/other", "other");
    refuse(&world, "d/new");
    put(&world, "d/sibling", "?", false);
    put(&world, "d/later", "?", true);
    put(&world, "d/sub/elsewhere", "?", false);
    put(&world, "same size", "CONTENT", false);
    put(&world, "same size later", "CONTENT", true);
    put(&world, "unrelated", "?", false);
    let done = world.expect(2, BACKUP);
    done.assert_says("upload d/new: permission denied");
    done.assert_says("1 uploaded");
    done.assert_says("4 deleted");
    done.assert_says("2 deletions were withheld because not everything was transferred");
    done.assert_says("d/sibling: it may be the only copy of d/new, which was not transferred");
    assert_eq!(world.store().keys(), ["d/sibling", "other", "same size"]);

    let done = world.expect(2, &format!("{BACKUP} --json"));
    done.assert_says(
        r#"{"because_of":"d/new","path":"same size","reason":"may be copy","size":7,"type":"withheld"}"#,
    );
    done.assert_says("\"withheld\":2");
    world.store().clear_faults();
    world.expect(0, BACKUP).assert_says("2 deleted");
}

#[test]
fn failed_upload_of_a_known_file_withholds_no_other_deletion() {
    let world = World::in_process();
    world.write("src/known", "content");
    refuse(&world, "known");
    put(&world, "known", "older", false);
    put(&world, "known/below", "?", false);
    put(&world, "known-not", "content", false);
    let done = world.expect(2, BACKUP);
    done.assert_says("1 deletions were withheld");
    done.assert_says("known/below: its path conflicts with known, which was not transferred");
    assert_eq!(world.store().keys(), ["known", "known/below"]);
}

#[test]
fn failed_upload_withholds_the_deletion_of_an_object_above_its_path() {
    let world = World::in_process();
    world.write("src/a/b/new", "content");
    refuse(&world, "a/b/new");
    put(&world, "a", "?", true);
    put(&world, "a/b", "?", true);
    put(&world, "a/c", "?", true);
    world.expect(2, BACKUP).assert_says("2 deletions were withheld");
    assert_eq!(world.store().keys(), ["a", "a/b"]);
}

#[test]
fn failed_large_upload_withholds_by_the_same_rule() {
    let world = World::in_process();
    world.write("src/d/large", vec![7; 6 << 20]);
    world.store().fault(Fault::on("CompleteMultipartUpload").status(403, "AccessDenied"));
    put(&world, "d/sibling", "?", false);
    put(&world, "unrelated", "?", false);
    let done = world.expect(2, &format!("{BACKUP} --part-size 5MiB"));
    done.assert_says("1 deletions were withheld");
    assert_eq!(world.store().keys(), ["d/sibling"]);
}

#[test]
fn failed_download_withholds_only_what_may_be_its_only_copy() {
    let world = World::in_process();
    for (path, content) in [
        ("d/sibling", "?"),
        ("d/sub/elsewhere", "?"),
        ("e/same size", "CONTENT"),
        ("e/unrelated", "?"),
        ("known/below", "?"),
    ] {
        world.write(&format!("dst/{path}"), content);
    }
    world.store().put("d/new", b"content");
    world.store().put("other", b"other");
    world.store().fault(Fault::on("GetObject").key("d/new").status(403, "AccessDenied"));
    let done = world.expect(2, "restore BUCKET dst --yes --allow-unrelated");
    done.assert_says("3 deleted");
    done.assert_says("2 deletions were withheld");
    done.assert_says("d/sibling: it may be the only copy of d/new, which was not transferred");
    let left: Vec<String> = files(&world.path("dst")).into_keys().collect();
    assert_eq!(left, ["d/sibling", "e/same size", "other"]);
    world.store().clear_faults();
    world.expect(0, "restore BUCKET dst --yes --allow-unrelated").assert_says("2 deleted");
}

#[test]
fn failed_abort_of_an_earlier_upload_withholds_nothing() {
    let world = World::in_process();
    world.write("src/small", "small");
    world.store().put("gone", b"gone");
    world.store().create_upload("small");
    world.store().fault(Fault::on("AbortMultipartUpload").status(403, "AccessDenied"));
    let done = world.expect(2, BACKUP);
    done.assert_says("abort upload of");
    done.assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["small"]);
}

#[test]
fn interrupted_run_deletes_nothing() {
    let world = World::in_process();
    world.write("src/new", "new");
    world.store().put("gone", b"gone");
    world.store().fault(Fault::on("PutObject").status(403, "ExpiredToken"));
    world.expect(1, BACKUP);
    assert_eq!(world.store().keys(), ["gone"]);
    assert!(fs::exists(world.path("src/new")).unwrap());
}
