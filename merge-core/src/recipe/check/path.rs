//! Checks paths: their layers, scales above 0, and no keys that a path has no use for.

use crate::{
    method::Domain,
    recipe::{Hop, Recipe, path::SCALE, setting::CheckDomain},
    yaml::Mistake,
};

pub(super) fn check<S: CheckDomain>(recipe: &Recipe<S>) -> Result<(), Mistake> {
    if recipe.path.is_empty() {
        let Some(form) = recipe.path_form else { return Ok(()) };
        return Err(Mistake::new("this applies only to a `path`")
            .hint("remove `path_form`, or write a `path`")
            .under("path_form")
            .at(form.place));
    }
    if recipe.merge_method.value != "passthrough" {
        let method = &recipe.merge_method;
        return Err(Mistake::new(format!(
            "`{}` does not merge a path, whose layers are taken as they are",
            method.value
        ))
        .hint("write `merge_method: passthrough`; a document of its own can merge what the path goes through")
        .under("merge_method")
        .at(method.place));
    }
    if let Some((key, _)) = recipe.parameters.iter().next() {
        return Err(Mistake::new("a path takes parameters only in its hops")
            .hint("write `scale` in a hop")
            .under(key)
            .under("parameters")
            .at(key.place));
    }
    let hops = recipe.path.iter().enumerate();
    hops.into_iter()
        .try_for_each(|(index, hop)| check_hop(hop).map_err(|mistake| mistake.under(&format!("path[{index}]"))))
}

fn check_hop<S: CheckDomain>(hop: &Hop<S>) -> Result<(), Mistake> {
    let [start, end] = hop.layer_range.value;
    let range = |what: String| {
        let mistake = Mistake::new(what).hint("write [first, last + 1]");
        Err(mistake.under("layer_range").at(hop.layer_range.place))
    };
    if end < start {
        return range(format!("[{start}, {end}] is reversed"));
    }
    if start == end {
        return range(format!("[{start}, {end}] holds no layer"));
    }
    for (key, setting) in hop.settings() {
        let domain = if key == "use" { Domain::Flag } else { SCALE };
        let by_tensor = || {
            Mistake::new("a setting of a hop cannot depend on a tensor's name")
                .hint("write a value, or one for each layer")
        };
        let fits = if setting.is_by_tensor() { Err(by_tensor()) } else { setting.value.check_domain(domain) };
        fits.map_err(|mistake| mistake.under(key).at(setting.place))?;
    }
    Ok(())
}
