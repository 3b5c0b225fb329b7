//! `evomerge serve`: runs the queue's jobs until it is stopped.

use crate::{args::Serve as Args, draw::screen, serve, work::interrupt};
use merge_core::error::Result;
use std::sync::Arc;

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.systemd {
        screen::data(&serve::unit(args)?);
        screen::say(
            "to install it, and have it run after every start of the machine:\n  \
             evomerge serve --systemd > ~/.config/systemd/user/evomerge.service\n  \
             systemctl --user enable --now evomerge\n  \
             loginctl enable-linger",
        );
        return Ok(());
    }
    if args.repair {
        return serve::repair();
    }
    let interrupted = Arc::default();
    interrupt::listen(&interrupted, "stopping; what runs is queued again, and goes on from where it is")?;
    serve::run(args, &interrupted)
}
