//! Notes on the parts of a recipe that mergekit ignores.

use crate::{
    method::{WITHOUT_EFFECT, method},
    recipe::{Fix, Recipe},
    yaml::Place,
};

/// Notes on what mergekit ignores; it is ignored here too, unless the recipe asks for the fix.
pub(super) fn ignored(recipe: &Recipe) -> Vec<String> {
    let slices = || recipe.slices.iter().chain(recipe.modules.iter().flat_map(|(_, module)| module.slices.iter()));
    let at = |place: Place| place.of(&recipe.file);
    let mut notes = Vec::new();
    if recipe.fixes.iter().all(|fix| fix.value != Fix::SliceMethod) {
        let own = slices().filter_map(|slice| slice.merge_method.as_ref());
        notes.extend(own.filter(|own| own.value != recipe.merge_method.value).map(|own| {
            let (place, all) = (at(own.place), &recipe.merge_method.value);
            format!("{place}: mergekit ignores a slice's own method and takes `{all}`, and so does this merge; `fixes: [slice_method]` applies it")
        }));
    }
    let own = method(&recipe.merge_method).map_or(&[][..], |method| method.params());
    for (label, setting) in recipe.settings() {
        let name = label.rsplit('.').next().unwrap_or(&label);
        let why = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name).map(|(_, why)| *why);
        let unused = own.iter().any(|param| param.name == name && param.unused);
        if let Some(why) = why.or(unused.then_some("mergekit accepts it with this method, and does not read it")) {
            notes.push(format!("{}: `{name}` has no effect: {why}", at(setting.place)));
        }
    }
    let weights = slices().filter_map(|slice| slice.residual_weight);
    notes.extend(
        weights.map(|one| format!("{}: `residual_weight` has no effect: mergekit never uses it", at(one.place))),
    );
    notes
}
