//! Stores without DeleteObjects, or with an unusual one.

use std::time::Duration;

use crate::support::{
    World,
    store::{Fault, Request},
    with_separators,
};

const BACKUP: &str = "backup src BUCKET --yes --max-delete 100% --allow-unrelated";

/// A bucket with `count` objects to delete.
fn world(count: usize) -> World {
    let world = World::in_process();
    world.write("src/a", "a");
    for n in 0..count {
        world.store().put(&format!("gone/{n:04}"), b"x");
    }
    world
}

fn expect_all_deleted(world: &World, count: usize) {
    let count = with_separators(count);
    world.expect(0, BACKUP).assert_says(&format!("{count} deleted"));
    assert_eq!(world.store().keys(), ["a"]);
}

#[test]
fn objects_are_deleted_one_by_one_where_batches_are_refused() {
    for (status, code) in [
        (400, "InvalidArgument"),
        (400, "NotImplemented"),
        (400, "InvalidRequest"),
        (403, "AccessDenied"),
        (404, "NoSuchKey"),
        (405, "MethodNotAllowed"),
        (501, "NotImplemented"),
        (501, ""),
        (200, "NotImplemented"),
    ] {
        let world = world(40);
        world.store().fault(Fault::on("DeleteObjects").status(status, code));
        world.store().fault(Fault::on("DeleteObject").delay(Duration::from_millis(5)));
        expect_all_deleted(&world, 40);
        assert_eq!(world.store().count("DeleteObjects"), 1, "{status} {code}");
        let deletes = world.store().requests_of("DeleteObject");
        assert_eq!(deletes.len(), 40, "{status} {code}");
        assert!(deletes.iter().any(|delete| delete.in_flight > 1), "they are parallel");
    }
}

#[test]
fn refusal_of_batches_is_remembered_for_the_run() {
    let world = world(2_500);
    world.store().fault(Fault::on("DeleteObjects").status(501, "NotImplemented"));
    expect_all_deleted(&world, 2_500);
    assert!(world.store().count("DeleteObjects") <= 3);
    assert_eq!(world.store().count("DeleteObject"), 2_500);
}

#[test]
fn batches_have_the_size_that_the_store_allows() {
    for (status, code) in [(400, "MalformedXML"), (413, ""), (400, "TooManyKeys")] {
        let world = world(1_150);
        // The body has about 36 bytes for a key, so about 140 keys fit.
        let is_larger =
            |request: &Request| request.headers["content-length"].parse::<usize>().unwrap() > 6_000;
        world.store().fault(Fault::on("DeleteObjects").when(is_larger).status(status, code));
        expect_all_deleted(&world, 1_150);
        let batches = world.store().requests_of("DeleteObjects");
        let accepted = batches.iter().filter(|batch| batch.status == 200).count();
        assert!((11..=12).contains(&accepted), "{accepted}");
        assert_eq!(world.store().count("DeleteObject"), 0);
    }
}

#[test]
fn keys_that_a_response_does_not_confirm_are_deleted_one_by_one() {
    for body in [
        "<DeleteResult/>",
        "<DeleteResult><Deleted/></DeleteResult>",
        "<DeleteResult><Deleted/><Deleted><VersionId>1</VersionId></Deleted></DeleteResult>",
        "",
        "<html><body>OK</body></html>",
    ] {
        let world = world(5);
        world.store().fault(Fault::on("DeleteObjects").body(body));
        expect_all_deleted(&world, 5);
        assert_eq!(world.store().count("DeleteObject"), 5, "{body}");
        assert!(world.store().count("DeleteObjects") <= 2, "{body}");
    }
    // One key of three is not in the response, and the store did not delete it.
    let world = world(3);
    let two = "<DeleteResult><Deleted><Key>gone/0000</Key></Deleted>\
               <Deleted><Key>gone/0002</Key></Deleted></DeleteResult>";
    world.store().fault(Fault::on("DeleteObjects").body(two).run(|store| {
        store.put("gone/0001", b"again");
    }));
    world.store().fault(Fault::on("DeleteObject").status(403, "AccessDenied"));
    let run = world.expect(2, BACKUP);
    run.assert_says("2 deleted");
    run.assert_says("delete gone/0001: permission denied (AccessDenied)");
}

#[test]
fn page_of_a_proxy_does_not_count_as_a_deletion() {
    let world = world(2);
    let page = || "<!DOCTYPE html><HTML><body>Please log in</body></HTML>";
    for operation in ["DeleteObjects", "DeleteObject"] {
        // The store itself deletes nothing.
        world
            .store()
            .fault(Fault::on(operation).status(200, "").rewrite(move |_, _| page().into()));
    }
    let run = world.expect(2, &format!("{BACKUP} --retries 0"));
    run.assert_says("0 deleted");
    run.assert_says("delete gone/0001: the server's response cannot be understood");
    assert_eq!(world.store().keys().len(), 3);
}

#[test]
fn damaged_response_to_one_batch_does_not_end_batches() {
    let world = world(20);
    world.store().fault(Fault::on("DeleteObjects").times(1).truncate_body(30));
    expect_all_deleted(&world, 20);
    assert_eq!(world.store().count("DeleteObjects"), 2);
    assert_eq!(world.store().count("DeleteObject"), 0);
}

#[test]
fn encoded_keys_in_the_response_are_recognized() {
    let world = world(0);
    for key in ["gone/a b+c", "gone/\u{e9}%20", "gone/plain"] {
        world.store().put(key, b"x");
    }
    let encode = |_: &Request, text: &str| {
        text.replace("a b+c", "a+b%2Bc").replace("\u{e9}%20", "%C3%A9%2520")
    };
    world.store().fault(Fault::on("DeleteObjects").rewrite(encode));
    expect_all_deleted(&world, 3);
    assert_eq!(world.store().count("DeleteObjects"), 1);
    assert_eq!(world.store().count("DeleteObject"), 0);
}

#[test]
fn missing_permission_is_reported_for_each_key() {
    let world = world(3);
    world.store().fault(Fault::on("DeleteObjects").status(403, "AccessDenied"));
    world.store().fault(Fault::on("DeleteObject").status(403, "AccessDenied"));
    let run = world.expect(2, BACKUP);
    for n in 0..3 {
        run.assert_says(&format!("delete gone/000{n}: permission denied (AccessDenied)"));
    }
    run.assert_says("0 deleted");
    assert_eq!(world.store().count("DeleteObject"), 3);
}

#[test]
fn fatal_error_of_a_batch_ends_the_run() {
    let world = world(30);
    world.store().fault(Fault::on("DeleteObjects").status(403, "InvalidAccessKeyId"));
    world.expect(1, BACKUP);
    assert_eq!(world.store().count("DeleteObject"), 0);
    assert_eq!(world.store().keys().len(), 31);
}
