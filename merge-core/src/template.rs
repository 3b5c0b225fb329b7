//! A template is a recipe with holes: its space is what a search explores, and a genome fills it to an ordinary recipe.

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    error::Result,
    method::{Domain, Value},
    names::Layers,
    recipe::{At, Conditional, Curve, Fit, Mistake, Recipe, Setting},
};

/// A recipe with holes.
pub type Template = Recipe<Slot>;

/// What a template gives a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// What it is in every candidate.
    Set(Setting),
    /// What the search decides.
    Hole(Hole),
}

/// A parameter that the search decides.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Hole {
    /// The least and the most it may be.
    pub search: At<[f64; 2]>,
    /// Where the search begins; the middle unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<At<f64>>,
    /// `layer` searches a value for each layer, one for the input embeddings, and one for the final norm and output head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<At<Per>>,
    /// Searches a value for each of so many groups of neighbouring layers; embeddings go with the first, the head with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub groups: Option<At<usize>>,
}

/// What gets a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Each layer.
    Layer,
}

/// What a search explores: one dimension for each number to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// In the order of a genome.
    pub dimensions: Vec<Dimension>,
}

/// A number to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// What it is, as in `models[1].weight[layer 3]`.
    pub label: String,
    /// What it may be.
    pub range: RangeInclusive<f64>,
    /// Where the search begins.
    pub init: f64,
}

impl Space {
    /// The genome whose recipe has every `init`.
    pub fn init(&self) -> Vec<f64> {
        let unit = |d: &Dimension| unfold((d.init - d.range.start()) / (d.range.end() - d.range.start()));
        self.dimensions.iter().map(unit).collect()
    }
}

impl Template {
    /// The dimensions of the search; refuses more groups than there are layers.
    pub fn space(&self, layers: &Layers) -> Result<Space> {
        let mut dimensions = Vec::new();
        for (label, slot) in self.settings() {
            let Slot::Hole(hole) = &slot.value else { continue };
            if let Some(groups) = hole.groups.as_ref().filter(|groups| groups.value > layers.count) {
                let only = format!("there are only {} layers for {} groups", layers.count, groups.value);
                let mistake = Mistake::new(only).hint("`per: layer` gives each layer its own value");
                return Err(mistake.under("groups").under(&label).at(groups.place).into_error(&self.file));
            }
            let [min, max] = hole.search.value;
            let init = hole.init();
            dimensions.extend(hole.parts(layers).into_iter().map(|part| Dimension {
                label: format!("{label}{}", part.label),
                range: min..=max,
                init,
            }));
        }
        Ok(Space { dimensions })
    }

    /// The recipe of a genome, which may be any finite numbers: coordinates outside 0..=1 are folded back, smoothly.
    ///
    /// # Panics
    /// If the genome does not have the length of [`Template::space`].
    pub fn fill(&self, layers: &Layers, genome: &[f64]) -> Recipe {
        let mut rest = genome;
        let recipe = self.map(|slot| match slot {
            Slot::Set(setting) => setting.clone(),
            Slot::Hole(hole) => {
                let parts = hole.parts(layers);
                let (mine, after) = rest.split_at_checked(parts.len()).expect("a genome has the length of its space");
                rest = after;
                hole.fill(parts, mine)
            }
        });
        assert!(rest.is_empty(), "a genome has the length of its space");
        recipe
    }
}

/// The tensors that share a coordinate of a hole: those that a filter matches, or all that are left.
struct Part {
    label: String,
    filters: Vec<String>,
}

impl Hole {
    /// Where the search begins.
    pub fn init(&self) -> f64 {
        let [min, max] = self.search.value;
        self.init.map_or(f64::midpoint(min, max), |init| init.value)
    }

    /// At least one, and the last takes all that the others leave.
    fn parts(&self, layers: &Layers) -> Vec<Part> {
        let filters = |range: std::ops::Range<usize>| range.map(|layer| format!("{}{layer}.", layers.prefix)).collect();
        if self.per.is_some() {
            let embed = Part { label: "[embedding]".to_string(), filters: layers.embeddings.clone() };
            let layer = |layer| Part { label: format!("[layer {layer}]"), filters: filters(layer..layer + 1) };
            let head = Part { label: "[head]".to_string(), filters: Vec::new() };
            return std::iter::once(embed).chain((0..layers.count).map(layer)).chain([head]).collect();
        }
        let Some(groups) = self.groups.map(|groups| groups.value.min(layers.count).max(1)) else {
            return vec![Part { label: String::new(), filters: Vec::new() }];
        };
        let group = |group: usize| {
            let range = group * layers.count / groups..(group + 1) * layers.count / groups;
            let label = format!("[layers {}-{}]", range.start, range.end.saturating_sub(1));
            let embed = if group == 0 { layers.embeddings.clone() } else { Vec::new() };
            Part { label, filters: [embed, filters(range)].concat() }
        };
        (0..groups).map(group).collect()
    }

