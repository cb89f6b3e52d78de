//! Files and directories without the permissions that a run needs.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    hostile::{command::with_environment_of, watch::tree_of},
    support::{
        Run, World, files, run,
        store::{Fault, Object},
    },
};

/// Runs s3keep as a user other than root, because root ignores permissions.
pub(super) struct Unprivileged<'a> {
    world: &'a World,
    exe: PathBuf,
    pub(super) is_root: bool,
}

/// The user and the group `nobody`.
pub(super) const UNPRIVILEGED_ID: u32 = 65_534;

impl Unprivileged<'_> {
    pub(super) fn in_world(world: &World) -> Unprivileged<'_> {
        let is_root = rustix::process::geteuid().is_root();
        let exe = Path::new(env!("CARGO_BIN_EXE_s3keep"));
        if !is_root {
            return Unprivileged { world, exe: exe.to_owned(), is_root };
        }
        let copy = world.path("s3keep");
        // This process must not write the copy itself. A child that another test starts at this
        // moment would inherit the descriptor, and a file that is open for writing cannot be
        // executed.
        assert!(Command::new("cp").arg(exe).arg(&copy).status().unwrap().success());
        let user = Unprivileged { world, exe: copy, is_root };
        user.set_mode("", 0o755);
        user.set_mode("s3keep", 0o755);
        user
    }

    pub(super) fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.world.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Makes the user the owner of a tree.
    pub(super) fn own(&self, dir: &str) {
        if self.is_root {
            for entry in walkdir::WalkDir::new(self.world.path(dir)) {
                chown(entry.unwrap().path(), Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID)).unwrap();
            }
        }
    }

    #[track_caller]
    pub(super) fn expect(&self, code: i32, line: &str) -> Run {
        let mut command = with_environment_of(&self.world.command(), &self.exe);
        if self.is_root {
            command.uid(UNPRIVILEGED_ID).gid(UNPRIVILEGED_ID);
        }
        let url = format!("s3://{}", self.world.bucket);
        let done = run(command.args(line.split(' ').map(|word| word.replace("BUCKET", &url))));
        assert_eq!(done.code, code, "{line}: {done:#?}");
        done
    }
}

#[test]
fn unreadable_file_is_skipped_and_named() {
    let world = World::in_process();
    let user = Unprivileged::in_world(&world);
    for name in ["private", "private and known", "d/private", "fine"] {
        world.write(&format!("tree/{name}"), "content");
    }
    world.store().put("private and known", b"an older version");
    world.store().put("private and known/below", b"kept");
    // Only the first of these may be a copy of `private`, and the last of `d/private`.
    let minute = Duration::from_secs(60);
    let (earlier, later) = (world.store().now() - minute, world.store().now() + minute);
    for (key, body, time) in [
        ("gone", "gone", earlier),
        ("stored later", "gone", later),
        ("e/elsewhere", "gone", earlier),
        ("e/same size later", "CONTENT", later),
        ("e/same size", "CONTENT", earlier),
    ] {
        world.store().put_object(key, Object::new(body).last_modified(time));
    }
    user.own("tree");
    for name in ["private", "private and known", "d/private"] {
        user.set_mode(&format!("tree/{name}"), 0o000);
    }
    for line in ["backup tree BUCKET --mock", "backup tree BUCKET --yes"] {
        let done = user.expect(2, line);
        for name in ["private", "private and known", "d/private"] {
            done.assert_says(&format!("skipped: {name}: it cannot be read: Permission denied"));
        }
        done.assert_says("1 to upload (7 B), ");
        done.assert_says("3 to delete (");
        done.assert_says("3 deletions withheld");
        done.assert_says("gone: it may be the only copy of private, which was not transferred");
    }
    let json = user.expect(2, "backup tree BUCKET --mock --json");
    json.assert_says("\"withheld\":3");
    json.assert_says(
        r#"{"because_of":"private","path":"gone","reason":"may be copy","size":4,"type":"withheld"}"#,
    );
    let kept = ["e/same size", "fine", "gone", "private and known", "private and known/below"];
    assert_eq!(world.store().keys(), kept);
    assert_eq!(world.store().get("private and known").unwrap().body, "an older version");
    user.expect(2, "backup tree BUCKET --yes").assert_says("3 deletions were withheld");
    user.expect(2, "backup tree BUCKET --yes --no-delete").assert_says("0 deleted");

    world.store().put("private", b"CONTENT");
    user.expect(2, "verify tree BUCKET").assert_says("read private: Permission denied");
    // A file that is kept is not read, so it is not skipped.
    for name in ["private", "private and known", "d/private"] {
        user.set_mode(&format!("tree/{name}"), 0o600);
    }
    user.expect(0, "backup tree BUCKET --yes --checksum").assert_says("3 deleted");
    user.expect(0, "verify tree BUCKET").assert_says("4 the same");
    user.set_mode("tree/private", 0o000);
    user.expect(0, "backup tree BUCKET --mock --ignore-ctime").assert_nothing_to_do();
    // The ctime has changed, so the content would have to be compared.
    for options in ["", " --checksum"] {
        let done = user.expect(2, &format!("backup tree BUCKET --mock{options}"));
        done.assert_says("skipped: private: ");
    }
}

