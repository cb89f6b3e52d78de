//! Stores with several ETags for the same object.

use std::time::Duration;

use crate::support::{
    World, files, noise,
    store::{Fault, Object, Quirks},
};

const LARGE: usize = (5 << 20) + 5;

fn quoted(etag: &str) -> Option<String> {
    Some(format!("\"{etag}\""))
}

/// Quirks of ETags: the operation, the ETag of S3, the ETag of the store.
type Etags = fn(&str, &str) -> Option<String>;

const CASES: &[(&str, Etags)] = &[
    ("same everywhere", |_, etag| quoted(etag)),
    ("without quotes", |_, etag| Some(etag.to_owned())),
    ("upper case in the listing", |operation, etag| match operation {
        "ListObjectsV2" => quoted(&etag.to_uppercase()),
        _ => quoted(etag),
    }),
    ("upper case in responses", |operation, etag| match operation {
        "GetObject" | "HeadObject" => quoted(&etag.to_uppercase()),
        _ => quoted(etag),
    }),
    ("missing in the listing", |operation, etag| match operation {
        "ListObjectsV2" => None,
        _ => quoted(etag),
    }),
    ("missing in responses", |operation, etag| match operation {
        "GetObject" | "HeadObject" => None,
        _ => quoted(etag),
    }),
    ("missing in a HEAD", |operation, etag| match operation {
        "HeadObject" => None,
        _ => quoted(etag),
    }),
    ("missing in a GET", |operation, etag| match operation {
        "GetObject" => None,
        _ => quoted(etag),
    }),
    ("missing but in a PUT", |operation, etag| match operation {
        "PutObject" => quoted(etag),
        _ => None,
    }),
    ("with a suffix", |operation, etag| match operation {
        "GetObject" => quoted(&format!("{etag}-gzip")),
        _ => quoted(etag),
    }),
    ("weak in responses", |operation, etag| match operation {
        "GetObject" | "HeadObject" => Some(format!("W/\"{etag}\"")),
        _ => quoted(etag),
    }),
    ("weak everywhere", |_, etag| Some(format!("W/\"{etag}\""))),
    ("another one in a GET", |operation, etag| match operation {
        "GetObject" => quoted(&format!("get {etag}").replace(' ', "-")),
        _ => quoted(etag),
    }),
    ("another MD5 in responses", |operation, etag| match operation {
        "GetObject" | "HeadObject" => {
            quoted(&etag.chars().rev().filter(char::is_ascii_hexdigit).collect::<String>())
        }
        _ => quoted(etag),
    }),
    ("another one in the listing", |operation, etag| match operation {
        "ListObjectsV2" => quoted(&format!("list-{etag}")),
        _ => quoted(etag),
    }),
    ("another one everywhere", |operation, etag| quoted(&format!("{operation}-{etag}"))),
];

#[test]
fn repeated_runs_have_nothing_to_do_whatever_the_etags_are() {
    for (name, etags) in CASES {
        for sends_checksums in [true, false] {
            if !sends_checksums && ["missing but in a PUT", "another one everywhere"].contains(name)
            {
                // Nothing proves that an object is the one that was just uploaded.
                continue;
            }
            let world = World::in_process();
            world.write("src/large", noise(1, LARGE));
            world.write("src/small", noise(2, 300_000));
            world.write("src/empty", "");
            let quirks = Quirks { sends_checksums, ..Quirks::default() }.etags(etags);
            world.store().set_quirks(Some(quirks));
            let name = format!("{name}, checksums: {sends_checksums}");
            let line = "backup src BUCKET/p --yes --part-size 5MiB";
            let nothing = |line: &str| {
                let run = world.expect(0, line);
                let is_nothing =
                    run.stdout.contains("0 to ") && run.stdout.contains(" 3 unchanged");
                assert!(is_nothing, "{name}: {line}: {run:#?}");
            };
            world.expect(0, line);
            nothing(line);
            nothing(line);
            for record in ["", " --no-record"] {
                let dir = format!("back{}", record.len());
                let line = format!("restore BUCKET/p {dir} --yes --part-size 5MiB{record}");
                let run = world.run(&line);
                assert_eq!(run.code, 0, "{name}: {run:#?}");
                assert!(files(&world.path("src")) == files(&world.path(&dir)), "{name}");
                nothing(&line);
                nothing(&format!("backup {dir} BUCKET/p --yes --part-size 5MiB{record}"));
            }
            world.expect(0, "verify src BUCKET/p --read-data --part-size 5MiB");
        }
    }
}

