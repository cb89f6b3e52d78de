//! Changes that keep the size, and that the mtime does not show.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use super::{mtime, rewrite_and_set_mtime_back, set_mtime, settle};
use crate::support::{World, files, set_age, store::Object};

fn shell(world: &World, command: &str) {
    let status = Command::new("sh").args(["-c", command]).current_dir(world.path("")).status();
    assert!(status.unwrap().success(), "{command}");
}

#[test]
fn restore_over_an_older_copy_of_the_same_size_downloads_the_object() {
    for is_recorded in [true, false] {
        let world = World::in_process();
        let record = if is_recorded { "" } else { " --no-record" };
        world.write("src/a", "version 1");
        shell(&world, "cp -a src snapshot");
        world.write("src/a", "version 2");
        set_age(&world.path("src/a"), 60);
        world.expect(0, &format!("backup src BUCKET --yes{record}"));
        world
            .expect(0, &format!("restore BUCKET snapshot --yes{record}"))
            .assert_says("1 downloaded");
        assert_eq!(files(&world.path("snapshot"))["a"], b"version 2");
        world.expect(0, &format!("restore BUCKET snapshot --yes{record}")).assert_nothing_to_do();
    }
}

#[test]
fn change_with_the_mtime_set_back_is_uploaded() {
    for (settled, option) in [(true, ""), (false, ""), (false, " --no-record")] {
        let world = World::in_process();
        world.write("src/a", "version 1");
        if settled {
            settle();
        }
        world.expect(0, &format!("backup src BUCKET --yes{option}"));
        rewrite_and_set_mtime_back(&world.path("src/a"), "version 2");
        world.expect(0, &format!("backup src BUCKET --yes{option}")).assert_says("1 uploaded");
        assert_eq!(&world.store().get("a").unwrap().body[..], b"version 2");
        world.expect(0, &format!("backup src BUCKET --yes{option}")).assert_nothing_to_do();
    }
}

#[test]
fn older_file_of_the_same_size_put_in_place_of_another_is_uploaded() {
    let world = World::in_process();
    for n in 1..=3 {
        world.write(&format!("src/{n}"), format!("content {n}"));
        world.write(&format!("older/{n}"), format!("CONTENT {n}"));
        set_age(&world.path(&format!("older/{n}")), 86_400);
    }
    settle();
    world.expect(0, "backup src BUCKET --yes").assert_says("3 uploaded");
    // `rsync -t` writes a temporary file and renames it.
    shell(
        &world,
        "cp -p older/1 src/1; mv older/2 src/2; cp -p older/3 src/.3.tmp; mv src/.3.tmp src/3",
    );
    world.expect(0, "backup src BUCKET --yes").assert_says("3 uploaded");
    assert_eq!(world.keys(), ["1", "2", "3"]);
    for n in 1..=3 {
        let body = world.store().get(&n.to_string()).unwrap().body;
        assert_eq!(body, format!("CONTENT {n}"));
    }
}

#[test]
fn older_file_renamed_over_a_recorded_one_long_ago_is_uploaded() {
    let world = World::in_process();
    world.write("older", "content 2");
    set_age(&world.path("older"), 86_400);
    world.write("src/a", "content 1");
    settle();
    let stored = Object::new("content 1");
    world.expect(0, "backup src BUCKET --yes");
    shell(&world, "mv older src/a");
    // Another program stores the same content again an hour later: LastModified is later than all.
    let later = world.store().now() + std::time::Duration::from_secs(3_600);
    world.store().put_object("a", stored.last_modified(later));
    let run = world.expect(0, "backup src BUCKET --yes --list");
    run.assert_says("upload    content");
    assert_eq!(&world.store().get("a").unwrap().body[..], b"content 2");
}

#[test]
fn file_renamed_over_another_in_a_restored_tree_is_uploaded() {
    for option in ["", " --no-record"] {
        let world = World::in_process();
        for n in 0..20 {
            world.write(&format!("src/w{n:03}"), format!("content {n:03}"));
        }
        world.expect(0, &format!("backup src BUCKET --yes{option}"));
        world.expect(0, &format!("restore BUCKET back --yes{option}"));
        // Objects that were stored in one second have equal times.
        let (one, other) = (world.path("back/w000"), world.path("back/w014"));
        set_mtime(&one, mtime(&other));
        shell(&world, "mv back/w000 back/w014");
        let run = world.expect(0, &format!("backup back BUCKET --yes{option}"));
        run.assert_says("1 uploaded");
        run.assert_says("1 deleted");
        assert_eq!(&world.store().get("w014").unwrap().body[..], b"content 000");
    }
}

