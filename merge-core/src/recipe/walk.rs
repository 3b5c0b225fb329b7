//! Visits all settings of a recipe, and all models that it names.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use super::{
    Model, Module, Parameters, Recipe, Slice, Source, TokenSource, TokenizerSettings,
    reference::{Location, locate},
};
use crate::{
    error::{Error, Result},
    yaml::{At, Map},
};

impl<S> Recipe<S> {
    /// True if the recipe is a path through layers.
    pub fn is_path(&self) -> bool {
        !self.path.is_empty()
    }

    /// All settings, with labels such as `models[1].weight` or `slices[0].sources[1].weight`: those
    /// of models, slices, modules and hops, then the recipe's own.
    pub fn settings(&self) -> impl Iterator<Item = (String, &At<S>)> {
        let mut all = Vec::new();
        collect_settings(&mut all, "", &self.models, &self.slices);
        for (name, module) in self.modules.iter() {
            let inside = format!("modules.{}.", name.value);
            collect_settings(&mut all, &inside, &module.models, &module.slices);
            label(&mut all, &inside, &module.parameters);
        }
        for (index, hop) in self.path.iter().enumerate() {
            all.extend(hop.settings().map(|(key, value)| (format!("path[{index}].{key}"), value)));
        }
        label(&mut all, "", &self.parameters);
        all.into_iter()
    }

    /// The same recipe with each setting replaced, in the order of [`Recipe::settings`].
    pub(crate) fn map<T>(&self, mut replace: impl FnMut(&S) -> T) -> Recipe<T> {
        let replace = &mut replace;
        let models = map_list(&self.models, |model| model.map(replace));
        let slices = map_list(&self.slices, |slice| slice.map(replace));
        let modules = self.modules.iter().map(|(name, module)| (name.clone(), module.map(replace))).collect();
        let path = map_list(&self.path, |hop| hop.map(replace));
        Recipe {
            name: self.name.clone(),
            merge_method: self.merge_method.clone(),
            base_model: self.base_model.clone(),
            models,
            slices,
            modules: At { value: Map(modules), place: self.modules.place },
            path,
            path_form: self.path_form,
            parameters: self.parameters.map(replace),
            dtype: self.dtype,
            out_dtype: self.out_dtype,
            random: self.random.clone(),
            tokenizer_source: self.tokenizer_source.clone(),
            tokenizer: self.tokenizer.clone(),
            chat_template: self.chat_template.clone(),
            tie_word_embeddings: self.tie_word_embeddings,
            fixes: self.fixes.clone(),
            file: self.file.clone(),
            siblings: self.siblings.clone(),
        }
    }

    /// All models that the recipe names, each once: the merged ones in the recipe's order, then the
    /// base, then a model that only lends its tokenizer.
    pub fn references(&self) -> Vec<&At<String>> {
        let mut references = self.merged();
        let tokenizer_donor =
            self.tokenizer_source.as_ref().or(self.tokenizer.as_ref().map(|tokenizer| &tokenizer.source));
        let tokenizer_donor = tokenizer_donor.filter(|source| !["union", "base"].contains(&source.as_str()));
        references.extend(tokenizer_donor.filter(|donor| !references.contains(donor)));
        references
    }

    /// The models to merge, each once; the base is last if it is not listed before.
    pub(crate) fn merged(&self) -> Vec<&At<String>> {
        let modules = || self.modules.iter().map(|(_, module)| module);
        let models = self.models.iter().chain(modules().flat_map(|module| module.models.iter()));
        let slices = self.slices.iter().chain(modules().flat_map(|module| module.slices.iter()));
        let of_slices = slices.flat_map(|slice| {
            let sources = slice.sources.iter().map(|source| &source.model);
            sources.chain(&slice.base_model)
        });
        let of_hops = self.path.iter().map(|hop| &hop.model);
        let named = models.map(|model| &model.model).chain(of_slices).chain(of_hops);
        let mut merged: Vec<&At<String>> = Vec::new();
        for reference in named.chain(&self.base_model) {
            if !merged.contains(&reference) {
                merged.push(reference);
            }
        }
        merged
    }

    /// The settings of the vocabulary, from either of mergekit's keys; `None` if the vocabulary stays as it is.
    pub fn tokenizer(&self) -> Option<Cow<'_, TokenizerSettings>> {
        let legacy = || self.tokenizer_source.as_ref().map(|source| Cow::Owned(TokenizerSettings::of(source.clone())));
        self.tokenizer.as_ref().map(|tokenizer| Cow::Borrowed(&tokenizer.value)).or_else(legacy)
    }

    /// Calls `change` for every name of a model.
    fn each_reference(&mut self, change: &mut dyn FnMut(&mut String)) {
        let modules = self.modules.value.0.iter_mut().map(|(_, module)| (&mut module.models, &mut module.slices));
        for (models, slices) in modules.chain([(&mut self.models, &mut self.slices)]) {
            for model in &mut models.value {
                change(&mut model.model.value);
            }
            for slice in &mut slices.value {
                let sources = slice.sources.value.iter_mut().map(|source| &mut source.model);
                for reference in sources.chain(&mut slice.base_model) {
                    change(&mut reference.value);
                }
            }
        }
        self.path.value.iter_mut().for_each(|hop| change(&mut hop.model.value));
        let tokenizer = self.tokenizer.as_mut().map(|tokenizer| &mut tokenizer.value);
        if let Some(TokenizerSettings { source, tokens, .. }) = tokenizer {
            if !["union", "base"].contains(&source.as_str()) {
                change(&mut source.value);
            }
            for source in tokens.iter_mut().filter_map(|(_, token)| token.source.as_mut()) {
                match &mut source.value {
                    TokenSource::Model(model) | TokenSource::Token { model, .. } => change(model),
                    TokenSource::Zero => {}
                }
            }
        }
        self.base_model.iter_mut().for_each(|base| change(&mut base.value));
        let tokenizer_donor =
            self.tokenizer_source.iter_mut().filter(|source| !["union", "base"].contains(&source.as_str()));
        tokenizer_donor.for_each(|source| change(&mut source.value));
    }
}

