//! The worker's side of the pipe: reads orders, scores candidates, and ends with its input.

use super::message::{
    EngineOrder, Failure, FaultOf, Greeting, NamedCandidate, Order, PROTOCOL, PortionOrder, ReadyStudy, Reply,
    ScoredItem, StudyOrder,
};
use crate::{
    args::{EngineArgs, WorkArgs},
    hub::Hub,
    work::{engines, search_tasks},
};
use evaluator::{
    answer::Transformer,
    engine::{EngineAddress, EnginePlace, Engines},
    interrupt::Interrupt,
    objective::{AnsweredItem, Benchmarks, ItemChunk},
};
use merge_core::{
    error::{Error, Fault, Result},
    item::ItemId,
    merge::sources::Sources,
    model::{check_finite, hash::hex},
    recipe::Recipe,
    search::{SearchFile, Stage},
    study::{self, Candidate, Objective as _},
};
use std::{
    collections::BTreeMap,
    env,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Pause between two signs of life.
const ALIVE: Duration = Duration::from_secs(5);

/// A study that was opened.
struct OpenedStudy {
    file: SearchFile,
    sources: Sources,
    /// SHA-256 of the sources' files.
    hashes: Vec<(String, BTreeMap<String, String>)>,
    benchmarks: Benchmarks,
    /// What scores in place of our own forward pass.
    engines: Option<Arc<Engines>>,
    loaded: Option<LoadedCandidate>,
}

/// The candidate that was asked last, which is likely to be asked again.
struct LoadedCandidate {
    named: NamedCandidate,
    in_pool: bool,
    model: Transformer,
}

/// What the search wishes while something is being scored.
#[derive(Default)]
struct Wishes {
    /// The input has ended.
    has_ended: Arc<AtomicBool>,
    /// What is being scored is not needed. The thread that reads orders sets and clears it, so that a wish that comes too late
    /// ends nothing else.
    stops: Arc<AtomicBool>,
}

/// Standard output, a line at a time.
#[derive(Clone, Default)]
struct Replies(Arc<Mutex<()>>);

impl Replies {
    /// Writes a line. Fails if nobody reads.
    fn say(&self, reply: &Reply) -> Result<()> {
        let mut line = serde_json::to_string(reply).expect("keys are text and numbers are finite");
        line.push('\n');
        let _alone = self.0.lock().expect("no panic while held");
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(|_| Error::interrupted())
    }
}

/// What a worker keeps from one study to the next.
struct Work<'a> {
    args: &'a WorkArgs,
    replies: Replies,
    wishes: Arc<Wishes>,
    /// The engine, and the order that it was started by.
    engines: Option<(EngineOrder, Arc<Engines>)>,
}

/// Works until the input ends. Fails on a terminal, where nobody writes orders.
pub(crate) fn serve(args: &WorkArgs) -> Result<()> {
    if io::stdin().is_terminal() {
        return Err(Error::user(
            "`evomerge work` reads a search's orders from its standard input, which is a terminal here",
        )
        .hint("a search starts it: evomerge search FILE -o DIR --workers 2 --launch 'srun -n1'"));
    }
    let replies = Replies::default();
    let wishes = Arc::new(Wishes::default());
    let (sender, orders) = mpsc::channel();
    let heard = Arc::clone(&wishes);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            let order = serde_json::from_str::<Order>(&line).map_err(|e| e.to_string());
            heard.stops.store(matches!(order, Ok(Order::Stop)), Ordering::Relaxed);
            if sender.send(order).is_err() {
                break;
            }
        }
        // What is being scored stops within a step.
        heard.has_ended.store(true, Ordering::Relaxed);
        heard.stops.store(true, Ordering::Relaxed);
    });
    replies.say(&Reply::Hello(Greeting {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: sysinfo::System::host_name().unwrap_or_default(),
        processor: processor(),
    }))?;
    let alive = replies.clone();
    thread::spawn(move || live(&alive));
    let mut work = Work { args, replies: replies.clone(), wishes: Arc::clone(&wishes), engines: None };
    let mut study = None;
    for order in orders {
        match order {
            Err(why) => {
                let message = format!("an order cannot be read: {why}");
                replies.say(&Reply::Refused(Failure { message, hint: None, fault: FaultOf::Machine }))?;
            }
            Ok(Order::Study(order)) => match work.open(&order) {
                Ok(opened) => {
                    let engine = opened.benchmarks.served_by().map(str::to_owned);
                    study = Some(opened);
                    replies.say(&Reply::Ready(ReadyStudy { engine }))?;
                }
                Err(error) if error.fault() == Fault::Interrupted => return Ok(()),
                Err(error) => replies.say(&Reply::Refused(Failure::from(&error)))?,
            },
            Ok(Order::Score(order)) => {
                let Some(study) = &mut study else {
                    let message = "a candidate came before its study".to_owned();
                    replies.say(&Reply::Failed(Failure { message, hint: None, fault: FaultOf::Machine }))?;
                    continue;
                };
                // Inside the thread pool: operations of a model called from outside would have to wait for it.
                let scored = rayon::scope(|_| score(study, &order));
                if wishes.has_ended.load(Ordering::Relaxed) {
                    return Ok(());
                }
                replies.say(&match scored {
                    Ok(Some(scores)) => Reply::Scores(scores),
                    Ok(None) => Reply::Stopped,
                    Err(error) if error.fault() == Fault::Interrupted => Reply::Stopped,
                    Err(error) => Reply::Failed(Failure::from(&error)),
                })?;
            }
            // It was heard when it was read.
            Ok(Order::Stop) => {}
        }
    }
    Ok(())
}

