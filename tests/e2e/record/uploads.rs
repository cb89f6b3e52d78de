//! Files that change while they are uploaded, and whose mtime is set back.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use s3keep::Direction;

use super::{plan, rewrite_and_set_mtime_back, run, settle, with_record};
use crate::support::{
    World, noise, set_age,
    store::{Fault, Object, Store},
};

#[test]
fn change_during_an_upload_with_the_mtime_set_back_is_uploaded_in_the_same_run() {
    let world = World::in_process();
    world.write("src/a", "version 1");
    let path = world.path("src/a");
    let change = move |_: &Store| rewrite_and_set_mtime_back(&path, "version 2");
    world.store().fault(Fault::on("PutObject").key("a").times(1).run(change));
    world.expect(0, "backup src BUCKET --yes").assert_says("1 uploaded");
    assert_eq!(&world.store().get("a").unwrap().body[..], b"version 2");
}

#[test]
fn change_during_an_upload_in_parts_is_found_by_the_next_run() {
    let world = World::in_process();
    let content = noise(1, 6 << 20);
    world.write("src/large", &content);
    settle();
    let mut config = with_record(&world, "src");
    config.transfer.part_size = 5 << 20;
    let path = world.path("src/large");
    let mut changed = content.clone();
    changed[0] ^= 1;
    let expected = changed.clone();
    let change = move |_: &Store| {
        let before = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, &changed).unwrap();
        super::set_mtime(&path, before);
    };
    world.store().fault(Fault::on("CompleteMultipartUpload").times(1).run(change));
    let (report, _) = run(config.clone(), Direction::Backup);
    assert_eq!((report.transferred.entries, report.failed), (1, 0));
    settle();
    set_object_time_later(&world);
    let (planned, read) = plan(config.clone(), Direction::Backup);
    assert_eq!((planned.transfers.len(), read), (1, 1));
    run(config, Direction::Backup);
    assert_eq!(&world.store().get("large").unwrap().body[..], &expected[..]);
}

/// Stores take the time at the end of an upload, or that at its start.
fn set_object_time_later(world: &World) {
    let object = world.store().get("large").unwrap();
    let later = object.last_modified + std::time::Duration::from_secs(60);
    world.store().put_object("large", object.last_modified(later));
}

#[test]
fn interrupted_run_records_what_it_uploaded() {
    let world = World::in_process();
    for n in 0..40 {
        world.write(&format!("src/{n:02}"), noise(n, 100));
        set_age(&world.path(&format!("src/{n:02}")), 0);
    }
    settle();
    let mut config = with_record(&world, "src");
    config.transfer.workers = 1;
    let keeper = s3keep::Keeper::new(config.clone()).unwrap();
    let cancel = keeper.cancel();
    world.store().fault(Fault::on("PutObject").skip(20).times(1).run(move |_| cancel.cancel()));
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    let uploaded = keeper.execute(plan, &mut |_| {}).unwrap().transferred.entries;
    assert!((1..40).contains(&uploaded));
    let (report, read) = run(config, Direction::Backup);
    assert_eq!(
        (report.kept.entries, report.transferred.entries, read),
        (uploaded, 40 - uploaded, 0)
    );
}

/// The type of tmpfs, where a write through a memory map never changes the times.
const TMPFS: i64 = 0x0102_1994;

#[test]
fn write_through_a_memory_map_is_uploaded_by_the_next_run() {
    if Command::new("python3").arg("-V").output().is_err() {
        println!("skipped: python3 is missing");
        return;
    }
    // Few files are flushed one by one, many with their file system.
    for (count, sets_mtime_back) in [(2, false), (120, false), (2, true), (120, true)] {
        let world = World::in_process();
        std::fs::create_dir(world.path("src")).unwrap();
        let script = "
import mmap, os, sys
maps = []
for n in range(int(sys.argv[1])):
    file = open(f'src/{n}', 'w+b')
    file.write(b'____')
    file.flush()
    maps.append(mmap.mmap(file.fileno(), 4))
for content in [b'1111', b'2222']:
    for map in maps:
        map[0:4] = content
    if content == b'1111' and sys.argv[2] == 'true':
        for n in range(len(maps)):
            os.utime(f'src/{n}', (1e9, 1e9))
    print(content, flush=True)
    sys.stdin.readline()";
        let mut command = Command::new("python3");
        let arguments = [count.to_string(), sets_mtime_back.to_string()];
        command.args(["-c", script]).args(arguments).current_dir(world.path(""));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = command.spawn().unwrap();
        let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
        let mut input = python.stdin.take().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "b'1111'");
        settle();
        world.expect(0, "backup src BUCKET --yes").assert_says(&format!("{count} uploaded"));
        input.write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "b'2222'");
        let run = world.expect(0, "backup src BUCKET --yes");
        drop(input);
        python.wait().unwrap();
        if rustix::fs::statfs(world.path("src")).unwrap().f_type as i64 != TMPFS {
            run.assert_says(&format!("{count} uploaded"));
            assert_eq!(&world.store().get("1").unwrap().body[..], b"2222");
        }
    }
}

#[test]
fn file_that_the_scan_missed_is_recorded() {
    let world = World::in_process();
    world.write("src/kept", "kept");
    world.write("elsewhere/file", "content");
    world.store().put("gone", b"content");
    world.store().put("kept", b"kept");
    settle();
    let config = with_record(&world, "src");
    let (planned, _) = plan(config.clone(), Direction::Backup);
    // The ctime of a file in it stays.
    std::fs::rename(world.path("elsewhere"), world.path("src/moved")).unwrap();
    let keeper = s3keep::Keeper::new(config.clone()).unwrap();
    let report = keeper.execute(planned, &mut |_| {}).unwrap();
    assert_eq!((report.transferred.entries, report.deleted, report.exit_code()), (1, 1, 0));
    // Only the record tells that this object is another one.
    let later = world.store().now() + std::time::Duration::from_secs(60);
    world.store().put_object("moved/file", Object::new("CONTENT").last_modified(later));
    let (planned, _) = plan(config, Direction::Backup);
    let paths: Vec<&str> = planned.transfers.iter().map(|transfer| transfer.path()).collect();
    assert_eq!(paths, ["moved/file"]);
}

#[test]
fn reused_temporary_file_of_a_restore_is_recorded() {
    let world = World::in_process();
    world.store().put("a", noise(0, 1_000));
    world.write("dir/.s3keep-0000000000000000.part", noise(0, 1_000));
    let config = with_record(&world, "dir");
    let (report, _) = run(config.clone(), Direction::Restore);
    assert_eq!((report.transferred.entries, report.reused), (1, 1));
    for direction in [Direction::Restore, Direction::Backup] {
        let (planned, read) = plan(config.clone(), direction);
        assert_eq!((planned.transfers.len(), planned.deletions.len(), read), (0, 0, 0));
    }
}
