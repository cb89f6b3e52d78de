//! Archived objects: a restore names them, keeps their local files, and requests none in vain.

use std::fs;

use crate::{
    any_server::command_line::{json_line, s3keep},
    requests::proxy_to,
    support::{
        World, files, markers, noise, run,
        store::{Archive, Fault, Request, Store},
    },
};

/// A backup of three files, two of them archived afterwards.
fn world() -> World {
    let world = World::in_process();
    for name in ["cold/a", "cold/b", "warm"] {
        world.write(&format!("src/{name}"), name);
    }
    world.expect(0, "backup src BUCKET --yes");
    world.store().archive("cold/a", Archive::new("GLACIER"));
    world.store().archive("cold/b", Archive::new("DEEP_ARCHIVE"));
    world.store().clear_requests();
    world
}

#[test]
fn restore_names_archived_objects_and_does_not_request_each() {
    let world = world();
    for n in 0..40 {
        world.store().put(&format!("cold/many{n}"), "x");
        world.store().archive(&format!("cold/many{n}"), Archive::new("GLACIER"));
    }
    world.store().clear_requests();
    for line in ["restore BUCKET back --mock --list", "restore BUCKET back --yes --list"] {
        let done = world.expect(2, line);
        done.assert_says("skipped: cold/a: the object is archived (GLACIER)\n");
        done.assert_says("skipped: cold/b: the object is archived (DEEP_ARCHIVE)\n");
        done.assert_says("1 to download (4 B)");
        done.assert_says("42 skipped, 42 archived objects (52 B)");
        done.assert_says("42 objects (52 bytes) cannot be read because they are archived: thaw with `aws s3api restore-object`");
    }
    assert_eq!(files(&world.path("back")).into_keys().collect::<Vec<_>>(), ["warm"]);
    // In each run a HEAD for each archived object, and one GET for each class; then the other object.
    assert_eq!((world.store().count("HeadObject"), world.store().count("GetObject")), (84, 5));

    let done = world.expect(2, "restore BUCKET json --yes --json");
    assert_eq!(json_line(&done, "plan")["archived"]["entries"], 42);
    assert_eq!(json_line(&done, "plan")["archived"]["bytes"], 52);
    assert_eq!(json_line(&done, "skipped")["reason"], "the object is archived (GLACIER)");
    let warning = json_line(&done, "warning")["message"].as_str().unwrap().to_owned();
    assert!(warning.contains("aws s3api restore-object"), "{warning}");
    assert_eq!(json_line(&done, "summary")["exit_code"], 2);
}

#[test]
fn local_file_of_an_archived_object_is_kept() {
    let world = world();
    fs::write(world.path("src/cold/a"), "changed").unwrap();
    let before = files(&world.path("src"));
    world.expect(2, "restore BUCKET src --yes").assert_nothing_to_do();
    assert_eq!(files(&world.path("src")), before);
    // Backups do not overwrite what was not restored.
    world
        .expect(2, "backup src BUCKET --yes")
        .assert_says("an unfinished restore still has to write it");
    assert_eq!(&world.store().get("cold/a").unwrap().body[..], b"cold/a");
    fs::remove_file(world.path("src/cold/a")).unwrap();
    world.expect(2, "backup src BUCKET --yes").assert_says("0 deleted");
    assert_eq!(world.keys().len(), 3);
}

#[test]
fn identical_files_are_kept_and_nothing_is_archived_in_the_report() {
    let world = world();
    let done = world.expect(0, "restore BUCKET src --yes");
    done.assert_nothing_to_do();
    assert!(!format!("{}{}", done.stdout, done.stderr).contains("archived"), "{done:#?}");
    assert_eq!(world.store().requests().len(), 1);
    world.expect(0, "verify src BUCKET").assert_says("3 the same");
    world.expect(0, "backup src BUCKET --yes --no-record").assert_nothing_to_do();
    assert!(markers(&world.path("src")).is_empty());
}

#[test]
fn only_copy_of_an_archived_object_is_not_deleted() {
    let world = world();
    fs::rename(world.path("src/cold/a"), world.path("src/cold/old-name")).unwrap();
    let done = world.expect(2, "restore BUCKET src --yes");
    done.assert_says("it may be the only copy of cold/a, which was not transferred");
    assert_eq!(fs::read(world.path("src/cold/old-name")).unwrap(), b"cold/a");
}

