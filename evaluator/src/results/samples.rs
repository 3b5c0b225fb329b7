//! `samples_*.jsonl`: each item under each filter, with its prompts, answers and scores.

use super::TaskResult;
use crate::{
    prompt::Conversation,
    python,
    request::{Answer, Ask, Fit, Likelihood, Request, Said},
    task::{FilterMarks, HarnessReading, MarkedItem},
};
use merge_core::{error::Result, model::hash::hex};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// All lines of a task, and one hash of their documents, prompts and targets.
pub(super) fn lines(task: &TaskResult<'_>, chat: Option<&Conversation>) -> Result<(String, String)> {
    let (mut lines, mut hashes) = (String::new(), String::new());
    for i in 0..task.marked.first().map_or(0, |marked| marked.filtered.len()) {
        for marked in task.marked {
            let (line, hash) = line(task, chat, marked, &marked.filtered[i])?;
            lines.push_str(&python::dumps(&line, None));
            lines.push('\n');
            hashes.push_str(&hash);
        }
    }
    Ok((lines, sha256(&hashes)))
}

fn line(
    task: &TaskResult<'_>,
    chat: Option<&Conversation>,
    marked: &MarkedItem,
    filtered: &FilterMarks,
) -> Result<(Value, String)> {
    let doc = Value::from(task.task.doc(marked.item).clone());
    let target = python::str(task.task.target(marked.item));
    let requests = task.task.requests_of(marked.item);
    let instances = instances(requests, &marked.answers, chat, &task.task.generation_kwargs())?;
    let first = instances.first().and_then(|(prompt, _)| prompt.as_str().or(prompt[0].as_str())).unwrap_or_default();
    let hashes = [sha256(&python::dumps(&doc, Some(2))), sha256(first), sha256(&target)];
    let said = said(requests, &marked.answers, task.task.repeats());
    let filtered_resps: Value = match &filtered.response {
        Some(response) => json!([response]),
        None => said.iter().filter_map(|resps| resps.get(0).cloned()).collect(),
    };
    let argument = |(i, (prompt, rest)): (usize, &(Value, Option<Value>))| {
        let mut arguments = Map::new();
        arguments.insert("arg_0".to_owned(), prompt.clone());
        if let Some(rest) = rest {
            arguments.insert("arg_1".to_owned(), rest.clone());
        }
        (format!("gen_args_{i}"), Value::from(arguments))
    };
    let arguments: Map<String, Value> = instances.iter().enumerate().map(argument).collect();
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
    put("doc_id", marked.number.into());
    put("doc", doc);
    put("target", target.into());
    put("arguments", arguments.into());
    put("resps", said.into());
    put("filtered_resps", filtered_resps);
    put("filter", filtered.filter.as_str().into());
    put("metrics", filtered.scores.iter().map(|(metric, _)| metric.as_str()).collect());
    for (key, hash) in ["doc_hash", "prompt_hash", "target_hash"].into_iter().zip(&hashes) {
        put(key, hash.as_str().into());
    }
    for (metric, score) in &filtered.scores {
        put(metric, score.to_json());
    }
    put("evomerge", extra(marked));
    Ok((line.into(), hashes.concat()))
}

/// Values that lm-evaluation-harness has no key for: item hash, fit of prompts, broken models, readings.
fn extra(marked: &MarkedItem) -> Value {
    let fit = |answer: &Answer| {
        let Fit { prompt_tokens, dropped_shots, cut_tokens, fused } = answer.fit;
        let mut all = json!({
            "prompt_tokens": prompt_tokens,
            "dropped_shots": dropped_shots,
            "cut_tokens": cut_tokens,
            "fused": fused,
            "broken": answer.broken,
        });
        if let Said::Text { tokens, truncated, .. } = &answer.said {
            all["tokens"] = json!(tokens);
            all["truncated"] = json!(truncated);
        }
        all
    };
    let mut all = json!({
        "item": marked.item.to_string(),
        "answers": marked.answers.iter().map(fit).collect::<Vec<_>>(),
    });
    if !marked.reads.is_empty() {
        let read = |HarnessReading { rule, reading, right }: &HarnessReading| {
            ((*rule).to_owned(), json!({ "right": right, "reading": reading }))
        };
        all["reads"] = marked.reads.iter().map(read).collect::<Map<_, _>>().into();
    }
    all
}

/// Instances of lm-evaluation-harness: prompt and continuation, prompt and generation settings, or a text. Prompts are
/// without the examples that had no room, but still have the tokens that were cut.
fn instances(
    requests: &[Request],
    answers: &[Answer],
    chat: Option<&Conversation>,
    kwargs: &Value,
) -> Result<Vec<(Value, Option<Value>)>> {
    let mut all = Vec::new();
    for (request, answer) in requests.iter().zip(answers) {
        let dropped = answer.fit.dropped_shots;
        let prompt = || match chat {
            None => Ok(request.prompt.without(dropped).into()),
            Some(chat) => chat.asked(&request.prompt, dropped),
        };
        match &request.ask {
            Ask::Generate { .. } => all.push((prompt()?, Some(kwargs.clone()))),
            Ask::Choose { choices } => {
                let prompt: Value = prompt()?;
                all.extend(choices.iter().map(|choice| (prompt.clone(), Some(choice.as_str().into()))));
            }
            Ask::Read { text } => all.push((text.as_str().into(), None)),
        }
    }
    Ok(all)
}

/// Answer to each instance, as texts, `repeats` times.
fn said(requests: &[Request], answers: &[Answer], repeats: usize) -> Vec<Value> {
    let pair = |Likelihood { log, greedy, .. }: &Likelihood| {
        json!([python::float(*log), if *greedy { "True" } else { "False" }])
    };
    let of = |(request, answer): (&Request, &Answer)| -> Vec<Value> {
        let each: Vec<Value> = match (&answer.said, &request.ask) {
            (Said::Text { text, .. }, _) => vec![text.as_str().into()],
            (Said::Likelihoods(all), Ask::Read { .. }) => all.iter().map(|one| python::float(one.log).into()).collect(),
            (Said::Likelihoods(all), _) => all.iter().map(pair).collect(),
        };
        each.into_iter().map(|one| json!(vec![one; repeats])).collect()
    };
    requests.iter().zip(answers).flat_map(of).collect()
}

pub(super) fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Encoding, Limit, Prompt, Shot};

    #[test]
    fn what_had_no_room_was_not_asked() {
        let shot = |question: &str| Shot { question: question.to_owned(), after: "\n".to_owned(), ..Shot::default() };
        let prompt =
            Prompt { shots: vec![shot("1"), shot("2"), shot("3")], question: "4".to_owned(), ..Prompt::default() };
        let ask = Ask::Generate { stop: Vec::new(), limit: Limit::Tokens(1) };
        let request = Request { prompt, ask, encoding: Encoding::default(), compared: None };
        let said = Said::Text { text: String::new(), tokens: 1, truncated: false };
        for (dropped_shots, asked) in [(0, "1\n2\n3\n4"), (2, "3\n4")] {
            let fit = Fit { dropped_shots, ..Fit::default() };
            let answer = Answer { said: said.clone(), fit, broken: false, compared: None };
            let found = instances(std::slice::from_ref(&request), &[answer], None, &json!({})).unwrap();
            assert_eq!(found, [(asked.into(), Some(json!({})))]);
        }
    }
}
