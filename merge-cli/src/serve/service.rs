//! What may be asked of a queue, whoever asks: a command beside it, or somebody at the other end of a wire.

use super::{
    home::Home,
    machine::{self, Machine},
    proof,
    roots::Roots,
    shown::{Detail, Happened, Listed, Shown},
    wanted::{Again, Draft, Wanted},
    work,
};
use crate::{
    job::{self, Told},
    screen,
};
use merge_core::{
    error::{Error, Result},
    queue::{Job, JobId, Kept, Kind, Limits, Needs, Queue, State, Submission},
    recipe::read_text,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::broadcast;

/// A queue, and what its answers need.
pub(crate) struct Service {
    pub(super) home: Home,
    pub(super) machine: Machine,
    pub(super) roots: Roots,
    queue: Mutex<Queue<Kept>>,
    /// Wakes who runs jobs.
    changed: Condvar,
    /// What runs, as far as it is known here.
    now: Mutex<Now>,
    news: broadcast::Sender<News>,
}

/// What is known of jobs beside their events.
#[derive(Default)]
pub(super) struct Now {
    /// When the present attempts began.
    pub(super) began: BTreeMap<JobId, Instant>,
    /// Why queued jobs are not started though it is their turn.
    pub(super) waits: BTreeMap<JobId, String>,
    pub(super) told: BTreeMap<JobId, Arc<Told>>,
}

/// What is new of a job, as text for who listens.
#[derive(Clone, Debug)]
pub(super) enum News {
    Job(Arc<str>),
    Removed(u64),
}

/// What is known of a submission before it is one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Checked {
    pub(super) kind: Kind,
    pub(super) needs: Needs,
    /// What a user may want to know.
    pub(super) notes: Vec<String>,
}

/// What a server has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Server {
    pub(super) version: String,
    /// Jobs that run side by side.
    pub(super) slots: usize,
    pub(super) threads: usize,
    /// Bytes for all jobs together.
    pub(super) memory: u64,
    /// Bytes that are free where jobs write.
    pub(super) disk_free: Option<u64>,
    /// Directories whose recipes may be handed in.
    pub(super) roots: Vec<String>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// The user whose queue it is, on this machine.
    Here,
    /// Whoever can reach the server.
    Afar,
}

/// A submission that can be taken in.
struct Prepared {
    submission: Submission,
    notes: Vec<String>,
    /// The recipe that is to be saved with it.
    draft: Option<Draft>,
}

