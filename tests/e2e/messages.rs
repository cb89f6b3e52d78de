//! Error messages: the server's own words, and what to do.

use crate::{
    any_server::command_line::{json_line, s3keep},
    support::{Run, World, run, store::Fault},
};

fn world() -> World {
    let world = World::in_process();
    world.write("src/a", "a");
    world
}

fn error(code: &str, message: &str) -> String {
    format!(
        "<Error><Code>{code}</Code><Message>{message}</Message><RequestId>1</RequestId></Error>"
    )
}

/// Runs a backup whose requests of one operation get this response.
fn backup(world: &World, operation: &str, status: u16, body: impl Into<String>) -> Run {
    world.store().clear_faults();
    world.store().fault(Fault::on(operation).respond(status, body.into()));
    world.run("backup src BUCKET --yes --retries 0")
}

#[test]
fn message_of_the_server_follows_ours() {
    let world = world();
    let words = "User: arn:aws:iam::1:user/a is not authorized to perform: s3:PutObject on resource: \
                 \"b\" with an explicit deny in a service control policy";
    let expected = format!("permission denied (AccessDenied): {words}\n");
    for operation in ["ListObjectsV2", "PutObject"] {
        backup(&world, operation, 403, error("AccessDenied", words)).assert_says(&expected);
    }
    world.store().clear_faults();
    world.store().fault(Fault::on("PutObject").respond(403, error("AccessDenied", words)));
    let failure = json_line(&world.run("backup src BUCKET --yes --json"), "failure");
    assert_eq!(failure["message"], format!("upload a: {}", expected.trim_end()));
    assert_eq!(
        (&failure["code"], &failure["server_message"]),
        (&"AccessDenied".into(), &words.into())
    );
    assert_eq!(failure["subject"], "a");
}

#[test]
fn message_in_unusual_xml_is_shown() {
    let world = world();
    let nested = format!("<ErrorResponse>{}</ErrorResponse>", error("AccessDenied", "by policy"));
    backup(&world, "ListObjectsV2", 403, nested)
        .assert_says("permission denied (AccessDenied): by policy\n");
    let odd = "<?xml version='1.0'?><error><reason>quota &lt; need</reason><id>7</id></error>";
    backup(&world, "ListObjectsV2", 403, odd)
        .assert_says("the server responded with 403: quota < need 7\n");
}

#[test]
fn control_characters_of_a_server_are_escaped_in_json() {
    let world = world();
    let body = error("Od\u{9b}d", "\u{9b}2J \u{202e}txt");
    world.store().fault(Fault::on("PutObject").respond(400, body));
    let done = world.run("backup src BUCKET --yes --json");
    let failure = json_line(&done, "failure");
    assert_eq!(failure["server_message"], "\\u{9b}2J \\u{202e}txt");
    assert_eq!(failure["code"], "Od\\u{9b}d");
    assert!(!format!("{}{}", done.stdout, done.stderr).contains(['\u{9b}', '\u{202e}']));
}

#[test]
fn each_key_of_a_batch_deletion_has_its_own_message() {
    let world = world();
    let gone = ["x", "y", "z"];
    gone.iter().for_each(|key| world.store().put(key, key));
    let failed = |key: &str| {
        format!(
            "<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>locked: {key}</Message></Error>"
        )
    };
    let body = format!("<DeleteResult>{}</DeleteResult>", gone.map(failed).concat());
    world.store().fault(Fault::on("DeleteObjects").respond(200, body));
    let done = world.expect(2, "backup src BUCKET --yes --allow-unrelated");
    for key in gone {
        done.assert_says(&format!(
            "delete {key}: permission denied (AccessDenied): locked: {key}\n"
        ));
    }
    let done = world.expect(2, "backup src BUCKET --yes --json");
    assert!(done.stdout.contains("\"server_message\":\"locked: y\""), "{done:#?}");
}

