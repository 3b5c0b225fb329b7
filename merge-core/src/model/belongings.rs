//! The files that belong to a model beside its weights: well-known ones, and the code that loads it.

use crate::{error::Result, model::Weights};
use regex::Regex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// Files that a tokenizer is made from; they are wrong once the tokenizer is changed.
pub(crate) const MADE_FROM: [&str; 9] = [
    "qwen.tiktoken",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spiece.model",
    "spm.model",
    "tekken.json",
    "tiktoken.model",
    "tokenizer.model",
    "tokenizer.model.v3",
];

/// File names that transformers uses for any model: for its prompts and its vocabulary.
const FILES: &[&str] = &[
    "added_tokens.json",
    "audio_tokenizer_config.json",
    "bpe.codes",
    "byte_maps.json",
    "chat_template.jinja",
    "chat_template.json",
    "dict.txt",
    "emoji.json",
    "entity_vocab.json",
    "generation_config.json",
    "merges.txt",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
    "qwen.tiktoken",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "source.spm",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "target.spm",
    "tekken.json",
    "tiktoken.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer.model.v3",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
];

/// Files beside `config.json` that may name code under `auto_map`.
const CONFIGURATIONS: [&str; 4] =
    ["preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "video_preprocessor_config.json"];

/// A file in a folder that may be beside a model; a result has no folders.
const CUSTOM_GENERATE: &str = "custom_generate/generate.py";

/// True if a file of this name may belong to a model, beside its weights and `config.json`; any Python module may.
pub fn belongs(name: &str) -> bool {
    FILES.contains(&name) || name.strip_suffix(".py").is_some_and(is_module)
}

/// Files that belong to a model beside its weights and `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings {
    /// Names of the files. Well-known files may be missing; code files exist.
    pub files: BTreeSet<String>,
    /// Notes for the user, such as code that is named and missing.
    pub notes: Vec<String>,
}

/// Finds the files that belong to a model. Code is read for its imports, and never run.
///
/// Fails if a file exists and cannot be read.
pub fn of(weights: &dyn Weights) -> Result<Belongings> {
    let mut found = code(weights, &["config.json"].into_iter().chain(CONFIGURATIONS).collect::<Vec<_>>())?;
    found.files.extend(FILES.iter().map(|name| (*name).to_owned()));
    if weights.sidecar(CUSTOM_GENERATE)?.is_some() {
        found.notes.push(format!("{}: {CUSTOM_GENERATE} is in a folder, and is not copied", weights.place()));
    }
    Ok(found)
}

/// The code that these configurations name under `auto_map`, and the modules beside it that the code imports.
pub(crate) fn code(weights: &dyn Weights, configurations: &[&str]) -> Result<Belongings> {
    let mut found = Belongings::default();
    // Why each module is needed; `None` if only an inner block names it, which may be of another repository.
    let mut named: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut elsewhere = BTreeSet::new();
    for name in configurations {
        for (class, is_top) in classes(weights, name)? {
            let by = is_top.then(|| format!("{name} names it under auto_map"));
            match class.split_once("--") {
                Some((repository, _)) if is_top => drop(elsewhere.insert(repository.to_owned())),
                Some(_) => {}
                None => {
                    let module = class.rsplit_once('.').map_or(class.as_str(), |(module, _)| module).to_owned();
                    let known = named.entry(module).or_default();
                    *known = known.take().or(by);
                }
            }
        }
    }
    while let Some((module, by)) = named.pop_first() {
        let file = format!("{module}.py");
        if found.files.contains(&file) {
            continue;
        }
        let code = if is_module(&module) { weights.sidecar(&file)? } else { None };
        match (code, by) {
            (Some(code), _) => {
                for imported in imports(&String::from_utf8_lossy(&code)) {
                    named.entry(imported).or_insert_with(|| Some(format!("{file} imports it")));
                }
                found.files.insert(file);
            }
            (None, Some(by)) => {
                found.notes.push(format!(
                    "{}: there is no {file}, but {by}: a program needs it to load the result",
                    weights.place()
                ));
            }
            (None, None) => {}
        }
    }
    found.notes.extend(elsewhere.into_iter().map(|repository| {
        format!("{}: auto_map names code of `{repository}`; the result takes it from there too", weights.place())
    }));
    Ok(found)
}

