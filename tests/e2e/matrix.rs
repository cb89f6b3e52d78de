//! Every kind of fault on every kind of request: once, and always.
//!
//! Each row of a table is a fault, the requests that it hits, and the outcome of the run. With
//! every outcome, the source is unchanged, each entry of the target is its old or its new version,
//! no upload is left that could have been aborted, and the next run without the fault makes both
//! sides equal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{LazyLock, Mutex},
    thread,
    time::Duration,
};

use crate::support::{
    Run, World, files, noise,
    store::{self, Fault, Object},
};
use Command::{Backup, Restore, Verify};
use Outcome::{EntryFails, NoChange, RunFails, Success, Unreachable, UploadRemains};

type Tree = BTreeMap<String, Vec<u8>>;

/// The outcome of a run. The line that names the entry or the bucket has to contain the text.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Exit code 0: both sides are equal.
    Success,
    /// Exit code 1: nothing is changed.
    NoChange(&'static str),
    /// Exit code 2: only this entry fails. If it was to be downloaded, the deletions are withheld,
    /// because all entries are in one directory. The target of an upload has an object of its name,
    /// so the deletions are made.
    EntryFails(&'static str),
    /// As `EntryFails`, and a multipart upload remains that could not be aborted.
    UploadRemains(&'static str),
    /// Exit code 1: the run stops early. The entry is not done. If it was to be transferred, the
    /// deletions are withheld. Each other entry is done or not.
    RunFails(&'static str),
    /// Exit code 2: the server is unreachable from now on. As `RunFails`, but an upload that was
    /// started before cannot be aborted.
    Unreachable(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    Backup,
    Restore,
    Verify,
}

/// The requests that a fault hits.
struct Request {
    command: Command,
    operation: &'static str,
    matches: fn(&store::Request) -> bool,
    /// The entry that fails; empty if the request concerns all entries.
    key: &'static str,
    /// The action and the subject in the error message.
    message: &'static str,
}

const fn request(
    command: Command,
    operation: &'static str,
    key: &'static str,
    message: &'static str,
    matches: fn(&store::Request) -> bool,
) -> Request {
    Request { command, operation, matches, key, message }
}

fn any(_: &store::Request) -> bool {
    true
}

fn is_later_page(request: &store::Request) -> bool {
    request.query.contains_key("continuation-token")
}

fn is_first_page(request: &store::Request) -> bool {
    !is_later_page(request)
}

/// A download in the last part of the large object, also one that resumes there.
fn is_last_range(request: &store::Request) -> bool {
    let end = format!("-{}", LARGE.len() - 1);
    request.headers.get("range").is_some_and(|range| range.ends_with(&end))
}

fn is_last_part(request: &store::Request) -> bool {
    request.query.get("partNumber").is_some_and(|number| number == "2")
}

const LIST: [&Request; 4] = [
    &request(Backup, "ListObjectsV2", "", "list s3://", is_first_page),
    &request(Backup, "ListObjectsV2", "", "list s3://", is_later_page),
    &request(Restore, "ListObjectsV2", "", "list s3://", is_first_page),
    &request(Restore, "ListObjectsV2", "", "list s3://", is_later_page),
];
const PUT: &Request = &request(Backup, "PutObject", "changed", "upload changed: ", any);
const CREATE: &Request =
    &request(Backup, "CreateMultipartUpload", "large", "start upload of large: ", any);
const PART: &Request = &request(Backup, "UploadPart", "large", "upload large: ", is_last_part);
const COMPLETE: &Request =
    &request(Backup, "CompleteMultipartUpload", "large", "complete upload of large: ", any);
/// Aborts the upload after the server has refused a part.
const ABORT: &Request = &request(Backup, "AbortMultipartUpload", "large", "large: ", any);
/// Looks for unfinished uploads of earlier runs. No entry depends on it.
const LIST_UPLOADS: &Request =
    &request(Backup, "ListMultipartUploads", "", "list uploads in s3://", any);
const DELETE_MANY: &Request = &request(Backup, "DeleteObjects", "gone", "delete gone: ", any);
/// XML cannot represent this key, so it needs a separate request.
const DELETE_ONE: &Request = &request(Backup, "DeleteObject", "go\tne", "delete go\\u{9}ne: ", any);
const GET: &Request = &request(Restore, "GetObject", "changed", "download changed: ", any);
const GET_RANGE: &Request =
    &request(Restore, "GetObject", "large", "download large: ", is_last_range);
const HEAD: &Request = &request(Verify, "HeadObject", "changed", "read metadata of changed: ", any);
const HEAD_LARGE: &Request =
    &request(Restore, "HeadObject", "large", "read metadata of large: ", any);

const ENTRIES: [&Request; 10] =
    [PUT, CREATE, PART, COMPLETE, DELETE_MANY, DELETE_ONE, GET, GET_RANGE, HEAD, HEAD_LARGE];
const ALL_BUT_HEAD: [&Request; 8] =
    [PUT, CREATE, PART, COMPLETE, DELETE_MANY, DELETE_ONE, GET, GET_RANGE];
const HEADS: [&Request; 2] = [HEAD, HEAD_LARGE];

/// A fault, the requests that it hits, and the outcomes.
struct Row<'a> {
    name: &'a str,
    apply: fn(Fault) -> Fault,
    requests: &'a [&'a Request],
    /// The outcome if the fault hits one request. `None` if the row has no such case.
    once: Option<Outcome>,
    /// The outcome if the fault hits every request. `None` if the row has no such case.
    always: Option<Outcome>,
}

const fn row<'a>(
    name: &'a str,
    apply: fn(Fault) -> Fault,
    requests: &'a [&'a Request],
    once: Outcome,
    always: Outcome,
) -> Row<'a> {
    Row { name, apply, requests, once: Some(once), always: Some(always) }
}

