//! Guards against accidental deletion.

use std::{fs, os::unix::fs::symlink};

use crate::{
    any_server::command_line::json_line,
    support::{World, files, noise},
};

fn with_objects(count: usize) -> World {
    let world = World::on_any_server();
    for n in 0..count {
        world.write(&format!("src/{n:03}"), "x");
    }
    world.expect(0, "backup src BUCKET --yes");
    world
}

#[test]
fn missing_source_deletes_nothing() {
    let world = with_objects(3);
    let run = world.expect(1, "backup unmounted BUCKET --yes");
    run.assert_says("unmounted");
    assert_eq!(world.keys().len(), 3);
}

#[test]
fn empty_source_is_refused_without_allow_empty() {
    let world = with_objects(3);
    std::fs::create_dir(world.path("empty")).unwrap();
    for line in ["backup empty BUCKET --yes", "backup empty BUCKET --mock"] {
        world.expect(3, line).assert_says("the source is empty");
    }
    world.expect(3, "restore BUCKET/nothing/here src --yes").assert_says("the source is empty");
    assert_eq!((world.keys().len(), files(&world.path("src")).len()), (3, 3));
    world.expect(0, "backup empty BUCKET --yes --no-delete").assert_says("0 deleted");
    world.expect(0, "backup empty BUCKET --yes --allow-empty").assert_says("3 deleted");
    assert!(world.keys().is_empty());
    // If both sides are empty, the guard does not apply.
    world.expect(0, "backup empty BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET empty --yes").assert_nothing_to_do();
}

#[test]
fn deleting_most_of_the_target_is_refused_without_max_delete() {
    let world = with_objects(120);
    world.write("other/000", "x");
    world.expect(3, "backup other BUCKET --yes").assert_says("119 of the target's 120 entries");
    world.expect(3, "backup other BUCKET --yes --max-delete 118");
    world.expect(3, "backup other BUCKET --yes --max-delete 99%");
    assert_eq!(world.keys().len(), 120);
    world.expect(0, "backup other BUCKET --yes --no-delete").assert_says("0 deleted");
    world.expect(0, "backup other BUCKET --yes --max-delete=119").assert_says("119 deleted");
    assert_eq!(world.keys(), ["000"]);

    world.expect(3, "restore BUCKET src --yes");
    assert_eq!(files(&world.path("src")).len(), 120);
    world.expect(0, "restore BUCKET src --yes --max-delete 100%").assert_says("119 deleted");
    assert_eq!(files(&world.path("src")).len(), 1);
}

#[test]
fn run_without_terminal_and_without_yes_changes_nothing() {
    let world = World::on_any_server();
    world.write("src/a", "a");
    let run = world.expect(3, "backup src BUCKET");
    run.assert_says("1 to upload");
    run.assert_says("--yes");
    assert!(world.keys().is_empty());
    world.expect(0, "backup src BUCKET --yes");
    // A run that would change nothing needs no confirmation.
    world.expect(0, "backup src BUCKET");
}

#[test]
fn restore_from_an_empty_prefix_fails_and_names_similar_ones() {
    let world = World::on_any_server();
    world.write("dir/a", "a");
    world.expect(0, "backup dir BUCKET/photos --yes");
    let warning = "check the prefix";
    let suggestion = format!("did you mean s3://{}/photos/?", world.bucket);
    world.expect(1, "restore BUCKET/fotos back --yes --quiet").assert_says(&suggestion);
    world.expect(1, "restore BUCKET/fotos dir --yes --no-delete").assert_says(&suggestion);
    world.expect(1, "restore BUCKET/fotos/ back --mock").assert_says(&suggestion);
    assert!(!world.path("back").exists());
    world.expect(0, "restore BUCKET/fotos empty --yes --allow-empty").assert_says(warning);
    for line in ["restore BUCKET/photos back --yes", "restore BUCKET/photos back --yes"] {
        assert!(!world.expect(0, line).stderr.contains(warning));
    }
}

/// Asserts that a refusal names both locations and the option that allows the run.
#[track_caller]
fn assert_refused(world: &World, line: &str, dir: &str, prefix: &str, option: &str) {
    let refusal = world.expect(3, line).stderr;
    let url = format!("s3://{}/{prefix}", world.bucket);
    let dir = world.path(dir);
    for text in [dir.to_str().unwrap(), &url, option] {
        assert!(refusal.contains(text), "{line}: {text:?} is not in {refusal}");
    }
}

