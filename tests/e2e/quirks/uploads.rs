//! Stores that refuse headers of uploads, allow fewer parts, or lose what they confirm.

use std::fs;

use crate::{
    any_server::command_line::s3keep,
    support::{
        World, files, noise, run,
        store::{Fault, Request, Store},
    },
};

const BACKUP: &str = "backup src BUCKET --yes --part-size 5MiB";
const SIZE: usize = (11 << 20) + 3;

fn world() -> World {
    let world = World::in_process();
    world.write("src/large", noise(3, SIZE));
    for n in 0..20 {
        world.write(&format!("src/{n}"), noise(n, 2_000));
    }
    world.write("src/empty", "");
    world
}

fn has_header(request: &Request, start: &str) -> bool {
    request.headers.keys().any(|name| name.starts_with(start))
}

fn expect_stored(world: &World) {
    world.expect(0, BACKUP).assert_says("22 uploaded");
    world.expect(0, BACKUP).assert_nothing_to_do();
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
    assert!(world.store().uploads().is_empty());
}

#[test]
fn checksum_header_that_is_refused_is_not_sent_any_more() {
    for (status, code) in
        [(400, "InvalidArgument"), (400, "InvalidRequest"), (400, ""), (501, "NotImplemented")]
    {
        // Everywhere, only where an object or part is sent, or only where an upload is started.
        for prefix in
            ["x-amz-checksum-", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm"]
        {
            for algorithm in ["crc64nvme", "sha256"] {
                let world = world();
                let is_refused =
                    move |request: &Request| request.method != "GET" && has_header(request, prefix);
                let hits =
                    world.store().fault(Fault::on("*").when(is_refused).status(status, code));
                let line = format!("{BACKUP} --workers 1 --checksum-algorithm {algorithm}");
                world.expect(0, &line).assert_says("22 uploaded");
                assert!((1..=3).contains(&hits.count()), "{prefix} {}", hits.count());
                let put = world.store().requests_of("PutObject").pop().unwrap();
                assert_eq!(put.headers.contains_key("content-md5"), !has_header(&put, prefix));
                world.expect(0, "restore BUCKET back --yes");
                assert_eq!(files(&world.path("src")), files(&world.path("back")));
                assert!(world.store().uploads().is_empty());
            }
        }
    }
}

#[test]
fn parallel_uploads_survive_a_refused_checksum_header() {
    let world = world();
    let is_refused = |request: &Request| has_header(request, "x-amz-sdk-checksum-algorithm");
    world.store().fault(Fault::on("*").when(is_refused).status(400, "InvalidArgument"));
    expect_stored(&world);
}

#[test]
fn refusal_of_an_upload_is_reported_with_its_first_reason() {
    let world = world();
    world.store().fault(Fault::on("PutObject").key("7").status(400, "InvalidArgument"));
    let run = world.expect(2, &format!("{BACKUP} --workers 1"));
    run.assert_says("upload 7: the server responded with 400 InvalidArgument");
    let puts = world.store().requests_of("PutObject");
    assert!(puts.iter().filter(|put| put.key == "7").count() <= 2);
    assert!(puts.last().unwrap().headers.contains_key("x-amz-checksum-crc64nvme"));
}

#[test]
fn payload_is_signed_over_https_where_the_store_requires_it() {
    for (status, code) in [
        (403, "SignatureDoesNotMatch"),
        (400, "XAmzContentSHA256Mismatch"),
        (400, "InvalidRequest"),
        (501, "NotImplemented"),
    ] {
        let world = World::on(Store::start_tls());
        fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
        world.write("src/large", noise(3, SIZE));
        world.write("src/small", "small");
        let is_unsigned = |request: &Request| {
            request.headers.get("x-amz-content-sha256").is_some_and(|v| v == "UNSIGNED-PAYLOAD")
        };
        world.store().fault(Fault::on("*").when(is_unsigned).status(status, code));
        let backup = || {
            let mut command = s3keep(&world, BACKUP);
            run(command.env("AWS_CA_BUNDLE", world.path("ca.pem")))
        };
        let done = backup();
        assert_eq!(done.code, 0, "{status} {code}: {done:?}");
        assert_eq!(world.store().get("large").unwrap().body, noise(3, SIZE));
        assert_eq!(world.store().get("small").unwrap().body, "small");
        let part = world.store().requests_of("UploadPart").pop().unwrap();
        assert_eq!(part.headers["x-amz-content-sha256"].len(), 64);
    }
}

/// What a store does when it has lost a part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Completion {
    /// It compares size and checksum with the headers of the request.
    Checks,
    /// It returns size and checksum of what it has.
    ReturnsChecksum,
    /// Only its ETag is that of fewer parts.
    ReturnsETag,
    /// It returns an ETag that says nothing.
    ReturnsNothing,
}