impl Service {
    pub(super) fn new(home: Home, queue: Queue<Kept>, machine: Machine, roots: Roots) -> Self {
        let (news, _) = broadcast::channel(256);
        Self { home, machine, roots, queue: Mutex::new(queue), changed: Condvar::new(), now: Mutex::default(), news }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue<Kept>> {
        // What is half done in memory is not in the journal, and the journal is asked before memory changes.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed, or so long.
    pub(super) fn wait(&self, at_most: Duration) {
        let queue = self.queue();
        let _ = self.changed.wait_timeout(queue, at_most);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Tells who listens how a job is now.
    pub(super) fn tell(&self, id: JobId) {
        if self.news.receiver_count() > 0
            && let Ok(shown) = self.job(id)
        {
            let _ = self.news.send(News::Job(serde_json::to_string(&shown.job).expect("plain data").into()));
        }
    }

    /// Jobs that are not done and not given up.
    pub(super) fn waiting(&self) -> usize {
        self.queue().jobs().filter(|job| !job.state.has_ended()).count()
    }

    pub(super) fn server(&self) -> Server {
        Server {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: self.machine.slots,
            threads: self.machine.threads,
            memory: self.machine.memory,
            disk_free: machine::free(self.home.path()),
            roots: self.roots.names(),
        }
    }

    /// All jobs, oldest first.
    pub(super) fn jobs(&self) -> Vec<Shown> {
        let (queue, now) = (self.queue(), self.now());
        queue.jobs().map(|job| shown(&queue, &now, job)).collect()
    }

    pub(super) fn job(&self, id: JobId) -> Result<Detail> {
        let told = self.told(id);
        let (queue, now) = (self.queue(), self.now());
        let job = queue.job(id)?;
        let shown = Shown { progress: told.map(|told| told.progress.clone()), ..shown(&queue, &now, job) };
        Ok(Detail { job: shown, events: Happened::of(job) })
    }

    /// What a job last said of how far it is.
    pub(super) fn told(&self, id: JobId) -> Option<Arc<Told>> {
        let told = self.now().told.get(&id).cloned();
        // Said to a server before this one.
        let written = || serde_json::from_slice(&fs::read(self.home.job(id).join(job::PROGRESS)).ok()?).ok();
        told.or_else(|| written().map(Arc::new))
    }

    /// Where a job wrote, if that is there.
    pub(super) fn output_of(&self, id: JobId) -> Option<PathBuf> {
        let queue = self.queue();
        let submission = &queue.job(id).ok()?.submission;
        let place = work::output_of(submission, &self.home.job(id));
        place.is_dir().then_some(place)
    }

    pub(super) fn recipes(&self) -> Vec<Listed> {
        self.roots.recipes()
    }

    /// Takes a job in; also says whether it is new, or known by its key.
    pub(super) fn submit(&self, wanted: &Wanted, asker: Asker) -> Result<(Shown, bool)> {
        let Prepared { submission, draft, .. } = self.prepare(wanted, asker)?;
        draft.as_ref().map_or(Ok(()), Draft::save)?;
        let (id, is_new) = {
            let mut queue = self.queue();
            let last = queue.jobs().next_back().map(|job| job.id);
            let taken = queue.submit(vec![submission]);
            if let (Err(_), Some(draft)) = (&taken, &draft) {
                draft.take_back();
            }
            let id = taken?[0];
            (id, last.is_none_or(|last| id > last))
        };
        self.news(id);
        Ok((self.job(id)?.job, is_new))
    }

    /// What a submission would be; nothing is taken in or saved.
    pub(super) fn check(&self, wanted: &Wanted, asker: Asker) -> Result<Checked> {
        let Prepared { submission, notes, .. } = self.prepare(wanted, asker)?;
        Ok(Checked { kind: submission.kind, needs: submission.needs, notes })
    }

    pub(super) fn pause(&self, id: JobId) -> Result<Shown> {
        self.change(id, |queue| queue.pause(id))
    }

    pub(super) fn resume(&self, id: JobId) -> Result<Shown> {
        self.change(id, |queue| queue.resume(id))
    }

    pub(super) fn cancel(&self, id: JobId) -> Result<Shown> {
        self.change(id, |queue| queue.cancel(id))
    }

    pub(super) fn retry(&self, id: JobId, again: &Again) -> Result<Shown> {
        let limits = Limits { seconds: again.seconds, bytes: again.bytes };
        self.change(id, |queue| queue.retry(id, limits, again.force))
    }

    /// Forgets a job, and deletes its directory.
    pub(super) fn remove(&self, id: JobId) -> Result<()> {
        self.queue().remove(id)?;
        self.now().told.remove(&id);
        let place = self.home.job(id);
        if place.exists() {
            fs::remove_dir_all(&place).map_err(|e| Error::io("remove", &place, &e))?;
        }
        let _ = self.news.send(News::Removed(id.0));
        self.changed.notify_all();
        Ok(())
    }

    /// Says that a job has changed.
    pub(super) fn news(&self, id: JobId) {
        self.tell(id);
        self.changed.notify_all();
    }

    fn change(&self, id: JobId, how: impl FnOnce(&mut Queue<Kept>) -> Result<()>) -> Result<Shown> {
        how(&mut self.queue())?;
        self.news(id);
        Ok(self.job(id)?.job)
    }

    /// Proves what is wanted, and that the machine can do it.
    fn prepare(&self, wanted: &Wanted, asker: Asker) -> Result<Prepared> {
        let (mut words, directory, draft) = self.words(wanted, asker)?;
        let option = |name: &str, value: Option<u64>| {
            value.map(|value| [format!("--{name}"), value.to_string()]).into_iter().flatten()
        };
        words.extend(option("seed", wanted.seed).chain(option("budget", wanted.budget)));
        let proof = if let (Asker::Here, Some(proof)) = (asker, &wanted.proof) {
            // Proved where it was handed in, from where its paths start.
            proof.clone()
        } else {
            let may = |path: &Path| self.roots.check(path);
            proof::prove(&words, &directory, !wanted.after.is_empty(), &may).map_err(|e| match &draft {
                Some(draft) => draft.as_named(&e),
                None => e,
            })?
        };
        let needs = proof.needs(wanted.threads.map_or(self.machine.share(), usize::from));
        self.check_fits(&needs)?;
        let (mut file, mut name) = (proof.file, proof.name);
        if let Some(draft) = &draft {
            words =
                words.into_iter().map(|word| if word == draft.beside { draft.path.clone() } else { word }).collect();
            if let Some(mark) = &mut file {
                mark.path = PathBuf::from(&draft.path);
            }
            name = proof::name_of(Path::new(&draft.path));
        }
        let name = wanted.name.clone().unwrap_or(name);
        let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
        let submission = Submission {
            kind: proof.kind,
            name: if name.trim().is_empty() { proof.kind.name().to_owned() } else { name },
            words,
            directory,
            file,
            priority: wanted.priority,
            after: wanted.after.iter().copied().map(JobId).collect(),
            labels: wanted.labels.clone(),
            limits: Limits { seconds: wanted.seconds, bytes: wanted.bytes },
            attempts: wanted.attempts.unwrap_or(3).max(1),
            threads: wanted.threads,
            needs,
            key: wanted.key.clone(),
        };
        Ok(Prepared { submission, notes: proof.notes, draft })
    }

    /// The words of what is wanted, where their paths start, and the recipe that is to be saved.
    fn words(&self, wanted: &Wanted, asker: Asker) -> Result<(Vec<String>, PathBuf, Option<Draft>)> {
        let nothing = || Error::user("nothing is handed in").hint("give a `file`, or a `text` and where to `save_as`");
        if asker == Asker::Here {
            let given = wanted.words.clone().zip(wanted.directory.clone()).filter(|_| wanted.proof.is_some());
            return given.map(|(words, directory)| (words, directory, None)).ok_or_else(nothing);
        }
        if wanted.words.is_some() || wanted.directory.is_some() || wanted.proof.is_some() {
            return Err(Error::user("`words` can only be given on the server's own machine"));
        }
        let text_of = |path: &PathBuf| path.to_string_lossy().into_owned();
        match (&wanted.file, &wanted.text, &wanted.save_as) {
            (Some(file), None, None) => {
                // A directory is a study to report on.
                let path = self
                    .roots
                    .find(file)
                    .and_then(|path| if path.is_dir() { Ok(path) } else { self.roots.recipe(file) })?;
                let directory = path.parent().map(PathBuf::from).unwrap_or_default();
                Ok((work::words_for(&text_of(&path), &directory)?, directory, None))
            }
            (None, Some(text), Some(save_as)) => {
                let path = self.roots.new_file(save_as)?;
                let directory = path.parent().map(PathBuf::from).unwrap_or_default();
                if path.exists() {
                    // The same sent again is what is there.
                    if read_text(&self.roots.find(save_as)?).is_ok_and(|known| known == *text) {
                        return Ok((work::words_for(&text_of(&path), &directory)?, directory, None));
                    }
                    return Err(Error::user(format!("{save_as}: there is such a file already"))
                        .hint("choose another name, or hand that file in"));
                }
                let draft = Draft::write(&path, text)?;
                Ok((work::words_for(&draft.beside, &directory)?, directory, Some(draft)))
            }
            _ => Err(nothing()),
        }
    }

    /// Refuses what this machine can never hold.
    fn check_fits(&self, needs: &Needs) -> Result<()> {
        let (said, hint) = (screen::bytes, "a smaller `--workers` needs less memory");
        if let Some(memory) = needs.memory.filter(|memory| *memory > self.machine.memory) {
            return Err(Error::user(format!(
                "it needs about {} of memory, and jobs may use {} here",
                said(memory),
                said(self.machine.memory)
            ))
            .hint(hint));
        }
        let free = machine::free(self.home.path());
        if let (Some(disk), Some(free)) = (needs.disk, free)
            && disk + self.machine.reserve > free
        {
            return Err(Error::user(format!(
                "it writes about {}, and {} are free, of which {} are kept free",
                said(disk),
                said(free),
                said(self.machine.reserve)
            ))
            .hint("`evomerge rm` deletes what jobs have written; `serve --reserve` keeps less free"));
        }
        Ok(())
    }
}

fn shown(queue: &Queue<Kept>, now: &Now, job: &Job) -> Shown {
    let ms = now.began.get(&job.id).map_or(0, |began| began.elapsed().as_millis() as u64);
    let waits = || {
        let before = queue.waits_for(job)?;
        let how = match before.state {
            State::Failed => "has failed".to_owned(),
            state => format!("is {}", state.name()),
        };
        Some(format!("job {}, which {how}", before.id))
    };
    let waits = if job.state == State::Queued { waits().or_else(|| now.waits.get(&job.id).cloned()) } else { None };
    let progress: Option<job::Progress> = now.told.get(&job.id).map(|told| told.progress.clone());
    Shown::of(job, ms, waits, progress)
}
