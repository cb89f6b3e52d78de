//! `--links follow`: directories with links to each other.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use s3keep::{Direction, Keeper, Links};

use crate::{
    embedding::config,
    support::{World, files, store::Fault},
};

/// Writes `count` directories, each with a file and a link to every other directory.
fn cross_linked(count: usize) -> World {
    let world = World::in_process();
    for dir in 0..count {
        world.write(&format!("src/d{dir}/file"), dir.to_string());
    }
    for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
        if from != to {
            symlink(format!("../d{to}"), world.path(&format!("src/d{from}/l{to}"))).unwrap();
        }
    }
    world
}

#[test]
fn directories_with_links_to_each_other_are_read_in_bounded_time() {
    // Without a bound: 109,600 paths.
    let world = cross_linked(8);
    let mut config = config(&world, "src", "");
    config.links = Links::Follow;
    let plan = Keeper::new(config).unwrap().plan(Direction::Backup, &mut |_| {}).unwrap();
    // Directly, through one link, and through two.
    assert_eq!(plan.transfers.len(), 8 * (1 + 7 + 7 * 6));
    let links = plan.transfers.iter().map(|transfer| transfer.path().matches("/l").count());
    assert_eq!(links.max(), Some(2));
    let too_deep = "behind two other symlinks to directories";
    let skipped =
        |text| plan.skipped.iter().filter(|s| s.reason.to_string().contains(text)).count();
    assert_eq!((skipped(too_deep), plan.skipped.len()), (8 * 7 * 6 * 5, 8 * (7 + 7 * 6 * 7)));
    let kept = 8 * (7 + 7 * 6 * 2);
    assert_eq!(skipped("leads back"), kept);
}

#[test]
fn dozen_directories_with_links_to_each_other_are_planned_quickly() {
    let world = cross_linked(12);
    let start = Instant::now();
    world.expect(2, "backup src BUCKET --mock --links follow --quiet");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn link_behind_two_followed_links_is_skipped_and_protected() {
    let world = World::in_process();
    world.write("src/shared/file", "shared");
    world.write("src/releases/5/file", "5");
    world.write("src/site/file", "site");
    symlink("../../shared", world.path("src/releases/5/shared")).unwrap();
    symlink("releases/5", world.path("src/current")).unwrap();
    symlink("../current", world.path("src/site/current")).unwrap();
    symlink("site", world.path("src/www")).unwrap();
    world.store().put("www/current/shared/file", b"shared");
    let line = "backup src BUCKET --yes --links follow";
    let done = world.expect(2, line);
    done.assert_says(
        "skipped: www/current/shared: a symlink to a directory, behind two other symlinks to \
         directories",
    );
    done.assert_says("0 deleted");
    let stored = [
        "current/file",
        "current/shared/file",
        "releases/5/file",
        "releases/5/shared/file",
        "shared/file",
        "site/current/file",
        "site/current/shared/file",
        "site/file",
        "www/current/file",
        // Protected.
        "www/current/shared/file",
        "www/file",
    ];
    assert_eq!(world.store().keys(), stored);
    // The same in every run, in verify, and in a restore over the tree.
    for line in
        [line, "restore BUCKET src --yes --links follow", "verify src BUCKET --links follow"]
    {
        let done = world.expect(2, line);
        done.assert_says("skipped: www/current/shared: ");
    }
    assert!(world.path("src/www").is_symlink() && world.path("src/current").is_symlink());
    assert_eq!(files(&world.path("src")).len(), 3);
    // Without links in the target, a restore writes everything.
    world.expect(0, "restore BUCKET new --yes --links follow");
    assert_eq!(files(&world.path("new")).len(), stored.len());
}

#[test]
fn link_that_appears_during_a_backup_follows_the_same_rule() {
    let world = World::in_process();
    world.write("src/a/file", "a");
    world.write("src/b/file", "b");
    world.write("src/c/file", "c");
    symlink("../b", world.path("src/a/b")).unwrap();
    symlink("../c", world.path("src/b/c")).unwrap();
    symlink("a", world.path("src/link")).unwrap();
    world.write("src/gone", "gone");
    world.expect(2, "backup src BUCKET --yes --links follow");
    fs::remove_file(world.path("src/gone")).unwrap();
    world.write("src/new", "new");
    let link = world.path("src/b/new link");
    world.write("src/d/file", "d");
    let appear = move |_: &_| symlink("../d", &link).unwrap();
    world.store().fault(Fault::on("PutObject").key("new").times(1).run(appear));
    let done = world.expect(2, "backup src BUCKET --yes --links follow");
    done.assert_says("skipped: link/b/new link: a symlink to a directory, behind two other");
    let keys = world.store().keys();
    assert!(keys.contains(&"a/b/new link/file".to_owned()), "{keys:?}");
    assert!(!keys.iter().any(|key| key.starts_with("link/b/new link")), "{keys:?}");
}
