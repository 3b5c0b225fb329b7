//! Checks layers against the numbers in configurations, and notes the other stacks.

use super::{LayerView, Planner, alike::LayerRelation};
use crate::{
    error::{Error, Result},
    merge::sources::Sources,
    model::layers::Layers,
    words::counted,
};
use std::collections::BTreeMap;

/// Ends of the layers' prefix in plain decoders and encoders, where layers are missing if fewer are
/// stored than counted. (Elsewhere, such as in ALBERT, a layer may be used more than once.)
const PLAIN: [&str; 5] = ["layers.", "layer.", "h.", "blocks.", "block."];

impl<'r> Planner<'r> {
    /// Refuses a model that counts more layers than it has, or the donor's stack differently; where
    /// layers are moved, also one with several possible stacks. Notes stacks that are not counted.
    pub(super) fn check_layers(&mut self, sources: &Sources) -> Result<()> {
        let moves = !self.recipe.path.is_empty()
            || !self.recipe.slices.is_empty()
            || self.recipe.modules.iter().any(|(_, module)| !module.slices.is_empty());
        let donors = self.layers(self.donor, &|_| true);
        for reference in self.recipe.merged() {
            let source = sources.position(reference);
            let (model, layers) = (&self.models[source].1, self.layers(source, &|_| true));
            let Some((key, said)) = &layers.stated_count else { continue };
            let is_same_stack =
                layers.prefix == donors.prefix && layers.count + layers.behind == donors.count + donors.behind;
            if is_same_stack && layers.count != donors.count {
                let (a, b) = (self.models[self.donor].1.place(), model.place());
                let (ours, stored) = (donors.count, layers.count + layers.behind);
                let message = format!(
                    "{a} and {b}: config.json: {key} is {ours} and {said}, and both have {} of tensors",
                    counted(stored, "layer")
                );
                return Err(Error::user(message)
                    .at(self.place(reference))
                    .hint("one of the two counts wrongly: correct it in its config.json"));
            }
            let is_plain = PLAIN.iter().any(|end| layers.prefix == *end || layers.prefix.ends_with(&format!(".{end}")));
            if layers.count != *said && (moves || is_plain) {
                let (count, prefix) = (layers.count, &layers.prefix);
                let message = format!(
                    "{}: config.json: {key} is {said}, and the layers of `{prefix}` are {count}",
                    model.place()
                );
                return Err(Error::user(message).at(self.place(reference)).hint(format!(
                    "if layers are missing, download the model again; if these are all, set {key} to {count}"
                )));
            }
            if let (true, Some(rival)) = (moves, layers.rivals.first()) {
                let prefix = &layers.prefix;
                let message = format!(
                    "{}: config.json: {key} is {said}, and both `{prefix}` and `{rival}` have that many layers",
                    model.place()
                );
                return Err(Error::user(message).at(self.place(reference)).hint(
                    "layers that lie in several lists cannot be moved; `models` merges them, and `modules` takes parts of a model apart",
                ));
            }
        }
        let (name, model) = &self.models[self.donor];
        // A language model's block without a number leaves it to its class.
        let is_counted = donors.stated_count.is_some() || model.config().blocks().len() > 1;
        self.plan.notes.extend(is_counted.then(|| note(&donors, name)).flatten());
        Ok(())
    }

    /// Compares every model's configuration with the donor's. `views` are those of each module,
    /// with true if the module has the language model's layers.
    pub(super) fn check_configs(&mut self, views: &[(Vec<LayerView<'r>>, bool)]) -> Result<()> {
        let donor = self.donor;
        let mut relations: BTreeMap<usize, ([LayerRelation; 2], &str)> = BTreeMap::new();
        for (views, holds_layers) in views {
            for view in views {
                let has_donor = view.members.iter().any(|member| member.source == donor);
                let is_stacked = *holds_layers && views.len() > 1 && !has_donor && !view.members[0].layers.is_empty();
                let relation = if is_stacked { LayerRelation::Stacked } else { LayerRelation::Merged };
                for member in view.members.iter().filter(|member| member.source != donor) {
                    let ([least, most], _) =
                        relations.entry(member.source).or_insert(([relation, relation], &member.place));
                    (*least, *most) = (relation.min(*least), relation.max(*most));
                }
            }
        }
        for (source, (relations, place)) in relations {
            self.check_config(donor, source, relations, place)?;
        }
        Ok(())
    }
}

/// A note for the user on stacks that are not layers of the language model.
fn note(layers: &Layers, name: &str) -> Option<String> {
    let key = layers.stated_count.as_ref().map_or(String::new(), |(key, _)| format!(" ({key})"));
    let other = |(prefix, count): (&str, usize)| {
        if prefix == layers.prefix {
            format!("{count} after the last of them")
        } else {
            format!("{count} of `{prefix}`")
        }
    };
    let others: Vec<String> = layers.other_stacks().into_iter().map(other).collect();
    let (count, prefix) = (layers.count, &layers.prefix);
    (!others.is_empty()).then(|| {
        format!(
            "`{name}`: its {} `{prefix}`{key}; merged by name, and not counted as its layers: {}",
            if count == 1 { "layer is".to_owned() } else { format!("{count} layers are") },
            others.join(", ")
        )
    })
}
