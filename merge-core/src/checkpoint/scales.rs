//! Reads 8-bit floats with scales as the numbers they stand for; refuses any other quantisation.
//!
//! `X.weight` in 8 bits stands for `X.weight · s`. The factors `s` are stored beside it as `X.weight_scale_inv` or
//! `X.weight_scale` (despite the first name, both are factors): one for the whole tensor, one for each row (an
//! output), or one for each block of [128, 128] elements or another size that the configuration gives. A tensor of
//! several matrices (experts) has factors for each of them.

use super::TensorPlace;
use crate::{
    error::{Error, Result},
    model::{Elements, dtype::Dtype},
    vectors::wide,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const WANTED: &str = "merge the checkpoint that it was quantised from, in 16 or 32 bits";

/// Values of `quant_method` for 8-bit floats with factors beside them.
const METHODS: [&str; 4] = ["fp8", "fbgemm_fp8", "compressed-tensors", "modelopt"];

/// Last parts of names of tensors that only quantised checkpoints have: GPTQ and AWQ,
/// compressed-tensors and NVFP4, bitsandbytes, AQLM, HQQ.
const PACKED: [&str; 14] = [
    "qweight",
    "qzeros",
    "g_idx",
    "weight_packed",
    "weight_zero_point",
    "weight_global_scale",
    "weight_scale_2",
    "SCB",
    "absmax",
    "quant_map",
    "nested_absmax",
    "codebooks",
    "W_q",
    "weight_format",
];

/// Factors of activations and of attention caches, which do not concern the weights.
const ACTIVATIONS: [&str; 7] =
    ["input_scale", "input_scale_ub", "activation_scale", "output_scale", "q_scale", "k_scale", "v_scale"];

/// Joins all 8-bit floats with their factors, and removes the factors and `quantization_config`. If
/// all tensors are plain numbers, the settings were left over, and a note is returned.
///
/// Fails for any other quantisation, and for factors that are missing or whose shape does not fit.
pub(super) fn resolve(
    places: &mut BTreeMap<String, TensorPlace>,
    config: &mut Map<String, Value>,
) -> Result<Option<String>> {
    let quantisation = take_quantisation(config);
    let quantisation = quantisation.as_ref();
    let is_left_over = !places.values().any(|place| may_be_quantised(place.found.meta.dtype));
    if let Some(method) = quantisation.map(method)
        && !METHODS.contains(&method)
        && !is_left_over
    {
        return Err(Error::user(format!("config.json: quantised by `{method}`")).hint(WANTED));
    }
    if let Some(method) = quantisation.filter(|quantisation| is_online(quantisation)).map(method) {
        let message =
            format!("config.json: `{method}` quantises the weights at each use (`quantization_mode: online`)");
        return Err(Error::user(message).hint(
            "a merge cannot keep that: remove `quantization_config` from its config.json to take the numbers as they are stored",
        ));
    }
    for (name, place) in &*places {
        let end = name.rsplit('.').next().unwrap_or(name);
        let of_a_pair = |ends: [&str; 2]| {
            let stem = name.strip_suffix(ends[0]);
            stem.is_some_and(|stem| places.contains_key(&format!("{stem}{}", ends[1])))
        };
        // MXFP4, and MLX's packed words.
        let paired = of_a_pair(["_blocks", "_scales"])
            || of_a_pair([".weight", ".scales"]) && place.found.meta.dtype == Dtype::U32;
        if PACKED.contains(&end) || name.contains(".quant_state.") || paired {
            return Err(Error::user(format!("`{name}` is part of a quantised tensor")).hint(WANTED));
        }
    }
    let block = quantisation.and_then(block_size).unwrap_or([128, 128]);
    let scales: Vec<(String, String)> = places.keys().filter_map(|name| scaled_tensor(name, places)).collect();
    for (name, weight) in scales {
        let Some(TensorPlace { file, found, .. }) = places.remove(&name) else { continue };
        let Some(place) = places.get_mut(&weight) else { continue };
        let of = &place.found.meta;
        if !is_8_bit_float(of.dtype) {
            let message = format!("`{weight}` is quantised: it is {} with `{name}` beside it", of.dtype.name());
            return Err(Error::user(message).hint(WANTED));
        }
        let grid = ScaleGrid::of(&of.shape, &found.meta.shape, block).filter(|_| found.meta.dtype.is_float());
        let grid = grid.ok_or_else(|| {
            let shapes = format!("of shape {:?} don't fit `{weight}` of shape {:?}", found.meta.shape, of.shape);
            Error::user(format!("the scales `{name}` {shapes}")).hint(WANTED)
        })?;
        if place.scales.replace((file, found, grid)).is_some() {
            return Err(Error::user(format!("`{weight}` has two tensors of scales")).hint(WANTED));
        }
    }
    if quantisation.is_some() || places.values().any(|place| place.scales.is_some()) {
        places.retain(|name, _| !ACTIVATIONS.iter().any(|end| name.rsplit('.').next() == Some(end)));
    }
    let Some(quantisation) = quantisation else { return Ok(None) };
    if is_left_over {
        let method = method(quantisation);
        return Ok(Some(format!(
            "config.json says that it is quantised by `{method}`, but all its tensors are plain numbers: they are taken as they are, without `quantization_config`"
        )));
    }
    let spared = spared(quantisation);
    for (name, place) in places {
        let covered = || spared.iter().any(|module| format!(".{name}").contains(&format!(".{module}.")));
        if is_8_bit_float(place.found.meta.dtype) && place.scales.is_none() && !covered() {
            let message =
                format!("`{name}` is in 8 bits, but its scales `{name}_scale_inv` or `{name}_scale` are not there");
            return Err(Error::user(message).hint("the checkpoint is incomplete: download it again"));
        }
    }
    Ok(None)
}

/// True if this type may hold packed weights, or weights that need a factor.
fn may_be_quantised(dtype: Dtype) -> bool {
    !matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::I64 | Dtype::Bool)
}

