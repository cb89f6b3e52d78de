//! Changes that other programs make during a run: while a file is read, and between plan and
//! execution.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use s3keep::{Direction, Keeper};

use crate::embedding::config;
use crate::support::{
    World, files, noise, run, set_age,
    store::{Fault, Object},
};

#[test]
#[cfg(target_os = "linux")]
fn file_that_vanishes_during_the_scan_keeps_its_object() {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    use s3keep::{MaxDelete, SkipReason, Skipped, exit};
    let world = World::in_process();
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| world.store().put(name, b"object"));
    world.store().put("gone", b"object");
    // The directory must never be empty, because a backup of an empty directory is refused.
    world.write("src/stays", "file");
    // Both sides must have something in common, however many of the files vanish.
    world.store().put("stays", b"file");
    let mut config = config(&world, "src", "");
    config.guards.max_delete = Some(MaxDelete::Percent(100));
    let keeper = Keeper::new(config).unwrap();

    // Some files are removed as soon as the scan has read the names in the directory, and some more each time
    // it reads the changed directory again. In most cases, the first attempt removes some of them before
    // the last reading of their metadata.
    let scan_and_remove = || {
        names.iter().for_each(|name| world.write(&format!("src/{name}"), "file"));
        let watch = init(CreateFlags::empty()).unwrap();
        add_watch(&watch, world.path("src"), WatchFlags::ACCESS).unwrap();
        let plan = std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                let remove = |name| fs::remove_file(world.path("src").join(name)).unwrap();
                for some in names.chunks(60) {
                    rustix::io::read(&watch, &mut [0; 4_096]).unwrap();
                    some.iter().for_each(remove);
                }
            });
            let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
            // The scan may have read the directory fewer times.
            while !remover.is_finished() {
                fs::read_dir(world.path("src")).unwrap().for_each(drop);
            }
            plan
        });
        let is_vanished = |skipped: &&Skipped| skipped.reason == SkipReason::Vanished;
        let vanished = plan.skipped.iter().filter(is_vanished);
        let vanished: Vec<String> = vanished.map(|skipped| skipped.path.clone()).collect();
        (!vanished.is_empty()).then_some((plan, vanished))
    };
    let (plan, vanished) =
        (0..200).find_map(|_| scan_and_remove()).expect("some files vanish in time");
    let others = names.iter().filter(|name| !vanished.contains(name));
    others.for_each(|name| world.write(&format!("src/{name}"), "file"));

    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!((report.exit_code(), report.failed), (exit::PARTIAL, 0));
    assert!(world.store().get("gone").is_none());
    for name in vanished {
        assert_eq!(world.store().get(&name).expect("the object is kept").body, "object");
    }
}

#[test]
fn file_changed_during_its_upload_is_uploaded_again() {
    // One size for each way to upload a file.
    for size in [10, 300_000, 6 << 20] {
        let world = World::in_process();
        world.write("src/f", noise(1, size));
        let (path, changed) = (world.path("src/f"), noise(2, size));
        let late = Duration::from_millis(2_500);
        world.store().fault(Fault::on("PutObject").times(1).delay(late).run(move |_| {
            // The whole content is received by now, and the object is not yet stored.
            fs::write(&path, &changed).unwrap();
        }));
        let done = world.run("backup src BUCKET --yes");
        assert_eq!(done.code, 0, "{size}: {done:?}");
        assert_eq!(world.store().get("f").unwrap().body, noise(2, size), "{size}");
    }
}

#[test]
fn file_that_keeps_changing_fails_until_it_stops() {
    let world = World::in_process();
    world.write("src/restless", "0");
    world.write("src/other", "other");
    let path = world.path("src/restless");
    world.store().fault(
        Fault::on("PutObject").key("restless").delay(Duration::from_millis(30)).run({
            let path = path.clone();
            move |_| {
                let n: u64 = fs::read_to_string(&path).unwrap().parse().unwrap();
                fs::write(&path, (n + 1).to_string()).unwrap();
            }
        }),
    );
    let done = world.expect(2, "backup src BUCKET --yes");
    done.assert_says("upload restless: the file was changed while it was read");
    done.assert_says("1 uploaded");
    world.store().clear_faults();
    world.expect(0, "backup src BUCKET --yes");
    assert_eq!(&world.store().get("restless").unwrap().body[..], fs::read(&path).unwrap());
}

