//! Searches and evals whose candidates are scored by inference engines: doubles of vLLM and SGLang, with the faults of real ones.

use crate::{
    engine_double::{EngineDouble, EngineFault, EngineForm},
    kit::{Dir, Said, family},
    search::{SEARCH, answer, finished, least_study},
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::Child,
    sync::LazyLock,
    thread::sleep,
    time::{Duration, Instant},
};

/// An engine of this form that was started with the base of the family.
fn engine(form: EngineForm) -> EngineDouble {
    EngineDouble::start(form, &family().join("base"))
}

/// A directory with the smallest study and an empty scratch directory.
fn study() -> Dir {
    let dir = Dir::new();
    least_study(&dir);
    fs::create_dir(dir.path("scratch")).unwrap();
    dir
}

/// Runs the search in a directory on engines, with more options.
fn search(dir: &Dir, engines: &[&EngineDouble], more: &[&str]) -> Said {
    let addresses: Vec<String> = engines.iter().map(|engine| engine.address()).collect();
    let named = addresses.iter().flat_map(|address| ["--engine", address]);
    let args: Vec<&str> =
        SEARCH.iter().copied().chain(named).chain(["--scratch", "scratch"]).chain(more.iter().copied()).collect();
    dir.run(&args)
}

/// What our own forward pass finds.
fn own() -> &'static (String, Value) {
    static OWN: LazyLock<(String, Value)> = LazyLock::new(|| finished(&study(), answer));
    &OWN
}

/// Waits until all faults of an engine have happened.
fn wait_for_faults(engine: &EngineDouble) {
    let began = Instant::now();
    while !engine.state.lock().unwrap().faults.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "the search does not come so far");
        sleep(Duration::from_millis(20));
    }
}

/// Options of a search whose one worker has the engine.
const ONE_WORKER: &[&str] = &["--workers", "1", "--launch", "exec"];

#[test]
fn a_worker_with_an_engine_finds_what_our_own_forward_pass_finds() {
    let (dir, engine) = (study(), engine(EngineForm::Vllm));
    engine.fail(&[EngineFault::AfterLoads(2), EngineFault::Answers500]);
    let said = search(&dir, &[&engine], ONE_WORKER);
    check_done(&dir, &said);
    let result: Value = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
    assert_eq!(result["study"]["engine"], "vLLM 0.32.0, bfloat16, CPU");
    let compared = "says: engine: held against evomerge's own forward pass on ja";
    assert!(said.err.contains(compared), "{}", said.err);
    assert!(said.err.contains("worker 1 on ") && said.err.contains("% idle"), "{}", said.err);
    // The study goes on with the same engine only, wherever it is.
    let own = dir.run(&[SEARCH, ONE_WORKER].concat());
    assert!(own.error().contains("was scored by vLLM 0.32.0, bfloat16, CPU, not by evomerge itself"), "{}", own.err);
}

