//! The answer of a search in its directory: written when it is new, left as it is when it is whole. What is in its place and
//! is not what the search wrote there is moved aside, never deleted.

use crate::{
    artefact::{
        card,
        provenance::{self, Provenance},
    },
    draw::screen,
};
use merge_core::{
    error::{Error, Result},
    export::{self, Export, Options},
    file,
    merge::Merge,
    model::hash::{hex, sha256_of},
    recipe::Recipe,
    search::Search,
    store::Store,
    study::{About, AnswerScope, Ending, Goal, Study, StudyMark},
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
pub(super) struct AnswerTexts {
    /// `best.yaml`.
    pub(super) recipe: String,
    /// `result.json`.
    pub(super) result: String,
    /// The model's README.md.
    pub(super) card: String,
}

/// What was written as an answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct AnswerRecord {
    /// Most item evaluations of the evolution that found it.
    budget: u64,
    /// The tasks it is reported on.
    reported: Vec<String>,
    /// The SHA-256 of its recipe, without the line that says which command found it.
    recipe: String,
    /// Every file, by its path from the study's directory.
    files: AnswerFiles,
    /// Those that were about to be written in their places, should all have ended then.
    #[serde(default)]
    next: AnswerFiles,
}

type AnswerFiles = BTreeMap<String, WrittenFile>;

/// What a file was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenFile {
    bytes: u64,
    sha256: String,
}

impl WrittenFile {
    fn of(text: &str) -> Self {
        Self { bytes: text.len() as u64, sha256: hex(&Sha256::digest(text)) }
    }
}

/// Files up to this size are hashed to see whether they are whole; of larger ones it is the length that is looked at, unless
/// they are newer than the model is.
const SMALL: u64 = 64 << 20;

/// Whether an answer was written, or is about to be.
pub(super) fn is_known(store: &Store) -> Result<bool> {
    Ok(store.get::<AnswerRecord>(ANSWER)?.is_some())
}

/// What is known of the answer that was written, if one was.
fn known(store: &Store) -> Result<Option<AnswerRecord>> {
    // The first of all may have been about to be.
    Ok(store.get::<AnswerRecord>(ANSWER)?.filter(|answer| !answer.files.is_empty()))
}

/// Refuses to put the answer of less in the place of one that is there.
pub(super) fn check_replaced(store: &Store, directory: &Path, search: &Search, goals: &[Goal]) -> Result<()> {
    let Some(AnswerScope { budget, reported }) = answered(store)? else { return Ok(()) };
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
    texts: &AnswerTexts,
    scored_now: usize,
    documents: &[Recipe],
    with_model: bool,
) -> Result<()> {
    let before = study.store.get::<AnswerRecord>(ANSWER)?.unwrap_or_default();
    let recipe = WrittenFile::of(texts.recipe.split_once('\n').map_or("", |(_, recipe)| recipe)).sha256;
    let is_same = before.recipe == recipe;
    // A link stays one: what it leads to is written, moved aside and replaced.
    let model = directory.join("model");
    let model = file::behind_links(&model).map_err(|e| Error::io("open", &model, &e))?;
    let texts_now = [(RECIPE, &texts.recipe), (RESULT, &texts.result)];
    let mut files: AnswerFiles =
        texts_now.iter().map(|(name, text)| ((*name).to_owned(), WrittenFile::of(text))).collect();
    if with_model && is_same && is_whole(&model, &before.files)? {
        prove(study, scored_now > 0)?;
        let of_model = before.files.iter().filter(|(path, _)| path.starts_with(MODEL));
        files.extend(of_model.map(|(path, one)| (path.clone(), one.clone())));
        files.insert(MODEL.to_owned() + CARD, WrittenFile::of(&texts.card));
        announce(study.store, &before, &files)?;
        refresh_card(&model, &texts.card, &before)?;
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
        files.extend(made.into_iter().map(|(name, one)| (MODEL.to_owned() + &name, one)));
        announce(study.store, &before, &files)?;
        if !model.exists() || is_ours(&model, &before, &files)? {
            export.publish()?;
        } else {
            move_aside(&model, if before.files.is_empty() { UNKNOWN } else { CHANGED })?;
            export.publish_new()?;
        }
    } else {
        prove(study, scored_now > 0)?;
        announce(study.store, &before, &files)?;
    }
    for (name, text) in texts_now {
        replace(
            &directory.join(name),
            text,
            [&before.files, &before.next].into_iter().filter_map(|all| all.get(name)),
        )?;
    }
    // Last: if something stops us before, what is there is what is written again.
    let answered = AnswerScope { budget: study.search.budget.value, reported: reported(study.objective.goals()) };
    let AnswerScope { budget, reported } = answered.clone();
    let answer = AnswerRecord { budget, reported, recipe, files, next: AnswerFiles::new() };
    if study.store.get(ANSWER)?.as_ref() != Some(&answer) {
        study.store.set(&[(ANSWER, &answer)])?;
    }
    StudyMark::note(study.store.dir(), answered)
}

