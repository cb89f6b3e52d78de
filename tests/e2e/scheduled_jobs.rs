//! The recipes of the guide page about scheduled jobs: its scripts and commands, taken from the page.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use crate::support::{Run, World, run};

const PAGE: &str = include_str!("../../src/guide/scheduled_jobs.md");

/// The exit codes that a job without a fault of s3keep can have.
const CODES: [i32; 5] = [0, 1, 2, 3, 4];

/// The code blocks of the page.
fn blocks() -> impl Iterator<Item = &'static str> {
    let fenced = PAGE.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').expect("a block has lines").1)
}

/// The file of the page that begins with a comment with this path.
fn file(path: &str) -> &'static str {
    let comment = format!("# {path}");
    let mut files = blocks().filter(|block| block.lines().take(2).any(|line| line == comment));
    files.next().unwrap_or_else(|| panic!("the page has no file {path}"))
}

/// A world with files that were backed up, and with programs that record how they are called.
fn world() -> World {
    let world = World::in_process();
    world.write("src/a", "a");
    world.expect(0, "backup src BUCKET --yes");
    fs::create_dir(world.path("log")).unwrap();
    fs::create_dir(world.path("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_s3keep"), world.path("bin/s3keep")).unwrap();
    program(&world, "curl", "#!/bin/sh\necho \"$*\" >>\"$HOME/requests\"\n");
    program(&world, "sendmail", "#!/bin/sh\ncat >>\"$HOME/mails\"\n");
    program(&world, "systemctl", "#!/bin/sh\necho \"systemctl $*\"\nexit 3\n");
    program(&world, "backup-and-ping", file("/usr/local/sbin/backup-and-ping"));
    program(&world, "mail-on-failure", file("/usr/local/sbin/mail-on-failure"));
    program(&world, "backup-with-log", file("/usr/local/sbin/backup-with-log"));
    program(&world, "mail-status", file("/usr/local/sbin/mail-status"));
    world
}

fn program(world: &World, name: &str, text: &str) {
    let path = world.path("bin").join(name);
    fs::write(&path, here(world, text)).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A text of the page, with the directories, the bucket and the time to wait of the test.
fn here(world: &World, text: &str) -> String {
    let home = world.path("").display().to_string();
    text.replace("/srv/photos", &format!("{home}/src"))
        .replace("s3://my-bucket/photos", &format!("s3://{}", world.bucket))
        .replace("/var/log/s3keep", &format!("{home}/log"))
        .replace("/usr/sbin/sendmail", "sendmail")
        .replace("/usr/local/sbin/", &format!("{home}/bin/"))
        .replace("/usr/local/bin/", &format!("{home}/bin/"))
        .replace("--wait 1h", "--wait 10ms")
}

/// Runs a command line of a shell in the world.
fn shell(world: &World, line: &str) -> Run {
    let mut command = Command::new("sh");
    let environment = world.command();
    command.args(["-c", line]).current_dir(world.path("")).env_clear();
    command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var("PATH").unwrap_or_default();
    run(command.env("PATH", format!("{}:{path}", world.path("bin").display())))
}

/// Makes the next backup end with this exit code. The lock holds as long as the result.
fn prepare(world: &World, code: i32) -> Option<File> {
    match code {
        1 => fs::rename(world.path("src"), world.path("elsewhere")).unwrap(),
        2 => symlink("nowhere", world.path("src/dangling")).unwrap(),
        3 => fs::remove_file(world.path("src/a")).unwrap(),
        4 => {
            let lock = File::open(world.path("src")).unwrap();
            lock.lock().unwrap();
            return Some(lock);
        }
        _ => {}
    }
    None
}

/// The message of a backup with this exit code.
fn message(code: i32) -> &'static str {
    match code {
        1 => "No such file or directory",
        2 => "skipped: dangling",
        3 => "the source is empty",
        4 => "is locked by another process",
        _ => "",
    }
}

fn written(world: &World, name: &str) -> String {
    fs::read_to_string(world.path(name)).unwrap_or_default()
}

#[test]
fn monitor_is_notified_after_a_success_only() {
    for code in CODES {
        let world = world();
        let _lock = prepare(&world, code);
        let done = shell(&world, "backup-and-ping");
        assert_eq!(done.code, code, "{done:?}");
        assert_eq!(done.stdout, "");
        assert_eq!(done.stderr.is_empty(), code == 0, "{done:?}");
        assert!(done.stderr.contains(message(code)), "{done:?}");
        let requests = written(&world, "requests");
        assert_eq!(requests.lines().count(), usize::from(code == 0), "{code}: {requests}");
        assert_eq!(requests.contains("https://ping.example.net/photos"), code == 0);
    }
}

