//! Maps of an answer's numbers: one for each parameter, over layers and models.

use crate::{
    draw::picture::{Cell, HeatMap},
    language::{Language, study as texts},
};
use merge_core::{
    merge::sources::short,
    recipe::Recipe,
    template::{Dimension, DimensionKind},
};
use serde::Serialize;

/// Values of a parameter over layers and models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WeightMap {
    /// Name of the parameter, such as `weight`.
    pub(crate) parameter: String,
    /// Names of the columns: numbers of layers, or `embedding`, `head`, `knot 1`, `all`.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<WeightRow>,
    /// Range that the search allowed.
    pub(crate) range: [f64; 2],
}

/// Values of a model, or of a part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WeightRow {
    pub(crate) name: String,
    /// A value for each column.
    pub(crate) values: Vec<Option<f64>>,
}

/// A choice in the recipe, and its chosen option.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ChoiceRow {
    pub(crate) label: String,
    pub(crate) option: String,
}

/// Maps of a genome's numbers, and its choices. `recipe`, made from the genome, gives the models'
/// names.
pub(crate) fn maps(
    dimensions: &[Dimension],
    genome: &[f64],
    recipe: Option<&Recipe>,
    language: Language,
) -> (Vec<WeightMap>, Vec<ChoiceRow>) {
    let (mut maps, mut chosen): (Vec<WeightMap>, Vec<ChoiceRow>) = (Vec::new(), Vec::new());
    let places: Vec<WeightPlace> =
        dimensions.iter().map(|dimension| WeightPlace::of(&dimension.label, recipe, language)).collect();
    let layers = places.iter().filter_map(|place| place.layers).map(|[_, last]| last + 1).max().unwrap_or(0);
    for ((dimension, x), place) in dimensions.iter().zip(genome).zip(places) {
        let (Some(value), Some(range)) = (number(&dimension.kind, *x), range(&dimension.kind)) else {
            chosen.push(ChoiceRow { label: dimension.label.clone(), option: dimension.kind.show(*x) });
            continue;
        };
        let over_layers = place.knot.is_none() && layers > 0;
        let known = maps.iter().position(|map| map.parameter == place.parameter && map.is_over_layers() == over_layers);
        let at = known.unwrap_or_else(|| {
            let columns = if over_layers {
                let layers = (0..layers).map(|layer| layer.to_string());
                [place::EMBEDDING.to_owned()].into_iter().chain(layers).chain([place::HEAD.to_owned()]).collect()
            } else {
                Vec::new()
            };
            maps.push(WeightMap { parameter: place.parameter.clone(), columns, rows: Vec::new(), range });
            maps.len() - 1
        });
        let map = &mut maps[at];
        map.range = [map.range[0].min(range[0]), map.range[1].max(range[1])];
        map.put(&place, value, layers);
    }
    maps.iter_mut().for_each(WeightMap::trim);
    forget_unused(&mut maps);
    (maps, chosen)
}

/// Removes the scales of unused layers, which have no effect.
fn forget_unused(maps: &mut [WeightMap]) {
    let Some(used) = maps.iter().find(|map| map.parameter == "use").cloned() else { return };
    for map in maps.iter_mut().filter(|map| map.parameter == "scale" && map.columns == used.columns) {
        for row in &mut map.rows {
            let Some(used) = used.rows.iter().find(|known| known.name == row.name) else { continue };
            let unused = |used: &Option<f64>| used.is_some_and(|used| used < 0.5);
            row.values
                .iter_mut()
                .zip(&used.values)
                .filter(|(_, used)| unused(used))
                .for_each(|(value, _)| *value = None);
        }
    }
}

/// Value of a coordinate as a number; flags are 0 and 1. `None` if it is neither.
pub(crate) fn number(kind: &DimensionKind, x: f64) -> Option<f64> {
    let text = kind.show(x);
    match kind {
        DimensionKind::Choice { .. } => range(kind).map(|_| if text == "true" { 1.0 } else { 0.0 }),
        _ => text.parse().ok(),
    }
}

/// Minimum and maximum of a dimension with numbers.
pub(crate) fn range(kind: &DimensionKind) -> Option<[f64; 2]> {
    match kind {
        DimensionKind::Number { range, .. } => Some([*range.start(), *range.end()]),
        DimensionKind::Whole { range, .. } => Some([*range.start() as f64, *range.end() as f64]),
        DimensionKind::Choice { options, .. } => (options == &["false", "true"]).then_some([0.0, 1.0]),
    }
}

impl WeightMap {
    fn is_over_layers(&self) -> bool {
        self.columns.first().is_some_and(|name| name == place::EMBEDDING)
    }

