//! Randomly broken inputs: the program reports the mistake, uses little time and memory, and exits
//! as documented. `EVOMERGE_MUTATIONS=10000` tries as many inputs, instead of a few hundred.

mod breaking;
mod data;
mod tokenizers;

use self::breaking::mutated;
use crate::{
    kit::{Dir, Said, family, root},
    queue::signal,
    search::{least_study, small_study},
};
use rand::{SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use std::{
    env, fs,
    io::Read as _,
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Number of inputs to try, over all kinds.
fn total() -> usize {
    env::var("EVOMERGE_MUTATIONS").map_or(364, |text| text.parse().expect("EVOMERGE_MUTATIONS is a number"))
}

/// Number of kinds, among which the inputs are divided.
const KINDS: usize = 14;
/// Maximum time of a command that has nothing to compute.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time after which a command that may compute for long is told to stop, and its time for stopping.
const TURN: Duration = Duration::from_secs(10);
const TO_STOP: Duration = Duration::from_secs(10);
/// Maximum address space in KiB.
const MEMORY: usize = 6 << 20;

/// A kind of input.
struct Kind {
    name: &'static str,
    /// Files to break, one at a time: paths in the directory that `make` fills.
    files: &'static [&'static str],
    make: fn(&Dir),
    /// Commands that read the files.
    commands: &'static [&'static [&'static str]],
    /// True if a broken input may still be valid and ask for much: the command must then stop when
    /// told.
    may_compute: bool,
}

/// Tries this kind's share of the inputs.
fn check(kind: &Kind) {
    let number = AtomicUsize::new(0);
    let share = total().div_ceil(KINDS);
    let original = Dir::new();
    (kind.make)(&original);
    let work = || {
        let mut faults = Vec::new();
        loop {
            let number = number.fetch_add(1, Ordering::Relaxed);
            if number >= share || faults.len() > 4 {
                return faults;
            }
            faults.extend(fault(kind, &original, number));
        }
    };
    let workers = thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let faults: Vec<String> = thread::scope(|scope| {
        let all: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Tries one input. Returns the program's mistake and the path of a copy of the input, if there is
/// one.
fn fault(kind: &Kind, original: &Dir, number: usize) -> Option<String> {
    let dir = Dir::new();
    copy(&original.path("."), &dir.path("."));
    let seed = kind.name.bytes().fold(number as u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(byte.into()));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let file = dir.path(kind.files.choose(&mut random).unwrap());
    let broken = mutated(&fs::read(&file).unwrap(), &mut random);
    fs::write(&file, &broken).unwrap();
    for args in kind.commands {
        let wrong = wrong(kind, run(&dir, args, kind.may_compute));
        if let Some(wrong) = wrong {
            let kept = env::temp_dir().join(format!("evomerge-{}-{number}", kind.name.replace(' ', "-")));
            let _ = fs::remove_dir_all(&kept);
            copy(&dir.path("."), &kept);
            let place = kept.join(file.strip_prefix(dir.path("")).unwrap());
            fs::write(&place, &broken).unwrap();
            return Some(format!(
                "{} {number}: `evomerge {}` {wrong}\n  {}",
                kind.name,
                args.join(" "),
                place.display()
            ));
        }
    }
    None
}

/// End of a command.
enum End {
    Said(Said),
    /// Killed by a signal.
    Killed(i32, String),
    /// Still running after its time.
    Hung,
}

fn wrong(kind: &Kind, end: End) -> Option<String> {
    match end {
        End::Hung => Some("hangs".to_owned()),
        End::Killed(signal, err) => Some(format!("was killed by signal {signal}: {err}")),
        End::Said(said) => {
            let stopped = kind.may_compute && said.code == Some(130);
            let is_documented = stopped || matches!(said.code, Some(0 | 1));
            let explains = said.code != Some(1) || said.err.contains("error: ");
            let raw = said.out.chars().chain(said.err.chars()).find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            if said.err.contains("panicked") || !is_documented || !explains {
                Some(format!("ended with {:?}: {}", said.code, said.err))
            } else {
                raw.map(|c| format!("let {c:?} reach the terminal: {said:?}"))
            }
        }
    }
}

fn run(dir: &Dir, args: &[&str], may_compute: bool) -> End {
    let limited = dir.command(args);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY}; ulimit -c 0; exec \"$0\" \"$@\"")]);
    command.arg(limited.get_program()).args(limited.get_args()).current_dir(dir.path(""));
    for (name, value) in limited.get_envs() {
        command.env(name, value.unwrap());
    }
    command.env("HF_HUB_OFFLINE", "1").env("RUST_BACKTRACE", "0").stdin(std::process::Stdio::null());
    let (out, err) = (dir.path(".out"), dir.path(".err"));
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let mut status = wait(&mut child, if may_compute { TURN } else { PATIENCE });
    if status.is_none() && may_compute {
        signal(child.id(), "TERM");
        status = wait(&mut child, TO_STOP);
    }
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        return End::Hung;
    };
    let text = |path: &Path| {
        let mut bytes = Vec::new();
        fs::File::open(path).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    match status.signal() {
        Some(signal) => End::Killed(signal, text(&err)),
        None => End::Said(Said { code: status.code(), out: text(&out), err: text(&err) }),
    }
}

/// Exit status, if the process ends in time.
fn wait(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if began.elapsed() > patience {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Copies a directory; links stay links.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        let kind = entry.unwrap().file_type().unwrap();
        if kind.is_dir() {
            copy(&path, &target);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path).unwrap(), &target).unwrap();
        } else if kind.is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn stored(name: &str) -> PathBuf {
    root().join("tests/data").join(name)
}

/// Two tiny models and a recipe that merges them.
fn tiny_merge(dir: &Dir) {
    dir.tiny("a", 0.25);
    dir.tiny("b", 0.75);
    dir.write(
        "r.yaml",
        "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n- {model: b, parameters: {weight: 1}}\n",
    );
}

const MERGE: &[&str] = &["merge", "r.yaml", "-o", "out", "--no-sync"];

/// A real model whose weights are a link, and two tasks.
fn asked(dir: &Dir) {
    small_study(dir);
    copy(&family().join("ja"), &dir.path("ja"));
    fs::remove_file(dir.path("ja/model.safetensors")).unwrap();
    symlink(family().join("ja/model.safetensors"), dir.path("ja/model.safetensors")).unwrap();
}

#[test]
fn headers_of_safetensors() {
    check(&Kind {
        name: "headers",
        files: &["a/model.safetensors"],
        make: tiny_merge,
        commands: &[&["inspect", "a"], MERGE],
        may_compute: false,
    });
}

#[test]
fn indices_of_shards() {
    check(&Kind {
        name: "indices",
        files: &["a/model.safetensors.index.json"],
        make: |dir| {
            copy(&stored("models/llama-a-sharded"), &dir.path("a"));
            dir.write("r.yaml", "merge_method: passthrough\nmodels: [{model: a}]\n");
        },
        commands: &[&["inspect", "a"], MERGE],
        may_compute: false,
    });
}

#[test]
fn configurations() {
    check(&Kind {
        name: "configurations",
        files: &["ja/config.json", "ja/config.json", "ja/generation_config.json", "ja/tokenizer_config.json"],
        make: |dir| {
            asked(dir);
            dir.write("r.yaml", "merge_method: passthrough\nslices:\n- {sources: [{model: ja, layer_range: [0, 4]}]}\n- {sources: [{model: ja, layer_range: [2, 6]}]}\n");
        },
        commands: &[
            &["plan", "r.yaml"],
            MERGE,
            &["eval", "ja", "--tasks", "choices.yaml", "--limit", "2", "--no-memory"],
        ],
        may_compute: true,
    });
}

#[test]
fn pickles() {
    check(&Kind {
        name: "pickles",
        files: &["old.pt", "mixed.pt", "wrapped.pt", "expanded.pt", "kinds.bin"],
        make: |dir| {
            for name in ["old.pt", "mixed.pt", "wrapped.pt", "expanded.pt", "kinds.bin"] {
                fs::copy(stored("pickles").join(name), dir.path(name)).unwrap();
            }
        },
        commands: &[
            &["inspect", "old.pt"],
            &["inspect", "mixed.pt"],
            &["inspect", "wrapped.pt"],
            &["inspect", "expanded.pt"],
            &["inspect", "kinds.bin"],
        ],
        may_compute: false,
    });
}

#[test]
fn adapters() {
    check(&Kind {
        name: "adapters",
        files: &[
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
            "pickled/adapter_config.json",
            "pickled/adapter_model.bin",
        ],
        make: |dir| {
            copy(&stored("adapters/llama"), &dir.path("llama"));
            copy(&stored("adapters/dora"), &dir.path("adapter"));
            copy(&stored("adapters/patterns"), &dir.path("pickled"));
            fs::remove_file(dir.path("pickled/adapter_model.safetensors")).unwrap();
            for (file, adapter) in [("r.yaml", "adapter"), ("pickled.yaml", "pickled")] {
                dir.write(file, format!("merge_method: passthrough\nmodels: [{{model: llama+{adapter}}}]\n"));
            }
        },
        commands: &[MERGE, &["merge", "pickled.yaml", "-o", "other", "--no-sync"]],
        may_compute: false,
    });
}

/// A recipe with every key that exists.
const RECIPE: &str = "\
name: first
merge_method: dare_ties
base_model: a
slices:
- sources:
  - {model: a, layer_range: [0, 1]}
  - model: b
    layer_range: [0, 1]
    parameters: {density: 0.5, weight: [{filter: self_attn, value: [0.1, 0.9]}, {value: 1.0}]}
parameters: {normalize: true, int8_mask: true, lambda: 0.9}
random: {seed: 7}
dtype: bfloat16
---
merge_method: slerp
base_model: a
models: [{model: a}, {model: first}]
parameters: {t: [0, 0.5, 1]}
fixes: [tail_gradient]
tokenizer_source: base
out_dtype: float16
";

#[test]
fn recipes() {
    check(&Kind {
        name: "recipes",
        files: &["r.yaml", "path.yaml"],
        make: |dir| {
            tiny_merge(dir);
            dir.write("r.yaml", RECIPE.replace("tokenizer_source: base\n", ""));
            dir.write(
                "path.yaml",
                "merge_method: passthrough\nbase_model: a\npath:\n- {model: a, layer_range: [0, 1]}\n- repeats: 2\n  hops:\n  - {model: b, layer_range: [0, 1], use: [true], scale: 0.9}\n",
            );
        },
        commands: &[&["plan", "r.yaml"], MERGE, &["plan", "path.yaml"], &["inspect", "path.yaml"]],
        may_compute: false,
    });
}

#[test]
fn search_files() {
    check(&Kind {
        name: "searches",
        files: &["search.yaml"],
        make: least_study,
        commands: &[&["submit", "search.yaml"], &["search", "search.yaml", "-o", "out"]],
        may_compute: true,
    });
}

#[test]
fn records_of_merges() {
    check(&Kind {
        name: "records",
        files: &["out/evomerge.json"],
        make: |dir| {
            tiny_merge(dir);
            assert_eq!(dir.run(MERGE).code, Some(0));
        },
        commands: &[&["verify", "out"], &["merge", "r.yaml", "-o", "out", "--replace", "--no-sync"]],
        may_compute: false,
    });
}

#[test]
fn studies() {
    check(&Kind {
        name: "studies",
        files: &[
            "out/study/db",
            "out/study/conf",
            "out/study/record.jsonl",
            "out/study/evomerge-study.json",
            "out/result.json",
            "out/best.yaml",
        ],
        make: |dir| {
            least_study(dir);
            let said = dir.run(&["search", "search.yaml", "-o", "out"]);
            assert_eq!(said.code, Some(0), "{}", said.err);
        },
        commands: &[&["report", "out"], &["search", "search.yaml", "-o", "out"]],
        may_compute: true,
    });
}

#[test]
fn queues() {
    check(&Kind {
        name: "queues",
        files: &["home/queue/store/db", "home/queue/store/conf", "home/queue/events.jsonl"],
        make: |dir| {
            tiny_merge(dir);
            for name in ["one", "two"] {
                assert_eq!(dir.run(&["submit", "r.yaml", "--name", name]).code, Some(0));
            }
        },
        commands: &[&["jobs"], &["job", "1"], &["submit", "r.yaml"], &["cancel", "2"]],
        may_compute: false,
    });
}
