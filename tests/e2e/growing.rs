//! Files that grow while they are uploaded, such as logs.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use s3keep::{Direction, Event, Keeper, exit};

use crate::{
    embedding::config,
    resume::killed,
    support::{World, noise, store::Fault},
};

/// One size for each way to upload a file: from memory, in one request, and in parts.
const SIZES: [usize; 3] = [10, 300_000, (11 << 20) + 3];

const BACKUP: &str = "backup src BUCKET --yes --part-size 5MiB --workers 2";

fn append(path: &Path) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"another line").unwrap();
}

/// The request that stores the whole file, and the first request that sends content.
fn operations(size: usize) -> (&'static str, &'static str) {
    if size > 5 << 20 {
        ("CompleteMultipartUpload", "UploadPart")
    } else {
        ("PutObject", "PutObject")
    }
}

#[test]
fn growing_file_is_stored_with_the_size_it_had_when_it_was_opened() {
    for size in SIZES {
        let (last, first) = operations(size);
        for operation in [first, last] {
            let world = World::in_process();
            world.write("src/log", noise(1, size));
            world.store().put("gone", b"deleted although the log grows");
            let path = world.path("src/log");
            world.store().fault(Fault::on(operation).key("log").run(move |_| append(&path)));
            let done = world.expect(0, BACKUP);
            done.assert_says("log grew while it was read");
            done.assert_says("1 uploaded");
            done.assert_says("1 deleted");
            done.assert_says("0 failed");
            done.assert_says("1 grew while read");
            assert_eq!(world.store().get("log").unwrap().body, noise(1, size), "{size}");
            assert_eq!(world.store().keys(), ["log"]);
            assert_eq!(world.store().count(last), 1, "{size}: it is uploaded once");

            world.store().clear_faults();
            let again = world.expect(0, &format!("{BACKUP} --json"));
            again.assert_says("\"grew\":0");
            let stored = world.store().get("log").unwrap().body;
            assert_eq!(stored, fs::read(world.path("src/log")).unwrap());
            world.expect(0, BACKUP).assert_nothing_to_do();
        }
    }
}

#[test]
fn growing_file_is_named_in_json_and_by_an_event() {
    let world = World::in_process();
    world.write("src/log", "a line\n");
    let path = world.path("src/log");
    world.store().fault(Fault::on("PutObject").run(move |_| append(&path)));
    let done = world.expect(0, &format!("{BACKUP} --json"));
    done.assert_says(r#"{"path":"log","size":7,"type":"grew"}"#);
    done.assert_says("\"grew\":1");
    assert_eq!(done.stderr, "");
    assert_eq!(world.expect(0, &format!("{BACKUP} --quiet")).stderr, "");

    let keeper = Keeper::new(config(&world, "src", "")).unwrap();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    let mut grown = Vec::new();
    let report = keeper.execute(plan, &mut |event| {
        if let Event::Grew { path, bytes } = event {
            grown.push((path.to_owned(), bytes));
        }
    });
    let report = report.unwrap();
    assert_eq!((report.grew, report.failed, report.exit_code()), (1, 0, exit::SUCCESS));
    assert_eq!(grown, [("log".to_owned(), 31)]);
}

#[test]
fn file_that_grows_without_pause_is_stored() {
    for size in SIZES {
        let world = World::in_process();
        world.write("src/log", noise(1, size));
        let path = world.path("src/log");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                file.write_all(b"line\n").unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        std::thread::sleep(Duration::from_millis(20));
        let done = world.run(BACKUP);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert_eq!(done.code, 0, "{size}: {done:?}");
        let stored = world.store().get("log").unwrap().body;
        assert!(stored.len() > size, "{size}");
        assert!(fs::read(world.path("src/log")).unwrap().starts_with(&stored), "{size}");
    }
}

#[test]
fn growth_that_keeps_the_mtime_or_leaves_a_hole_is_only_growth() {
    type Change = fn(&File);
    let changes: [Change; 2] = [
        |file| {
            let modified = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(b"more", file.metadata().unwrap().len()).unwrap();
            file.set_modified(modified).unwrap();
        },
        |file| file.set_len(1 << 30).unwrap(),
    ];
    for size in SIZES {
        for change in changes {
            let world = World::in_process();
            world.write("src/log", noise(1, size));
            let path = world.path("src/log");
            let fault = Fault::on(operations(size).1).times(1).run(move |_| {
                change(&OpenOptions::new().write(true).open(&path).unwrap());
            });
            world.store().fault(fault);
            world.expect(0, BACKUP).assert_says("1 grew while read");
            assert_eq!(world.store().get("log").unwrap().body, noise(1, size), "{size}");
            world.expect(0, "backup src BUCKET --mock").assert_says("1 to upload");
        }
    }
}

#[test]
fn file_that_grows_and_changes_is_not_stored_as_it_was() {
    type Change = fn(&Path);
    let rewrite: Change = |path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"changed", 0).unwrap();
        append(path);
    };
    let replace: Change = |path| {
        let mut content = fs::read(path).unwrap();
        content.extend(b"more");
        fs::write(path.with_extension("new"), content).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    for (change, size) in [rewrite, replace].into_iter().flat_map(|c| SIZES.map(|size| (c, size))) {
        let (last, first) = operations(size);
        for operation in [first, last] {
            let world = World::in_process();
            world.write("src/log", noise(1, size));
            world.store().put("log", b"older");
            let path = world.path("src/log");
            world
                .store()
                .fault(Fault::on(operation).key("log").times(1).run(move |_| change(&path)));
            let done = world.run(BACKUP);
            assert!(!done.stdout.contains("grew") && !done.stderr.contains("grew"), "{done:?}");
            let stored = world.store().get("log").unwrap().body;
            let current = fs::read(world.path("src/log")).unwrap();
            if first == "UploadPart" {
                assert_eq!(done.code, 2, "{size}: {done:?}");
                done.assert_says("upload log: the file was changed while it was read");
                // A change after the last part was sent does not reach the object.
                let is_whole = stored == "older" || stored == noise(1, size);
                assert!(is_whole, "{size} {operation}");
            } else {
                assert_eq!(done.code, 0, "{size}: {done:?}");
                assert_eq!(stored, current, "{size}");
            }
            world.expect(0, BACKUP);
            assert_eq!(world.store().get("log").unwrap().body, current);
        }
    }
}

