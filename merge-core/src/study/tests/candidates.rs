//! Ranking: in a race, on growing subsets, under constraints, with failures, for several goals.

use super::*;
use crate::optimizer::Coordinate;

/// Eight candidates meet 5 items, four 10 and two 20: 80 evaluations, as without a race.
#[test]
fn a_race_gives_the_better_half_the_items_of_the_others() {
    let family = Family::with("{name: cma_es, population: 8}", 1500, "  racing: 3\n");
    let mut fake = Fake::new();
    fake.goals.truncate(1);
    fake.goals[0].items = Items { from: 10, to: 10 };
    let findings = family.finish(&family.study("study"), &fake, 2);
    for generation in &findings.history.generations {
        let rungs = generation.candidates.iter().map(|candidate| match candidate.state {
            CandidateState::Ranked { rung } => rung,
            ref other => panic!("{other:?}"),
        });
        let rungs: Vec<usize> = rungs.collect();
        let reached = |rung: usize| rungs.iter().filter(|reached| **reached >= rung).count();
        assert_eq!([reached(0), reached(1), reached(2)], [8, 4, 2]);
        assert_eq!((generation.items.as_slice(), generation.evaluations), (&[20][..], 80));
        // The best candidate is one of those that ran to the end.
        let best = generation.best().expect("someone is ranked");
        let order = |candidate: &CandidateRecord| matches!(candidate.state, CandidateState::Ranked { rung: 2 });
        assert!(order(best));
    }
    let seen = fake.seen.lock().expect("no panic");
    let mut by_candidate: BTreeMap<(u64, Fingerprint), Vec<ItemId>> = BTreeMap::new();
    let parents = family.parents();
    for seen in seen.iter().filter(|seen| seen.phase == "evolution" && !parents.contains(&seen.weights)) {
        by_candidate.entry((seen.generation, seen.weights)).or_default().push(seen.item);
    }
    let longest: Vec<_> =
        by_candidate.iter().filter(|((generation, _), items)| *generation == 0 && items.len() == 20).collect();
    assert_eq!(longest.len(), 2, "two meet all items of the generation");
    for ((generation, _), items) in by_candidate.iter().filter(|((generation, _), _)| *generation == 0) {
        assert_eq!(items[..], longest[0].1[..items.len()], "everyone meets the same items first, in {generation}");
    }
}

#[test]
fn subsets_grow_when_candidates_differ_by_chance_alone() {
    let growth = |noisy: bool, more: &str| {
        let family = Family::with("{name: cma_es, population: 8}", 1500, more);
        let mut fake = Fake::new();
        fake.goals.truncate(1);
        fake.goals[0].items = Items { from: 6, to: 30 };
        fake.noisy = noisy;
        let findings = family.finish(&family.study("study"), &fake, 1);
        findings.history.generations.last().expect("a generation").items[0]
    };
    assert_eq!(growth(false, ""), 6, "every item tells the same");
    assert_eq!(growth(true, ""), 30, "no item tells anything");
    // The last rung of a race has twice the items, as far as there are that many.
    assert_eq!(growth(false, "  racing: 3\n"), 12);
    assert_eq!(growth(true, "  racing: 3\n"), 40);
}

#[test]
fn who_breaks_a_constraint_is_ranked_behind_all_others() {
    let family = Family::new("cma_es", 2100);
    let mut fake = Fake::new();
    // A task whose scores fall with the distance of a mean from 0.3, where the parents' means are.
    fake.goals[3] = Goal { within: Some(0.01), items: Items { from: 10, to: 10 }, ..fake.goals[3].clone() };
    (fake.goals[3].search, fake.goals[3].select) = (items(SEARCH + 3, 40), items(SELECT + 3, 20));
    fake.wants = [0.6, 0.6, 0.6, 0.3];
    let findings = family.finish(&family.study("study"), &fake, 2);
    let mut infeasible = 0;
    for generation in &findings.history.generations {
        let best = generation.best();
        infeasible +=
            generation.candidates.iter().filter(|one| matches!(one.state, CandidateState::Infeasible { .. })).count();
        assert!(best.is_none_or(|best| matches!(best.state, CandidateState::Ranked { .. })));
    }
    assert!(infeasible > 0, "some candidates break it");
    assert!(findings.history.finalists[0].violation.abs() < 1e-12, "the answer keeps to it");
    let mean = |entry: &Entry, goal: usize| entry.scores[goal].iter().map(|score| score.value).sum::<f64>() / 7.0;
    let floor = findings.parents.iter().map(|parent| mean(parent, 3)).fold(0.0, f64::max);
    assert!(mean(&findings.winner.1, 3) >= floor - 0.02, "on report items too, as these are like the others");
}

