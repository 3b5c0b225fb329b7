//! `metadata.evomerge`: settings that lm-evaluation-harness does not have, and ignores.

use super::Definition;
use crate::{
    request::{Encoding, Pairs, SequenceStart},
    task::Split,
};
use merge_core::yaml::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings that only this program knows. They include every quirk of another harness; by default, none is on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::task) struct Ours {
    /// The way text becomes tokens; default: as in lm-evaluation-harness.
    pub(in crate::task) encoding: Option<TokenEncoding>,
    /// `generate_until`: an answer may have this many more tokens than the longest right one, instead of
    /// `max_gen_toks`. It tells the model how long the right answer is (Stability AI's JSQuAD and JAQKET).
    pub(in crate::task) gold_limit: Option<At<usize>>,
    /// `generate_until`: the field of the question and of each example to cut at the end of a sentence if a prompt is
    /// too long, instead of leaving out examples and the prompt's beginning (Stability AI's `XLSum`).
    pub(in crate::task) cut_at_sentences: Option<At<String>>,
    /// `process_results: !function evomerge.rouge`: true to count the model's own tokens of both texts, unchanged,
    /// instead of normalised words (Stability AI's `XLSum`, which puts the model's tokenizer in MeCab's place).
    pub(in crate::task) rouge_of_tokens: Option<At<bool>>,
    /// `multiple_choice`: true to mark an answer wrong if two choices share the highest likelihood
    /// (Stability AI's `XWinograd`). Default: the first of them is chosen.
    pub(in crate::task) tie_is_wrong: Option<At<bool>>,
    /// Seed to shuffle the documents with; the same generator then draws the examples, as in Stability AI's harness.
    /// Default: documents stay in order, and examples are drawn with the seed 1234.
    pub(in crate::task) shuffle: Option<u64>,
    /// True to draw examples in the proportions of `doc_to_target` in their split (Stability AI's harness).
    pub(in crate::task) stratified: bool,
    /// `generate_until`: the language of right answers.
    pub(in crate::task) language: Option<At<Language>>,
    /// The score for tables and searches: `acc`, or `exact_match,flexible-extract` with a filter; default: the first.
    pub(in crate::task) main: Option<At<String>>,
    /// The split of the data for each use by a search. Default: the split that is asked, for the report alone.
    pub(in crate::task) splits: Option<At<Uses>>,
    /// Instead of `splits`: one split of the data, to be divided by the content of its documents.
    pub(in crate::task) divide: Option<At<String>>,
    /// Field by whose values scores are also shown separately, such as the subjects of an exam.
    pub(in crate::task) parts: Option<String>,
    /// The licence of the documents.
    pub(in crate::task) licence: Option<String>,
    /// The origin of the documents.
    pub(in crate::task) source: Option<String>,
    /// The published protocol of asking and marking that this task follows.
    pub(in crate::task) protocol: Option<String>,
    /// Differences from that protocol, for tables.
    pub(in crate::task) notes: Vec<String>,
}

/// The way text becomes tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::task) struct TokenEncoding {
    /// The way a prompt and its continuation become one sequence; default: `joint`, as in lm-evaluation-harness.
    pub(in crate::task) pairs: Option<Pairs>,
    /// True to leave out of prompts the special tokens that the tokenizer puts around text, such as BOS.
    pub(in crate::task) bare: bool,
    /// The token in place of an empty prompt; default: `bos`.
    pub(in crate::task) start: Option<SequenceStart>,
}

/// A language that an answer must be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::task) enum Language {
    /// Japanese: most letters are kana or kanji, and at least one is kana.
    Ja,
}

/// The split of the data for each use by a search.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::task) struct Uses {
    /// Documents by which a search ranks candidates.
    pub(in crate::task) search: Option<At<String>>,
    /// Documents by which the best finalist is chosen.
    pub(in crate::task) select: Option<At<String>>,
    /// Documents on which the end result is scored.
    pub(in crate::task) report: Option<At<String>>,
}

impl Definition {
    /// Every split of the data that is named, with its top-level key.
    pub(in crate::task) fn splits(&self) -> impl Iterator<Item = (&'static str, &At<String>)> {
        let ours = self.ours();
        let of_shots = self.fewshot_config.as_ref().and_then(|config| config.split.as_ref());
        let uses = ours.and_then(|ours| ours.splits.as_ref()).into_iter().flat_map(|splits| splits.all());
        [
            ("training_split", self.training_split.as_ref()),
            ("validation_split", self.validation_split.as_ref()),
            ("test_split", self.test_split.as_ref()),
            ("fewshot_split", self.fewshot_split.as_ref()),
            ("fewshot_config", of_shots),
            ("metadata", ours.and_then(|ours| ours.divide.as_ref())),
        ]
        .into_iter()
        .filter_map(|(key, split)| Some((key, split?)))
        .chain(uses.map(|(_, split)| ("metadata", split)))
    }

    /// True if answers are compared by the model's tokens.
    pub(in crate::task) fn counts_tokens(&self) -> bool {
        self.ours().and_then(|ours| ours.rouge_of_tokens.as_ref()).is_some_and(|tokens| tokens.value)
    }
}

impl Uses {
    /// The splits of the data that are named, each with its use.
    pub(in crate::task) fn all(&self) -> impl Iterator<Item = (Split, &At<String>)> {
        let names = [&self.search, &self.select, &self.report];
        Split::ALL.into_iter().zip(names).filter_map(|(split, name)| Some((split, name.as_ref()?)))
    }
}

impl TokenEncoding {
    /// The encoding of a request, with defaults filled in.
    pub(in crate::task) fn encoding(self) -> Encoding {
        Encoding { pairs: self.pairs.unwrap_or(Pairs::Joint), bare: self.bare, start: self.start.unwrap_or_default() }
    }
}
