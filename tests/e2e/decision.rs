//! The decision rule with clock skew, misleading file times, and ETags that are not MD5s.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use crate::support::{
    World, files, noise, set_age,
    store::{Checksum, Object},
};

/// One minute ago, by the store's clock.
fn minute_ago(world: &World) -> SystemTime {
    world.store().now() - Duration::from_secs(60)
}

#[test]
fn fixed_points_hold_for_any_server_clock() {
    for shift in [-800, -300, -2, 2, 300, 800] {
        let world = World::in_process();
        world.store().shift_clock(shift);
        for age in [0, 1, 100, 299, 301, 3_600] {
            world.write(&format!("src/{age}"), format!("{age}"));
            set_age(&world.path(&format!("src/{age}")), age);
        }
        world.expect(0, "backup src BUCKET --yes").assert_says("6 uploaded");
        world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
        world.expect(0, "restore BUCKET back --yes").assert_says("6 downloaded");
        world.expect(0, "restore BUCKET back --yes").assert_nothing_to_do();
        world.expect(0, "backup back BUCKET --yes").assert_nothing_to_do();
        // A change is detected, although by the server's clock it may be older than the object.
        fs::write(world.path("src/100"), "1OO").unwrap();
        world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
        assert_eq!(&world.store().get("100").unwrap().body[..], b"1OO", "{shift}");
    }
}

#[test]
fn file_with_a_future_mtime_is_uploaded_once() {
    let world = World::in_process();
    world.write("src/future", "f");
    set_age(&world.path("src/future"), -86_400);
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    fs::write(world.path("src/future"), "F").unwrap();
    set_age(&world.path("src/future"), -86_400);
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    world.expect(0, "restore BUCKET src --yes").assert_nothing_to_do();
}

#[test]
fn file_that_cannot_be_compared_is_uploaded_once() {
    let world = World::in_process();
    world.write("src/a", "a");
    let now = world.store().now();
    let object = Object::new("a").etag("opaque").no_checksum().last_modified(now);
    world.store().put_object("a", object);
    set_age(&world.path("src/a"), 0);
    world.expect(0, "backup src BUCKET --yes").assert_says("doubt");
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
}

#[test]
fn large_file_written_just_before_is_uploaded_once() {
    let world = World::in_process();
    world.write("src/large", noise(1, 11 << 20));
    set_age(&world.path("src/large"), 0);
    world.expect(0, "backup src BUCKET --yes --part-size 5MiB");
    world.expect(0, "backup src BUCKET --yes --part-size 5MiB").assert_nothing_to_do();
}

#[test]
fn checksum_option_decides_by_content() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.write("src/b", "b");
    world.expect(0, "backup src BUCKET --yes");
    // A change of content that keeps the size and the time, and that only the ctime shows.
    world.write("src/a", "A");
    world.expect(0, "backup src BUCKET --yes --ignore-ctime").assert_nothing_to_do();
    // A new time without a change of content.
    set_age(&world.path("src/b"), -5);
    let run = world.expect(0, "backup src BUCKET --yes --checksum");
    run.assert_says("1 uploaded");
    run.assert_says("content");
    assert_eq!(&world.store().get("a").unwrap().body[..], b"A");
    world.write("src/a", "x");
    world.expect(0, "restore BUCKET src --yes --checksum").assert_says("1 downloaded");
    assert_eq!(files(&world.path("src"))["a"], b"A");
}

#[test]
fn etag_that_is_not_an_md5_is_not_a_mismatch() {
    let world = World::in_process();
    let past = minute_ago(&world);
    // With SSE-KMS, an ETag looks like an MD5 but is not one.
    let md5_like = "0123456789abcdef0123456789abcdef";
    let kms = Object::new("under KMS").etag(md5_like).last_modified(past);
    world.store().put_object("with-checksum", kms);
    let parts =
        Object::new("parts").etag(&format!("{md5_like}-2")).no_checksum().last_modified(past);
    world.store().put_object("parts", parts);
    let odd = Object::new("odd").etag("not-an-md5").no_checksum().last_modified(past);
    world.store().put_object("odd", odd);
    let mut known = Object::new("known").etag("opaque").last_modified(past);
    known.checksum = Some(Checksum::of("SHA256", b"known"));
    world.store().put_object("known", known);

    let run = world.expect(0, "restore BUCKET back --yes");
    run.assert_says("4 downloaded");
    run.assert_says("2 could not be verified");
    world.expect(0, "restore BUCKET back --yes").assert_nothing_to_do();
    // An object without a usable checksum is unknown to verify, neither the same nor different.
    let run = world.expect(2, "verify back BUCKET");
    run.assert_says("2 the same");
    run.assert_says("0 different, 2 unknown");
    world.expect(0, "verify back BUCKET --read-data").assert_says("4 the same");
    fs::write(world.path("back/odd"), "ODD").unwrap();
    world.expect(2, "verify back BUCKET --read-data").assert_says("content      odd");
}

#[test]
fn object_that_never_matches_its_etag_is_reported_by_verify() {
    let world = World::in_process();
    let past = minute_ago(&world);
    let etag = Object::new("content as stored").etag;
    let damaged = Object::new("content as served").etag(&etag).no_checksum().last_modified(past);
    world.store().put_object("a", damaged);
    // A second download with the same content is accepted, because not every ETag is an MD5.
    let run = world.expect(0, "restore BUCKET back --yes");
    run.assert_says("1 could not be verified by a checksum");
    world.expect(2, "verify back BUCKET").assert_says("content      a");
}
