//! A demonstration of s3keep that needs only Rust: backup, restore and verify.
//!
//! ```sh
//! cargo run --release --example quickstart [DIR]
//! ```
//!
//! It starts an S3 server in this process, backs up DIR (default: the source code of s3keep) twice,
//! restores it to another directory and verifies the result. The code of the `s3keep` command
//! parses the arguments of each command that is shown, and prints its results.
//!
//! The exit code is 0 if everything worked, 1 if a check failed, and 2 if everything worked but
//! some entries of DIR could not be backed up. If a command fails, it is that command's exit code.

#[path = "../src/bin/s3keep/arguments.rs"]
mod arguments;
#[allow(dead_code, reason = "the example runs only some commands, without confirmation")]
#[path = "../src/bin/s3keep/cli.rs"]
mod cli;
#[allow(dead_code, reason = "the example runs only some commands, without confirmation")]
#[path = "../src/bin/s3keep/commands.rs"]
mod commands;
#[path = "../src/bin/s3keep/completions.rs"]
mod completions;
#[allow(dead_code, reason = "the example prints no warnings")]
#[path = "../src/bin/s3keep/environment.rs"]
mod environment;
#[allow(dead_code, reason = "the example runs only some commands, without confirmation")]
#[path = "../src/bin/s3keep/flags.rs"]
mod flags;
#[path = "../src/bin/s3keep/grouped.rs"]
mod grouped;
#[path = "../src/bin/s3keep/heading.rs"]
mod heading;
#[path = "../src/bin/s3keep/help.rs"]
mod help;
#[path = "../src/bin/s3keep/json.rs"]
mod json;
#[path = "../src/bin/s3keep/man.rs"]
mod man;
#[allow(dead_code, reason = "the example prints the results of only some commands")]
#[path = "../src/bin/s3keep/output.rs"]
mod output;
#[path = "../src/bin/s3keep/plan_text.rs"]
mod plan_text;
#[allow(dead_code, reason = "the example runs only some commands, without confirmation")]
#[path = "../src/bin/s3keep/request.rs"]
mod request;
#[path = "../tests/support/store/mod.rs"]
mod store;
#[path = "../src/bin/s3keep/summary_text.rs"]
mod summary_text;
#[path = "../src/bin/s3keep/terminal.rs"]
mod terminal;
#[path = "../src/bin/s3keep/words.rs"]
mod words;

use std::{collections::BTreeSet, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use output::Printer;
use request::Command;
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
    let own_source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let dir = std::env::args_os().nth(1).map_or(own_source, Into::into);
    let dir = dir.to_str().context("the path of DIR is not UTF-8")?;
    let bucket = format!("s3://{BUCKET}");

    let store = Store::start();
    println!(
        "1. Start an S3 server in this process. It checks signatures, keeps objects in memory, and\n   \
         stops when this program ends. In a shell, these variables make s3keep use it:\n\n   \
         export AWS_ENDPOINT_URL_S3={} AWS_ACCESS_KEY_ID={ACCESS_KEY} \\\n          \
         AWS_SECRET_ACCESS_KEY={SECRET_KEY}\n",
        store.endpoint()
    );
    let env = Env::default()
        .set("AWS_ENDPOINT_URL_S3", store.endpoint())
        .set("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .set("AWS_SECRET_ACCESS_KEY", SECRET_KEY);

    println!("2. Back up the directory. The output is the plan, and then the result.");
    let first = s3keep(&["backup", dir, &bucket, "--yes"], &env)?;

    println!("3. Back it up again. This uploads only files that failed the first time, if any.");
    let second = s3keep(&["backup", dir, &bucket, "--yes"], &env)?;
    // A second attempt for a failed file is correct; one for an uploaded file is not.
    let repeated = second.planned.intersection(&first.transferred).next();
    ensure!(
        repeated.is_none(),
        "the second backup uploads a file again, or the file has changed meanwhile: {repeated:?}"
    );

    println!("4. Restore to another directory.");
    let temporary = tempfile::tempdir().context("make a temporary directory")?;
    let restored_dir = temporary.path().join("restored");
    let target = restored_dir.to_str().context("the temporary directory's path is not UTF-8")?;
    let restore = s3keep(&["restore", &bucket, target, "--yes"], &env)?;
    ensure!(restore.code == exit::SUCCESS, "the restore is incomplete");

    println!("5. Verify: compare the content of both sides. This changes nothing.");
    let verify = s3keep(&["verify", target, &bucket], &env)?;
    ensure!(verify.code == exit::SUCCESS, "the restored files and the objects differ");

    let restored = files(&restored_dir)?;
    let differences: Vec<_> = first.transferred.symmetric_difference(&restored).collect();
    ensure!(
        differences.is_empty(),
        "these files were either uploaded or restored, but not both: {differences:?}"
    );
    for path in &restored {
        let read = |root: &Path| fs::read(root.join(path)).with_context(|| format!("read {path}"));
        let is_same = read(Path::new(dir))? == read(&restored_dir)?;
        ensure!(is_same, "the restored {path} differs from the original, or that has changed");
    }
    println!(
        "6. Compare both directories without s3keep. They have the same content: {} files.",
        restored.len()
    );
    temporary.close().context("remove the restored files")?;
    if first.code != exit::SUCCESS {
        println!("   Not included: the entries that step 2 lists as skipped or failed.");
    }
    Ok(first.code)
}

/// The result of a command.
#[derive(Default)]
struct Outcome {
    /// The paths that the plan wants to transfer.
    planned: BTreeSet<String>,
    /// The paths that were transferred.
    transferred: BTreeSet<String>,
    code: u8,
}

/// Prints a command and runs it in this process, as `src/bin/s3keep/main.rs` does after the confirmation.
fn s3keep(words: &[&str], env: &Env) -> Result<Outcome> {
    println!("\n   $ s3keep {}\n", shlex::try_join(words.iter().copied())?);
    let words = words.iter().map(|&word| word.to_owned()).collect();
    let request = cli::parse(words, env.clone())?.map_err(|early| anyhow!(early.text))?;
    let mut printer = Printer::new(request.output);
    let mut outcome = Outcome::default();
    match request.command {
        Command::Sync { direction, config, .. } => {
            let keeper = Keeper::new(config)?;
            printer.start(Some(direction), &keeper);
            let plan = keeper.plan(direction, &mut |event| printer.event(event))?;
            printer.plan(&plan, &keeper, false)?;
            outcome.planned = plan.transfers.iter().map(|t| t.path().to_owned()).collect();
            let report = keeper.execute(plan, &mut |event| {
                if let Event::Transferred { path, .. } = event {
                    outcome.transferred.insert(path.to_owned());
                }
                printer.event(event);
            })?;
            printer.report(&report);
            outcome.code = report.exit_code();
            if let Some(fatal) = report.fatal {
                return Err(fatal.into());
            }
        }
        Command::Verify { config, read_data } => {
            let verification =
                Keeper::new(config)?.verify(read_data, &mut |event| printer.event(event))?;
            printer.verification(&verification);
            outcome.code = verification.exit_code();
        }
        _ => bail!("this example runs backup, restore and verify only"),
    }
    println!();
    Ok(outcome)
}

/// The paths of all files below a directory.
fn files(dir: &Path) -> Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let path = entry.path().strip_prefix(dir)?.to_str().context("a path is not UTF-8")?;
            paths.insert(path.to_owned());
        }
    }
    Ok(paths)
}
