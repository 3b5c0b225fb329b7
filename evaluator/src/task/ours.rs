//! Our own functions for `process_results` and measures of generated text, by the rules of [`mark`](crate::mark).

use super::{
    documents::Datasets,
    function::{GeneratedAnswer, GoldForm, Process},
    prompt_maker::texts,
    score::Measurement,
};
use crate::{
    mark::{fuzzy, numbers::Extractor, rouge, squad},
    python,
    text::{language::LanguageId, mecab::Mecab, normalize::normalize},
};
use merge_core::error::{Error, Result};

/// Functions that `process_results: !function evomerge.…` may name.
pub(super) const PROCESS_RESULTS: &[(&str, Process)] = &[
    // The number that a Japanese reader would take for the answer, compared exactly.
    ("evomerge.number", Process { gold: GoldForm::Number, gives: &["acc"], tool: None, mark: number }),
    // Sakana AI's rule, with and without its gate on the answer's language.
    (
        "evomerge.sakana",
        Process { gold: GoldForm::Number, gives: &["acc", "acc_ja"], tool: Some(Tool::Language), mark: sakana },
    ),
    // Extracted answers, as Stability AI's harness marks JSQuAD and JAQKET.
    (
        "evomerge.squad",
        Process { gold: GoldForm::Target, gives: &["exact_match", "f1"], tool: Some(Tool::Words), mark: squad },
    ),
    // Summaries.
    ("evomerge.rouge", Process { gold: GoldForm::Target, gives: &ROUGE, tool: Some(Tool::Words), mark: summary }),
    // Similarity of two short texts, as llm-jp-eval measures it.
    (
        "evomerge.char_f1",
        Process { gold: GoldForm::Target, gives: &["char_f1", "exact_match"], tool: None, mark: likeness },
    ),
];

/// A measure of generated text: its name, the tool it needs, and the function that computes it.
pub(super) type TextMeasure = (&'static str, Option<Tool>, fn(&GeneratedAnswer<'_>) -> f64);

/// Measures of generated text that a task may list beside `exact_match`.
pub(super) const MEASURES: &[TextMeasure] = &[
    ("f1", Some(Tool::Words), |answered| f1(answered, &golds(answered)).1),
    ("rouge1", Some(Tool::Words), |answered| rouge(answered).rouge1),
    ("rouge2", Some(Tool::Words), |answered| rouge(answered).rouge2),
    ("rougeL", Some(Tool::Words), |answered| rouge(answered).rouge_l),
    ("char_f1", None, char_f1),
    // Probability that the answer is Japanese.
    ("p_ja", Some(Tool::Language), |answered| {
        answered.tools.language.as_ref().map_or(0.0, |language| language.p_ja(answered.text))
    }),
];

const ROUGE: [&str; 3] = ["rouge1", "rouge2", "rougeL"];

/// A resource that a function needs beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// A model that identifies languages; there is no substitute for it.
    Language,
    /// A dictionary that divides text into words; without it, characters are counted and names end in `_char`.
    Words,
}

/// The tools that are installed.
#[derive(Debug, Default)]
pub(super) struct Tools {
    language: Option<LanguageId>,
    words: Option<Mecab>,
}

impl Tools {
    /// Opens the tools that are needed. Fails if one is not installed and has no substitute.
    pub(super) fn open(needed: &[Tool], datasets: &dyn Datasets) -> Result<Self> {
        let mut tools = Self::default();
        if needed.contains(&Tool::Language) {
            let path = datasets.tool("lid176").ok_or_else(|| {
                Error::user("the model that tells whether an answer is Japanese is not here")
                    .hint("`evomerge data fetch lid176` gets it")
            })?;
            tools.language = Some(LanguageId::open(&path)?);
        }
        if needed.contains(&Tool::Words) {
            tools.words = datasets.tool("unidic-lite").map(|dir| Mecab::open(&dir)).transpose()?;
        }
        Ok(tools)
    }

    /// True if a measure that needs `tool` can be computed with these tools.
    pub(super) fn can(&self, tool: Option<Tool>) -> bool {
        tool != Some(Tool::Language) || self.language.is_some()
    }

    /// Name of a measure of generated text, as computed with these tools.
    pub(super) fn name(&self, measure: &str) -> String {
        let counted = MEASURES.iter().any(|(name, tool, _)| *name == measure && *tool == Some(Tool::Words));
        if counted && self.words.is_none() { format!("{measure}_char") } else { measure.to_owned() }
    }
}

