//! Ctrl-C and SIGTERM: the first asks to stop, the second stops.

use crate::screen;
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

/// 128 + SIGINT, as shells have it.
pub(crate) const CODE: u8 = 130;

/// Lets Ctrl-C, or SIGTERM, set a flag, saying `news`; a second one ends the process at once, which loses only what is in flight.
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

/// What some work comes to that cannot be interrupted, or `None` once the flag is set. The work is left alone then, to end with the
/// process: it may write nothing.
///
/// # Panics
/// If the work does.
pub(crate) fn unless<T: Send + 'static>(
    interrupted: &AtomicBool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let working = thread::spawn(work);
    while !working.is_finished() {
        if interrupted.load(Ordering::Relaxed) {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Some(working.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
}

#[cfg(test)]
mod tests {
    use super::{AtomicBool, Duration, thread, unless};

    #[test]
    fn work_is_waited_for_until_nobody_wants_it() {
        assert_eq!(unless(&AtomicBool::new(false), || 7), Some(7));
        assert_eq!(unless(&AtomicBool::new(true), || thread::sleep(Duration::from_secs(600))), None);
    }
}