/// A row with the same outcome for once and always.
const fn same<'a>(
    name: &'a str,
    apply: fn(Fault) -> Fault,
    requests: &'a [&'a Request],
    outcome: Outcome,
) -> Row<'a> {
    row(name, apply, requests, outcome, outcome)
}

/// Rows with this name need a short timeout.
const STALLED: &str = "stalled";
/// Rows with this name need more retries.
const REFUSED_FOR_A_WHILE: &str = "refused for a while";

#[test]
fn server_errors_are_retried_then_reported() {
    const E500: fn(Fault) -> Fault = |fault| fault.status(500, "InternalError");
    const E503: fn(Fault) -> Fault = |fault| fault.status(503, "SlowDown");
    const RETRY_AFTER: fn(Fault) -> Fault =
        |fault| fault.status(503, "SlowDown").header("retry-after", "0");
    const E520: fn(Fault) -> Fault = |fault| fault.status(520, "").header("server", "cloudflare");
    const E429: fn(Fault) -> Fault = |fault| fault.status(429, "TooManyRequests");
    let refused = EntryFails("permission denied");
    check_rows(&[
        row("500", E500, &LIST, Success, NoChange("500 InternalError")),
        row("500", E500, &ALL_BUT_HEAD, Success, EntryFails("500 InternalError")),
        row("500", E500, &HEADS, Success, EntryFails("500")),
        row("500", E500, &[ABORT], refused, UploadRemains("500 InternalError")),
        row("503", E503, &LIST, Success, NoChange("503 SlowDown")),
        row("503", E503, &ENTRIES, Success, EntryFails("503 SlowDown")),
        row("503", E503, &[ABORT], refused, UploadRemains("503 SlowDown")),
        row("503, Retry-After", RETRY_AFTER, &LIST[3..], Success, NoChange("503 SlowDown")),
        row(
            "503, Retry-After",
            RETRY_AFTER,
            &[PUT, GET, PART],
            Success,
            EntryFails("503 SlowDown"),
        ),
        same("503", E503, &[LIST_UPLOADS], Success),
        row("429", E429, &LIST[..1], Success, NoChange("429 TooManyRequests")),
        // A proxy in front of a store may send its own error when the store does not respond.
        row("520", E520, &LIST[..1], Success, NoChange("responded with 520")),
        row(
            "520",
            E520,
            &[PUT, GET, PART, COMPLETE, HEAD],
            Success,
            EntryFails("responded with 520"),
        ),
        row(
            "429",
            E429,
            &[PUT, GET, DELETE_MANY, COMPLETE],
            Success,
            EntryFails("429 TooManyRequests"),
        ),
    ]);
}

