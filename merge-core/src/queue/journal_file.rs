//! Events on disk: in the embedded database, and in a file beside it that shows what is lost.
//!
//! The database ends its log silently where the log is damaged, and would come back with fewer
//! events. So it also stores the number of events, and the file tells which was the last. The
//! database counts; the file is written after it, and a damaged database is rebuilt from it.

use super::event::{Event, EventKind, Journal, Tip};
use crate::{
    error::{Error, Result},
    export::replace_file,
    store::database::{Advice, Database, Lost, WriteBatch},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

const ADVICE: Advice = Advice {
    what: "queue",
    held: "a server uses it: stop that server first, or send the request to it",
    damaged: REPAIR,
    uncut: REPAIR,
};

const REPAIR: &str = "`evomerge serve --repair` rebuilds it from the file of events beside it";

const TIP: &[u8] = b"tip";
const EVENTS: &[u8] = b"event/";

/// A journal in a directory, which one process holds at a time.
pub struct JournalFile {
    database: Database,
    path: PathBuf,
    file: File,
    /// True if the file may lack events that the database has.
    torn: bool,
}

#[derive(Serialize, Deserialize)]
struct JournalLine {
    #[serde(flatten)]
    event: Event,
    /// Last job number given at that time.
    last_job: u64,
}

impl JournalFile {
    /// Opens or creates the journal in a directory.
    ///
    /// Fails if another process holds it, or if a stored event is missing.
    pub fn open(directory: &Path) -> Result<Self> {
        let database = open_store(&directory.join("store"))?;
        let path = directory.join("events.jsonl");
        let kept: Tip = database.get(TIP)?.unwrap_or_default();
        let file = last(&path)?;
        let written = file.seq;
        let lost = |why: String| Error::user(format!("{}: {why}", directory.display())).hint(REPAIR);
        if written > kept.seq {
            return Err(lost(format!(
                "the store of the queue is damaged: the last event it has is {}, where {written} was the last",
                kept.seq
            )));
        }
        let there = database.count(EVENTS)? as u64;
        if there != kept.events {
            return Err(lost(format!("the store of the queue is damaged: it has {there} of {} events", kept.events)));
        }
        if let Some(Lost { records, of }) = database.lost()? {
            return Err(lost(format!("the store of the queue is damaged: {records} of {of} records are gone")));
        }
        // A crash between the two writes, a torn last line, or mostly lines of removed jobs.
        if written < kept.seq || !file.is_whole || file.lines > 2 * there + 1000 {
            rewrite(&path, &all(&database)?, kept)?;
        }
        let file = open(&path)?;
        Ok(Self { database, path, file, torn: false })
    }

    /// Rebuilds the database from the file. Returns the damaged one's path and the event count.
    ///
    /// Fails if the store is whole.
    pub fn repair(directory: &Path) -> Result<(PathBuf, usize)> {
        if Self::open(directory).is_ok() {
            let message =
                format!("{}: the store of the queue is whole: there is nothing to repair", directory.display());
            return Err(Error::user(message));
        }
        let path = directory.join("events.jsonl");
        let lines = read(&path)?;
        let mut tip = Tip::default();
        let mut events: Vec<Event> = Vec::new();
        for line in lines {
            (tip.seq, tip.job) = (line.event.seq, line.last_job);
            match line.event.what {
                EventKind::Removed => events.retain(|event| event.job != line.event.job),
                _ => events.push(line.event),
            }
        }
        tip.events = events.len() as u64;
        // The new store is made first: perhaps no store can be opened here now.
        let (store, new) = (directory.join("store"), directory.join("store-new"));
        if new.exists() {
            fs::remove_dir_all(&new).map_err(|e| Error::io("remove", &new, &e))?;
        }
        keep(&open_store(&new)?, &events, tip)?;
        let place = |number: u32| directory.join(format!("store-damaged-{number}"));
        let free = (1..1000).map(place).find(|place| !place.exists());
        let aside = free.ok_or_else(|| {
            Error::user(format!("{}: it already holds a thousand damaged stores", directory.display()))
                .hint("delete those that nobody needs")
        })?;
        if store.exists() {
            // No process may have it open: it would go on writing into the moved store.
            fs::rename(&store, &aside).map_err(|e| Error::io("move aside", &store, &e))?;
        }
        fs::rename(&new, &store).map_err(|e| Error::io("rename", &new, &e))?;
        rewrite(&path, &events, tip)?;
        Ok((aside, events.len()))
    }

    /// Directory to which damaged files beside the log were moved at opening, if any were.
    pub fn repaired(&self) -> Option<&Path> {
        self.database.repaired()
    }
}

impl JournalFile {
    /// Rewrites the file, which lacks events since an earlier failure.
    fn mend(&mut self, tip: Tip) -> Result<()> {
        rewrite(&self.path, &all(&self.database)?, tip)?;
        self.file = open(&self.path)?;
        Ok(())
    }
}

impl Journal for JournalFile {
    fn read(&self) -> Result<(Vec<Event>, Tip)> {
        Ok((all(&self.database)?, self.database.get(TIP)?.unwrap_or_default()))
    }

    fn append(&mut self, events: &[Event], tip: Tip) -> Result<()> {
        keep(&self.database, events, tip)?;
        // The events count already: if this fails, the next events or opening rewrite the file.
        self.torn = if self.torn {
            self.mend(tip).is_err()
        } else {
            self.file.write_all(lines(events, tip).as_bytes()).is_err()
        };
        Ok(())
    }
}

/// Opens the database without cutting its log: the file has the events that the log lacks.
fn open_store(place: &Path) -> Result<Database> {
    Database::open(place, &ADVICE, false)
}

/// Stores events, and removes those of removed jobs.
fn keep(database: &Database, events: &[Event], tip: Tip) -> Result<()> {
    let mut batch = WriteBatch::default();
    for event in events {
        if let EventKind::Removed = event.what {
            for key in database.keys_from(&prefix(event), &[])? {
                batch.remove(key);
            }
        } else {
            let key = [prefix(event).as_slice(), &event.seq.to_be_bytes()].concat();
            batch.insert(key, event);
        }
    }
    batch.insert(TIP.to_vec(), &tip);
    database.apply(batch)
}

/// Opens the file to append to it.
fn open(path: &Path) -> Result<File> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|e| Error::io("open", path, &e))
}

