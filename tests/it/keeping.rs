//! A search in its output directory: it knows, repairs and replaces its own files, and keeps all
//! others.

use crate::{
    kit::{Dir, Said, family},
    search::{SEARCH, small_study},
};
use merge_core::store::{Payload, Store};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// The small study with a budget for two generations.
fn quick_study() -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("budget: 240", "budget: 80"));
    dir
}

/// The quick study, done.
fn finished() -> Dir {
    let dir = quick_study();
    done(&dir, SEARCH);
    dir
}

fn done(dir: &Dir, args: &[&str]) -> Said {
    let said = dir.run(args);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said
}

fn refused(dir: &Dir, args: &[&str], error: &str, hint: &str) {
    let said = dir.run(args);
    assert_eq!((said.code, said.error(), said.hint()), (Some(1), error, Some(hint)));
}

/// Content of the files in a directory, without the study's store.
fn answer(dir: &Dir, within: &str) -> BTreeMap<String, Vec<u8>> {
    let is_ours = |path: &&String| path.starts_with(within) && !path.contains("/study");
    let read = |path: &String| Some((path.clone(), fs::read(dir.path(path)).ok()?));
    dir.tree().iter().filter(is_ours).filter_map(read).collect()
}

#[test]
fn a_directory_with_anything_that_no_search_wrote_is_refused_and_left_as_it_is() {
    let check = |files: &[&str], error: &str| {
        let dir = quick_study();
        for file in files {
            dir.write(file, "mine");
        }
        let before = dir.tree();
        refused(&dir, SEARCH, error, "choose another directory, or move it elsewhere");
        assert_eq!(dir.tree(), before);
    };
    check(&["out/thesis.tex"], "out: holds `thesis.tex`, which no search has written");
    check(&["out/study/notes.txt"], "out/study: holds `notes.txt`, which no search has written");
    check(&["out/study/db"], "out/study: holds `db`, which no search has written");
    check(&["out/study/n.txt", "out/model/w.bin"], "out/study: holds `n.txt`, which no search has written");
    check(&["out/best.yaml"], "out: holds `best.yaml`, which no search has written");
    check(&["out/stages/mine.txt/x"], "out: holds `stages`, which no search has written");
}

#[test]
fn what_is_in_the_place_of_an_answer_before_there_is_one_is_refused() {
    for name in ["model", "best.yaml", "result.json"] {
        let dir = quick_study();
        drop(Store::open(&dir.path("out/study")).unwrap());
        dir.write(&if name == "model" { "out/model/x".to_owned() } else { format!("out/{name}") }, "mine");
        let error = format!("out: holds `{name}`, but the study in it has no answer yet");
        refused(&dir, SEARCH, &error, "choose another directory, or move it elsewhere");
    }
}

#[test]
fn several_seeds_take_no_place_that_is_not_theirs() {
    let dir = quick_study();
    dir.write("out/result.json", "mine");
    let error = "out: holds `result.json`, which no search has written";
    refused(&dir, &[SEARCH, &["--seeds", "2"]].concat(), error, "choose another directory, or move it elsewhere");
    let error = "18446744073709551615 is too large for the first of 2 seeds";
    let last = [SEARCH, &["--seeds", "2", "--seed", "18446744073709551615"]].concat();
    refused(&dir, &last, error, "begin with a smaller seed");
}

