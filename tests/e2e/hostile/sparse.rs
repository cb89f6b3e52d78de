//! Files that are mostly zeros: they are restored with holes, and need no more space than they take.

use std::{os::unix::fs::MetadataExt, path::Path, process::Command};

use crate::{
    hostile::{command::with_environment_of, disk::unshare_prefix},
    support::{Run, World, files, noise, run, store::Fault},
};

const MIB: usize = 1 << 20;

/// Zeros with some data in the middle and, if `is_full_to_the_end`, in the last byte.
fn sparse(len: usize, data: usize, is_full_to_the_end: bool) -> Vec<u8> {
    let mut content = vec![0; len];
    let start = len / 2 + 5_000;
    content[start..start + data].copy_from_slice(&noise(1, data));
    if is_full_to_the_end {
        content[len - 1] = 1;
    }
    content
}

/// The disk space of a file. `None` if its file system has no holes.
fn disk_space(path: &Path) -> Option<u64> {
    let probe = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    probe.as_file().set_len(8 << 20).unwrap();
    let has_holes = probe.as_file().metadata().unwrap().blocks() < 1_000;
    has_holes.then(|| path.metadata().unwrap().blocks() * 512)
}

#[test]
fn blocks_of_zeros_are_restored_as_holes() {
    let world = World::in_process();
    let contents = [
        ("parts", sparse(20 * MIB + 1, MIB, false)),
        ("parts to the end", sparse(20 * MIB + 1, MIB, true)),
        ("one request", sparse(8 * MIB + 1, 100_000, false)),
        ("only zeros", vec![0; 20 * MIB]),
        ("only zeros, one request", vec![0; 2 * MIB]),
        ("small", vec![0; 10_000]),
    ];
    for (key, content) in &contents {
        world.store().put(key, content);
    }
    world.expect(0, "restore BUCKET dst --yes").assert_says("6 downloaded");
    for (key, content) in &contents {
        let path = world.path("dst").join(key);
        assert!(std::fs::read(&path).unwrap() == *content, "{key}");
        let data = content.iter().filter(|byte| **byte != 0).count() as u64;
        if let Some(space) = disk_space(&path) {
            assert!(space < data + (64 << 10), "{key}: {space} bytes on disk for {data}");
        }
    }
    world.expect(0, "verify dst BUCKET").assert_says("6 the same");
    world.expect(0, "restore BUCKET dst --yes").assert_nothing_to_do();
}

#[test]
fn repeated_download_writes_no_hole_over_damaged_bytes() {
    let world = World::in_process();
    for len in [2 * MIB, 20 * MIB] {
        let key = format!("{len}");
        world.store().put(&key, sparse(len, 1_000, true));
        world.write(&format!("dst/{key}"), noise(2, len));
        world.store().fault(Fault::on("GetObject").key(&key).times(1).flip_body(1_000));
    }
    world.expect(0, "restore BUCKET dst --yes").assert_says("2 downloaded");
    for len in [2 * MIB, 20 * MIB] {
        let restored = std::fs::read(world.path("dst").join(len.to_string())).unwrap();
        assert!(restored == sparse(len, 1_000, true), "{len}");
    }
}

/// Restores into an empty tmpfs of this size, and copies the files that it has then to `after`.
fn restore_to_disk(world: &World, size: &str, workers: &str) -> Option<Run> {
    let unshare = unshare_prefix()?;
    let script = "
        mkdir disk && mount -t tmpfs -o size=\"$1\" none disk && rm -rf after || exit 99
        shift; \"$@\"; code=$?
        cp -a --sparse=always disk after && umount disk && rmdir disk || exit 99
        exit $code";
    let url = format!("s3://{}", world.bucket);
    let mut command = with_environment_of(&world.command(), unshare[0]);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshare[1..]);
    command.args(["sh", "-c", script, "sh", size, env!("CARGO_BIN_EXE_s3keep"), "restore", &url]);
    Some(run(command.args(["disk", "--yes", "--workers", workers])))
}

