//! The answer of a search in its directory: written when it is new, left as it is when it is whole. What is in its place and
//! is not what the search wrote there is moved aside, never deleted.

use crate::{
    card,
    provenance::{self, Provenance},
    screen,
};
use merge_core::{
    checkpoint::hex,
    error::{Error, Result},
    evolve::{About, Ending, Goal, Study},
    export::{self, Export, Options, sha256_of},
    file,
    merge::Merge,
    recipe::Recipe,
    search::Search,
    store::Store,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What the store calls what was written.
const ANSWER: &str = "answer";

/// What is written as an answer, as a person reads it.
pub(super) struct Texts {
    /// `best.yaml`.
    pub(super) recipe: String,
    /// `result.json`.
    pub(super) result: String,
    /// The model's README.md.
    pub(super) card: String,
}

/// What was written as an answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    /// Most item evaluations of the evolution that found it.
    budget: u64,
    /// The tasks it is reported on.
    reported: Vec<String>,
    /// The SHA-256 of its recipe, without the line that says which command found it.
    recipe: String,
    /// Every file, by its path from the study's directory.
    files: BTreeMap<String, Written>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    bytes: u64,
    sha256: String,
}

impl Written {
    fn of(text: &str) -> Self {
        Self { bytes: text.len() as u64, sha256: hex(&Sha256::digest(text)) }
    }
}

/// Files up to this size are hashed to see whether they are whole; of larger ones it is the length that is looked at, unless
/// they are newer than the model is.
const SMALL: u64 = 64 << 20;

/// Whether an answer was written.
pub(super) fn is_known(store: &Store) -> Result<bool> {
    Ok(store.get::<Answer>(ANSWER)?.is_some())
}

/// Refuses to put the answer of less in the place of one that is there.
pub(super) fn check_replaced(store: &Store, directory: &Path, search: &Search, goals: &[Goal]) -> Result<()> {
    let Some(Answer { budget, reported, .. }) = answered(store)? else { return Ok(()) };
    let (place, now) = (directory.display(), search.budget.value);
    if now < budget {
        let message = format!("{place}: its answer was found with {budget} item evaluations, and these are {now}");
        return Err(Error::user(message).hint(format!(
            "choose another directory, spend {budget} or more, or let the smaller one take its place with `--replace`"
        )));
    }
    let asked = self::reported(goals);
    match reported.iter().find(|task| !asked.contains(task)) {
        Some(task) => {
            let message = format!("{place}: its answer is reported on {task}, which this search does not ask");
            Err(Error::user(message)
                .hint("choose another directory, add the task under `report`, or leave it out with `--replace`"))
        }
        None => Ok(()),
    }
}

/// Writes the answer; its model only if it is more than a step on the way.
///
/// Fails, having written nothing, if a model's file is not what it was when the search began.
pub(super) fn write(
    study: &Study<'_>,
    directory: &Path,
    texts: &Texts,
    scored_now: usize,
    documents: &[Recipe],
    with_model: bool,
) -> Result<()> {
    let before = study.store.get::<Answer>(ANSWER)?.unwrap_or_default();
    let known = &before.files;
    let mut files: BTreeMap<String, Written> = BTreeMap::new();
    let recipe = Written::of(texts.recipe.split_once('\n').map_or("", |(_, recipe)| recipe)).sha256;
    let is_same = before.recipe == recipe;
    let model = directory.join("model");
    let written: BTreeMap<&str, &Written> =
        known.iter().filter_map(|(path, one)| Some((path.strip_prefix("model/")?, one))).collect();
    if with_model && is_same && is_whole(&model, &written)? {
        prove(study, scored_now > 0)?;
        files.extend(known.iter().filter(|(path, _)| path.starts_with("model/")).map(|(a, b)| (a.clone(), b.clone())));
        refresh_card(&model, &texts.card, &mut files)?;
    } else if with_model {
        if is_same {
            screen::say(&format!(
                "note: {}: it is gone, or not what was written: it is written again",
                model.display()
            ));
        }
        let export = Export::begin(&model)?;
        let made = fill(study, &export, documents, &texts.card)?;
        prove(study, true)?;
        if !model.exists() || is_ours(&model, &written, &made)? {
            export.publish()?;
        } else {
            move_aside(&model)?;
            export.publish_new()?;
        }
        files.extend(made.into_iter().map(|(name, one)| (format!("model/{name}"), one)));
    } else {
        prove(study, scored_now > 0)?;
    }
    for (name, text) in [("best.yaml", &texts.recipe), ("result.json", &texts.result)] {
        replace(&directory.join(name), text, known.get(name))?;
        files.insert(name.to_owned(), Written::of(text));
    }
    // Last: if something stops us before, what is there is what is written again.
    let goals = study.objective.goals();
    let answer = Answer { budget: study.search.budget.value, reported: reported(goals), recipe, files };
    if answer != before {
        study.store.set(&[(ANSWER, &answer)])?;
    }
    Ok(())
}

/// What is known of the answer that is there: of one that an earlier version wrote, what its study says.
fn answered(store: &Store) -> Result<Option<Answer>> {
    if let Some(answer) = store.get(ANSWER)? {
        return Ok(Some(answer));
    }
    let about = store.get::<Ending>("ending")?.and(store.get::<About>("about")?);
    Ok(about.map(|about| Answer { budget: about.budget, reported: reported(&about.goals), ..Answer::default() }))
}

