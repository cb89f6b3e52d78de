//! Multipart uploads that a kill cut off: taken up again, or aborted, and never those of others.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    World, files, noise, set_age,
    store::{Fault, Request},
};

const BACKUP: &str = "backup src BUCKET --yes --part-size 5MiB --workers 2";

/// A world in which a backup was killed after some parts of `large` had arrived.
fn killed() -> World {
    let world = World::in_process();
    world.write("src/large", noise(1, 22 << 20));
    let hits = world.store().fault(Fault::on("UploadPart").skip(3).delay(Duration::from_secs(60)));
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.args(BACKUP.split(' ').map(|word| word.replace("BUCKET", &url)));
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while hits.count() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.store().clear_faults();
    world.store().clear_requests();
    assert_eq!(world.store().uploads().len(), 1);
    world
}

#[test]
fn the_next_run_sends_only_the_parts_that_are_missing() {
    let world = killed();
    world.expect(0, BACKUP).assert_says("1 uploaded");
    assert!(world.store().count("UploadPart") <= 2, "{}", world.store().count("UploadPart"));
    assert_eq!(world.store().count("CreateMultipartUpload"), 0);
    assert!(world.store().uploads().is_empty());
    assert_eq!(world.store().get("large").unwrap().body, noise(1, 22 << 20));
    world.expect(0, BACKUP).assert_nothing_to_do();
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn a_file_that_changed_since_is_sent_anew() {
    for in_time in [true, false] {
        let world = killed();
        world.write("src/large", noise(2, 22 << 20));
        // Also where its time doesn't show that it changed: then the parts do.
        set_age(&world.path("src/large"), if in_time { -2 } else { 3_600 });
        world.expect(0, BACKUP).assert_says("1 uploaded");
        assert_eq!(world.store().count("UploadPart"), 5, "{in_time}");
        assert!(world.store().uploads().is_empty());
        assert_eq!(world.store().get("large").unwrap().body, noise(2, 22 << 20));
    }
}

#[test]
fn uploads_of_small_files_and_older_ones_are_aborted_and_those_of_others_left_alone() {
    let world = World::in_process();
    world.write("src/p/small", "small");
    world.write("src/p/kept", "kept");
    world.expect(0, "backup src BUCKET --yes");
    world.write("src/p/small", "changed");
    for key in ["p/small", "p/small", "p/kept", "elsewhere"] {
        world.store().create_upload(key);
    }
    world.expect(0, "backup src/p BUCKET/p --yes").assert_says("1 uploaded");
    let mut left: Vec<String> = world.store().uploads().into_iter().map(|(key, _)| key).collect();
    left.sort();
    assert_eq!(left, ["elsewhere", "p/kept"]);
}

#[test]
fn a_store_that_lists_no_uploads_is_no_reason_to_fail() {
    let world = World::in_process();
    world.write("src/large", noise(1, 11 << 20));
    world.store().fault(Fault::on("ListMultipartUploads").status(501, "NotImplemented"));
    world.expect(0, BACKUP);
    world.store().clear_faults();
    world.store().fault(Fault::on("ListMultipartUploads").status(403, "AccessDenied"));
    world.write("src/large", noise(2, 12 << 20));
    world.expect(0, BACKUP);
    assert_eq!(world.store().get("large").unwrap().body, noise(2, 12 << 20));
}

#[test]
fn a_listing_of_uploads_that_goes_round_in_circles_ends_and_the_backup_goes_on() {
    let world = World::in_process();
    world.write("src/large", noise(1, 11 << 20));
    let page = |next: &str| {
        format!(
            "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>\
             <NextKeyMarker>{next}</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>\
             </ListMultipartUploadsResult>"
        )
    };
    for (marker, next) in [("", "a"), ("a", "b"), ("b", "a")] {
        let comes_with = move |request: &Request| {
            request.query.get("key-marker").map_or(marker.is_empty(), |sent| sent == marker)
        };
        let fault = Fault::on("ListMultipartUploads").when(comes_with).times(20).body(page(next));
        world.store().fault(fault);
    }
    world.expect(0, BACKUP).assert_says("1 uploaded");
    assert_eq!(world.store().count("ListMultipartUploads"), 3);
    assert_eq!(world.store().get("large").unwrap().body, noise(1, 11 << 20));
}
