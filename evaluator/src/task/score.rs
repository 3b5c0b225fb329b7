//! Measures of one item, by the names of lm-evaluation-harness and some of our own.

use super::{
    definition::OutputType,
    exact::Exact,
    prompt_maker::{AskedDocument, index, texts},
};
use crate::request::Likelihood;
use merge_core::error::Result;
use serde_json::{Value, json};

/// A measure of one item, before the scores of all items are aggregated.
#[derive(Clone, Debug, PartialEq)]
pub enum Measurement {
    /// A number.
    Number(f64),
    /// A whole number, where Python has an `int`.
    Whole(i64),
    /// True if right, where Python has a `bool`.
    Flag(bool),
    /// A summed log-likelihood, and the number of bytes or words that it covers.
    Sum {
        /// The log-likelihood, in nats.
        log: f64,
        /// Number of bytes or words.
        weight: f64,
    },
    /// The right class and the chosen one.
    Classes {
        /// The right class.
        gold: usize,
        /// The chosen class.
        said: usize,
    },
    /// The right class and the probabilities of all.
    Odds {
        /// The right class.
        gold: usize,
        /// Probability of each class.
        probabilities: Vec<f64>,
    },
}

/// The way to aggregate the scores of all items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregation {
    Mean,
    NanMean,
    Median,
    Perplexity,
    WeightedPerplexity,
    BitsPerByte,
    F1,
    MacroF1,
    BalancedAccuracy,
    Matthews,
    Brier,
}

/// A measure: its name, the kinds of questions that it is for, its aggregation and its direction.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) outputs: &'static [OutputType],
    pub(super) aggregation: Aggregation,
    pub(super) higher_is_better: bool,
}

use Aggregation::{BalancedAccuracy, BitsPerByte, Brier, F1, MacroF1, Matthews, Mean, Perplexity, WeightedPerplexity};
use OutputType::{GenerateUntil, Loglikelihood, LoglikelihoodRolling, MultipleChoice};

const fn metric(
    name: &'static str,
    outputs: &'static [OutputType],
    aggregation: Aggregation,
    higher_is_better: bool,
) -> Metric {
    Metric { name, outputs, aggregation, higher_is_better }
}

/// All measures that need no function, in the order of lm-evaluation-harness's results; ours come last.
pub(super) const METRICS: &[Metric] = &[
    metric("perplexity", &[Loglikelihood], Perplexity, false),
    metric("acc", &[Loglikelihood, MultipleChoice], Mean, true),
    metric("f1", &[MultipleChoice], F1, true),
    metric("mcc", &[MultipleChoice], Matthews, true),
    metric("acc_norm", &[MultipleChoice], Mean, true),
    metric("acc_bytes", &[MultipleChoice], Mean, true),
    metric("exact_match", &[MultipleChoice, GenerateUntil], Mean, true),
    metric("brier_score", &[MultipleChoice], Brier, false),
    metric("acc_mutual_info", &[MultipleChoice], Mean, true),
    metric("word_perplexity", &[LoglikelihoodRolling], WeightedPerplexity, false),
    metric("byte_perplexity", &[LoglikelihoodRolling], WeightedPerplexity, false),
    metric("bits_per_byte", &[Loglikelihood, LoglikelihoodRolling], BitsPerByte, false),
    // Mean over classes of the share that is right; mean over classes of F1 (Stability's harness).
    metric("balanced_acc", &[MultipleChoice], BalancedAccuracy, true),
    metric("macro_f1", &[MultipleChoice], MacroF1, true),
    // Probability of the right answer: the expected accuracy of a model that samples.
    metric("likelihood", &[Loglikelihood, MultipleChoice], Mean, true),
    // Difference to the likeliest wrong answer, in nats.
    metric("gold_margin", &[MultipleChoice], Mean, true),
    // Log-likelihood of the right answer, in nats per byte.
    metric("gold_logprob_per_byte", &[Loglikelihood, MultipleChoice, LoglikelihoodRolling], Mean, true),
];

/// The measures of a task that lists none.
pub(super) fn defaults(output: OutputType) -> &'static [&'static str] {
    match output {
        Loglikelihood => &["perplexity", "acc"],
        LoglikelihoodRolling => &["word_perplexity", "byte_perplexity", "bits_per_byte"],
        MultipleChoice => &["acc", "acc_norm"],
        GenerateUntil => &["exact_match"],
    }
}

/// Log-likelihood in nats that replaces one that a broken model does not give.
pub(super) const BROKEN: f64 = -1e4;

impl Measurement {
    /// The score as a number, if it is a single one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Number(x) => Some(*x),
            Self::Whole(number) => Some(*number as f64),
            Self::Flag(flag) => Some(f64::from(u8::from(*flag))),
            // Bits per byte.
            Self::Sum { log, weight } => Some(-log / weight / std::f64::consts::LN_2),
            Self::Classes { .. } | Self::Odds { .. } => None,
        }
    }

    /// The score as it is written for an item.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Number(x) => json!(x),
            Self::Whole(number) => json!(number),
            Self::Flag(flag) => json!(flag),
            Self::Sum { log, weight } => json!([log, *weight as u64]),
            Self::Classes { gold, said } => json!([gold, said]),
            Self::Odds { gold, probabilities } => json!([gold, probabilities]),
        }
    }

    /// The score of a wrong answer, in the place of this one.
    pub(super) fn wrong(&self) -> Self {
        match self {
            Self::Flag(_) => Self::Flag(false),
            Self::Whole(_) => Self::Whole(0),
            _ => Self::Number(0.0),
        }
    }
}

/// Picks the index of one of several values, or none.
pub(super) type Choose = fn(&[f64]) -> Option<usize>;

