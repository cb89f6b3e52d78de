//! Getting at the bucket: regions, TLS, and every source of credentials.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use crate::support::{
    World, files, noise, run,
    store::{self, Fault, Object, Request, Store, WrongRegion},
};

fn world() -> World {
    let world = World::in_process();
    world.write("dir/a", "a");
    world.write("dir/b", "b");
    world
}

#[test]
fn a_bucket_in_another_region_is_followed_there() {
    for wrong in [WrongRegion::Redirect, WrongRegion::Malformed, WrongRegion::Unheaded] {
        let world = world();
        world.store().set_bucket_region(store::BUCKET, "eu-west-1");
        world.store().set_wrong_region(wrong);
        world.expect(0, "backup dir BUCKET --yes --workers 1").assert_says("2 uploaded");
        // The first request finds the region, and no other asks again.
        assert_eq!(world.store().requests().len(), 1 + 2 + 2);
        world.store().clear_requests();
        world.expect(0, "verify dir BUCKET --region eu-west-1");
        assert_eq!(world.store().requests().len(), 1);
    }
}

#[test]
fn where_a_server_sends_those_who_ask_the_wrong_one_is_said() {
    let world = world();
    let elsewhere = "https://store.example.net/bucket?list-type=2";
    world.store().fault(Fault::on("*").status(308, "").header("location", elsewhere));
    let run = world.expect(1, "backup dir BUCKET --yes");
    run.assert_says(
        "the server responded with 308: ask https://store.example.net/bucket instead\n",
    );
    assert_eq!(world.store().requests().len(), 1);
}

