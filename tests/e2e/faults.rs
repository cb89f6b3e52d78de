//! Failures: retries, reports, exit codes, and what a failed run leaves unchanged.

use std::{
    fs,
    ops::Range,
    os::unix::fs::symlink,
    process::Stdio,
    sync::{Barrier, Condvar, Mutex},
    time::{Duration, Instant},
};

use crate::{
    any_server::command_line::{json_line, s3keep},
    support::{
        World, files, noise, run,
        store::{Fault, Object, Request, Store},
    },
};

fn world() -> World {
    let world = World::in_process();
    for name in ["a", "b", "c"] {
        world.write(&format!("src/{name}"), name);
    }
    world
}

/// An object without a checksum, whose ETag is no MD5: a client cannot verify its content.
fn unverifiable(body: &[u8], etag: &str) -> Object {
    Object::new(body.to_vec()).etag(etag).no_checksum()
}

#[test]
fn transient_errors_are_retried() {
    let world = world();
    for operation in ["ListObjectsV2", "PutObject"] {
        world.store().fault(Fault::on(operation).times(1).status(503, "SlowDown"));
        world.store().fault(Fault::on(operation).times(1).status(500, "InternalError"));
        world.store().fault(Fault::on(operation).times(1).close());
        world.store().fault(Fault::on(operation).times(1).close_after());
    }
    world.expect(0, "backup src BUCKET --yes").assert_says("3 uploaded");
    world.store().fault(Fault::on("GetObject").times(1).cut_body(0));
    world.store().fault(Fault::on("GetObject").times(1).status(503, "SlowDown"));
    world.expect(0, "restore BUCKET back --yes").assert_says("3 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

/// The server responds and closes the connection before it has read the whole request.
#[test]
fn early_rejection_of_an_upload_is_reported() {
    for is_tls in [false, true] {
        let world = World::on(if is_tls { Store::start_tls() } else { Store::start() });
        world.write("src/large", noise(1, 8 << 20));
        let ca = is_tls.then(|| world.store().ca_pem());
        ca.iter().for_each(|pem| fs::write(world.path("ca.pem"), pem).unwrap());
        let backup = |code| {
            let mut command = s3keep(&world, "backup src BUCKET --yes --retries 1");
            let run = run(command.envs(ca.iter().map(|_| ("AWS_CA_BUNDLE", world.path("ca.pem")))));
            assert_eq!(run.code, code, "{run:?}");
            run
        };
        let early = || Fault::on("PutObject").unread();
        let hits = world.store().fault(early().status(403, "AccessDenied"));
        backup(2).assert_says("upload large: permission denied (AccessDenied)");
        assert_eq!(hits.count(), 1);
        world.store().clear_faults();
        // A server that has not read the whole request cannot have stored the object. Its success
        // response does not count.
        world.store().fault(early().status(200, "").header("etag", "\"an-etag\""));
        backup(2).assert_says("the connection was closed too early");
        world.store().clear_faults();
        // Throttling is retried more often than other errors: four times here, not once.
        world.store().fault(early().times(4).status(503, "SlowDown"));
        backup(0).assert_says("1 uploaded");
        assert_eq!(world.store().get("large").unwrap().body, noise(1, 8 << 20));
    }
}

#[test]
fn retry_after_header_is_honored() {
    let world = world();
    world.store().fault(
        Fault::on("ListObjectsV2").times(1).status(503, "SlowDown").header("retry-after", "1"),
    );
    let started = Instant::now();
    world.expect(0, "backup src BUCKET --yes");
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn failed_upload_withholds_deletions_but_no_other_uploads() {
    let world = world();
    world.store().put("old/b", b"b");
    world.store().fault(Fault::on("PutObject").key("b").status(403, "AccessDenied"));
    let run = world.expect(2, "backup src BUCKET --yes");
    run.assert_says("upload b: permission denied (AccessDenied)");
    run.assert_says("2 uploaded");
    // The object may be the only remaining copy of the file that could not be uploaded.
    run.assert_says("1 deletions were withheld because not everything was transferred");
    assert_eq!(world.store().keys(), ["a", "c", "old/b"]);
    world.store().clear_faults();
    world.expect(0, "backup src BUCKET --yes").assert_says("1 deleted");
}

#[test]
fn failed_deletion_is_reported_and_the_others_are_made() {
    let world = world();
    for key in ["x", "y", "z"] {
        world.store().put(key, b"gone");
    }
    world.store().deny_delete("y");
    let run = world.expect(2, "backup src BUCKET --yes --allow-unrelated");
    run.assert_says("delete y: permission denied (AccessDenied)");
    run.assert_says("2 deleted");
    assert_eq!(world.store().keys(), ["a", "b", "c", "y"]);
}

#[test]
fn fatal_error_stops_the_run_at_once() {
    let world = world();
    world.store().put("gone", b"gone");
    world.store().fault(Fault::on("PutObject").skip(1).status(403, "InvalidAccessKeyId"));
    let run = world.expect(1, "backup src BUCKET --yes --workers 1 --allow-unrelated");
    run.assert_says("the server does not know this access key");
    assert_eq!(world.store().keys(), ["a", "gone"]);
    assert_eq!(world.store().count("DeleteObjects"), 0);
}

#[test]
fn failed_or_corrupt_listing_changes_nothing() {
    let faults = [
        Fault::on("ListObjectsV2").skip(1).status(500, "InternalError"),
        Fault::on("ListObjectsV2").skip(1).status(403, "AccessDenied"),
        Fault::on("ListObjectsV2").skip(1).body("<html>captive portal</html>"),
        Fault::on("ListObjectsV2").skip(1).truncate_body(300),
        Fault::on("ListObjectsV2").skip(1).cut_body(300),
    ];
    for fault in faults {
        let world = world();
        world.expect(0, "backup src BUCKET --yes");
        world.write("src/only here", "x");
        world.store().set_page_size(2);
        world.store().fault(fault);
        for line in ["restore BUCKET src --yes --retries 1", "backup src BUCKET --yes --retries 1"]
        {
            world.store().clear_requests();
            let run = world.expect(1, line);
            assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
            assert_eq!(files(&world.path("src")).len(), 4);
            assert_eq!(world.store().keys(), ["a", "b", "c"]);
        }
    }
}

#[test]
fn object_deleted_after_the_listing_is_reported() {
    let world = world();
    world.expect(0, "backup src BUCKET --yes");
    world.store().fault(Fault::on("GetObject").key("b").times(1).run(|store| {
        store.remove("b");
    }));
    world.write("back/b", "an older b");
    let run = world.expect(2, "restore BUCKET back --yes");
    run.assert_says("download b: the object does not exist (any more) (NoSuchKey)");
    assert_eq!(files(&world.path("back"))["b"], b"an older b");
}

#[test]
fn damaged_download_is_never_renamed_into_place() {
    let world = world();
    world.expect(0, "backup src BUCKET --yes");
    world.store().fault(Fault::on("GetObject").key("b").flip_body(0));
    world.write("back/b", "an older b");
    let run = world.expect(2, "restore BUCKET back --yes --retries 1");
    run.assert_says("download b: the downloaded bytes do not match the object's checksum");
    assert_eq!(files(&world.path("back"))["b"], b"an older b");
    assert_eq!(files(&world.path("back")).len(), 3, "no temporary file remains");
    // One damaged response is retried.
    world.store().clear_faults();
    world.store().fault(Fault::on("GetObject").key("b").times(1).flip_body(0));
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("back"))["b"], b"b");
}

#[test]
fn upload_damaged_in_transit_is_retried() {
    let world = world();
    world.store().fault(Fault::on("PutObject").key("b").times(1).flip_request_body(0));
    world.expect(0, "backup src BUCKET --yes");
    assert_eq!(&world.store().get("b").unwrap().body[..], b"b");
    assert_eq!(world.store().count("PutObject"), 4);
    // MinIO's code for the same error.
    world.write("src/b", "bb");
    let code = "XAmzContentChecksumMismatch";
    world.store().fault(Fault::on("PutObject").key("b").times(1).status(400, code));
    world.expect(0, "backup src BUCKET --yes");
    assert_eq!(&world.store().get("b").unwrap().body[..], b"bb");
}

#[test]
fn json_summary_names_the_error_that_ended_the_run() {
    let world = world();
    world.store().fault(Fault::on("PutObject").status(404, "NoSuchBucket"));
    let run = world.expect(1, "backup src BUCKET --yes --json --workers 1");
    let (plan, summary) = (json_line(&run, "plan"), json_line(&run, "summary"));
    let ended_by = summary["ended_by"].as_str().unwrap();
    assert!(ended_by.starts_with("upload a: the bucket does not exist; create it"), "{ended_by}");
    assert!(ended_by.ends_with("(NoSuchBucket): The test has injected this error"), "{ended_by}");
    assert!(plan["direction"] == "backup" && summary["direction"] == "backup");
}

#[test]
fn every_failure_is_reported_without_a_limit() {
    let world = World::in_process();
    for n in 0..70 {
        world.write(&format!("src/{n:02}"), "x");
    }
    world.store().fault(Fault::on("PutObject").status(403, "AccessDenied"));
    let run = world.expect(2, "backup src BUCKET --yes --list");
    assert_eq!(run.stderr.lines().filter(|line| line.contains("upload ")).count(), 70);
    let run = world.expect(2, "backup src BUCKET --yes --json");
    assert_eq!(run.stdout.lines().filter(|line| line.contains("\"failure\"")).count(), 70);
}

#[test]
fn closed_stdout_and_stderr_do_not_stop_the_run() {
    let world = world();
    symlink("nowhere", world.path("src/dangling")).unwrap();
    let mut command = s3keep(&world, "backup src BUCKET --yes");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(world.store().keys(), ["a", "b", "c"]);
}

#[test]
fn deletion_accepts_missing_keys_and_retries_throttled_ones() {
    let world = world();
    world.store().put("with\ncontrol", b"x");
    world.store().fault(Fault::on("DeleteObject").times(1).status(404, "NoSuchKey"));
    world.store().put("busy", b"x");
    world.store().put("plain", b"x");
    let busy = "<DeleteResult><Deleted><Key>plain</Key></Deleted><Error><Key>busy</Key>\
                <Code>SlowDown</Code><Message>m</Message></Error></DeleteResult>";
    world.store().fault(Fault::on("DeleteObjects").times(1).body(busy));
    world.expect(0, "backup src BUCKET --yes --allow-unrelated").assert_says("3 deleted");
    assert_eq!(world.store().count("DeleteObjects"), 2);
    assert!(world.store().get("busy").is_none());
}

#[test]
fn damaged_part_of_a_large_object_is_downloaded_again() {
    let world = World::in_process();
    world.write("src/large", noise(1, 11 << 20));
    world.expect(0, "backup src BUCKET --yes --part-size 5MiB");
    world.store().fault(Fault::on("GetObject").times(1).flip_body(1_000));
    world.expect(0, "restore BUCKET back --yes --part-size 5MiB");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    world.store().fault(Fault::on("GetObject").flip_body(1_000));
    let run = world.expect(2, "restore BUCKET never --yes --part-size 5MiB");
    run.assert_says("download large: the downloaded bytes do not match");
    assert!(files(&world.path("never")).is_empty());
}

#[test]
fn response_with_the_wrong_content_range_is_rejected() {
    let world = World::in_process();
    let body = noise(1, 11 << 20);
    // Only the Content-Range header shows that the body is the wrong one.
    world.store().put_object("large", unverifiable(&body, "opaque"));
    let second = |request: &Request| {
        request.headers.get("range").is_some_and(|range| range.starts_with("bytes=5242880-"))
    };
    let first = format!("bytes 0-{}/{}", (5 << 20) - 1, 11 << 20);
    let wrong = || {
        let fault = Fault::on("GetObject").when(second).header("content-range", &first);
        fault.body(body[..5 << 20].to_vec())
    };
    world.store().fault(wrong().times(1));
    world.expect(0, "restore BUCKET back --yes --part-size 5MiB").assert_says("1 downloaded");
    assert!(files(&world.path("back"))["large"] == body);
    world.store().fault(wrong());
    let run = world.expect(2, "restore BUCKET never --yes --part-size 5MiB --retries 1");
    run.assert_says("download large: the server's response cannot be understood: bytes 0-5242879/");
    assert!(files(&world.path("never")).is_empty());
}

#[test]
fn download_without_content_length_must_have_the_listed_size() {
    let world = World::in_process();
    let body = noise(1, 300_000);
    // Only the size shows that the body is too short or too long.
    world.store().put_object("a", unverifiable(&body, "opaque"));
    let is_whole = |request: &Request| !request.headers.contains_key("range");
    let chunks =
        |body: &[u8], ends| Fault::on("GetObject").when(is_whole).in_chunks(body.to_vec(), ends);
    // The rest of a short body is downloaded with a range request.
    for (dir, sent, ends) in [
        ("whole", &body[..], true),
        ("short", &body[..200_000], true),
        ("broken", &body[..200_000], false),
    ] {
        world.store().fault(chunks(sent, ends));
        world.expect(0, &format!("restore BUCKET {dir} --yes")).assert_says("1 downloaded");
        world.store().clear_faults();
        assert!(files(&world.path(dir))["a"] == body);
    }
    world.store().fault(chunks(&[&body[..], b"x"].concat(), true));
    let run = world.expect(2, "restore BUCKET never --yes");
    run.assert_says("download a: the object is longer than its listed size");
    assert!(files(&world.path("never")).is_empty());
}

#[test]
fn object_versions_are_not_mixed_if_the_listing_has_no_etags() {
    let world = World::in_process();
    let version = |n, size| unverifiable(&noise(n, size), &format!("opaque{n}"));
    for size in [11 << 20, 300_000] {
        world.store().put_object("a", version(1, size));
        let listed = format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key>\
             <Size>{size}</Size><LastModified>2024-02-29T12:34:56Z</LastModified></Contents>\
             </ListBucketResult>"
        );
        world.store().fault(Fault::on("ListObjectsV2").body(listed));
        // The first response breaks off. The object is replaced before the next one.
        world.store().fault(Fault::on("GetObject").times(1).cut_body(100_000));
        let replaced = move |store: &Store| store.put_object("a", version(2, size));
        world.store().fault(Fault::on("GetObject").times(1).run(replaced));
        let run = world.expect(2, "restore BUCKET back --yes --part-size 5MiB --workers 1");
        run.assert_says("download a: the object was replaced after it was listed");
        assert!(files(&world.path("back")).is_empty());
        world.store().clear_faults();
    }
}

