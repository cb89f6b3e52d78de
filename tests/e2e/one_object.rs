//! A prefix that is the key of one object, and a prefix without objects.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, SystemTime},
};

use s3keep::{Cause, Direction, Keeper};

use crate::{
    embedding::config,
    support::{
        World, files, markers, noise, set_age,
        store::{Fault, Object, Request},
    },
};

/// A bucket with some objects, and a directory with other files.
fn world() -> World {
    let world = World::in_process();
    for key in ["p/file.txt", "p/file.txt.old", "p/file.txt-2/x", "p/other", "file.txt"] {
        world.store().put(key, key.as_bytes());
    }
    world.write("dst/mine", "mine");
    world.write("dst/other", "an older one");
    world.write("dst/sub/file.txt", "mine, too");
    world
}

fn content(world: &World, dir: &str) -> BTreeMap<String, String> {
    let text = |(path, content)| (path, String::from_utf8(content).unwrap());
    files(&world.path(dir)).into_iter().map(text).collect()
}

#[test]
fn one_object_is_restored_and_nothing_else_is_touched() {
    let world = world();
    let before = content(&world, "dst");
    let run = world.expect(0, "restore BUCKET/p/file.txt dst --mock");
    run.assert_says("1 to download (10 B), 1 missing: file.txt\n");
    run.assert_says("\n0 to delete\n0 unchanged (0 B)\n0 skipped\n");
    assert_eq!(content(&world, "dst"), before);
    world.store().clear_requests();
    world.expect(0, "restore BUCKET/p/file.txt dst --yes").assert_says("1 downloaded");
    // The prefix, the key, and the object.
    assert_eq!(world.store().requests().len(), 3, "{:#?}", world.store().requests());
    let mut after = before.clone();
    after.insert("file.txt".to_owned(), "p/file.txt".to_owned());
    assert_eq!(content(&world, "dst"), after);
    assert_eq!(markers(&world.path("dst")), Vec::<String>::new());
    world.expect(0, "restore BUCKET/p/file.txt dst --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET/p/file.txt dst --yes --delete-excluded").assert_nothing_to_do();
    assert_eq!(content(&world, "dst"), after);
    // At the top of the bucket, into a directory that does not exist.
    world.expect(0, "restore BUCKET/file.txt new/dir --yes").assert_says("1 downloaded");
    assert_eq!(content(&world, "new"), [("dir/file.txt".to_owned(), "file.txt".to_owned())].into());
    // There is no record of it.
    let records = fs::read_dir(world.path(".cache/s3keep")).map(|dir| dir.count()).unwrap_or(0);
    assert_eq!(records, 0);
}

#[test]
fn existing_file_is_replaced_or_kept_as_in_any_restore() {
    let world = world();
    let restore = "restore BUCKET/p/file.txt dst --yes";
    for (age, text, reason) in [
        (7_200, "p/file.txt", "unchanged"),
        (7_200, "older text", "content"),
        (-10, "newer text", "content"),
        (7_200, "of another size", "size"),
    ] {
        world.write("dst/file.txt", text);
        set_age(&world.path("dst/file.txt"), age);
        world.expect(0, restore).assert_says(reason);
        assert_eq!(fs::read(world.path("dst/file.txt")).unwrap(), b"p/file.txt", "{text}");
    }
    // Newer than its object.
    let old =
        Object::new("p/file.txt").last_modified(SystemTime::now() - Duration::from_secs(3_600));
    world.store().put_object("p/file.txt", old);
    world.write("dst/file.txt", "newer text");
    set_age(&world.path("dst/file.txt"), 60);
    world.expect(0, restore).assert_says("newer");
    assert_eq!(fs::read(world.path("dst/file.txt")).unwrap(), b"p/file.txt");
    assert_eq!(fs::read(world.path("dst/mine")).unwrap(), b"mine");
}

#[test]
fn large_object_is_restored_in_parts() {
    let world = World::in_process();
    let body = noise(7, 40 << 20);
    world.store().put("p/large", &body);
    world.store().put("p/large.2", b"");
    world.expect(0, "restore BUCKET/p/large dst --yes --no-sync").assert_says("1 downloaded");
    assert!(world.store().count("GetObject") > 1);
    assert!(fs::read(world.path("dst/large")).unwrap() == body);
    assert_eq!(files(&world.path("dst")).len(), 1);
    world.expect(0, "verify dst BUCKET/p/large").assert_says("1 the same");
    // A file of size 0.
    world.expect(0, "restore BUCKET/p/large.2 dst --yes").assert_says("1 downloaded (0 B)");
    assert_eq!(files(&world.path("dst"))["large.2"], b"");
}

#[test]
fn prefix_wins_over_the_object_of_the_same_name() {
    let world = World::in_process();
    world.store().put("p/a", b"file");
    world.store().put("p/a/b", b"below");
    world.expect(0, "restore BUCKET/p/a dst --yes").assert_says("1 downloaded");
    assert_eq!(content(&world, "dst"), [("b".to_owned(), "below".to_owned())].into());
    assert_eq!(world.store().count("ListObjectsV2"), 1);
    // A directory marker counts as an object below.
    world.store().put("p/c", b"file");
    world.store().put("p/c/", b"");
    world.expect(0, "restore BUCKET/p/c empty --yes").assert_says("0 to download");
    assert_eq!(content(&world, "empty"), BTreeMap::new());
}

