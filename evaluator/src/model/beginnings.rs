//! What was computed of prompts along the beginnings of paths, so that paths that begin alike share it.
//!
//! The state of a prompt's tokens after some hops depends on those hops and on the tokens up to there, and on nothing else: not
//! on other prompts, batches or threads (see [`super::Transformer`]). So it is known by their hash, and what is looked up is bit
//! for bit what would be computed.

use super::{decoder::DecoderHop, outside::OuterLayers, prefill::PrefillStep};
use candle_core::Tensor;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Everything that a state and its keys and values depend on, hashed.
pub(crate) type StateKey = [u8; 32];

/// What is known by hop and step; what was not asked for the longest time is forgotten first.
#[derive(Debug)]
pub(crate) struct Beginnings {
    /// Most bytes that are kept.
    room: usize,
    known: Mutex<KnownStates>,
    /// Tokens, times the hops that they did not have to go through.
    recalled: AtomicUsize,
    /// Tokens, times the hops that they went through.
    computed: AtomicUsize,
}

#[derive(Debug, Default)]
struct KnownStates {
    nodes: HashMap<StateKey, StateNode>,
    /// When each was asked for last.
    ages: BTreeMap<u64, StateKey>,
    clock: u64,
    bytes: usize,
}

/// What is known of a step after a hop.
#[derive(Debug)]
struct StateNode {
    kv: Tensor,    // (tokens, 2 · kv heads · size)
    state: Tensor, // (tokens, hidden)
    age: u64,
}

/// What the step is known by after each hop but the last, of which only what is wanted is computed.
pub(crate) fn along(step: &PrefillStep<'_>, outside: &Arc<OuterLayers>, hops: &[DecoderHop]) -> Vec<StateKey> {
    let mut content = Sha256::new();
    let mut number = |number: usize| content.update((number as u64).to_le_bytes());
    // The pool holds what these stand for as long as anything is known of it.
    number(Arc::as_ptr(outside).addr());
    for (run, beginning) in step.runs.iter().zip(&step.beginnings) {
        [run.tokens.len(), run.whole, beginning.len()].into_iter().for_each(&mut number);
        beginning.iter().for_each(|token| number(*token as usize));
    }
    let mut key: StateKey = content.finalize().into();
    let but_last = &hops[..hops.len() - 1];
    but_last
        .iter()
        .map(|hop| {
            let bits = |factor: Option<f32>| factor.unwrap_or(1.0).to_le_bytes();
            let hash = Sha256::new_with_prefix(key).chain_update(Arc::as_ptr(&hop.layer).addr().to_le_bytes());
            key = hash.chain_update(bits(hop.scale)).chain_update(bits(hop.gain)).finalize().into();
            key
        })
        .collect()
}

impl Beginnings {
    /// Nothing yet, and at most so many bytes.
    pub(crate) fn new(room: usize) -> Self {
        Self { room, known: Mutex::default(), recalled: AtomicUsize::new(0), computed: AtomicUsize::new(0) }
    }

    /// Keys and values of each hop from the first on, as far as they are known, and the state after the last of them.
    pub(crate) fn recall(&self, keys: &[StateKey]) -> (Vec<Tensor>, Option<Tensor>) {
        let mut known = self.known.lock().expect("no panic while held");
        let (mut kvs, mut state) = (Vec::new(), None);
        for key in keys {
            let Some(node) = known.ask(key) else { break };
            kvs.push(node.kv.clone());
            state = Some(node.state.clone());
        }
        (kvs, state)
    }

    /// Keeps what was computed.
    pub(crate) fn keep(&self, key: StateKey, kv: Tensor, state: Tensor) {
        let mut known = self.known.lock().expect("no panic while held");
        let node = StateNode { kv, state, age: 0 };
        if node.bytes() <= self.room {
            known.insert(key, node);
        }
        while known.bytes > self.room {
            known.forget();
        }
    }

    /// Counts tokens times hops.
    pub(crate) fn count(&self, recalled: usize, computed: usize) {
        self.recalled.fetch_add(recalled, Ordering::Relaxed);
        self.computed.fetch_add(computed, Ordering::Relaxed);
    }

    /// Tokens times hops that were looked up, and that were computed.
    pub(crate) fn counts(&self) -> [usize; 2] {
        [&self.recalled, &self.computed].map(|count| count.load(Ordering::Relaxed))
    }
}

impl KnownStates {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn ask(&mut self, key: &StateKey) -> Option<&StateNode> {
        let now = self.tick();
        let node = self.nodes.get_mut(key)?;
        self.ages.remove(&std::mem::replace(&mut node.age, now));
        self.ages.insert(now, *key);
        Some(node)
    }

    fn insert(&mut self, key: StateKey, node: StateNode) {
        let now = self.tick();
        self.bytes += node.bytes();
        self.ages.insert(now, key);
        // Two may have computed the same at a time.
        if let Some(same) = self.nodes.insert(key, StateNode { age: now, ..node }) {
            self.bytes -= same.bytes();
            self.ages.remove(&same.age);
        }
    }

    fn forget(&mut self) {
        let oldest = self.ages.pop_first().and_then(|(_, key)| self.nodes.remove(&key));
        self.bytes -= oldest.map_or(0, |node| node.bytes());
    }
}

impl StateNode {
    fn bytes(&self) -> usize {
        (self.kv.elem_count() + self.state.elem_count()) * size_of::<f32>()
    }
}
