//! Tells if the weights of one model may be put in place of another's, of which an inference engine keeps everything else.

use super::{
    alike::{Difference, differences, scales_rotary},
    effect::last,
};
use crate::model::Weights;

/// The first way in which another model cannot take the place of one that is loaded, whose tensors may change but not
/// its shape and its configuration; `None` if it can.
pub fn unlike(loaded: &dyn Weights, other: &dyn Weights) -> Option<String> {
    let (held, wanted) = (loaded.index(), other.index());
    let tensor = wanted.iter().find_map(|(name, meta)| match held.get(name) {
        None => Some(format!("`{name}` is not among its tensors")),
        Some(held) if held.shape != meta.shape => {
            Some(format!("`{name}` has the shape {:?}, not {:?}", meta.shape, held.shape))
        }
        Some(_) => None,
    });
    let missing = || held.keys().find(|name| !wanted.contains_key(*name)).map(|name| format!("`{name}` is missing"));
    // The length of the context is a limit, and changes no number below it unless rotary embeddings are scaled to it.
    let is_scaled = scales_rotary(other.config());
    let matters = |one: &Difference| is_scaled || last(&one.key) != "max_position_embeddings";
    let key = || differences(loaded.config(), other.config()).iter().find(|one| matters(one)).map(Difference::not);
    tensor.or_else(missing).or_else(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::tests::Memory;
    use serde_json::json;

    #[track_caller]
    fn check(change: impl Fn(&mut Memory), expected: Option<&str>) {
        let (loaded, mut other) = (Memory::new(|_| 1.0), Memory::new(|i| i as f32));
        change(&mut other);
        assert_eq!(unlike(&loaded, &other).as_deref(), expected);
    }

    #[test]
    fn only_models_of_one_shape_and_one_way_of_computing_replace_each_other() {
        let set = |key: &'static str, value: serde_json::Value| {
            move |other: &mut Memory| drop(other.config.0.insert(key.to_owned(), value.clone()))
        };
        check(|_| {}, None);
        check(set("torch_dtype", json!("bfloat16")), None);
        check(set("max_position_embeddings", json!(4096)), None);
        check(set("rope_theta", json!(500_000)), Some("rope_theta is 500000, not 10000 by default"));
        let scaled = |other: &mut Memory| {
            set("max_position_embeddings", json!(4096))(other);
            set("rope_scaling", json!({ "rope_type": "dynamic", "factor": 2.0 }))(other);
        };
        let wrong = r#"rope_scaling is {"rope_type":"dynamic","factor":2.0}, which the other does not set"#;
        check(scaled, Some(wrong));
        let shape = |other: &mut Memory| other.index.get_mut("lm_head.weight").unwrap().shape = vec![5, 2];
        check(shape, Some("`lm_head.weight` has the shape [5, 2], not [4, 2]"));
        check(|other| drop(other.index.remove("model.norm.weight")), Some("`model.norm.weight` is missing"));
        let more = |other: &mut Memory| {
            let meta = other.index["model.norm.weight"].clone();
            other.index.insert("model.layers.2.norm.weight".to_owned(), meta);
        };
        check(more, Some("`model.layers.2.norm.weight` is not among its tensors"));
    }
}
