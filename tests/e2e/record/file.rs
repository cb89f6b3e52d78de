//! The file of the record: where it is, when it is written, and what happens if it is damaged.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use s3keep::{Direction, Event, Keeper};

use super::{plan, record_of, rewrite_and_set_mtime_back, run, settle, with_record};
use crate::{
    embedding,
    support::{World, run as run_command},
};

#[test]
fn record_is_a_private_file_in_the_cache_directory() {
    let world = World::in_process();
    world.write("src/a", "content");
    settle();
    world.expect(0, "backup src BUCKET --mock");
    assert!(!world.path(".cache").exists(), "a mock run writes nothing");
    world.expect(0, "backup src BUCKET --yes");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let record = record_of(&world);
    assert_eq!((mode(&record), mode(record.parent().unwrap())), (0o600, 0o700));
    // Each location has its own.
    world.expect(0, "backup src BUCKET/other --yes");
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(fs::read_dir(world.path(".cache/s3keep")).unwrap().count(), 3);

    let elsewhere = world.path("elsewhere");
    let url = format!("s3://{}/third", world.bucket);
    let mut command = world.command();
    command.env("XDG_CACHE_HOME", &elsewhere).args(["backup", "src", &url, "--yes"]);
    assert_eq!(run_command(&mut command).code, 0);
    assert_eq!(fs::read_dir(elsewhere.join("s3keep")).unwrap().count(), 1);
}

#[test]
fn no_record_neither_reads_nor_writes_it() {
    let world = World::in_process();
    world.write("src/a", "content");
    settle();
    world.expect(0, "backup src BUCKET --yes --no-record");
    assert!(!world.path(".cache").exists());
    world.expect(0, "backup src BUCKET --yes --no-record").assert_nothing_to_do();
    world.expect(0, "restore BUCKET back --yes --no-record");
    world.expect(0, "restore BUCKET back --yes --no-record").assert_nothing_to_do();
    world.expect(0, "backup back BUCKET --yes --no-record").assert_nothing_to_do();
    assert!(!world.path(".cache").exists());
    // The same without a place for it.
    let url = format!("s3://{}", world.bucket);
    let mut command = world.command();
    command.env_remove("HOME").args(["backup", "src", &url, "--yes"]);
    run_command(&mut command).assert_nothing_to_do();
}

#[test]
fn lost_record_costs_no_transfer() {
    let world = World::in_process();
    world.write("src/a", "content");
    world.write("src/b", "content");
    settle();
    world.expect(0, "backup src BUCKET --yes");
    world.expect(0, "restore BUCKET back --yes");
    for line in
        ["backup src BUCKET", "backup back BUCKET", "restore BUCKET src", "restore BUCKET back"]
    {
        fs::remove_dir_all(world.path(".cache")).unwrap();
        world.expect(0, &format!("{line} --yes")).assert_nothing_to_do();
        world.expect(0, &format!("{line} --yes")).assert_nothing_to_do();
        let _ = fs::create_dir(world.path(".cache"));
    }
}

