//! Names that the store, or the file system of the directory, does not distinguish.

use std::{collections::BTreeMap, fs};

use s3keep::{Direction, Keeper, exit};

use crate::{
    embedding::config,
    support::{
        World, files, noise,
        store::{Fault, Folding, Folds, Listed},
    },
};

const BACKUP: &str = "backup src BUCKET --yes --allow-unrelated";

/// Folded in every way, with the name that is listed, and whether reads need that name.
fn foldings() -> impl Iterator<Item = Folding> {
    let listed = [Listed::First, Listed::Latest, Listed::Lower];
    listed.into_iter().flat_map(|listed| {
        [false, true].map(|exact_reads| Folding {
            folds: Folds::All,
            listed,
            exact_reads,
            remembers: false,
        })
    })
}

fn world(folding: Folding) -> World {
    let world = World::in_process();
    world.store().set_folding(Some(folding));
    world
}

fn fold_case(listed: Listed) -> World {
    world(Folding { folds: Folds::Case, listed, exact_reads: false, remembers: false })
}

/// The contents of all objects, in order.
fn contents(world: &World) -> Vec<Vec<u8>> {
    let store = world.store();
    let keys = store.keys().into_iter();
    let mut contents: Vec<Vec<u8>> =
        keys.map(|key| store.get(&key).unwrap().body.to_vec()).collect();
    contents.sort();
    contents
}