#[test]
fn other_etags_cost_one_more_request_for_each_run() {
    let world = World::in_process();
    for n in 0..20 {
        world.write(&format!("src/{n}"), format!("{n}"));
    }
    world.expect(0, "backup src BUCKET --yes");
    let other: Etags = |operation, etag| quoted(&format!("{operation}-{etag}"));
    world.store().set_quirks(Some(Quirks::default().etags(other)));
    world.store().clear_requests();
    world.expect(0, "restore BUCKET back --yes --workers 1");
    assert_eq!(world.store().count("GetObject"), 21);
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn object_replaced_after_the_listing_is_recognized_whatever_the_etags_are() {
    for size in [LARGE, 300_000] {
        let contents = [noise(1, size), noise(2, size), noise(3, size)].map(bytes::Bytes::from);
        let [a, b, new] = &contents;
        for (name, etags) in CASES {
            let world = World::in_process();
            let past = world.store().now() - Duration::from_secs(1_000);
            world.store().put_object("a", Object::new(a.clone()).last_modified(past));
            world.store().put_object("b", Object::new(b.clone()).last_modified(past));
            world.store().set_quirks(Some(Quirks::default().etags(etags)));
            // Before the first request, and between the requests for the parts.
            for skip in [0, 2] {
                world.store().clear_faults();
                let replace = Fault::on("GetObject").key("b").skip(skip).times(1);
                let later = past + Duration::from_secs(1 + skip as u64);
                let content = new.clone();
                world.store().fault(replace.run(move |store| {
                    store.put_object("b", Object::new(content.clone()).last_modified(later));
                }));
                let dir = format!("back{skip}");
                let line = format!("restore BUCKET {dir} --yes --part-size 5MiB --workers 1");
                let run = world.run(&line);
                let found = files(&world.path(&dir));
                assert!(found["a"] == a[..], "{name}: {run:#?}");
                match found.get("b") {
                    None => {
                        assert_eq!(run.code, 2, "{name}: {run:#?}");
                        run.assert_says("download b: the object was replaced after it was listed");
                    }
                    // It came in one GET, or was replaced after the last one.
                    Some(found) => {
                        assert!(
                            skip > 0 && (found[..] == b[..] || found[..] == new[..]),
                            "{name}: {run:#?}"
                        );
                    }
                }
                // The next run restores what is there now.
                world.store().clear_faults();
                world.expect(0, &line);
                let now = world.store().get("b").unwrap().body;
                assert!(files(&world.path(&dir))["b"] == now[..], "{name} {size} {skip}");
            }
        }
    }
}

#[test]
fn wrong_checksum_is_ignored_and_counted_if_the_etag_matches() {
    let md5_only: Etags = |_, etag| quoted(etag);
    let unlisted: Etags = |operation, etag| match operation {
        "ListObjectsV2" => None,
        _ => quoted(etag),
    };
    for (name, value, ignored) in [
        ("x-amz-checksum-crc64nvme", "AAAA", true),
        ("x-amz-checksum-crc64nvme", "not base64!", true),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAE=", true),
        ("x-amz-checksum-crc32", "AAAAAAAAAAE=", true),
        ("x-amz-checksum-sha256", "", true),
        ("x-amz-checksum-sha256", "abcd-efgh", true),
        ("x-amz-checksum-sha256", "abcd-3", false),
        ("x-amz-checksum-md5", "AAAA", false),
    ] {
        for (size, is_listed) in
            [(LARGE, true), (LARGE, false), (300, true), (300, false), (0, true)]
        {
            let world = World::in_process();
            world.write("src/a", noise(1, size));
            world.expect(0, "backup src BUCKET --yes --part-size 5MiB");
            let checksum = Some((name, value.to_owned()));
            let etags = if is_listed { md5_only } else { unlisted };
            let quirks = Quirks { checksum, ..Quirks::default() }.etags(etags);
            world.store().set_quirks(Some(quirks));
            let run = world.expect(0, "restore BUCKET back --yes --part-size 5MiB --json");
            let count = format!("\"ignored_checksums\":{}", u8::from(ignored));
            run.assert_says(&count);
            run.assert_says("\"unchecked\":0");
            assert!(files(&world.path("back"))["a"] == noise(1, size));
            let run = world.expect(0, "restore BUCKET text --yes --part-size 5MiB");
            let ignored_one = "1 had a wrong checksum in the store, which was ignored";
            let says = run.stdout.contains(ignored_one) || run.stderr.contains(ignored_one);
            assert_eq!(says, ignored, "{run:#?}");
            world.expect(0, "restore BUCKET back --yes --part-size 5MiB").assert_nothing_to_do();
            for record in ["", " --no-record"] {
                let line = format!("backup back BUCKET --mock --part-size 5MiB{record}");
                world.expect(0, &line).assert_nothing_to_do();
            }
            world.expect(0, "verify src BUCKET --part-size 5MiB");
        }
    }
}

#[test]
fn wrong_checksum_without_an_etag_that_matches_is_a_failure() {
    let world = World::in_process();
    world.store().put_object("a", Object::new(noise(1, 300)).etag("opaque"));
    let checksum = Some(("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=".to_owned()));
    world.store().set_quirks(Some(Quirks { checksum, ..Quirks::default() }));
    let run = world.expect(2, "restore BUCKET back --yes");
    run.assert_says("download a: the downloaded bytes do not match the object's checksum");
    assert!(files(&world.path("back")).is_empty());
}

/// The bytes must arrive twice, because nothing else shows that they are right.
#[test]
fn malformed_checksum_without_an_etag_that_matches_is_ignored_if_the_bytes_arrive_twice() {
    let checksum = Some(("x-amz-checksum-crc64nvme", "AAAA".to_owned()));
    let opaque: Etags = |_, _| quoted("opaque");
    for size in [LARGE, 300] {
        let world = World::in_process();
        world.store().put_object("a", Object::new(noise(1, size)));
        let quirks = Quirks { checksum: checksum.clone(), ..Quirks::default() }.etags(opaque);
        world.store().set_quirks(Some(quirks));
        let run = world.expect(0, "restore BUCKET back --yes --part-size 5MiB --json");
        run.assert_says("\"ignored_checksums\":1");
        run.assert_says("\"unchecked\":1");
        assert!(files(&world.path("back"))["a"] == noise(1, size));
        // A damaged first or second download is noticed, and repeated.
        for skip in [0, 1] {
            let dir = format!("damaged{skip}");
            world.store().clear_faults();
            world.store().fault(Fault::on("GetObject").skip(skip).times(1).flip_body(7));
            world.expect(0, &format!("restore BUCKET {dir} --yes --part-size 5MiB"));
            assert!(files(&world.path(&dir))["a"] == noise(1, size), "{size} {skip}");
        }
    }
}

#[test]
fn store_that_refuses_every_condition_is_usable_and_shows_replaced_objects() {
    for (size, has_etags) in [(LARGE, true), (300, true), (LARGE, false)] {
        let world = World::in_process();
        let past = world.store().now() - Duration::from_secs(1_000);
        world.store().put_object("a", Object::new(noise(1, size)).last_modified(past));
        let quirks = Quirks { refuses_conditions: true, ..Quirks::default() };
        let quirks = quirks.etags(move |_, etag| quoted(etag).filter(|_| has_etags));
        world.store().set_quirks(Some(quirks));
        let line = |dir: &str| format!("restore BUCKET {dir} --yes --part-size 5MiB --workers 1");
        world.expect(0, &line("back"));
        assert!(files(&world.path("back"))["a"] == noise(1, size));
        for skip in [0, 1, 2] {
            let replace = Fault::on("GetObject").skip(skip).times(1);
            let later = past + Duration::from_secs(1 + skip as u64);
            world.store().fault(replace.run(move |store| {
                store.put_object("a", Object::new(noise(3, size)).last_modified(later));
            }));
            let dir = format!("dir{skip}");
            let run = world.run(&line(&dir));
            let found = files(&world.path(&dir)).remove("a");
            if let Some(found) = found {
                assert!(found == noise(1, size) || found == noise(3, size), "{run:#?}");
            } else {
                run.assert_says("the object was replaced after it was listed");
            }
            world.store().clear_faults();
            world.store().put_object("a", Object::new(noise(1, size)).last_modified(past));
        }
    }
}