impl Completion {
    fn apply(self, world: &World) {
        world.store().ignore_completion_headers(self != Completion::Checks);
        let change = move |_: &Request, xml: &str| {
            let mut xml = xml.to_owned();
            if matches!(self, Completion::ReturnsETag | Completion::ReturnsNothing) {
                for name in ["CRC64NVME", "CRC32", "SHA256"] {
                    xml = xml.replace(&format!("Checksum{name}>"), "Other>");
                }
            }
            if self == Completion::ReturnsNothing {
                xml = xml.replace("ETag>", "Old>");
                xml = xml.replace("<Old>", "<ETag>opaque</ETag><Old>");
            }
            xml
        };
        world.store().fault(Fault::on("CompleteMultipartUpload").rewrite(change));
    }
}

const COMPLETIONS: [Completion; 4] = [
    Completion::Checks,
    Completion::ReturnsChecksum,
    Completion::ReturnsETag,
    Completion::ReturnsNothing,
];

#[test]
fn lost_part_does_not_count_as_stored() {
    for completion in COMPLETIONS {
        for (index, algorithm) in [(0, "crc64nvme"), (1, "crc32"), (2, "sha256"), (1, "none")] {
            let world = world();
            let line = format!("{BACKUP} --allow-unrelated --checksum-algorithm {algorithm}");
            completion.apply(&world);
            world.store().forget_part(Some(index));
            let run = world.expect(2, &line);
            run.assert_says("complete upload of large: ");
            run.assert_says("21 uploaded");
            world.store().forget_part(None);
            world.expect(0, &line).assert_says("1 uploaded");
            assert_eq!(world.store().get("large").unwrap().body, noise(3, SIZE));
        }
    }
}

#[test]
fn complete_upload_costs_no_further_request_if_the_response_proves_it() {
    for completion in COMPLETIONS {
        let world = world();
        completion.apply(&world);
        world.expect(0, BACKUP).assert_says("22 uploaded");
        let heads = usize::from(completion == Completion::ReturnsNothing);
        assert_eq!(world.store().count("HeadObject"), heads, "{completion:?}");
    }
}

/// An ETag of the form that S3 gives an object of three parts, but of other content.
fn other_etag(_: &Request, xml: &str) -> String {
    let (start, end) = (xml.find("<ETag>").unwrap(), xml.find("</ETag>").unwrap());
    let xml = format!("{}<ETag>{}-3{}", &xml[..start], "0".repeat(32), &xml[end..]);
    xml.replace("ChecksumCRC64NVME>", "Other>")
}

#[test]
fn parts_in_the_wrong_order_do_not_count_as_stored() {
    let world = world();
    world.write("src/large too", noise(4, SIZE));
    world.store().ignore_completion_headers(true);
    world.store().fault(Fault::on("CompleteMultipartUpload").skip(1).rewrite(other_etag));
    let run = world.expect(2, BACKUP);
    run.assert_says("the store has other content than was sent");
    // Its size is right: a later run would not notice.
    let stored = ["large", "large too"].map(|key| world.store().get(key).is_some());
    assert!(stored[0] != stored[1], "{stored:?}");
}

#[test]
fn other_etags_of_parts_are_no_proof_against_an_upload() {
    // Some stores form the ETag in another way from the MD5s of the parts.
    let world = world();
    world.write("src/large too", noise(4, SIZE));
    world.store().fault(Fault::on("CompleteMultipartUpload").rewrite(other_etag));
    world.expect(0, BACKUP).assert_says("23 uploaded");
    assert_eq!(world.store().get("large").unwrap().body, noise(3, SIZE));
}

#[test]
fn opaque_etags_of_parts_are_no_proof_against_an_upload() {
    let world = world();
    // Like SSE-KMS: the ETags look like MD5s, but are not those of the content.
    let other = |_: &Request, xml: &str| {
        let (start, end) = (xml.find("<ETag>").unwrap(), xml.find("</ETag>").unwrap());
        let xml = format!("{}<ETag>{}-3{}", &xml[..start], "0".repeat(32), &xml[end..]);
        xml.replace("ChecksumCRC64NVME>", "Other>")
    };
    let opaque = |n: i32| {
        let etag = format!("\"{n:032}\"");
        Fault::on("UploadPart").part(n).header("etag", &etag)
    };
    (1..=3).for_each(|n| _ = world.store().fault(opaque(n)));
    world.store().accept_any_part_etag(true);
    world.store().fault(Fault::on("CompleteMultipartUpload").rewrite(other));
    world.expect(0, BACKUP).assert_says("22 uploaded");
    assert_eq!(world.store().get("large").unwrap().body, noise(3, SIZE));
}

#[test]
fn checksum_that_differs_from_what_was_sent_is_not_accepted() {
    for (operation, key) in [("PutObject", "7"), ("UploadPart", "large")] {
        let world = world();
        let wrong = || {
            let fault =
                Fault::on(operation).key(key).header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=");
            fault.header("etag", "\"00000000000000000000000000000000\"")
        };
        // Once, it is sent again.
        world.store().fault(wrong().times(1));
        expect_stored(&world);
        world.store().clear_faults();
        world.store().remove(key);
        world.store().fault(wrong());
        let run = world.expect(2, &format!("{BACKUP} --retries 0"));
        run.assert_says(&format!("upload {key}: the store confirms other bytes than were sent"));
    }
}

