//! Directory entries that a bucket cannot hold: symlinks, special files, modes, empty directories.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    process::Command,
};

use crate::support::{World, files};

#[test]
fn symlink_to_a_file_inside_is_stored_and_others_are_skipped() {
    let world = World::on_any_server();
    world.write("src/file", "content");
    world.write("src/dir/other", "other");
    world.write("outside", "secret");
    symlink("file", world.path("src/to-file")).unwrap();
    symlink(world.path("src/file"), world.path("src/to-file-absolute")).unwrap();
    symlink("dir", world.path("src/to-dir")).unwrap();
    symlink("../outside", world.path("src/out")).unwrap();
    symlink("nowhere", world.path("src/dangling")).unwrap();
    symlink("loop", world.path("src/loop")).unwrap();
    symlink("..", world.path("src/dir/up")).unwrap();
    // Objects at or below the path of a skipped symlink are not deleted.
    world.put_object("to-dir/kept", b"kept");
    world.put_object("dangling", b"kept");
    let run = world.expect(2, "backup src BUCKET --yes");
    for line in [
        "to-dir: a symlink to a directory (--links follow enters it)",
        "out: a symlink that leads out of the directory",
        "dangling: a symlink whose target does not exist",
        "loop: a symlink that leads back to itself",
        "dir/up: a symlink to a directory",
    ] {
        run.assert_says(line);
    }
    let keys = ["dangling", "dir/other", "file", "to-dir/kept", "to-file", "to-file-absolute"];
    assert_eq!(world.keys(), keys);
    assert_eq!(world.get_object("to-file"), b"content");
    assert_eq!(world.get_object("to-file-absolute"), b"content");

    let run = world.expect(0, "backup src BUCKET/skipped --yes --links skip");
    run.assert_says("2 uploaded");
    let run = world.expect(2, "backup src BUCKET/followed --yes --links=follow");
    run.assert_says("dir/up: a symlink that leads back to itself");
    run.assert_says("out: a symlink that leads out");
    assert_eq!(world.get_object("followed/to-dir/other"), b"other");
}

#[test]
fn restore_never_writes_through_a_symlink() {
    let world = World::on_any_server();
    world.put_object("link/file", b"evil");
    world.put_object("inside/file", b"evil");
    world.put_object("to-file", b"new content");
    world.put_object("fine", b"fine");
    world.write("outside/file", "precious");
    world.write("dst/real/file", "precious");
    symlink("../outside", world.path("dst/link")).unwrap();
    symlink("real", world.path("dst/inside")).unwrap();
    symlink("real/file", world.path("dst/to-file")).unwrap();
    let run = world.expect(2, "restore BUCKET dst --yes --no-delete");
    run.assert_says("link/file: link, which was skipped, is in the way");
    run.assert_says("inside/file: inside, which was skipped, is in the way");
    assert_eq!(fs::read(world.path("outside/file")).unwrap(), b"precious");
    assert_eq!(fs::read(world.path("dst/real/file")).unwrap(), b"precious");
    // A symlink to a file is replaced by the downloaded file.
    assert!(!world.path("dst/to-file").is_symlink());
    assert_eq!(fs::read(world.path("dst/to-file")).unwrap(), b"new content");
    assert_eq!(fs::read(world.path("dst/fine")).unwrap(), b"fine");
}

#[test]
fn matching_symlink_is_replaced_if_its_target_is_deleted() {
    let world = World::on_any_server();
    world.write("src/link", "content");
    world.write("dst/file", "content");
    world.expect(0, "backup src BUCKET --yes");
    symlink("file", world.path("dst/link")).unwrap();
    world.expect(0, "restore BUCKET dst --yes --no-delete").assert_nothing_to_do();
    assert!(world.path("dst/link").is_symlink());
    world.expect(0, "restore BUCKET dst --yes").assert_says("1 downloaded");
    assert!(!world.path("dst/link").is_symlink() && !world.path("dst/file").exists());
    assert_eq!(fs::read(world.path("dst/link")).unwrap(), b"content");
}

#[test]
fn file_and_directory_of_one_name_do_not_replace_each_other() {
    let world = World::on_any_server();
    world.put_object("file/under", b"object");
    world.put_object("dir", b"object");
    world.put_object("empty", b"object");
    world.write("dst/file", "file");
    world.write("dst/dir/under", "under");
    fs::create_dir(world.path("dst/empty")).unwrap();
    let run = world.expect(2, "restore BUCKET dst --yes");
    run.assert_says("file/under: the file file is in the way");
    run.assert_says("dir: a directory of that name is in the way");
    run.assert_says("empty: a directory of that name is in the way");
    let expected = [("dir/under", "under"), ("file", "file")]
        .map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec()));
    assert_eq!(files(&world.path("dst")), expected.into());
}

