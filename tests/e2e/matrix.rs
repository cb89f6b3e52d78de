//! What can go wrong with a request, by what was asked for: once, and always.
//!
//! Each row of a table is a fault, the requests that it hits, and how the run then has to end. Whatever
//! the end, the source stays as it was, no entry of the target is anything but its old or its new self,
//! nothing is left lying about, and the run after the fault makes both sides equal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{LazyLock, Mutex},
    thread,
    time::Duration,
};

use End::*;

use crate::support::{
    Run, World, files, noise,
    store::{self, Fault, Object},
};

type Tree = BTreeMap<String, Vec<u8>>;

/// How a run has to end. The text has to stand in the line that names the entry or the bucket.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Exit code 0, and both sides are equal.
    Done,
    /// 1, and nothing is changed.
    Nothing(&'static str),
    /// 2: all is done but this entry and, if it was to be transferred, the deletions.
    Entry(&'static str),
    /// Like `Entry`; and a multipart upload is left that could not be aborted.
    Orphan(&'static str),
    /// 1: the run ends, some of it is done; the entry is not, nor are deletions if it was a transfer.
    Fatal(&'static str),
    /// 2: nobody is there any more. Like `Fatal`, and what was begun by then can't be aborted either.
    Gone(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    Backup,
    Restore,
    Verify,
}

/// A request that a fault hits.
struct Request {
    command: Command,
    operation: &'static str,
    /// Which of these requests.
    which: fn(&store::Request) -> bool,
    /// The entry that it is about; empty for all.
    key: &'static str,
    /// How a message begins that says that it failed.
    names: &'static str,
}

const fn request(
    command: Command,
    operation: &'static str,
    key: &'static str,
    names: &'static str,
    which: fn(&store::Request) -> bool,
) -> Request {
    Request { command, operation, which, key, names }
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

/// The last range of the large object, also where a broken download goes on.
fn is_last_range(request: &store::Request) -> bool {
    let end = format!("-{}", LARGE.len() - 1);
    request.headers.get("range").is_some_and(|range| range.ends_with(&end))
}

fn is_last_part(request: &store::Request) -> bool {
    request.query.get("partNumber").is_some_and(|number| number == "2")
}

use Command::{Backup, Restore, Verify};

const LIST: [&Request; 4] = [
    &request(Backup, "ListObjectsV2", "", "list s3://", is_first_page),
    &request(Backup, "ListObjectsV2", "", "list s3://", is_later_page),
    &request(Restore, "ListObjectsV2", "", "list s3://", is_first_page),
    &request(Restore, "ListObjectsV2", "", "list s3://", is_later_page),
];
const PUT: &Request = &request(Backup, "PutObject", "changed", "upload changed: ", any);
const CREATE: &Request =
    &request(Backup, "CreateMultipartUpload", "large", "begin upload of large: ", any);
const PART: &Request = &request(Backup, "UploadPart", "large", "upload large: ", is_last_part);
const COMPLETE: &Request =
    &request(Backup, "CompleteMultipartUpload", "large", "complete upload of large: ", any);
/// Of an upload of which a part is refused.
const ABORT: &Request = &request(Backup, "AbortMultipartUpload", "large", "large: ", any);
/// What an earlier run may have left; nothing depends on it.
const LIST_UPLOADS: &Request =
    &request(Backup, "ListMultipartUploads", "", "list uploads in s3://", any);
const DELETE_MANY: &Request = &request(Backup, "DeleteObjects", "gone", "delete gone: ", any);
/// No key for XML.
const DELETE_ONE: &Request = &request(Backup, "DeleteObject", "go\tne", "delete go\\u{9}ne: ", any);
const GET: &Request = &request(Restore, "GetObject", "changed", "download changed: ", any);
const GET_RANGE: &Request =
    &request(Restore, "GetObject", "large", "download large: ", is_last_range);
const HEAD: &Request = &request(Verify, "HeadObject", "changed", "look at changed: ", any);
const HEAD_LARGE: &Request = &request(Restore, "HeadObject", "large", "look at large: ", any);

const ENTRIES: [&Request; 10] =
    [PUT, CREATE, PART, COMPLETE, DELETE_MANY, DELETE_ONE, GET, GET_RANGE, HEAD, HEAD_LARGE];
const ALL_BUT_HEAD: [&Request; 8] =
    [PUT, CREATE, PART, COMPLETE, DELETE_MANY, DELETE_ONE, GET, GET_RANGE];
const HEADS: [&Request; 2] = [HEAD, HEAD_LARGE];

/// A fault, what it hits, and how that has to end.
struct Row<'a> {
    fault: &'a str,
    strike: fn(Fault) -> Fault,
    requests: &'a [&'a Request],
    /// Nothing, where once is no fault.
    once: Option<End>,
    /// Nothing, where always is another fault.
    always: Option<End>,
}

const fn row<'a>(
    fault: &'a str,
    strike: fn(Fault) -> Fault,
    requests: &'a [&'a Request],
    once: End,
    always: End,
) -> Row<'a> {
    Row { fault, strike, requests, once: Some(once), always: Some(always) }
}

