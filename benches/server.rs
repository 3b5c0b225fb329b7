//! Compares a server with our forward pass: `server URL DIR` asks both the same, prints how much
//! their log-likelihoods differ and how many texts agree, and fails if they do not agree.
//!
//! DIR holds the checkpoint that the server serves. The server puts BOS before every prompt, as
//! llama.cpp's Python server must; here, the environment variable BOS gives that text.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use candle_core::Device;
use evaluator::{
    answer::Transformer,
    language_model::answers,
    request::{Answer, Ask, Encoding, Limit, Prompt, Request, Said},
    server::{ModelServer, ServerWire},
};
use merge_core::checkpoint::Checkpoint;
use std::{env, error::Error, path::Path, time::Instant};
use ureq::Agent;

/// Tolerance of a choice's log-likelihood, in nats: two programs add in different orders.
const TOLERANCE: f64 = 1e-2;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [url, dir] = &args[..] else { return Err("usage: server URL DIR".into()) };
    let key = env::var("OPENAI_API_KEY").ok();
    let wire = ServerWire::new(Agent::new_with_defaults(), url, key.as_deref())?;
    let mut server = ModelServer::connect(wire, None)?;
    let mut local = Transformer::load(&Checkpoint::open(Path::new(dir))?, &Device::Cpu)?;
    let bos = env::var("BOS").unwrap_or_default();
    let began = Instant::now();
    let theirs = answers(&mut server, &requests(""))?;
    let server_took = began.elapsed();
    let began = Instant::now();
    let ours = answers(&mut local, &requests(&bos))?;
    println!(
        "{}: {:.1} s on the server, {:.1} s here",
        server.model(),
        server_took.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    let (mut apart, mut scored, mut tokens) = (0.0_f64, 0, 0);
    let (mut same, mut texts) = (0, 0);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        match (ours, theirs) {
            (Answer { said: Said::Likelihoods(ours), .. }, Answer { said: Said::Likelihoods(theirs), .. }) => {
                for (ours, theirs) in ours.iter().zip(theirs) {
                    if ours.tokens != theirs.tokens {
                        return Err(format!("{ours:?} here, {theirs:?} on the server").into());
                    }
                    apart = apart.max((ours.log - theirs.log).abs());
                    scored += 1;
                    tokens += ours.tokens;
                }
            }
            (Answer { said: ours @ Said::Text { .. }, .. }, Answer { said: theirs, .. }) => {
                texts += 1;
                let text = |said: &Said| match said {
                    Said::Text { text, .. } => text.clone(),
                    Said::Likelihoods(_) => String::new(),
                };
                if text(ours) == text(theirs) {
                    same += 1;
                } else {
                    println!("here:       {:?}\non the server: {:?}", text(ours), text(theirs));
                }
            }
            _ => return Err("an answer of another kind".into()),
        }
    }
    println!("{scored} choices of {tokens} tokens: at most {apart:.1e} nats apart; {same} of {texts} texts the same");
    if apart > TOLERANCE || same < texts {
        return Err("they do not agree".into());
    }
    Ok(())
}

/// Requests in English and Japanese: characters of several tokens, white space at the border, long
/// and short ones.
fn requests(bos: &str) -> Vec<Request> {
    let plain = |prompt: &str, ask| Request {
        prompt: Prompt::plain(format!("{bos}{prompt}")),
        ask,
        encoding: Encoding::default(),
        compared: None,
    };
    let choose = |prompt: &str, choices: &[&str]| {
        plain(prompt, Ask::Choose { choices: choices.iter().map(|choice| (*choice).to_owned()).collect() })
    };
    let generate = |prompt: &str, stop: &str| {
        plain(prompt, Ask::Generate { stop: vec![stop.to_owned()], limit: Limit::Tokens(32) })
    };
    vec![
        choose(
            "Question: What do bees make?\nAnswer:",
            &[" honey", " milk", " a car", " honey, which people like to eat"],
        ),
        choose("質問：蜂は何を作りますか。\n選択肢：蜂蜜、牛乳、車\n回答：", &["蜂蜜", "牛乳", "車", "はちみつ"]),
        choose("日本の首都は", &["東京", "大阪です。", "\n"]),
        choose("1, 2, 3, 4, 5,", &[" 6", " 6, 7, 8", " 12"]),
        generate("Question: What do bees make?\nAnswer:", "\n"),
        generate("The capital of Japan is", "."),
        generate("1, 2, 3, 4, 5,", "9"),
        generate("質問：1たす1はいくつですか。\n答え：", "質問："),
    ]
}
