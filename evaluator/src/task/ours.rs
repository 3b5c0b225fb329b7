//! Our own functions for `process_results`: each marks an answer by a rule of [`mark`](crate::mark).

use super::{
    asking::texts,
    dataset::Datasets,
    function::{Answered, Process},
    score::Score,
};
use crate::{
    mark::{fuzzy, language::LanguageId, mecab::Mecab, numbers::Extractor, rouge, squad},
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
    ("evomerge.rouge", Process { needs: &[], gives: &ROUGE, tool: Some(Tool::Words), mark: summary }),
    // How like two short texts are, as llm-jp-eval says it.
    ("evomerge.char_f1", Process { needs: &[], gives: &["char_f1", "exact_match"], tool: None, mark: likeness }),
];

const ROUGE: [&str; 3] = ["rouge1", "rouge2", "rougeL"];

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
    words: Option<Mecab>,
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
                Ok(Self { language: Some(LanguageId::open(&path)?), words: None })
            }
            Some(Tool::Words) => {
                let words = datasets.tool("unidic-lite").map(|dir| Mecab::open(&dir)).transpose()?;
                Ok(Self { language: None, words })
            }
            None => Ok(Self::default()),
        }
    }

    /// What a measure is called with these tools.
    pub(super) fn name(&self, tool: Option<Tool>, measure: &str) -> String {
        let counted = ["f1", "rouge1", "rouge2", "rougeL"].contains(&measure);
        let by_characters = tool == Some(Tool::Words) && self.words.is_none();
        if by_characters && counted { format!("{measure}_char") } else { measure.to_owned() }
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
    let f1 = match &answered.tools.words {
        Some(mecab) => {
            let golds: Vec<Vec<String>> = golds.iter().map(|gold| words(mecab, gold)).collect();
            ("f1", squad::f1(&words(mecab, answered.text), &golds))
        }
        None => ("f1_char", squad::f1_char(answered.text, &golds)),
    };
    vec![("exact_match", Score::Flag(squad::exact_match(answered.text, &golds))), (f1.0, Score::Number(f1.1))]
}

fn summary(answered: &Answered<'_>) -> Vec<(&'static str, Score)> {
    let gold = python::str(&answered.asked.target);
    let (names, rouge) = match &answered.tools.words {
        Some(mecab) => (ROUGE, rouge::rouge(&words(mecab, answered.text), &words(mecab, &gold))),
        None => (["rouge1_char", "rouge2_char", "rougeL_char"], rouge::rouge_char(answered.text, &gold)),
    };
    names.into_iter().zip([rouge.rouge1, rouge.rouge2, rouge.rouge_l].map(Score::Number)).collect()
}

/// The words of a text as the Japanese harnesses cut it.
fn words(mecab: &Mecab, text: &str) -> Vec<String> {
    mecab.words(&squad::normalize_answer(text))
}

fn likeness(answered: &Answered<'_>) -> Vec<(&'static str, Score)> {
    let answer = normalize(answered.text);
    let best = |measure: fn(&str, &str) -> f64| {
        golds(answered).iter().map(|gold| measure(&answer, &normalize(gold))).fold(0.0, f64::max)
    };
    let exact = best(|answer, gold| f64::from(u8::from(answer == gold)));
    vec![("char_f1", Score::Number(best(fuzzy::char_f1))), ("exact_match", Score::Number(exact))]
}
