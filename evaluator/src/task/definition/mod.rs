//! A task file: lm-evaluation-harness 0.4.13's YAML, read strictly; every mistake has its line and column.

mod check;
mod file;
mod formula;
mod ours;

pub(super) use check::check;
pub(super) use file::{DefinitionFile, Overrides, read, read_str, tree};
pub(super) use formula::Formula;
pub(super) use ours::Ours;

use merge_core::yaml::At;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A task as it is written. A key that is `null` counts as not written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Task")]
pub(super) struct Definition {
    /// Files to include, relative to this file. A key of this file overrides the same key of an included one.
    pub(super) include: Option<At<Several>>,
    /// The task's name.
    pub(super) task: Option<At<String>>,
    /// The task's name in tables.
    pub(super) task_alias: Option<String>,
    /// Names that select several tasks at once.
    pub(super) tag: Option<Several>,
    /// Not supported: it is a Python program.
    #[schemars(skip)]
    pub(super) custom_dataset: Option<At<Value>>,
    /// Not supported: it is a Python program.
    #[schemars(skip)]
    pub(super) class: Option<At<Value>>,
    /// Source of the documents: `json`, `csv` or `parquet` with `dataset_kwargs.data_files` or
    /// `data_dir`; the name of a data set; or a directory with a data set, as cloned from the hub.
    pub(super) dataset_path: Option<At<String>>,
    /// The part to use of a data set that has several.
    pub(super) dataset_name: Option<At<String>>,
    /// The files of the documents, as `data_files` or `data_dir`, and the way to read them.
    #[schemars(with = "Option<DatasetKwargs>")]
    pub(super) dataset_kwargs: Option<At<DatasetKwargs>>,
    /// The split that examples are drawn from, if there is no `fewshot_split`.
    pub(super) training_split: Option<At<String>>,
    /// The split that is asked, if there is no `test_split`.
    pub(super) validation_split: Option<At<String>>,
    /// The split that is asked.
    pub(super) test_split: Option<At<String>>,
    /// The split that examples are drawn from.
    pub(super) fewshot_split: Option<At<String>>,
    /// `!function` that changes each document before anything else.
    pub(super) process_docs: Option<At<Formula>>,
    /// The question: a Jinja template or a field's name; a whole number if choices stand before one continuation.
    pub(super) doc_to_text: Option<At<Formula>>,
    /// The answer: a Jinja template, the name of a field, or the index of a choice.
    pub(super) doc_to_target: Option<At<Formula>>,
    /// Not supported: pictures.
    #[schemars(skip)]
    pub(super) doc_to_image: Option<At<Value>>,
    /// Not supported: sound.
    #[schemars(skip)]
    pub(super) doc_to_audio: Option<At<Value>>,
    /// True to run answers as programs, which is not supported.
    pub(super) unsafe_code: Option<At<bool>>,
    /// The choices: a list, the name of a field that holds a list, or a template that yields a list.
    pub(super) doc_to_choice: Option<At<Formula>>,
    /// `!function` that marks an answer.
    pub(super) process_results: Option<At<Formula>>,
    /// Not supported: prompts of another package.
    #[schemars(skip)]
    pub(super) use_prompt: Option<At<Value>>,
    /// Text before all examples.
    pub(super) description: Option<At<Formula>>,
    /// Text between question and answer; default: a space.
    pub(super) target_delimiter: Option<String>,
    /// Text between examples; default: an empty line.
    pub(super) fewshot_delimiter: Option<String>,
    /// The choice of examples, and their differences from the question.
    pub(super) fewshot_config: Option<At<FewshotConfig>>,
    /// Number of examples before the question; default: 0.
    pub(super) num_fewshot: Option<At<usize>>,
    /// The measures, with their settings.
    pub(super) metric_list: Option<Vec<At<MetricConfig>>>,
    /// The way a model is asked; default: `generate_until`.
    #[schemars(with = "Option<OutputType>")]
    pub(super) output_type: Option<At<OutputType>>,
    /// `generate_until`: the end of an answer.
    #[schemars(with = "Option<GenerationKwargs>")]
    pub(super) generation_kwargs: Option<At<GenerationKwargs>>,
    /// Number of times that each question is asked. Answers are greedy, so all are the same.
    pub(super) repeats: Option<At<usize>>,
    /// Filters of answers. Each result is marked, under the name of its filter.
    pub(super) filter_list: Option<Vec<At<FilterConfig>>>,
    /// No effect, as in lm-evaluation-harness without a file of n-grams.
    pub(super) should_decontaminate: Option<bool>,
    /// No effect, as in lm-evaluation-harness without a file of n-grams.
    pub(super) doc_to_decontamination_query: Option<Value>,
    /// The beginning of each answer, which is already in the prompt.
    pub(super) gen_prefix: Option<At<Formula>>,
    /// Any data. `version` is the task's version; `evomerge` holds settings that only this program knows.
    #[schemars(with = "Option<Metadata>")]
    pub(super) metadata: Option<At<Metadata>>,
}

