//! The bandwidth limit, and environment variables that stand for options.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    any_server::command_line::s3keep,
    support::{
        Run, World, files, noise,
        proxy::{Behaviour, Proxy},
        run,
        store::{Fault, Object, Store},
    },
};

/// Runs the command, and asserts that it takes between `least` and `most` seconds.
#[track_caller]
fn timed(world: &World, line: &str, least: f64, most: f64) -> Run {
    let started = Instant::now();
    let run = world.expect(0, line);
    let seconds = started.elapsed().as_secs_f64();
    println!("{line}: {seconds:.2} s");
    assert!((least..most).contains(&seconds), "{line} takes {seconds} s");
    run
}

/// The number of requests that transfer content, retries included.
fn transfers(world: &World) -> usize {
    ["PutObject", "UploadPart", "GetObject"].map(|name| world.store().count(name)).iter().sum()
}

#[test]
fn bandwidth_limit_holds_for_small_and_large_files_in_both_directions() {
    let world = World::in_process();
    // 4 MiB: 2 MiB in small files, 2 MiB in one file.
    for n in 0..64 {
        world.write(&format!("src/{n}"), noise(n, 32 << 10));
    }
    world.write("src/large", noise(100, 2 << 20));
    let options = "--bwlimit 2MiB/s --timeout 2 --retries 0";
    timed(&world, &format!("backup src BUCKET --yes {options}"), 1.8, 8.0);
    assert_eq!(transfers(&world), 65, "nothing is sent twice");
    world.store().clear_requests();
    timed(&world, &format!("restore BUCKET back --yes {options}"), 1.8, 8.0);
    assert_eq!(transfers(&world), 65, "nothing is fetched twice");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn bandwidth_limit_holds_for_a_verification() {
    let world = World::in_process();
    for n in 0..4 {
        let content = noise(n, 1 << 20);
        world.write(&format!("src/{n}"), &content);
        let object = Object::new(content).etag("not-an-md5").no_checksum();
        world.store().put_object(&n.to_string(), object);
    }
    let line = "verify src BUCKET --read-data --bwlimit 2MiB/s --timeout 1 --retries 0";
    timed(&world, line, 1.8, 8.0).assert_says("4 the same");
    assert_eq!(transfers(&world), 4);
}

#[test]
fn bandwidth_limit_holds_over_tls_and_through_proxies() {
    let upload = |is_tls: bool, scheme: Option<&str>| {
        let world = World::on(if is_tls { Store::start_tls() } else { Store::start() });
        world.write("src/large", noise(1, 2 << 20));
        let mut command = s3keep(&world, "backup src BUCKET --yes --bwlimit 1MiB/s");
        if is_tls {
            fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
            command.env("AWS_CA_BUNDLE", world.path("ca.pem"));
        }
        if let Some(scheme) = scheme {
            let proxy = Proxy::start(Behaviour::default());
            command.env("ALL_PROXY", format!("{scheme}://{}", proxy.address));
        }
        let started = Instant::now();
        let run = run(&mut command);
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!(run.code, 0, "{run:#?}");
        println!("TLS: {is_tls}, proxy: {scheme:?}: {seconds:.2} s");
        // Bytes that were counted twice would take 4 seconds.
        assert!((1.8..3.8).contains(&seconds), "TLS: {is_tls}, proxy: {scheme:?}: {seconds} s");
        assert_eq!(world.store().get("large").unwrap().body, noise(1, 2 << 20));
    };
    thread::scope(|scope| {
        for is_tls in [false, true] {
            for proxy in [None, Some("http"), Some("socks5")] {
                scope.spawn(move || upload(is_tls, proxy));
            }
        }
    });
}

#[test]
fn bandwidth_limit_holds_for_parts() {
    let world = World::in_process();
    world.write("src/large", noise(1, 12 << 20));
    let options = "--bwlimit 6MiB/s --part-size 5MiB --timeout 1 --retries 0";
    timed(&world, &format!("backup src BUCKET --yes {options}"), 1.8, 8.0);
    timed(&world, &format!("restore BUCKET back --yes {options}"), 1.8, 8.0);
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    let options = "--bwlimit 0 --part-size 5MiB";
    timed(&world, &format!("restore BUCKET again --yes {options}"), 0.0, 1.8);
}

#[test]
fn connections_share_a_low_bandwidth_fairly() {
    let world = World::in_process();
    // Each takes half of the bandwidth for four times as long as the timeout.
    world.write("src/a", noise(1, 96 << 10));
    world.write("src/b", noise(2, 96 << 10));
    let options = "--bwlimit 64KiB/s --timeout 500ms --retries 0";
    timed(&world, &format!("backup src BUCKET --yes {options}"), 2.5, 8.0);
    timed(&world, &format!("restore BUCKET back --yes {options}"), 2.0, 8.0);
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn low_bandwidth_has_few_requests_in_flight() {
    let world = World::in_process();
    for n in 0..200 {
        world.write(&format!("src/{n}"), noise(n, 4 << 10));
    }
    let line = "backup src BUCKET --yes --bwlimit 512KiB/s";
    // 32 requests of at least 16 KiB per second.
    timed(&world, line, 1.2, 8.0);
    let few = world.store().connections();
    assert!(few <= 40, "{few} connections");
}

#[test]
fn server_that_takes_its_time_is_not_slower_with_a_generous_limit() {
    let world = World::in_process();
    for n in 0..100 {
        world.write(&format!("src/{n}"), noise(n, 1 << 10));
    }
    world.store().fault(Fault::on("PutObject").delay(Duration::from_millis(200)));
    timed(&world, "backup src BUCKET --yes --bwlimit 2MiB/s", 0.2, 4.0);
}

#[test]
fn interrupted_run_does_not_wait_for_its_bandwidth() {
    let world = World::in_process();
    world.write("src/large", noise(1, 12 << 20));
    world.put_object("back/large", &noise(1, 1 << 20));
    for (line, operation) in [
        ("backup src BUCKET --yes --no-delete --bwlimit 4KiB/s --part-size 5MiB", "UploadPart"),
        ("restore BUCKET/back back --yes --bwlimit 4KiB/s", "GetObject"),
    ] {
        let started = Instant::now();
        let mut command = s3keep(&world, line);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while world.store().count(operation) == 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "{line} does not become ready");
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(300));
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let signaled = Instant::now();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(text.ends_with("s3keep: interrupted\n"), "{text}");
        let duration = signaled.elapsed();
        assert!(duration < Duration::from_secs(3), "{line}: {duration:?}");
        // The request that aborts the upload does not wait either.
        assert!(world.store().uploads().is_empty());
    }
}

