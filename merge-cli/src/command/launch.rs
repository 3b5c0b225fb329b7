//! `evomerge launch`: prints a job script, or a manifest, for a search on a cluster.

use crate::{
    args::{Cluster, LaunchArgs},
    draw::screen,
    launch::quoted,
};
use merge_core::error::{Error, Result};
use std::{
    env,
    path::{Path, absolute},
};

/// GPUs of a node of ABCI 3.0 and of TSUBAME4.
const GPUS: [u16; 2] = [8, 4];

pub(crate) fn run(args: &LaunchArgs) -> Result<()> {
    let (text, of_node) = match args.cluster {
        Cluster::Slurm => (include_str!("../launch/scripts/slurm.sh"), 1),
        Cluster::Pbs => (include_str!("../launch/scripts/pbs.sh"), GPUS[0]),
        Cluster::Age => (include_str!("../launch/scripts/age.sh"), GPUS[1]),
        Cluster::Kubernetes => (include_str!("../launch/scripts/kubernetes.yaml"), 1),
        Cluster::Ray => (include_str!("../launch/scripts/ray.sh"), 1),
    };
    let program = env::current_exe().map_err(|e| Error::machine(format!("cannot find evomerge itself: {e}")))?;
    // A pod has no directory that these are relative to.
    let is_manifest = matches!(args.cluster, Cluster::Kubernetes);
    let path = |path: &Path| -> Result<String> {
        if !is_manifest {
            return Ok(quoted(&path.to_string_lossy()));
        }
        let whole = absolute(path).map_err(|e| Error::machine(format!("cannot find the current directory: {e}")))?;
        Ok(whole.to_string_lossy().into_owned())
    };
    if !args.file.exists() {
        screen::say(&format!("note: there is no {} here", args.file.display()));
    }
    let values = [
        ("{{over_ssh}}", include_str!("../launch/scripts/over_ssh.sh").to_owned()),
        ("{{program}}", path(&program)?),
        ("{{file}}", path(&args.file)?),
        ("{{output}}", path(&args.output)?),
        ("{{workers}}", args.workers.to_string()),
        ("{{nodes}}", args.workers.div_ceil(of_node).to_string()),
    ];
    screen::data(values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value)).trim_end());
    Ok(())
}
