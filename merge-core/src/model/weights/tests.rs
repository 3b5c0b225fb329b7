//! A model in memory, for tests that need one; and tests of reading `config.json`.

use super::*;
use crate::{export::export, model::Stored};
use serde_json::json;
use std::borrow::Cow;
use std::path::Path;

/// A small decoder in `f32`: an embedding, two layers, a norm and a head.
pub(crate) struct Memory {
    pub(crate) index: Index,
    pub(crate) tensors: BTreeMap<String, Vec<u8>>,
    pub(crate) config: Config,
    pub(crate) sidecars: BTreeMap<String, Vec<u8>>,
}

/// Names and shapes of the tensors of [`Memory`], in order of name.
pub(crate) const SHAPES: [(&str, &[usize]); 7] = [
    ("lm_head.weight", &[4, 2]),
    ("model.embed_tokens.weight", &[4, 2]),
    ("model.layers.0.norm.weight", &[2]),
    ("model.layers.0.up_proj.weight", &[2, 2]),
    ("model.layers.1.norm.weight", &[2]),
    ("model.layers.1.up_proj.weight", &[2, 2]),
    ("model.norm.weight", &[2]),
];

impl Memory {
    /// A model in which element `i` of every tensor is `value(i)`.
    pub(crate) fn new(value: impl Fn(usize) -> f32) -> Self {
        let meta = |shape: &[usize]| Meta { dtype: Dtype::F32, shape: shape.to_vec() };
        let index: Index = SHAPES.iter().map(|(name, shape)| ((*name).to_owned(), meta(shape))).collect();
        let bytes = |meta: &Meta| (0..meta.len()).flat_map(|i| value(i).to_le_bytes()).collect();
        let tensors = index.iter().map(|(name, meta)| (name.clone(), bytes(meta))).collect();
        let config = config(json!({ "model_type": "llama", "num_hidden_layers": 2, "torch_dtype": "float32" }));
        Self { index, tensors, config, sidecars: BTreeMap::new() }
    }

    /// Writes the model as a checkpoint.
    pub(crate) fn write(&self, dir: &Path) {
        export(self, dir, "").expect("a small model can be written");
    }
}

impl Weights for Memory {
    fn index(&self) -> &Index {
        &self.index
    }

    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let found = self.tensors.get(name).ok_or_else(|| Error::user(format!("there is no tensor `{name}`")))?;
        Ok(Box::new(Stored::new(self.index[name].dtype, Cow::Borrowed(found))))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.sidecars.get(name).cloned())
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

fn config(value: Value) -> Config {
    Config(serde_json::from_value(value).expect("an object"))
}

type Expected<T> = std::result::Result<T, &'static str>;

fn check<T: PartialEq + std::fmt::Debug>(read: impl Fn(&Config) -> Result<T>, value: &Value, expected: Expected<T>) {
    let found = read(&config(json!({ "key": value }))).map_err(|e| e.to_string());
    assert_eq!(found, expected.map_err(str::to_owned));
}

#[test]
fn config_keys_are_of_the_kind_that_is_asked_for_or_absent() {
    check(|c| c.count("key"), &json!(3), Ok(Some(3)));
    check(|c| c.count("key"), &json!(null), Ok(None));
    check(|c| c.count("other"), &json!(3), Ok(None));
    check(|c| c.count("key"), &json!(-3), Err("config.json: key: -3 is not a whole number"));
    check(|c| c.number("key"), &json!(1e-5), Ok(Some(1e-5)));
    check(|c| c.flag("key"), &json!("yes"), Err("config.json: key: \"yes\" is not true or false"));
    check(|c| c.text("key"), &json!("llama"), Ok(Some("llama".to_owned())));
    check(Config::tied, &json!(true), Ok(false));
}
