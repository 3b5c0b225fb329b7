//! Build script of the packages with tests: finds which external needs of tests this machine has.
//!
//! A test that needs one is marked `#[cfg_attr(not(has_shared), ignore = "…")]`: if it is missing,
//! the test shows as ignored, with the reason. With `CI=true`, tests that need data or a browser run
//! in any case, and fail without them.

use std::{
    env,
    path::{Path, PathBuf},
};

#[expect(clippy::print_stdout, reason = "it is how a build script talks to cargo")]
fn main() {
    let is_ci = env::var("CI").as_deref() == Ok("true");
    let beside = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../shared");
    let shared = env::var_os("EVOMERGE_SHARED").map_or(beside, PathBuf::from);
    for (name, is_there) in [
        // Benchmarks' data and other programs' results on it: their licences are not the repository's.
        ("has_shared", shared.join("data").is_dir() || is_ci),
        ("has_unidic", env::var_os("EVOMERGE_UNIDIC").is_some()),
        (
            "has_chromium",
            (is_installed(&["chromium", "chromium-browser", "google-chrome"]) && is_installed(&["chromedriver"]))
                || is_ci,
        ),
        ("has_bf16_dot", has_bf16_dot()),
        ("has_python", is_installed(&["python3"]) || is_ci),
    ] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if is_there {
            println!("cargo::rustc-cfg={name}");
        }
    }
    println!("cargo::rerun-if-changed={}", shared.join("data").display());
    for variable in ["CI", "EVOMERGE_SHARED", "EVOMERGE_UNIDIC", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
}

fn is_installed(names: &[&str]) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| names.iter().any(|name| folder.join(name).is_file()))
}

#[cfg(target_arch = "x86_64")]
fn has_bf16_dot() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16_dot() -> bool {
    false
}
