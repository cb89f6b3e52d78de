//! What a run costs: requests and connections, counted.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::support::{
    World, files, run,
    store::{Fault, Request, Store},
};

fn with_files(count: usize) -> World {
    let world = World::in_process();
    for n in 0..count {
        world.write(&format!("src/{}/{n}", n % 7), format!("{n}"));
    }
    world
}

#[test]
fn a_run_with_nothing_to_do_costs_one_list_per_1000_objects_and_nothing_else() {
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
fn a_small_file_costs_one_request_and_connections_are_kept() {
    let world = with_files(300);
    for (line, operation, looks) in [
        // A backup that has something to send asks once for uploads that were cut off.
        ("backup src BUCKET --yes --workers 4", "PutObject", 2),
        ("restore BUCKET back --yes --workers 4", "GetObject", 1),
    ] {
        world.store().clear_requests();
        let before = world.store().connections();
        world.expect(0, line);
        assert_eq!(world.store().count(operation), 300);
        assert_eq!(world.store().requests().len(), 300 + looks);
        assert!(world.store().connections() - before <= 5, "{line}");
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn a_connection_is_only_made_where_it_is_worth_it() {
    let world = with_files(100);
    for line in ["backup src BUCKET --yes", "restore BUCKET back --yes"] {
        let before = world.store().connections();
        world.expect(0, line);
        // One for the listing, and 25 workers for 100 requests.
        assert!(world.store().connections() - before <= 26, "{line}");
    }
}

#[test]
fn a_large_bucket_is_listed_side_by_side_for_little_more_than_a_request_a_page() {
    use crate::support::store::ListOrder;
    let world = with_files(3_000);
    world.expect(0, "backup src BUCKET --yes");
    world.store().set_page_size(50);
    world.write("other/file", "nothing of what is there");
    for (line, most, in_ranges) in [
        // The local files say where to cut: all but one of a page are new.
        ("backup src BUCKET --yes", 3_000 / 49 + 2, true),
        // Nothing is known of what is there: a request in vain for three pages at most.
        ("backup other BUCKET --mock --max-delete 100%", 60 + 20, true),
        // A key that were lost would be missing in what is restored: no such store's order is sure enough.
        ("restore BUCKET back --yes", 60 + 20, false),
    ] {
        world.store().clear_requests();
        let run = world.expect(0, line);
        let lists = world.store().requests_of("ListObjectsV2");
        assert!((60..=most).contains(&lists.len()), "{line}: {}", lists.len());
        let begins_behind = |list: &Request| list.query.contains_key("start-after");
        assert_eq!(lists.iter().any(begins_behind), in_ranges, "{line}");
        if line.starts_with("backup other") {
            run.assert_says("3000 to delete");
        }
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));

    // Where the order is another, or nothing can be begun in the middle, all is found all the same.
    world.write("src/1-1", "in byte order before 1/, in path order behind it");
    world.expect(0, "backup src BUCKET --yes");
    world.store().set_list_order(ListOrder::Paths);
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.store().set_list_order(ListOrder::Bytes);
    let refuse = Fault::on("ListObjectsV2").when(|list| list.query.contains_key("start-after"));
    world.store().fault(refuse.status(501, "NotImplemented"));
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET else --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("else")));
}

#[test]
fn a_restore_lists_by_prefix_side_by_side_whatever_the_order() {
    use crate::support::store::ListOrder;
    let world = World::in_process();
    for n in 0..2_400 {
        world.write(&format!("src/all/{}/{}/{n}", n % 3, n % 15), format!("{n}"));
    }
    for n in 0..40 {
        world.write(
            &format!("src/all/{}-{n}", n % 3),
            "in byte order before all/0/, all/1/ and all/2/",
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
        world.expect(0, &format!("verify {dir} BUCKET/deep")).assert_says("2440 the same");
        lists
    };
    for order in [ListOrder::Bytes, ListOrder::Paths] {
        world.store().set_list_order(order);
        let lists = restored(&format!("{order:?}"));
        assert!((50..=100).contains(&lists.len()), "{}", lists.len());
        assert!(lists.iter().any(|list| list.under_way > 2));
        assert!(lists.iter().all(|list| !list.query.contains_key("start-after")));
        assert!(lists.iter().any(|list| list.query["prefix"] == "deep/all/2/"));
    }
    // What the store does not do by prefix is done in one.
    world.store().clear_faults();
    let by_prefix = |list: &Request| list.query["prefix"].ends_with("all/1/");
    let by_delimiter = |list: &Request| list.query.contains_key("delimiter");
    world.store().fault(Fault::on("ListObjectsV2").when(by_prefix).status(501, "NotImplemented"));
    restored("refused");
    world
        .store()
        .fault(Fault::on("ListObjectsV2").when(by_delimiter).status(501, "NotImplemented"));
    assert_eq!(restored("flat").iter().filter(|list| !by_delimiter(list)).count(), 49);
    // One worker is not better off with two things to do.
    world.store().clear_faults();
    world.store().clear_requests();
    world.expect(0, "restore BUCKET/deep one --yes --workers 1");
    assert_eq!(world.store().count("ListObjectsV2"), 49);
}

/// A proxy that takes whatever it is asked for to one server.
fn proxy_to(server: String) -> String {
    let pass_on = |mut from: TcpStream, mut to: TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            thread::spawn(move || {
                let asked = BufReader::new(&client).lines().map(Result::unwrap);
                asked.take_while(|line| !line.is_empty()).for_each(drop);
                (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass_on(back.0, back.1));
                pass_on(client, server);
            });
        }
    });
    url
}

