//! The queue at work: one process owns it, runs its jobs, and answers whoever asks, by a socket or by HTTP.
//!
//! A job is a process of its own, the same program with the words that were handed in. So it may run out of memory, be killed
//! or hang, and nothing else is harmed; to pause it is to ask it to stop, since everything it does goes on from where it
//! stopped. Commands find the server by its socket; where there is none they open the queue themselves for a moment.

mod api;
mod attempt;
mod client;
mod connections;
mod copies;
mod desk;
mod guard;
mod home;
mod look;
mod machine;
mod metrics;
mod openapi;
mod page;
mod proof;
mod reasons;
mod roots;
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

use self::{guard::Guard, machine::Machine, roots::Roots, runner::JobRunner, service::Service};
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

/// What a user is told who puts something where nobody takes it.
pub(crate) const ALONE: &str = "no server runs: `evomerge serve` starts it";

/// Runs jobs until it is told to stop.
pub(crate) fn run(args: &Args, interrupted: &Arc<AtomicBool>) -> Result<()> {
    let home = Home::from_env()?;
    let lock = home.own_soon()?;
    let guard = args.listen.map(|address| Guard::new(address, &args.host, args.token_file.as_deref())).transpose()?;
    let roots = Roots::open(&args.root, home.path())?;
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

/// Makes the store of the queue anew from the file of events.
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

/// Lets this process have as many connections as the system allows, where the usual limit is meant for programs that have few.
fn allow_connections() {
    let limit = getrlimit(Resource::Nofile);
    // If that is refused, there is room for fewer.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// A socket that only its owner may use: made where nobody else can look, and then put in the place of one that was left behind.
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