#[test]
fn broken_connections_are_retried_then_reported() {
    const BEFORE: fn(Fault) -> Fault = |fault| fault.close();
    const AFTER: fn(Fault) -> Fault = |fault| fault.close_after();
    let refused = EntryFails("permission denied");
    check_rows(&[
        row("closed before", BEFORE, &LIST, Success, NoChange("")),
        row("closed before", BEFORE, &ENTRIES, Success, EntryFails("")),
        row("closed before", BEFORE, &[ABORT], refused, UploadRemains("")),
        same("closed before", BEFORE, &[LIST_UPLOADS], Success),
        row("closed after", AFTER, &LIST, Success, NoChange("")),
        row("closed after", AFTER, &ENTRIES, Success, EntryFails("")),
        // The server has aborted the upload.
        same("closed after", AFTER, &[ABORT], refused),
    ]);
}

#[test]
fn refused_connections_are_retried_then_reported() {
    // Longer than the wait before the first retry: that retry is refused, a later one is not.
    const FOR_A_WHILE: fn(Fault) -> Fault = |fault| fault.refuse(Some(Duration::from_millis(250)));
    const FOREVER: fn(Fault) -> Fault = |fault| fault.refuse(None);
    let once = |requests, outcome| Row {
        always: None,
        ..same(REFUSED_FOR_A_WHILE, FOR_A_WHILE, requests, outcome)
    };
    let always =
        |requests, outcome| Row { once: None, ..same("refused", FOREVER, requests, outcome) };
    let (no_connection, permission) = ("connection refused", EntryFails("permission denied"));
    // The failure of this request is not reported, but the entries that cannot be uploaded are.
    let list_uploads = Request { message: "upload new: ", ..*LIST_UPLOADS };
    check_rows(&[
        once(&LIST, Success),
        once(&ENTRIES, Success),
        once(&[LIST_UPLOADS], Success),
        once(&[ABORT], permission),
        always(&LIST, NoChange(no_connection)),
        always(&ENTRIES, Unreachable(no_connection)),
        always(&[&list_uploads], Unreachable(no_connection)),
        always(&[ABORT], Unreachable(no_connection)),
    ]);
}

#[test]
fn truncated_responses_are_retried_then_reported() {
    const CUT: fn(Fault) -> Fault = |fault| fault.cut_body(100);
    const CUT_AT_START: fn(Fault) -> Fault = |fault| fault.cut_body(0);
    const LONGER: fn(Fault) -> Fault = |fault| fault.content_length(100_000_000);
    const SHORTER: fn(Fault) -> Fault = |fault| fault.content_length(100);
    const TRUNCATED: fn(Fault) -> Fault = |fault| fault.truncate_body(100);
    let (xml, data) = ([CREATE, COMPLETE, DELETE_MANY], [GET, GET_RANGE]);
    check_rows(&[
        row("cut", CUT, &LIST, Success, NoChange("")),
        row("cut", CUT, &xml, Success, EntryFails("")),
        // Each try gets some bytes more.
        same("cut", CUT, &data, Success),
        row("cut at the start", CUT_AT_START, &data, Success, EntryFails("")),
        row("Content-Length too large", LONGER, &LIST, Success, NoChange("")),
        row("Content-Length too large", LONGER, &xml, Success, EntryFails("")),
        row("Content-Length too large", LONGER, &[GET], Success, EntryFails("")),
        // The whole part arrives before the connection closes.
        same("Content-Length too large", LONGER, &[GET_RANGE], Success),
        row("Content-Length too small", SHORTER, &LIST, Success, NoChange("cannot be understood")),
        row("Content-Length too small", SHORTER, &[CREATE, COMPLETE], Success, EntryFails("")),
        // Objects are then deleted one by one.
        same("Content-Length too small", SHORTER, &[DELETE_MANY], Success),
        row("Content-Length too small", SHORTER, &[GET], Success, EntryFails("")),
        same("Content-Length too small", SHORTER, &[GET_RANGE], Success),
        row("truncated", TRUNCATED, &LIST, Success, NoChange("cannot be understood")),
        row("truncated", TRUNCATED, &[CREATE, COMPLETE], Success, EntryFails("")),
        same("truncated", TRUNCATED, &[DELETE_MANY], Success),
        row("truncated", TRUNCATED, &[GET], Success, EntryFails("")),
        same("truncated", TRUNCATED, &[GET_RANGE], Success),
    ]);
}

