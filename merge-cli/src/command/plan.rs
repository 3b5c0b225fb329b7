//! `evomerge plan`: shows what a merge would do, tensor by tensor, without reading a weight.

use crate::{
    args::PlanArgs as Args,
    draw::{screen, table},
    hub::Hub,
    work::{execution::set_threads, memory::of_merge},
};
use comfy_table::Cell;
use merge_core::{
    error::Result,
    merge::{
        Merge, PlanStep,
        sources::{Sources, short},
    },
    method::Settings,
    model::Meta,
    recipe::Recipe,
};
use serde_json::json;
use std::fmt::Write as _;

pub(crate) fn run(args: &Args) -> Result<()> {
    set_threads(&args.execution)?;
    let documents = Recipe::read_all(&args.recipe)?;
    let (recipe, earlier) = documents.split_last().expect("a file has a document");
    let sources = Sources::open(recipe, earlier, &Hub::from_env())?;
    show(&Merge::plan(recipe, &sources)?, &sources, args.json);
    Ok(())
}

/// Shows how each tensor is made, and the totals.
pub(crate) fn show(merge: &Merge, sources: &Sources, as_json: bool) {
    let steps: Vec<PlanStep> = merge.steps().collect();
    let reads: u64 = steps.iter().map(|step| step.reads).sum();
    let writes: u64 = steps.iter().map(|step| step.writes).sum();
    let memory = of_merge(&steps);
    if as_json {
        let plan = json!({
            "tensors": steps, "bytes_read": reads, "bytes_written": writes, "memory": memory, "notes": merge.notes(),
        });
        screen::data(&screen::json(&plan));
        return;
    }
    let mut table = table::plain();
    table.set_header(["tensor", "type", "shape", "method", "from", "settings"]);
    for step in &steps {
        let shape = table::right(format!("{:?}", step.shape));
        table.add_row([
            Cell::new(&step.tensor),
            Cell::new(step.dtype),
            shape,
            Cell::new(step.method),
            Cell::new(from(step)),
            Cell::new(settings(step)),
        ]);
    }
    screen::data(&table.to_string());
    let mut text = String::new();
    for (name, weights) in sources.iter() {
        let (n, bytes) = (weights.index().len(), weights.index().values().map(Meta::byte_len).sum::<usize>());
        writeln!(text, "{name}: {}, {}", screen::counted(n, "tensor"), screen::bytes(bytes as u64)).expect(STRING);
    }
    for note in merge.notes() {
        writeln!(text, "note: {note}").expect(STRING);
    }
    write!(
        text,
        "{}: reads {}, writes {}, needs about {} of memory beside the files' cache",
        screen::counted(steps.len(), "tensor"),
        screen::bytes(reads),
        screen::bytes(writes),
        screen::bytes(memory),
    )
    .expect(STRING);
    screen::data(&text);
}

const STRING: &str = "a String takes all that is written";

/// Sources of a tensor: the last parts of the models' names, and the tensor's name if it differs.
fn from(step: &PlanStep) -> String {
    let one = |[model, tensor]: &[String; 2]| {
        let model = short(model);
        if *tensor == step.tensor { model } else { format!("{model} {tensor}") }
    };
    step.sources.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Settings of the merge, then of each model: `normalize=true; weight=0.3 density=0.4; weight=0.7`.
fn settings(step: &PlanStep) -> String {
    let all = std::iter::once(&step.settings).chain(&step.models);
    all.map(Settings::to_string).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
}
