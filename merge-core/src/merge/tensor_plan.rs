//! How one tensor of a merge is made: decided before any weight is read, and carried out by [`Merge`](super::Merge).

use crate::{
    method::{Method, Settings},
    random::Draws,
};

/// How one tensor is made.
pub(crate) enum TensorPlan {
    /// As it is in the first of these; the others have to be the same, bit for bit.
    Same {
        /// Where it is.
        of: Vec<Operand>,
    },
    /// As the recipe says.
    Given {
        /// Little-endian.
        bytes: Vec<u8>,
    },
    /// By a method.
    Merge {
        /// The formula.
        method: &'static dyn Method,
        /// What differences are taken from.
        base: Option<Operand>,
        /// What is merged, in recipe order.
        models: Vec<(Operand, Settings, Draws)>,
        /// The parameters of the merge.
        settings: Settings,
    },
}

/// A source's tensor.
pub(crate) struct Operand {
    /// Which source.
    pub(crate) source: usize,
    /// What the tensor is called there.
    pub(crate) tensor: String,
}

impl TensorPlan {
    /// All that it reads: the base last.
    pub(crate) fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::Same { of } => of.iter().collect(),
            Self::Given { .. } => Vec::new(),
            Self::Merge { base, models, .. } => models.iter().map(|(operand, ..)| operand).chain(base).collect(),
        }
    }

    /// The name of the first tensor that it reads.
    pub(crate) fn first(&self) -> &str {
        &self.operands()[0].tensor
    }
}
