//! Reads files, in the form in which their authors publish them, as the documents that the harnesses see.

use super::{derive, manifest::File};
use merge_core::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::str;

/// The form of a file. Documents have the fields of the harnesses' Hugging Face data sets, if there are any.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// One JSON object on each line, unchanged.
    Lines,
    /// One JSON array, unchanged.
    Array,
    /// One JSON object on each line; its `label` becomes its index in this list.
    Labelled(&'static [&'static str]),
    /// `SQuAD`: articles with paragraphs and questions; each question becomes a document.
    Squad,
    /// MGSM's problems: `question TAB answer`; the answer may have commas.
    Mgsm,
    /// MGSM's worked examples in this language.
    Exemplars(&'static str),
    /// GSM8K: one object on each line; the number after `####` is added as `answer_number`.
    Gsm8k,
    /// `XWinograd`: the Japanese rows of a table.
    Xwinograd,
    /// JMMLU: one CSV file for each subject, without a header. Its first five questions are for examples.
    Jmmlu {
        /// True for the questions for examples, false for all others.
        dev: bool,
    },
    /// MAWPS-ja's problems, without the words around them.
    Mawps,
    /// MAWPS-ja's worked examples: texts that are divided into problem, reasoning and answer.
    MawpsShots,
    /// A text of Aozora Bunko, cleaned or with its own markup.
    Aozora,
    /// JAQKET v2, in the form of `kumapo/JAQKET` or of the files that it is made from.
    Jaqket,
}

/// Number of questions of each JMMLU subject that are for examples.
const DEV: usize = 5;

impl Read {
    /// Reads the documents of a file.
    pub(super) fn docs(self, file: &File, bytes: &[u8]) -> Result<Vec<Value>> {
        if let Self::Aozora = self {
            return Ok(aozora(file, bytes));
        }
        let text = str::from_utf8(bytes).map_err(|_| Error::user("it is not in UTF-8"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self {
            Self::Lines => lines(text),
            Self::Array => array(text),
            Self::Labelled(names) => lines(text)?.into_iter().map(|doc| labelled(doc, names)).collect(),
            Self::Squad => squad(text),
            Self::Mgsm => text.lines().enumerate().map(|(n, line)| mgsm(line).map_err(|e| at(n, &e))).collect(),
            Self::Exemplars(language) => exemplars(text, language),
            Self::Gsm8k => lines(text)?.into_iter().map(gsm8k).collect(),
            Self::Xwinograd => xwinograd(text),
            Self::Jmmlu { dev } => jmmlu(file, text, dev),
            Self::Mawps => array(text)?.iter().map(mawps).collect(),
            Self::MawpsShots => array(text)?.iter().map(mawps_shot).collect(),
            Self::Jaqket => {
                if text.starts_with('[') { array(text)? } else { lines(text)? }.into_iter().map(jaqket).collect()
            }
            Self::Aozora => unreachable!("read above, since it need not be UTF-8"),
        }
    }
}

fn at(line: usize, error: &Error) -> Error {
    error.clone().at(format_args!("line {}", line + 1))
}

fn lines(text: &str) -> Result<Vec<Value>> {
    let rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    rows.map(|(n, line)| match serde_json::from_str(line) {
        Ok(doc @ Value::Object(_)) => Ok(doc),
        Ok(_) => Err(at(n, &Error::user("a JSON object is wanted"))),
        Err(e) => Err(at(n, &Error::user(format!("not JSON: {e}")))),
    })
    .collect()
}

fn array(text: &str) -> Result<Vec<Value>> {
    serde_json::from_str(text).map_err(|e| Error::user(format!("not a JSON array: {e}")))
}

fn missing(field: &str) -> Error {
    Error::user(format!("a document without `{field}`"))
}

fn word<'a>(doc: &'a Value, field: &str) -> Result<&'a str> {
    doc[field].as_str().ok_or_else(|| missing(field))
}

