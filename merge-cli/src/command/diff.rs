//! `evomerge diff`: shows where two models differ, by layer and component.

use crate::{
    args::Diff as Args,
    draw::{
        picture::{self, Cell, HeatMap, Screen, number},
        screen::{self, Meter},
        table,
    },
    study_report::figures,
    work::model::OpenedModel,
};
use comfy_table::CellAlignment;
use merge_core::{
    error::{Error, Result},
    model::{
        Weights,
        compare::{self, Comparison, ComponentPlace, Grid, Sums},
    },
};
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// A measure of the difference between models.
struct DiffMeasure {
    /// Name in JSON.
    key: &'static str,
    /// Title of the picture.
    title: &'static str,
    /// Heading of the column.
    heading: &'static str,
    of: fn(&Sums) -> Option<f64>,
    show: Show,
    needs_base: bool,
}

#[derive(PartialEq)]
enum Show {
    /// Only in the table.
    Column,
    /// Also in a picture, with a scale from zero.
    Size,
    /// Like [`Self::Size`], with one scale for all such measures.
    Shared,
    /// Also in a picture, with a scale from the least to the greatest value.
    Likeness,
}

const MEASURES: &[DiffMeasure] = &[
    DiffMeasure {
        key: "relative_difference",
        title: "Difference of the models, ‖B − A‖ / ‖A‖",
        heading: "‖B−A‖\n/ ‖A‖",
        of: Sums::difference,
        show: Show::Size,
        needs_base: false,
    },
    DiffMeasure {
        key: "cosine",
        title: "Cosine of A and B",
        heading: "cosine\nA, B",
        of: Sums::cosine,
        show: Show::Column,
        needs_base: false,
    },
    DiffMeasure {
        key: "relative_task_vector_a",
        title: "Task vector of A, ‖A − base‖ / ‖base‖",
        heading: "‖A−base‖\n/ ‖base‖",
        of: Sums::task_a,
        show: Show::Shared,
        needs_base: true,
    },
    DiffMeasure {
        key: "relative_task_vector_b",
        title: "Task vector of B, ‖B − base‖ / ‖base‖",
        heading: "‖B−base‖\n/ ‖base‖",
        of: Sums::task_b,
        show: Show::Shared,
        needs_base: true,
    },
    DiffMeasure {
        key: "task_vector_cosine",
        title: "Cosine of the task vectors, A − base and B − base",
        heading: "task\ncosine",
        of: Sums::task_cosine,
        show: Show::Likeness,
        needs_base: true,
    },
    DiffMeasure {
        key: "sign_agreement",
        title: "Share of elements that both task vectors move the same way",
        heading: "same\nsign",
        of: Sums::sign_agreement,
        show: Show::Likeness,
        needs_base: true,
    },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(path) = &args.svg {
        check_place(path)?;
    }
    let open = |path: &std::path::PathBuf| OpenedModel::open(path);
    let (a, b, base) = (open(&args.a)?, open(&args.b)?, args.base.as_ref().map(open).transpose()?);
    let base = base.as_ref().map(OpenedModel::weights);
    let progress = Meter::bytes("compared", compare::bytes(a.weights(), b.weights(), base));
    let found = compare::compare(a.weights(), b.weights(), base, &|n| progress.add(n));
    progress.finish();
    let found = found?;
    let measures: Vec<&DiffMeasure> = MEASURES.iter().filter(|measure| base.is_some() || !measure.needs_base).collect();
    let grid = found.grid();
    let maps = maps(&grid, &measures);
    let models = models(args);
    if let Some(path) = &args.svg {
        let picture = picture::svg("Where two models differ", &models, &maps);
        fs::write(path, picture).map_err(|e| Error::io("write", path, &e))?;
    }
    if args.json {
        screen::data(&figures::json(&as_json(args, &found, &grid, &measures)));
        return Ok(());
    }
    let screen = Screen::of_output();
    screen::data(&(models.join("\n") + "\n"));
    for map in &maps {
        screen::drawn(&screen.draw(map));
    }
    screen::data(&table(&found, &grid, &measures));
    screen::data(&notes(&found, [Some(a.weights()), Some(b.weights()), base]));
    Ok(())
}

/// Refuses a path at which no picture can be written, before any work is done.
fn check_place(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || !parent.is_dir() {
        let what = if path.is_dir() { "is a directory" } else { "its directory does not exist" };
        return Err(Error::user(format!("{}: {what}", path.display())).hint("name a file such as diff.svg"));
    }
    Ok(())
}

/// Lines that tell the models' letters.
fn models(args: &Args) -> Vec<String> {
    let mut lines = vec![format!("A     {}", args.a.display()), format!("B     {}", args.b.display())];
    lines.extend(args.base.as_ref().map(|base| format!("base  {}", base.display())));
    lines
}

/// A heat map for each measure with a picture.
fn maps(grid: &Grid, measures: &[&DiffMeasure]) -> Vec<HeatMap> {
    let shown = || measures.iter().filter(|measure| measure.show != Show::Column);
    let mut maps: Vec<HeatMap> = shown().map(|measure| map(grid, measure)).collect();
    let shared = || shown().map(|measure| measure.show == Show::Shared);
    let greatest = maps.iter().zip(shared()).filter(|(_, shared)| *shared).map(|(map, _)| map.scale[1]);
    let scale = [0.0, greatest.fold(0.0, f64::max)];
    maps.iter_mut().zip(shared()).filter(|(_, shared)| *shared).for_each(|(map, _)| map.scale = scale);
    maps
}

