//! Tests: which files are which adapters.

use super::*;
use std::sync::Arc;
use tempfile::tempdir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/adapters")
}

fn held(paths: &[&str]) -> Vec<HeldAdapter> {
    paths.iter().enumerate().map(|(id, path)| HeldAdapter { id, path: (*path).to_owned() }).collect()
}

fn mixture(dirs: &[PathBuf]) -> Mixture {
    let adapter = |dir: &PathBuf| MixedAdapter {
        dir: dir.clone(),
        scale: 0.5,
        alpha: 16.0,
        stated: 8.0,
        tensors: Arc::default(),
    };
    Mixture { base: fixtures().join("llama"), adapters: dirs.iter().map(adapter).collect() }
}

#[test]
fn files_on_this_machine_are_compared_and_watched() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["llama.gguf", "patterns.gguf"] {
        fs::copy(fixtures().join(name), path(name)).unwrap();
    }
    let (model, adapters) = (path("llama.gguf"), held(&[&path("patterns.gguf")]));
    let files = HeldFiles::open(&model, &adapters, true);
    assert!(files.notes("s").is_empty() && files.named().len() == ", files ".len() + 12);
    let found = mixture(&[fixtures().join("patterns")]);
    // 0.5·16/8: llama.cpp divides the file's alpha by the rank.
    assert_eq!(files.scales(&found, "s"), Ok(r#"[{"id":0,"scale":1.0}]"#.to_owned()));
    assert_eq!(files.option(&found, "s"), Ok(format!("--lora-scaled {}:1", path("patterns.gguf"))));
    assert_eq!(files.changed(), None);
    fs::write(path("patterns.gguf"), "other").unwrap();
    assert_eq!(files.changed(), Some(path("patterns.gguf").as_str()));
    // Of a server elsewhere, paths that are here by chance say nothing.
    let elsewhere = HeldFiles::open(&model, &adapters, false);
    assert_eq!((elsewhere.notes("s").len(), elsewhere.named()), (1, String::new()));
}

#[test]
fn names_that_tell_no_adapters_apart_are_refused() {
    let dirs = ["ja/adapter", "math/adapter"].map(PathBuf::from);
    let error = |paths: &[&str], dirs: &[PathBuf]| {
        let files = HeldFiles::open("/srv/base.gguf", &held(paths), true);
        files.scales(&mixture(dirs), "s").map_err(|e| e.to_string())
    };
    let one = error(&["/srv/adapter.gguf"], &dirs);
    assert_eq!(one, Err("s: math/adapter and ja/adapter cannot be told apart by its files".to_owned()));
    let both = error(&["/srv/ja/adapter.gguf", "/srv/math/adapter.gguf"], &dirs[..1]);
    let said = "s: both /srv/ja/adapter.gguf and /srv/math/adapter.gguf may be ja/adapter";
    assert_eq!(both, Err(said.to_owned()));
}
