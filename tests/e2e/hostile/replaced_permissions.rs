//! Owner, group, mode and ACL of restored files: a restore grants access to no one who did not have it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use rustix::{
    fs::{XattrFlags, getxattr, setxattr},
    io::Errno,
};

use crate::{
    hostile::{
        attributes::restore_with,
        permissions::{UNPRIVILEGED_ID, Unprivileged},
    },
    support::{Run, World, run, store::Fault},
};

const ACCESS_ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// A user other than those who run the tests.
const OTHER_ID: u32 = 12_345;

/// The mode of a file, with setuid and setgid.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The bytes of an ACL with entries for a user `OTHER_ID`. Each argument is a digit of a mode.
fn acl(owner: u16, other_id: u16, group: u16, mask: u16, others: u16) -> Vec<u8> {
    let none = u32::MAX;
    let entries = [
        (0x01, owner, none),
        (0x02, other_id, OTHER_ID),
        (0x04, group, none),
        (0x10, mask, none),
        (0x20, others, none),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(u16::to_le_bytes(permissions));
        bytes.extend(u32::to_le_bytes(id));
    }
    bytes
}

fn read_acl(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 1_024];
    match getxattr(path, ACCESS_ACL, &mut bytes) {
        Ok(len) => {
            bytes.truncate(len);
            Some(bytes)
        }
        Err(Errno::NODATA) => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Sets an ACL. `false` if the file system has none.
fn set_acl(path: &Path, name: &str, acl: &[u8]) -> bool {
    match setxattr(path, name, acl, XattrFlags::empty()) {
        Ok(()) => true,
        Err(Errno::NOTSUP) => {
            println!("skipped: the file system has no ACLs");
            false
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Puts objects that differ from the files of these names, which are created.
fn files_to_replace(world: &World, names: &[&str]) {
    for name in names {
        world.write(&format!("tree/{name}"), "the old version");
        world.store().put(name, b"object");
    }
}

#[track_caller]
fn assert_restored(world: &World, name: &str) {
    assert_eq!(fs::read(world.path("tree").join(name)).unwrap(), b"object", "{name}");
}

/// Runs the command with this umask.
#[track_caller]
fn expect_with_umask(world: &World, umask: &str, line: &str) -> Run {
    let command = world.command();
    let mut shell = Command::new("sh");
    shell.current_dir(world.path("")).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let line = line.replace("BUCKET", &format!("s3://{}", world.bucket));
    let script = format!("umask {umask} && exec \"$0\" {line}");
    let done = run(shell.arg("-c").arg(script).arg(command.get_program()));
    assert_eq!(done.code, 0, "{line}: {done:#?}");
    done
}

#[test]
fn acl_of_a_replaced_file_is_kept_and_its_mask_grants_nothing() {
    let world = World::in_process();
    files_to_replace(&world, &["shared", "plain"]);
    let path = world.path("tree/shared");
    let list = acl(6, 6, 0, 6, 0);
    if !set_acl(&path, ACCESS_ACL, &list) {
        return;
    }
    assert_eq!(mode(&path), 0o660, "the group bits are the mask");
    let done = world.expect(0, "restore BUCKET tree --yes");
    assert!(!done.stderr.contains("warning"), "{done:#?}");
    assert_restored(&world, "shared");
    assert_eq!(read_acl(&path), Some(list));
    assert_eq!(mode(&path), 0o660);
    assert_eq!(read_acl(&world.path("tree/plain")), None);
}

#[test]
fn default_acl_of_a_directory_does_not_reach_a_replaced_file() {
    let world = World::in_process();
    files_to_replace(&world, &["private", "group"]);
    world.store().put("new", b"object");
    world.store().put("d/new", b"object");
    set_mode(&world.path("tree/private"), 0o600);
    set_mode(&world.path("tree/group"), 0o640);
    if !set_acl(&world.path("tree"), DEFAULT_ACL, &acl(7, 7, 7, 7, 5)) {
        return;
    }
    world.expect(0, "restore BUCKET tree --yes");
    for (name, expected) in [("private", 0o600), ("group", 0o640)] {
        assert_restored(&world, name);
        let path = world.path("tree").join(name);
        assert_eq!((mode(&path), read_acl(&path)), (expected, None), "{name}");
    }
    // A new file is like any other new file of the directory.
    assert!(read_acl(&world.path("tree/new")).is_some());
    // Unless it is to have a certain mode.
    for name in ["new", "d/new"] {
        fs::remove_file(world.path("tree").join(name)).unwrap();
    }
    world.expect(0, "restore BUCKET tree --yes --file-mode 0640");
    for name in ["new", "d/new"] {
        let path = world.path("tree").join(name);
        assert_eq!((mode(&path), read_acl(&path)), (0o640, None), "{name}");
    }
}

#[test]
fn root_keeps_owner_and_group_of_a_replaced_file() {
    let world = World::in_process();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can create the files of another user");
        return;
    }
    files_to_replace(&world, &["private", "group", "setuid", "acl"]);
    for (name, old, new) in [
        ("private", 0o600, 0o600),
        ("group", 0o640, 0o640),
        ("setuid", 0o6755, 0o755),
        ("acl", 0o600, 0o640),
    ] {
        let path = world.path("tree").join(name);
        chown(&path, Some(OTHER_ID), Some(OTHER_ID + 1)).unwrap();
        set_mode(&path, old);
        if name == "acl" && !set_acl(&path, ACCESS_ACL, &acl(6, 4, 0, 4, 0)) {
            set_mode(&path, new);
        }
    }
    let done = world.expect(0, "restore BUCKET tree --yes");
    assert!(!done.stderr.contains("warning"), "{done:#?}");
    for (name, new) in [("private", 0o600), ("group", 0o640), ("setuid", 0o755), ("acl", 0o640)] {
        assert_restored(&world, name);
        let file = fs::metadata(world.path("tree").join(name)).unwrap();
        let found = (file.uid(), file.gid(), file.mode() & 0o7777);
        assert_eq!(found, (OTHER_ID, OTHER_ID + 1, new), "{name}");
    }
}

#[test]
fn owner_and_group_that_cannot_be_kept_are_reported_and_no_one_gains_access() {
    let world = World::in_process();
    let user = Unprivileged::in_world(&world);
    if !user.is_root {
        println!("skipped: only root can create the files of another user");
        return;
    }
    let modes = [
        ("a", 0o600, 0o600),
        ("b", 0o640, 0o600),
        ("c", 0o644, 0o644),
        ("d", 0o604, 0o600),
        ("e", 0o664, 0o644),
        ("f", 0o777, 0o777),
    ];
    let names = modes.map(|(name, ..)| name);
    files_to_replace(&world, &names);
    files_to_replace(&world, &["own"]);
    user.own("tree");
    for (name, old, _) in modes {
        let path = world.path("tree").join(name);
        chown(&path, Some(OTHER_ID), Some(OTHER_ID)).unwrap();
        set_mode(&path, old);
    }
    let done = user.expect(0, "restore BUCKET tree --yes --json");
    for (name, _, new) in modes {
        assert_restored(&world, name);
        let file = fs::metadata(world.path("tree").join(name)).unwrap();
        let found = (file.uid(), file.gid(), file.mode() & 0o7777);
        assert_eq!(found, (UNPRIVILEGED_ID, UNPRIVILEGED_ID, new), "{name}");
    }
    let attributes = ["owner", "group", "permissions"];
    let text = |what| format!("restored files do not have the wanted {what}");
    for text in attributes.map(text) {
        assert_eq!(done.stderr.matches(&text).count(), 1, "one warning for all: {done:#?}");
    }
    done.assert_says("warning: 6 restored files do not have the wanted owner (");
    done.assert_says("\"attribute\":\"group\",\"files\":6");

    // Of an ACL, the entries for other users remain. Those for the group of the file and for all others
    // have what both had.
    world.store().put("a", b"another version");
    let path = world.path("tree/a");
    chown(&path, Some(OTHER_ID), Some(OTHER_ID)).unwrap();
    if !set_acl(&path, ACCESS_ACL, &acl(6, 6, 5, 6, 4)) {
        return;
    }
    let done = user.expect(0, "restore BUCKET tree --yes");
    for attribute in ["owner", "group", "ACL"] {
        let what = format!("warning: 1 restored file does not have the wanted {attribute}");
        done.assert_says(&what);
    }
    assert_eq!(read_acl(&path), Some(acl(6, 6, 4, 6, 4)));
}

#[test]
fn file_that_replaces_a_link_has_the_permissions_of_its_target() {
    let world = World::in_process();
    world.write("tree/d/target", "the old version");
    world.write("tree/d/public", "the old version");
    set_mode(&world.path("tree/d/target"), 0o600);
    set_mode(&world.path("tree/d/public"), 0o604);
    symlink("d/target", world.path("tree/link")).unwrap();
    symlink("../tree/d/public", world.path("tree/public-link")).unwrap();
    for key in ["d/target", "d/public"] {
        world.store().put(key, b"the old version");
    }
    for key in ["link", "public-link"] {
        world.store().put(key, b"object");
    }
    world.expect(0, "restore BUCKET tree --yes");
    for (name, expected) in [("link", 0o600), ("public-link", 0o604)] {
        let path = world.path("tree").join(name);
        assert!(!path.is_symlink());
        assert_restored(&world, name);
        assert_eq!(mode(&path), expected, "{name}");
    }
}

#[test]
fn download_is_private_until_its_permissions_are_known() {
    // One size for each way to download a file.
    for size in [10, 6 << 20] {
        let world = World::in_process();
        world.write("tree/old", "the old version");
        world.write("tree/target", "target");
        set_mode(&world.path("tree/target"), 0o644);
        symlink("target", world.path("tree/link")).unwrap();
        world.store().put("target", b"target");
        for key in ["old", "link", "new"] {
            world.store().put(key, vec![b'x'; size]);
        }
        let (seen, tree) = (Arc::new(Mutex::new(Vec::new())), world.path("tree"));
        world.store().fault(Fault::on("GetObject").run({
            let seen = Arc::clone(&seen);
            move |_| {
                for entry in fs::read_dir(&tree).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_name().to_string_lossy().ends_with(".part")
                        && let Ok(metadata) = entry.metadata()
                    {
                        seen.lock().unwrap().push(metadata.mode() & 0o777);
                    }
                }
            }
        }));
        world.expect(0, "restore BUCKET tree --yes --file-mode 0604 --workers 1 --part-size 5MiB");
        let seen = seen.lock().unwrap();
        // Complete downloads have their final permissions.
        assert!(!seen.is_empty() && seen.iter().all(|mode| [0o600, 0o604, 0o644].contains(mode)));
        assert!(seen.contains(&0o600), "{seen:?}");
        assert_eq!(mode(&world.path("tree/new")), 0o604);
    }
}

#[test]
fn file_mode_applies_to_new_files_only() {
    let world = World::in_process();
    files_to_replace(&world, &["old"]);
    set_mode(&world.path("tree/old"), 0o640);
    for key in ["new", "d/new"] {
        world.store().put(key, b"object");
    }
    let plan = expect_with_umask(&world, "022", "restore BUCKET tree --mock");
    plan.assert_says("2 new files get mode 0644 (by the umask; --file-mode sets another)");
    let plan = expect_with_umask(&world, "077", "restore BUCKET tree --mock --json");
    plan.assert_says(r#""new_file_mode":"0600","new_files":2,"#);
    let line = "restore BUCKET tree --yes --file-mode 0604";
    let done = expect_with_umask(&world, "077", line);
    done.assert_says("2 new files get mode 0604\n");
    for (name, expected) in [("old", 0o640), ("new", 0o604), ("d/new", 0o604)] {
        assert_eq!(mode(&world.path("tree").join(name)), expected, "{name}");
    }
    // Without new files, there is nothing to say.
    let plan = world.expect(0, "restore BUCKET tree --mock");
    assert!(!plan.stdout.contains("mode"), "{plan:#?}");

    for wrong in ["0044", "01644", "888", "-600", "", "06000", "rw-"] {
        world.expect(1, &format!("restore BUCKET tree --yes --file-mode {wrong}"));
    }
    world.expect(1, "backup tree BUCKET --yes --file-mode 0600").assert_says("restore");
}

#[test]
fn reused_leftover_has_the_permissions_of_a_new_file() {
    for (option, umask, expected) in [
        ("", "022", 0o644),
        ("", "077", 0o600),
        (" --file-mode 0604", "022", 0o604),
        (" --file-mode 0600", "022", 0o600),
    ] {
        for old in [0o600, 0o666, 0o644, 0o6755] {
            let world = World::in_process();
            world.write("tree/.s3keep-0123456789abcdef.part", "object");
            let leftover = world.path("tree/.s3keep-0123456789abcdef.part");
            let group = fs::metadata(&leftover).unwrap().gid();
            if rustix::process::geteuid().is_root() {
                chown(&leftover, None, Some(OTHER_ID)).unwrap();
            }
            set_mode(&leftover, old);
            world.store().put("new", b"object");
            let line = format!("restore BUCKET tree --yes{option}");
            expect_with_umask(&world, umask, &line).assert_says("1 reused");
            assert_eq!(world.store().count("GetObject"), 0);
            let new = fs::metadata(world.path("tree/new")).unwrap();
            let found = (new.gid(), new.mode() & 0o7777);
            assert_eq!(found, (group, expected), "{line}, {umask}, {old:o}");
        }
    }
}

#[test]
fn file_whose_acl_cannot_be_read_grants_nothing_to_users_of_an_acl() {
    for (inject, expected) in [("fgetxattr", 0o640), ("fgetxattr,fremovexattr", 0o600)] {
        let world = World::in_process();
        world.store().put("new", b"object");
        world.write("dst/other", "other");
        world.store().put("other", b"other");
        if !set_acl(&world.path("dst"), DEFAULT_ACL, &acl(7, 7, 7, 7, 5)) {
            return;
        }
        let inject = format!("{inject}:error=EIO");
        let Some(done) = restore_with(&world, &inject, "--file-mode 0640") else { return };
        assert_eq!(done.code, 0, "{done:#?}");
        let path = world.path("dst/new");
        assert_eq!(mode(&path), expected, "{inject}");
        let is_warned = done.stderr.contains("does not have the wanted permissions (new)");
        assert_eq!((read_acl(&path).is_some(), is_warned), (expected == 0o600, expected == 0o600));
    }
}

#[test]
fn permissions_that_change_during_the_run_are_not_undone() {
    let world = World::in_process();
    files_to_replace(&world, &["a-file-that-becomes-private", "b"]);
    let path = world.path("tree/a-file-that-becomes-private");
    // Both are renamed together, so the first is complete by now.
    world.store().fault(Fault::on("GetObject").key("b").run({
        let path = path.clone();
        move |_| set_mode(&path, 0o600)
    }));
    let done = world.expect(2, "restore BUCKET tree --yes --workers 1");
    done.assert_says("its permissions were changed during the run");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read(&path).unwrap(), b"the old version");
    assert_restored(&world, "b");
    assert!(
        fs::read_dir(world.path("tree"))
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().ends_with(".part") })
    );
    world.store().clear_faults();
    world.expect(0, "restore BUCKET tree --yes");
    assert_eq!(mode(&path), 0o600);
    assert_restored(&world, "a-file-that-becomes-private");
}