fn rename(world: &World, from: &str, to: &str) {
    let to = world.path("src").join(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(world.path("src").join(from), to).unwrap();
}

/// Old and new names of one file.
const RENAMES: [(&str, &str); 7] = [
    ("IMG.JPG", "img.jpg"),
    ("d/Caf\u{e9}", "d/cafe\u{301}"),
    ("d/name. ", "d/name"),
    ("d/name", "d/name..."),
    ("Photos/x/y", "photos/x/y"),
    ("a\\b", "a/b"),
    ("a/b", "A\\B"),
];

#[test]
fn renamed_file_stays_stored_on_a_store_that_folds_names() {
    for folding in foldings() {
        for (old, new) in RENAMES {
            let case = format!("{folding:?} {old} {new}");
            let world = world(folding);
            world.write("src/other", "other");
            world.write(&format!("src/{old}"), "content");
            world.expect(0, BACKUP);
            rename(&world, old, new);
            let done = world.expect(0, BACKUP);
            done.assert_says("0 deleted");
            assert_eq!(contents(&world), [b"content".to_vec(), b"other".to_vec()], "{case}");
            let said = done.stderr.matches("does not distinguish").count();
            let is_listed = world.store().keys().iter().any(|key| key == new);
            assert!(said == 1 || said == 0 && is_listed, "{case} {done:?}");
            // The content of a file that was also changed is replaced.
            world.write(&format!("src/{new}"), "changed content");
            world.expect(0, BACKUP).assert_says("1 uploaded");
            assert_eq!(
                contents(&world),
                [b"changed content".to_vec(), b"other".to_vec()],
                "{case}"
            );
        }
    }
}

#[test]
fn second_backup_of_a_renamed_file_has_nothing_to_do() {
    for folding in foldings().filter(|folding| !folding.exact_reads) {
        for (old, new) in RENAMES {
            for options in ["", " --no-record"] {
                let world = world(folding);
                world.write("src/other", "other");
                world.write(&format!("src/{old}"), "content");
                world.expect(0, &format!("{BACKUP}{options}"));
                rename(&world, old, new);
                world.expect(0, &format!("{BACKUP}{options}"));
                world.store().clear_requests();
                world.expect(0, &format!("{BACKUP}{options}")).assert_nothing_to_do();
                world.expect(0, &format!("{BACKUP} --mock{options}")).assert_nothing_to_do();
                assert_eq!(world.store().count("PutObject"), 0, "{folding:?} {old} {new}");
                assert_eq!(world.store().count("GetObject"), 0, "{folding:?} {old} {new}");
            }
        }
    }
}

#[test]
fn renamed_directory_costs_one_request_for_all_its_files() {
    let world = fold_case(Listed::First);
    for n in 0..150 {
        world.write(&format!("src/Photos/{n:03}"), format!("content {n}"));
    }
    world.expect(0, BACKUP);
    rename(&world, "Photos", "photos");
    world.store().clear_requests();
    let done = world.expect(0, BACKUP);
    done.assert_nothing_to_do();
    done.assert_says("(150, for example photos/000 and Photos/000)");
    assert_eq!(world.store().count("HeadObject"), 1);
    assert_eq!(contents(&world).len(), 150);
}

#[test]
fn rename_on_a_store_that_does_not_fold_takes_one_run() {
    let world = World::in_process();
    for n in 0..90 {
        world.write(&format!("src/Photos/{n:03}"), format!("content {n}"));
    }
    world.expect(0, BACKUP);
    rename(&world, "Photos", "photos");
    world.expect(0, &format!("{BACKUP} --mock")).assert_says(
        "90 objects are deleted only if the bucket lists both their names and those of similar files \
         after the uploads, because some stores do not distinguish them (for example Photos/000 and \
         photos/000)",
    );
    world.store().clear_requests();
    let done = world.expect(0, BACKUP);
    done.assert_says("90 uploaded");
    done.assert_says("90 deleted");
    // One for the plan, and one after the first deletion.
    assert_eq!(world.store().count("HeadObject"), 2);
    assert_eq!(world.store().count("GetObject"), 1);
    // Before the plan, and after the uploads.
    assert_eq!(world.store().count("ListObjectsV2"), 2);
    world.store().clear_requests();
    world.expect(0, BACKUP).assert_nothing_to_do();
    assert_eq!(world.store().requests().len(), 1);
}

#[test]
fn only_the_directory_of_the_names_is_listed_again() {
    let world = World::in_process();
    world.write("src/d/IMG", "content");
    world.write("src/e/other", "other");
    world.expect(0, BACKUP);
    rename(&world, "d/IMG", "d/img");
    world.store().clear_requests();
    world.expect(0, BACKUP).assert_says("1 deleted");
    let prefixes: Vec<String> = world
        .store()
        .requests_of("ListObjectsV2")
        .iter()
        .map(|request| request.query.get("prefix").cloned().unwrap_or_default())
        .collect();
    assert_eq!(prefixes, ["", "d/"]);
}

#[test]
fn run_without_similar_names_sends_no_additional_request() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.write("src/b", "b");
    world.expect(0, BACKUP);
    fs::remove_file(world.path("src/b")).unwrap();
    world.write("src/c", "c");
    world.store().clear_requests();
    world.expect(0, BACKUP).assert_says("1 deleted");
    assert_eq!(world.store().count("HeadObject"), 0);
    assert_eq!(world.store().count("ListObjectsV2"), 1);
}

#[test]
fn failed_listing_after_the_uploads_withholds_only_similar_names() {
    let world = World::in_process();
    world.write("src/IMG", "content");
    world.write("src/gone", "gone");
    world.write("src/other", "other");
    world.expect(0, BACKUP);
    rename(&world, "IMG", "img");
    fs::remove_file(world.path("src/gone")).unwrap();
    world.store().fault(Fault::on("ListObjectsV2").skip(1).status(403, "AccessDenied"));
    let done = world.expect(2, BACKUP);
    done.assert_says("1 deleted");
    done.assert_says(
        "IMG: the store may not distinguish it from img, and the check for that failed",
    );
    assert_eq!(world.store().keys(), ["IMG", "img", "other"]);
    world.store().clear_faults();
    world.expect(0, BACKUP).assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["img", "other"]);
}

#[test]
fn failed_upload_keeps_the_object_of_the_other_spelling() {
    for folding in [
        None,
        Some(Folding {
            folds: Folds::Case,
            listed: Listed::First,
            exact_reads: true,
            remembers: false,
        }),
    ] {
        let world = World::in_process();
        world.store().set_folding(folding);
        world.write("src/Photos/x", "content");
        world.write("src/other", "other");
        world.expect(0, BACKUP);
        rename(&world, "Photos", "photos");
        world.write("src/photos/x", "a longer content");
        world.store().fault(Fault::on("PutObject").status(403, "AccessDenied"));
        world.expect(2, BACKUP).assert_says("upload photos/x: ");
        assert_eq!(world.store().keys(), ["Photos/x", "other"]);
        world.store().clear_faults();
        world.expect(0, BACKUP);
        assert_eq!(contents(&world), [b"a longer content".to_vec(), b"other".to_vec()]);
    }
}

