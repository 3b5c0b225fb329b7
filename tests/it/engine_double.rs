//! A double of the routes of vLLM and SGLang, which loads checkpoints from disk and hashes what it loads, and of llama.cpp,
//! which scales adapters. It answers by our own forward pass from token ids. Faults of real engines are put in between.

mod llama_cpp;
mod routes;

use evaluator::{answer::Transformer, model::device};
use merge_core::{
    checkpoint::Checkpoint,
    model::{Weights as _, hash::hex},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::Duration,
};

/// A fault that happens once, at the first chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EngineFault {
    /// A load of a candidate hangs up without loading.
    HangsUpWhileLoading,
    /// A load takes longer than anybody waits.
    HangsWhileLoading,
    /// A load answers 500.
    FailsToLoad,
    /// A load leaves a parameter out and says nothing.
    LoadsPartially,
    /// A load answers as if it had loaded, and keeps the weights of before.
    KeepsOldWeights,
    /// A completion answers 500.
    Answers500,
    /// From now on every completion of the candidate that is loaded answers 500.
    CannotCompute,
    /// A completion takes longer than anybody waits.
    Hangs,
    /// The engine is started again by its owner before it answers a completion: it answers from its own model.
    StartsAgain,
    /// Generated answers are aborted.
    Aborts,
    /// Connections end without an answer, this many times.
    IsAway(usize),
    /// Nothing yet: the next fault comes after this many loads of candidates.
    AfterLoads(usize),
}

/// Facts of an engine that a search must refuse, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EngineForm {
    Vllm,
    Sglang,
    /// vLLM without its development mode.
    VllmForUsers,
    /// vLLM with quantised weights.
    Quantised,
    /// vLLM whose context is 16 tokens.
    Short,
    /// vLLM that cuts texts into tokens in another way.
    OtherVocabulary,
    /// vLLM of another version.
    Newer,
    /// llama.cpp.
    LlamaCpp,
}

/// Generated tokens by the content of the weights and the prompt.
type KnownTexts = BTreeMap<(String, Vec<u32>), Vec<u32>>;

/// A running double.
pub(crate) struct EngineDouble {
    pub(crate) url: String,
    pub(crate) state: Arc<Mutex<DoubleState>>,
}

/// What a double holds and has seen.
pub(crate) struct DoubleState {
    form: EngineForm,
    root: PathBuf,
    /// Adapters of llama.cpp: directory and file of each.
    adapters: Vec<(PathBuf, PathBuf)>,
    /// Path of what it has loaded last.
    at: PathBuf,
    model: Transformer,
    hashes: BTreeMap<String, String>,
    zeros: BTreeMap<String, String>,
    /// Hashes before they were set to zero.
    kept: BTreeMap<String, String>,
    version: String,
    paused: bool,
    /// Content of the candidate that cannot be computed.
    cursed: Option<String>,
    /// Number of requests that hang.
    pub(crate) hanging: usize,
    pub(crate) faults: VecDeque<EngineFault>,
    /// Directories of the candidates that were loaded, in order.
    pub(crate) loaded: Vec<PathBuf>,
    /// Number of prompts in each completion.
    pub(crate) prompts: Vec<usize>,
}

impl EngineDouble {
    /// An engine that was started with the checkpoint at `root`.
    pub(crate) fn start(form: EngineForm, root: &Path) -> Self {
        Self::start_at(0, form, root)
    }

    /// llama.cpp with a base, and adapters in the layout of PEFT, each with its file.
    pub(crate) fn llama_cpp(base: &Path, adapters: &[(PathBuf, PathBuf)]) -> Self {
        Self::begin(0, EngineForm::LlamaCpp, base, adapters)
    }

    /// Like [`Self::start`], at a port.
    pub(crate) fn start_at(port: u16, form: EngineForm, root: &Path) -> Self {
        Self::begin(port, form, root, &[])
    }

    fn begin(port: u16, form: EngineForm, root: &Path, adapters: &[(PathBuf, PathBuf)]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (model, hashes) = load(root);
        let zeros = hashes.keys().map(|name| (name.clone(), hash_of(name.as_bytes()))).collect();
        let state = DoubleState {
            form,
            root: root.to_owned(),
            adapters: adapters.to_vec(),
            at: root.to_owned(),
            model,
            hashes,
            zeros,
            kept: BTreeMap::new(),
            version: "default".to_owned(),
            paused: false,
            cursed: None,
            hanging: 0,
            faults: VecDeque::new(),
            loaded: Vec::new(),
            prompts: Vec::new(),
        };
        let double =
            Self { url: format!("http://{}", listener.local_addr().unwrap()), state: Arc::new(Mutex::new(state)) };
        let state = Arc::clone(&double.state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(&mut BufReader::new(stream), &state));
            }
        });
        double
    }

    /// Its address on the command line.
    pub(crate) fn address(&self) -> String {
        let kind = match self.state.lock().unwrap().form {
            EngineForm::Sglang => "sglang",
            EngineForm::LlamaCpp => "llama.cpp",
            _ => "vllm",
        };
        format!("{kind}={}", self.url)
    }

    /// Puts faults in.
    pub(crate) fn fail(&self, faults: &[EngineFault]) {
        self.state.lock().unwrap().faults.extend(faults);
    }
}