#[test]
fn script_mails_the_output_of_a_failed_job_only() {
    for code in CODES {
        let world = world();
        let _lock = prepare(&world, code);
        let done = shell(&world, "mail-on-failure backup-and-ping");
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{done:?}");
        let mail = written(&world, "mails");
        assert_eq!(mail.is_empty(), [0, 4].contains(&code), "{code}: {mail}");
        if !mail.is_empty() {
            let (head, body) = mail.split_once("\n\n").unwrap();
            assert!(head.contains(&format!("Subject: exit code {code} of backup-and-ping on ")));
            assert!(body.contains(message(code)), "{body}");
        }
    }
}

#[test]
fn script_logs_each_run_and_prints_the_problems_of_failed_ones() {
    for code in CODES {
        let world = world();
        let _lock = prepare(&world, code);
        let done = shell(&world, "backup-with-log");
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{done:?}");
        assert_eq!(done.stderr.is_empty(), [0, 4].contains(&code), "{done:?}");
        let log = written(&world, "log/photos.log");
        assert!(log.ends_with(&format!("\nexit code {code}\n")), "{log}");
        assert!(log.contains(message(code)), "{log}");
        assert_eq!(log.contains("0 uploaded"), [0, 2].contains(&code), "{log}");
        if ![0, 4].contains(&code) {
            assert!(done.stderr.contains(message(code)), "{done:?}");
        }
    }
}

#[test]
fn script_mails_the_status_of_a_unit() {
    let world = world();
    let done = shell(&world, "mail-status s3keep-photos.service");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let mail = written(&world, "mails");
    assert!(mail.contains("Subject: s3keep-photos.service failed on "), "{mail}");
    assert!(mail.contains("\n\nsystemctl status --full --lines=50 s3keep-photos.service\n"));
}

/// The commands of the page: in scripts, crontabs and units, and for containers.
fn commands() -> Vec<String> {
    let mut commands = Vec::new();
    for block in blocks() {
        for line in block.replace("\\\n", " ").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let starts = |word: &&str| ["backup", "restore", "verify", "cleanup"].contains(word);
            if let Some((_, args)) = line.split_once("args: [") {
                commands.push(args.trim_end_matches(']').replace(',', ""));
            } else if let Some(at) = words.windows(2).position(|pair| {
                let name = pair[0].rsplit(['/', '(']).next();
                name == Some("s3keep") && starts(&pair[1])
            }) {
                let args = words[at + 1..].iter().take_while(|word| !["2>&1", "||"].contains(word));
                commands.push(args.copied().collect::<Vec<_>>().join(" "));
            }
        }
    }
    commands
}

#[test]
fn every_command_of_the_page_runs_and_is_silent_when_all_is_well() {
    let commands = commands();
    assert_eq!(commands.len(), 9, "{commands:#?}");
    let world = world();
    for (number, command) in commands.iter().enumerate() {
        world.write("src/a", "a".repeat(number));
        if command.starts_with("verify") {
            world.expect(0, "backup src BUCKET --yes");
        }
        let done = shell(&world, &here(&world, &format!("s3keep {command}")));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{command}: {done:?}");
        assert_eq!(done.stdout.is_empty(), command.contains("--quiet"), "{command}: {done:?}");
    }
}

#[test]
fn keys_and_endpoint_can_be_in_one_file() {
    let world = world();
    let text = file("/root/.aws/credentials")
        .replace("https://store.example.net", world.endpoint())
        .replace("AKIAIOSFODNN7EXAMPLE", crate::support::store::ACCESS_KEY)
        .replace("wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", crate::support::store::SECRET_KEY);
    crate::support::write(&world.path(".aws/credentials"), text.as_bytes());
    let mode = PermissionsExt::from_mode(0o600);
    fs::set_permissions(world.path(".aws/credentials"), mode).unwrap();
    let mut command = world.command();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"] {
        command.env_remove(name);
    }
    let done = run(command.args(["verify", "src", &format!("s3://{}", world.bucket), "--quiet"]));
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""), "{done:?}");
}

/// Whether a program is installed. It must accept `--version`.
fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is missing");
    }
    found
}

#[test]
fn units_of_the_page_are_valid() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let world = world();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]);
    for unit in ["s3keep-photos.service", "s3keep-photos.timer", "mail-status@.service"] {
        let text = here(&world, file(&format!("/etc/systemd/system/{unit}")));
        crate::support::write(&world.path(&format!("units/{unit}")), text.as_bytes());
        command.arg(world.path("units").join(unit));
    }
    let done = run(&mut command);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
}

#[test]
fn configuration_of_logrotate_rotates_the_log() {
    if !is_installed("logrotate") {
        return;
    }
    let world = world();
    let text = here(&world, file("/etc/logrotate.d/s3keep"));
    crate::support::write(&world.path("logrotate.conf"), text.as_bytes());
    fs::set_permissions(world.path("logrotate.conf"), PermissionsExt::from_mode(0o644)).unwrap();
    for _ in 0..3 {
        assert_eq!(shell(&world, "backup-with-log").code, 0);
        let done = shell(&world, "logrotate --force --state state logrotate.conf");
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    }
    let entries = fs::read_dir(world.path("log")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["photos.log.1", "photos.log.2.gz", "photos.log.3.gz"]);
}