#[test]
fn older_object_does_not_confirm_a_failed_completion() {
    let world = World::in_process();
    let options = "--yes --part-size 5MiB --retries 2";
    world.write("src/large", noise(1, 11 << 20));
    world.expect(0, &format!("backup src BUCKET {options}"));
    world.write("src/large", noise(2, 11 << 20));
    set_age(&world.path("src/large"), -2);
    let complete = "CompleteMultipartUpload";
    world.store().fault(Fault::on(complete).times(1).status(500, "InternalError"));
    world.store().fault(Fault::on(complete).status(404, "NoSuchUpload"));
    world.expect(2, &format!("backup src BUCKET {options}")).assert_says("NoSuchUpload");
    world.store().clear_faults();
    world.expect(0, &format!("backup src BUCKET {options}"));
    assert_eq!(world.store().get("large").unwrap().body, noise(2, 11 << 20));
}

#[test]
fn file_that_reappears_during_the_uploads_is_uploaded() {
    let world = World::in_process();
    world.write("src/new", "new");
    for key in ["back", "gone", "dir/back"] {
        world.store().put(key, b"the only copy");
    }
    let src = world.path("src");
    world.store().fault(Fault::on("PutObject").times(1).run(move |_| {
        fs::write(src.join("back"), "it is back").unwrap();
        fs::create_dir(src.join("dir")).unwrap();
        fs::write(src.join("dir/back"), "this, too").unwrap();
    }));
    let done = world.expect(0, "backup src BUCKET --yes --allow-unrelated");
    done.assert_says("3 uploaded");
    done.assert_says("1 deleted");
    assert_eq!(world.store().keys(), ["back", "dir/back", "new"]);
    assert_eq!(world.store().get("back").unwrap().body, "it is back");
}

#[test]
fn file_that_reappears_during_the_deletions_keeps_its_object() {
    let world = World::in_process();
    world.write("src/kept", "kept");
    // Two batches, one after the other.
    (0..1_001).for_each(|n| world.store().put(&format!("gone-{n:04}"), b"the only copy"));
    let src = world.path("src");
    world.store().fault(Fault::on("DeleteObjects").times(1).run(move |_| {
        fs::write(src.join("gone-1000"), "it is back").unwrap();
    }));
    let done =
        world.expect(2, "backup src BUCKET --yes --max-delete 100% --workers 1 --allow-unrelated");
    done.assert_says("delete gone-1000: the local file may exist again");
    done.assert_says("1,000 deleted");
    assert_eq!(world.store().keys(), ["gone-1000", "kept"]);
}

/// The same as a file that moves during the scan, from a directory that was not read yet to one that
/// was: it is in the tree at any time, and the scan finds it nowhere.
#[test]
fn file_that_the_scan_missed_is_uploaded_before_its_old_object_is_deleted() {
    let world = World::in_process();
    world.write("src/other", "other");
    world.write("src/deep/er/kept", "kept");
    world.write("elsewhere/file", "the only copy");
    world.write("elsewhere/dir/sub/file", "another only copy");
    world.store().put("old", b"the only copy");
    world.store().put("a/file", b"another only copy");
    let (elsewhere, src) = (world.path("elsewhere"), world.path("src"));
    let moved = move || {
        fs::rename(elsewhere.join("file"), src.join("deep/er/new")).unwrap();
        fs::rename(elsewhere.join("dir"), src.join("moved")).unwrap();
    };
    world.store().fault(Fault::on("PutObject").times(1).run(move |_| moved()));
    let done = world.expect(0, "backup src BUCKET --yes --allow-unrelated");
    done.assert_says("4 uploaded");
    done.assert_says("2 deleted");
    let keys = ["deep/er/kept", "deep/er/new", "moved/sub/file", "other"];
    assert_eq!(world.store().keys(), keys);
    assert_eq!(world.store().get("deep/er/new").unwrap().body, "the only copy");
    assert_eq!(world.store().get("moved/sub/file").unwrap().body, "another only copy");
    world.expect(0, "backup src BUCKET --yes --allow-unrelated").assert_nothing_to_do();
}

