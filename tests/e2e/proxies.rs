//! Proxies: http and https endpoints through http, https and SOCKS5 proxies.

use std::{fs, process::Command};

use crate::{
    any_server::command_line::s3keep,
    support::{
        Run, World, files, noise,
        proxy::{Behaviour, Proxy},
        run,
        store::Store,
        tls_front::ServerTls,
    },
};

const LOGIN: &str = "us er:p@ss/word";
/// The same in a URL.
const ENCODED: &str = "us%20er:p%40ss%2Fword";

/// Backs up a small and a large tree, verifies and restores it. The large file has parts.
fn round_trip(world: &World, set: impl Fn(&mut Command)) {
    for n in 0..30 {
        world.write(&format!("src/{n} file"), noise(n, 100 * n as usize));
    }
    world.write("src/large", noise(99, 12 << 20));
    for line in [
        "backup src BUCKET/prefix --mock",
        "backup src BUCKET/prefix --yes --part-size 5MiB",
        "verify src BUCKET/prefix",
        "restore BUCKET/prefix back --yes --part-size 5MiB",
    ] {
        let mut command = s3keep(world, line);
        set(&mut command);
        let run = run(&mut command);
        assert_eq!(run.code, 0, "{line}: {run:?}");
    }
    assert_eq!(files(&world.path("back")), files(&world.path("src")));
}

fn in_process() -> World {
    let world = World::in_process();
    fs::create_dir(world.path("src")).unwrap();
    world
}

fn over_tls() -> World {
    let world = World::on(Store::start_tls());
    fs::write(world.path("ca.pem"), world.store().ca_pem()).unwrap();
    fs::create_dir(world.path("src")).unwrap();
    world
}

/// A run that lists an empty directory and an empty bucket.
fn list(world: &World, vars: &[(&str, &str)]) -> Run {
    let mut command = s3keep(world, "backup src BUCKET --mock --retries 1");
    command.env("AWS_CA_BUNDLE", world.path("ca.pem"));
    if !world.path("ca.pem").exists() {
        command.env_remove("AWS_CA_BUNDLE");
    }
    run(command.envs(vars.iter().copied()))
}

#[test]
fn http_endpoint_is_reached_in_absolute_form_over_pooled_connections() {
    let world = in_process();
    let proxy = Proxy::start(Behaviour { login: Some(LOGIN), ..Behaviour::default() });
    let url = format!("http://{ENCODED}@{}", proxy.address);
    round_trip(&world, |command| {
        command.env("http_proxy", &url).env("HTTPS_PROXY", "http://127.0.0.1:9");
    });
    let requests = proxy.requests();
    assert_eq!(requests.len(), world.store().requests().len());
    let server = format!(" {}/bucket", world.endpoint());
    assert!(requests.iter().all(|line| line.contains(&server)), "{requests:?}");
    assert!(proxy.connections() < requests.len() / 2, "{}", proxy.connections());
    for url in
        [format!("{ENCODED}@{}", proxy.address), format!("HTTP://{ENCODED}@{}/", proxy.address)]
    {
        assert_eq!(list(&world, &[("http_proxy", &url)]).code, 0);
    }
}

#[test]
fn https_endpoint_is_reached_through_a_tunnel() {
    let world = over_tls();
    let proxy = Proxy::start(Behaviour { login: Some(LOGIN), ..Behaviour::default() });
    round_trip(&world, |command| {
        command.env("https_proxy", format!("http://{ENCODED}@{}", proxy.address));
        command.env("AWS_CA_BUNDLE", world.path("ca.pem"));
    });
    let tunnel = format!("CONNECT {} HTTP/1.1", world.endpoint().replace("https://", ""));
    assert!(proxy.requests().iter().all(|line| *line == tunnel), "{:?}", proxy.requests());
    assert!(proxy.requests().len() < world.store().requests().len() / 2);
}

