//! Objects that were uploaded in parts of an unusual size, or in one part.

use std::time::Duration;

use md5::{Digest, Md5};

use crate::support::{
    World, files, noise,
    store::{Fault, Object, Quirks},
};

/// The ETag of an upload in parts of this size.
fn multipart_etag(body: &[u8], part_size: usize) -> String {
    let parts: Vec<&[u8]> = body.chunks(part_size).collect();
    let digests: Vec<u8> = parts.iter().flat_map(|part| Md5::digest(part).to_vec()).collect();
    let digest = Md5::digest(&digests);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}-{}", parts.len())
}

/// A bucket with an object that was uploaded like this, and a file of the same content.
fn world(len: usize, part_size: usize, quirks: Quirks) -> World {
    let world = World::in_process();
    let body = noise(1, len);
    let past = world.store().now() - Duration::from_secs(1_000);
    let object = Object::new(body.clone()).etag(&multipart_etag(&body, part_size)).no_checksum();
    world.store().put_object("a", object.last_modified(past));
    world.write("src/a", &body);
    world.store().set_quirks(Some(quirks));
    world
}

#[test]
fn etag_of_one_part_proves_the_content() {
    for len in [1, 300_000, 17 << 20] {
        let world = world(len, 64 << 20, Quirks::default());
        world.store().clear_requests();
        world.expect(0, "verify src BUCKET").assert_says("1 the same");
        assert_eq!(world.store().count("HeadObject"), 0, "{len}");
        let run = world.expect(0, "restore BUCKET back --yes --json");
        run.assert_says("\"unchecked\":0");
        assert!(files(&world.path("back")) == files(&world.path("src")));
    }
}

#[test]
fn unusual_part_size_that_the_store_tells_proves_the_content() {
    let part_size = (3 << 20) + 77;
    let quirks = || Quirks { part_size: Some(part_size as u64), ..Quirks::default() };
    let world = world(8 << 20, part_size, quirks());
    for line in ["verify src BUCKET", "backup src BUCKET --yes --checksum"] {
        world.store().clear_requests();
        let run = world.expect(0, line);
        assert_eq!(world.store().count("HeadObject"), 2, "{run:#?}");
        assert_eq!(world.store().count("PutObject"), 0, "{run:#?}");
    }
    // The content differs, which the ETag cannot prove.
    world.write("src/a", noise(2, 8 << 20));
    world.expect(2, "verify src BUCKET").assert_says("unknown");
}

#[test]
fn unusual_part_size_is_derived_where_few_are_possible() {
    // Three parts of 7 MiB and a rest: the store does not tell the size.
    let refused = Fault::on("HeadObject").when(|head| head.query.contains_key("partNumber"));
    for is_refused in [false, true] {
        let world = world((7 << 20) * 3 + 99, 7 << 20, Quirks::default());
        if is_refused {
            world.store().fault(refused.clone().status(403, "AccessDenied"));
        }
        world.expect(0, "verify src BUCKET").assert_says("1 the same");
        world.expect(0, "backup src BUCKET --mock --checksum").assert_nothing_to_do();
        let run = world.expect(0, "restore BUCKET back --yes --json");
        run.assert_says("\"unchecked\":0");
    }
}

#[test]
fn part_size_is_not_asked_for_again_if_the_store_does_not_tell() {
    let world = world((3 << 20) + 5, 1_000_003, Quirks::default());
    let object = world.store().get("a").unwrap();
    for key in ["b", "c", "d"] {
        world.store().put_object(key, object.clone());
        world.write(&format!("src/{key}"), &object.body);
    }
    world.store().clear_requests();
    let run = world.expect(2, "verify src BUCKET --workers 1");
    run.assert_says("4 unknown");
    let heads = world.store().requests_of("HeadObject");
    let asked = heads.iter().filter(|head| head.query.contains_key("partNumber")).count();
    assert_eq!((asked, heads.len()), (1, 5), "{run:#?}");
}

#[test]
fn download_in_parts_of_an_unusual_size_is_verified_if_the_store_tells_the_size() {
    let part_size = (3 << 20) + 77;
    for len in [8 << 20, 17 << 20, 40 << 20] {
        let quirks = Quirks { part_size: Some(part_size as u64), ..Quirks::default() };
        let world = world(len, part_size, quirks);
        let run = world.expect(0, "restore BUCKET back --yes --json");
        run.assert_says("\"unchecked\":0");
        // One HEAD describes the object, if it comes in parts, and one the first part.
        assert!(world.store().count("HeadObject") <= 2, "{run:#?}");
        assert!(files(&world.path("back")) == files(&world.path("src")));
        let past = world.store().now() - Duration::from_secs(1_000);
        let mut wrong = world.store().get("a").unwrap();
        wrong.body = noise(2, len).into();
        // The wrong bytes can be told from the right ones only by the size of the parts.
        world.store().put_object("a", wrong.last_modified(past));
        let run = world.expect(0, "restore BUCKET wrong --yes --json");
        run.assert_says("\"unchecked\":1");
    }
}

#[test]
fn failed_question_for_a_part_size_concerns_one_object_only() {
    let part_size = 1_000_003;
    let quirks = Quirks { part_size: Some(part_size as u64), ..Quirks::default() };
    let world = world((3 << 20) + 5, part_size, quirks);
    let object = world.store().get("a").unwrap();
    world.store().put_object("b", object.clone());
    world.write("src/b", &object.body);
    let asks = Fault::on("HeadObject").when(|head| head.query.contains_key("partNumber"));
    world.store().fault(asks.key("a").status(404, "NoSuchKey"));
    let run = world.expect(2, "verify src BUCKET --workers 1");
    run.assert_says("1 unknown");
}