fn labelled(mut doc: Value, names: &[&str]) -> Result<Value> {
    let number = match &doc["label"] {
        Value::String(name) => names.iter().position(|known| known == name),
        // Already a number, as the hub's loaders make it.
        Value::Number(number) => number.as_u64().map(|n| n as usize).filter(|n| *n < names.len()),
        _ => None,
    };
    doc["label"] = number
        .map(Value::from)
        .ok_or_else(|| Error::user(format!("the label {} is not one of {}", doc["label"], names.join(", "))))?;
    Ok(doc)
}

fn squad(text: &str) -> Result<Vec<Value>> {
    let tree: Value = serde_json::from_str(text).map_err(|e| Error::user(format!("not JSON: {e}")))?;
    let list = |value: &Value, field: &str| value[field].as_array().cloned().ok_or_else(|| missing(field));
    let mut docs = Vec::new();
    for article in list(&tree, "data")? {
        for paragraph in list(&article, "paragraphs")? {
            for question in list(&paragraph, "qas")? {
                let answers = list(&question, "answers")?;
                let all = |field: &str| answers.iter().map(|answer| answer[field].clone()).collect::<Vec<_>>();
                docs.push(json!({
                    "id": question["id"],
                    "title": article["title"],
                    "context": paragraph["context"],
                    "question": question["question"],
                    "answers": { "text": all("text"), "answer_start": all("answer_start") },
                    "is_impossible": question["is_impossible"],
                }));
            }
        }
    }
    Ok(docs)
}

/// Parses a whole number that may have commas.
fn whole(text: &str) -> Option<i64> {
    text.trim().replace(',', "").parse().ok()
}

fn mgsm(line: &str) -> Result<Value> {
    let (question, answer) = line.split_once('\t').ok_or_else(|| Error::user("a problem and its answer are wanted"))?;
    let number = whole(answer).ok_or_else(|| Error::user(format!("`{answer}` is not a whole number")))?;
    Ok(json!({ "question": question, "answer": null, "answer_number": number, "equation_solution": null }))
}

fn exemplars(text: &str, language: &str) -> Result<Vec<Value>> {
    let tree: Value = serde_json::from_str(text).map_err(|e| Error::user(format!("not JSON: {e}")))?;
    (0..8)
        .map(|n| {
            let example = &tree[language][(n + 1).to_string()];
            let doc = json!({
                "question": word(example, "q")?,
                "answer": word(example, "a")?,
                "answer_number": tree["number_answers"][n],
                "equation_solution": tree["equation_solutions"][n],
            });
            Ok(doc)
        })
        .collect()
}

fn gsm8k(mut doc: Value) -> Result<Value> {
    let answer = word(&doc, "answer")?;
    let number = answer.rsplit_once("####").and_then(|(_, number)| whole(number));
    doc["answer_number"] =
        number.map(Value::from).ok_or_else(|| Error::user("an answer without a number after ####"))?;
    Ok(doc)
}

/// Columns: language, source, English sentence, sentence, its tokens, the pronoun with the range of
/// its tokens, the candidates, each right or wrong.
fn xwinograd(text: &str) -> Result<Vec<Value>> {
    let rows = text.lines().enumerate().filter(|(_, line)| line.starts_with("jp\t"));
    rows.map(|(n, line)| winograd(line).ok_or_else(|| at(n, &Error::user("not a line of XWinograd's table")))).collect()
}

fn winograd(line: &str) -> Option<Value> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [_, source, english, _, tokens, pronoun, candidates] = cells[..] else { return None };
    let tokens: Vec<String> = serde_json::from_str(tokens).ok()?;
    let (pronoun, (from, to), _): (String, (usize, usize), Value) = serde_json::from_str(pronoun).ok()?;
    let candidates: [(String, Value, Value, bool); 2] = serde_json::from_str(candidates).ok()?;
    let [(first, _, _, is_first), (second, _, _, _)] = candidates;
    let (head, tail) = (tokens.get(..from)?.concat(), tokens.get(to..)?.concat());
    Some(json!({
        "sentence": format!("{head}_{tail}"),
        "option1": first,
        "option2": second,
        "sentence1": format!("{head}{first}{tail}"),
        "sentence2": format!("{head}{second}{tail}"),
        "answer": if is_first { 1 } else { 2 },
        "pronoun": pronoun,
        "source": source,
        "en": english,
    }))
}