#[test]
fn message_of_the_server_is_escaped_and_short() {
    let world = world();
    let long = format!("\u{1b}[2J\u{202e}first\nline {} last", "word ".repeat(5_000));
    for operation in ["ListObjectsV2", "PutObject"] {
        let done = backup(&world, operation, 403, error("Odd\u{7}", &long));
        let line = done.stderr.lines().find(|line| line.contains("last")).unwrap();
        assert!(line.len() < 800 && !line.contains('\u{1b}'), "{line}");
        assert!(line.contains("Odd\\u{7}: \\u{1b}[2J\\u{202e}first line word"), "{line}");
    }
}

#[test]
fn secrets_that_a_server_sends_back_are_masked() {
    let world = world();
    let (secret, token) = ("wJalrXUtnFEMI/K7+secret", "session/token+that==is-hidden");
    world.store().allow_session("SESSIONKEY", secret, token);
    world.store().put("gone", "gone");
    let echo = format!(
        "key {secret}, token {token}, session%2Ftoken%2Bthat%3D%3Dis%2Dhidden, AWS4-HMAC-SHA256 \
         Credential=x, Signature=0a1b"
    );
    let per_key = format!(
        "<DeleteResult><Error><Key>gone</Key><Code>Odd</Code><Message>{echo}</Message></Error>\
         </DeleteResult>"
    );
    for (operation, status, body) in [
        ("ListObjectsV2", 403, error("SignatureDoesNotMatch", &echo)),
        ("ListObjectsV2", 403, error(secret, "x")),
        ("ListObjectsV2", 200, error("Odd", &echo)),
        ("ListObjectsV2", 403, echo.clone()),
        ("ListObjectsV2", 200, format!("<html><title>{echo}</title></html>")),
        ("ListObjectsV2", 200, format!("{{\"echo\":\"{echo}\"}}")),
        ("PutObject", 400, error("Odd", &echo)),
        ("DeleteObjects", 200, per_key),
    ] {
        world.store().clear_faults();
        world.write("src/a", operation);
        world.store().fault(Fault::on(operation).respond(status, body));
        let mut command =
            s3keep(&world, "backup src BUCKET --yes --json --retries 0 --allow-unrelated");
        command.env("AWS_ACCESS_KEY_ID", "SESSIONKEY").env("AWS_SECRET_ACCESS_KEY", secret);
        let done = run(command.env("AWS_SESSION_TOKEN", token));
        let output = format!("{}{}", done.stdout, done.stderr);
        assert!(done.code == 1 || done.code == 2, "{output}");
        assert!(output.contains("***"), "{operation}: {output}");
        for hidden in [secret, token, "hidden", "AWS4-HMAC", "0a1b"] {
            assert!(!output.contains(hidden), "{hidden}: {output}");
        }
    }
}

#[test]
fn messages_state_what_to_do() {
    let world = world();
    let page = "<!DOCTYPE html><html><head><title>Store Console</title></head></html>";
    let cases = [
        (
            "ListObjectsV2",
            403,
            error("SignatureDoesNotMatch", "no"),
            "check the secret key, the region and the clock of this machine (SignatureDoesNotMatch): no",
        ),
        (
            "ListObjectsV2",
            412,
            error("PreconditionFailed", "Bad URL"),
            "the server responded with 412 PreconditionFailed (no condition was set; check that the \
             endpoint is the address of the S3 API): Bad URL",
        ),
        ("ListObjectsV2", 412, String::new(), "the server responded with 412 ("),
        (
            "PutObject",
            413,
            "<html><h1>413 Request Entity Too Large</h1>".to_owned(),
            "or use a smaller --part-size): a web page with the title \"413",
        ),
        ("PutObject", 413, String::new(), "or use a smaller --part-size)"),
        (
            "ListObjectsV2",
            200,
            page.to_owned(),
            "cannot be understood: a web page with the title \"Store Console\"; is the endpoint the address of a web console",
        ),
        (
            "ListObjectsV2",
            404,
            page.to_owned(),
            "the server responded with 404: a web page with the title \"Store Console\"; is the endpoint",
        ),
        (
            "ListObjectsV2",
            502,
            page.to_owned(),
            "the server responded with 502: a web page with the title \"Store Console\"\n",
        ),
        (
            "ListObjectsV2",
            200,
            "{\"a\":1}".to_owned(),
            "JSON instead of XML: {\"a\":1}; is the endpoint",
        ),
        (
            "ListObjectsV2",
            404,
            "404 page not found\n".to_owned(),
            "the server responded with 404: 404 page not found\n",
        ),
        (
            "ListObjectsV2",
            403,
            "{\"message\":\"Forbidden\"}".to_owned(),
            "with 403: {\"message\":\"Forbidden\"}\n",
        ),
        ("PutObject", 403, error("InvalidObjectState", "no"), "aws s3api restore-object"),
    ];
    for (operation, status, body, expected) in cases {
        backup(&world, operation, status, body).assert_says(expected);
    }
    // Not UTF-8, as pages of some gateways are.
    world.store().clear_faults();
    let page = b"<html><title>\xb9\xa4</title></html>".as_slice();
    world.store().fault(Fault::on("ListObjectsV2").respond(403, page));
    world
        .expect(1, "backup src BUCKET --yes")
        .assert_says("responded with 403: a web page with the title");
}

