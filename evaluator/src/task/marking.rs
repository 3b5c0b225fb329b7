//! Marks answers: filters, then measures, then one number over all items.

use super::{
    Doc, ItemId, ItemScore,
    definition::{DefinitionFile, Formula, OutputType},
    documents::Datasets,
    exact::Exact,
    filter::Filter,
    function::{self, GeneratedAnswer, GoldForm, Process},
    items::TaskItem,
    measures::{Measure, listed, measures},
    ours::{self, Tool, Tools},
    prompt_maker::{AskedDocument, texts},
    reads::{self, HarnessReading, Rules},
    score::{self, Aggregation, Choose, METRICS, Measurement, Metric, golds},
};
use crate::{
    python,
    request::{Answer, Likelihood, Said},
    text::normalize::{Number, is_japanese},
};
use merge_core::{
    error::{Error, Result},
    yaml::{Mistake, known_names},
};
use serde_json::Value;

/// The filters, measures and rules that mark a task's answers.
#[derive(Debug)]
pub(super) struct Marking {
    output: OutputType,
    /// Number of times that a question counts as asked; all its answers are the same.
    pub(super) repeats: usize,
    pub(super) filters: Vec<Filter>,
    pub(super) measures: Vec<Measure>,
    process: Option<Process>,
    tools: Tools,
    japanese: bool,
    /// Picks a choice by its likelihood.
    choose: Choose,
    /// Measure and filter of the score for tables and searches.
    pub(super) main: (String, String),
    /// True if each item may have several right answers, any of which will do.
    pub(super) has_several_golds: bool,
    /// The kind of answers on which harnesses may disagree.
    pub(super) rules: Rules,
}

/// An item that was asked and marked.
#[derive(Clone, Debug)]
pub struct MarkedItem {
    /// The item.
    pub item: ItemId,
    /// Index in its split of the data, in the order of asking.
    pub number: usize,
    /// The answers to its requests.
    pub answers: Vec<Answer>,
    /// Marks under each filter.
    pub filtered: Vec<FilterMarks>,
    /// Score for tables and searches; more is better.
    pub main: f64,
    /// A generated answer as each harness's rule reads it, if these could disagree.
    pub reads: Vec<HarnessReading>,
}

/// The marks of an answer under one filter.
#[derive(Clone, Debug)]
pub struct FilterMarks {
    /// Name of the filter.
    pub filter: String,
    /// Generated text that the filter left; `None` for likelihoods.
    pub response: Option<String>,
    /// The measures and their scores, in order.
    pub scores: Vec<(String, Measurement)>,
}

/// A measure over all items.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// Name of the measure.
    pub metric: String,
    /// Name of the filter.
    pub filter: String,
    /// Value of the measure.
    pub value: f64,
    /// Standard error of the value, if lm-evaluation-harness gives one.
    pub stderr: Option<f64>,
    /// 95% confidence interval of the value, by our own [`crate::statistics::Estimate`].
    pub ci95: Option<[f64; 2]>,
    /// Number of items.
    pub n: usize,
    /// True if more is better.
    pub higher_is_better: bool,
}

impl Marking {
    /// Reads the marking of a definition, and opens the tools that it needs.
    pub(super) fn new(written: &DefinitionFile, datasets: &dyn Datasets) -> Result<Self> {
        let definition = &written.definition;
        let output = definition.output();
        let repeats = definition.repeats.map_or(1, |repeats| repeats.value);
        let process = definition.process_results.as_ref().map(|formula| match &formula.value {
            Formula::Function(name) => function::process_results(name)
                .and_then(|process| match output {
                    OutputType::GenerateUntil => Ok(process),
                    _ => Err(Mistake::new(format!("`{name}` marks generated text"))),
                })
                .map_err(|mistake| written.error("process_results", formula.place, mistake)),
            _ => unreachable!("checked when the definition was read"),
        });
        let process = process.transpose()?;
        let by_tokens = definition.counts_tokens();
        let mut tools: Vec<Tool> = process.iter().filter(|_| !by_tokens).filter_map(|process| process.tool).collect();
        if process.is_none() && output == OutputType::GenerateUntil {
            tools.extend(listed(definition).filter_map(|name| ours::MEASURES.iter().find(|known| known.0 == name)?.1));
        }
        let tools = Tools::open(&tools, datasets).map_err(|e| e.at(written.path.display()))?;
        let mut filters = Vec::new();
        for config in definition.filter_list.iter().flatten() {
            if filters.iter().any(|filter: &Filter| filter.name == config.name.value) {
                let twice = Mistake::new(format!("two filters are named `{}`", config.name.value));
                return Err(written.error("filter_list", config.name.place, twice));
            }
            filters.push(Filter::new(written, config, repeats, output == OutputType::GenerateUntil)?);
        }
        if filters.is_empty() {
            filters.push(Filter::none());
        }
        let mut measures = measures(written, process.as_ref())?;
        if output == OutputType::GenerateUntil && !by_tokens {
            for measure in &mut measures {
                measure.name = tools.name(&measure.name);
            }
        }
        let main = (measures[0].name.clone(), filters[0].name.clone());
        let ours = definition.ours();
        let tie_is_wrong = ours.and_then(|ours| ours.tie_is_wrong.as_ref()).is_some_and(|wrong| wrong.value);
        let mut marking = Self {
            output,
            repeats,
            filters,
            measures,
            process,
            tools,
            japanese: ours.is_some_and(|ours| ours.language.is_some()),
            choose: if tie_is_wrong { score::likelier_than_all } else { score::likeliest },
            main,
            has_several_golds: false,
            rules: Rules::One,
        };
        if let Some(main) = ours.and_then(|ours| ours.main.as_ref()) {
            marking.set_main(&main.value).map_err(|mistake| written.error("metadata", main.place, mistake))?;
        }
        Ok(marking)
    }

