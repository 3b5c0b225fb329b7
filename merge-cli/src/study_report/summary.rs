//! Summary of a study as plain data, from which terminal, page, tables and JSON are made.

use super::{
    curve::{self, CurvePoint, Growth, PlottedObjective},
    origins::{Origins, origins},
    route::RoutePicture,
    weights::{self, ChoiceRow, WeightMap},
};
use crate::{
    draw::screen,
    language::{Language, Text, study as texts},
    study_report::{
        StudyRead,
        chosen::{self, Claim},
        figures::{self, ReportedModels},
        judgement::{self, Judgement, TaskJudgement},
    },
};
use evaluator::statistics::{Estimate, PairedDifference};
use merge_core::{
    error::Result,
    item::ItemId,
    optimizer::Stop,
    recipe::Recipe,
    study::{self, CandidateState, Curves, Ending, Entry, Generation, Goal, StudyRecord},
    template::Dimension,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// Summary of a study.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and a key of the JSON")]
pub(crate) struct Summary {
    pub(crate) version: String,
    /// True if the study has ended; else the summary shows its present state.
    pub(crate) done: bool,
    /// True if a search is running it.
    pub(crate) running: bool,
    /// True if some of its records are lost.
    pub(crate) damaged: bool,
    pub(crate) seed: u64,
    pub(crate) budget: u64,
    pub(crate) optimizer: String,
    /// Inference engine that scored, with its settings; `None` if evomerge scored itself.
    pub(crate) engine: Option<String>,
    pub(crate) models: Vec<String>,
    pub(crate) tasks: Vec<TaskSummary>,
    pub(crate) objectives: Vec<PlottedObjective>,
    pub(crate) dimensions: Vec<Dimension>,
    pub(crate) costs: Costs,
    /// Number of candidates of the evolution by state.
    pub(crate) became: StateCounts,
    pub(crate) stopped: Option<String>,
    /// True if the scores in the evolution are estimates from anchors.
    pub(crate) estimated: bool,
    pub(crate) convergence: Vec<CurvePoint>,
    /// Curves that include the leads over the parents.
    #[serde(skip)]
    pub(crate) curves: Curves,
    pub(crate) random_search: Vec<CurvePoint>,
    pub(crate) hypervolume: Option<Growth>,
    /// Finalists, the answer first.
    pub(crate) finalists: Vec<FinalistSummary>,
    /// Weights of the answer, or of the search so far.
    pub(crate) weights: Vec<WeightMap>,
    pub(crate) chosen: Vec<ChoiceRow>,
    pub(crate) path: Option<RoutePicture>,
    /// Verdict on the answer.
    pub(crate) verdict: Option<Judgement>,
    /// Notes on tasks.
    pub(crate) notes: Vec<String>,
    pub(crate) table: Vec<ResultRow>,
    /// Choice of the answer in words.
    pub(crate) choice: Vec<String>,
    /// Best score seen and reported score, by task.
    pub(crate) winners_curse: BTreeMap<String, Claim>,
    pub(crate) items: Vec<Against>,
    pub(crate) genealogy: Origins,
    pub(crate) candidates: Vec<CandidateRow>,
    pub(crate) report_items: Vec<ItemTable>,
    pub(crate) recipe: Option<String>,
    pub(crate) file: String,
    /// Language of the sentences.
    #[serde(skip)]
    pub(crate) language: Language,
}

#[derive(Serialize)]
pub(crate) struct TaskSummary {
    pub(crate) name: String,
    pub(crate) metric: String,
    pub(crate) weight: f64,
    pub(crate) within: Option<f64>,
    pub(crate) search: usize,
    pub(crate) select: usize,
    pub(crate) report: usize,
}

/// Item evaluations and tokens; results found in the store are counted too.
#[derive(Serialize)]
pub(crate) struct Costs {
    pub(crate) evolution: usize,
    pub(crate) tokens: u64,
    pub(crate) random_search: usize,
    pub(crate) random_search_tokens: u64,
    /// Item evaluations of finalists on select items, and of models on report items.
    pub(crate) selection: usize,
    pub(crate) report: usize,
}

#[derive(Default, Serialize)]
pub(crate) struct StateCounts {
    pub(crate) ranked: usize,
    pub(crate) infeasible: usize,
    pub(crate) too_long: usize,
    /// Number of failed candidates by reason.
    pub(crate) failed: BTreeMap<String, usize>,
}

#[derive(Serialize)]
pub(crate) struct FinalistSummary {
    pub(crate) name: String,
    pub(crate) fitness: f64,
    pub(crate) violation: f64,
    pub(crate) on_front: bool,
    /// Value for each objective, in its own unit; for tasks, on select items.
    pub(crate) values: Vec<Option<f64>>,
    /// Score with its interval for each objective; `None` for costs.
    pub(crate) estimates: Vec<Option<Estimate>>,
    pub(crate) recipe: String,
}

/// A row of the table of results.
#[derive(Serialize)]
pub(crate) struct ResultRow {
    /// `parent`, `baseline` or `evolved`.
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) scores: Vec<ScoreSummary>,
}