#[test]
fn unreadable_directory_protects_its_objects() {
    // 0444 allows the names to be read, but not the metadata of the entries. So it is unknown when a
    // file was last moved to `locked/sub`.
    for (mode, deleted) in [(0o000, 2), (0o111, 2), (0o444, 0)] {
        let world = World::in_process();
        let user = Unprivileged::in_world(&world);
        world.write("tree/fine", "fine");
        world.write("tree/locked/file", "file");
        world.write("tree/locked/sub/file", "file");
        let protected = ["locked/file", "locked/sub/file", "locked/sub/more/file"];
        for key in protected.into_iter().chain(["gone"]) {
            world.store().put(key, b"object");
        }
        let later = world.store().now() + Duration::from_secs(60);
        for key in ["locked-not", "locked.too"] {
            world.store().put_object(key, Object::new("object").last_modified(later));
        }
        user.own("tree");
        user.set_mode("tree/locked", mode);
        let done = user.expect(2, "backup tree BUCKET --yes --allow-unrelated");
        done.assert_says("skipped: locked");
        done.assert_says("it cannot be read: Permission denied");
        done.assert_says("1 uploaded");
        done.assert_says(&format!("{deleted} deleted"));
        // The file may have been moved to the directory.
        done.assert_says(&format!("{} deletions were withheld", 3 - deleted));
        done.assert_says("gone: its file may have been moved to locked");
        let mut kept = vec!["fine", "gone"];
        kept.extend(protected);
        if deleted == 0 {
            kept.splice(2..2, ["locked-not", "locked.too"]);
        }
        assert_eq!(world.store().keys(), kept, "{mode:o}");
        user.expect(2, "verify tree BUCKET").assert_says("skipped: locked");

        // A restore changes nothing there either. It knows all objects, so it deletes elsewhere.
        for key in ["fine", "gone", "locked-not", "locked.too"] {
            world.store().remove(key);
        }
        world.store().put("new", b"new");
        let done = user.expect(2, "restore BUCKET tree --yes --allow-unrelated");
        done.assert_says("skipped: locked");
        done.assert_says("1 downloaded");
        done.assert_says("1 deleted");
        user.set_mode("tree/locked", 0o755);
        let left = [("locked/file", "file"), ("locked/sub/file", "file"), ("new", "new")];
        assert_eq!(files(&world.path("tree")), tree_of(left), "{mode:o}");
    }
}

#[test]
fn directory_without_write_permission_keeps_its_files() {
    let world = World::in_process();
    let user = Unprivileged::in_world(&world);
    world.write("tree/ro/old", "the old version");
    world.write("tree/ro/gone", "gone");
    world.write("tree/rw/gone", "gone");
    world.write("tree/rw/read-only", "the old version");
    world.write("tree/ro/.s3keep-0123456789abcdef.part", "of a killed run");
    for key in ["ro/old", "ro/new", "ro/sub/new", "rw/new", "rw/read-only"] {
        world.store().put(key, b"object");
    }
    user.own("tree");
    user.set_mode("tree/ro", 0o555);
    user.set_mode("tree/rw/read-only", 0o444);
    let line = "restore BUCKET tree --yes";
    let done = user.expect(2, line);
    for path in ["ro/old", "ro/new", "ro/sub/new"] {
        done.assert_says(&format!("create file {path}: Permission denied"));
    }
    let leftover = "delete temporary file ro/.s3keep-0123456789abcdef.part: Permission denied";
    done.assert_says(leftover);
    done.assert_says("2 downloaded");
    // `rw/gone` cannot be a copy of what was not restored: no failed object has its size.
    done.assert_says("1 deleted");
    done.assert_says("1 deletions were withheld");
    let left = [
        ("ro/.s3keep-0123456789abcdef.part", "of a killed run"),
        ("ro/gone", "gone"),
        ("ro/old", "the old version"),
        ("rw/new", "object"),
        ("rw/read-only", "object"),
    ];
    assert_eq!(files(&world.path("tree")), tree_of(left));

    // If the plan has only deletions, the possible ones are made although a leftover cannot be
    // removed.
    for key in ["ro/old", "ro/new", "ro/sub/new"] {
        world.store().remove(key);
    }
    world.write("tree/rw/gone", "gone");
    let done = user.expect(2, line);
    done.assert_says(leftover);
    done.assert_says("delete ro/gone: Permission denied");
    done.assert_says("delete ro/old: Permission denied");
    done.assert_says("1 deleted");
    user.expect(1, "restore BUCKET tree/ro/root --yes")
        .assert_says("create directory tree/ro/root");
    user.set_mode("tree/ro", 0o755);
    user.expect(0, line);
    let left = [("rw/new", "object"), ("rw/read-only", "object")];
    assert_eq!(files(&world.path("tree")), tree_of(left));
}

