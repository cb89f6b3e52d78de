//! The output for people: the summary of a plan, the question, grouped failures and the end of a run.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use crate::{
    any_server::command_line::json_line,
    support::{
        Run, World,
        store::{ACCESS_KEY, Fault, Request, SECRET_KEY},
    },
};

/// Files of 10 bytes in `src`.
fn world(count: usize) -> World {
    let world = World::in_process();
    for n in 0..count {
        world.write(&format!("src/{n:04}"), format!("{n:010}"));
    }
    world
}

/// Runs the command on a terminal of its own, where a person types `input`. Returns the exit code and what
/// the terminal shows.
fn on_terminal(world: &World, line: &str, input: &str) -> (i32, String) {
    let line = line.replace("BUCKET", &format!("s3://{}", world.bucket));
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_s3keep"));
    // `script` gives the command a terminal.
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.envs(world.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(world.path("")).env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("start script");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn assert_shows(text: &str, expected: &[&str]) {
    let mut rest = text;
    for part in expected {
        let Some(at) = rest.find(part) else { panic!("{part:?} is not there, in order: {text}") };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn plan_of_5000_files_is_a_summary_of_a_few_lines() {
    let world = world(5_003);
    world.store().put("old/a", b"12345");
    world.store().put("old/b", b"12345");
    let backup = "backup src BUCKET --yes --allow-unrelated";
    let run = world.expect(0, &format!("{backup} --mock"));
    let endpoint = world.endpoint();
    let dir = fs::canonicalize(world.path("src")).unwrap();
    let expected = format!(
        "Backup of {} to s3://bucket (the whole bucket)\n  endpoint {endpoint}\n\
         5,003 to upload (48.9 KiB), 5,003 missing: 0000, 0001, 0002 and 5,000 more\n\
         2 to delete (10 B):\n    old/a\n    old/b\n\
         0 unchanged (0 B)\n0 skipped\n--list shows every entry\n",
        dir.display()
    );
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (expected.as_str(), ""));
    let listed = world.expect(0, &format!("{backup} --mock --list"));
    assert_eq!(listed.stdout.lines().filter(|line| line.starts_with("upload ")).count(), 5_003);
    assert_eq!(listed.stdout.lines().filter(|line| line.starts_with("delete ")).count(), 2);
    listed.assert_says("5,003 to upload (48.9 KiB), 5,003 missing\n2 to delete (10 B)\n");
    let json = world.expect(0, &format!("{backup} --mock --json"));
    assert_eq!(json.stdout.lines().count(), 5_006);
    let run = world.expect(0, backup);
    run.assert_says("The backup is complete, after ");
    run.assert_says("5,003 uploaded (48.9 KiB), 2 deleted, 0 unchanged, 0 skipped, 0 failed\n");
    assert!(!run.stdout.contains("Next: "), "{run:?}");
    assert!(run.stdout.lines().count() < 12, "{run:?}");
    let run = world.expect(0, &format!("{backup} --quiet"));
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}

#[test]
fn all_deletions_are_named_up_to_20() {
    for (count, are_named) in [(1, true), (20, true), (21, false)] {
        let world = world(1);
        for n in 0..count {
            world.store().put(&format!("old/{n:02}"), b"x");
        }
        let run = world.expect(0, "backup src BUCKET --mock --allow-unrelated");
        let named = run.stdout.lines().filter(|line| line.starts_with("    old/")).count();
        assert_eq!(named, if are_named { count } else { 0 }, "{run:?}");
        if !are_named {
            run.assert_says("21 to delete (21 B): old/00, old/01, old/02 and 18 more\n");
        }
    }
}

#[test]
fn summary_names_reasons_and_escapes_names() {
    let world = world(0);
    world.write("src/a\u{1b}[2Jb", "x");
    world.write("src/grown", "xx");
    world.store().put("grown", b"x");
    symlink("nowhere", world.path("src/dangling")).unwrap();
    symlink("/etc", world.path("src/outside")).unwrap();
    let run = world.expect(2, "backup src BUCKET --mock");
    run.assert_says("2 to upload (3 B), 1 missing, 1 size: a\\u{1b}[2Jb, grown\n");
    run.assert_says("2 skipped, 1 dangling symlink, 1 outbound symlink: dangling, outside\n");
    run.assert_says("s3keep: skipped: dangling: a symlink whose target does not exist\n");
    assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
}

#[test]
fn many_skipped_entries_are_grouped_and_all_are_in_the_list() {
    let world = world(1);
    for n in 0..2_000 {
        symlink("nowhere", world.path(&format!("src/link{n:04}"))).unwrap();
    }
    for options in ["--mock", "--yes --quiet"] {
        let run = world.expect(2, &format!("backup src BUCKET {options}"));
        run.assert_says(
            "s3keep: skipped 2,000 entries: a symlink whose target does not exist\n    \
             link0000, link0001, link0002 and 1,997 more\n\
             s3keep: --list names each skipped entry\n",
        );
        assert!(run.stderr.lines().count() <= 7, "{run:?}");
    }
    let named = |run: &Run, text: &str| {
        let output = format!("{}{}", run.stdout, run.stderr);
        output.lines().filter(|line| line.contains(text)).count()
    };
    let run = world.expect(2, "backup src BUCKET --mock --list");
    assert_eq!(named(&run, "skipped: link"), 2_000);
    let run = world.expect(2, "backup src BUCKET --mock --json");
    assert_eq!(named(&run, r#""type":"skipped""#), 2_000);
}

#[test]
fn outage_that_fails_2000_files_takes_ten_lines() {
    let world = world(2_000);
    let denied = || Fault::on("PutObject").status(403, "AccessDenied");
    world.store().fault(denied());
    for options in ["", " --quiet"] {
        let run = world.expect(2, &format!("backup src BUCKET --yes{options}"));
        let grouped = run.stderr.lines().skip_while(|line| !line.contains("failed 2,000 times"));
        let grouped: Vec<&str> = grouped.take(2).collect();
        assert!(
            grouped[0].starts_with("s3keep: upload failed 2,000 times: permission denied"),
            "{run:?}"
        );
        assert!(grouped[1].ends_with(" and 1,997 more"), "{run:?}");
        run.assert_says("more failures follow, grouped by cause at the end (--list names each)");
        run.assert_says("The backup is not complete, after ");
        run.assert_says("0 uploaded (0 B), 0 deleted, 0 unchanged, 0 skipped, 2,000 failed\n");
        run.assert_says("Next: correct the failures, then run the same command again");
        // Five failures, a line that says that there are more, two for their cause, and the end.
        let end = if options.is_empty() { 0 } else { 3 };
        assert_eq!(run.stderr.lines().count(), 8 + end, "{run:?}");
    }
    let run = world.expect(2, "backup src BUCKET --yes --json");
    let failures = run.stdout.lines().filter(|line| line.contains(r#""type":"failure""#));
    assert_eq!(failures.count(), 2_000);
    assert_eq!(json_line(&run, "summary")["failed"], 2_000);
    let run = world.expect(2, "backup src BUCKET --yes --list");
    let named = run.stderr.lines().filter(|line| line.starts_with("s3keep: upload "));
    assert_eq!(named.count(), 2_000);
    assert!(!run.stderr.contains("times"), "{run:?}");
}

#[test]
fn failures_of_several_causes_are_grouped_by_cause() {
    let world = world(100);
    let ends_with = |digit: char| move |request: &Request| request.key.ends_with(digit);
    world.store().fault(Fault::on("PutObject").when(ends_with('1')).status(403, "AccessDenied"));
    world.store().fault(Fault::on("PutObject").when(ends_with('2')).status(400, "InvalidRequest"));
    world.store().fault(Fault::on("PutObject").key("0003").status(403, "Whatever"));
    let run = world.expect(2, "backup src BUCKET --yes");
    run.assert_says("s3keep: upload failed 10 times: permission denied (AccessDenied)");
    run.assert_says("s3keep: upload failed 10 times: the server responded with 400");
    run.assert_says("s3keep: upload failed 1 time: the server responded with 403 Whatever");
    run.assert_says("79 uploaded (790 B), 0 deleted, 0 unchanged, 0 skipped, 21 failed\n");
    // A few failures are named as they happen, and not grouped.
    world.store().clear_faults();
    world.store().fault(Fault::on("PutObject").key("0003").status(403, "Whatever"));
    let run = world.expect(2, "backup src BUCKET --yes");
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    assert!(run.stderr.starts_with("s3keep: upload 0003: the server"), "{run:?}");
}

#[test]
fn question_is_preceded_by_the_plan_and_the_answer_list_shows_all_entries() {
    let world = world(5);
    let (code, shown) = on_terminal(&world, "backup src BUCKET", "list\ny\n");
    assert_eq!(code, 0, "{shown}");
    let question = "Upload 5 files (50 B) to s3://bucket (the whole bucket)? [y/N/list] ";
    let summary = "5 to upload (50 B), 5 missing: 0000, 0001, 0002 and 2 more";
    let listed = "upload    missing        10 B  0004";
    assert_shows(
        &shown,
        &["Backup of ", "endpoint http", summary, question, listed, question, "5 uploaded (50 B)"],
    );
    assert_eq!(world.store().keys().len(), 5);
}

#[test]
fn plan_is_on_the_terminal_although_standard_output_is_redirected() {
    for options in ["", " --json", " --quiet"] {
        let world = world(5);
        for (redirected, answer) in [("> out", "n\n"), ("> out 2> err", "yes\n")] {
            let line = format!("backup src BUCKET{options} {redirected}");
            let (code, shown) = on_terminal(&world, &line, answer);
            let case = format!("{line}: {shown}");
            assert_eq!(code, if answer == "n\n" { 3 } else { 0 }, "{case}");
            let [heading, plan, question] =
                ["Backup of ", "5 to upload (50 B), 5 missing", "Upload 5 files (50 B) to s3://"];
            assert_shows(&shown, &[heading, plan, question]);
            for text in [heading, plan, question] {
                assert_eq!(shown.matches(text).count(), 1, "{case}");
            }
            let out = fs::read_to_string(world.path("out")).unwrap();
            let expected = if options == " --json" { r#""type":"plan""# } else { plan };
            assert!(out.contains(expected), "{case}: {out}");
        }
        assert_eq!(world.store().keys().len(), 5);
    }
}

#[test]
fn progress_of_the_scan_counts_both_sides_on_a_terminal() {
    let world = world(5);
    world.expect(0, "backup src BUCKET --yes");
    let slow = Fault::on("ListObjectsV2").delay(std::time::Duration::from_millis(1_500));
    world.store().fault(slow);
    let (code, shown) = on_terminal(&world, "backup src BUCKET --yes", "");
    assert_eq!(code, 0, "{shown}");
    assert_shows(&shown, &["Backup of ", "scanning both sides: 5 local paths and 0 objects found"]);
    let (_, shown) = on_terminal(&world, "backup src BUCKET --yes --quiet", "");
    assert_eq!(shown, "");
}

#[test]
fn run_starts_with_the_profile_and_without_a_password() {
    let world = world(1);
    let keys = format!("aws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n");
    world.write(".aws/config", format!("[profile work]\n{keys}"));
    let run = world.expect(0, "backup src BUCKET/photos --mock --profile work");
    run.assert_says("/src to s3://bucket/photos/\n  endpoint http://127.0.0.1:");
    run.assert_says(", profile work\n");
    let run = world.expect(2, "verify src BUCKET/photos --profile work --allow-empty");
    run.assert_says("Verification of ");
    run.assert_says("Both sides differ. Next: ");
    world.expect(0, "backup src BUCKET/photos --yes").assert_says("is complete");
    let run = world.expect(0, "restore BUCKET/photos back --yes");
    run.assert_says("Restore of s3://bucket/photos/ to ");
    run.assert_says("The restore is complete, after ");
    world.expect(0, "verify src BUCKET/photos").assert_says("Both sides are equal.");
}

/// The lines of the block of the guide that begins with `start`.
fn capture(start: &str) -> Vec<String> {
    let page = include_str!("../../src/guide/credentials_and_settings.md");
    let blocks = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.into_iter().find(|block| block.starts_with(start)).expect(start);
    block.lines().map(str::to_owned).collect()
}

#[test]
fn guide_shows_what_a_run_prints() {
    let world = World::in_process();
    for n in 0..1_203 {
        world.write(&format!("photos/2025/{n:04}.jpg"), [b'x'; 100]);
    }
    world.write("photos/cover", "same");
    world.write("photos/notes", "changed");
    symlink("gone", world.path("photos/latest")).unwrap();
    for (key, body) in [("cover", "same"), ("notes", "old"), ("2024/beach.jpg", "abc")] {
        world.store().put(&format!("photos/{key}"), body);
    }
    world.store().put("photos/2024/dune.jpg", b"abc");
    let (code, shown) = on_terminal(&world, "backup photos BUCKET/photos", "no\n");
    assert_eq!(code, 3, "{shown}");
    let run = world.expect(2, "backup photos BUCKET/photos --yes");
    let dir = fs::canonicalize(world.path("photos")).unwrap();
    let as_in_guide = |text: &str| {
        text.replace(dir.to_str().unwrap(), "/srv/photos")
            .replace(world.endpoint(), "https://store.example.net")
            .replace("s3://bucket", "s3://my-bucket")
    };
    let (shown, printed) = (as_in_guide(&shown), as_in_guide(&(run.stderr + &run.stdout)));
    let lines = capture("$ s3keep backup photos s3://my-bucket/photos\nBackup of");
    for line in &lines[1..] {
        let line = line.trim_end_matches('y');
        if line.contains("[y/N/list]") {
            assert!(shown.contains(line), "{line}: {shown}");
            continue;
        }
        // The time differs.
        let line = line.split("after ").next().unwrap();
        assert!(printed.lines().any(|printed| printed.starts_with(line)), "{line:?}: {printed}");
    }
    assert_eq!(printed.lines().count(), lines.len() - 2, "{printed}");
}

#[test]
fn guide_shows_how_failures_are_grouped() {
    let world = World::in_process();
    for n in 0..2_000 {
        world.write(&format!("photos/2025/{n:04}.jpg"), "x");
    }
    world.store().fault(Fault::on("PutObject").status(403, "AccessDenied"));
    let run = world.expect(2, "backup photos BUCKET/photos --yes --workers 1");
    let printed = run.stderr + &run.stdout;
    let printed =
        printed.replace("The test has injected this error", "no PutObject on this bucket");
    for line in capture("s3keep: upload failed") {
        let line = line.split("after ").next().unwrap();
        assert!(printed.lines().any(|printed| printed.starts_with(line)), "{line:?}: {printed}");
    }
}
