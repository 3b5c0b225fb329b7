//! Rotary embeddings (arXiv 2104.09864): frequencies of a head's pairs, and ways to stretch a context.
//!
//! Numbers are rounded to `f32` where transformers rounds them.

mod parameters;
mod scaling;

use self::{
    parameters::RopeParameters,
    scaling::{RopeModel, Scaling},
};
use super::architecture::{Architecture, Positions, Rotary};
use merge_core::{
    error::{Error, Result},
    model::Config,
};

/// A rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// Number of a head's elements that are turned, which is even.
    pub turned: usize,
    base: f64,
    scaling: Scaling,
    /// Factor of cosines and sines.
    factor: f32,
}

/// Choice of a sequence's rotary frequencies; 0 for all short sequences.
///
/// Two types of rotary embeddings use other frequencies for long sequences: `dynamic` uses those of the sequence's
/// length once it exceeds `max_position_embeddings`, `longrope` uses `long_factor` once it exceeds
/// `original_max_position_embeddings`. The length that counts is that of the sequence when it is first read, prompt and
/// choice: all its tokens use the same frequencies, as in one forward pass of transformers. Each token generated after
/// that uses the frequencies of the sequence's length at that time, and the cache stays as it is, as in transformers'
/// `dynamic`. (Its Phi-3 reads the whole sequence again when it grows long; we do not.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RopeStretch(usize);

impl RopeStretch {
    /// True for the frequencies of short sequences.
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl Rope {
    /// Reads the rotary embedding of all layers, or one for layers without and one for layers with
    /// a window; none if positions are learned.
    pub(crate) fn read(config: &Config, architecture: &Architecture, head: usize, context: usize) -> Result<Vec<Self>> {
        let Positions::Rotary(Rotary { theta, default_theta, part, local, original }) = architecture.positions else {
            return Ok(Vec::new());
        };
        let parameters = RopeParameters::of(config)?;
        let part = match part {
            Some((key, default)) => match parameters.number("partial_rotary_factor")? {
                Some(part) => part,
                None => config.number(key)?.unwrap_or(default),
            },
            None => match parameters.number("partial_rotary_factor")? {
                Some(part) if (part - 1.0).abs() > 0.0 => {
                    let message = format!("only 1 is computed for {}", architecture.class);
                    return Err(parameters.error("partial_rotary_factor", &message));
                }
                _ => 1.0,
            },
        };
        let turned = (head as f64 * part) as usize;
        if turned == 0 || !turned.is_multiple_of(2) || turned > head {
            let message = format!("config.json: head_dim: rotary positions need an even length, not {turned}");
            return Err(Error::user(message));
        }
        let model = RopeModel {
            turned,
            context,
            original: config.count("original_max_position_embeddings")?.or(original),
            yarn_is_long: original.is_some(),
        };
        let theta = config.number(theta)?.unwrap_or(default_theta);
        let (full, sliding) = (parameters.within("full_attention"), parameters.within("sliding_attention"));
        let Some((local, default_local)) = local else {
            if full.is_some() || sliding.is_some() {
                return Err(parameters
                    .error("", &format!("all layers of {} use the same rotary embedding", architecture.class)));
            }
            return Ok(vec![Self::of(&parameters, theta, model)?]);
        };
        let local = config.number(local)?.unwrap_or(default_local);
        // Parameters for no particular type of layers are for those without a window.
        let full = full.unwrap_or(if sliding.is_some() { RopeParameters::none() } else { parameters });
        let sliding = sliding.unwrap_or_else(RopeParameters::none);
        Ok(vec![Self::of(&full, theta, model)?, Self::of(&sliding, local, model)?])
    }

    fn of(parameters: &RopeParameters, theta: f64, model: RopeModel) -> Result<Self> {
        let base = parameters.number("rope_theta")?.unwrap_or(theta);
        if !(base > 0.0 && base.is_finite()) {
            return Err(Error::user(format!("config.json: rope_theta: {base} is not above 0")));
        }
        let (scaling, factor) = Scaling::read(parameters, model)?;
        Ok(Self { turned: model.turned, base, scaling, factor: factor as f32 })
    }

    /// Choice of frequencies for a sequence of this length.
    pub(crate) fn stretch(&self, len: usize) -> RopeStretch {
        match self.scaling {
            Scaling::Dynamic { context, .. } if len > context => RopeStretch(len),
            Scaling::Long { original, .. } if len > original => RopeStretch(original + 1),
            _ => RopeStretch(0),
        }
    }

    /// Angle by which each pair of a head turns from one token to the next, in radians: `turned / 2` numbers.
    pub(crate) fn frequencies(&self, stretch: RopeStretch) -> Vec<f32> {
        let Self { turned, base, .. } = *self;
        let power = |base: f64, i: usize| base.powf((2 * i) as f64 / turned as f64) as f32;
        let plain = |base: f64| (0..turned / 2).map(move |i| 1.0 / power(base, i));
        match &self.scaling {
            Scaling::None => plain(base).collect(),
            Scaling::Linear { factor } => plain(base).map(|frequency| frequency / *factor as f32).collect(),
            Scaling::Dynamic { factor, context } => {
                let len = stretch.0.max(*context) as f64;
                let times = (factor * len / *context as f64) - (factor - 1.0);
                plain(base * times.powf(turned as f64 / (turned as f64 - 2.0))).collect()
            }
            Scaling::Llama3(scaling) => plain(base).map(|frequency| scaling.of(frequency)).collect(),
            Scaling::Yarn(scaling) => {
                let ramp = scaling.ramp(turned, base);
                (0..turned / 2).map(|i| scaling.of(power(base, i), ramp[i])).collect()
            }
            Scaling::Long { short, long, .. } => {
                let factors = if stretch.is_none() { short } else { long };
                factors.iter().enumerate().map(|(i, factor)| 1.0 / (*factor as f32 * power(base, i))).collect()
            }
        }
    }

    /// Appends the cosines, then the sines, of the angles at a position.
    pub(crate) fn angles(&self, frequencies: &[f32], position: usize, out: &mut Vec<f32>) {
        let angles = frequencies.iter().map(|frequency| f64::from(position as f32 * frequency));
        out.extend(angles.clone().map(|angle| angle.cos() as f32 * self.factor));
        out.extend(angles.map(|angle| angle.sin() as f32 * self.factor));
    }
}