impl<S: Clone> Recipe<S> {
    /// The same recipe with other names for its models, for people to read. The names need not exist as paths.
    #[must_use]
    pub fn renamed(&self, name: &dyn Fn(&str) -> String) -> Self {
        let mut renamed = self.clone();
        renamed.each_reference(&mut |reference| *reference = name(reference));
        renamed
    }

    /// The same recipe for another file: its paths are rewritten to lead to the same models from
    /// there. Names on the hub and of other documents stay.
    ///
    /// Fails if a path does not exist, or if the file's directory does not exist yet.
    pub fn moved_to(&self, file: &Path) -> Result<Self> {
        // Resolves symbolic links, so that `..` means the same to us and to whoever follows the path.
        let absolute = |path: &Path| path.canonicalize().map_err(|e| Error::io("find", path, &e));
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let from = absolute(parent.unwrap_or(Path::new(".")))?;
        let relink = |written: &str, location: &Location| match location {
            Location::Path(path) => {
                let path = absolute(path)?;
                let linked = pathdiff::diff_paths(&path, &from).unwrap_or(path);
                Result::Ok(linked.to_string_lossy().into_owned())
            }
            Location::Hub { .. } => Ok(written.to_owned()),
        };
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        for reference in self.references().into_iter().filter(|name| !self.siblings.contains(&name.value)) {
            let found = locate(&self.file, reference)?;
            let linked = match (&found.lora, reference.split_once('+')) {
                (Some(adapter), Some((model, lora))) => {
                    let linked = [relink(model, &found.model)?, relink(lora, adapter)?];
                    if linked.iter().any(|part| part.contains('+')) {
                        let place = reference.place.of(&self.file);
                        return Err(Error::user(format!("{place}: `{}` has more than one `+`", linked.join("+")))
                            .hint("link to the directory under a name without it"));
                    }
                    linked.join("+")
                }
                _ => relink(reference, &found.model)?,
            };
            links.insert(reference.value.clone(), linked);
        }
        let mut moved = Self { file: file.to_owned(), ..self.clone() };
        moved.each_reference(&mut |name| {
            if let Some(linked) = links.get(name) {
                name.clone_from(linked);
            }
        });
        Ok(moved)
    }
}

impl<S> Model<S> {
    fn map<T>(&self, replace: &mut impl FnMut(&S) -> T) -> Model<T> {
        Model { model: self.model.clone(), parameters: self.parameters.map(replace) }
    }
}

impl<S> Slice<S> {
    fn map<T>(&self, replace: &mut impl FnMut(&S) -> T) -> Slice<T> {
        let sources = map_list(&self.sources, |source| Source {
            model: source.model.clone(),
            layer_range: source.layer_range,
            parameters: source.parameters.map(&mut *replace),
        });
        Slice {
            sources,
            base_model: self.base_model.clone(),
            merge_method: self.merge_method.clone(),
            parameters: self.parameters.map(replace),
            residual_weight: self.residual_weight,
        }
    }
}

impl<S> Module<S> {
    fn map<T>(&self, replace: &mut impl FnMut(&S) -> T) -> Module<T> {
        let models = map_list(&self.models, |model| model.map(replace));
        let slices = map_list(&self.slices, |slice| slice.map(replace));
        Module { models, slices, parameters: self.parameters.map(replace) }
    }
}

fn map_list<A, B>(list: &At<Vec<A>>, of: impl FnMut(&A) -> B) -> At<Vec<B>> {
    At { value: list.iter().map(of).collect(), place: list.place }
}

/// Adds the settings of a recipe's or a module's models or slices.
fn collect_settings<'r, S>(
    all: &mut Vec<(String, &'r At<S>)>,
    inside: &str,
    models: &'r [Model<S>],
    slices: &'r [Slice<S>],
) {
    for (index, model) in models.iter().enumerate() {
        label(all, &format!("{inside}models[{index}]."), &model.parameters);
    }
    for (index, slice) in slices.iter().enumerate() {
        let inside = format!("{inside}slices[{index}].");
        for (index, source) in slice.sources.iter().enumerate() {
            label(all, &format!("{inside}sources[{index}]."), &source.parameters);
        }
        label(all, &inside, &slice.parameters);
    }
}

fn label<'r, S>(all: &mut Vec<(String, &'r At<S>)>, inside: &str, parameters: &'r Parameters<S>) {
    all.extend(parameters.iter().map(|(key, value)| (format!("{inside}{}", key.value), value)));
}