#[test]
fn sockets_and_pipes_are_skipped() {
    let world = World::on_any_server();
    world.write("src/a", "a");
    let _socket = UnixListener::bind(world.path("src/socket")).unwrap();
    let made = Command::new("mkfifo").arg(world.path("src/pipe")).status();
    assert!(made.unwrap().success());
    let run = world.expect(2, "backup src BUCKET --yes");
    run.assert_says("socket: neither a file nor a directory");
    run.assert_says("pipe: neither a file nor a directory");
    run.assert_says("1 uploaded");
}

#[test]
fn leftover_temporary_files_are_not_backed_up_and_removed_by_a_restore() {
    let world = World::on_any_server();
    world.write("src/a", "a");
    world.write("src/dir/.s3keep-0123456789abcdef.part", "unfinished");
    world.write("src/dir/.s3keep-notes.part", "the user's own");
    world.put_object(".s3keep-0123456789abcdee.part", b"named like a temporary file");
    world.expect(2, "backup src BUCKET --mock");
    assert!(world.path("src/dir/.s3keep-0123456789abcdef.part").exists());
    world.expect(2, "backup src BUCKET --yes").assert_says("temporary files");
    assert!(world.path("src/dir/.s3keep-0123456789abcdef.part").exists());
    assert_eq!(world.keys(), [".s3keep-0123456789abcdee.part", "a", "dir/.s3keep-notes.part"]);
    world.write("src/.s3keep-0123456789abcdef.part", "unfinished");
    world.expect(2, "restore BUCKET src --yes");
    assert_eq!(files(&world.path("src")).len(), 2);
}

#[test]
fn temporary_files_below_a_locked_directory_are_kept() {
    let world = World::on_any_server();
    world.write("src/busy/a", "a");
    for dir in ["", "busy/", "busy/deeper/", "killed/"] {
        world.write(&format!("src/{dir}.s3keep-0123456789abcdef.part"), "unfinished");
    }
    // A run locks its directory.
    let lock = |dir: &str| {
        let dir = fs::File::open(world.path(dir)).unwrap();
        dir.lock().unwrap();
        dir
    };
    let remaining = || files(&world.path("src")).into_keys().collect::<Vec<_>>();
    let kept = [
        "busy/.s3keep-0123456789abcdef.part",
        "busy/a",
        "busy/deeper/.s3keep-0123456789abcdef.part",
    ];

    world.put_object("busy/a", b"a");
    let child = lock("src/busy");
    world.expect(0, "restore BUCKET src --yes");
    assert_eq!(remaining(), kept);
    drop(child);

    let parent = lock("src");
    world.expect(0, "restore BUCKET/busy src/busy --yes");
    assert_eq!(remaining(), kept);
    drop(parent);

    world.expect(0, "restore BUCKET src --yes");
    assert_eq!(remaining(), ["busy/a"]);
}

/// Restores over a file with these permissions, and returns the metadata of the new file.
fn replace_file_of_mode(world: &World, mode: u32) -> fs::Metadata {
    world.write("src/script", "#!/bin/sh");
    world.expect(0, "backup src BUCKET --yes");
    world.write("dst/script", "older");
    fs::set_permissions(world.path("dst/script"), fs::Permissions::from_mode(mode)).unwrap();
    world.expect(0, "restore BUCKET dst --yes");
    fs::metadata(world.path("dst/script")).unwrap()
}

#[test]
fn restored_file_has_the_objects_time_and_the_old_mode() {
    let world = World::on_any_server();
    let metadata = replace_file_of_mode(&world, 0o751);
    assert_eq!(metadata.mode() & 0o777, 0o751);
    let (listed, _) = world.s3().head_object("script").unwrap();
    let time = metadata.modified().unwrap();
    assert_eq!(metadata.mtime_nsec(), 0);
    assert_eq!(httpdate::fmt_http_date(time), listed.last_modified.unwrap());
}

#[test]
fn restore_drops_setuid_and_setgid_of_a_replaced_file() {
    let world = World::on_any_server();
    let metadata = replace_file_of_mode(&world, 0o6755);
    assert_eq!(metadata.mode() & 0o7777, 0o755);
}

