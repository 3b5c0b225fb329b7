//! Holds an engine against our own forward pass: the same requests, asked of both.

use super::Engines;
use crate::{
    answer::Transformer,
    language_model::{LanguageModel, watched},
    prompt::Tokenizer,
    request::{Answer, Request, Said},
};
use candle_core::Device;
use merge_core::{
    error::{Error, Result},
    model::Weights,
    words::counted,
};
use std::{fmt, ops::ControlFlow};

/// Agreement of an engine with our own forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Texts that both generated.
    pub texts: usize,
    /// Texts of which both generated the same.
    pub same: usize,
    /// Likelihoods that both computed.
    pub likelihoods: usize,
    /// Largest difference of two log-likelihoods, in nats for each token.
    pub furthest: f64,
}

impl Agreement {
    /// Asks a model these requests in an engine and on the CPU.
    ///
    /// Fails as loading and asking the model do.
    pub(crate) fn of(
        engines: &Engines,
        weights: &dyn Weights,
        tokenizer: &Tokenizer,
        requests: &[Request],
    ) -> Result<Self> {
        let given = engines.give(weights)?;
        let theirs = engines.run(weights, &given, tokenizer, |model| all_of(model, requests))?;
        drop(given);
        let own = Transformer::with_tokenizer(weights, tokenizer.clone(), &Device::Cpu)?;
        let mut own = own.interruptible(engines.interrupt().clone());
        let mut all = Self::default();
        for (a, b) in all_of(&mut own, requests)?.iter().zip(&theirs) {
            match (&a.said, &b.said) {
                (Said::Text { text: a, .. }, Said::Text { text: b, .. }) => {
                    all.texts += 1;
                    all.same += usize::from(a == b);
                }
                (Said::Likelihoods(a), Said::Likelihoods(b)) => {
                    for (a, b) in a.iter().zip(b) {
                        all.likelihoods += 1;
                        all.furthest = all.furthest.max((a.log - b.log).abs() / a.tokens.max(1) as f64);
                    }
                }
                _ => {}
            }
        }
        Ok(all)
    }
}

/// All answers; fails if interrupted.
fn all_of(model: &mut dyn LanguageModel, requests: &[Request]) -> Result<Vec<Answer>> {
    let answers = watched(model, requests, &mut |_| ControlFlow::Continue(()))?;
    answers.ok_or_else(Error::interrupted)
}

impl fmt::Display for Agreement {
    /// Two clauses, as far as there is something to say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = (self.texts > 0).then(|| format!("{} of {} are the same", self.same, counted(self.texts, "text")));
        let likelihoods = (self.likelihoods > 0).then(|| {
            let all = counted(self.likelihoods, "log-likelihood");
            format!("{all} differ by at most {:.1e} for each token", self.furthest)
        });
        f.write_str(&texts.into_iter().chain(likelihoods).collect::<Vec<_>>().join("; "))
    }
}