/// The name of a tensor of factors, and of the tensor that they are for.
fn scaled_tensor(name: &str, places: &BTreeMap<String, TensorPlace>) -> Option<(String, String)> {
    let weight = name.strip_suffix("_scale_inv").or_else(|| name.strip_suffix("_scale"))?;
    let of = places.get(weight)?;
    // Other models have a `gate` and an unrelated `gate_scale`.
    let known = weight.ends_with("weight") || name.ends_with("_inv") || is_8_bit_float(of.found.meta.dtype);
    known.then(|| (name.to_owned(), weight.to_owned()))
}

fn is_8_bit_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F8E4M3 | Dtype::F8E5M2)
}

/// Removes the settings of quantisation from a configuration and its parts; returns the outermost.
fn take_quantisation(config: &mut Map<String, Value>) -> Option<Map<String, Value>> {
    let own = ["quantization_config", "compression_config"].map(|key| config.shift_remove(key));
    let mut own = own.into_iter().flatten().filter_map(|value| match value {
        Value::Object(own) => Some(own),
        _ => None,
    });
    let own = own.next();
    // All are removed; the outermost is about most tensors.
    let parts = config.values_mut().filter_map(Value::as_object_mut);
    let inner = parts.map(take_quantisation).fold(None, Option::or);
    own.or(inner)
}

/// True if the stored numbers are plain, and the loader rounds them at each use.
fn is_online(quantisation: &Map<String, Value>) -> bool {
    quantisation.get("quantization_mode").and_then(Value::as_str) == Some("online")
}

fn method(quantisation: &Map<String, Value>) -> &str {
    let text = |key: &str| quantisation.get(key).and_then(Value::as_str);
    let asked = |key: &str| quantisation.get(key) == Some(&Value::Bool(true));
    match text("quant_method") {
        None if asked("load_in_4bit") || asked("load_in_8bit") => "bitsandbytes",
        None => "an unnamed method",
        Some(method) => method,
    }
}

/// Rows and columns of a block, if the configuration gives them.
fn block_size(quantisation: &Map<String, Value>) -> Option<[usize; 2]> {
    let groups = quantisation.get("config_groups").and_then(Value::as_object);
    let of_groups = groups.and_then(|groups| groups.values().find_map(|one| one.pointer("/weights/block_structure")));
    let size = quantisation.get("weight_block_size").filter(|size| !size.is_null()).or(of_groups)?.as_array()?;
    let extent = |at: usize| usize::try_from(size.get(at)?.as_u64()?).ok().filter(|extent| *extent > 0);
    Some([extent(0)?, extent(1)?])
}

