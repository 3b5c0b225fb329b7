//! `exact_match`: whether two texts are the same, but for what a task says is ignored.

use super::{
    definition::{DefinitionFile, MetricConfig},
    regex::Pattern,
};
use merge_core::{error::Result, yaml::Mistake};

/// What is ignored.
#[derive(Debug, Default)]
pub(super) struct Exact {
    patterns: Vec<Pattern>,
    case: bool,
    punctuation: bool,
    numbers: bool,
}

impl Exact {
    /// Nothing.
    pub(super) const NOTHING: Self = Self { patterns: Vec::new(), case: false, punctuation: false, numbers: false };

    /// As a measure's settings say.
    pub(super) fn new(written: &DefinitionFile, config: &MetricConfig) -> Result<Self> {
        let patterns = config.regexes_to_ignore.iter().flatten().map(|pattern| {
            let refuse = |e: merge_core::error::Error| Mistake::new(e.to_string());
            Pattern::new(pattern).map_err(|e| written.error("metric_list", pattern.place, refuse(e)))
        });
        Ok(Self {
            patterns: patterns.collect::<Result<_>>()?,
            case: config.ignore_case.unwrap_or(false),
            punctuation: config.ignore_punctuation.unwrap_or(false),
            numbers: config.ignore_numbers.unwrap_or(false),
        })
    }

    /// Whether the two are the same.
    pub(super) fn equal(&self, gold: &str, said: &str) -> Result<bool> {
        Ok(self.plain(gold)? == self.plain(said)?)
    }

    fn plain(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        for pattern in &self.patterns {
            text = pattern.remove(&text).map_err(|e| e.at("regexes_to_ignore"))?;
        }
        if self.case {
            text = text.to_lowercase();
        }
        text.retain(|c| !(self.punctuation && c.is_ascii_punctuation() || self.numbers && c.is_ascii_digit()));
        Ok(text)
    }
}