/// Keeps what is about to be written, beside what was: whatever stops us, both are known for ours.
fn announce(store: &Store, before: &AnswerRecord, files: &AnswerFiles) -> Result<()> {
    if before.files == *files {
        return Ok(());
    }
    let AnswerRecord { budget, reported, recipe, files: known, .. } = before;
    let (reported, recipe) = (reported.clone(), recipe.clone());
    store.set(&[(
        ANSWER,
        &AnswerRecord { budget: *budget, reported, recipe, files: known.clone(), next: files.clone() },
    )])
}

/// What is known of the answer that is there: by the store, by the mark beside it if that is damaged, or of one that an earlier
/// version wrote, what its study says.
fn answered(store: &Store) -> Result<Option<AnswerScope>> {
    if let Some(AnswerRecord { budget, reported, .. }) = known(store)? {
        return Ok(Some(AnswerScope { budget, reported }));
    }
    if let Some(answered) = StudyMark::read(store.dir())?.and_then(|mark| mark.answer) {
        return Ok(Some(answered));
    }
    let about = store.get::<Ending>("ending")?.and(store.get::<About>("about")?);
    Ok(about.map(|about| AnswerScope { budget: about.budget, reported: reported(&about.goals) }))
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
fn fill(study: &Study<'_>, export: &Export, documents: &[Recipe], card: &str) -> Result<AnswerFiles> {
    let recipe = documents.last().expect("the answer is one");
    export.weights(&Merge::plan(recipe, &study.sources.of(recipe))?, &Options::default())?;
    let (synced, outputs) = rayon::join(|| export.sync(), || export.sha256());
    let outputs = synced.and(outputs)?;
    let inputs = study.hashes.to_vec();
    let provenance = Provenance::new(documents, study.sources, "cpu", export.beside(), inputs, outputs.clone())?;
    let record = provenance.to_json();
    let mut made = AnswerFiles::new();
    for (name, sha256) in outputs {
        let path = export.beside().join(&name);
        let bytes = fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?.len();
        made.insert(name, WrittenFile { bytes, sha256 });
    }
    for (name, text) in [(CARD, card), (provenance::FILE, record.as_str())] {
        export.file(name, text.as_bytes())?;
        made.insert(name.to_owned(), WrittenFile::of(text));
    }
    export.sync()?;
    Ok(made)
}

/// The names of an answer's texts, and what those of its model's files begin with.
const RECIPE: &str = "best.yaml";
const RESULT: &str = "result.json";
const MODEL: &str = "model/";

/// The card's name in the directory of a model.
const CARD: &str = "README.md";

/// Whether a model is there as it was written, but for its card, which people edit.
fn is_whole(model: &Path, files: &AnswerFiles) -> Result<bool> {
    let written: Vec<(&str, &WrittenFile)> = of_model(files).collect();
    let time = |name: &str| fs::metadata(model.join(name)).and_then(|found| found.modified()).ok();
    let finished = time(provenance::FILE);
    for (name, one) in written.iter().filter(|(name, _)| *name != CARD) {
        let path = model.join(name);
        let has_length = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() == one.bytes);
        let may_differ = one.bytes <= SMALL || time(name) > finished;
        if !has_length || (may_differ && sha256_of(&path)? != one.sha256) {
            return Ok(false);
        }
    }
    Ok(!written.is_empty())
}

