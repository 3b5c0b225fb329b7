//! MLPs of layers: one for all tokens, or many experts of which each token goes to a few.

use super::{
    activation::Activation,
    architecture::{ExpertsKeys as Described, MlpKind as Names},
    compute::pointwise::{self, Term},
    config::{Blueprint, Experts as Sizes, LayerBlueprint},
    linear::Projection,
    load::{ProjectionPart, WeightSource},
};
use candle_core::Tensor;
use merge_core::error::{Error, Result};

/// A layer's MLP.
#[derive(Debug)]
pub(crate) enum Mlp {
    /// One MLP for all tokens.
    Dense(Dense),
    /// A few of many experts for each token.
    Sparse(Sparse),
}

/// An MLP of two or three projections.
#[derive(Debug)]
pub(crate) struct Dense {
    /// True if `up` gives gates, then ups.
    gated: bool,
    up: Projection,   // hidden → intermediate, or 2 · intermediate
    down: Projection, // intermediate → hidden
    activation: Activation,
}

/// Experts (arXiv 2401.04088, section 2.1).
#[derive(Debug)]
pub(crate) struct Sparse {
    sizes: Sizes,
    router: Projection, // hidden → experts
    experts: Vec<Dense>,
    /// The expert for every token, and its weight: hidden → 1.
    shared: Option<(Dense, Projection)>,
}

impl Mlp {
    /// Reads the MLP of a layer; `at` is the beginning of its tensors' names.
    pub(crate) fn load(
        source: WeightSource<'_>,
        blueprint: &Blueprint,
        block: &LayerBlueprint,
        at: &str,
    ) -> Result<Self> {
        match (blueprint.architecture.experts, blueprint.experts) {
            (Some(described), Some(sizes)) if block.sparse => {
                Ok(Self::Sparse(Sparse::load(source, blueprint, described, sizes, at)?))
            }
            _ => Ok(Self::Dense(Dense::load(source, blueprint, at)?)),
        }
    }

    /// `x` and result: `(tokens, hidden)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(mlp) => Ok(mlp.forward(x)?),
            Self::Sparse(experts) => experts.forward(x),
        }
    }
}

