//! `evomerge schema`: prints JSON Schemas, with which an editor completes and checks files.

use crate::{
    args::{Schema, SchemaOf},
    draw::screen,
};

pub(crate) fn run(args: &Schema) {
    let schema = match args.of {
        SchemaOf::Search => merge_core::search::schema(),
        SchemaOf::Work => crate::launch::schema(),
        SchemaOf::Task => evaluator::task::schema().to_value(),
    };
    screen::data(&screen::json(&schema));
}
