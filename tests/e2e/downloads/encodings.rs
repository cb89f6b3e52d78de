//! Stores that decode objects with `Content-Encoding: gzip`.

use crate::support::{
    World, files, noise,
    store::{Object, Quirks},
};

/// An object that is stored encoded.
fn encoded(body: Vec<u8>) -> Object {
    let mut object = Object::new(body).no_checksum();
    object.content_encoding = Some("gzip".to_owned());
    object
}

/// The stored bytes, made longer or shorter.
fn decoding(is_longer: bool) -> Quirks {
    Quirks::default().decode(move |stored| match is_longer {
        true => [stored, b"decoded", stored].concat(),
        false => stored[..stored.len() / 3].iter().map(|byte| !byte).collect(),
    })
}

fn world() -> World {
    let world = World::in_process();
    world.store().put_object("small", encoded(noise(1, 300)));
    world.store().put_object("opaque", encoded(noise(2, 300_000)).etag("opaque"));
    world.store().put_object("large", encoded(noise(3, 11 << 20)));
    world.store().put_object("plain", Object::new(noise(4, 11 << 20)));
    world
}

const RESTORE: &str = "restore BUCKET back --yes --part-size 5MiB";

#[test]
fn stored_bytes_are_restored_from_a_store_that_decodes() {
    for is_longer in [true, false] {
        for names_decoding in [true, false] {
            let world = world();
            let quirks = Quirks { names_decoding, ..decoding(is_longer) };
            world.store().set_quirks(Some(quirks));
            world.expect(0, RESTORE);
            let found = files(&world.path("back"));
            for key in ["small", "opaque", "large", "plain"] {
                assert!(found[key] == world.store().get(key).unwrap().body[..], "{key}");
            }
            world.expect(0, RESTORE).assert_nothing_to_do();
            world.expect(0, "backup back BUCKET --yes --part-size 5MiB").assert_nothing_to_do();
            world.expect(0, "verify back BUCKET --read-data --part-size 5MiB");
            // Objects that are not encoded are requested as always.
            let gets = world.store().requests_of("GetObject");
            let plain = gets.iter().filter(|get| get.key == "plain");
            assert!(plain.into_iter().all(|get| get.headers["accept-encoding"] == "identity"));
            // The front end of Google Cloud Storage changes this header, so it is not signed.
            let signed = |get: &str| get.contains("accept-encoding");
            assert!(!gets.iter().any(|get| signed(&get.headers["authorization"])));
        }
    }
}

#[test]
fn object_that_always_arrives_decoded_is_a_failure() {
    for is_longer in [true, false] {
        let world = world();
        let quirks = Quirks { names_decoding: true, always_decodes: true, ..decoding(is_longer) };
        world.store().set_quirks(Some(quirks));
        let run = world.expect(2, RESTORE);
        for key in ["small", "opaque", "large"] {
            run.assert_says(&format!("download {key}: the store or a proxy decodes or encodes"));
        }
        run.assert_says("no-transform");
        assert_eq!(files(&world.path("back")).into_keys().collect::<Vec<_>>(), ["plain"]);
        world.store().set_quirks(None);
        world.expect(0, RESTORE).assert_says("3 downloaded");
    }
}

/// Nothing but the length of the body shows that it was decoded.
#[test]
fn decoded_bytes_are_never_restored_even_if_the_store_does_not_name_them() {
    for is_longer in [true, false] {
        let world = world();
        let quirks = Quirks { always_decodes: true, ..decoding(is_longer) };
        world.store().set_quirks(Some(quirks));
        world.expect(2, &format!("{RESTORE} --retries 1"));
        assert_eq!(files(&world.path("back")).into_keys().collect::<Vec<_>>(), ["plain"]);
    }
}
