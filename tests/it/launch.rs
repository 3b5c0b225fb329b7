//! Job scripts and manifests for clusters.

use crate::kit::Dir;
use std::process::Command;

fn printed(dir: &Dir, args: &[&str]) -> String {
    dir.write("search.yaml", "");
    dir.write("it's a search.yaml", "");
    let said = dir.run(&[&["launch"], args].concat());
    assert_eq!((said.code, &said.err[..]), (Some(0), ""));
    assert!(!said.out.contains("{{"), "{}", said.out);
    said.out
}

/// A script is one for bash, whatever the names; its comments say what to change.
#[test]
fn scripts_are_whole_whatever_the_names() {
    let dir = Dir::new();
    for cluster in ["slurm", "pbs", "age", "ray"] {
        for file in ["search.yaml", "it's a search.yaml"] {
            let text = printed(&dir, &[cluster, file, "-o", "an out", "--workers", "12"]);
            dir.write("script.sh", &text);
            let checked = Command::new("bash").args(["-n"]).arg(dir.path("script.sh")).output().unwrap();
            assert!(checked.status.success() && checked.stderr.is_empty(), "{cluster}: {checked:?}");
            assert!(text.contains("change:") && text.contains(" -o 'an out' "), "{text}");
        }
    }
    assert!(printed(&dir, &["slurm", "--workers", "12"]).contains("--ntasks=12 "));
    assert!(printed(&dir, &["pbs", "--workers", "12"]).contains("#PBS -l select=2\n"));
    assert!(printed(&dir, &["age", "--workers", "12"]).contains("#$ -l node_f=3\n"));
}

#[test]
fn a_search_file_that_is_not_here_is_told() {
    let said = Dir::new().run(&["launch", "slurm", "nowhere.yaml"]);
    assert_eq!((said.code, &said.err[..]), (Some(0), "note: there is no nowhere.yaml here\n"));
}

#[test]
fn a_manifest_has_whole_paths() {
    let dir = Dir::new();
    let text = printed(&dir, &["kubernetes", "search.yaml", "-o", "out"]);
    assert!(text.contains(&dir.path("search.yaml").display().to_string()), "{text}");
    for kind in ["StatefulSet", "Job", "Role", "RoleBinding", "ServiceAccount"] {
        assert!(text.contains(&format!("kind: {kind}")), "{kind}: {text}");
    }
}

/// The script's own loop over workers, run without a cluster: each worker has its number's node and GPU.
#[test]
fn the_script_of_pbs_deals_gpus_out() {
    let dir = Dir::new();
    let text = printed(&dir, &["pbs", "search.yaml", "-o", "out", "--workers", "2"]);
    let program = env!("CARGO_BIN_EXE_evomerge");
    let starts = "while test $# -gt 0; do case $1 in --launch) shift; for n in 1 2; do sh -c \"$(echo \"$1\" | sed \"s/{n}/$n/g\") \
                  printenv CUDA_VISIBLE_DEVICES\"; done;; esac; shift; done";
    dir.write("program", format!("#!/bin/bash\n{starts}\n"));
    dir.write("nodes", "");
    let own = Command::new("hostname").arg("-s").output().unwrap();
    dir.write("nodes", own.stdout);
    dir.write("script.sh", text.replace(program, "bash program"));
    let run = Command::new("bash")
        .arg("script.sh")
        .current_dir(dir.path(""))
        .env("PBS_NODEFILE", dir.path("nodes"))
        .env("PBS_O_WORKDIR", dir.path(""))
        .status();
    assert!(run.unwrap().success());
    assert_eq!(std::fs::read_to_string(dir.path("out.log")).unwrap(), "0\n1\n");
}
