//! The plan of one tensor: made before any weight is read, and carried out by [`Merge`](super::Merge).

use crate::{
    method::{Method, Settings},
    random::Draws,
};

/// Plan of one tensor of a merge.
pub(crate) enum TensorPlan {
    /// A copy of the first operand; the others must be the same, bit for bit.
    Same {
        /// Equal tensors.
        of: Vec<Operand>,
    },
    /// Bytes that the recipe gives.
    Given {
        /// Little-endian bytes.
        bytes: Vec<u8>,
    },
    /// The result of a method.
    Merge {
        /// Method that merges the tensor.
        method: &'static dyn Method,
        /// Tensor that differences are taken from.
        base: Option<Operand>,
        /// Tensors to merge, in recipe order, with their settings and draws.
        models: Vec<(Operand, Settings, Draws)>,
        /// Settings of the merge.
        settings: Settings,
    },
}

/// A tensor of a source.
pub(crate) struct Operand {
    /// Position of the source.
    pub(crate) source: usize,
    /// Name of the tensor in the source.
    pub(crate) tensor: String,
}

impl TensorPlan {
    /// All operands, the base last.
    pub(crate) fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::Same { of } => of.iter().collect(),
            Self::Given { .. } => Vec::new(),
            Self::Merge { base, models, .. } => models.iter().map(|(operand, ..)| operand).chain(base).collect(),
        }
    }

    /// Name of the first operand.
    pub(crate) fn first(&self) -> &str {
        &self.operands()[0].tensor
    }
}
