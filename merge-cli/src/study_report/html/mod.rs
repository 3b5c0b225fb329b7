//! A study as one HTML page that needs no other file, no script and no network.

mod axes;
mod curves;
mod grids;
mod live;
mod path;

pub(crate) use live::live;

use super::{
    figures,
    judgement::{Judgement, TaskSentences},
    names,
    summary::{Against, Costs, ResultRow, Summary},
    weights::ChoiceRow,
};
use crate::{
    draw::{measure, screen::grouped},
    language::{Language, study as texts},
};
use minijinja::{
    Environment, UndefinedBehavior, Value, context,
    value::{Kwargs, Serde},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The page; `study` is the name in its title.
pub(crate) fn page(study: &str, summary: &Summary) -> String {
    let language = summary.language;
    let svg = |drawn: Option<String>| drawn.map(Value::from_safe_string);
    let fitness = curves::fitness(summary);
    let front = curves::front(summary);
    let route = summary.path.as_ref();
    let has = [
        ("verdict", &texts::SECTION_VERDICT, summary.verdict.is_some()),
        ("result", &texts::SECTION_RESULT, !summary.table.is_empty()),
        ("convergence", &texts::SECTION_CONVERGENCE, fitness.is_some()),
        ("front", &texts::SECTION_FRONT, !front.is_empty()),
        ("weights", &texts::SECTION_WEIGHTS, !summary.weights.is_empty() || !summary.chosen.is_empty()),
        ("path", &texts::SECTION_PATH, route.is_some()),
        ("items", &texts::SECTION_ITEMS, !summary.items.is_empty()),
        ("genealogy", &texts::SECTION_GENEALOGY, !summary.convergence.is_empty()),
        ("costs", &texts::SECTION_COSTS, true),
        ("recipe", &texts::SECTION_RECIPE, true),
    ];
    let sections: Vec<(&str, &str)> =
        has.into_iter().filter(|(.., has)| *has).map(|(id, name, _)| (id, language.text(name))).collect();
    let weights = summary.weights.iter().map(|map| (map.parameter.clone(), svg(Some(grids::weights(map, language)))));
    let charts = context! {
        lead => svg(live::lead(&summary.curves, &summary.models, None, language)),
        fitness => svg(fitness),
        step_size => svg(curves::step_size(summary)),
        front => front.into_iter().map(Value::from_safe_string).collect::<Vec<_>>(),
        hypervolume => svg(curves::hypervolume(summary)),
        weights => weights.collect::<Vec<_>>(),
        path => svg(route.map(|route| path::path(route, language))),
        lives => svg(grids::lives(summary)),
        drift => svg(grids::drift(summary)),
    };
    let verdict: Vec<TaskSentences> = summary.verdict.iter().flat_map(|one| TaskSentences::of(one, language)).collect();
    let judged = summary.verdict.iter().flat_map(|verdict| &verdict.tasks);
    let most = summary.items.iter().map(|one| one.gained.len().max(one.lost.len())).max();
    let corners = summary.hypervolume.as_ref().map(|growth| [&growth.worst, &growth.best].map(|at| summary.corner(at)));
    let page = context! {
        study,
        charts,
        sections,
        verdict => Value::from(Serde(&verdict)),
        corners,
        language => language.code(),
        t => texts::ALL.iter().map(|text| (text.name, language.text(text))).collect::<BTreeMap<_, _>>(),
        s => Value::from(Serde(PageFacts::of(summary))),
        is_objective => judged.map(|task| task.is_objective).collect::<Vec<_>>(),
        state => summary.state(),
        sentences => summary.verdict.as_ref().map(|one: &Judgement| one.sentences(language)),
        n_candidates => summary.became.all(),
        n_layers => route.map(super::route::RoutePicture::layers),
        items_most => most.unwrap_or(0).max(1),
        not_ranked => summary.became.lines(language),
        style => Value::from_safe_string(include_str!("page.css").to_owned()),
    };
    let environment = environment(language);
    let template = environment.get_template(PAGE).and_then(|template| template.render(page));
    template.expect("the template is ours, and a test renders it with all that it has")
}

/// The facts of a summary that the page shows as they are; its candidates and items are only drawn.
#[derive(Serialize)]
struct PageFacts<'a> {
    version: &'a str,
    seed: u64,
    optimizer: &'a str,
    engine: Option<&'a str>,
    models: &'a [String],
    dimensions: usize,
    generations: usize,
    budget: u64,
    costs: &'a Costs,
    done: bool,
    estimated: bool,
    stopped: Option<&'a str>,
    table: &'a [ResultRow],
    notes: &'a [String],
    choice: &'a [String],
    chosen: &'a [ChoiceRow],
    items: &'a [Against],
    origin: Option<&'a str>,
    recipe: Option<&'a str>,
    file: &'a str,
}

impl<'a> PageFacts<'a> {
    fn of(summary: &'a Summary) -> Self {
        Self {
            version: &summary.version,
            seed: summary.seed,
            optimizer: &summary.optimizer,
            engine: summary.engine.as_deref(),
            models: &summary.models,
            dimensions: summary.dimensions.len(),
            generations: summary.convergence.len(),
            budget: summary.budget,
            costs: &summary.costs,
            done: summary.done,
            estimated: summary.estimated,
            stopped: summary.stopped.as_deref(),
            table: &summary.table,
            notes: &summary.notes,
            choice: &summary.choice,
            chosen: &summary.chosen,
            items: &summary.items,
            origin: summary.genealogy.winner.as_deref(),
            recipe: summary.recipe.as_deref(),
            file: &summary.file,
        }
    }
}

const PAGE: &str = "page.html";

/// The template engine with the page's template and its functions, which format numbers and fill
/// texts.
fn environment(language: Language) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.add_template(PAGE, include_str!("page.html")).expect("the template is ours, and a test renders it");
    environment.add_filter("grouped", grouped);
    environment.add_filter("named", move |name: &str| names::shown(name, language));
    // Place on a line of 80 pixels.
    environment.add_function("at", |share: f64| format!("{:.1}", 4.0 + 72.0 * share.clamp(0.0, 1.0)));
    environment.add_function("is_share", |metric: &str| measure::is_share(metric));
    environment.add_function("value_of", |metric: &str, value: f64| measure::value(metric, value));
    environment.add_function("score_of", |metric: &str, value: f64, ci95: Option<Vec<f64>>| {
        measure::score_of(metric, value, bounds(ci95))
    });
    environment.add_function("difference_of", |metric: &str, value: f64, ci95: Option<Vec<f64>>| {
        measure::difference_of(metric, value, bounds(ci95))
    });
    environment.add_function("p_holm", move |p: f64| language.fill(&texts::P_HOLM, &[("p", &figures::equation(p))]));
    environment.add_function("fill", |text: &str, values: Kwargs| {
        let value = |name: &str| values.get::<Value>(name).ok().map(|value| value.to_string());
        let filled = crate::language::fill(text, value);
        values.assert_all_used().map(|()| filled)
    });
    environment.add_function("count", move |n: usize, unit: &str| {
        let unit = texts::ALL.iter().find(|text| text.name == unit);
        unit.map(|unit| language.count(n, unit))
    });
    environment
}

fn bounds(ci95: Option<Vec<f64>>) -> Option<[f64; 2]> {
    ci95.and_then(|ci95| ci95.try_into().ok())
}
