//! Ways to stretch rotary embeddings to contexts longer than in training.

use super::parameters::RopeParameters;
use merge_core::error::Result;
use std::f64::consts::TAU;

/// A way of stretching, with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// No stretching.
    None,
    /// All frequencies are divided by a factor (arXiv 2306.15595).
    Linear { factor: f64 },
    /// The base grows with the sequence's length once that exceeds the context ("NTK-aware", of
    /// arXiv 2309.00071, section 3.1).
    Dynamic { factor: f64, context: usize },
    /// Low frequencies are divided, high ones are not (Llama 3.1).
    Llama3(Llama3),
    /// Low frequencies are divided, high ones are not (arXiv 2309.00071, section 3.2).
    Yarn(Yarn),
    /// Each frequency is divided by its own factor; long sequences have other factors (arXiv 2402.13753).
    Long { short: Vec<f64>, long: Vec<f64>, original: usize },
}

/// Facts about the model outside of its rotary parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RopeModel {
    /// Number of a head's elements that are turned.
    pub turned: usize,
    /// `max_position_embeddings`.
    pub context: usize,
    /// `original_max_position_embeddings` outside of the parameters, which takes precedence over the one inside.
    pub original: Option<usize>,
    /// True if `yarn` is an old name of `longrope`, as in Phi-3's first configurations.
    pub yarn_is_long: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Llama3 {
    factor: f32,
    low: f32,
    high: f32,
    original: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Yarn {
    factor: f64,
    fast: f64,
    slow: f64,
    original: f64,
    /// True if the ends of the ramp are rounded to whole pairs.
    truncate: bool,
}

impl Scaling {
    /// Reads the scaling, and the factor of cosines and sines.
    ///
    /// Fails, naming the type, for one that is not supported.
    pub(crate) fn read(parameters: &RopeParameters, model: RopeModel) -> Result<(Self, f64)> {
        let kind = match parameters.text("rope_type")? {
            Some(kind) => kind,
            None => parameters.text("type")?.unwrap_or_else(|| "default".to_owned()),
        };
        let original = match model.original {
            Some(original) => original,
            None => parameters.count("original_max_position_embeddings")?.unwrap_or(model.context),
        };
        if original == 0 {
            return Err(parameters.error("", "original_max_position_embeddings is 0"));
        }
        let scaling = match &*kind {
            "default" => Self::None,
            "linear" => Self::Linear { factor: parameters.positive("factor")? },
            "dynamic" => {
                if model.turned == 2 {
                    return Err(parameters.error("", "`dynamic` needs more than two elements of a head to turn"));
                }
                Self::Dynamic { factor: parameters.positive("factor")?, context: model.context }
            }
            "llama3" => Self::Llama3(Llama3 {
                factor: parameters.positive("factor")? as f32,
                low: parameters.positive("low_freq_factor")? as f32,
                high: parameters.positive("high_freq_factor")? as f32,
                original: original as f32,
            }),
            "longrope" | "su" => return Self::long(parameters, model, original),
            "yarn" if model.yarn_is_long => return Self::long(parameters, model, original),
            "yarn" => {
                let yarn = Yarn::read(parameters, model.context, original)?;
                let factor = yarn.attention_factor(parameters)?;
                return Ok((Self::Yarn(yarn), factor));
            }
            other => {
                let message = format!("there is no rotary embedding of type `{other}`");
                let types = "`default`, `linear`, `dynamic`, `llama3`, `yarn` and `longrope`";
                return Err(parameters
                    .error("", &message)
                    .hint(format!("models with the types {types} can be evaluated")));
            }
        };
        Ok((scaling, 1.0))
    }

    fn long(parameters: &RopeParameters, model: RopeModel, original: usize) -> Result<(Self, f64)> {
        let pairs = model.turned / 2;
        let (short, long) = (parameters.numbers("short_factor", pairs)?, parameters.numbers("long_factor", pairs)?);
        let factor = parameters.number("factor")?.unwrap_or(model.context as f64 / original as f64);
        let by_length = || {
            if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() }
        };
        let attention_factor = parameters.number("attention_factor")?.unwrap_or_else(by_length);
        Ok((Self::Long { short, long, original }, attention_factor))
    }
}

impl Llama3 {
    /// Stretched frequency.
    pub(crate) fn of(&self, frequency: f32) -> f32 {
        let wavelength = TAU as f32 / frequency;
        if wavelength < self.original / self.high {
            return frequency;
        }
        if wavelength > self.original / self.low {
            return frequency / self.factor;
        }
        let smooth = (self.original / wavelength - self.low) / (self.high - self.low);
        (1.0 - smooth) * frequency / self.factor + smooth * frequency
    }
}

impl Yarn {
    fn read(parameters: &RopeParameters, context: usize, original: usize) -> Result<Self> {
        let factor = match parameters.number("factor")? {
            Some(_) => parameters.positive("factor")?,
            None => context as f64 / original as f64,
        };
        // Zero counts as absent, as in Python.
        let or = |number: Option<f64>, default| number.filter(|number| *number != 0.0).unwrap_or(default);
        Ok(Self {
            factor,
            fast: or(parameters.number("beta_fast")?, 32.0),
            slow: or(parameters.number("beta_slow")?, 1.0),
            original: original as f64,
            truncate: parameters.flag("truncate")?.unwrap_or(true),
        })
    }

    /// Equation 22, or that of `DeepSeek` if both `mscale` and `mscale_all_dim` are given.
    fn attention_factor(&self, parameters: &RopeParameters) -> Result<f64> {
        if let Some(factor) = parameters.number("attention_factor")? {
            return Ok(factor);
        }
        let scale = |mscale: f64| if self.factor <= 1.0 { 1.0 } else { 0.1 * mscale * self.factor.ln() + 1.0 };
        let given = |number: Option<f64>| number.filter(|number| *number != 0.0);
        Ok(match (given(parameters.number("mscale")?), given(parameters.number("mscale_all_dim")?)) {
            (Some(mscale), Some(all)) => scale(mscale) / scale(all),
            _ => scale(1.0),
        })
    }

    /// Degree to which each pair's frequency is divided, from 0 to 1: the ramp of equation 18.
    pub(crate) fn ramp(&self, turned: usize, base: f64) -> Vec<f32> {
        let pair = |rotations: f64| turned as f64 * (self.original / (rotations * TAU)).ln() / (2.0 * base.ln());
        let (mut low, mut high) = (pair(self.fast), pair(self.slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(turned as f64 - 1.0));
        if (high - low).abs() < f64::EPSILON {
            high += 0.001;
        }
        (0..turned / 2).map(|i| ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0)).collect()
    }

    /// Stretched frequency of a pair whose own is `1 / power`; `divided` is its value of the ramp.
    pub(crate) fn of(&self, power: f32, divided: f32) -> f32 {
        let kept = 1.0 - divided;
        1.0 / (self.factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
    }
}
