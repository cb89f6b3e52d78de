//! Objects in parts, and what happens when a part of the way fails.

use std::{fs, sync::mpsc, time::Duration};

use crate::support::{
    World, files, noise,
    store::{Fault, Object},
};

const OPTIONS: &str = "--yes --part-size 5MiB --retries 1 --workers 4";

fn world() -> World {
    let world = World::in_process();
    world.write("src/large", noise(7, (22 << 20) + 3));
    world.write("src/small", "small");
    world
}

#[test]
fn parts_go_in_parallel_and_are_one_object_with_a_checksum_of_the_whole() {
    let world = world();
    world.expect(0, &format!("backup src BUCKET {OPTIONS}"));
    assert_eq!(world.store().count("UploadPart"), 5);
    assert_eq!(world.store().count("CreateMultipartUpload"), 1);
    let object = world.store().get("large").unwrap();
    assert_eq!(object.body, noise(7, (22 << 20) + 3));
    assert!(object.etag.ends_with("-5"));
    assert_eq!(object.checksum.as_ref().map(|sum| sum.algorithm), Some("CRC64NVME"));
    let used: std::collections::BTreeSet<_> =
        world.store().requests_of("UploadPart").iter().map(|part| part.connection).collect();
    assert!(used.len() > 1, "parts share the workers");

    world.store().clear_requests();
    world.expect(0, &format!("restore BUCKET back {OPTIONS}"));
    let ranges = world.store().requests_of("GetObject");
    assert_eq!(ranges.iter().filter(|get| get.headers.contains_key("range")).count(), 5);
    let of_one_version =
        |get: &&crate::support::store::Request| get.headers.contains_key("if-match");
    assert_eq!(ranges.iter().filter(of_one_version).count(), 6);
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn every_algorithm_works_for_parts() {
    for algorithm in ["none", "crc32", "crc32c", "sha1", "sha256"] {
        let world = world();
        world.expect(0, &format!("backup src BUCKET {OPTIONS} --checksum-algorithm {algorithm}"));
        world.expect(0, &format!("restore BUCKET back {OPTIONS}"));
        assert_eq!(files(&world.path("src")), files(&world.path("back")), "{algorithm}");
    }
}

#[test]
fn an_upload_that_fails_is_aborted_and_the_rest_goes_on() {
    let world = world();
    world.store().put("gone", b"stays while something failed");
    world.store().fault(Fault::on("UploadPart").part(3).status(500, "InternalError"));
    let run = world.expect(2, &format!("backup src BUCKET {OPTIONS}"));
    run.assert_says("upload large: the server responded with 500 InternalError");
    run.assert_says("1 uploaded");
    run.assert_says("1 deletions were withheld");
    assert_eq!(world.store().keys(), ["gone", "small"]);
    assert!(world.store().uploads().is_empty());

    world.store().clear_faults();
    world.store().fault(Fault::on("CompleteMultipartUpload").error_in_ok("InternalError"));
    world.expect(2, &format!("backup src BUCKET {OPTIONS}"));
    assert!(world.store().uploads().is_empty() && world.store().get("large").is_none());

    world.store().clear_faults();
    world.store().fault(Fault::on("CompleteMultipartUpload").times(1).error_in_ok("InternalError"));
    world.expect(0, &format!("backup src BUCKET {OPTIONS}"));
    assert_eq!(world.store().keys(), ["large", "small"]);
}

#[test]
fn a_completion_whose_answer_was_lost_is_recognised() {
    let world = world();
    world.store().fault(Fault::on("CompleteMultipartUpload").times(1).close_after());
    world.expect(0, &format!("backup src BUCKET {OPTIONS}")).assert_says("2 uploaded");
    assert_eq!(world.store().get("large").unwrap().body, noise(7, (22 << 20) + 3));
    assert!(world.store().uploads().is_empty());
}

#[test]
fn a_file_that_changes_while_its_parts_are_sent_is_not_recorded_as_backed_up() {
    let world = world();
    let (path, changed) = (world.path("src/large"), noise(8, (22 << 20) + 3));
    world.store().fault(Fault::on("UploadPart").part(5).times(1).run(move |_| {
        fs::write(&path, &changed).unwrap();
    }));
    let run = world.expect(2, &format!("backup src BUCKET {OPTIONS}"));
    run.assert_says("upload large: ");
    assert!(world.store().get("large").is_none() && world.store().uploads().is_empty());
    world.expect(0, &format!("backup src BUCKET {OPTIONS}"));
    assert_eq!(world.store().get("large").unwrap().body, noise(8, (22 << 20) + 3));
}

#[test]
fn an_object_that_is_replaced_under_a_download_is_not_mixed() {
    let world = world();
    world.expect(0, &format!("backup src BUCKET {OPTIONS}"));
    let (sender, replaced) = mpsc::channel();
    world.store().fault(Fault::on("GetObject").key("large").skip(2).times(1).run(move |store| {
        store.put_object("large", Object::new(noise(9, (22 << 20) + 3)));
        sender.send(()).unwrap();
    }));
    world.write("back/large", "the old one");
    let run = world.expect(2, &format!("restore BUCKET back {OPTIONS}"));
    replaced.recv_timeout(Duration::from_secs(1)).unwrap();
    run.assert_says("download large: the object was replaced after it was listed");
    assert_eq!(fs::read(world.path("back/large")).unwrap(), b"the old one");
    assert_eq!(files(&world.path("back")).len(), 2, "no temporary file is left");
    world.expect(0, &format!("restore BUCKET back {OPTIONS}"));
    assert_eq!(fs::read(world.path("back/large")).unwrap(), noise(9, (22 << 20) + 3));
}

#[test]
fn a_broken_range_goes_on_where_it_broke() {
    let world = world();
    world.expect(0, &format!("backup src BUCKET {OPTIONS}"));
    world.store().fault(Fault::on("GetObject").key("large").times(3).cut_body(1 << 20));
    world.store().clear_requests();
    world.expect(0, "restore BUCKET back --yes --part-size 5MiB --workers 1");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    let resumed = world.store().requests_of("GetObject").iter().any(|get| {
        get.headers.get("range").is_some_and(|range| range.starts_with("bytes=1048576-"))
    });
    assert!(resumed, "{:#?}", world.store().requests_of("GetObject"));
}