    fn put(&mut self, place: &WeightPlace, value: f64, layers: usize) {
        let at = self.rows.iter().position(|row| row.name == place.row).unwrap_or_else(|| {
            self.rows.push(WeightRow { name: place.row.clone(), values: vec![None; self.columns.len()] });
            self.rows.len() - 1
        });
        let columns: Vec<usize> = if self.is_over_layers() {
            match (place.layers, place.end) {
                (Some([first, last]), _) => (first + 1..=last + 1).collect(),
                (None, Some(place::EMBEDDING)) => vec![0],
                (None, Some(_)) => vec![layers + 1],
                (None, None) => (0..layers + 2).collect(),
            }
        } else {
            let name = place.knot.map_or_else(|| "all".to_owned(), |knot| format!("knot {knot}"));
            let column = self.columns.iter().position(|known| *known == name).unwrap_or_else(|| {
                self.columns.push(name);
                self.columns.len() - 1
            });
            self.rows.iter_mut().for_each(|row| row.values.resize(self.columns.len(), None));
            vec![column]
        };
        for column in columns {
            self.rows[at].values[column] = Some(value);
        }
    }

    /// Removes the columns of embedding and head if they are empty.
    fn trim(&mut self) {
        for column in (0..self.columns.len()).rev() {
            let is_end = [place::EMBEDDING, place::HEAD].contains(&self.columns[column].as_str());
            if is_end && self.rows.iter().all(|row| row.values[column].is_none()) {
                self.columns.remove(column);
                for row in &mut self.rows {
                    row.values.remove(column);
                }
            }
        }
    }

    /// Heat map for a terminal.
    pub(crate) fn picture(&self, language: Language) -> HeatMap {
        let has = |name| self.columns.iter().any(|column| column == name);
        let over = if has("0") {
            language.text(&texts::BY_LAYER)
        } else if has("knot 1") {
            language.text(&texts::BY_KNOT)
        } else {
            ""
        };
        let ends = [(place::EMBEDDING, &texts::EMBEDDING_BEFORE), (place::HEAD, &texts::HEAD_AFTER)];
        let ends: Vec<&str> =
            ends.into_iter().filter(|(name, _)| has(name)).map(|(_, says)| language.text(says)).collect();
        let ends = ends.join(language.text(&texts::COMMA));
        let ends = if ends.is_empty() { ends } else { language.fill(&texts::IN_BRACKETS, &[("text", &ends)]) };
        let cells = |row: &WeightRow| row.values.iter().map(|value| value.map_or(Cell::Absent, Cell::Value)).collect();
        HeatMap {
            title: format!("{}{over}{ends}", self.parameter),
            columns: self.columns.iter().map(|name| name.trim_start_matches("knot ").to_owned()).collect(),
            rows: self.rows.iter().map(|row| (row.name.clone(), cells(row))).collect(),
            scale: self.range,
        }
    }
}

/// Place of a number in the maps, read from its dimension's label.
struct WeightPlace {
    parameter: String,
    /// Row: the model, and the component of its layers.
    row: String,
    /// First and last layer.
    layers: Option<[usize; 2]>,
    knot: Option<usize>,
    /// Embedding or head, before or after the layers.
    end: Option<&'static str>,
}

mod place {
    //! Names in labels for the ends of a model.
    pub(crate) const EMBEDDING: &str = "embedding";
    pub(crate) const HEAD: &str = "head";
}

impl WeightPlace {
    /// Parses a label such as `models[1].weight[layer 3, mlp]`.
    fn of(label: &str, recipe: Option<&Recipe>, language: Language) -> Self {
        let (name, spread) = spread(label);
        let (owner, parameter) = name.rsplit_once('.').unwrap_or(("", name));
        let hop = index(owner, "path").zip(recipe).and_then(|(hop, recipe)| recipe.path.get(hop));
        let mut place = Self {
            parameter: parameter.to_owned(),
            row: String::new(),
            // The label of a hop of one layer does not name the layer.
            layers: hop
                .filter(|_| spread.is_none())
                .map(|hop| [hop.layer_range[0], hop.layer_range[1].saturating_sub(1)]),
            knot: None,
            end: None,
        };
        let mut kinds = vec![self::owner(owner, recipe, language)];
        for part in spread.into_iter().flat_map(|spread| spread.split(", ")) {
            let numbers = |word: &str| part.strip_prefix(word);
            if part == place::EMBEDDING {
                place.end = Some(place::EMBEDDING);
            } else if part == place::HEAD {
                place.end = Some(place::HEAD);
            } else if let Some(layer) = numbers("layer ").and_then(|n| n.parse().ok()) {
                place.layers = Some([layer, layer]);
            } else if let Some((first, last)) = numbers("layers ").and_then(|n| n.split_once('-')) {
                place.layers = first.parse().ok().zip(last.parse().ok()).map(|(first, last)| [first, last]);
            } else if let Some(knot) = numbers("knot ").and_then(|n| n.parse().ok()) {
                place.knot = Some(knot);
            } else {
                kinds.push(part.to_owned());
            }
        }
        place.row = kinds.join(", ");
        place
    }
}

