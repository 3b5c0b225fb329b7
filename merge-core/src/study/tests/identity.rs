//! Data that a study stores about itself, and changes that are refused.

use super::*;

#[test]
fn a_study_tells_of_itself_afterwards() {
    let family = Family::new("cma_es", 440);
    let (study, fake) = (family.study("study"), Fake::new());
    let findings = family.finish(&study, &fake, 1);
    let record = record(&Store::open(&study).expect("a store")).expect("a study");
    assert_eq!(record.evolution, findings.history.generations);
    assert_eq!((record.about.goals.as_slice(), record.about.dimensions.len()), (fake.goals(), 3));
    let ending = record.ending.expect("it is done");
    assert_eq!((ending.winner, ending.recipe), (findings.winner.1, findings.winner.0.to_yaml()));
    assert_eq!(ending.finalists, findings.history.finalists);
}

/// Records of a study: from its store, and from its snapshot.
fn told(study: &Path) -> [StudyRecord; 2] {
    let record = record(&Store::open(study).expect("a store")).expect("a study");
    [record, snapshot(study).expect("readable").expect("a study")]
}

#[test]
fn a_larger_budget_that_was_cut_leaves_the_study_of_the_smaller_one() {
    let cut = |optimizer: &str, more: &str, fake: &dyn Fn() -> Fake, budgets: [u64; 2]| {
        let mut family = Family::with(&format!("{{name: {optimizer}, population: 5}}"), budgets[1], more);
        let small = essence(family.finish(&family.study("small"), &fake(), 1));
        for interrupted in [false, true] {
            let study = family.study(if interrupted { "interrupted" } else { "whole" });
            family.file.search.budget.value = budgets[0];
            let large = fake();
            if interrupted {
                // In the middle of the evolution.
                large.break_down_after(40, true);
                assert!(is_interrupted(&family.run(&study, &large, 1)));
            } else {
                assert!(family.finish(&study, &large, 1).history.generations.len() > small.2.generations.len());
            }
            family.file.search.budget.value = budgets[1];
            let again = fake();
            let findings = essence(family.finish(&study, &again, 1));
            assert!(findings == small, "{optimizer}, interrupted: {interrupted}");
            let knows = |seen: &Seen| interrupted || seen.phase != "evolution";
            assert!(again.seen.lock().unwrap().iter().all(knows), "all of the evolution is known");
            for record in told(&study) {
                assert_eq!((&record.evolution, record.about.budget), (&small.2.generations, budgets[1]));
                assert!(record.random.len() <= record.evolution.len());
            }
        }
    };
    for optimizer in ["cma_es", "one_plus_one", "nsga2", "map_elites", "m2n2"] {
        cut(optimizer, "", &Fake::new, [440, 120]);
    }
    // Here a generation costs less than the budget that must be left to begin it.
    cut("cma_es", EVERYTHING, &growing, [900, 320]);
}

#[test]
fn a_budget_that_grows_again_finds_what_is_known_of_the_candidates() {
    let mut family = Family::new("cma_es", 440);
    let study = family.study("study");
    let whole = family.finish(&study, &Fake::new(), 1).history.generations;
    for budget in [120, 440] {
        family.file.search.budget.value = budget;
        let fake = Fake::new();
        let generations = family.finish(&study, &fake, 1).history.generations;
        assert_eq!(whole[..generations.len()], generations);
        let parents = family.parents();
        let seen = fake.seen.lock().unwrap();
        assert!(seen.iter().all(|seen| seen.phase != "evolution" || parents.contains(&seen.weights)));
    }
}

#[test]
fn scores_of_another_engine_are_not_taken() {
    let family = Family::new("cma_es", 120);
    let study = family.study("study");
    family.finish(&study, &Fake::new(), 1);
    let reported = |engine: &'static str| {
        let fake = Fake { engine, ..Fake::new() };
        family.finish(&study, &fake, 1);
        let seen = fake.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.phase == "report").count()
    };
    assert_eq!(reported("a fake"), 0);
    // Six different models at least, on seven items of each of four tasks.
    assert!(reported("another") >= 6 * 4 * 7);
}