/// The classes that a configuration names, each with true if it is named at the top level.
fn classes(weights: &dyn Weights, name: &str) -> Result<Vec<(String, bool)>> {
    let mut classes = Vec::new();
    if name == "config.json" {
        gather(&Value::Object(weights.config().0.clone()), true, &mut classes);
    } else if let Some(bytes) = weights.sidecar(name)? {
        // A file that is not JSON names nothing; its loader reports it.
        gather(&serde_json::from_slice(&bytes).unwrap_or_default(), true, &mut classes);
    }
    Ok(classes)
}

fn gather(value: &Value, is_top: bool, classes: &mut Vec<(String, bool)>) {
    let Some(entries) = value.as_object() else { return };
    for (key, value) in entries {
        if key != "auto_map" {
            gather(value, false, classes);
            continue;
        }
        // One class, or for tokenizers a slow and a fast one, either of which may be null.
        let several = value.as_object().into_iter().flat_map(|map| map.values());
        let each = several.flat_map(|one| one.as_array().map_or(std::slice::from_ref(one), Vec::as_slice));
        classes.extend(each.filter_map(Value::as_str).map(|class| (class.to_owned(), is_top)));
    }
}

/// True if a module of this name can be in the model's own directory.
fn is_module(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c))
}

/// The modules in the same directory that Python code imports: `from .module import …`, `from . import module`.
fn imports(code: &str) -> BTreeSet<String> {
    static FROM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^[ \t]*from[ \t]+\.(?:(\w+)[\w.]*)?[ \t]+import\b[ \t]*(\([^)]*\)|[^\n#]*)")
            .expect("a pattern that was tried")
    });
    let mut modules = BTreeSet::new();
    for found in FROM.captures_iter(code) {
        if let Some(module) = found.get(1) {
            modules.insert(module.as_str().to_owned());
            continue;
        }
        let names = found[2].trim_matches(['(', ')']).split(',');
        let first = names.filter_map(|name| name.split_whitespace().next());
        modules.extend(first.filter(|name| is_module(name)).map(str::to_owned));
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::tests::Memory;
    use serde_json::json;

    fn check(auto_map: Value, files: &[(&str, &str)], expected: &[&str], notes: &[&str]) {
        let mut model = Memory::new(|_| 0.0);
        model.config.0.insert("auto_map".to_owned(), auto_map);
        model.sidecars = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        let found = of(&model).unwrap();
        let code: Vec<&str> =
            found.files.iter().map(String::as_str).filter(|name| name.strip_suffix(".py").is_some()).collect();
        assert_eq!((code, found.notes), (expected.to_vec(), notes.iter().map(|note| (*note).to_owned()).collect()));
    }

    #[test]
    fn code_is_what_is_named_and_what_that_imports() {
        let modeling = "import torch\nfrom .configuration_own import OwnConfig\ntry:\n    from .kernels import (\n        a,\n    )\n\
                        except ImportError:\n    pass\nfrom . import layers, (\nfrom .. import no\nfrom .sub.deep import b\n";
        check(
            json!({"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.Own"}),
            &[
                ("configuration_own.py", "from transformers import PretrainedConfig"),
                ("modeling_own.py", modeling),
                ("kernels.py", "from .modeling_own import x  # a circle"),
                ("layers.py", ""),
                ("left.py", "nothing names this"),
            ],
            &["configuration_own.py", "kernels.py", "layers.py", "modeling_own.py"],
            &["memory: there is no sub.py, but modeling_own.py imports it: a program needs it to load the result"],
        );
    }

    #[test]
    fn tokenizers_and_processors_name_code_too_and_parts_of_a_configuration_may() {
        check(
            json!({}),
            &[
                ("tokenizer_config.json", r#"{"auto_map": {"AutoTokenizer": ["tokenization_own.Own", null]}}"#),
                ("processor_config.json", r#"{"image_processor": {"auto_map": {"A": "image.Own", "B": "gone.Own"}}}"#),
                ("tokenization_own.py", ""),
                ("image.py", ""),
            ],
            &["image.py", "tokenization_own.py"],
            &[],
        );
    }

    #[test]
    fn what_is_missing_or_elsewhere_is_told_and_nothing_outside_is_read() {
        check(
            json!({"AutoConfig": "org/repo--configuration.Own", "AutoModel": "../up.Own", "AutoTokenizer": "gone.Own"}),
            &[("../up.py", ""), ("custom_generate/generate.py", "")],
            &[],
            &[
                "memory: there is no ../up.py, but config.json names it under auto_map: a program needs it to load the result",
                "memory: there is no gone.py, but config.json names it under auto_map: a program needs it to load the result",
                "memory: auto_map names code of `org/repo`; the result takes it from there too",
                "memory: custom_generate/generate.py is in a folder, and is not copied",
            ],
        );
    }
}
