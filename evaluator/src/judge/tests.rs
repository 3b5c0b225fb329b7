//! Judges from search files: their items, their words, and the fate of every bad answer.

use super::*;
use crate::task::Split;
use merge_core::{
    checkpoint::Checkpoint,
    error::Fault,
    search::{ScoredBy, SearchFile},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A directory with a search file, a tiny model that was written to scratch, and ten items.
struct Bench {
    dir: TempDir,
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let row = |n: usize| format!("{{\"id\": {n}, \"say\": \"{n}\", \"split\": \"search\"}}\n");
        let rows = (0..10).map(row).collect::<Vec<_>>().concat();
        fs::write(dir.path().join("items.jsonl"), rows).unwrap();
        let scratch = Scratch::begin(dir.path()).unwrap();
        Self { dir, scratch }
    }

    fn program(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("score.sh");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn judge(&self, keys: &str) -> Result<Judge> {
        let text = format!(
            "merge_method: linear\nmodels:\n- {{model: a, parameters: {{weight: {{search: [0, 1]}}}}}}\nsearch:\n  budget: 9\n  objective:\n  - {{name: j, {keys}}}\n"
        );
        let file = self.dir.path().join("s.yaml");
        let read = SearchFile::parse(&text, &file)?;
        let entry = &read.search.objective[0];
        let ScoredBy::Judge(judge) = &entry.by else { panic!("{keys} is a judge") };
        Judge::read(judge, entry.metric.as_ref(), entry.split, &file, |_| Ok(Agent::new_with_defaults()))
    }

    /// The score of each item, by a program that is called with these keys.
    fn score(&self, keys: &str, interrupt: &Interrupt) -> Result<Vec<f64>> {
        let judge = self.judge(keys)?;
        let sansu = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/sansu/ja");
        let model = self.scratch.write(&Checkpoint::open(&sansu).unwrap(), interrupt).unwrap();
        let scores = judge.score(&model, judge.split(Split::Search), &self.scratch, interrupt);
        scores.map(|scores| scores.iter().map(|(_, score)| score.value).collect())
    }
}

const WORDS: &str = "command: [./score.sh, \"{model}\", \"{items}\"], items: items.jsonl, timeout: 20";

#[test]
fn a_program_gets_the_model_and_the_items_and_tells_scores() {
    let bench = Bench::new();
    bench.program(
        "test -f \"$1/model.safetensors\" && test \"$1\" = \"$EVOMERGE_MODEL\" && cmp -s - \"$2\" || exit 9\n\
         sed 's/.*\"id\":\\([0-9]*\\).*/{\"id\": \"\\1\", \"score\": 0.\\1, \"tokens\": 3, \"text\": \"-\"}/' \"$EVOMERGE_ITEMS\"",
    );
    let scores = bench.score(WORDS, &Interrupt::default()).unwrap();
    assert_eq!(scores, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]);
    // Nothing is left but the directory's lock.
    let left: Vec<_> = fs::read_dir(bench.scratch.parent()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// A bad answer is an error that the user can fix.
#[track_caller]
fn check(program: &str, expected: &str) {
    let bench = Bench::new();
    bench.program(program);
    let error = bench.score(&WORDS.replace("20", "1"), &Interrupt::default()).unwrap_err();
    assert_eq!(error.fault(), Fault::User, "{error}");
    let words = "judge j: `./score.sh {model} {items}`: ";
    assert_eq!(error.to_string().strip_prefix(words), Some(expected), "{error}");
}

#[test]
fn each_bad_answer_has_its_reason() {
    let lines = |last: &str| {
        format!("for i in 0 1 2 3 4 5 6 7 8; do echo \"{{\\\"id\\\": $i, \\\"score\\\": 1}}\"; done\n{last}")
    };
    check(
        "echo loading >&2; echo no such layer >&2; exit 3",
        "it ended with exit code 3; the last lines of its error output:\n  loading\n  no such layer",
    );
    check("kill -9 $$", "it was ended by signal 9");
    check("sleep 60", "it took longer than 1 s, its `timeout`");
    check("echo loading", "a line of its output is not JSON: loading");
    check(&lines(""), "it told no score for the item `9`");
    check("", "it told no score for 10 of 10 items, `0` among them");
    check(&lines("echo '{\"id\": 8, \"score\": 1}'"), "it scored the item `8` twice");
    check(&lines("echo '{\"id\": 10, \"score\": 1}'"), "it scored the item `10`, which it was not asked");
    check(&lines("echo '{\"score\": 1}'"), "a score has no `id`: {\"score\":1}");
    check(&lines("echo '{\"id\": 9}'"), "item `9`: there is no `score` in {\"id\":9}");
    check(&lines("echo '{\"id\": 9, \"score\": \"good\"}'"), "item `9`: its score is \"good\", not a number");
    check(
        &lines("echo '{\"id\": 9, \"score\": NaN}'"),
        "a score is NaN, which is no number: {\"id\": 9, \"score\": NaN}",
    );
    check(
        &lines("echo '{\"id\": 9, \"score\": -Infinity}'"),
        "a score is -Infinity, which is no number: {\"id\": 9, \"score\": -Infinity}",
    );
    check("yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "it printed more than 64 MiB");
    check(
        "echo \"cannot read $1\" >&2; exit 1",
        "it ended with exit code 1; the last lines of its error output:\n  cannot read {model}",
    );
}

#[test]
fn error_output_is_bounded() {
    let bench = Bench::new();
    bench.program("yes 'a line of a log' | head -c 20000000 >&2; seq 30 >&2; exit 1");
    let error = bench.score(WORDS, &Interrupt::default()).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().skip(1).map(str::trim).collect();
    assert_eq!(lines, (11..=30).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn null_is_the_worst_score_and_right_or_wrong_is_one() {
    let bench = Bench::new();
    bench.program(
        "echo '{\"scores\": ['; for i in 0 1 2 3 4 5 6 7; do echo \"{\\\"id\\\": $i, \\\"score\\\": true},\"; done\n\
         echo '{\"id\": 8, \"score\": false}, {\"id\": 9, \"score\": null}]}'",
    );
    let scores = bench.score(&format!("{WORDS}, worst: -1"), &Interrupt::default()).unwrap();
    assert_eq!(scores, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, -1.0]);
}

#[test]
fn a_judge_without_items_tells_one_number() {
    let bench = Bench::new();
    bench.program("cat; echo '{\"score\": 0.75}'");
    let whole = "command: [./score.sh, \"{model}\"]";
    assert_eq!(bench.score(whole, &Interrupt::default()).unwrap(), [0.75]);
    let judge = bench.judge(whole).unwrap();
    assert!(judge.is_whole() && judge.split(Split::Search) == judge.split(Split::Report));
    bench.program("echo '{\"score\": 1}'; echo '{\"score\": 2}'");
    let error = bench.score(whole, &Interrupt::default()).unwrap_err().to_string();
    assert!(error.ends_with("it told 2 scores, but is asked for one number for a model"), "{error}");
}

/// True if a process runs whose command line holds this word.
fn runs(word: &str) -> bool {
    let mut lines =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|one| fs::read(one.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(word))
}

#[test]
fn an_interrupt_and_a_timeout_leave_no_child() {
    for (is_interrupted, seconds, word) in [(true, 600, "31415.1"), (false, 1, "31415.2")] {
        let bench = Bench::new();
        // A child of a child, which ignores the polite signals.
        bench.program(&format!("trap '' INT TERM HUP\nsleep {word} & sleep {word}"));
        let flag = Arc::new(AtomicBool::new(false));
        let interrupt = Interrupt::from(&flag);
        let set = thread::spawn(move || {
            while is_interrupted && !runs(word) {
                thread::sleep(Duration::from_millis(5));
            }
            flag.store(is_interrupted, Ordering::Relaxed);
            Instant::now()
        });
        let error =
            bench.score(&format!("{WORDS}, worst: 0").replace("20", &seconds.to_string()), &interrupt).unwrap_err();
        if is_interrupted {
            assert_eq!(error.fault(), Fault::Interrupted);
            let waited = set.join().unwrap().elapsed();
            assert!(waited < Duration::from_secs(2), "{waited:?}");
        }
        assert!(!runs(word), "{word}");
    }
}

#[test]
fn a_daemon_that_holds_the_output_open_is_not_waited_for() {
    let bench = Bench::new();
    bench.program("setsid sleep 27.18 & echo '{\"score\": 1}'");
    let began = Instant::now();
    assert_eq!(bench.score("command: [./score.sh]", &Interrupt::default()).unwrap(), [1.0]);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_a_judge_is_made_of_is_its_fingerprint() {
    let bench = Bench::new();
    let program = bench.program("echo 1");
    fs::write(bench.dir.path().join("rubric.txt"), "a").unwrap();
    let keys = "command: [./score.sh, rubric.txt, \"{model}\"], items: items.jsonl";
    let of = |keys: &str| bench.judge(keys).unwrap().fingerprint();
    let first = of(keys);
    assert_eq!(of(keys), first);
    assert_eq!(of(&format!("{keys}, timeout: 9")), first);
    assert_ne!(of(&format!("{keys}, metric: acc")), first);
    assert_ne!(of(&keys.replace("{model}", "{model}/")), first);
    fs::write(bench.dir.path().join("rubric.txt"), "b").unwrap();
    let second = of(keys);
    assert_ne!(second, first);
    fs::write(&program, "#!/bin/sh\necho 2").unwrap();
    let third = of(keys);
    assert_ne!(third, second);
    fs::write(bench.dir.path().join("items.jsonl"), "{\"id\": 1, \"split\": \"report\"}\n").unwrap();
    assert_ne!(of(keys), third);
    let service = |address: &str| of(&format!("service: \"{address}\", items: items.jsonl"));
    assert_ne!(service("http://127.0.0.1:1/a"), service("http://127.0.0.1:1/b"));
}

#[test]
fn a_program_that_changes_stops_the_search() {
    let bench = Bench::new();
    bench.program("echo '{\"score\": 1}'");
    let judge = bench.judge("command: [./score.sh]").unwrap();
    let sansu = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/sansu/ja");
    let model = bench.scratch.write(&Checkpoint::open(&sansu).unwrap(), &Interrupt::default()).unwrap();
    let score = || judge.score(&model, judge.split(Split::Search), &bench.scratch, &Interrupt::default());
    assert!(score().is_ok());
    bench.program("echo '{\"score\": 22}'");
    let error = score().unwrap_err();
    assert_eq!(
        (error.fault(), error.to_string().as_str()),
        (Fault::Machine, "judge j: ./score.sh is not what it was when the search began")
    );
}

#[test]
fn a_search_file_may_be_named_without_a_directory() {
    let words = [At::nowhere("sh".to_owned())];
    let command = JudgeCommand::read(&words, true, Duration::from_secs(1), Path::new("s.yaml"));
    assert!(command.is_ok(), "{:?}", command.err());
}

#[test]
fn judges_that_cannot_work_are_refused() {
    let bench = Bench::new();
    bench.program("echo 1");
    fs::write(bench.dir.path().join("plain.sh"), "echo 1").unwrap();
    let check = |keys: &str, expected: &str| {
        let error = bench.judge(keys).err().unwrap_or_else(|| panic!("{keys}"));
        let place = bench.dir.path().display().to_string();
        let said = error.to_string().replace(&format!("{place}/"), "");
        assert_eq!(said, expected, "{keys}");
        assert!(error.advice().is_some(), "{keys}");
    };
    let at = |column: usize, what: &str| format!("s.yaml:7:{column}: {what}");
    check("command: [./none.sh]", &at(25, "there is no program ./none.sh"));
    check("command: [./plain.sh]", &at(25, "./plain.sh: it may not be run"));
    check("command: [plain.sh]", &at(25, "there is no program `plain.sh` in PATH"));
    check("command: [sh, \"{items}\"]", &at(29, "`{items}` stands for a file of items, but the judge has none"));
    check("service: nowhere", &at(24, "`nowhere` is not the address of a service"));
    check("command: []", &at(5, "search.objective[0]: `command` has no words"));
    check("command: [sh], items: 7", &at(5, "search.objective[0]: `items` of a judge is a file"));
    check(
        "command: [sh], per_generation: 7",
        &at(5, "search.objective[0]: `per_generation` needs `items`, the file of the judge's items"),
    );
    check(
        "command: [sh], service: x",
        &at(5, "search.objective[0]: `task`, `command` and `service` exclude each other"),
    );
    check("task: x", &at(5, "search.objective[0]: `name` is a key of a judge, not of a task"));
    check("command: [sh], within: 1", &at(38, "search.objective[0].within: it has no effect here"));
    check("command: [sh], timeout: 0", &at(5, "search.objective[0]: `timeout` is 0 seconds"));
    let items = |text: &str, expected: &str| {
        fs::write(bench.dir.path().join("bad.jsonl"), text).unwrap();
        check("command: [sh], items: bad.jsonl", expected);
    };
    items("{\"id\": 1}\n{\"id\": \"1\"}\n", "bad.jsonl:2: the id `1` is on line 1 too");
    items("[1]\n", "bad.jsonl:1: not a JSON object");
    items("{\"x\": 1}\n", "bad.jsonl:1: the item has no `id`");
    items("{\"id\": 1, \"split\": \"test\"}\n", "bad.jsonl:1: `split` is not search, select or report");
    items(
        "{\"id\": 1, \"split\": \"search\"}\n{\"id\": 2}\n",
        "bad.jsonl:2: some items name their `split`, others do not",
    );
    items("\n", &at(37, "bad.jsonl: has no items"));
    items("{\"id\": 1}\n", &at(37, "no item falls into the split `select`"));
}
