//! Signals and stalled connections: the run stops waiting, and leaves nothing incomplete.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{World, files, noise, store::Fault};

/// Starts the command, and sends the signal when `ready` returns true.
///
/// Returns the exit code, the output, and the time from the signal to the end.
fn interrupt(
    world: &World,
    line: &str,
    signal: &str,
    ready: impl Fn() -> bool,
) -> (i32, String, Duration) {
    interrupt_as(world.command(), world, line, signal, ready)
}

/// As [`interrupt`], but appends the words of `line` to the arguments of `command`.
fn interrupt_as(
    mut command: Command,
    world: &World,
    line: &str,
    signal: &str,
    ready: impl Fn() -> bool,
) -> (i32, String, Duration) {
    let url = format!("s3://{}", world.bucket);
    command.args(line.split(' ').map(|word| word.replace("BUCKET", &url)));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(20), "{line} does not become ready");
        thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let signaled = Instant::now();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text.into_owned(), signaled.elapsed())
}

/// An interrupted run must end within this time.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn interrupted_backup_reports_its_work_and_leaves_no_upload() {
    let world = World::in_process();
    world.write("src/large", noise(1, 30 << 20));
    world.write("src/small", "small");
    world.store().put("old/small", b"small");
    // Longer than any timeout of the program and of this test.
    let hits = world.store().fault(Fault::on("UploadPart").skip(2).delay(Duration::from_secs(120)));
    let line = "backup src BUCKET --yes --part-size 5MiB --workers 3";
    let (code, output, duration) = interrupt(&world, line, "-INT", || hits.count() > 0);
    assert_eq!(code, 130, "{output}");
    assert!(
        output.contains(" uploaded (") && output.ends_with("\ns3keep: interrupted\n"),
        "{output}"
    );
    assert!(duration < SOON, "{duration:?}");
    assert!(world.store().uploads().is_empty());
    assert!(world.store().get("old/small").is_some() && world.store().get("large").is_none());
    world.store().clear_faults();
    world.expect(0, line);
}

#[test]
fn interrupted_backup_does_not_wait_for_a_stalled_server() {
    let world = World::in_process();
    world.write("src/large", noise(1, 30 << 20));
    let late = Duration::from_secs(120);
    let hits = world.store().fault(Fault::on("UploadPart").skip(2).delay(late));
    world.store().fault(Fault::on("AbortMultipartUpload").delay(late));
    let line = "backup src BUCKET --yes --part-size 5MiB --workers 3";
    let (code, output, duration) = interrupt(&world, line, "-INT", || hits.count() > 0);
    assert_eq!(code, 130, "{output}");
    assert!(output.contains("abort upload of large") && duration < SOON, "{duration:?} {output}");
}

#[test]
fn interrupted_restore_leaves_no_temporary_files() {
    let world = World::in_process();
    world.write("src/large", noise(1, 12 << 20));
    world.write("src/small", "small");
    world.expect(0, "backup src BUCKET --yes");
    let hits = world.store().fault(Fault::on("GetObject").key("large").stall_body(1 << 20, None));
    for line in ["restore BUCKET back --yes", "restore BUCKET back --yes --part-size 5MiB"] {
        let before = hits.count();
        let (code, output, duration) = interrupt(&world, line, "-TERM", || hits.count() > before);
        assert_eq!(code, 130, "{output}");
        assert!(output.ends_with("\ns3keep: interrupted\n"), "{output}");
        assert!(duration < SOON, "{duration:?}");
        let left = files(&world.path("back"));
        assert!(left.keys().all(|name| name == "small"), "{:?}", left.keys());
    }
    world.store().clear_faults();
    world.expect(0, "restore BUCKET back --yes");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}

#[test]
fn interrupted_listing_changes_nothing() {
    let world = World::in_process();
    world.write("src/a", "a");
    let hits = world.store().fault(Fault::on("ListObjectsV2").delay(Duration::from_secs(120)));
    let (code, output, duration) =
        interrupt(&world, "backup src BUCKET --yes", "-INT", || hits.count() > 0);
    assert_eq!((code, output.as_str()), (130, "s3keep: interrupted\n"));
    assert!(duration < SOON, "{duration:?}");
    assert!(world.store().keys().is_empty());
}

#[test]
fn interrupted_deletion_is_not_a_failure() {
    let world = World::in_process();
    world.write("src/a", "a");
    world.store().put("gone", b"gone");
    let hits = world.store().fault(Fault::on("DeleteObjects").delay(Duration::from_secs(120)));
    let (code, output, duration) =
        interrupt(&world, "backup src BUCKET --yes", "-INT", || hits.count() > 0);
    assert_eq!(code, 130, "{output}");
    assert!(
        output.ends_with("\ns3keep: interrupted\n") && duration < SOON,
        "{duration:?} {output}"
    );
}

#[test]
fn hangup_interrupts_a_run_unless_it_is_ignored() {
    let world = World::in_process();
    world.write("src/a", "a");
    let hits = world.store().fault(Fault::on("ListObjectsV2").delay(Duration::from_secs(2)));
    let line = "backup src BUCKET --yes";
    let plain = world.command();
    let mut nohup = Command::new("/bin/sh");
    nohup.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    nohup.current_dir(world.path(".")).stdin(Stdio::null());
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program());
    let (code, output, _) = interrupt_as(nohup, &world, line, "-HUP", || hits.count() > 0);
    assert_eq!(code, 0, "{output}");
    let (code, output, _) = interrupt(&world, line, "-HUP", || hits.count() > 1);
    assert_eq!((code, output.as_str()), (130, "s3keep: interrupted\n"));
}

#[test]
fn stalled_connection_is_closed_and_the_request_retried() {
    let world = World::in_process();
    world.write("src/a", noise(1, 100_000));
    world.store().fault(Fault::on("PutObject").times(1).delay(Duration::from_secs(120)));
    world.expect(0, "backup src BUCKET --yes --timeout 500ms");
    world.store().fault(Fault::on("GetObject").times(1).stall_body(50_000, None));
    world.store().fault(Fault::on("ListObjectsV2").times(1).stall_body(100, None));
    world.expect(0, "restore BUCKET back --yes --timeout 500ms");
    assert_eq!(files(&world.path("src")), files(&world.path("back")));
}
