//! Objects whose key or size no file can have.

use std::fs;

use crate::{
    hostile::watch::{Watch, tree_of},
    support::{World, files, store::Fault},
};

const INVALID_KEYS: [&str; 14] = [
    "../x",
    "..",
    ".",
    "/x",
    "//x",
    "a/../../x",
    "a/..",
    "a//b",
    "a/b//",
    "./a",
    "a/./b",
    "../outside/file",
    "nul\0key",
    "\0",
];

#[test]
fn invalid_keys_are_named_and_neither_written_nor_deleted() {
    for prefix in ["", "deep/photos/"] {
        let world = World::in_process();
        world.write("x", "home's x");
        world.write("b", "home's b");
        world.write("outside/file", "precious");
        world.write("tree/mine", "mine");
        for key in INVALID_KEYS.iter().copied().chain(["object"]) {
            world.store().put(&format!("{prefix}{key}"), b"evil");
        }
        if !prefix.is_empty() {
            // A client that resolves `..` in a key would reach these objects instead.
            for key in ["deep/x", "x", "deep/outside/file"] {
                world.store().put(key, b"not ours");
            }
        }
        let watch = Watch::all_but(&world, "tree");
        let url = format!("BUCKET/{prefix}");
        let expect_named = |line: &str| {
            let done = world.expect(2, &format!("{line} --list"));
            for key in INVALID_KEYS {
                done.assert_says(&format!("skipped: {}: the key has", s3keep::Escaped(key)));
            }
            watch.assert_untouched();
            done
        };
        expect_named(&format!("restore {url} tree --mock"));
        expect_named(&format!("restore {url} new/tree --mock"));
        expect_named(&format!("verify tree {url}"));
        expect_named(&format!("backup tree {url} --mock"));
        assert_eq!(files(&world.path("tree")), tree_of([("mine", "mine")]));

        expect_named(&format!("restore {url} tree --yes")).assert_says("1 downloaded");
        assert_eq!(files(&world.path("tree")), tree_of([("object", "evil")]));
        world.write("tree/mine", "mine");
        fs::remove_file(world.path("tree/object")).unwrap();
        let done = expect_named(&format!("backup tree {url} --yes"));
        done.assert_says("1 uploaded");
        done.assert_says("1 deleted");
        for key in INVALID_KEYS {
            let object = world.store().get(&format!("{prefix}{key}"));
            assert_eq!(object.unwrap_or_else(|| panic!("{key:?} is gone")).body, "evil");
        }
        assert_eq!(world.store().get(&format!("{prefix}mine")).unwrap().body, "mine");
        let others = world.store().keys().into_iter().filter(|key| !key.starts_with(prefix));
        assert_eq!(others.count(), if prefix.is_empty() { 0 } else { 3 });
    }
}

#[test]
fn impossible_object_sizes_are_named_failures() {
    let world = World::in_process();
    world.write("dst/kept", "kept");
    let object = |key: &str, size: u64| {
        format!(
            "<Contents><Key>{key}</Key><Size>{size}</Size>\
             <LastModified>2024-02-29T12:34:56Z</LastModified></Contents>"
        )
    };
    for key in ["a", "b", "c"] {
        world.store().put(key, "x");
    }
    let objects = [object("a", u64::MAX), object("b", 1 << 63), object("c", 1 << 62)].concat();
    world.store().fault(Fault::on("ListObjectsV2").body(format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
    )));
    world.expect(0, "restore BUCKET dst --mock --allow-unrelated").assert_says("3 to download");
    let run = world.expect(2, "restore BUCKET dst --yes --retries 0 --allow-unrelated");
    run.assert_says("3 failed");
    assert_eq!(files(&world.path("dst")), tree_of([("kept", "kept")]));
}
