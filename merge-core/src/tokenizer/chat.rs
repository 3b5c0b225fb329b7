//! Chat templates: the models' own, five well-known formats, or Jinja text.
//!
//! The built-in templates follow the formats as their makers publish them, and their white space does not depend on the
//! settings of a Jinja engine: checked with transformers 5.23, and with jinja2 3.1 with and without trimmed blocks.

use super::sidecars::{Sidecars, TOKENIZER_CONFIG, json_of, pretty};
use crate::{
    error::{Error, Result},
    model::Weights,
    words::did_you_mean,
};
use serde_json::{Value, json};

const JINJA: &str = "chat_template.jinja";
/// File in which processors of images and sound keep the template.
const JSON: &str = "chat_template.json";

/// The well-known formats, by their names in recipes.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("alpaca", include_str!("templates/alpaca.jinja")),
    ("chatml", include_str!("templates/chatml.jinja")),
    ("exaone", include_str!("templates/exaone.jinja")),
    ("llama3", include_str!("templates/llama3.jinja")),
    ("mistral", include_str!("templates/mistral.jinja")),
];

/// The template that a recipe's `chat_template` asks for.
///
/// `auto` is the template that most models have, of equally common ones the first; `None` if no model has one. Any
/// other `choice` is the name of a [built-in one](BUILT_IN), or Jinja text: at least 20 characters with a `{`. Fails if
/// it is none of these, or if a model's file cannot be read.
pub fn choose(choice: &str, models: &[&dyn Weights]) -> Result<Option<String>> {
    if choice == "auto" {
        let own = models.iter().map(|model| of(*model)).collect::<Result<Vec<_>>>()?;
        let own: Vec<&str> = own.iter().flatten().map(|template| template.trim()).collect();
        let votes = |template: &str| own.iter().filter(|other| **other == template).count();
        // `max_by_key` gives the last of equals, so the order is reversed.
        return Ok(own.iter().rev().max_by_key(|template| votes(template)).map(|template| (*template).to_owned()));
    }
    if let Some((_, template)) = BUILT_IN.iter().find(|(name, _)| *name == choice) {
        return Ok(Some(template.trim().to_owned()));
    }
    if choice.contains('{') && choice.chars().count() >= 20 {
        return Ok(Some(choice.to_owned()));
    }
    let names = || BUILT_IN.iter().map(|(name, _)| *name).chain(["auto"]);
    let hint = did_you_mean(choice, names()).map_or_else(
        || format!("write {}, or the template itself in Jinja", names().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Err(Error::user(format!("chat_template: there is no chat template `{choice}`")).hint(hint))
}

/// A model's chat template, from the files in which transformers looks for it, in its order: `chat_template.jinja`,
/// `tokenizer_config.json` (of several, the one named `default`), and the processor's `chat_template.json`.
///
/// Fails if a file cannot be read or is not JSON.
pub fn of(model: &dyn Weights) -> Result<Option<String>> {
    if let Some(bytes) = model.sidecar(JINJA)? {
        let text = String::from_utf8(bytes);
        return text.map(Some).map_err(|_| Error::user(format!("{}: {JINJA}: this is not UTF-8 text", model.place())));
    }
    for name in [TOKENIZER_CONFIG, JSON] {
        let file = json_of(model, name)?.unwrap_or_default();
        if let Some(template) = default(&file["chat_template"]) {
            return Ok(Some(template.to_owned()));
        }
    }
    Ok(None)
}

/// The default template of a text, `{default: …}`, or `[{name: default, template: …}]`.
fn default(value: &Value) -> Option<&str> {
    match value {
        Value::String(template) => Some(template),
        Value::Object(named) => named.get("default")?.as_str(),
        Value::Array(named) => {
            named.iter().find(|entry| entry["name"] == "default").and_then(|entry| entry["template"].as_str())
        }
        _ => None,
    }
}

/// The files of a model with this chat template: in `tokenizer_config.json` for older programs, and in its own file.
///
/// Fails if `tokenizer_config.json` is not a JSON object.
pub fn sidecars(template: &str, model: &dyn Weights) -> Result<Sidecars> {
    let mut config = json_of(model, TOKENIZER_CONFIG)?.unwrap_or_else(|| json!({}));
    let entries = config.as_object_mut().ok_or_else(|| {
        Error::user(format!("{}: {TOKENIZER_CONFIG}: not a JSON object", model.place())).hint("download it again")
    })?;
    entries.insert("chat_template".to_owned(), json!(template));
    Ok(Sidecars::from([
        (TOKENIZER_CONFIG.to_owned(), Some(pretty(&config))),
        (JINJA.to_owned(), Some(template.as_bytes().to_vec())),
        (JSON.to_owned(), None),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::tests::Memory;

    /// A model with one file.
    fn with(name: &str, text: &str) -> Memory {
        let mut model = Memory::new(|_| 0.0);
        model.sidecars.insert(name.to_owned(), text.as_bytes().to_vec());
        model
    }

    fn chosen(models: &[Memory]) -> Option<String> {
        let models: Vec<&dyn Weights> = models.iter().map(|model| model as &dyn Weights).collect();
        choose("auto", &models).unwrap()
    }

    #[test]
    fn the_most_common_template_is_taken_wherever_it_is_written() {
        let models = [
            with(TOKENIZER_CONFIG, r#"{"chat_template": "one"}"#),
            with(JINJA, "\ntwo\n"),
            with(
                TOKENIZER_CONFIG,
                r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "two"}]}"#,
            ),
            with(TOKENIZER_CONFIG, r#"{"chat_template": {"default": "three"}}"#),
            with(JSON, r#"{"chat_template": "one"}"#),
        ];
        // `one` and `two` appear twice each: the first is taken.
        assert_eq!(chosen(&models).as_deref(), Some("one"));
        assert_eq!(chosen(&models[1..]).as_deref(), Some("two"));
        assert_eq!(chosen(&models[3..]).as_deref(), Some("three"));
        assert_eq!(chosen(&[with(TOKENIZER_CONFIG, "{}")]), None);
    }

    #[test]
    fn a_template_is_named_or_written_out() {
        for (name, markers) in [
            ("alpaca", "### Instruction:\\n"),
            ("chatml", "<|im_start|>assistant\\n"),
            ("exaone", "[|endofturn|]\\n"),
            ("llama3", "<|start_header_id|>assistant<|end_header_id|>\\n\\n"),
            ("mistral", "[INST] "),
        ] {
            assert!(choose(name, &[]).unwrap().is_some_and(|template| template.contains(markers)), "{name}");
        }
        let text = "{{ messages[0].content }}";
        assert_eq!(choose(text, &[]).unwrap().as_deref(), Some(text));
        let error = choose("chatlm", &[]).unwrap_err();
        assert_eq!(error.to_string(), "chat_template: there is no chat template `chatlm`");
        assert_eq!(error.advice(), Some("did you mean `chatml`?"));
    }

    #[test]
    fn a_chosen_template_replaces_every_other() {
        let model = with(TOKENIZER_CONFIG, r#"{"bos_token": "<s>", "chat_template": "old"}"#);
        let files = sidecars("new", &model).unwrap();
        let config: Value = serde_json::from_slice(files[TOKENIZER_CONFIG].as_ref().unwrap()).unwrap();
        assert_eq!(config, json!({ "bos_token": "<s>", "chat_template": "new" }));
        assert_eq!((&files[JINJA], &files[JSON]), (&Some(b"new".to_vec()), &None));
    }
}
