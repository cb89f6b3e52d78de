//! Spellings, exit codes, and one clear sentence for what every user meets once.

use crate::support::{World, run};

#[test]
fn both_spellings_work() {
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
fn usage_errors_are_exit_1_and_help_is_exit_0() {
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
fn what_every_user_meets_once_is_one_clear_sentence() {
    let world = World::on_any_server();
    world.write("dir/a", "a");
    let url = format!("s3://{}", world.bucket);
    let fails = |says: &str, vars: &[(&str, &str)], args: &[&str]| {
        let run = run(world.command().envs(vars.iter().copied()).args(args));
        assert_eq!(run.code, 1, "{run:#?}");
        assert_eq!(run.stderr.lines().count(), 1, "{run:#?}");
        assert!(run.stderr.contains(says), "{says:?}: {run:#?}");
        assert!(run.stdout.is_empty(), "{run:#?}");
    };
    fails(
        "the server does not know this access key (InvalidAccessKeyId)",
        &[("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWS00000")],
        &["backup", "dir", &url, "--yes"],
    );
    fails(
        "the secret key is wrong (SignatureDoesNotMatch)",
        &[("AWS_SECRET_ACCESS_KEY", "wrong")],
        &["backup", "dir", &url, "--yes"],
    );
    fails(
        "the bucket does not exist",
        &[],
        &["backup", "dir", "s3://no-such-bucket-here", "--yes"],
    );
    fails(
        "the bucket does not exist",
        &[],
        &["restore", "s3://no-such-bucket-here", "dir", "--yes"],
    );
    fails(
        "http://127.0.0.1:9: connection refused",
        &[],
        &["backup", "dir", &url, "--yes", "--endpoint-url", "http://127.0.0.1:9", "--retries", "1"],
    );
    fails(
        "no credentials found: set AWS_ACCESS_KEY_ID",
        &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")],
        &["backup", "dir", &url, "--yes"],
    );
    fails("nobody", &[], &["backup", "dir", &url, "--yes", "--profile", "nobody"]);
    assert_eq!(std::fs::read(world.path("dir/a")).unwrap(), b"a");
}

#[test]
fn results_that_can_not_be_written_are_no_success() {
    let world = World::on_any_server();
    world.write("dir/a", "a");
    let url = format!("s3://{}", world.bucket);
    let to_full_disk = |command: &str, args: &[&str]| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let child =
            world.command().arg(command).args(["dir", &url]).args(args).stdout(full).spawn();
        child.unwrap().wait().unwrap().code()
    };
    assert_eq!(to_full_disk("backup", &["--mock"]), Some(1));
    assert!(world.keys().is_empty());
    // What was asked for is done all the same.
    assert_eq!(to_full_disk("backup", &["--yes"]), Some(1));
    assert_eq!(world.keys(), ["a"]);
    assert_eq!(to_full_disk("verify", &["--json"]), Some(1));
    assert_eq!(to_full_disk("backup", &["--yes", "--quiet"]), Some(0));
    // Differences are said by the exit code as well.
    world.write("dir/b", "b");
    assert_eq!(to_full_disk("verify", &["--json"]), Some(2));
}

#[test]
fn json_lines_say_what_the_text_says() {
    let world = World::on_any_server();
    world.write("dir/a b", "a");
    std::os::unix::fs::symlink("nowhere", world.path("dir/dangling")).unwrap();
    world.put_object("gone", b"gone!");
    let run = world.expect(2, "backup dir BUCKET --yes --json");
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |kind: &str| lines.iter().find(|line| line["type"] == kind).expect(kind);
    assert_eq!(
        (of("upload")["path"].as_str(), of("upload")["size"].as_u64()),
        (Some("a b"), Some(1))
    );
    assert_eq!(of("upload")["reason"], "missing");
    assert_eq!(
        (of("delete")["path"].as_str(), of("delete")["size"].as_u64()),
        (Some("gone"), Some(5))
    );
    assert_eq!(of("skipped")["path"], "dangling");
    assert_eq!(of("plan")["transfer"]["entries"], 1);
    let summary = of("summary");
    assert_eq!((summary["deleted"].as_u64(), summary["exit_code"].as_u64()), (Some(1), Some(2)));
}
