//! `exact_match`: compares two texts, apart from differences that a task ignores.

use super::{
    definition::{DefinitionFile, MetricConfig},
    regex::Pattern,
};
use merge_core::{error::Result, yaml::Mistake};

/// The differences to ignore.
#[derive(Debug, Default)]
pub(super) struct Exact {
    patterns: Vec<Pattern>,
    case: bool,
    punctuation: bool,
    numbers: bool,
}

impl Exact {
    /// Ignores no difference.
    pub(super) const NOTHING: Self = Self { patterns: Vec::new(), case: false, punctuation: false, numbers: false };

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

    /// True if the texts are the same, apart from ignored differences.
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
