//! Networks and servers that allow few connections, and servers that fail every request.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    any_server::command_line::s3keep,
    support::{
        Run, World,
        connection_limit::{ConnectionLimit, Surplus},
        files, noise, run,
        store::{Fault, Request},
        with_separators,
    },
};

fn world(file_count: usize) -> World {
    let world = World::in_process();
    for n in 0..file_count {
        world.write(&format!("src/{}/{n}", n % 7), format!("file {n}"));
    }
    world
}

/// Runs the command through a limit of connections.
#[track_caller]
fn expect_through(limit: &ConnectionLimit, world: &World, code: i32, line: &str) -> Run {
    let started = Instant::now();
    let mut command = s3keep(world, line);
    let run = run(command.env("AWS_ENDPOINT_URL_S3", limit.endpoint()));
    let (most, away) = (limit.most_open(), limit.turned_away());
    println!("{line}: {:?}, at most {most} open, {away} turned away", started.elapsed());
    assert_eq!(run.code, code, "{line}: {run:#?}");
    run
}

/// Backs up, restores and verifies through a limit of connections, with 100 ms per response.
fn round_trip(limit: usize, surplus: Surplus, file_count: usize, options: &str) {
    let world = world(file_count);
    let count = with_separators(file_count);
    world.store().fault(Fault::on("*").delay(Duration::from_millis(100)));
    let proxy = ConnectionLimit::start(world.endpoint(), limit, surplus);
    let run = |line: &str| expect_through(&proxy, &world, 0, &format!("{line}{options}"));
    run("backup src BUCKET --yes").assert_says(&format!("{count} uploaded"));
    run("restore BUCKET back --yes").assert_says(&format!("{count} downloaded"));
    run("verify src BUCKET --read-data").assert_says(&format!("{count} the same"));
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

/// A round trip for each way of turning away the connections above the limit.
fn round_trips(limit: usize, file_count: usize) {
    for surplus in [Surplus::Refuse, Surplus::Reset, Surplus::Close] {
        println!("{surplus:?}");
        round_trip(limit, surplus, file_count, "");
    }
}

#[test]
fn limit_of_2_connections_fails_no_file() {
    round_trips(2, 100);
}

#[test]
fn limit_of_8_connections_fails_no_file() {
    round_trips(8, 300);
}

#[test]
fn limit_of_16_connections_fails_no_file() {
    round_trips(16, 300);
}

#[test]
fn limit_of_64_connections_fails_no_file() {
    round_trips(64, 2_000);
}

#[test]
fn connections_that_are_never_answered_fail_no_file() {
    for (limit, file_count) in [(2, 60), (16, 300)] {
        println!("{limit}");
        round_trip(limit, Surplus::Stall, file_count, " --timeout 2s");
    }
}

#[test]
fn large_files_and_slow_listings_pass_a_limit_of_connections() {
    let world = world(200);
    world.write("src/large", noise(1, 21 << 20));
    world.write("src/empty", "");
    world.store().set_page_size(20);
    world.store().fault(Fault::on("*").delay(Duration::from_millis(50)));
    let proxy = ConnectionLimit::start(world.endpoint(), 3, Surplus::Reset);
    let line = "backup src BUCKET/prefix --yes --part-size 5MiB --json";
    expect_through(&proxy, &world, 0, line);
    expect_through(&proxy, &world, 0, "restore BUCKET/prefix back --yes --part-size 5MiB");
    expect_through(&proxy, &world, 0, "restore BUCKET/prefix back --yes --mock");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

/// The server closes idle connections, and a request on one of them fails before any response.
#[test]
fn request_on_a_closed_idle_connection_is_repeated_at_once() {
    let world = world(200);
    // The last files are sent on connections that have served others.
    for key in ["6/181", "6/188", "6/195"] {
        world.store().fault(Fault::on("PutObject").key(key).times(1).close());
        world.store().fault(Fault::on("GetObject").key(key).times(1).close());
    }
    world.expect(0, "backup src BUCKET --yes --retries 0 --workers 16").assert_says("200 uploaded");
    world.expect(0, "restore BUCKET back --yes --retries 0 --workers 16");
    assert_eq!(world.store().count("PutObject"), 203);
}

#[test]
fn many_files_that_always_fail_do_not_end_the_run() {
    let world = world(1_000);
    let failing = |request: &Request| request.key.ends_with('7');
    for (line, operation) in
        [("backup src BUCKET --yes", "PutObject"), ("restore BUCKET back --yes", "GetObject")]
    {
        world.store().fault(Fault::on(operation).when(failing).status(500, "InternalError"));
        let started = Instant::now();
        let run = world.expect(2, line);
        run.assert_says("100 failed");
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        world.store().clear_faults();
        world.expect(0, "backup src BUCKET --yes");
    }
}

#[test]
fn backup_of_a_server_that_fails_every_upload_gives_up_with_one_message() {
    let world = world(3_000);
    world.store().put("gone", b"kept, because no upload succeeded");
    let failing = Fault::on("PutObject").status(500, "InternalError");
    let hits = world.store().fault(failing);
    let started = Instant::now();
    let run = world.expect(1, "backup src BUCKET --yes -q --allow-unrelated");
    assert!(started.elapsed() < Duration::from_secs(240), "{:?}", started.elapsed());
    println!("{:?}, {} requests", started.elapsed(), hits.count());
    assert!((300..900).contains(&hits.count()), "{}", hits.count());
    assert_eq!(world.store().keys(), ["gone"]);
    let lines: Vec<&str> =
        run.stderr.lines().filter(|line| line.contains("InternalError")).collect();
    assert_eq!(lines.len(), 1, "{run:#?}");
    assert!(lines[0].contains("reach s3://bucket: gave up, because all of the last"), "{lines:?}");
    assert!(lines[0].contains("the server responded with 500 InternalError"), "{lines:?}");
    assert!(run.stderr.lines().count() <= 3, "{run:#?}");
}

#[test]
fn restore_of_a_server_that_throttles_every_download_gives_up_with_one_message() {
    let world = world(1_000);
    world.expect(0, "backup src BUCKET --yes");
    let hits = world.store().fault(Fault::on("GetObject").status(503, "SlowDown"));
    let started = Instant::now();
    let run = world.expect(1, "restore BUCKET back --yes --json");
    assert!(started.elapsed() < Duration::from_secs(300), "{:?}", started.elapsed());
    let summary = crate::any_server::command_line::json_line(&run, "summary");
    let count = hits.count();
    assert!((300..700).contains(&count), "{count} in {:?}: {summary}", started.elapsed());
    let ended_by = summary["ended_by"].as_str().unwrap();
    assert!(ended_by.contains("gave up") && ended_by.contains("SlowDown"), "{ended_by}");
    assert!(files(&world.path("back")).is_empty());
}

#[test]
fn server_that_answers_only_some_requests_is_not_given_up() {
    let world = world(300);
    let failing =
        |request: &Request| request.key.ends_with(['1', '2', '3', '4', '5', '6', '7', '8']);
    for (dir, operation) in [("src", "PutObject"), ("back", "GetObject")] {
        world
            .store()
            .fault(Fault::on(operation).when(failing).times(250).status(500, "InternalError"));
        let line = match dir {
            "src" => "backup src BUCKET --yes",
            _ => "restore BUCKET back --yes",
        };
        let run = world.run(line);
        assert!(run.code == 0 || run.code == 2, "{run:#?}");
        world.store().clear_faults();
        world.expect(0, line);
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

/// A server restarts: all connections break, and new ones are refused for longer than the retries of a
/// request last.
#[test]
fn restart_of_the_server_fails_no_file() {
    let world = world(1_000);
    let restart = Fault::on("PutObject").skip(100).times(1).refuse(Some(Duration::from_secs(12)));
    world.store().fault(restart);
    world.expect(0, "backup src BUCKET --yes").assert_says("1,000 uploaded");
    let restart = Fault::on("GetObject").skip(100).times(1).refuse(Some(Duration::from_secs(12)));
    world.store().fault(restart);
    world.expect(0, "restore BUCKET back --yes").assert_says("1,000 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn full_store_ends_the_run_at_once() {
    for (status, code) in [
        (507, "XMinioStorageFull"),
        (507, "InsufficientStorage"),
        (507, ""),
        (403, "QuotaExceeded"),
        (400, "XMinioAdminBucketQuotaExceeded"),
    ] {
        let world = world(200);
        world.store().put("gone", b"kept, because the run ended early");
        let hits = world.store().fault(Fault::on("PutObject").status(status, code));
        let line = "backup src BUCKET --yes --workers 4 --allow-unrelated -q";
        let run = world.expect(1, line);
        assert!(hits.count() <= 8, "{code}: {} requests", hits.count());
        let text = match code {
            "" => "the server responded with 507",
            _ => "the store is full, or a quota is used up",
        };
        run.assert_says(text);
        assert_eq!(run.stderr.lines().count(), 1, "{run:#?}");
        assert_eq!(world.store().keys(), ["gone"]);
    }
}

#[test]
fn temporary_statuses_and_throttling_codes_are_retried() {
    for (status, code) in [
        (425, ""),
        (499, ""),
        (509, ""),
        (530, ""),
        (400, "ThrottlingException"),
        (400, "ThrottledException"),
        (400, "RequestThrottled"),
        (400, "RequestThrottledException"),
        (400, "TooManyRequestsException"),
        (400, "ProvisionedThroughputExceededException"),
        (400, "BandwidthLimitExceeded"),
        (403, "RequestLimitExceeded"),
        (400, "TransactionInProgressException"),
    ] {
        let world = world(3);
        for operation in ["ListObjectsV2", "PutObject", "GetObject"] {
            world.store().fault(Fault::on(operation).times(2).status(status, code));
        }
        world.expect(0, "backup src BUCKET --yes").assert_says("3 uploaded");
        world.expect(0, "restore BUCKET back --yes").assert_says("3 downloaded");
    }
}

#[test]
fn retry_after_may_be_a_date() {
    let world = world(1);
    // By the server's clock, which is behind.
    world.store().shift_clock(-50);
    let until = httpdate::fmt_http_date(world.store().now() + Duration::from_secs(4));
    let throttled = Fault::on("ListObjectsV2").times(1).status(503, "SlowDown");
    world.store().fault(throttled.header("retry-after", &until));
    let started = Instant::now();
    world.expect(0, "backup src BUCKET --yes");
    let elapsed = started.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn download_that_makes_progress_is_continued_however_often_it_breaks() {
    let world = World::in_process();
    let body = noise(1, 2_000_000);
    world.store().put("large", &body);
    world.store().put("in parts", noise(2, 6 << 20));
    // Each response breaks off after a twentieth of the object.
    let hits = world.store().fault(Fault::on("GetObject").key("large").cut_body(100_000));
    let of_part = Fault::on("GetObject").key("in parts").times(12);
    world.store().fault(of_part.cut_body(400_000));
    let line = "restore BUCKET back --yes --retries 2 --part-size 5MiB";
    world.expect(0, line).assert_says("2 downloaded");
    assert_eq!(hits.count(), 20);
    assert!(files(&world.path("back"))["large"] == body);
    // Without progress, the retries end.
    world.store().put("empty-handed", noise(3, 100_000));
    let hits = world.store().fault(Fault::on("GetObject").key("empty-handed").cut_body(0));
    world.expect(2, line).assert_says("download empty-handed: ");
    assert_eq!(hits.count(), 3);
}

fn start(world: &World, line: &str) -> Child {
    s3keep(world, line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until `dir` has `count` files with their final names, while the command still runs.
#[track_caller]
fn wait_for_names(world: &World, child: &mut Child, dir: &str, count: usize) {
    let started = Instant::now();
    let names = || -> Vec<String> {
        let entries = walkdir::WalkDir::new(world.path(dir)).into_iter().filter_map(Result::ok);
        let files = entries.filter(|entry| entry.file_type().is_file());
        let names = files.map(|entry| entry.file_name().to_str().unwrap().to_owned());
        names.filter(|name| !name.starts_with(".s3keep-")).collect()
    };
    while names().len() < count {
        assert!(child.try_wait().unwrap().is_none(), "the restore ended: {:?}", names());
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", names());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(child.try_wait().unwrap().is_none(), "the restore has not ended yet");
}

#[test]
fn restore_over_a_slow_link_loses_only_seconds_if_it_is_killed() {
    let world = world(200);
    world.expect(0, "backup src BUCKET --yes");
    world.store().fault(Fault::on("GetObject").delay(Duration::from_millis(300)));
    let mut child = start(&world, "restore BUCKET back --yes --workers 1");
    wait_for_names(&world, &mut child, "back", 5);
    child.kill().unwrap();
    child.wait().unwrap();
    world.store().clear_faults();
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

/// One part takes long, and the only worker waits for it.
#[test]
fn downloads_get_their_names_while_a_long_one_is_in_flight() {
    let world = world(3);
    world.write("src/large", noise(1, 6 << 20));
    world.expect(0, "backup src BUCKET --yes");
    let long = Fault::on("GetObject").key("large").skip(1).stall_body(100, None);
    world.store().fault(long);
    // Small files are slow to start, so that the large one is in flight when they are complete.
    let mut child = start(&world, "restore BUCKET back --yes --part-size 5MiB --workers 4");
    wait_for_names(&world, &mut child, "back", 3);
    child.kill().unwrap();
    child.wait().unwrap();
    world.store().clear_faults();
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

/// The command cannot open as many files as it has workers by default.
#[test]
#[cfg(target_os = "linux")]
fn low_limit_of_open_files_fails_no_file() {
    let world = world(500);
    world.write("src/large", noise(1, 21 << 20));
    world.store().fault(Fault::on("*").delay(Duration::from_millis(20)));
    for limit in [64, 40, 32] {
        let limited = |line: &str| {
            let limit = format!("-n {limit}");
            let run = crate::hostile::command::run_with_limit(&world, &limit, &[], line);
            assert_eq!(run.code, 0, "{limit}: {run:#?}");
        };
        limited(&format!("backup src BUCKET/{limit} --yes --part-size 5MiB"));
        limited(&format!("restore BUCKET/{limit} back/{limit} --yes --part-size 5MiB"));
        assert_eq!(files(&world.path("src")), files(&world.path(&format!("back/{limit}"))));
    }
}
