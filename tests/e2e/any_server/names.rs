//! File names and keys that are hard to encode, too long, or not possible on the other side.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use crate::support::{Limit, World, files};

/// Paths that tools often get wrong. All of them can exist in one directory.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "with space",
        " leading",
        "trailing ",
        "two  spaces",
        "plus+sign",
        "a+b c+d",
        "percent%41",
        "%2e%2e",
        "%",
        "100%",
        "amp&ersand",
        "<tag>",
        "quote\"s",
        "apos'trophe",
        "semi;colon",
        "question?mark",
        "hash#tag",
        "equals=sign",
        "at@sign",
        "colon:",
        "comma,",
        "star*",
        "brackets[1]",
        "{braces}",
        "pipe|",
        "caret^",
        "tilde~",
        "back`tick",
        "dollar$",
        "bang!",
        "(parens)",
        "tab\there",
        "line\nfeed",
        "carriage\rreturn",
        "\u{1}\u{2}\u{1f}",
        "delete\u{7f}",
        "nel\u{85}",
        "emoji \u{1f600}\u{1f468}\u{200d}\u{1f469}",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{fffd}",
        "\u{fffe}\u{ffff}",
        "\u{202e}rtl",
        "\u{feff}bom",
        "...",
        "..a",
        "a..",
        ".hidden",
        "-dash",
        "--yes",
        "CON",
        "a-b",
        "a/b",
        "a0",
        "b/c/d",
        "b.c",
        "b/c-d",
        "~user",
        "$HOME",
        "&amp;",
        "&#10;",
        "s3:",
        "x=y&z=w",
    ]
    .map(str::to_owned)
    .into();
    // A key of exactly 1,000 bytes, with segments of the maximum length.
    let long = ["l".repeat(255), "o".repeat(255), "n".repeat(255), "g".repeat(232)].join("/");
    assert_eq!(long.len(), 1_000);
    names.push(long);
    names
}

#[test]
fn hostile_names_round_trip() {
    let world = World::on_any_server();
    let mut names = hostile();
    if world.has_limit(Limit::Newlines) {
        names.retain(|name| !name.contains('\n'));
    }
    for (n, name) in names.iter().enumerate() {
        world.write(&format!("src/{name}"), format!("content of {n}"));
    }
    let count = names.len();
    world.expect(0, "backup src BUCKET --yes").assert_says(&format!("{count} uploaded"));
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET back --yes").assert_says(&format!("{count} downloaded"));
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    world.expect(0, "restore BUCKET back --yes").assert_nothing_to_do();
    world.expect(0, "verify back BUCKET").assert_says(&format!("{count} the same"));

    // Each of them can be deleted, and no other key is deleted with it.
    for name in names.iter().step_by(2) {
        fs::remove_file(world.path("src").join(name)).unwrap();
    }
    let run = world.expect(0, "backup src BUCKET --yes");
    run.assert_says(&format!("{} deleted", count.div_ceil(2)));
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn store_that_folds_names_does_not_lose_the_file() {
    let world = World::on_any_server();
    world.write("src/a", "a");
    world.write("src/back\\slash", "content");
    world.expect(0, "backup src BUCKET --yes").assert_says("2 uploaded");
    // The store may turn the key into `back/slash`. Both names are then one object.
    for _ in 0..2 {
        let done = world.expect(0, "backup src BUCKET --yes");
        done.assert_nothing_to_do();
        done.assert_says("0 deleted");
        world.expect(0, "restore BUCKET back --yes");
        let restored: Vec<_> = files(&world.path("back")).into_values().collect();
        assert_eq!(restored, [b"a".to_vec(), b"content".to_vec()]);
    }
}

#[test]
fn key_over_1000_bytes_is_refused_before_any_change() {
    let world = World::on_any_server();
    let long = [["l"; 240].concat(), ["m"; 240].concat(), ["n"; 240].concat()].join("/");
    world.write("src/a", "a");
    world.write(&format!("src/{long}/{}", "x".repeat(240)), "fits without the prefix");
    world.write(&format!("src/{long}/{}", "y".repeat(240)), "fits without the prefix, too");
    world.put_object(&format!("{}/gone", "p".repeat(100)), b"to be deleted");

    let run = world.expect(3, &format!("backup src BUCKET/{} --yes", "p".repeat(100)));
    assert!(
        run.stderr.contains(&"x".repeat(240)) && run.stderr.contains(&"y".repeat(240)),
        "{run:?}"
    );
    assert_eq!(world.keys().len(), 1);
    world.expect(0, "backup src BUCKET --yes --no-delete").assert_says("3 uploaded");
}

#[test]
fn name_that_is_not_utf8_is_skipped_and_the_rest_is_stored() {
    let world = World::on_any_server();
    world.write("src/fine", "fine");
    let odd = world.path("src").join(OsStr::from_bytes(b"caf\xe9"));
    fs::write(&odd, "not UTF-8").unwrap();
    let run = world.expect(2, "backup src BUCKET --yes");
    run.assert_says("skipped: caf\u{fffd}: the name is not UTF-8");
    run.assert_says("1 uploaded");
    assert_eq!(world.keys(), ["fine"]);
}

#[test]
fn directory_markers_are_neither_deleted_nor_restored() {
    let world = World::on_any_server();
    if world.has_limit(Limit::Paths) {
        return;
    }
    world.write("src/dir/file", "file");
    world.put_object("dir/", b"");
    world.put_object("photos/", b"");
    world.expect(0, "backup src BUCKET --yes").assert_says("0 deleted");
    world.expect(0, "restore BUCKET back --yes").assert_says("1 downloaded");
    world.expect(0, "restore BUCKET/photos nothing --yes").assert_nothing_to_do();
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}
