//! Tests: who gets which items, and when.

use super::*;
use merge_core::item::{ItemId, ItemScore};
use std::path::PathBuf;

fn study() -> StudyOrder {
    let (file, directory, text) = (PathBuf::new(), PathBuf::new(), String::new());
    StudyOrder {
        file,
        directory,
        text,
        is_mergekit: false,
        stage: 0,
        earlier: vec![],
        sources: vec![],
        tasks: vec![],
        engine: None,
    }
}

fn item(number: usize) -> ItemId {
    ItemId([u8::try_from(number).unwrap(); 16])
}

/// A candidate with one chunk of so many items.
fn open<'a>(desk: &'a Desk, name: &str, items: usize) -> DeskTicket<'a> {
    let chunk = ItemChunk { goal: 0, items: (0..items).map(item).collect(), in_pool: false };
    desk.open(NamedCandidate::Source(name.to_owned()), vec![chunk])
}

/// A desk with this many workers.
fn desk(workers: usize) -> Desk {
    let desk = Desk::default();
    desk.change(|work| work.study = Some((Arc::new(study()), None)));
    (0..workers).for_each(|_| desk.count(true));
    desk
}

fn take(desk: &Desk, worker: usize, loaded: Option<u64>) -> Option<Assignment> {
    desk.take(worker, &desk.study().unwrap(), loaded)
}

/// Answers that tell the items by their values.
fn answer(desk: &Desk, assignment: &Assignment, seconds: impl Into<Option<f64>>) {
    let of = |item: &ItemId| AnsweredItem {
        score: Ok(ItemScore { value: f64::from(item.0[0]), tokens: 0, truncated: false }),
        answers: Vec::new(),
    };
    desk.answer(assignment.portion, assignment.order.items.items.iter().map(of).collect(), seconds.into());
}

fn n_items(assignment: &Assignment) -> usize {
    assignment.order.items.items.len()
}

/// Plays workers that take `fixed` seconds for a candidate that they have not loaded, and `each` for an item; returns the time
/// at which the last one ends, and the number of portions.
fn play(workers: usize, candidates: usize, items: usize, fixed: f64, each: f64) -> (f64, usize) {
    let desk = desk(workers);
    let (mut last, mut portions) = (0.0, 0);
    // The desk learns in the first generations.
    for _ in 0..3 {
        desk.expect(candidates * items);
        let tickets: Vec<DeskTicket<'_>> =
            (0..candidates).map(|number| open(&desk, &number.to_string(), items)).collect();
        let mut at_work: Vec<(f64, Option<f64>, usize, Assignment)> = Vec::new();
        let mut free: Vec<(f64, usize, Option<u64>)> = (0..workers).map(|worker| (0.0, worker, None)).collect();
        (last, portions) = (0.0, 0);
        loop {
            free.sort_by(|a, b| a.0.total_cmp(&b.0));
            free.retain(|(now, worker, loaded)| {
                let Some(assignment) = take(&desk, *worker, *loaded) else { return true };
                let is_loaded = Some(assignment.candidate) == *loaded;
                let seconds = each * n_items(&assignment) as f64 + if is_loaded { 0.0 } else { fixed };
                at_work.push((now + seconds, (!is_loaded).then_some(seconds), *worker, assignment));
                portions += 1;
                false
            });
            let Some(next) = (0..at_work.len()).min_by(|a, b| at_work[*a].0.total_cmp(&at_work[*b].0)) else { break };
            let (end, seconds, worker, assignment) = at_work.swap_remove(next);
            answer(&desk, &assignment, seconds);
            last = end;
            for one in &mut free {
                one.0 = end;
            }
            free.push((end, worker, Some(assignment.candidate)));
        }
        for ticket in &tickets {
            let answered = ticket.wait(0, &Interrupt::default()).unwrap();
            let values: Vec<f64> = answered.into_iter().map(|one| one.score.unwrap().value).collect();
            assert_eq!(values, (0..items).map(|number| number as f64).collect::<Vec<_>>());
        }
    }
    (last, portions)
}

#[test]
fn workers_end_at_the_same_time() {
    for (workers, least) in [(1, 0.999), (8, 0.95), (32, 0.9)] {
        let (took, _) = play(workers, 12, 30, 0.0, 1.0);
        let busy = 360.0 / (workers as f64 * took);
        assert!(busy >= least, "{workers} workers were busy for {busy}");
    }
}

#[test]
fn a_portion_is_worth_the_loading_of_a_model() {
    // Loading takes as long as sixty items: nobody shares a candidate.
    let (_, portions) = play(8, 12, 30, 60.0, 1.0);
    assert_eq!(portions, 12);
    // A loading of five items: parts of candidates, but few.
    let (took, portions) = play(8, 12, 30, 5.0, 1.0);
    assert!((13..=40).contains(&portions), "{portions}");
    assert!(took < 75.0, "{took} s, where whole candidates take 70 and the best division 55 to 60");
}

