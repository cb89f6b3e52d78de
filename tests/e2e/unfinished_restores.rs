//! Backups after a restore that did not finish: what it did not restore stays in the bucket.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use s3keep::{Config, Direction, Keeper, exit};

use crate::{
    embedding::config,
    support::{
        Run, World, files, markers, noise, set_age,
        store::{ACCESS_KEY, Fault, Hits, Object, SECRET_KEY},
    },
};

/// What a backup says about the marker of an unfinished restore.
const UNFINISHED: &str = "has not finished";

const NAMES: [&str; 4] = ["a", "b", "d/c", "d/e/f"];

fn world(prefix: &str) -> World {
    let world = World::in_process();
    for (seed, name) in NAMES.into_iter().enumerate() {
        world.store().put(&format!("{prefix}{name}"), noise(seed as u64, 1_000));
    }
    world
}

/// Starts the command in the background.
fn start(world: &World, line: &str) -> Child {
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.args(line.split(' ').map(|word| word.replace("BUCKET", &url)));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(what: &str, is_true: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: too late");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a restore that waits for the object `key`.
fn start_held(world: &World, line: &str, key: &str) -> (Child, Hits) {
    let late = Duration::from_secs(120);
    let hits = world.store().fault(Fault::on("GetObject").key(key).delay(late));
    let child = start(world, line);
    wait_for(line, || hits.count() > 0);
    (child, hits)
}

fn kill(world: &World, mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
    world.store().clear_faults();
}

/// Kills a restore that waits for the object `key`. Objects behind it are not requested.
fn kill_restore(world: &World, line: &str, key: &str) {
    let (child, _) = start_held(world, &format!("{line} --workers 1"), key);
    kill(world, child);
}

/// Asserts that the bucket still holds all objects of [`world`].
#[track_caller]
fn assert_kept(world: &World, prefix: &str) {
    for (seed, name) in NAMES.into_iter().enumerate() {
        let key = format!("{prefix}{name}");
        let object = world.store().get(&key);
        let body = object.unwrap_or_else(|| panic!("{key} was deleted")).body;
        assert_eq!(body, noise(seed as u64, 1_000), "{key} was overwritten");
    }
}

/// Asserts that a backup stores the file `new` and keeps all objects.
#[track_caller]
fn assert_backup_keeps(world: &World, dir: &str, prefix: &str) -> Run {
    world.write(&format!("{dir}/new"), "new");
    let line = format!("backup {dir} BUCKET/{prefix} --yes");
    let mock = world.expect(2, &line.replace("--yes", "--mock"));
    mock.assert_says("1 to upload");
    mock.assert_says("\n0 to delete\n");
    mock.assert_says(UNFINISHED);
    let run = world.expect(2, &line);
    run.assert_says("1 uploaded");
    run.assert_says(UNFINISHED);
    run
}

#[test]
fn backup_after_a_killed_restore_keeps_what_was_not_restored() {
    let world = world("");
    kill_restore(&world, "restore BUCKET dir --yes", "d/c");
    assert_eq!(markers(&world.path("dir")).len(), 1);
    let text = fs::read_to_string(world.path("dir").join(&markers(&world.path("dir"))[0])).unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.contains("restore") && first.contains("Deleting this file"), "{first}");
    let run = assert_backup_keeps(&world, "dir", "");
    run.assert_says("skipped: d/c: ");
    run.assert_says("--accept-incomplete");
    assert_kept(&world, "");
    assert!(world.store().get("new").is_some());
    // JSON output and a quiet run name them, too.
    world.expect(2, "backup dir BUCKET --yes --json").assert_says(r#""path":"d/e/f""#);
    world.expect(2, "backup dir BUCKET --yes --quiet").assert_says("skipped: d/e/f: ");
    assert_kept(&world, "");

    world.expect(0, "restore BUCKET dir --yes").assert_says("4 downloaded");
    assert!(markers(&world.path("dir")).is_empty());
    world.expect(0, "backup dir BUCKET --yes").assert_nothing_to_do();
    assert!(world.store().keys().iter().all(|key| !key.contains(".s3keep-")));
    fs::remove_file(world.path("dir/a")).unwrap();
    world.expect(0, "backup dir BUCKET --yes").assert_says("1 deleted");
}

#[test]
fn backup_of_the_parent_of_a_killed_restore_keeps_what_was_not_restored() {
    let world = world("sub/x/");
    kill_restore(&world, "restore BUCKET/sub/x dir/sub/x --yes", "sub/x/a");
    assert_backup_keeps(&world, "dir", "");
    assert_kept(&world, "sub/x/");
    // What the marker does not concern is deleted as usual.
    world.store().put("other", b"other");
    world.expect(2, "backup dir BUCKET --yes").assert_says("1 deleted");
    assert_kept(&world, "sub/x/");
    world.expect(0, "restore BUCKET/sub/x dir/sub/x --yes");
    world.expect(0, "backup dir BUCKET --yes");
}

#[test]
fn backup_of_a_child_of_a_killed_restore_keeps_what_was_not_restored() {
    let world = world("sub/x/");
    kill_restore(&world, "restore BUCKET dir --yes", "sub/x/a");
    fs::create_dir_all(world.path("dir/sub/x")).unwrap();
    assert_backup_keeps(&world, "dir/sub/x", "sub/x");
    assert_kept(&world, "sub/x/");
    // A bucket of another name gets no protection from the same list by mistake: there is nothing
    // to protect in it, and everything is stored.
    world.store().create_bucket("other");
    world.expect(0, "backup dir/sub/x s3://other --yes").assert_says("1 uploaded");
    symlink("dir/sub", world.path("alias")).unwrap();
    world.expect(2, "backup alias/x BUCKET/sub/x --yes").assert_says(UNFINISHED);
    assert_kept(&world, "sub/x/");
    world.expect(0, "restore BUCKET dir --yes");
    world.expect(0, "backup dir/sub/x BUCKET/sub/x --yes");
}

#[test]
fn backup_does_not_overwrite_what_a_killed_restore_should_have_replaced() {
    for age in [3_600, 0, -3_600] {
        let world = world("");
        // Of another size, of the same size, of the same content.
        world.write("dir/a", "older");
        world.write("dir/b", noise(99, 1_000));
        world.write("dir/d/c", noise(2, 1_000));
        kill_restore(&world, "restore BUCKET dir --yes --checksum", "d/e/f");
        for name in ["a", "b", "d/c"] {
            set_age(&world.path("dir").join(name), age);
        }
        let run = assert_backup_keeps(&world, "dir", "");
        assert_kept(&world, "");
        run.assert_says("skipped: a: ");
        assert!(!run.stderr.contains("skipped: d/c: "), "{run:?}");
        world.expect(2, "backup dir BUCKET --yes --checksum").assert_says("skipped: b: ");
        assert_kept(&world, "");
    }
}

#[test]
fn failed_entry_of_a_restore_is_neither_overwritten_nor_deleted() {
    let world = world("");
    world.write("dir/b", "older");
    world.store().fault(Fault::on("GetObject").key("b").status(404, "NoSuchKey"));
    world.store().fault(Fault::on("GetObject").key("d/c").status(404, "NoSuchKey"));
    world.expect(2, "restore BUCKET dir --yes").assert_says(".restore");
    world.store().clear_faults();
    // The marker lists just these.
    let found = markers(&world.path("dir"));
    let text = fs::read_to_string(world.path("dir").join(&found[0])).unwrap();
    assert!(text.contains("\"b\"\n\"d/c\"\n") && !text.contains("d/e"), "{text}");
    let run = assert_backup_keeps(&world, "dir", "");
    run.assert_says("2 skipped");
    assert_kept(&world, "");
    // A file that the restore has written, and that changed since, is stored.
    world.write("dir/a", "changed");
    set_age(&world.path("dir/a"), -3_600);
    world.expect(2, "backup dir BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(world.store().get("a").unwrap().body, "changed");
}

#[test]
fn object_next_to_objects_below_its_name_is_not_deleted() {
    let world = World::in_process();
    world.store().put("a", b"a file");
    world.store().put("a/b", b"below its name");
    for _ in 0..2 {
        world.expect(2, "restore BUCKET dir --yes").assert_says("skipped: a: ");
        assert_eq!(markers(&world.path("dir")).len(), 1);
        world.expect(2, "backup dir BUCKET --yes").assert_says("skipped: a: ");
        assert_eq!(world.store().keys(), ["a", "a/b"]);
    }
    // Both were copied by another program: there is nothing to transfer.
    fs::create_dir(world.path("copy")).unwrap();
    fs::rename(world.path("dir/a"), world.path("copy/a")).unwrap();
    world.expect(2, "restore BUCKET copy --yes").assert_nothing_to_do();
    world.expect(2, "backup copy BUCKET --yes");
    assert_eq!(world.store().keys(), ["a", "a/b"]);
    // A local directory or file that is in the way.
    world.store().remove("a/b");
    world.expect(2, "restore BUCKET copy --yes").assert_says("skipped: a: ");
    world.expect(2, "backup copy BUCKET --yes --max-delete 100%");
    assert!(world.store().get("a").is_some());
}

#[test]
fn object_below_a_local_file_is_not_deleted() {
    let world = World::in_process();
    world.store().put("a/b", b"below the name of a file");
    world.store().put("a/c", b"below the name of a file");
    world.write("dir/a", "a file");
    world.expect(2, "restore BUCKET dir --yes").assert_says("skipped: a/b: ");
    world.expect(2, "backup dir BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(world.store().keys(), ["a", "a/b", "a/c"]);
}

#[test]
fn backup_after_credentials_expired_during_a_restore_keeps_everything() {
    let world = world("");
    world.store().fault(
        Fault::on("GetObject").key("d/c").run(|store| store.revoke_key(ACCESS_KEY)).times(1),
    );
    world.expect(1, "restore BUCKET dir --yes --workers 1").assert_says(".restore");
    world.store().clear_faults();
    world.store().allow_key(ACCESS_KEY, SECRET_KEY);
    assert_backup_keeps(&world, "dir", "");
    assert_kept(&world, "");
}

#[test]
fn backup_of_the_parent_of_a_running_restore_keeps_everything() {
    let world = world("sub/");
    world.write("dir/new", "new");
    world.write("dir/sub/a", "older");
    let (child, _) = start_held(&world, "restore BUCKET/sub dir/sub --yes", "sub/d/c");
    world.expect(2, "backup dir BUCKET --yes").assert_says("1 uploaded");
    assert_kept(&world, "sub/");
    // It does not remove the marker of a restore that is still running.
    kill(&world, child);
    assert_eq!(markers(&world.path("dir")).len(), 1);
}

#[test]
fn repeated_restore_removes_all_markers_of_its_root_and_no_others() {
    let world = world("");
    for key in ["a", "b"] {
        kill_restore(&world, "restore BUCKET dir --yes", key);
    }
    kill_restore(&world, "restore BUCKET/d dir/d --yes", "d/c");
    assert_eq!(markers(&world.path("dir")).len(), 3);
    world.store().fault(Fault::on("GetObject").key("d/c").status(404, "NoSuchKey"));
    world.expect(2, "restore BUCKET dir --yes");
    world.store().clear_faults();
    assert_eq!(markers(&world.path("dir")).len(), 2);
    world.expect(0, "restore BUCKET dir --yes");
    // That of another root remains. It says nothing that the files contradict.
    assert_eq!(markers(&world.path("dir")).len(), 1);
    assert_eq!(markers(&world.path("dir/d")).len(), 1);
    world.expect(0, "backup dir BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET/d dir/d --yes").assert_nothing_to_do();
    assert!(markers(&world.path("dir")).is_empty());
}

#[test]
fn complete_restore_leaves_no_marker() {
    let world = world("");
    world.write("dir/gone", "gone");
    world.write("dir/a", "older");
    let restore = "restore BUCKET dir --yes";
    world.expect(0, "restore BUCKET dir --mock");
    assert!(markers(&world.path("dir")).is_empty());
    world.expect(0, restore).assert_says("4 downloaded");
    assert_eq!(files(&world.path("dir")).len(), 4);
    assert!(markers(&world.path("dir")).is_empty());
    // A key that no file can have is not restored, and no backup deletes it.
    world.put_object("x//y", b"no path");
    world.store().put("z", b"z");
    world.expect(2, restore).assert_says("1 downloaded");
    assert!(markers(&world.path("dir")).is_empty());
    world.expect(2, "backup dir BUCKET --yes").assert_nothing_to_do();
}

#[test]
fn restore_with_nothing_to_do_writes_no_marker() {
    let world = world("");
    world.expect(0, "restore BUCKET dir --yes");
    let before = fs::metadata(world.path("dir")).unwrap().modified().unwrap();
    thread::sleep(Duration::from_millis(20));
    world.expect(0, "restore BUCKET dir --yes").assert_nothing_to_do();
    assert_eq!(fs::metadata(world.path("dir")).unwrap().modified().unwrap(), before);
}

#[test]
fn marker_that_cannot_be_read_protects_everything_below_its_directory() {
    let list = "\"a\"\n";
    type Damage = fn(&std::path::Path, &str);
    let damages: [(&str, Damage); 8] = [
        ("empty", |path, _| fs::write(path, "").unwrap()),
        ("truncated", |path, text| fs::write(path, &text[..text.len() - 3]).unwrap()),
        ("shortened", |path, text| fs::write(path, text.replace("\"a\"\n", "")).unwrap()),
        ("not text", |path, text| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.splice(bytes.len() - 10.., [0xff; 10]);
            fs::write(path, bytes).unwrap();
        }),
        ("longer", |path, text| fs::write(path, format!("{text}\"x\"\n")).unwrap()),
        ("too large", |path, text| {
            fs::write(path, text).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_len(65 << 20).unwrap();
        }),
        ("link", |path, text| {
            fs::remove_file(path).unwrap();
            let target = path.with_extension("target");
            fs::write(&target, text).unwrap();
            symlink(&target, path).unwrap();
        }),
        ("pipe", |path, _| {
            fs::remove_file(path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
    ];
    for (name, damage) in damages {
        let world = world("sub/");
        kill_restore(&world, "restore BUCKET/sub dir/sub --yes", "sub/d/c");
        let found = markers(&world.path("dir/sub"));
        let path = world.path("dir/sub").join(&found[0]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(list), "{text}");
        damage(&path, &text);
        world.store().put("sub/other", b"in no list");
        world.store().put("gone", b"gone");
        world.write("dir/new", "new");
        for line in
            ["backup dir BUCKET --yes --allow-unrelated", "backup dir/sub/d BUCKET/sub/d --yes"]
        {
            fs::create_dir_all(world.path("dir/sub/d")).unwrap();
            let run = world.expect(2, line);
            run.assert_says(UNFINISHED);
            assert_kept(&world, "sub/");
            let keys = world.store().keys();
            assert!(keys.contains(&"sub/other".to_owned()), "{name}: {keys:?}");
            assert!(keys.contains(&"new".to_owned()), "{name}: {keys:?}");
            assert!(!keys.contains(&"gone".to_owned()), "{name}: {keys:?}");
            assert!(keys.iter().all(|key| !key.contains(".restore")), "{name}: {keys:?}");
        }
        // A complete restore removes it, whatever it is.
        world.expect(0, "restore BUCKET/sub dir/sub --yes");
        world.expect(0, "backup dir BUCKET --yes");
    }
}

#[test]
fn accepted_incomplete_restore_is_mirrored() {
    let world = world("");
    kill_restore(&world, "restore BUCKET dir --yes", "d/c");
    kill_restore(&world, "restore BUCKET/d dir/d --yes", "d/c");
    world.write("dir/a", "the file counts");
    let line = "backup dir BUCKET --yes --accept-incomplete";
    world.expect(0, &line.replace("--yes", "--mock")).assert_says("3 to delete");
    assert_eq!(markers(&world.path("dir")).len(), 2);
    assert_kept(&world, "");
    world.expect(0, line).assert_says("3 deleted");
    assert_eq!(world.store().keys(), ["a"]);
    assert!(markers(&world.path("dir")).is_empty());
    world.expect(0, "backup dir BUCKET --yes").assert_nothing_to_do();
    world.expect(1, "restore BUCKET dir --yes --accept-incomplete").assert_says("backup");
}

#[test]
fn accepted_incomplete_restore_of_a_directory_above_keeps_its_marker() {
    let world = world("d/");
    kill_restore(&world, "restore BUCKET dir --yes", "d/a");
    world.write("dir/d/new", "new");
    let run = world.expect(0, "backup dir/d BUCKET/d --yes --accept-incomplete --allow-unrelated");
    run.assert_says("stays");
    run.assert_says(".restore");
    assert_eq!(world.store().keys(), ["d/new"]);
    assert_eq!(markers(&world.path("dir")).len(), 1);
}

#[test]
fn removing_the_marker_by_hand_ends_the_protection() {
    let world = world("");
    kill_restore(&world, "restore BUCKET dir --yes", "d/c");
    let found = markers(&world.path("dir"));
    fs::remove_file(world.path("dir").join(&found[0])).unwrap();
    world.write("dir/new", "new");
    world.expect(0, "backup dir BUCKET --yes --allow-unrelated").assert_says("4 deleted");
}

#[test]
fn name_of_a_marker_is_neither_stored_nor_restored_nor_mirrored() {
    let world = World::in_process();
    let name = ".s3keep-0123456789abcdef.restore";
    world.store().put(name, b"named like a marker");
    world.store().put(&format!("d/{name}"), b"named like a marker");
    world.store().put("a", b"a");
    let run = world.expect(2, "restore BUCKET dir --yes");
    run.assert_says("2 skipped");
    assert_eq!(files(&world.path("dir")).len(), 1);
    assert!(markers(&world.path("dir")).is_empty());
    world.expect(2, "backup dir BUCKET --yes");
    assert_eq!(world.store().keys().len(), 3);
    // A similar name is an ordinary file.
    world.write("dir/.s3keep-notes.restore", "the user's own");
    world.expect(2, "backup dir BUCKET --yes").assert_says("1 uploaded");
    // A marker occupies its directory, and a restore does not mirror it away.
    world.write(&format!("dir/d/{name}"), "of another restore");
    world.expect(0, "cleanup dir").assert_says("0 empty directories removed");
    world.store().put("b", b"b");
    world.expect(2, "restore BUCKET dir --yes").assert_says("1 downloaded");
    assert_eq!(markers(&world.path("dir")), [format!("d/{name}")]);
}

#[test]
fn link_to_a_file_that_was_not_restored_is_not_stored_over_its_object() {
    let world = World::in_process();
    world.store().put("sub/file", noise(1, 1_000));
    world.store().put("sub/held", b"held");
    world.store().put("link", noise(1, 1_000));
    world.write("dir/sub/file", "older");
    symlink("sub/file", world.path("dir/link")).unwrap();
    kill_restore(&world, "restore BUCKET/sub dir/sub --yes", "sub/held");
    let run = world.expect(2, "backup dir BUCKET --yes");
    run.assert_says("skipped: link: ");
    assert_eq!(world.store().get("link").unwrap().body, noise(1, 1_000));
}

#[test]
fn followed_directory_of_an_unfinished_restore_is_protected() {
    let world = World::in_process();
    for key in ["real/x", "real/y", "link/x", "link/y"] {
        world.store().put(key, noise(1, 1_000));
    }
    kill_restore(&world, "restore BUCKET/real dir/real --yes", "real/x");
    fs::remove_file(world.path("dir/real").join(&markers(&world.path("dir/real"))[0])).unwrap();
    kill_restore(&world, "restore BUCKET dir --yes", "real/x");
    fs::create_dir_all(world.path("dir/real")).unwrap();
    let _ = fs::remove_dir_all(world.path("dir/link"));
    symlink("real", world.path("dir/link")).unwrap();
    world.expect(2, "backup dir BUCKET --yes --links follow");
    assert_eq!(world.store().keys().len(), 4);
}

#[test]
fn backup_planned_before_a_restore_began_changes_nothing() {
    for dir in ["dir/sub", "dir", ""] {
        let world = world("sub/");
        world.write("dir/sub/a", "newer");
        set_age(&world.path("dir/sub/a"), -3_600);
        let keeper = Keeper::new(config(&world, "dir", "")).unwrap();
        let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
        assert_eq!((plan.transfers.len(), plan.deletions.len()), (1, 3));
        let other = World::in_process();
        other.store().put("x", b"x");
        let path = world.path(dir).display().to_string();
        kill_restore(&other, &format!("restore BUCKET {path} --yes --no-delete"), "x");
        let error = keeper.execute(plan, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("a restore into this directory began"), "{error}");
        assert_eq!(error.exit_code(), exit::FAILED);
        assert_kept(&world, "sub/");
    }
}

#[test]
fn deletions_are_withheld_where_a_restore_began_during_the_uploads() {
    let world = world("sub/");
    world.store().put("gone", b"gone");
    world.write("dir/new", "new");
    fs::create_dir_all(world.path("dir/sub")).unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&begun);
    let hits = world.store().fault(Fault::on("PutObject").times(1).run(move |_| {
        wait_for("restore", || wait.load(Ordering::SeqCst));
    }));
    let url = format!("s3://{}", world.bucket);
    let mut backup = world.command();
    let backup =
        backup.args(["backup", "dir", &url, "--yes", "--allow-unrelated"]).stderr(Stdio::piped());
    let backup = backup.stdout(Stdio::null()).spawn().unwrap();
    wait_for("upload", || hits.count() > 0);
    let (restore, _) = start_held(&world, "restore BUCKET/sub dir/sub --yes", "sub/d/c");
    begun.store(true, Ordering::SeqCst);
    let output = backup.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("deletions were withheld"), "{text}");
    assert_kept(&world, "sub/");
    assert!(world.store().get("gone").is_some() && world.store().get("new").is_some());
    kill(&world, restore);
}

#[test]
fn repeated_restore_reuses_complete_temporary_files() {
    let world = world("");
    world.store().put("large", noise(9, 11 << 20));
    world.store().put("d/same size", noise(10, 1_000));
    world.write("dir/b", "older");
    let line = "restore BUCKET dir --yes --part-size 5MiB --workers 16";
    // The others are complete by then, but none is renamed before the last one ends.
    let (child, _) = start_held(&world, line, "d/c");
    let complete = [noise(9, 11 << 20), noise(10, 1_000), noise(0, 1_000), noise(3, 1_000)];
    wait_for("downloads", || {
        let found = files(&world.path("dir"));
        complete.iter().all(|body| found.values().any(|found| found == body))
    });
    kill(&world, child);
    let left = files(&world.path("dir"));
    assert!(left.keys().all(|path| path.contains(".s3keep-") || path == "b"), "{:?}", left.keys());
    world.store().clear_requests();
    let run = world.expect(0, line);
    run.assert_says("6 downloaded");
    run.assert_says("reused");
    let gets = world.store().requests_of("GetObject");
    let mut keys: Vec<&str> = gets.iter().map(|request| request.key.as_str()).collect();
    keys.sort();
    // `b` is replaced, and `d/c` was not complete. No complete one is downloaded again.
    assert_eq!(keys, ["b", "d/c"]);
    world.expect(0, "verify dir BUCKET --part-size 5MiB");
    assert!(markers(&world.path("dir")).is_empty());
    assert_eq!(files(&world.path("dir")).len(), 6);
    world.expect(0, line).assert_nothing_to_do();
    world.expect(0, "backup dir BUCKET --yes").assert_nothing_to_do();
}

#[test]
fn temporary_file_that_is_not_proven_complete_is_not_reused() {
    let world = World::in_process();
    for (seed, key) in ["short", "other", "linked", "symlink", "elsewhere/f"].iter().enumerate() {
        world.store().put(key, noise(seed as u64, 1_000));
    }
    let part = |n: usize| format!("dir/.s3keep-00000000000000{n:02x}.part");
    world.write(&part(0), noise(0, 999));
    world.write(&part(1), noise(77, 1_000));
    world.write("outside", noise(2, 1_000));
    fs::hard_link(world.path("outside"), world.path(&part(2))).unwrap();
    world.write("outside 2", noise(3, 1_000));
    symlink(world.path("outside 2"), world.path(&part(3))).unwrap();
    // The right content in another directory.
    world.write(&part(4), noise(4, 1_000));
    let times = || {
        let modified = |name| fs::metadata(world.path(name)).unwrap().modified().unwrap();
        [modified("outside"), modified("outside 2")]
    };
    let before = times();
    world.expect(0, "restore BUCKET dir --yes").assert_says("5 downloaded");
    assert_eq!(world.store().count("GetObject"), 5);
    assert_eq!(times(), before);
    assert!(!world.path(&part(3)).is_symlink(), "it is removed, like the others");
    for (seed, key) in ["short", "other", "linked", "symlink", "elsewhere/f"].iter().enumerate() {
        assert_eq!(files(&world.path("dir"))[*key], noise(seed as u64, 1_000));
    }
}

#[test]
fn file_whose_object_has_no_usable_checksum_is_not_stored_over_it() {
    let world = world("");
    let object = || Object::new(noise(50, 1_000)).etag("opaque").no_checksum();
    world.store().put_object("opaque", object());
    world.write("dir/opaque", noise(51, 1_000));
    set_age(&world.path("dir/opaque"), -3_600);
    kill_restore(&world, "restore BUCKET dir --yes", "a");
    set_age(&world.path("dir/opaque"), -7_200);
    world.expect(2, "backup dir BUCKET --yes").assert_says("skipped: opaque: ");
    assert_eq!(world.store().get("opaque").unwrap().body, noise(50, 1_000));
}

#[test]
fn file_that_a_checksum_of_the_store_proves_equal_counts_as_unchanged() {
    let world = world("");
    world.store().put_object("opaque", Object::new(noise(50, 1_000)).etag("opaque"));
    world.write("dir/opaque", noise(50, 1_000));
    kill_restore(&world, "restore BUCKET dir --yes --no-record", "a");
    // The rule would store it again.
    set_age(&world.path("dir/opaque"), -3_600);
    let run = world.expect(2, "backup dir BUCKET --yes --no-record");
    run.assert_says("0 uploaded (0 B), 0 deleted, 1 unchanged, 4 skipped");
    assert!(!run.stderr.contains("skipped: opaque"), "{run:?}");
    assert_kept(&world, "");
}

#[test]
fn file_with_an_earlier_mtime_that_was_not_replaced_is_not_stored_over_its_object() {
    let world = world("");
    world.write("dir/b", noise(50, 1_000));
    set_age(&world.path("dir/b"), 3_600);
    kill_restore(&world, "restore BUCKET dir --yes", "a");
    for options in ["", " --no-record", " --checksum"] {
        let run = world.expect(2, &format!("backup dir BUCKET --yes{options}"));
        run.assert_says("skipped: b: ");
        assert_kept(&world, "");
    }
    world.expect(0, "restore BUCKET dir --yes").assert_says("4 downloaded");
    world.expect(0, "verify dir BUCKET");
}

#[test]
fn temporary_file_of_a_running_restore_is_not_reused() {
    let world = world("sub/");
    let (child, _) = start_held(&world, "restore BUCKET/sub dir/sub --yes --workers 1", "sub/d/c");
    let downloaded = || files(&world.path("dir/sub")).len();
    wait_for("downloads", || downloaded() >= 3);
    world.store().clear_faults();
    world.store().clear_requests();
    let run = world.expect(0, "restore BUCKET dir --yes");
    assert!(!run.stdout.contains("reused"), "{run:?}");
    assert_eq!(world.store().count("GetObject"), 4);
    // It is complete, but the marker of the other restore stays until that one is.
    assert_eq!(markers(&world.path("dir")).len(), 1);
    kill(&world, child);
    world.expect(0, "restore BUCKET/sub dir/sub --yes");
    assert!(markers(&world.path("dir")).is_empty());
    assert_eq!(files(&world.path("dir")).len(), 4);
}

#[test]
fn guard_of_emptied_directories_ignores_protected_objects() {
    let world = World::in_process();
    for n in 0..30 {
        world.store().put(&format!("sub/deep/{n}"), b"object");
    }
    world.store().put("kept", b"kept");
    world.write("dir/kept", "kept");
    world.store().put("gone", b"gone");
    kill_restore(&world, "restore BUCKET/sub dir/sub --yes", "sub/deep/0");
    fs::create_dir_all(world.path("dir/sub/deep")).unwrap();
    for entry in fs::read_dir(world.path("dir/sub/deep")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    world.expect(2, "backup dir BUCKET --yes").assert_says("1 deleted");
    assert_eq!(world.store().keys().len(), 31);
    world.expect(3, "backup dir BUCKET --yes --accept-incomplete").assert_says("--allow-empty");
    assert_eq!(markers(&world.path("dir")).len(), 1);
}

#[test]
fn file_that_appears_during_a_backup_is_not_stored_over_an_object_that_was_not_restored() {
    for no_delete in [false, true] {
        let world = world("");
        kill_restore(&world, "restore BUCKET dir --yes", "d/c");
        world.write("dir/new", "new");
        let config = Config { no_delete, ..config(&world, "dir", "") };
        let keeper = Keeper::new(config).unwrap();
        let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
        assert_eq!((plan.transfers.len(), plan.deletions.len()), (1, 0));
        for name in NAMES {
            if !world.path("dir").join(name).exists() {
                world.write(&format!("dir/{name}"), "an older copy");
            }
        }
        let report = keeper.execute(plan, &mut |_| {}).unwrap();
        assert_eq!(report.transferred.entries, 1, "{report:?}");
        assert_kept(&world, "");
    }
}