fn reported(goals: &[Goal]) -> Vec<String> {
    goals.iter().filter(|goal| !goal.report.is_empty()).map(|goal| goal.name.clone()).collect()
}

/// Proves that the models are those whose hashes will stand in the answer.
fn prove(study: &Study<'_>, was_used: bool) -> Result<()> {
    if was_used {
        let hint = "scores may be of other weights than the study says: search again, in another directory";
        study
            .sources
            .check_unchanged(study.hashes)
            .and_then(|()| study.sources.prove(study.hashes))
            .map_err(|e| e.hint(hint))
    } else {
        study.sources.check_unchanged(study.hashes)
    }
}

/// Writes the model with its card and its record; returns what was written, by name.
fn fill(study: &Study<'_>, export: &Export, documents: &[Recipe], card: &str) -> Result<BTreeMap<String, Written>> {
    let recipe = documents.last().expect("the answer is one");
    export.weights(&Merge::plan(recipe, &study.sources.of(recipe))?, &Options::default())?;
    let (synced, outputs) = rayon::join(|| export.sync(), || export.sha256());
    let outputs = synced.and(outputs)?;
    let inputs = study.hashes.to_vec();
    let provenance = Provenance::new(documents, study.sources, "cpu", export.beside(), inputs, outputs.clone())?;
    let record = provenance.to_json();
    let mut made = BTreeMap::new();
    for (name, sha256) in outputs {
        let path = export.beside().join(&name);
        let bytes = fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?.len();
        made.insert(name, Written { bytes, sha256 });
    }
    for (name, text) in [(CARD, card), (provenance::FILE, record.as_str())] {
        export.file(name, text.as_bytes())?;
        made.insert(name.to_owned(), Written::of(text));
    }
    export.sync()?;
    Ok(made)
}

/// The card's name in the directory of a model.
const CARD: &str = "README.md";

/// Whether a model is there as it was written, but for its card, which people edit.
fn is_whole(model: &Path, written: &BTreeMap<&str, &Written>) -> Result<bool> {
    let time = |name: &str| fs::metadata(model.join(name)).and_then(|found| found.modified()).ok();
    let finished = time(provenance::FILE);
    for (name, one) in written.iter().filter(|(name, _)| **name != CARD) {
        let path = model.join(name);
        let has_length = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() == one.bytes);
        let may_differ = one.bytes <= SMALL || time(name) > finished;
        if !has_length || (may_differ && sha256_of(&path)? != one.sha256) {
            return Ok(false);
        }
    }
    Ok(!written.is_empty())
}

/// Whether all that is in a model's directory was written by this search: as it is known, or as it has just been made again.
fn is_ours(model: &Path, written: &BTreeMap<&str, &Written>, made: &BTreeMap<String, Written>) -> Result<bool> {
    let unread = |e: io::Error| Error::io("read", model, &e);
    if !model.is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(model).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if !entry.file_type().map_err(unread)?.is_file() {
            return Ok(false);
        }
        let now = sha256_of(&path)?;
        let mut known = [written.get(name.as_str()).copied(), made.get(&name)].into_iter().flatten();
        // Of an earlier version's card it is not known what it said.
        let is_card =
            name == CARD && written.is_empty() && file::read_text(&path).is_ok_and(|text| card::is_of_search(&text));
        if !is_card && known.all(|one| one.sha256 != now) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives a model that is whole the card of today, unless somebody has edited the one it has.
fn refresh_card(model: &Path, card: &str, files: &mut BTreeMap<String, Written>) -> Result<()> {
    let (path, new) = (model.join(CARD), Written::of(card));
    let known = files.insert(format!("model/{CARD}"), new.clone());
    if known.as_ref() == Some(&new) && path.exists() {
        return Ok(());
    }
    match file::read_text(&path) {
        Ok(text) if Some(Written::of(&text)) != known && text != card => {
            screen::say(&format!("note: {} was edited, and is left as it is", path.display()));
            Ok(())
        }
        _ => export::replace_file(&path, card),
    }
}

/// Writes a text in the place of the one that is known to have been there, or of one of an earlier version.
fn replace(path: &Path, text: &str, known: Option<&Written>) -> Result<()> {
    match file::read_text(path) {
        Ok(there) if there == text => return Ok(()),
        Ok(there) => {
            let is_ours = known.map_or_else(|| is_of_search(&there), |known| *known == Written::of(&there));
            if !is_ours {
                move_aside(path)?;
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(_) => move_aside(path)?,
    }
    export::replace_file(path, text)
}

/// Whether a text is the recipe or the figures of a search, of which nothing else is known.
fn is_of_search(text: &str) -> bool {
    let figures =
        || serde_json::from_str::<serde_json::Value>(text).is_ok_and(|all| all["study"]["recipe"].is_string());
    text.starts_with("# Found by `evomerge search ") || figures()
}

/// Gives what is in the place of something of ours another name.
fn move_aside(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut places = (1..1000).map(|number| match number {
        1 => path.with_file_name(format!("{name}.changed")),
        _ => path.with_file_name(format!("{name}.changed-{number}")),
    });
    let aside: PathBuf = places.find(|place| fs::symlink_metadata(place).is_err()).ok_or_else(|| {
        Error::user(format!("{}: a thousand changed ones are kept beside it", path.display()))
            .hint("delete those that nobody needs")
    })?;
    fs::rename(path, &aside).map_err(|e| Error::io("move aside", path, &e))?;
    screen::say(&format!("note: {} was not what this search wrote: it is {} now", path.display(), aside.display()));
    Ok(())
}
