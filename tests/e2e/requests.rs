//! The number of requests and connections of a run.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    any_server::command_line::s3keep,
    support::{
        World, files, run,
        store::{Fault, ListOrder, Request, Store},
    },
};

fn with_files(count: usize) -> World {
    let world = World::in_process();
    for n in 0..count {
        world.write(&format!("src/{}/{n}", n % 7), format!("{n}"));
    }
    world
}

#[test]
fn no_op_run_costs_one_list_request_per_1000_objects() {
    let world = with_files(2_001);
    world.expect(0, "backup src BUCKET --yes");
    world.expect(0, "restore BUCKET back --yes");
    for line in ["backup src BUCKET --yes", "restore BUCKET back --yes", "verify src BUCKET"] {
        world.store().clear_requests();
        world.expect(0, line);
        assert_eq!(world.store().count("ListObjectsV2"), 3, "{line}");
        assert_eq!(world.store().requests().len(), 3, "{line}");
    }
}

#[test]
fn small_file_costs_one_request_on_a_reused_connection() {
    let world = with_files(300);
    for (line, operation, lists) in [
        // A backup that uploads files also lists the unfinished multipart uploads.
        ("backup src BUCKET --yes --workers 4", "PutObject", 2),
        ("restore BUCKET back --yes --workers 4", "GetObject", 1),
    ] {
        world.store().clear_requests();
        let before = world.store().connections();
        world.expect(0, line);
        assert_eq!(world.store().count(operation), 300);
        assert_eq!(world.store().requests().len(), 300 + lists);
        assert!(world.store().connections() - before <= 5, "{line}");
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn run_opens_no_more_connections_than_its_requests_need() {
    let world = with_files(100);
    for line in ["backup src BUCKET --yes", "restore BUCKET back --yes"] {
        let before = world.store().connections();
        world.expect(0, line);
        // One connection for the listing, and one for each of 25 workers that share 100 requests.
        assert!(world.store().connections() - before <= 26, "{line}");
    }
}

/// Whether the request lists a range that starts in the middle of the bucket.
fn is_ranged(list: &Request) -> bool {
    list.query.contains_key("start-after")
}

#[test]
fn parallel_listing_costs_little_more_than_one_request_a_page() {
    let world = with_files(3_000);
    world.expect(0, "backup src BUCKET --yes");
    world.store().set_page_size(50);
    world.write("other/file", "not in the bucket");
    for (line, most, in_ranges) in [
        // The local files give the range boundaries. A page repeats at most one key.
        ("backup src BUCKET --yes", 3_000 / 49 + 2, true),
        // The boundaries are guesses: at most one useless request for three pages.
        ("backup other BUCKET --mock --max-delete 100% --allow-unrelated", 60 + 20, true),
        // A restore would delete the local file of a lost key, so it does not use ranges unless the
        // order of the store is known.
        ("restore BUCKET back --yes", 60 + 20, false),
    ] {
        world.store().clear_requests();
        let run = world.expect(0, line);
        let lists = world.store().requests_of("ListObjectsV2");
        assert!((60..=most).contains(&lists.len()), "{line}: {}", lists.len());
        assert_eq!(lists.iter().any(is_ranged), in_ranges, "{line}");
        if line.starts_with("backup other") {
            run.assert_says("3,000 to delete");
        }
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));

    // The listing is complete, too, if the store has another order or rejects start-after.
    world.write("src/1-1", "before 1/ in byte order, after it in path order");
    world.expect(0, "backup src BUCKET --yes");
    world.store().set_list_order(ListOrder::Paths);
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.store().set_list_order(ListOrder::Bytes);
    let refuse = Fault::on("ListObjectsV2").when(is_ranged).status(501, "NotImplemented");
    world.store().fault(refuse);
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET else --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("else")));
}

#[test]
fn restore_lists_prefixes_in_parallel_in_any_order() {
    let world = World::in_process();
    for n in 0..2_400 {
        world.write(&format!("src/all/{}/{}/{n}", n % 3, n % 15), format!("{n}"));
    }
    for n in 0..40 {
        world.write(
            &format!("src/all/{}-{n}", n % 3),
            "before all/0/, all/1/ and all/2/ in byte order",
        );
    }
    world.expect(0, "backup src BUCKET/deep --yes");
    world.store().put("deeper/all/0/0", b"under another prefix");
    world.store().set_page_size(50);
    world.store().fault(Fault::on("ListObjectsV2").delay(Duration::from_millis(5)));
    let restored = |dir: &str| {
        world.store().clear_requests();
        world.expect(0, &format!("restore BUCKET/deep {dir} --yes"));
        assert_eq!(files(&world.path("src")), files(&world.path(dir)));
        let lists = world.store().requests_of("ListObjectsV2");
        world.expect(0, &format!("restore BUCKET/deep {dir} --yes")).assert_nothing_to_do();
        world.expect(0, &format!("verify {dir} BUCKET/deep")).assert_says("2,440 the same");
        lists
    };
    for order in [ListOrder::Bytes, ListOrder::Paths] {
        world.store().set_list_order(order);
        let lists = restored(&format!("{order:?}"));
        assert!((50..=100).contains(&lists.len()), "{}", lists.len());
        assert!(lists.iter().any(|list| list.in_flight > 2));
        assert!(!lists.iter().any(is_ranged));
        assert!(lists.iter().any(|list| list.query["prefix"] == "deep/all/2/"));
    }
    // If the store cannot list by prefix or delimiter, one sequential listing remains.
    world.store().clear_faults();
    let by_prefix = |list: &Request| list.query["prefix"].ends_with("all/1/");
    let by_delimiter = |list: &Request| list.query.contains_key("delimiter");
    world.store().fault(Fault::on("ListObjectsV2").when(by_prefix).status(501, "NotImplemented"));
    restored("refused");
    let refuse = Fault::on("ListObjectsV2").when(by_delimiter).status(501, "NotImplemented");
    world.store().fault(refuse);
    assert_eq!(restored("flat").iter().filter(|list| !by_delimiter(list)).count(), 49);
    // A single worker gains nothing from a split listing.
    world.store().clear_faults();
    world.store().clear_requests();
    world.expect(0, "restore BUCKET/deep one --yes --workers 1");
    assert_eq!(world.store().count("ListObjectsV2"), 49);
}