/// A table of several seeds is recognised by the first of them, whatever else is in the directory.
#[test]
fn a_table_of_seeds_replaces_only_itself() {
    let dir = quick_study();
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("budget: 80", "budget: 40"));
    let seeds = |n: &'static str| [SEARCH, &["--seeds", n]].concat();
    let table = || fs::read_to_string(dir.path("out/result.json")).unwrap();
    done(&dir, &seeds("3"));
    let three = table();
    for (name, text) in [("out/report.html", "mine"), ("out/.result.json.partial", "{"), ("out/result.json", "{}")] {
        dir.write(name, text);
    }
    let said = done(&dir, &seeds("3"));
    let note = "note: out/result.json was not what this search wrote; it was renamed to out/result.json.changed";
    assert!(said.err.contains(note), "{}", said.err);
    assert_eq!(
        (table(), fs::read_to_string(dir.path("out/result.json.changed")).unwrap()),
        (three.clone(), "{}".into())
    );
    let hint = "choose another directory, include all seeds of the table, or replace the table with `--replace`";
    refused(&dir, &seeds("2"), "out: its table has seed 5, which is not among these", hint);
    assert_eq!(table(), three);
    done(&dir, &[seeds("2").as_slice(), &["--replace"]].concat());
    assert_ne!(table(), three);
    let said = done(&dir, &seeds("3"));
    assert!(table() == three && !said.err.contains("was not what"), "{}", said.err);
}

#[test]
fn a_link_in_the_place_of_a_model_is_left_a_link() {
    let dir = finished();
    let big = dir.path("big");
    fs::create_dir(&big).unwrap();
    fs::rename(dir.path("out/model"), big.join("m")).unwrap();
    std::os::unix::fs::symlink("../big/m", dir.path("out/model")).unwrap();
    dir.write("big/m/model.gguf", "my conversion");
    let before = fs::read(big.join("m/model.safetensors")).unwrap();
    done(&dir, &[SEARCH, &["--budget", "120"]].concat());
    assert!(fs::symlink_metadata(dir.path("out/model")).unwrap().is_symlink());
    assert!(fs::read(big.join("m/model.safetensors")).unwrap() != before && !big.join("m/model.gguf").exists());
    assert!(fs::read(big.join("m.changed/model.safetensors")).unwrap() == before);
    assert!(big.join("m.changed/model.gguf").exists());
}

/// An answer whose files were written before a crash, but not confirmed in the store, is
/// recognised.
#[test]
fn an_answer_that_was_half_written_is_no_other_ones() {
    let dir = finished();
    let store = Store::open(&dir.path("out/study")).unwrap();
    let before: Value = store.get("answer").unwrap().unwrap();
    drop(store);
    done(&dir, &[SEARCH, &["--budget", "120"]].concat());
    let store = Store::open(&dir.path("out/study")).unwrap();
    let mut now: Value = store.get("answer").unwrap().unwrap();
    let files = now["files"].take();
    let mut half = before;
    half["next"] = files;
    store.set(&[("answer", &half)]).unwrap();
    drop(store);
    let said = done(&dir, &[SEARCH, &["--budget", "160"]].concat());
    assert!(!said.err.contains("was not what this search wrote"), "{}", said.err);
    assert!(!dir.tree().iter().any(|path| path.contains(".changed")));
}

#[test]
fn a_report_tells_of_the_answer_that_is_there() {
    let dir = finished();
    done(&dir, &[SEARCH, &["--budget", "40", "--replace"]].concat());
    let result: Value = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
    let report: Value = serde_json::from_str(&done(&dir, &["report", "out", "--json"]).out).unwrap();
    let study = &result["study"];
    assert_eq!(report["budget"], study["budget"]);
    assert_eq!(report["costs"]["evolution"], study["item_evaluations"]);
    assert_eq!(report["convergence"].as_array().unwrap().len() as u64, study["generations"].as_u64().unwrap());
    assert_eq!(report["winners_curse"], study["winners_curse"]);
    let evolved =
        report["candidates"].as_array().unwrap().iter().filter(|one| one["phase"] == "evolution").count() as u64;
    assert_eq!(evolved, study["candidates"].as_u64().unwrap());
}