#[test]
fn retrieved_objects_are_restored() {
    let world = world();
    world.expect(2, "restore BUCKET back --yes").assert_says("1 downloaded");
    world.store().archive("cold/a", Archive::new("GLACIER").retrieved());
    world.store().clear_requests();
    let done = world.expect(2, "restore BUCKET back --yes");
    done.assert_says("1 downloaded");
    done.assert_says("1 object (6 bytes) cannot be read because");
    // One GET shows that objects of the other class cannot be read.
    assert_eq!(world.store().count("GetObject"), 2);
    world.store().archive("cold/b", Archive::new("DEEP_ARCHIVE").in_progress());
    world.expect(2, "restore BUCKET back --yes").assert_says("0 downloaded");
    world.store().archive("cold/b", Archive::new("DEEP_ARCHIVE").retrieved());
    world.expect(0, "restore BUCKET back --yes").assert_says("1 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    assert!(markers(&world.path("back")).is_empty());
}

#[test]
fn one_retrieved_object_of_many_is_restored() {
    let world = world();
    for n in 0..300 {
        world.store().put(&format!("many/{n}"), "x");
        world.store().archive(&format!("many/{n}"), Archive::new("GLACIER"));
    }
    world.store().archive("many/77", Archive::new("GLACIER").retrieved());
    let done = world.expect(2, "restore BUCKET back --yes");
    done.assert_says("2 downloaded");
    done.assert_says("301 objects (311 bytes) cannot be read");
    assert!(world.path("back/many/77").exists());
}

#[test]
fn samples_of_a_large_archive_show_that_nothing_was_retrieved() {
    let world = World::in_process();
    for n in 0..2_500 {
        world.store().put(&format!("{n}"), "x");
        world.store().archive(&format!("{n}"), Archive::new("GLACIER"));
    }
    world
        .expect(2, "restore BUCKET back --yes")
        .assert_says("2,500 skipped, 2,500 archived objects (2.4 KiB)");
    assert_eq!((world.store().count("HeadObject"), world.store().count("GetObject")), (834, 1));
    for n in 0..2_500 {
        world.store().archive(&format!("{n}"), Archive::new("GLACIER").retrieved());
    }
    world.expect(0, "restore BUCKET back --yes").assert_says("2,500 downloaded");
}

#[test]
fn each_class_is_readable_or_not_by_itself() {
    let world = world();
    world.store().archive("cold/a", Archive::readable("GLACIER"));
    let done = world.expect(2, "restore BUCKET back --yes");
    done.assert_says("2 downloaded");
    done.assert_says("skipped: cold/b: the object is archived (DEEP_ARCHIVE)\n");
}

#[test]
fn excluded_objects_are_not_asked_for() {
    let world = world();
    let done = world.expect(0, "restore BUCKET back --yes --exclude cold");
    assert!(!done.stderr.contains("archived"), "{done:#?}");
    assert_eq!(world.store().count("HeadObject"), 0);
}

#[test]
fn aws_lists_which_objects_are_retrieved() {
    let world = World::on(Store::start_tls());
    fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
    let proxy = proxy_to(world.endpoint().replace("https://", ""));
    for key in ["archived", "retrieved", "warm"] {
        world.store().put(key, key);
    }
    world.store().archive("archived", Archive::new("GLACIER").listed());
    world.store().archive("retrieved", Archive::new("GLACIER").retrieved().listed());
    let restore = |dir: &str| {
        let line = format!("restore BUCKET {dir} --yes --addressing-style path");
        let mut command = s3keep(&world, &line);
        command.env_remove("AWS_ENDPOINT_URL_S3").env("HTTPS_PROXY", &proxy);
        let done = run(command.env("AWS_CA_BUNDLE", world.path("ca.pem")));
        done.assert_says("2 downloaded");
        done.assert_says("skipped: archived: the object is archived (GLACIER)\n");
        assert_eq!(done.code, 2, "{done:?}");
    };
    const ATTRIBUTES: &str = "x-amz-optional-object-attributes";
    restore("back");
    let lists = world.store().requests_of("ListObjectsV2");
    assert!(lists.iter().all(|list| list.headers[ATTRIBUTES] == "RestoreStatus"));
    assert_eq!((world.store().count("HeadObject"), world.store().count("GetObject")), (0, 2));

    // If the header is refused, the listing works without it, and the objects are asked.
    world.store().clear_requests();
    let is_asked = |request: &Request| request.headers.contains_key(ATTRIBUTES);
    world.store().fault(Fault::on("ListObjectsV2").when(is_asked).status(400, "InvalidArgument"));
    restore("again");
    assert_eq!(
        world.store().requests_of("ListObjectsV2").iter().filter(|r| is_asked(r)).count(),
        1
    );
    assert_eq!(world.store().count("HeadObject"), 1);
}

#[test]
fn restore_status_in_the_listing_needs_no_other_request() {
    let world = world();
    world.store().archive("cold/a", Archive::new("GLACIER").retrieved().listed());
    world.store().archive("cold/b", Archive::new("GLACIER").retrieved().listed());
    world.expect(0, "restore BUCKET back --yes").assert_says("3 downloaded");
    assert_eq!((world.store().count("HeadObject"), world.store().count("GetObject")), (0, 3));
}

#[test]
fn other_classes_are_restored_as_usual() {
    let world = world();
    for class in ["GLACIER_IR", "INTELLIGENT_TIERING", "STANDARD_IA", "", "glacier-like"] {
        world.store().archive("cold/a", Archive::readable(class));
        world.store().archive("cold/b", Archive::readable(class));
        world.store().clear_requests();
        let _ = fs::remove_dir_all(world.path("back"));
        world.expect(0, "restore BUCKET back --yes").assert_says("3 downloaded");
        assert_eq!(world.store().requests().len(), 4, "{class}");
    }
    // A store whose GLACIER is a class like any other: one GET shows it.
    world.store().put("cold/a", "");
    for key in ["cold/a", "cold/b"] {
        world.store().archive(key, Archive::readable("GLACIER"));
    }
    let _ = fs::remove_dir_all(world.path("back"));
    world.store().clear_requests();
    world.expect(0, "restore BUCKET back --yes").assert_says("3 downloaded");
    assert_eq!((world.store().count("HeadObject"), world.store().count("GetObject")), (2, 4));
}

#[test]
fn archive_that_no_listing_shows_is_explained_in_the_same_words() {
    let world = world();
    world.write("src/large", noise(1, 6 << 20));
    world.expect(0, "backup src BUCKET --yes --part-size 5MiB");
    for key in ["cold/a", "cold/b", "large"] {
        world.store().archive(key, Archive::new("INTELLIGENT_TIERING"));
    }
    let done = world.expect(2, "restore BUCKET back --yes --part-size 5MiB");
    for key in ["cold/a", "large"] {
        done.assert_says(&format!(
            "download {key}: the object is archived: thaw with `aws s3api restore-object` or the tool of the store, which can take hours, then repeat the run (InvalidObjectState): The operation is not valid"
        ));
    }
    done.assert_says("3 failed");
    assert_eq!(files(&world.path("back")).into_keys().collect::<Vec<_>>(), ["warm"]);
    assert_eq!(markers(&world.path("back")).len(), 1);
}

#[test]
fn backup_replaces_and_deletes_archived_objects() {
    let world = world();
    world.write("src/cold/a", "a new size");
    fs::remove_file(world.path("src/cold/b")).unwrap();
    let done = world.expect(0, "backup src BUCKET --yes");
    done.assert_says("1 uploaded");
    done.assert_says("1 deleted");
    assert_eq!(world.keys(), ["cold/a", "warm"]);
}

#[test]
fn verify_cannot_read_archived_objects_and_names_them() {
    let world = world();
    for key in ["cold/a", "cold/b", "warm"] {
        let object = world.store().get(key).unwrap();
        world.store().put_object(key, object.etag("opaque").no_checksum());
    }
    world.store().archive("cold/b", Archive::new("GLACIER").retrieved());
    world.store().clear_requests();
    let done = world.expect(2, "verify src BUCKET --read-data");
    done.assert_says("unknown      cold/a\n");
    done.assert_says("2 the same");
    done.assert_says("0 different, 1 unknown");
    done.assert_says("1 object (6 bytes) cannot be read because it is archived: thaw with");
    assert_eq!(world.store().count("GetObject"), 2);
    // Without reading, it makes no difference.
    world.expect(2, "verify src BUCKET").assert_says("3 unknown");
}
