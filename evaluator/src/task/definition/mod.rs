//! A task file: the YAML of lm-evaluation-harness 0.4.13, read strictly, every mistake with its line and column.

mod check;
mod file;
mod formula;
mod ours;

pub(super) use check::check;
pub(super) use file::{DefinitionFile, Over, read, read_str, tree};
pub(super) use formula::Formula;
pub(super) use ours::Ours;

use merge_core::yaml::At;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A task as it is written. Keys that are `null` count as not written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Task")]
pub(super) struct Definition {
    /// Files whose keys this one takes over, relative to it; its own have the last word.
    pub(super) include: Option<At<Several>>,
    /// The task's name.
    pub(super) task: Option<At<String>>,
    /// What tables call it.
    pub(super) task_alias: Option<String>,
    /// Names under which several tasks can be asked for.
    pub(super) tag: Option<Several>,
    /// Not supported: it is a program.
    #[schemars(skip)]
    pub(super) custom_dataset: Option<At<Value>>,
    /// Not supported: it is a program.
    #[schemars(skip)]
    pub(super) class: Option<At<Value>>,
    /// Where the documents are: `json`, `csv` or `parquet` with `dataset_kwargs.data_files` or `data_dir`, the name of a data set,
    /// or a directory with one, as it is cloned from the hub.
    pub(super) dataset_path: Option<At<String>>,
    /// The part of a data set that has several.
    pub(super) dataset_name: Option<At<String>>,
    /// `data_files`: a file, a list of them, or such for each split; or `data_dir`; and how the files are read.
    #[schemars(with = "Option<DatasetKwargs>")]
    pub(super) dataset_kwargs: Option<At<DatasetKwargs>>,
    /// The split whose documents are examples, unless `fewshot_split` says otherwise.
    pub(super) training_split: Option<At<String>>,
    /// The split that is asked if there is no `test_split`.
    pub(super) validation_split: Option<At<String>>,
    /// The split that is asked.
    pub(super) test_split: Option<At<String>>,
    /// The split that examples are drawn from.
    pub(super) fewshot_split: Option<At<String>>,
    /// `!function` that changes each document before all else.
    pub(super) process_docs: Option<At<Formula>>,
    /// The question: a Jinja template, or the name of a field; a whole number if choices stand in front of one continuation.
    pub(super) doc_to_text: Option<At<Formula>>,
    /// The answer: a Jinja template, the name of a field, or the number of a choice.
    pub(super) doc_to_target: Option<At<Formula>>,
    /// Not supported: pictures.
    #[schemars(skip)]
    pub(super) doc_to_image: Option<At<Value>>,
    /// Not supported: sound.
    #[schemars(skip)]
    pub(super) doc_to_audio: Option<At<Value>>,
    /// Whether answers are run as programs, which is not supported.
    pub(super) unsafe_code: Option<At<bool>>,
    /// The choices: a list, the name of a field that is one, or a template that gives one.
    pub(super) doc_to_choice: Option<At<Formula>>,
    /// `!function` that marks an answer.
    pub(super) process_results: Option<At<Formula>>,
    /// Not supported: prompts of another package.
    #[schemars(skip)]
    pub(super) use_prompt: Option<At<Value>>,
    /// What comes before all examples.
    pub(super) description: Option<At<Formula>>,
    /// What stands between question and answer; a space unless said.
    pub(super) target_delimiter: Option<String>,
    /// What stands between examples; an empty line unless said.
    pub(super) fewshot_delimiter: Option<String>,
    /// How examples are chosen, and how they differ from the question.
    pub(super) fewshot_config: Option<At<FewshotConfig>>,
    /// Examples before the question; none unless said.
    pub(super) num_fewshot: Option<At<usize>>,
    /// What is measured.
    pub(super) metric_list: Option<Vec<At<MetricConfig>>>,
    /// How a model is asked; `generate_until` unless said.
    #[schemars(with = "Option<OutputType>")]
    pub(super) output_type: Option<At<OutputType>>,
    /// `generate_until`: where an answer ends.
    #[schemars(with = "Option<GenerationKwargs>")]
    pub(super) generation_kwargs: Option<At<GenerationKwargs>>,
    /// How often each question is asked; answers are greedy, so that all are the same.
    pub(super) repeats: Option<At<usize>>,
    /// What is done with an answer before it is marked, under each name once.
    pub(super) filter_list: Option<Vec<At<FilterConfig>>>,
    /// Without effect, as in lm-evaluation-harness without a file of n-grams.
    pub(super) should_decontaminate: Option<bool>,
    /// Without effect, as in lm-evaluation-harness without a file of n-grams.
    pub(super) doc_to_decontamination_query: Option<Value>,
    /// What the answer begins with.
    pub(super) gen_prefix: Option<At<Formula>>,
    /// Anything; `version` is the task's, and under `evomerge` is what only this program knows.
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
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// How a model is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// The model writes.
    #[default]
    GenerateUntil,
    /// How likely each of several continuations is.
    MultipleChoice,
    /// How likely one continuation is.
    Loglikelihood,
    /// How likely a whole text is.
    LoglikelihoodRolling,
}

