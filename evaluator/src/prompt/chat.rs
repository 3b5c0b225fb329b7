//! Writes prompts as conversations, by the model's own chat template, as transformers renders it.

use super::Specials;
use crate::{
    jinja, python,
    request::{Prompt, Shot},
};
use merge_core::{
    error::{Error, Result},
    model::Weights,
    tokenizer::chat,
};
use minijinja::{
    Environment, State, Value, context,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, merge_maps},
};
use regex::Regex;
use serde::Serialize as _;
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, fmt, io};

/// The way prompts become conversations.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Template that writes them as text; `None` if a server does that.
    template: Option<ChatTemplate>,
    /// System message before everything else.
    system: Option<String>,
}

/// A model's chat template.
#[derive(Clone)]
struct ChatTemplate {
    environment: Environment<'static>,
    specials: BTreeMap<String, String>,
    /// The template, as the model has it.
    text: String,
    /// Place of the model, for messages.
    place: String,
}

const NAME: &str = "chat_template";

impl Conversation {
    /// Takes the template of a model, and a system message.
    pub(crate) fn of(weights: &dyn Weights, specials: &Specials, system: Option<String>) -> Result<Self> {
        let place = weights.place();
        let Some(template) = chat::of(weights)? else {
            return Err(Error::user(format!("{place}: the model has no chat template"))
                .hint("ask it without one, or give its tokenizer_config.json a `chat_template`"));
        };
        Ok(Self { template: Some(ChatTemplate::new(template, specials.texts.clone(), place)?), system })
    }

    /// Leaves the template to a server.
    pub(crate) fn of_server(system: Option<String>) -> Self {
        Self { template: None, system }
    }

    /// The model's template; empty if a server has its own.
    pub fn template(&self) -> &str {
        self.template.as_ref().map_or("", |template| &template.text)
    }

    /// The system message.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// The prompt without its first `dropped` examples: as text by the template, or as messages for a server.
    pub fn asked(&self, prompt: &Prompt, dropped: usize) -> Result<Json> {
        match self.template {
            Some(_) => self.text(prompt, dropped).map(Json::from),
            // A list with one text of JSON, as lm-evaluation-harness records its requests to a server.
            None => Ok(json!([python::dumps(&self.messages(prompt, dropped).into(), None)])),
        }
    }

    /// The text of a prompt without its first `dropped` examples, up to where the model's answer begins.
    ///
    /// # Panics
    /// If the template is left to a server.
    pub(crate) fn text(&self, prompt: &Prompt, dropped: usize) -> Result<String> {
        let template = self.template.as_ref().expect("a server is told messages, not text");
        template.render(self.messages(prompt, dropped))
    }

    /// A prompt's messages without its first `dropped` examples: system, then user and assistant in turn, then user.
    ///
    /// The system message comes before the prompt's head, with an empty line between if there is no white space.
    pub(crate) fn messages(&self, prompt: &Prompt, dropped: usize) -> Vec<Json> {
        let said = |role: &str, content: &str| json!({ "role": role, "content": content });
        let system = self.system.as_deref().unwrap_or_default();
        let apart = !system.is_empty() && !prompt.head.is_empty();
        let apart = apart && !system.ends_with(char::is_whitespace) && !prompt.head.starts_with(char::is_whitespace);
        let system = [system, if apart { "\n\n" } else { "" }, &prompt.head].concat();
        let mut messages = Vec::new();
        if !system.is_empty() {
            messages.push(said("system", &system));
        }
        for Shot { question, answer, .. } in &prompt.shots[dropped..] {
            messages.extend([said("user", question), said("assistant", answer)]);
        }
        messages.push(said("user", &prompt.question));
        messages
    }
}

impl ChatTemplate {
    fn new(text: String, specials: BTreeMap<String, String>, place: String) -> Result<Self> {
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let mut environment = jinja::environment(syntax.expect("the usual delimiters differ"));
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |what: String| Err::<Value, _>(jinja::invalid(what)));
        environment.add_function("strftime_now", |format: String| strftime(&format));
        let added = jinja::add(&mut environment, NAME, &without_generation(&text));
        added.map_err(|e| refused(&place, &e))?;
        Ok(Self { environment, specials, text, place })
    }

    fn render(&self, messages: Vec<Json>) -> Result<String> {
        let none = Value::from(());
        let messages = Value::from(Serde(messages));
        let data = context! { messages, add_generation_prompt => true, tools => none.clone(), documents => none };
        let data = merge_maps([data, Value::from(Serde(&self.specials))]);
        jinja::fill(&self.environment, NAME, data).map_err(|e| refused(&self.place, &e))
    }
}

fn refused(place: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map_or_else(String::new, |line| format!("line {line}: "));
    Error::user(format!("{place}: {NAME}: {line}{}", jinja::message(error)))
}

