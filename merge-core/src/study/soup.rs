//! The greedy soup, a baseline: an average of parents, each added if the average gets no worse.

use super::{
    Candidate, Phase,
    goal::{GoalItems, fitness, n_items},
    score::{Scorer, Scores},
};
use crate::{baseline, error::Result, template::Template};

/// Maximum number of models that the greedy soup scores; 0 if there is no average.
pub(super) fn max_models(template: &Template) -> usize {
    let members = baseline::members(template).len();
    if members > 1 && baseline::uniform(template).is_some() { 2 * members - 1 } else { 0 }
}

/// The greedy soup (<https://arxiv.org/abs/2203.05482>): the best parent, and each next best with
/// which the average is no worse on select items. `None` if there is no average.
pub(super) fn greedy_soup<'a>(scorer: &Scorer<'a>) -> Result<Option<Candidate<'a>>> {
    let study = scorer.study;
    let (template, goals) = (study.template, study.objective.goals());
    let members = baseline::members(template);
    let mix = |names: &[String]| match names {
        [alone] => Some(Candidate::source(alone, study.sources)),
        several => baseline::average(template, several).map(|recipe| Candidate::merged(recipe, study.sources)),
    };
    let max_models = max_models(template);
    if max_models == 0 {
        return Ok(None);
    }
    let items: GoalItems = goals.iter().map(|goal| goal.select.clone()).collect();
    scorer.tracker.begin(Phase::GreedySoup, max_models * n_items(&items), None);
    let sources: Vec<Candidate<'_>> = members.iter().map(|name| Candidate::source(name, study.sources)).collect();
    let alone = scorer.score(&sources.iter().collect::<Vec<_>>(), &items)?;
    let fitness = |scores: &Scores| fitness(goals, &scores.goals);
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| fitness(&alone[*b]).total_cmp(&fitness(&alone[*a])));
    let mut soup = vec![members[order[0]].clone()];
    let mut best = fitness(&alone[order[0]]);
    for next in &order[1..] {
        let more = [soup.as_slice(), std::slice::from_ref(&members[*next])].concat();
        let Some(candidate) = mix(&more) else { return Ok(None) };
        let scored = scorer.score(&[&candidate], &items)?;
        if fitness(&scored[0]) >= best {
            (soup, best) = (more, fitness(&scored[0]));
        }
    }
    Ok(mix(&soup))
}