#[test]
fn invalid_bandwidth_is_an_error_that_names_the_option() {
    let world = World::in_process();
    world.write("src/a", "a");
    for rate in ["1000", "10Mbit/s", "fast", "1KiB/s", "-1MiB/s"] {
        for line in ["backup src BUCKET --mock", "restore BUCKET back --mock", "ls BUCKET"] {
            let run = world.expect(1, &format!("{line} --bwlimit {rate}"));
            run.assert_says("--bwlimit");
        }
    }
    assert!(world.store().requests().is_empty());
}

/// Runs the command with environment variables.
#[track_caller]
fn with(world: &World, vars: &[(&str, &str)], code: i32, line: &str) -> Run {
    let run = run(s3keep(world, line).envs(vars.iter().copied()));
    assert_eq!(run.code, code, "{line}: {run:#?}");
    run
}

#[test]
fn environment_variable_stands_for_an_option_that_is_not_given() {
    let world = World::in_process();
    world.write("src/large", noise(1, 12 << 20));
    let vars = [("S3KEEP_PART_SIZE", "6MiB"), ("S3KEEP_QUIET", "true")];
    let run = with(&world, &vars, 0, "backup src BUCKET --yes");
    assert_eq!(world.store().count("UploadPart"), 2);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    // The option wins.
    world.store().clear_requests();
    with(&world, &vars, 0, "backup src BUCKET/b --yes --part-size 5MiB");
    assert_eq!(world.store().count("UploadPart"), 3);
    let run = with(&world, &[("S3KEEP_JSON", "1")], 0, "ls BUCKET");
    assert!(run.stdout.starts_with('{'), "{}", run.stdout);
    let started = Instant::now();
    with(&world, &[("S3KEEP_BWLIMIT", "6MiB/s")], 0, "restore BUCKET/b back --yes");
    assert!(started.elapsed() > Duration::from_millis(1_500));
    let started = Instant::now();
    let line = "restore BUCKET/b again --yes --bwlimit off";
    with(&world, &[("S3KEEP_BWLIMIT", "6MiB/s")], 0, line);
    assert!(started.elapsed() < Duration::from_millis(1_500));
}

#[test]
fn invalid_environment_variable_is_an_error_that_names_it() {
    let world = World::in_process();
    world.write("src/a", "a");
    for (variable, value) in [
        ("S3KEEP_WORKERS", "many"),
        ("S3KEEP_WORKERS", "0"),
        ("S3KEEP_PART_SIZE", "1KiB"),
        ("S3KEEP_TIMEOUT", "0"),
        ("S3KEEP_BWLIMIT", "1000"),
        ("S3KEEP_BWLIMIT", "1B/s"),
        ("S3KEEP_EXPECTED_BUCKET_OWNER", "me"),
        ("S3KEEP_JSON", "perhaps"),
    ] {
        let run = with(&world, &[(variable, value)], 1, "backup src BUCKET --yes");
        assert!(run.stderr.contains(variable), "{run:#?}");
        // Help is not affected.
        with(&world, &[(variable, value)], 0, "backup --help");
    }
    assert!(world.store().requests().is_empty());
}

#[test]
fn environment_variable_without_an_effect_is_a_warning() {
    let world = World::in_process();
    world.write("src/a", "a");
    let vars = [("S3KEEP_WORKER", "1"), ("S3KEEP_YES", "true"), ("S3KEEP_TEST_ENDPOINT", "x")];
    // Without a terminal, a run that is not confirmed is refused.
    let run = with(&world, &vars, 3, "backup src BUCKET");
    run.assert_says("warning: the environment variable S3KEEP_WORKER has no effect: did you mean");
    run.assert_says("S3KEEP_YES has no effect: --yes is an option of the command line only");
    assert!(!run.stderr.contains("S3KEEP_TEST"), "{}", run.stderr);
}

#[test]
fn help_and_manual_page_name_the_variables() {
    let world = World::in_process();
    for line in ["backup --help", "man backup"] {
        let text = world.expect(0, line).stdout;
        let text = text.replace("\\-", "-").split_whitespace().collect::<Vec<_>>().join(" ");
        for variable in ["S3KEEP_WORKERS", "S3KEEP_BWLIMIT", "S3KEEP_QUIET", "AWS_REGION"] {
            assert!(text.contains(&format!("[env: {variable}]")), "{line}: {text}");
        }
        assert!(!text.contains("S3KEEP_YES") && !text.contains("S3KEEP_EXCLUDE]"), "{line}");
    }
}