impl OutputType {
    /// The word of task files.
    pub fn name(self) -> &'static str {
        match self {
            Self::GenerateUntil => "generate_until",
            Self::MultipleChoice => "multiple_choice",
            Self::Loglikelihood => "loglikelihood",
            Self::LoglikelihoodRolling => "loglikelihood_rolling",
        }
    }
}

/// Where documents are, beside `dataset_path`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DatasetKwargs {
    /// A file or a pattern of names, a list of them, or such for each split. Without splits all are of the split `train`.
    #[schemars(with = "Option<DataFiles>")]
    pub(super) data_files: Option<At<DataFiles>>,
    /// A directory: of the files in `data_files`, or without them of all the data, whose names say of which splits they are.
    pub(super) data_dir: Option<At<String>>,
    /// `json`: the field of the file that holds the documents.
    pub(super) field: Option<At<String>>,
    /// `csv`: what stands between two columns; a comma unless said.
    pub(super) sep: Option<At<String>>,
    /// The same.
    pub(super) delimiter: Option<At<String>>,
    /// `csv`: the names of the columns, if the first line does not give them.
    pub(super) column_names: Option<At<Vec<String>>>,
    /// `parquet`: the columns that are read; all unless said.
    pub(super) columns: Option<At<Vec<String>>>,
    /// Without effect.
    pub(super) trust_remote_code: Option<bool>,
}

/// Files by split.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(with = "std::collections::BTreeMap<String, OneOrMany>")]
pub(super) struct DataFiles(pub(super) Vec<(String, Vec<String>)>);

/// How examples are chosen, and how they differ from the question.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FewshotConfig {
    /// `default`: drawn anew for each document; `first_n`: the first ones.
    pub(super) sampler: Option<At<Sampler>>,
    /// The split they come from.
    pub(super) split: Option<At<String>>,
    /// `!function` that changes each example before all else.
    #[schemars(with = "Option<Formula>")]
    pub(super) process_docs: Own,
    /// Not supported: lm-evaluation-harness 0.4.13 reads it and does nothing with it.
    #[schemars(skip)]
    pub(super) fewshot_indices: Option<At<Value>>,
    /// The documents themselves.
    pub(super) samples: Option<At<Vec<Map<String, Value>>>>,
    /// As for the question.
    pub(super) doc_to_text: Option<At<Formula>>,
    /// As for the question.
    #[schemars(with = "Option<Formula>")]
    pub(super) doc_to_choice: Own,
    /// As for the question.
    pub(super) doc_to_target: Option<At<Formula>>,
    /// As for the question.
    #[schemars(with = "Option<Formula>")]
    pub(super) gen_prefix: Own,
    /// As for the question.
    pub(super) fewshot_delimiter: Option<String>,
    /// As for the question.
    pub(super) target_delimiter: Option<String>,
}

/// What an example has of its own, where `null` says that it has nothing.
#[derive(Clone, Debug, Default)]
pub(super) enum Own {
    /// The same as the question.
    #[default]
    Same,
    /// What is written.
    Written(Option<At<Formula>>),
}

impl Own {
    /// What is written, if anything is.
    pub(super) fn written(&self) -> Option<&At<Formula>> {
        match self {
            Self::Same => None,
            Self::Written(own) => own.as_ref(),
        }
    }

    /// What an example has, given what the question has.
    pub(super) fn or<'a>(&'a self, question: Option<&'a At<Formula>>) -> Option<&'a At<Formula>> {
        match self {
            Self::Same => question,
            Self::Written(own) => own.as_ref(),
        }
    }
}

impl<'de> Deserialize<'de> for Own {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Written)
    }
}

/// How examples are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sampler {
    /// Drawn anew for each document.
    #[default]
    Default,
    /// The first ones, for every document the same.
    FirstN,
}