#[test]
fn large_file_that_was_renamed_stays_stored() {
    for folding in foldings() {
        let world = world(folding);
        world.write("src/IMG", noise(1, 6 << 20));
        world.expect(0, &format!("{BACKUP} --part-size 5MiB"));
        rename(&world, "IMG", "img");
        world.expect(0, &format!("{BACKUP} --part-size 5MiB"));
        assert_eq!(contents(&world), [noise(1, 6 << 20)], "{folding:?}");
    }
}

#[test]
fn no_delete_leaves_nothing_to_do_for_a_renamed_file() {
    let world = fold_case(Listed::First);
    world.write("src/IMG", "content");
    world.expect(0, BACKUP);
    rename(&world, "IMG", "img");
    world.expect(0, &format!("{BACKUP} --no-delete")).assert_nothing_to_do();
    assert_eq!(world.store().keys(), ["IMG"]);
}

#[test]
fn file_renamed_during_the_scan_stays_stored() {
    for exact_reads in [false, true] {
        let world = world(Folding {
            folds: Folds::Case,
            listed: Listed::First,
            exact_reads,
            remembers: false,
        });
        world.write("src/a/IMG", "content");
        world.write("src/z", "z");
        world.expect(0, BACKUP);
        world.write("src/z", "z changed");
        world.write("src/a/gone", "gone");
        world.expect(0, BACKUP);
        fs::remove_file(world.path("src/a/gone")).unwrap();
        world.write("src/y", "y");
        // After the scan, before the deletions.
        fs::rename(world.path("src/a/IMG"), world.path("aside")).unwrap();
        let (from, to) = (world.path("aside"), world.path("src/a/img"));
        world.store().fault(Fault::on("PutObject").key("y").times(1).run(move |_| {
            fs::rename(&from, &to).unwrap();
        }));
        world.expect(0, BACKUP);
        let expected = [&b"content"[..], b"y", b"z changed"].map(<[u8]>::to_vec);
        assert_eq!(contents(&world), expected);
    }
}

#[test]
fn two_files_that_are_one_object_are_not_both_reported_as_stored() {
    for folding in foldings() {
        for (a, b) in [("d/A", "d/a"), ("D/x", "d/x"), ("Ab", "aB")] {
            let world = world(folding);
            world.write(&format!("src/{a}"), "content of the one");
            world.write(&format!("src/{b}"), "that of the other");
            let done = world.expect(2, BACKUP);
            done.assert_says("the target does not distinguish this name from ");
            done.assert_says("1 failed");
            assert_eq!(contents(&world).len(), 1, "{folding:?}");
            for _ in 0..2 {
                let done = world.expect(2, BACKUP);
                done.assert_says("the target does not distinguish this name from ");
                done.assert_says("0 deleted");
                let stored = contents(&world);
                assert_eq!(stored.len(), 1, "{folding:?}");
                if !folding.exact_reads {
                    done.assert_nothing_to_do();
                }
            }
            // The object has the content of the file that is not named.
            let code = if folding.exact_reads { 0 } else { 2 };
            let done = world.expect(code, &format!("{BACKUP} --mock"));
            let (kept, content) = if done.stderr.contains(&format!("skipped: {b}")) {
                (a, "content of the one")
            } else {
                (b, "that of the other")
            };
            if !folding.exact_reads {
                assert_eq!(contents(&world), [content.as_bytes()], "{folding:?} {kept} {done:?}");
            }
            // Once one of them has another name, both are stored.
            rename(&world, b, "another name");
            world.expect(0, BACKUP);
            let expected = [&b"content of the one"[..], b"that of the other"].map(<[u8]>::to_vec);
            assert_eq!(contents(&world), expected, "{folding:?}");
        }
    }
}

