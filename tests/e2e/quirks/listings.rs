//! Stores whose listings are unusual. Whatever they are, a listing is complete, or an error.

use crate::support::{
    World, files, run,
    store::{Fault, ListOrder, Request},
};

/// A world with a backup of files with unusual names, listed in pages of `page_size`.
fn world(page_size: usize) -> World {
    let world = World::in_process();
    for name in ["a", "a b", "a+b", "a%20b", "p-b/c", "p/b", "d/\u{e9}", "d/x%", "e&<", "z"] {
        world.write(&format!("src/{name}"), name);
    }
    world.expect(0, "backup src BUCKET --yes").assert_says("10 uploaded");
    world.store().set_page_size(page_size);
    world.store().clear_requests();
    world
}

/// Backup, restore and verify find all objects.
fn expect_complete(world: &World) {
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    world.expect(0, "restore BUCKET back --yes").assert_says("10 downloaded");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    world.expect(0, "restore BUCKET back --yes").assert_nothing_to_do();
    world.expect(0, "verify src BUCKET").assert_says("10 the same");
    assert_eq!(world.store().keys().len(), 10);
}

/// Removes an element, whatever its text is.
fn without(xml: &str, name: &str) -> String {
    let mut xml = xml.to_owned();
    while let Some(start) = xml.find(&format!("<{name}>")) {
        let end = format!("</{name}>");
        let len = xml[start..].find(&end).unwrap() + end.len();
        xml.replace_range(start..start + len, "");
    }
    xml
}

/// A store that does not know ListObjectsV2 answers the request as if it were ListObjects.
fn as_version_1(xml: &str) -> String {
    let xml = ["KeyCount", "NextContinuationToken", "StartAfter", "ContinuationToken"]
        .iter()
        .fold(xml.to_owned(), |xml, name| without(&xml, name));
    xml.replace("</ListBucketResult>", "<Marker></Marker></ListBucketResult>")
}

fn rewrite(rewrite: impl Fn(&str) -> String + Send + Sync + 'static) -> Fault {
    Fault::on("ListObjectsV2").rewrite(move |_: &Request, xml: &str| rewrite(xml))
}

#[test]
fn version_1_is_used_where_version_2_is_refused() {
    for (status, code) in
        [(400, "InvalidArgument"), (400, ""), (405, "MethodNotAllowed"), (501, "NotImplemented")]
    {
        for order in [ListOrder::Bytes, ListOrder::Paths] {
            let world = world(3);
            world.store().set_list_order(order);
            world.store().fault(Fault::on("ListObjectsV2").status(status, code));
            world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
            assert_eq!(world.store().count("ListObjectsV2"), 1, "it is asked once");
            assert!(world.store().count("ListObjects") >= 4);
            expect_complete(&world);
        }
    }
    // A listing that is refused for another reason names that reason, and changes nothing.
    let world = world(3);
    world.store().fault(Fault::on("ListObjectsV2").status(403, "AccessDenied"));
    world.expect(1, "backup src BUCKET --yes").assert_says("permission denied (AccessDenied)");
    assert_eq!(world.store().count("ListObjects"), 0);
}

#[test]
fn version_1_is_used_where_version_2_is_ignored() {
    for page_size in [1, 3, 10, 1_000] {
        let world = world(page_size);
        world.store().fault(rewrite(as_version_1));
        world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
        assert_eq!(world.store().count("ListObjectsV2"), 1);
        // Ranges are guesses, which may cost a few requests more.
        let (pages, requests) = (10_usize.div_ceil(page_size), world.store().requests().len());
        assert!((pages..=pages + pages / 3).contains(&requests), "{requests}");
        expect_complete(&world);
    }
}

#[test]
fn large_listing_of_version_1_is_complete() {
    let world = World::in_process();
    for n in 0..300 {
        world.write(&format!("src/{}/{n}", n % 3), "x");
    }
    world.expect(0, "backup src BUCKET/deep --yes");
    world.store().put("deeper/x", b"under another prefix");
    world.store().set_page_size(10);
    world.store().fault(rewrite(as_version_1));
    for order in [ListOrder::Bytes, ListOrder::Paths] {
        world.store().set_list_order(order);
        world.expect(0, "backup src BUCKET/deep --yes").assert_nothing_to_do();
        let dir = format!("{order:?}");
        world.expect(0, &format!("restore BUCKET/deep {dir} --yes")).assert_says("300 downloaded");
        assert_eq!(files(&world.path("src")), files(&world.path(&dir)));
    }
}