#[test]
fn damaged_record_never_hides_a_change() {
    let world = World::in_process();
    for path in ["a", "b/c", "d"] {
        world.write(&format!("src/{path}"), "content");
    }
    settle();
    let config = with_record(&world, "src");
    let record = config.record.clone().unwrap();
    assert_eq!(run(config.clone(), Direction::Backup).0.transferred.entries, 3);
    let intact = fs::read(&record).unwrap();
    assert!(intact.len() > 100, "{}", intact.len());
    rewrite_and_set_mtime_back(&world.path("src/b/c"), "CONTENT");
    let check = |bytes: &[u8], case: &str| {
        fs::write(&record, bytes).unwrap();
        let mut warnings = Vec::new();
        let plan = Keeper::new(config.clone())
            .unwrap()
            .plan(Direction::Backup, &mut |event| {
                if let Event::Warning(text) = event {
                    warnings.push(text.to_owned());
                }
            })
            .unwrap();
        let paths: Vec<&str> = plan.transfers.iter().map(|transfer| transfer.path()).collect();
        assert_eq!((paths, plan.deletions.len()), (vec!["b/c"], 0), "{case}");
        warnings
    };
    assert_eq!(check(&intact, "intact"), Vec::<String>::new());
    for at in 0..intact.len() {
        let warnings = check(&intact[..at], &format!("cut to {at} bytes"));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("is not used"), "{warnings:?}");
        let mut damaged = intact.clone();
        damaged[at] ^= 1 << (at % 8);
        assert_eq!(check(&damaged, &format!("byte {at}")).len(), 1);
    }
    // The next run replaces it.
    fs::write(&record, b"damaged").unwrap();
    assert_eq!(run(config.clone(), Direction::Backup).0.transferred.entries, 1);
    assert_eq!(check_warnings(&config), 0);
}

fn check_warnings(config: &s3keep::Config) -> usize {
    let mut warnings = 0;
    let keeper = Keeper::new(config.clone()).unwrap();
    let count = &mut |event: Event| warnings += usize::from(matches!(event, Event::Warning(_)));
    keeper.plan(Direction::Backup, count).unwrap();
    warnings
}

#[test]
fn record_of_another_location_is_not_used() {
    let world = World::in_process();
    world.write("src/a", "content");
    world.write("other/a", "content");
    settle();
    let config = with_record(&world, "src");
    run(config.clone(), Direction::Backup);
    let mut other = embedding::config(&world, "other", "");
    other.record = config.record.clone();
    assert_eq!(check_warnings(&config), 0);
    assert_eq!(check_warnings(&other), 1);
    assert_ne!(config.record_file_name(), other.record_file_name());
}

#[test]
fn record_that_cannot_be_written_is_a_warning() {
    let world = World::in_process();
    world.write("src/a", "content");
    world.write(".cache", "not a directory");
    settle();
    let run = world.expect(0, "backup src BUCKET --yes");
    run.assert_says("could not be written");
    run.assert_says("1 uploaded");
    world.expect(0, "backup src BUCKET --yes").assert_nothing_to_do();
    // A pipe in its place does not block.
    fs::remove_file(world.path(".cache")).unwrap();
    world.expect(0, "backup src BUCKET/x --yes");
    let record = record_of(&world);
    fs::remove_file(&record).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&record).status().unwrap();
    assert!(made.success());
    world.expect(0, "backup src BUCKET/x --yes").assert_says("is not used");
}

#[test]
fn record_below_the_directory_is_not_backed_up() {
    let world = World::in_process();
    world.write("a", "content");
    world.write("b", "content");
    settle();
    world.expect(0, "backup . BUCKET --yes").assert_says("2 uploaded");
    record_of(&world);
    world.expect(0, "backup . BUCKET --yes").assert_nothing_to_do();
    assert_eq!(world.keys(), ["a", "b"]);
    world.expect(0, "restore BUCKET . --yes").assert_nothing_to_do();
    record_of(&world);
    // The directory of the record changed a moment ago, so it is checked again before a deletion.
    fs::remove_file(world.path("b")).unwrap();
    world.expect(0, "backup . BUCKET --yes").assert_says("0 uploaded (0 B), 1 deleted");
    assert_eq!(world.keys(), ["a"]);
}

#[test]
fn library_keeps_a_record_only_where_it_is_given_a_path() {
    let world = World::in_process();
    world.write("src/a", "content");
    settle();
    let config = embedding::config(&world, "src", "");
    assert_eq!(config.record, None);
    run(config.clone(), Direction::Backup);
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1, "only the source");
    // The change that only a ctime shows is detected all the same.
    rewrite_and_set_mtime_back(&world.path("src/a"), "CONTENT");
    assert_eq!(plan(config, Direction::Backup).0.transfers.len(), 1);
}
