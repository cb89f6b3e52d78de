//! Disks that are full, that fail, or that are mounted below the root.

use std::{fs, process::Command};

use crate::{
    hostile::command::with_environment_of,
    support::{World, files, noise, run},
};

/// The command prefix that gives a command its own mounts; `None` if mounting is not permitted.
pub fn unshare_prefix() -> Option<&'static [&'static str]> {
    [&["unshare", "-m"], &["unshare", "-rm"]].into_iter().map(|words| &words[..]).find(|words| {
        let mount = "mount -t tmpfs -o size=64k none /mnt";
        let tried = Command::new(words[0]).args(&words[1..]).args(["sh", "-c", mount]).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn full_disk_fails_only_files_that_do_not_fit() {
    let Some(unshare) = unshare_prefix() else {
        println!("skipped: mounting a file system is not permitted");
        return;
    };
    let world = World::in_process();
    // Downloaded in two parts. The larger one does not fit on the disk of 2 MiB.
    world.store().put("large", noise(1, 5 << 20 | 1));
    world.store().put("whole", noise(2, 2_500_000));
    for n in 0..10 {
        world.store().put(&format!("dir {n}/small"), noise(n, 100_000));
    }
    world.write("before/whole", "the old version");
    world.write("before/only here", "kept, because transfers fail");
    let script = "
        mkdir disk && mount -t tmpfs -o size=2m none disk &&
            cp -p before/* disk && rm -rf after || exit 99
        \"$@\"; code=$?
        cp -a disk after && umount disk && rmdir disk || exit 99
        exit $code";
    let restore = |workers: &str| {
        let url = format!("s3://{}", world.bucket);
        let mut command = with_environment_of(&world.command(), unshare[0]);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshare[1..]);
        command.args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_s3keep"), "restore", &url]);
        command.args(["disk", "--yes", "--part-size", "5MiB", "--workers", workers]);
        let done = run(&mut command);
        assert_eq!(done.code, 2, "{done:?}");
        done.assert_says("1 deletions were withheld");
        (done, files(&world.path("after")))
    };
    // With one worker, every file that fits is restored.
    let (done, left) = restore("1");
    for path in ["large", "whole"] {
        done.assert_says(&format!(" {path}: No space left on device"));
    }
    done.assert_says("10 downloaded");
    assert_eq!(left.len(), 12, "{:?}", left.keys());
    // With many workers, files that would fit may fail too. They are named.
    let (done, together) = restore("32");
    for (name, left) in [("one", left), ("many", together)] {
        assert_eq!(left["whole"], b"the old version", "{name}");
        assert!(left.contains_key("only here") && !left.contains_key("large"), "{name}");
        assert!(left.keys().all(|path| !path.contains(".s3keep-")), "{name}: {:?}", left.keys());
        for n in 0..10 {
            let path = format!("dir {n}/small");
            match left.get(&path) {
                Some(content) => assert_eq!(*content, noise(n, 100_000), "{name}: {path}"),
                None => done.assert_says(&format!(" {path}: No space left on device")),
            }
        }
    }
}

#[test]
fn restore_flushes_a_mounted_file_system_before_it_renames() {
    let has_strace = Command::new("strace").arg("-V").output().is_ok();
    let Some(unshare) = unshare_prefix().filter(|_| has_strace) else {
        println!("skipped: mounting is not permitted, or strace is missing");
        return;
    };
    let world = World::in_process();
    for key in ["file", "mounted/file", "mounted/dir/file"] {
        world.store().put(key, noise(1, 10_000));
    }
    let script = "
        mkdir -p disk/mounted && mount -t tmpfs none disk/mounted || exit 99
        strace -f -y -o calls -e trace=syncfs,renameat,renameat2 \"$@\"";
    let url = format!("s3://{}", world.bucket);
    let mut command = with_environment_of(&world.command(), unshare[0]);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshare[1..]);
    command.args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_s3keep"), "restore", &url]);
    let done = run(command.args(["disk", "--yes"]));
    assert_eq!(done.code, 0, "{done:?}");
    let calls = fs::read_to_string(world.path("calls")).unwrap();
    let positions = |call: &str| -> Vec<usize> {
        let matches = |line: &str| line.contains(call) && line.contains("/disk/mounted");
        let lines = calls.lines().enumerate().filter(|(_, line)| matches(line));
        lines.map(|(position, _)| position).collect()
    };
    let (flushes, renames) = (positions("syncfs("), positions("rename"));
    assert_eq!(renames.len(), 2, "{calls}");
    assert!(flushes.first() < renames.first() && flushes.last() > renames.last(), "{calls}");
    assert!(!flushes.is_empty(), "{calls}");
}

#[test]
fn no_file_is_renamed_after_a_disk_failure() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is missing");
        return;
    }
    let world = World::in_process();
    // More files than one batch.
    for n in 0..1_500 {
        world.store().put(&format!("{n}"), b"small");
    }
    world.write("dst/old", "kept, because the flush fails");
    let url = format!("s3://{}", world.bucket);
    let mut command = with_environment_of(&world.command(), "strace");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // The first `syncfs` of each thread fails. One worker transfers all files.
    command.args(["-f", "-o", "calls", "-e", "trace=syncfs"]);
    command.args(["-e", "inject=syncfs:error=EIO:when=1", env!("CARGO_BIN_EXE_s3keep")]);
    let arguments = ["restore", &url, "dst", "--yes", "--workers", "1", "--allow-unrelated"];
    let done = run(command.args(arguments));
    assert_eq!(done.code, 1, "{done:?}");
    done.assert_says("write to disk dst: Input/output error");
    let kept = files(&world.path("dst"));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["old"]);
    let line = "restore BUCKET dst --yes --max-delete 1 --allow-unrelated";
    world.expect(0, line).assert_says("1,500 downloaded");
}

#[test]
fn backup_after_a_full_disk_keeps_what_did_not_fit() {
    let Some(unshare) = unshare_prefix() else {
        println!("skipped: mounting a file system is not permitted");
        return;
    };
    let world = World::in_process();
    world.store().put("large", noise(1, 2_500_000));
    world.store().put("replaced", noise(2, 2_500_000));
    world.store().put("small", b"small");
    let keys = world.store().keys();
    let url = format!("s3://{}", world.bucket);
    let exe = env!("CARGO_BIN_EXE_s3keep");
    let script = format!(
        "mkdir disk && mount -t tmpfs -o size=2m none disk && echo older > disk/replaced || exit 99
        {exe} restore {url} disk --yes && exit 98
        rm disk/small && echo new > disk/new && {exe} backup disk {url} --yes; code=$?
        umount disk && exit $code"
    );
    let mut command = with_environment_of(&world.command(), unshare[0]);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshare[1..]);
    let done = run(command.args(["sh", "-c", &script]));
    assert_eq!(done.code, 2, "{done:?}");
    done.assert_says("restore into disk has not finished");
    // `small` was restored, so its deletion counts.
    done.assert_says("1 uploaded (4 B), 1 deleted");
    assert_eq!(keys, ["large", "replaced", "small"]);
    assert_eq!(world.store().keys(), ["large", "new", "replaced"]);
    assert_eq!(world.store().get("replaced").unwrap().body, noise(2, 2_500_000));
}

#[test]
fn restore_onto_a_disk_without_space_for_its_marker_changes_nothing() {
    let Some(unshare) = unshare_prefix() else {
        println!("skipped: mounting a file system is not permitted");
        return;
    };
    let world = World::in_process();
    world.store().put("empty", b"");
    let url = format!("s3://{}", world.bucket);
    let exe = env!("CARGO_BIN_EXE_s3keep");
    let script = format!(
        "mkdir disk && mount -t tmpfs -o size=64k none disk || exit 99
        echo gone > disk/gone; cat /dev/zero > disk/full
        {exe} restore {url} disk --yes --allow-unrelated; code=$?
        ls -A disk; umount disk && exit $code"
    );
    let mut command = with_environment_of(&world.command(), unshare[0]);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshare[1..]);
    let done = run(command.args(["sh", "-c", &script]));
    assert_eq!(done.code, 1, "{done:?}");
    done.assert_says("write restore marker in disk: No space left on device");
    assert!(done.stdout.ends_with("full\ngone\n"), "{done:?}");
}

#[test]
fn marker_of_a_restore_is_on_disk_before_the_first_change() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is missing");
        return;
    }
    let world = World::in_process();
    world.store().put("dir/file", b"file");
    world.write("dst/.s3keep-0123456789abcdef.part", "of a killed run");
    world.write("dst/gone", "gone");
    let url = format!("s3://{}", world.bucket);
    let mut command = with_environment_of(&world.command(), "strace");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["-f", "-y", "-o", "calls", "-e", "trace=fsync,mkdirat,/rename,/unlink,openat"]);
    command.args([env!("CARGO_BIN_EXE_s3keep"), "restore", &url, "dst", "--yes"]);
    assert_eq!(run(&mut command).code, 0);
    let calls = fs::read_to_string(world.path("calls")).unwrap();
    let position = |call: &str, what: &str| {
        let found = calls.lines().position(|line| line.contains(call) && line.contains(what));
        found.unwrap_or_else(|| panic!("no {call} of {what}: {calls}"))
    };
    let steps = [
        position("fsync", ".part>"),
        position("rename", ".restore\""),
        position("fsync", "/dst>)"),
        position("unlink", "s3keep-0123456789abcdef.part"),
        position("mkdirat", "\"dir\""),
        position("rename", "\"file\""),
        position("rename", "\"gone\""),
        position("unlink", ".restore\""),
    ];
    assert!(steps.is_sorted(), "{steps:?}: {calls}");
}
