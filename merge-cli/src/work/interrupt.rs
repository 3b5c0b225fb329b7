//! Ctrl-C and SIGTERM: the first requests a stop; the second ends the process, losing work in flight.

use crate::draw::screen;
use merge_core::error::{Error, Result};
use std::{
    panic, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Exit code of an interrupted process: 128 + SIGINT, as in shells.
pub(crate) const CODE: u8 = 130;

/// Sets a flag and prints `news` on Ctrl-C or SIGTERM; the second one ends the process at once.
#[expect(clippy::exit, reason = "the second Ctrl-C asks for nothing else")]
pub(crate) fn listen(interrupted: &Arc<AtomicBool>, news: &'static str) -> Result<()> {
    let flag = Arc::clone(interrupted);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(CODE.into());
        }
        screen::say(news);
    };
    ctrlc::set_handler(handler).map_err(|e| Error::machine(format!("cannot listen for Ctrl-C: {e}")))
}

/// Runs work that cannot be interrupted; returns an error once the flag is set. The work then runs
/// on until the process ends: it must not write anything.
///
/// # Panics
/// If the work does.
pub(crate) fn unless<T: Send + 'static>(
    interrupted: &AtomicBool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let working = thread::spawn(work);
    while !working.is_finished() {
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        thread::sleep(Duration::from_millis(2));
    }
    working.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::{AtomicBool, Duration, Error, thread, unless};

    #[test]
    fn work_is_waited_for_until_nobody_wants_it() {
        assert_eq!(unless(&AtomicBool::new(false), || Ok(7)), Ok(7));
        let long = || {
            thread::sleep(Duration::from_secs(600));
            Ok(())
        };
        assert_eq!(unless(&AtomicBool::new(true), long), Err(Error::interrupted()));
    }
}
