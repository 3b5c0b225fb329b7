//! A program and all that it starts, as one process group that is ended as a whole; and the last lines of what it wrote.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// Lines of an output that are shown, and most characters of each.
const LINES: usize = 20;
const LINE: usize = 300;

/// Pause between two looks at a program that has time to end.
const LOOK: Duration = Duration::from_millis(20);

/// A running program. If it is dropped, its whole group is killed.
pub struct RunningGroup {
    /// The program itself.
    pub child: Child,
    group: Pid,
    /// Set when the group was killed and the program waited for.
    status: Option<ExitStatus>,
}

impl RunningGroup {
    /// Starts a program in a group of its own. Fails as starting it does.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        Ok(Self { group: Pid::from_child(&child), child, status: None })
    }

    /// True if the program has ended. It is not waited for yet: while it is not, its number is nobody else's, so that
    /// its group, and no other, is killed.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.status.is_some() || !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    /// Closes the program's standard input, and gives it this time to end by itself; then kills what is left of the group.
    pub fn end_within(&mut self, time: Duration) {
        drop(self.child.stdin.take());
        let began = Instant::now();
        while began.elapsed() < time && !self.has_ended() {
            thread::sleep(LOOK);
        }
        let _ = self.end();
    }

    /// Kills what is left of the group, and waits for the program. Fails if it cannot be waited for.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // The group may be empty but for the program, which has ended.
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for RunningGroup {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The last lines of a text, each cut to a length.
pub fn last_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let cut = |line: &&str| line.trim_end().chars().take(LINE).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(cut).collect()
}