    fn fill(&self, parts: Vec<Part>, genome: &[f64]) -> Setting {
        let [min, max] = self.search.value;
        let values: Vec<f64> = genome.iter().map(|x| round(min + fold(*x) * (max - min)).clamp(min, max)).collect();
        let rest = *values.last().expect("a hole has at least one part");
        if parts.len() == 1 {
            return Setting::number(rest);
        }
        let mut entries = Vec::new();
        for (part, value) in parts.into_iter().zip(&values) {
            let entry = |filter| Conditional { filter: Some(filter), value: Curve::number(*value) };
            entries.extend(part.filters.into_iter().map(entry));
        }
        entries.push(Conditional { filter: None, value: Curve::number(rest) });
        Setting::Conditional(entries)
    }
}

/// How far inside and outside of 0..=1 the fold bends: `al` and `au` of pycma's `BoxConstraintsLinQuadTransformation`.
const MARGIN: f64 = 0.05;

/// Folds any coordinate into 0..=1 as pycma does: linear inside, quadratic near the bounds, mirrored and periodic beyond.
fn fold(x: f64) -> f64 {
    if !x.is_finite() {
        return 0.5;
    }
    let width = 1.0 + 2.0 * MARGIN;
    let y = (x + MARGIN).rem_euclid(2.0 * width);
    let x = y.min(2.0 * width - y) - MARGIN;
    let bend = |beyond: f64| beyond * beyond / (4.0 * MARGIN);
    if x < MARGIN {
        bend(x + MARGIN)
    } else if x > 1.0 - MARGIN {
        1.0 - bend(1.0 + MARGIN - x)
    } else {
        x
    }
}

/// The coordinate nearest to 0..=1 that folds to `u`.
fn unfold(u: f64) -> f64 {
    let bend = |inside: f64| 2.0 * (MARGIN * inside).sqrt();
    if u < MARGIN {
        bend(u) - MARGIN
    } else if u > 1.0 - MARGIN {
        1.0 + MARGIN - bend(1.0 - u)
    } else {
        u
    }
}

/// Rounds to 6 significant decimals, so that people can read the recipe that is then the truth.
fn round(value: f64) -> f64 {
    format!("{value:.5e}").parse().expect("a float prints as a float")
}

impl Fit for Slot {
    fn fit(&self, domain: Domain) -> std::result::Result<(), Mistake> {
        match self {
            Self::Set(setting) => setting.fit(domain),
            Self::Hole(hole) => hole.fit(domain),
        }
    }

    fn is_hole(&self) -> bool {
        matches!(self, Self::Hole(_))
    }

    fn is_by_layer(&self) -> bool {
        matches!(self, Self::Hole(Hole { per, groups, .. }) if per.is_some() || groups.is_some())
    }
}

impl Fit for Hole {
    fn fit(&self, domain: Domain) -> std::result::Result<(), Mistake> {
        let [min, max] = self.search.value;
        let range = |mistake: Mistake| mistake.under("search").at(self.search.place);
        if domain == Domain::Flag {
            return Err(Mistake::new("only numbers can be searched").hint("write true or false"));
        }
        Value::Number(min).fit(domain).and(Value::Number(max).fit(domain)).map_err(range)?;
        if min >= max {
            return Err(range(Mistake::new(format!("{min} is not less than {max}")).hint("write [least, most]")));
        }
        if !(max - min).is_finite() {
            return Err(range(Mistake::new("the range is too wide to compute with")));
        }
        if let Some(init) = self.init.filter(|init| !(min..=max).contains(&init.value)) {
            let mistake = Mistake::new(format!("{} is not between {min} and {max}", init.value));
            return Err(mistake.hint("begin inside the range").under("init").at(init.place));
        }
        match (self.groups, self.per) {
            (Some(groups), Some(_)) => Err(Mistake::new("`groups` and `per` exclude each other")
                .hint("`per: layer` already gives each layer its own value")
                .under("groups")
                .at(groups.place)),
            (Some(At { value: 0, place }), None) => {
                Err(Mistake::new("there must be at least 1 group").under("groups").at(place))
            }
            _ => Ok(()),
        }
    }
}

impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Set(setting) => setting.serialize(serializer),
            Self::Hole(hole) => hole.serialize(serializer),
        }
    }
}

impl JsonSchema for Slot {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Slot".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let setting = generator.subschema_for::<Setting>();
        let hole = generator.subschema_for::<Hole>();
        json_schema!({ "description": "A setting, or a hole for the search to fill.", "anyOf": [setting, hole] })
    }
}