#[test]
fn a_restore_from_aws_lists_in_ranges_but_for_directory_buckets() {
    let world = World::on(Store::start_tls());
    fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
    let proxy = proxy_to(world.endpoint().replace("https://", ""));
    let restore = |bucket: &str, how: &str| {
        world.store().clear_requests();
        let mut command = world.command();
        command.env_remove("AWS_ENDPOINT_URL_S3").env("HTTPS_PROXY", &proxy);
        command.env("AWS_CA_BUNDLE", world.path("ca.pem"));
        command.args(["restore", &format!("s3://{bucket}"), "back", how]);
        let done = run(command.args(["--addressing-style", "path"]));
        assert_eq!(done.code, 0, "{done:?}");
        let lists = world.store().requests_of("ListObjectsV2");
        assert!(lists.iter().all(|list| list.headers["host"] == "s3.amazonaws.com"));
        let begins_behind = |list: &Request| list.query.contains_key("start-after");
        (done, lists.len(), lists.iter().any(begins_behind))
    };
    let objects = (0..900).map(|n| (format!("{}/{n}", n % 7), n.to_string().into_bytes()));
    let objects = BTreeMap::from_iter(objects);
    world.store().create_bucket("bucket--use1-az4--x-s3");
    world.store().set_page_size(20);
    for (key, body) in &objects {
        world.store().put(key, body);
        world.store().put_in("bucket--use1-az4--x-s3", key, body);
    }
    let (done, _, in_ranges) = restore("bucket--use1-az4--x-s3", "--mock");
    assert!(!in_ranges);
    done.assert_says("900 to download");
    // Nothing is known of what is there: a request in vain for three pages at most.
    let (_, lists, in_ranges) = restore("bucket", "--yes");
    assert!(in_ranges && (45..=45 + 15).contains(&lists), "{lists}");
    assert!(files(&world.path("back")) == objects);
    // The local files say where to cut: all but one of a page are new.
    let (done, lists, in_ranges) = restore("bucket", "--yes");
    assert!(in_ranges && (45..=900 / 19 + 2).contains(&lists), "{lists}");
    done.assert_nothing_to_do();
}

#[test]
fn over_http_the_content_is_part_of_the_signature_unless_that_is_not_wanted() {
    let world = with_files(1);
    let sent = |option: &str| {
        world.write("src/a", option);
        world.expect(0, &format!("backup src BUCKET --yes {option}"));
        let put = world.store().requests_of("PutObject").pop().unwrap();
        assert!(put.headers.contains_key("x-amz-checksum-crc64nvme"));
        put.headers["x-amz-content-sha256"].clone()
    };
    assert_eq!(sent("--checksum-algorithm=crc64nvme").len(), 64);
    assert_eq!(sent("--unsigned-payload"), "UNSIGNED-PAYLOAD");
}

#[test]
fn deletions_go_in_batches_of_1000() {
    let world = World::in_process();
    for n in 0..2_500 {
        world.store().put(&format!("gone/{n}"), b"x");
    }
    world.store().put("gone/with\ncontrol", b"x");
    world.store().put("gone/ trimmed? ", b"x");
    world.write("src/a", "a");
    world.expect(0, "backup src BUCKET --yes --max-delete 100%").assert_says("2502 deleted");
    assert_eq!(world.store().keys(), ["a"]);
    assert_eq!(world.store().count("DeleteObjects"), 3);
    // What XML can't carry goes alone.
    assert_eq!(world.store().count("DeleteObject"), 2);
    // Transfers come before deletions.
    let operations: Vec<_> = world.store().requests().iter().map(|r| r.operation).collect();
    let put = operations.iter().position(|operation| *operation == "PutObject");
    let delete = operations.iter().position(|operation| operation.starts_with("Delete"));
    assert!(put < delete);
}

#[test]
fn pages_in_any_order_and_of_any_size_make_one_listing() {
    use crate::support::store::ListOrder;
    let world = World::in_process();
    for name in ["a", "a-b", "a/b", "a/c", "a0", "b/c/d", "b/c-d", "b.c"] {
        if name != "a" {
            world.write(&format!("src/{name}"), name);
        }
    }
    for order in [ListOrder::Paths, ListOrder::Bytes] {
        for size in [1, 2, 3, 1_000] {
            world.store().set_list_order(order);
            world.store().set_page_size(size);
            let run = world.run("backup src BUCKET --yes");
            assert_eq!(run.code, 0, "{run:?}");
            world.expect(0, "restore BUCKET back --yes");
            world.expect(0, "backup back BUCKET --yes").assert_nothing_to_do();
            assert_eq!(files(&world.path("src")), files(&world.path("back")));
        }
    }
}
