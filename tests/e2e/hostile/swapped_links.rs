//! Directories and files that are moved, or replaced by symlinks, while a run is in progress.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{
    hostile::watch::{Watch, tree_of},
    support::{
        World, files, noise,
        store::{Fault, Object},
    },
};

/// Moves a directory away and puts a symlink in its place.
fn swap_for_link(dir: &Path, away: &Path, target: &Path) {
    fs::rename(dir, away).unwrap();
    symlink(target, dir).unwrap();
}

fn temporary_files(dir: &Path) -> Vec<String> {
    files(dir).into_keys().filter(|path| path.contains(".s3keep-")).collect()
}

#[test]
fn download_does_not_follow_a_directory_swapped_for_a_symlink() {
    for (first, options) in [(10, ""), (6 << 20, " --part-size 5MiB")] {
        let world = World::in_process();
        world.store().put("d/1", noise(1, first));
        world.store().put("d/2", b"evil");
        world.store().put("d/sub/3", b"evil");
        world.store().put("else", b"fine");
        world.write("tree/d/2", "older");
        // It is as large as `d/2`, so it may be the only copy of it.
        world.write("tree/only here", "kept");
        for name in ["1", "2", "sub/3"] {
            world.write(&format!("outside/{name}"), "precious");
        }
        let watch = Watch::all_but(&world, "tree");
        let (tree, outside) = (world.path("tree"), world.path("outside"));
        world.store().fault(Fault::on("GetObject").key("d/1").times(1).run(move |_| {
            swap_for_link(&tree.join("d"), &tree.join("moved"), &outside);
        }));
        let line = format!("restore BUCKET tree --yes --workers 1{options}");
        let done = world.expect(2, &line);
        for path in ["d/1", "d/2", "d/sub/3"] {
            done.assert_says(&format!(" {path}: "));
        }
        done.assert_says("1 downloaded");
        done.assert_says("3 failed");
        done.assert_says("1 deletions were withheld");
        watch.assert_untouched();
        let left = files(&world.path("tree"));
        assert_eq!((&left["else"][..], &left["moved/2"][..]), (&b"fine"[..], &b"older"[..]));
        assert!(!left.contains_key("moved/1"));

        // The next run skips the link, and removes the leftover temporary file from `moved`, which
        // the first run could not reach.
        world.expect(2, &line).assert_says("skipped: d: a symlink that leads out");
        watch.assert_untouched();
        assert!(temporary_files(&world.path("tree")).is_empty());
    }
}

#[test]
fn download_does_not_follow_a_root_swapped_for_a_symlink() {
    let world = World::in_process();
    world.write("tree/old", "old");
    world.write("tree/gone", "gone");
    for name in ["1", "2", "old", "gone"] {
        world.write(&format!("outside/{name}"), "precious");
    }
    for key in ["1", "2", "old"] {
        world.store().put(key, b"object");
    }
    let home = world.path("");
    world.store().fault(Fault::on("GetObject").times(1).run(move |_| {
        // `Watch` does not apply here: the swap itself changes the home directory.
        swap_for_link(&home.join("tree"), &home.join("moved"), &home.join("outside"));
    }));
    world.run("restore BUCKET tree --yes --workers 1");
    let left = files(&world.path("outside"));
    assert_eq!(left.len(), 4);
    assert!(left.values().all(|content| content == b"precious"), "{left:?}");
}

#[test]
fn restore_of_a_moved_directory_is_completed_by_the_next_run() {
    // The directory is moved within the tree or out of it, during the parts of the large object or
    // during a small object after it.
    let objects = (0..40).map(|n| (format!("d/{n:02}"), noise(n, 100)));
    let mut objects = BTreeMap::from_iter(objects);
    objects.insert("d/large".to_owned(), noise(40, 6 << 20));
    objects.insert("else".to_owned(), b"fine".to_vec());
    for (away, after) in
        [("tree/moved", 1), ("tree/moved", 8), ("outside/moved", 1), ("outside/moved", 8)]
    {
        let world = World::in_process();
        for (key, body) in &objects {
            world.store().put(key, body);
        }
        world.write("tree/d/05", "older");
        // It is as large as `d/large`, so it may be the only copy of it.
        world.write("tree/only here", noise(41, 6 << 20));
        world.write("outside/file", "precious");
        let assert_outside_untouched = || {
            let mut outside = files(&world.path("outside"));
            outside.retain(|path, _| !path.starts_with("moved/"));
            assert_eq!(outside, tree_of([("file", "precious")]));
        };
        let (dir, to) = (world.path("tree/d"), world.path(away));
        let gets = Fault::on("GetObject").skip(after).times(1);
        world.store().fault(gets.run(move |_| fs::rename(&dir, &to).unwrap()));
        let line = "restore BUCKET tree --yes --list --workers 1 --part-size 5MiB";
        let done = world.expect(2, line);
        done.assert_says("1 deletions were withheld");
        let left = files(&world.path("tree"));
        let is_named = |path: &str| done.stderr.contains(&format!("download {path}: "));
        for (path, body) in &objects {
            assert_eq!(left.get(path), Some(body).filter(|_| !is_named(path)), "{path}: {done:?}");
        }
        assert!(is_named("d/large") && !is_named("else"));
        // The moved directory keeps its files, and no download is renamed into it.
        let mut moved = files(&world.path(away));
        moved.retain(|path, _| !path.contains(".s3keep-"));
        assert_eq!(moved, tree_of([("05", "older")]));
        assert_outside_untouched();

        world.expect(0, line);
        assert_eq!(files(&world.path("tree")), objects);
        assert_outside_untouched();
    }
}

