//! Checks a definition before any document is read, and refuses what is wrong.

use super::{Definition, DefinitionFile, Formula, OutputType, Sampler};
use merge_core::{
    error::{Error, Result},
    yaml::{At, Mistake, Place},
};

/// Refuses keys that are not supported, by name, and combinations that make no sense.
pub(in crate::task) fn check(written: &DefinitionFile) -> Result<()> {
    let definition = &written.definition;
    match &definition.task {
        None => {
            return Err(Error::user("the key `task` is missing")
                .at(written.path.display())
                .hint("it is the task's name; a file that other files include is no task"));
        }
        Some(name) if name.is_empty() => {
            return Err(written.error("task", name.place, Mistake::new("the task has no name")));
        }
        Some(_) => {}
    }
    unsupported(written)?;
    formulas(written)?;
    generation(written)?;
    bounds(written)?;
    examples(written)?;
    ours(written)
}

/// Refuses numbers that are too large to be meant: they would multiply work or overflow a sum.
fn bounds(written: &DefinitionFile) -> Result<()> {
    let definition = &written.definition;
    let tokens = definition.generation_kwargs.as_ref().and_then(|kwargs| kwargs.max_gen_toks);
    let more = definition.ours().and_then(|ours| ours.gold_limit);
    for (key, number, most) in [
        ("num_fewshot", definition.num_fewshot, 10_000),
        ("repeats", definition.repeats, 10_000),
        ("generation_kwargs", tokens, 100_000_000),
        ("metadata", more, 100_000_000),
    ] {
        if let Some(number) = number.filter(|number| number.value > most) {
            let large = Mistake::new(format!("{} is too large a number here", number.value));
            return Err(written.error(key, number.place, large.hint(format!("{most} is the largest"))));
        }
    }
    Ok(())
}

/// Refuses settings of examples that have no effect.
fn examples(written: &DefinitionFile) -> Result<()> {
    let definition = &written.definition;
    if let Some(count) = definition.num_fewshot.filter(|count| count.value > 0)
        && definition.output() == OutputType::LoglikelihoodRolling
    {
        let none = Mistake::new("`loglikelihood_rolling` takes no examples").hint("remove it");
        return Err(written.error("num_fewshot", count.place, none));
    }
    let Some(config) = &definition.fewshot_config else { return Ok(()) };
    if let Some(samples) = &config.samples
        && (config.split.is_some() || definition.fewshot_split.is_some())
    {
        let both = Mistake::new("examples come from a split, and `samples` has no effect beside it");
        return Err(written.error("fewshot_config", samples.place, both.hint("remove one of the two")));
    }
    let first = config.sampler.filter(|sampler| sampler.value == Sampler::FirstN);
    match first.filter(|_| definition.ours().is_some_and(|ours| ours.stratified)) {
        Some(sampler) => {
            let both = Mistake::new("`stratified` draws examples, and `first_n` takes the first ones");
            Err(written.error("fewshot_config", sampler.place, both.hint("remove one of the two")))
        }
        None => Ok(()),
    }
}

fn unsupported(written: &DefinitionFile) -> Result<()> {
    let Definition { custom_dataset, class, doc_to_image, doc_to_audio, use_prompt, .. } = &written.definition;
    for (key, value, why) in [
        ("custom_dataset", custom_dataset, "it is a Python program, and Python is not run"),
        ("class", class, "it is a Python program, and Python is not run"),
        ("doc_to_image", doc_to_image, "models here read text alone"),
        ("doc_to_audio", doc_to_audio, "models here read text alone"),
        ("use_prompt", use_prompt, "write the prompt as `doc_to_text`"),
    ] {
        if let Some(value) = value {
            return Err(written.error(key, value.place, Mistake::new("this key is not supported").hint(why)));
        }
    }
    if let Some(code) = written.definition.unsafe_code.filter(|code| code.value) {
        let refused = Mistake::new("answers are never run as programs here").hint("remove the key, or the task");
        return Err(written.error("unsafe_code", code.place, refused));
    }
    if let Some(repeats) = written.definition.repeats.filter(|repeats| repeats.value == 0) {
        return Err(written.error("repeats", repeats.place, Mistake::new("each question must be asked at least once")));
    }
    if let Some(indices) = written.definition.fewshot_config.as_ref().and_then(|config| config.fewshot_indices.as_ref())
    {
        let ignored = Mistake::new("lm-evaluation-harness 0.4.13 takes no notice of `fewshot_indices`")
            .hint("write the examples as `samples`, or use `sampler: first_n`");
        return Err(written.error("fewshot_config", indices.place, ignored));
    }
    Ok(())
}

/// A key, its formula, a check of the formula, and the words for what would fit.
type KeyCheck<'a> = (&'a str, Option<&'a At<Formula>>, &'a dyn Fn(&Formula) -> bool, &'a str);

