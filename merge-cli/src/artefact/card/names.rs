//! Names of models in a card: the hub's, or a path's last part. Local paths are not published.

use merge_core::recipe::{Location, Recipe, locate};
use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

/// The names of the models of some recipes.
pub(crate) struct ModelNames {
    /// Published names, by the names in the recipe.
    published: BTreeMap<String, String>,
    /// Models on the hub, for the card's metadata; the base of the result first.
    pub(crate) on_hub: Vec<String>,
    /// Base of the result, unless another document makes it.
    pub(crate) base: Option<String>,
    /// All other models.
    pub(crate) merged: Vec<String>,
    /// True if some models are named by paths.
    pub(crate) has_files: bool,
}

impl ModelNames {
    /// Names the models of these documents, of which the last is the result.
    pub(crate) fn of(documents: &[Recipe]) -> Self {
        let mut names =
            Self { published: BTreeMap::new(), on_hub: Vec::new(), base: None, merged: Vec::new(), has_files: false };
        let result = documents.last();
        for document in documents.iter().rev() {
            // The result of another document cannot be downloaded by anybody.
            let named = document.references().into_iter().filter(|name| !document.siblings.contains(&name.value));
            for reference in named {
                if names.published.contains_key(&reference.value) {
                    continue;
                }
                let found = locate(&document.file, reference);
                let parts = found.map_or_else(
                    |_| vec![Location::Path(reference.as_str().into())],
                    |found| std::iter::once(found.model).chain(found.lora).collect(),
                );
                let is_base = result.is_some_and(|result| result.base_model.as_ref() == Some(reference));
                names.add(reference, &parts, is_base);
            }
        }
        names
    }

    fn add(&mut self, reference: &str, parts: &[Location], is_base: bool) {
        let mut called = Vec::new();
        for part in parts {
            called.push(match part {
                Location::Path(path) => {
                    self.has_files = true;
                    last_part(path)
                }
                Location::Hub { repo, revision } => {
                    if is_repo_id(repo) && !self.on_hub.contains(repo) {
                        let at = if is_base && self.base.is_none() { 0 } else { self.on_hub.len() };
                        self.on_hub.insert(at, repo.clone());
                    }
                    revision.as_ref().map_or_else(|| repo.clone(), |revision| format!("{repo}@{revision}"))
                }
            });
        }
        let called = called.join("+");
        let is_new = |name: &String| self.published.values().all(|known| known != name);
        let numbered = (2..).map(|number| format!("{called} ({number})"));
        let name = std::iter::once(called.clone()).chain(numbered).find(is_new).unwrap_or(called);
        if is_base {
            self.base = Some(name.clone());
        } else {
            self.merged.push(name.clone());
        }
        self.published.insert(reference.to_owned(), name);
    }

    /// Published name of a model that the recipe, or the name of its files, calls `name`.
    pub(crate) fn name(&self, name: &str) -> String {
        let (model, rest) = name.strip_suffix(ADAPTER).map_or((name, ""), |model| (model, ADAPTER));
        self.published.get(model).map_or_else(|| name.to_owned(), |published| format!("{published}{rest}"))
    }
}

/// Suffix of a model's name for the files of its adapter.
const ADAPTER: &str = " (adapter)";

/// Last part of a path; `..` and the like are resolved first.
fn last_part(path: &Path) -> String {
    let named = matches!(path.components().next_back(), Some(Component::Normal(_)));
    let found = if named { path.to_owned() } else { path.canonicalize().unwrap_or_default() };
    found.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// True for a name with an owner that the hub's library accepts (its `validate_repo_id`).
pub(crate) fn is_repo_id(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let part = |part: &str| {
        (1..=96).contains(&part.len())
            && part.chars().all(|c| is_word(c) || "-.".contains(c))
            && part.starts_with(is_word)
            && part.ends_with(is_word)
    };
    let parts: Vec<&str> = name.split('/').collect();
    parts.len() == 2
        && parts.into_iter().all(part)
        && !name.contains("--")
        && !name.contains("..")
        && name.strip_suffix(".git").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_what_its_library_takes() {
        for name in ["org/name", "a_b/c-d.e", "Qwen/Qwen2.5-7B-Instruct", "0/0", &format!("o/{}", "n".repeat(96))] {
            assert!(is_repo_id(name), "{name}");
        }
        let long = format!("o/{}", "n".repeat(97));
        for name in [
            "name",
            "a/b/c",
            "/name",
            "org/",
            "org/a--b",
            "org/a..b",
            "org/name.git",
            "org/.name",
            "org/name-",
            "org/名前",
            "user name/x",
            "../b",
            "./b",
            "-o/n",
            &long,
        ] {
            assert!(!is_repo_id(name), "{name}");
        }
    }

    /// Checks the published names: base, other models, and the metadata's.
    fn check(recipe: &str, base: Option<&str>, merged: &[&str], on_hub: &[&str]) {
        let documents = Recipe::parse_all(recipe, Path::new("r.yaml")).unwrap();
        let names = ModelNames::of(&documents);
        assert_eq!(
            (names.base.as_deref(), &names.merged[..], &names.on_hub[..]),
            (base, &owned(merged)[..], &owned(on_hub)[..])
        );
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn paths_are_published_by_their_last_part_and_the_base_comes_first() {
        let dir = tempfile::TempDir::new().unwrap();
        for name in ["a b/モデル", "c/モデル", "lora"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let at = |name: &str| format!("\"{}/{name}\"", dir.path().display());
        let models = format!("[{{model: {}}}, {{model: {}}}]", at("a b/モデル"), at("c/モデル"));
        check(&format!("merge_method: karcher\nmodels: {models}\n"), None, &["モデル", "モデル (2)"], &[]);
        check(
            "merge_method: slerp\nparameters: {t: 0.5}\nbase_model: org/base@main\nmodels: [{model: org/a}]\n",
            Some("org/base@main"),
            &["org/a"],
            &["org/base", "org/a"],
        );
        let lora = at("lora").replace('"', "");
        check(
            &format!("merge_method: passthrough\nmodels: [{{model: 'org/a+{lora}'}}]\n"),
            None,
            &["org/a+lora"],
            &["org/a"],
        );
        check(
            "name: x\nmerge_method: karcher\nmodels: [{model: org/a}, {model: org/b}]\n---\n\
             merge_method: slerp\nparameters: {t: 0.5}\nbase_model: x\nmodels: [{model: x}, {model: org/c}]\n",
            None,
            &["org/c", "org/a", "org/b"],
            &["org/c", "org/a", "org/b"],
        );
    }
}
