//! Large files: transfer in parts, and failures in the middle of it.

use std::{collections::BTreeSet, fs, sync::mpsc, time::Duration};

use crate::support::{
    World, files, noise,
    store::{Fault, Object, Request},
};

const BACKUP: &str = "backup src BUCKET --yes --part-size 5MiB --retries 1 --workers 4";
const RESTORE: &str = "restore BUCKET back --yes --part-size 5MiB --retries 1 --workers 4";

fn world() -> World {
    let world = World::in_process();
    world.write("src/large", noise(7, (22 << 20) + 3));
    world.write("src/small", "small");
    world
}

#[test]
fn parallel_parts_make_one_object_with_a_full_checksum() {
    let world = world();
    world.expect(0, BACKUP);
    assert_eq!(world.store().count("UploadPart"), 5);
    assert_eq!(world.store().count("CreateMultipartUpload"), 1);
    let object = world.store().get("large").unwrap();
    assert_eq!(object.body, noise(7, (22 << 20) + 3));
    assert!(object.etag.ends_with("-5"));
    assert_eq!(object.checksum.as_ref().map(|sum| sum.algorithm), Some("CRC64NVME"));
    let connections: BTreeSet<_> =
        world.store().requests_of("UploadPart").iter().map(|part| part.connection).collect();
    assert!(connections.len() > 1, "several workers upload the parts");

    world.store().clear_requests();
    world.expect(0, RESTORE);
    let gets = world.store().requests_of("GetObject");
    let with_header =
        |name: &str| gets.iter().filter(|get: &&Request| get.headers.contains_key(name)).count();
    assert_eq!(with_header("range"), 5);
    assert_eq!(with_header("if-match"), 6);
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn every_checksum_algorithm_works_for_parts() {
    for algorithm in ["none", "crc32", "crc32c", "sha1", "sha256"] {
        let world = world();
        world.expect(0, &format!("{BACKUP} --checksum-algorithm {algorithm}"));
        world.expect(0, RESTORE);
        assert_eq!(files(&world.path("src")), files(&world.path("back")), "{algorithm}");
    }
}

#[test]
fn failed_multipart_upload_is_aborted_and_the_rest_is_stored() {
    let world = world();
    world.store().put("old/small", b"small");
    world.store().put("gone", b"kept while an upload fails");
    world.store().fault(Fault::on("UploadPart").part(3).status(500, "InternalError"));
    let run = world.expect(2, BACKUP);
    run.assert_says("upload large: the server responded with 500 InternalError");
    run.assert_says("1 uploaded");
    run.assert_says("1 deletions were withheld");
    assert_eq!(world.store().keys(), ["gone", "small"]);
    assert!(world.store().uploads().is_empty());

    world.store().clear_faults();
    world.store().fault(Fault::on("CompleteMultipartUpload").error_in_ok("InternalError"));
    world.expect(2, BACKUP);
    assert!(world.store().uploads().is_empty() && world.store().get("large").is_none());

    world.store().clear_faults();
    world.store().fault(Fault::on("CompleteMultipartUpload").times(1).error_in_ok("InternalError"));
    world.expect(0, BACKUP);
    assert_eq!(world.store().keys(), ["large", "small"]);
}

#[test]
fn completion_with_a_lost_response_is_recognized() {
    let world = world();
    world.store().fault(Fault::on("CompleteMultipartUpload").times(1).close_after());
    world.expect(0, BACKUP).assert_says("2 uploaded");
    assert_eq!(world.store().get("large").unwrap().body, noise(7, (22 << 20) + 3));
    assert!(world.store().uploads().is_empty());
}

#[test]
fn file_changed_during_a_multipart_upload_is_not_stored() {
    let world = world();
    let (path, changed) = (world.path("src/large"), noise(8, (22 << 20) + 3));
    world.store().fault(Fault::on("UploadPart").part(5).times(1).run(move |_| {
        fs::write(&path, &changed).unwrap();
    }));
    let run = world.expect(2, BACKUP);
    run.assert_says("upload large: ");
    assert!(world.store().get("large").is_none() && world.store().uploads().is_empty());
    world.expect(0, BACKUP);
    assert_eq!(world.store().get("large").unwrap().body, noise(8, (22 << 20) + 3));
}

#[test]
fn object_replaced_during_a_download_is_reported() {
    let world = world();
    world.expect(0, BACKUP);
    let (sender, replaced) = mpsc::channel();
    world.store().fault(Fault::on("GetObject").key("large").skip(2).times(1).run(move |store| {
        store.put_object("large", Object::new(noise(9, (22 << 20) + 3)));
        sender.send(()).unwrap();
    }));
    world.write("back/large", "the old file");
    let run = world.expect(2, RESTORE);
    replaced.recv_timeout(Duration::from_secs(1)).unwrap();
    run.assert_says("download large: the object was replaced after it was listed");
    assert_eq!(fs::read(world.path("back/large")).unwrap(), b"the old file");
    assert_eq!(files(&world.path("back")).len(), 2, "no temporary file remains");
    world.expect(0, RESTORE);
    assert_eq!(fs::read(world.path("back/large")).unwrap(), noise(9, (22 << 20) + 3));
}

#[test]
fn broken_part_download_continues_where_it_broke() {
    let world = world();
    world.expect(0, BACKUP);
    world.store().fault(Fault::on("GetObject").key("large").times(3).cut_body(1 << 20));
    world.store().clear_requests();
    world.expect(0, "restore BUCKET back --yes --part-size 5MiB --workers 1");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    let continued = world.store().requests_of("GetObject").iter().any(|get| {
        get.headers.get("range").is_some_and(|range| range.starts_with("bytes=1048576-"))
    });
    assert!(continued, "{:#?}", world.store().requests_of("GetObject"));
}
