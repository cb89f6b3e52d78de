//! Signals: the first one cancels the run, the second one ends the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};
use s3keep::{Cancel, exit};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Whether a question is waiting for an answer. There is nothing to cancel then, so a signal ends the
/// process.
#[derive(Clone, Default)]
pub struct Question(Arc<AtomicBool>);

impl Question {
    /// Marks the question as open while `ask` runs.
    pub fn while_open<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.0.store(true, Ordering::Release);
        let answer = ask();
        self.0.store(false, Ordering::Release);
        answer
    }
}

/// Cancels the run at the first SIGINT, SIGTERM or SIGHUP, and ends the process at the second.
///
/// A signal that was ignored at the start stays ignored: under `nohup`, SIGHUP stops nothing.
pub fn cancel_on_signals(cancel: Cancel) -> Result<Question> {
    let question = Question::default();
    let ignored = ignored_signals();
    let handled =
        [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(handled).context("handle signals")?;
    let is_open = Arc::clone(&question.0);
    let handle = move || {
        for _ in signals.forever() {
            if cancel.is_cancelled() || is_open.load(Ordering::Acquire) {
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            cancel.cancel();
        }
    };
    thread::Builder::new().spawn(handle).context("handle signals")?;
    Ok(question)
}

/// The signals that this process was started to ignore: one bit per signal. Zero where the system has no
/// `/proc`.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
