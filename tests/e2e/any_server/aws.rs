//! Interoperability: `aws s3 sync` and s3keep each read the bucket that the other has written.
//!
//! `scripts/aws-cli` installs the AWS CLI and sets `S3KEEP_TEST_AWS` to its path. Without that
//! variable, the steps that need the AWS CLI are skipped.

use std::process::Command;

use crate::support::{World, files, noise, run};

fn world() -> World {
    let world = World::on_any_server();
    world.write("src/a.txt", "a");
    world.write("src/with space/plus+sign & more.bin", noise(1, 300_000));
    world.write("src/with space/caf\u{e9} \u{1f600}", "unicode");
    // Larger than the part size of both tools.
    world.write("src/large", noise(2, 20 << 20));
    world
}

/// Runs `aws s3 sync`; returns `None` without the AWS CLI.
fn aws(world: &World, args: &[&str]) -> Option<()> {
    let aws = std::env::var("S3KEEP_TEST_AWS").ok()?;
    let mut command = Command::new(aws);
    let ours = world.command();
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("AWS_DEFAULT_REGION", "us-east-1").current_dir(world.path(""));
    let done = run(command.args(["s3", "sync", "--only-show-errors"]).args(args));
    assert_eq!(done.code, 0, "{done:#?}");
    Some(())
}

#[test]
fn aws_cli_restores_an_s3keep_backup() {
    let world = world();
    // In this direction only: the AWS CLI waits a minute before it uploads an empty file.
    world.write("src/empty", "");
    let url = format!("s3://{}/p", world.bucket);
    world.expect(0, "backup src BUCKET/p --yes --part-size 5MiB");
    if aws(&world, &[&url, "back"]).is_some() {
        assert_eq!(files(&world.path("src")), files(&world.path("back")));
    }
}

#[test]
fn s3keep_restores_an_aws_cli_backup() {
    let world = world();
    let url = format!("s3://{}/p", world.bucket);
    if aws(&world, &["src", &url]).is_some() {
        world.expect(0, "verify src BUCKET/p").assert_says("4 the same");
        world.expect(0, "backup src BUCKET/p --yes").assert_nothing_to_do();
        world.expect(0, "restore BUCKET/p back --yes").assert_says("4 downloaded");
        assert_eq!(files(&world.path("src")), files(&world.path("back")));
    }
}
