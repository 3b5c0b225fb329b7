//! The queue's server: one process that owns the queue, runs its jobs, and answers requests at a
//! socket or by HTTP.
//!
//! Each job is a separate process: the same program with the submitted arguments. If it runs out of
//! memory, is killed or hangs, nothing else is harmed. To pause a job, the server asks it to stop;
//! every command can continue where it stopped. Commands find the server by its socket; without a
//! server, they open the queue themselves for a moment.

mod api;
mod attempt;
mod client;
mod connections;
mod copies;
mod desk;
mod guard;
mod home;
mod judges;
mod look;
mod machine;
mod metrics;
mod openapi;
mod page;
mod proof;
mod reasons;
mod roots;
mod routes;
mod runner;
mod service;
mod shown;
mod systemd;
mod wanted;
mod work;

pub(crate) use self::{
    copies::{check_text, read as copies_of},
    desk::Desk,
    home::{Home, tail},
    look::run as look,
    shown::JobView,
    systemd::unit,
    wanted::{Again, SubmitRequest},
    work::{is_command, words_for},
};

use self::{guard::Guard, judges::Judges, machine::Machine, roots::Roots, runner::JobRunner, service::Service};
use crate::{args::Serve as Args, draw::screen};
use merge_core::{
    error::{Error, Result},
    queue::{JournalFile, Queue},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    sync::{Arc, atomic::AtomicBool},
};
use tokio::runtime;

/// Message for a user who queues a job while no server runs.
pub(crate) const ALONE: &str = "no server runs: `evomerge serve` starts it";

/// Runs jobs until it is interrupted.
pub(crate) fn run(args: &Args, interrupted: &Arc<AtomicBool>) -> Result<()> {
    let home = Home::from_env()?;
    let lock = home.own_soon()?;
    let guard = args.listen.map(|address| Guard::new(address, &args.host, args.token_file.as_deref())).transpose()?;
    let roots = Roots::open(&args.root, home.path())?.with_judges(Judges::open(&args.judges)?);
    let machine = Machine::new(usize::from(args.slots), args.memory, args.reserve)?;
    let queue = open(&home)?;
    let service = Arc::new(Service::new(home, queue, machine, roots));
    let runner = JobRunner::new(Arc::clone(&service));
    runner.recover()?;
    allow_connections();
    let http = args.listen.map(listen).transpose()?;
    let socket = bind(&service.home)?;
    let made = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = made.map_err(|e| Error::machine(format!("cannot start threads: {e}")))?;
    api::start(&runtime, &service, socket, http.zip(guard))?;
    let (waiting, place) = (service.waiting(), service.home.path().display());
    let slots =
        if args.slots == 1 { "one job at a time".to_owned() } else { format!("{} jobs side by side", args.slots) };
    screen::say(&format!("serving {place}: {slots}, {waiting}; Ctrl-C stops, and loses nothing"));
    let ran = runner.run(interrupted);
    runtime.shutdown_background();
    let _ = fs::remove_file(service.home.socket()?);
    drop(lock);
    ran
}

/// Rebuilds the queue's store from the file of events.
pub(crate) fn repair() -> Result<()> {
    let home = Home::from_env()?;
    let _lock = home.own_soon()?;
    let (aside, events) = JournalFile::repair(&home.queue())?;
    screen::say(&format!("{events} events are there again; the damaged store is now {}", aside.display()));
    Ok(())
}

fn open(home: &Home) -> Result<Queue<JournalFile>> {
    let kept = JournalFile::open(&home.queue())?;
    if let Some(aside) = kept.repaired() {
        screen::say(&format!(
            "note: what was damaged beside the log of events was moved to {}; no event is lost",
            aside.display()
        ));
    }
    Queue::open(kept)
}

/// Raises this process's limit of open files to the maximum that the system allows.
fn allow_connections() {
    let limit = getrlimit(Resource::Nofile);
    // If this is refused, fewer connections are possible.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Makes a socket that only its owner can use: it is made in a private directory, then renamed over
/// one that was left behind.
fn bind(home: &Home) -> Result<UnixListener> {
    let (path, beside) = (home.socket()?, home.queue().join("socket"));
    let failed = |e: std::io::Error| Error::io("listen at", &path, &e);
    let _ = fs::remove_file(&beside);
    let socket = UnixListener::bind(&beside).map_err(failed)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&beside, &path).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let failed = |e: std::io::Error| {
        Error::user(format!("cannot listen at {address}: {}", e.kind())).hint("choose another port with `--listen`")
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    screen::say(&format!("listening on http://{}", listener.local_addr().map_err(failed)?));
    Ok(listener)
}