#[test]
fn a_study_that_an_inference_engine_scored_is_continued_by_no_other() {
    let family = Family::new("cma_es", 440);
    let error = |study: &Path, served_by: Option<&'static str>| {
        let done = family.run(study, &Fake { served_by, ..Fake::new() }, 1);
        done.err().map(|error| error.to_string().split_once("search.yaml: ").expect("a place").1.to_owned())
    };
    let study = family.study("study");
    assert_eq!(error(&study, Some("vLLM 0.32.0, float32")), None);
    assert_eq!(error(&study, Some("vLLM 0.32.0, float32")), None);
    let refused = |by: &str, not: &str| {
        Some(format!("this study was scored by {by}, not by {not}: their scores cannot be mixed"))
    };
    let newer = error(&study, Some("vLLM 0.33.0, float32"));
    assert_eq!(newer, refused("vLLM 0.32.0, float32", "vLLM 0.33.0, float32"));
    assert_eq!(error(&study, None), refused("vLLM 0.32.0, float32", "evomerge itself"));
    // A study of an older version, which knew no engines.
    let own = family.study("own");
    assert_eq!(error(&own, None), None);
    let older = family.study("older");
    copy_of_older_version(&own, &older);
    assert_eq!(error(&older, Some("vLLM 0.32.0, float32")), refused("evomerge itself", "vLLM 0.32.0, float32"));
    assert_eq!(error(&older, None), None);
}

/// Copies a study's identity and two generations to an empty directory, as versions without engines stored them.
fn copy_of_older_version(from: &Path, to: &Path) {
    let names = ["version", "file", "about", "evolution/optimizer", "evolution/generation/0", "evolution/generation/2"];
    let parts = ["the recipe", "the device", "a file of the models", "the optimizer", "the way of searching"];
    let store = Store::open(from).unwrap();
    let value = |name| (name, store.get::<serde_json::Value>(name).unwrap().expect("it has one"));
    let values: Vec<_> = names.into_iter().chain(parts).chain(["the seed", "the objective"]).map(value).collect();
    drop(store);
    let values: Vec<(&str, &dyn crate::store::Payload)> =
        values.iter().map(|(name, value)| (*name, value as &dyn crate::store::Payload)).collect();
    Store::open(to).unwrap().set(&values).unwrap();
}

#[test]
fn a_study_that_goes_on_has_no_end_yet() {
    let mut family = Family::new("cma_es", 120);
    let study = family.study("study");
    family.finish(&study, &Fake::new(), 1);
    let ended = || told(&study).map(|record| record.ending.is_some());
    family.finish(&study, &Fake::new(), 1);
    assert_eq!(ended(), [true, true]);
    family.file.search.budget.value = 440;
    let fake = Fake::new();
    fake.break_down_after(20, true);
    assert!(is_interrupted(&family.run(&study, &fake, 1)));
    assert_eq!(ended(), [false, false]);
    family.finish(&study, &Fake::new(), 1);
    assert_eq!(ended(), [true, true]);
}

#[test]
fn a_generation_that_is_gone_is_told_once_when_it_is_there_again() {
    let family = Family::new("cma_es", 440);
    let (study, other) = (family.study("study"), family.study("other"));
    family.finish(&study, &Fake::new(), 1);
    copy_of_older_version(&study, &other);
    family.finish(&other, &Fake::new(), 1);
    let [record, told] = told(&other);
    assert_eq!((record.evolution.len() > 3, told.evolution), (true, record.evolution));
    assert!(family.contents("other") == family.contents("study"));
}