#[test]
fn backup_to_a_prefix_of_something_else_is_refused_without_allow_unrelated() {
    let world = World::on_any_server();
    for name in ["a", "b", "c", "d/e"] {
        world.write(&format!("photos/{name}.jpg"), name.repeat(9));
        world.put_object(&format!("music/{name}.mp3"), b"another kind of file");
    }
    let keys = world.keys();
    for option in ["--yes", "--mock", "--yes --json", "--yes --checksum", "--yes --max-delete 100%"]
    {
        let line = format!("backup photos BUCKET/music {option}");
        assert_refused(&world, &line, "photos", "music/", "--allow-unrelated");
    }
    let refused = world.expect(3, "backup photos BUCKET/music --mock --json");
    assert_eq!(json_line(&refused, "plan")["delete"], 4);
    // The guard for empty sources is another one.
    world.expect(3, "backup photos BUCKET/music --yes --allow-empty");
    assert_eq!(world.keys(), keys);

    let allowed = "backup photos BUCKET/music --mock --allow-unrelated";
    world.expect(0, allowed).assert_says("4 to delete");
    world.expect(0, "backup photos BUCKET/music --yes --no-delete").assert_says("4 uploaded");
    // Now one is a copy of the other, next to what was there before.
    world.expect(0, "backup photos BUCKET/music --yes").assert_says("4 deleted");
}

#[test]
fn restore_into_a_directory_of_something_else_is_refused_without_allow_unrelated() {
    let world = World::on_any_server();
    for n in 0..5 {
        world.put_object(&format!("photos/{n}.jpg"), &noise(n, 100));
    }
    world.write("thesis/thesis.tex", "years of work");
    world.write("thesis/notes.txt", "the only copy");
    let before = files(&world.path("thesis"));
    for option in ["--yes", "--mock", "--yes --json"] {
        let line = format!("restore BUCKET/photos thesis {option}");
        assert_refused(&world, &line, "thesis", "photos/", "--allow-unrelated");
    }
    // Even a single file may be the only copy.
    fs::remove_file(world.path("thesis/notes.txt")).unwrap();
    world.expect(3, "restore BUCKET/photos thesis --yes").assert_says("--allow-unrelated");
    assert_eq!(files(&world.path("thesis"))["thesis.tex"], before["thesis.tex"]);

    // A new or empty directory has nothing to lose.
    fs::create_dir(world.path("empty")).unwrap();
    world.expect(0, "restore BUCKET/photos new --yes").assert_says("5 downloaded");
    world.expect(0, "restore BUCKET/photos empty --yes").assert_says("5 downloaded");
    let done = world.expect(0, "restore BUCKET/photos thesis --yes --allow-unrelated");
    done.assert_says("1 deleted");
    assert_eq!(files(&world.path("thesis")), files(&world.path("new")));
}

#[test]
fn renamed_tree_is_not_unrelated() {
    let world = World::on_any_server();
    for n in 0..30u64 {
        world.write(&format!("src/2024/{}/{n}", n % 3), noise(n, 10 + n as usize));
    }
    world.expect(0, "backup src BUCKET --yes");
    world.expect(0, "restore BUCKET back --yes");
    fs::rename(world.path("src/2024"), world.path("src/archive")).unwrap();
    world.expect(0, "backup src BUCKET --yes").assert_says("30 deleted");
    world.expect(0, "restore BUCKET back --yes").assert_says("30 deleted");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    // Every file gets another content, and one of them keeps its path.
    let content = |n: u64| noise(n + 1_000, 200 + n as usize);
    world.write("src/archive/0/0", content(0));
    for n in 1..30u64 {
        fs::remove_file(world.path(&format!("src/archive/{}/{n}", n % 3))).unwrap();
        world.write(&format!("src/new/{n}"), content(n));
    }
    world.expect(0, "backup src BUCKET --yes").assert_says("29 deleted");
}

#[test]
fn single_file_may_be_replaced_by_another_one() {
    let world = World::on_any_server();
    world.write("dumps/2026-11-27.sql", "the dump of Friday");
    world.expect(0, "backup dumps BUCKET --yes");
    world.expect(0, "restore BUCKET back --yes");
    fs::remove_file(world.path("dumps/2026-11-27.sql")).unwrap();
    world.write("dumps/2026-11-28.sql", "the dump of Saturday");
    // A skipped entry does not count.
    symlink("nowhere", world.path("dumps/latest")).unwrap();
    world.expect(2, "backup dumps BUCKET --yes").assert_says("1 deleted");
    // The file that a restore would delete may be something else, unless it was only renamed.
    world.expect(3, "restore BUCKET back --yes").assert_says("--allow-unrelated");
    world.expect(0, "restore BUCKET back --yes --allow-unrelated").assert_says("1 deleted");
    fs::rename(world.path("dumps/2026-11-28.sql"), world.path("dumps/saturday")).unwrap();
    world.expect(2, "backup dumps BUCKET --yes").assert_says("1 deleted");
    world.expect(0, "restore BUCKET back --yes").assert_says("1 deleted");
    // One file in place of two, or two in place of one, may be another directory.
    world.put_object("logs/1", b"a log");
    world.put_object("logs/2", b"another log");
    world.expect(3, "backup back BUCKET/logs --yes").assert_says("--allow-unrelated");
    world.expect(3, "restore BUCKET/logs back --yes").assert_says("--allow-unrelated");
    assert_eq!((files(&world.path("back")).len(), world.keys().len()), (1, 3));
}