#[test]
fn sparse_files_larger_than_the_disk_are_restored() {
    let world = World::in_process();
    let large = sparse(20 * MIB, 200_000, true);
    let medium = sparse(8 * MIB, 100_000, false);
    world.store().put("large 1", &large);
    world.store().put("large 2", &large);
    world.store().put("medium", &medium);
    for n in 0..10 {
        world.store().put(&format!("small {n}"), noise(n, 100_000));
    }
    for workers in ["1", "32"] {
        let Some(done) = restore_to_disk(&world, "2m", workers) else {
            println!("skipped: mounting a file system is not permitted");
            return;
        };
        assert_eq!(done.code, 0, "{done:?}");
        done.assert_says("13 downloaded");
        let after = files(&world.path("after"));
        assert!(after["large 1"] == large && after["large 2"] == large);
        assert!(after["medium"] == medium);
    }
}

#[test]
fn file_that_does_not_fit_takes_no_space_of_others() {
    let world = World::in_process();
    world.store().put("a", noise(1, 17 * MIB));
    world.store().put("b", noise(2, 5 * MIB));
    world.store().put("c", noise(3, 3 * MIB));
    world.store().put("d", noise(4, 5 * MIB / 2));
    for n in 0..8 {
        world.store().put(&format!("small {n}"), noise(n, 100_000));
    }
    for workers in ["1", "32"] {
        // `c` and the small ones fit, `d` does not fit beside them.
        let Some(done) = restore_to_disk(&world, "4m", workers) else {
            println!("skipped: mounting a file system is not permitted");
            return;
        };
        assert_eq!(done.code, 2, "{done:?}");
        done.assert_says("9 downloaded");
        done.assert_says("3 downloads may not fit into the free space of disk");
        for key in ["a", "b", "d"] {
            done.assert_says(&format!(" {key}: No space left on device"));
        }
        let after = files(&world.path("after"));
        assert_eq!(after.len(), 9, "{:?}", after.keys());
        assert!(after["c"] == noise(3, 3 * MIB));
    }
}

#[test]
fn download_to_a_larger_file_system_below_the_root_is_not_deferred() {
    let world = World::in_process();
    world.store().put("mounted/a", noise(1, 3 * MIB));
    world.store().put("mounted/new/b", noise(2, 3 * MIB));
    world.store().put("c", noise(3, 3 * MIB));
    let script = "
        mkdir disk && mount -t tmpfs -o size=2m none disk && mkdir disk/mounted || exit 99
        mount -t tmpfs -o size=32m none disk/mounted || exit 99
        \"$@\"; code=$?
        cp -a disk after && umount disk/mounted disk && rmdir disk || exit 99
        exit $code";
    let Some(unshare) = unshare_prefix() else {
        println!("skipped: mounting a file system is not permitted");
        return;
    };
    let url = format!("s3://{}", world.bucket);
    let mut command = with_environment_of(&world.command(), unshare[0]);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).args(&unshare[1..]);
    command.args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_s3keep"), "restore", &url]);
    let done = run(command.args(["disk", "--yes", "--workers", "1"]));
    assert_eq!(done.code, 2, "{done:?}");
    done.assert_says("1 download may not fit into the free space of disk; it is tried last");
    done.assert_says("2 downloaded");
    let after = files(&world.path("after"));
    assert!(after["mounted/a"] == noise(1, 3 * MIB) && after["mounted/new/b"] == noise(2, 3 * MIB));
}

/// Restores a file whose last bytes are zeros, while the call to extend it does something else.
fn restore_with_ftruncate(inject: &str) -> Option<(Run, bool)> {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is missing");
        return None;
    }
    let world = World::in_process();
    let content = sparse(2 * MIB, 1_000, false);
    world.store().put("a", &content);
    let url = format!("s3://{}", world.bucket);
    let mut command = with_environment_of(&world.command(), "strace");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["-f", "-o", "calls", "-e", &format!("inject=ftruncate:{inject}")]);
    command.args([env!("CARGO_BIN_EXE_s3keep"), "restore", &url, "dst", "--yes"]);
    let done = run(&mut command);
    let is_restored = files(&world.path("dst")).get("a") == Some(&content);
    Some((done, is_restored))
}

#[test]
fn file_that_cannot_be_extended_is_written_as_a_whole() {
    let Some((done, is_restored)) = restore_with_ftruncate("error=EOPNOTSUPP") else { return };
    assert_eq!((done.code, is_restored), (0, true), "{done:?}");
}

#[test]
fn file_that_is_not_extended_although_the_system_says_so_is_not_renamed() {
    let Some((done, is_restored)) = restore_with_ftruncate("retval=0") else { return };
    assert_eq!((done.code, is_restored), (2, false), "{done:?}");
    done.assert_says("download a: the file system did not extend the file");
}
