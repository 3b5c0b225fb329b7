//! Tests prompts, continuations and chats as tokens against the harnesses.

use crate::{
    answer::{
        Transformer,
        tests::{Memory, answer, family, items, likelihoods, llama, near, prompt, word_problems},
    },
    language_model::answers,
    mark::rouge::rouge,
    prompt::{Encoder, Specials, Tokenizer, encode::Pair},
    request::{Answer, Ask, Encoding, Fit, Limit, Pairs, Prompt, Request, Said, SequenceStart},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

const JOINT: Encoding = Encoding { pairs: Pairs::Joint, bare: false, start: SequenceStart::Bos };

/// References written by lm-evaluation-harness 0.4.13: `benches/peers/lm_eval_refs.py`.
fn references(kind: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/lm-eval-refs.json");
    let mut references: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    serde_json::from_value(references[kind].take()).unwrap()
}

fn text(reference: &Value, key: &str) -> String {
    reference[key].as_str().unwrap().to_owned()
}

fn ask(model: &mut Transformer, prompt: String, ask: Ask) -> Answer {
    answers(model, &[Request { prompt: Prompt::plain(prompt), ask, encoding: JOINT, compared: None }])
        .unwrap()
        .remove(0)
}

#[test]
fn scores_pairs_as_lm_evaluation_harness_does() {
    let mut llama = llama("ja");
    for reference in references("pairs") {
        let (prompt, continuation) = (text(&reference, "prompt"), text(&reference, "continuation"));
        let whole = prompt.clone() + &continuation;
        if !prompt.is_empty() {
            let tokens: [Vec<u32>; 2] = serde_json::from_value(reference["tokens"].clone()).unwrap();
            let weights = Memory::open("ja");
            let specials = Specials::of(&weights, llama.tokenizer()).unwrap();
            let encoder = Encoder { tokenizer: llama.tokenizer(), specials: &specials, encoding: JOINT };
            let pair = encoder.pairs(&prompt, std::slice::from_ref(&continuation)).unwrap().remove(0);
            assert_eq!(pair.tokens.split_at(pair.cut), (&*tokens[0], &*tokens[1]), "{whole}");
            // By definition: the whole does not begin with the prompt's tokens.
            let all = llama.tokenizer().encode_prompt(whole.strip_prefix("<s>").unwrap_or(&whole)).unwrap();
            assert_eq!(pair.fused, !all.starts_with(&tokens[0]), "{whole}");
        }
        let answer = ask(&mut llama, prompt, Ask::Choose { choices: vec![continuation] });
        let ours = likelihoods(&answer.said)[0];
        near(ours.log, &reference["log"], 1e-3);
        assert_eq!(json!(ours.greedy), reference["greedy"], "{whole}");
    }
}

#[test]
fn reads_as_lm_evaluation_harness_does() {
    let mut llama = llama("ja");
    for reference in references("readings") {
        let read = ask(&mut llama, String::new(), Ask::Read { text: text(&reference, "text") });
        near(likelihoods(&read.said)[0].log, &reference["log"], 1e-2);
    }
}

#[test]
fn generates_as_lm_evaluation_harness_does() {
    let mut llama = llama("ja");
    for reference in references("generations") {
        let generate = Ask::Generate { stop: vec!["です".to_owned()], limit: Limit::Tokens(40) };
        let answer = ask(&mut llama, text(&reference, "prompt"), generate);
        assert!(
            matches!(&answer.said, crate::request::Said::Text { text, .. } if *text == reference["text"]),
            "{answer:?} is not {reference}"
        );
    }
}

/// Compares the texts of a pair's tokens, with `|` at the cut, or `!` if the token there holds a part of the prompt.
fn check(encoding: Encoding, prompt: &str, continuation: &str, expected: &str) {
    let weights = Memory::open("ja");
    let tokenizer = Tokenizer::of(&weights).unwrap();
    let specials = Specials::of(&weights, &tokenizer).unwrap();
    let encoder = Encoder { tokenizer: &tokenizer, specials: &specials, encoding };
    let Pair { tokens, cut, fused } = encoder.pairs(prompt, &[continuation.to_owned()]).unwrap().remove(0);
    let name = |token: &u32| match tokenizer.decode(&[*token]).unwrap() {
        special if special.is_empty() => tokenizer.name(*token).unwrap(),
        text => text,
    };
    let names = |tokens: &[u32]| tokens.iter().map(name).collect::<Vec<_>>().join(" ");
    let cut_at = if fused { "!" } else { "|" };
    assert_eq!([&names(&tokens[..cut]), cut_at, &names(&tokens[cut..])].join(" "), expected, "{encoding:?}");
}

#[test]
fn puts_pairs_together_in_three_ways() {
    let with = |pairs| Encoding { pairs, ..Encoding::default() };
    let bare = |pairs| Encoding { bare: true, start: SequenceStart::Eos, pairs };
    for encoding in [with(Pairs::Separate), with(Pairs::Joint), with(Pairs::Common)] {
        check(encoding, "問題", "12", "<s> 問題 | 1 2");
        check(encoding, "<s>問題", "12", "<s> 問題 | 1 2");
        check(encoding, "", "問題", "<s> | 問題");
        check(encoding, "問題", "", "<s> 問題 | ");
    }
    for encoding in [bare(Pairs::Separate), bare(Pairs::Joint), bare(Pairs::Common)] {
        check(encoding, "問題", "12", "問題 | 1 2");
        check(encoding, "", "12", "</s> | 1 2");
    }
}

#[test]
fn knows_what_a_tokenizer_fuses() {
    let tokenizer = Tokenizer::of(&Memory::open("ja")).unwrap();
    let tokens = |text: &str| tokenizer.encode_prompt(text).unwrap();
    let items = items("mgsm-ja-mini.optimise.jsonl", 1);
    let problem = prompt(&items[0]);
    let whole = tokens(&problem);
    let mut llama = llama("ja");
    let mut fused = 0;
    for at in problem.char_indices().map(|(at, _)| at).filter(|at| *at > 0) {
        let (prompt, rest) = problem.split_at(at);
        let asked = |pairs| Request {
            prompt: Prompt::plain(prompt),
            ask: Ask::Choose { choices: vec![rest.to_owned()] },
            encoding: Encoding { pairs, ..Encoding::default() },
            compared: None,
        };
        let answer = answers(&mut llama, &[asked(Pairs::Common)]).unwrap().remove(0);
        let is_fused = !whole.starts_with(&tokens(prompt));
        let expected = Fit { prompt_tokens: answer.fit.prompt_tokens, fused: usize::from(is_fused), ..Fit::default() };
        assert_eq!(answer.fit, expected, "{prompt}|{rest}");
        assert_eq!(likelihoods(&answer.said)[0].tokens + answer.fit.prompt_tokens, whole.len());
        fused += answer.fit.fused;
    }
    assert!(fused > 3);
}

#[test]
fn a_chat_is_asked_in_the_models_template() {
    let weights = Memory::open("ja");
    let mut chat = weights.load().unwrap().chat(&weights, None).unwrap();
    let ask = Ask::Generate { stop: Vec::new(), limit: Limit::Tokens(40) };
    let problem = items("mgsm-ja-mini.optimise.jsonl", 1).remove(0)["question"].as_str().unwrap().to_owned();
    let request =
        |prompt: String| Request { prompt: Prompt::plain(prompt), ask: ask.clone(), encoding: JOINT, compared: None };
    // The family's chat template writes BOS and the same text as its tasks.
    let plain = answer(&mut llama("ja"), request(format!("問題：{problem}\n答え：")));
    let answered = answers(&mut chat, &[request(problem)]).unwrap().remove(0);
    assert_eq!(answered.said, plain);
    let without = tempfile::tempdir().unwrap();
    fs::copy(family("ja").join("tokenizer.json"), without.path().join("tokenizer.json")).unwrap();
    let mut weights = Memory::open("ja");
    weights.sidecars = without.path().to_owned();
    let error = weights.load().unwrap().chat(&weights, None).unwrap_err().to_string();
    assert!(error.ends_with("the model has no chat template"), "{error}");
}

/// Compares with `rouge_score` on the tokens that transformers makes of the texts (`benches/peers/rouge_refs.py`).
#[test]
fn tokens_to_compare_are_those_of_the_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/rouge-tokens.json");
    let rows: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut llama = llama("ja");
    let tokenizer = llama.tokenizer().clone();
    for row in &rows {
        let [answer, gold] = ["answer", "gold"].map(|key| row[key].as_str().unwrap());
        let [answer, gold] = [answer, gold].map(|text| tokenizer.encode_continuation(text).unwrap());
        let rouge = rouge(&answer, &gold);
        near(rouge.rouge1, &row["rouge1"], 1e-12);
        near(rouge.rouge2, &row["rouge2"], 1e-12);
        near(rouge.rouge_l, &row["rougeL"], 1e-12);
    }
    let gold = rows[0]["gold"].as_str().unwrap();
    let request = Request { compared: Some(gold.to_owned()), ..word_problems(1).remove(0) };
    let Answer { said: Said::Text { text, .. }, compared, .. } = answers(&mut llama, &[request]).unwrap().remove(0)
    else {
        panic!("a text is wanted")
    };
    assert_eq!(compared, Some([text.as_str(), gold].map(|text| tokenizer.encode_continuation(text).unwrap())));
}
