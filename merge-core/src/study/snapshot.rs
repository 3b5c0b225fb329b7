//! Appends a running search's records to `record.jsonl`, since only one process holds its store.
//!
//! Each line is one record as JSON; a generation is added as soon as it is finished. Searches never
//! read the file, so it is not synced, and an incomplete last line is ignored.

use super::{Curves, Ending, Generation, ParentComparison, Phase, Point, StudyRecord, record::About};
use crate::{
    error::{Error, Result},
    export::replace_file,
    file,
    store::Store,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Mutex,
};

const NAME: &str = "record.jsonl";

/// The file, as a running search writes it.
pub(super) struct Snapshot {
    path: PathBuf,
    file: Mutex<File>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SnapshotLine {
    Study { form: u32, version: String, file: String, about: Box<About> },
    Prepared(u64),
    Evolution(Generation, ParentComparison),
    RandomSearch(Generation, ParentComparison),
    Ending(Box<Ending>),
}

impl Snapshot {
    /// Starts the file anew without generations: it is not known yet which stored ones count.
    pub(super) fn begin(store: &Store) -> Result<Self> {
        let StudyRecord { version, file, about, prepared, .. } = super::record(store)?;
        let study = SnapshotLine::Study { form: super::identity::FORM, version, file, about: Box::new(about) };
        let path = store.dir().join(NAME);
        replace_file(&path, &(text(&study) + &text(&SnapshotLine::Prepared(prepared))))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io("open", &path, &e))?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Adds the item evaluations before the first generation.
    pub(super) fn prepared(&self, evaluations: u64) -> Result<()> {
        self.write(&text(&SnapshotLine::Prepared(evaluations)))
    }

    /// Adds generations of the evolution or random search, and their comparisons with parents.
    pub(super) fn add(&self, phase: Phase, generations: &[Generation], besides: &[ParentComparison]) -> Result<()> {
        let of = if phase == Phase::Evolution { SnapshotLine::Evolution } else { SnapshotLine::RandomSearch };
        let lines = generations.iter().zip(besides).map(|(one, beside)| text(&of(one.clone(), beside.clone())));
        self.write(&lines.collect::<String>())
    }

    /// Adds the end.
    pub(super) fn end(&self, ending: &Ending) -> Result<()> {
        self.write(&text(&SnapshotLine::Ending(Box::new(ending.clone()))))
    }

    fn write(&self, lines: &str) -> Result<()> {
        let mut file = self.file.lock().expect("no panic while held");
        file.write_all(lines.as_bytes()).map_err(|e| Error::io("write", &self.path, &e))
    }
}

fn text(line: &SnapshotLine) -> String {
    serde_json::to_string(line).expect("records are plain data with text for keys") + "\n"
}

/// Reads the records that a search has written beside its store; `None` if there are none yet.
pub fn snapshot(store: &Path) -> Result<Option<StudyRecord>> {
    let path = store.join(NAME);
    let text = match file::read_text(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| Error::io("read", &path, &e))?,
    };
    let mut found: Option<StudyRecord> = None;
    // A last line without its line end is still being written.
    for (number, line) in text.split_inclusive('\n').filter(|line| line.ends_with('\n')).enumerate() {
        let damaged = |e: serde_json::Error| {
            Error::user(format!("{}:{}: the record is damaged: {e}", path.display(), number + 1))
                .hint("stop the search (Ctrl-C): its scores so far are kept, and can be reported then")
        };
        match (serde_json::from_str(line).map_err(damaged)?, &mut found) {
            (SnapshotLine::Study { form, version, file, about }, _) => {
                super::record::check_form(form, &version)?;
                found = Some(StudyRecord {
                    version,
                    file,
                    about: *about,
                    prepared: 0,
                    evolution: Vec::new(),
                    random: Vec::new(),
                    curves: Curves::default(),
                    ending: None,
                });
            }
            (_, None) => return Ok(None),
            (SnapshotLine::Prepared(evaluations), Some(record)) => record.prepared = evaluations,
            (SnapshotLine::Evolution(generation, beside), Some(record)) => {
                record.curves.evolution.push(Point::of(&generation, beside, &record.about.goals));
                record.evolution.push(generation);
            }
            (SnapshotLine::RandomSearch(generation, beside), Some(record)) => {
                record.curves.random.push(Point::of(&generation, beside, &record.about.goals));
                record.random.push(generation);
            }
            (SnapshotLine::Ending(ending), Some(record)) => record.ending = Some(*ending),
        }
    }
    Ok(found)
}
