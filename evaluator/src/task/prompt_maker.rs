//! Makes a task's prompts: turns a document into requests to a model, with question, answered examples and choices.

use super::{
    Doc,
    definition::{Definition, DefinitionFile, ExampleFormula, Formula, OutputType},
    regex::brief,
    template::{Templates, field},
};
use crate::{
    python::{self, literal},
    request::{Ask, Encoding, Limit, Prompt, Request, Shot},
    text::normalize::normalize,
};
use merge_core::{
    error::{Error, Result},
    yaml::{At, Mistake},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Default limit of an answer's tokens, as in lm-evaluation-harness.
const MAX_GEN_TOKS: usize = 256;

/// Templates and settings that turn a task's documents into requests.
pub(super) struct PromptMaker {
    templates: Templates,
    /// Names of the documents' fields. A text that equals one stands for that field; any other is a template.
    features: BTreeSet<String>,
    pub(super) output: OutputType,
    question: PromptFormulas,
    shot: PromptFormulas,
    description: Option<Formula>,
    stop: Vec<String>,
    max_tokens: usize,
    gold_limit: Option<usize>,
    /// Field that is cut if a prompt is too long.
    article: Option<String>,
    encoding: Encoding,
    /// True if answers are compared by the model's tokens.
    by_tokens: bool,
    /// True if each choice is also asked for without its question.
    unconditional: bool,
}

/// Formulas and delimiters of a question and its answer.
struct PromptFormulas {
    text: Formula,
    target: Formula,
    choice: Option<Formula>,
    prefix: Option<Formula>,
    /// Text between question and answer.
    delimiter: String,
    /// Text after the answer.
    after: String,
}

/// A document, turned into requests.
#[derive(Clone, Debug)]
pub(super) struct AskedDocument {
    /// The requests, in order.
    pub(super) requests: Vec<Request>,
    /// The target, which stands in the place of an answer: a text, the index of a choice, or several of these.
    pub(super) target: Value,
    /// The right answer, in the same form; it differs from `target` only if choices stand before one continuation.
    pub(super) gold: Value,
    pub(super) choices: Option<Vec<String>>,
    /// The question, normalised and without white space; no two splits may share it.
    pub(super) question: String,
}

impl PromptMaker {
    /// Reads a definition whose keys are all supported; refuses invalid templates.
    pub(super) fn new(written: &DefinitionFile, unconditional: bool) -> Result<Self> {
        let definition = &written.definition;
        let output = definition.output_type.as_ref().map_or_else(OutputType::default, |output| output.value);
        let config = definition.fewshot_config.as_ref();
        let needed = |key: &str, formula: &Option<At<Formula>>, example: &str| {
            formula.as_ref().map(|formula| formula.value.clone()).ok_or_else(|| {
                Error::user(format!("{}: `{key}` is missing", written.path.display())).hint(format!("add `{example}`"))
            })
        };
        let plain = |formula: &Option<At<Formula>>| formula.as_ref().map(|formula| formula.value.clone());
        let rolling = output == OutputType::LoglikelihoodRolling;
        let text = match &definition.doc_to_text {
            None if rolling => Formula::Text(String::new()),
            text => needed("doc_to_text", text, "doc_to_text: \"問題：{{question}}\\n答え：\"")?,
        };
        let delimiter = definition.target_delimiter.clone().unwrap_or_else(|| " ".to_owned());
        let after = definition.fewshot_delimiter.clone().unwrap_or_else(|| "\n\n".to_owned());
        let question = PromptFormulas {
            text,
            target: needed("doc_to_target", &definition.doc_to_target, "doc_to_target: \"{{answer}}\"")?,
            choice: plain(&definition.doc_to_choice),
            prefix: plain(&definition.gen_prefix),
            delimiter: delimiter.clone(),
            after: after.clone(),
        };
        let own = |own: Option<&ExampleFormula>, question: &Option<At<Formula>>| {
            let found = own.map_or(question.as_ref(), |own| own.or(question.as_ref()));
            found.map(|formula| formula.value.clone())
        };
        let shot = PromptFormulas {
            text: config.and_then(|config| plain(&config.doc_to_text)).unwrap_or_else(|| question.text.clone()),
            target: config.and_then(|config| plain(&config.doc_to_target)).unwrap_or_else(|| question.target.clone()),
            choice: own(config.map(|config| &config.doc_to_choice), &definition.doc_to_choice),
            prefix: own(config.map(|config| &config.gen_prefix), &definition.gen_prefix),
            delimiter: config.and_then(|config| config.target_delimiter.clone()).unwrap_or(delimiter),
            after: config.and_then(|config| config.fewshot_delimiter.clone()).unwrap_or(after),
        };
        let kwargs = definition.generation_kwargs.as_ref();
        let until = kwargs.and_then(|kwargs| kwargs.until.as_ref());
        let ours = definition.ours();
        let mut asking = Self {
            templates: Templates::new(),
            features: BTreeSet::new(),
            output,
            stop: until.map_or_else(|| vec![question.after.clone()], |until| until.0.clone()),
            max_tokens: kwargs
                .and_then(|kwargs| kwargs.max_gen_toks.as_ref())
                .map_or(MAX_GEN_TOKS, |tokens| tokens.value),
            gold_limit: ours.and_then(|ours| ours.gold_limit.as_ref()).map(|more| more.value),
            article: ours.and_then(|ours| ours.cut_at_sentences.as_ref()).map(|name| name.value.clone()),
            encoding: ours.and_then(|ours| ours.encoding).unwrap_or_default().encoding(),
            by_tokens: definition.counts_tokens(),
            description: plain(&definition.description),
            question,
            shot,
            unconditional,
        };
        asking.add_templates(written)?;
        Ok(asking)
    }

    /// Compiles every text as a template: names of fields are not known before the documents are read.
    fn add_templates(&mut self, written: &DefinitionFile) -> Result<()> {
        let definition = &written.definition;
        let mut all: Vec<(&str, Option<&At<Formula>>)> = vec![
            ("doc_to_text", definition.doc_to_text.as_ref()),
            ("doc_to_target", definition.doc_to_target.as_ref()),
            ("doc_to_choice", definition.doc_to_choice.as_ref()),
            ("description", definition.description.as_ref()),
            ("gen_prefix", definition.gen_prefix.as_ref()),
        ];
        if let Some(config) = &definition.fewshot_config {
            let own = [config.doc_to_text.as_ref(), config.doc_to_target.as_ref()];
            let own = own.into_iter().chain([config.doc_to_choice.written(), config.gen_prefix.written()]);
            all.extend(own.map(|formula| ("fewshot_config", formula)));
        }
        for (key, formula) in all {
            if let Some(At { value: Formula::Text(text), place }) = formula {
                self.templates.add(text).map_err(|mistake| written.error(key, *place, mistake))?;
            }
        }
        Ok(())
    }

    /// Sets the names of the documents' fields; refuses a question that is the same for all documents.
    pub(super) fn set_fields(
        &mut self,
        written: &DefinitionFile,
        features: impl IntoIterator<Item = String>,
    ) -> Result<()> {
        self.features = features.into_iter().collect();
        let asks = matches!(self.output, OutputType::GenerateUntil | OutputType::Loglikelihood);
        if let Some(At { value: Formula::Text(text), place }) = &written.definition.doc_to_text
            && asks
            && !self.features.contains(text)
            && self.templates.is_constant(text)
        {
            let same = Mistake::new("the question is the same for every item")
                .hint("name the item's fields in it, such as `{{question}}`");
            return Err(written.error("doc_to_text", *place, same));
        }
        Ok(())
    }

    /// Turns a document into requests, with other documents as its answered examples.
    pub(super) fn ask(&self, doc: &Doc, examples: &[&Doc]) -> Result<AskedDocument> {
        let target = self.target(&self.question, doc).map_err(|e| e.at("doc_to_target"))?;
        let choices = self.choices(&self.question, doc).map_err(|e| e.at("doc_to_choice"))?;
        if self.output == OutputType::LoglikelihoodRolling {
            let text = python::str(&target);
            let question = comparable(&text);
            let ask = Ask::Read { text };
            let requests = vec![self.request(Prompt::default(), ask)];
            return Ok(AskedDocument { requests, gold: target.clone(), target, choices, question });
        }
        let head = match &self.description {
            Some(Formula::Text(text)) if doc.contains_key(text) => python::str(field(doc, text)?),
            Some(Formula::Text(text)) if !text.is_empty() => {
                self.templates.render(text, doc).map_err(|e| e.at("description"))?
            }
            _ => String::new(),
        };
        let shots = examples.iter().map(|example| self.shot(example)).collect::<Result<Vec<Shot>>>()?;
        let articles = self.articles(doc, examples, &shots)?;
        let prompt = |question: String| {
            let (head, shots, articles) = (head.clone(), shots.clone(), articles.clone());
            Prompt { head, shots, question, articles }
        };
        let text = self.text(&self.question, doc).map_err(|e| e.at("doc_to_text"))?;
        let prefix = self.prefix(&self.question, doc)?;
        let contexts = match &text {
            // A number means that choices stand before one continuation.
            Value::Number(_) => choices.clone().ok_or_else(|| {
                Error::user("doc_to_text is a number, but there are no choices").hint("add `doc_to_choice`")
            })?,
            text => vec![python::str(text)],
        };
        let inputs = text.is_number();
        let delimiter = if inputs { "" } else { self.question.delimiter.as_str() };
        let asked = |context: &String| match &prefix {
            Some(prefix) if needs_delimiter(context, prefix) => format!("{context}{delimiter}{prefix}"),
            Some(prefix) => format!("{context}{prefix}"),
            None => context.clone(),
        };
        let questions: Vec<String> = contexts.iter().map(asked).collect();
        let mut requests: Vec<Request> = Vec::new();
        match self.output {
            OutputType::MultipleChoice => {
                let choices =
                    choices.as_ref().filter(|choices| choices.len() > 1 && choices.iter().all(|c| !c.is_empty()));
                let Some(choices) = choices else {
                    return Err(Error::user("doc_to_choice: not a list of two texts or more"));
                };
                let after = |choice: &String| format!("{}{choice}", self.question.delimiter);
                let continuations: Vec<String> =
                    if inputs { vec![after(&python::str(&target))] } else { choices.iter().map(after).collect() };
                for question in &questions {
                    requests
                        .push(self.request(prompt(question.clone()), Ask::Choose { choices: continuations.clone() }));
                }
                if self.unconditional {
                    let choices = choices.iter().map(after).collect();
                    requests.push(self.request(Prompt::default(), Ask::Choose { choices }));
                }
            }
            OutputType::GenerateUntil => {
                let limit = match self.gold_limit {
                    Some(more) => Limit::LongestOf(texts(&target, choices.as_deref()), more),
                    None => Limit::Tokens(self.max_tokens),
                };
                let ask = Ask::Generate { stop: self.stop.clone(), limit };
                let compared = self.by_tokens.then(|| python::str(&target));
                requests.push(Request { compared, ..self.request(prompt(questions[0].clone()), ask) });
            }
            OutputType::Loglikelihood | OutputType::LoglikelihoodRolling => {
                let continuation = python::str(&target);
                if target.is_null() || continuation.is_empty() {
                    return Err(Error::user("doc_to_target: there is no text whose likelihood could be asked for"));
                }
                requests.push(self.request(prompt(questions[0].clone()), Ask::Choose { choices: vec![continuation] }));
            }
        }
        let mut question = comparable(&contexts.concat());
        if question.is_empty() {
            question = comparable(&choices.as_ref().map_or_else(|| python::str(&target), |choices| choices.concat()));
        }
        let gold = if inputs { text } else { target.clone() };
        Ok(AskedDocument { requests, target, gold, choices, question })
    }

    /// The right answer as a class, to draw examples in proportion.
    pub(super) fn class(&self, doc: &Doc) -> Result<String> {
        self.target(&self.shot, doc).map(|target| python::repr(&target))
    }

    fn request(&self, prompt: Prompt, ask: Ask) -> Request {
        Request { prompt, ask, encoding: self.encoding, compared: None }
    }

    /// The texts that may be cut, of each example and of the question.
    fn articles(&self, doc: &Doc, examples: &[&Doc], shots: &[Shot]) -> Result<Vec<String>> {
        let Some(name) = &self.article else { return Ok(Vec::new()) };
        let articles: Vec<String> = examples
            .iter()
            .chain([&doc])
            .map(|doc| field(doc, name).map(python::str))
            .collect::<Result<_>>()
            .map_err(|e| e.at("cut_at_sentences"))?;
        let question = python::str(&self.text(&self.question, doc)?);
        let questions = shots.iter().map(|shot| &shot.question).chain([&question]);
        if questions.zip(&articles).any(|(question, article)| !question.contains(article.as_str())) {
            return Err(Error::user(format!(
                "cut_at_sentences: the question does not hold the field `{name}` as it is"
            )));
        }
        Ok(articles)
    }

    /// An answered example.
    fn shot(&self, doc: &Doc) -> Result<Shot> {
        let formulas = &self.shot;
        let text = self.text(formulas, doc).map_err(|e| e.at("an example's doc_to_text"))?;
        let choices = self.choices(formulas, doc).map_err(|e| e.at("an example's doc_to_choice"))?;
        let target = self.target(formulas, doc).map_err(|e| e.at("an example's doc_to_target"))?;
        let prefix = self.prefix(formulas, doc)?.filter(|prefix| !prefix.is_empty());
        let (question, choices) = match (&text, choices) {
            (Value::Number(_), Some(choices)) => {
                let chosen = index(&text, &choices).map(|index| choices[index].clone());
                (chosen.ok_or_else(|| Error::user(format!("an example's doc_to_text: {text} is no choice")))?, None)
            }
            (text, choices) => (python::str(text), choices),
        };
        let answer = match &target {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(several) => {
                Some(several.first().and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
                    Error::user(format!(
                        "an example's doc_to_target: {} does not begin with a text",
                        python::repr(&target)
                    ))
                })?)
            }
            other => {
                let chosen = choices.as_ref().and_then(|choices| Some(choices[index(other, choices)?].clone()));
                Some(chosen.ok_or_else(|| {
                    Error::user(format!(
                        "an example's doc_to_target: {} is neither a text nor a choice",
                        python::str(other)
                    ))
                    .hint("write it as a template, such as `\"{{answer}}\"`")
                })?)
            }
        };
        let (delimiter, after) = (formulas.delimiter.clone(), formulas.after.clone());
        Ok(match (answer, prefix) {
            (Some(answer), Some(prefix)) => {
                let delimiter = if needs_delimiter(&question, &prefix) { delimiter } else { String::new() };
                let space = if needs_delimiter(&prefix, &answer) { " " } else { "" };
                Shot { question, delimiter, answer: format!("{prefix}{space}{answer}"), after }
            }
            (Some(answer), None) => Shot { question, delimiter, answer, after },
            (None, Some(prefix)) => {
                let delimiter = if needs_delimiter(&question, &prefix) { delimiter } else { String::new() };
                Shot { question, delimiter, answer: prefix, after: String::new() }
            }
            (None, None) => Shot { question, ..Shot::default() },
        })
    }

    fn text(&self, formulas: &PromptFormulas, doc: &Doc) -> Result<Value> {
        self.value(&formulas.text, doc)
    }

    fn target(&self, formulas: &PromptFormulas, doc: &Doc) -> Result<Value> {
        let value = self.value(&formulas.target, doc)?;
        match (&formulas.target, &value) {
            (Formula::Text(text), Value::String(rendered))
                if !self.features.contains(text) && rendered.starts_with('[') && rendered.ends_with(']') =>
            {
                Ok(literal(rendered).unwrap_or(value))
            }
            _ => Ok(value),
        }
    }

    fn choices(&self, formulas: &PromptFormulas, doc: &Doc) -> Result<Option<Vec<String>>> {
        let value = match &formulas.choice {
            None => return Ok(None),
            Some(Formula::Text(name)) if self.features.contains(name) => field(doc, name)?.clone(),
            Some(Formula::Text(template)) => {
                let text = self.templates.render(template, doc)?;
                literal(&text).ok_or_else(|| Error::user(format!("`{}` is not a list", brief(&text))))?
            }
            Some(Formula::Block(fields)) => fields.values().cloned().collect(),
            Some(formula) => formula.to_json(),
        };
        let choices =
            value.as_array().and_then(|items| items.iter().map(|item| Some(item.as_str()?.to_owned())).collect());
        choices.map(Some).ok_or_else(|| {
            Error::user(format!("{} is not a list of texts", python::repr(&value))).hint("put each choice in quotes")
        })
    }

    fn prefix(&self, formulas: &PromptFormulas, doc: &Doc) -> Result<Option<String>> {
        match &formulas.prefix {
            Some(Formula::Text(name)) if doc.contains_key(name) => Ok(Some(python::str(field(doc, name)?))),
            Some(Formula::Text(text)) => self.templates.render(text, doc).map(Some).map_err(|e| e.at("gen_prefix")),
            _ => Ok(None),
        }
    }

    /// The value of a formula for a document. Digits are the index of a choice if the task has choices.
    fn value(&self, formula: &Formula, doc: &Doc) -> Result<Value> {
        match formula {
            Formula::Text(name) if self.features.contains(name) => field(doc, name).cloned(),
            Formula::Text(template) => {
                let text = self.templates.render(template, doc)?;
                let number = text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
                match number {
                    Some(number) if self.question.choice.is_some() => Ok(Value::from(number)),
                    _ => Ok(Value::from(text)),
                }
            }
            other => Ok(other.to_json()),
        }
    }
}

