//! The filters of lm-evaluation-harness, which change an answer before it is marked.

use super::{
    Doc,
    definition::{DefinitionFile, FilterConfig, FilterStep, StepFunction},
    regex::Pattern,
};
use crate::python;
use merge_core::{
    error::Result,
    words::counted,
    yaml::{At, Mistake, Place},
};
use serde_json::Value;
use std::collections::HashMap;

/// Default pattern: the answers of GSM8K.
const PATTERN: &str = r"#### (\-?[0-9\.\,]+)";

/// A named list of steps that make one text of the answers to a question.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Regex(Find),
    MultiChoice { find: Find, ignore_case: bool, ignore_punctuation: bool, ignore: Vec<Pattern> },
    Strip,
    Lower,
    Upper,
    Map { texts: HashMap<String, String>, default: Option<String> },
    FirstK(usize),
    Majority,
}

/// A pattern to search for, the index of the match to take, and the text if nothing matches.
#[derive(Debug)]
struct Find {
    pattern: Pattern,
    select: i64,
    fallback: String,
}

impl Filter {
    /// The default filter: the first answer, unchanged.
    pub(super) fn none() -> Self {
        Self { name: "none".to_owned(), steps: Vec::new() }
    }

    /// Reads a filter of a task that asks each question `repeats` times. Refuses steps that do not end in one text.
    pub(super) fn new(
        written: &DefinitionFile,
        config: &FilterConfig,
        repeats: usize,
        generates: bool,
    ) -> Result<Self> {
        let refuse = |place: Place, mistake: Mistake| written.error("filter_list", place, mistake);
        let one = Mistake::new("the filter leaves a list of answers, but only a single one can be marked")
            .hint("end it with `- function: take_first`");
        let Some((last, before)) = config.filter.split_last() else { return Err(refuse(config.name.place, one)) };
        if last.function.value != StepFunction::TakeFirst {
            return Err(refuse(last.place, one));
        }
        if let Some(early) = before.iter().find(|step| step.function.value == StepFunction::TakeFirst) {
            let mistake = Mistake::new("a step after `take_first` would work on single letters");
            return Err(refuse(early.place, mistake.hint("put `take_first` last")));
        }
        if let Some(step) = before.first().filter(|_| !generates) {
            let mistake = Mistake::new("likelihoods are not filtered").hint("only `take_first` is allowed here");
            return Err(refuse(step.place, mistake));
        }
        let steps = before.iter().map(|step| Step::new(step, repeats).map_err(|mistake| refuse(step.place, mistake)));
        Ok(Self { name: config.name.value.clone(), steps: steps.collect::<Result<_>>()? })
    }

    /// The text to mark, from the answers to one question.
    ///
    /// Fails if the search for a pattern takes too many steps.
    pub(super) fn apply(&self, doc: &Doc, answers: Vec<String>) -> Result<String> {
        let answers = self.steps.iter().try_fold(answers, |answers, step| step.apply(doc, answers));
        let answers = answers.map_err(|e| e.at(format_args!("filter {}", self.name)))?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }
}