/// A gateway with a cache lists both names.
#[test]
fn two_files_that_are_one_object_are_found_where_the_store_lists_both() {
    for exact_reads in [false, true] {
        let folding =
            Folding { folds: Folds::All, listed: Listed::Latest, exact_reads, remembers: true };
        let world = world(folding);
        for n in 0..3 {
            world.write(&format!("src/A{n}"), format!("capital {n}"));
            world.write(&format!("src/a{n}"), format!("small   {n}"));
        }
        let done = world.expect(2, BACKUP);
        done.assert_says("upload a0: the target does not distinguish this name from A0");
        done.assert_says("3 failed");
        // Three of them twice, but each counts once.
        done.assert_says("6 uploaded");
        assert_eq!(world.store().count("PutObject"), 9);
        let expected = ["capital 0", "capital 1", "capital 2"].map(|text| text.as_bytes().to_vec());
        assert_eq!(contents(&world), expected);
    }
}

#[test]
fn two_files_with_similar_names_are_two_objects_on_other_stores() {
    let world = World::in_process();
    for name in ["A", "a", "d/x", "D/X", "caf\u{e9}", "cafe\u{301}", "dot", "dot."] {
        world.write(&format!("src/{name}"), name);
    }
    let done = world.expect(0, BACKUP);
    done.assert_says("8 uploaded");
    assert_eq!(done.stderr, "");
    // Two files for each kind of difference are read back: case, Unicode form, and the end of a name.
    assert_eq!(world.store().count("GetObject"), 6);
    // Before the plan, and after the uploads.
    assert_eq!(world.store().count("ListObjectsV2"), 2);
    world.store().clear_requests();
    world.expect(0, BACKUP).assert_nothing_to_do();
    assert_eq!(world.store().requests().len(), 1);
    fs::remove_file(world.path("src/a")).unwrap();
    world.expect(0, BACKUP).assert_says("1 deleted");
    world.write("src/a", "a again");
    world.expect(0, BACKUP).assert_says("1 uploaded");
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn object_of_another_spelling_is_deleted_where_the_store_lists_both() {
    let world = World::in_process();
    world.write("src/README", "the file");
    world.write("src/other", "other");
    world.expect(0, BACKUP);
    world.store().put("readme", b"an old object");
    world.expect(0, BACKUP).assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["README", "other"]);
}

#[test]
fn store_that_turns_backslashes_into_slashes_has_nothing_to_do() {
    let world = world(Folding {
        folds: Folds::Backslashes,
        listed: Listed::Latest,
        exact_reads: false,
        remembers: false,
    });
    world.write("src/a\\b", "content");
    world.expect(0, BACKUP).assert_says("1 uploaded");
    assert_eq!(world.store().keys(), ["a/b"]);
    world.expect(0, BACKUP).assert_nothing_to_do();
    fs::remove_file(world.path("src/a\\b")).unwrap();
    world.write("src/c", "c");
    world.expect(0, BACKUP).assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["c"]);
}

#[test]
fn unfinished_restore_protects_the_object_of_another_spelling() {
    let world = fold_case(Listed::First);
    world.store().put("IMG", b"the good content");
    world.store().put("other", b"other");
    world.store().fault(Fault::on("GetObject").key("IMG").status(403, "AccessDenied"));
    world.expect(2, "restore BUCKET src --yes");
    world.store().clear_faults();
    world.write("src/img", "older");
    let done = world.expect(2, BACKUP);
    done.assert_says("an unfinished restore still has to write it");
    assert_eq!(world.store().get("IMG").unwrap().body, "the good content");
}

