//! Events on disk: in the embedded database, and line by line in a file beside it that shows what the database has lost.
//!
//! The database checks its log itself and ends it where it is damaged: it would come back with fewer events and say nothing.
//! So it also keeps how many there should be, and the file says which was the last. What the database keeps counts; the file is
//! written after it, and is what a damaged database is made anew from.

use super::event::{Event, Journal, Tip, What};
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

const ADVICE: Advice =
    Advice { what: "queue", held: "one server owns it: stop that first, or ask it", damaged: REPAIR, uncut: REPAIR };

const REPAIR: &str = "`evomerge serve --repair` makes it anew from the file of events beside it";

const TIP: &[u8] = b"tip";
const EVENTS: &[u8] = b"event/";

/// A journal in a directory, which one process holds at a time.
pub struct JournalFile {
    database: Database,
    path: PathBuf,
    file: File,
    /// Whether the file may lack what the database has.
    torn: bool,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct JournalLine {
    #[serde(flatten)]
    event: Event,
    /// The last number given to a job then.
    last_job: u64,
}

impl JournalFile {
    /// Opens or creates the journal in a directory.
    ///
    /// Fails if another process holds it, or if something that was kept is not there any more.
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
        // A crash between the two, a torn last line, or mostly lines of jobs that are gone.
        if written < kept.seq || !file.is_whole || file.lines > 2 * there + 1000 {
            rewrite(&path, &all(&database)?, kept)?;
        }
        let file = open(&path)?;
        Ok(Self { database, path, file, torn: false })
    }

    /// Makes the database anew from the file of events; returns where the damaged one is now, and how many events there are.
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
                What::Removed => events.retain(|event| event.job != line.event.job),
                _ => events.push(line.event),
            }
        }
        tip.events = events.len() as u64;
        // The new one is there before the other goes: perhaps no store at all can be opened here now.
        let (store, new) = (directory.join("store"), directory.join("store-new"));
        if new.exists() {
            fs::remove_dir_all(&new).map_err(|e| Error::io("remove", &new, &e))?;
        }
        keep(&open_store(&new)?, &events, tip)?;
        let place = |number: u32| directory.join(format!("store-damaged-{number}"));
        let free = (1..1000).map(place).find(|place| !place.exists());
        let aside = free.ok_or_else(|| {
            Error::user(format!("{}: a thousand damaged stores are kept in it", directory.display()))
                .hint("delete those that nobody needs")
        })?;
        if store.exists() {
            // Whoever holds it would write on into what was moved.
            fs::rename(&store, &aside).map_err(|e| Error::io("move aside", &store, &e))?;
        }
        fs::rename(&new, &store).map_err(|e| Error::io("rename", &new, &e))?;
        rewrite(&path, &events, tip)?;
        Ok((aside, events.len()))
    }

    /// Where what was damaged beside the log was set aside when it was opened, if something was.
    pub fn repaired(&self) -> Option<&Path> {
        self.database.repaired()
    }
}

impl JournalFile {
    /// Writes the file anew, which an earlier failure left behind.
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
        // It counts already. If this fails it is written anew with the next events, or by the next one to open it.
        self.torn = if self.torn {
            self.mend(tip).is_err()
        } else {
            self.file.write_all(lines(events, tip).as_bytes()).is_err()
        };
        Ok(())
    }
}

/// The log is never cut: one that lacks an event is refused, and the file of events has them all.
fn open_store(place: &Path) -> Result<Database> {
    Database::open(place, &ADVICE, false)
}

/// Writes events, and takes out those of jobs that are removed.
fn keep(database: &Database, events: &[Event], tip: Tip) -> Result<()> {
    let mut batch = WriteBatch::default();
    for event in events {
        if let What::Removed = event.what {
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

/// The file, to write behind what is in it.
fn open(path: &Path) -> Result<File> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|e| Error::io("open", path, &e))
}

/// In order.
fn all(database: &Database) -> Result<Vec<Event>> {
    let mut events: Vec<Event> = database.scan(EVENTS).collect::<Result<_>>()?;
    events.sort_unstable_by_key(|event| event.seq);
    Ok(events)
}

/// What the keys of a job's events begin with.
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

/// Makes the file say what is kept, in one step.
fn rewrite(path: &Path, events: &[Event], tip: Tip) -> Result<()> {
    let mut text = lines(events, tip);
    // What was removed last has left no event, but has its number.
    if events.last().is_none_or(|last| last.seq < tip.seq) && tip.seq > 0 {
        let removed = Event { seq: tip.seq, at: 0, job: super::JobId(0), what: What::Removed };
        text += &lines(&[removed], tip);
    }
    replace_file(path, &text)
}

/// The end of the file.
struct Last {
    /// The place of the last event in it; 0 if there is none.
    seq: u64,
    /// Whether its last line is.
    is_whole: bool,
    lines: u64,
}

fn last(path: &Path) -> Result<Last> {
    let text = text(path)?;
    let lines = text.lines().count() as u64;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line: Option<JournalLine> = whole.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    let is_whole = text.is_empty() || (text.ends_with('\n') && line.is_some());
    Ok(Last { seq: line.map_or(0, |line| line.event.seq), is_whole, lines })
}

/// What is in the file; nothing if there is none.
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