/// Where once and always are the same.
const fn one<'a>(
    fault: &'a str,
    strike: fn(Fault) -> Fault,
    requests: &'a [&'a Request],
    end: End,
) -> Row<'a> {
    row(fault, strike, requests, end, end)
}

#[test]
fn a_server_in_trouble() {
    const E500: fn(Fault) -> Fault = |fault| fault.status(500, "InternalError");
    const E503: fn(Fault) -> Fault = |fault| fault.status(503, "SlowDown");
    const WAIT: fn(Fault) -> Fault =
        |fault| fault.status(503, "SlowDown").header("retry-after", "0");
    const E520: fn(Fault) -> Fault = |fault| fault.status(520, "").header("server", "cloudflare");
    const E429: fn(Fault) -> Fault = |fault| fault.status(429, "TooManyRequests");
    let refused = Entry("permission denied");
    play(&[
        row("500", E500, &LIST, Done, Nothing("500 InternalError")),
        row("500", E500, &ALL_BUT_HEAD, Done, Entry("500 InternalError")),
        row("500", E500, &HEADS, Done, Entry("500")),
        row("500", E500, &[ABORT], refused, Orphan("500 InternalError")),
        row("503", E503, &LIST, Done, Nothing("503 SlowDown")),
        row("503", E503, &ENTRIES, Done, Entry("503 SlowDown")),
        row("503", E503, &[ABORT], refused, Orphan("503 SlowDown")),
        row("503, Retry-After", WAIT, &LIST[3..], Done, Nothing("503 SlowDown")),
        row("503, Retry-After", WAIT, &[PUT, GET, PART], Done, Entry("503 SlowDown")),
        one("503", E503, &[LIST_UPLOADS], Done),
        row("429", E429, &LIST[..1], Done, Nothing("429 TooManyRequests")),
        // What stands before a store may answer, in its own words, when the store does not.
        row("520", E520, &LIST[..1], Done, Nothing("answered 520")),
        row("520", E520, &[PUT, GET, PART, COMPLETE, HEAD], Done, Entry("answered 520")),
        row("429", E429, &[PUT, GET, DELETE_MANY, COMPLETE], Done, Entry("429 TooManyRequests")),
    ]);
}

#[test]
fn a_connection_that_breaks() {
    const BEFORE: fn(Fault) -> Fault = |fault| fault.close();
    const AFTER: fn(Fault) -> Fault = |fault| fault.close_after();
    let refused = Entry("permission denied");
    play(&[
        row("closed before", BEFORE, &LIST, Done, Nothing("")),
        row("closed before", BEFORE, &ENTRIES, Done, Entry("")),
        row("closed before", BEFORE, &[ABORT], refused, Orphan("")),
        one("closed before", BEFORE, &[LIST_UPLOADS], Done),
        row("closed after", AFTER, &LIST, Done, Nothing("")),
        row("closed after", AFTER, &ENTRIES, Done, Entry("")),
        // The server did abort it.
        one("closed after", AFTER, &[ABORT], refused),
    ]);
}