#[derive(Serialize)]
pub(crate) struct ScoreSummary {
    pub(crate) task: String,
    pub(crate) metric: String,
    #[serde(flatten)]
    pub(crate) estimate: Estimate,
    /// Parent that is best on the task.
    pub(crate) best_parent: String,
    /// Difference to that parent; `None` for the parent itself.
    pub(crate) difference_to_best_parent: Option<PairedDifference>,
    /// P-value of the difference, with Holm's correction for the tasks; only for the answer.
    pub(crate) p_holm: Option<f64>,
}

/// Items that the answer gained and lost against a parent.
#[derive(Serialize)]
pub(crate) struct Against {
    pub(crate) parent: String,
    pub(crate) task: String,
    pub(crate) n: usize,
    pub(crate) gained: Vec<ItemId>,
    pub(crate) lost: Vec<ItemId>,
}

/// A candidate and its results.
#[derive(Serialize)]
pub(crate) struct CandidateRow {
    pub(crate) phase: &'static str,
    /// Generation, and number in it; both count from 1.
    pub(crate) generation: usize,
    pub(crate) number: usize,
    #[serde(flatten)]
    pub(crate) state: CandidateState,
    pub(crate) fitness: Option<f64>,
    pub(crate) goals: Vec<Option<f64>>,
    pub(crate) costs: Vec<f64>,
    pub(crate) genome: Vec<f64>,
    /// Value for each objective, in its own unit; `None` if the candidate was not ranked.
    #[serde(skip)]
    pub(crate) values: Option<Vec<f64>>,
}

/// Scores of all models on a task's report items.
#[derive(Serialize)]
pub(crate) struct ItemTable {
    pub(crate) task: String,
    pub(crate) ids: Vec<ItemId>,
    /// Scores by model, in the order of the items.
    pub(crate) models: Vec<(String, Vec<f64>)>,
}

impl Summary {
    /// Summarises a study, with sentences in `language`.
    ///
    /// Fails if a reported task has no items.
    pub(crate) fn of(study: StudyRead, language: Language) -> Result<Self> {
        let running = study.store.is_none() && study.record.ending.is_none();
        let damaged = study.lost()?.is_some();
        let StudyRecord { version, file, about, prepared, evolution, random, curves, ending } = study.record;
        let (goals, objectives) = (&about.goals, curve::objectives(&about));
        let spent = |generations: &[Generation]| {
            let tokens: u64 = generations.iter().map(|one| one.tokens).sum();
            (generations.iter().map(|one| one.evaluations).sum::<usize>(), tokens)
        };
        let ((evolved, tokens), (randomly, random_tokens)) = (spent(&evolution), spent(&random));
        let n_models = ending.as_ref().map_or(0, |end| end.parents.len() + end.baselines.len() + 1);
        let costs = Costs {
            evolution: prepared as usize + evolved,
            tokens,
            random_search: randomly,
            random_search_tokens: random_tokens,
            selection: ending.as_ref().map_or(0, |end| end.finalists.len())
                * goals.iter().map(|goal| goal.select.len()).sum::<usize>(),
            report: n_models * goals.iter().map(|goal| goal.report.len()).sum::<usize>(),
        };
        // A recipe of another version may be unreadable: then names and path are left out.
        let recipe = ending.as_ref().and_then(|end| Recipe::parse(&end.recipe, Path::new("best.yaml")).ok());
        let genome = ending.as_ref().map(|end| &end.genome).or_else(|| {
            let last = evolution.last()?;
            last.mean.as_ref().or_else(|| last.best().map(|best| &best.genome))
        });
        let (weights, chosen) = genome
            .map(|genome| weights::maps(&about.dimensions, genome, recipe.as_ref(), language))
            .unwrap_or_default();
        let ends = ending.as_ref();
        let reported = ends.map(ReportedModels::of_ending);
        let claims = reported.map(|all| chosen::claims(goals, &all, &evolution, about.estimated)).unwrap_or_default();
        let verdict = reported.map(|all| Judgement::of(goals, &all));
        let mut candidates = listed("evolution", &evolution, &objectives);
        candidates.extend(listed("random search", &random, &objectives));
        Ok(Self {
            version,
            done: ending.is_some(),
            running,
            damaged,
            seed: about.seed,
            budget: about.budget,
            optimizer: about.optimizer.clone(),
            engine: about.engine.clone(),
            models: about.models.clone(),
            tasks: tasks(&about.goals),
            costs,
            became: StateCounts::of(&evolution),
            stopped: ends.and_then(|end| end.stopped).map(|stop| language.text(reason(stop)).to_owned()),
            estimated: about.estimated,
            curves,
            convergence: curve::steps(&evolution, goals, prepared as usize, about.estimated),
            random_search: curve::steps(&random, goals, 0, false),
            hypervolume: curve::growth(&evolution, &objectives),
            finalists: ends.map(|end| finalists(end, &objectives)).unwrap_or_default(),
            weights,
            chosen,
            path: recipe.as_ref().and_then(RoutePicture::of),
            table: match (&reported, &verdict) {
                (Some(all), Some(verdict)) => table(all, verdict, goals)?,
                _ => Vec::new(),
            },
            verdict,
            notes: judgement::few_items(goals, language),
            choice: ends.zip(reported).map_or_else(
                || Ok(Vec::new()),
                |(end, all)| chosen::lines(goals, &end.finalists, &all, &evolution, about.estimated, language),
            )?,
            winners_curse: claims.into_iter().map(|claim| (claim.task.clone(), claim)).collect(),
            items: reported.map(|all| against(&all, goals)).unwrap_or_default(),
            genealogy: origins(&about.dimensions, &evolution, ends, language),
            candidates,
            report_items: reported.map(|all| report_items(&all, goals)).unwrap_or_default(),
            recipe: ends.map(|end| end.recipe.clone()),
            file,
            language,
            objectives,
            dimensions: about.dimensions,
        })
    }
}

