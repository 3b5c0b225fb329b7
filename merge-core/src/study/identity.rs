//! Identity of a study: everything that must not change between two runs, and what has changed.

use super::{
    Goal, Study,
    mark::{StudyMark, other_form},
    record::{About, ENDED, about},
};
use crate::{
    error::{Error, Result},
    item::ItemId,
    model::hash::hex,
    recipe::Recipe,
    store::{Fingerprint, Payload},
    template::Space,
    words::counted,
};
use sha2::{Digest, Sha256};
use similar::{ChangeTag, TextDiff};

/// Number of the form in which studies are stored. A study of another form is refused.
pub(super) const FORM: u32 = 2;
/// The part of the identity that names the inference engine.
const ENGINE: &str = "the engine";
/// Maximum number of lines of a difference in an error.
const MOST_LINES: usize = 12;

/// Refuses a store that holds another study, and signs an empty one. Writes the mark beside the
/// store first, to identify the study even if the store gets damaged.
pub(super) fn identify(study: &Study<'_>, space: &Space) -> Result<()> {
    let (store, search) = (study.store, study.search);
    let digest = |parts: &[&[u8]]| {
        let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(Sha256::digest(part)));
        Fingerprint::from(hash.finalize())
    };
    let goal = |goal: &Goal| {
        let items: Vec<u8> =
            [&goal.search, &goal.select].into_iter().flatten().flat_map(|item: &ItemId| item.0).collect();
        let weighed = (goal.weight.to_bits(), goal.within.map(f64::to_bits), goal.items);
        digest(&[&goal.fingerprint, &items, &weighed.payload()])
    };
    let counts = |goal: &&Goal| goal.weight > 0.0 || goal.within.is_some();
    let goals: Vec<u8> = study.objective.goals().iter().filter(counts).flat_map(goal).collect();
    let costs: Vec<_> =
        search.minimise.iter().map(|cost| (cost.what.value.name(), cost.weight.value.to_bits())).collect();
    let earlier: Vec<u8> = study.earlier.iter().flat_map(Recipe::fingerprint).collect();
    let how = (search.racing, search.layer_scan.map(|scan| scan.value), search.most_layers.map(|most| most.value));
    let anchors = search.anchors.map(|anchors| (anchors.of.map(|of| of.value), anchors.calibration.value).payload());
    let how = [Some(how.payload()), Some(costs.payload()), anchors];
    let how: Vec<&[u8]> = how.iter().flatten().map(Vec::as_slice).collect();
    let engine = study.objective.served_by();
    let parts: [(&str, Fingerprint); 8] = [
        ("the recipe", digest(&[&study.template.fingerprint(), &earlier])),
        ("the device", digest(&[search.device.as_bytes()])),
        ("a file of the models", digest(&[&study.hashes.payload()])),
        ("the optimizer", digest(&[&search.optimizer.payload()])),
        ("the way of searching", digest(&how)),
        ("the seed", digest(&[&search.seed.to_be_bytes()])),
        ("the objective", digest(&[&goals])),
        (ENGINE, digest(&[engine.unwrap_or_default().as_bytes()])),
    ];
    // Studies of older versions do not say so, but none was scored by an inference engine.
    let unsaid = |what: &str| (what == ENGINE).then(|| digest(&[b""]));
    let file = study.template.file.display();
    let mark = StudyMark::read(store.dir())?;
    let version = (FORM, env!("CARGO_PKG_VERSION").to_owned());
    let began: Option<(u32, String)> = store.get("version")?;
    if !store.is_empty() && began.as_ref().is_none_or(|(form, _)| *form != FORM) {
        return Err(other_form(file, &began.map_or("0.1.0 or older".to_owned(), |(_, version)| version)));
    }
    let mut unsigned: Vec<(&str, &dyn Payload)> = Vec::new();
    if store.is_empty() {
        unsigned.push(("version", &version));
    }
    let text = |mark: &StudyMark| mark.file.clone();
    let before: String = store.get("file")?.or(mark.as_ref().map(text)).unwrap_or_default();
    for (what, fingerprint) in &parts {
        let known = store.get::<Fingerprint>(what)?;
        let marked =
            mark.as_ref().and_then(|mark| mark.identity.get(*what).cloned().or(unsaid(what).map(|one| hex(&one))));
        let differs = match known.or(unsaid(what).filter(|_| !store.is_empty())) {
            Some(known) => known != *fingerprint,
            None => marked.is_some_and(|marked| marked != hex(fingerprint)),
        };
        if differs && *what == ENGINE {
            let before: Option<About> = store.get("about")?;
            let said = |engine: Option<&str>| engine.unwrap_or("evomerge itself").to_owned();
            let (before, now) = (said(before.as_ref().and_then(|about| about.engine.as_deref())), said(engine));
            return Err(Error::user(format!(
                "{file}: this study was scored by {before}, not by {now}: their scores cannot be mixed"
            ))
            .hint("go on with the engine that began it, or choose another directory"));
        }
        if differs {
            let changed = difference(&before, study.text);
            return Err(Error::user(format!("{file}: this directory holds another study: {what} differs{changed}"))
                .hint("choose another directory, or go on with the file and the seed that began it"));
        }
        if known.is_none() {
            unsigned.push((what, fingerprint));
        }
    }
    let identity = parts.iter().map(|(what, fingerprint)| ((*what).to_owned(), hex(fingerprint))).collect();
    let evomerge = began.map_or_else(|| version.1.clone(), |(_, version)| version);
    let answer = mark.as_ref().and_then(|mark| mark.answer.clone());
    let now = StudyMark { evomerge, form: FORM, identity, file: study.text.to_owned(), answer };
    if mark.as_ref() != Some(&now) {
        now.write(store.dir())?;
    }
    // The budget may change, and so may tasks that are only reported.
    if store.get::<String>("file")?.as_deref() != Some(study.text) {
        unsigned.push(("file", &study.text));
    }
    let about = about(study, space);
    if store.get("about")?.as_ref() != Some(&about) {
        // The stored answer, if any, does not cover the new budget or tasks.
        unsigned.extend([("about", &about as &dyn Payload), (ENDED, &false)]);
    }
    if unsigned.is_empty() { Ok(()) } else { store.set(&unsigned) }
}

/// Lines that differ, `-` before and `+` now; empty if none do.
fn difference(before: &str, now: &str) -> String {
    let diff = TextDiff::from_lines(before, now);
    let changed = diff.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => return None,
        };
        Some(format!("\n  {sign} {}", change.value().trim_end()))
    });
    let lines: Vec<String> = changed.collect();
    let more = lines.len().saturating_sub(MOST_LINES);
    let rest = if more > 0 { format!("\n  and {}", counted(more, "more line")) } else { String::new() };
    lines[..lines.len() - more].concat() + &rest
}
