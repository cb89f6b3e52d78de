//! Access to the bucket: regions, endpoints, proxies, TLS, and every source of credentials.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use crate::{
    any_server::command_line::s3keep,
    support::{
        Run, World, files, noise, run,
        store::{self, Fault, Object, Request, Store, WrongRegion},
    },
};

fn world() -> World {
    let world = World::in_process();
    world.write("dir/a", "a");
    world.write("dir/b", "b");
    world
}

#[test]
fn bucket_region_is_detected_by_the_first_request() {
    for wrong in [WrongRegion::Redirect, WrongRegion::Malformed, WrongRegion::Unheaded] {
        let world = world();
        world.store().set_bucket_region(store::BUCKET, "eu-west-1");
        world.store().set_wrong_region(wrong);
        world.expect(0, "backup dir BUCKET --yes --workers 1").assert_says("2 uploaded");
        // One request fails in the wrong region. Two list requests and two uploads follow.
        assert_eq!(world.store().requests().len(), 1 + 2 + 2);
        world.store().clear_requests();
        world.expect(0, "verify dir BUCKET --region eu-west-1");
        assert_eq!(world.store().requests().len(), 1);
    }
}

#[test]
fn redirect_to_another_host_is_an_error_that_names_the_host() {
    let world = world();
    let elsewhere = "https://store.example.net/bucket?list-type=2";
    world.store().fault(Fault::on("*").status(308, "").header("location", elsewhere));
    let run = world.expect(1, "backup dir BUCKET --yes");
    run.assert_says(
        "the server responded with 308: redirect to https://store.example.net/bucket, which is not followed; change the endpoint\n",
    );
    assert_eq!(world.store().requests().len(), 1);
}

#[test]
fn region_is_taken_from_flag_then_environment_then_profile() {
    let world = world();
    world.store().set_bucket_region(store::BUCKET, "ap-south-2");
    world.write(".aws/config", "[default]\nregion = ap-south-2\n[profile other]\nregion = other\n");
    // A wrong region costs a second request.
    let requests = |vars: &[(&str, &str)], options: &[&str]| {
        world.store().clear_requests();
        let mut command = s3keep(&world, "backup dir BUCKET --mock");
        assert_eq!(run(command.args(options).envs(vars.iter().copied())).code, 0);
        world.store().requests().len()
    };
    assert_eq!(requests(&[], &[]), 1);
    assert_eq!(requests(&[], &["--region", "wrong"]), 2);
    assert_eq!(requests(&[("AWS_REGION", "wrong")], &[]), 2);
    assert_eq!(requests(&[("AWS_REGION", "wrong")], &["--region=ap-south-2"]), 1);
    assert_eq!(requests(&[("AWS_REGION", "ap-south-2"), ("AWS_PROFILE", "other")], &[]), 1);
    assert_eq!(requests(&[("AWS_PROFILE", "other")], &[]), 2);
}

