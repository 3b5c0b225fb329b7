//! Writes the answer of a search into its directory, if it is new or damaged. Files in its place
//! that the search did not write are moved aside, never deleted.

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

/// Key of the [`AnswerRecord`] in the store.
const ANSWER: &str = "answer";

/// Texts of an answer.
pub(super) struct AnswerTexts {
    /// Content of `best.yaml`.
    pub(super) recipe: String,
    /// Content of `result.json`.
    pub(super) result: String,
    /// Content of the model's README.md.
    pub(super) card: String,
}

/// Record of the written answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct AnswerRecord {
    /// Maximum item evaluations of the evolution that found it.
    budget: u64,
    /// Tasks on which it is reported.
    reported: Vec<String>,
    /// SHA-256 of its recipe, without the line about the command that found it.
    recipe: String,
    /// All files, by path from the study's directory.
    files: AnswerFiles,
    /// Files that were about to be written over these: after a crash, some may be there.
    #[serde(default)]
    next: AnswerFiles,
}

type AnswerFiles = BTreeMap<String, WrittenFile>;

/// Size and hash of a file when it was written.
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

/// Files up to this size, and files newer than the model, are checked by hash; all others only by
/// length.
const SMALL: u64 = 64 << 20;

/// True if an answer was written, or was about to be.
pub(super) fn is_known(store: &Store) -> Result<bool> {
    Ok(store.get::<AnswerRecord>(ANSWER)?.is_some())
}

/// Record of the written answer, if there is one.
fn known(store: &Store) -> Result<Option<AnswerRecord>> {
    // Without files, the first answer was only about to be written.
    Ok(store.get::<AnswerRecord>(ANSWER)?.filter(|answer| !answer.files.is_empty()))
}

/// Refuses to replace an answer by one of a smaller budget or one reported on fewer tasks.
pub(super) fn check_replaced(store: &Store, directory: &Path, search: &Search, goals: &[Goal]) -> Result<()> {
    let Some(AnswerScope { budget, reported }) = answer_scope(store)? else { return Ok(()) };
    let (place, now) = (directory.display(), search.budget.value);
    if now < budget {
        let message = format!(
            "{place}: its answer was found with a budget of {budget} item evaluations, but this search has only {now}"
        );
        return Err(Error::user(message).hint(format!(
            "choose another directory, set a budget of {budget} or more, or replace the answer with `--replace`"
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

/// Writes the answer; with its model if it is the command's result.
///
/// Fails, and writes nothing, if a source's file has changed since the search began.
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
    // A symbolic link is kept; its target is written, moved aside and replaced.
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
                "note: {}: missing, or changed since it was written; it is written again",
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
    // Written last: after a crash, the next run writes the same files again.
    let answered = AnswerScope { budget: study.search.budget.value, reported: reported(study.objective.goals()) };
    let AnswerScope { budget, reported } = answered.clone();
    let answer = AnswerRecord { budget, reported, recipe, files, next: AnswerFiles::new() };
    if study.store.get(ANSWER)?.as_ref() != Some(&answer) {
        study.store.set(&[(ANSWER, &answer)])?;
    }
    StudyMark::note(study.store.dir(), answered)
}

/// Records the files that are about to be written, and the old ones: after a crash, both are known.
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

/// Scope of the present answer: from the store; if that is damaged, from the study's mark; if an
/// earlier version wrote the answer, from the study itself.
fn answer_scope(store: &Store) -> Result<Option<AnswerScope>> {
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

/// Checks that the sources still have the hashes that the answer will state.
fn prove(study: &Study<'_>, was_used: bool) -> Result<()> {
    if was_used {
        let hint = "the scores may belong to other weights: search again, in another directory";
        study
            .sources
            .check_unchanged(study.hashes)
            .and_then(|()| study.sources.prove(study.hashes))
            .map_err(|e| e.hint(hint))
    } else {
        study.sources.check_unchanged(study.hashes)
    }
}

/// Writes the model with its card and its record; returns the written files by name.
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

/// Names of an answer's texts, and path prefix of its model's files.
const RECIPE: &str = "best.yaml";
const RESULT: &str = "result.json";
const MODEL: &str = "model/";

/// Name of the card in a model's directory.
const CARD: &str = "README.md";

/// True if a model is as it was written. Its card is ignored: people edit it.
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

/// Files of the model, by name.
fn of_model(files: &AnswerFiles) -> impl Iterator<Item = (&str, &WrittenFile)> {
    files.iter().filter_map(|(path, one)| Some((path.strip_prefix(MODEL)?, one)))
}

/// True if this search wrote every file of a model's directory: as recorded, or as just made again.
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
        // The card's content is unknown if an earlier version wrote it.
        let is_card = name == CARD
            && before.files.is_empty()
            && file::read_text(&path).is_ok_and(|text| card::is_of_search(&text));
        if !is_card && known.all(|one| one.sha256 != now) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Updates the card of an unchanged model, unless somebody has edited it.
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

/// Writes a text; a file in its place is moved aside if it is not one of `known`.
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

/// Key of the table of all seeds in the store of the first seed.
const TABLE: &str = "table";

/// The versions of the table that a study's store has recorded.
pub(super) fn known_table(store: &Store) -> Result<Vec<WrittenFile>> {
    Ok(store.get(TABLE)?.unwrap_or_default())
}

/// Writes the table of several studies, and records it in `store`, the first study's. `earlier` is
/// another store's record of the present table.
pub(super) fn write_table(store: &Store, earlier: Vec<WrittenFile>, path: &Path, text: &str) -> Result<()> {
    let (known, new) = ([earlier, known_table(store)?].concat(), WrittenFile::of(text));
    let done = known == [new.clone()];
    if !done {
        // After a crash, either the old or the new table may be there.
        store.set(&[(TABLE, &known.iter().chain([&new]).collect::<Vec<_>>())])?;
    }
    replace(path, text, &known)?;
    if done { Ok(()) } else { store.set(&[(TABLE, &[new])]) }
}

/// Reasons for moving a file aside.
const CHANGED: &str = "was not what this search wrote";
const UNKNOWN: &str = "may not be what this search wrote";

/// Renames a file or directory that is in the place of ours.
fn move_aside(path: &Path, why: &str) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut places = (1..1000).map(|number| match number {
        1 => path.with_file_name(format!("{name}.changed")),
        _ => path.with_file_name(format!("{name}.changed-{number}")),
    });
    let aside: PathBuf = places.find(|place| fs::symlink_metadata(place).is_err()).ok_or_else(|| {
        Error::user(format!("{}: 999 changed versions are kept beside it", path.display()))
            .hint("delete those that are not needed")
    })?;
    fs::rename(path, &aside).map_err(|e| Error::io("move aside", path, &e))?;
    screen::say(&format!("note: {} {why}; it was renamed to {}", path.display(), aside.display()));
    Ok(())
}
