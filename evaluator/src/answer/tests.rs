//! Tests the sansu models against transformers, and answers against themselves in other batches.

mod dots;
mod encoding;
mod path;
mod refusals;
mod remembering;

use super::{Batch, Transformer};
use crate::{
    language_model::answers,
    model::device,
    prompt::Tokenizer,
    request::{Answer, Ask, Encoding, Fit, Likelihood, Limit, Pairs, Prompt, Request, Said, Shot},
};
use merge_core::{
    error::{Error, Result},
    model::{Config, Elements, Index, Meta, Stored, Weights, dtype::Dtype},
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A model in memory, which tests can change.
pub(crate) struct Memory {
    index: Index,
    bytes: BTreeMap<String, Vec<u8>>,
    config: Config,
    sidecars: PathBuf,
}

impl Weights for Memory {
    fn index(&self) -> &Index {
        &self.index
    }
    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let bytes = self.bytes.get(name).ok_or_else(|| Error::user(name))?;
        Ok(Box::new(Stored::new(self.index[name].dtype, Cow::Borrowed(&bytes[..]))))
    }
    fn config(&self) -> &Config {
        &self.config
    }
    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(fs::read(self.sidecars.join(name)).ok())
    }
    fn place(&self) -> String {
        self.sidecars.display().to_string()
    }
}

