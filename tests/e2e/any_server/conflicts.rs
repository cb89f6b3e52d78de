//! A file and a directory that swap places. Some stores cannot hold `a` and `a/x` at the same time.

use std::fs;

use crate::support::{Limit, World, noise};

const BACKUP: &str = "backup src BUCKET --yes --part-size 5MiB";

#[test]
fn file_that_becomes_a_directory_and_back_is_backed_up() {
    let world = World::on_any_server();
    if world.has_limit(Limit::Paths) {
        return;
    }
    world.write("src/a", "a file");
    world.write("src/other", "other");
    world.expect(0, BACKUP);

    fs::remove_file(world.path("src/a")).unwrap();
    world.write("src/a/x", "a file below");
    world.write("src/a/y/z", "another");
    world.write("src/a/large", noise(1, 6 << 20));
    let done = world.expect(0, BACKUP);
    done.assert_says("3 uploaded");
    done.assert_says("1 deleted");
    done.assert_says("0 failed");
    assert_eq!(world.keys(), ["a/large", "a/x", "a/y/z", "other"]);
    world.expect(0, "verify src BUCKET --part-size 5MiB").assert_says("4 the same");
    world.expect(0, BACKUP).assert_nothing_to_do();

    // SeaweedFS completes no multipart upload where a directory was, so this file is small.
    fs::remove_dir_all(world.path("src/a")).unwrap();
    world.write("src/a", "a file again");
    let done = world.expect(0, BACKUP);
    done.assert_says("1 uploaded");
    done.assert_says("3 deleted");
    assert_eq!(world.keys(), ["a", "other"]);
    world.expect(0, "verify src BUCKET --part-size 5MiB").assert_says("2 the same");
    world.expect(0, BACKUP).assert_nothing_to_do();
}