#[test]
fn cleanup_removes_nested_empty_directories_and_nothing_else() {
    let world = World::on_any_server();
    world.write("dir/kept/deep/file", "file");
    for empty in ["dir/a/b/c", "dir/kept/empty", "dir/a/d", "elsewhere/empty"] {
        fs::create_dir_all(world.path(empty)).unwrap();
    }
    fs::create_dir_all(world.path("dir/linked")).unwrap();
    symlink("../../elsewhere", world.path("dir/linked/link")).unwrap();
    let mock = world.expect(0, "cleanup --mock dir");
    mock.assert_says("5 empty directories to remove");
    assert!(world.path("dir/a/b/c").exists());
    world.expect(0, "cleanup dir").assert_says("5 empty directories removed");
    assert!(!world.path("dir/a").exists() && !world.path("dir/kept/empty").exists());
    assert!(world.path("dir/kept/deep/file").exists() && world.path("elsewhere/empty").exists());
    assert!(world.path("dir/linked/link").is_symlink());
    world.expect(0, "cleanup -p dir").assert_says("0 empty directories removed");
    fs::create_dir(world.path("bare")).unwrap();
    world.expect(0, "cleanup bare");
    assert!(world.path("bare").exists(), "cleanup keeps the root, even if it is empty");
    world.expect(1, "cleanup nowhere");
}

#[test]
fn cleanup_reports_a_directory_whose_name_is_not_utf8() {
    let world = World::on_any_server();
    world.write("dir/full/file", "file");
    fs::write(world.path("dir/full").join(OsStr::from_bytes(b"f\xff")), "file").unwrap();
    fs::create_dir_all(world.path("dir/empty").join(OsStr::from_bytes(b"d\xff"))).unwrap();
    let run = world.expect(2, "cleanup dir");
    run.assert_says("empty/d\u{fffd}: the name of the directory is not UTF-8");
    assert!(!run.stderr.contains("full"), "{run:?}");
    fs::remove_dir(world.path("dir/empty").join(OsStr::from_bytes(b"d\xff"))).unwrap();
    world.expect(0, "cleanup dir").assert_says("1 empty directories removed");
}

#[test]
fn differences_below_a_followed_symlink_are_skipped() {
    let world = World::on_any_server();
    for (name, content) in [("both", "old"), ("one", "old"), ("same", "same")] {
        world.write(&format!("dst/real/{name}"), content);
    }
    symlink("real", world.path("dst/link")).unwrap();
    world.expect(0, "backup dst BUCKET --yes --links follow").assert_says("6 uploaded");
    // An object that changed at both paths, one that changed at one path, and a new one.
    world.put_object("real/both", b"changed");
    world.put_object("link/both", b"changed");
    world.put_object("link/one", b"changed");
    world.put_object("link/new/er", b"new");
    // A file whose object exists at one path only.
    world.write("dst/real/local", "local");
    world.put_object("real/local", b"local");
    // A file outside the symlink's target that has no object.
    world.write("dst/gone", "gone");
    let run = world.expect(2, "restore BUCKET dst --yes --links follow");
    for name in ["both", "one", "new/er", "local"] {
        run.assert_says(&format!("link/{name}: the link link is in the way"));
    }
    assert!(!run.stderr.contains("failed") && !world.path("dst/gone").exists(), "{run:?}");
    let now = [("both", "changed"), ("local", "local"), ("one", "old"), ("same", "same")];
    let now = now.map(|(name, content)| (format!("real/{name}"), content.into()));
    assert_eq!(files(&world.path("dst")), now.into());
    // `link/both` matches now, because the first restore has downloaded `real/both`.
    let run = world.expect(2, "restore BUCKET dst --yes --list --links follow");
    run.assert_nothing_to_do();
    assert!(!run.stdout.contains("link/both") && !run.stderr.contains("link/both"), "{run:?}");
}

#[test]
fn deleted_file_is_deleted_below_every_followed_symlink() {
    let world = World::on_any_server();
    for name in ["gone", "stays"] {
        world.write(&format!("src/real/{name}"), name);
    }
    symlink("real", world.path("src/alias")).unwrap();
    symlink(world.path("src/real"), world.path("src/whole path")).unwrap();
    world.expect(0, "backup src BUCKET --yes --links follow").assert_says("6 uploaded");
    fs::remove_file(world.path("src/real/gone")).unwrap();
    world.expect(0, "backup src BUCKET --yes --links follow").assert_says("3 deleted");
    assert_eq!(world.keys(), ["alias/stays", "real/stays", "whole path/stays"]);
}

#[test]
fn symlink_to_a_leftover_temporary_file_is_replaced() {
    let world = World::on_any_server();
    world.write("src/link", "content");
    world.expect(0, "backup src BUCKET --yes");
    world.write("dst/.s3keep-0123456789abcdef.part", "content");
    symlink(".s3keep-0123456789abcdef.part", world.path("dst/link")).unwrap();
    world.expect(0, "restore BUCKET dst --yes");
    assert_eq!(files(&world.path("dst")), files(&world.path("src")));
}