impl Dense {
    fn load(source: WeightSource<'_>, blueprint: &Blueprint, at: &str) -> Result<Self> {
        let Blueprint { hidden, intermediate, biases: [.., bias], .. } = *blueprint;
        let part = |name: &str, out, input| {
            let name = format!("{at}{name}");
            ProjectionPart::of(blueprint.architecture, &name, out, input).bias(bias.then(|| format!("{name}.bias")))
        };
        let (gated, ups, down) = match blueprint.architecture.names.mlp {
            Names::Gated { gate, up, down } => {
                (true, vec![part(gate, intermediate, hidden), part(up, intermediate, hidden)], down)
            }
            Names::FusedGated { gate_up, down } => (true, vec![part(gate_up, 2 * intermediate, hidden)], down),
            Names::Plain { up, down } => (false, vec![part(up, intermediate, hidden)], down),
        };
        Ok(Self {
            gated,
            up: source.linear(&ups, hidden)?,
            down: source.linear(&[part(down, hidden, intermediate)], intermediate)?,
            activation: blueprint.activation,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let inner = self.up.forward(x)?; // (tokens, intermediate), or (tokens, 2 · intermediate)
        let inner = if self.gated {
            pointwise::gate(&inner, self.activation)?
        } else {
            pointwise::activate(&inner, self.activation)?
        };
        self.down.forward(&inner)
    }
}

impl Sparse {
    fn load(
        source: WeightSource<'_>,
        blueprint: &Blueprint,
        described: Described,
        sizes: Sizes,
        at: &str,
    ) -> Result<Self> {
        let Blueprint { hidden, activation, .. } = *blueprint;
        let Sizes { count, intermediate, .. } = sizes;
        // Transformers 5 can write all experts of a layer as one tensor.
        let fused = format!("{at}mlp.experts.gate_up_proj");
        let is_fused = source.has(&fused);
        let router = if is_fused { "mlp.gate" } else { described.router };
        let expert = |number: usize| {
            let of = [number, count];
            let part = |name: &str, out, input| {
                ProjectionPart::new(&format!("{at}{}", name.replace("{}", &number.to_string())), out, input)
            };
            let (ups, down) = if is_fused {
                let down = format!("{at}mlp.experts.down_proj");
                (
                    vec![ProjectionPart::expert(fused.clone(), of, 2 * intermediate, hidden)],
                    ProjectionPart::expert(down, of, hidden, intermediate),
                )
            } else {
                (
                    vec![part(described.gate, intermediate, hidden), part(described.up, intermediate, hidden)],
                    part(described.down, hidden, intermediate),
                )
            };
            let (up, down) = (source.linear(&ups, hidden)?, source.linear(&[down], intermediate)?);
            Ok::<_, Error>(Dense { gated: true, up, down, activation })
        };
        let shared = |len: usize| {
            let part =
                |name: &str, out, input| ProjectionPart::new(&format!("{at}mlp.shared_expert{name}"), out, input);
            let ups = [part(".gate_proj", len, hidden), part(".up_proj", len, hidden)];
            let down = source.linear(&[part(".down_proj", hidden, len)], len)?;
            let mlp = Dense { gated: true, up: source.linear(&ups, hidden)?, down, activation };
            Ok::<_, Error>((mlp, source.linear(&[part("_gate", 1, hidden)], hidden)?))
        };
        Ok(Self {
            sizes,
            router: source.linear(&[ProjectionPart::new(&format!("{at}{router}"), count, hidden)], hidden)?,
            experts: (0..count).map(expert).collect::<Result<_>>()?,
            shared: sizes.shared.map(shared).transpose()?,
        })
    }

    /// Each expert computes the tokens that go to it. A token's results are added up in the order
    /// of the experts, so that they do not depend on other tokens.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let scores = self.router.forward(x)?.to_vec2::<f32>()?; // (tokens, experts)
        let mut sums = vec![Vec::with_capacity(self.sizes.chosen + 1); scores.len()];
        let mut tokens = vec![Vec::new(); self.experts.len()];
        for (token, scores) in scores.iter().enumerate() {
            for (expert, weight) in chosen(scores, self.sizes) {
                tokens[expert].push((token as u32, weight));
            }
        }
        let mut results = Vec::new();
        let mut row = 0;
        for (expert, tokens) in self.experts.iter().zip(&tokens).filter(|(_, tokens)| !tokens.is_empty()) {
            let numbers: Vec<u32> = tokens.iter().map(|(token, _)| *token).collect();
            let x = x.index_select(&Tensor::new(numbers, x.device())?, 0)?; // (tokens of the expert, hidden)
            results.push(expert.forward(&x)?);
            for (token, weight) in tokens {
                sums[*token as usize].push(Term { row, weight: *weight });
                row += 1;
            }
        }
        if let Some((mlp, gate)) = &self.shared {
            results.push(mlp.forward(x)?);
            let weights = gate.forward(x)?.flatten_all()?.to_vec1::<f32>()?; // (tokens)
            for (sum, weight) in sums.iter_mut().zip(weights) {
                sum.push(Term { row, weight: 1.0 / (1.0 + (-weight).exp()) });
                row += 1;
            }
        }
        let results = Tensor::cat(&results, 0)?; // (tokens · chosen, and tokens for the shared one, hidden)
        Ok(pointwise::weighed_sums(&results, &sums)?)
    }
}

/// The experts with the highest scores (the first of equals) and their shares of the softmax, in order of experts.
fn chosen(scores: &[f32], sizes: Sizes) -> Vec<(usize, f32)> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    let mut shares: Vec<(usize, f32)> = exponentials.iter().map(|share| share / sum).enumerate().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.truncate(sizes.chosen);
    if sizes.normalised {
        let sum: f32 = shares.iter().map(|(_, share)| share).sum();
        for (_, share) in &mut shares {
            *share /= sum;
        }
    }
    shares.sort_by_key(|(expert, _)| *expert);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_the_likeliest_experts() {
        let check = |scores: &[f32], normalised, expected: &[(usize, f32)]| {
            let sizes = Sizes { count: scores.len(), chosen: 2, intermediate: 1, shared: None, normalised };
            let chosen = chosen(scores, sizes);
            assert_eq!(
                chosen.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(),
                expected.iter().map(|(e, _)| *e).collect::<Vec<_>>()
            );
            for ((_, ours), (_, theirs)) in chosen.iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-6, "{ours} is not {theirs}");
            }
        };
        let ln = f32::ln;
        check(&[ln(1.0), ln(4.0), ln(2.0), ln(3.0)], false, &[(1, 0.4), (3, 0.3)]);
        check(&[ln(3.0), ln(4.0), ln(2.0), ln(1.0)], true, &[(0, 3.0 / 7.0), (1, 4.0 / 7.0)]);
        check(&[0.0; 4], true, &[(0, 0.5), (1, 0.5)]);
        // NaN scores still choose experts.
        assert_eq!(
            super::chosen(
                &[f32::NAN; 3],
                Sizes { count: 3, chosen: 2, intermediate: 1, shared: None, normalised: true }
            )
            .len(),
            2
        );
    }
}
