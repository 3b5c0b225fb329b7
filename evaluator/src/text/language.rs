//! Identifies the language of a text by fastText's model of 176 languages: Sakana's gate on Japanese answers.

use std::{io::BufReader, path::Path};

use crate::contained::catch_panic;
use fasttext_pure_rs::FastText;
use merge_core::{
    error::{Error, Result},
    file,
};

/// Number of languages that the model knows.
const LANGUAGES: usize = 176;

/// fastText's `lid.176.ftz` (A. Joulin et al., 2016; CC BY-SA 3.0), 0.9 MB.
#[derive(Debug)]
pub struct LanguageId(FastText);

impl LanguageId {
    /// Reads the model.
    pub fn open(path: &Path) -> Result<Self> {
        let file = file::open_itself(path).map_err(|e| Error::io("open", path, &e))?;
        // The library panics on some damaged files.
        let model = catch_panic(|| FastText::load_from_reader(BufReader::new(file)).map_err(|e| e.to_string()));
        model.and_then(|model| model).map(Self).map_err(|e| {
            Error::user(format!("{}: not a model of fastText's: {e}", path.display()))
                .hint("it should be lid.176.ftz, of 938,013 bytes")
        })
    }

    /// The `k` likeliest languages with their probabilities, likeliest first, as ISO codes; line breaks are ignored.
    ///
    /// Empty for a text without words. Probabilities are within 0.013 of fastText's own.
    pub fn languages(&self, text: &str, k: usize) -> Vec<(String, f64)> {
        // Its only error is that the text has no words.
        let predictions = self.0.predict(&text.replace('\n', ""), k.min(LANGUAGES), 0.0).unwrap_or_default();
        let name = |label: &str| label.strip_prefix("__label__").unwrap_or(label).to_owned();
        predictions.iter().map(|p| (name(&p.label), f64::from(p.probability))).collect()
    }

    /// The probability that the text is Japanese; 0 for a text without words.
    pub fn p_ja(&self, text: &str) -> f64 {
        let all = self.languages(text, LANGUAGES);
        all.iter().find(|(language, _)| language == "ja").map_or(0.0, |(_, p)| *p)
    }

    /// True if the text passes Sakana's gate for right answers: it is more likely Japanese than all else together.
    ///
    /// A bare number does not pass. Without the model's file, [`is_japanese`](crate::text::normalize::is_japanese) is
    /// the closest substitute; scores by it need another name.
    pub fn is_japanese(&self, text: &str) -> bool {
        self.p_ja(text) > 0.5
    }
}