#[test]
fn a_worker_goes_on_with_what_it_has_loaded_and_others_begin_what_nobody_has() {
    let desk = desk(4);
    let _tickets = [open(&desk, "a", 40), open(&desk, "b", 40)];
    let first = take(&desk, 0, None).unwrap();
    let second = take(&desk, 1, None).unwrap();
    assert_ne!(first.candidate, second.candidate);
    answer(&desk, &first, 1.0);
    assert_eq!(take(&desk, 0, Some(first.candidate)).unwrap().candidate, first.candidate);
}

#[test]
fn what_takes_too_long_is_given_to_a_second_worker_and_the_first_answer_counts() {
    let desk = desk(2);
    let ticket = open(&desk, "a", 20);
    let slow = take(&desk, 0, None).unwrap();
    while let Some(assignment) = take(&desk, 1, None) {
        answer(&desk, &assignment, 1e-3);
    }
    assert!(!slow.is_second);
    std::thread::sleep(LEAST_SLOW);
    assert!(take(&desk, 0, None).is_none(), "whoever has it gets it no second time");
    let second = take(&desk, 1, None).unwrap();
    assert!(second.is_second && second.order.items == slow.order.items);
    assert!(take(&desk, 2, None).is_none(), "two are enough");
    answer(&desk, &second, 1e-3);
    assert!(!desk.is_wanted(slow.portion));
    answer(&desk, &slow, 100.0);
    assert_eq!(ticket.wait(0, &Interrupt::default()).unwrap().len(), 20);
}

#[test]
fn what_a_dead_worker_had_waits_again_and_a_deadly_candidate_comes_last() {
    let desk = desk(2);
    let (deadly, ticket) = (open(&desk, "deadly", 2), open(&desk, "well", 2));
    for deaths in 1.. {
        let assignment = take(&desk, 0, None).unwrap();
        if assignment.order.candidate == NamedCandidate::Source("well".to_owned()) {
            assert_eq!(deaths, 2, "it is tried once before the other");
            answer(&desk, &assignment, 1.0);
            break;
        }
        desk.put_back(assignment.portion, 0, "worker 1 has ended");
    }
    while let Some(assignment) = take(&desk, 0, None) {
        if assignment.order.candidate == NamedCandidate::Source("well".to_owned()) {
            answer(&desk, &assignment, 1.0);
        } else {
            desk.put_back(assignment.portion, 0, "worker 1 has ended");
        }
    }
    assert_eq!(ticket.wait(0, &Interrupt::default()).unwrap().len(), 2);
    let why = deadly.wait(0, &Interrupt::default()).map(|_| ()).unwrap_err();
    assert_eq!(why.to_string(), "10 workers have ended with the same candidate, at last worker 1 has ended");
}

#[test]
fn what_is_withdrawn_is_wanted_no_more() {
    let desk = desk(1);
    let ticket = open(&desk, "a", 4);
    let assignment = take(&desk, 0, None).unwrap();
    assert!(desk.is_wanted(assignment.portion));
    drop(ticket);
    assert!(!desk.is_wanted(assignment.portion) && take(&desk, 0, None).is_none());
    // Whatever becomes of it then.
    answer(&desk, &assignment, 1.0);
    desk.put_back(assignment.portion, 0, "worker 1 has ended");
    desk.fail(assignment.portion, Error::machine("late"));
}

#[test]
fn nobody_waits_when_no_worker_can_be_asked() {
    let desk = desk(0);
    let early = open(&desk, "a", 1);
    desk.give_up(&Error::machine("none"));
    for ticket in [early, open(&desk, "b", 1)] {
        assert_eq!(ticket.wait(0, &Interrupt::default()).map(|_| ()).unwrap_err().to_string(), "none");
    }
}

#[test]
fn engines_of_workers_are_alike_and_nobody_works_on_a_study_that_he_has_not_opened() {
    let desk = desk(1);
    let earlier = desk.study().unwrap();
    std::thread::scope(|scope| {
        let announced = scope.spawn(|| desk.announce(study(), &Interrupt::default()));
        while Arc::ptr_eq(&desk.study().unwrap(), &earlier) {
            desk.rest();
        }
        desk.opened(&ReadyStudy { engine: Some("vLLM 1".to_owned()) }).unwrap();
        assert_eq!(announced.join().unwrap().unwrap().as_deref(), Some("vLLM 1"));
    });
    desk.opened(&ReadyStudy { engine: Some("vLLM 1".to_owned()) }).unwrap();
    let other = desk.opened(&ReadyStudy::default()).unwrap_err().to_string();
    assert_eq!(other, "is refused: it scores on evomerge's own forward pass, but the search on vLLM 1");
    let _ticket = open(&desk, "a", 1);
    assert!(desk.take(0, &earlier, None).is_none() && take(&desk, 0, None).is_some());
}
