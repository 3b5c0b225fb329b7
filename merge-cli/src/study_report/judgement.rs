//! The verdict on a search's answer: compared, on each task, with the best parent there and with
//! each baseline that ran.

use crate::{
    draw::measure,
    language::{Language, study as texts},
    study_report::{
        figures::{self, ReportedModels},
        names,
    },
};
use evaluator::statistics::{PairedDifference, several::holm};
use merge_core::study::{Entry, Goal};
use serde::Serialize;
use std::fmt::Display;

#[cfg(test)]
pub(crate) mod tests;

/// With fewer report items than this, only large differences can be proved.
pub(crate) const FEW: usize = 30;
/// With fewer than this, none can: if only the answer has five items right, McNemar's exact test
/// gives p = 0.0625.
const LEAST: usize = 6;
/// Largest p-value that counts as proof.
const ALPHA: f64 = 0.05;

/// Comparison of the answer with the other models, item by item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Judgement {
    /// All reported tasks, in the order of the tables.
    pub(crate) tasks: Vec<TaskJudgement>,
    /// Baselines that the answer is not proved to beat on any objective or constraint: against
    /// these, it is not proved that the search was worth its cost.
    pub(crate) as_good: Vec<String>,
}

/// Comparison of the answer with the other models on one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TaskJudgement {
    /// Name of the task.
    pub(crate) task: String,
    /// Metric of the task.
    pub(crate) metric: String,
    /// Number of report items.
    pub(crate) n: usize,
    /// True if the search maximised it; other tasks are constraints or only reported.
    pub(crate) is_objective: bool,
    /// True if its score is one number for a model, not a mean over items.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) whole: bool,
    /// Difference to the parent that is best on this task.
    pub(crate) best_parent: Rival,
    /// Differences to the baselines.
    pub(crate) baselines: Vec<Rival>,
}

/// Comparison of the answer with another model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rival {
    /// Name of the other model.
    pub(crate) name: String,
    /// Score of the answer minus that of the other model.
    #[serde(flatten)]
    pub(crate) difference: PairedDifference,
    /// P-value with Holm's correction for the number of comparisons: with parents, those on all
    /// tasks; with baselines, those on all tasks with all baselines. If the parent is better, its
    /// p-value is first multiplied by the number of parents, because it was picked for its score.
    pub(crate) p_holm: f64,
    /// Conclusion from the difference and the p-value.
    pub(crate) finding: Finding,
}

/// Conclusion about the answer from a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finding {
    /// The answer is better than the other model.
    Better,
    /// No difference is proved.
    NotProvedDifferent,
    /// The answer is worse.
    Worse,
}