/// One text, or several.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(with = "OneOrMany")]
pub(super) struct Several(pub(super) Vec<String>);

/// The schema of [`Several`].
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it is a schema")]
enum OneOrMany {
    /// One text.
    One(String),
    /// Several texts.
    Many(Vec<String>),
}

/// The way a model is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// The model generates text.
    #[default]
    GenerateUntil,
    /// The likelihood of each of several continuations.
    MultipleChoice,
    /// The likelihood of one continuation.
    Loglikelihood,
    /// The likelihood of a whole text.
    LoglikelihoodRolling,
}

impl OutputType {
    /// The name in task files.
    pub fn name(self) -> &'static str {
        match self {
            Self::GenerateUntil => "generate_until",
            Self::MultipleChoice => "multiple_choice",
            Self::Loglikelihood => "loglikelihood",
            Self::LoglikelihoodRolling => "loglikelihood_rolling",
        }
    }
}

/// The files of documents, and the way to read them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DatasetKwargs {
    /// A file or a pattern of names, a list of these, or such for each split; without splits, all are `train`.
    #[schemars(with = "Option<DataFiles>")]
    pub(super) data_files: Option<At<DataFiles>>,
    /// The directory of `data_files`; without `data_files`, of all data files, whose names tell their splits.
    pub(super) data_dir: Option<At<String>>,
    /// `json`: the key that holds the list of documents.
    pub(super) field: Option<At<String>>,
    /// `csv`: the character between two columns; default: a comma.
    pub(super) sep: Option<At<String>>,
    /// The same as `sep`.
    pub(super) delimiter: Option<At<String>>,
    /// `csv`: names of the columns, if the first line does not give them.
    pub(super) column_names: Option<At<Vec<String>>>,
    /// `parquet`: columns to read; default: all.
    pub(super) columns: Option<At<Vec<String>>>,
    /// No effect.
    pub(super) trust_remote_code: Option<bool>,
}

/// Files by split.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(with = "std::collections::BTreeMap<String, OneOrMany>")]
pub(super) struct DataFiles(pub(super) Vec<(String, Vec<String>)>);

/// The choice of examples, and their differences from the question.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FewshotConfig {
    /// `default` draws new examples for each document; `first_n` takes the first ones.
    pub(super) sampler: Option<At<Sampler>>,
    /// The split that examples come from.
    pub(super) split: Option<At<String>>,
    /// `!function` that changes each example before anything else.
    #[schemars(with = "Option<Formula>")]
    pub(super) process_docs: ExampleFormula,
    /// Not supported: lm-evaluation-harness 0.4.13 reads it and ignores it.
    #[schemars(skip)]
    pub(super) fewshot_indices: Option<At<Value>>,
    /// The examples themselves, as documents.
    pub(super) samples: Option<At<Vec<Map<String, Value>>>>,
    /// `doc_to_text` of examples; default: the question's.
    pub(super) doc_to_text: Option<At<Formula>>,
    /// `doc_to_choice` of examples; default: the question's.
    #[schemars(with = "Option<Formula>")]
    pub(super) doc_to_choice: ExampleFormula,
    /// `doc_to_target` of examples; default: the question's.
    pub(super) doc_to_target: Option<At<Formula>>,
    /// `gen_prefix` of examples; default: the question's.
    #[schemars(with = "Option<Formula>")]
    pub(super) gen_prefix: ExampleFormula,
    /// `fewshot_delimiter` of examples; default: the question's.
    pub(super) fewshot_delimiter: Option<String>,
    /// `target_delimiter` of examples; default: the question's.
    pub(super) target_delimiter: Option<String>,
}

/// An example's own formula. `null` means that it has none.
#[derive(Clone, Debug, Default)]
pub(super) enum ExampleFormula {
    /// The question's formula.
    #[default]
    Same,
    /// The formula that is written.
    Written(Option<At<Formula>>),
}

impl ExampleFormula {
    /// The formula that is written, if any.
    pub(super) fn written(&self) -> Option<&At<Formula>> {
        match self {
            Self::Same => None,
            Self::Written(own) => own.as_ref(),
        }
    }

    /// The formula of an example, given the question's.
    pub(super) fn or<'a>(&'a self, question: Option<&'a At<Formula>>) -> Option<&'a At<Formula>> {
        match self {
            Self::Same => question,
            Self::Written(own) => own.as_ref(),
        }
    }
}

impl<'de> Deserialize<'de> for ExampleFormula {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Written)
    }
}

