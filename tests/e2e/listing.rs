//! `ls` and `du`: what they print, and how many requests they make.

use std::time::{Duration, SystemTime};

use s3keep::{Cause, Keeper};
use serde_json::{Value, json};

use crate::{
    embedding::config,
    support::{
        World, run,
        store::{Fault, ListOrder, Object, Request},
    },
};

/// 2024-02-29T12:34:56Z
const TIME: Duration = Duration::from_secs(1_709_210_096);

/// A bucket with these objects, each as many bytes long as the number says.
fn bucket_with(objects: &[(&str, usize)]) -> World {
    let world = World::in_process();
    for (key, size) in objects {
        let object = Object::new(vec![b'x'; *size]);
        world.store().put_object(key, object.last_modified(SystemTime::UNIX_EPOCH + TIME));
    }
    world
}

fn photos() -> World {
    bucket_with(&[
        ("notes.txt", 10),
        ("p/2023/a.jpg", 1_000),
        ("p/2024/may/b.jpg", 2_000),
        ("p/2024/c.jpg", 3_000),
        ("p/2024-x", 5),
        ("p/index", 1_536),
        ("photos2/z", 1),
    ])
}

fn json_lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ls_prints_one_level_with_sizes_times_and_totals() {
    let world = photos();
    let run = world.expect(0, "ls BUCKET/p");
    let expected = "                               -  2023/\n\
                    \x20                              -  2024/\n\
                    2024-02-29T12:34:56Z         5 B  2024-x\n\
                    2024-02-29T12:34:56Z     1.5 KiB  index\n\
                    2 objects (1.5 KiB), 2 directories\n";
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (expected, ""));
    assert_eq!(world.store().requests().len(), 1);
    assert_eq!(world.expect(0, "ls BUCKET/p/").stdout, expected);
    let run = world.expect(0, "ls BUCKET --bytes");
    let expected = "2024-02-29T12:34:56Z               10  notes.txt\n\
                    \x20                                   -  p/\n\
                    \x20                                   -  photos2/\n\
                    1 object (10 bytes), 2 directories\n";
    assert_eq!(run.stdout, expected);
    assert_eq!(world.expect(0, "ls -q BUCKET/p").stdout, "");
}

#[test]
fn recursive_ls_prints_all_levels_and_their_directories() {
    let world = photos();
    let run = world.expect(0, "ls --recursive --bytes BUCKET/p");
    let names: Vec<&str> = run.stdout.lines().filter_map(|line| line.get(39..)).collect();
    let expected = [
        "2023/",
        "2023/a.jpg",
        "2024/",
        "2024/c.jpg",
        "2024/may/",
        "2024/may/b.jpg",
        "2024-x",
        "index",
    ];
    assert_eq!(names, expected);
    run.assert_says("5 objects (7541 bytes), 3 directories");
    assert_eq!(world.store().requests().len(), 1);
    assert_eq!(world.expect(0, "ls -R --bytes BUCKET/p").stdout, run.stdout);
}

#[test]
fn ls_prints_json() {
    let world = photos();
    let lines = json_lines(&world.expect(0, "ls --json BUCKET/p").stdout);
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0], json!({"type": "directory", "path": "2023/", "key": "p/2023/"}));
    let object = json!({
        "type": "object", "path": "2024-x", "key": "p/2024-x", "size": 5,
        "modified": "2024-02-29T12:34:56Z", "etag": world.store().get("p/2024-x").unwrap().etag,
    });
    assert_eq!(lines[2], object);
    let summary = json!({
        "type": "summary", "objects": {"entries": 2, "bytes": 1_541}, "directories": 2, "exit_code": 0,
    });
    assert_eq!(lines[4], summary);
}

