//! A task's configuration as lm-evaluation-harness writes it: its keys in its order, with its defaults for absent keys.

use crate::task::{Benchmark, OutputType};
use serde_json::{Map, Value, json};

/// Keys of a task, in order. Keys without a value are left out.
const KEYS: [&str; 35] = [
    "task",
    "task_alias",
    "tag",
    "custom_dataset",
    "dataset_path",
    "dataset_name",
    "dataset_kwargs",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "process_docs",
    "doc_to_text",
    "doc_to_target",
    "doc_to_image",
    "doc_to_audio",
    "unsafe_code",
    "doc_to_choice",
    "process_results",
    "use_prompt",
    "description",
    "target_delimiter",
    "fewshot_delimiter",
    "fewshot_config",
    "num_fewshot",
    "metric_list",
    "output_type",
    "generation_kwargs",
    "repeats",
    "filter_list",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "gen_prefix",
    "metadata",
    "class",
];

/// Keys of `fewshot_config`, in order, each with the key of the task that it takes its default from.
const SHOT_KEYS: [(&str, &str); 11] = [
    ("sampler", ""),
    ("split", "fewshot_split"),
    ("process_docs", "process_docs"),
    ("fewshot_indices", ""),
    ("samples", ""),
    ("doc_to_text", "doc_to_text"),
    ("doc_to_choice", "doc_to_choice"),
    ("doc_to_target", "doc_to_target"),
    ("gen_prefix", "gen_prefix"),
    ("fewshot_delimiter", "fewshot_delimiter"),
    ("target_delimiter", "target_delimiter"),
];

impl Benchmark {
    /// The configuration, as results hold it.
    pub(super) fn config(&self) -> Value {
        let mut written = functions_named(self.written_json()).as_object().cloned().unwrap_or_default();
        for (key, default) in [
            ("unsafe_code", json!(false)),
            ("description", json!("")),
            ("target_delimiter", json!(" ")),
            ("fewshot_delimiter", json!("\n\n")),
            ("num_fewshot", json!(0)),
            ("output_type", json!("generate_until")),
            ("repeats", json!(1)),
            ("should_decontaminate", json!(false)),
        ] {
            let slot = written.entry(key).or_insert(Value::Null);
            if slot.is_null() {
                *slot = default;
            }
        }
        written.insert("generation_kwargs".to_owned(), self.generation_kwargs());
        let own = written.get("fewshot_config").and_then(Value::as_object).cloned().unwrap_or_default();
        let shot = SHOT_KEYS.map(|(key, from)| {
            let inherited = written.get(from).cloned().unwrap_or(Value::Null);
            let default = if key == "sampler" { json!("default") } else { inherited };
            (key.to_owned(), own.get(key).cloned().unwrap_or(default))
        });
        written.insert("fewshot_config".to_owned(), Map::from_iter(shot).into());
        let mut metadata = written.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        metadata.insert("config_source".to_owned(), self.file().display().to_string().into());
        written.insert("metadata".to_owned(), metadata.into());
        // The harness does not write tags.
        let shown = KEYS.into_iter().filter(|key| *key != "tag");
        let known =
            shown.filter_map(|key| Some((key.to_owned(), written.get(key).filter(|value| !value.is_null())?.clone())));
        known.collect::<Map<_, _>>().into()
    }

    /// Generation settings as lm-evaluation-harness passes them to a model; null if the task generates nothing.
    pub(super) fn generation_kwargs(&self) -> Value {
        if self.output() != OutputType::GenerateUntil {
            return Value::Null;
        }
        let written = self.written_json();
        let delimiter = written.get("fewshot_delimiter").and_then(Value::as_str).unwrap_or("\n\n");
        match written.get("generation_kwargs").and_then(Value::as_object) {
            Some(kwargs) => {
                let mut kwargs = kwargs.clone();
                if let Some(temperature) = kwargs.get("temperature").and_then(Value::as_f64) {
                    kwargs.insert("temperature".to_owned(), json!(temperature));
                }
                kwargs.entry("until").or_insert_with(|| json!([delimiter]));
                kwargs.into()
            }
            None => json!({ "temperature": 0.0, "do_sample": false, "max_gen_toks": 256, "until": [delimiter] }),
        }
    }
}

/// Replaces each object `{"!function": name}` by the text `!function name`.
fn functions_named(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("!function") {
            Some(name) => format!("!function {}", name.as_str().unwrap_or_default()).into(),
            None => fields.iter().map(|(key, value)| (key.clone(), functions_named(value))).collect(),
        },
        Value::Array(items) => items.iter().map(functions_named).collect(),
        other => other.clone(),
    }
}