#[test]
fn https_proxy_serves_http_and_https_endpoints() {
    let tls = ServerTls::new("127.0.0.1", false, |_| {});
    let proxy = || {
        let (tls, login) = (Some(tls.clone()), Some(LOGIN));
        Proxy::start(Behaviour { login, tls, ..Behaviour::default() })
    };
    let (plain, secure, plain_proxy, secure_proxy) = (in_process(), over_tls(), proxy(), proxy());
    let trusted = [&tls.pem[..], &secure.store().ca_pem()].concat();
    for (world, proxy) in [(&plain, &plain_proxy), (&secure, &secure_proxy)] {
        fs::write(world.path("ca.pem"), &trusted).unwrap();
        round_trip(world, |command| {
            command.env("ALL_PROXY", format!("https://{ENCODED}@{}", proxy.address));
            command.env("AWS_CA_BUNDLE", world.path("ca.pem"));
        });
    }
    assert!(plain_proxy.requests().iter().all(|line| line.contains(" http://127.0.0.1:")));
    assert!(secure_proxy.requests().iter().all(|line| line.starts_with("CONNECT ")));
}

#[test]
fn socks_proxy_serves_http_and_https_endpoints() {
    for world in [in_process(), over_tls()] {
        for scheme in ["socks5", "socks5h", "socks"] {
            let proxy = Proxy::start(Behaviour { login: Some(LOGIN), ..Behaviour::default() });
            let url = format!("{scheme}://{ENCODED}@{}", proxy.address);
            if scheme == "socks5" {
                round_trip(&world, |command| {
                    command.env("ALL_PROXY", &url).env("AWS_CA_BUNDLE", world.path("ca.pem"));
                    if !world.path("ca.pem").exists() {
                        command.env_remove("AWS_CA_BUNDLE");
                    }
                });
            } else {
                assert_eq!(list(&world, &[("ALL_PROXY", &url)]).code, 0);
            }
            let server = world.endpoint().split("//").last().unwrap();
            assert!(proxy.requests().iter().all(|line| *line == format!("SOCKS {server}")));
            assert!(!proxy.requests().is_empty());
        }
    }
}

#[test]
fn socks5h_and_http_proxies_resolve_the_name_of_the_server() {
    let world = in_process();
    let (_, port) = world.endpoint().rsplit_once(':').unwrap();
    let server = Some(format!("127.0.0.1:{port}"));
    let proxy = Proxy::start(Behaviour { server, ..Behaviour::default() });
    let endpoint = format!("http://store.invalid:{port}");
    let socks = format!("socks5h://{}", proxy.address);
    assert_eq!(list(&world, &[("ALL_PROXY", &socks), ("AWS_ENDPOINT_URL_S3", &endpoint)]).code, 0);
    assert_eq!(proxy.requests(), [format!("SOCKS store.invalid:{port}")]);
    let http = format!("http://{}", proxy.address);
    assert_eq!(list(&world, &[("ALL_PROXY", &http), ("AWS_ENDPOINT_URL_S3", &endpoint)]).code, 0);
    assert!(proxy.requests()[1].starts_with(&format!("GET http://store.invalid:{port}/bucket")));
    // The client resolves the name for socks5.
    let local = format!("http://localhost:{port}");
    let socks = format!("socks5://{}", proxy.address);
    assert_eq!(list(&world, &[("ALL_PROXY", &socks), ("AWS_ENDPOINT_URL_S3", &local)]).code, 0);
    assert_eq!(proxy.requests()[2], format!("SOCKS 127.0.0.1:{port}"));
}

#[test]
fn proxy_that_requires_a_login_is_reported_at_once() {
    let (plain, secure) = (in_process(), over_tls());
    for (world, scheme) in [(&plain, "http"), (&secure, "http"), (&plain, "socks5h")] {
        for login in ["", "someone:secret-password@"] {
            let proxy = Proxy::start(Behaviour { login: Some(LOGIN), ..Behaviour::default() });
            let url = format!("{scheme}://{login}{}", proxy.address);
            let run = list(world, &[("ALL_PROXY", &url)]);
            assert_eq!(run.code, 1, "{run:?}");
            run.assert_says("the proxy requires a user name and a password");
            run.assert_says("http://USER:PASSWORD@HOST:PORT");
            assert!(!format!("{run:?}").contains("secret-password"));
            assert_eq!(proxy.connections(), 1, "it is not retried");
        }
    }
}

