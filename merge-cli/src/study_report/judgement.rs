//! What a search's answer is worth: held, task by task, against the best parent there and against each baseline that ran.

use crate::{
    draw::measure,
    study_report::figures::{self, ReportedModels},
};
use evaluator::statistics::{PairedDifference, several::holm};
use merge_core::study::{Entry, Goal};
use serde::Serialize;

#[cfg(test)]
pub(crate) mod tests;

/// Fewer report items than these prove large differences only.
pub(crate) const FEW: usize = 30;
/// Fewer prove none: with five items that the answer alone has right, the exact test of McNemar has p = 0.0625.
const LEAST: usize = 6;
/// What counts as proved.
const ALPHA: f64 = 0.05;

/// The answer against the others, item by item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Judgement {
    /// Every reported task, in the order of the tables.
    pub(crate) tasks: Vec<TaskJudgement>,
    /// Baselines than which the answer is proved better on no task of the objective, and on no constraint: that the search was worth
    /// its cost is not proved.
    pub(crate) as_good: Vec<String>,
}

/// The same on one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TaskJudgement {
    /// Its name.
    pub(crate) task: String,
    /// What its scores are.
    pub(crate) metric: String,
    /// Report items.
    pub(crate) n: usize,
    /// Whether the search maximised it; others are a constraint or only reported.
    pub(crate) is_objective: bool,
    /// The answer less the parent that is best on this task.
    pub(crate) best_parent: Rival,
    /// The answer less each baseline.
    pub(crate) baselines: Vec<Rival>,
}

/// The answer less another model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rival {
    /// The other's name.
    pub(crate) name: String,
    /// By how much the answer is better.
    #[serde(flatten)]
    pub(crate) difference: PairedDifference,
    /// The p-value, by Holm adjusted for the number of comparisons: with parents, those of all tasks; with baselines, those of all
    /// tasks and baselines. That of a better parent is multiplied by the number of parents first: it was picked for its score.
    pub(crate) p_holm: f64,
    /// What that proves.
    pub(crate) finding: Finding,
}

/// What a comparison proves about the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finding {
    /// It is better than the other.
    Better,
    /// Neither.
    NotProvedDifferent,
    /// It is worse.
    Worse,
}

impl Judgement {
    /// Of the scores on report items.
    pub(crate) fn of(goals: &[Goal], reported: &ReportedModels<'_>) -> Self {
        let positions: Vec<usize> = figures::positions(goals).collect();
        let parents = positions.iter().map(|position| vec![figures::best_parent(reported.parents, *position)]);
        let baselines = positions.iter().map(|_| reported.baselines.iter().collect());
        let against = |others: Vec<Vec<&Entry>>, picked| rivals(&positions, reported.winner, &others, picked);
        let parents = against(parents.collect(), reported.parents.len());
        let baselines = against(baselines.collect(), 1);
        let task = |((position, parent), baselines): ((&usize, Vec<Rival>), Vec<Rival>)| TaskJudgement {
            task: goals[*position].name.clone(),
            metric: goals[*position].metric.clone(),
            n: goals[*position].report.len(),
            is_objective: goals[*position].weight > 0.0,
            best_parent: parent.into_iter().next().expect("it is held against one"),
            baselines,
        };
        let tasks: Vec<TaskJudgement> = positions.iter().zip(parents).zip(baselines).map(task).collect();
        let is_asked = |position: &usize| goals[*position].weight > 0.0 || goals[*position].within.is_some();
        let asked = || positions.iter().zip(&tasks).filter(|(position, _)| is_asked(position)).map(|(_, task)| task);
        let is_beaten = |number: usize| asked().any(|task| task.baselines[number].finding == Finding::Better);
        let baselines = reported.baselines.iter().enumerate();
        let as_good =
            baselines.filter(|(number, _)| !is_beaten(*number)).map(|(_, entry)| entry.name.clone()).collect();
        Self { tasks, as_good }
    }

