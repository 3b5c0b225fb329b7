//! Tests a server that answers over HTTP from our own forward pass, as other servers do: answers
//! over the wire must equal the answers computed here.

use super::{ModelServer, ServerWire};
use crate::{
    answer::{
        Transformer,
        tests::{Memory, choices, generate, likelihoods, near, readings, word_problems},
    },
    language_model::{LanguageModel as _, answers},
    request::{Answer, Ask, Encoding, Limit, Pairs, Request, Said, SequenceStart, Shot},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    ops::ControlFlow,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use ureq::Agent;

/// Way in which the test server lists tokens.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// llama-cpp-python 0.3.36: BOS is not listed, and a token that is part of a character has no text.
    LlamaCpp,
    /// Like `LlamaCpp` when it generates nothing, or BOS.
    Silent,
    /// Like `LlamaCpp` with a tokenizer that puts no BOS: each log-likelihood is one token late.
    Late,
    /// vLLM 0.11: BOS is listed, and its text is counted.
    Vllm,
    /// vLLM 0.32: like `Vllm`, with ids for tokens, and offsets that repeat from a token that is part of a character on.
    VllmIds,
    /// No `text_offset`.
    Uncounted,
}

/// Status, headers and body; with status 0 the server hangs up.
type Substitute = (u16, &'static str, String);
/// Head, path and body of a request.
type ReceivedRequest = (String, String, Value);

/// A test server on this machine that answers from the model `ja`.
struct Double {
    address: String,
    /// Answers to give in place of the model's.
    instead: Arc<Mutex<VecDeque<Substitute>>>,
    /// All requests received.
    asked: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl Double {
    fn start(style: Style) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            instead: Arc::default(),
            asked: Arc::default(),
        };
        let llama = Arc::new(Mutex::new(Memory::open("ja").load().unwrap()));
        let (instead, asked) = (Arc::clone(&double.instead), Arc::clone(&double.asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (llama, instead, asked) = (Arc::clone(&llama), Arc::clone(&instead), Arc::clone(&asked));
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Some((head, path, body)) = heard(&mut stream) {
                        asked.lock().unwrap().push((head, path.clone(), body.clone()));
                        let other = instead.lock().unwrap().pop_front();
                        let (status, headers, text) = other.unwrap_or_else(|| {
                            let answer = answer(&mut llama.lock().unwrap(), style, &path, &body);
                            (200, "", answer.to_string())
                        });
                        if status == 0 {
                            return;
                        }
                        let len = text.len();
                        let answer = format!("HTTP/1.1 {status} so\r\ncontent-length: {len}\r\n{headers}\r\n{text}");
                        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        double
    }

    fn wire(&self, key: Option<&str>) -> ServerWire {
        let wire = ServerWire::new(Agent::new_with_defaults(), &self.address, key).unwrap();
        wire.pause(Duration::from_millis(1))
    }

    fn server(&self) -> ModelServer {
        ModelServer::connect(self.wire(None), None).unwrap()
    }

    fn instead(&self, status: u16, headers: &'static str, body: &str) {
        self.instead.lock().unwrap().push_back((status, headers, body.to_owned()));
    }
}

/// Head, path and body of the next request of a connection.
fn heard(stream: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    Some((head, path, serde_json::from_slice(&body).unwrap_or_default()))
}

fn answer(llama: &mut Transformer, style: Style, path: &str, body: &Value) -> Value {
    if path == "/v1/models" {
        return json!({"data": [{"id": "ja"}, {"id": "other"}]});
    }
    assert_eq!((&body["model"], &body["temperature"]), (&json!("ja"), &json!(0)));
    assert_eq!(body["repetition_penalty"], 1.0);
    if body["echo"] == true {
        assert_eq!(body["return_tokens_as_token_ids"], true);
        return echo(llama, style, body["prompt"].as_str().unwrap());
    }
    let chat = path == "/v1/chat/completions";
    let prompt = if chat {
        let messages = body["messages"].as_array().unwrap();
        let content = |message: &Value| format!("{}：{}\n", message["role"], message["content"]);
        messages.iter().map(content).collect()
    } else {
        body["prompt"].as_str().unwrap().to_owned()
    };
    let mut request = generate(prompt.clone(), body["max_tokens"].as_u64().unwrap() as usize);
    if let Ask::Generate { stop, .. } = &mut request.ask {
        *stop = serde_json::from_value(body["stop"].clone()).unwrap_or_default();
    }
    let Said::Text { text, tokens, truncated } = answers(llama, &[request]).unwrap().remove(0).said else { panic!() };
    let mut choice = json!({ "finish_reason": if truncated { "length" } else { "stop" } });
    if chat {
        choice["message"] = json!({ "role": "assistant", "content": text });
    } else {
        choice["text"] = json!(text);
    }
    let prompt_tokens = llama.tokenizer().encode_prompt(&prompt).unwrap().len();
    json!({ "choices": [choice], "usage": { "prompt_tokens": prompt_tokens, "completion_tokens": tokens } })
}

/// Tokens of a text with their log-likelihoods, and one generated token.
fn echo(llama: &mut Transformer, style: Style, text: &str) -> Value {
    let mut tokens = llama.tokenizer().encode_prompt(text).unwrap();
    let logits = llama.all_logits(&tokens).unwrap();
    let prompt_tokens = tokens.len();
    let likeliest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    tokens.push(likeliest(&logits[prompt_tokens - 1]) as u32);
    // Complete characters of a text; BOS has none.
    let complete = |tokens: &[u32]| llama.tokenizer().decode(tokens).unwrap().replace('\u{fffd}', "");
    let log = |position: usize, token: usize| {
        let row = &logits[position - 1];
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        f64::from(row[token]) - sum.ln()
    };
    let lists_bos = matches!(style, Style::Vllm | Style::VllmIds);
    let first = usize::from(!lists_bos);
    let (mut names, mut offsets, mut logs, mut top) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let last = if matches!(style, Style::Silent | Style::Late) { tokens.len() - 1 } else { tokens.len() };
    for position in first..last {
        let token = tokens[position] as usize;
        let name = match position {
            _ if style == Style::VllmIds => format!("token_id:{token}"),
            0 => "<s>".to_owned(),
            _ => complete(&tokens[..=position])[complete(&tokens[..position]).len()..].to_owned(),
        };
        let bos = if lists_bos && position > 0 { 3 } else { 0 };
        // Texts of their own that are nothing say nothing of places.
        let place = if style == Style::VllmIds { 0 } else { complete(&tokens[..position]).chars().count() };
        offsets.push(bos + place);
        if position == first {
            logs.push(Value::Null);
            top.push(Value::Null);
        } else {
            let best = likeliest(&logits[position - 1]);
            logs.push(json!(log(position, token)));
            top.push(json!({ "another": log(position, best), name.clone(): log(position, token) }));
        }
        names.push(name);
    }
    let mut lists = json!({ "tokens": names, "token_logprobs": logs, "top_logprobs": top });
    if style != Style::Uncounted {
        lists["text_offset"] = json!(offsets);
    }
    let usage = json!({ "prompt_tokens": prompt_tokens - usize::from(style == Style::Late), "completion_tokens": 1 });
    json!({ "choices": [{ "text": text, "logprobs": lists }], "usage": usage })
}

fn requests() -> Vec<Request> {
    let mut requests = [word_problems(4), choices(3), readings(1)].concat();
    for request in &mut requests {
        request.encoding = Encoding::default();
        if let Ask::Read { text } = &mut request.ask {
            *text = text.chars().take(150).collect();
        }
    }
    requests
}

/// Asserts that two answers are equal, except for the last digits of likelihoods.
#[track_caller]
fn check(ours: &Answer, theirs: &Answer) {
    assert_eq!((ours.fit, ours.broken), (theirs.fit, theirs.broken));
    let (a, b) = (likelihoods(&ours.said), likelihoods(&theirs.said));
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        near(a.log, &json!(b.log), 1e-4);
        assert_eq!((a.tokens, a.greedy), (b.tokens, b.greedy));
    }
    if a.is_empty() {
        assert_eq!(ours.said, theirs.said);
    }
}

#[test]
fn what_comes_over_the_wire_is_what_we_compute() {
    let requests = requests();
    let mut llama = Memory::open("ja").load().unwrap();
    let expected = answers(&mut llama, &requests).unwrap();
    for style in [Style::LlamaCpp, Style::Silent, Style::Vllm, Style::VllmIds, Style::Uncounted] {
        let double = Double::start(style);
        for parallel in [1, 3] {
            let ours = answers(&mut double.server().parallel(parallel), &requests).unwrap();
            for ((ours, expected), request) in ours.iter().zip(&expected).zip(&requests) {
                let mut expected = expected.clone();
                if let (Ask::Read { text }, Said::Likelihoods(values)) = (&request.ask, &mut expected.said)
                    && !matches!(style, Style::Vllm | Style::VllmIds)
                {
                    // These servers do not tell the likelihood of the first token.
                    let tokens = llama.tokenizer().encode_prompt(text).unwrap();
                    let sum = |logits: &[f32]| logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
                    let logits = llama.logits(&tokens[..1]).unwrap();
                    values[0].log -= f64::from(logits[tokens[1] as usize]) - sum(&logits);
                    values[0].tokens -= 1;
                }
                check(ours, &expected);
            }
        }
    }
}

#[test]
fn refuses_log_likelihoods_that_cannot_be_placed() {
    let double = Double::start(Style::Late);
    let choices = &requests()[4..5];
    let error = answers(&mut double.server(), choices).unwrap_err().to_string();
    assert!(error.contains("must put BOS before prompts by itself"), "{error}");
    let mut server = double.server().parallel(1);
    double.instead(200, "", r#"{"choices": [{"text": "", "logprobs": null}]}"#);
    let error = answers(&mut server, choices).unwrap_err().to_string();
    assert!(
        error.contains("completions: the answer cannot be used: it has no log-likelihoods of the prompt"),
        "{error}"
    );
}

#[test]
fn asks_again_when_the_server_is_busy() {
    let double = Double::start(Style::LlamaCpp);
    let expected = answers(&mut double.server(), &word_problems(1)).unwrap();
    let mut server = ModelServer::connect(double.wire(Some("secret")), None).unwrap();
    double.instead(503, "", "starting");
    double.instead(429, "retry-after: 0\r\n", "");
    double.instead(0, "", "");
    assert_eq!(answers(&mut server, &word_problems(1)).unwrap(), expected);
    let asked = double.asked.lock().unwrap().clone();
    assert!(asked[0].0.contains("get /v1/models") && !asked[0].0.contains("authorization"));
    let (head, path, body) = asked.last().unwrap();
    assert!(head.contains("authorization: bearer secret\r\n"), "{head}");
    assert_eq!((path.as_str(), &body["seed"]), ("/v1/completions", &json!(0)));
    assert_eq!(asked.iter().filter(|(_, path, _)| path == "/v1/completions").count(), 5);
}

#[test]
fn says_who_refused_what() {
    let double = Double::start(Style::LlamaCpp);
    let refusal = |status, body: &str| {
        let mut server = double.server();
        for _ in 0..if status == 500 { 6 } else { 1 } {
            double.instead(status, "", body);
        }
        answers(&mut server, &word_problems(1)).unwrap_err().to_string().replace(&double.address, "URL")
    };
    let check = |status, body: &str, error: &str| {
        assert_eq!(refusal(status, body), format!("request 1: URL/v1/completions {error}"));
    };
    check(500, r#"{"error": {"message": "out of memory"}}"#, "answers 500 Internal Server Error: out of memory");
    check(401, r#"{"detail": "no key"}"#, "answers 401 Unauthorized: no key");
    check(400, r#"{"detail": [{"msg": "stop: too many"}]}"#, "answers 400 Bad Request: stop: too many");
    let unclear = refusal(200, "<html>");
    assert_eq!(unclear, "request 1: URL/v1/completions: the answer cannot be used: not JSON: <html>");
    let empty = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wire = ServerWire::new(Agent::new_with_defaults(), &format!("http://{empty}/v1/"), None).unwrap();
    let error = ModelServer::connect(wire.pause(Duration::ZERO), None).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach http://{empty}/v1/models: connection refused"));
    let error = ServerWire::new(Agent::new_with_defaults(), "127.0.0.1:8000", None).unwrap_err();
    assert_eq!(error.to_string(), "`127.0.0.1:8000` is not the address of a server");
}

#[test]
fn refuses_what_a_server_cannot_be_asked() {
    let double = Double::start(Style::LlamaCpp);
    let check = |request: &Request, wanted: &str| {
        let error = answers(&mut double.server(), std::slice::from_ref(request)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    let with = |pairs, start, request: &Request| Request {
        encoding: Encoding { pairs, start, ..Encoding::default() },
        ..request.clone()
    };
    let [mut longest, choice, reading] = [&requests()[0], &requests()[4], &requests()[7]].map(Request::clone);
    longest.ask = Ask::Generate { stop: Vec::new(), limit: Limit::LongestOf(vec!["1".to_owned()], 1) };
    check(&longest, "does not show its tokenizer");
    let compared = Request { compared: Some("1".to_owned()), ..requests()[0].clone() };
    check(&compared, "the model's own tokens are counted");
    check(&with(Pairs::Separate, SequenceStart::Bos, &choice), "encoded separately");
    check(&with(Pairs::Joint, SequenceStart::Bos, &reading), "the BOS token of a text is scored");
    check(&with(Pairs::Common, SequenceStart::Eos, &reading), "follows the end-of-sequence token");
    let error = answers(&mut double.server().chat(None), &[choice]).unwrap_err().to_string();
    assert!(error.contains("a conversation cannot be scored"), "{error}");
    assert!(double.asked.lock().unwrap().iter().all(|(_, path, _)| path == "/v1/models"), "nothing was asked");
}

/// White space at the end of a prompt moves to the continuation, as in lm-evaluation-harness.
#[test]
fn scores_the_white_space_that_joint_pairs_move() {
    let double = Double::start(Style::LlamaCpp);
    let mut request = requests()[4].clone();
    request.prompt.question.push_str(" \u{3000}\n");
    request.encoding.pairs = Pairs::Joint;
    let expected = answers(&mut Memory::open("ja").load().unwrap(), std::slice::from_ref(&request)).unwrap();
    let ours = answers(&mut double.server(), &[request]).unwrap();
    check(&ours[0], &expected[0]);
}

#[test]
fn leaves_out_examples_that_the_server_has_no_room_for() {
    let double = Double::start(Style::LlamaCpp);
    let shot = |n: usize| Shot {
        question: format!("問題：{n}"),
        delimiter: "\n".to_owned(),
        answer: format!("答え：{n}"),
        after: "\n\n".to_owned(),
    };
    let mut request = generate("問題：4\n答え：".to_owned(), 8);
    request.prompt.shots = (1..4).map(shot).collect();
    let mut server = double.server();
    let too_long = r#"{"error": {"message": "This model's maximum context length is 8 tokens."}}"#;
    double.instead(400, "", too_long);
    double.instead(400, "", too_long);
    let told = answers(&mut server, std::slice::from_ref(&request)).unwrap().remove(0);
    assert_eq!(told.fit.dropped_shots, 2);
    assert_eq!(double.asked.lock().unwrap().last().unwrap().2["prompt"], request.prompt.without(2));
    // In a conversation, the system's text, both sides of each example and the question are one message each.
    request.prompt.head = "例です。".to_owned();
    answers(&mut server.chat(Some("計算してください。".to_owned())), &[request]).unwrap();
    let (_, path, body) = double.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(body["messages"][0], json!({ "role": "system", "content": "計算してください。\n\n例です。" }));
    assert_eq!(body["messages"].as_array().unwrap().len(), 8);
    let mut server = double.server();
    double.instead(400, "", too_long);
    let error = answers(&mut server, &[generate(String::new(), 1)]).unwrap_err();
    assert!(error.to_string().ends_with("This model's maximum context length is 8 tokens."), "{error}");
}

#[test]
fn stops_when_it_is_told() {
    let double = Double::start(Style::LlamaCpp);
    let mut told = 0;
    let heard = &mut |_, _| {
        told += 1;
        Ok(if told == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let problems: Vec<Request> = word_problems(30);
    double.server().parallel(2).answer(&problems, heard).unwrap();
    assert_eq!(told, 2);
    assert!(double.asked.lock().unwrap().len() < 12);
}
