//! File systems that refuse a mode or a time, or do not keep it.

use std::{process::Command, time::Duration};

use crate::{
    hostile::command::with_environment_of,
    support::{Run, World, files, run, set_age, store::Object},
};

/// Stores an object that is an hour old.
fn put(world: &World, key: &str, object: Object) {
    let hour_ago = world.store().now() - Duration::from_secs(3_600);
    world.store().put_object(key, object.last_modified(hour_ago));
}

/// Restores into `dst` while the kernel refuses a system call with an error. `None` without strace.
pub(super) fn restore_with(world: &World, inject: &str, options: &str) -> Option<Run> {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is missing");
        return None;
    }
    let url = format!("s3://{}", world.bucket);
    let mut command = with_environment_of(&world.command(), "strace");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["-f", "-o", "calls", "-e", &format!("inject={inject}")]);
    command.args([env!("CARGO_BIN_EXE_s3keep"), "restore", &url, "dst", "--yes"]);
    Some(run(command.args(options.split_whitespace())))
}

#[test]
fn file_is_restored_without_a_time_that_is_refused() {
    for error in ["EPERM", "EOPNOTSUPP", "EINVAL"] {
        let world = World::in_process();
        for n in 0..20 {
            put(&world, &format!("dir/{n:02}"), Object::new("content"));
        }
        let inject = format!("utimensat:error={error}");
        let Some(done) = restore_with(&world, &inject, "--json") else { return };
        assert_eq!(done.code, 0, "{done:?}");
        done.assert_says(
            "warning: 20 restored files do not have the modification time of the object (dir/00, \
             dir/01, dir/02 and 17 more): ",
        );
        done.assert_says("\"attribute\":\"time\",\"files\":20");
        assert_eq!(done.stderr.lines().count(), 1, "one warning: {done:?}");
        assert_eq!(files(&world.path("dst")).len(), 20);
    }
}

#[test]
fn times_that_the_target_does_not_keep_are_replaced_by_contents() {
    // The call returns 0, and does nothing.
    const DROPPED: &str = "utimensat:retval=0";
    let world = World::in_process();
    for n in 0..20 {
        put(&world, &format!("dir/{n:02}"), Object::new("content"));
    }
    // An upload in parts of an unusual size: its content cannot be compared.
    let etag = "0123456789abcdef0123456789abcdef-1";
    put(&world, "dir/parts", Object::new("content").etag(etag));
    let Some(done) = restore_with(&world, DROPPED, "") else { return };
    assert_eq!(done.code, 0, "{done:?}");
    done.assert_says("21 restored files do not have the modification time of the object (dir/");
    done.assert_says("the file system does not keep it; later runs compare the contents");
    let unchanged = |options: &str| {
        world.expect(0, &format!("restore BUCKET dst --mock{options}")).assert_nothing_to_do();
        world.expect(0, &format!("backup dst BUCKET --mock{options}")).assert_nothing_to_do();
    };
    unchanged("");
    // The system changes the times of all files once more, for example when it writes them.
    for path in files(&world.path("dst")).keys().filter(|path| *path != "dir/parts") {
        set_age(&world.path("dst").join(path), 1);
    }
    unchanged("");
    // A file that is changed now is transferred.
    world.write("dst/dir/00", "CONTENT");
    let done = world.expect(0, "backup dst BUCKET --yes --list");
    done.assert_says("upload    content");
    done.assert_says("1 uploaded");
    assert_eq!(&world.store().get("dir/00").unwrap().body[..], b"CONTENT");
    unchanged("");
}

#[test]
fn without_a_record_checksum_decides_where_times_are_not_kept() {
    let world = World::in_process();
    for n in 0..20 {
        put(&world, &format!("{n:02}"), Object::new("content"));
    }
    let Some(done) = restore_with(&world, "utimensat:retval=0", "--no-record") else { return };
    done.assert_says("without a record only with --checksum");
    let again = world.expect(0, "restore BUCKET dst --mock --no-record");
    again.assert_says("20 to download");
    for run in ["restore BUCKET dst", "backup dst BUCKET"] {
        world.expect(0, &format!("{run} --mock --no-record --checksum")).assert_nothing_to_do();
    }
}

#[test]
fn file_is_restored_without_a_mode_that_is_refused() {
    let world = World::in_process();
    world.store().put("a", b"content");
    world.write("dst/a", "old");
    let Some(done) = restore_with(&world, "fchmod:error=EPERM", "") else { return };
    assert_eq!(done.code, 0, "{done:?}");
    done.assert_says(
        "warning: 1 restored file does not have the wanted permissions (a): \
         Operation not permitted",
    );
    assert_eq!(files(&world.path("dst"))["a"], b"content");
    // The same for the mode that new files are to have.
    for error in ["EPERM", "EOPNOTSUPP"] {
        world.store().put("new", b"content");
        let inject = format!("fchmod:error={error}");
        let Some(done) = restore_with(&world, &inject, "--file-mode 0640") else { return };
        assert_eq!(done.code, 0, "{done:?}");
        done.assert_says("warning: 1 restored file does not have the wanted permissions (new): ");
        std::fs::remove_file(world.path("dst/new")).unwrap();
    }
    world.write("dst/.s3keep-0123456789abcdef.part", "content");
    let Some(done) = restore_with(&world, "fchmod:error=EPERM", "--file-mode 0666") else { return };
    done.assert_says("1 reused");
    done.assert_says("warning: 1 restored file does not have the wanted permissions (new): ");
}

#[test]
fn failing_disk_is_not_a_refusal() {
    for inject in ["utimensat:error=EIO", "utimensat:error=EROFS", "fchmod:error=EIO"] {
        let world = World::in_process();
        world.store().put("a", b"content");
        world.write("dst/a", "old");
        let Some(done) = restore_with(&world, inject, "") else { return };
        assert_eq!(done.code, 2, "{inject}: {done:?}");
        done.assert_says("download a: ");
        assert_eq!(files(&world.path("dst"))["a"], b"old");
    }
}

#[test]
fn failed_rename_is_not_replaced_by_one_that_checks_less() {
    for (error, is_deleted) in [("EIO", false), ("ENOSPC", true), ("EDQUOT", true)] {
        let world = World::in_process();
        world.store().put("a", b"content");
        world.write("dst/a", "old");
        let Some(done) = restore_with(&world, &format!("renameat2:error={error}"), "") else {
            return;
        };
        assert_eq!(done.code, 2, "{error}: {done:?}");
        done.assert_says("download a: ");
        assert_eq!(files(&world.path("dst"))["a"], b"old");
        // Deleting works on a full disk.
        world.store().put("a", b"old");
        world.write("dst/gone", "gone");
        let inject = format!("renameat2:error={error}");
        let Some(done) = restore_with(&world, &inject, "--allow-unrelated") else { return };
        assert_eq!(done.code, if is_deleted { 0 } else { 2 }, "{error}: {done:?}");
        assert_eq!(world.path("dst/gone").exists(), !is_deleted, "{error}");
        assert!(files(&world.path("dst")).keys().all(|path| !path.ends_with(".part")));
    }
}
