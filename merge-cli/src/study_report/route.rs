//! Layer route of an answer: the path of the hidden state through the layers of the sources.

use crate::draw::screen;
use merge_core::{merge::sources::short, recipe::Recipe};
use serde::Serialize;

/// A layer route, to be shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RoutePicture {
    /// Models on the route, in the order of their first hop, each with its number of layers, as far
    /// as the recipe mentions them.
    pub(crate) sources: Vec<(String, usize)>,
    /// Runs of the route, in order: within a run, the model is the same and layers rise.
    pub(crate) runs: Vec<RouteRun>,
}

/// A part of a route through rising layers of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RouteRun {
    /// Position of the model in `sources`.
    pub(crate) source: usize,
    /// Layers, each with the factor that the hidden state is multiplied by before it.
    pub(crate) steps: Vec<(usize, f64)>,
}

impl RoutePicture {
    /// The route of a recipe, if it has a path.
    pub(crate) fn of(recipe: &Recipe) -> Option<Self> {
        let mut route = Self { sources: Vec::new(), runs: Vec::new() };
        for hop in recipe.path.iter() {
            let (model, end) = (short(&hop.model), hop.layer_range[1]);
            let known = route.sources.iter().position(|(name, _)| *name == model);
            let source = known.unwrap_or_else(|| {
                route.sources.push((model, 0));
                route.sources.len() - 1
            });
            let layers = &mut route.sources[source].1;
            *layers = end.max(*layers);
            for step in hop.steps() {
                match route.runs.last_mut() {
                    Some(run) if run.source == source && run.steps.last().is_some_and(|last| last.0 < step.0) => {
                        run.steps.push(step);
                    }
                    _ => route.runs.push(RouteRun { source, steps: vec![step] }),
                }
            }
        }
        (!route.runs.is_empty()).then_some(route)
    }

    /// Number of layers of the result.
    pub(crate) fn layers(&self) -> usize {
        self.runs.iter().map(|run| run.steps.len()).sum()
    }

    /// A line for each run: the model, and its layers with their scales if these are not 1.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = self.sources.iter().map(|(name, _)| screen::width(name)).max().unwrap_or(0);
        let line = |run: &RouteRun| {
            let steps: Vec<String> =
                run.steps.iter().map(|(layer, scale)| format!("{layer}{}", times(*scale))).collect();
            format!("{}  {}", screen::padded(&self.sources[run.source].0, width), steps.join(" → "))
        };
        self.runs.iter().map(line).collect()
    }
}

/// Formats a scale: `×0.93`; nothing for 1.
pub(crate) fn times(scale: f64) -> String {
    if (scale - 1.0).abs() < 5e-4 { String::new() } else { format!("×{}", (scale * 1000.0).round() / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_path_is_runs_of_layers_with_what_scales_them() {
        let text = "merge_method: passthrough\nbase_model: ja\npath:\n- {model: a/ja, layer_range: [0, 4], use: [true, true, false, true]}\n\
                    - {model: b/math, layer_range: [1, 3], scale: [0.5, 1.0]}\n- {model: b/math, layer_range: [2, 3]}\n";
        let recipe = Recipe::parse(text, Path::new("r.yaml")).unwrap();
        let route = RoutePicture::of(&recipe).unwrap();
        assert_eq!(route.sources, [("ja".to_owned(), 4), ("math".to_owned(), 3)]);
        assert_eq!(route.lines(), ["ja    0 → 1 → 3", "math  1×0.5 → 2", "math  2"]);
        assert_eq!(route.layers(), 6);
    }
}