    /// The verdict in a few short sentences, the parents first.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let mut said = Vec::new();
        for finding in [Finding::Better, Finding::NotProvedDifferent, Finding::Worse] {
            let tasks = self.tasks.iter().filter(|task| task.best_parent.finding == finding);
            let tasks: Vec<&str> = tasks.map(|task| task.task.as_str()).collect();
            if !tasks.is_empty() {
                said.push(format!("{} the best parent on {}", finding.words(), list(&tasks)));
            }
        }
        for task in self.tasks.iter().filter(|task| task.is_objective && !task.baselines.is_empty()) {
            for finding in [Finding::Better, Finding::NotProvedDifferent, Finding::Worse] {
                let found = task.baselines.iter().filter(|rival| rival.finding == finding);
                let names: Vec<&str> = found.map(|rival| rival.name.as_str()).collect();
                match names.len() {
                    0 => {}
                    n if n == task.baselines.len() && n > 1 => {
                        let all = if finding == Finding::NotProvedDifferent { "any of the" } else { "all" };
                        said.push(format!("{} {all} {n} baselines on {}", finding.words(), task.task));
                    }
                    _ => said.push(format!("{} {} on {}", finding.words(), list(&names), task.task)),
                }
            }
        }
        said.extend(self.cost());
        said
    }

    /// Of the baselines that are not beaten, those that are proved better, and those that may be as good. Of too few items none
    /// is among the latter: they prove nothing.
    pub(crate) fn unbeaten(&self) -> (Vec<&str>, Vec<&str>) {
        let objectives = || self.tasks.iter().filter(|task| task.is_objective);
        let is_better = |name: &&str| {
            let rivals = objectives().flat_map(|task| &task.baselines).filter(|rival| rival.name == **name);
            rivals.into_iter().any(|rival| rival.finding == Finding::Worse)
        };
        let (better, mut rest): (Vec<&str>, Vec<&str>) = self.as_good.iter().map(String::as_str).partition(is_better);
        if objectives().all(|task| task.n < LEAST) {
            rest.clear();
        }
        (better, rest)
    }

    /// Whether the search was worth its cost, where that is not proved.
    fn cost(&self) -> Vec<String> {
        let (better, rest) = self.unbeaten();
        let mut said = Vec::new();
        if !better.is_empty() {
            let verb = if better.len() == 1 { "is" } else { "are" };
            said.push(format!("the search was not worth its cost: {} {verb} better", list(&better)));
        }
        if !rest.is_empty() {
            said.push(format!("it is not proved that the search was worth its cost: {} may be as good", list(&rest)));
        }
        said
    }

    /// The comparisons with their numbers, task by task.
    pub(crate) fn comparisons(&self) -> Vec<String> {
        let said = |task: &TaskJudgement, rival: &Rival| measure::difference(&task.metric, &rival.difference);
        let all = self.tasks.iter().flat_map(|task| task.rivals(&str::to_owned).map(move |(rival, _)| (task, rival)));
        let width = all.map(|(task, rival)| said(task, rival).len()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for task in &self.tasks {
            lines.push(format!("the answer on {} ({} items), item by item, p by Holm:", task.task, task.n));
            lines.extend(task.rivals(&str::to_owned).map(|(rival, name)| {
                let (difference, p) = (said(task, rival), figures::probability(rival.p_holm));
                format!("  {difference:<width$}  p {p:<7}  {} {name}", rival.finding.words())
            }));
        }
        lines
    }
}

impl TaskJudgement {
    /// All whom the answer is held against, with what to say of them where models are called so.
    pub(crate) fn rivals(&self, called: &dyn Fn(&str) -> String) -> impl Iterator<Item = (&Rival, String)> {
        let parent = (&self.best_parent, format!("the best parent, {}", called(&self.best_parent.name)));
        [parent].into_iter().chain(self.baselines.iter().map(|rival| (rival, rival.name.clone())))
    }
}

impl Finding {
    fn of(difference: &PairedDifference, p_holm: f64) -> Self {
        let is_proved = p_holm <= ALPHA;
        match difference.value {
            value if is_proved && value > 0.0 => Self::Better,
            value if is_proved && value < 0.0 => Self::Worse,
            _ => Self::NotProvedDifferent,
        }
    }

    /// As a sentence about the answer has it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Better => "better than",
            Self::NotProvedDifferent => "not proved different from",
            Self::Worse => "worse than",
        }
    }
}

/// What to know of tasks that are reported on few items; nothing if there are none.
pub(crate) fn few_items(goals: &[Goal]) -> Vec<String> {
    let few = goals.iter().filter(|goal| (1..FEW).contains(&goal.report.len()));
    few.map(|goal| {
        let (name, n) = (&goal.name, goal.report.len());
        let says = if n < LEAST {
            format!("on fewer than {LEAST} no difference can be proved")
        } else {
            format!("on fewer than {FEW} only a large difference can be proved")
        };
        let items = if n == 1 { "1 report item".to_owned() } else { format!("{n} report items") };
        format!("note: task {name} has {items}: {says}")
    })
    .collect()
}

/// The answer less others on some tasks, each with its p-value adjusted for the number of all. Each other is the best of so many
/// as it was `picked` from, on the same items: that one of them is better by chance is as many times as likely.
fn rivals(positions: &[usize], winner: &Entry, others: &[Vec<&Entry>], picked: usize) -> Vec<Vec<Rival>> {
    let difference = |position: usize, other: &Entry| {
        let [a, b] = [winner, other].map(|entry| figures::values(&entry.scores[position]));
        PairedDifference::of(&a, &b).expect("a reported task has items")
    };
    let differences: Vec<Vec<PairedDifference>> = positions
        .iter()
        .zip(others)
        .map(|(position, others)| others.iter().map(|other| difference(*position, other)).collect())
        .collect();
    let p = |one: &PairedDifference| if one.value < 0.0 { (one.p * picked as f64).min(1.0) } else { one.p };
    let mut adjusted = holm(&differences.iter().flatten().map(p).collect::<Vec<_>>()).into_iter();
    let mut rival = |(other, difference): (&&Entry, PairedDifference)| {
        let p_holm = adjusted.next().expect("there is one for each difference");
        Rival { name: other.name.clone(), difference, p_holm, finding: Finding::of(&difference, p_holm) }
    };
    others.iter().zip(differences).map(|(others, of)| others.iter().zip(of).map(&mut rival).collect()).collect()
}

/// `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
