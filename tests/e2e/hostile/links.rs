//! Symlinks that are planted in the directory before the run.

use std::{fs, os::unix::fs::symlink};

use crate::{
    hostile::watch::{Watch, tree_of},
    support::{World, files},
};

#[test]
fn planted_symlinks_do_not_lead_outside_the_root() {
    let world = World::in_process();
    world.write("outside/passwd", "root");
    world.write("outside/file", "precious");
    world.write("outside/b", "precious, too");
    world.write("tree/mine", "an older version");
    fs::create_dir(world.path("tree/a")).unwrap();
    symlink("../outside", world.path("tree/link")).unwrap();
    symlink(world.path("outside"), world.path("tree/absolute")).unwrap();
    symlink("link", world.path("tree/twice")).unwrap();
    symlink("../outside/file", world.path("tree/file")).unwrap();
    symlink("../../outside", world.path("tree/a/link")).unwrap();
    symlink("../outside/created-through-a-link", world.path("tree/dangling")).unwrap();
    let below_links = ["link/passwd", "absolute/passwd", "twice/passwd", "a/link/b", "dangling/b"];
    for key in below_links.into_iter().chain(["file", "dangling", "a/fine", "mine"]) {
        world.store().put(key, b"evil");
    }
    let before = world.store().keys();
    let watch = Watch::all_but(&world, "tree");

    for (links, code) in [("", 2), (" --links skip", 0), (" --links follow", 2)] {
        let done = world.expect(code, &format!("restore BUCKET tree --yes --list{links}"));
        for name in ["link", "absolute", "twice", "file", "a/link", "dangling"] {
            assert!(world.path("tree").join(name).is_symlink(), "{name}");
            if code == 2 {
                done.assert_says(&format!("skipped: {name}: a symlink"));
            }
        }
        for key in below_links.iter().filter(|_| code == 2) {
            done.assert_says(&format!("skipped: {key}: "));
        }
        assert_eq!(files(&world.path("tree")), tree_of([("a/fine", "evil"), ("mine", "evil")]));
        watch.assert_untouched();

        // A backup uploads nothing from outside, and deletes no object at or below a link.
        world.expect(code, &format!("verify tree BUCKET{links}"));
        world.expect(code, &format!("backup tree BUCKET --yes{links}"));
        assert_eq!(world.store().keys(), before);
        assert!(before.iter().all(|key| world.store().get(key).unwrap().body == "evil"));
        world.store().create_bucket("new");
        world.expect(code, &format!("backup tree s3://new --yes{links}"));
        assert_eq!(world.store().keys_in("new"), ["a/fine", "mine"]);
        world.store().remove_bucket("new");
        watch.assert_untouched();
    }
}