#[test]
fn a_refused_search_takes_away_what_it_made_and_nothing_else() {
    let dir = quick_study();
    let mut tensors = crate::kit::tiny_tensors(0.1);
    tensors.get_mut("model.norm.weight").unwrap().1[0] = f32::NAN;
    dir.checkpoint("broken", &tensors);
    dir.tiny("whole", 0.2);
    let file = "merge_method: linear\nmodels:\n- {model: whole, parameters: {weight: {search: [0, 1]}}}\n\
                - {model: broken, parameters: {weight: 1}}\nsearch:\n  budget: 80\n  objective: [{task: sums.yaml, items: 8}]\n";
    let tokenizer = family().join("base/tokenizer.json");
    for model in ["whole", "broken"] {
        fs::copy(&tokenizer, dir.path(model).join("tokenizer.json")).unwrap();
    }
    dir.write("search.yaml", file);
    for there in ["out", "out/study"] {
        fs::create_dir(dir.path(there)).unwrap();
        let before = dir.tree();
        assert_eq!(dir.run(SEARCH).code, Some(1));
        assert_eq!(dir.tree(), before, "the empty directory was there before");
    }
}

#[test]
fn an_answer_that_is_cut_changed_or_gone_is_written_again() {
    let dir = finished();
    let whole = answer(&dir, "out/");
    let check = |spoil: &dyn Fn(&Path), aside: Option<&str>| {
        spoil(&dir.path("out"));
        let said = done(&dir, SEARCH);
        assert!(said.err.contains("\n0 items scored now, "), "{}", said.err);
        let now = answer(&dir, "out/");
        for (name, bytes) in &whole {
            assert!(now.get(name) == Some(bytes), "{name}");
        }
        let more = |name: &String| !whole.contains_key(name);
        match aside {
            None => assert_eq!(now.keys().filter(|name| more(name)).count(), 0),
            Some(aside) => {
                let note = format!(
                    "note: out/{} was not what this search wrote; it was renamed to out/{aside}",
                    aside.replace(".changed", "")
                );
                assert!(said.err.contains(&note), "{}", said.err);
                let path = dir.path("out").join(aside);
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            }
        }
    };
    let cut = |name: &'static str| move |out: &Path| fs::write(out.join(name), "{").unwrap();
    check(&cut("model/model.safetensors"), Some("model.changed"));
    check(&cut("model/config.json"), Some("model.changed"));
    check(&cut("model/evomerge.json"), Some("model.changed"));
    check(&|out| fs::remove_file(out.join("model/tokenizer.json")).unwrap(), None);
    check(&|out| fs::remove_file(out.join("model/README.md")).unwrap(), None);
    check(&|out| fs::remove_dir_all(out.join("model")).unwrap(), None);
    check(&|out| fs::remove_file(out.join("best.yaml")).unwrap(), None);
    check(&cut("best.yaml"), Some("best.yaml.changed"));
    check(&cut("result.json"), Some("result.json.changed"));
    check(&|_| (), None);
}

#[test]
fn what_a_user_puts_beside_or_into_an_answer_is_kept() {
    let dir = finished();
    dir.write("out/model/model.gguf", "my conversion");
    dir.write("out/model/README.md", "my card");
    dir.write("out/notes.txt", "mine");
    let before = answer(&dir, "out/");
    done(&dir, SEARCH);
    assert!(answer(&dir, "out/") == before);
    // A larger budget has another answer.
    let said = done(&dir, &[SEARCH, &["--budget", "120"]].concat());
    assert!(
        said.err.contains("note: out/model was not what this search wrote; it was renamed to out/model.changed"),
        "{}",
        said.err
    );
    for (name, bytes) in before {
        let now = fs::read(dir.path(&name.replace("out/model/", "out/model.changed/"))).unwrap();
        assert!(now == bytes || ["out/best.yaml", "out/result.json"].contains(&name.as_str()), "{name}");
    }
    assert!(!dir.path("out/model/model.gguf").exists());
}