/// A gateway with a cache lists the old name as well, after the upload of the new one.
#[test]
fn renamed_file_is_uploaded_again_if_its_old_name_was_only_remembered() {
    for exact_reads in [false, true] {
        let folding =
            Folding { folds: Folds::All, listed: Listed::Latest, exact_reads, remembers: true };
        let world = world(folding);
        let names: Vec<(String, String)> =
            (0..20).map(|n| (format!("IMG{n}"), format!("img{n}"))).collect();
        for (old, new) in &names {
            world.write(&format!("src/{old}"), format!("content of {new}"));
        }
        world.write("src/other", "other");
        world.expect(0, BACKUP);
        for (old, new) in &names {
            rename(&world, old, new);
            world.write(&format!("src/{new}"), format!("new content of {new}"));
        }
        for _ in 0..3 {
            world.expect(0, BACKUP);
            let stored: Vec<Vec<u8>> = files(&world.path("src")).into_values().collect();
            assert_eq!(contents(&world).len(), 21);
            assert!(stored.iter().all(|content| contents(&world).contains(content)));
        }
    }
}

#[test]
fn lost_file_is_named_if_the_second_upload_fails() {
    let folding =
        Folding { folds: Folds::All, listed: Listed::Latest, exact_reads: true, remembers: true };
    let world = world(folding);
    world.write("src/IMG", "content");
    world.write("src/other", "other");
    world.expect(0, BACKUP);
    rename(&world, "IMG", "img");
    world.store().fault(Fault::on("PutObject").key("img").skip(1).status(403, "AccessDenied"));
    let done = world.expect(2, BACKUP);
    done.assert_says("upload img: the file is not stored, and what was deleted from the bucket");
    world.store().clear_faults();
    world.expect(0, BACKUP);
    assert_eq!(contents(&world), [b"content".to_vec(), b"other".to_vec()]);
}

#[test]
fn only_one_object_for_each_kind_of_difference_is_read_after_its_deletion() {
    let world = World::in_process();
    for n in 0..20 {
        world.write(&format!("src/IMG{n}"), "content");
        world.write(&format!("src/caf\u{e9}{n}"), "content");
    }
    world.expect(0, BACKUP);
    for n in 0..20 {
        rename(&world, &format!("IMG{n}"), &format!("img{n}"));
        rename(&world, &format!("caf\u{e9}{n}"), &format!("cafe\u{301}{n}"));
    }
    world.store().clear_requests();
    world.expect(0, BACKUP).assert_says("40 deleted");
    // For each kind, one for the plan, and one after the first deletion.
    assert_eq!(world.store().count("HeadObject"), 4);
    assert_eq!(world.store().count("GetObject"), 2);
    assert_eq!(world.store().count("DeleteObjects"), 3);
    assert_eq!(world.store().keys().len(), 40);
}

#[test]
fn verification_compares_a_file_with_the_object_of_another_spelling() {
    let world = fold_case(Listed::First);
    world.write("src/IMG", "content");
    world.write("src/other", "other");
    world.expect(0, BACKUP);
    rename(&world, "IMG", "img");
    let done = world.expect(0, "verify src BUCKET");
    done.assert_says("2 the same");
    done.assert_says("the store does not distinguish img from IMG");
    world.write("src/img", "CONTENT");
    world.expect(2, "verify src BUCKET").assert_says("content      img");
    let plain = World::in_process();
    plain.write("src/img", "content");
    plain.store().put("IMG", b"content");
    plain.expect(2, "verify src BUCKET").assert_says("2 different");
}

#[test]
fn json_output_names_spellings_as_warnings() {
    let world = fold_case(Listed::First);
    world.write("src/IMG", "content");
    world.expect(0, BACKUP);
    rename(&world, "IMG", "img");
    let done = world.expect(0, &format!("{BACKUP} --json"));
    let lines: Vec<BTreeMap<String, serde_json::Value>> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warnings: Vec<_> = lines.iter().filter(|line| line["type"] == "warning").collect();
    assert_eq!(warnings.len(), 1, "{done:?}");
    assert_eq!(
        warnings[0]["message"],
        "the store does not distinguish img from IMG: both names are one entry, which is kept"
    );
}

#[test]
fn file_that_is_not_stored_because_of_another_keeps_its_old_copy() {
    for folding in foldings() {
        let world = world(folding);
        world.write("src/d/first", "content of the one");
        world.write("src/d/second", "that of the other one");
        world.write("src/other", "other");
        world.expect(0, BACKUP);
        rename(&world, "d/first", "d/A");
        rename(&world, "d/second", "d/a");
        let done = world.expect(2, BACKUP);
        done.assert_says("the target does not distinguish this name from ");
        for content in ["content of the one", "that of the other one", "other"] {
            assert!(
                contents(&world).contains(&content.as_bytes().to_vec()),
                "{folding:?} {done:?}"
            );
        }
    }
}

