//! A model that an engine holds, as a model that answers: makes the tokens, asks in lists, reads answers as our own pass does.

use super::{Computed, Engine, Trouble, Wanted, What, llama_cpp::no_likelihoods};
use crate::{
    answer::{
        Memory,
        lengths::context,
        open::{self, JobPlace, OpenRequest},
        question::{Outcome, Purpose, QuestionReader},
    },
    interrupt::Interrupt,
    language_model::{AnswerListener, LanguageModel},
    prompt::{Conversation, Specials, Tokenizer},
    request::{Request, Said},
};
use merge_core::{
    error::{Error, Result},
    model::Weights,
    words::counted,
};
use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

/// Most tokens of one request: few enough that a failure loses little.
const TOKENS: usize = 200_000;
/// Pause between two looks at the interrupt.
const LOOK: Duration = Duration::from_millis(50);

/// A model that an engine holds.
///
/// Our tokenizer makes the tokens, and the generated tokens come back as such: every request that
/// [`Transformer`](crate::answer::Transformer) answers is answered here by the same rules.
pub struct ServedModel {
    engine: Arc<Engine>,
    version: String,
    tokenizer: Tokenizer,
    specials: Specials,
    chat: Option<Conversation>,
    context: usize,
    memory: Option<Memory>,
    interrupt: Interrupt,
    recalled: usize,
    computed: usize,
    /// Failure of the engine, if one ended the last answers, and the list that it failed on.
    trouble: Option<(Trouble, OwnedList)>,
}

/// A list of sequences of one kind, owned, so that a request may outlive an interrupt.
pub(super) struct OwnedList {
    /// Numbers of the jobs.
    numbers: Vec<usize>,
    /// Tokens, and the position of the first scored one.
    sequences: Vec<(Vec<u32>, usize)>,
    /// `None` for sequences that are scored.
    generates: Option<(usize, Vec<String>)>,
    /// Tokens that end an answer.
    ends: Vec<u32>,
}

impl OwnedList {
    /// Lets an engine compute it from the weights of this version.
    pub(super) fn compute(&self, engine: &Engine, version: &str) -> std::result::Result<Vec<Computed>, Trouble> {
        let what = |from| match &self.generates {
            None => What::Score(from),
            Some((limit, stop)) => What::Generate(*limit, stop),
        };
        let sequences = self.sequences.iter();
        let wanted: Vec<Wanted<'_>> = sequences.map(|(tokens, from)| Wanted { tokens, what: what(*from) }).collect();
        engine.compute(&wanted, &self.ends, version)
    }
}

impl ServedModel {
    /// The model with these weights, which the engine holds by the name `version`.
    pub(super) fn new(
        engine: Arc<Engine>,
        version: String,
        weights: &dyn Weights,
        tokenizer: Tokenizer,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let specials = Specials::of(weights, &tokenizer)?;
        let context = context(weights).unwrap_or_else(|| engine.context());
        let (chat, memory, trouble) = (None, None, None);
        let (recalled, computed) = (0, 0);
        Ok(Self { engine, version, tokenizer, specials, chat, context, memory, interrupt, recalled, computed, trouble })
    }

    /// Asks the model as a conversation from now on, which its chat template writes.
    ///
    /// Fails if the model has no chat template, or one that is not Jinja.
    pub fn converse(&mut self, weights: &dyn Weights, system: Option<String>) -> Result<()> {
        self.chat = Some(Conversation::of(weights, &self.specials, system)?);
        Ok(())
    }