#[test]
fn store_that_ignores_markers_changes_nothing() {
    let world = world(3);
    world.store().fault(rewrite(as_version_1));
    let first_page = Fault::on("ListObjects").rewrite(|_, _| {
        "<ListBucketResult><Marker/><IsTruncated>true</IsTruncated><Contents><Key>a</Key>\
         <Size>1</Size><LastModified>2024-02-29T12:34:56Z</LastModified></Contents>\
         </ListBucketResult>"
            .to_owned()
    });
    world.store().fault(first_page);
    world.expect(1, "restore BUCKET src --yes").assert_says("repeats a page");
    assert_eq!(files(&world.path("src")).len(), 10);
}

#[test]
fn listing_without_is_truncated_is_complete() {
    for page_size in [1, 3, 10, 1_000] {
        // With and without a token.
        for lost in [&["IsTruncated"][..], &["IsTruncated", "NextContinuationToken"]] {
            let world = world(page_size);
            let drop =
                move |xml: &str| lost.iter().fold(xml.to_owned(), |xml, name| without(&xml, name));
            world.store().fault(rewrite(drop));
            expect_complete(&world);
        }
    }
    // A short page that is sent again, because the store ignores where a page starts.
    let world = world(1_000);
    let alone = |xml: &str| {
        let names = ["IsTruncated", "MaxKeys", "KeyCount", "StartAfter"];
        names.iter().fold(xml.to_owned(), |xml, name| without(&xml, name))
    };
    world.store().fault(
        Fault::on("ListObjectsV2")
            .when(|list| !list.query.contains_key("start-after"))
            .rewrite(move |_, xml| alone(xml)),
    );
    let found = Fault::on("ListObjectsV2").status(500, "InternalError");
    world.store().fault(found);
    world.expect(1, "restore BUCKET src --yes --retries 0");
    assert_eq!(files(&world.path("src")).len(), 10, "the next page is unknown");
}

#[test]
fn page_that_is_sent_again_without_is_truncated_is_the_only_one_if_it_is_short() {
    for (max_keys, is_full) in [(1_000, false), (10, true)] {
        let world = world(1_000);
        let first = std::sync::Mutex::new(String::new());
        world.store().fault(Fault::on("ListObjectsV2").rewrite(move |request, xml| {
            let mut first = first.lock().unwrap();
            // The store ignores where a page starts.
            if !request.query.contains_key("start-after") {
                let xml = without(&without(xml, "IsTruncated"), "MaxKeys");
                let max_keys = format!("<MaxKeys>{max_keys}</MaxKeys></ListBucketResult>");
                *first = xml.replace("</ListBucketResult>", &max_keys);
            }
            first.clone()
        }));
        if is_full {
            world.expect(1, "restore BUCKET src --yes").assert_says("repeats a page");
            assert_eq!(files(&world.path("src")).len(), 10);
        } else {
            expect_complete(&world);
        }
    }
}

#[test]
fn empty_answer_without_is_truncated_is_not_an_empty_bucket() {
    let world = world(1_000);
    world.store().fault(rewrite(|_| "<ListBucketResult/>".to_owned()));
    world.expect(1, "restore BUCKET src --yes --allow-empty --retries 0");
    assert_eq!(files(&world.path("src")).len(), 10);
}

#[test]
fn is_truncated_false_ends_a_listing_with_a_token() {
    let world = world(1_000);
    world.store().fault(rewrite(|xml| {
        let token = "<NextContinuationToken>more</NextContinuationToken></ListBucketResult>";
        xml.replace("</ListBucketResult>", token)
    }));
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    assert_eq!(world.store().requests().len(), 1);
    expect_complete(&world);
}

