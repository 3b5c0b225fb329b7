//! `report --pick`: picks another member of the front by weights.

use crate::{
    args::Report as Args,
    command::search::SEARCH_FILE,
    draw::screen,
    study_report::{
        StudyRead,
        curve::{self, PlottedObjective},
        figures,
    },
};
use merge_core::{
    error::{Error, Result},
    export,
    recipe::Recipe,
    search::Cost,
    store::Store,
    study::{About, Finalist},
    words::did_you_mean,
};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Shows the member of the front with the largest weighted sum, and writes its recipe with `-o`.
pub(super) fn run(args: &Args, wanted: &str, study: &StudyRead, directory: &Path) -> Result<()> {
    let record = &study.record;
    let objectives = curve::choosable(&record.about);
    let weights = weights(wanted, &objectives, &record.about)?;
    let not_done = |hint: &str| {
        let error =
            Error::user(format!("{}: the study is not done, so there is nothing to pick from", directory.display()));
        error.hint(hint)
    };
    let store = study.store.as_ref().ok_or_else(|| not_done("a search is running there: wait until it ends"))?;
    let ending = record.ending.as_ref().ok_or_else(|| not_done("go on with `evomerge search`"))?;
    // Only members that meet the constraints, or the nearest ones if none does.
    let least = ending.finalists.iter().map(|one| one.violation).fold(f64::INFINITY, f64::min);
    let kept = ending.finalists.iter().filter(|one| one.on_front && one.violation <= least);
    let scored: Vec<(f64, &Finalist)> = kept.filter_map(|one| Some((sum(one, &weights)?, one))).collect();
    // The first of equal ones.
    let picked = scored.iter().rev().max_by(|(a, _), (b, _)| a.total_cmp(b));
    let nobody = || Error::user(format!("{}: its record has no finalist with these scores", directory.display()));
    let (sum, picked) = picked.copied().ok_or_else(nobody)?;
    let values = || objectives.iter().filter_map(|one| Some((one, one.of_finalist(picked)?)));
    if args.json {
        let estimates = values().filter_map(|(one, _)| Some((one.name.clone(), json!(one.estimate(picked)?))));
        let estimates: Map<String, Value> = estimates.collect();
        let values: Map<String, Value> = values().map(|(one, value)| (one.name.clone(), json!(value))).collect();
        let said = json!({ "name": picked.name, "sum": sum, "values": values, "estimates": estimates, "genome": picked.genome, "recipe": picked.recipe });
        screen::data(&figures::json(&said));
    } else {
        let shown = |one: &PlottedObjective, value: f64| match one.estimate(picked) {
            Some(estimate) => {
                format!("{} on {}", one.show_with_interval(&estimate), screen::counted(estimate.n, "item"))
            }
            None => one.show(value),
        };
        let values: Vec<String> = values().map(|(one, value)| format!("{} {}", one.name, shown(one, value))).collect();
        screen::data(&format!(
            "{} of {} on the front, on select items: {}",
            picked.name,
            scored.len(),
            values.join(", ")
        ));
    }
    if let Some(file) = &args.output {
        write(file, picked, store, directory)?;
        screen::say(&format!("{} is its recipe: `evomerge merge {}` makes it", file.display(), file.display()));
    } else if !args.json {
        screen::say("with -o FILE.yaml its recipe is written");
    }
    Ok(())
}

/// Parses weights such as `math=1,layers=-0.01`.
fn weights<'a>(
    text: &str,
    objectives: &'a [PlottedObjective],
    about: &About,
) -> Result<Vec<(&'a PlottedObjective, f64)>> {
    let known = || objectives.iter().map(|objective| objective.name.as_str());
    let part = |part: &str| {
        let wrong = |what: String| Error::user(format!("--pick: {what}"));
        let (name, weight) = part.rsplit_once('=').ok_or_else(|| {
            wrong(format!("`{part}` has no weight")).hint("write names with their weights, such as math=1,layers=-0.01")
        })?;
        let weight: f64 = weight
            .trim()
            .parse()
            .ok()
            .filter(|weight: &f64| weight.is_finite())
            .ok_or_else(|| wrong(format!("`{weight}` is no number")).hint("write a number, such as 0.5"))?;
        let found = objectives.iter().find(|objective| objective.name == name.trim());
        let found = found.ok_or_else(|| {
            let name = name.trim();
            let no_items = about.goals.iter().any(|goal| goal.name == name && goal.ranks());
            let choices = format!("choose among {}", known().collect::<Vec<_>>().join(", "));
            let hint = match did_you_mean(name, known()) {
                _ if no_items => format!("the task has no select items, on which finalists are scored; {choices}"),
                _ if serde_json::from_value::<Cost>(json!(name)).is_ok() => {
                    format!("`minimise: [{{what: {name}}}]` in a search file makes it an objective; {choices}")
                }
                Some(meant) => format!("did you mean `{meant}`?"),
                None => choices,
            };
            wrong(format!("finalists cannot be picked by `{name}`")).hint(hint)
        })?;
        Ok((found, weight))
    };
    text.split(',').map(part).collect()
}

