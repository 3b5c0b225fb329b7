//! Rotary parameters: `rope_scaling` as transformers 4 writes it, or `rope_parameters` as transformers 5 does.

use merge_core::{
    error::{Error, Result},
    model::Config,
};
use serde_json::{Map, Value};

/// An object of `config.json`, and its place for errors.
#[derive(Clone, Debug)]
pub(crate) struct RopeParameters {
    place: String,
    values: Map<String, Value>,
}

impl RopeParameters {
    /// Reads the object that the model has; an empty one if it has none.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        for key in ["rope_scaling", "rope_parameters"] {
            match config.0.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::Object(values)) if values.is_empty() => {}
                Some(Value::Object(values)) => return Ok(Self { place: key.to_owned(), values: values.clone() }),
                Some(other) => return Err(Error::user(format!("config.json: {key}: {other} is not an object"))),
            }
        }
        Ok(Self::none())
    }

    /// Empty parameters.
    pub(crate) fn none() -> Self {
        Self { place: "rope_parameters".to_owned(), values: Map::new() }
    }

    /// Parameters of one type of layers, if each type has its own.
    pub(crate) fn within(&self, layers: &str) -> Option<Self> {
        let values = self.values.get(layers)?.as_object()?.clone();
        Some(Self { place: format!("{}.{layers}", self.place), values })
    }

    /// An error with the place of the key.
    pub(crate) fn error(&self, key: &str, message: &str) -> Error {
        let place = if key.is_empty() { self.place.clone() } else { format!("{}.{key}", self.place) };
        Error::user(format!("config.json: {place}: {message}"))
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", Value::as_f64)
    }

    pub(crate) fn count(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "a whole number", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<String>> {
        self.get(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A number above 0, which is required.
    pub(crate) fn positive(&self, key: &str) -> Result<f64> {
        match self.number(key)? {
            Some(number) if number > 0.0 => Ok(number),
            Some(number) => Err(self.error(key, &format!("{number} is not above 0"))),
            None => Err(self.error("", &format!("{key} is missing"))),
        }
    }

    /// A list of `len` numbers, which is required.
    pub(crate) fn numbers(&self, key: &str, len: usize) -> Result<Vec<f64>> {
        let list = |value: &Value| value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
        match self.get(key, "a list of numbers", list)? {
            Some(numbers) if numbers.len() == len => Ok(numbers),
            Some(numbers) => Err(self.error(key, &format!("{} numbers for {len} pairs of a head", numbers.len()))),
            None => Err(self.error("", &format!("{key} is missing"))),
        }
    }

    fn get<T>(&self, key: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.error(key, &format!("{value} is not {wanted}"))),
            },
        }
    }
}
