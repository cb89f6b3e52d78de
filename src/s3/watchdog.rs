//! Ends blocked requests after a cancellation.

use std::{thread, time::Duration};

use crossbeam_channel::RecvTimeoutError;

use crate::cancel::Cancel;

/// How long requests in flight may take to complete after a cancellation.
const GRACE_PERIOD: Duration = Duration::from_millis(700);

/// How long requests may take that clean up after that, over new connections.
const CLEAN_UP_PERIOD: Duration = Duration::from_millis(2_500);

/// How often the watchdog checks for a cancellation.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `work` under a watchdog.
///
/// After a cancellation, the watchdog gives `work` a grace period to end, and then breaks the
/// connections that it may be blocked on. It does so again after every clean-up period.
pub(crate) fn with_cancel_watchdog<T>(
    cancel: &Cancel,
    break_connections: impl Fn() + Send,
    work: impl FnOnce() -> T,
) -> T {
    let (working, work_ended) = crossbeam_channel::bounded::<()>(0);
    thread::scope(|scope| {
        let watch = move || {
            // Nothing is ever sent: the channel is closed when the work has ended.
            let is_working_after =
                |time| work_ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            let mut period = GRACE_PERIOD;
            while is_working_after(CHECK_INTERVAL) {
                if cancel.is_cancelled() && is_working_after(period) {
                    break_connections();
                    period = CLEAN_UP_PERIOD;
                }
            }
        };
        // If the system has no more threads, a cancellation takes effect only when the network
        // responds or times out.
        let _ = thread::Builder::new().spawn_scoped(scope, watch);
        let _working = working;
        work()
    })
}
