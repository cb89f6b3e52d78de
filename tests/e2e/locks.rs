//! Locks on the directory that other programs hold, or that the file system refuses.

use std::process::Command;

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
    assert_eq!(done.code, 3, "{done:?}");
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
