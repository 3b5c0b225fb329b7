//! The systemd unit that starts a server with its user's session.

use super::Home;
use crate::{
    args::Serve as Args,
    language::{self, Language},
};
use merge_core::error::{Error, Result};
use std::{env, fmt::Write as _, path::Path};

const STRING: &str = "a String takes all that is written";

/// Returns a unit for the user's systemd that starts a server with these arguments.
pub(crate) fn unit(args: &Args) -> Result<String> {
    let program = env::current_exe().map_err(|e| Error::machine(format!("cannot find this program: {e}")))?;
    let here = env::current_dir().map_err(|e| Error::machine(format!("cannot tell where this is: {e}")))?;
    let home = Home::from_env()?;
    let mut command = format!("{} serve --slots {}", quoted(&program), args.slots);
    let mut add =
        |name: &str, value: String| write!(command, " {name} {value}").expect("a String takes all that is written");
    if let Some(address) = args.listen {
        add("--listen", address.to_string());
    }
    for root in &args.root {
        add("--root", quoted(&here.join(root)));
    }
    for judges in &args.judges {
        let is_address = super::judges::is_address(judges);
        add("--judges", quoted(&if is_address { judges.into() } else { here.join(judges) }));
    }
    if let Some(file) = &args.token_file {
        add("--token-file", quoted(&here.join(file)));
    }
    for host in &args.host {
        add("--host", host.clone());
    }
    if let Some(memory) = args.memory {
        add("--memory", memory.to_string());
    }
    add("--reserve", args.reserve.to_string());
    let mut environment = format!("Environment={}\n", assignment("EVOMERGE_HOME", &home.path().to_string_lossy()));
    writeln!(environment, "Environment={}", assignment(language::VARIABLE, Language::chosen().code())).expect(STRING);
    // Paths of models and data, as in the present environment.
    for name in ["HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "EVOMERGE_DATA", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
        if let Ok(value) = env::var(name) {
            writeln!(environment, "Environment={}", assignment(name, &value)).expect(STRING);
        }
    }
    Ok(format!(
        "[Unit]\n\
         Description=evomerge: merges and searches, one after the other\n\
         Documentation=man:systemd.service(5)\n\
         \n\
         [Service]\n\
         ExecStart={command}\n\
         {environment}\
         # Jobs are asked by the server to stop; what is left after that is killed with it.\n\
         KillMode=mixed\n\
         TimeoutStopSec=15\n\
         Restart=on-failure\n\
         RestartSec=5\n\
         # A job that takes too much memory fails; the server does not.\n\
         OOMPolicy=continue\n\
         Nice=5\n\
         \n\
         [Install]\n\
         WantedBy=default.target"
    ))
}

/// Quotes a path for systemd: `%` and `$` are doubled.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%").replace('$', "$$");
    if text.chars().all(|letter| letter.is_alphanumeric() || "/._-+%$".contains(letter)) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn assignment(name: &str, value: &str) -> String {
    format!("\"{name}={}\"", value.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\""))
}