#[test]
fn skipped_entries_do_not_make_both_sides_related() {
    let world = World::on_any_server();
    for name in ["one", "two", "three"] {
        world.write(&format!("src/{name}"), name);
        world.put_object(&format!("other-{name}"), b"other");
        // On both sides, but as a symlink and an object that cannot be compared.
        symlink("nowhere", world.path(&format!("src/both-{name}"))).unwrap();
        world.put_object(&format!("both-{name}"), b"both");
    }
    let keys = world.keys();
    world.expect(3, "backup src BUCKET --yes").assert_says("--allow-unrelated");
    world.expect(3, "restore BUCKET src --yes").assert_says("--allow-unrelated");
    assert_eq!((world.keys(), files(&world.path("src")).len()), (keys, 3));
}

#[test]
fn less_than_one_percent_in_common_is_refused() {
    let world = with_objects(120);
    for n in 0..300 {
        world.write(&format!("other/{n}.txt"), "a longer text");
    }
    world.write("other/000", "x");
    // One of 120 is less than 1 %, two are more.
    world.expect(3, "backup other BUCKET --yes --max-delete 100%").assert_says("1 of 120");
    world.expect(3, "restore BUCKET other --yes --max-delete 100%").assert_says("1 of 120");
    world.write("other/moved/001", "x");
    for option in ["", " --checksum"] {
        let line = format!("backup other BUCKET --mock --max-delete 100%{option}");
        world.expect(0, &line).assert_says("119 to delete");
    }
    world.expect(0, "restore BUCKET other --mock --max-delete 100%").assert_says("301 to delete");
}

/// A directory with `home` and, as if on file systems of their own, `data` and `mnt/usb`.
fn with_mounts(objects_below_mnt: usize) -> World {
    let world = World::on_any_server();
    for n in 0..40 {
        world.write(&format!("srv/home/{n}"), "home");
        world.write(&format!("srv/data/{}/{n}", n % 4), "data");
    }
    for n in 0..objects_below_mnt {
        world.write(&format!("srv/mnt/usb/{n}"), "usb");
    }
    world.expect(0, "backup srv BUCKET/srv --yes");
    world
}

/// Removes everything in a directory, but not the directory: as if its file system were not mounted.
fn unmount(world: &World, dir: &str) {
    fs::remove_dir_all(world.path(dir)).unwrap();
    fs::create_dir(world.path(dir)).unwrap();
}

#[test]
fn backup_of_an_unmounted_directory_is_refused_without_allow_empty() {
    let world = with_mounts(20);
    let keys = world.keys();
    unmount(&world, "srv/data");
    for option in ["--yes", "--mock", "--yes --json", "--yes --max-delete 100%"] {
        let line = format!("backup srv BUCKET/srv {option}");
        assert_refused(&world, &line, "srv", "srv/", "--allow-empty");
        world.expect(3, &line).assert_says("data: 40 objects");
    }
    let refused = world.expect(3, "backup srv BUCKET/srv --mock --json");
    assert_eq!(json_line(&refused, "plan")["delete"], 40);
    world.expect(3, "backup srv BUCKET/srv --yes --allow-unrelated");
    unmount(&world, "srv/mnt");
    let both = world.expect(3, "backup srv BUCKET/srv --yes");
    both.assert_says("2 directories");
    both.assert_says("mnt: 20 objects");
    assert_eq!(world.keys(), keys);

    // A restore brings the files back.
    let restored = "restore BUCKET/srv srv --mock";
    world.expect(0, restored).assert_says("60 to download");
    world.expect(0, "backup srv BUCKET/srv --yes --no-delete").assert_says("0 deleted");
    let allowed = "backup srv BUCKET/srv --yes --allow-empty";
    world.expect(0, allowed).assert_says("60 deleted");
    // The question comes up only once.
    world.expect(0, "backup srv BUCKET/srv --yes").assert_nothing_to_do();
}

#[test]
fn only_an_empty_directory_that_held_20_entries_counts_as_unmounted() {
    let world = with_mounts(19);
    // Fewer than 20 entries.
    unmount(&world, "srv/mnt/usb");
    world.expect(0, "backup srv BUCKET/srv --mock").assert_says("19 to delete");
    // The directory itself is gone: nothing is mounted there.
    fs::remove_dir_all(world.path("srv/data")).unwrap();
    world.expect(0, "backup srv BUCKET/srv --mock").assert_says("59 to delete");
    // Empty directories are as good as none.
    fs::create_dir_all(world.path("srv/data/3/x/y")).unwrap();
    world.expect(3, "backup srv BUCKET/srv --mock").assert_says("data: 40 objects");
    // A single file, or something that is skipped, shows that the file system is mounted.
    world.write("srv/data/3/x/y/z", "z");
    world.expect(0, "backup srv BUCKET/srv --mock").assert_says("59 to delete");
    fs::remove_file(world.path("srv/data/3/x/y/z")).unwrap();
    symlink("nowhere", world.path("srv/data/3/x/y/z")).unwrap();
    world.expect(2, "backup srv BUCKET/srv --mock").assert_says("59 to delete");
}