/// Where a generated answer ends. Answers are greedy: what would draw them at random is refused.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GenerationKwargs {
    /// Texts that end an answer, and are not part of it; the `fewshot_delimiter` unless said.
    pub(super) until: Option<At<Several>>,
    /// Most tokens of an answer; 256 unless said.
    #[schemars(range(min = 1))]
    pub(super) max_gen_toks: Option<At<usize>>,
    /// Must be false.
    pub(super) do_sample: Option<At<bool>>,
    /// Without effect where answers are greedy, but must be 0 if `do_sample` is not said.
    pub(super) temperature: Option<At<f64>>,
    /// Without effect.
    pub(super) top_p: Option<f64>,
    /// Without effect.
    pub(super) top_k: Option<i64>,
}

/// A measure and its settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricConfig {
    /// Its name.
    pub(super) metric: At<Formula>,
    /// How the scores of all items become one; each measure has its own unless said.
    #[serde(default)]
    pub(super) aggregation: Option<At<Formula>>,
    /// Whether more is better; each measure knows unless said.
    #[serde(default)]
    pub(super) higher_is_better: Option<bool>,
    /// `exact_match`: regular expressions whose matches are removed from both texts.
    #[serde(default)]
    pub(super) regexes_to_ignore: Option<Vec<At<String>>>,
    /// `exact_match`: whether upper and lower case are the same.
    #[serde(default)]
    pub(super) ignore_case: Option<bool>,
    /// `exact_match`: whether ASCII punctuation is removed from both texts; that removes signs and points of numbers.
    #[serde(default)]
    pub(super) ignore_punctuation: Option<bool>,
    /// `exact_match`: whether ASCII digits are removed from both texts.
    #[serde(default)]
    pub(super) ignore_numbers: Option<bool>,
    /// Must be false.
    #[serde(default)]
    pub(super) hf_evaluate: Option<At<bool>>,
}

/// A name, and what is done with an answer under it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterConfig {
    /// The name, which follows the measure's in tables: `exact_match,strict-match`.
    pub(super) name: At<String>,
    /// The steps.
    pub(super) filter: Vec<At<FilterStep>>,
}

/// One step of a filter, and the settings of its function.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterStep {
    /// What is done.
    pub(super) function: At<StepFunction>,
    /// `regex`: a regular expression of Python; `#### (\-?[0-9\.\,]+)` unless said.
    #[serde(default)]
    pub(super) regex_pattern: Option<At<String>>,
    /// `regex`: which match, from 0, or from −1 at the end; the first unless said.
    #[serde(default)]
    pub(super) group_select: Option<At<i64>>,
    /// `regex`: what there is instead of a match; `[invalid]` unless said.
    #[serde(default)]
    pub(super) fallback: Option<At<String>>,
    /// `multi_choice_regex`: whether choices are found in any case.
    #[serde(default)]
    pub(super) ignore_case: Option<At<bool>>,
    /// `multi_choice_regex`: whether choices are found without punctuation.
    #[serde(default)]
    pub(super) ignore_punctuation: Option<At<bool>>,
    /// `multi_choice_regex`: regular expressions whose matches are removed before choices are looked for.
    #[serde(default)]
    pub(super) regexes_to_ignore: Option<At<Vec<At<String>>>>,
    /// `map`: old and new.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(super) mapping_dict: Option<At<Map<String, Value>>>,
    /// `map`: what others become.
    #[serde(default)]
    pub(super) default_value: Option<At<Value>>,
    /// `take_first_k`: so many.
    #[serde(default)]
    pub(super) k: Option<At<usize>>,
}

/// What a step of a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepFunction {
    /// Takes what a regular expression finds: its first group that is not empty, or all of it if it has none.
    Regex,
    /// Takes the letter of a choice.
    MultiChoiceRegex,
    /// Removes white space at both ends.
    RemoveWhitespace,
    /// Makes it lower case.
    Lowercase,
    /// Makes it upper case.
    Uppercase,
    /// Puts another text for each.
    Map,
    /// Takes the first of several answers to a question.
    TakeFirst,
    /// Takes the first ones of several answers to a question.
    TakeFirstK,
    /// Takes the commonest of several answers to a question.
    MajorityVote,
}

/// `metadata`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Metadata {
    /// The task's version.
    pub(super) version: Option<Value>,
    /// What only this program knows.
    #[schemars(with = "Option<Ours>")]
    pub(super) evomerge: Option<At<Ours>>,
}