#[test]
fn endpoint_is_taken_from_flag_then_environment_then_profile() {
    let world = world();
    let right = world.endpoint().to_owned();
    let wrong = "http://127.0.0.1:9";
    let works = |vars: &[(&str, &str)], options: &[&str], profile: &str| {
        world.write(".aws/config", format!("[default]\nendpoint_url = {profile}\n"));
        let mut command = s3keep(&world, "backup dir BUCKET --mock --retries 0");
        // Nothing listens on the proxy's port, so a request to AWS itself fails.
        command.env_remove("AWS_ENDPOINT_URL_S3").env("HTTPS_PROXY", wrong);
        run(command.args(options).envs(vars.iter().copied())).code == 0
    };
    let (s3, any) = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
    assert!(works(&[], &[], &right));
    assert!(works(&[(any, &right)], &[], wrong));
    assert!(works(&[(s3, &right), (any, wrong)], &[], wrong));
    assert!(!works(&[(s3, wrong), (any, &right)], &[], &right));
    assert!(works(&[(s3, wrong), (any, wrong)], &["--endpoint-url", &right], wrong));
    assert!(!works(&[(any, &right), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")], &[], &right));
}

#[test]
fn request_checksum_calculation_setting_is_honored() {
    let world = world();
    let has_checksum = |request: &Request| {
        request.headers.keys().any(|name| name.starts_with("x-amz-") && name.contains("checksum"))
    };
    world.store().fault(Fault::on("*").when(has_checksum).status(400, "InvalidArgument"));
    world.write("dir/large", noise(1, 6 << 20));
    let omits = |env: &str, profile: &str, options: &[&str]| {
        world
            .write(".aws/config", format!("[default]\nrequest_checksum_calculation = {profile}\n"));
        world.store().keys().iter().for_each(|key| drop(world.store().remove(key)));
        let mut command = s3keep(&world, "backup dir BUCKET --yes --part-size 5MiB");
        command.env("AWS_REQUEST_CHECKSUM_CALCULATION", env);
        world.store().clear_requests();
        assert_eq!(run(command.args(options)).code, 0);
        // The store refuses checksums, and the run then stores everything without.
        world.store().requests().iter().all(|request| !has_checksum(request))
    };
    assert!(omits("", "WHEN_REQUIRED", &[]));
    assert!(omits("when_required", "", &[]));
    // A bucket with object lock requires a checksum header or Content-MD5.
    let uploads = ["PutObject", "UploadPart"].map(|name| world.store().requests_of(name)).concat();
    let stored = uploads.iter().filter(|request| request.status == 200);
    assert!(stored.clone().count() > 0);
    assert!(stored.clone().all(|request| request.headers.contains_key("content-md5")));
    assert!(!omits("when_supported", "when_required", &[]));
    assert!(!omits("when_required", "", &["--checksum-algorithm=crc32"]));
    assert!(!omits("", "", &[]));
}

#[test]
fn restore_works_if_the_store_rejects_checksum_mode() {
    let world = world();
    world.write("dir/large", noise(1, 6 << 20));
    world.expect(0, "backup dir BUCKET --yes --part-size 5MiB");
    let has_mode = |request: &Request| request.headers.contains_key("x-amz-checksum-mode");
    world.store().fault(Fault::on("*").when(has_mode).status(400, "InvalidArgument"));
    world.store().clear_requests();
    world
        .expect(0, "restore BUCKET back --yes --part-size 5MiB --workers 1")
        .assert_says("3 downloaded");
    assert_eq!(files(&world.path("dir")), files(&world.path("back")));
    // One HEAD, whose response has no body that gives the reason, and one GET.
    assert_eq!(world.store().requests().iter().filter(|request| has_mode(request)).count(), 2);
    world.store().put_object("a", Object::new("a").etag("opaque").no_checksum());
    world.expect(2, "verify dir BUCKET").assert_says("unknown");
    world.expect(0, "verify dir BUCKET --read-data").assert_says("3 the same");
}

#[test]
fn https_certificate_is_checked_against_the_ca_bundle() {
    let world = World::on(Store::start_tls());
    world.write("dir/a", vec![b'a'; 300_000]);
    world.write("dir/b", "b");
    world.expect(1, "backup dir BUCKET --yes --retries 0").assert_says("certificate");
    assert!(world.store().keys().is_empty());

    fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
    let with_bundle =
        |line: &str| run(s3keep(&world, line).env("AWS_CA_BUNDLE", world.path("ca.pem")));
    assert_eq!(with_bundle("backup dir BUCKET --yes").code, 0);
    assert_eq!(with_bundle("restore BUCKET back --yes").code, 0);
    assert_eq!(fs::read(world.path("back/a")).unwrap(), vec![b'a'; 300_000]);
    // TLS protects the payload in transit, the checksum protects it beyond that.
    let put = world.store().requests_of("PutObject").remove(0);
    assert_eq!(put.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    assert!(put.headers.contains_key("x-amz-checksum-crc64nvme"));
    // Without an x-amz-checksum header, Content-MD5 still detects a damaged upload.
    for size in [400_000, 1_000] {
        world.write("dir/a", vec![b'a'; size]);
        world.store().fault(Fault::on("PutObject").times(1).flip_request_body(30));
        assert_eq!(with_bundle("backup dir BUCKET --yes --checksum-algorithm none").code, 0);
        assert!(world.store().get("a").unwrap().body == vec![b'a'; size]);
        let put = world.store().requests_of("PutObject").pop().unwrap();
        assert!(!put.headers.keys().any(|name| name.starts_with("x-amz-checksum")));
    }

    fs::write(world.path("ca.pem"), "no certificate").unwrap();
    with_bundle("backup dir BUCKET --yes").assert_says("the file contains no PEM certificate");
}

#[test]
fn http_upload_has_a_signed_payload_and_a_checksum() {
    let world = world();
    world.expect(0, "backup dir BUCKET --yes");
    let put = world.store().requests_of("PutObject").remove(0);
    assert_eq!(put.headers["x-amz-content-sha256"].len(), 64);
    assert!(put.headers.contains_key("x-amz-checksum-crc64nvme"));
    world.expect(0, "backup dir BUCKET/plain --yes --checksum-algorithm none");
    let put = world.store().requests_of("PutObject").pop().unwrap();
    assert!(put.headers.keys().all(|name| !name.contains("checksum")), "{:?}", put.headers);
    for algorithm in ["crc32", "crc32c", "sha1", "sha256"] {
        let line = format!("backup dir BUCKET/{algorithm} --yes --checksum-algorithm {algorithm}");
        world.expect(0, &line);
        world.expect(0, &format!("verify dir BUCKET/{algorithm}"));
    }
}

/// A command line without credentials in the environment.
pub fn without_keys(world: &World, line: &str) -> Command {
    let mut command = s3keep(world, line);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command
}

/// Runs a backup that must get its credentials from a profile, or from the source in `vars`.
pub fn backup_without_keys(world: &World, vars: &[(&str, &str)]) -> Run {
    let mut command = without_keys(world, "backup dir BUCKET --yes --workers 1");
    run(command.env_remove("AWS_EC2_METADATA_DISABLED").envs(vars.iter().copied()))
}

#[test]
fn unsigned_restore_reads_a_public_bucket() {
    let world = world();
    world.expect(0, "backup dir BUCKET --yes");
    world.store().clear_requests();
    let mut command = without_keys(&world, "restore BUCKET back --yes --unsigned");
    let refused = run(&mut command);
    assert_eq!(refused.code, 1);
    refused.assert_says("permission denied (AccessDenied)");
    world.store().allow_anonymous();
    assert_eq!(run(&mut command).code, 0);
    assert!(world.store().requests().iter().all(|r| !r.headers.contains_key("authorization")));
}

#[test]
fn credentials_are_read_from_a_profile() {
    let world = world();
    world.store().allow_key("PROFILEKEY", "profile/secret+key");
    let file =
        "[default]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = profile/secret+key\n";
    world.write(".aws/credentials", file);
    let run = backup_without_keys(&world, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    // The test has created the file with read permission for all users.
    run.assert_says("warning:");
    run.assert_says(".aws/credentials");
    assert!(!format!("{run:?}").contains("profile/secret"));
    assert!(
        world.store().requests().iter().all(|r| r.headers["authorization"].contains("PROFILEKEY"))
    );
}

/// Configures a `credential_process` that prints KEY1 on the first call and KEY2 on the second.
fn with_process(world: &World, expiration: &str) {
    for n in 1..=2 {
        world.store().allow_session(&format!("KEY{n}"), "secret", &format!("token{n}"));
    }
    let script = format!(
        r#"#!/bin/sh
echo x >> "$HOME/calls"
n=$(wc -l < "$HOME/calls" | tr -d ' ')
cat <<END
{{"Version": 1, "AccessKeyId": "KEY$n", "SecretAccessKey": "secret",
{expiration} "SessionToken": "token$n"}}
END
"#
    );
    world.write("process", script);
    fs::set_permissions(world.path("process"), fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[default]\ncredential_process = {}\n", world.path("process").display());
    world.write(".aws/config", config);
}

#[test]
fn credentials_that_expire_during_a_run_are_renewed() {
    let world = world();
    with_process(&world, r#""Expiration": "2999-01-01T00:00:00Z","#);
    // The store rejects the first credentials on the second upload.
    world.store().fault(Fault::on("PutObject").skip(1).times(1).status(400, "ExpiredToken"));
    let path = std::env::var("PATH").unwrap_or_default();
    let run = backup_without_keys(&world, &[("PATH", &path)]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(world.store().keys(), ["a", "b"]);
    let keys: Vec<bool> = world
        .store()
        .requests()
        .iter()
        .map(|r| r.headers["authorization"].contains("KEY2"))
        .collect();
    assert_eq!(keys, [false, false, false, false, true]);
    assert_eq!(fs::read_to_string(world.path("calls")).unwrap().lines().count(), 2);
}

/// The response to a HEAD request has no body, and therefore no error code.
#[test]
fn credentials_that_a_head_request_finds_expired_are_renewed() {
    let world = World::in_process();
    world.write("dir/large", noise(1, 12 << 20));
    world.expect(0, "backup dir BUCKET --yes");
    with_process(&world, "");
    let has_first_key = |request: &Request| {
        request.operation != "ListObjectsV2" && request.headers["authorization"].contains("KEY1")
    };
    world.store().fault(Fault::on("*").when(has_first_key).status(400, "ExpiredToken"));
    let mut command = without_keys(&world, "restore BUCKET back --yes --part-size 5MiB");
    let run = run(command.env("PATH", std::env::var("PATH").unwrap_or_default()));
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(fs::read(world.path("back/large")).unwrap(), noise(1, 12 << 20));
}

#[test]
fn sts_requests_go_through_the_proxy() {
    let world = world();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        sender.send(line).unwrap();
    });
    world.write("token", "the web identity");
    let mut command = without_keys(&world, "backup dir BUCKET --mock --region eu-west-1");
    command.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup");
    command.env("AWS_WEB_IDENTITY_TOKEN_FILE", world.path("token")).env("HTTPS_PROXY", proxy);
    let run = run(&mut command);
    assert_eq!(run.code, 1, "{run:?}");
    let request_line = receiver.recv_timeout(Duration::from_secs(1)).unwrap();
    assert_eq!(request_line.trim(), "CONNECT sts.eu-west-1.amazonaws.com:443 HTTP/1.1");
}

#[test]
fn socks4_proxy_is_rejected() {
    let world = world();
    for proxy in ["socks4://127.0.0.1:9", "socks4a://127.0.0.1:9"] {
        let run = run(s3keep(&world, "backup dir BUCKET --mock").env("ALL_PROXY", proxy));
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says("SOCKS4 proxy, which is not supported");
    }
    assert!(world.store().requests().is_empty());
}

/// Starts a server that responds to each request with the body that `respond` returns for it.
///
/// Returns the server's URL, and the requests that it has received so far.
pub fn serve(
    respond: impl Fn(&str) -> String + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                request += &line;
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request += &String::from_utf8_lossy(&body);
            let body = respond(&request);
            log.lock().unwrap().push(request);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    (url, seen)
}

const KEYS: &str = r#"{"AccessKeyId": "SERVED", "SecretAccessKey": "secret", "Token": "token",
    "Expiration": "2999-01-01T00:00:00Z", "Code": "Success"}"#;

#[test]
fn credentials_are_fetched_from_a_container_endpoint() {
    let world = world();
    world.store().allow_session("SERVED", "secret", "token");
    let (url, seen) = serve(|_| KEYS.to_owned());
    let run = backup_without_keys(
        &world,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/keys")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "open sesame"),
        ],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "a run fetches its credentials once");
    assert!(seen[0].starts_with("GET /keys ") && seen[0].contains("open sesame"), "{seen:?}");
}

#[test]
fn credentials_are_fetched_from_instance_metadata_v2() {
    let world = world();
    world.store().allow_session("SERVED", "secret", "token");
    let (url, seen) = serve(|request| {
        let body = match request.split(' ').nth(1).unwrap_or_default() {
            "/latest/api/token" => "metadata-token",
            path if path.trim_end_matches('/').ends_with("security-credentials") => "the-role",
            _ => KEYS,
        };
        body.to_owned()
    });
    let run = backup_without_keys(&world, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
    assert_eq!(run.code, 0, "{run:?}");
    let seen = seen.lock().unwrap();
    assert!(seen[0].starts_with("PUT /latest/api/token "), "{seen:?}");
    assert!(seen[1..].iter().all(|request| request.contains("metadata-token")), "{seen:?}");
    assert!(seen[2].contains("/security-credentials/the-role "), "{seen:?}");
}

#[test]
fn credentials_are_fetched_with_a_web_identity_token() {
    let world = world();
    world.store().allow_session("SERVED", "secret", "token");
    world.write("token-file", "the web identity");
    let (url, seen) = serve(|_| {
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <SessionToken>token</SessionToken><SecretAccessKey>secret</SecretAccessKey>\
         <Expiration>2999-01-01T00:00:00Z</Expiration><AccessKeyId>SERVED</AccessKeyId>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            .to_owned()
    });
    let file = world.path("token-file");
    let run = backup_without_keys(
        &world,
        &[
            ("AWS_ENDPOINT_URL_STS", &url),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let seen = seen.lock().unwrap();
    // The token must not be in the URL, which servers and proxies log.
    assert!(
        seen[0].starts_with("POST / ") && !seen[0].lines().next().unwrap().contains("identity")
    );
    assert!(
        seen[0].contains("WebIdentityToken=the+web+identity")
            || seen[0].contains("WebIdentityToken=the%20web%20identity"),
        "{seen:?}"
    );
}

#[test]
fn unreachable_proxy_is_named_in_the_error() {
    let world = world();
    let backup = |vars: &[(&str, &str)]| {
        let mut command = s3keep(&world, "backup dir BUCKET --mock --retries 0");
        run(command.env("http_proxy", "http://127.0.0.1:9").envs(vars.iter().copied()))
    };
    backup(&[]).assert_says(&format!("{} through the proxy: connection refused", world.endpoint()));
    assert_eq!(backup(&[("NO_PROXY", "127.0.0.1")]).code, 0);
}

#[test]
fn https_endpoint_without_tls_is_reported() {
    let world = world();
    let https = world.endpoint().replace("http:", "https:");
    let line = format!("backup dir BUCKET --yes --retries 0 --endpoint-url {https}");
    world.expect(1, &line).assert_says("the server does not speak TLS: is it http?");
}