#[test]
fn connections_that_are_refused() {
    // Longer than anybody waits before the first new try: that one is refused, a later one is not.
    const AWHILE: fn(Fault) -> Fault = |fault| fault.refuse(Some(Duration::from_millis(250)));
    const FOR_GOOD: fn(Fault) -> Fault = |fault| fault.refuse(None);
    let once =
        |requests, end| Row { always: None, ..one("refused a while", AWHILE, requests, end) };
    let always = |requests, end| Row { once: None, ..one("refused", FOR_GOOD, requests, end) };
    let (no_connection, permission) = ("connection refused", Entry("permission denied"));
    // Nothing is said of what an earlier run may have left, but all that would have been sent is named.
    let list_uploads = Request { names: "upload new: ", ..*LIST_UPLOADS };
    play(&[
        once(&LIST, Done),
        once(&ENTRIES, Done),
        once(&[LIST_UPLOADS], Done),
        once(&[ABORT], permission),
        always(&LIST, Nothing(no_connection)),
        always(&ENTRIES, Gone(no_connection)),
        always(&[&list_uploads], Gone(no_connection)),
        always(&[ABORT], Gone(no_connection)),
    ]);
}

#[test]
fn an_answer_that_ends_early() {
    const CUT: fn(Fault) -> Fault = |fault| fault.cut_body(100);
    const LONGER: fn(Fault) -> Fault = |fault| fault.content_length(100_000_000);
    const SHORTER: fn(Fault) -> Fault = |fault| fault.content_length(100);
    const TRUNCATED: fn(Fault) -> Fault = |fault| fault.truncate_body(100);
    let (documents, data) = ([CREATE, COMPLETE, DELETE_MANY], [GET, GET_RANGE]);
    play(&[
        row("cut", CUT, &LIST, Done, Nothing("")),
        row("cut", CUT, &documents, Done, Entry("")),
        row("cut", CUT, &data, Done, Entry("")),
        row("Content-Length too large", LONGER, &LIST, Done, Nothing("")),
        row("Content-Length too large", LONGER, &documents, Done, Entry("")),
        row("Content-Length too large", LONGER, &[GET], Done, Entry("")),
        // All of the range came, and then nothing more.
        one("Content-Length too large", LONGER, &[GET_RANGE], Done),
        row("Content-Length too small", SHORTER, &LIST, Done, Nothing("cannot be understood")),
        row("Content-Length too small", SHORTER, &documents, Done, Entry("")),
        row("Content-Length too small", SHORTER, &data, Done, Entry("")),
        row("truncated", TRUNCATED, &LIST, Done, Nothing("cannot be understood")),
        row("truncated", TRUNCATED, &documents, Done, Entry("")),
        row("truncated", TRUNCATED, &data, Done, Entry("")),
    ]);
}

#[test]
fn an_answer_that_stands_still() {
    const STALLED: fn(Fault) -> Fault = |fault| fault.stall_body(100, None);
    play(&[
        row("stalled", STALLED, &LIST, Done, Nothing("stands still")),
        row("stalled", STALLED, &[CREATE, DELETE_MANY], Done, Entry("stands still")),
        row("stalled", STALLED, &[COMPLETE, GET, GET_RANGE], Done, Entry("stands still")),
    ]);
}

#[test]
fn bytes_that_change_on_their_way() {
    const FROM: fn(Fault) -> Fault = |fault| fault.flip_body(100);
    const TO: fn(Fault) -> Fault = |fault| fault.flip_request_body(30);
    play(&[
        row("flipped answer", FROM, &[GET, GET_RANGE], Done, Entry("do not match")),
        row("flipped request", TO, &[PUT, PART, COMPLETE, DELETE_MANY], Done, Entry("")),
    ]);
}