/// Answers the requests of a connection.
fn serve(stream: &mut BufReader<TcpStream>, state: &Mutex<DoubleState>) {
    while let Some((path, body)) = heard(stream) {
        let hangs = {
            let mut state = state.lock().unwrap();
            let routes = ["/v1/completions", "/generate", "/completion"];
            let is_completion = routes.contains(&path.as_str()) && state.version != "own";
            let loads_other = path == "/collective_rpc" && body["kwargs"]["weights_path"] != json!(state.root);
            let hangs = state.takes(EngineFault::Hangs, is_completion)
                || state.takes(EngineFault::HangsWhileLoading, loads_other);
            state.hanging += usize::from(hangs);
            hangs
        };
        if hangs {
            thread::sleep(Duration::from_secs(20));
            state.lock().unwrap().hanging -= 1;
            return;
        }
        let Some((status, answer)) = state.lock().unwrap().answer(&path, &body) else { return };
        let text = if answer.is_null() { String::new() } else { answer.to_string() };
        let head =
            format!("HTTP/1.1 {status} so\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
        if stream.get_mut().write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

/// Path and body of the next request of a connection.
fn heard(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let len =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    Some((head.split(' ').nth(1)?.to_owned(), serde_json::from_slice(&body).unwrap_or_default()))
}

fn hash_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A checkpoint, and the hashes of the parameters that vLLM makes of it.
///
/// As in vLLM, projections with the same input are joined; here `o_proj` is kept in another form, and `down_proj` is
/// hidden, as packed parameters are.
fn load(path: &Path) -> (Transformer, BTreeMap<String, String>) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let model = Transformer::load(&checkpoint, &device("cpu").unwrap()).unwrap();
    let mut parameters: BTreeMap<String, Vec<(usize, Vec<u8>)>> = BTreeMap::new();
    for name in checkpoint.index().keys() {
        let joined = [
            ("q_proj", "qkv_proj"),
            ("k_proj", "qkv_proj"),
            ("v_proj", "qkv_proj"),
            ("gate_proj", "gate_up_proj"),
            ("up_proj", "gate_up_proj"),
        ];
        let part = joined.iter().position(|(part, _)| name.contains(&format!(".{part}.")));
        let parameter = part.map_or(name.clone(), |part| name.replace(joined[part].0, joined[part].1));
        parameters.entry(parameter).or_default().push((part.unwrap_or(0), checkpoint.bytes(name).unwrap()));
    }
    let hash = |(name, mut parts): (String, Vec<(usize, Vec<u8>)>)| {
        parts.sort();
        let mut bytes: Vec<u8> = parts.into_iter().flat_map(|(_, bytes)| bytes).collect();
        if name.contains("o_proj") {
            bytes.reverse();
        }
        if name.contains("down_proj") {
            bytes.clear();
        }
        (format!("dp0:pp0:pcp0:tp0:{name}"), hash_of(&bytes))
    };
    (model, parameters.into_iter().map(hash).collect())
}

impl DoubleState {
    /// True, once, if this fault is the next.
    fn takes(&mut self, fault: EngineFault, here: bool) -> bool {
        let is_next = here && self.faults.front() == Some(&fault);
        if is_next {
            self.faults.pop_front();
        }
        is_next
    }

    /// Status and body of an answer; `None` to hang up.
    fn answer(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        if let Some(EngineFault::IsAway(times)) = self.faults.front_mut() {
            *times -= 1;
            if *times == 0 {
                self.faults.pop_front();
            }
            return None;
        }
        let path = path.split('?').next().unwrap_or_default();
        match self.form {
            EngineForm::Sglang => self.answer_sglang(path, body),
            EngineForm::LlamaCpp => self.answer_llama_cpp(path, body),
            _ => self.answer_vllm(path, body),
        }
    }

    /// Loads a checkpoint; false if a fault is in between, `None` to hang up.
    fn reload(&mut self, path: &str) -> Option<bool> {
        let path = PathBuf::from(path);
        let is_own = path == self.root;
        if self.takes(EngineFault::HangsUpWhileLoading, !is_own) {
            return None;
        }
        if self.takes(EngineFault::FailsToLoad, !is_own) {
            return Some(false);
        }
        let before = self.hashes.clone();
        if self.takes(EngineFault::KeepsOldWeights, !is_own) {
            self.hashes = self.kept.clone();
        } else {
            (self.model, self.hashes) = load(&path);
        }
        self.at.clone_from(&path);
        if self.takes(EngineFault::LoadsPartially, !is_own) {
            let left = self.hashes.keys().find(|name| name.contains("o_proj")).unwrap().clone();
            self.hashes.insert(left.clone(), before[&left].clone());
        }
        if !is_own {
            self.loaded.push(path);
            self.has_loaded();
        }
        Some(true)
    }

    /// Counts a load of a candidate.
    fn has_loaded(&mut self) {
        if let Some(EngineFault::AfterLoads(n)) = self.faults.front_mut() {
            *n -= 1;
            if *n == 0 {
                self.faults.pop_front();
            }
        }
    }

    /// Version of the weights that it holds.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The prompts of a completion and whether it is aborted, or a status, if a fault is in between.
    fn completion(&mut self, prompts: Vec<Vec<u32>>, generates: bool) -> Result<(Vec<Vec<u32>>, bool), u16> {
        let is_candidate = self.version != "own";
        if self.takes(EngineFault::CannotCompute, is_candidate) {
            self.cursed = Some(self.content());
        }
        if self.takes(EngineFault::Answers500, is_candidate) || self.cursed == Some(self.content()) {
            return Err(500);
        }
        if self.takes(EngineFault::StartsAgain, is_candidate) {
            (self.model, self.hashes) = load(&self.root.clone());
            "default".clone_into(&mut self.version);
        }
        self.prompts.push(prompts.len());
        Ok((prompts, self.takes(EngineFault::Aborts, is_candidate && generates)))
    }

    fn tokens(&self, body: &Value) -> Vec<u32> {
        assert_eq!(body["add_special_tokens"], false);
        let mut tokens = self.model.tokenizer().encode_continuation(body["prompt"].as_str().unwrap()).unwrap();
        if self.form == EngineForm::OtherVocabulary {
            tokens.reverse();
        }
        tokens
    }

    /// Name of the weights that it holds.
    fn content(&self) -> String {
        hash_of(self.hashes.values().map(String::as_str).collect::<String>().as_bytes())
    }

    /// Log-likelihood and rank of each token but the first.
    fn likelihoods(&mut self, prompt: &[u32]) -> Vec<Option<(f64, usize)>> {
        let logits = self.model.all_logits(prompt).unwrap();
        let of = |(logits, token): (&Vec<f32>, &u32)| {
            let own = logits[*token as usize];
            let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            let rank = 1 + logits.iter().filter(|logit| **logit > own).count();
            Some((f64::from(own) - sum.ln(), rank))
        };
        std::iter::once(None).chain(logits.iter().zip(&prompt[1..]).map(of)).collect()
    }

    /// Greedy tokens, and why they ended.
    fn generate(&mut self, prompt: &[u32], limit: usize, stop: &[String], ends: &[u32]) -> (Vec<u32>, &'static str) {
        // Without a cache of keys and values this is slow, and many tests ask the same.
        static KNOWN: LazyLock<Mutex<KnownTexts>> = LazyLock::new(Mutex::default);
        let key = (self.content(), prompt.to_vec());
        let known = KNOWN.lock().unwrap().get(&key).cloned().unwrap_or_default();
        let (tokens, why) = self.continue_known(prompt, &known, limit, stop, ends);
        if tokens.len() > known.len() {
            KNOWN.lock().unwrap().insert(key, tokens.clone());
        }
        (tokens, why)
    }

    fn continue_known(
        &mut self,
        prompt: &[u32],
        known: &[u32],
        limit: usize,
        stop: &[String],
        ends: &[u32],
    ) -> (Vec<u32>, &'static str) {
        let mut tokens = Vec::new();
        while tokens.len() < limit {
            let next = known.get(tokens.len()).copied().unwrap_or_else(|| {
                let logits = self.model.logits(&[prompt, &tokens].concat()).unwrap();
                (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
            });
            tokens.push(next);
            let text = self.model.tokenizer().decode(&tokens).unwrap();
            if ends.contains(&next) || stop.iter().any(|stop| text.contains(stop)) {
                return (tokens, "stop");
            }
        }
        (tokens, "length")
    }
}