fn map(grid: &Grid, measure: &DiffMeasure) -> HeatMap {
    let mut places = vec![ComponentPlace::Before];
    places.extend((0..grid.layers).map(ComponentPlace::Layer));
    places.push(ComponentPlace::After);
    places.retain(|place| grid.rows.iter().any(|row| row.places.contains_key(place)));
    let cell = |sums: Option<&Sums>| match sums {
        None => Cell::Absent,
        Some(sums) => match (measure.of)(sums) {
            None => Cell::Undefined,
            Some(value) if value == 0.0 && measure.show != Show::Likeness => Cell::Zero,
            Some(value) => Cell::Value(value),
        },
    };
    let rows: Vec<(String, Vec<Cell>)> = grid
        .rows
        .iter()
        .map(|row| (row.component.clone(), places.iter().map(|place| cell(row.places.get(place))).collect()))
        .collect();
    let values = rows.iter().flat_map(|(_, cells)| cells);
    let values = values.filter_map(|cell| if let Cell::Value(value) = cell { Some(*value) } else { None });
    let (least, greatest) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let scale = match measure.show {
        _ if least > greatest => [0.0, 1.0],
        Show::Likeness => [least.min(greatest - 0.1), greatest],
        _ => [0.0, greatest],
    };
    HeatMap { title: measure.title.to_owned(), columns: places.iter().map(|place| name(*place)).collect(), rows, scale }
}

fn name(place: ComponentPlace) -> String {
    match place {
        ComponentPlace::Before => "in".to_owned(),
        ComponentPlace::Layer(layer) => layer.to_string(),
        ComponentPlace::After => "out".to_owned(),
    }
}

/// Table of the totals of each component and of all.
fn table(found: &Comparison, grid: &Grid, measures: &[&DiffMeasure]) -> String {
    let mut table = table::plain();
    let headings = measures.iter().map(|measure| measure.heading);
    table.set_header(["component", "elements"].into_iter().chain(headings));
    let total = found.total();
    let rows = grid.rows.iter().map(|row| (row.component.as_str(), &row.total)).chain([("all", &total)]);
    for (component, sums) in rows {
        let numbers = measures.iter().map(|measure| match (measure.of)(sums) {
            None => "—".to_owned(),
            Some(size) if matches!(measure.show, Show::Size | Show::Shared) => number(size),
            Some(share) => format!("{share:.4}"),
        });
        table.add_row([component.to_owned(), screen::grouped(sums.elements)].into_iter().chain(numbers));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table::flush_left(&table) + "\n"
}

/// Largest number of left-out tensors that are listed.
const LISTED: usize = 12;

fn notes(found: &Comparison, models: [Option<&dyn Weights>; 3]) -> String {
    let identical = found.tensors.values().filter(|sums| sums.identical()).count();
    let mut lines =
        vec![format!("{} compared, {identical} of them identical", screen::counted(found.tensors.len(), "tensor"))];
    if !found.left_out.is_empty() {
        let is = if found.left_out.len() == 1 { "is" } else { "are" };
        lines.push(format!("{} {is} left out:", screen::counted(found.left_out.len(), "tensor")));
        lines.extend(found.left_out.iter().take(LISTED).map(|(name, why)| format!("  {name}: {why}")));
        if found.left_out.len() > LISTED {
            lines.push(format!("  and {} more, which --json lists", found.left_out.len() - LISTED));
        }
    }
    let rows = |model: &dyn Weights| model.index().get("model.embed_tokens.weight").map(|meta| meta.shape.clone());
    let shapes: Vec<_> = models.into_iter().flatten().filter_map(rows).collect();
    if shapes.windows(2).any(|pair| pair[0] != pair[1]) {
        lines.push(
            "the models' vocabularies or widths differ: only tensors of the same shape can be compared".to_owned(),
        );
    }
    lines.join("\n")
}

fn as_json(args: &Args, found: &Comparison, grid: &Grid, measures: &[&DiffMeasure]) -> Value {
    let of = |sums: &Sums| {
        let mut object = Map::new();
        object.insert("elements".to_owned(), json!(sums.elements));
        object.insert("identical".to_owned(), json!(sums.identical()));
        object.extend(measures.iter().map(|measure| (measure.key.to_owned(), json!((measure.of)(sums)))));
        object
    };
    let components = grid.rows.iter().map(|row| {
        let mut object = Map::new();
        object.insert("component".to_owned(), json!(row.component));
        object.extend(of(&row.total));
        let places = row.places.iter().map(|(place, sums)| (name(*place), Value::Object(of(sums))));
        object.insert("places".to_owned(), Value::Object(places.collect()));
        Value::Object(object)
    });
    let components: Vec<Value> = components.collect();
    let tensors: Map<String, Value> =
        found.tensors.iter().map(|(name, sums)| (name.clone(), Value::Object(of(sums)))).collect();
    json!({
        "a": args.a, "b": args.b, "base": args.base, "layers": grid.layers, "total": of(&found.total()),
        "components": components, "tensors": tensors, "left_out": found.left_out,
    })
}
