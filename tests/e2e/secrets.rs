//! No output contains a secret, neither results nor error messages.

use crate::{
    any_server::command_line::s3keep,
    support::{World, run, store::Fault},
};

#[test]
fn output_never_contains_a_secret() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.write("src/b", "b");
    let secret = "wJalrXUtnFEMI-K7MDENG-secret";
    let token = "session-token-that-must-stay-hidden";
    world.store().allow_session("SESSIONKEY", secret, token);
    let proxy = "http://user:proxy-password@127.0.0.1:9";
    let mut output = String::new();
    let mut code_of = |vars: &[(&str, &str)], line: &str| {
        let mut command = s3keep(&world, &format!("{line} --json --retries 0"));
        command.env("AWS_ACCESS_KEY_ID", "SESSIONKEY").env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("AWS_SESSION_TOKEN", token).envs(vars.iter().copied());
        let done = run(&mut command);
        output += &format!("{}{}\n", done.stdout, done.stderr);
        done.code
    };
    assert_eq!(code_of(&[], "backup src BUCKET --yes"), 0);
    assert_eq!(code_of(&[], "verify src BUCKET"), 0);

    // A server that sends back parts of the request.
    let message = format!("s3://{}", world.bucket);
    let echo =
        format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{message}</Message></Error>");
    world.store().fault(Fault::on("ListObjectsV2").times(1).status(403, "x").body(echo));
    assert_eq!(code_of(&[], "backup src BUCKET --yes"), 1);

    for vars in [
        &[("AWS_SECRET_ACCESS_KEY", "another-secret-value")][..],
        &[("AWS_ACCESS_KEY_ID", "UNKNOWN")],
        &[("AWS_ENDPOINT_URL_S3", "http://me:endpoint-password@127.0.0.1:9")],
        &[("ALL_PROXY", proxy), ("http_proxy", proxy)],
        &[("http_proxy", "not a proxy-password")],
        &[("AWS_SECRET_ACCESS_KEY", "line\nbreak-secret")],
        &[("AWS_SESSION_TOKEN", "token\nbreak-secret")],
    ] {
        assert_eq!(code_of(vars, "verify src BUCKET"), 1, "{vars:?}");
    }

    world.store().fault(Fault::on("PutObject").status(400, "ExpiredToken"));
    world.write("src/a", "changed");
    assert_eq!(code_of(&[], "backup src BUCKET --yes"), 1);
    for hidden in [secret, token, "another-secret", "password", "break-secret", "AWS4-HMAC"] {
        assert!(!output.contains(hidden), "{hidden} in {output}");
    }
}
