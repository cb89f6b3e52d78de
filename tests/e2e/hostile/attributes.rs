//! File systems that refuse a mode or a time, or do not keep it.

use std::process::Command;

use crate::{
    hostile::command::with_environment_of,
    support::{Run, World, files, run},
};

/// Restores into `dst` while the kernel refuses a system call with an error. `None` without strace.
fn restore_with(world: &World, inject: &str, options: &str) -> Option<Run> {
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
            world.store().put(&format!("dir/{n:02}"), b"content");
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
fn file_is_restored_without_a_mode_that_is_refused() {
    let world = World::in_process();
    world.store().put("a", b"content");
    world.write("dst/a", "old");
    let Some(done) = restore_with(&world, "fchmod:error=EPERM", "") else { return };
    assert_eq!(done.code, 0, "{done:?}");
    done.assert_says(
        "warning: 1 restored file does not have the permissions of the replaced file (a): \
         Operation not permitted",
    );
    assert_eq!(files(&world.path("dst"))["a"], b"content");
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
