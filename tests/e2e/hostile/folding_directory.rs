//! A directory on a file system that does not distinguish `IMG` and `img`: exFAT, by FUSE.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::support::{World, files};

/// A mounted exFAT file system.
struct ExFat {
    dir: PathBuf,
    device: String,
}

impl ExFat {
    /// `None` if that is not permitted, or if the programs are missing.
    fn mount(world: &World, dir: &str) -> Option<ExFat> {
        let run = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output().ok()?;
            output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()
        };
        let (image, dir) = (world.path("image"), world.path(dir));
        fs::create_dir(&dir).unwrap();
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run("mkfs.exfat", &[image.to_str()?])?;
        let device = run("losetup", &["-f", "--show", image.to_str()?])?.trim().to_owned();
        let mounted = run("mount.exfat-fuse", &[&device, dir.to_str()?]);
        let place = ExFat { dir, device };
        mounted.map(|_| place)
    }

    /// Waits until the kernel forgets what it knows about each spelling of a name.
    fn forget_attributes(&self) {
        thread::sleep(Duration::from_millis(1_200));
    }
}

impl Drop for ExFat {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.dir).output();
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
    }
}

fn write(dir: &Path, path: &str, content: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The contents of all files, in order.
fn contents(dir: &Path) -> Vec<String> {
    let contents = files(dir).into_values();
    let mut contents: Vec<_> = contents.map(|text| String::from_utf8(text).unwrap()).collect();
    contents.sort();
    contents
}

#[test]
fn restore_replaces_the_file_of_another_spelling() {
    let world = World::in_process();
    let Some(place) = ExFat::mount(&world, "dst") else {
        println!("skipped: exFAT cannot be mounted");
        return;
    };
    write(&place.dir, "IMG", "old");
    write(&place.dir, "Photos/x", "x old");
    write(&place.dir, "gone", "gone");
    write(&place.dir, "other", "other");
    world.store().put("img", "new content");
    world.store().put("photos/x", "x");
    world.store().put("other", "other");
    for round in 0..2 {
        place.forget_attributes();
        let done = world.expect(0, "restore BUCKET dst --yes");
        done.assert_says("the file system of the directory does not distinguish");
        done.assert_says(if round == 0 { "1 deleted" } else { "0 deleted" });
        assert_eq!(contents(&place.dir), ["new content", "other", "x"]);
    }
}

#[test]
fn restore_keeps_one_of_two_objects_that_would_be_one_file() {
    let world = World::in_process();
    let Some(place) = ExFat::mount(&world, "dst") else {
        println!("skipped: exFAT cannot be mounted");
        return;
    };
    world.store().put("A", "capital");
    world.store().put("a", "small");
    world.store().put("other", "other");
    world.expect(2, "restore BUCKET dst --yes").assert_says("2 downloaded");
    let restored = contents(&place.dir);
    assert!(restored == ["capital", "other"] || restored == ["other", "small"], "{restored:?}");
    for _ in 0..2 {
        place.forget_attributes();
        let done = world.expect(2, "restore BUCKET dst --yes");
        done.assert_says(": the target does not distinguish this name from ");
        assert_eq!(contents(&place.dir), restored);
    }
    // The object that is not restored is not deleted.
    world.expect(2, "backup dst BUCKET --yes").assert_says("an unfinished restore");
    assert_eq!(world.store().keys(), ["A", "a", "other"]);
}

#[test]
fn backup_deletes_the_object_of_the_old_spelling() {
    let world = World::in_process();
    let Some(place) = ExFat::mount(&world, "src") else {
        println!("skipped: exFAT cannot be mounted");
        return;
    };
    write(&place.dir, "IMG", "content");
    write(&place.dir, "Photos/x", "x");
    write(&place.dir, "other", "other");
    world.expect(0, "backup src BUCKET --yes");
    for (old, new) in [("IMG", "img"), ("Photos", "photos")] {
        fs::rename(place.dir.join(old), place.dir.join("aside")).unwrap();
        fs::rename(place.dir.join("aside"), place.dir.join(new)).unwrap();
    }
    place.forget_attributes();
    world.expect(0, "backup src BUCKET --yes").assert_says("2 deleted");
    assert_eq!(world.store().keys(), ["img", "other", "photos/x"]);
}