/// The right answers, as texts.
fn golds(answered: &GeneratedAnswer<'_>) -> Vec<String> {
    texts(&answered.asked.target, answered.asked.choices.as_deref())
}

fn number(answered: &GeneratedAnswer<'_>) -> Vec<(&'static str, Measurement)> {
    acc(answered, Extractor::Strict)
}

/// The measure `acc`: true if the rule reads the right number.
pub(super) fn acc(answered: &GeneratedAnswer<'_>, extractor: Extractor) -> Vec<(&'static str, Measurement)> {
    vec![("acc", Measurement::Flag(is_right(answered, extractor)))]
}

fn sakana(answered: &GeneratedAnswer<'_>) -> Vec<(&'static str, Measurement)> {
    let right = is_right(answered, Extractor::Sakana);
    let japanese = answered.tools.language.as_ref().is_some_and(|language| language.is_japanese(answered.text));
    vec![("acc", Measurement::Flag(right)), ("acc_ja", Measurement::Flag(right && japanese))]
}

fn is_right(answered: &GeneratedAnswer<'_>, extractor: Extractor) -> bool {
    answered.number.is_some_and(|gold| extractor.is_right(answered.text, gold))
}

fn squad(answered: &GeneratedAnswer<'_>) -> Vec<(&'static str, Measurement)> {
    let golds = golds(answered);
    let (name, f1) = f1(answered, &golds);
    let mut scores = vec![
        ("exact_match", Measurement::Flag(squad::exact_match(answered.text, &golds))),
        (name, Measurement::Number(f1)),
    ];
    if answered.tools.words.is_some() {
        // For comparison, the score without a dictionary is given too.
        scores.push(("f1_char", Measurement::Number(squad::f1_char(answered.text, &golds))));
    }
    scores
}

fn f1(answered: &GeneratedAnswer<'_>, golds: &[String]) -> (&'static str, f64) {
    match &answered.tools.words {
        Some(mecab) => {
            let golds: Vec<Vec<String>> = golds.iter().map(|gold| words(mecab, gold)).collect();
            ("f1", squad::f1(&words(mecab, answered.text), &golds))
        }
        None => ("f1_char", squad::f1_char(answered.text, golds)),
    }
}

fn summary(answered: &GeneratedAnswer<'_>) -> Vec<(&'static str, Measurement)> {
    let names = match (&answered.tools.words, answered.tokens) {
        (Some(_), _) | (_, Some(_)) => ROUGE,
        (None, None) => ["rouge1_char", "rouge2_char", "rougeL_char"],
    };
    let rouge = rouge(answered);
    names.into_iter().zip([rouge.rouge1, rouge.rouge2, rouge.rouge_l].map(Measurement::Number)).collect()
}

fn rouge(answered: &GeneratedAnswer<'_>) -> rouge::Rouge {
    if let Some([answer, gold]) = answered.tokens {
        return rouge::rouge(answer, gold);
    }
    let gold = python::str(&answered.asked.target);
    match &answered.tools.words {
        Some(mecab) => rouge::rouge(&words(mecab, answered.text), &words(mecab, &gold)),
        None => rouge::rouge_char(answered.text, &gold),
    }
}

/// The words of a text, as the Japanese harnesses divide it.
fn words(mecab: &Mecab, text: &str) -> Vec<String> {
    mecab.words(&squad::normalize_answer(text))
}

fn char_f1(answered: &GeneratedAnswer<'_>) -> f64 {
    best(answered, fuzzy::char_f1)
}

fn likeness(answered: &GeneratedAnswer<'_>) -> Vec<(&'static str, Measurement)> {
    let exact = best(answered, |answer, gold| f64::from(u8::from(answer == gold)));
    vec![("char_f1", Measurement::Number(char_f1(answered))), ("exact_match", Measurement::Number(exact))]
}

/// A measure of two normalised texts: the best value over the right answers.
fn best(answered: &GeneratedAnswer<'_>, measure: fn(&str, &str) -> f64) -> f64 {
    let answer = normalize(answered.text);
    golds(answered).iter().map(|gold| measure(&answer, &normalize(gold))).fold(0.0, f64::max)
}
