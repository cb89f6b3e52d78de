//! Slow lines: a request that makes progress is never aborted, one that does not is.

use crate::support::{
    World, files, noise,
    relay::{Relay, Speed, Speeds},
    run,
};

/// Runs the command over a relay.
fn expect(world: &World, relay: &Relay, code: i32, line: &str) -> crate::support::Run {
    let mut command = crate::any_server::command_line::s3keep(world, line);
    let run = run(command.env("AWS_ENDPOINT_URL_S3", &relay.endpoint));
    assert_eq!(run.code, code, "{run:?}");
    run
}

/// 4 KiB every 2 ms: at most 2 MiB per second.
const SLOW: fn() -> Speed = || Speed::new(4 << 10, 2);

#[test]
fn slow_upload_is_never_aborted() {
    let world = World::in_process();
    world.write("src/small", noise(1, 3 << 20));
    world.write("src/parts", noise(2, 12 << 20));
    let speeds = |line: &str| -> Speeds {
        if line.starts_with("PUT ") { (SLOW(), Speed::FULL) } else { (Speed::FULL, Speed::FULL) }
    };
    let relay = Relay::start(world.endpoint(), speeds);
    // Each request takes several times as long as the timeout.
    let line = "backup src BUCKET --yes --part-size 5MiB --timeout 700ms --retries 0";
    expect(&world, &relay, 0, line).assert_says("2 uploaded");
    assert_eq!((world.store().count("PutObject"), world.store().count("UploadPart")), (1, 3));
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn slow_download_is_never_aborted() {
    let world = World::in_process();
    world.put_object("small", &noise(1, 3 << 20));
    world.put_object("parts", &noise(2, 12 << 20));
    let speeds = |line: &str| -> Speeds {
        if line.contains("list-type") { (Speed::FULL, Speed::FULL) } else { (Speed::FULL, SLOW()) }
    };
    let relay = Relay::start(world.endpoint(), speeds);
    let line = "restore BUCKET back --yes --part-size 5MiB --timeout 700ms --retries 0";
    expect(&world, &relay, 0, line).assert_says("2 downloaded");
    assert_eq!(world.store().count("GetObject"), 4);
}

#[test]
fn upload_that_the_server_stops_reading_is_abandoned() {
    let world = World::in_process();
    world.write("src/a", noise(1, 3 << 20));
    let speeds = |line: &str| -> Speeds {
        let up = if line.starts_with("PUT ") { Speed::NOTHING } else { Speed::FULL };
        (up, Speed::FULL)
    };
    let relay = Relay::start(world.endpoint(), speeds);
    let run = expect(&world, &relay, 2, "backup src BUCKET --yes --timeout 500ms --retries 1");
    run.assert_says("the connection is stalled");
    assert!(world.store().keys().is_empty());
}

#[test]
fn byte_now_and_then_does_not_defeat_the_timeout() {
    // Twenty bytes per second.
    const DRIP: fn() -> Speed = || Speed::new(1, 50);
    let world = World::in_process();
    world.write("src/a", "a");
    world.put_object("b/b", &noise(1, 100_000));
    let list = |line: &str| line.contains("list-type") || line.contains("uploads");
    // The response to an upload, then a download, and then a listing.
    let relay = Relay::start(world.endpoint(), move |line| {
        (Speed::FULL, if list(line) { Speed::FULL } else { DRIP() })
    });
    let options = "--yes --timeout 200ms --retries 0";
    expect(&world, &relay, 2, &format!("backup src BUCKET/a {options}"))
        .assert_says("the connection is stalled");
    assert_eq!(world.store().count("PutObject"), 2, "one put the object of this test");
    expect(&world, &relay, 2, &format!("restore BUCKET/b back {options}"))
        .assert_says("the connection is stalled");
    assert_eq!(world.store().count("GetObject"), 1);
    let relay = Relay::start(world.endpoint(), |_| (Speed::FULL, DRIP()));
    expect(&world, &relay, 1, &format!("restore BUCKET/b back {options}"))
        .assert_says("the connection is stalled");
    assert_eq!(relay.connections(), 1);
}

#[test]
fn files_that_wait_for_a_slow_line_are_not_sent_again() {
    let world = World::in_process();
    let content = 256 * (32 << 10);
    for number in 0..256 {
        world.write(&format!("src/{number}"), noise(number, 32 << 10));
    }
    // At most 1 MiB per second for all connections together: half of what 64 workers have in flight.
    let relay = Relay::start(world.endpoint(), |_| (Speed::shared(4 << 10, 4), Speed::FULL));
    expect(&world, &relay, 0, "backup src BUCKET --yes --timeout 1s").assert_says("256 uploaded");
    assert!(relay.sent() < content * 11 / 10, "{} of {content}", relay.sent());
}

#[test]
fn few_bytes_at_a_time_are_enough() {
    let world = World::in_process();
    world.put_object("a", &noise(1, 1_500));
    // Five hundred bytes per second, and a timeout that is longer than each pause.
    let relay = Relay::start(world.endpoint(), |line| {
        (Speed::FULL, if line.contains("list-type") { Speed::FULL } else { Speed::new(100, 200) })
    });
    expect(&world, &relay, 0, "restore BUCKET back --yes --timeout 500ms --retries 0")
        .assert_says("1 downloaded");
    assert_eq!(world.store().count("GetObject"), 1);
}