fn jmmlu(file: &File, text: &str, dev: bool) -> Result<Vec<Value>> {
    let subject = file.name().trim_end_matches(".csv");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut docs = Vec::new();
    for (n, row) in reader.records().enumerate() {
        let wrong = || Error::user(format!("row {}: a question, four choices and a letter are wanted", n + 1));
        let row = row.map_err(|_| wrong())?;
        let cells: Vec<&str> = row.iter().collect();
        let [question, choices @ .., letter] = &cells[..] else { return Err(wrong()) };
        let label = ["A", "B", "C", "D"].iter().position(|known| known == letter).ok_or_else(wrong)?;
        if choices.len() != 4 {
            return Err(wrong());
        }
        if (n < DEV) == dev {
            docs.push(json!({
                "subject": subject, "question": question, "choices": choices, "answer": letter, "label": label,
            }));
        }
    }
    Ok(docs)
}

/// The problem without the words `問題：` and `解答：` around it.
fn problem(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_suffix("解答：").unwrap_or(text);
    text.strip_prefix("問題：").unwrap_or(text).trim()
}

fn mawps(doc: &Value) -> Result<Value> {
    let (question, answer) = (problem(word(doc, "question")?), word(doc, "answer")?);
    Ok(json!({ "idx": doc["idx"], "question": question, "answer": answer, "reasoning": null }))
}

fn mawps_shot(doc: &Value) -> Result<Value> {
    let text = word(doc, "shot_example")?;
    let (question, reasoning) = text.split_once("解答：").ok_or_else(|| missing("解答："))?;
    let answer = reasoning.rsplit_once("答えは").and_then(|(_, rest)| rest.trim().strip_suffix("です。"));
    let answer = answer.ok_or_else(|| missing("答えは…です。"))?;
    Ok(json!({ "question": problem(question), "answer": answer, "reasoning": reasoning.trim() }))
}

/// Least characters of a piece of a work; only the last may have fewer.
const PIECE: usize = 1000;
/// Most pieces of a work: a long novel should not outweigh all others, nor take hours to read.
const PIECES: usize = 10;

/// The beginning of a work, in pieces of whole paragraphs.
fn aozora(file: &File, bytes: &[u8]) -> Vec<Value> {
    let text = match str::from_utf8(bytes) {
        Ok(clean) => clean.to_owned(),
        Err(_) => derive::aozora(bytes),
    };
    let title = text.lines().next().unwrap_or_default();
    let mut pieces = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let piece = pieces.last_mut().expect("there is a first piece");
        if piece.chars().count() < PIECE {
            piece.push_str(line);
        } else {
            pieces.push(line.to_owned());
        }
    }
    let work = file.name().trim_end_matches(".txt");
    let doc = |(i, text): (usize, String)| json!({ "work": work, "title": title, "piece": i + 1, "text": text });
    pieces.into_iter().take(PIECES).enumerate().map(doc).collect()
}

/// Turns passages into columns (`{"title": […], "text": […], …}`), and answers into `{"text": […]}`.
fn jaqket(mut doc: Value) -> Result<Value> {
    for field in ["qid", "question"] {
        word(&doc, field)?;
    }
    if let Some(answers) = doc["answers"].as_array() {
        doc["answers"] = json!({ "text": answers, "answer_start": vec![-1; answers.len()] });
    }
    if doc["answers"]["text"].as_array().is_none_or(Vec::is_empty) {
        return Err(missing("answers"));
    }
    if let Some(passages) = doc["ctxs"].as_array() {
        let fields = ["id", "title", "text", "score", "has_answer"];
        let column = |field: &str| passages.iter().map(|passage| passage[field].clone()).collect::<Value>();
        doc["ctxs"] = fields.iter().map(|field| ((*field).to_owned(), column(field))).collect::<Map<_, _>>().into();
    }
    if doc["ctxs"]["text"].as_array().is_none_or(Vec::is_empty) {
        return Err(missing("ctxs").hint("the passages that were retrieved for a question are wanted in it"));
    }
    Ok(doc)
}
