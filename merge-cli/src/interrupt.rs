//! Ctrl-C and SIGTERM: the first asks to stop, the second stops.

use crate::screen;
use merge_core::error::{Error, Result};
use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
