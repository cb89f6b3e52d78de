//! Credentials as in the AWS SDKs: roles, SSO, keys that are renewed, and clocks that are wrong.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use crate::{
    access::{backup_without_keys, serve, without_keys},
    any_server::command_line::s3keep,
    support::{
        World, noise, run,
        store::{Fault, Store},
    },
};

const CONFIG: &str = "[default]\nrole_arn = arn:aws:iam::123456789012:role/backup\n\
    source_profile = base\nrole_session_name = nightly\nexternal_id = hidden-id\n\
    [profile base]\naws_access_key_id = BASE\naws_secret_access_key = base-secret\n";

fn world() -> World {
    let world = World::in_process();
    world.write("dir/a", "a");
    world.write("dir/b", "b");
    world
}

/// A response of STS with the keys NAME, the secret `secret-NAME` and the token `token-NAME`.
fn role_keys(name: &str) -> String {
    format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{name}</AccessKeyId>\
         <SecretAccessKey>secret-{name}</SecretAccessKey><SessionToken>token-{name}</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
         </AssumeRoleResponse>"
    )
}

fn allow(world: &World, name: &str) {
    world.store().allow_session(name, &format!("secret-{name}"), &format!("token-{name}"));
}

#[test]
fn role_is_assumed_with_the_keys_of_the_source_profile() {
    let world = world();
    allow(&world, "ROLE");
    world.write(".aws/config", CONFIG);
    let (url, seen) = serve(|_| role_keys("ROLE"));
    for variable in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"] {
        let run = backup_without_keys(&world, &[(variable, &url), ("AWS_REGION", "eu-west-1")]);
        assert_eq!(run.code, 0, "{run:?}");
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2, "a run assumes the role once: {seen:?}");
    assert!(seen[0].starts_with("POST / "), "{seen:?}");
    assert!(
        seen[0].contains("Credential=BASE/") && seen[0].contains("/eu-west-1/sts/"),
        "{seen:?}"
    );
    for field in ["Action=AssumeRole&", "RoleSessionName=nightly", "ExternalId=hidden%2Did"] {
        assert!(seen[0].contains(field), "{field}: {seen:?}");
    }
    let requests = world.store().requests();
    assert!(requests.iter().all(|request| request.headers["authorization"].contains("ROLE/")));
}

#[test]
fn chain_of_roles_is_followed_to_its_keys() {
    let world = world();
    allow(&world, "SECOND");
    world.write(
        ".aws/config",
        "[profile last]\nrole_arn = second\nsource_profile = middle\n\
         [profile middle]\nrole_arn = first\ncredential_source = Environment\n",
    );
    let (url, seen) = serve(|request| {
        role_keys(if request.contains("RoleArn=first") { "FIRST" } else { "SECOND" })
    });
    let mut command = s3keep(&world, "backup dir BUCKET --yes --profile last");
    let run = run(command.env("AWS_ENDPOINT_URL_STS", &url));
    assert_eq!(run.code, 0, "{run:?}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains("RoleArn=first"), "{seen:?}");
    assert!(seen[1].contains("Credential=FIRST/") && seen[1].contains("token-FIRST"), "{seen:?}");
}

#[test]
fn role_that_cannot_be_assumed_is_reported_without_secrets() {
    let world = world();
    let (url, _) = serve(|request| {
        format!(
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{}</Message></Error>\
             </ErrorResponse>",
            if request.contains("nightly") { "hidden-id is wrong" } else { "user u may not" }
        )
    });
    for (config, message) in [
        (CONFIG.to_owned(), "the role of profile default: it responded with AccessDenied\n"),
        (CONFIG.replace("nightly", "daily"), "it responded with AccessDenied: user u may not"),
        (CONFIG.replace("external_id", "mfa_serial"), "aws configure export-credentials"),
        (CONFIG.replace("[profile base]", "[profile other]"), "source_profile base of profile"),
        (CONFIG.replace("aws_access_key_id", "x"), "base: aws_secret_access_key is set without"),
    ] {
        world.write(".aws/config", &config);
        let run = backup_without_keys(&world, &[("AWS_ENDPOINT_URL_STS", &url)]);
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says(message);
        assert!(!format!("{run:?}").contains("hidden-id is"), "{run:?}");
        assert!(!format!("{run:?}").contains("base-secret"), "{run:?}");
    }
    assert!(world.store().requests().is_empty());
}

#[test]
fn sso_token_of_the_aws_cli_is_used() {
    let world = world();
    allow(&world, "SSO");
    let (url, seen) = serve(|_| {
        r#"{"roleCredentials": {"accessKeyId": "SSO", "secretAccessKey": "secret-SSO",
            "sessionToken": "token-SSO", "expiration": 32472144000000}}"#
            .to_owned()
    });
    world.write(
        ".aws/config",
        "[default]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = reader\n\
         [sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://x.example/start\n",
    );
    let vars = [("AWS_ENDPOINT_URL_SSO", url.as_str())];
    // The SHA-1 of `s`.
    let file = ".aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json";
    let token = |expires: &str| format!(r#"{{"accessToken": "bearer", "expiresAt": "{expires}"}}"#);
    backup_without_keys(&world, &vars).assert_says("run `aws sso login --profile default`");
    world.write(file, token("2020-01-01T00:00:00Z"));
    let expired = backup_without_keys(&world, &vars);
    assert_eq!(expired.code, 1);
    expired.assert_says("the SSO session has expired; run `aws sso login --profile default`");
    assert!(seen.lock().unwrap().is_empty());
    world.write(file, token("2999-01-01T00:00:00Z"));
    let run = backup_without_keys(&world, &vars);
    assert_eq!(run.code, 0, "{run:?}");
    let path = "GET /federation/credentials?role_name=reader&account_id=123456789012 ";
    assert!(seen.lock().unwrap()[0].starts_with(path));
    assert!(seen.lock().unwrap()[0].contains("x-amz-sso_bearer_token: bearer"));
}