#[test]
fn file_that_appears_between_plan_and_execution_is_uploaded_before_deletions() {
    let world = World::in_process();
    world.write("src/dir/kept", "kept");
    world.store().put("gone", b"the only copy");
    let keeper = Keeper::new(config(&world, "src", "")).unwrap();
    let plan = keeper.plan(Direction::Backup, &mut |_| {}).unwrap();
    assert_eq!((plan.transfers.len(), plan.deletions.len()), (1, 1));
    world.write("src/dir/found", "the only copy");
    let report = keeper.execute(plan, &mut |_| {}).unwrap();
    assert_eq!((report.transferred.entries, report.deleted, report.exit_code()), (2, 1, 0));
    assert_eq!(world.store().keys(), ["dir/found", "dir/kept"]);
}

#[test]
fn file_that_replaces_a_skipped_entry_is_left_to_the_next_run() {
    let world = World::in_process();
    world.write("src/new", "new");
    std::os::unix::fs::symlink("nowhere", world.path("src/link")).unwrap();
    for key in ["link", "gone"] {
        world.store().put(key, b"object");
    }
    let src = world.path("src");
    world.store().fault(Fault::on("PutObject").times(1).run(move |_| {
        fs::remove_file(src.join("link")).unwrap();
        fs::write(src.join("link"), "a file now").unwrap();
    }));
    let done = world.expect(2, "backup src BUCKET --yes --allow-unrelated");
    done.assert_says("1 deletions were withheld");
    assert_eq!(world.store().keys(), ["gone", "link", "new"]);
    assert_eq!(world.store().get("link").unwrap().body, "object");
    world.expect(0, "backup src BUCKET --yes").assert_says("1 deleted");
    assert_eq!(world.store().get("link").unwrap().body, "a file now");
}

#[test]
fn directory_that_keeps_changing_withholds_all_deletions() {
    let world = World::in_process();
    world.write("src/file", "content");
    world.store().put("gone", b"gone");
    let (src, count) = (world.path("src"), AtomicUsize::new(0));
    // Each upload makes another file to upload.
    world.store().fault(Fault::on("PutObject").run(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        fs::write(src.join(format!("new-{n}")), "new").unwrap();
    }));
    let done = world.expect(2, "backup src BUCKET --yes");
    done.assert_says("1 deletions were withheld");
    assert!(world.store().get("gone").is_some());
    world.store().clear_faults();
    world.expect(0, "backup src BUCKET --yes").assert_says("1 deleted");
}

#[test]
fn file_changed_after_the_scan_is_kept() {
    let world = World::in_process();
    world.store().put("appears", b"object");
    world.store().put("changes", b"object");
    world.store().put("zz", b"object");
    world.write("dst/changes", "older");
    world.write("dst/deleted", "to be deleted");
    let dst = world.path("dst");
    world.store().fault(Fault::on("GetObject").times(1).run(move |_| {
        fs::write(dst.join("appears"), "made by the user").unwrap();
        fs::write(dst.join("changes"), "changed by the user").unwrap();
    }));
    let done = world.expect(2, "restore BUCKET dst --yes --workers 1");
    done.assert_says("download appears: ");
    done.assert_says("download changes: the file was changed after the scan");
    done.assert_says("1 deletions were withheld");
    let left = files(&world.path("dst"));
    assert_eq!(left["appears"], b"made by the user");
    assert_eq!(left["changes"], b"changed by the user");
    assert_eq!((left["zz"].as_slice(), left.len()), (&b"object"[..], 4));
}