#[test]
fn files_that_the_store_does_not_list_any_more_keep_their_old_copies() {
    let world = World::in_process();
    world.write("src/old", "the content");
    world.expect(0, BACKUP);
    rename(&world, "old", "A");
    world.write("src/a", "another content");
    let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    world.store().fault(Fault::on("ListObjectsV2").skip(1).body(empty));
    let done = world.expect(2, BACKUP);
    done.assert_says("upload A: the store does not list it after the uploads");
    done.assert_says("old: it may be the only copy of ");
    assert_eq!(world.store().keys(), ["A", "a", "old"]);
}

#[test]
fn skipped_file_of_a_folded_name_keeps_its_old_copy() {
    for mock in ["", " --mock"] {
        let world = fold_case(Listed::First);
        world.write("src/A", "content of the one");
        world.write("src/d/old", "that of the other one");
        world.expect(0, BACKUP);
        rename(&world, "d/old", "a");
        let done = world.expect(2, &format!("{BACKUP}{mock}"));
        done.assert_says("skipped: a: the target does not distinguish this name from A");
        done.assert_says("d/old: it may be the only copy of a, which was not transferred");
        assert_eq!(world.store().keys(), ["A", "d/old"]);
    }
}

fn remembering() -> Folding {
    Folding { folds: Folds::All, listed: Listed::Latest, exact_reads: true, remembers: true }
}

/// Renames `IMG0` and so on to `img0`.
fn rename_images(world: &World, count: usize) {
    for n in 0..count {
        world.write(&format!("src/IMG{n}"), format!("content {n}"));
    }
    world.write("src/other", "other");
    world.expect(0, BACKUP);
    for n in 0..count {
        rename(world, &format!("IMG{n}"), &format!("img{n}"));
    }
    world.store().clear_requests();
}

#[test]
fn trial_that_shows_nothing_is_repeated_with_another_object() {
    for status in [403, 405] {
        let world = World::in_process();
        rename_images(&world, 4);
        world.store().fault(Fault::on("HeadObject").skip(1).times(1).status(status, "Odd"));
        let done = world.expect(0, BACKUP);
        done.assert_says("4 uploaded");
        done.assert_says("4 deleted");
        // The file of the first trial is uploaded again.
        assert_eq!(world.store().count("PutObject"), 5);
        assert_eq!(world.store().keys(), ["img0", "img1", "img2", "img3", "other"]);
        assert!(!done.stderr.contains("the store does not distinguish"), "{done:?}");
    }
}

#[test]
fn trials_that_show_nothing_withhold_the_other_deletions() {
    for folding in [None, Some(remembering())] {
        for (operation, status) in [("HeadObject", 405), ("HeadObject", 403), ("GetObject", 403)] {
            let world = World::in_process();
            world.store().set_folding(folding);
            rename_images(&world, 5);
            let skipped = usize::from(operation == "HeadObject");
            world.store().fault(Fault::on(operation).skip(skipped).status(status, "AccessDenied"));
            // That a name is not found is proof enough.
            let is_proven = folding.is_some() && operation == "GetObject";
            let done = world.expect(if is_proven { 0 } else { 2 }, BACKUP);
            done.assert_says(if is_proven { "1 deleted" } else { "3 deleted" });
            done.assert_says(if is_proven {
                "the store does not distinguish img0 from IMG0"
            } else {
                "IMG3: the store may not distinguish it from img3"
            });
            world.store().clear_faults();
            for n in 0..5 {
                let content = format!("content {n}").into_bytes();
                assert!(
                    contents(&world).contains(&content),
                    "{folding:?} {operation} {n} {done:?}"
                );
            }
        }
    }
}