#[test]
fn answers_that_are_not_s3s() {
    const HTML: fn(Fault) -> Fault = |fault| fault.body("<html>captive portal</html>");
    const TEXT: fn(Fault) -> Fault = |fault| fault.body("\u{0}\u{1}not XML");
    const EMPTY: fn(Fault) -> Fault = |fault| fault.body("");
    const BYTES: fn(Fault) -> Fault = |fault| fault.body(vec![0xff; 1 << 20]);
    const REPEATED: fn(Fault) -> Fault = |fault| fault.body(page(TOKENS[0])).times(20);
    let unclear = "cannot be understood";
    let documents = [CREATE, DELETE_MANY];
    play(&[
        row("HTML", HTML, &LIST, Done, Nothing(unclear)),
        row("HTML", HTML, &documents, Done, Entry(unclear)),
        // It was completed, and the next try is answered with 404 and no word of S3's.
        row("HTML", HTML, &[COMPLETE], Done, Entry("404")),
        row("no XML", TEXT, &LIST, Done, Nothing(unclear)),
        row("no XML", TEXT, &documents, Done, Entry(unclear)),
        row("no XML", TEXT, &[COMPLETE], Done, Entry("404")),
        row("empty", EMPTY, &LIST, Done, Nothing(unclear)),
        row("empty", EMPTY, &documents, Done, Entry(unclear)),
        row("empty", EMPTY, &[COMPLETE], Done, Entry("")),
        // Nobody reads it.
        one("HTML", HTML, &[PUT, PART, LIST_UPLOADS], Done),
        one("no text", BYTES, &[PUT, PART], Done),
        Row {
            once: None,
            ..row("endless", REPEATED, &[LIST[1], LIST[3]], Done, Nothing("repeats a page"))
        },
    ]);
}

#[test]
fn errors_in_an_answer_of_200() {
    const BUSY: fn(Fault) -> Fault = |fault| fault.error_in_ok("InternalError");
    const NEVER: fn(Fault) -> Fault = |fault| fault.error_in_ok("AccessDenied");
    const ONE_BUSY: fn(Fault) -> Fault = |fault| fault.body(not_deleted("InternalError"));
    const ONE_NEVER: fn(Fault) -> Fault = |fault| fault.body(not_deleted("AccessDenied"));
    play(&[
        row("200, error", BUSY, &[COMPLETE], Done, Entry("InternalError")),
        one("200, refusal", NEVER, &[COMPLETE], Entry("permission denied")),
        row("200, error", BUSY, &[DELETE_MANY], Done, Entry("InternalError")),
        row("200, error", BUSY, &[PUT, PART], Done, Entry("without an ETag")),
        row("200, error of a key", ONE_BUSY, &[DELETE_MANY], Done, Entry("InternalError")),
        one("200, refusal of a key", ONE_NEVER, &[DELETE_MANY], Entry("permission denied")),
    ]);
}

#[test]
fn refusals() {
    const E403: fn(Fault) -> Fault = |fault| fault.status(403, "AccessDenied");
    const E404: fn(Fault) -> Fault = |fault| fault.status(404, "NoSuchKey");
    const GONE: fn(Fault) -> Fault = |fault| fault.status_after(404, "NoSuchKey");
    const E412: fn(Fault) -> Fault = |fault| fault.status(412, "PreconditionFailed");
    const NO_UPLOAD: fn(Fault) -> Fault = |fault| fault.status(404, "NoSuchUpload");
    let (gone, replaced) = ("does not exist (any more)", "was replaced after it was listed");
    play(&[
        one("403", E403, &LIST, Nothing("permission denied")),
        one("403", E403, &ENTRIES, Entry("permission denied")),
        one("403", E403, &[LIST_UPLOADS], Done),
        one("403", E403, &[ABORT], Orphan("permission denied")),
        one("404", E404, &[GET, GET_RANGE, HEAD, HEAD_LARGE], Entry(gone)),
        one("404", GONE, &[DELETE_ONE], Done),
        one("404 NoSuchUpload", NO_UPLOAD, &[PART, COMPLETE], Entry("404 NoSuchUpload")),
        one("412", E412, &[GET, GET_RANGE], Entry(replaced)),
    ]);
}

