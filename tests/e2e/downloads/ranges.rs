//! Stores that respond to a GET of a range with something else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::support::{
    World, files, noise,
    store::{Fault, Object, Quirks, Ranges, Request},
};

const LARGE: usize = (11 << 20) + 5;

/// A bucket with files of all sizes, two of them in parts of 5 MiB.
fn world() -> World {
    let world = World::in_process();
    world.write("src/large", noise(1, LARGE));
    world.write("src/other", [noise(2, 6 << 20), vec![0; 6 << 20]].concat());
    world.write("src/small", noise(3, 300_000));
    world.write("src/empty", "");
    world.expect(0, "backup src BUCKET --yes --part-size 5MiB");
    world
}

fn is_ranged(request: &Request) -> bool {
    request.headers.contains_key("range")
}

fn ranged_gets(world: &World) -> usize {
    world.store().requests_of("GetObject").iter().filter(|get| is_ranged(get)).count()
}

/// Restores everything, twice, and compares it.
fn check(world: &World, dir: &str) {
    world.store().clear_requests();
    world.expect(0, &format!("restore BUCKET {dir} --yes --part-size 5MiB --workers 1"));
    assert!(files(&world.path("src")) == files(&world.path(dir)), "{dir}");
    for record in ["", " --no-record"] {
        let line = format!("restore BUCKET {dir} --yes --part-size 5MiB{record}");
        world.expect(0, &line).assert_nothing_to_do();
    }
}

#[test]
fn large_files_are_restored_whatever_a_store_makes_of_ranges() {
    let world = world();
    for (n, ranges) in [
        Ranges::Ignored,
        Ranges::IgnoredOnce,
        Ranges::Status200,
        Ranges::AtMost(700_000),
        Ranges::Wider(100_000),
        Ranges::Wider(u64::MAX / 4),
        Ranges::Unnamed,
        Ranges::Unnamed200,
        Ranges::Refused(416),
        Ranges::Refused(501),
    ]
    .into_iter()
    .enumerate()
    {
        for (sends_checksums, hides_length) in [(false, false), (true, false), (false, true)] {
            let quirks = Quirks { sends_checksums, hides_length, ..Quirks::ranges(ranges) };
            world.store().set_quirks(Some(quirks));
            check(&world, &format!("{n}-{sends_checksums}-{hides_length}"));
        }
    }
}

#[test]
fn ignored_range_is_not_tried_for_each_part_and_file() {
    let world = world();
    world.store().set_quirks(Some(Quirks::ranges(Ranges::Ignored)));
    check(&world, "back");
    // One vain request, and one for each file.
    assert_eq!(ranged_gets(&world), 1);
    assert_eq!(world.store().count("GetObject"), 5);
    world.store().set_quirks(Some(Quirks::default()));
    check(&world, "again");
    assert_eq!(ranged_gets(&world), 6);
    assert_eq!(world.store().count("GetObject"), 8);
}

#[test]
fn range_that_only_a_cache_ignores_does_not_affect_later_files() {
    let world = world();
    for n in 0..4 {
        world.write(&format!("src/more{n}"), noise(10 + n, 6 << 20));
    }
    world.expect(0, "backup src BUCKET --yes --part-size 5MiB");
    world.store().set_quirks(Some(Quirks::ranges(Ranges::IgnoredOnce)));
    world.expect(0, "restore BUCKET back --yes --part-size 5MiB");
    assert!(files(&world.path("src")) == files(&world.path("back")));
}

#[test]
fn broken_download_is_repeated_if_the_store_ignores_the_range_of_the_rest() {
    let world = World::in_process();
    world.write("src/small", noise(1, 300_000));
    world.write("src/zeros", [noise(2, 2 << 20), vec![0; 2 << 20], noise(3, 1 << 20)].concat());
    world.expect(0, "backup src BUCKET --yes");
    let all = [
        Ranges::Ignored,
        Ranges::Unnamed,
        Ranges::Unnamed200,
        Ranges::Status200,
        Ranges::Wider(1_000),
        Ranges::Refused(416),
    ];
    for (n, ranges) in all.into_iter().enumerate() {
        world.store().set_quirks(Some(Quirks::ranges(ranges)));
        world.store().fault(Fault::on("GetObject").times(2).cut_body(200_000));
        world.expect(0, &format!("restore BUCKET {n} --yes --workers 1"));
        assert!(files(&world.path("src")) == files(&world.path(&n.to_string())), "{ranges:?}");
        world.expect(0, "verify src BUCKET --read-data");
    }
}

