//! Leftover temporary files of earlier restores: a backup leaves them alone, a restore removes them.

use std::{fs, os::unix::fs::symlink};

use crate::support::{World, files};

const PART: &str = ".s3keep-0123456789abcdef.part";

/// The leftovers in the directory `src`, and one file.
fn with_leftovers() -> World {
    let world = World::in_process();
    world.write("src/a", "a");
    for dir in ["", "dir/", "dir/deeper/"] {
        world.write(&format!("src/{dir}{PART}"), "the old content of a file");
    }
    world
}

#[test]
fn backup_neither_uploads_nor_removes_leftovers() {
    let world = with_leftovers();
    let before = files(&world.path("src"));
    for options in [" --mock", "", "", " --accept-incomplete", " --links follow", " --no-delete"] {
        let yes = if options == " --mock" { "" } else { " --yes" };
        let done = world.expect(0, &format!("backup src BUCKET --list{yes}{options}"));
        done.assert_says(&format!("leftover                       dir/{PART}"));
        done.assert_says(&format!(
            "warning: not backed up: 3 temporary files of restores that did not finish, for example \
             {PART}; a restore into this directory removes them"
        ));
        assert_eq!(files(&world.path("src")), before, "{options}");
    }
    assert_eq!(world.store().keys(), ["a"]);
    let done = world.expect(0, "backup src BUCKET --yes --quiet");
    assert_eq!((done.stdout.as_str(), done.stderr.lines().count()), ("", 1), "{done:?}");
    let done = world.expect(0, "backup src BUCKET --json");
    done.assert_says(&format!(r#"{{"path":"dir/deeper/{PART}","type":"leftover"}}"#));
    assert!(!done.stdout.contains("sweep"), "{done:?}");
    world.expect(0, "verify src BUCKET");
    world.expect(0, "cleanup src").assert_says("0 empty directories removed");
    assert_eq!(files(&world.path("src")), before);
}

#[test]
fn leftover_protects_nothing_in_the_bucket() {
    let world = with_leftovers();
    world.expect(0, "backup src BUCKET --yes");
    world.store().put("dir/gone", b"gone");
    world.expect(0, "backup src BUCKET --yes").assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["a"]);
    // A directory that has nothing else counts as empty.
    (0..20).for_each(|n| world.store().put(&format!("dir/{n}"), b"object"));
    world.expect(3, "backup src BUCKET --yes").assert_says("dir: 20 objects");
    assert_eq!(world.store().keys().len(), 21);
}

#[test]
fn source_of_nothing_but_leftovers_is_empty() {
    let world = with_leftovers();
    fs::remove_file(world.path("src/a")).unwrap();
    world.store().put("a", b"a");
    world.expect(3, "backup src BUCKET --yes").assert_says("the source is empty");
    assert_eq!(world.store().keys(), ["a"]);
}

#[test]
fn leftover_behind_a_followed_link_is_named_under_its_real_path_only() {
    let world = with_leftovers();
    symlink("dir", world.path("src/link")).unwrap();
    let done = world.expect(0, "backup src BUCKET --yes --list --links follow");
    assert!(!done.stdout.contains("link/") && !done.stderr.contains("link/"), "{done:?}");
}

#[test]
fn link_that_was_replaced_is_a_leftover_like_a_file() {
    let world = World::in_process();
    world.write("src/a", "a");
    symlink("a", world.path("src").join(PART)).unwrap();
    for options in ["", " --links follow", " --links skip"] {
        let done = world.expect(0, &format!("backup src BUCKET --yes{options}"));
        done.assert_says("not backed up: 1 temporary file of restores that did not finish");
        assert!(world.path("src").join(PART).is_symlink());
    }
    world.expect(0, "restore BUCKET src --yes");
    assert!(!world.path("src").join(PART).is_symlink());
    assert_eq!(files(&world.path("src")).len(), 1);
}

#[test]
fn leftover_whose_path_is_too_long_for_a_key_stops_no_run() {
    let world = World::in_process();
    // The file has a key of 1,000 bytes. A temporary file has a longer name.
    let dir = vec!["d".repeat(248); 4].join("/");
    world.write(&format!("src/{dir}/four"), "content");
    world.write(&format!("src/{dir}/{PART}"), "unfinished");
    assert_eq!(dir.len() + "/four".len(), 1_000);
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(files(&world.path("src")).len(), 2);
    world.expect(0, "restore BUCKET src --yes");
    assert_eq!(files(&world.path("src")).len(), 1);
}

#[test]
fn restore_removes_leftovers_only_if_confirmed() {
    let world = with_leftovers();
    world.expect(0, "backup src BUCKET --yes");
    let before = files(&world.path("src"));
    // Nothing but the leftovers is to be removed.
    world.expect(0, "restore BUCKET src --mock").assert_says(&format!("dir/{PART}"));
    world.expect(3, "restore BUCKET src").assert_says("use --yes");
    assert_eq!(files(&world.path("src")), before);
    let done = world.expect(0, "restore BUCKET src --yes");
    assert!(!done.stderr.contains("not backed up"), "{done:?}");
    assert_eq!(files(&world.path("src")).into_keys().collect::<Vec<_>>(), ["a"]);
    world.expect(0, "restore BUCKET src").assert_nothing_to_do();
}