/// All events in order.
fn all(database: &Database) -> Result<Vec<Event>> {
    let mut events: Vec<Event> = database.scan(EVENTS).collect::<Result<_>>()?;
    events.sort_unstable_by_key(|event| event.seq);
    Ok(events)
}

/// Prefix of the keys of a job's events.
fn prefix(event: &Event) -> Vec<u8> {
    [EVENTS, &event.job.0.to_be_bytes()].concat()
}

fn lines(events: &[Event], tip: Tip) -> String {
    let line = |event: &Event| {
        let line = JournalLine { event: event.clone(), last_job: tip.job };
        serde_json::to_string(&line).expect("events are plain data") + "\n"
    };
    events.iter().map(line).collect()
}

/// Replaces the file by the stored events, in one step.
fn rewrite(path: &Path, events: &[Event], tip: Tip) -> Result<()> {
    let mut text = lines(events, tip);
    // A removal leaves no event, but its number counts.
    if events.last().is_none_or(|last| last.seq < tip.seq) && tip.seq > 0 {
        let removed = Event { seq: tip.seq, at: 0, job: super::JobId(0), what: EventKind::Removed };
        text += &lines(&[removed], tip);
    }
    replace_file(path, &text)
}

/// End of the file.
struct FileEnd {
    /// Place of the last event; 0 if there is none.
    seq: u64,
    /// True if the last line is whole.
    is_whole: bool,
    lines: u64,
}

fn last(path: &Path) -> Result<FileEnd> {
    let text = text(path)?;
    let lines = text.lines().count() as u64;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line: Option<JournalLine> = whole.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    let is_whole = text.is_empty() || (text.ends_with('\n') && line.is_some());
    Ok(FileEnd { seq: line.map_or(0, |line| line.event.seq), is_whole, lines })
}

/// Text of the file; empty if there is none.
fn text(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Error::io("read", path, &e)),
    }
}

/// The file's lines, up to the first that cannot be read.
fn read(path: &Path) -> Result<Vec<JournalLine>> {
    let text = text(path)?;
    let lines = text.split_inclusive('\n').map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok());
    Ok(lines.map_while(|line| line).collect())
}