/// With an ETag, the rest is requested; the store sends everything again. Without one, so does s3keep.
#[test]
fn broken_download_of_a_large_object_in_one_get_is_repeated() {
    let world = world();
    for (n, has_etags) in [true, false].into_iter().enumerate() {
        for (m, ranges) in [Ranges::Ignored, Ranges::Honored].into_iter().enumerate() {
            for hides_length in [true, false] {
                let quirks = Quirks { hides_length, ..Quirks::ranges(ranges) };
                let quirks = quirks.etags(move |_, etag| has_etags.then(|| format!("\"{etag}\"")));
                world.store().set_quirks(Some(quirks));
                world.store().fault(Fault::on("GetObject").times(4).cut_body(3 << 20));
                check(&world, &format!("{n}-{m}-{hides_length}"));
            }
        }
    }
}

#[test]
fn object_replaced_while_it_comes_in_one_get_is_reported() {
    for has_etags in [true, false] {
        let world = world();
        let quirks = Quirks::ranges(Ranges::Ignored);
        let quirks = quirks.etags(move |_, etag| has_etags.then(|| format!("\"{etag}\"")));
        world.store().set_quirks(Some(quirks));
        let whole = || Fault::on("GetObject").key("large").when(|get| !is_ranged(get));
        let is_broken = Arc::new(AtomicBool::new(false));
        let was_broken = is_broken.clone();
        let cut = whole().times(1).run(move |_| is_broken.store(true, Ordering::Relaxed));
        world.store().fault(cut.cut_body(3 << 20));
        let next = Fault::on("GetObject").key("large");
        let next = next.when(move |_| was_broken.load(Ordering::Relaxed));
        world.store().fault(next.times(1).run(|store| {
            let later = store.now() + Duration::from_secs(1_000);
            store.put_object("large", Object::new(noise(9, LARGE)).last_modified(later));
        }));
        let run = world.run("restore BUCKET back --yes --part-size 5MiB --workers 1");
        assert_eq!(run.code, 2, "{run:#?}");
        run.assert_says("download large: the object was replaced after it was listed");
        assert!(!world.path("back/large").exists());
        world.expect(0, "restore BUCKET back --yes --part-size 5MiB");
        assert!(files(&world.path("back"))["large"] == noise(9, LARGE));
    }
}

#[test]
fn object_replaced_before_the_only_get_is_reported() {
    let world = world();
    world.store().set_quirks(Some(Quirks::ranges(Ranges::Ignored)));
    let whole = Fault::on("GetObject").key("large").when(|get| !is_ranged(get));
    world.store().fault(whole.times(1).run(|store| {
        let later = store.now() + Duration::from_secs(1_000);
        store.put_object("large", Object::new(noise(9, LARGE)).last_modified(later));
    }));
    let run = world.expect(2, "restore BUCKET back --yes --part-size 5MiB --workers 1");
    run.assert_says("download large: the object was replaced after it was listed");
    assert!(!world.path("back/large").exists());
}

#[test]
fn damaged_whole_download_of_a_large_object_is_repeated() {
    let world = world();
    let quirks = Quirks { sends_checksums: true, ..Quirks::ranges(Ranges::Ignored) };
    world.store().set_quirks(Some(quirks));
    let whole = || Fault::on("GetObject").key("large").when(|get| !is_ranged(get));
    world.store().fault(whole().times(1).flip_body(6 << 20));
    check(&world, "back");
    world.store().fault(whole().flip_body(6 << 20));
    let run = world.expect(2, "restore BUCKET never --yes --part-size 5MiB");
    run.assert_says("download large: the downloaded bytes do not match the object's checksum");
    assert!(!world.path("never/large").exists());
}
