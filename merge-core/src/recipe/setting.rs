//! A parameter's setting: a value, a gradient over depth, or a list of either by tensor name.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_saphyr::FlowSeq;

use super::path::SCALE;
use crate::{
    method::{Domain, Value},
    yaml::Mistake,
};

/// Setting of a parameter, with mergekit's meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// One curve over depth for all tensors.
    Always(Curve),
    /// A curve by tensor name: the first entry that matches applies.
    Conditional(Vec<Conditional>),
}

/// A value for the tensors whose name contains the filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conditional {
    /// Part of the tensor's name; an absent filter or `*` matches every tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A value, or a list of values spread evenly over the depth of the model.
    pub value: Curve,
}

/// Values spread evenly over the depth of the model. A single value holds everywhere; an empty list gives none.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve(pub(super) Vec<Value>);

impl Setting {
    /// A setting with the same number everywhere.
    pub fn number(value: f64) -> Self {
        Self::Always(Curve::number(value))
    }

    /// The value for a tensor at depth `t`, from 0 (first layer) to 1 (last); `None` if no filter matches its name, or if
    /// there is no value.
    pub fn at(&self, domain: Domain, tensor: &str, t: f64) -> Option<Value> {
        match self {
            Self::Always(curve) => curve.at(domain, t),
            Self::Conditional(entries) => {
                let entry = entries.iter().find(|entry| match entry.filter.as_deref() {
                    None | Some("*") => true,
                    Some(part) => tensor.contains(part),
                })?;
                entry.value.at(domain, t)
            }
        }
    }

    /// The value for layer `layer` of `count` neighbouring layers: its own in a list of `count`, else by depth.
    pub(crate) fn of_layer(&self, domain: Domain, layer: usize, count: usize) -> Option<Value> {
        let Self::Always(curve) = self else { return self.at(domain, "", 0.0) };
        if curve.0.len() == count {
            // Exact: a depth between 0 and 1 may be rounded down to the layer before.
            return Curve(vec![curve.0[layer]]).at(domain, 0.0);
        }
        curve.at(domain, if count > 1 { layer as f64 / (count - 1) as f64 } else { 1.0 })
    }
}

impl Curve {
    /// A curve with the same number everywhere.
    pub fn number(value: f64) -> Self {
        Self(vec![Value::Number(value)])
    }

    /// A curve through these values, spread evenly from the first layer to the last.
    pub(crate) fn of(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// mergekit's `evaluate_setting`: numbers are interpolated, flags step.
    fn at(&self, domain: Domain, t: f64) -> Option<Value> {
        let last = self.0.len().checked_sub(1)?;
        let scaled = t.clamp(0.0, 1.0) * last as f64;
        let i0 = (scaled as usize).min(last);
        Some(match domain {
            Domain::Flag => Value::Flag(number(self.0[i0]) != 0.0),
            Domain::Number { .. } => {
                let i1 = (i0 + 1).min(last);
                let frac = scaled - i0 as f64;
                Value::Number((1.0 - frac) * number(self.0[i0]) + frac * number(self.0[i1]))
            }
        })
    }
}

fn number(value: Value) -> f64 {
    match value {
        Value::Number(value) => value,
        Value::Flag(value) => f64::from(u8::from(value)),
    }
}

/// A value that can be checked against a parameter's domain.
pub(crate) trait CheckDomain: Clone {
    /// Refuses a value outside the domain.
    fn check_domain(&self, domain: Domain) -> Result<(), Mistake>;

    /// True if a search decides the value.
    fn is_hole(&self) -> bool {
        false
    }

    /// True if layers get values of their own.
    fn is_by_layer(&self) -> bool {
        false
    }

    /// True if tensors get values of their own.
    fn is_by_tensor(&self) -> bool {
        false
    }
}

impl CheckDomain for Setting {
    fn check_domain(&self, domain: Domain) -> Result<(), Mistake> {
        let curves: Vec<&Curve> = match self {
            Self::Always(curve) => vec![curve],
            Self::Conditional(entries) => entries.iter().map(|entry| &entry.value).collect(),
        };
        curves.iter().flat_map(|curve| &curve.0).try_for_each(|value| value.check_domain(domain))
    }

    fn is_by_tensor(&self) -> bool {
        matches!(self, Self::Conditional(_))
    }
}

impl CheckDomain for Value {
    fn check_domain(&self, domain: Domain) -> Result<(), Mistake> {
        match (*self, domain) {
            (Self::Flag(_), Domain::Flag) => Ok(()),
            // mergekit accepts 0 and 1 as flags, and recipes write `normalize: 1.0`.
            (Self::Number(value), Domain::Flag) if [0.0, 1.0].contains(&value) => Ok(()),
            (Self::Number(value), Domain::Flag) => Err(Mistake::new(format!("{value} is not true or false"))),
            (Self::Flag(value), Domain::Number { .. }) => Err(Mistake::new(format!("{value} is not a number"))),
            (Self::Number(value), Domain::Number { min, max }) if (min..=max).contains(&value) => Ok(()),
            (Self::Number(value), domain) if value <= 0.0 && domain == SCALE => {
                Err(Mistake::new(format!("{value} is not above 0")))
            }
            (Self::Number(value), Domain::Number { min, max }) => {
                let one_sided = [min, max].iter().any(|end| end.abs() >= f64::MAX);
                let wanted = if one_sided { domain.to_string() } else { format!("between {min} and {max}") };
                Err(Mistake::new(format!("{value} is not {wanted}"))
                    .hint("`evomerge methods` lists what each parameter may be"))
            }
        }
    }
}

impl Serialize for Curve {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scalars: Vec<WrittenScalar> = self.0.iter().copied().map(WrittenScalar).collect();
        match scalars.as_slice() {
            [scalar] => scalar.serialize(serializer),
            scalars => FlowSeq(scalars).serialize(serializer),
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Always(curve) => curve.serialize(serializer),
            Self::Conditional(entries) => entries.serialize(serializer),
        }
    }
}

/// A value to write. Whole numbers have no `.0`, as parameters that count require.
struct WrittenScalar(Value);

impl Serialize for WrittenScalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Flag(value) => serializer.serialize_bool(value),
            // Every whole number below 2^53 is exact; -0.0 would lose its sign.
            Value::Number(value)
                if value.fract() == 0.0 && value.abs() < 9e15 && value.to_bits() != (-0.0f64).to_bits() =>
            {
                serializer.serialize_i64(value as i64)
            }
            Value::Number(value) => serializer.serialize_f64(value),
        }
    }
}

impl JsonSchema for Curve {
    fn schema_name() -> Cow<'static, str> {
        "Curve".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value, or a list of values spread evenly over the depth of the model.",
            "anyOf": [
                { "type": ["number", "boolean"] },
                { "type": "array", "items": { "type": ["number", "boolean"] } },
            ],
        })
    }
}

impl JsonSchema for Setting {
    fn schema_name() -> Cow<'static, str> {
        "Setting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let curve = generator.subschema_for::<Curve>();
        let entry = generator.subschema_for::<Conditional>();
        json_schema!({
            "description": "What a parameter is given: a value, a gradient over depth, or either by tensor name.",
            "anyOf": [curve, entry, { "type": "array", "items": entry, "minItems": 1 }],
        })
    }
}