#[test]
fn a_study_is_known_by_its_mark_when_its_store_is_empty() {
    let mut family = Family::new("cma_es", 60);
    let study = family.study("study");
    family.finish(&study, &Fake::new(), 1);
    let whole = family.contents("study");
    let mark = StudyMark::read(&study).expect("readable").expect("it was marked");
    assert_eq!((mark.form, mark.identity.len(), mark.file.as_str()), (2, 8, family.text.as_str()));
    let empty = || ["db", "conf"].into_iter().for_each(|name| fs::remove_file(study.join(name)).expect("it is there"));
    empty();
    family.file.search.seed = 6;
    let error = family.run(&study, &Fake::new(), 1).err().expect("it is another");
    assert!(error.to_string().ends_with("this directory holds another study: the seed differs"), "{error}");
    family.file.search.seed = 5;
    family.finish(&study, &Fake::new(), 1);
    assert!(family.contents("study") == whole);
    // A study that began before there were marks gets one.
    fs::remove_file(study.join("evomerge-study.json")).expect("it is there");
    family.finish(&study, &Fake::new(), 1);
    assert_eq!(StudyMark::read(&study), Ok(Some(mark)));
}

#[test]
fn a_space_that_an_optimizer_could_not_keep_in_memory_is_refused() {
    let check = |name: &str, population: u64, n: usize, expected: Option<&str>| {
        let family = Family::with(&format!("{{name: {name}, population: {population}}}"), 1_000_000, "");
        let mut space = family.file.template.space(&family.sources).expect("a good template");
        let one = space.dimensions[0].clone();
        space.dimensions.resize(n, one);
        let refused = family.file.search.optimizer.check_space(&space).err();
        let refused = refused.map(|mistake| mistake.into_error(Path::new("s.yaml")).to_string());
        assert_eq!(refused.as_deref(), expected);
    };
    check("cma_es", 5, 2000, None);
    let together =
        "s.yaml: there are 2001 numbers to search, and this optimizer learns the covariances of at most 2000";
    check("cma_es", 5, 2001, Some(together));
    check("cat_cma_margin", 5, 2001, Some(together));
    check("sep_cma_es", 5, 100_000, None);
    let in_all = "s.yaml:7:45: population: 10000 candidates of 2001 numbers each are more than 20000000 numbers in all";
    check("sep_cma_es", 10_000, 2001, Some(in_all));
}

#[test]
fn a_study_of_another_form_is_refused_with_its_version() {
    let family = Family::new("cma_es", 60);
    let study = family.study("study");
    Store::open(&study).and_then(|store| store.set(&[("version", &(1, "0.0.9"))])).expect("room");
    let error = family.run(&study, &Fake::new(), 1).err().expect("it is another");
    assert!(error.to_string().ends_with("a study of evomerge 0.0.9, which is stored in another format"), "{error}");
    // From before versions were stored.
    let older = family.study("older");
    Store::open(&older).and_then(|store| store.set(&[("the seed", &[0; 32])])).expect("room");
    let error = family.run(&older, &Fake::new(), 1).err().expect("it is another");
    assert!(error.to_string().contains("of evomerge 0.1.0 or older"), "{error}");
}

#[test]
fn another_study_in_the_same_directory_is_refused() {
    let mut family = Family::new("cma_es", 60);
    let study = family.study("study");
    family.finish(&study, &Fake::new(), 1);
    family.file.search.seed = 6;
    let error = family.run(&study, &Fake::new(), 1).err().expect("it is another");
    assert!(error.to_string().ends_with("this directory holds another study: the seed differs"), "{error}");
    family.text = family.text.replace("weight: {search: [-1, 2], init: 0}", "weight: {search: [-1, 3], init: 0}");
    fs::write(&family.file.template.file, &family.text).expect("room");
    family.file = SearchFile::read(&family.file.template.file).expect("a good search");
    let error = family.run(&study, &Fake::new(), 1).err().expect("it is another");
    let changed = "the recipe differs
  -   - {model: b, parameters: {weight: {search: [-1, 2], init: 0}}}
  +   - {model: b, parameters: {weight: {search: [-1, 3], init: 0}}}";
    assert!(error.to_string().ends_with(changed), "{error}");
    family = Family::new("cma_es", 60);
    let study = family.study("study");
    family.finish(&study, &Fake::new(), 1);
    let mut other = Fake::new();
    other.goals[0].weight = 2.0;
    let error = family.run(&study, &other, 1).err().expect("it is another");
    assert!(error.to_string().ends_with("this directory holds another study: the objective differs"), "{error}");
}