#[test]
fn slash_at_the_end_means_a_directory() {
    let world = world();
    let suggestion = "did you mean s3://bucket/p/file.txt or";
    world.expect(1, "restore BUCKET/p/file.txt/ new --yes").assert_says(suggestion);
    world.expect(1, "verify dst BUCKET/p/file.txt/").assert_says(suggestion);
    world.expect(1, "ls BUCKET/p/file.txt/").assert_says(suggestion);
    world.expect(1, "du BUCKET/p/file.txt/").assert_says(suggestion);
    world.expect(0, "restore BUCKET/p/file.txt/ new --yes --allow-empty");
    assert_eq!(content(&world, "new"), BTreeMap::new());
}

#[test]
fn one_object_is_verified() {
    let world = world();
    world.write("dst/file.txt", "p/file.txt");
    let run = world.expect(0, "verify dst BUCKET/p/file.txt");
    run.assert_says("1 the same (10 B), 0 different, 0 unknown, 0 skipped, 0 failed");
    world.write("dst/file.txt", "P/file.txt");
    world.expect(2, "verify dst BUCKET/p/file.txt").assert_says("content      file.txt");
    fs::remove_file(world.path("dst/file.txt")).unwrap();
    world.expect(2, "verify dst BUCKET/p/file.txt").assert_says("only remote  file.txt");
}

#[test]
fn file_with_another_spelling_of_the_name_stays() {
    let world = world();
    world.write("dst/FILE.TXT", "mine");
    world.write("dst/file.txt", "p/file.txt");
    world.expect(0, "verify dst BUCKET/p/file.txt").assert_says("1 the same");
    fs::remove_file(world.path("dst/file.txt")).unwrap();
    world.expect(0, "restore BUCKET/p/file.txt dst --yes").assert_says("1 downloaded");
    assert_eq!(fs::read(world.path("dst/FILE.TXT")).unwrap(), b"mine");
    assert_eq!(fs::read(world.path("dst/file.txt")).unwrap(), b"p/file.txt");
}

#[test]
fn directory_or_link_in_the_way_of_one_object_stays() {
    let world = world();
    world.write("dst/file.txt/inner", "mine");
    world.expect(2, "restore BUCKET/p/file.txt dst --yes").assert_says("skipped: file.txt");
    assert_eq!(fs::read(world.path("dst/file.txt/inner")).unwrap(), b"mine");

    // A link is replaced, its target is not.
    world.write("outside", "outside");
    fs::create_dir(world.path("links")).unwrap();
    std::os::unix::fs::symlink("../outside", world.path("links/file.txt")).unwrap();
    world.run("restore BUCKET/p/file.txt links --yes");
    assert_eq!(fs::read(world.path("outside")).unwrap(), b"outside");

    // The target is a file.
    world.write("target", "target");
    world.expect(1, "restore BUCKET/p/file.txt target --yes").assert_says("target");
    assert_eq!(fs::read(world.path("target")).unwrap(), b"target");
}

#[test]
fn unreadable_neighbors_do_not_matter_for_one_object() {
    let world = world();
    std::os::unix::fs::symlink("nowhere", world.path("dst/dangling")).unwrap();
    world.expect(0, "restore BUCKET/p/file.txt dst --yes").assert_says("0 skipped");
}

#[test]
fn markers_and_temporary_files_of_other_restores_stay() {
    let world = world();
    let leftover = "dst/.s3keep-0123456789abcdef.part";
    world.write(leftover, "of another run");
    // A restore of everything that fails.
    world.store().fault(Fault::on("GetObject").key("p/other").status(403, "AccessDenied"));
    world.write("dst/other", "x");
    world.expect(2, "restore BUCKET/p dst --yes --allow-unrelated");
    let marker = markers(&world.path("dst"));
    assert_eq!(marker.len(), 1);
    world.write(leftover, "of another run");
    world.expect(0, "restore BUCKET/p/file.txt dst --yes");
    fs::remove_file(world.path("dst/file.txt")).unwrap();
    world.expect(0, "restore BUCKET/p/file.txt dst --yes").assert_says("1 downloaded");
    assert_eq!(markers(&world.path("dst")), marker);
    assert!(world.path(leftover).exists());

    // A restore of one object that fails leaves a marker, which the next one removes.
    let world = self::world();
    let hits = world.store().fault(Fault::on("GetObject").times(1).status(403, "AccessDenied"));
    world.expect(2, "restore BUCKET/p/file.txt dst --yes");
    assert_eq!((hits.count(), markers(&world.path("dst")).len()), (1, 1));
    world.expect(0, "restore BUCKET/p/file.txt dst --yes").assert_says("1 downloaded");
    assert_eq!(markers(&world.path("dst")), Vec::<String>::new());
}