/// The way examples are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sampler {
    /// Draws new examples for each document.
    #[default]
    Default,
    /// Takes the first ones, the same for every document.
    FirstN,
}

/// The end of a generated answer. Answers are greedy: settings that would draw them at random are refused.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GenerationKwargs {
    /// Texts that end an answer and are not part of it; default: the `fewshot_delimiter`.
    pub(super) until: Option<At<Several>>,
    /// Most tokens of an answer; default: 256.
    #[schemars(range(min = 1))]
    pub(super) max_gen_toks: Option<At<usize>>,
    /// Must be false.
    pub(super) do_sample: Option<At<bool>>,
    /// No effect, as answers are greedy; must be 0 if `do_sample` is not written.
    pub(super) temperature: Option<At<f64>>,
    /// No effect.
    pub(super) top_p: Option<f64>,
    /// No effect.
    pub(super) top_k: Option<i64>,
}

/// A measure and its settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricConfig {
    /// The measure's name.
    pub(super) metric: At<Formula>,
    /// The way to aggregate the scores of all items; default: the measure's own.
    #[serde(default)]
    pub(super) aggregation: Option<At<Formula>>,
    /// True if more is better; default: the measure's own.
    #[serde(default)]
    pub(super) higher_is_better: Option<bool>,
    /// `exact_match`: regular expressions whose matches are removed from both texts.
    #[serde(default)]
    pub(super) regexes_to_ignore: Option<Vec<At<String>>>,
    /// `exact_match`: true to ignore case.
    #[serde(default)]
    pub(super) ignore_case: Option<bool>,
    /// `exact_match`: true to remove ASCII punctuation from both texts, signs and decimal points included.
    #[serde(default)]
    pub(super) ignore_punctuation: Option<bool>,
    /// `exact_match`: true to remove ASCII digits from both texts.
    #[serde(default)]
    pub(super) ignore_numbers: Option<bool>,
    /// Must be false.
    #[serde(default)]
    pub(super) hf_evaluate: Option<At<bool>>,
}

/// A named list of steps that an answer goes through before it is marked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterConfig {
    /// The filter's name, which follows the measure's in tables: `exact_match,strict-match`.
    pub(super) name: At<String>,
    /// The filter's steps, in order.
    pub(super) filter: Vec<At<FilterStep>>,
}

/// One step of a filter, and the settings of its function.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterStep {
    /// The step's function.
    pub(super) function: At<StepFunction>,
    /// `regex`, `multi_choice_regex`: a Python regular expression; default: `#### (\-?[0-9\.\,]+)`.
    #[serde(default)]
    pub(super) regex_pattern: Option<At<String>>,
    /// `regex`, `multi_choice_regex`: index of the match to take; −1 is the last; default: 0.
    #[serde(default)]
    pub(super) group_select: Option<At<i64>>,
    /// `regex`, `multi_choice_regex`: the text if nothing matches; default: `[invalid]`.
    #[serde(default)]
    pub(super) fallback: Option<At<String>>,
    /// `multi_choice_regex`: true to find choices in any case.
    #[serde(default)]
    pub(super) ignore_case: Option<At<bool>>,
    /// `multi_choice_regex`: true to find choices without their punctuation.
    #[serde(default)]
    pub(super) ignore_punctuation: Option<At<bool>>,
    /// `multi_choice_regex`: regular expressions whose matches are removed before choices are searched.
    #[serde(default)]
    pub(super) regexes_to_ignore: Option<At<Vec<At<String>>>>,
    /// `map`: the new text for each old one.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(super) mapping_dict: Option<At<Map<String, Value>>>,
    /// `map`: the text for all others; default: `None`.
    #[serde(default)]
    pub(super) default_value: Option<At<Value>>,
    /// `take_first_k`: number of answers to take.
    #[serde(default)]
    pub(super) k: Option<At<usize>>,
}

/// The function of a filter's step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepFunction {
    /// Takes the match of a regular expression: its first non-empty group, or all of it if it has no groups.
    Regex,
    /// Takes the letter of a choice.
    MultiChoiceRegex,
    /// Removes white space at both ends.
    RemoveWhitespace,
    /// Changes the text to lower case.
    Lowercase,
    /// Changes the text to upper case.
    Uppercase,
    /// Replaces each text by another.
    Map,
    /// Takes the first of several answers to a question.
    TakeFirst,
    /// Takes the first `k` of several answers to a question.
    TakeFirstK,
    /// Takes the most common of several answers to a question.
    MajorityVote,
}

/// The key `metadata`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Metadata {
    /// The task's version.
    pub(super) version: Option<Value>,
    /// Settings that only this program knows.
    #[schemars(with = "Option<Ours>")]
    pub(super) evomerge: Option<At<Ours>>,
}