impl Summary {
    /// State of a study that has not ended; `None` if it has.
    pub(crate) fn state(&self) -> Option<String> {
        let language = self.language;
        if self.done {
            return None;
        }
        if self.damaged {
            return Some(language.text(&texts::STATE_DAMAGED).to_owned());
        }
        let (spent, budget) = (screen::grouped(self.costs.evolution as u64), screen::grouped(self.budget));
        let spent = language.fill(&texts::SPENT, &[("spent", &spent), ("budget", &budget)]);
        if !self.running {
            return Some(language.fill(&texts::STATE_NOT_DONE, &[("spent", &spent)]));
        }
        let as_of = match (self.convergence.len(), self.random_search.len()) {
            (0, _) => language.text(&texts::BEFORE_GENERATIONS).to_owned(),
            (evolution, 0) => language.fill(&texts::AS_OF_GENERATION, &[("n", &evolution)]),
            (evolution, random) => {
                language.fill(&texts::AS_OF_RANDOM, &[("random", &random), ("evolution", &evolution)])
            }
        };
        Some(language.fill(&texts::STATE_RUNNING, &[("as_of", &as_of), ("spent", &spent)]))
    }
}

impl Summary {
    /// Formats a value for each objective: `sums 50.0%, layers 12`.
    pub(crate) fn corner(&self, values: &[f64]) -> String {
        let all = self.objectives.iter().zip(values).map(|(one, value)| format!("{} {}", one.name, one.show(*value)));
        all.collect::<Vec<_>>().join(", ")
    }
}

/// The reason why an optimizer stopped.
pub(crate) fn reason(stop: Stop) -> &'static Text {
    match stop {
        Stop::StepTooSmall => &texts::STOPPED_STEP,
        Stop::IllConditioned => &texts::STOPPED_CONDITION,
        Stop::Diverged => &texts::STOPPED_DIVERGED,
        Stop::NoEffect => &texts::STOPPED_ROUNDING,
    }
}

impl StateCounts {
    fn of(generations: &[Generation]) -> Self {
        let mut became = Self::default();
        for candidate in generations.iter().flat_map(|one| &one.candidates) {
            match &candidate.state {
                CandidateState::Ranked { .. } => became.ranked += 1,
                CandidateState::Infeasible { .. } => became.infeasible += 1,
                CandidateState::TooLong { .. } => became.too_long += 1,
                CandidateState::Failed { why } => *became.failed.entry(why.clone()).or_default() += 1,
            }
        }
        became
    }