#[test]
fn file_that_shrank_before_it_grew_is_not_stored_in_part() {
    // A program that rewrites a file empties it first, and then looks like one that appends to it.
    for (size, left) in [(1_000, 0), (1_000, 400), (11 << 20, 6 << 20), (11 << 20, 0)] {
        let world = World::in_process();
        world.write("src/file", noise(1, size));
        world.store().put("file", b"older");
        let mut config = config(&world, "src", "");
        config.transfer.part_size = 5 << 20;
        let keeper = Keeper::new(config).unwrap();
        let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
        fs::write(world.path("src/file"), &noise(2, size)[..left]).unwrap();
        let path = world.path("src/file");
        let operation = if size > 5 << 20 { "UploadPart" } else { "PutObject" };
        world.store().fault(Fault::on(operation).times(1).run(move |_| {
            let content = noise(2, size);
            OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(&content[left..])
                .unwrap();
        }));
        let report = keeper.execute(plan, &mut |_| {}).unwrap();
        assert_eq!(report.grew, 0, "{size} {left}");
        let stored = world.store().get("file").unwrap().body;
        if operation == "PutObject" {
            assert_eq!((report.exit_code(), &stored[..]), (exit::SUCCESS, &noise(2, size)[..]));
        } else {
            assert_eq!((report.exit_code(), &stored[..]), (exit::PARTIAL, &b"older"[..]));
        }
    }
}

#[test]
fn file_that_grew_since_the_scan_is_stored_as_it_is_when_it_is_opened() {
    for size in SIZES {
        let world = World::in_process();
        world.write("src/log", noise(1, size));
        let mut config = config(&world, "src", "");
        config.transfer.part_size = 5 << 20;
        let keeper = Keeper::new(config).unwrap();
        let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
        append(&world.path("src/log"));
        let report = keeper.execute(plan, &mut |_| {}).unwrap();
        assert_eq!((report.grew, report.exit_code()), (0, exit::SUCCESS), "{size}");
        let stored = world.store().get("log").unwrap().body;
        assert_eq!(stored, fs::read(world.path("src/log")).unwrap(), "{size}");
    }
}

#[test]
fn resumed_upload_of_a_file_that_grows_is_completed() {
    // The parts that an earlier run has sent count as read, too.
    for change_earlier_part in [false, true] {
        let world = killed();
        let path = world.path("src/large");
        world.store().fault(Fault::on("CompleteMultipartUpload").times(1).run(move |_| {
            if change_earlier_part {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.write_all_at(b"changed", 0).unwrap();
            }
            append(&path);
        }));
        let done = world.run(BACKUP);
        assert_eq!(world.store().count("CreateMultipartUpload"), 0);
        if change_earlier_part {
            assert_eq!(done.code, 2, "{done:?}");
            done.assert_says("upload large: the file was changed while it was read");
        } else {
            assert_eq!(done.code, 0, "{done:?}");
            done.assert_says("1 grew while read");
            assert_eq!(world.store().get("large").unwrap().body, noise(1, 22 << 20));
        }
        world.expect(0, BACKUP).assert_says("1 uploaded");
    }
}