/// The template with plain tags in place of transformers' `generation` tags, which change no text.
fn without_generation(template: &str) -> String {
    let mark = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a valid pattern");
    let plain = |found: &regex::Captures<'_>| {
        let tag = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {tag} {}%}}", &found[1], &found[3])
    };
    mark.replace_all(template, plain).into_owned()
}

/// Writes JSON as `json.dumps(value, ensure_ascii=False)` does, indented or not.
#[expect(clippy::needless_pass_by_value, reason = "minijinja passes the options so")]
fn to_json(state: &State<'_, '_>, value: &Value, options: Kwargs) -> std::result::Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    if indent.is_some_and(|indent| indent > jinja::WIDEST) {
        return Err(jinja::invalid(format!("an indent may have at most {} spaces", jinja::WIDEST)));
    }
    // `ensure_ascii` is accepted without effect.
    let _: Option<Value> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut text = Paid { bytes: Vec::new(), most: jinja::affordable(state) };
    let written = if let Some(indent) = indent {
        let spaces = " ".repeat(indent);
        let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, pretty))
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced))
    };
    written.map_err(jinja::invalid)?;
    Ok(Value::from_safe_string(String::from_utf8(text.bytes).expect("JSON is UTF-8")))
}

/// A buffer that holds no more bytes than can be paid for.
struct Paid {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Paid {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::Error::other(format!("its JSON has more than {} bytes", self.most)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON on one line, as Python writes it.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        to.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

/// Formats the date for a template: always Friday, 26 July 2024, the fallback of Llama's templates,
/// because a score must not depend on the day.
fn strftime(format: &str) -> String {
    let fields = [
        ("%d", "26"),
        ("%b", "Jul"),
        ("%B", "July"),
        ("%m", "07"),
        ("%Y", "2024"),
        ("%y", "24"),
        ("%a", "Fri"),
        ("%A", "Friday"),
        ("%H", "00"),
        ("%M", "00"),
        ("%S", "00"),
        ("%j", "208"),
        ("%-d", "26"),
        ("%-m", "7"),
    ];
    fields.iter().fold(format.to_owned(), |text, (field, value)| text.replace(field, value))
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn chat(template: &str, system: Option<&str>) -> Result<Conversation> {
        let texts =
            [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        let template = ChatTemplate::new(template.to_owned(), texts.into(), "here".to_owned())?;
        Ok(Conversation { template: Some(template), system: system.map(str::to_owned) })
    }

    /// Texts that transformers 5 wrote: `benches/peers/chat_refs.py`.
    fn references() -> Vec<Json> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/chat-templates.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn writes_what_transformers_writes() {
        let shot = |question: &str, answer: &str| Shot {
            question: question.to_owned(),
            delimiter: " ".to_owned(),
            answer: answer.to_owned(),
            after: "\n\n".to_owned(),
        };
        let mut prompt = Prompt {
            head: "例".to_owned(),
            shots: vec![shot("left out", "too"), shot("1+1は？", " <think>\nうーん\n</think>\n\n2です\n")],
            question: " <5>'\"は？\n".to_owned(),
            ..Prompt::default()
        };
        for reference in references() {
            let has_system = reference["messages"][0]["role"] == "system";
            prompt.head = if has_system { "例" } else { "" }.to_owned();
            let system = has_system.then_some("計算してください。");
            let chat = chat(reference["template"].as_str().unwrap(), system).unwrap();
            assert_eq!(json!(chat.messages(&prompt, 1)), reference["messages"]);
            let text = chat.text(&prompt, 1).unwrap();
            assert_eq!(text, reference["text"].as_str().unwrap(), "{}", reference["name"]);
            assert_eq!(chat.asked(&prompt, 1).unwrap(), text);
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_template() {
        let prompt = Prompt::plain("1+1は？");
        let check = |template: &str, error: &str| {
            let result = chat(template, None).and_then(|chat| chat.text(&prompt, 0));
            assert_eq!(result.unwrap_err().to_string(), error);
        };
        check("{{ raise_exception('no system, please') }}", "here: chat_template: line 1: no system, please");
        let levels = "{% with a = [a, a] %}".repeat(40);
        let ends = "{% endwith %}".repeat(40);
        check(
            &format!("{{% set a = [1] %}}{levels}{{{{ a == [messages] }}}}{ends}"),
            "here: chat_template: line 1: rendering takes more than 2000000 steps (64 bytes of text count as one step)",
        );
        check("{% for m in messages %}", "here: chat_template: line 1: unexpected end of input, expected end of block");
        let dated = chat("{{ strftime_now('%d %b %Y') }}", None).unwrap();
        assert_eq!(dated.text(&prompt, 0).unwrap(), "26 Jul 2024");
    }
}