#[test]
fn what_ends_a_run_in_the_middle() {
    const EXPIRED: fn(Fault) -> Fault = |fault| fault.status(400, "ExpiredToken");
    const NO_BUCKET: fn(Fault) -> Fault = |fault| fault.status(404, "NoSuchBucket");
    let (expired, no_bucket) = ("the credentials have expired", "the bucket does not exist");
    play(&[
        one("400 ExpiredToken", EXPIRED, &LIST, Nothing(expired)),
        one("400 ExpiredToken", EXPIRED, &ALL_BUT_HEAD, Fatal(expired)),
        one("400 ExpiredToken", EXPIRED, &[LIST_UPLOADS], Fatal(expired)),
        one("404 NoSuchBucket", NO_BUCKET, &LIST[..2], Nothing(no_bucket)),
        one("404 NoSuchBucket", NO_BUCKET, &[PUT, PART, GET, GET_RANGE], Fatal(no_bucket)),
    ]);
}

/// Not a row, for it takes two faults.
#[test]
fn a_listing_that_goes_round_in_circles_ends() {
    let (world, _, before) = world(Restore, false);
    let comes_with = |token: &'static str| {
        move |request: &store::Request| {
            request.query.get("continuation-token").map_or(token.is_empty(), |sent| sent == token)
        }
    };
    let [a, b] = TOKENS;
    for (token, next) in [("", a), (a, b), (b, a)] {
        let page = Fault::on("ListObjectsV2").when(comes_with(token)).times(20).body(page(next));
        world.store().fault(page);
    }
    let run = world.expect(1, "restore BUCKET dir --yes --retries 0");
    run.assert_says("repeats a page");
    assert_eq!(files(&world.path("dir")), before);
    assert!(world.store().count("ListObjectsV2") < 20);
}

/// Two that the server knows: where the listing goes on after `changed`, and after `g`.
const TOKENS: [&str; 2] = ["1+/a2NoYW5nZWQ==", "1+/a2c=="];

/// A page without objects that says where the next one begins.
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

/// In two parts, the last of which is large enough to break off three times.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| noise(1, (5 << 20) + 1_000));

/// What the target is to become, and what it is: something to replace, to add, to keep, and to delete.
fn trees(large: bool) -> (Tree, Tree) {
    let tree = |entries: &[(&str, &[u8])]| -> Tree {
        entries.iter().map(|(name, body)| ((*name).to_owned(), body.to_vec())).collect()
    };
    let (fresh, stale): (&[u8], &[u8]) = (&LARGE[..1_000], b"older");
    let mut source = tree(&[("changed", fresh), ("new", b"new"), ("same", b"same")]);
    let mut target =
        tree(&[("changed", stale), ("same", b"same"), ("gone", b"gone"), ("go\tne", b"gone")]);
    if large {
        source.insert("large".to_owned(), LARGE.clone());
        target.insert("large".to_owned(), stale.to_vec());
    }
    (source, target)
}

/// A source, and a target that is not yet like it (but to verify, where both are the same).
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
        // One that the listing says nothing of.
        let opaque = Object::new(source["changed"].clone()).etag("opaque");
        world.store().put_object("changed", opaque);
    }
    world.store().set_page_size(2);
    let before = if command == Verify { source.clone() } else { target };
    (world, source, before)
}

