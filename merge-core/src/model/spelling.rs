//! Two spellings of one model's tensor names: before and since transformers 4.52.

use crate::model::{Index, Weights, WeightsView};
use std::{collections::BTreeMap, sync::Arc};

/// Beginnings of names in other spellings, and in the common spelling used here. transformers 4.52
/// moved the parts of models that see and hear under `model.`, including the decoder, which alone
/// is a model too. Qwen's parts were there already.
const BEGINNINGS: [(&str, &str); 16] = [
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.language_model.lm_head.", "lm_head."),
    ("model.language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("text_model.model.", "model.text_model."),
    ("text_model.lm_head.", "lm_head."),
    ("vision_tower.", "model.vision_tower."),
    ("vision_model.", "model.vision_model."),
    ("visual.", "model.visual."),
    ("audio_tower.", "model.audio_tower."),
    ("image_tower.", "model.image_tower."),
    ("video_tower.", "model.video_tower."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
    ("vqmodel.", "model.vqmodel."),
    ("image_newline", "model.image_newline"),
];

/// A name in the common spelling.
fn common_spelling(name: &str) -> String {
    let found = BEGINNINGS.iter().find_map(|(other, ours)| Some(format!("{ours}{}", name.strip_prefix(other)?)));
    found.unwrap_or_else(|| name.to_owned())
}

/// The names of an index, findable in any spelling.
pub(crate) struct Spelling<'i> {
    index: &'i Index,
    /// Names of the index by common spelling; `None` if two names have the same one.
    names: BTreeMap<String, Option<&'i str>>,
}

impl<'i> Spelling<'i> {
    /// The names of this index.
    pub(crate) fn of(index: &'i Index) -> Self {
        let mut names: BTreeMap<String, Option<&str>> = BTreeMap::new();
        for name in index.keys() {
            names.entry(common_spelling(name)).and_modify(|known| *known = None).or_insert(Some(name));
        }
        Self { index, names }
    }

    /// Name of a tensor in the index, if exactly one fits.
    pub(crate) fn find(&self, name: &str) -> Option<&'i str> {
        if let Some((name, _)) = self.index.get_key_value(name) {
            return Some(name);
        }
        *self.names.get(&common_spelling(name))?
    }
}

/// The models with tensor names in the donor's spelling; unchanged if theirs is the same, or not known.
pub(crate) fn respell_like_donor(
    models: Vec<(String, Arc<dyn Weights>)>,
    donor: usize,
    notes: &mut Vec<String>,
) -> Vec<(String, Arc<dyn Weights>)> {
    let base = Arc::clone(&models[donor].1);
    let mut spelling = None;
    let mut each = |(name, model): (String, Arc<dyn Weights>)| {
        if model.index().keys().all(|tensor| base.index().contains_key(tensor)) {
            return (name, model);
        }
        let spelling = spelling.get_or_insert_with(|| Spelling::of(base.index()));
        let Some(names) = respelled(&model, spelling) else { return (name, model) };
        let (ours, theirs) = names.iter().find(|(ours, theirs)| ours != theirs).expect("a name is spelled otherwise");
        notes.push(format!(
            "{} and {} are two spellings of one model's names: `{theirs}` is taken for `{ours}`, and all others likewise",
            base.place(),
            model.place(),
        ));
        (name, Arc::new(WeightsView::new(model, names)) as Arc<dyn Weights>)
    };
    models.into_iter().map(&mut each).collect()
}

/// A model's tensors by their names in another spelling; `None` if no name changes, or if two become one.
fn respelled(model: &Arc<dyn Weights>, spelling: &Spelling<'_>) -> Option<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for theirs in model.index().keys() {
        let ours = spelling.find(theirs).unwrap_or(theirs);
        if names.insert(ours.to_owned(), theirs.clone()).is_some() {
            return None;
        }
    }
    names.iter().any(|(ours, theirs)| ours != theirs).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Meta, dtype::Dtype};

    /// Checks the name that is found for `name` among `names`.
    fn check(names: &[&str], name: &str, expected: Option<&str>) {
        let meta = Meta { dtype: Dtype::F32, shape: vec![1] };
        let index: Index = names.iter().map(|name| ((*name).to_owned(), meta.clone())).collect();
        assert_eq!(Spelling::of(&index).find(name), expected);
    }

    #[test]
    fn a_name_is_found_in_any_known_spelling() {
        let [old, new, alone] =
            ["language_model.model.norm.weight", "model.language_model.norm.weight", "model.norm.weight"];
        for (here, asked) in [(old, new), (old, alone), (new, old), (new, alone), (alone, old), (alone, new)] {
            check(&[here, "lm_head.weight"], asked, Some(here));
        }
        check(&["vision_tower.x", "lm_head.weight"], "model.vision_tower.x", Some("vision_tower.x"));
        check(&["model.visual.x"], "visual.x", Some("model.visual.x"));
        check(&["language_model.lm_head.weight"], "lm_head.weight", Some("language_model.lm_head.weight"));
    }

    #[test]
    fn a_name_that_fits_several_or_none_is_not_found() {
        check(&["model.norm.weight", "language_model.model.norm.weight"], "model.language_model.norm.weight", None);
        check(&["model.norm.weight"], "model.norm.bias", None);
        check(&["model.norm.weight"], "transformer.norm.weight", None);
        check(
            &["model.norm.weight", "language_model.model.norm.weight"],
            "model.norm.weight",
            Some("model.norm.weight"),
        );
    }
}