#[test]
fn stalled_responses_are_retried_then_reported() {
    const STALL: fn(Fault) -> Fault = |fault| fault.stall_body(100, None);
    const STALL_AT_START: fn(Fault) -> Fault = |fault| fault.stall_body(0, None);
    check_rows(&[
        row(STALLED, STALL, &LIST, Success, NoChange("the connection is stalled")),
        row(
            STALLED,
            STALL,
            &[CREATE, DELETE_MANY],
            Success,
            EntryFails("the connection is stalled"),
        ),
        row(STALLED, STALL, &[COMPLETE], Success, EntryFails("the connection is stalled")),
        // Each try gets some bytes more.
        same(STALLED, STALL, &[GET, GET_RANGE], Success),
        row(
            STALLED,
            STALL_AT_START,
            &[GET, GET_RANGE],
            Success,
            EntryFails("the connection is stalled"),
        ),
    ]);
}

#[test]
fn corrupted_bodies_are_retried_then_reported() {
    const RESPONSE: fn(Fault) -> Fault = |fault| fault.flip_body(100);
    const REQUEST: fn(Fault) -> Fault = |fault| fault.flip_request_body(30);
    check_rows(&[
        row("flipped response", RESPONSE, &[GET, GET_RANGE], Success, EntryFails("do not match")),
        row(
            "flipped request",
            REQUEST,
            &[PUT, PART, COMPLETE, DELETE_MANY],
            Success,
            EntryFails(""),
        ),
    ]);
}

#[test]
fn responses_that_are_not_s3_are_retried_then_reported() {
    const HTML: fn(Fault) -> Fault = |fault| fault.body("<html>captive portal</html>");
    const TEXT: fn(Fault) -> Fault = |fault| fault.body("\u{0}\u{1}not XML");
    const EMPTY: fn(Fault) -> Fault = |fault| fault.body("");
    const BYTES: fn(Fault) -> Fault = |fault| fault.body(vec![0xff; 1 << 20]);
    const SAME_PAGE: fn(Fault) -> Fault = |fault| fault.body(page(TOKENS[0])).times(20);
    let unclear = "cannot be understood";
    let xml = [CREATE];
    check_rows(&[
        row("HTML", HTML, &LIST, Success, NoChange(unclear)),
        row("HTML", HTML, &xml, Success, EntryFails(unclear)),
        // The upload was completed, so the retry gets a 404. Its body is replaced, too.
        row("HTML", HTML, &[COMPLETE], Success, EntryFails("404")),
        row("not XML", TEXT, &LIST, Success, NoChange(unclear)),
        row("not XML", TEXT, &xml, Success, EntryFails(unclear)),
        row("not XML", TEXT, &[COMPLETE], Success, EntryFails("404")),
        row("empty", EMPTY, &LIST, Success, NoChange(unclear)),
        row("empty", EMPTY, &xml, Success, EntryFails(unclear)),
        row("empty", EMPTY, &[COMPLETE], Success, EntryFails("")),
        // Objects are then deleted one by one.
        same("HTML", HTML, &[DELETE_MANY], Success),
        same("not XML", TEXT, &[DELETE_MANY], Success),
        same("empty", EMPTY, &[DELETE_MANY], Success),
        // These response bodies are not read.
        same("HTML", HTML, &[PUT, PART, LIST_UPLOADS], Success),
        same("not text", BYTES, &[PUT, PART], Success),
        Row {
            once: None,
            ..row("endless", SAME_PAGE, &[LIST[1], LIST[3]], Success, NoChange("repeats a page"))
        },
    ]);
}

