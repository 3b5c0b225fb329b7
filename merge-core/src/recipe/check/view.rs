//! Checks the models of each part of a recipe: their number, their layers and the base.

use super::CheckedView;
use crate::{
    method::{Base, Method},
    recipe::Slice,
    words::counted,
    yaml::{Mistake, Place},
};

/// Refuses none or several of the keys that exclude each other. Each comes with its place, and with true if not empty.
pub(super) fn only_one(forms: &[(&str, Place, bool)], place: Place) -> Result<(), Mistake> {
    let names: Vec<String> = forms.iter().map(|(name, ..)| format!("`{name}`")).collect();
    let mut written = forms.iter().filter(|(_, place, full)| *full || place.line > 0);
    let all = names.join(" or ");
    match (written.next(), written.next()) {
        (Some((_, _, true)), None) => Ok(()),
        (Some((name, place, _)), None) => {
            let needs = match *name {
                "models" => "a merge needs a model",
                "slices" => "a merge needs a slice",
                "path" => "a path needs a hop",
                _ => "a merge needs a module",
            };
            Err(Mistake::new(needs).under(name).at(*place))
        }
        (None, _) => Err(Mistake::new(format!("{all} is missing")).hint("`models` lists what is merged").at(place)),
        (Some((one, ..)), Some((other, place, _))) => {
            Err(Mistake::new(format!("`{one}` and `{other}` exclude each other"))
                .hint(format!("give one of {}", names.join(", ")))
                .under(other)
                .at(*place))
        }
    }
}

/// Refuses layers that cannot be merged with each other. Only the last of several slices may be empty.
pub(super) fn check_ranges<S>(slice: &Slice<S>, may_be_empty: bool) -> Result<(), Mistake> {
    let Some(first) = slice.sources.first() else {
        return Err(Mistake::new("a slice needs a source").under("sources").at(slice.sources.place));
    };
    let len = |[start, end]: [usize; 2]| end.saturating_sub(start);
    slice.sources.iter().enumerate().try_for_each(|(index, source)| {
        let range = source.layer_range;
        let [start, end] = range.value;
        let mistake = if end < start {
            Mistake::new(format!("[{start}, {end}] is reversed")).hint("write [first, last + 1]")
        } else if len(range.value) != len(first.layer_range.value) {
            let (n, m) = (len(range.value), len(first.layer_range.value));
            Mistake::new(format!("{}, where the slice's first source has {m}", counted(n, "layer")))
                .hint("the sources of a slice are merged layer by layer: give as many of each")
        } else if start == end && !may_be_empty {
            Mistake::new(format!("[{start}, {end}] holds no layer")).hint(
                "write [first, last + 1]; only the last of several slices may be empty, to choose the output head",
            )
        } else {
            return Ok(());
        };
        Err(mistake.under("layer_range").under(&format!("sources[{index}]")).at(range.place))
    })
}

/// Refuses a missing base, a model that is listed twice, and too few or too many models.
pub(super) fn check<S>(view: &CheckedView<'_, S>) -> Result<(), Mistake> {
    let (method, members) = (view.method, &view.members);
    if view.base.is_none() && method.base() == Base::Required {
        return Err(Mistake::new(format!("`{}` needs a `base_model`", method.name()))
            .hint("name the model that the others were trained from")
            .at(view.method_name.place));
    }
    for (index, (model, _)) in members.iter().enumerate() {
        if members[..index].iter().any(|(earlier, _)| earlier == model) {
            let mistake = Mistake::new(format!("`{}` is listed twice", model.value)).hint(match view.list {
                "models" => "give it once, with the sum of both weights",
                _ => "a slice merges different models: give it once",
            });
            return Err(mistake.under("model").under(&view.member(index)).at(model.place));
        }
    }
    let appended = view.appended();
    let n = (0..members.len()).filter(|member| !view.is_base(*member)).count() + usize::from(appended.is_some());
    let list = format!("{}{}", view.inside, view.list);
    let place = members.first().map_or(view.method_name.place, |(model, _)| model.place);
    if n == 0 {
        let mistake = Mistake::new("there is no model beside the base").hint("list at least one other model");
        return Err(mistake.under(&list).at(place));
    }
    if !method.models().contains(&n) {
        let beside = if view.base.is_some() && method.base() != Base::Merged { " beside the base" } else { "" };
        let wanted = format!("`{}` merges {}{beside}, not {n}", method.name(), wanted(method));
        let mistake = Mistake::new(wanted).hint(if appended.is_some() {
            "a base that is not listed counts as one more, as in mergekit: remove `base_model`, or write `fixes: [listed_only]`"
        } else {
            "`evomerge methods` explains each method"
        });
        return Err(mistake.under(&list).at(place));
    }
    Ok(())
}

/// Number of models that a method merges, in words.
fn wanted(method: &dyn Method) -> String {
    let models = |n: usize| if n == 1 { "one model".to_owned() } else { format!("{n} models") };
    match method.models().into_inner() {
        (least, most) if least == most => format!("exactly {}", models(least)),
        (least, usize::MAX) => format!("at least {}", models(least)),
        (least, most) => format!("{least} to {}", models(most)),
    }
}