/// A measure of an item of likelihoods; `None` if this output type has no such measure.
/// `likelihoods` are those of all continuations of all its requests, in order.
pub(super) fn of_likelihoods(
    name: &str,
    output: OutputType,
    choose: Choose,
    asked: &AskedDocument,
    likelihoods: &[Likelihood],
) -> Option<Measurement> {
    match output {
        MultipleChoice => of_choices(name, choose, asked, likelihoods),
        Loglikelihood | LoglikelihoodRolling => {
            let text = texts(&asked.target, None).concat();
            of_text(name, &text, *likelihoods.first()?)
        }
        GenerateUntil => None,
    }
}

/// A measure of the likelihood of one text.
fn of_text(name: &str, text: &str, Likelihood { log, greedy, .. }: Likelihood) -> Option<Measurement> {
    let bytes = text.len() as f64;
    match name {
        "perplexity" => Some(Measurement::Number(log)),
        "acc" => Some(Measurement::Whole(i64::from(greedy))),
        "word_perplexity" => Some(Measurement::Sum { log, weight: words(text) as f64 }),
        "byte_perplexity" | "bits_per_byte" => Some(Measurement::Sum { log, weight: bytes }),
        "likelihood" => Some(Measurement::Number(probability(log))),
        "gold_logprob_per_byte" => Some(Measurement::Number(finite(log / bytes))),
        _ => None,
    }
}

/// A measure of the likelihoods of choices.
fn of_choices(name: &str, choose: Choose, asked: &AskedDocument, all: &[Likelihood]) -> Option<Measurement> {
    let choices = asked.choices.as_ref()?;
    // First one likelihood for each context or each choice; then those without a question.
    let (said, without) = all.split_at(choices.len().min(all.len()));
    let golds = golds(asked);
    let logs: Vec<f64> = said.iter().map(|choice| choice.log).collect();
    let right =
        |best: Option<usize>| Measurement::Number(f64::from(u8::from(best.is_some_and(|best| golds.contains(&best)))));
    let by = |length: fn(&str) -> usize| {
        choose(&logs.iter().zip(choices).map(|(log, choice)| log / length(choice) as f64).collect::<Vec<_>>())
    };
    let gold = *golds.first()?;
    match name {
        "acc" => Some(right(choose(&logs))),
        "acc_norm" => Some(right(by(|choice| choice.chars().count()))),
        "acc_bytes" => Some(right(by(str::len))),
        "acc_mutual_info" => {
            let gains: Vec<f64> = logs.iter().zip(without).map(|(log, without)| log - without.log).collect();
            Some(right(choose(&gains)))
        }
        "exact_match" => Some(Measurement::Whole(i64::from(golds.iter().any(|gold| said[*gold].greedy)))),
        "f1" | "mcc" | "balanced_acc" | "macro_f1" => {
            Some(Measurement::Classes { gold, said: likeliest(&logs).unwrap_or(0) })
        }
        "brier_score" => Some(Measurement::Odds { gold, probabilities: softmax(&logs) }),
        "likelihood" => Some(Measurement::Number(probability(logs[gold]))),
        "gold_margin" => {
            let wrong = (0..logs.len()).filter(|i| !golds.contains(i)).map(|i| logs[i]);
            let best = golds.iter().map(|gold| logs[*gold]).fold(f64::NEG_INFINITY, f64::max);
            Some(Measurement::Number(finite(best - wrong.fold(f64::NEG_INFINITY, f64::max))))
        }
        "gold_logprob_per_byte" => Some(Measurement::Number(finite(logs[gold] / choices[gold].len() as f64))),
        _ => None,
    }
}

/// Indices of the right choices.
pub(super) fn golds(asked: &AskedDocument) -> Vec<usize> {
    let choices = asked.choices.as_deref().unwrap_or_default();
    match &asked.gold {
        Value::Array(several) => several.iter().filter_map(|one| index(one, choices)).collect(),
        one => index(one, choices).into_iter().collect(),
    }
}

/// A measure of an item of generated text. If there are several right answers, any of them will do.
pub(super) fn of_text_answer(
    exact: &Exact,
    asked: &AskedDocument,
    has_several_golds: bool,
    text: &str,
) -> Result<Measurement> {
    let golds = if has_several_golds || asked.choices.is_some() {
        texts(&asked.target, asked.choices.as_deref())
    } else {
        vec![crate::python::str(&asked.target)]
    };
    for gold in &golds {
        if exact.equal(gold, text)? {
            return Ok(Measurement::Number(1.0));
        }
    }
    Ok(Measurement::Number(0.0))
}

/// Number of words, as in `len(re.split(r"\s+", text))`.
fn words(text: &str) -> usize {
    let mut count = 1;
    let mut space = false;
    for c in text.chars() {
        let now = crate::python::is_space(c);
        count += usize::from(now && !space);
        space = now;
    }
    count
}

fn probability(log: f64) -> f64 {
    let value = log.exp();
    if value.is_finite() { value } else { 0.0 }
}

fn finite(nats: f64) -> f64 {
    if nats.is_finite() { nats } else { BROKEN }
}

/// Index of the largest value, the lowest on ties; NaN is never the largest.
pub(super) fn likeliest(values: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, value) in values.iter().enumerate() {
        if !value.is_nan() && best.is_none_or(|best| *value > values[best]) {
            best = Some(i);
        }
    }
    best
}

/// Index of the largest value; `None` if another equals it.
pub(super) fn likelier_than_all(values: &[f64]) -> Option<usize> {
    likeliest(values).filter(|best| values.iter().filter(|value| **value >= values[*best]).count() == 1)
}

fn softmax(logs: &[f64]) -> Vec<f64> {
    let max = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = logs.iter().map(|log| (log - max).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|e| e / sum).collect()
}