/// Plays all rows, some at a time, and says which of them end otherwise than they should.
fn play(rows: &[Row]) {
    let mut cases = Vec::new();
    for row in rows {
        for request in row.requests {
            cases.extend(row.once.map(|end| (row, *request, true, end)));
            cases.extend(row.always.map(|end| (row, *request, false, end)));
        }
    }
    let (cases, wrong) = (Mutex::new(cases), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().unwrap().pop();
                    let Some((row, request, once, end)) = next else { return };
                    if let Err(why) = case(row, request, once, end) {
                        let often = if once { "once" } else { "always" };
                        let Request { command, operation, key, .. } = request;
                        let said = format!(
                            "{}, {command:?} {operation} {key:?}, {often}, {end:?}: {why}",
                            row.fault,
                        );
                        wrong.lock().unwrap().push(said);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

fn case(row: &Row, request: &Request, once: bool, end: End) -> Result<(), String> {
    let (world, source, before) = world(request.command, request.key == "large");
    let mut fault = (row.strike)(Fault::on(request.operation).when(request.which));
    if !matches!(request.operation, "ListObjectsV2" | "DeleteObjects") {
        fault = fault.key(request.key);
    }
    let hits = world.store().fault(if once { fault.times(1) } else { fault });
    if request.operation == "AbortMultipartUpload" {
        world.store().fault(Fault::on("UploadPart").status(403, "AccessDenied"));
    }
    let line = match request.command {
        Backup => "backup dir BUCKET --yes",
        Restore => "restore BUCKET dir --yes",
        Verify => "verify dir BUCKET",
    };
    let patience = if row.fault == "stalled" { "500ms" } else { "30s" };
    let retries = if row.fault == "refused a while" { 8 } else { 2 };
    let line =
        format!("{line} --retries {retries} --part-size 5MiB --workers 4 --timeout {patience}");

    let run = world.run(&line);
    let found = sides(&world, request.command);
    ensure(hits.count() > 0, "the fault was not met", &run)?;
    judge(end, request, &run)?;
    ensure(found.0 == source, "the source was changed", &run)?;
    ensure(is_right(end, request, &source, &before, &found.1), &shown(&found.1), &run)?;
    let orphans = match end {
        Orphan(_) => 1..=1,
        Gone(_) => 0..=1,
        _ => 0..=0,
    };
    ensure(orphans.contains(&world.store().uploads().len()), "uploads are left", &run)?;

    world.store().clear_faults();
    let run = world.run(&line);
    let found = sides(&world, request.command);
    ensure(run.code == 0, "the next run fails", &run)?;
    ensure(found.0 == source && found.1 == source, "the next run leaves a difference", &run)?;
    ensure(world.store().uploads().is_empty(), "the next run leaves uploads", &run)
}

/// Whether exit code and messages are right.
fn judge(end: End, request: &Request, run: &Run) -> Result<(), String> {
    let (code, says) = match end {
        Done => (0, None),
        Nothing(says) | Fatal(says) => (1, Some(says)),
        Entry(says) | Orphan(says) | Gone(says) => (2, Some(says)),
    };
    ensure(run.code == code, &format!("the exit code is {}", run.code), run)?;
    let is_named = says.is_none_or(|says| {
        run.stderr.lines().any(|line| line.contains(request.names) && line.contains(says))
    });
    ensure(is_named, &format!("not named: {}{}", request.names, says.unwrap_or_default()), run)
}

/// Whether the target is what this end leaves of it.
fn is_right(end: End, request: &Request, source: &Tree, before: &Tree, found: &Tree) -> bool {
    let is_deletion = |key: &str| before.contains_key(key) && !source.contains_key(key);
    let all: BTreeSet<&String> = source.keys().chain(before.keys()).chain(found.keys()).collect();
    all.into_iter().all(|key| {
        let is_old = found.get(key) == before.get(key);
        let is_new = found.get(key) == source.get(key);
        let withheld = is_deletion(key) && !is_deletion(request.key);
        match end {
            Done => is_new,
            Nothing(_) => is_old,
            // Its request may have had its effect, but what is downloaded is whole or nothing.
            Entry(_) | Orphan(_) if key == request.key && request.command == Backup => {
                is_old || is_new
            }
            Entry(_) | Orphan(_) if key == request.key || withheld => is_old,
            Entry(_) | Orphan(_) => is_new,
            Fatal(_) | Gone(_) if key == request.key || withheld => is_old,
            Fatal(_) | Gone(_) => is_old || is_new,
        }
    })
}

/// Source and target, as they are now.
fn sides(world: &World, command: Command) -> (Tree, Tree) {
    let remote = world.store().keys().into_iter().map(|key| {
        let object = world.store().get(&key).expect("nobody deletes any more");
        (key, object.body.to_vec())
    });
    let (local, remote) = (files(&world.path("dir")), remote.collect());
    if command == Restore { (remote, local) } else { (local, remote) }
}

fn shown(tree: &Tree) -> String {
    let sizes: Vec<_> = tree.iter().map(|(name, body)| (name, body.len())).collect();
    format!("the target is {sizes:?}")
}

fn ensure(right: bool, why: &str, run: &Run) -> Result<(), String> {
    if right { Ok(()) } else { Err(format!("{why}\n    {} {:?}", run.code, run.stderr)) }
}