#[test]
fn file_that_changes_during_the_trial_does_not_stop_the_deletions() {
    let world = World::in_process();
    rename_images(&world, 3);
    let path = world.path("src/img0");
    world.store().fault(Fault::on("DeleteObjects").times(1).run(move |_| {
        fs::write(&path, "changed meanwhile").unwrap();
    }));
    let done = world.expect(0, BACKUP);
    assert!(!done.stderr.contains("does not distinguish"), "{done:?}");
    assert_eq!(world.store().keys(), ["img0", "img1", "img2", "other"]);
    assert_eq!(world.store().get("img0").unwrap().body, "changed meanwhile");
}

#[test]
fn cancelled_check_of_two_files_reports_no_failure() {
    let world = World::in_process();
    world.write("src/A", "first content");
    world.write("src/a", "second content");
    let keeper = Keeper::new(config(&world, "src", "")).unwrap();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    let cancel = keeper.cancel();
    world.store().fault(Fault::on("HeadObject").run(move |_| cancel.cancel()));
    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!((report.failed, report.exit_code()), (0, exit::INTERRUPTED));
    assert_eq!(world.store().keys(), ["A", "a"]);
}

#[test]
fn failed_check_of_two_files_is_not_reported_as_one_entry() {
    for (operation, status) in [("HeadObject", 400), ("HeadObject", 403), ("GetObject", 400)] {
        let world = World::in_process();
        world.write("src/d/first", "first content");
        world.write("src/d/second", "second content");
        world.expect(0, BACKUP);
        rename(&world, "d/first", "d/A");
        rename(&world, "d/second", "d/a");
        world.store().fault(Fault::on(operation).status(status, "Odd"));
        let done = world.expect(2, BACKUP);
        done.assert_says("1 failed");
        done.assert_says(" d/a: ");
        assert!(!done.stderr.contains("does not distinguish"), "{done:?}");
        // Whether both are stored is unknown.
        done.assert_says("0 deleted");
        world.store().clear_faults();
        world.expect(0, BACKUP);
        assert_eq!(world.store().keys(), ["d/A", "d/a"]);
    }
}

#[test]
fn object_in_the_way_of_an_upload_is_not_deleted_without_a_check() {
    for folding in [None, Some(remembering())] {
        let world = World::in_process();
        world.store().set_folding(folding);
        world.write("src/img", "content");
        world.write("src/other", "other");
        world.expect(0, BACKUP);
        rename(&world, "img", "IMG");
        world.write("src/img/x", "x");
        // As long as its parent is an object.
        world
            .store()
            .fault(Fault::on("PutObject").key("img/x").times(1).status(400, "ParentIsAnObject"));
        let done = world.expect(0, BACKUP);
        let expected = [&b"content"[..], b"other", b"x"].map(<[u8]>::to_vec);
        assert_eq!(contents(&world), expected, "{folding:?} {done:?}");
    }
}

#[test]
fn three_files_are_checked_for_both_kinds_of_difference() {
    let world = world(Folding { folds: Folds::Case, ..remembering() });
    world.write("src/a.", "dot");
    world.write("src/a", "small");
    world.write("src/A", "capital");
    let done = world.expect(2, BACKUP);
    done.assert_says("the target does not distinguish this name from ");
    done.assert_says("1 failed");
    assert!(contents(&world).contains(&b"dot".to_vec()));
}

#[test]
fn one_name_that_is_not_found_ends_only_the_questions_of_its_kind() {
    for _ in 0..4 {
        let world = fold_case(Listed::First);
        for n in 0..6 {
            world.write(&format!("src/IMG{n}"), format!("content {n}"));
            world.write(&format!("src/dot{n}"), format!("dot {n}"));
        }
        world.expect(0, BACKUP);
        for n in 0..6 {
            rename(&world, &format!("IMG{n}"), &format!("img{n}"));
            rename(&world, &format!("dot{n}"), &format!("dot{n}."));
        }
        world.store().clear_requests();
        let done = world.expect(0, BACKUP);
        done.assert_says("6 uploaded");
        done.assert_says("6 deleted");
        done.assert_says("(6, for example img0 and IMG0)");
        let keys = world.store().keys();
        assert!((0..6).all(|n| keys.contains(&format!("IMG{n}"))), "{keys:?}");
    }
}
