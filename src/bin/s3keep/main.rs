//! The `s3keep` command: a thin shell around the library.

#![forbid(unsafe_code)]

mod cli;
mod output;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, anyhow};
use cli::{Command, Request};
use output::Printer;
use s3keep::{Cancel, Config, Direction, Env, Error, Keeper, Refusal, exit};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::say(&format!("{error:#}"));
            ExitCode::from(error.downcast_ref::<Error>().map_or(exit::FAILED, Error::exit_code))
        }
    }
}

fn run() -> Result<u8> {
    allow_open_files();
    let words = std::env::args_os().skip(1).map(|word| {
        word.into_string().map_err(|word| anyhow!("{word:?} on the command line is not UTF-8"))
    });
    let request = match cli::parse(words.collect::<Result<_>>()?, Env::from_process())? {
        Ok(request) => request,
        Err(early) if early.asked_for => {
            print(&early.text);
            return Ok(exit::SUCCESS);
        }
        Err(early) => {
            let _ = io::stderr().write_all(early.text.as_bytes());
            return Ok(exit::FAILED);
        }
    };
    let Request { command, output } = request;
    let mut printer = Printer::new(output);
    let code = perform(command, &mut printer)?;
    if let Err(error) = printer.told() {
        output::say(&format!("{error:#}"));
        return Ok(if code == exit::SUCCESS { exit::FAILED } else { code });
    }
    Ok(code)
}

fn perform(command: Command, printer: &mut Printer) -> Result<u8> {
    match command {
        Command::Sync { direction, config, mock, yes } => {
            let (keeper, asking) = keeper(config, printer)?;
            sync(&keeper, direction, mock, yes, &asking, printer)
        }
        Command::Verify { config, read_data } => {
            let (keeper, _) = keeper(config, printer)?;
            let found = keeper.verify(read_data, &mut |event| printer.event(event))?;
            printer.verification(&found);
            Ok(found.exit_code())
        }
        Command::Cleanup { dir, mock } => {
            let cancel = Cancel::new();
            let _asking = stop_on_signals(cancel.clone())?;
            let done = s3keep::cleanup(&dir, mock, &cancel, &mut |event| printer.event(event))?;
            printer.cleanup(&done, mock);
            Ok(done.exit_code())
        }
    }
}

fn keeper(config: Config, printer: &mut Printer) -> Result<(Keeper, Asking)> {
    config.access.warnings().iter().for_each(|text| printer.warning(text));
    let keeper = Keeper::new(config)?;
    let asking = stop_on_signals(keeper.cancel())?;
    Ok((keeper, asking))
}

fn sync(
    keeper: &Keeper,
    direction: Direction,
    mock: bool,
    yes: bool,
    asking: &Asking,
    printer: &mut Printer,
) -> Result<u8> {
    let plan = keeper.plan(direction, &mut |event| printer.event(event))?;
    let asks = !mock && !yes && !plan.is_empty();
    printer.plan(&plan, asks);
    let is_nothing = plan.is_empty() && plan.kept.entries == 0 && plan.skipped.is_empty();
    if direction == Direction::Restore && is_nothing {
        let bucket = &keeper.config().bucket;
        printer.warning(&format!("there are no objects in {bucket}: is the prefix right?"));
    }
    if asks {
        // Nobody can say yes to what is not to be seen.
        printer.told()?;
    }
    keeper.check(&plan)?;
    if mock {
        return Ok(if plan.skipped.is_empty() { exit::SUCCESS } else { exit::PARTIAL });
    }
    if asks && !confirmed(asking)? {
        return Err(Error::from(Refusal::NotConfirmed).into());
    }
    let report = keeper.execute(plan, &mut |event| printer.event(event))?;
    printer.report(&report);
    if let Some(fatal) = &report.fatal {
        output::say(&fatal.to_string());
    }
    Ok(report.exit_code())
}

/// Asks, where there is somebody to ask.
fn confirmed(asking: &Asking) -> Result<bool> {
    if !io::stdin().is_terminal() {
        output::say("there is no terminal to ask on; --yes does it without asking");
        return Ok(false);
    }
    io::stderr().write_all(b"type 'yes' to go on: ").context("ask")?;
    let mut answer = String::new();
    asking.store(true, Ordering::Release);
    let read = io::stdin().read_line(&mut answer);
    asking.store(false, Ordering::Release);
    read.context("read the answer")?;
    Ok(answer.trim() == "yes")
}

/// Whether the command waits for an answer, and so has nothing under way that needs an orderly end.
type Asking = Arc<AtomicBool>;

/// The first Ctrl-C, SIGTERM or hang-up asks the run to stop; the second ends it at once.
///
/// What is ignored from the start stays so: `nohup` means that a hang-up stops nothing.
fn stop_on_signals(cancel: Cancel) -> Result<Asking> {
    let asking = Asking::default();
    let asks = Arc::clone(&asking);
    let ignored = ignored_signals();
    let minded =
        [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(minded).context("listen for signals")?;
    let listen = move || {
        for _ in signals.forever() {
            if cancel.is_cancelled() || asks.load(Ordering::Acquire) {
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            cancel.cancel();
        }
    };
    thread::Builder::new().spawn(listen).context("listen for signals")?;
    Ok(asking)
}

/// A bit for each signal that whoever started this process has it ignore; none where the system doesn't say.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Takes as many open files as the system lets this process have: each worker needs a few.
///
/// Linux doubles its table of them whenever it is full, and whoever opens a file or a connection meanwhile
/// waits: for long, once there are threads (`expand_fdtable` in its fs/file.c). So it grows at once, while
/// there are none.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it can't be raised, there will be fewer workers.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // A descriptor beyond all that 512 workers come to; the table stays as it is when it is closed.
    let _ = rustix::io::fcntl_dupfd_cloexec(io::stderr(), 2_047);
}

fn print(text: &str) {
    // A reader that has gone is no fault of ours.
    let _ = io::stdout().write_all(text.as_bytes());
}
