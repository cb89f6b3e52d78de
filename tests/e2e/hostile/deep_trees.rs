//! Directory trees that are as deep as keys and the system allow, or deeper.

use std::{fs, path::PathBuf, process::Command};

use cap_std::{ambient_authority, fs::Dir};

use crate::{
    hostile::watch::tree_of,
    support::{World, files},
};

#[test]
fn tree_as_deep_as_keys_allow_is_backed_up_and_restored() {
    let world = World::in_process();
    // 499 directories and a file: 999 bytes.
    let dirs = ["d"; 499].join("/");
    let (deep, halfway) = (format!("{dirs}/f"), format!("{}/f", ["d"; 250].join("/")));
    assert_eq!(deep.len(), 999);
    world.write(&format!("tree/{deep}"), "deep");
    world.write(&format!("tree/{halfway}"), "halfway");
    world.write("tree/top", "top");
    world.expect(0, "backup tree BUCKET --yes").assert_says("3 uploaded");
    assert_eq!(world.store().get(&deep).unwrap().body, "deep");
    world.expect(0, "restore BUCKET back --yes").assert_says("3 downloaded");
    assert_eq!(files(&world.path("tree")), files(&world.path("back")));
    world.expect(0, "verify back BUCKET").assert_says("3 the same");
    world.expect(0, "restore BUCKET back --yes").assert_nothing_to_do();

    // Replace one file and delete another, first in the bucket and then in the restored copy.
    fs::remove_file(world.path("tree").join(&deep)).unwrap();
    world.write(&format!("tree/{halfway}"), "halfway, longer");
    world.expect(0, "backup tree BUCKET --yes").assert_says("1 deleted");
    let done = world.expect(0, "restore BUCKET back --yes");
    done.assert_says("1 downloaded");
    done.assert_says("1 deleted");
    assert_eq!(files(&world.path("tree")), files(&world.path("back")));

    let done = world.expect(0, "cleanup back");
    done.assert_says(&format!("{} empty directories removed", 499 - 250));
    assert!(world.path("back").join(&halfway).exists());
    assert!(!world.path("back").join(["d"; 251].join("/")).exists());
}

/// A chain of 1,000 nested directories, with a file in the last one.
///
/// `rm` removes it: code that keeps each directory open while it empties it may run out of
/// descriptors.
struct Chain {
    tree: PathBuf,
    path: String,
}

impl Chain {
    fn of(name: &str, world: &World, tree: &str) -> Chain {
        let chain = Chain { tree: world.path(tree), path: vec![name; 1_000].join("/") };
        fs::create_dir_all(&chain.tree).unwrap();
        let mut dir = Dir::open_ambient_dir(&chain.tree, ambient_authority()).unwrap();
        // One directory at a time, because the whole path may be longer than the system allows.
        for name in chain.path.split('/') {
            dir.create_dir(name).unwrap();
            dir = dir.open_dir(name).unwrap();
        }
        dir.write("f", "bottom").unwrap();
        chain
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        Command::new("rm").arg("-rf").arg(&self.tree).status().unwrap();
    }
}

#[test]
fn file_deeper_than_any_key_is_refused_and_named() {
    let world = World::in_process();
    let chain = Chain::of("d", &world, "tree");
    world.write("tree/top", "top");
    world.store().put("gone", b"object");
    let before = files(&world.path("tree"));
    let bottom = format!("{}/f", chain.path);
    for line in ["backup tree BUCKET", "restore BUCKET tree"] {
        for how in ["--yes", "--mock"] {
            let done = world.expect(3, &format!("{line} {how}"));
            done.assert_says(&format!(
                "1 keys are longer than 1000 bytes; shorten these names:\n  {bottom}\n"
            ));
        }
    }
    world.expect(2, "verify tree BUCKET").assert_says(&format!("skipped: {bottom}: the key"));
    world.expect(0, "cleanup tree").assert_says("0 empty directories removed");
    assert_eq!(world.store().keys(), ["gone"]);
    assert_eq!(files(&world.path("tree")), before);
}

#[test]
fn empty_directories_deeper_than_any_key_are_only_cleaned_up() {
    let world = World::in_process();
    let chain = Chain::of("d", &world, "tree");
    fs::remove_file(chain.tree.join(&chain.path).join("f")).unwrap();
    world.write("tree/top", "top");
    world.store().put("gone", b"object");
    world.expect(0, "backup tree BUCKET --yes").assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["top"]);
    world.expect(0, "verify tree BUCKET").assert_says("1 the same");
    world.store().put("new", b"new");
    world.expect(0, "restore BUCKET tree --yes").assert_says("1 downloaded");
    world.expect(0, "cleanup tree --mock").assert_says("1000 empty directories to remove");
    assert!(chain.tree.join(&chain.path).exists());
    world.expect(0, "cleanup tree").assert_says("1000 empty directories removed");
    assert!(!chain.tree.join("d").exists());
    assert_eq!(files(&chain.tree), tree_of([("new", "new"), ("top", "top")]));
}

#[test]
fn tree_deeper_than_the_system_allows_is_skipped_and_named() {
    let world = World::in_process();
    let name = "n".repeat(200);
    let chain = Chain::of(&name, &world, "tree");
    world.write("tree/top", "top");
    world.write("tree/gone", "gone");
    let expect = |line: &str| {
        let done = world.expect(2, line);
        done.assert_says(&format!("skipped: {name}/{name}"));
        done.assert_says("it cannot be read: File name too long");
        done
    };
    expect("backup tree BUCKET --yes").assert_says("2 uploaded");
    world.store().remove("gone");
    expect("verify tree BUCKET").assert_says("1 the same");
    expect("restore BUCKET tree --yes").assert_says("1 deleted");
    expect("cleanup tree").assert_says("0 empty directories removed");
    assert!(chain.tree.join(&name).join(&name).exists());
    assert_eq!(world.store().keys(), ["top"]);
}
