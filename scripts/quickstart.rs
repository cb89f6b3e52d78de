//! From nothing to a restored and verified copy, on a machine that has only Rust:
//!
//! ```sh
//! cargo run --release --example quickstart [DIR]
//! ```
//!
//! Starts an S3 server in this process, backs DIR up to it (without DIR: the source of s3keep), backs it
//! up again, restores it elsewhere and verifies the result. Each command that is shown is what is run:
//! its words are read, and its results printed, by the code of the `s3keep` command.
//!
//! Exits with 1 when something that it shows does not hold, and with 2 when all holds but something
//! in DIR could not travel.

#[allow(dead_code, reason = "only some commands are shown, and none asks a question")]
#[path = "../src/bin/s3keep/cli.rs"]
mod cli;
#[allow(dead_code, reason = "the results of only some commands are shown")]
#[path = "../src/bin/s3keep/output.rs"]
mod output;
#[path = "../tests/support/store/mod.rs"]
mod store;

use std::{collections::BTreeSet, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use cli::Command;
use output::Printer;
use s3keep::{Env, Error, Event, Keeper, exit};
use store::{ACCESS_KEY, BUCKET, SECRET_KEY, Store};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            ExitCode::from(error.downcast_ref::<Error>().map_or(exit::FAILED, Error::exit_code))
        }
    }
}

fn run() -> Result<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let dir = std::env::args_os().nth(1).map_or(here, Into::into);
    let dir = dir.to_str().context("the name of DIR is not UTF-8")?;
    let bucket = format!("s3://{BUCKET}");

    let store = Store::start();
    println!(
        "1. An S3 server has been started inside this program. It checks signatures, keeps its objects\n   \
         in memory, and is gone when this program ends. In a shell, this would lead s3keep to it:\n\n   \
         export AWS_ENDPOINT_URL_S3={} AWS_ACCESS_KEY_ID={ACCESS_KEY} \\\n          \
         AWS_SECRET_ACCESS_KEY={SECRET_KEY}\n",
        store.endpoint()
    );
    let env = Env::default()
        .set("AWS_ENDPOINT_URL_S3", store.endpoint())
        .set("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .set("AWS_SECRET_ACCESS_KEY", SECRET_KEY);

    println!("2. Back the directory up. First comes the plan, then what was done.");
    let first = s3keep(&["backup", dir, &bucket, "--yes"], &env)?;

    println!("3. Back it up again. Nothing is sent, but what failed the first time, if anything.");
    let second = s3keep(&["backup", dir, &bucket, "--yes"], &env)?;
    // What could not be sent is tried again, and that is right.
    let resent = second.planned.intersection(&first.moved).next();
    ensure!(resent.is_none(), "sent again without need, or changed meanwhile: {resent:?}");

    println!("4. Restore it, into another directory.");
    let temporary = tempfile::tempdir().context("make a temporary directory")?;
    let back = temporary.path().join("restored");
    let shown = back.to_str().context("the name of the temporary directory is not UTF-8")?;
    let restored = s3keep(&["restore", &bucket, shown, "--yes"], &env)?;
    ensure!(restored.code == exit::SUCCESS, "the restore is not complete");

    println!("5. Compare the content of both sides. This changes nothing.");
    let verified = s3keep(&["verify", shown, &bucket], &env)?;
    ensure!(verified.code == exit::SUCCESS, "the restored files and the objects differ");

    let arrived = files(&back)?;
    let odd: Vec<_> = first.moved.symmetric_difference(&arrived).collect();
    ensure!(odd.is_empty(), "sent and not restored, or the other way round: {odd:?}");
    for path in &arrived {
        let read = |root: &Path| fs::read(root.join(path)).with_context(|| format!("read {path}"));
        let same = read(Path::new(dir))? == read(&back)?;
        ensure!(same, "{path} came back otherwise than it went, or was changed meanwhile");
    }
    println!("6. Read without s3keep, both directories are the same: {} files.", arrived.len());
    temporary.close().context("remove the restored files")?;
    if first.code != exit::SUCCESS {
        println!("   Not among them: what step 2 names as left out or failed.");
    }
    Ok(first.code)
}

/// What a command came to.
#[derive(Default)]
struct Done {
    /// The paths that the plan meant to transfer.
    planned: BTreeSet<String>,
    /// The paths that were transferred.
    moved: BTreeSet<String>,
    code: u8,
}

/// Shows a command and does it, as `src/bin/s3keep/main.rs` would after the question.
fn s3keep(words: &[&str], env: &Env) -> Result<Done> {
    println!("\n   $ s3keep {}\n", shlex::try_join(words.iter().copied())?);
    let words = words.iter().map(|&word| word.to_owned()).collect();
    let request = cli::parse(words, env.clone())?.map_err(|early| anyhow!(early.text))?;
    let mut printer = Printer::new(request.output);
    let mut done = Done::default();
    match request.command {
        Command::Sync { direction, config, .. } => {
            let keeper = Keeper::new(config)?;
            let plan = keeper.plan(direction, &mut |event| printer.event(event))?;
            printer.plan(&plan, false);
            done.planned = plan.transfers.iter().map(|t| t.path().to_owned()).collect();
            let report = keeper.execute(plan, &mut |event| {
                if let Event::Transferred { path, .. } = event {
                    done.moved.insert(path.to_owned());
                }
                printer.event(event);
            })?;
            printer.report(&report);
            done.code = report.exit_code();
            if let Some(fatal) = report.fatal {
                return Err(fatal.into());
            }
        }
        Command::Verify { config, read_data } => {
            let found =
                Keeper::new(config)?.verify(read_data, &mut |event| printer.event(event))?;
            printer.verification(&found);
            done.code = found.exit_code();
        }
        Command::Cleanup { .. } => bail!("not shown here"),
    }
    println!();
    Ok(done)
}

/// The paths of all files below a directory.
fn files(dir: &Path) -> Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let path = entry.path().strip_prefix(dir)?.to_str().context("a name is not UTF-8")?;
            paths.insert(path.to_owned());
        }
    }
    Ok(paths)
}