#[test]
fn errors_in_a_200_response_are_detected() {
    const BUSY: fn(Fault) -> Fault = |fault| fault.error_in_ok("InternalError");
    const REFUSED: fn(Fault) -> Fault = |fault| fault.error_in_ok("AccessDenied");
    const KEY_BUSY: fn(Fault) -> Fault = |fault| fault.body(not_deleted("InternalError"));
    const KEY_REFUSED: fn(Fault) -> Fault = |fault| fault.body(not_deleted("AccessDenied"));
    check_rows(&[
        row("200, error", BUSY, &[COMPLETE], Success, EntryFails("InternalError")),
        same("200, refusal", REFUSED, &[COMPLETE], EntryFails("permission denied")),
        row("200, error", BUSY, &[DELETE_MANY], Success, EntryFails("InternalError")),
        row("200, error", BUSY, &[PUT, PART], Success, EntryFails("without an ETag")),
        row("200, error of a key", KEY_BUSY, &[DELETE_MANY], Success, EntryFails("InternalError")),
        same("200, refusal of a key", KEY_REFUSED, &[DELETE_MANY], EntryFails("permission denied")),
    ]);
}

#[test]
fn refused_requests_are_named_failures() {
    const E403: fn(Fault) -> Fault = |fault| fault.status(403, "AccessDenied");
    const E404: fn(Fault) -> Fault = |fault| fault.status(404, "NoSuchKey");
    const GONE: fn(Fault) -> Fault = |fault| fault.status_after(404, "NoSuchKey");
    const E412: fn(Fault) -> Fault = |fault| fault.status(412, "PreconditionFailed");
    const NO_UPLOAD: fn(Fault) -> Fault = |fault| fault.status(404, "NoSuchUpload");
    let others = [PUT, CREATE, PART, COMPLETE, DELETE_ONE, GET, GET_RANGE, HEAD, HEAD_LARGE];
    let (gone, replaced) = ("does not exist (any more)", "was replaced after it was listed");
    check_rows(&[
        same("403", E403, &LIST, NoChange("permission denied")),
        same("403", E403, &others, EntryFails("permission denied")),
        // Only the request for several objects is refused.
        same("403", E403, &[DELETE_MANY], Success),
        same("403", E403, &[LIST_UPLOADS], Success),
        same("403", E403, &[ABORT], UploadRemains("permission denied")),
        same("404", E404, &[GET, GET_RANGE, HEAD, HEAD_LARGE], EntryFails(gone)),
        same("404", GONE, &[DELETE_ONE], Success),
        same("404 NoSuchUpload", NO_UPLOAD, &[PART, COMPLETE], EntryFails("404 NoSuchUpload")),
        same("412", E412, &[GET, GET_RANGE], EntryFails(replaced)),
    ]);
}

#[test]
fn expired_credentials_and_a_missing_bucket_end_the_run() {
    const EXPIRED: fn(Fault) -> Fault = |fault| fault.status(400, "ExpiredToken");
    const NO_BUCKET: fn(Fault) -> Fault = |fault| fault.status(404, "NoSuchBucket");
    let (expired, no_bucket) = ("the credentials have expired", "the bucket does not exist");
    check_rows(&[
        same("400 ExpiredToken", EXPIRED, &LIST, NoChange(expired)),
        same("400 ExpiredToken", EXPIRED, &ALL_BUT_HEAD, RunFails(expired)),
        same("400 ExpiredToken", EXPIRED, &[LIST_UPLOADS], RunFails(expired)),
        same("404 NoSuchBucket", NO_BUCKET, &LIST[..2], NoChange(no_bucket)),
        same("404 NoSuchBucket", NO_BUCKET, &[PUT, PART, GET, GET_RANGE], RunFails(no_bucket)),
    ]);
}

/// Not a row of a table, because it takes several faults.
#[test]
fn cyclic_listing_is_a_failure() {
    let (world, _, before) = world(Restore, false);
    let has_token = |token: &'static str| {
        move |request: &store::Request| {
            request.query.get("continuation-token").map_or(token.is_empty(), |sent| sent == token)
        }
    };
    let [a, b] = TOKENS;
    for (token, next) in [("", a), (a, b), (b, a)] {
        let page = Fault::on("ListObjectsV2").when(has_token(token)).times(20).body(page(next));
        world.store().fault(page);
    }
    let run = world.expect(1, "restore BUCKET dir --yes --retries 0");
    run.assert_says("repeats a page");
    assert_eq!(files(&world.path("dir")), before);
    assert!(world.store().count("ListObjectsV2") < 20);
}