#[test]
fn refusal_of_the_proxy_is_not_taken_for_that_of_the_server() {
    let (plain, secure) = (in_process(), over_tls());
    for world in [&plain, &secure] {
        for (status, problem) in
            [(403, "the proxy refuses the request"), (502, "cannot reach the server"), (503, "503")]
        {
            let proxy = Proxy::start(Behaviour { refuse: Some(status), ..Behaviour::default() });
            let run = list(world, &[("ALL_PROXY", &format!("http://{}", proxy.address))]);
            assert_eq!(run.code, 1, "{run:?}");
            run.assert_says("the proxy ");
            run.assert_says(problem);
            assert!(!format!("{run:?}").contains("permission denied"), "{run:?}");
        }
    }
    for status in [403, 405, 504] {
        let refuse = Some(status);
        let behaviour = Behaviour { refuse, is_anonymous: true, ..Behaviour::default() };
        let proxy = Proxy::start(behaviour);
        let run = list(&plain, &[("http_proxy", &format!("http://{}", proxy.address))]);
        run.assert_says(&format!("the server responded with {status}: an HTML page, probably of"));
    }
    let proxy = Proxy::start(Behaviour { refuse: Some(403), ..Behaviour::default() });
    let run = list(&plain, &[("ALL_PROXY", &format!("socks5h://{}", proxy.address))]);
    run.assert_says("through the proxy: connection not allowed by ruleset");
}

#[test]
fn servers_in_no_proxy_are_reached_directly() {
    let world = in_process();
    let (_, port) = world.endpoint().rsplit_once(':').unwrap();
    let proxy = Proxy::start(Behaviour::default());
    let http = format!("http://{}", proxy.address);
    let socks = format!("socks5://{}", proxy.address);
    let mut expected = 0;
    for url in [&http, &socks] {
        for (except, is_direct) in [
            ("", false),
            ("*", true),
            ("127.0.0.1", true),
            (&format!("127.0.0.1:{port}"), true),
            ("127.0.0.1:1", false),
            ("10.0.0.0/8, 127.0.0.0/8", true),
            ("126.0.0.0/8,::1/128", false),
        ] {
            let run = list(&world, &[("http_proxy", url), ("NO_PROXY", except)]);
            assert_eq!(run.code, 0, "{except}: {run:?}");
            expected += usize::from(!is_direct);
            assert_eq!(proxy.requests().len(), expected, "{except}");
        }
    }
}

#[test]
fn web_identity_over_http_uses_the_proxy_for_http() {
    let world = in_process();
    let proxy = Proxy::start(Behaviour { refuse: Some(502), ..Behaviour::default() });
    world.write("token", "the web identity");
    let mut command = s3keep(&world, "backup src BUCKET --mock");
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup");
    command.env("AWS_WEB_IDENTITY_TOKEN_FILE", world.path("token"));
    command.env("AWS_ENDPOINT_URL_STS", "http://sts.invalid:9000");
    command.env("http_proxy", format!("http://{}", proxy.address));
    let run = run(command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "127.0.0.1"));
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(proxy.requests()[0], "POST http://sts.invalid:9000/ HTTP/1.1");
}

#[test]
fn invalid_proxy_is_named_without_its_password() {
    let world = in_process();
    for url in [
        "ftp://user:secret-password@host",
        "socks4://user:secret-password@host",
        "http://user:1/secret-password@host:3128",
    ] {
        let run = list(&world, &[("ALL_PROXY", url)]);
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says("the value of ALL_PROXY");
        assert!(!format!("{run:?}").contains("secret-password"), "{run:?}");
    }
}