/// Modules that were not quantised.
fn spared(quantisation: &Map<String, Value>) -> Vec<&str> {
    let keys = ["modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules"];
    let lists = keys.iter().filter_map(|key| quantisation.get(*key).and_then(Value::as_array));
    lists.flatten().filter_map(Value::as_str).collect()
}

/// Assigns a factor to each element, by rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScaleGrid {
    /// Rows and columns of one matrix.
    matrix: [usize; 2],
    /// Rows and columns that share a factor.
    block: [usize; 2],
    /// Rows and columns of factors in one matrix.
    factors: [usize; 2],
}

impl ScaleGrid {
    /// The grid for a tensor and factors of these shapes; `None` if they do not fit.
    fn of(shape: &[usize], scales: &[usize], block: [usize; 2]) -> Option<Self> {
        let (outer, matrix) = match shape {
            [] | [0] => return None,
            [len] => (&[][..], [1, *len]),
            [outer @ .., rows, columns] => (outer, [*rows, *columns]),
        };
        let count: usize = scales.iter().product();
        let all = Self { matrix, block: matrix, factors: [1, 1] };
        let rows = Self { matrix, block: [1, matrix[1]], factors: [matrix[0], 1] };
        let blocks = Self { matrix, block, factors: [matrix[0].div_ceil(block[0]), matrix[1].div_ceil(block[1])] };
        let is = |inner: &[usize]| scales == [outer, inner].concat();
        if count == 1 && outer.is_empty() || is(&[]) || is(&[1, 1]) {
            Some(all)
        } else if shape.len() > 1 && (is(&[matrix[0]]) || is(&[matrix[0], 1])) {
            Some(rows)
        } else {
            (shape.len() > 1 && is(&blocks.factors)).then_some(blocks)
        }
    }

    /// Multiplies the elements from `start` on by their factors.
    #[inline(always)]
    fn multiply(&self, factors: &[f32], start: usize, elements: &mut [f32]) {
        let [rows, columns] = self.matrix;
        let (mut at, mut rest) = (start, elements);
        while !rest.is_empty() {
            let (row, column) = (at / columns, at % columns);
            let (matrix, row) = (row / rows, row % rows);
            let across = column / self.block[1];
            let end = ((across + 1) * self.block[1]).min(columns);
            let (stretch, after) = rest.split_at_mut((end - column).min(rest.len()));
            let down = matrix * self.factors[0] + row / self.block[0];
            let factor = factors[down * self.factors[1] + across];
            for x in stretch.iter_mut() {
                *x *= factor;
            }
            at += stretch.len();
            rest = after;
        }
    }
}

/// The product of an 8-bit tensor and its factors.
pub(super) struct ScaledTensor<'a> {
    stored: Box<dyn Elements + 'a>,
    factors: Vec<f32>,
    grid: ScaleGrid,
}

impl<'a> ScaledTensor<'a> {
    /// Type of the products.
    pub(super) const DTYPE: Dtype = Dtype::BF16;

    pub(super) fn new(stored: Box<dyn Elements + 'a>, factors: Vec<f32>, grid: ScaleGrid) -> Self {
        Self { stored, factors, grid }
    }

    fn product(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.stored.read(start, out)?;
        wide(
            #[inline(always)]
            || self.grid.multiply(&self.factors, start, out),
        );
        Ok(())
    }
}

impl Elements for ScaledTensor<'_> {
    fn dtype(&self) -> Dtype {
        Self::DTYPE
    }

    fn len(&self) -> usize {
        self.stored.len()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let mut stored = vec![0; out.len() * Self::DTYPE.size()];
        self.copy(start, &mut stored)?;
        Self::DTYPE.widen(&stored, out);
        Ok(())
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let mut products = vec![0.0; out.len() / Self::DTYPE.size()];
        self.product(start, &mut products)?;
        Self::DTYPE.narrow(&products, out);
        Ok(())
    }
}