#[test]
fn a_candidate_that_fails_ranks_last_and_ends_no_search() {
    let family = Family::new("cma_es", 880);
    let (study, fake) = (family.study("study"), Fake { breaks: true, ..Fake::new() });
    let findings = family.finish(&study, &fake, 2);
    let failed = |generation: &Generation| {
        generation.candidates.iter().filter(|one| matches!(one.state, CandidateState::Failed { .. })).count()
    };
    let n_failed: usize = findings.history.generations.iter().map(failed).sum();
    assert!(n_failed > 0);
    assert_eq!(findings.history.given_up.keys().collect::<Vec<_>>(), ["the weights are too large"]);
    assert_eq!(findings.history.generations.len(), 16, "the search went on");
    let n_evaluations = fake.seen.lock().expect("no panic").len();
    family.finish(&study, &fake, 2);
    assert_eq!(fake.seen.lock().expect("no panic").len(), n_evaluations, "nobody is asked again");
}

#[test]
fn several_objectives_leave_a_front() {
    let family = Family::with("{name: nsga2, population: 12}", 2600, "  minimise: [{what: tokens}]\n");
    let mut fake = Fake::new();
    fake.wants = [0.2, 0.9, 0.6, 0.6];
    let findings = family.finish(&family.study("study"), &fake, 2);
    let finalists = &findings.history.finalists;
    let means = |finalist: &Finalist| -> Vec<f64> {
        let mean = |scores: &Vec<ItemScore>| scores.iter().map(|score| score.value).sum::<f64>() / scores.len() as f64;
        finalist.scores[..3].iter().map(mean).chain(finalist.costs.iter().map(|cost| -cost)).collect()
    };
    assert!(finalists.iter().filter(|finalist| finalist.on_front).count() > 2, "both tasks cannot be had at once");
    for finalist in finalists {
        let beaten = finalists.iter().any(|other| dominates(&means(other), &means(finalist)));
        assert_eq!(finalist.on_front, !beaten, "{}", finalist.name);
    }
}

/// No candidate is scored, and the search still ends.
#[test]
fn candidates_that_are_all_too_long_cost_the_budget_too() {
    let family = Family::with("{name: random, population: 5}", 440, "  most_layers: 1\n");
    let fake = Fake::new();
    let error = family.run(&family.study("study"), &fake, 1).err().expect("nobody is ranked");
    assert_eq!(
        error.to_string(),
        "no candidate could be ranked: every candidate breaks a constraint or has too many layers"
    );
    assert!(fake.seen.lock().expect("no panic").is_empty());
}

/// Three tiny models of two layers, and a search among their layers.
pub(super) fn among_layers(budget: u64, more: &str) -> Family {
    let mut family = Family::new("cma_es", 440);
    let hop = |model: &str| {
        format!("  - {{model: {model}, layer_range: [0, 2], use: {{search: [false, true], init: 0.75}}}}\n")
    };
    let hops: String = ["a", "b", "a"].map(hop).concat();
    family.text = format!(
        "merge_method: passthrough
base_model: base
path:
{hops}search:
  optimizer: {{name: cat_cma, population: 12}}
  budget: {budget}
  objective: [{{task: fake}}]
{more}"
    );
    fs::write(&family.file.template.file, &family.text).expect("room");
    family.file = SearchFile::read(&family.file.template.file).expect("a good search");
    family.sources = Sources::open_all(family.file.template.variants(), &[], &FilesOnly).expect("all are there");
    family.hashes = family.sources.sha256().unwrap();
    family
}

fn n_layers(recipe: &Recipe) -> usize {
    recipe.path.iter().map(|hop| hop.steps().count()).sum()
}

#[test]
fn what_is_too_long_is_not_shipped_either() {
    let family = among_layers(140, "  most_layers: 4\n");
    let findings = family.finish(&family.study("study"), &Fake::new(), 2);
    let last = findings.history.generations.last().and_then(|generation| generation.mean.clone()).expect("a mean");
    let space = family.file.template.space(&family.sources).expect("a space");
    assert!(n_layers(&family.file.template.fill(&space, &last)) > 4, "the mean itself is too long");
    assert!(n_layers(&findings.winner.0) <= 4);
    for finalist in &findings.history.finalists {
        let recipe = Recipe::parse(&finalist.recipe, Path::new("r.yaml")).expect("a recipe");
        assert!(n_layers(&recipe) <= 4, "{}", finalist.name);
    }
}

#[test]
fn a_layer_scan_is_paid_from_the_budget() {
    let family = among_layers(440, "  layer_scan: true\n");
    let fake = Fake::new();
    let findings = family.finish(&family.study("study"), &fake, 2);
    let seen = fake.seen.lock().expect("no panic");
    let scan = seen.iter().filter(|seen| seen.phase == "layer scan").count();
    assert_eq!(scan, 7 * 11, "the whole path, and each of its six layers left out");
    let evolution: usize = findings.history.generations.iter().map(|generation| generation.evaluations).sum();
    assert_eq!(findings.history.item_evaluations, scan + evolution);
    assert!(findings.history.item_evaluations <= 440);
}

