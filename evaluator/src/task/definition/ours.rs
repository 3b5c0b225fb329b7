//! `metadata.evomerge`: what lm-evaluation-harness has no key for, and does not read.

use super::Definition;
use crate::{
    request::{Encoding, Pairs, SequenceStart},
    task::Split,
};
use merge_core::yaml::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What only this program knows of a task. Every quirk of another harness is named here, and none is on unless said.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::task) struct Ours {
    /// How text becomes tokens; as in lm-evaluation-harness unless said.
    pub(in crate::task) encoding: Option<TokenEncoding>,
    /// `generate_until`: an answer may have as many tokens as the longest right one, and so many more, instead of
    /// `max_gen_toks`. It tells the model how long the right answer is (Stability AI's JSQuAD and JAQKET).
    pub(in crate::task) gold_limit: Option<At<usize>>,
    /// `generate_until`: where a prompt is too long, this field of the question and of each example is cut at the end of a sentence
    /// to an equal share of the room, instead of leaving out examples and then the prompt's beginning (Stability AI's `XLSum`).
    pub(in crate::task) cut_at_sentences: Option<At<String>>,
    /// `process_results: !function evomerge.rouge`: ROUGE counts the model's own tokens of the answer and of the right one, both as
    /// they are, instead of normalised words (Stability AI's `XLSum`, which puts the model's tokenizer in MeCab's place).
    pub(in crate::task) rouge_of_tokens: Option<At<bool>>,
    /// `multiple_choice`: a choice that another one equals in likelihood is not chosen, so that the answer is wrong (Stability
    /// AI's `XWinograd`). Unless said, the first of them is chosen.
    pub(in crate::task) tie_is_wrong: Option<At<bool>>,
    /// Documents are shuffled with this seed, and one generator draws the examples after that, as in Stability AI's harness.
    /// Unless said, documents stay in order and examples are drawn with the seed 1234.
    pub(in crate::task) shuffle: Option<u64>,
    /// Examples are drawn by `doc_to_target`, in the proportions of the split they come from (Stability AI's harness).
    pub(in crate::task) stratified: bool,
    /// `generate_until`: an answer in another language is wrong.
    pub(in crate::task) language: Option<At<Language>>,
    /// The score of tables and searches: `acc`, or with a filter `exact_match,flexible-extract`. The first one unless said.
    pub(in crate::task) main: Option<At<String>>,
    /// Which split of the data a search may use for what; unless said, the split that is asked is for the report alone.
    pub(in crate::task) splits: Option<At<Uses>>,
    /// Instead of `splits`: one split of the data, which is divided by the content of its documents.
    pub(in crate::task) divide: Option<At<String>>,
    /// A field by whose values scores are shown apart as well, such as the subjects of an exam.
    pub(in crate::task) parts: Option<String>,
    /// The licence of the documents.
    pub(in crate::task) licence: Option<String>,
    /// Where the documents come from.
    pub(in crate::task) source: Option<String>,
    /// Which published way of asking and marking this is.
    pub(in crate::task) protocol: Option<String>,
    /// How this differs from what it follows, for tables.
    pub(in crate::task) notes: Vec<String>,
}

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::task) struct TokenEncoding {
    /// How a prompt and its continuation become one sequence; `joint` unless said, as in lm-evaluation-harness.
    pub(in crate::task) pairs: Option<Pairs>,
    /// Whether prompts are without the special tokens that the tokenizer puts around text, such as BOS.
    pub(in crate::task) bare: bool,
    /// What stands in for a prompt without any token; `bos` unless said.
    pub(in crate::task) start: Option<SequenceStart>,
}

/// A language an answer has to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::task) enum Language {
    /// Japanese: most letters are, and one at least is kana.
    Ja,
}

/// Which split of the data a search may use for what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::task) struct Uses {
    /// A search ranks candidates by these documents.
    pub(in crate::task) search: Option<At<String>>,
    /// The winner is chosen by these documents.
    pub(in crate::task) select: Option<At<String>>,
    /// The end result is scored on these documents.
    pub(in crate::task) report: Option<At<String>>,
}

impl Definition {
    /// Every split of the data that is named, with the key at the top under which it is.
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

    /// Whether answers are compared by the model's tokens.
    pub(in crate::task) fn counts_tokens(&self) -> bool {
        self.ours().and_then(|ours| ours.rouge_of_tokens.as_ref()).is_some_and(|tokens| tokens.value)
    }
}

impl Uses {
    /// What is used for what.
    pub(in crate::task) fn all(&self) -> impl Iterator<Item = (Split, &At<String>)> {
        let names = [&self.search, &self.select, &self.report];
        Split::ALL.into_iter().zip(names).filter_map(|(split, name)| Some((split, name.as_ref()?)))
    }
}

impl TokenEncoding {
    /// As a request says it.
    pub(in crate::task) fn encoding(self) -> Encoding {
        Encoding { pairs: self.pairs.unwrap_or(Pairs::Joint), bare: self.bare, start: self.start.unwrap_or_default() }
    }
}