#[test]
fn cleanup_removes_what_permissions_allow() {
    let world = World::in_process();
    let user = Unprivileged::in_world(&world);
    world.write("tree/ro/file", "file");
    for dir in ["ro/empty", "free/empty/empty", "locked/empty", "names/empty"] {
        fs::create_dir_all(world.path("tree").join(dir)).unwrap();
    }
    user.own("tree");
    user.set_mode("tree/ro", 0o555);
    user.set_mode("tree/locked", 0o000);
    user.set_mode("tree/names", 0o444);
    let done = user.expect(2, "cleanup tree");
    done.assert_says("remove directory ro/empty: Permission denied");
    done.assert_says("skipped: locked: it cannot be read: Permission denied");
    done.assert_says("skipped: names/empty: it cannot be read: Permission denied");
    done.assert_says("3 empty directories removed, 1 failed");
    assert!(!world.path("tree/free").exists() && world.path("tree/ro/empty").exists());
    for dir in ["ro", "locked", "names"] {
        user.set_mode(&format!("tree/{dir}"), 0o755);
    }
    user.expect(0, "cleanup tree").assert_says("5 empty directories removed");
    assert_eq!(files(&world.path("tree")), tree_of([("ro/file", "file")]));
}

#[test]
fn restore_that_cannot_write_its_marker_changes_nothing() {
    let world = World::in_process();
    let user = Unprivileged::in_world(&world);
    world.write("tree/writable/gone", "gone");
    world.write("tree/writable/old", "the old version");
    world.write("tree/writable/.s3keep-0123456789abcdef.part", "of a killed run");
    world.store().put("writable/old", b"object");
    world.store().put("writable/new", b"object");
    user.own("tree");
    user.set_mode("tree", 0o555);
    let before = files(&world.path("tree"));
    let done = user.expect(1, "restore BUCKET tree --yes");
    done.assert_says("write restore marker in tree: Permission denied");
    assert_eq!(files(&world.path("tree")), before);
    assert_eq!(world.store().count("GetObject"), 0);
    user.expect(0, "restore BUCKET tree --mock");
    // A restore that has nothing to change needs no marker.
    world.store().remove("writable/new");
    world.store().put("writable/old", b"the old version");
    world.store().put("writable/gone", b"gone");
    fs::remove_file(world.path("tree/writable/.s3keep-0123456789abcdef.part")).unwrap();
    user.expect(0, "restore BUCKET tree --yes").assert_nothing_to_do();
    // Without a marker, an object that has no file is not protected. The failure names that.
    world.store().put("writable", b"in the way");
    let done = user.expect(2, "restore BUCKET tree --yes");
    done.assert_says("write restore marker in tree: Permission denied");
    done.assert_says("1 failed");
}

#[test]
fn marker_of_another_user_protects_everything() {
    let world = World::in_process();
    let user = Unprivileged::in_world(&world);
    if !user.is_root {
        println!("skipped: only root can create the files of another user");
        return;
    }
    world.store().put("a", b"a");
    world.store().put("d/b", b"b");
    world.store().fault(Fault::on("GetObject").key("a").status(404, "NoSuchKey"));
    world.expect(2, "restore BUCKET tree --yes");
    world.store().clear_faults();
    fs::remove_file(world.path("tree/d/b")).unwrap();
    world.write("tree/d/new", "new");
    for dir in ["tree", "tree/d"] {
        let bucket = if dir == "tree" { "BUCKET" } else { "BUCKET/d" };
        let done = user.expect(2, &format!("backup {dir} {bucket} --yes"));
        done.assert_says("Permission denied");
        done.assert_says("has not finished");
        assert_eq!(world.store().keys(), ["a", "d/b", "d/new"]);
    }
    // Its owner can read it.
    world.expect(2, "backup tree BUCKET --yes").assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["a", "d/new"]);
}

#[test]
fn unreadable_settings_are_ignored_if_the_environment_is_complete() {
    let world = World::in_process();
    let user = Unprivileged::in_world(&world);
    world.write("tree/a", "content");
    world.write(".aws/config", "[default]\nregion = eu-west-1\n");
    world.write(".aws/credentials", "");
    user.own("tree");
    let line = "verify tree BUCKET";
    for path in [".aws/config", ".aws/credentials", ".aws"] {
        user.set_mode(".aws", 0o755);
        user.set_mode(".aws/config", 0o644);
        user.set_mode(".aws/credentials", 0o644);
        user.set_mode(path, 0o000);
        // The region may be in the file.
        user.expect(1, line).assert_says("Permission denied");
        // A profile is in no other place.
        let named = format!("{line} --region us-east-1 --profile default");
        user.expect(1, &named).assert_says("Permission denied");
        user.expect(2, &format!("{line} --region us-east-1")).assert_says("only local");
    }
    user.set_mode(".aws", 0o755);
}