/// An average of the options 0 and 2 would be neither.
#[test]
fn the_average_of_means_takes_choices_as_they_are() {
    let generation = |mean: [f64; 2]| Generation {
        candidates: Vec::new(),
        items: Vec::new(),
        level: 0,
        grows: false,
        evaluations: 0,
        tokens: 0,
        mean: Some(mean.to_vec()),
        sigma: None,
    };
    // The last two of eight are the last quarter.
    let mut records = vec![generation([0.9, 1.0]); 6];
    records.extend([generation([0.2, 0.0]), generation([0.4, 2.0])]);
    let coordinates = [Coordinate::Real { start: 0.5 }, Coordinate::Choice { start: vec![1.0 / 3.0; 3] }];
    let found = finalists::finalists(&records, Vec::new(), &coordinates, true);
    let average = f64::midpoint(0.2, 0.4);
    let expected = [("the mean", vec![0.4, 2.0]), ("the average of the last means", vec![average, 2.0])];
    assert_eq!(found, expected.map(|(name, genome)| (name.to_owned(), genome)));
}

/// Random search finds no candidate that is short enough, and the study still ends.
#[test]
fn a_baseline_that_finds_nobody_is_left_out() {
    let family = among_layers(140, "  most_layers: 4\n");
    let findings = family.finish(&family.study("study"), &Fake::new(), 2);
    // Its budget is what the evolution took for short candidates: too little for a generation.
    assert!(findings.baselines.iter().all(|entry| entry.name != "random search"));
    assert!(family.finish(&family.study("study"), &Fake::new(), 1).winner.1 == findings.winner.1);
}

/// Expected: the logistic function of how much a layer is missed, in standard errors.
#[test]
fn a_layer_scan_begins_with_how_much_each_layer_is_missed() {
    let family = among_layers(440, "  layer_scan: true\n");
    let fake = Fake::new();
    let store = Store::open(&family.study("study")).expect("a store");
    let study = family.as_study(&fake, &store, 1, &|_| {});
    let (scorer, plain) = scorer(&study);
    let (space, _) = layer_scan::scan_layers(&scorer, plain.clone()).expect("nothing fails");
    let score = |genome: &[f64]| {
        let candidate = study.candidate(&plain, genome);
        let mut all = vec![Vec::new(); 4];
        let asked: Vec<Vec<ItemId>> =
            fake.goals.iter().map(|goal| goal.search[..goal.items.from.min(goal.search.len())].to_vec()).collect();
        let mut listener = |news: News| {
            let News::Scores(goal, scores) = news else { panic!("nobody gives up") };
            all[goal].extend(scores.into_iter().map(|(_, score)| score.value));
            Ok(ControlFlow::Continue(()))
        };
        fake.score(&candidate, &asked, &mut listener).expect("it is scored");
        all
    };
    let whole = score(&[1.0; 6]);
    for (layer, dimension) in space.dimensions.iter().enumerate() {
        let mut genome = [1.0; 6];
        genome[layer] = 0.0;
        let without = score(&genome);
        // The two goals that rank, with weights 1 and 1/2.
        let (mut missed, mut variance) = (0.0, 0.0);
        for (goal, weight) in [(0, 2.0 / 3.0), (1, 1.0 / 3.0)] {
            let differences: Vec<f64> = whole[goal].iter().zip(&without[goal]).map(|(a, b)| a - b).collect();
            let n = differences.len() as f64;
            let mean = differences.iter().sum::<f64>() / n;
            let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
            missed += weight * mean;
            variance += weight * weight * squares / (n - 1.0) / n;
        }
        let expected = (1.0 / (1.0 + (-missed / variance.sqrt()).exp())).clamp(0.05, 0.95);
        let crate::template::DimensionKind::Choice { init, .. } = &dimension.kind else { panic!("a flag") };
        assert!((init[1] - expected).abs() < 1e-9, "layer {layer}: {} is not {expected}", init[1]);
    }
}

/// All answers are equally long and all models equally large: each cost takes off its weight.
#[test]
fn costs_take_their_weight_off_the_fitness() {
    let more = "  minimise: [{what: tokens, weight: 0.01}, {what: parameters, weight: 0.02}]\n";
    let family = Family::with("{name: cma_es, population: 5}", 440, more);
    let findings = family.finish(&family.study("study"), &Fake::new(), 2);
    for candidate in findings.history.generations.iter().flat_map(|generation| &generation.candidates) {
        let [Some(first), Some(second), ..] = candidate.goals[..] else { panic!("two tasks rank") };
        let expected = (first + 0.5 * second) / 1.5 - 0.03;
        let fitness = candidate.fitness.expect("it is ranked");
        assert!((fitness - expected).abs() < 1e-12, "{fitness} is not {expected}");
    }
}
