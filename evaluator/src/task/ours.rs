//! Our own functions for `process_results`: each marks an answer by a rule of [`mark`](crate::mark).

use super::{
    dataset::Datasets,
    function::{Answered, Process},
    asking::texts,
    score::Score,
};
use crate::{
    mark::{fuzzy, language::LanguageId, numbers::Extractor, rouge, squad},
    normalize::{Number, normalize},
    python,
};
use merge_core::error::{Error, Result};

/// What `process_results: !function evomerge.…` may name.
pub(super) const PROCESS_RESULTS: &[(&str, Process)] = &[
    // The number a Japanese reader would take for the answer, compared exactly.
    ("evomerge.number", Process { needs: &[], gives: &["acc"], tool: None, mark: number }),
    // Sakana AI's rule, with and without its gate on the answer's language.
    ("evomerge.sakana", Process { needs: &[], gives: &["acc", "acc_ja"], tool: Some(Tool::Language), mark: sakana }),
    // Extracted answers, as Stability AI's harness marks JSQuAD and JAQKET.
    ("evomerge.squad", Process { needs: &[], gives: &["exact_match", "f1"], tool: Some(Tool::Words), mark: squad }),
    // Summaries.
    (
        "evomerge.rouge",
        Process { needs: &[], gives: &["rouge1", "rouge2", "rougeL"], tool: Some(Tool::Words), mark: summary },
    ),
    // How like two short texts are, as llm-jp-eval says it.
    ("evomerge.char_f1", Process { needs: &[], gives: &["char_f1", "exact_match"], tool: None, mark: likeness }),
];

/// Something that a function needs beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// A model that tells languages apart; nothing can take its place.
    Language,
    /// A dictionary that says where words end; without it characters are counted, under names that end in `_char`.
    Words,
}

/// The tools that are here.
#[derive(Debug, Default)]
pub(super) struct Tools {
    language: Option<LanguageId>,
}

impl Tools {
    /// What a function needs, opened; fails if it is not here and nothing can take its place.
    pub(super) fn open(tool: Option<Tool>, datasets: &dyn Datasets) -> Result<Self> {
        match tool {
            Some(Tool::Language) => {
                let path = datasets.tool("lid176").ok_or_else(|| {
                    Error::user("the model that tells whether an answer is Japanese is not here")
                        .hint("`evomerge data fetch lid176` gets it")
                })?;
                Ok(Self { language: Some(LanguageId::open(&path)?) })
            }
            Some(Tool::Words) | None => Ok(Self::default()),
        }
    }

    /// What a measure is called with these tools.
    pub(super) fn name(&self, tool: Option<Tool>, measure: &str) -> String {
        let counted = ["f1", "rouge1", "rouge2", "rougeL"].contains(&measure);
        if tool == Some(Tool::Words) && counted { format!("{measure}_char") } else { measure.to_owned() }
    }
}

/// The right answers, as texts.
fn golds(answered: &Answered<'_>) -> Vec<String> {
    texts(&answered.asked.target, answered.asked.choices.as_deref())
}

fn number(answered: &Answered<'_>) -> Vec<(&'static str, Score)> {
    vec![("acc", Score::Flag(is_right(answered, Extractor::Strict)))]
}

fn sakana(answered: &Answered<'_>) -> Vec<(&'static str, Score)> {
    let right = is_right(answered, Extractor::Sakana);
    let japanese = answered.tools.language.as_ref().is_some_and(|language| language.is_japanese(answered.text));
    vec![("acc", Score::Flag(right)), ("acc_ja", Score::Flag(right && japanese))]
}

fn is_right(answered: &Answered<'_>, extractor: Extractor) -> bool {
    let gold = python::str(&answered.asked.target).parse::<Number>();
    gold.is_ok_and(|gold| extractor.is_right(answered.text, &gold))
}

fn squad(answered: &Answered<'_>) -> Vec<(&'static str, Score)> {
    let golds = golds(answered);
    let exact = squad::exact_match(answered.text, &golds);
    vec![("exact_match", Score::Flag(exact)), ("f1_char", Score::Number(squad::f1_char(answered.text, &golds)))]
}

fn summary(answered: &Answered<'_>) -> Vec<(&'static str, Score)> {
    let rouge = rouge::rouge_char(answered.text, &python::str(&answered.asked.target));
    vec![
        ("rouge1_char", Score::Number(rouge.rouge1)),
        ("rouge2_char", Score::Number(rouge.rouge2)),
        ("rougeL_char", Score::Number(rouge.rouge_l)),
    ]
}

fn likeness(answered: &Answered<'_>) -> Vec<(&'static str, Score)> {
    let answer = normalize(answered.text);
    let best = |measure: fn(&str, &str) -> f64| {
        golds(answered).iter().map(|gold| measure(&answer, &normalize(gold))).fold(0.0, f64::max)
    };
    let exact = best(|answer, gold| f64::from(u8::from(answer == gold)));
    vec![("char_f1", Score::Number(best(fuzzy::char_f1))), ("exact_match", Score::Number(exact))]
}