#[test]
fn rolled_back_file_is_transferred_in_both_directions() {
    let world = World::in_process();
    world.write("src/a", "version 1");
    settle();
    world.expect(0, "backup src BUCKET --yes");
    shell(&world, "cp -a src snapshot");
    fs::write(world.path("src/a"), "version 2").unwrap();
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    shell(&world, "rm -r src; cp -a snapshot src");
    world.expect(0, "backup src BUCKET --mock").assert_says("1 to upload");
    world.expect(0, "restore BUCKET src --yes").assert_says("1 downloaded");
    assert_eq!(files(&world.path("src"))["a"], b"version 2");
    shell(&world, "rm -r src; cp -a snapshot src");
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(&world.store().get("a").unwrap().body[..], b"version 1");
}

#[test]
fn object_that_another_program_overwrote_is_noticed_in_both_directions() {
    let world = World::in_process();
    world.write("src/a", "ours");
    world.write("src/b", "ours");
    settle();
    world.expect(0, "backup src BUCKET --yes");
    world.put_object("a", b"THEM");
    world.expect(0, "backup src BUCKET --mock --list").assert_says("upload    content");
    world.expect(0, "restore BUCKET src --yes").assert_says("1 downloaded");
    assert_eq!(files(&world.path("src"))["a"], b"THEM");
    world.put_object("b", b"THEM");
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(&world.store().get("b").unwrap().body[..], b"ours");
}

#[test]
fn object_that_was_copied_in_place_is_kept() {
    for direction in ["backup src BUCKET", "restore BUCKET src"] {
        let world = World::in_process();
        world.write("src/a", "content");
        world.write("src/b", "content");
        settle();
        world.expect(0, "backup src BUCKET --yes");
        // A copy has a new LastModified. If it was made in parts, it has another ETag as well.
        let now = world.store().now();
        world.store().put_object("a", Object::new("content").last_modified(now));
        let etag = "0123456789abcdef0123456789abcdef-1";
        world.store().put_object("b", Object::new("content").etag(etag).last_modified(now));
        world.expect(0, &format!("{direction} --yes")).assert_nothing_to_do();
        world.store().clear_requests();
        world.expect(0, &format!("{direction} --yes")).assert_nothing_to_do();
    }
}

#[test]
fn change_of_permissions_is_compared_and_nothing_is_sent() {
    let world = World::in_process();
    world.write("src/a", "content");
    settle();
    world.expect(0, "backup src BUCKET --yes");
    fs::set_permissions(world.path("src/a"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(world.path("src/a"), world.path("another name")).unwrap();
    world.store().clear_requests();
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET src --yes").assert_nothing_to_do();
    assert_eq!((world.store().count("PutObject"), world.store().count("GetObject")), (0, 0));
}

#[test]
fn link_to_another_old_file_of_the_same_size_is_uploaded() {
    let world = World::in_process();
    world.write("src/one", "content 1");
    world.write("src/two", "content 2");
    let point_to = |target: &str| {
        let link = world.path("src/link");
        let _ = fs::remove_file(&link);
        symlink(Path::new(target), link).unwrap();
    };
    point_to("one");
    settle();
    world.expect(0, "backup src BUCKET --yes").assert_says("3 uploaded");
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    point_to("two");
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(&world.store().get("link").unwrap().body[..], b"content 2");
}

#[test]
fn link_that_leads_to_another_old_file_is_uploaded_without_a_record() {
    let world = World::in_process();
    world.write("src/releases/1/app", "version 1");
    world.write("src/releases/2/app", "version 2");
    symlink("releases/1", world.path("src/current")).unwrap();
    symlink("current/app", world.path("src/app")).unwrap();
    let backup = "backup src BUCKET --yes --no-record --links follow";
    world.expect(0, backup).assert_says("4 uploaded");
    // By the clock of the store, all objects are much younger than the files and links.
    for key in world.keys() {
        let object = world.store().get(&key).unwrap();
        let later = world.store().now() + std::time::Duration::from_secs(3_600);
        world.store().put_object(&key, object.last_modified(later));
    }
    world.expect(0, backup).assert_nothing_to_do();
    fs::remove_file(world.path("src/current")).unwrap();
    symlink("releases/2", world.path("src/current")).unwrap();
    world.expect(0, backup).assert_says("2 uploaded");
    for key in ["app", "current/app"] {
        assert_eq!(&world.store().get(key).unwrap().body[..], b"version 2", "{key}");
    }
}