fn sum(finalist: &Finalist, weights: &[(&PlottedObjective, f64)]) -> Option<f64> {
    weights.iter().map(|(objective, weight)| Some(weight * objective.of_finalist(finalist)?)).sum()
}

/// Writes a finalist's recipe, after the documents whose results it merges.
fn write(file: &Path, finalist: &Finalist, store: &Store, directory: &Path) -> Result<()> {
    let older = || {
        Error::user(format!("{}: it does not say where its search file is", directory.display()))
            .hint("run its `evomerge search` again, which evaluates nothing, and then pick")
    };
    let search: String = store.get(SEARCH_FILE)?.ok_or_else(older)?;
    let mut all = Recipe::read_all(&directory.join("best.yaml"))?;
    all.pop();
    let mut recipe = Recipe::parse(&finalist.recipe, &directory.join(search))?;
    recipe.siblings = all.iter().filter_map(|earlier| earlier.name.as_ref()).map(|name| name.value.clone()).collect();
    all.push(recipe);
    let documents = all.iter().map(|recipe| Ok(recipe.moved_to(file)?.to_yaml())).collect::<Result<Vec<_>>>()?;
    export::replace_file(file, &format!("# {}, picked from a front.\n{}", finalist.name, documents.join("---\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study_report::curve::tests::about;
    use merge_core::item::ItemScore;

    fn finalist(value: f64, layers: f64) -> Finalist {
        Finalist {
            name: format!("of {layers} layers"),
            genome: Vec::new(),
            recipe: String::new(),
            fitness: value,
            violation: 0.0,
            costs: vec![layers],
            on_front: true,
            scores: vec![vec![ItemScore { value, tokens: 0, truncated: false }]],
        }
    }

    /// A study of one task and one cost, and of another task that only ranks.
    fn studied() -> About {
        let mut about = about();
        about.goals[0].select = vec![merge_core::item::ItemId([1; 16])];
        let ranks = merge_core::study::Goal { name: "likelihood".to_owned(), ..about.goals[0].clone() };
        about.goals.push(merge_core::study::Goal { select: Vec::new(), ..ranks });
        about
    }

    #[test]
    fn weights_pick_between_good_and_small() {
        let about = studied();
        let objectives = curve::choosable(&about);
        let (good, small) = (finalist(0.8, 12.0), finalist(0.6, 6.0));
        let better = |text: &str| {
            let weights = weights(text, &objectives, &about).unwrap();
            sum(&good, &weights) > sum(&small, &weights)
        };
        assert!(better("sums=1") && better("sums=1,layers=-0.01") && !better("sums=1, layers=-0.1"));
    }

    #[test]
    fn weights_that_say_nothing_are_refused() {
        let about = studied();
        let objectives = curve::choosable(&about);
        let check = |text: &str, error: &str, hint: &str| {
            let refused = weights(text, &objectives, &about).unwrap_err();
            assert_eq!((refused.to_string().as_str(), refused.advice()), (error, Some(hint)));
        };
        check("sum=1", "--pick: finalists cannot be picked by `sum`", "did you mean `sums`?");
        check("x=1", "--pick: finalists cannot be picked by `x`", "choose among sums, layers");
        let hint = "the task has no select items, on which finalists are scored; choose among sums, layers";
        check("likelihood=1", "--pick: finalists cannot be picked by `likelihood`", hint);
        let hint = "`minimise: [{what: tokens}]` in a search file makes it an objective; choose among sums, layers";
        check("tokens=-1", "--pick: finalists cannot be picked by `tokens`", hint);
        let hint = "write names with their weights, such as math=1,layers=-0.01";
        check("sums", "--pick: `sums` has no weight", hint);
        check("sums=much", "--pick: `much` is no number", "write a number, such as 0.5");
    }
}