#[test]
fn the_region_comes_from_flag_environment_and_profile_in_this_order() {
    let world = world();
    world.store().set_bucket_region(store::BUCKET, "ap-south-2");
    world.write(".aws/config", "[default]\nregion = ap-south-2\n[profile other]\nregion = other\n");
    let requests = |vars: &[(&str, &str)], args: &[&str]| {
        world.store().clear_requests();
        let url = format!("s3://{}", world.bucket);
        let mut command = world.command();
        command.envs(vars.iter().copied()).args(["backup", "dir", &url, "--mock"]).args(args);
        assert_eq!(run(&mut command).code, 0);
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
fn the_endpoint_comes_from_flag_environment_and_profile_in_this_order() {
    let world = world();
    let right = world.endpoint().to_owned();
    let wrong = "http://127.0.0.1:9";
    let works = |vars: &[(&str, &str)], args: &[&str], profile: &str| {
        world.write(".aws/config", format!("[default]\nendpoint_url = {profile}\n"));
        let url = format!("s3://{}", world.bucket);
        let mut command = world.command();
        // What would go to AWS itself goes nowhere.
        command.env_remove("AWS_ENDPOINT_URL_S3").env("HTTPS_PROXY", wrong);
        command.envs(vars.iter().copied());
        command.args(["backup", "dir", &url, "--mock", "--retries", "0"]).args(args);
        run(&mut command).code == 0
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
fn who_has_set_up_the_aws_tools_for_a_store_without_checksums_has_set_up_this_one() {
    let world = world();
    let has_checksum = |request: &Request| {
        request.headers.keys().any(|name| name.starts_with("x-amz-") && name.contains("checksum"))
    };
    world.store().fault(Fault::on("*").when(has_checksum).status(400, "InvalidArgument"));
    world.write("dir/large", noise(1, 6 << 20));
    let url = format!("s3://{}", world.bucket);
    let works = |env: &str, profile: &str, args: &[&str]| {
        world
            .write(".aws/config", format!("[default]\nrequest_checksum_calculation = {profile}\n"));
        world.store().keys().iter().for_each(|key| drop(world.store().remove(key)));
        let mut command = world.command();
        command.env("AWS_REQUEST_CHECKSUM_CALCULATION", env);
        command.args(["backup", "dir", &url, "--yes", "--part-size", "5MiB"]).args(args);
        run(&mut command).code == 0
    };
    assert!(works("", "WHEN_REQUIRED", &[]));
    assert!(works("when_required", "", &[]));
    // A bucket with object lock wants one or the other.
    let uploads = ["PutObject", "UploadPart"].map(|name| world.store().requests_of(name)).concat();
    let kept = uploads.iter().filter(|request| request.status == 200);
    assert!(kept.clone().count() > 0);
    assert!(kept.clone().all(|request| request.headers.contains_key("content-md5")));
    assert!(!works("when_supported", "when_required", &[]));
    assert!(!works("when_required", "", &["--checksum-algorithm=crc32"]));
    assert!(!works("", "", &[]));
}

#[test]
fn a_store_that_refuses_to_be_asked_for_checksums_is_restored_from_all_the_same() {
    let world = world();
    world.write("dir/large", noise(1, 6 << 20));
    world.expect(0, "backup dir BUCKET --yes --part-size 5MiB");
    let asks = |request: &Request| request.headers.contains_key("x-amz-checksum-mode");
    world.store().fault(Fault::on("*").when(asks).status(400, "InvalidArgument"));
    world.store().clear_requests();
    let options = "--part-size 5MiB --workers 1";
    world.expect(0, &format!("restore BUCKET back --yes {options}")).assert_says("3 downloaded");
    assert_eq!(files(&world.path("dir")), files(&world.path("back")));
    // Once a HEAD is refused, which has no body to say why, and once a GET.
    assert_eq!(world.store().requests().iter().filter(|request| asks(request)).count(), 2);
    world.store().put_object("a", Object { checksum: None, ..Object::new("a").etag("opaque") });
    world.expect(2, "verify dir BUCKET").assert_says("unknown");
    world.expect(0, "verify dir BUCKET --read-data").assert_says("3 the same");
}

#[test]
fn https_is_checked_against_the_bundle_of_certificates() {
    let world = World::on(Store::start_tls());
    world.write("dir/a", vec![b'a'; 300_000]);
    world.write("dir/b", "b");
    let url = format!("s3://{}", world.bucket);
    let refused = run(world.command().args(["backup", "dir", &url, "--yes", "--retries", "0"]));
    assert_eq!(refused.code, 1, "{refused:?}");
    refused.assert_says("certificate");
    assert!(world.store().keys().is_empty());

    fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
    let with_bundle =
        |args: &[&str]| run(world.command().env("AWS_CA_BUNDLE", world.path("ca.pem")).args(args));
    assert_eq!(with_bundle(&["backup", "dir", &url, "--yes"]).code, 0);
    assert_eq!(with_bundle(&["restore", &url, "back", "--yes"]).code, 0);
    assert_eq!(fs::read(world.path("back/a")).unwrap(), vec![b'a'; 300_000]);
    // TLS covers the way, the checksum the rest.
    let put = world.store().requests_of("PutObject").remove(0);
    assert_eq!(put.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    assert!(put.headers.contains_key("x-amz-checksum-crc64nvme"));
    // Without a checksum of the new kind, one of the old.
    let again = ["backup", "dir", &url, "--yes", "--checksum-algorithm", "none"];
    for size in [400_000, 1_000] {
        world.write("dir/a", vec![b'a'; size]);
        world.store().fault(Fault::on("PutObject").times(1).flip_request_body(30));
        assert_eq!(with_bundle(&again).code, 0);
        assert!(world.store().get("a").unwrap().body == vec![b'a'; size]);
        let put = world.store().requests_of("PutObject").pop().unwrap();
        assert!(!put.headers.keys().any(|name| name.starts_with("x-amz-checksum")));
    }

    fs::write(world.path("ca.pem"), "no certificate").unwrap();
    with_bundle(&["backup", "dir", &url, "--yes"]).assert_says("no certificate in it");
}

#[test]
fn over_http_the_payload_is_signed_and_has_a_checksum() {
    let world = world();
    world.expect(0, "backup dir BUCKET --yes");
    let put = world.store().requests_of("PutObject").remove(0);
    assert_eq!(put.headers["x-amz-content-sha256"].len(), 64);
    assert!(put.headers.contains_key("x-amz-checksum-crc64nvme"));
    world.expect(0, "backup dir BUCKET/plain --yes --checksum-algorithm none");
    let put = world.store().requests_of("PutObject").pop().unwrap();
    assert!(put.headers.keys().all(|name| !name.contains("checksum")), "{:?}", put.headers);
    for algorithm in ["crc32", "crc32c", "sha1", "sha256"] {
        let run = world
            .run(&format!("backup dir BUCKET/{algorithm} --yes --checksum-algorithm {algorithm}"));
        assert_eq!(run.code, 0, "{run:?}");
        world.expect(0, &format!("verify dir BUCKET/{algorithm}"));
    }
}

#[test]
fn unsigned_requests_read_what_is_public() {
    let world = world();
    world.expect(0, "backup dir BUCKET --yes");
    world.store().clear_requests();
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.args(["restore", &url, "back", "--yes", "--unsigned"]);
    let refused = run(&mut command);
    assert_eq!(refused.code, 1);
    refused.assert_says("permission denied (AccessDenied)");
    world.store().allow_anonymous();
    assert_eq!(run(&mut command).code, 0);
    assert!(world.store().requests().iter().all(|r| !r.headers.contains_key("authorization")));
}

/// The command without credentials in the environment.
fn keyless(world: &World, vars: &[(&str, &str)]) -> crate::support::Run {
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env_remove("AWS_EC2_METADATA_DISABLED").envs(vars.iter().copied());
    run(command.args(["backup", "dir", &url, "--yes", "--workers", "1"]))
}

#[test]
fn keys_come_from_profiles() {
    let world = world();
    world.store().allow_key("PROFILEKEY", "profile/secret+key");
    let file =
        "[default]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = profile/secret+key\n";
    world.write(".aws/credentials", file);
    let run = keyless(&world, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    // The test has just made it readable for all.
    run.assert_says("warning:");
    run.assert_says(".aws/credentials");
    assert!(!format!("{run:?}").contains("profile/secret"));
    assert!(
        world.store().requests().iter().all(|r| r.headers["authorization"].contains("PROFILEKEY"))
    );
}

/// Sets the world up with a process that gives other credentials, KEY1 and KEY2, each time.
fn with_process(world: &World, expiration: &str) {
    for n in 1..=2 {
        world.store().allow_session(&format!("KEY{n}"), "secret", &format!("token{n}"));
    }
    let script = format!(
        "#!/bin/sh\necho x >> \"$HOME/calls\"\nn=$(wc -l < \"$HOME/calls\" | tr -d ' ')\n\
         echo \"{{\\\"Version\\\": 1, \\\"AccessKeyId\\\": \\\"KEY$n\\\", \
         \\\"SecretAccessKey\\\": \\\"secret\\\", {expiration}\\\"SessionToken\\\": \\\"token$n\\\"}}\"\n"
    );
    world.write("process", script);
    fs::set_permissions(world.path("process"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let config = format!("[default]\ncredential_process = {}\n", world.path("process").display());
    world.write(".aws/config", config);
}

#[test]
fn credentials_that_expire_in_the_middle_of_a_run_are_renewed() {
    let world = world();
    with_process(&world, "\\\"Expiration\\\": \\\"2999-01-01T00:00:00Z\\\", ");
    // The second upload finds the first credentials expired.
    world.store().fault(Fault::on("PutObject").skip(1).times(1).status(400, "ExpiredToken"));
    let path = std::env::var("PATH").unwrap_or_default();
    let run = keyless(&world, &[("PATH", &path)]);
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

/// An answer to HEAD has no body that could say so.
#[test]
fn credentials_that_a_head_finds_expired_are_renewed() {
    let world = World::in_process();
    world.write("dir/large", noise(1, 12 << 20));
    world.expect(0, "backup dir BUCKET --yes");
    with_process(&world, "");
    let with_the_first = |request: &Request| {
        request.operation != "ListObjectsV2" && request.headers["authorization"].contains("KEY1")
    };
    world.store().fault(Fault::on("*").when(with_the_first).status(400, "ExpiredToken"));
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("PATH", std::env::var("PATH").unwrap_or_default());
    let run = run(command.args(["restore", &url, "back", "--yes", "--part-size", "5MiB"]));
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(fs::read(world.path("back/large")).unwrap(), noise(1, 12 << 20));
}

/// Rather than gone around.
#[test]
fn a_role_is_asked_for_by_way_of_the_proxy() {
    let world = world();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        sender.send(line).unwrap();
    });
    world.write("token", "the web identity");
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup");
    command.env("AWS_WEB_IDENTITY_TOKEN_FILE", world.path("token")).env("HTTPS_PROXY", proxy);
    let run = run(command.args(["backup", "dir", &url, "--mock", "--region", "eu-west-1"]));
    assert_eq!(run.code, 1, "{run:?}");
    let asked = asked.recv_timeout(Duration::from_secs(1)).unwrap();
    assert_eq!(asked.trim(), "CONNECT sts.eu-west-1.amazonaws.com:443 HTTP/1.1");
}

#[test]
fn a_proxy_that_speaks_socks_is_refused() {
    let world = world();
    for proxy in ["socks5://127.0.0.1:9", "socks4://127.0.0.1:9", "socks://127.0.0.1:9"] {
        let url = format!("s3://{}", world.bucket);
        let run =
            run(world.command().env("ALL_PROXY", proxy).args(["backup", "dir", &url, "--mock"]));
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says("SOCKS");
    }
    assert!(world.store().requests().is_empty());
}

/// Answers each request with what `answer` makes of its first line, headers and body.
fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
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
            let body = answer(&request);
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
fn keys_come_from_a_container() {
    let world = world();
    world.store().allow_session("SERVED", "secret", "token");
    let (url, seen) = serve(|_| KEYS.to_owned());
    let run = keyless(
        &world,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/keys")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "open sesame"),
        ],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "asked once for the whole run");
    assert!(seen[0].starts_with("GET /keys ") && seen[0].contains("open sesame"), "{seen:?}");
}

#[test]
fn keys_come_from_the_instance_metadata_of_version_2() {
    let world = world();
    world.store().allow_session("SERVED", "secret", "token");
    let (url, seen) = serve(|request| {
        let answer = match request.split(' ').nth(1).unwrap_or_default() {
            "/latest/api/token" => "metadata-token",
            path if path.trim_end_matches('/').ends_with("security-credentials") => "the-role",
            _ => KEYS,
        };
        answer.to_owned()
    });
    let run = keyless(&world, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
    assert_eq!(run.code, 0, "{run:?}");
    let seen = seen.lock().unwrap();
    assert!(seen[0].starts_with("PUT /latest/api/token "), "{seen:?}");
    assert!(seen[1..].iter().all(|request| request.contains("metadata-token")), "{seen:?}");
    assert!(seen[2].contains("/security-credentials/the-role "), "{seen:?}");
}

#[test]
fn keys_come_from_a_web_identity() {
    let world = world();
    world.store().allow_session("SERVED", "secret", "token");
    world.write("token-file", "the web identity");
    let (url, seen) = serve(|_| {
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <SessionToken>token</SessionToken><SecretAccessKey>secret</SecretAccessKey>\
         <Expiration>2999-01-01T00:00:00Z</Expiration><AccessKeyId>SERVED</AccessKeyId></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            .to_owned()
    });
    let file = world.path("token-file");
    let run = keyless(
        &world,
        &[
            ("AWS_ENDPOINT_URL_STS", &url),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let seen = seen.lock().unwrap();
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
fn a_proxy_that_is_out_of_reach_is_not_taken_for_the_server() {
    let world = world();
    let url = format!("s3://{}", world.bucket);
    let backup = |vars: &[(&str, &str)]| {
        let words = ["backup", "dir", &url, "--mock", "--retries", "0"];
        run(world
            .command()
            .env("http_proxy", "http://127.0.0.1:9")
            .envs(vars.iter().copied())
            .args(words))
    };
    backup(&[]).assert_says(&format!("{} by the proxy: connection refused", world.endpoint()));
    assert_eq!(backup(&[("NO_PROXY", "127.0.0.1")]).code, 0);
}

#[test]
fn https_where_http_is_spoken_is_told_as_that() {
    let world = world();
    let https = world.endpoint().replace("http:", "https:");
    let line = format!("backup dir BUCKET --yes --retries 0 --endpoint-url {https}");
    world.expect(1, &line).assert_says("the server does not speak TLS: is it http?");
}