/// Writes a `credential_process` that counts its calls and prints the keys PROC with `expires`.
fn write_process(world: &World, path: &str, expires: SystemTime) {
    allow(world, "PROC");
    let expires = humantime::format_rfc3339_seconds(expires);
    let script = format!(
        "#!/bin/sh\necho x >> \"$HOME/calls\"\ncat <<END\n{{\"Version\": 1, \
         \"AccessKeyId\": \"PROC\", \"SecretAccessKey\": \"secret-PROC\", \
         \"SessionToken\": \"token-PROC\", \"Expiration\": \"{expires}\"}}\nEND\n"
    );
    world.write(path, script);
    fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o755)).unwrap();
}

fn backup_with_process(world: &World) -> crate::support::Run {
    backup_without_keys(world, &[("PATH", &std::env::var("PATH").unwrap_or_default())])
}

#[test]
fn home_directory_is_expanded_in_a_credential_process() {
    let world = world();
    write_process(&world, "my bin/keys", SystemTime::now() + Duration::from_secs(3600));
    for command in ["~/my\\ bin/keys", "\"$HOME/my bin/keys\"", "'/bin/sh' ${HOME}/'my bin'/keys"] {
        world.write(".aws/config", format!("[default]\ncredential_process = {command}\n"));
        let run = backup_with_process(&world);
        assert_eq!(run.code, 0, "{command}: {run:?}");
    }
}

#[test]
fn expiration_is_judged_by_the_clock_of_the_server() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (expires, shift, calls) in [
        // The local clock is ten minutes ahead of the server's: the keys seem to have expired.
        (SystemTime::now() - minutes(1), -600, 1),
        (SystemTime::now() + minutes(8), 0, 1),
    ] {
        let world = world();
        world.store().shift_clock(shift);
        write_process(&world, "keys", expires);
        world.write(".aws/config", "[default]\ncredential_process = ~/keys\n");
        let run = backup_with_process(&world);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(world.store().keys(), ["a", "b"]);
        assert_eq!(fs::read_to_string(world.path("calls")).unwrap().lines().count(), calls);
    }
    // The local clock is ten minutes behind: the keys seem to be valid for another eight.
    let world = world();
    world.store().shift_clock(600);
    write_process(&world, "keys", SystemTime::now() + minutes(8));
    world.write(".aws/config", "[default]\ncredential_process = ~/keys\n");
    let run = backup_with_process(&world);
    assert_eq!(run.code, 1, "{run:?}");
    run.assert_says("it returned keys that have expired");
}

#[test]
fn expired_keys_are_refused_by_the_server_while_its_clock_is_unknown() {
    let world = world();
    write_process(&world, "keys", SystemTime::now() - Duration::from_secs(60));
    world.write(".aws/config", "[default]\ncredential_process = ~/keys\n");
    world.store().fault(Fault::on("*").status(400, "ExpiredToken"));
    let run = backup_with_process(&world);
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(world.store().requests().len(), 1);
}

