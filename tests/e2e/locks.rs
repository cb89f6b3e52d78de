//! Locks on the directory that other programs hold, or that the file system refuses.

use std::{fs::File, process::Command, time::Duration};

use crate::support::{World, run};

/// Runs the command under another program. `None` if that program is missing.
fn under(world: &World, program: &[&str], line: &str) -> Option<crate::support::Run> {
    let ours = world.command();
    if Command::new(program[0]).arg("--version").output().is_err() {
        println!("skipped: {} is missing", program[0]);
        return None;
    }
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(ours.get_program()).current_dir(world.path(""));
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let url = format!("s3://{}", world.bucket);
    Some(run(command.args(line.split(' ').map(|word| word.replace("BUCKET", &url)))))
}

#[test]
fn lock_of_another_program_is_not_blamed_on_another_s3keep() {
    let world = World::in_process();
    world.write("src/a", "a");
    let Some(done) = under(&world, &["flock", "src"], "backup src BUCKET --yes") else { return };
    assert_eq!(done.code, 4, "{done:?}");
    done.assert_says("src is locked by another process");
    assert!(world.keys().is_empty());
}

#[test]
fn directory_that_cannot_be_locked_is_a_warning() {
    let world = World::in_process();
    world.write("src/a", "a");
    let strace =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=flock:error=ENOLCK:when=1"];
    let warning = "cannot lock src: No locks available (os error 37); runs are not protected";
    for (line, text) in [
        ("backup src BUCKET --yes", format!("warning: {warning}")),
        ("backup src BUCKET --yes --json", format!("{{\"message\":\"{warning}")),
    ] {
        let Some(done) = under(&world, &strace, line) else { return };
        if done.stderr.contains("strace:") {
            println!("skipped: strace cannot trace here");
            return;
        }
        assert_eq!(done.code, 0, "{done:?}");
        done.assert_says(&text);
    }
}

#[test]
fn locked_directory_is_neither_scanned_nor_changed() {
    let world = World::in_process();
    world.write("src/a", "a");
    let lock = File::open(world.path("src")).unwrap();
    lock.lock().unwrap();
    for line in
        ["backup src BUCKET --yes", "restore BUCKET src --yes", "backup src BUCKET --wait 1s"]
    {
        world.expect(4, line).assert_says("src is locked by another process");
    }
    assert_eq!(world.store().requests().len(), 0);
    world.expect(0, "backup src BUCKET --mock");
    world.expect(2, "verify src BUCKET");
}

#[test]
fn run_can_wait_for_the_lock() {
    let world = World::in_process();
    world.write("src/a", "a");
    let lock = File::open(world.path("src")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.run("backup src BUCKET --yes --wait"));
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(world.store().requests().len(), 0, "it waits before it lists the bucket");
        lock.unlock().unwrap();
        let done = waiting.join().unwrap();
        assert_eq!(done.code, 0, "{done:?}");
    });
    assert_eq!(world.keys(), ["a"]);
}