#[test]
fn an_answer_that_an_earlier_version_wrote_is_known_and_gets_its_record() {
    let dir = finished();
    let whole = answer(&dir, "out/");
    // A study of an earlier version: its store has neither records nor the mark, and the rest is
    // computed again.
    let names =
        ["version", "the recipe", "the device", "a file of the models", "the optimizer", "the way of searching"];
    let names = names.into_iter().chain(["the seed", "the objective", "file", "about", "ending"]);
    let store = Store::open(&dir.path("out/study")).unwrap();
    let values: Vec<(&str, Value)> = names.map(|name| (name, store.get(name).unwrap().unwrap())).collect();
    drop(store);
    fs::remove_dir_all(dir.path("out/study")).unwrap();
    let store = Store::open(&dir.path("out/study")).unwrap();
    let records: Vec<(&str, &dyn Payload)> =
        values.iter().map(|(name, value)| (*name, value as &dyn Payload)).collect();
    store.set(&records).unwrap();
    drop(store);
    for name in ["out/study/tip", "out/model/evomerge.json"] {
        fs::remove_file(dir.path(name)).unwrap();
    }
    let card = dir.path("out/model/README.md");
    fs::write(&card, fs::read_to_string(&card).unwrap() + "of an earlier version\n").unwrap();
    done(&dir, SEARCH);
    assert!(answer(&dir, "out/") == whole);
    assert!(dir.path("out/study/evomerge-study.json").exists());
}

#[test]
fn a_search_file_that_is_called_otherwise_writes_no_model_again() {
    let dir = finished();
    let model = || fs::metadata(dir.path("out/model")).unwrap().ino();
    let before = model();
    done(&dir, &["search", "./search.yaml", "-o", "out"]);
    assert_eq!(model(), before);
    assert!(
        fs::read_to_string(dir.path("out/best.yaml"))
            .unwrap()
            .starts_with("# Found by `evomerge search ./search.yaml`")
    );
}