    /// A line for each reason why candidates were not ranked.
    pub(crate) fn lines(&self, language: Language) -> Vec<String> {
        let candidates = |n: usize| language.count(n, &texts::CANDIDATE);
        let counts = [(self.infeasible, &texts::BROKE_CONSTRAINTS), (self.too_long, &texts::TOO_MANY_LAYERS)];
        let counts = counts.into_iter().filter(|(n, _)| *n > 0);
        let counts = counts.map(|(n, text)| language.fill(text, &[("candidates", &candidates(n))]));
        let failed = self
            .failed
            .iter()
            .map(|(why, n)| language.fill(&texts::CANDIDATES_FAILED, &[("candidates", &candidates(*n)), ("why", why)]));
        counts.chain(failed).collect()
    }

    /// Number of all candidates.
    pub(crate) fn all(&self) -> usize {
        self.ranked + self.infeasible + self.too_long + self.failed.values().sum::<usize>()
    }
}

fn tasks(goals: &[Goal]) -> Vec<TaskSummary> {
    let task = |goal: &Goal| TaskSummary {
        name: goal.name.clone(),
        metric: goal.metric.clone(),
        weight: goal.weight,
        within: goal.within,
        search: goal.search.len(),
        select: goal.select.len(),
        report: goal.report.len(),
    };
    goals.iter().map(task).collect()
}

fn finalists(ending: &Ending, objectives: &[PlottedObjective]) -> Vec<FinalistSummary> {
    let finalist = |one: &study::Finalist| FinalistSummary {
        name: one.name.clone(),
        fitness: one.fitness,
        violation: one.violation,
        on_front: one.on_front,
        values: objectives.iter().map(|objective| objective.of_finalist(one)).collect(),
        estimates: objectives.iter().map(|objective| objective.estimate(one)).collect(),
        recipe: one.recipe.clone(),
    };
    ending.finalists.iter().map(finalist).collect()
}

fn listed(phase: &'static str, generations: &[Generation], objectives: &[PlottedObjective]) -> Vec<CandidateRow> {
    let all = generations.iter().enumerate().flat_map(|(generation, one)| {
        one.candidates.iter().enumerate().map(move |(number, candidate)| (generation, number, candidate))
    });
    all.map(|(generation, number, candidate)| CandidateRow {
        phase,
        generation: generation + 1,
        number: number + 1,
        state: candidate.state.clone(),
        fitness: candidate.fitness,
        goals: candidate.goals.clone(),
        costs: candidate.costs.clone(),
        genome: candidate.genome.clone(),
        values: objectives.iter().map(|objective| objective.of(candidate)).collect(),
    })
    .collect()
}

fn table(reported: &ReportedModels<'_>, judgement: &Judgement, goals: &[Goal]) -> Result<Vec<ResultRow>> {
    let row = |(group, entry): (&'static str, &Entry)| {
        let score = |(position, judged): (usize, &TaskJudgement)| {
            let goal = &goals[position];
            Ok(ScoreSummary {
                task: goal.name.clone(),
                metric: goal.metric.clone(),
                estimate: figures::estimate(goal, &entry.scores[position])?,
                best_parent: judged.best_parent.name.clone(),
                difference_to_best_parent: figures::difference_to_best(goal, reported, entry, position),
                p_holm: (group == "evolved").then_some(judged.best_parent.p_holm),
            })
        };
        let scores = figures::positions(goals).zip(&judgement.tasks).map(score).collect::<Result<_>>()?;
        Ok(ResultRow { group, name: entry.name.clone(), scores })
    };
    reported.entries().map(row).collect()
}

fn against(reported: &ReportedModels<'_>, goals: &[Goal]) -> Vec<Against> {
    let mut all = Vec::new();
    for parent in reported.parents {
        for position in figures::positions(goals) {
            let goal = &goals[position];
            let (ours, theirs) = (&reported.winner.scores[position], &parent.scores[position]);
            let scored = || goal.report.iter().zip(ours.iter().zip(theirs));
            let better = |sign: f64| {
                let differs = scored().filter(move |(_, (a, b))| sign * (a.value - b.value) > 0.0);
                differs.map(|(item, _)| *item).collect()
            };
            all.push(Against {
                parent: parent.name.clone(),
                task: goal.name.clone(),
                n: goal.report.len(),
                gained: better(1.0),
                lost: better(-1.0),
            });
        }
    }
    all
}

fn report_items(reported: &ReportedModels<'_>, goals: &[Goal]) -> Vec<ItemTable> {
    let of = |position: usize| {
        let models =
            reported.entries().map(|(_, entry)| (entry.name.clone(), figures::values(&entry.scores[position])));
        ItemTable { task: goals[position].name.clone(), ids: goals[position].report.clone(), models: models.collect() }
    };
    figures::positions(goals).map(of).collect()
}
