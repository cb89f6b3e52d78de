//! No secret leaves by any door: not in results, not in errors, whatever goes wrong.

use crate::support::{World, run, store::Fault};

const TOKEN: &str = "session-token-that-nobody-may-see";

#[test]
fn no_output_holds_a_secret_whatever_goes_wrong() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.write("src/b", "b");
    let secret = "wJalrXUtnFEMI-K7MDENG-secret";
    world.store().allow_session("SESSIONKEY", secret, TOKEN);
    let url = format!("s3://{}", world.bucket);
    let proxy = "http://user:proxy-password@127.0.0.1:9";
    let mut said = String::new();
    let mut try_with = |vars: &[(&str, &str)], words: &[&str]| {
        let mut command = world.command();
        command.env("AWS_ACCESS_KEY_ID", "SESSIONKEY").env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("AWS_SESSION_TOKEN", TOKEN).envs(vars.iter().copied());
        let done = run(command.args(words).arg("--json").args(["--retries", "0"]));
        said += &format!("{}{}\n", done.stdout, done.stderr);
        done.code
    };
    assert_eq!(try_with(&[], &["backup", "src", &url, "--yes"]), 0);
    assert_eq!(try_with(&[], &["verify", "src", &url]), 0);
    // A server that says back all it was told.
    let echo = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{url}</Message></Error>");
    world.store().fault(Fault::on("ListObjectsV2").times(1).status(403, "x").body(echo));
    assert_eq!(try_with(&[], &["backup", "src", &url, "--yes"]), 1);
    assert_eq!(
        try_with(&[("AWS_SECRET_ACCESS_KEY", "another-secret-value")], &["verify", "src", &url]),
        1
    );
    assert_eq!(try_with(&[("AWS_ACCESS_KEY_ID", "UNKNOWN")], &["verify", "src", &url]), 1);
    assert_eq!(
        try_with(
            &[("AWS_ENDPOINT_URL_S3", "http://me:endpoint-password@127.0.0.1:9")],
            &["verify", "src", &url]
        ),
        1
    );
    assert_eq!(
        try_with(&[("ALL_PROXY", proxy), ("http_proxy", proxy)], &["verify", "src", &url]),
        1
    );
    assert_eq!(try_with(&[("http_proxy", "not a proxy-password")], &["verify", "src", &url]), 1);
    assert_eq!(
        try_with(&[("AWS_SECRET_ACCESS_KEY", "line\nbreak-secret")], &["verify", "src", &url]),
        1
    );
    assert_eq!(
        try_with(&[("AWS_SESSION_TOKEN", "token\nbreak-secret")], &["verify", "src", &url]),
        1
    );
    world.store().fault(Fault::on("PutObject").status(400, "ExpiredToken"));
    world.write("src/a", "changed");
    assert_eq!(try_with(&[], &["backup", "src", &url, "--yes"]), 1);
    for hidden in [secret, TOKEN, "another-secret", "password", "break-secret", "AWS4-HMAC"] {
        assert!(!said.contains(hidden), "{hidden} in {said}");
    }
}