/// Flips a bit of the log at this share of its length.
fn flip(dir: &Dir, share: f64) {
    let path = dir.path("out/study/db");
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[(len as f64 * share) as usize] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn damage_to_the_log_is_told_and_what_is_gone_is_computed_again() {
    let dir = finished();
    let whole = answer(&dir, "out/");
    for share in [0.002, 0.3, 0.5, 0.65, 0.9] {
        flip(&dir, share);
        let before = fs::read(dir.path("out/study/db")).unwrap();
        let report = dir.run(&["report", "out"]);
        let told = "the log of the study is damaged: ";
        if report.err.contains("the store of the study is damaged: ") {
            assert!(fs::read(dir.path("out/study/db")).unwrap() == before, "{share}: it only reads");
        } else {
            let shown = report.out.is_empty() || report.out.starts_with("damaged: some of what it had learned is gone");
            assert!(report.err.contains(told) && shown, "{share}: {report:?}");
        }
        let said = done(&dir, SEARCH);
        assert!(said.err.contains(&format!("note: out/study: {told}")), "{share}: {}", said.err);
        assert!(answer(&dir, "out/") == whole, "{share}");
        // The damage is reported once.
        assert!(!done(&dir, SEARCH).err.contains(told));
    }
}

#[test]
fn a_study_whose_log_was_emptied_is_still_known_for_what_it_is() {
    let dir = finished();
    let whole = answer(&dir, "out/");
    let empty = |dir: &Dir| {
        let path = dir.path("out/study/db");
        fs::write(&path, vec![0; fs::read(&path).unwrap().len()]).unwrap();
        for entry in fs::read_dir(dir.path("out/study")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    empty(&dir);
    let said = dir.run(&[SEARCH, &["--seed", "4"]].concat());
    assert_eq!(said.error(), "search.yaml: this directory holds another study: the seed differs");
    let said = dir.run(&[SEARCH, &["--budget", "40"]].concat());
    assert_eq!(
        said.error(),
        "out: its answer was found with a budget of 80 item evaluations, but this search has only 40"
    );
    assert!(answer(&dir, "out/") == whole);
    assert!(done(&dir, SEARCH).err.contains("the log of the study is damaged"));
    assert!(answer(&dir, "out/") == whole);
    // Without the mark, nothing tells whose answer it is.
    empty(&dir);
    fs::remove_file(dir.path("out/study/evomerge-study.json")).unwrap();
    fs::remove_file(dir.path("out/study/tip")).unwrap();
    let error = "out: holds `model`, but the study in it has no answer yet";
    refused(&dir, SEARCH, error, "choose another directory, or move it elsewhere");
    assert!(answer(&dir, "out/") == whole);
}

#[test]
fn a_study_of_a_newer_version_is_refused_before_its_log_is_opened() {
    let dir = finished();
    let path = dir.path("out/study/evomerge-study.json");
    fs::write(&path, "{\"evomerge\": \"9.0.0\", \"form\": 99, \"else\": []}").unwrap();
    let error = "out/study/evomerge-study.json: this directory holds a study of evomerge 9.0.0, which is stored in another format";
    refused(&dir, SEARCH, error, "go on with the version that began it, or choose another directory");
}

#[test]
fn an_answer_is_not_replaced_by_that_of_a_smaller_budget_or_of_fewer_tasks() {
    let dir = finished();
    let whole = answer(&dir, "out/");
    let less = [SEARCH, &["--budget", "40"]].concat();
    let hint = "choose another directory, set a budget of 80 or more, or replace the answer with `--replace`";
    refused(
        &dir,
        &less,
        "out: its answer was found with a budget of 80 item evaluations, but this search has only 40",
        hint,
    );
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("  report: [choices.yaml]\n", ""));
    let hint = "choose another directory, add the task under `report`, or leave it out with `--replace`";
    let error = "out: its answer is reported on ja-solution-mini, which this search does not ask";
    refused(&dir, SEARCH, error, hint);
    assert!(answer(&dir, "out/") == whole);
    dir.write("search.yaml", text);
    done(&dir, &[less.as_slice(), &["--replace"]].concat());
    let other = Dir::new();
    small_study(&other);
    done(&other, &less);
    assert!(answer(&dir, "out/") == answer(&other, "out/"));
    // Another number of workers does not replace the answer, since it changes nothing.
    done(&dir, &[less.as_slice(), &["--workers", "1"]].concat());
    assert!(answer(&dir, "out/") == answer(&other, "out/"));
}

#[test]
fn a_model_that_changes_while_it_is_searched_stops_the_search_and_nothing_is_published() {
    let check = |change: fn(&Path), error: &str| {
        let dir = Dir::new();
        small_study(&dir);
        for entry in fs::read_dir(family().join("ja")).unwrap().flatten() {
            dir.write(&format!("ja/{}", entry.file_name().display()), fs::read(entry.path()).unwrap());
        }
        let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
        let text =
            text.replace(&family().join("ja").display().to_string(), "ja").replace("budget: 240", "budget: 24000");
        dir.write("search.yaml", text);
        let child = dir.command(SEARCH).spawn().unwrap();
        let (began, tip) = (Instant::now(), dir.path("out/study/tip"));
        while fs::read(&tip).is_ok_and(|tip| tip.is_empty()) || !tip.exists() {
            assert!(began.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(5));
        }
        change(&dir.path("ja/model.safetensors"));
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.error()), (Some(1), error), "{}", said.err);
        assert!(!dir.path("out/model").exists() && !dir.path("out/best.yaml").exists());
    };
    // Written in place: truncating a mapped file would kill the process.
    let other = |path: &Path| {
        let bytes = fs::read(family().join("math-a/model.safetensors")).unwrap();
        fs::OpenOptions::new().write(true).open(path).unwrap().write_all(&bytes).unwrap();
    };
    check(other, "ja: model.safetensors was changed while it was used");
    check(|path| fs::remove_file(path).unwrap(), "ja: model.safetensors was removed while it was used");
}
