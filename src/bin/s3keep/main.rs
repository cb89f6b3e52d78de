//! The `s3keep` command: turns arguments into a request, runs it with the library, prints the result.

#![forbid(unsafe_code)]

mod arguments;
mod cli;
mod commands;
mod completions;
mod environment;
mod flags;
mod grouped;
mod heading;
mod help;
mod json;
mod listing;
mod man;
mod open_files;
mod output;
mod plan_text;
mod question;
mod request;
mod signals;
mod summary_text;
mod terminal;
mod words;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Result, anyhow};
use output::Printer;
use question::Answer;
use request::{Command, Request};
use s3keep::{Cancel, Config, Direction, Env, Error, Keeper, Plan, Refusal, exit};
use signals::Question;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::print_error(&format!("{error:#}"));
            ExitCode::from(error.downcast_ref::<Error>().map_or(exit::FAILED, Error::exit_code))
        }
    }
}

fn run() -> Result<u8> {
    open_files::raise_limit();
    let args = std::env::args_os().skip(1).map(|arg| {
        arg.into_string().map_err(|arg| anyhow!("the argument {arg:?} is not valid UTF-8"))
    });
    let request = match cli::parse(args.collect::<Result<_>>()?, Env::from_process())? {
        Ok(request) => request,
        Err(usage) if usage.was_requested => {
            // A closed standard output (`| head`) is not an error.
            let _ = io::stdout().write_all(usage.text.as_bytes());
            return Ok(exit::SUCCESS);
        }
        Err(usage) => {
            let _ = io::stderr().write_all(usage.text.as_bytes());
            return Ok(exit::FAILED);
        }
    };
    let Request { command, output } = request;
    let mut printer = Printer::new(output);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    environment::warnings(names).iter().for_each(|text| printer.warning(text));
    let code = execute(command, &mut printer);
    printer.print_grouped();
    let code = code?;
    if let Err(error) = printer.check_written() {
        output::print_error(&format!("{error:#}"));
        return Ok(if code == exit::SUCCESS { exit::FAILED } else { code });
    }
    Ok(code)
}

fn execute(command: Command, printer: &mut Printer) -> Result<u8> {
    match command {
        Command::Sync { direction, config, mock, yes, wait } => {
            let (keeper, question) = open(config, printer)?;
            printer.start(Some(direction), &keeper);
            if !mock {
                keeper.lock(wait, &mut |event| printer.event(event))?;
            }
            sync(&keeper, direction, mock, yes, &question, printer)
        }
        Command::Verify { config, read_data } => {
            let (keeper, _) = open(config, printer)?;
            printer.start(None, &keeper);
            let verification = keeper.verify(read_data, &mut |event| printer.event(event))?;
            printer.verification(&verification);
            Ok(verification.exit_code())
        }
        Command::List { config, is_recursive, sizes } => {
            let (keeper, _) = open(config, printer)?;
            let contents = keeper.list(is_recursive, &mut |event| printer.event(event))?;
            listing::print_contents(printer, &contents, sizes);
            Ok(exit::SUCCESS)
        }
        Command::Usage { config, max_depth, sizes } => {
            let (keeper, _) = open(config, printer)?;
            let usage = keeper.usage(&mut |event| printer.event(event))?;
            listing::print_usage(printer, &usage, max_depth, sizes);
            Ok(exit::SUCCESS)
        }
        Command::Cleanup { dir, selection, mock } => {
            let cancel = Cancel::new();
            let _question = signals::cancel_on_signals(cancel.clone())?;
            let mut on_event = |event: s3keep::Event<'_>| printer.event(event);
            let cleanup = s3keep::cleanup(&dir, &selection, mock, &cancel, &mut on_event)?;
            printer.cleanup(&cleanup, mock);
            Ok(cleanup.exit_code())
        }
    }
}

fn open(config: Config, printer: &mut Printer) -> Result<(Keeper, Question)> {
    config.access.warnings().iter().for_each(|text| printer.warning(text));
    let keeper = Keeper::new(config)?;
    let question = signals::cancel_on_signals(keeper.cancel())?;
    Ok((keeper, question))
}

fn sync(
    keeper: &Keeper,
    direction: Direction,
    mock: bool,
    yes: bool,
    question: &Question,
    printer: &mut Printer,
) -> Result<u8> {
    let plan = keeper.plan(direction, &mut |event| printer.event(event))?;
    let removes_leftovers = direction == Direction::Restore && !plan.leftovers.is_empty();
    let must_ask = !mock && !yes && (removes_leftovers || !plan.is_empty());
    printer.plan(&plan, keeper, must_ask)?;
    if must_ask {
        // A plan that could not be printed cannot be confirmed.
        printer.check_written()?;
    }
    keeper.check(&plan)?;
    let is_nothing = plan.is_empty() && plan.kept.entries == 0 && plan.skipped.is_empty();
    if direction == Direction::Restore && is_nothing {
        let bucket = &keeper.config().bucket;
        printer.warning(&format!("there are no objects in {bucket}; check the prefix"));
    }
    if mock {
        return Ok(if plan.skipped.is_empty() { exit::SUCCESS } else { exit::PARTIAL });
    }
    if must_ask && !confirm(&plan, keeper, question)? {
        return Err(Error::from(Refusal::NotConfirmed).into());
    }
    let report = keeper.execute(plan, &mut |event| printer.event(event))?;
    printer.report(&report);
    if let Some(fatal) = &report.fatal {
        output::print_error(&fatal.to_string());
    }
    Ok(report.exit_code())
}

/// Asks the user for confirmation. Without a terminal, the result is `false`.
fn confirm(plan: &Plan, keeper: &Keeper, question: &Question) -> Result<bool> {
    if !io::stdin().is_terminal() {
        output::print_error("cannot ask for confirmation without a terminal; use --yes");
        return Ok(false);
    }
    let text = question::question(plan, keeper.config());
    let mut terminal = terminal::writer();
    let mut ask = || -> io::Result<Answer> {
        terminal.write_all(text.as_bytes())?;
        terminal.flush()?;
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        let answer = question::answer(&line);
        if answer == Answer::List {
            output::list_on(&mut terminal, plan)?;
        }
        Ok(answer)
    };
    question
        .while_open(|| {
            loop {
                match ask()? {
                    Answer::Yes => return Ok(true),
                    Answer::No => return Ok(false),
                    Answer::List => {}
                }
            }
        })
        .map_err(|error: io::Error| anyhow!(error).context("ask for confirmation"))
}