fn formulas(written: &DefinitionFile) -> Result<()> {
    let definition = &written.definition;
    let config = definition.fewshot_config.as_ref();
    let shot = "fewshot_config";
    let text = |formula: &Formula| matches!(formula, Formula::Text(_));
    let question = |formula: &Formula| matches!(formula, Formula::Text(_) | Formula::Whole(_));
    let target = |formula: &Formula| matches!(formula, Formula::Text(_) | Formula::Whole(_) | Formula::List(_));
    let choice = |formula: &Formula| matches!(formula, Formula::Text(_) | Formula::List(_) | Formula::Block(_));
    let function = |formula: &Formula| matches!(formula, Formula::Function(_));
    let a_text = "a template or a field's name";
    let all: [KeyCheck<'_>; 12] = [
        ("doc_to_text", definition.doc_to_text.as_ref(), &question, a_text),
        ("doc_to_target", definition.doc_to_target.as_ref(), &target, a_text),
        ("doc_to_choice", definition.doc_to_choice.as_ref(), &choice, "a list, a field's name or a template"),
        ("description", definition.description.as_ref(), &text, "a text or a template"),
        ("gen_prefix", definition.gen_prefix.as_ref(), &text, a_text),
        ("process_docs", definition.process_docs.as_ref(), &function, "a `!function`"),
        ("process_results", definition.process_results.as_ref(), &function, "a `!function`"),
        (shot, config.and_then(|config| config.doc_to_text.as_ref()), &question, a_text),
        (shot, config.and_then(|config| config.doc_to_target.as_ref()), &target, a_text),
        (shot, config.and_then(|config| config.doc_to_choice.written()), &choice, "a list or a template"),
        (shot, config.and_then(|config| config.gen_prefix.written()), &text, a_text),
        (shot, config.and_then(|config| config.process_docs.written()), &function, "a `!function`"),
    ];
    for (key, formula, fits, wanted) in all {
        let Some(formula) = formula.filter(|formula| !fits(formula)) else { continue };
        let mistake = match &formula.value {
            Formula::Function(name) => {
                Mistake::new(format!("the function `{name}` is not built in, and Python is not run"))
                    .hint(format!("write {wanted}"))
            }
            _ => Mistake::new(format!("expected {wanted}")),
        };
        return Err(written.error(key, formula.place, mistake));
    }
    if definition.output() == OutputType::MultipleChoice && definition.doc_to_choice.is_none() {
        let missing = Mistake::new("`doc_to_choice` is missing").hint("add `doc_to_choice: choices`, or a list");
        let place = definition.output_type.as_ref().map_or_else(Place::default, |output| output.place);
        return Err(written.error("output_type", place, missing));
    }
    Ok(())
}

fn generation(written: &DefinitionFile) -> Result<()> {
    let Some(kwargs) = &written.definition.generation_kwargs else { return Ok(()) };
    let refuse = |place: Place, mistake: Mistake| Err(written.error("generation_kwargs", place, mistake));
    if written.definition.output() != OutputType::GenerateUntil {
        let foreign =
            Mistake::new("this task generates no text").hint("remove it, or set `output_type: generate_until`");
        return refuse(kwargs.place, foreign);
    }
    let random = "answers are greedy here, so that they can be repeated";
    if let Some(sample) = kwargs.do_sample.filter(|sample| sample.value) {
        return refuse(sample.place, Mistake::new("answers would be drawn at random").hint(random));
    }
    if let (None, Some(temperature)) = (kwargs.do_sample, kwargs.temperature.filter(|t| t.value > 0.0)) {
        return refuse(temperature.place, Mistake::new("answers would be drawn at random").hint(random));
    }
    if let Some(tokens) = kwargs.max_gen_toks.filter(|tokens| tokens.value == 0) {
        return refuse(tokens.place, Mistake::new("an answer of 0 tokens is never right"));
    }
    if let Some(until) = kwargs.until.as_ref().filter(|until| until.0.iter().any(String::is_empty)) {
        return refuse(until.place, Mistake::new("an empty stop text would end every answer at once"));
    }
    Ok(())
}

fn ours(written: &DefinitionFile) -> Result<()> {
    let Some(ours) = written.definition.ours() else { return Ok(()) };
    let refuse = |place: Place, mistake: Mistake| Err(written.error("metadata", place, mistake));
    let output = written.definition.output();
    for (key, place, wanted) in [
        ("gold_limit", ours.gold_limit.as_ref().map(|at| at.place), OutputType::GenerateUntil),
        ("cut_at_sentences", ours.cut_at_sentences.as_ref().map(|at| at.place), OutputType::GenerateUntil),
        ("language", ours.language.as_ref().map(|at| at.place), OutputType::GenerateUntil),
        ("tie_is_wrong", ours.tie_is_wrong.as_ref().map(|at| at.place), OutputType::MultipleChoice),
    ] {
        if let Some(place) = place.filter(|_| output != wanted) {
            let foreign = format!("`{key}` is for `output_type: {}`", wanted.name());
            return refuse(place, Mistake::new(foreign).hint("remove it"));
        }
    }
    if let Some(tokens) = ours.rouge_of_tokens.as_ref().filter(|tokens| tokens.value) {
        let process = written.definition.process_results.as_ref().map(|formula| &formula.value);
        if !matches!(process, Some(Formula::Function(name)) if name == "evomerge.rouge") {
            let other = Mistake::new("`rouge_of_tokens` is for `process_results: !function evomerge.rouge`");
            return refuse(tokens.place, other.hint("remove it, or set that"));
        }
        if written.definition.filter_list.is_some() {
            let filtered =
                Mistake::new("`rouge_of_tokens` counts all of an answer, and `filter_list` takes a part of it");
            return refuse(tokens.place, filtered.hint("remove one of them"));
        }
    }
    match (&ours.splits, &ours.divide) {
        (Some(_), Some(divide)) => {
            let both = Mistake::new("`splits` and `divide` are two ways to say the same").hint("remove one of them");
            refuse(divide.place, both)
        }
        (Some(splits), None) if splits.all().next().is_none() => {
            refuse(splits.place, Mistake::new("`splits` names nothing for `search`, `select` or `report`"))
        }
        _ => Ok(()),
    }
}

impl Definition {
    /// The output type that is written, or the default one.
    pub(in crate::task) fn output(&self) -> OutputType {
        self.output_type.as_ref().map_or_else(OutputType::default, |output| output.value)
    }
}