#[test]
fn selection_applies_to_one_object() {
    let world = world();
    let run = world.expect(0, "restore BUCKET/p/file.txt dst --yes --exclude *.txt");
    run.assert_says("1 object excluded");
    assert!(!world.path("dst/file.txt").exists());
}

#[test]
fn restore_without_objects_fails_and_creates_nothing() {
    let world = world();
    for line in [
        "restore BUCKET/p/fiel.txt new --yes",
        "restore BUCKET/p/fiel.txt/ new --yes",
        "restore BUCKET/p/fiel.txt new --mock",
        "restoremock -b bucket/p/fiel.txt -p new",
        "restore BUCKET/p/fiel.txt new --yes --json",
        "restore BUCKET/p/fiel.txt dst --yes --no-delete",
    ] {
        let run = world.expect(1, line);
        run.assert_says("restore s3://bucket/p/fiel.txt/: there are no objects; did you mean");
        run.assert_says("s3://bucket/p/file.txt");
        run.assert_says("--allow-empty");
        assert!(!world.path("new").exists(), "{line}");
    }
    world.expect(1, "verify dst BUCKET/p/fiel.txt").assert_says("verify s3://bucket/p/fiel.txt/");
}

#[test]
fn empty_bucket_is_no_wrong_prefix() {
    let world = World::in_process();
    let run = world.expect(0, "restore BUCKET new --yes");
    run.assert_says("there are no objects in s3://bucket");
    world.expect(0, "verify new BUCKET").assert_says("0 the same");
    assert_eq!(world.store().requests().len(), 2);
    // Here, the name of the prefix is wrong.
    world.expect(1, "restore BUCKET/p new --yes");
}

#[test]
fn restore_that_would_empty_the_directory_is_refused_with_similar_names() {
    let world = world();
    for line in ["restore BUCKET/q dst --yes", "restore BUCKET/q dst --mock"] {
        let run = world.expect(3, line);
        run.assert_says("the source is empty");
        run.assert_says("s3://bucket/q/: there are no objects");
    }
    assert_eq!(content(&world, "dst").len(), 3);
    world.expect(0, "restore BUCKET/q dst --yes --allow-empty").assert_says("3 deleted");
}

#[test]
fn empty_directory_is_backed_up_and_restored_with_allow_empty() {
    let world = World::in_process();
    fs::create_dir(world.path("src")).unwrap();
    world.expect(0, "backup src BUCKET/new/prefix --yes");
    // A backup asks for no other names.
    assert_eq!(world.store().count("ListObjectsV2"), 1);
    world.expect(1, "restore BUCKET/new/prefix dst --yes");
    world.expect(0, "restore BUCKET/new/prefix dst --yes --allow-empty");
    assert!(world.path("dst").is_dir());
    world.expect(1, "verify dst BUCKET/new/prefix");
    world.expect(0, "verify dst BUCKET/new/prefix --allow-empty").assert_says("0 the same");
    // A backup to a new prefix next to an object of that name works as before.
    world.store().put("new/prefix", b"");
    world.write("src/a", "a");
    world.expect(0, "backup src BUCKET/new/prefix --yes").assert_says("1 uploaded");
    assert_eq!(world.store().keys(), ["new/prefix", "new/prefix/a"]);
}

#[test]
fn permission_to_list_only_the_prefix_is_enough() {
    let world = world();
    let is_outside = |request: &Request| !request.query["prefix"].starts_with("q/");
    world.store().fault(Fault::on("ListObjectsV2").when(is_outside).status(403, "AccessDenied"));
    let run = world.expect(1, "restore BUCKET/q new --yes");
    assert!(
        run.stderr.ends_with("s3://bucket/q/: there are no objects (--allow-empty accepts that)\n")
    );
    world.expect(0, "restore BUCKET/q new --yes --allow-empty");
    // Other errors are not taken for a missing object.
    world.store().clear_faults();
    world.store().fault(Fault::on("ListObjectsV2").when(is_outside).status(400, "InvalidRequest"));
    world.expect(1, "restore BUCKET/q new --yes --allow-empty").assert_says("InvalidRequest");
}

#[test]
fn restore_of_a_prefix_with_objects_makes_no_other_request() {
    let world = world();
    world.expect(0, "restore BUCKET/p dst --yes --allow-unrelated").assert_says("4 downloaded");
    assert_eq!(world.store().count("ListObjectsV2"), 1);
    assert_eq!(world.store().requests().len(), 5);
}

#[test]
fn program_restores_one_object() {
    let world = world();
    let keeper = Keeper::new(config(&world, "dst", "p/file.txt")).unwrap();
    let plan = keeper.plan(Direction::Restore, &mut |_| {}).unwrap();
    assert_eq!((plan.transfers.len(), plan.deletions.len()), (1, 0));
    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!((report.transferred.entries, report.exit_code()), (1, 0));
    let missing = Keeper::new(config(&world, "new", "q")).unwrap();
    let plan = missing.plan(Direction::Restore, &mut |_| {}).unwrap();
    let error = missing.execute(plan, &mut |_| {}).unwrap_err();
    assert!(matches!(error.cause(), Cause::NoObjects { can_be_allowed: true, .. }), "{error}");
    assert!(!world.path("new").exists());
}