/// The files of a model, by their names.
fn of_model(files: &AnswerFiles) -> impl Iterator<Item = (&str, &WrittenFile)> {
    files.iter().filter_map(|(path, one)| Some((path.strip_prefix(MODEL)?, one)))
}

/// Whether all that is in a model's directory was written by this search: as it is known, or as it has just been made again.
fn is_ours(model: &Path, before: &AnswerRecord, made: &AnswerFiles) -> Result<bool> {
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
        let place = MODEL.to_owned() + &name;
        let mut known = [&before.files, &before.next, made].into_iter().filter_map(|files| files.get(&place));
        // Of an earlier version's card it is not known what it said.
        let is_card = name == CARD
            && before.files.is_empty()
            && file::read_text(&path).is_ok_and(|text| card::is_of_search(&text));
        if !is_card && known.all(|one| one.sha256 != now) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives a model that is whole the card of today, unless somebody has edited the one it has.
fn refresh_card(model: &Path, card: &str, before: &AnswerRecord) -> Result<()> {
    let (path, place) = (model.join(CARD), MODEL.to_owned() + CARD);
    if before.files.get(&place) == Some(&WrittenFile::of(card)) && path.exists() {
        return Ok(());
    }
    let is_known =
        |text: &str| [&before.files, &before.next].iter().any(|all| all.get(&place) == Some(&WrittenFile::of(text)));
    match file::read_text(&path) {
        Ok(text) if text != card && !is_known(&text) => {
            screen::say(&format!("note: {} was edited, and is left as it is", path.display()));
            Ok(())
        }
        _ => export::replace_file(&path, card),
    }
}

/// Writes a text in the place of one of those that are known to have been there.
fn replace<'a>(path: &Path, text: &str, known: impl IntoIterator<Item = &'a WrittenFile>) -> Result<()> {
    let mut known = known.into_iter().peekable();
    let why = if known.peek().is_some() { CHANGED } else { UNKNOWN };
    match file::read_text(path) {
        Ok(there) if there == text => return Ok(()),
        Ok(there) if known.any(|one| *one == WrittenFile::of(&there)) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        _ => move_aside(path, why)?,
    }
    export::replace_file(path, text)
}

/// What the store of the first of several seeds calls the table of all.
const TABLE: &str = "table";

/// The table that a study is the first of, as it was written.
pub(super) fn known_table(store: &Store) -> Result<Vec<WrittenFile>> {
    Ok(store.get(TABLE)?.unwrap_or_default())
}

/// Writes the table of several studies, the first of which knows it from then on; `earlier` is what another knows of the one that
/// is there.
pub(super) fn write_table(store: &Store, earlier: Vec<WrittenFile>, path: &Path, text: &str) -> Result<()> {
    let (known, new) = ([earlier, known_table(store)?].concat(), WrittenFile::of(text));
    let done = known == [new.clone()];
    if !done {
        // Of the old and the new one either may be there, whatever stops us.
        store.set(&[(TABLE, &known.iter().chain([&new]).collect::<Vec<_>>())])?;
    }
    replace(path, text, &known)?;
    if done { Ok(()) } else { store.set(&[(TABLE, &[new])]) }
}

/// Why something is moved aside.
const CHANGED: &str = "was not what this search wrote";
const UNKNOWN: &str = "may not be what this search wrote";

/// Gives what is in the place of something of ours another name.
fn move_aside(path: &Path, why: &str) -> Result<()> {
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
    screen::say(&format!("note: {} {why}: it is {} now", path.display(), aside.display()));
    Ok(())
}