/// Splits a label into the name and the text in brackets about where its number applies.
fn spread(label: &str) -> (&str, Option<&str>) {
    let within = label.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    match within {
        Some((name, within)) if !within.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(within)),
        _ => (label, None),
    }
}

/// Display name of the part of a recipe that owns a parameter.
fn owner(owner: &str, recipe: Option<&Recipe>, language: Language) -> String {
    let model = index(owner, "models").zip(recipe).and_then(|(i, recipe)| recipe.models.get(i));
    let hop = index(owner, "path").zip(recipe).and_then(|(i, recipe)| Some((i, recipe.path.get(i)?)));
    match (model, hop) {
        (Some(model), _) => short(&model.model),
        (_, Some((i, hop))) => language.fill(&texts::HOP, &[("n", &(i + 1)), ("model", &short(&hop.model))]),
        _ if owner.is_empty() || owner == "parameters" => language.text(&texts::ALL_MODELS).to_owned(),
        _ => owner.to_owned(),
    }
}

/// Index in a list: 3 for `models[3]`.
fn index(owner: &str, list: &str) -> Option<usize> {
    owner.strip_prefix(list)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(label: &str) -> Dimension {
        Dimension { label: label.to_owned(), kind: DimensionKind::Number { range: 0.0..=2.0, log: false, init: 1.0 } }
    }

    #[test]
    fn numbers_stand_where_their_labels_say() {
        let labels = [
            "models[0].weight[embedding]",
            "models[0].weight[layer 0]",
            "models[0].weight[layer 1]",
            "models[0].weight[head]",
            "models[1].weight[layers 0-1]",
            "density",
        ];
        let dimensions: Vec<Dimension> = labels.into_iter().map(number).collect();
        let (maps, chosen) = maps(&dimensions, &[-0.05, 0.25, 0.5, 0.75, 1.05, 0.5], None, Language::En);
        assert!(chosen.is_empty());
        assert_eq!(maps[0].columns, ["embedding", "0", "1", "head"]);
        assert_eq!(maps[0].rows[0].values, [Some(0.0), Some(0.5), Some(1.0), Some(1.5)]);
        assert_eq!((maps[0].rows[1].name.as_str(), maps[0].range), ("models[1]", [0.0, 2.0]));
        assert_eq!(maps[0].rows[1].values, [None, Some(2.0), Some(2.0), None]);
        assert_eq!((maps[1].parameter.as_str(), maps[1].rows[0].name.as_str()), ("density", "all models"));
        assert_eq!(maps[1].rows[0].values, [Some(1.0); 4]);
    }

    #[test]
    fn layers_that_are_passed_by_have_no_scale() {
        let flag = |label: &str| {
            let options = vec!["false".to_owned(), "true".to_owned()];
            Dimension { label: label.to_owned(), kind: DimensionKind::Choice { options, init: vec![0.5, 0.5] } }
        };
        let dimensions = [
            flag("path[0].use[layer 0]"),
            flag("path[0].use[layer 1]"),
            number("path[0].scale[layer 0]"),
            number("path[0].scale[layer 1]"),
        ];
        let (maps, _) = maps(&dimensions, &[1.0, 0.0, 0.25, 0.5], None, Language::En);
        assert_eq!(maps[0].rows[0].values, [Some(1.0), Some(0.0)]);
        assert_eq!((maps[1].columns.len(), maps[1].rows[0].values.clone()), (2, vec![Some(0.5), None]));
    }

    #[test]
    fn knots_and_components_and_choices_are_told_apart() {
        let mut dimensions: Vec<Dimension> =
            ["t[knot 1, mlp]", "t[knot 2, mlp]", "models[2].weight"].into_iter().map(number).collect();
        let options = vec!["ties".to_owned(), "linear".to_owned()];
        dimensions.push(Dimension {
            label: "merge_method".to_owned(),
            kind: DimensionKind::Choice { options, init: vec![0.5, 0.5] },
        });
        let (maps, chosen) = maps(&dimensions, &[0.5, 1.0, 0.25, 1.0], None, Language::En);
        assert_eq!(
            (maps[0].columns.clone(), maps[0].rows[0].name.as_str()),
            (vec!["knot 1".to_owned(), "knot 2".to_owned()], "all models, mlp")
        );
        assert_eq!((maps[1].columns.clone(), maps[1].rows[0].name.as_str()), (vec!["all".to_owned()], "models[2]"));
        assert_eq!(chosen, [ChoiceRow { label: "merge_method".to_owned(), option: "linear".to_owned() }]);
    }
}