/// Two tokens that the server accepts: the listing continues after `changed`, and after `g`.
const TOKENS: [&str; 2] = ["1+/a2NoYW5nZWQ==", "1+/a2c=="];

/// A page without objects, with the token of the next page.
fn page(next: &str) -> String {
    format!(
        "<ListBucketResult><Name>b</Name><Prefix></Prefix><EncodingType>url</EncodingType>\
         <KeyCount>0</KeyCount><MaxKeys>2</MaxKeys><IsTruncated>true</IsTruncated>\
         <NextContinuationToken>{next}</NextContinuationToken></ListBucketResult>"
    )
}

fn not_deleted(code: &str) -> String {
    format!(
        "<DeleteResult><Error><Key>gone</Key><Code>{code}</Code><Message>m</Message></Error>\
         </DeleteResult>"
    )
}

/// Two parts, the last of which is long enough to be cut three times.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| noise(1, (5 << 20) + 1_000));

/// A source and a target, with entries to replace, to add, to keep and to delete.
fn trees(large: bool) -> (Tree, Tree) {
    let tree = |entries: &[(&str, &[u8])]| -> Tree {
        entries.iter().map(|(name, body)| ((*name).to_owned(), body.to_vec())).collect()
    };
    let (new, old): (&[u8], &[u8]) = (&LARGE[..1_000], b"older");
    let mut source = tree(&[("changed", new), ("new", b"new"), ("same", b"same")]);
    let mut target =
        tree(&[("changed", old), ("same", b"same"), ("gone", b"gone"), ("go\tne", b"gone")]);
    if large {
        source.insert("large".to_owned(), LARGE.clone());
        target.insert("large".to_owned(), old.to_vec());
    }
    (source, target)
}

/// A world, its source, and its target before the run. For verify, both sides are equal.
fn world(command: Command, large: bool) -> (World, Tree, Tree) {
    let world = World::in_process();
    let (source, target) = trees(large);
    let (local, remote) = match command {
        Backup => (&source, &target),
        Restore => (&target, &source),
        Verify => (&source, &source),
    };
    for (path, body) in local {
        world.write(&format!("dir/{path}"), body);
    }
    for (key, body) in remote {
        world.store().put(key, body);
    }
    if command == Verify {
        // The ETag reveals nothing about the content, so verify has to send a HEAD.
        let opaque = Object::new(source["changed"].clone()).etag("opaque");
        world.store().put_object("changed", opaque);
    }
    world.store().set_page_size(2);
    let before = if command == Verify { source.clone() } else { target };
    (world, source, before)
}