#[test]
fn du_adds_up_each_directory() {
    let world = photos();
    let run = world.expect(0, "du BUCKET");
    let expected = "    1000 B          1 object   p/2023/\n\
                    \x20  2.0 KiB          1 object   p/2024/may/\n\
                    \x20  4.9 KiB          2 objects  p/2024/\n\
                    \x20  7.4 KiB          5 objects  p/\n\
                    \x20      1 B          1 object   photos2/\n\
                    \x20  7.4 KiB          7 objects  total\n";
    assert_eq!(run.stdout, expected);
    assert_eq!(world.store().requests().len(), 1);
    let lines = |line: &str| {
        let run = world.expect(0, line);
        run.stdout
            .lines()
            .map(|line| line.rsplit("  ").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(lines("du BUCKET --max-depth 1"), ["p/", "photos2/", "total"]);
    assert_eq!(lines("du BUCKET -d 0"), ["total"]);
    let found = json_lines(&world.expect(0, "du --json --max-depth=1 BUCKET/p").stdout);
    let usage = json!({
        "type": "usage", "path": "2024/", "key": "p/2024/", "objects": {"entries": 2, "bytes": 5_000},
    });
    assert_eq!(found[1], usage);
    let summary = json!({
        "type": "summary", "objects": {"entries": 5, "bytes": 7_541}, "directories": 3, "exit_code": 0,
    });
    assert_eq!(found[2..], [summary]);
    world.expect(0, "du --bytes BUCKET/p").assert_says("           7541");
}

#[test]
fn ls_needs_one_request_per_page() {
    for order in [ListOrder::Bytes, ListOrder::Paths] {
        let world = World::in_process();
        world.store().set_list_order(order);
        for number in 0..25 {
            world.store().put(&format!("d/{number:02}/a"), b"");
            world.store().put(&format!("d/{number:02}/b"), b"");
            world.store().put(&format!("d/{number:02}.txt"), b"1");
        }
        world.store().set_page_size(10);
        world.store().clear_requests();
        world.expect(0, "ls BUCKET/d").assert_says("25 objects (25 B), 25 directories");
        let requests = world.store().requests();
        assert_eq!(requests.len(), 5);
        assert!(requests.iter().all(|request| request.query["delimiter"] == "/"));
    }
}

#[test]
fn hostile_names_are_printed_safely() {
    let names =
        ["a\nb", "\u{1b}[2Jc", "\u{202e}gpj.exe", " x ", "\u{4f60}\u{597d}", "e+f%20g", "-rf"];
    let world = World::in_process();
    for name in names {
        world.store().put(&format!("{name}/{name}"), b"1");
        world.store().put(name, b"1");
    }
    for line in ["ls BUCKET", "ls -R BUCKET", "du BUCKET"] {
        let run = world.expect(0, line);
        assert!(!run.stdout.contains(['\u{1b}', '\u{202e}']), "{line}");
        for name in [
            r"a\u{a}b/",
            r"\u{1b}[2Jc/",
            r"\u{202e}gpj.exe/",
            "\u{4f60}\u{597d}/",
            "e+f%20g/",
            "-rf/",
        ] {
            assert!(run.stdout.contains(&format!("  {name}\n")), "{line}: {run:#?}");
        }
    }
    let lines = json_lines(&world.expect(0, "ls --json BUCKET").stdout);
    let mut paths: Vec<&str> = lines.iter().filter_map(|line| line["key"].as_str()).collect();
    let mut expected: Vec<String> = names.map(str::to_owned).to_vec();
    expected.extend(names.map(|name| format!("{name}/")));
    paths.sort_unstable();
    expected.sort_unstable();
    assert_eq!(paths, expected);
    world.store().put("dir/x", b"1");
    // A URL with a space and with wide characters.
    let run = run(world.command().args(["ls", "s3://bucket/ x "]));
    assert_eq!(run.code, 0);
    run.assert_says("1 object (1 B), 0 directories");
}

#[test]
fn keys_that_cannot_be_files_are_listed_and_count() {
    let objects = [("p/a//b", 1), ("p/../c", 2), ("p/d/", 4), ("p/e/", 0), ("p/", 0), ("p/f", 8)];
    let world = bucket_with(&objects);
    let names = |line: &str| {
        let run = world.expect(0, line);
        let names = run.stdout.lines().filter_map(|line| line.get(39..));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("ls BUCKET/p --bytes"), ["../", "a/", "d/", "e/", "f"]);
    let all = ["../", "../c", "a/", "a//", "a//b", "d/", "d/", "e/", "f"];
    assert_eq!(names("ls -R BUCKET/p --bytes"), all);
    world.expect(0, "ls -R BUCKET/p").assert_says("4 objects (15 B), 5 directories");
    world.expect(0, "du BUCKET/p").assert_says("4 objects  total");
    // The object whose key is the prefix with a slash.
    let world = bucket_with(&[("p/", 3)]);
    let run = world.expect(0, "ls BUCKET/p");
    run.assert_says("3 B  ./\n1 object (3 B), 0 directories");
    assert_eq!(json_lines(&world.expect(0, "ls BUCKET/p --json").stdout)[0]["key"], "p/");
    // A directory that another tool made.
    let world = bucket_with(&[("p/", 0)]);
    world.expect(0, "ls BUCKET/p").assert_says("0 objects (0 B), 0 directories");
    world.expect(0, "du BUCKET/p").assert_says("0 objects  total");
}

#[test]
fn key_that_is_not_utf8_is_listed() {
    let world = bucket_with(&[("p/x-y", 7), ("p/z", 1)]);
    let rewrite = |_: &Request, xml: &str| xml.replace("x-y", "x%FF");
    world.store().fault(Fault::on("ListObjectsV2").rewrite(rewrite));
    for line in ["ls BUCKET/p", "ls -R BUCKET/p"] {
        world.expect(0, line).assert_says("7 B  x\u{fffd}\n");
    }
    world.expect(0, "du BUCKET/p").assert_says("2 objects  total");
}

#[test]
fn object_is_listed_by_its_key_unless_there_are_objects_below() {
    let world =
        bucket_with(&[("p/f", 5), ("p/f.old", 6), ("p/f-2/x", 7), ("p/g", 1), ("p/g/h", 2)]);
    let run = world.expect(0, "ls BUCKET/p/f");
    assert_eq!(run.stdout, "2024-02-29T12:34:56Z         5 B  f\n1 object (5 B), 0 directories\n");
    assert_eq!(world.store().requests().len(), 2);
    assert_eq!(json_lines(&world.expect(0, "ls --json BUCKET/p/f").stdout)[0]["key"], "p/f");
    world.expect(0, "ls -R BUCKET/p/f").assert_says("5 B  f\n");
    world.expect(0, "du BUCKET/p/f").assert_says("5 B          1 object   total");
    let run = world.expect(0, "ls BUCKET/p/g");
    assert!(run.stdout.contains("2 B  h\n") && run.stdout.contains("1 object "), "{run:#?}");
    assert!(!run.stdout.contains("  g\n"), "{run:#?}");
}

#[test]
fn prefix_without_objects_fails_with_similar_names() {
    let world = photos();
    for command in ["ls", "ls -R", "ls --json", "du", "du --json"] {
        let run = world.expect(1, &format!("{command} BUCKET/photos"));
        assert_eq!(run.stdout, "", "{command}");
        run.assert_says(
            "s3://bucket/photos/: there are no objects; did you mean s3://bucket/photos2/?",
        );
        assert!(!run.stderr.contains("--allow-empty"), "{run:#?}");
    }
    for (wrong, suggestion) in [
        ("p/2025", "did you mean s3://bucket/p/2023/ or s3://bucket/p/2024/"),
        ("note.txt", "did you mean s3://bucket/notes.txt?"),
        ("P/2024", "did you mean s3://bucket/p/?"),
        ("photos2/deeper/still/x", "`s3keep ls s3://bucket/photos2/` lists what there is"),
        ("zzzz", "`s3keep ls s3://bucket` lists what there is"),
    ] {
        world.expect(1, &format!("ls BUCKET/{wrong}")).assert_says(suggestion);
    }
    world.store().clear_requests();
    world.expect(1, "ls BUCKET/p/2025");
    // The prefix, the key, and the directory above.
    assert_eq!(world.store().requests().len(), 3);
}

#[test]
fn empty_bucket_is_listed_without_an_error() {
    let world = World::in_process();
    world.expect(0, "ls BUCKET").assert_says("0 objects (0 B), 0 directories");
    world.expect(0, "ls -R BUCKET").assert_says("0 objects (0 B), 0 directories");
    world.expect(0, "du BUCKET").assert_says("0 objects  total");
    world.expect(1, "ls BUCKET/p").assert_says("s3://bucket/p/: there are no objects\n");
    world.expect(1, "ls s3://other").assert_says("NoSuchBucket");
}

#[test]
fn suggestion_that_cannot_be_made_does_not_hide_the_error() {
    let world = photos();
    let is_above = |request: &Request| request.query["prefix"] == "p/";
    world.store().fault(Fault::on("ListObjectsV2").when(is_above).status(403, "AccessDenied"));
    let run = world.expect(1, "ls BUCKET/p/2025");
    assert_eq!(run.stderr, "s3keep: list s3://bucket/p/2025/: there are no objects\n");
}

#[test]
fn store_with_the_first_version_of_listings_is_listed() {
    let world = photos();
    let version_2 = |request: &Request| request.query.contains_key("list-type");
    world.store().fault(Fault::on("ListObjectsV2").when(version_2).status(501, "NotImplemented"));
    // This store repeats a directory if the page before ends with it.
    world.store().set_page_size(2);
    world.expect(0, "ls BUCKET/p").assert_says("2 objects (1.5 KiB), 2 directories");
    world.expect(0, "du BUCKET/p").assert_says("5 objects  total");
    world.expect(0, "ls BUCKET/notes.txt").assert_says("10 B  notes.txt");
}

#[test]
fn store_that_ignores_the_delimiter_is_listed() {
    let world = photos();
    let keys = ["p/2023/a.jpg", "p/2024/c.jpg", "p/2024/may/b.jpg", "p/2024-x", "p/index"];
    let object = |key: &&str| {
        format!(
            "<Contents><Key>{key}</Key><Size>1</Size>\
             <LastModified>2024-02-29T12:34:56Z</LastModified></Contents>"
        )
    };
    let body = format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>",
        keys.iter().map(object).collect::<String>()
    );
    world.store().fault(Fault::on("ListObjectsV2").body(body));
    world.expect(0, "ls BUCKET/p").assert_says("2 objects (2 B), 2 directories");
}

#[test]
fn store_that_repeats_a_page_is_an_error() {
    let world = photos();
    world.store().set_page_size(2);
    let first = |request: &Request| request.query.contains_key("continuation-token");
    let body = "<ListBucketResult><IsTruncated>true</IsTruncated>\
                <NextContinuationToken>t</NextContinuationToken>\
                <CommonPrefixes><Prefix>p/2023/</Prefix></CommonPrefixes></ListBucketResult>";
    world.store().fault(Fault::on("ListObjectsV2").when(first).body(body));
    world.expect(1, "ls BUCKET/p --retries 0").assert_says("repeats a page");
}

#[test]
fn ls_takes_no_lock_and_needs_no_directory() {
    let world = photos();
    let in_root = run(world.command().current_dir("/").args(["ls", "s3://bucket/p"]));
    assert_eq!(in_root.code, 0);
    // Everything about the server can be an option.
    let (endpoint, bucket) = (world.endpoint(), &world.bucket);
    let mut command = world.command();
    command.env_remove("AWS_ENDPOINT_URL_S3").env_remove("HOME");
    let args = ["du", "--region", "eu-west-1", "--addressing-style", "path", "-b", bucket];
    let run = run(command.args(args).args(["--endpoint-url", endpoint]));
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(!world.path(".cache").exists());
}

#[test]
fn program_lists_a_bucket() {
    let world = photos();
    let keeper = Keeper::new(config(&world, "none", "p")).unwrap();
    let contents = keeper.list(false, &mut |_| {}).unwrap();
    assert_eq!(contents.directories, ["2023/", "2024/"]);
    let paths: Vec<&str> = contents.objects.iter().map(|object| &*object.path).collect();
    assert_eq!(paths, ["2024-x", "index"]);
    assert_eq!(contents.total().bytes, 1_541);
    let usage = keeper.usage(&mut |_| {}).unwrap();
    assert_eq!((usage.total.entries, usage.directories.len()), (5, 3));
    assert!(!world.path("none").exists());

    let missing = Keeper::new(config(&world, "none", "photos")).unwrap();
    let error = missing.list(true, &mut |_| {}).unwrap_err();
    let Cause::NoObjects { similar, directory, can_be_allowed } = error.cause() else {
        panic!("{error}")
    };
    assert_eq!(similar, &["s3://bucket/photos2/"]);
    assert_eq!((directory.as_deref(), *can_be_allowed), (Some("s3://bucket"), false));
    keeper.cancel().cancel();
    assert!(keeper.list(false, &mut |_| {}).unwrap_err().is_interrupted());
}

#[test]
fn credentials_that_fail_are_reported_as_for_other_commands() {
    let world = photos();
    for line in ["ls BUCKET", "du BUCKET", "ls BUCKET/none"] {
        world.store().fault(Fault::on("ListObjectsV2").times(1).status(403, "AccessDenied"));
        world.expect(1, line).assert_says("AccessDenied");
    }
}