impl Step {
    fn new(step: &At<FilterStep>, repeats: usize) -> std::result::Result<Self, Mistake> {
        known_settings(step)?;
        let flag = |flag: &Option<At<bool>>| flag.is_some_and(|flag| flag.value);
        Ok(match step.function.value {
            StepFunction::Regex => Self::Regex(Find::new(step)?),
            StepFunction::MultiChoiceRegex => Self::MultiChoice {
                find: Find::new(step)?,
                ignore_case: flag(&step.ignore_case),
                ignore_punctuation: flag(&step.ignore_punctuation),
                ignore: step
                    .regexes_to_ignore
                    .iter()
                    .flat_map(|patterns| &patterns.value)
                    .map(|pattern| compile(&pattern.value).map_err(|mistake| mistake.at(pattern.place)))
                    .collect::<std::result::Result<_, _>>()?,
            },
            StepFunction::RemoveWhitespace => Self::Strip,
            StepFunction::Lowercase => Self::Lower,
            StepFunction::Uppercase => Self::Upper,
            StepFunction::Map => {
                let text = |value: &Value| {
                    let text = value.as_str().map(str::to_owned);
                    text.ok_or_else(|| Mistake::new(format!("{} is not text", python::repr(value))))
                };
                let known = step.mapping_dict.iter().flat_map(|known| &known.value);
                let texts = known.map(|(key, value)| Ok((key.clone(), text(value)?)));
                let default = step.default_value.as_ref().filter(|value| !value.is_null());
                Self::Map {
                    texts: texts.collect::<std::result::Result<_, Mistake>>()?,
                    default: default.map(|value| text(value).map_err(|mistake| mistake.at(value.place))).transpose()?,
                }
            }
            StepFunction::TakeFirstK => match step.k {
                Some(k) if k.value > repeats => {
                    let answers = counted(repeats, "answer");
                    return Err(Mistake::new(format!("a question has {answers}, not {}", k.value))
                        .hint("`repeats` says how often each is asked")
                        .at(k.place));
                }
                Some(k) => Self::FirstK(k.value),
                None => return Err(Mistake::new("`k` is missing").hint("add `k: 1`")),
            },
            StepFunction::MajorityVote => Self::Majority,
            StepFunction::TakeFirst => Self::FirstK(1),
        })
    }

    fn apply(&self, doc: &Doc, mut answers: Vec<String>) -> Result<Vec<String>> {
        let each = |change: &dyn Fn(&str) -> String| answers.iter().map(|answer| change(answer)).collect();
        Ok(match self {
            Self::Regex(find) => return answers.iter().map(|answer| find.in_text(answer)).collect(),
            Self::MultiChoice { .. } => return answers.iter().map(|answer| self.choice(doc, answer)).collect(),
            Self::Strip => each(&|answer| python::strip(answer).to_owned()),
            Self::Lower => each(&str::to_lowercase),
            Self::Upper => each(&str::to_uppercase),
            Self::Map { texts, default } => {
                let default = default.as_deref().unwrap_or("None");
                each(&|answer| texts.get(answer).map_or(default, String::as_str).to_owned())
            }
            Self::FirstK(k) => {
                answers.truncate(*k);
                answers
            }
            Self::Majority => {
                let votes = |answer: &String| answers.iter().filter(|other| *other == answer).count();
                // The first of the most frequent answers, as Python's `Counter` finds it.
                let most = answers.iter().rev().max_by_key(|answer| votes(answer)).cloned();
                most.into_iter().collect()
            }
        })
    }