/// Says from time to time that the worker lives; ends it if nobody listens any more, whatever is being computed.
#[expect(clippy::exit, reason = "nobody is left to tell")]
fn live(replies: &Replies) {
    while replies.say(&Reply::Alive).is_ok() {
        thread::sleep(ALIVE);
    }
    process::exit(3);
}

impl Work<'_> {
    /// Opens a study, and proves that its files are those of the search.
    fn open(&mut self, order: &StudyOrder) -> Result<OpenedStudy> {
        // It may be at another place here, or nowhere: then names that need it are not found, and are told.
        let _ = env::set_current_dir(&order.directory);
        let stages = if order.is_mergekit {
            Stage::parse_mergekit(&order.text, &order.file, &Hub::from_env())?
        } else {
            Stage::parse_all(&order.text, &order.file)?
        };
        let Some(Stage::Search(file)) = stages.into_iter().nth(order.stage) else {
            return Err(Error::machine(format!("document {} of {} is no search", order.stage, order.file.display())));
        };
        let earlier = order.earlier.iter().map(|text| Recipe::parse(text, &order.file)).collect::<Result<Vec<_>>>()?;
        super::check(&file)?;
        let sources = Sources::open_all(file.template.variants(), &earlier, &Hub::from_env())?;
        let found = sources.sha256()?;
        for (name, hashes) in &order.sources {
            let known = found.iter().find(|(other, _)| other == name).map(|(_, hashes)| hashes);
            if known != Some(hashes) {
                return Err(Error::user(format!("`{name}` has other files here than where the search runs"))
                    .hint("copy the models of the search to this machine, at the same paths"));
            }
        }
        for (name, source) in sources.iter() {
            check_finite(&**source).map_err(|e| e.at(name))?;
        }
        let mut benchmarks = search_tasks::benchmarks(&file)?.interruptible(Interrupt::from(&self.wishes.stops));
        let tasks: Vec<(String, String)> =
            benchmarks.goals().iter().map(|goal| (goal.name.clone(), hex(&goal.fingerprint))).collect();
        if let Some((name, _)) = order.tasks.iter().find(|task| !tasks.contains(task)) {
            return Err(Error::user(format!("task {name} is another here than where the search runs"))
                .hint("its task file, its data or what it imports differs: copy them to this machine"));
        }
        let engines = order.engine.as_ref().map(|order| self.connect(order, &sources)).transpose()?;
        if let (Some(engines), Some(order)) = (&engines, &order.engine) {
            benchmarks = benchmarks.on(Arc::clone(engines));
            study::check(&file.template, &sources, &file.search, &benchmarks)?;
            engines::at_once(engines, &file, &sources)?;
            if order.is_compared {
                let compared = engines::compared_with_own(&benchmarks, &sources)?;
                compared.map_or(Ok(()), |note| self.replies.say(&Reply::Note(note)))?;
            }
        }
        Ok(OpenedStudy { file: *file, sources, hashes: found, benchmarks, engines, loaded: None })
    }

    /// The engine of an order, which runs already if the order is that of the study before.
    fn connect(&mut self, order: &EngineOrder, sources: &Sources) -> Result<Arc<Engines>> {
        if let Some((_, engines)) = self.engines.take_if(|(known, _)| known.engine == order.engine) {
            self.engines = Some((order.clone(), Arc::clone(&engines)));
            return Ok(engines);
        }
        // Room for the next one.
        self.engines = None;
        let address: EngineAddress = order.engine.parse()?;
        if matches!(address.place, EnginePlace::Command(_)) && !self.args.allow_commands {
            return Err(Error::user(format!("the search has a command run here: {}", order.engine))
                .hint("a worker runs it if it is started with `--allow-commands`: --launch 'ssh node{n} {work} --allow-commands'"));
        }
        let args = EngineArgs {
            engine: vec![order.engine.clone()],
            gpus: order.gpus.clone(),
            scratch: order.scratch.clone(),
            engine_timeout: order.timeout,
        };
        let model = || Ok(sources.files().next().expect("a search has models").1.to_owned());
        let engines = engines::connect(&args, model, Interrupt::from(&self.wishes.has_ended))?;
        let engines = engines.expect("one is named");
        self.engines = Some((order.clone(), Arc::clone(&engines)));
        Ok(engines)
    }
}