    /// Looks up earlier answers from now on, and remembers new ones.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = Some(memory);
    }

    /// Number of requests answered from memory so far.
    pub fn recalled(&self) -> usize {
        self.recalled
    }

    /// Number of tokens that the engine generated or scored so far.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Failure of the engine, if one ended the last answers, and the list that it failed on.
    pub(super) fn take_trouble(&mut self) -> Option<(Trouble, OwnedList)> {
        self.trouble.take()
    }

    fn reader(&self) -> QuestionReader<'_> {
        QuestionReader {
            tokenizer: &self.tokenizer,
            specials: &self.specials,
            chat: self.chat.as_ref(),
            context: self.context,
        }
    }

    /// Reads a result as our own forward pass would have ended it.
    fn outcome(&self, computed: Computed, purpose: &Purpose<'_>) -> Result<Outcome> {
        let (tokens, limited) = match computed {
            Computed::Scored(likelihood, broken) => {
                return Ok(Outcome { said: Said::Likelihoods(vec![likelihood]), broken });
            }
            Computed::Generated(tokens, limited) => (tokens, limited),
        };
        let stop = match purpose {
            Purpose::Generate { stop, .. } => *stop,
            Purpose::Score { .. } => &[],
        };
        let mut text = self.tokenizer.decode(&tokens)?;
        let end = stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min();
        text.truncate(end.unwrap_or(text.len()));
        let truncated =
            limited && end.is_none() && !tokens.last().is_some_and(|last| self.specials.ends.contains(last));
        Ok(Outcome::text(text, tokens.len(), truncated))
    }

    /// Divides jobs into lists of one kind, neighbours together.
    fn lists(places: &[JobPlace<'_>], ends: &[u32], most: usize) -> Vec<OwnedList> {
        let mut numbers: Vec<usize> = (0..places.len()).collect();
        let kind = |number: usize| match &places[number].job.purpose {
            Purpose::Score { .. } => None,
            Purpose::Generate { stop, limit } => Some((*limit, *stop)),
        };
        numbers.sort_by(|a, b| {
            (kind(*a), &places[*a].job.sequence).cmp(&(kind(*b), &places[*b].job.sequence)).then(a.cmp(b))
        });
        let mut lists = Vec::new();
        for alike in numbers.chunk_by(|a, b| kind(*a) == kind(*b)) {
            let mut rest = alike;
            while let Some(first) = rest.first() {
                let mut tokens = 0;
                let fitting = rest.iter().take(most).take_while(|number| {
                    tokens += places[**number].job.sequence.tokens.len();
                    tokens <= TOKENS
                });
                let (now, later) = rest.split_at(fitting.count().max(1));
                let sequence = |number: &usize| {
                    let job = &places[*number].job;
                    let mut tokens = job.sequence.tokens.clone();
                    if let Purpose::Score { targets } = &job.purpose {
                        tokens.extend(targets.last());
                    }
                    (tokens, job.sequence.from + 1)
                };
                lists.push(OwnedList {
                    numbers: now.to_vec(),
                    sequences: now.iter().map(sequence).collect(),
                    generates: kind(*first).map(|(limit, stop)| (limit, stop.to_vec())),
                    ends: ends.to_vec(),
                });
                rest = later;
            }
        }
        lists
    }

    /// Fails if a sequence is longer than the engine's context, although the model has room for it.
    fn check_room(&self, places: &[JobPlace<'_>]) -> Result<()> {
        let most = places.iter().map(needed).max().unwrap_or(0);
        if most <= self.engine.context() {
            return Ok(());
        }
        Err(too_short(&self.engine, most))
    }
}

/// Tokens that an engine needs room for: those that are generated, or the last scored one and one more, which is generated
/// after it.
fn needed(place: &JobPlace<'_>) -> usize {
    place.job.sequence.tokens.len()
        + match place.job.purpose {
            Purpose::Generate { limit, .. } => limit,
            Purpose::Score { .. } => 2,
        }
}

/// The error for an engine whose context is too short for a request.
fn too_short(engine: &Engine, needed: usize) -> Error {
    let has = counted(engine.context(), "token");
    Error::machine(format!(
        "{}: a request needs a context of {needed} tokens, but the engine has one of {has}",
        engine.name()
    ))
    .hint(format!(
        "start it with a longer one: `--max-model-len {needed}` of vLLM, `--context-length {needed}` of SGLang, `-c` of llama.cpp \
         with {needed} for each slot"
    ))
}

/// Refuses requests that an engine's context is too short for, though the model's is not.
pub(super) fn check_context(
    engine: &Engine,
    weights: &dyn Weights,
    tokenizer: &Tokenizer,
    requests: &[Request],
) -> Result<()> {
    let specials = Specials::of(weights, tokenizer)?;
    let context = context(weights).unwrap_or_else(|| engine.context());
    let reader = QuestionReader { tokenizer, specials: &specials, chat: None, context };
    let Some((_, places)) = open::places(reader, requests, &Interrupt::default())? else { return Ok(()) };
    if engine.holds_adapters() && places.iter().any(|place| matches!(place.job.purpose, Purpose::Score { .. })) {
        return Err(no_likelihoods(engine.name()));
    }
    match places.iter().map(needed).max().filter(|most| *most > engine.context()) {
        Some(most) => Err(too_short(engine, most)),
        None => Ok(()),
    }
}

impl LanguageModel for ServedModel {
    fn conversation(&self) -> Option<&Conversation> {
        self.chat.as_ref()
    }

    /// Answers come as lists of them are complete, each after a look at the version of the weights that computed it.
    fn answer(&mut self, requests: &[Request], listener: &mut AnswerListener<'_>) -> Result<()> {
        let Some((mut open, places)) = open::places(self.reader(), requests, &self.interrupt)? else { return Ok(()) };
        let places = open::look_up(self.memory.as_ref(), places, &mut open)?;
        self.check_room(&places)?;
        let mut told = vec![false; requests.len()];
        let tokenizer = self.tokenizer.clone();
        let mut tell = |open: &mut [OpenRequest]| -> Result<ControlFlow<()>> {
            for (number, request) in requests.iter().enumerate() {
                if !told[number] && open[number].is_complete() {
                    told[number] = true;
                    if listener(number, open[number].answer(request, &tokenizer)?)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        if self.memory.is_some() {
            self.recalled += open.iter().filter(|open| open.is_complete()).count();
        }
        if tell(&mut open)?.is_break() {
            return Ok(());
        }
        let (most, at_once) = self.engine.at_once();
        let lists = Self::lists(&places, &self.specials.ends, most);
        let computing = InFlight::start(&self.engine, lists, &self.version, at_once);
        while let Some((list, result)) = computing.next(&self.interrupt) {
            let computed = match result {
                Ok(computed) => computed,
                Err(trouble) => {
                    let error = trouble.error().clone();
                    self.trouble = Some((trouble, list));
                    return Err(error);
                }
            };
            let numbers = list.numbers;
            let mut outcomes = Vec::with_capacity(numbers.len());
            for (number, computed) in numbers.iter().zip(computed) {
                self.computed += match &computed {
                    Computed::Generated(tokens, _) => tokens.len(),
                    Computed::Scored(likelihood, _) => likelihood.tokens,
                };
                outcomes.push(self.outcome(computed, &places[*number].job.purpose)?);
            }
            if let Some(memory) = &self.memory {
                memory.keep(numbers.iter().map(|number| &places[*number].job).zip(&outcomes))?;
            }
            for (number, outcome) in numbers.iter().zip(outcomes) {
                open[places[*number].request].parts[places[*number].part] = Some(outcome);
            }
            if tell(&mut open)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A list and its results.
type ListResult = (OwnedList, std::result::Result<Vec<Computed>, Trouble>);

/// Lists that an engine computes, some at once, in threads that an interrupt does not wait for.
struct InFlight {
    results: mpsc::Receiver<ListResult>,
}

impl InFlight {
    fn start(engine: &Arc<Engine>, lists: Vec<OwnedList>, version: &str, at_once: usize) -> Self {
        let (tell, results) = mpsc::channel();
        let n_threads = at_once.min(lists.len());
        let lists = Arc::new(Mutex::new(lists.into_iter()));
        for _ in 0..n_threads {
            let (engine, lists, tell) = (Arc::clone(engine), Arc::clone(&lists), tell.clone());
            let version = version.to_owned();
            thread::spawn(move || {
                loop {
                    let Some(list) = lists.lock().expect("no panic while held").next() else { return };
                    let result = list.compute(&engine, &version);
                    // After a failure, or if nobody waits any more, nothing else is asked.
                    let failed = result.is_err();
                    if tell.send((list, result)).is_err() || failed {
                        return;
                    }
                }
            });
        }
        Self { results }
    }

    /// The next result; `None` at the end, or if interrupted.
    fn next(&self, interrupt: &Interrupt) -> Option<ListResult> {
        loop {
            match self.results.recv_timeout(LOOK) {
                Ok(result) => return Some(result),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) if interrupt.is_set() => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