/// Checks all cases of the rows, four at a time, and lists those with another outcome.
fn check_rows(rows: &[Row]) {
    let mut cases = Vec::new();
    for row in rows {
        for request in row.requests {
            cases.extend(row.once.map(|outcome| (row, *request, true, outcome)));
            cases.extend(row.always.map(|outcome| (row, *request, false, outcome)));
        }
    }
    let (cases, wrong) = (Mutex::new(cases), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().unwrap().pop();
                    let Some((row, request, once, outcome)) = next else { return };
                    if let Err(why) = check_case(row, request, once, outcome) {
                        let often = if once { "once" } else { "always" };
                        let Request { command, operation, key, .. } = request;
                        let failure = format!(
                            "{}, {command:?} {operation} {key:?}, {often}, {outcome:?}: {why}",
                            row.name,
                        );
                        wrong.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

fn check_case(row: &Row, request: &Request, once: bool, outcome: Outcome) -> Result<(), String> {
    let (world, source, before) = world(request.command, request.key == "large");
    let mut fault = (row.apply)(Fault::on(request.operation).when(request.matches));
    if !matches!(request.operation, "ListObjectsV2" | "DeleteObjects") {
        fault = fault.key(request.key);
    }
    let hits = world.store().fault(if once { fault.times(1) } else { fault });
    if request.operation == "AbortMultipartUpload" {
        world.store().fault(Fault::on("UploadPart").status(403, "AccessDenied"));
    }
    let line = match request.command {
        Backup => "backup dir BUCKET --yes --list",
        Restore => "restore BUCKET dir --yes --list",
        Verify => "verify dir BUCKET",
    };
    let timeout = if row.name == STALLED { "500ms" } else { "30s" };
    let retries = if row.name == REFUSED_FOR_A_WHILE { 8 } else { 2 };
    let line =
        format!("{line} --retries {retries} --part-size 5MiB --workers 4 --timeout {timeout}");

    let run = world.run(&line);
    let found = sides(&world, request.command);
    ensure(hits.count() > 0, "no request met the fault", &run)?;
    check_messages(outcome, request, &run)?;
    ensure(found.0 == source, "the source was changed", &run)?;
    let is_expected = is_expected_target(outcome, request, &source, &before, &found.1);
    ensure(is_expected, &describe(&found.1), &run)?;
    let remaining_uploads = match outcome {
        UploadRemains(_) => 1..=1,
        Unreachable(_) => 0..=1,
        _ => 0..=0,
    };
    let uploads = world.store().uploads().len();
    ensure(remaining_uploads.contains(&uploads), &format!("{uploads} uploads remain"), &run)?;

    world.store().clear_faults();
    let run = world.run(&line);
    let found = sides(&world, request.command);
    ensure(run.code == 0, "the next run fails", &run)?;
    ensure(found.0 == source && found.1 == source, "the next run leaves a difference", &run)?;
    ensure(world.store().uploads().is_empty(), "the next run leaves uploads", &run)
}

/// Checks the exit code, and that a message names the failure.
fn check_messages(outcome: Outcome, request: &Request, run: &Run) -> Result<(), String> {
    let (code, text) = match outcome {
        Success => (0, None),
        NoChange(text) | RunFails(text) => (1, Some(text)),
        EntryFails(text) | UploadRemains(text) | Unreachable(text) => (2, Some(text)),
    };
    ensure(run.code == code, &format!("the exit code is {}", run.code), run)?;
    let is_named = text.is_none_or(|text| {
        run.stderr.lines().any(|line| line.contains(request.message) && line.contains(text))
    });
    ensure(is_named, &format!("not named: {}{}", request.message, text.unwrap_or_default()), run)
}

/// Whether the target is as the outcome requires.
fn is_expected_target(
    outcome: Outcome,
    request: &Request,
    source: &Tree,
    before: &Tree,
    found: &Tree,
) -> bool {
    let is_deletion = |key: &str| before.contains_key(key) && !source.contains_key(key);
    let all: BTreeSet<&String> = source.keys().chain(before.keys()).chain(found.keys()).collect();
    all.into_iter().all(|key| {
        let is_old = found.get(key) == before.get(key);
        let is_new = found.get(key) == source.get(key);
        let is_withheld = is_deletion(key) && !is_deletion(request.key);
        let may_be_copy = is_withheld && request.command == Restore;
        match outcome {
            Success => is_new,
            NoChange(_) => is_old,
            // The server may have executed an upload or a deletion that failed. A failed download
            // has no effect.
            EntryFails(_) | UploadRemains(_) if key == request.key && request.command == Backup => {
                is_old || is_new
            }
            EntryFails(_) | UploadRemains(_) if key == request.key || may_be_copy => is_old,
            EntryFails(_) | UploadRemains(_) => is_new,
            RunFails(_) | Unreachable(_) if key == request.key || is_withheld => is_old,
            RunFails(_) | Unreachable(_) => is_old || is_new,
        }
    })
}

/// The source and the target after a run.
fn sides(world: &World, command: Command) -> (Tree, Tree) {
    let remote = world.store().keys().into_iter().map(|key| {
        let object = world.store().get(&key).expect("the run has ended");
        (key, object.body.to_vec())
    });
    let (local, remote) = (files(&world.path("dir")), remote.collect());
    if command == Restore { (remote, local) } else { (local, remote) }
}

fn describe(tree: &Tree) -> String {
    let sizes: Vec<_> = tree.iter().map(|(name, body)| (name, body.len())).collect();
    format!("the target is {sizes:?}")
}

fn ensure(condition: bool, why: &str, run: &Run) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("{why}\n    {} {:?}", run.code, run.stderr)) }
}
