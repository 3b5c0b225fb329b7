//! What is wanted of an engine, what it computes, and why it may not.

use crate::{request::Likelihood, server::wire::Refusal};
use merge_core::error::Error;

/// Reason why a model has no answers.
pub(crate) enum Trouble {
    /// The engine failed. The model may be scored again, here or elsewhere.
    Engine {
        /// Description for the user.
        error: Error,
        /// True if it still answers, and answered that it failed: the model may be the reason.
        answered: bool,
    },
    /// The same would happen again.
    Fatal(Error),
}

/// A sequence to compute: its tokens, and what is wanted of them.
pub(crate) struct Wanted<'a> {
    /// Tokens of the sequence, those that are scored included.
    pub tokens: &'a [u32],
    /// What is wanted.
    pub what: What<'a>,
}

/// What is wanted of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What<'a> {
    /// The likelihood of its tokens from this position on.
    Score(usize),
    /// Greedy generation of at most this number of tokens.
    Generate(usize, &'a [String]),
}

/// Result of a sequence.
#[derive(Debug, PartialEq)]
pub(crate) enum Computed {
    /// Likelihood of the scored tokens, and whether a number was not finite.
    Scored(Likelihood, bool),
    /// Generated tokens, and whether the limit ended them.
    Generated(Vec<u32>, bool),
}

impl Wanted<'_> {
    /// Position of the first scored token; of a prompt, its end.
    pub(super) fn start(&self) -> usize {
        match self.what {
            What::Score(from) => from,
            What::Generate(..) => self.tokens.len(),
        }
    }
}

impl Trouble {
    pub(super) fn engine(error: Error) -> Self {
        Self::Engine { error, answered: false }
    }

    pub(crate) fn error(&self) -> &Error {
        match self {
            Self::Engine { error, .. } | Self::Fatal(error) => error,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Engine { error, .. } | Self::Fatal(error) => error,
        }
    }
}

impl From<Refusal> for Trouble {
    /// A refusal for good is nobody's fault but the request's: it must stop a search, not spoil candidates.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unreachable(error) => Self::engine(error),
            Refusal::Failed(error, _) => Self::Engine { error, answered: true },
            Refusal::TooLong(error) | Refusal::Permanent(error) => Self::Fatal(error.as_machine()),
        }
    }
}
