//! Unfinished multipart uploads, which a killed run leaves in the bucket.
//!
//! The next run resumes or aborts those of the files that it uploads, and keeps all others.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::{
    any_server::command_line::s3keep,
    support::{
        World, files, noise, set_age,
        store::{Fault, Request},
    },
};

const BACKUP: &str = "backup src BUCKET --yes --part-size 5MiB --workers 2";

/// A world in which a backup was killed after the store had received some parts of `large`.
pub fn killed() -> World {
    let world = World::in_process();
    world.write("src/large", noise(1, 22 << 20));
    let hits = world.store().fault(Fault::on("UploadPart").skip(3).delay(Duration::from_secs(60)));
    let mut child = s3keep(&world, BACKUP).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while hits.count() == 0 {
        assert!(started.elapsed() < Duration::from_secs(20));
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
fn next_run_uploads_only_the_missing_parts() {
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
fn changed_file_is_uploaded_from_the_first_part() {
    // With an old time, only the MD5s of the parts show that the file has changed.
    for has_new_time in [true, false] {
        let world = killed();
        world.write("src/large", noise(2, 22 << 20));
        set_age(&world.path("src/large"), if has_new_time { -2 } else { 3_600 });
        world.expect(0, BACKUP).assert_says("1 uploaded");
        assert_eq!(world.store().count("UploadPart"), 5, "{has_new_time}");
        assert!(world.store().uploads().is_empty());
        assert_eq!(world.store().get("large").unwrap().body, noise(2, 22 << 20));
    }
}

#[test]
fn unfinished_uploads_of_files_not_in_the_plan_are_kept() {
    let world = World::in_process();
    world.write("src/p/small", "small");
    world.write("src/p/kept", "kept");
    world.expect(0, "backup src BUCKET --yes");
    world.write("src/p/small", "changed");
    // The next run uploads `p/small` in one request. The other two keys are not in its plan.
    for key in ["p/small", "p/small", "p/kept", "elsewhere"] {
        world.store().create_upload(key);
    }
    world.expect(0, "backup src/p BUCKET/p --yes").assert_says("1 uploaded");
    let mut kept: Vec<String> = world.store().uploads().into_iter().map(|(key, _)| key).collect();
    kept.sort();
    assert_eq!(kept, ["elsewhere", "p/kept"]);
}

#[test]
fn backup_works_if_the_store_refuses_to_list_uploads() {
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
fn circular_listing_of_uploads_does_not_stop_the_backup() {
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
        let has_marker = move |request: &Request| {
            request.query.get("key-marker").map_or(marker.is_empty(), |sent| sent == marker)
        };
        let fault = Fault::on("ListMultipartUploads").when(has_marker).times(20).body(page(next));
        world.store().fault(fault);
    }
    world.expect(0, BACKUP).assert_says("1 uploaded");
    assert_eq!(world.store().count("ListMultipartUploads"), 3);
    assert_eq!(world.store().get("large").unwrap().body, noise(1, 11 << 20));
}
