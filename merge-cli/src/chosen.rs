//! How a search's answer was chosen, and what the scores seen on the way are worth.

use crate::report;
use merge_core::{
    error::Result,
    evolve::{Entry, Finalist, Generation, Goal},
    item::mean,
};

/// What people should know of the choice among finalists, the first of whom is the answer; `estimated` says that the scores seen
/// in the search were estimates from anchors.
pub(crate) fn lines(
    goals: &[Goal],
    finalists: &[Finalist],
    winner: &Entry,
    parents: &[Entry],
    generations: &[Generation],
    estimated: bool,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let Some(chosen) = finalists.first() else { return Ok(lines) };
    if chosen.violation > 0.0 {
        lines.push(
            "note: no finalist keeps to the constraints on select items: this is the one that breaks them least"
                .to_owned(),
        );
    }
    lines.push(format!("chose {} among {} finalists:", chosen.name, finalists.len()));
    for (position, goal) in goals.iter().enumerate().filter(|(_, goal)| goal.weight > 0.0 && !goal.select.is_empty()) {
        let select = report::estimate(goal, &chosen.scores[position])?;
        let select = format!("{} {} on {} select items", goal.name, report::percent(&select), select.n);
        lines.push(if goal.report.is_empty() {
            format!("  {select}")
        } else {
            let held_out = report::estimate(goal, &winner.scores[position])?;
            let percent = report::percent(&held_out);
            format!("  {select}, then {percent} on {} report items, which nothing had used", held_out.n)
        });
    }
    let best_parent = report::best_parent(parents, goals);
    for (goal, difference) in report::differences(winner, best_parent, goals) {
        if difference.ci95[0] <= 0.0 && difference.ci95[1] >= 0.0 {
            lines.push(format!("  no difference to the best parent, {}, is proved on {}", best_parent.name, goal.name));
        }
    }
    for (name, best, held_out) in claims(goals, winner, generations) {
        let (best, held_out) = (100.0 * best, 100.0 * held_out);
        let luck = best - held_out;
        let (seen, was) = if estimated { ("estimated", "luck and the estimate's error") } else { ("seen", "luck") };
        lines.push(format!("  the best {name} {seen} in the search was {best:.1}, on report items it is {held_out:.1}: {luck:.1} points were {was}"));
    }
    Ok(lines)
}

/// What a search that reports its lucky winner would claim: for each task that it ranked by and is reported on, the best score
/// of a candidate on the items of its generation, and what the answer scores on report items.
pub(crate) fn claims(goals: &[Goal], winner: &Entry, generations: &[Generation]) -> Vec<(String, f64, f64)> {
    let both = |goal: &Goal| goal.ranks() && !goal.report.is_empty();
    let claim = |(position, goal): (usize, &Goal)| {
        let candidates = generations.iter().flat_map(|generation| &generation.candidates);
        let best = candidates.filter_map(|candidate| candidate.goals[position]).reduce(f64::max)?;
        Some((goal.name.clone(), best, mean(&winner.scores[position])?))
    };
    goals.iter().enumerate().filter(|(_, goal)| both(goal)).filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use merge_core::{
        evolve::{Candidate, State},
        item::ItemScore,
        search::Items,
    };

    /// What is said of luck, of an answer that has half of its report items right.
    fn check(estimated: bool, expected: &str) {
        let scores = |values: &[f64]| {
            vec![values.iter().map(|value| ItemScore { value: *value, tokens: 0, truncated: false }).collect()]
        };
        let goal = Goal { name: "sums".to_owned(), weight: 1.0, items: Items { from: 2, to: 2 }, ..Goal::default() };
        let entry = |name: &str, values: &[f64]| Entry { name: name.to_owned(), scores: scores(values) };
        let finalist = Finalist {
            name: "the mean".to_owned(),
            genome: vec![0.5],
            recipe: String::new(),
            fitness: 0.5,
            violation: 0.0,
            costs: Vec::new(),
            on_front: true,
            scores: scores(&[1.0, 0.0]),
        };
        let candidate = Candidate {
            genome: vec![0.5],
            state: State::Ranked { rung: 0 },
            fitness: Some(0.75),
            goals: vec![Some(0.75)],
            costs: Vec::new(),
        };
        let generation = Generation {
            candidates: vec![candidate],
            items: vec![2],
            level: 0,
            grows: false,
            evaluations: 2,
            tokens: 0,
            mean: None,
            sigma: None,
        };
        let items = [[7; 16], [9; 16]].map(merge_core::item::ItemId).to_vec();
        let goals = [Goal { report: items.clone(), select: items, ..goal }];
        let (winner, parent) = (entry("evolved", &[1.0, 0.0]), entry("a", &[0.0, 0.0]));
        let said = lines(&goals, &[finalist], &winner, &[parent], &[generation], estimated).unwrap();
        assert_eq!(said.last().unwrap(), expected);
    }

    #[test]
    fn an_estimate_is_called_one() {
        let rest = "in the search was 75.0, on report items it is 50.0: 25.0 points were";
        check(false, &format!("  the best sums seen {rest} luck"));
        check(true, &format!("  the best sums estimated {rest} luck and the estimate's error"));
    }
}