#[test]
fn workers_have_one_engine_each() {
    let (dir, vllm) = (study(), "vllm=http://127.0.0.1:9");
    let check = |args: &[&str], error: &str| {
        let said = dir.run(&[SEARCH, args].concat());
        assert!(said.error().contains(error), "{}", said.err);
        assert!(!dir.path("out").exists());
    };
    check(&[&["--engine", vllm, "--engine", vllm], ONE_WORKER].concat(), "each worker has one engine, but several");
    check(
        &[&["--engine", "llama.cpp=http://127.0.0.1:9"], ONE_WORKER].concat(),
        "workers have no engine that holds adapters",
    );
    check(&[&["--engine", "vllm=127.0.0.1:{n}"], ONE_WORKER].concat(), "`127.0.0.1:1` is not the address of a server");
    check(&["--engine", vllm, "--workers", "2"], "`--workers` has no effect on engines");
    check(&[&["--engine", vllm], ONE_WORKER].concat(), "no worker can be asked: worker 1 on ");
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[track_caller]
fn check_done(dir: &Dir, said: &Said) {
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(&answer(dir) == own(), "the result is another: {}", said.err);
    assert!(is_empty(&dir.path("scratch")));
}

#[test]
fn a_search_on_an_engine_finds_what_our_own_forward_pass_finds() {
    for (form, identity) in
        [(EngineForm::Vllm, "vLLM 0.32.0, bfloat16, CPU"), (EngineForm::Sglang, "SGLang 0.5.23, bfloat16")]
    {
        let (dir, engine) = (study(), engine(form));
        let said = search(&dir, &[&engine], &[]);
        check_done(&dir, &said);
        let result: Value = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
        assert_eq!(result["study"]["engine"], identity);
        let told = dir.run(&["report", "out", "--html", "out.html"]);
        let page = fs::read_to_string(dir.path("out.html")).unwrap();
        for told in [[&said.out[..], &said.err].concat(), told.out, page] {
            assert!(told.contains(&format!("scored by {identity}")), "{told}");
        }
        let state = engine.state.lock().unwrap();
        // No directory is used twice, and prompts come in lists.
        let mut directories = state.loaded.clone();
        directories.sort();
        directories.dedup();
        assert_eq!(directories.len(), state.loaded.len());
        assert!(state.prompts.iter().any(|prompts| *prompts > 1), "{:?}", state.prompts);
        let held = "held against evomerge's own forward pass on ja: 16 of 16 texts are the same; 8 log-likelihoods differ by at most";
        assert!(said.err.contains(held), "{}", said.err);
        assert!(said.err.contains("% idle"), "{}", said.err);
    }
}

#[test]
fn two_engines_share_the_work() {
    let (dir, a, b) = (study(), engine(EngineForm::Vllm), engine(EngineForm::Vllm));
    check_done(&dir, &search(&dir, &[&a, &b], &[]));
    for engine in [a, b] {
        assert!(engine.state.lock().unwrap().loaded.len() > 3);
    }
}

/// An engine that has these faults, each some loads after the one before, changes nothing but the time; of each fault is
/// told what stands beside it.
#[track_caller]
fn check_faults(form: EngineForm, faults: &[(&[EngineFault], &str)]) {
    let (dir, engine) = (study(), engine(form));
    for (fault, _) in faults {
        engine.fail(&[fault, &[EngineFault::AfterLoads(2)][..]].concat());
    }
    let done = search(&dir, &[&engine], &["--engine-timeout", "3"]);
    check_done(&dir, &done);
    for (fault, said) in faults {
        assert!(done.err.contains(said), "{fault:?}: {}", done.err);
    }
    assert!(engine.state.lock().unwrap().faults.len() <= 1);
}

const AGAIN: &str = "failed, the candidate is scored again: ";

#[test]
fn whatever_happens_to_vllm_no_score_is_another() {
    use EngineFault::{
        Aborts, Answers500, FailsToLoad, Hangs, HangsUpWhileLoading, IsAway, KeepsOldWeights, LoadsPartially,
        StartsAgain,
    };
    let partial = "it does not hold the weights that it was given: 1 of its 39 parameters were not loaded";
    check_faults(
        EngineForm::Vllm,
        &[
            (&[KeepsOldWeights], "has other bytes than the file"),
            (&[LoadsPartially], partial),
            (&[HangsUpWhileLoading], AGAIN),
            (&[FailsToLoad], "collective_rpc answers 500"),
            (&[StartsAgain], "it holds other weights by now: version `default`"),
            (&[Answers500, IsAway(2)], "v1/completions answers 500"),
            (&[Aborts], "an answer ended by abort"),
            (&[Hangs], "timeout"),
        ],
    );
}

#[test]
fn whatever_happens_to_sglang_no_score_is_another() {
    use EngineFault::{Aborts, Answers500, FailsToLoad, HangsUpWhileLoading, StartsAgain};
    check_faults(
        EngineForm::Sglang,
        &[
            (&[FailsToLoad], "it does not fit"),
            (&[HangsUpWhileLoading], AGAIN),
            (&[StartsAgain], "it holds other weights by now: version `default`"),
            (&[Answers500], "generate answers 500"),
            (&[Aborts], "an answer ended by abort"),
        ],
    );
}

#[test]
fn a_candidate_that_an_engine_cannot_compute_is_given_up_and_the_engine_is_not() {
    let (dir, engine) = (study(), engine(EngineForm::Vllm));
    // The first load is the comparison with our own pass; the second is a candidate.
    engine.fail(&[EngineFault::AfterLoads(2), EngineFault::CannotCompute]);
    let said = search(&dir, &[&engine], &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("the engine cannot compute it, but computes its own model"), "{}", said.err);
    assert!(!said.err.contains("asked no more"), "{}", said.err);
    assert!(is_empty(&dir.path("scratch")));
}

#[test]
fn three_failures_take_an_engine_out_and_the_search_goes_on_with_the_rest() {
    let (dir, bad, good) = (study(), engine(EngineForm::Vllm), engine(EngineForm::Vllm));
    bad.fail(&[EngineFault::HangsUpWhileLoading; 3]);
    let said = search(&dir, &[&bad, &good], &[]);
    check_done(&dir, &said);
    assert!(said.err.contains("failed 3 times in a row, and is asked no more"), "{}", said.err);
    assert!(said.err.contains("taken out after it failed"), "{}", said.err);
}

#[test]
fn without_an_engine_a_search_stops_and_goes_on_later() {
    let (dir, bad) = (study(), engine(EngineForm::Vllm));
    bad.fail(&[&[EngineFault::AfterLoads(6)][..], &[EngineFault::HangsUpWhileLoading; 3]].concat());
    let said = search(&dir, &[&bad], &[]);
    assert_eq!((said.code, said.error()), (Some(3), "no engine is left"), "{}", said.err);
    assert!(said.hint().unwrap().starts_with("nothing that was scored is lost"));
    assert!(is_empty(&dir.path("scratch")));
    check_done(&dir, &search(&dir, &[&engine(EngineForm::Vllm)], &[]));
}

#[test]
fn a_study_is_continued_by_no_other_engine() {
    let (dir, first) = (study(), engine(EngineForm::Vllm));
    first.fail(&[&[EngineFault::AfterLoads(6)][..], &[EngineFault::HangsUpWhileLoading; 3]].concat());
    assert_eq!(search(&dir, &[&first], &[]).code, Some(3));
    let said = search(&dir, &[&engine(EngineForm::Newer)], &[]);
    let error = "search.yaml: this study was scored by vLLM 0.32.0, bfloat16, CPU, not by vLLM 0.33.0, bfloat16, CPU: \
                 their scores cannot be mixed";
    assert_eq!((said.code, said.error()), (Some(1), error));
    let said = dir.run(SEARCH);
    assert!(said.error().contains("not by evomerge itself"), "{}", said.err);
    check_done(&dir, &search(&dir, &[&first], &[]));
}

#[test]
fn engines_that_cannot_score_are_refused_with_the_reason() {
    let check = |form: EngineForm, error: &str, hint: &str| {
        let (dir, engine) = (study(), engine(form));
        let said = search(&dir, &[&engine], &[]);
        assert!(said.error().contains(error) && said.hint().unwrap().contains(hint), "{}", said.err);
        assert!(is_empty(&dir.path("scratch")) && !dir.path("out").exists(), "{form:?}");
    };
    check(EngineForm::VllmForUsers, "vLLM 0.32.0 takes no weights", "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL");
    check(EngineForm::Quantised, "vLLM keeps its weights quantised (fp8)", "without `--quantization`");
    check(EngineForm::Short, "but the engine has one of 16 tokens", "--max-model-len");
    check(EngineForm::OtherVocabulary, "its vocabulary is not that of", "that model's tokenizer");
    let dir = study();
    dir.tiny("tiny", 0.1);
    fs::copy(family().join("base/tokenizer.json"), dir.path("tiny/tokenizer.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(family().join("base/config.json")).unwrap()).unwrap();
    let said = search(
        &dir,
        &[&EngineDouble::start(EngineForm::Vllm, &family().join("base")), &engine(EngineForm::Newer)],
        &[],
    );
    assert!(said.error().ends_with("their scores cannot be mixed"), "{}", said.err);
    // The same tensors with another rotary base compute something else.
    config["rope_theta"] = 500_000.into();
    dir.write("other/config.json", config.to_string());
    for name in ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::copy(family().join("base").join(name), dir.path("other").join(name)).unwrap();
    }
    let said = search(&dir, &[&EngineDouble::start(EngineForm::Vllm, &dir.path("other"))], &[]);
    assert!(
        said.error().contains("which is not of the shape of")
            && said.error().contains("rope_theta is 10000, not 500000"),
        "{}",
        said.err
    );
    let said = dir.run(&[SEARCH, &["--engine", "vlm=http://127.0.0.1:1"]].concat());
    assert_eq!(said.error(), "`vlm` is not a kind of engine (did you mean `vllm`?)");
    let said = dir.run(&[SEARCH, &["--engine", "http://127.0.0.1:1"]].concat());
    assert_eq!(said.hint(), Some("is it vLLM? then write vllm=http://127.0.0.1:1; or sglang=http://127.0.0.1:1"));
    let said = dir.run(&[SEARCH, &["--engine", "vllm=http://127.0.0.1:1", "--gpus", "0"]].concat());
    assert!(said.error().starts_with("`--gpus` has no effect"), "{}", said.err);
    let said = dir.run(&[SEARCH, &["--engine", "vllm=http://127.0.0.1:1"]].concat());
    assert_eq!((said.code, said.hint()), (Some(3), Some("is the server running there?")), "{}", said.err);
}

#[test]
fn nothing_is_left_in_memory_by_a_search_that_is_killed() {
    let (dir, engine) = (study(), engine(EngineForm::Vllm));
    engine.fail(&[EngineFault::AfterLoads(4), EngineFault::Hangs]);
    let address = engine.address();
    let args = [SEARCH, &["--engine", &address, "--scratch", "scratch"]].concat();
    let mut running = dir.command(&args).spawn().unwrap();
    wait_for_faults(&engine);
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(!is_empty(&dir.path("scratch")));
    check_done(&dir, &search(&dir, &[&engine], &[]));
}

#[track_caller]
fn check_interrupted(fault: EngineFault) {
    let (dir, engine) = (study(), engine(EngineForm::Vllm));
    engine.fail(&[EngineFault::AfterLoads(4), fault]);
    let address = engine.address();
    let args = [SEARCH, &["--engine", &address, "--scratch", "scratch"]].concat();
    let running = dir.command(&args).spawn().unwrap();
    wait_for_faults(&engine);
    let id = running.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let said = Said::of(running.wait_with_output().unwrap());
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(said.err.contains(&format!("--engine '{address}'")), "{}", said.err);
    assert!(is_empty(&dir.path("scratch")));
    let (hanging, version) = {
        let state = engine.state.lock().unwrap();
        (state.hanging, state.version().to_owned())
    };
    assert_eq!((hanging, version.as_str()), (1, "own"), "it waits for no request");
    check_done(&dir, &search(&dir, &[&engine], &[]));
}

#[test]
fn an_interrupted_search_waits_for_nothing_and_gives_the_engine_its_own_model_back() {
    check_interrupted(EngineFault::Hangs);
    check_interrupted(EngineFault::HangsWhileLoading);
}

#[test]
fn an_eval_on_an_engine_scores_as_our_own_forward_pass_and_remembers() {
    let (dir, engine) = (study(), engine(EngineForm::Sglang));
    let model = family().join("ja");
    let eval = |more: &[&str]| {
        let model = model.to_str().unwrap();
        dir.run(&[&["eval", model, "--tasks", "sums.yaml", "choices.yaml"][..], more].concat())
    };
    let address = engine.address();
    let on_engine = ["--engine", &address, "--scratch", "scratch"];
    let (own, theirs) = (eval(&[]), eval(&on_engine));
    assert_eq!(own.code, Some(0), "{}", own.err);
    assert_eq!((theirs.code, &theirs.out), (own.code, &own.out), "{}", theirs.err);
    assert!(theirs.err.contains("4 answers, 0 of them remembered"), "{}", theirs.err);
    assert!(eval(&on_engine).err.contains("4 answers, 4 of them remembered"));
    assert!(is_empty(&dir.path("scratch")));
}

/// A command in place of vLLM's: it tells its process, port and model, and waits. The double answers at its port.
const STARTED: &str = "vllm: sh -c 'echo $$ {port} {model} > started; exec sleep 600'";

/// Runs a search with an engine that it starts, until `end` has ended it; returns the number of the engine's process.
fn with_started_engine(dir: &Dir, faults: &[EngineFault], end: impl FnOnce(Child, &EngineDouble)) -> u32 {
    let running = dir.command(&[SEARCH, &["--engine", STARTED, "--scratch", "scratch"]].concat()).spawn().unwrap();
    let began = Instant::now();
    let told = loop {
        let told = fs::read_to_string(dir.path("started")).unwrap_or_default();
        if told.ends_with('\n') {
            break told;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the engine is not started");
        sleep(Duration::from_millis(20));
    };
    let words: Vec<&str> = told.split_whitespace().collect();
    assert_eq!(words[2], family().join("ja").to_str().unwrap());
    let double = EngineDouble::start_at(words[1].parse().unwrap(), EngineForm::Vllm, Path::new(words[2]));
    double.fail(faults);
    end(running, &double);
    words[0].parse().unwrap()
}

/// Waits until a process is gone.
fn wait_for_end(process: u32) {
    let began = Instant::now();
    while Path::new(&format!("/proc/{process}")).exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "process {process} is still there");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_engine_is_started_and_ended_with_the_search() {
    let dir = study();
    let process = with_started_engine(&dir, &[], |running, _| {
        let said = Said::of(running.wait_with_output().unwrap());
        check_done(&dir, &said);
        assert!(said.err.contains(&format!("engine: starting {STARTED}")), "{}", said.err);
    });
    wait_for_end(process);
}

#[test]
fn a_started_engine_ends_with_a_search_that_is_killed() {
    let dir = study();
    let process =
        with_started_engine(&dir, &[EngineFault::AfterLoads(3), EngineFault::Hangs], |mut running, double| {
            wait_for_faults(double);
            running.kill().unwrap();
            running.wait().unwrap();
        });
    wait_for_end(process);
}

#[test]
fn an_engine_that_does_not_start_is_shown_with_its_last_words() {
    let dir = study();
    let start = |command: &str| dir.run(&[SEARCH, &["--engine", command, "--scratch", "scratch"]].concat());
    let said = start("vllm: echo there is no GPU; exit 3 # {port}");
    let last = "ended before it answered (exit status: 3); it wrote last:\nthere is no GPU\n";
    assert!(said.code == Some(1) && said.err.contains(last), "{}", said.err);
    assert!(is_empty(&dir.path("scratch")));
    let said = start("vllm: vllm serve");
    assert_eq!(said.error(), "the engine `vllm serve` has no `{port}`");
}

#[test]
fn a_dry_run_tells_the_cost_and_writes_nothing() {
    let (dir, engine) = (study(), engine(EngineForm::Vllm));
    let before = dir.tree();
    let address = engine.address();
    let on_engine = ["--engine", &address, "--scratch", "scratch"];
    for (more, work) in
        [(&[][..], "at the same time  "), (&on_engine[..], "at the same time  2 candidates on 1 engine")]
    {
        let said = dir.run(&[&["search", "search.yaml", "--dry-run"][..], more].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        for line in [
            "candidates        at most 5 in generations of 5, and as many of random search",
            "item evaluations  at most ",
            "a candidate       2.7 MB, merged from 11.0 MB",
            work,
            "timed             one candidate on 2 items in ",
            "time              about ",
        ] {
            assert!(said.out.contains(line), "{line}: {}", said.out);
        }
    }
    assert_eq!(dir.tree(), before);
    let said = dir.run(&["search", "search.yaml"]);
    assert_eq!(said.error(), "the search has no directory for its study and its result");
}