#[test]
fn object_rewritten_with_the_same_size_is_downloaded_again() {
    let world = World::in_process();
    let past = world.store().now() - Duration::from_secs(1_000);
    world.store().put_object("flag", Object::new("0").last_modified(past));
    world.expect(0, "restore BUCKET copy --yes");
    world.store().put("flag", b"1");
    world.expect(0, "restore BUCKET copy --yes").assert_says("1 downloaded");
    assert_eq!(files(&world.path("copy"))["flag"], b"1");
    world.expect(0, "restore BUCKET copy --yes").assert_nothing_to_do();
}

#[test]
fn symlink_becomes_a_file_when_its_target_is_deleted() {
    let world = World::in_process();
    world.write("src/target", "content");
    std::os::unix::fs::symlink("target", world.path("src/link")).unwrap();
    world.expect(0, "backup src BUCKET --yes").assert_says("2 uploaded");
    world.expect(0, "restore BUCKET src --yes").assert_nothing_to_do();
    assert!(world.path("src/link").is_symlink());
    world.store().remove("target");
    world.expect(0, "restore BUCKET src --yes").assert_says("1 deleted");
    assert_eq!(files(&world.path("src"))["link"], b"content");
}

#[test]
fn replacement_of_a_private_file_is_private_from_the_start() {
    let world = World::in_process();
    world.store().put("secret", b"secret content");
    world.write("dst/secret", "old");
    fs::set_permissions(world.path("dst/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let dst = world.path("dst");
    let (sender, modes) = std::sync::mpsc::channel();
    world.store().fault(Fault::on("GetObject").times(1).run(move |_| {
        for entry in fs::read_dir(&dst).unwrap() {
            let entry = entry.unwrap();
            sender.send(entry.metadata().unwrap().permissions().mode() & 0o777).unwrap();
        }
    }));
    world.expect(0, "restore BUCKET dst --yes");
    // The file, its replacement, and the marker of the restore, which lists names.
    assert_eq!(modes.try_iter().collect::<Vec<_>>(), [0o600, 0o600, 0o600]);
    let mode = fs::metadata(world.path("dst/secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn low_file_limit_reduces_workers_without_failures() {
    let world = World::in_process();
    for n in 0..300 {
        world.write(&format!("src/{}/{n}", n % 10), noise(n, 300_000 / (1 + n as usize % 3)));
    }
    let limited = |line: &str| {
        let url = format!("s3://{}", world.bucket);
        let exe = env!("CARGO_BIN_EXE_s3keep");
        let line = line.replace("BUCKET", &url);
        let mut command = std::process::Command::new("/bin/sh");
        let ours = world.command();
        command.env_clear().current_dir(world.path(""));
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(command.arg("-c").arg(format!("ulimit -n 64 && exec {exe} {line}")))
    };
    for line in ["backup src BUCKET --yes --workers 256", "restore BUCKET back --yes --workers 256"]
    {
        let done = limited(line);
        assert_eq!(done.code, 0, "{done:?}");
    }
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn object_with_a_false_md5_etag_is_restored() {
    let world = World::in_process();
    let odd =
        |body: Vec<u8>| Object::new(body).etag("0123456789abcdef0123456789abcdef").no_checksum();
    world.store().put_object("small", odd(noise(1, 1_000)));
    world.store().put_object("large", odd(noise(2, 11 << 20)));
    let done = world.expect(0, "restore BUCKET back --yes --part-size 5MiB");
    done.assert_says("2 could not be verified");
    assert_eq!(files(&world.path("back"))["large"], noise(2, 11 << 20));
    // A damaged download is still detected, because it differs from the next attempt.
    world.store().fault(Fault::on("GetObject").key("small").times(1).flip_body(7));
    world.expect(0, "restore BUCKET again --yes");
    assert_eq!(files(&world.path("again"))["small"], noise(1, 1_000));
}

#[test]
fn file_modified_while_read_never_leaves_a_mixed_object() {
    // Each change is made to the file while its first bytes are uploaded.
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 5] = [
        ("grows", |path| fs::write(path, noise(5, 7 << 20)).unwrap()),
        ("shrinks", |path| fs::write(path, noise(6, 300_000)).unwrap()),
        ("is emptied", |path| fs::write(path, "").unwrap()),
        ("is replaced", |path| {
            let new = path.with_extension("new");
            fs::write(&new, noise(7, 6 << 20)).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("vanishes", |path| fs::remove_file(path).unwrap()),
    ];
    for (name, change) in changes {
        for options in ["--yes", "--yes --part-size 5MiB"] {
            let world = World::in_process();
            world.write("src/f", noise(4, 6 << 20));
            world.write("src/other", "other");
            let path = world.path("src/f");
            let operation = if options.contains("part") { "UploadPart" } else { "PutObject" };
            let fault = Fault::on(operation).key("f").times(1).run(move |_| change(&path));
            world.store().fault(fault);
            let done = world.run(&format!("backup src BUCKET {options}"));
            assert!(matches!(done.code, 0 | 2), "{name} {options}: {done:?}");
            if done.code == 2 {
                done.assert_says("upload f: ");
            }
            assert!(world.store().get("other").is_some() && world.store().uploads().is_empty());
            // The next run makes both sides equal, and a third one has nothing to do.
            world.expect(0, &format!("backup src BUCKET {options} --allow-empty"));
            let objects: Vec<_> = world.store().keys();
            assert_eq!(
                objects,
                files(&world.path("src")).into_keys().collect::<Vec<_>>(),
                "{name}"
            );
            for (path, content) in files(&world.path("src")) {
                assert_eq!(world.store().get(&path).unwrap().body, content, "{name} {options}");
            }
            world.expect(0, &format!("backup src BUCKET {options}")).assert_nothing_to_do();
        }
    }
}

#[test]
fn file_that_grows_during_verify_is_not_the_same() {
    let world = World::in_process();
    world.write("src/log", "one line");
    world.store().put_object("log", Object::new("one line").etag("not-an-md5").no_checksum());
    world.expect(0, "verify src BUCKET --read-data").assert_says("1 the same");
    let path = world.path("src/log");
    world.store().fault(Fault::on("GetObject").times(1).run(move |_| {
        fs::write(&path, "one line and another").unwrap();
    }));
    let done = world.expect(2, "verify src BUCKET --read-data");
    done.assert_says("read log: the file was changed while it was read");
    done.assert_says("0 the same");
}

#[test]
fn objects_below_a_symlink_that_now_dangles_are_kept() {
    let world = World::in_process();
    world.write("src/real/file", "file");
    world.write("src/new", "new");
    std::os::unix::fs::symlink("real", world.path("src/alias")).unwrap();
    for key in ["alias/file", "alias/gone", "real/file"] {
        world.store().put(key, b"file");
    }
    set_age(&world.path("src/real/file"), 3_600);
    let src = world.path("src");
    world.store().fault(Fault::on("PutObject").times(1).run(move |_| {
        fs::rename(src.join("real"), src.join("moved")).unwrap();
    }));
    let done = world.expect(2, "backup src BUCKET --yes --links follow");
    done.assert_says("skipped: alias: a symlink whose target does not exist");
    let keys = ["alias/file", "alias/gone", "moved/file", "new", "real/file"];
    assert_eq!(world.store().keys(), keys);
}

#[test]
#[cfg(target_os = "linux")]
fn file_with_a_lease_is_uploaded_after_the_lease_ends() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    let world = World::in_process();
    world.write("src/leased", "content");
    // Samba holds such leases, and the kernel does for NFS clients. The holder needs a moment to
    // release.
    let script = "
import fcntl, os, signal, sys, time
def release(*_):
    time.sleep(0.3)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
signal.signal(signal.SIGIO, release)
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";
    let holder = Command::new("python3")
        .args(["-c", script])
        .arg(world.path("src/leased"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut holder) = holder else {
        println!("skipped: python3 is missing");
        return;
    };
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let done = world.run("backup src BUCKET --yes");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(world.store().get("leased").unwrap().body, "content");
}
