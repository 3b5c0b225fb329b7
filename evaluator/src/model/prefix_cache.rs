//! Prompt states along the first hops of layer paths, shared by paths that begin alike.
//!
//! The state of a prompt's tokens after some hops depends only on those hops and on the tokens up to there: not on
//! other prompts, batches or threads (see [`crate::answer::Transformer`]). So a hash of these is its key, and a state
//! that is looked up is bit for bit the one that would be computed.

use super::{decoder::DecoderHop, outer::OuterLayers, prefill::PrefillStep};
use candle_core::Tensor;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Hash of everything that a state and its keys and values depend on.
pub(crate) type StateKey = [u8; 32];

/// Known states by hop and step. The least recently used ones are forgotten first.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    /// Most bytes to keep.
    max_bytes: usize,
    known: Mutex<CachedStates>,
    /// Number of tokens times hops that were looked up.
    recalled: AtomicUsize,
    /// Number of tokens times hops that were computed.
    computed: AtomicUsize,
}

#[derive(Debug, Default)]
struct CachedStates {
    nodes: HashMap<StateKey, StateNode>,
    /// Key of each node by the time it was last asked for.
    ages: BTreeMap<u64, StateKey>,
    clock: u64,
    bytes: usize,
}

/// Results of a step after a hop.
#[derive(Debug)]
struct StateNode {
    kv: Tensor,    // (tokens, 2 · kv heads · size)
    state: Tensor, // (tokens, hidden)
    age: u64,
}

/// Keys of the step after each hop but the last, after which only wanted tokens are computed.
pub(crate) fn state_keys(step: &PrefillStep<'_>, outer: &Arc<OuterLayers>, hops: &[DecoderHop]) -> Vec<StateKey> {
    let mut content = Sha256::new();
    let mut number = |number: usize| content.update((number as u64).to_le_bytes());
    // The pool holds these as long as anything is known of them, so their addresses stay unique.
    number(Arc::as_ptr(outer).addr());
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

impl PrefixCache {
    /// Nothing known yet; keeps at most `max_bytes` bytes.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, known: Mutex::default(), recalled: AtomicUsize::new(0), computed: AtomicUsize::new(0) }
    }

    /// Keys and values of the first hops, as far as they are known, and the state after the last of them.
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

    /// Keeps the results of a hop; forgets old ones to make room.
    pub(crate) fn keep(&self, key: StateKey, kv: Tensor, state: Tensor) {
        let mut known = self.known.lock().expect("no panic while held");
        let node = StateNode { kv, state, age: 0 };
        if node.bytes() <= self.max_bytes {
            known.insert(key, node);
        }
        while known.bytes > self.max_bytes {
            known.forget();
        }
    }

    /// Counts tokens times hops that were looked up, and that were computed.
    pub(crate) fn count(&self, recalled: usize, computed: usize) {
        self.recalled.fetch_add(recalled, Ordering::Relaxed);
        self.computed.fetch_add(computed, Ordering::Relaxed);
    }

    /// Tokens times hops that were looked up, and that were computed.
    pub(crate) fn counts(&self) -> [usize; 2] {
        [&self.recalled, &self.computed].map(|count| count.load(Ordering::Relaxed))
    }
}

impl CachedStates {
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
        // Two threads may have computed the same results.
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
