//! Options, exit codes, common error messages, and JSON output.

use std::{fs, os::unix::fs::symlink, process::Command};

use crate::support::{Limit, Run, World, run};

/// The command with the arguments of `line`. `BUCKET` stands for the bucket's URL.
pub fn s3keep(world: &World, line: &str) -> Command {
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.args(line.split(' ').map(|word| word.replace("BUCKET", &url)));
    command
}

/// Parses JSON output, and returns the first object of type `kind`.
#[track_caller]
pub fn json_line(run: &Run, kind: &str) -> serde_json::Value {
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    lines.into_iter().find(|line| line["type"] == kind).expect(kind)
}

#[test]
fn options_and_positional_arguments_are_equivalent() {
    let world = World::on_any_server();
    world.write("dir/a", "a");
    let bucket = world.bucket.clone();
    world
        .expect(0, &format!("backup -b {bucket} -p dir --region us-east-1 --yes"))
        .assert_says("1 uploaded");
    world.expect(0, "backup dir BUCKET --yes").assert_nothing_to_do();
    world
        .expect(0, &format!("restore --bucket {bucket} --prefix back --yes"))
        .assert_says("1 downloaded");
    world.expect(0, &format!("verify -b {bucket} -p back")).assert_says("1 the same");
}

#[test]
fn usage_error_exits_1_and_help_exits_0() {
    let world = World::on_any_server();
    for line in [
        "backup",
        "backup onlyone",
        "nonsense",
        "backup dir s3://",
        "restore dir BUCKET",
        "backup dir BUCKET --nonsense",
        "backup dir BUCKET --max-delete many",
        "backup dir BUCKET --workers 0",
        "backup dir BUCKET --part-size 1MiB",
        "verify dir BUCKET --yes",
        "backup dir BUCKET --endpoint-url ftp://x",
    ] {
        let run = world.expect(1, line);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{line}: {run:#?}");
    }
    for line in ["help", "--help", "backup --help", "--version"] {
        let run = world.expect(0, line);
        assert!(!run.stdout.is_empty() && run.stderr.is_empty(), "{line}: {run:#?}");
    }
}

#[test]
fn common_setup_error_is_one_line_on_stderr() {
    let world = World::on_any_server();
    world.write("dir/a", "a");
    let fails = |message: &str, vars: &[(&str, &str)], line: &str| {
        let run = run(s3keep(&world, line).envs(vars.iter().copied()));
        assert_eq!(run.code, 1, "{run:#?}");
        assert_eq!(run.stderr.lines().count(), 1, "{run:#?}");
        assert!(run.stderr.contains(message), "{message:?}: {run:#?}");
        assert!(run.stdout.is_empty(), "{run:#?}");
    };
    if !world.has_limit(Limit::Signatures) {
        fails(
            "the server does not know this access key (InvalidAccessKeyId)",
            &[("AWS_ACCESS_KEY_ID", "AKIAUNKNOWNKEY000000")],
            "backup dir BUCKET --yes",
        );
        fails(
            "check the secret key, the region and the clock of this machine (SignatureDoesNotMatch)",
            &[("AWS_SECRET_ACCESS_KEY", "wrong")],
            "backup dir BUCKET --yes",
        );
    }
    fails("the bucket does not exist", &[], "backup dir s3://no-such-bucket-here --yes");
    fails("the bucket does not exist", &[], "restore s3://no-such-bucket-here dir --yes");
    fails(
        "http://127.0.0.1:9: connection refused",
        &[],
        "backup dir BUCKET --yes --endpoint-url http://127.0.0.1:9 --retries 1",
    );
    fails(
        "no credentials found: set AWS_ACCESS_KEY_ID",
        &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")],
        "backup dir BUCKET --yes",
    );
    fails("no-such-profile", &[], "backup dir BUCKET --yes --profile no-such-profile");
    assert_eq!(fs::read(world.path("dir/a")).unwrap(), b"a");
}

#[test]
fn failed_write_to_stdout_is_not_a_success() {
    let world = World::on_any_server();
    world.write("dir/a", "a");
    let to_full_disk = |line: &str| {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut child = s3keep(&world, line).stdout(full).spawn().unwrap();
        child.wait().unwrap().code()
    };
    assert_eq!(to_full_disk("backup dir BUCKET --mock"), Some(1));
    assert!(world.keys().is_empty());
    // The backup itself is still made.
    assert_eq!(to_full_disk("backup dir BUCKET --yes"), Some(1));
    assert_eq!(world.keys(), ["a"]);
    assert_eq!(to_full_disk("verify dir BUCKET --json"), Some(1));
    assert_eq!(to_full_disk("backup dir BUCKET --yes --quiet"), Some(0));
    // Exit code 2 (differences) takes precedence over 1 (failed write).
    world.write("dir/b", "b");
    assert_eq!(to_full_disk("verify dir BUCKET --json"), Some(2));
}

#[test]
fn json_lines_report_plan_and_summary() {
    let world = World::on_any_server();
    world.write("dir/a b", "a");
    symlink("nowhere", world.path("dir/dangling")).unwrap();
    world.put_object("gone", b"gone!");
    let run = world.expect(2, "backup dir BUCKET --yes --json");
    let upload = json_line(&run, "upload");
    assert_eq!((upload["path"].as_str(), upload["size"].as_u64()), (Some("a b"), Some(1)));
    assert_eq!(upload["reason"], "missing");
    let delete = json_line(&run, "delete");
    assert_eq!((delete["path"].as_str(), delete["size"].as_u64()), (Some("gone"), Some(5)));
    assert_eq!(json_line(&run, "skipped")["path"], "dangling");
    assert_eq!(json_line(&run, "plan")["transfer"]["entries"], 1);
    let summary = json_line(&run, "summary");
    assert_eq!((summary["deleted"].as_u64(), summary["exit_code"].as_u64()), (Some(1), Some(2)));
}
