//! Runs s3keep through another program: a shell, `unshare` or `strace`.

use std::{ffi::OsStr, process::Command, process::Stdio};

use crate::support::{Run, World, run};

/// Another program with the environment and the working directory of `command`.
pub fn with_environment_of(command: &Command, program: impl AsRef<OsStr>) -> Command {
    let mut other = Command::new(program);
    other.env_clear().stdin(Stdio::null());
    other.current_dir(command.get_current_dir().unwrap());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

/// As `World::run`, but below the `ulimit` of a shell.
pub fn run_with_limit(world: &World, limit: &str, vars: &[(&str, &str)], line: &str) -> Run {
    let url = format!("s3://{}", world.bucket);
    let exe = env!("CARGO_BIN_EXE_s3keep");
    let line = line.replace("BUCKET", &url);
    let mut command = with_environment_of(&world.command(), "/bin/sh");
    command.envs(vars.iter().copied());
    run(command.arg("-c").arg(format!("ulimit {limit} && exec {exe} {line}")))
}
