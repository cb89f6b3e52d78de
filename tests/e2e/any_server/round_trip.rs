//! Backup, restore, and the runs after them that have nothing to do.

use std::fs;

use crate::support::{Limit, World, files, noise, set_age};

fn world() -> World {
    let world = World::on_any_server();
    world.write("src/a.txt", "a");
    world.write("src/empty", "");
    world.write("src/deep/er/and/deeper/b.bin", noise(1, 100_000));
    world.write("src/deep-er.txt", "next to the directory");
    world.write("src/medium.bin", noise(2, 400_000));
    world
}

#[test]
fn restored_tree_is_identical_and_nothing_is_sent_twice() {
    let world = world();
    world.expect(0, "backup src BUCKET --yes").assert_says("5 uploaded");
    let keys = ["a.txt", "deep-er.txt", "deep/er/and/deeper/b.bin", "empty", "medium.bin"];
    assert_eq!(world.keys(), keys);
    assert_eq!(world.get_object("deep/er/and/deeper/b.bin"), noise(1, 100_000));

    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET back --yes").assert_says("5 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    world.expect(0, "restore BUCKET back --yes").assert_nothing_to_do();
    world.expect(0, "backup back BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET src --yes").assert_nothing_to_do();
    world.expect(0, "verify src BUCKET").assert_says("5 the same");
    world.expect(0, "verify back BUCKET").assert_says("5 the same");
}

#[test]
fn changes_are_transferred_and_removals_are_deleted() {
    let world = world();
    world.expect(0, "backup src BUCKET --yes");
    world.write("src/a.txt", "another size");
    world.write("src/new/file", "new");
    fs::remove_file(world.path("src/empty")).unwrap();
    fs::write(world.path("src/deep-er.txt"), "NEXT TO THE DIRECTORY").unwrap();
    set_age(&world.path("src/deep-er.txt"), -1);

    let mock = world.expect(0, "backup src BUCKET --mock");
    mock.assert_says("3 to upload");
    mock.assert_says("1 to delete");
    let done = world.expect(0, "backup src BUCKET --yes");
    done.assert_says("3 uploaded");
    done.assert_says("1 deleted");
    assert_eq!(world.get_object("deep-er.txt"), b"NEXT TO THE DIRECTORY");
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));

    // A restore deletes the additional file and replaces the damaged and the missing one.
    world.write("back/only here", "x");
    world.write("back/a.txt", "damaged");
    fs::remove_file(world.path("back/medium.bin")).unwrap();
    let done = world.expect(0, "restore BUCKET back --yes");
    done.assert_says("2 downloaded");
    done.assert_says("1 deleted");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn same_size_change_right_after_an_upload_is_uploaded() {
    let world = world();
    fs::write(world.path("src/a.txt"), "1").unwrap();
    world.expect(0, "backup src BUCKET --yes");
    fs::write(world.path("src/a.txt"), "2").unwrap();
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(world.get_object("a.txt"), b"2");
}

#[test]
fn mock_run_changes_nothing_on_either_side() {
    let world = world();
    world.expect(0, "backup src BUCKET --mock").assert_says("5 to upload");
    world.expect(0, "backupmock -b BUCKET -p src").assert_says("5 to upload");
    assert!(world.keys().is_empty());
    world.put_object("x", b"x");
    let before = files(&world.path("src"));
    world.expect(0, "restore BUCKET src --dry-run --allow-unrelated").assert_says("1 to download");
    world.expect(0, "restoremock -b BUCKET -p src --allow-unrelated").assert_says("5 to delete");
    world.expect(0, "restore BUCKET nowhere --mock").assert_says("1 to download");
    assert!(!world.path("nowhere").exists());
    assert_eq!(files(&world.path("src")), before);
    assert_eq!(world.keys(), ["x"]);
}

#[test]
fn prefix_covers_only_its_own_keys() {
    let world = world();
    let mut others = vec!["photos2/x", "photos-x", "other/photos/x"];
    if !world.has_limit(Limit::Paths) {
        others.push("photos");
    }
    for key in &others {
        world.put_object(key, b"not ours");
    }
    world.expect(0, "backup src BUCKET/photos2/deep --yes --no-delete");
    world.expect(0, "backup src BUCKET/photos/ --yes").assert_says("5 uploaded");
    world.expect(0, "backup src BUCKET/photos --yes").assert_nothing_to_do();
    fs::remove_file(world.path("src/a.txt")).unwrap();
    world.expect(0, "backup src BUCKET/photos --yes").assert_says("1 deleted");
    world.expect(0, "restore BUCKET/photos back --yes").assert_says("4 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    for key in others {
        assert_eq!(world.get_object(key), b"not ours");
    }
}

#[test]
fn large_files_are_transferred_in_parts_both_ways() {
    let world = World::on_any_server();
    let large = noise(3, (12 << 20) + 17);
    world.write("src/large", &large);
    world.write("src/exact", noise(4, 10 << 20));
    world.write("src/small", "small");
    let options = "--yes --part-size 5MiB";
    world.expect(0, &format!("backup src BUCKET {options}")).assert_says("3 uploaded");
    assert_eq!(world.get_object("large"), large);
    world.expect(0, &format!("restore BUCKET back {options}")).assert_says("3 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    world.expect(0, &format!("backup back BUCKET {options}")).assert_nothing_to_do();
    world.expect(0, "verify src BUCKET --part-size 5MiB").assert_says("3 the same");
    world.expect(0, "verify src BUCKET").assert_says("3 the same");
    world.expect(0, "restore BUCKET again --yes").assert_says("3 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("again")));
}
