//! The options about AWS accounts: who pays for a request, and who owns the bucket.

use crate::{
    any_server::command_line::s3keep,
    support::{
        World, noise, run,
        store::{Fault, Request},
    },
};

const OPTIONS: &str = "--request-payer --expected-bucket-owner 123456789012";

/// Whether a request has both headers, and its signature covers them.
fn has_headers(request: &Request) -> bool {
    let value = |name: &str| request.headers.get(name).map(String::as_str);
    let is_signed = |name: &str| {
        value("authorization").is_some_and(|text| {
            let headers = text.split("SignedHeaders=").nth(1).unwrap_or_default();
            headers.split([',', ';']).any(|signed| signed.trim() == name)
        })
    };
    value("x-amz-request-payer") == Some("requester")
        && value("x-amz-expected-bucket-owner") == Some("123456789012")
        && is_signed("x-amz-request-payer")
        && is_signed("x-amz-expected-bucket-owner")
}

fn world() -> World {
    let world = World::in_process();
    world.write("dir/a", "a");
    world.write("dir/empty", "");
    world.write("dir/large", noise(1, 12 << 20));
    world
}

#[test]
fn every_request_has_the_headers_of_the_account_options() {
    let world = world();
    let store = world.store();
    let without = |request: &Request| !has_headers(request);
    store.fault(Fault::on("*").when(without).status(403, "AccessDenied"));
    store.put("old/1", "1");
    store.put("old/2", "2");
    // One upload is resumed, the other one is aborted.
    store.create_upload("large");
    store.create_upload("large");
    world.write("dir/second", noise(2, 6 << 20));
    world.expect(1, "backup dir BUCKET --yes").assert_says("AccessDenied");
    store.clear_requests();
    let allow = "--allow-unrelated --part-size 5MiB --no-record";
    world.expect(0, &format!("backup dir BUCKET --yes {allow} {OPTIONS}"));
    assert!(store.uploads().is_empty());
    for line in ["restore BUCKET back --yes --part-size 5MiB", "verify dir BUCKET --read-data"] {
        world.expect(0, &format!("{line} {OPTIONS}"));
    }
    world.expect(0, &format!("backup dir BUCKET --mock {OPTIONS}"));
    let operations = store.requests();
    for name in [
        "ListObjectsV2",
        "ListMultipartUploads",
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
        "DeleteObjects",
        "GetObject",
    ] {
        assert!(operations.iter().any(|request| request.operation == name), "no {name}");
    }
    assert!(operations.iter().all(has_headers), "{operations:#?}");
}

#[test]
fn no_request_has_the_headers_without_the_options() {
    let world = world();
    world.expect(0, "backup dir BUCKET --yes");
    world.expect(0, "restore BUCKET back --yes");
    let is_about_accounts =
        |name: &String| name == "x-amz-request-payer" || name == "x-amz-expected-bucket-owner";
    let requests = world.store().requests();
    assert!(!requests.iter().any(|request| request.headers.keys().any(is_about_accounts)));
}

#[test]
fn unusable_account_options_are_rejected_before_any_request() {
    let world = world();
    for (options, message) in [
        ("--expected-bucket-owner 1234", "use its 12 digits"),
        ("--expected-bucket-owner=12345678901x", "use its 12 digits"),
        ("--request-payer --unsigned", "remove --unsigned"),
    ] {
        for line in ["backup dir BUCKET --yes", "restore BUCKET back --yes", "verify dir BUCKET"] {
            world.expect(1, &format!("{line} {options}")).assert_says(message);
        }
    }
    let run = run(&mut s3keep(&world, "verify dir BUCKET --expected-bucket-owner"));
    assert_eq!(run.code, 1, "{run:?}");
    assert!(world.store().requests().is_empty());
}
