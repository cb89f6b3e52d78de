//! Connections to the server: dead addresses, certificates, and http where TLS is expected.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    any_server::command_line::s3keep,
    support::{Run, World, proxy::answering, run, store::Store, tls_front::ServerTls},
};

fn world() -> World {
    let world = World::in_process();
    fs::create_dir(world.path("src")).unwrap();
    world
}

/// A run that lists an empty directory and an empty bucket.
fn list(world: &World, endpoint: &str, bundle: &str) -> Run {
    fs::write(world.path("bundle.pem"), bundle).unwrap();
    let mut command = s3keep(world, "backup src BUCKET --mock --retries 0 --endpoint-url");
    command.arg(endpoint);
    if !bundle.is_empty() {
        command.env("AWS_CA_BUNDLE", world.path("bundle.pem"));
    }
    run(&mut command)
}

/// Another program with the environment of the command.
fn with_environment_of(command: &Command, program: &str) -> Command {
    let mut other = Command::new(program);
    other.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    other.current_dir(command.get_current_dir().unwrap());
    other
}

#[test]
fn address_that_drops_connections_costs_little_time() {
    let world = world();
    let (_, port) = world.endpoint().rsplit_once(':').unwrap();
    // Linux drops connections if the queue of a server is full.
    let Ok(dead) = TcpListener::bind(format!("[::1]:{port}")) else {
        println!("skipped: there is no IPv6");
        return;
    };
    let address = dead.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
    let queued: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).take(100_000).collect();
    assert!(connect().is_err(), "{} connections are queued", queued.len());
    for n in 0..200 {
        world.write(&format!("src/{n}"), "content");
    }
    // A host name that has both addresses.
    world.write("hosts", "::1 store.test\n127.0.0.1 store.test\n");
    let script = "mount --bind hosts /etc/hosts && exec \"$@\"";
    let mut command = with_environment_of(&world.command(), "unshare");
    command.args(["-m", "sh", "-c", script, "sh"]);
    let can_mount = command.arg("true").output().is_ok_and(|output| output.status.success());
    if !can_mount {
        println!("skipped: mounting is not permitted");
        return;
    }
    let mut command = with_environment_of(&world.command(), "unshare");
    command.args(["-m", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_s3keep")]);
    command.args(["backup", "src", &format!("s3://{}", world.bucket), "--yes"]);
    command.args(["--endpoint-url", &format!("http://store.test:{port}")]);
    let started = Instant::now();
    let run = run(&mut command);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn self_signed_certificate_in_the_bundle_is_accepted() {
    let world = world();
    let server = world.endpoint().replace("http://", "");
    for is_ca in [true, false] {
        let tls = ServerTls::new("127.0.0.1", is_ca, |_| {});
        let endpoint = format!("https://{}", tls.in_front_of(&server));
        let other = ServerTls::new("127.0.0.1", is_ca, |_| {});
        let run = list(&world, &endpoint, &[&other.pem[..], &tls.pem].concat());
        assert_eq!(run.code, 0, "{run:?}");
        for bundle in ["", &other.pem] {
            let run = list(&world, &endpoint, bundle);
            assert_eq!(run.code, 1, "{run:?}");
            run.assert_says("AWS_CA_BUNDLE");
            run.assert_says("self-signed");
        }
    }
}

#[test]
fn certificate_in_the_bundle_must_be_valid_for_the_server_and_the_time() {
    let world = world();
    let server = world.endpoint().replace("http://", "");
    for is_ca in [true, false] {
        let tls = ServerTls::new("other.example.net", is_ca, |_| {});
        let endpoint = format!("https://{}", tls.in_front_of(&server));
        let run = list(&world, &endpoint, &tls.pem);
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says(
            "certificate is not for 127.0.0.1, only for other.example.net: use its name",
        );

        let tls = ServerTls::new("127.0.0.1", is_ca, |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        let endpoint = format!("https://{}", tls.in_front_of(&server));
        let run = list(&world, &endpoint, &tls.pem);
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says("the server's certificate has expired: renew it");

        let tls = ServerTls::new("127.0.0.1", is_ca, |params| {
            params.not_before = rcgen::date_time_ymd(2900, 1, 1);
            params.not_after = rcgen::date_time_ymd(2901, 1, 1);
        });
        let endpoint = format!("https://{}", tls.in_front_of(&server));
        list(&world, &endpoint, &tls.pem).assert_says("not valid yet: correct the clock");
    }
}

#[test]
fn certificate_of_an_unknown_issuer_is_reported() {
    let world = World::on(Store::start_tls());
    fs::create_dir(world.path("src")).unwrap();
    let other = Store::start_tls();
    for bundle in ["", &other.ca_pem()] {
        let run = list(&world, world.endpoint(), bundle);
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says("from an unknown issuer: if you trust it, set AWS_CA_BUNDLE");
    }
    assert_eq!(list(&world, world.endpoint(), &world.store().ca_pem()).code, 0);
    list(&world, world.endpoint(), "no certificate").assert_says("contains no PEM certificate");
}

#[test]
fn http_sent_to_a_tls_port_is_reported() {
    let world = world();
    let go: &[u8] =
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let nginx: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
        <html><center>The plain HTTP request was sent to HTTPS port</center></html>";
    for response in [go, nginx] {
        let run = list(&world, &format!("http://{}", answering(response)), "");
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says("the port expects TLS: begin the endpoint with https://");
    }
    // A TLS alert, and nothing at all.
    for response in [&b"\x15\x03\x01\x00\x02\x02\x16"[..], b""] {
        let run = list(&world, &format!("http://{}", answering(response)), "");
        assert_eq!(run.code, 1, "{run:?}");
        run.assert_says("does the port expect https?");
    }
    let tls = Store::start_tls();
    let run = list(&world, &tls.endpoint().replace("https:", "http:"), "");
    assert_eq!(run.code, 1, "{run:?}");
    run.assert_says("does the port expect https?");
}