#[test]
fn key_that_is_listed_twice_counts_once_if_its_data_agree() {
    let twice = |xml: &str| {
        let start = xml.find("<Contents>").unwrap();
        let end = xml.find("</Contents>").unwrap() + "</Contents>".len();
        (xml[start..end].to_owned(), start)
    };
    for page_size in [3, 1_000] {
        let world = world(page_size);
        world.store().fault(rewrite(move |xml| {
            let (first, start) = twice(xml);
            let mut xml = xml.to_owned();
            xml.insert_str(start, &first);
            xml
        }));
        expect_complete(&world);
    }
    // Each page repeats the last key of the page before it.
    let world = world(3);
    let before = std::sync::Mutex::new(String::new());
    world.store().fault(Fault::on("ListObjectsV2").rewrite(move |request, xml| {
        let mut last = before.lock().unwrap();
        if !request.query.contains_key("continuation-token") {
            last.clear();
        }
        let (_, start) = twice(xml);
        let mut xml = xml.to_owned();
        xml.insert_str(start, &last);
        let (from, to) = (xml.rfind("<Contents>").unwrap(), xml.rfind("</Contents>").unwrap());
        *last = xml[from..to].to_owned() + "</Contents>";
        xml
    }));
    for line in ["backup src BUCKET --yes", "verify src BUCKET"] {
        world.expect(0, &format!("{line} --workers 1"));
    }
    world.store().clear_faults();
    // The same key with another size.
    world.store().fault(rewrite(move |xml| {
        let (first, start) = twice(xml);
        let other = without(&first, "Size").replace("<Key>", "<Size>77</Size><Key>");
        let mut xml = xml.to_owned();
        xml.insert_str(start, &other);
        xml
    }));
    world.expect(1, "restore BUCKET src --yes").assert_says("contains a key twice");
    assert_eq!(files(&world.path("src")).len(), 10);
}

#[test]
fn last_modified_may_have_other_forms() {
    for change in [
        |time: &str| time.replace('Z', "+00:00"),
        |time: &str| time.replace('Z', "+0000"),
        |time: &str| time.replace('Z', ".123456789012Z"),
        |time: &str| {
            let seconds =
                time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
            httpdate::fmt_http_date(seconds.unwrap().into())
        },
    ] {
        let world = world(1_000);
        world.store().fault(rewrite(move |xml| {
            let mut parts = xml.split("<LastModified>");
            let mut changed = parts.next().unwrap().to_owned();
            for part in parts {
                let (time, rest) = part.split_once("</LastModified>").unwrap();
                let time = format!("{}Z", &time[..19]);
                changed += &format!("<LastModified>{}</LastModified>{rest}", change(&time));
            }
            changed
        }));
        expect_complete(&world);
    }
}

#[test]
fn encoding_of_keys_is_found_out_where_the_listing_does_not_state_it() {
    // The keys are encoded, but the response does not say so.
    for page_size in [3, 1_000] {
        let world = world(page_size);
        world.store().fault(rewrite(|xml| without(xml, "EncodingType")));
        expect_complete(&world);
    }
    // The keys are not encoded, although the response says so.
    let world = world(1_000);
    world.store().fault(Fault::on("ListObjectsV2").rewrite(|request, xml| {
        match request.query.contains_key("encoding-type") {
            false => xml.to_owned(),
            true => [("a+b", "a b"), ("a%2Bb", "a+b"), ("a%2520b", "a%20b"), ("%25", "%")]
                .iter()
                .chain(&[("%C3%A9", "\u{e9}"), ("e%26%3C", "e&amp;&lt;")])
                .fold(xml.to_owned(), |xml, (from, to)| {
                    xml.replace(&format!("{from}<"), &format!("{to}<"))
                }),
        }
    }));
    expect_complete(&world);
}

#[test]
fn encoded_prefix_is_recognized() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.write("src/c d", "d");
    let bucket = "s3://bucket/my photos";
    let backup = |line: &[&str], code: i32| {
        let run = run(world.command().args(line));
        assert_eq!(run.code, code, "{run:?}");
        run
    };
    backup(&["backup", "src", bucket, "--yes"], 0);
    world.store().fault(rewrite(|xml| without(xml, "EncodingType").replace('+', "%20")));
    backup(&["backup", "src", bucket, "--yes"], 0).assert_nothing_to_do();
    backup(&["restore", bucket, "back", "--yes"], 0);
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn store_that_does_not_encode_keys_is_asked_once_more() {
    let world = world(3);
    let plain = |request: &Request| !request.query.contains_key("encoding-type");
    world.store().fault(rewrite(|xml| {
        // The keys as they are: the store does not support the encoding.
        let keys = [(">a+b<", ">a b<"), (">a%2Bb<", ">a+b<"), (">a%2520b<", ">a%20b<")];
        let more = [("x%25<", "x%<"), ("%C3%A9", "\u{e9}"), ("e%26%3C", "e&amp;&lt;")];
        let keys = keys.iter().chain(&more);
        match xml.contains("<EncodingType>") {
            false => xml.to_owned(),
            true => {
                keys.fold(without(xml, "EncodingType"), |xml, (from, to)| xml.replace(from, to))
            }
        }
    }));
    expect_complete(&world);
    let lists = world.store().requests_of("ListObjectsV2");
    assert!(lists.iter().filter(|list| plain(list)).count() <= 5, "once in each run");
}