    /// Selects the measure for tables and searches: `metric`, or `metric,filter`.
    pub(super) fn set_main(&mut self, name: &str) -> std::result::Result<(), Mistake> {
        let (metric, filter) = name.split_once(',').map_or((name, None), |(metric, filter)| (metric, Some(filter)));
        let filter = filter.unwrap_or(&self.filters[0].name);
        let filters = self.filters.iter().map(|filter| filter.name.as_str());
        if !filters.clone().any(|known| known == filter) {
            return Err(Mistake::new(format!("there is no filter `{filter}`")).hint(known_names(
                filter,
                "the task has",
                filters,
            )));
        }
        let known = self.measures.iter().map(|measure| measure.name.as_str());
        let texts: Vec<String> = ours::MEASURES
            .iter()
            .filter(|known| self.tools.can(known.1))
            .map(|known| self.tools.name(known.0))
            .collect();
        let texts = texts
            .iter()
            .map(String::as_str)
            .filter(|_| self.output == OutputType::GenerateUntil && self.process.is_none());
        let possible = METRICS.iter().filter(|metric| self.is_possible(metric)).map(|metric| metric.name).chain(texts);
        let names: Vec<&str> = known.chain(possible.filter(|name| self.measure(name).is_none())).collect();
        if !names.contains(&metric) {
            return Err(Mistake::new(format!("there is no measure `{metric}` of this task")).hint(known_names(
                metric,
                "there are",
                names,
            )));
        }
        let is_number = match self.measure(metric) {
            Some(measure) => measure.aggregation.takes_numbers() || measure.name == "bits_per_byte",
            None => true,
        };
        if !is_number {
            return Err(Mistake::new(format!("`{metric}` is computed over all items together"))
                .hint("tables and searches go by a measure that each item has"));
        }
        self.main = (metric.to_owned(), filter.to_owned());
        Ok(())
    }

    pub(super) fn expects_japanese(&self) -> bool {
        self.japanese
    }

    /// The worst score: 0 for a measure between 0 and 1; for one without bounds, the score of a broken model.
    pub(super) fn worst(&self) -> f64 {
        let endless = ["gold_margin", "gold_logprob_per_byte", "bits_per_byte", "perplexity"];
        if endless.contains(&self.main.0.as_str()) { score::BROKEN } else { 0.0 }
    }

    /// True if more is better in the measure for tables and searches.
    pub(super) fn main_is_higher_better(&self) -> bool {
        let known = METRICS.iter().find(|metric| metric.name == self.main.0);
        let measure = self.measure(&self.main.0).map(|measure| measure.higher_is_better);
        measure.or(known.map(|metric| metric.higher_is_better)).unwrap_or(true)
    }

    fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }

    /// True if a measure that the task does not list can be computed from its answers.
    fn is_possible(&self, metric: &Metric) -> bool {
        let asked = metric.name != "acc_mutual_info" && metric.name != "exact_match";
        asked
            && metric.outputs.contains(&self.output)
            && metric.aggregation.takes_numbers()
            && metric.name != "perplexity"
            || metric.name == "bits_per_byte" && metric.outputs.contains(&self.output)
    }

    /// Refuses an item without a valid right answer. Returns that answer if it is a number.
    pub(super) fn check(&self, doc: &Doc, asked: &AskedDocument) -> Result<Option<Number>> {
        let number = |place: &str, gold: &str| gold.parse().map(Some).map_err(|e: Error| e.at(place));
        let golds_of = || texts(&asked.target, asked.choices.as_deref());
        match self.process.map(|process| process.gold) {
            Some(GoldForm::NumberIn(field)) => number(field, &python::str(super::template::field(doc, field)?)),
            Some(GoldForm::Number) => number("doc_to_target", &golds_of().concat()),
            _ if self.output == OutputType::GenerateUntil => {
                let golds = golds_of();
                Ok(if let [gold] = &golds[..] { gold.parse().ok() } else { None })
            }
            _ => self.check_choice(asked).map(|()| None),
        }
    }

    fn check_choice(&self, asked: &AskedDocument) -> Result<()> {
        let Some(choices) = asked.choices.as_ref().filter(|_| self.output == OutputType::MultipleChoice) else {
            return Ok(());
        };
        let (gold, n) = (python::repr(&asked.gold), choices.len());
        let all = asked.gold.as_array().map_or(1, Vec::len);
        if golds(asked).len() != all || all == 0 {
            return Err(Error::user(format!("doc_to_target: {gold} is not one of the {n} choices"))
                .hint("it is the index of a choice, from 0, or its text"));
        }
        match self.measures.iter().find(|measure| measure.aggregation == Aggregation::F1) {
            Some(measure) if n > 2 => {
                Err(Error::user(format!("`{}` needs two classes, but there are {n}", measure.name))
                    .hint("`macro_f1` takes any number of classes"))
            }
            _ => Ok(()),
        }
    }

    /// Marks the answers to an item. Fails if the search for a pattern takes too many steps.
    ///
    /// # Panics
    /// If the answers are not to the item's requests.
    pub(super) fn mark(&self, id: ItemId, item: &TaskItem, answers: &[Answer]) -> Result<MarkedItem> {
        let (filtered, extra) = match self.output {
            OutputType::GenerateUntil => self.of_text(item, answers)?,
            _ => self.of_likelihoods(item, answers),
        };
        let main = filtered.iter().find(|filtered| filtered.filter == self.main.1);
        let listed = main.and_then(|main| main.scores.iter().find(|(name, _)| *name == self.main.0));
        let value = listed.map(|(_, score)| score).or(extra.as_ref()).and_then(Measurement::value).unwrap_or(0.0);
        let value = if value.is_nan() { 0.0 } else { value };
        let main = if self.main_is_higher_better() { value } else { -value };
        let reads = self.reads(item, answers, &filtered);
        Ok(MarkedItem { item: id, number: item.number, answers: answers.to_vec(), filtered, main, reads })
    }

    /// A generated answer as each rule reads it: numbers in the text itself, spans in the filtered text.
    fn reads(&self, item: &TaskItem, answers: &[Answer], filtered: &[FilterMarks]) -> Vec<HarnessReading> {
        match (self.rules, &item.gold, answers) {
            (Rules::Numbers, Some(gold), [Answer { said: Said::Text { text, .. }, .. }]) => {
                reads::of_number(text, gold)
            }
            (Rules::Spans, ..) => {
                let main = filtered.iter().find(|filtered| filtered.filter == self.main.1);
                let response = main.and_then(|main| main.response.as_deref()).unwrap_or_default();
                reads::of_span(response, &right_answers(item))
            }
            _ => Vec::new(),
        }
    }

    /// The kind of answers on which harnesses may disagree; `numbers` is true if all right answers are numbers.
    pub(super) fn rules(&self, numbers: bool) -> Rules {
        let compares = self
            .process
            .as_ref()
            .map_or_else(|| self.measure("exact_match").is_some(), |process| process.gives.contains(&"exact_match"));
        match self.output {
            OutputType::GenerateUntil if numbers => Rules::Numbers,
            OutputType::GenerateUntil if compares => Rules::Spans,
            _ => Rules::One,
        }
    }

    fn of_text(&self, item: &TaskItem, answers: &[Answer]) -> Result<(Vec<FilterMarks>, Option<Measurement>)> {
        let [Answer { said: Said::Text { text, .. }, compared, .. }] = answers else {
            panic!("one generated answer for each item")
        };
        let wrong = self.japanese && !is_japanese(text);
        let gate = |score: Measurement| if wrong { score.wrong() } else { score };
        let mut extra = None;
        let mut filtered = Vec::new();
        for filter in &self.filters {
            let response = filter.apply(&item.doc, vec![text.clone(); self.repeats])?;
            let number = item.gold.as_ref();
            let answered = GeneratedAnswer {
                asked: &item.asked,
                number,
                text: &response,
                tokens: compared.as_ref(),
                tools: &self.tools,
            };
            let of = |name: &str| Ok::<_, Error>(self.of_answer(name, &answered)?.map(gate));
            let scores: Vec<(String, Measurement)> = if let Some(process) = &self.process {
                (process.mark)(&answered).into_iter().map(|(name, score)| (name.to_owned(), gate(score))).collect()
            } else {
                let score =
                    |measure: &Measure| of(&measure.name).map(|score| Some((measure.name.clone(), score?))).transpose();
                self.measures.iter().filter_map(score).collect::<Result<_>>()?
            };
            if filter.name == self.main.1 && self.measure(&self.main.0).is_none() {
                extra = of(&self.main.0)?;
            }
            filtered.push(FilterMarks { filter: filter.name.clone(), response: Some(response), scores });
        }
        Ok((filtered, extra))
    }

    /// A measure of a generated answer.
    fn of_answer(&self, name: &str, answered: &GeneratedAnswer<'_>) -> Result<Option<Measurement>> {
        if name == "exact_match" {
            let exact = self.measure(name).map_or(const { &Exact::NOTHING }, |measure| &measure.exact);
            return score::of_text_answer(exact, answered.asked, self.has_several_golds, answered.text).map(Some);
        }
        let found = ours::MEASURES.iter().find(|known| self.tools.name(known.0) == name);
        Ok(found.map(|(_, _, measure)| Measurement::Number(measure(answered))))
    }

    fn of_likelihoods(&self, item: &TaskItem, answers: &[Answer]) -> (Vec<FilterMarks>, Option<Measurement>) {
        let all = answers.iter().flat_map(|answer| match &answer.said {
            Said::Likelihoods(all) => all.iter().copied(),
            Said::Text { .. } => panic!("likelihoods for each item"),
        });
        let all: Vec<Likelihood> = all.collect();
        let of = |name: &str| score::of_likelihoods(name, self.output, self.choose, &item.asked, &all);
        // In the order of the table, not of the task.
        let listed = METRICS.iter().filter(|metric| self.measure(metric.name).is_some());
        let scores: Vec<(String, Measurement)> =
            listed.filter_map(|metric| Some((metric.name.to_owned(), of(metric.name)?))).collect();
        let extra = if self.measure(&self.main.0).is_some() { None } else { of(&self.main.0) };
        let one = |filter: &Filter| FilterMarks { filter: filter.name.clone(), response: None, scores: scores.clone() };
        (self.filters.iter().map(one).collect(), extra)
    }

    /// Every measure under every filter, over all items. `draws` is the number of resamples for the standard error of
    /// a measure that is not a mean (lm-evaluation-harness: 100,000). With 0, there are no standard errors.
    pub(super) fn aggregate(&self, marked: &[MarkedItem], draws: usize) -> Vec<MetricRow> {
        let mut rows = Vec::new();
        for (i, filter) in self.filters.iter().enumerate() {
            let mut names: Vec<&String> = Vec::new();
            for (name, _) in marked.iter().flat_map(|marked| &marked.filtered[i].scores) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            for metric in names {
                let scores = marked.iter().flat_map(|marked| &marked.filtered[i].scores);
                let scores: Vec<&Measurement> =
                    scores.filter(|(name, _)| name == metric).map(|(_, score)| score).collect();
                let measure = self.measure(metric);
                let aggregation = measure.map_or(Aggregation::Mean, |measure| measure.aggregation);
                rows.push(MetricRow {
                    metric: metric.clone(),
                    filter: filter.name.clone(),
                    value: aggregation.of(&scores),
                    stderr: aggregation.stderr(&scores, draws),
                    ci95: aggregation.ci95(&scores),
                    n: scores.len(),
                    higher_is_better: measure.is_none_or(|measure| measure.higher_is_better),
                });
            }
        }
        rows
    }
}

/// All right answers: those of a document in `SQuAD`'s form, even if the task takes only the first
/// of them; otherwise the target.
fn right_answers(item: &TaskItem) -> Vec<String> {
    match item.doc.get("answers").and_then(|answers| answers.get("text")).and_then(Value::as_array) {
        Some(all) => all.iter().map(python::str).collect(),
        None => texts(&item.asked.target, item.asked.choices.as_deref()),
    }
}

/// The score of an item that a search remembers.
pub(super) fn score(marked: &MarkedItem) -> ItemScore {
    let (tokens, truncated) = match marked.answers.first().map(|answer| &answer.said) {
        Some(Said::Text { tokens, truncated, .. }) => (u32::try_from(*tokens).unwrap_or(u32::MAX), *truncated),
        _ => (0, false),
    };
    ItemScore { value: marked.main, tokens, truncated }
}