impl Memory {
    pub(crate) fn open(name: &str) -> Self {
        let dir = family(name);
        let file = fs::read(dir.join("model.safetensors")).unwrap();
        let data = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: serde_json::Map<String, Value> = serde_json::from_slice(&file[8..data]).unwrap();
        let mut memory = Self {
            index: Index::new(),
            bytes: BTreeMap::new(),
            config: Config(serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()),
            sidecars: dir,
        };
        for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            assert_eq!(entry["dtype"], "BF16");
            let place: [usize; 2] = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
            let shape = serde_json::from_value(entry["shape"].clone()).unwrap();
            memory.put(name, shape, Dtype::BF16, file[data + place[0]..data + place[1]].to_vec());
        }
        memory
    }

    fn put(&mut self, name: &str, shape: Vec<usize>, dtype: Dtype, bytes: Vec<u8>) {
        self.index.insert(name.to_owned(), Meta { dtype, shape });
        self.bytes.insert(name.to_owned(), bytes);
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config.0.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn load(&self) -> Result<Transformer> {
        Transformer::load(self, &device("cpu").unwrap())
    }

    fn refusal(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/sansu").join(name)
}

fn llama(name: &str) -> Transformer {
    Memory::open(name).load().unwrap()
}

fn references() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/sansu-refs.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn items(task: &str, count: usize) -> Vec<Value> {
    let text = fs::read_to_string(family("tasks").join(task)).unwrap();
    text.lines().take(count).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn prompt(item: &Value) -> String {
    format!("問題：{}\n答え：", item["question"].as_str().unwrap())
}

/// A request whose prompt and continuations are each encoded by itself.
fn separate(prompt: String, ask: Ask) -> Request {
    let encoding = Encoding { pairs: Pairs::Separate, ..Encoding::default() };
    Request { prompt: Prompt::plain(prompt), ask, encoding, compared: None }
}

pub(crate) fn generate(prompt: String, limit: usize) -> Request {
    separate(prompt, Ask::Generate { stop: Vec::new(), limit: Limit::Tokens(limit) })
}

fn choose(prompt: String, choices: Vec<String>) -> Request {
    separate(prompt, Ask::Choose { choices })
}

fn answer(model: &mut Transformer, request: Request) -> Said {
    answers(model, &[request]).unwrap().remove(0).said
}

fn text(text: &str, tokens: usize, truncated: bool) -> Said {
    Said::Text { text: text.to_owned(), tokens, truncated }
}

pub(crate) fn likelihoods(said: &Said) -> &[Likelihood] {
    match said {
        Said::Likelihoods(values) => values,
        Said::Text { .. } => &[],
    }
}

pub(crate) fn word_problems(count: usize) -> Vec<Request> {
    items("mgsm-ja-mini.optimise.jsonl", count).iter().map(|item| generate(prompt(item), 40)).collect()
}

pub(crate) fn choices(count: usize) -> Vec<Request> {
    let strings = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let items = items("ja-solution-mini.optimise.jsonl", count);
    items.iter().map(|item| choose(prompt(item), strings(&item["choices"]))).collect()
}

/// Texts longer than a context.
pub(crate) fn readings(count: usize) -> Vec<Request> {
    let text = items("mgsm-ja-mini.optimise.jsonl", 40).iter().map(prompt).collect::<String>();
    let read = |i: usize| Ask::Read { text: text.chars().skip(700 * i).take(700 + 100 * i).collect() };
    (0..count).map(|i| separate(String::new(), read(i))).collect()
}

pub(crate) fn near(ours: f64, reference: &Value, tolerance: f64) {
    let reference = reference.as_f64().unwrap();
    assert!((ours - reference).abs() <= tolerance, "{ours} is not {reference}");
}

#[test]
fn computes_what_transformers_computes() {
    for (name, references) in references().as_object().unwrap() {
        let mut llama = llama(name);
        for reference in references["greedy"].as_array().unwrap() {
            let text = reference["prompt"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(reference["ids"].clone()).unwrap();
            assert_eq!(llama.tokenizer().encode_prompt(text).unwrap(), ids);
            let logits = llama.all_logits(&ids).unwrap();
            for (ours, theirs) in logits[ids.len() - 1].iter().zip(reference["last_logits"].as_array().unwrap()) {
                near(f64::from(*ours), theirs, 1e-3);
            }
            let all = || logits.iter().flatten().map(|x| f64::from(*x));
            near(all().sum(), &reference["logits_sum"], 0.5);
            near(all().map(f64::abs).sum(), &reference["logits_abs_sum"], 0.5);
            let greedy: Vec<u32> = serde_json::from_value(reference["greedy_ids"].clone()).unwrap();
            let ended = greedy.last() == Some(&2);
            let said = answer(&mut llama, generate(text.to_owned(), 40));
            assert_eq!(said, self::text(reference["greedy_text"].as_str().unwrap(), greedy.len(), !ended));
        }
        for reference in references["multiple_choice"].as_array().unwrap() {
            let choices = serde_json::from_value(reference["choices"].clone()).unwrap();
            let said = answer(&mut llama, choose(prompt(reference), choices));
            let references = reference["loglikelihood"].as_array().unwrap();
            assert_eq!(likelihoods(&said).len(), references.len());
            for (ours, theirs) in likelihoods(&said).iter().zip(references) {
                near(ours.log, theirs, 1e-3);
            }
        }
    }
}

/// Answers, and their log-likelihoods as bits.
fn bits(answers: Vec<Answer>) -> Vec<(Answer, Vec<u64>)> {
    let bits = |answer: &Answer| likelihoods(&answer.said).iter().map(|value| value.log.to_bits()).collect();
    answers.into_iter().map(|answer| (answer.clone(), bits(&answer))).collect()
}

#[test]
fn answers_do_not_depend_on_company() {
    let mut requests = [word_problems(24), choices(16), readings(3)].concat();
    for (request, pairs) in requests.iter_mut().zip([Pairs::Separate, Pairs::Joint, Pairs::Common].into_iter().cycle())
    {
        request.encoding.pairs = pairs;
    }
    let mut alone = llama("ja");
    let expected: Vec<_> =
        requests.iter().flat_map(|request| bits(answers(&mut alone, std::slice::from_ref(request)).unwrap())).collect();
    let mut order: Vec<usize> = (0..requests.len()).collect();
    for (round, sequences) in [1, 2, 3, 7, 32, 64, 256].into_iter().enumerate() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let batch = Batch { sequences, tokens: 1 + 37 * round, cache_bytes: 1 << (18 + round) };
            let mut llama = llama("ja").batch(batch);
            order.sort_by_key(|i| (i + 1) * (2 * round + threads + 7) * 40_503 % 65_521);
            let shuffled: Vec<_> = order.iter().map(|i| requests[*i].clone()).collect();
            let answers = bits(pool.install(|| answers(&mut llama, &shuffled)).unwrap());
            for (i, answer) in order.iter().zip(answers) {
                assert_eq!(answer, expected[*i], "request {i} with {batch:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn logits_do_not_depend_on_the_step() {
    let mut whole = llama("math-a");
    let tokens = whole.tokenizer().encode_prompt("Question: Tom has 12 apples and buys 35 more.\nAnswer:").unwrap();
    let bits = |logits: Vec<Vec<f32>>| logits.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let expected = bits(whole.all_logits(&tokens).unwrap());
    for step in [1, 2, 3, 7, 32, 64] {
        let mut llama = llama("math-a").batch(Batch { tokens: step, ..Batch::default() });
        assert_eq!(bits(llama.all_logits(&tokens).unwrap()), expected, "{step} tokens at a time");
    }
    assert_eq!(bits(vec![whole.logits(&tokens).unwrap()]), expected[expected.len() - 1024..]);
}

#[test]
fn computes_each_beginning_once() {
    let examples: String =
        items("mgsm-ja-mini.validation.jsonl", 4).iter().map(|i| prompt(i) + i["answer"].as_str().unwrap()).collect();
    let mut requests = choices(20);
    for request in &mut requests {
        request.prompt.head.clone_from(&examples);
    }
    // The number of different beginnings, by definition.
    let tokenizer = Tokenizer::of(&Memory::open("ja")).unwrap();
    let (mut beginnings, mut scored) = (std::collections::BTreeSet::new(), 0);
    for request in &requests {
        let Ask::Choose { choices } = &request.ask else { continue };
        for choice in choices {
            let mut tokens = tokenizer.encode_prompt(&request.prompt.text()).unwrap();
            let continuation = tokenizer.encode_continuation(choice).unwrap();
            scored += continuation.len();
            tokens.extend(continuation);
            beginnings.extend((1..tokens.len()).map(|end| tokens[..end].to_vec()));
        }
    }
    for sequences in [64, 4, 256, 7] {
        let mut llama = llama("ja").batch(Batch { sequences, ..Batch::default() });
        answers(&mut llama, &requests).unwrap();
        assert_eq!(llama.computed(), beginnings.len(), "{sequences} sequences at a time");
    }
    // A batch too small for the choices of one prompt computes their shared beginnings again, but no prompt.
    let mut llama = llama("ja").batch(Batch { sequences: 1, ..Batch::default() });
    answers(&mut llama, &requests).unwrap();
    assert!(llama.computed() < beginnings.len() + scored, "{} is not {}", llama.computed(), beginnings.len());
}

#[test]
fn ties_the_head_to_the_embedding() {
    let mut untied = Memory::open("base");
    let embedding = untied.bytes["model.embed_tokens.weight"].clone();
    untied.put("lm_head.weight", vec![1024, 128], Dtype::BF16, embedding);
    let mut tied = Memory::open("base").set("tie_word_embeddings", json!(true));
    tied.index.remove("lm_head.weight");
    let tokens = [1, 333, 269, 752];
    assert_eq!(tied.load().unwrap().logits(&tokens).unwrap(), untied.load().unwrap().logits(&tokens).unwrap());
}

#[test]
fn adds_biases() {
    let mut model = Memory::open("base").set("attention_bias", json!(true)).set("mlp_bias", json!(true));
    let sizes = [("q_proj", 128), ("k_proj", 64), ("v_proj", 64), ("o_proj", 128)].map(|(n, s)| ("self_attn", n, s));
    let sizes = [&sizes[..], &[("mlp", "gate_proj", 352), ("mlp", "up_proj", 352), ("mlp", "down_proj", 128)]].concat();
    for layer in 0..6 {
        for (block, name, size) in &sizes {
            // Only this bias is not zero: it moves the final hidden state by itself.
            let value = if *name == "down_proj" && layer == 5 { 0.5_f32 } else { 0.0 };
            let bytes = std::iter::repeat_n(value.to_le_bytes(), *size).flatten().collect();
            model.put(&format!("model.layers.{layer}.{block}.{name}.bias"), vec![*size], Dtype::F32, bytes);
        }
    }
    let tokens = [1, 333, 269];
    let (ours, plain) = (model.load().unwrap().logits(&tokens).unwrap(), llama("base").logits(&tokens).unwrap());
    assert!(ours.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 0.01));
    model.index.remove("model.layers.3.mlp.up_proj.bias");
    assert_eq!(model.refusal(), "tensor model.layers.3.mlp.up_proj.bias is missing");
}

#[test]
fn stops_where_it_is_told() {
    let mut llama = llama("ja");
    let problem = "問題：太郎は1本41円の花を2本買いました。合わせて何円になりますか。\n答え：";
    let mut check = |stop: &[&str], limit, expected: &str, tokens, truncated| {
        let ask = Ask::Generate { stop: stop.iter().map(|s| (*s).to_owned()).collect(), limit: Limit::Tokens(limit) };
        assert_eq!(answer(&mut llama, separate(problem.to_owned(), ask)), text(expected, tokens, truncated));
    };
    check(&[], 40, "41×2=82。答えは82です。", 14, false);
    check(&["。答え"], 40, "41×2=82", 9, false);
    check(&["です", "答"], 40, "41×2=82。", 9, false);
    check(&["不"], 40, "41×2=82。答えは82です。", 14, false);
    check(&[], 4, "41×2", 4, true);
    check(&[], 0, "", 0, true);
}

#[test]
fn drops_examples_then_cuts_and_says_so() {
    let problem = "問題：太郎は1本41円の花を2本買いました。合わせて何円になりますか。\n答え："; // 21 tokens
    let shot = |n: usize| Shot {
        question: problem.to_owned(),
        delimiter: String::new(),
        answer: format!("{n}"),
        after: "\n\n".to_owned(),
    };
    let tokenizer = Tokenizer::of(&Memory::open("ja")).unwrap();
    let len = |text: &str| tokenizer.encode_prompt(text).unwrap().len();
    let mut request = generate(problem.to_owned(), 4);
    request.prompt.shots = (0..4).map(shot).collect();
    let ask = |context: usize, request: &Request| {
        let mut model = Memory::open("ja").set("max_position_embeddings", json!(context)).load().unwrap();
        answers(&mut model, std::slice::from_ref(request)).unwrap().remove(0)
    };
    let (whole, half) = (len(&request.prompt.text()), len(&request.prompt.without(2)));
    let fit = |dropped_shots, cut_tokens| Fit { prompt_tokens: whole, dropped_shots, cut_tokens, fused: 0 };
    let plain = |prompt: &Prompt, dropped: usize| generate(prompt.without(dropped), 4);
    for (context, expected) in
        [(whole + 4, fit(0, 0)), (whole + 3, fit(1, 0)), (half + 4, fit(2, 0)), (half + 3, fit(3, 0))]
    {
        let answer = ask(context, &request);
        assert_eq!(answer.fit, expected, "context {context}");
        assert_eq!(answer.said, ask(512, &plain(&request.prompt, expected.dropped_shots)).said);
    }
    // 18 of the 21 tokens have room beside 4 to generate: BOS and two more are cut.
    assert_eq!(ask(22, &request).fit, fit(4, 3));
    let ends = tokenizer.encode_prompt(problem).unwrap().split_off(3);
    let mut model = llama("ja");
    let first = model.logits(&ends).unwrap();
    let first = (0..first.len()).max_by(|a, b| first[*a].total_cmp(&first[*b])).unwrap() as u32;
    let Said::Text { text, tokens: 4, truncated: true } = ask(22, &request).said else { panic!() };
    assert!(text.starts_with(&tokenizer.decode(&[first]).unwrap()), "{text}");
    let none = Memory::open("ja").set("max_position_embeddings", json!(4)).load();
    let error = answers(&mut none.unwrap(), &[request]).unwrap_err().to_string();
    assert_eq!(error, "request 1: an answer of 4 tokens leaves the prompt no room in a context of 4");
}

#[test]
fn a_limit_may_be_the_length_of_other_texts() {
    let mut llama = llama("ja");
    let texts = ["41×2", "82です"].map(str::to_owned).to_vec();
    let longest = texts.iter().map(|text| llama.tokenizer().encode_continuation(text).unwrap().len()).max().unwrap();
    let mut ask = |limit| {
        let prompt = items("mgsm-ja-mini.optimise.jsonl", 1);
        answer(&mut llama, separate(self::prompt(&prompt[0]), Ask::Generate { stop: Vec::new(), limit }))
    };
    assert_eq!(ask(Limit::LongestOf(texts, 2)), ask(Limit::Tokens(longest + 2)));
}

#[test]
fn a_choice_keeps_the_end_of_a_prompt_that_is_too_long() {
    let problem = "問題：太郎は1本41円の花を2本買いました。合わせて何円になりますか。\n答え："; // 21 tokens
    let choice = "41×2=82"; // 7 tokens
    let mut model = Memory::open("ja").set("max_position_embeddings", json!(25)).load().unwrap();
    let asked = choose(problem.to_owned(), vec![choice.to_owned(), "8".to_owned()]);
    let answer = answers(&mut model, &[asked]).unwrap().remove(0);
    assert_eq!(answer.fit, Fit { prompt_tokens: 21, cut_tokens: 2, ..Fit::default() });
    // The last 26 of the 28 tokens, by hand.
    let mut whole = model.tokenizer().encode_prompt(problem).unwrap();
    whole.extend(model.tokenizer().encode_continuation(choice).unwrap());
    let expected = likelihood(&mut model, &whole[2..], 19);
    near(likelihoods(&answer.said)[0].log, &json!(expected), 1e-4);
    assert_eq!(likelihoods(&answer.said)[0].tokens, 7);
    let error = answers(&mut model, &[choose(String::new(), vec![choice.repeat(4)])]).unwrap_err();
    assert_eq!(error.to_string(), "request 1: choice 1 has 28 tokens, but the context has only 25");
}

#[test]
fn reads_long_texts_in_windows() {
    let text = items("mgsm-ja-mini.optimise.jsonl", 3).iter().map(prompt).collect::<String>();
    let read = |model: &mut Transformer, text: &str| {
        let ask = Ask::Read { text: text.to_owned() };
        let said =
            answer(model, Request { prompt: Prompt::default(), ask, encoding: Encoding::default(), compared: None });
        likelihoods(&said)[0]
    };
    let mut model = Memory::open("ja").set("max_position_embeddings", json!(16)).load().unwrap();
    let tokens = [&[1][..], &model.tokenizer().encode_continuation(&text).unwrap()].concat();
    assert!(tokens.len() % 16 > 2, "the last window is shorter");
    // get_rolling_token_windows(tokens[1:], 1, 16, 1) and make_disjoint_window of lm-evaluation-harness 0.4.13.
    let mut expected = 0.0;
    for scored in (1..tokens.len()).step_by(16) {
        let end = tokens.len().min(scored + 16);
        expected += likelihood(&mut model, &tokens[end - 17..end], scored - (end - 17));
    }
    let ours = read(&mut model, &text);
    near(ours.log, &json!(expected), 1e-3);
    assert_eq!(ours.tokens, tokens.len() - 1);
    assert_eq!(read(&mut model, ""), Likelihood { log: 0.0, tokens: 0, greedy: true });
    // The model's own continuation is greedy; another text is not.
    let problem = prompt(&items("mgsm-ja-mini.optimise.jsonl", 1)[0]);
    let Said::Text { text, .. } = answer(&mut model, generate(problem.clone(), 4)) else { panic!() };
    let said = answer(&mut model, choose(problem, vec![text, "です".to_owned()]));
    assert_eq!(likelihoods(&said).iter().map(|choice| choice.greedy).collect::<Vec<_>>(), [true, false]);
}

/// Log-likelihood of the tokens from `cut` on, from the logits.
fn likelihood(model: &mut Transformer, tokens: &[u32], cut: usize) -> f64 {
    let logits = model.all_logits(&tokens[..tokens.len() - 1]).unwrap();
    let log = |position: usize| {
        let logits = &logits[position - 1];
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        f64::from(logits[tokens[position] as usize]) - sum.ln()
    };
    (cut..tokens.len()).map(log).sum()
}