#[test]
fn malformed_checksum_of_a_store_is_ignored() {
    let world = world();
    for operation in ["PutObject", "UploadPart"] {
        let fault = Fault::on(operation).header("x-amz-checksum-crc64nvme", "nonsense");
        world.store().fault(fault);
    }
    expect_stored(&world);
}

#[test]
fn checksum_of_a_part_is_named_only_if_the_store_returned_it() {
    let world = world();
    world.store().fault(Fault::on("UploadPart").without_headers("x-amz-checksum-"));
    // The store of the tests requires the checksums, as S3 does. Swift knows none.
    let run = world.expect(2, &format!("{BACKUP} --checksum-algorithm sha256"));
    run.assert_says("must include the checksum for each part");
}

#[test]
fn completion_names_size_and_checksum_of_the_object() {
    for (algorithm, header) in [
        ("crc64nvme", Some("x-amz-checksum-crc64nvme")),
        ("crc32", Some("x-amz-checksum-crc32")),
        ("crc32c", Some("x-amz-checksum-crc32c")),
        ("sha256", None),
        ("none", None),
    ] {
        let world = world();
        world.expect(0, &format!("{BACKUP} --checksum-algorithm {algorithm}"));
        let completion = world.store().requests_of("CompleteMultipartUpload").pop().unwrap();
        assert_eq!(completion.headers["x-amz-mp-object-size"], SIZE.to_string());
        let sums: Vec<_> =
            completion.headers.keys().filter(|name| name.starts_with("x-amz-checksum-")).collect();
        match header {
            Some(header) => assert_eq!(sums, [header, "x-amz-checksum-type"]),
            None => assert!(sums.is_empty(), "{sums:?}"),
        }
    }
}

#[test]
fn completion_headers_that_are_refused_are_not_sent_any_more() {
    let world = world();
    world.write("src/second", noise(4, SIZE));
    let has_any = |request: &Request| has_header(request, "x-amz-mp-object-size");
    let refuse = Fault::on("CompleteMultipartUpload").when(has_any);
    let hits = world.store().fault(refuse.status(501, "NotImplemented"));
    world.expect(0, &format!("{BACKUP} --workers 1")).assert_says("23 uploaded");
    assert_eq!(hits.count(), 1);
    // A store that refuses only the checksum of the whole object, as if it were wrong: the upload
    // begins again, once.
    let world = self::world();
    let has_sum = |request: &Request| has_header(request, "x-amz-checksum-");
    let refuse = Fault::on("CompleteMultipartUpload").when(has_sum);
    let hits = world.store().fault(refuse.status(400, "BadDigest"));
    expect_stored(&world);
    assert_eq!(hits.count(), 1);
    assert_eq!(world.store().count("UploadPart"), 6);
}

#[test]
fn parts_are_larger_where_the_store_allows_fewer() {
    for (code, names_limit) in [("InvalidArgument", true), ("InvalidPart", false)] {
        let world = World::in_process();
        let size = 56 << 20;
        world.write("src/large", noise(5, size));
        world.write("src/small", "small");
        let is_above = |request: &Request| {
            request.query.get("partNumber").is_some_and(|n| n.parse::<u32>().unwrap() > 10)
        };
        let refuse = Fault::on("UploadPart").when(is_above).status(400, code);
        let message = "Part number must be an integer between 1 and 10, inclusive";
        let refuse = if names_limit { refuse.message(message) } else { refuse };
        world.store().fault(refuse);
        world.expect(0, BACKUP).assert_says("2 uploaded");
        assert_eq!(world.store().get("large").unwrap().body.len(), size);
        assert!(world.store().get("large").unwrap().etag.ends_with("-10"));
        assert!(world.store().uploads().is_empty());
        world.expect(0, BACKUP).assert_nothing_to_do();
        world.expect(0, "restore BUCKET back --yes");
        assert_eq!(files(&world.path("src")), files(&world.path("back")));
    }
    // Larger parts do not help.
    let world = World::in_process();
    world.write("src/large", noise(5, 56 << 20));
    let is_late = |request: &Request| request.query["partNumber"] == "8";
    world.store().fault(Fault::on("UploadPart").when(is_late).status(400, "InvalidArgument"));
    world.expect(2, BACKUP).assert_says("upload large: the server responded with 400");
}

#[test]
fn part_that_was_lost_once_is_uploaded_again_in_the_same_run() {
    let world = world();
    world.store().ignore_completion_headers(true);
    world.store().forget_part(Some(1));
    world.store().fault(Fault::on("CreateMultipartUpload").skip(1).times(1).run(|store| {
        store.forget_part(None);
    }));
    expect_stored(&world);
    assert_eq!(world.store().count("CompleteMultipartUpload"), 2);
}