#[test]
fn throttling_lowers_the_concurrency_and_the_run_completes() {
    let world = World::in_process();
    for n in 0..1_000 {
        world.write(&format!("src/{n}"), format!("{n}"));
    }
    for (line, operation) in
        [("backup src BUCKET --yes", "PutObject"), ("restore BUCKET back --yes", "GetObject")]
    {
        // The server accepts eight requests at a time and throttles the rest.
        let too_many = Fault::on(operation).when(|request| request.in_flight > 8);
        world.store().fault(too_many.status(503, "SlowDown"));
        world.store().fault(Fault::on(operation).delay(Duration::from_millis(10)));
        world.expect(0, line).assert_says("1,000 ");
        world.store().clear_faults();
        let requests = world.store().requests_of(operation);
        let refused =
            |requests: &[Request]| requests.iter().filter(|request| request.status == 503).count();
        assert!(refused(&requests[..100]) > 10, "the server throttles at the start");
        // The rate at the start depends on the load of the machine, the rate at the end does not:
        // one request in thirty is throttled. With full concurrency it would be one in seven.
        let later = &requests[requests.len() - 500..];
        assert!(refused(later) * 12 < later.len(), "{line}: {} of {}", refused(later), later.len());
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn retries_respect_the_concurrency_limit() {
    let world = World::in_process();
    for n in 0..24 {
        world.write(&format!("src/{n}"), format!("{n}"));
    }
    // The server refuses all eight requests in flight together, and then the four that the limit
    // still allows.
    for at_once in [8, 4] {
        let all = Barrier::new(at_once);
        let refuse = Fault::on("PutObject").times(at_once).run(move |_| {
            all.wait();
        });
        world.store().fault(refuse.status(503, "SlowDown"));
    }
    // The limit is then two. The server delays its responses, so that a third request, if there is
    // one, arrives before them.
    let (arrived, more) = (Mutex::new(0), Condvar::new());
    world.store().fault(Fault::on("PutObject").times(3).run(move |_| {
        let mut arrived = arrived.lock().unwrap();
        *arrived += 1;
        more.notify_all();
        let _guard = more.wait_timeout_while(arrived, Duration::from_millis(700), |n| *n < 3);
    }));
    world.expect(0, "backup src BUCKET --yes --workers 8").assert_says("24 uploaded");
    let requests = world.store().requests_of("PutObject");
    let most = |of: Range<usize>| requests[of].iter().map(|request| request.in_flight).max();
    assert_eq!([most(0..8), most(8..12)], [Some(8), Some(4)]);
    assert!(most(12..15) <= Some(2));
    assert_eq!(requests.len(), 24 + 8 + 4);
    world.expect(0, "verify src BUCKET").assert_says("24 the same");
}

#[test]
fn unreachable_server_ends_the_run_after_300_failures() {
    let world = World::in_process();
    for n in 0..4_000 {
        world.write(&format!("src/{n}"), "x");
    }
    world.store().put("gone", b"kept, as no upload succeeded");
    world.store().fault(Fault::on("PutObject").refuse(None));
    let run = world.run("backup src BUCKET --yes --retries 0 --allow-unrelated");
    assert_eq!(run.code, 1, "{run:?}");
    run.assert_says("requests failed, for 6");
    run.assert_says("connection refused; run the command again when the server works");
    let reported = (0..4_000).filter(|n| run.stderr.contains(&format!("upload {n}:"))).count();
    assert_eq!(reported, 0, "one message tells it all: {run:?}");
    world.store().clear_faults();
    assert_eq!(world.store().keys(), ["gone"]);
    world.expect(0, "backup src BUCKET --yes --allow-unrelated").assert_says("4,000 uploaded");
}