impl Judgement {
    /// Compares the models by their scores on report items.
    pub(crate) fn of(goals: &[Goal], reported: &ReportedModels<'_>) -> Self {
        let positions: Vec<usize> = figures::positions(goals).collect();
        let parents = positions.iter().map(|position| vec![figures::best_parent(reported.parents, *position)]);
        let baselines = positions.iter().map(|_| reported.baselines.iter().collect());
        let against = |others: Vec<Vec<&Entry>>, picked| rivals(goals, &positions, reported.winner, &others, picked);
        let parents = against(parents.collect(), reported.parents.len());
        let baselines = against(baselines.collect(), 1);
        let task = |((position, parent), baselines): ((&usize, Vec<Rival>), Vec<Rival>)| TaskJudgement {
            task: goals[*position].name.clone(),
            metric: goals[*position].metric.clone(),
            n: goals[*position].report.len(),
            is_objective: goals[*position].weight > 0.0,
            whole: goals[*position].whole,
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

    /// The verdict in short sentences, parents first.
    pub(crate) fn sentences(&self, language: Language) -> Vec<String> {
        let on = |finding: Finding, other: &str, tasks: &[&str]| {
            let values: [(&str, &dyn Display); 2] =
                [("finding", &finding.says(other, language)), ("tasks", &language.list(tasks))];
            language.fill(&texts::FINDING_ON, &values)
        };
        let mut said = Vec::new();
        for finding in Finding::ALL {
            let tasks = self.tasks.iter().filter(|task| task.best_parent.finding == finding);
            let tasks: Vec<&str> = tasks.map(|task| task.task.as_str()).collect();
            if !tasks.is_empty() {
                said.push(on(finding, language.text(&texts::BEST_PARENT), &tasks));
            }
        }
        for task in self.tasks.iter().filter(|task| task.is_objective && !task.baselines.is_empty()) {
            for finding in Finding::ALL {
                let found = task.baselines.iter().filter(|rival| rival.finding == finding);
                let names: Vec<String> = found.map(|rival| names::shown(&rival.name, language)).collect();
                if names.is_empty() {
                    continue;
                }
                let others = if names.len() == task.baselines.len() && names.len() > 1 {
                    let is_open = finding == Finding::NotProvedDifferent;
                    let all = if is_open { &texts::ANY_BASELINE } else { &texts::ALL_BASELINES };
                    language.fill(all, &[("n", &names.len())])
                } else {
                    language.list(&names.iter().map(String::as_str).collect::<Vec<_>>())
                };
                said.push(on(finding, &others, &[&task.task]));
            }
        }
        said.extend(self.cost(language));
        said
    }

    /// The unbeaten baselines: those that are proved better, and those that may be as good. The
    /// second list is empty if there are too few items to prove anything.
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

    /// Sentences about the cost, if it is not proved that the search was worth it.
    fn cost(&self, language: Language) -> Vec<String> {
        let (better, rest) = self.unbeaten();
        let said = [(better, &texts::NOT_WORTH_IT), (rest, &texts::WORTH_NOT_PROVED)].into_iter();
        let said = said.filter(|(names, _)| !names.is_empty());
        said.map(|(names, text)| {
            let names: Vec<String> = names.into_iter().map(|name| names::shown(name, language)).collect();
            language.fill(text, &[("names", &language.list(&names.iter().map(String::as_str).collect::<Vec<_>>()))])
        })
        .collect()
    }

    /// Lines with the numbers of all comparisons, task by task.
    pub(crate) fn comparisons(&self, language: Language) -> Vec<String> {
        let said = |task: &TaskJudgement, rival: &Rival| measure::difference(&task.metric, &rival.difference);
        let rivals = |task: &TaskJudgement| -> Vec<(String, f64, String)> {
            let rivals = task.rivals(language, &str::to_owned);
            rivals.map(|(rival, name)| (said(task, rival), rival.p_holm, rival.finding.says(&name, language))).collect()
        };
        let all = self.tasks.iter().flat_map(rivals);
        let width = all.map(|(difference, ..)| difference.len()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for task in &self.tasks {
            let items = language.count(task.n, &texts::ITEM);
            let text = if task.whole { &texts::COMPARED_WHOLE } else { &texts::COMPARED_ON };
            lines.push(language.fill(text, &[("task", &task.task), ("items", &items)]));
            lines.extend(rivals(task).into_iter().map(|(difference, p, says)| {
                format!("  {difference:<width$}  p {:<7}  {says}", figures::probability(p))
            }));
        }
        lines
    }
}

impl TaskJudgement {
    /// All compared models, each with its name for a sentence; `called` gives the name of the
    /// parent.
    pub(crate) fn rivals(
        &self,
        language: Language,
        called: &dyn Fn(&str) -> String,
    ) -> impl Iterator<Item = (&Rival, String)> {
        let name = called(&self.best_parent.name);
        let parent = (&self.best_parent, language.fill(&texts::BEST_PARENT_NAMED, &[("name", &name)]));
        [parent].into_iter().chain(self.baselines.iter().map(move |rival| (rival, names::shown(&rival.name, language))))
    }
}

impl Finding {
    /// All findings, in the order of the sentences.
    const ALL: [Self; 3] = [Self::Better, Self::NotProvedDifferent, Self::Worse];

    fn of(difference: &PairedDifference, p_holm: f64) -> Self {
        let is_proved = p_holm <= ALPHA;
        match difference.value {
            value if is_proved && value > 0.0 => Self::Better,
            value if is_proved && value < 0.0 => Self::Worse,
            _ => Self::NotProvedDifferent,
        }
    }

    /// Part of a sentence about the answer, such as `better than ja`.
    pub(crate) fn says(self, other: &str, language: Language) -> String {
        let text = match self {
            Self::Better => &texts::BETTER_THAN,
            Self::NotProvedDifferent => &texts::NOT_PROVED_DIFFERENT,
            Self::Worse => &texts::WORSE_THAN,
        };
        language.fill(text, &[("other", &other)])
    }
}

/// Comparisons on one task, in words.
#[derive(Serialize)]
pub(crate) struct TaskSentences {
    pub(crate) name: String,
    pub(crate) n: usize,
    pub(crate) rivals: Vec<RivalSentence>,
}

/// Comparison with one model, in words.
#[derive(Serialize)]
pub(crate) struct RivalSentence {
    pub(crate) says: String,
    pub(crate) difference: String,
    pub(crate) p: f64,
}

impl TaskSentences {
    /// Sentences for all tasks of a verdict.
    pub(crate) fn of(judgement: &Judgement, language: Language) -> impl Iterator<Item = Self> {
        judgement.tasks.iter().map(move |task| {
            let rivals = task.rivals(language, &str::to_owned).map(|(rival, name)| RivalSentence {
                says: rival.finding.says(&name, language),
                difference: measure::difference(&task.metric, &rival.difference),
                p: rival.p_holm,
            });
            Self { name: task.task.clone(), n: task.n, rivals: rivals.collect() }
        })
    }
}

/// Notes on tasks that have few report items.
pub(crate) fn few_items(goals: &[Goal], language: Language) -> Vec<String> {
    let few = goals.iter().filter(|goal| (1..FEW).contains(&goal.report.len()) && !goal.whole);
    few.map(|goal| {
        let n = goal.report.len();
        let (text, least) = if n < LEAST { (&texts::TOO_FEW_ITEMS, LEAST) } else { (&texts::FEW_ITEMS, FEW) };
        let items = language.count(n, &texts::REPORT_ITEM);
        language.fill(text, &[("task", &goal.name), ("items", &items), ("least", &least)])
    })
    .collect()
}

/// Comparisons of the answer with `others` on each task; p-values are adjusted for the total
/// number. Each other model was the best of `picked` models on the same items, so it wins by chance
/// more often: if it is better, its p-value is multiplied by `picked`.
fn rivals(
    goals: &[Goal],
    positions: &[usize],
    winner: &Entry,
    others: &[Vec<&Entry>],
    picked: usize,
) -> Vec<Vec<Rival>> {
    let difference = |position: usize, other: &Entry| {
        let [a, b] = [winner, other].map(|entry| &entry.scores[position][..]);
        figures::difference(&goals[position], a, b).expect("a reported task has items")
    };
    let differences: Vec<Vec<PairedDifference>> = positions
        .iter()
        .zip(others)
        .map(|(position, others)| others.iter().map(|other| difference(*position, other)).collect())
        .collect();
    let p = |one: &PairedDifference| if one.value < 0.0 { (one.p * picked as f64).min(1.0) } else { one.p };
    // One number for a model is no test: it takes no part in the correction.
    let is_tested = |position: usize| !goals[position].whole;
    let tested = positions.iter().zip(&differences).filter(|(position, _)| is_tested(**position));
    let mut adjusted = holm(&tested.flat_map(|(_, all)| all).map(p).collect::<Vec<_>>()).into_iter();
    let mut rival = |position: usize, other: &Entry, difference: PairedDifference| {
        let p_holm = if is_tested(position) { adjusted.next().expect("there is one for each difference") } else { 1.0 };
        Rival { name: other.name.clone(), difference, p_holm, finding: Finding::of(&difference, p_holm) }
    };
    let each = positions.iter().zip(others).zip(differences);
    each.map(|((position, others), of)| others.iter().zip(of).map(|(other, of)| rival(*position, other, of)).collect())
        .collect()
}
