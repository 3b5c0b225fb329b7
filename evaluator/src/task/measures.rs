//! The measures of a task: those of its `metric_list`, or the default ones. The tables of known
//! measures are in [`score`](super::score) and [`ours`](super::ours).

use super::{
    definition::{Definition, DefinitionFile, Formula, MetricConfig, OutputType},
    exact::Exact,
    function::{self, Process},
    ours,
    score::{self, Aggregation, METRICS, Metric},
};
use merge_core::{
    error::{Error, Result},
    yaml::{At, Mistake, Place, known_names},
};

/// A measure, with its settings in a task.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) name: String,
    pub(super) aggregation: Aggregation,
    pub(super) higher_is_better: bool,
    pub(super) exact: Exact,
}

/// Names of the measures in a definition's list, and of its main one.
pub(super) fn listed(definition: &Definition) -> impl Iterator<Item = &str> {
    let list = definition.metric_list.iter().flatten().filter_map(|config| match &config.metric.value {
        Formula::Text(name) => Some(name.as_str()),
        Formula::Function(name) => function::measure(name).ok(),
        _ => None,
    });
    let main = definition.ours().and_then(|ours| ours.main.as_ref());
    list.chain(main.and_then(|main| main.value.split(',').next()))
}

/// The measures that a definition lists, or the default ones.
pub(super) fn measures(written: &DefinitionFile, process: Option<&Process>) -> Result<Vec<Measure>> {
    let definition: &Definition = &written.definition;
    let output = definition.output();
    let Some(list) = &definition.metric_list else {
        let usual = |name: &&str| {
            let metric = METRICS.iter().find(|metric| metric.name == *name).expect("the usual ones are known");
            let Metric { aggregation, higher_is_better, .. } = *metric;
            Measure { name: (*name).to_owned(), aggregation, higher_is_better, exact: Exact::default() }
        };
        return Ok(score::defaults(output).iter().map(usual).collect());
    };
    let refuse = |place: Place, mistake: Mistake| written.error("metric_list", place, mistake);
    if list.is_empty() {
        return Err(Error::user("`metric_list` lists nothing")
            .at(written.path.display())
            .hint("leave it out, or add one"));
    }
    list.iter()
        .map(|At { value: config, .. }| {
            let name = match &config.metric.value {
                Formula::Text(name) => name.clone(),
                Formula::Function(name) => {
                    function::measure(name).map_err(|mistake| refuse(config.metric.place, mistake))?.to_owned()
                }
                _ => return Err(refuse(config.metric.place, Mistake::new("expected the name of a measure"))),
            };
            if let Some(hf) = config.hf_evaluate.filter(|hf| hf.value) {
                return Err(refuse(hf.place, Mistake::new("measures of the package `evaluate` are not supported")));
            }
            let known = METRICS.iter().find(|metric| metric.name == name && metric.outputs.contains(&output));
            let texts = ours::MEASURES.iter().map(|known| known.0).filter(|_| output == OutputType::GenerateUntil);
            let given = process.map_or_else(
                || texts.clone().any(|text| text == name),
                |process| process.gives.contains(&name.as_str()),
            );
            if let Some(process) = process.filter(|_| !given) {
                let mistake = Mistake::new(format!("`process_results` gives no `{name}`"));
                let hint = known_names(&name, "it gives", process.gives.iter().copied());
                return Err(refuse(config.metric.place, mistake.hint(hint)));
            }
            if known.is_none() && !given {
                let own = METRICS.iter().filter(|metric| metric.outputs.contains(&output)).map(|metric| metric.name);
                let mistake = Mistake::new(format!("there is no measure `{name}` of `{}`", output.name()));
                let hint = known_names(&name, "there are", own.chain(texts));
                return Err(refuse(config.metric.place, mistake.hint(hint)));
            }
            let usual =
                if given { Aggregation::Mean } else { known.map_or(Aggregation::Mean, |metric| metric.aggregation) };
            let aggregation = aggregation(config, usual).map_err(|(place, mistake)| refuse(place, mistake))?;
            let higher = config.higher_is_better.or(known.filter(|_| !given).map(|metric| metric.higher_is_better));
            if let Some((key, place)) = exact_only(config).filter(|_| name != "exact_match" || given) {
                let mistake =
                    Mistake::new(format!("`{key}` has no effect on `{name}`")).hint("it is for `exact_match`");
                return Err(refuse(place.unwrap_or(config.metric.place), mistake));
            }
            let exact = Exact::new(written, config)?;
            Ok(Measure { name, aggregation, higher_is_better: higher.unwrap_or(true), exact })
        })
        .collect()
}

/// A setting that only `exact_match` has, if one is written, and its place if that is known.
fn exact_only(config: &MetricConfig) -> Option<(&'static str, Option<Place>)> {
    let patterns = config.regexes_to_ignore.as_ref().map(|patterns| patterns.first().map(|pattern| pattern.place));
    let flag = |flag: Option<bool>| flag.map(|_| None);
    [
        ("regexes_to_ignore", patterns),
        ("ignore_case", flag(config.ignore_case)),
        ("ignore_punctuation", flag(config.ignore_punctuation)),
        ("ignore_numbers", flag(config.ignore_numbers)),
    ]
    .into_iter()
    .find_map(|(key, place)| Some((key, place?)))
}

/// The aggregation that a measure asks for, which must take the same kind of scores, or else its usual one.
fn aggregation(config: &MetricConfig, usual: Aggregation) -> std::result::Result<Aggregation, (Place, Mistake)> {
    let Some(asked) = &config.aggregation else { return Ok(usual) };
    let refuse = |mistake: Mistake| Err((asked.place, mistake));
    let names = Aggregation::NAMES.iter().map(|(name, _)| *name);
    let name = match &asked.value {
        Formula::Text(name) => name,
        // A published measure's function is a mean, apart from its random draws.
        Formula::Function(name) => {
            let of = name.strip_suffix("_agg").unwrap_or(name);
            return function::measure(of).map(|_| usual).map_err(|mistake| (asked.place, mistake));
        }
        _ => return refuse(Mistake::new("expected the name of an aggregation")),
    };
    let Some(found) = Aggregation::find(name) else {
        return refuse(Mistake::new(format!("there is no aggregation `{name}`")).hint(known_names(
            name,
            "there are",
            names,
        )));
    };
    let pairs =
        |aggregation: Aggregation| matches!(aggregation, Aggregation::WeightedPerplexity | Aggregation::BitsPerByte);
    let fits = found == usual || found.takes_numbers() && usual.takes_numbers() || pairs(found) && pairs(usual);
    if fits { Ok(found) } else { refuse(Mistake::new(format!("`{name}` cannot aggregate this measure"))) }
}