/// Scores items of a candidate; `None` if they are not needed any more.
fn score(study: &mut OpenedStudy, order: &PortionOrder) -> Result<Option<Vec<ScoredItem>>> {
    let scored = study.score(order);
    scored.map_err(|error| match study.sources.check_unchanged(&study.hashes) {
        Ok(()) => error,
        // The file is to blame, not the candidate.
        Err(changed) => changed.as_machine(),
    })
}

impl OpenedStudy {
    fn score(&mut self, PortionOrder { candidate, items }: &PortionOrder) -> Result<Option<Vec<ScoredItem>>> {
        let ItemChunk { goal, items, in_pool } = items;
        let known = self.benchmarks.goals().get(*goal).map(|goal| [&goal.search, &goal.select, &goal.report]);
        let is_known = |item: &ItemId| known.is_some_and(|lists| lists.iter().any(|list| list.contains(item)));
        if !items.iter().all(is_known) {
            return Err(Error::machine("the search asks for items that its tasks have not"));
        }
        let scored = |answered: Option<Vec<AnsweredItem>>| {
            answered.map(|answered| items.iter().zip(answered).map(|(item, one)| ScoredItem::new(*item, one)).collect())
        };
        if let Some(engines) = &self.engines {
            let candidate = self.candidate(candidate)?;
            let weights = candidate.weights()?;
            let given = engines.give(weights)?;
            return self.benchmarks.answered_on(engines, weights, &given, *goal, items).map(scored);
        }
        let mut loaded = match self.loaded.take() {
            Some(loaded) if loaded.named == *candidate && loaded.in_pool == *in_pool => loaded,
            // Room for the next one.
            earlier => {
                drop(earlier);
                LoadedCandidate { named: candidate.clone(), in_pool: *in_pool, model: self.load(candidate, *in_pool)? }
            }
        };
        let answered = self.benchmarks.answered(&mut loaded.model, *goal, items)?;
        self.loaded = Some(loaded);
        Ok(scored(answered))
    }

    fn load(&self, named: &NamedCandidate, in_pool: bool) -> Result<Transformer> {
        self.benchmarks.load(self.candidate(named)?.weights()?, in_pool)
    }

    fn candidate(&self, named: &NamedCandidate) -> Result<Candidate<'_>> {
        Ok(match named {
            NamedCandidate::Recipe(text) => {
                Candidate::merged(Recipe::parse(text, &self.file.template.file)?, &self.sources)
            }
            NamedCandidate::Source(name) => Candidate::source(name, &self.sources),
        })
    }
}

/// The name of this machine's processor.
fn processor() -> String {
    let mut system = sysinfo::System::new();
    system.refresh_cpu_all();
    let name = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
    format!("{name} ({})", std::env::consts::ARCH)
}
