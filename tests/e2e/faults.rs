//! Failures: named, counted, in the exit code, and no reason to stop the rest.

use std::{
    fs,
    ops::Range,
    sync::{Barrier, Condvar, Mutex},
    time::Duration,
};

use crate::support::{
    World, files, noise, run,
    store::{Fault, Object, Request, Store},
};

fn world() -> World {
    let world = World::in_process();
    for name in ["a", "b", "c"] {
        world.write(&format!("src/{name}"), name);
    }
    world
}

#[test]
fn passing_trouble_is_waited_out() {
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

/// The connection is closed before the server has it all.
#[test]
fn what_is_said_before_an_upload_is_heard_to_its_end_counts() {
    for is_tls in [false, true] {
        let world = World::on(if is_tls { Store::start_tls() } else { Store::start() });
        world.write("src/large", noise(1, 8 << 20));
        let ca = is_tls.then(|| world.store().ca_pem());
        ca.iter().for_each(|pem| fs::write(world.path("ca.pem"), pem).unwrap());
        let url = format!("s3://{}", world.bucket);
        let backup = |code| {
            let mut command = world.command();
            command.envs(ca.iter().map(|_| ("AWS_CA_BUNDLE", world.path("ca.pem"))));
            let run = run(command.args(["backup", "src", &url, "--yes", "--retries", "1"]));
            assert_eq!(run.code, code, "{run:?}");
            run
        };
        let early = || Fault::on("PutObject").unread();
        let hits = world.store().fault(early().status(403, "AccessDenied"));
        backup(2).assert_says("upload large: permission denied (AccessDenied)");
        assert_eq!(hits.count(), 1);
        world.store().clear_faults();
        // Who has not heard it can't have stored it.
        world.store().fault(early().status(200, "").header("etag", "\"an-etag\""));
        backup(2).assert_says("the connection was closed too early");
        world.store().clear_faults();
        // More often than other failures are met with another try.
        world.store().fault(early().times(4).status(503, "SlowDown"));
        backup(0).assert_says("1 uploaded");
        assert_eq!(world.store().get("large").unwrap().body, noise(1, 8 << 20));
    }
}

#[test]
fn the_server_says_how_long_to_wait() {
    let world = world();
    world.store().fault(
        Fault::on("ListObjectsV2").times(1).status(503, "SlowDown").header("retry-after", "1"),
    );
    let begun = std::time::Instant::now();
    world.expect(0, "backup src BUCKET --yes");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
}

#[test]
fn one_bad_file_does_not_stop_the_others_but_the_deletions() {
    let world = world();
    world.store().put("renamed from b", b"b");
    world.store().fault(Fault::on("PutObject").key("b").status(403, "AccessDenied"));
    let run = world.expect(2, "backup src BUCKET --yes");
    run.assert_says("upload b: permission denied (AccessDenied)");
    run.assert_says("2 uploaded");
    // The object may be all that is left of the file that could not be uploaded.
    run.assert_says("1 deletions were withheld because not everything was transferred");
    assert_eq!(world.store().keys(), ["a", "c", "renamed from b"]);
    world.store().clear_faults();
    world.expect(0, "backup src BUCKET --yes").assert_says("1 deleted");
}

#[test]
fn a_deletion_that_fails_is_named_and_the_others_are_made() {
    let world = world();
    for key in ["x", "y", "z"] {
        world.store().put(key, b"gone");
    }
    world.store().deny_delete("y");
    let run = world.expect(2, "backup src BUCKET --yes");
    run.assert_says("delete y: permission denied (AccessDenied)");
    run.assert_says("2 deleted");
    assert_eq!(world.store().keys(), ["a", "b", "c", "y"]);
}

#[test]
fn a_fatal_failure_stops_all_at_once() {
    let world = world();
    world.store().put("gone", b"gone");
    world.store().fault(Fault::on("PutObject").skip(1).status(403, "InvalidAccessKeyId"));
    let run = world.expect(1, "backup src BUCKET --yes --workers 1");
    run.assert_says("the server does not know this access key");
    assert_eq!(world.store().keys(), ["a", "gone"]);
    assert_eq!(world.store().count("DeleteObjects"), 0);
}

#[test]
fn a_listing_that_fails_or_lies_changes_nothing() {
    let lies = [
        Fault::on("ListObjectsV2").skip(1).status(500, "InternalError"),
        Fault::on("ListObjectsV2").skip(1).status(403, "AccessDenied"),
        Fault::on("ListObjectsV2").skip(1).body("<html>captive portal</html>"),
        Fault::on("ListObjectsV2").skip(1).truncate_body(300),
        Fault::on("ListObjectsV2").skip(1).cut_body(300),
    ];
    for lie in lies {
        let world = world();
        world.expect(0, "backup src BUCKET --yes");
        world.write("src/only here", "x");
        world.store().set_page_size(2);
        world.store().fault(lie);
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
fn an_object_that_is_gone_since_the_listing_is_named() {
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
fn what_arrives_damaged_never_gets_its_name() {
    let world = world();
    world.expect(0, "backup src BUCKET --yes");
    world.store().fault(Fault::on("GetObject").key("b").flip_body(0));
    world.write("back/b", "an older b");
    let run = world.expect(2, "restore BUCKET back --yes --retries 1");
    run.assert_says("download b: the bytes that arrived do not match the object's checksum");
    assert_eq!(files(&world.path("back"))["b"], b"an older b");
    assert_eq!(files(&world.path("back")).len(), 3, "no temporary file is left");
    // Once is waited out.
    world.store().clear_faults();
    world.store().fault(Fault::on("GetObject").key("b").times(1).flip_body(0));
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("back"))["b"], b"b");
}

#[test]
fn what_is_damaged_on_its_way_to_the_server_is_refused_and_sent_again() {
    let world = world();
    world.store().fault(Fault::on("PutObject").key("b").times(1).flip_request_body(0));
    world.expect(0, "backup src BUCKET --yes");
    assert_eq!(&world.store().get("b").unwrap().body[..], b"b");
    assert_eq!(world.store().count("PutObject"), 4);
    // As MinIO calls it.
    world.write("src/b", "bb");
    let code = "XAmzContentChecksumMismatch";
    world.store().fault(Fault::on("PutObject").key("b").times(1).status(400, code));
    world.expect(0, "backup src BUCKET --yes");
    assert_eq!(&world.store().get("b").unwrap().body[..], b"bb");
}

#[test]
fn json_lines_say_what_ended_a_run() {
    let world = world();
    world.store().fault(Fault::on("PutObject").status(404, "NoSuchBucket"));
    let run = world.expect(1, "backup src BUCKET --yes --json --workers 1");
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |kind: &str| lines.iter().find(|line| line["type"] == kind).expect(kind);
    let (plan, summary) = (of("plan"), of("summary"));
    assert_eq!(summary["ended_by"], "upload a: the bucket does not exist (NoSuchBucket)");
    assert!(plan["direction"] == "backup" && summary["direction"] == "backup");
}

#[test]
fn every_failure_is_named_however_many_there_are() {
    let world = World::in_process();
    for n in 0..70 {
        world.write(&format!("src/{n:02}"), "x");
    }
    world.store().fault(Fault::on("PutObject").status(403, "AccessDenied"));
    let run = world.expect(2, "backup src BUCKET --yes --json");
    assert_eq!(run.stderr.lines().filter(|line| line.contains("upload ")).count(), 70);
    assert_eq!(run.stdout.lines().filter(|line| line.contains("\"failure\"")).count(), 70);
}

#[test]
fn nobody_listening_is_no_reason_to_stop() {
    use std::process::Stdio;
    let world = world();
    std::os::unix::fs::symlink("nowhere", world.path("src/dangling")).unwrap();
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.args(["backup", "src", &url, "--yes"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(world.store().keys(), ["a", "b", "c"]);
}

#[test]
fn a_deletion_that_was_already_made_is_no_failure_and_a_busy_server_is_asked_again() {
    let world = world();
    world.store().put("with\ncontrol", b"x");
    world.store().fault(Fault::on("DeleteObject").times(1).status(404, "NoSuchKey"));
    world.store().put("busy", b"x");
    world.store().put("plain", b"x");
    let busy = "<DeleteResult><Deleted><Key>plain</Key></Deleted><Error><Key>busy</Key>\
                <Code>SlowDown</Code><Message>m</Message></Error></DeleteResult>";
    world.store().fault(Fault::on("DeleteObjects").times(1).body(busy));
    world.expect(0, "backup src BUCKET --yes").assert_says("3 deleted");
    assert_eq!(world.store().count("DeleteObjects"), 2);
    assert!(world.store().get("busy").is_none());
}

#[test]
fn a_damaged_range_of_a_large_object_is_fetched_again() {
    let world = World::in_process();
    world.write("src/large", crate::support::noise(1, 11 << 20));
    world.expect(0, "backup src BUCKET --yes --part-size 5MiB");
    world.store().fault(Fault::on("GetObject").times(1).flip_body(1_000));
    world.expect(0, "restore BUCKET back --yes --part-size 5MiB");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    world.store().fault(Fault::on("GetObject").flip_body(1_000));
    let run = world.expect(2, "restore BUCKET never --yes --part-size 5MiB");
    run.assert_says("download large: the bytes that arrived do not match");
    assert!(files(&world.path("never")).is_empty());
}

#[test]
fn a_range_that_nobody_asked_for_is_not_taken_for_the_one_that_was() {
    let world = World::in_process();
    let body = crate::support::noise(1, 11 << 20);
    // Nothing else could tell.
    let object = Object { checksum: None, ..Object::new(body.clone()).etag("opaque") };
    world.store().put_object("large", object);
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
fn an_object_whose_length_is_not_said_is_whole_when_all_of_it_came_and_no_more() {
    let world = World::in_process();
    let body = crate::support::noise(1, 300_000);
    // Nothing else could tell.
    let object = Object { checksum: None, ..Object::new(body.clone()).etag("opaque") };
    world.store().put_object("a", object);
    let longer = [&body[..], b"x"].concat();
    let whole = |request: &Request| !request.headers.contains_key("range");
    let chunks =
        |body: &[u8], ends| Fault::on("GetObject").when(whole).in_chunks(body.to_vec(), ends);
    for (n, (body, ends)) in
        [(&body[..], true), (&body[..200_000], true), (&body[..200_000], false)]
            .into_iter()
            .enumerate()
    {
        world.store().fault(chunks(body, ends));
        world.expect(0, &format!("restore BUCKET back{n} --yes")).assert_says("1 downloaded");
        world.store().clear_faults();
        let back = files(&world.path(&format!("back{n}")));
        assert!(back["a"] == longer[..300_000]);
    }
    world.store().fault(chunks(&longer, true));
    let run = world.expect(2, "restore BUCKET never --yes");
    run.assert_says("download a: the object is longer than it was listed");
    assert!(files(&world.path("never")).is_empty());
}

#[test]
fn two_versions_are_not_mixed_though_the_listing_has_no_etags() {
    let world = World::in_process();
    let version = |n: u64, size: usize| {
        let body = crate::support::noise(n, size);
        Object { checksum: None, ..Object::new(body).etag(&format!("opaque{n}")) }
    };
    for size in [11 << 20, 300_000] {
        world.store().put_object("a", version(1, size));
        let listed = format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>{size}</Size>\
             <LastModified>2024-02-29T12:34:56Z</LastModified></Contents></ListBucketResult>"
        );
        world.store().fault(Fault::on("ListObjectsV2").body(listed));
        // The first answer breaks off; before the next one, somebody replaces the object.
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
fn a_server_that_asks_to_slow_down_is_given_way_to_and_gets_everything() {
    let world = World::in_process();
    for n in 0..1_000 {
        world.write(&format!("src/{n}"), format!("{n}"));
    }
    for (line, operation) in
        [("backup src BUCKET --yes", "PutObject"), ("restore BUCKET back --yes", "GetObject")]
    {
        // Eight requests at a time are answered, more are refused.
        let too_many = Fault::on(operation).when(|request| request.under_way > 8);
        world.store().fault(too_many.status(503, "SlowDown"));
        world.store().fault(Fault::on(operation).delay(Duration::from_millis(10)));
        world.expect(0, line).assert_says("1000 ");
        world.store().clear_faults();
        let requests = world.store().requests_of(operation);
        let refused =
            |requests: &[Request]| requests.iter().filter(|request| request.status == 503).count();
        assert!(refused(&requests[..100]) > 10, "there is reason to give way");
        // How many it begins with depends on how busy this machine is; what it ends with does not. One in
        // thirty is refused then, where it would be one in seven if nobody gave way.
        let later = &requests[requests.len() - 500..];
        assert!(refused(later) * 12 < later.len(), "{line}: {} of {}", refused(later), later.len());
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn what_is_tried_again_waits_for_its_turn() {
    let world = World::in_process();
    for n in 0..24 {
        world.write(&format!("src/{n}"), format!("{n}"));
    }
    // All eight that are under way are refused together, and then the four that may still be.
    for at_once in [8, 4] {
        let all = Barrier::new(at_once);
        let refuse = Fault::on("PutObject").times(at_once).run(move |_| {
            all.wait();
        });
        world.store().fault(refuse.status(503, "SlowDown"));
    }
    // From then on, two: a third has time enough to come before they are answered.
    let (came, more) = (Mutex::new(0), Condvar::new());
    world.store().fault(Fault::on("PutObject").times(3).run(move |_| {
        let mut came = came.lock().unwrap();
        *came += 1;
        more.notify_all();
        let _kept = more.wait_timeout_while(came, Duration::from_millis(700), |came| *came < 3);
    }));
    world.expect(0, "backup src BUCKET --yes --workers 8").assert_says("24 uploaded");
    let requests = world.store().requests_of("PutObject");
    let most = |of: Range<usize>| requests[of].iter().map(|request| request.under_way).max();
    assert_eq!([most(0..8), most(8..12)], [Some(8), Some(4)]);
    assert!(most(12..15) <= Some(2));
    assert_eq!(requests.len(), 24 + 8 + 4);
    world.expect(0, "verify src BUCKET").assert_says("24 the same");
}

#[test]
fn a_server_that_is_gone_for_good_ends_the_run_before_everything_has_been_tried() {
    let world = World::in_process();
    for n in 0..4_000 {
        world.write(&format!("src/{n}"), "x");
    }
    world.store().put("gone", b"kept, as nothing was sent");
    world.store().fault(Fault::on("PutObject").refuse(None));
    let run = world.run("backup src BUCKET --yes --retries 0");
    assert_eq!(run.code, 1, "{run:?}");
    run.assert_says("1000 objects in a row were lost: the rest is not tried");
    let named = (0..4_000).filter(|n| run.stderr.contains(&format!("upload {n}:"))).count();
    assert!((1_000..2_000).contains(&named), "{named}");
    world.store().clear_faults();
    assert_eq!(world.store().keys(), ["gone"]);
    world.expect(0, "backup src BUCKET --yes").assert_says("4000 uploaded");
}