#[test]
fn keys_that_another_program_renews_are_used_during_a_run() {
    let world = world();
    world.write("dir/large", noise(1, 12 << 20));
    let file = |world: &World, name: &str| {
        let keys = format!(
            "[default]\naws_access_key_id = {name}\naws_secret_access_key = secret-{name}\n\
             aws_session_token = token-{name}\n"
        );
        (world.path(".aws/credentials"), keys)
    };
    for operation in ["ListObjectsV2", "PutObject", "UploadPart", "CompleteMultipartUpload"] {
        for code in ["ExpiredToken", "InvalidToken"] {
            world.store().keys().iter().for_each(|key| drop(world.store().remove(key)));
            ["OLD", "NEW"].iter().for_each(|name| allow(&world, name));
            world.write(".aws/credentials", file(&world, "OLD").1);
            let (path, keys) = file(&world, "NEW");
            let renew = move |store: &Store| {
                store.revoke_key("OLD");
                fs::write(&path, &keys).unwrap();
            };
            world.store().clear_faults();
            world.store().fault(Fault::on(operation).times(1).run(renew).status(400, code));
            let has_old = |request: &crate::support::store::Request| {
                request.headers["authorization"].contains("OLD/")
            };
            // The store itself would respond with InvalidAccessKeyId.
            world.store().fault(Fault::on("*").when(has_old).skip(1000).status(400, code));
            world.store().clear_requests();
            let mut command =
                without_keys(&world, "backup dir BUCKET --yes --part-size 5MiB --workers 1");
            let run = run(&mut command);
            assert_eq!(run.code, 0, "{operation} {code}: {run:?}");
            assert_eq!(world.store().keys(), ["a", "b", "large"]);
            let requests = world.store().requests();
            assert_eq!(requests.iter().filter(|request| request.status == 400).count(), 1);
        }
    }
}

#[test]
fn keys_that_nobody_renews_fail_with_the_message_of_the_server() {
    let world = world();
    allow(&world, "OLD");
    world.write(
        ".aws/credentials",
        "[default]\naws_access_key_id = OLD\naws_secret_access_key = secret-OLD\n\
         aws_security_token = token-OLD\n",
    );
    world.store().fault(Fault::on("PutObject").status(400, "ExpiredToken"));
    let run = backup_without_keys(&world, &[]);
    assert_eq!(run.code, 1, "{run:?}");
    run.assert_says(
        "the credentials have expired; get new ones (ExpiredToken): The test has injected this error",
    );
    // No request is sent again with the same keys.
    let mut keys: Vec<_> =
        world.store().requests_of("PutObject").into_iter().map(|request| request.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(world.store().count("PutObject"), keys.len());
}

#[test]
fn expired_keys_of_an_instance_are_used_until_there_are_new_ones() {
    let world = world();
    allow(&world, "INST");
    let calls = AtomicUsize::new(0);
    let (url, seen) = serve(move |request| {
        calls.fetch_add(1, Ordering::SeqCst);
        match request.split(' ').nth(1).unwrap_or_default() {
            "/latest/api/token" => "metadata-token".to_owned(),
            path if path.trim_end_matches('/').ends_with("security-credentials") => {
                "the-role".to_owned()
            }
            _ => r#"{"AccessKeyId": "INST", "SecretAccessKey": "secret-INST",
                "Token": "token-INST", "Expiration": "2020-01-01T00:00:00Z", "Code": "Success"}"#
                .to_owned(),
        }
    });
    let run = backup_without_keys(&world, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
    assert_eq!(run.code, 0, "{run:?}");
    // The service is asked once: token, role, keys.
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn requests_ca_bundle_comes_after_the_settings_of_aws() {
    let world = World::on(Store::start_tls());
    world.write("dir/a", "a");
    fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
    fs::write(world.path("no.pem"), "no certificate").unwrap();
    let code = |vars: &[(&str, &str)]| {
        let mut command = s3keep(&world, "backup dir BUCKET --yes --retries 0");
        for (name, file) in vars {
            command.env(name, world.path(file));
        }
        run(&mut command).code
    };
    assert_eq!(code(&[("REQUESTS_CA_BUNDLE", "ca.pem")]), 0);
    assert_eq!(code(&[("REQUESTS_CA_BUNDLE", "no.pem")]), 1);
    assert_eq!(code(&[("REQUESTS_CA_BUNDLE", "no.pem"), ("AWS_CA_BUNDLE", "ca.pem")]), 0);
    let config = format!("[default]\nca_bundle = {}\n", world.path("ca.pem").display());
    world.write(".aws/config", config);
    assert_eq!(code(&[("REQUESTS_CA_BUNDLE", "no.pem")]), 0);
}

#[test]
fn old_names_of_the_session_token_are_read() {
    let world = world();
    allow(&world, "KEY");
    let mut command = s3keep(&world, "backup dir BUCKET --yes");
    command.env("AWS_ACCESS_KEY_ID", "KEY").env("AWS_SECRET_ACCESS_KEY", "secret-KEY");
    assert_eq!(run(command.env("AWS_SECURITY_TOKEN", "token-KEY")).code, 0);
}

#[test]
fn home_directory_that_is_no_directory_has_no_files() {
    let world = world();
    assert!(Path::new("/dev/null").exists());
    let run = run(s3keep(&world, "backup dir BUCKET --yes").env("HOME", "/dev/null"));
    assert_eq!(run.code, 0, "{run:?}");
}
