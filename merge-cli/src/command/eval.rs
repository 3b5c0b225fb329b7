//! `evomerge eval`: scores of a model, or of a recipe that is merged in memory.

use crate::{
    args::{Eval, Items},
    model::Model,
    report, screen,
};
use evaluator::{
    model::device,
    objective::Benchmarks,
    task::{self, Fractions, Split},
};
use merge_core::{
    error::Result,
    evolve::{Entry, Objective as _},
    item::ItemScore,
    weights::{Weights, check_finite},
};
use std::ops::ControlFlow;

pub(crate) fn run(args: &Eval) -> Result<()> {
    let mut benchmarks = Benchmarks::new(device(&args.device)?);
    let split = match args.items {
        Items::Search => Split::Search,
        Items::Select => Split::Select,
        Items::Report => Split::Report,
    };
    for file in &args.tasks {
        benchmarks.ask(task::read(file, Fractions::default())?, split)?;
    }
    let model = Model::open(&args.model)?;
    if let Model::Checkpoint(checkpoint) = &model {
        // A merge looks at its numbers itself.
        check_finite(checkpoint).map_err(|e| e.at(args.model.display()))?;
    }
    let scores = score(&benchmarks, model.weights())?;
    let entry = Entry { name: args.model.display().to_string(), scores };
    if args.json {
        screen::data(&report::json(&report::entry(&entry, benchmarks.goals())?));
    } else {
        screen::data(&report::table(benchmarks.goals(), &[std::slice::from_ref(&entry)], None)?);
    }
    Ok(())
}

fn score(benchmarks: &Benchmarks, weights: &dyn Weights) -> Result<Vec<Vec<ItemScore>>> {
    let asked: Vec<_> = benchmarks.goals().iter().map(|goal| goal.report.clone()).collect();
    let mut scores: Vec<Vec<ItemScore>> = vec![Vec::new(); asked.len()];
    benchmarks.score(weights, &asked, &mut |goal, heard| {
        scores[goal].extend(heard.into_iter().map(|(_, score)| score));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(scores)
}