    /// The letter of a choice in parentheses: the pattern's match, else the choice whose text is
    /// found, else a letter after a colon.
    fn choice(&self, doc: &Doc, answer: &str) -> Result<String> {
        let Self::MultiChoice { find, ignore_case, ignore_punctuation, ignore } = self else {
            unreachable!("only this step looks for choices")
        };
        let plain = |text: &str| -> Result<String> {
            let mut text = ignore.iter().try_fold(text.to_owned(), |text, pattern| pattern.remove(&text))?;
            if *ignore_case {
                text = text.to_lowercase();
            }
            if *ignore_punctuation {
                text.retain(|c| !is_punctuation(c));
            }
            Ok(text)
        };
        let stripped = |found: String| Some(python::strip(&found).to_owned()).filter(|found| !found.is_empty());
        if let Some(found) = find.pattern.select(answer, find.select)?.and_then(stripped) {
            return Ok(found);
        }
        let choices = doc.get("choices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let choices = choices.iter().filter_map(Value::as_str).map(|choice| plain(python::strip(choice)));
        let choices = choices.collect::<Result<Vec<String>>>()?;
        let letter = |i: usize| char::from_u32('A' as u32 + i as u32).unwrap_or('?');
        // Longest first, so that no choice hides a longer one that begins with it.
        let mut longest: Vec<&str> = choices.iter().map(String::as_str).collect();
        longest.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
        let found = Pattern::of_texts(longest)?.select(&plain(answer)?, find.select)?.and_then(stripped);
        if let Some(found) = found {
            let choice = choices.iter().rposition(|choice| *choice == found);
            return Ok(choice.map_or(found, |i| format!("({})", letter(i))));
        }
        let letters: Vec<String> = (0..choices.len()).map(|i| letter(i).to_string()).collect();
        let after_colon = Pattern::new(&format!(":\\s*({})", letters.join("|")))?;
        Ok(match after_colon.select(answer, find.select)?.filter(|found| !found.is_empty()) {
            Some(found) => format!("({found})"),
            None => find.fallback.clone(),
        })
    }
}

impl Find {
    fn new(step: &FilterStep) -> std::result::Result<Self, Mistake> {
        let pattern = step.regex_pattern.as_ref();
        Ok(Self {
            pattern: compile(pattern.map_or(PATTERN, |pattern| &pattern.value))
                .map_err(|mistake| mistake.at(pattern.map_or_else(Place::default, |pattern| pattern.place)))?,
            select: step.group_select.map_or(0, |select| select.value),
            fallback: step.fallback.as_ref().map_or_else(|| "[invalid]".to_owned(), |fallback| fallback.value.clone()),
        })
    }

    fn in_text(&self, answer: &str) -> Result<String> {
        if !self.pattern.is_found(answer)? {
            return Ok(self.fallback.clone());
        }
        let found = self.pattern.select(answer, self.select)?;
        Ok(python::strip(found.as_deref().unwrap_or(&self.fallback)).to_owned())
    }
}

fn compile(pattern: &str) -> std::result::Result<Pattern, Mistake> {
    Pattern::new(pattern).map_err(|e| Mistake::new(e.to_string()))
}

/// Refuses settings that the step's function does not use.
fn known_settings(step: &FilterStep) -> std::result::Result<(), Mistake> {
    use StepFunction::{Map, MultiChoiceRegex, Regex, TakeFirstK};
    let settings: [(&str, Option<Place>, &[StepFunction]); 9] = [
        ("regex_pattern", step.regex_pattern.as_ref().map(|s| s.place), &[Regex, MultiChoiceRegex]),
        ("group_select", step.group_select.map(|s| s.place), &[Regex, MultiChoiceRegex]),
        ("fallback", step.fallback.as_ref().map(|s| s.place), &[Regex, MultiChoiceRegex]),
        ("ignore_case", step.ignore_case.map(|s| s.place), &[MultiChoiceRegex]),
        ("ignore_punctuation", step.ignore_punctuation.map(|s| s.place), &[MultiChoiceRegex]),
        ("regexes_to_ignore", step.regexes_to_ignore.as_ref().map(|s| s.place), &[MultiChoiceRegex]),
        ("mapping_dict", step.mapping_dict.as_ref().map(|s| s.place), &[Map]),
        ("default_value", step.default_value.as_ref().map(|s| s.place), &[Map]),
        ("k", step.k.map(|s| s.place), &[TakeFirstK]),
    ];
    for (key, place, functions) in settings {
        if let Some(place) = place.filter(|_| !functions.contains(&step.function.value)) {
            return Err(Mistake::new(format!("`{key}` has no effect in this function")).hint("remove it").at(place));
        }
    }
    Ok(())
}

/// True for characters of Unicode's category P.
fn is_punctuation(c: char) -> bool {
    static PUNCTUATION: std::sync::LazyLock<regex::Regex> =
        std::sync::LazyLock::new(|| regex::Regex::new(r"^\p{P}$").expect("it is a constant and compiles"));
    PUNCTUATION.is_match(c.encode_utf8(&mut [0; 4]))
}