#[test]
fn replaced_object_is_still_reported_as_such() {
    let world = world();
    world.expect(0, "backup src BUCKET --yes");
    world.store().fault(Fault::on("GetObject").respond(412, error("PreconditionFailed", "no")));
    world
        .expect(2, "restore BUCKET back --yes")
        .assert_says("the object was replaced after it was listed");
}

#[test]
fn endpoint_that_contains_the_bucket_is_named() {
    let world = world();
    let right = world.endpoint().to_owned();
    for end in ["/bucket", "/bucket/"] {
        let mut command = s3keep(&world, "backup src BUCKET --yes");
        let done = run(command.env("AWS_ENDPOINT_URL_S3", format!("{right}{end}")));
        assert_eq!(done.code, 1);
        let advice = format!(
            "the endpoint {right}/bucket seems to contain the bucket, try {right} instead\n"
        );
        done.assert_says(&advice);
    }
    world.expect(0, "backup src BUCKET --yes");
    // Some servers take the path for that of another bucket.
    let body = error("NoSuchBucket", "no");
    world.store().fault(Fault::on("*").respond(404, body));
    let mut command = s3keep(&world, "backup src BUCKET --yes --endpoint-url");
    let done = run(command.arg(format!("{right}/bucket")));
    done.assert_says("seems to contain the bucket, try");
    world.store().clear_faults();
    // A bucket that does not exist needs no such advice.
    let done = world.expect(1, "backup src s3://nowhere --yes");
    assert!(!done.stderr.contains("seems to contain"), "{done:#?}");
}

#[test]
fn region_of_a_refusal_is_forgotten_if_the_request_fails_there() {
    let world = world();
    let refusal = || {
        let body = error("AuthorizationHeaderMalformed", "expecting 'nowhere-1'");
        Fault::on("ListObjectsV2")
            .times(1)
            .header("x-amz-bucket-region", "nowhere-1")
            .respond(400, body)
    };
    let regions = || -> Vec<String> {
        let requests = world.store().requests_of("ListObjectsV2");
        requests.iter().map(|request| request.region().unwrap().to_owned()).collect()
    };
    for failure in [
        Fault::on("ListObjectsV2").times(1).status(503, "SlowDown"),
        Fault::on("ListObjectsV2").times(1).close(),
    ] {
        world.store().clear_requests();
        world.store().fault(refusal());
        world.store().fault(failure);
        world.run("verify src BUCKET --workers 1");
        assert_eq!(regions(), ["us-east-1", "nowhere-1", "us-east-1"]);
    }
    // A region that cannot be one is not followed: the server's own words are shown.
    world.store().clear_requests();
    let body = error("AuthorizationHeaderMalformed", "expecting ''");
    world
        .store()
        .fault(Fault::on("*").header("x-amz-bucket-region", "no where").respond(400, body));
    world
        .expect(1, "verify src BUCKET")
        .assert_says("(AuthorizationHeaderMalformed): expecting ''");
    assert_eq!(world.store().count("ListObjectsV2"), 1);
}