#[test]
fn file_swapped_for_a_symlink_to_the_outside_is_not_uploaded() {
    let world = World::in_process();
    let secret = "the secret of outside ".repeat(300_000);
    world.write("outside/secret", &secret);
    world.write("outside/dir/file", &secret);
    world.write("tree/1", noise(1, 20 << 20));
    world.write("tree/large", noise(2, secret.len()));
    world.write("tree/middle", noise(3, 400_000));
    world.write("tree/small", "small");
    world.write("tree/dir/file", "harmless");
    world.write("tree/real", "harmless");
    world.write("tree/fine", "fine");
    symlink("real", world.path("tree/link")).unwrap();
    for key in ["small", "dir/file", "gone"] {
        world.store().put(key, b"an older version");
    }
    let watch = Watch::all_but(&world, "tree");
    let (tree, outside) = (world.path("tree"), world.path("outside"));
    world.store().fault(Fault::on("CreateMultipartUpload").key("1").times(1).run(move |_| {
        let secret = outside.join("secret");
        for name in ["large", "middle", "small", "real"] {
            fs::remove_file(tree.join(name)).unwrap();
            symlink(&secret, tree.join(name)).unwrap();
        }
        fs::remove_dir_all(tree.join("dir")).unwrap();
        symlink("../outside/dir", tree.join("dir")).unwrap();
    }));
    let done = world.expect(2, "backup tree BUCKET --yes --list --workers 1 --part-size 5MiB");
    for path in ["large", "middle", "small", "real", "link", "dir/file"] {
        done.assert_says(&format!("upload {path}: "));
    }
    done.assert_says("2 uploaded");
    done.assert_says("1 deletions were withheld");
    watch.assert_untouched();
    assert_eq!(world.store().keys(), ["1", "dir/file", "fine", "gone", "small"]);
    for key in ["dir/file", "gone", "small"] {
        assert_eq!(world.store().get(key).unwrap().body, "an older version");
    }
    assert!(world.store().uploads().is_empty());
}

#[test]
fn verify_does_not_read_a_file_swapped_for_a_symlink() {
    let world = World::in_process();
    world.write("outside/secret", "the secret");
    world.write("tree/file", "harmless!!");
    // An attacker who can write to the bucket could use verify to test a guess of the secret.
    let guess = Object::new("the secret").etag("not-an-md5").no_checksum();
    world.store().put_object("file", guess);
    let watch = Watch::all_but(&world, "tree");
    let (file, secret) = (world.path("tree/file"), world.path("outside/secret"));
    world.store().fault(Fault::on("HeadObject").times(1).run(move |_| {
        fs::remove_file(&file).unwrap();
        symlink(&secret, &file).unwrap();
    }));
    let done = world.expect(2, "verify tree BUCKET --read-data");
    done.assert_says("read file: ");
    done.assert_says("0 the same");
    watch.assert_untouched();
}

#[test]
fn deletion_does_not_follow_a_directory_swapped_for_a_symlink() {
    let world = World::in_process();
    world.store().put("object", b"object");
    // The files inside and outside have the same size and time.
    let past = SystemTime::now() - Duration::from_secs(86_400);
    for path in ["tree/dir/victim", "tree/dir/sub/victim", "outside/victim", "outside/sub/victim"] {
        world.write(path, "victim");
        fs::File::options().write(true).open(world.path(path)).unwrap().set_modified(past).unwrap();
    }
    world.write("tree/gone", "gone");
    let watch = Watch::all_but(&world, "tree");
    let (tree, outside) = (world.path("tree"), world.path("outside"));
    world.store().fault(Fault::on("GetObject").times(1).run(move |_| {
        swap_for_link(&tree.join("dir"), &tree.join("moved"), &outside);
    }));
    let done = world.expect(2, "restore BUCKET tree --yes --allow-unrelated");
    done.assert_says("delete dir/victim: ");
    done.assert_says("delete dir/sub/victim: ");
    done.assert_says("1 downloaded");
    done.assert_says("1 deleted");
    watch.assert_untouched();
    assert!(world.path("tree/moved/victim").exists() && !world.path("tree/gone").exists());
}

#[test]
fn object_below_a_new_symlink_is_kept() {
    let world = World::in_process();
    world.write("tree/1", "new");
    world.write("outside/file", "precious");
    world.store().put("dir/file", b"object");
    world.store().put("gone", b"object");
    let watch = Watch::all_but(&world, "tree");
    let (tree, outside) = (world.path("tree"), world.path("outside"));
    world.store().fault(Fault::on("PutObject").times(1).run(move |_| {
        symlink(&outside, tree.join("dir")).unwrap();
    }));
    // A scan that sees the link skips it and protects the objects below it.
    let done = world.expect(2, "backup tree BUCKET --yes --allow-unrelated");
    done.assert_says("skipped: dir: a symlink that leads out");
    done.assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["1", "dir/file"]);
    watch.assert_untouched();
}