impl Definition {
    /// The settings under `metadata.evomerge`.
    pub(super) fn ours(&self) -> Option<&super::definition::Ours> {
        self.metadata.as_ref()?.evomerge.as_ref().map(|ours| &ours.value)
    }
}

/// Index of a choice that is given by its number or text; negative numbers count from the end, as in Python.
pub(super) fn index(target: &Value, choices: &[String]) -> Option<usize> {
    match target {
        Value::String(text) => choices.iter().position(|choice| choice == text),
        Value::Bool(flag) => Some(usize::from(*flag)).filter(|index| *index < choices.len()),
        number => {
            let number = number.as_i64()?;
            let number = if number < 0 { number + choices.len() as i64 } else { number };
            usize::try_from(number).ok().filter(|index| *index < choices.len())
        }
    }
}

/// The texts of a target, which may be several texts or indices of choices.
pub(super) fn texts(target: &Value, choices: Option<&[String]>) -> Vec<String> {
    let text = |one: &Value| match choices.and_then(|choices| Some(choices[index(one, choices)?].clone())) {
        Some(choice) => choice,
        None => python::str(one),
    };
    match target {
        Value::Array(several) => several.iter().map(text).collect(),
        one => vec![text(one)],
    }
}

fn comparable(text: &str) -> String {
    normalize(text).replace(' ', "")
}

/// True if two texts need a delimiter: neither is empty, and there is no white space where they meet.
fn needs_delimiter(first: &str, second: &str) -> bool {
    let is_space = |c: Option<char>| c.is_none_or(python::is_space);
    !is_space(first.chars().next_back()) && !is_space(second.chars().next())
}