/// Starts a proxy that connects every CONNECT request to the same server, and returns its URL.
pub fn proxy_to(server: String) -> String {
    let forward = |mut from: TcpStream, mut to: TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            thread::spawn(move || {
                let head = BufReader::new(&client).lines().map(Result::unwrap);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || forward(back.0, back.1));
                forward(client, server);
            });
        }
    });
    url
}

#[test]
fn restore_from_aws_lists_ranges() {
    let world = World::on(Store::start_tls());
    fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
    let proxy = proxy_to(world.endpoint().replace("https://", ""));
    let restore = |line: &str| {
        world.store().clear_requests();
        let mut command = s3keep(&world, &format!("{line} --addressing-style path"));
        command.env_remove("AWS_ENDPOINT_URL_S3").env("HTTPS_PROXY", &proxy);
        let done = run(command.env("AWS_CA_BUNDLE", world.path("ca.pem")));
        assert_eq!(done.code, 0, "{done:?}");
        let lists = world.store().requests_of("ListObjectsV2");
        assert!(lists.iter().all(|list| list.headers["host"] == "s3.us-east-1.amazonaws.com"));
        (done, lists.len(), lists.iter().any(is_ranged))
    };
    let objects = (0..900).map(|n| (format!("{}/{n}", n % 7), n.to_string().into_bytes()));
    let objects = BTreeMap::from_iter(objects);
    world.store().set_page_size(20);
    for (key, body) in &objects {
        world.store().put(key, body);
    }
    // The boundaries are guesses: at most one useless request for three pages.
    let (_, lists, in_ranges) = restore("restore BUCKET back --yes");
    assert!(in_ranges && (45..=45 + 15).contains(&lists), "{lists}");
    assert!(files(&world.path("back")) == objects);
    // The local files give the range boundaries. A page repeats at most one key.
    let (done, lists, in_ranges) = restore("restore BUCKET back --yes");
    assert!(in_ranges && (45..=900 / 19 + 2).contains(&lists), "{lists}");
    done.assert_nothing_to_do();
}

#[test]
fn unsigned_payload_option_turns_off_payload_signing() {
    let world = with_files(1);
    let payload_hash = |option: &str| {
        world.write("src/a", option);
        world.expect(0, &format!("backup src BUCKET --yes {option}"));
        let put = world.store().requests_of("PutObject").pop().unwrap();
        assert!(put.headers.contains_key("x-amz-checksum-crc64nvme"));
        put.headers["x-amz-content-sha256"].clone()
    };
    assert_eq!(payload_hash("--checksum-algorithm=crc64nvme").len(), 64);
    assert_eq!(payload_hash("--unsigned-payload"), "UNSIGNED-PAYLOAD");
}

#[test]
fn deletions_are_sent_in_batches_of_1000() {
    let world = World::in_process();
    for n in 0..2_500 {
        world.store().put(&format!("gone/{n}"), b"x");
    }
    world.store().put("gone/with\ncontrol", b"x");
    world.store().put("gone/ trimmed? ", b"x");
    world.write("src/a", "a");
    world
        .expect(0, "backup src BUCKET --yes --max-delete 100% --allow-unrelated")
        .assert_says("2,502 deleted");
    assert_eq!(world.store().keys(), ["a"]);
    assert_eq!(world.store().count("DeleteObjects"), 3);
    // Keys that XML cannot represent are deleted one by one.
    assert_eq!(world.store().count("DeleteObject"), 2);
    // Deletions follow the transfers.
    let operations: Vec<_> = world.store().requests().iter().map(|r| r.operation).collect();
    let put = operations.iter().position(|operation| *operation == "PutObject");
    let delete = operations.iter().position(|operation| operation.starts_with("Delete"));
    assert!(put < delete);
}

#[test]
fn pages_of_any_order_and_size_make_one_listing() {
    let world = World::in_process();
    for name in ["a-b", "a/b", "a/c", "a0", "b/c/d", "b/c-d", "b.c"] {
        world.write(&format!("src/{name}"), name);
    }
    for order in [ListOrder::Paths, ListOrder::Bytes] {
        for size in [1, 2, 3, 1_000] {
            world.store().set_list_order(order);
            world.store().set_page_size(size);
            world.expect(0, "backup src BUCKET --yes");
            world.expect(0, "restore BUCKET back --yes");
            world.expect(0, "backup back BUCKET --yes").assert_nothing_to_do();
            assert_eq!(files(&world.path("src")), files(&world.path("back")));
        }
    }
}
