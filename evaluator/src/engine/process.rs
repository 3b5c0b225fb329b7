//! An engine that evomerge starts, watches and ends.
//!
//! The engine and everything that it starts are one process group. A shell in that group waits for the end of its standard
//! input, which comes when evomerge ends in whatever way, `kill -9` included: then it ends the engine, and the group.

use super::EngineKind;
use crate::{
    interrupt::Interrupt,
    process_group::{RunningGroup, last_lines},
    server::ServerWire,
};
use merge_core::{
    error::{Error, Result},
    file,
};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What the shell does: it starts the engine, and a watch on standard input that asks the engine to end, and after ten
/// seconds ends the group by force. Only the engine itself is asked: vLLM ends its own processes, and leaves files in
/// memory if they end before it.
const WATCH: &str = "exec 3<&0
sh -c \"$0\" </dev/null 3<&- &
engine=$!
(
    cat <&3 >/dev/null
    kill -TERM $engine
    i=0
    while kill -0 $engine && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
    kill -KILL 0
) 2>/dev/null &
exec 3<&-
wait $engine";
/// Time that the shell has to end the engine.
const ENDING: Duration = Duration::from_secs(12);
/// Longest time that an engine may take to start.
const STARTING: Duration = Duration::from_secs(1800);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of its output that an error shows.
const TAIL: u64 = 4096;

/// A process that evomerge started.
pub(super) struct EngineProcess {
    kind: EngineKind,
    command: String,
    gpu: Option<String>,
    log: PathBuf,
    running: RunningGroup,
}

impl EngineProcess {
    /// Starts a command of a shell, in which `{model}` and `{port}` were replaced already. Its output goes to `log`.
    pub(super) fn start(kind: EngineKind, command: String, gpu: Option<&str>, log: PathBuf) -> Result<Self> {
        let gpu = gpu.map(str::to_owned);
        let running = spawn(kind, &command, gpu.as_deref(), &log)?;
        Ok(Self { kind, command, gpu, log, running })
    }

    /// Waits until its server answers, for half an hour at most. Fails if it ends before, or if interrupted.
    pub(super) fn wait_for(&mut self, wire: &ServerWire, interrupt: &Interrupt) -> Result<()> {
        let probe = match self.kind {
            EngineKind::Vllm => "v1/models",
            EngineKind::Sglang => "get_model_info",
            EngineKind::LlamaCpp => "health",
        };
        let began = Instant::now();
        loop {
            if began.elapsed() > STARTING {
                return Err(self.failed("does not answer"));
            }
            if self.running.has_ended() {
                let how = self.running.end().map_or_else(|e| e.to_string(), |status| status.to_string());
                return Err(self.failed(&format!("ended before it answered ({how})")));
            }
            if interrupt.is_set() {
                return Err(Error::interrupted());
            }
            if wire.get(probe).is_ok() {
                return Ok(());
            }
            thread::sleep(4 * LOOK);
        }
    }

    /// Starts it again if it has ended.
    pub(super) fn revive(&mut self) -> Result<()> {
        if self.running.has_ended() {
            self.end();
            self.running = spawn(self.kind, &self.command, self.gpu.as_deref(), &self.log)?;
        }
        Ok(())
    }

    /// An error for an engine that does not start, with the end of its output.
    pub(super) fn failed(&self, what: &str) -> Error {
        let said = tail(&self.log).unwrap_or_default().join("\n");
        let said = if said.is_empty() { String::new() } else { format!("; it wrote last:\n{said}") };
        Error::user(format!("the engine `{}` {what}{said}", self.command))
            .hint("run the command by hand, with a free port, to see what it lacks")
    }

    /// Lets the shell end the engine, and ends by force what is left of the group.
    fn end(&mut self) {
        self.running.end_within(ENDING);
    }
}

impl Drop for EngineProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port that is free now.
pub(super) fn free_port() -> Result<u16> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|e| Error::machine(format!("no port is free: {e}")))
}

/// A command with `{model}` and `{port}` replaced; the path is quoted for a shell.
///
/// Fails if the command has no `{port}`: several engines could not be told apart.
pub(super) fn filled(command: &str, model: &Path, port: u16) -> Result<String> {
    if !command.contains("{port}") {
        return Err(Error::user(format!("the engine `{command}` has no `{{port}}`"))
            .hint("such as 'vllm: vllm serve {model} --port {port}'"));
    }
    let model = format!("'{}'", model.to_string_lossy().replace('\'', r"'\''"));
    Ok(command.replace("{model}", &model).replace("{port}", &port.to_string()))
}

impl EngineKind {
    /// Environment without which an engine of this kind takes no weights.
    fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Vllm => &[("VLLM_SERVER_DEV_MODE", "1")],
            Self::Sglang | Self::LlamaCpp => &[],
        }
    }
}

fn spawn(kind: EngineKind, command: &str, gpu: Option<&str>, log: &Path) -> Result<RunningGroup> {
    let output = File::options().create(true).append(true).open(log).map_err(|e| Error::io("write", log, &e))?;
    let also = output.try_clone().map_err(|e| Error::io("write", log, &e))?;
    let mut shell = Command::new("sh");
    shell.args(["-c", WATCH, command]).stdin(Stdio::piped()).stdout(output).stderr(also);
    shell.envs(kind.environment().iter().copied());
    if let Some(gpu) = gpu {
        shell.env("CUDA_VISIBLE_DEVICES", gpu);
    }
    RunningGroup::spawn(&mut shell).map_err(|e| Error::machine(format!("cannot start `{command}`: {e}")))
}

/// The last lines of a file.
fn tail(path: &Path) -> Option<Vec<String>> {
    let mut file = file::open(path).ok()?;
    let len = fs::metadata(path).ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    Some(last_lines(&bytes))
}
