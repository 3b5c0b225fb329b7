//! Refuses models and slices that do not fit together, before a weight is read.

use super::{LayerView, Member, Planner, TensorKey};
use crate::{
    error::{Error, Result},
    merge::{
        config::{
            alike::{Difference, differences, is_carried},
            effect::Effect,
        },
        vocabulary,
    },
    model::{Index, Weights},
};
use std::collections::{BTreeMap, BTreeSet};

/// Relation of a model's layers to the layers of the donor, whose configuration the result has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LayerRelation {
    /// Averaged tensor by tensor, or apart from the language model's layers.
    Merged,
    /// Layers of their own, above or below the donor's.
    Stacked,
}

impl<'r> Planner<'r> {
    /// Refuses slices that cannot be stacked: the layers of their models must be alike, and the
    /// tensors before the first layer must fit those after the last.
    pub(super) fn check_stack(&self, views: &[LayerView<'r>], names: &dyn Fn(&str) -> bool) -> Result<()> {
        let first = &views[0].members[0];
        for (number, view) in views.iter().enumerate().skip(1) {
            let member = &view.members[0];
            let is_last = number + 1 == views.len();
            // With one count for both, tensors behind the last layer have the same names.
            let count = self.layers(first.source, names).count;
            for outside in [None, Some(count)].into_iter().filter(|outside| outside.is_none() || is_last) {
                let (ours, theirs) = [first, member].map(|member| self.shapes(member.source, outside, names)).into();
                let Some((name, shape)) = ours.symmetric_difference(&theirs).next() else { continue };
                let [a, b] = [first, member].map(|member| self.models[member.source].1.place());
                let name = name.trim_start_matches('.');
                return Err(Error::user(format!("{a} and {b}: `{name}` of shape {shape:?} is not in both"))
                    .at(&member.place)
                    .hint("only layers of one architecture, size and vocabulary can stand upon each other; `tokenizer` makes vocabularies the same"));
            }
        }
        Ok(())
    }

    /// Compares the configurations of the donor and another model, as far as they describe how layers compute.
    ///
    /// Refuses a difference that no merge makes right. For layers stacked among the donor's, refuses all that one
    /// configuration cannot say of both. Other differences may be intended, and become a note. `least` and `most`
    /// differ only if the model meets the donor in several slices.
    pub(super) fn check_config(
        &mut self,
        donor: usize,
        source: usize,
        [least, most]: [LayerRelation; 2],
        place: &str,
    ) -> Result<()> {
        let [a, b] = [donor, source].map(|source| &self.models[source].1);
        let counts = [donor, source].map(|source| self.layers(source, &|_| true).count);
        let is_carried = |difference: &Difference| is_carried(difference, [a.config(), b.config()], counts);
        let is_told = |difference: &Difference| least == LayerRelation::Merged || !is_carried(difference);
        let differences: Vec<Difference> = differences(a.config(), b.config()).into_iter().filter(is_told).collect();
        let is_refused = |difference: &&Difference| match most {
            LayerRelation::Merged => difference.effect == Effect::Fatal,
            LayerRelation::Stacked => difference.effect <= Effect::Layer && !is_carried(difference),
        };
        let refused: Vec<String> = differences.iter().filter(is_refused).map(Difference::both).collect();
        if !refused.is_empty() {
            let what = format!("{} and {}: config.json: {}", a.place(), b.place(), refused.join("; "));
            return Err(Error::user(what).at(place).hint(match most {
                LayerRelation::Merged => "the same tensors compute something else in them: only models of one architecture can be merged",
                LayerRelation::Stacked => "the result has one config.json for all its layers: only layers that compute alike can stand among each other",
            }));
        }
        if !differences.is_empty() {
            let [a, b] = [donor, source].map(|source| &self.models[source].0);
            let said: Vec<String> = differences.iter().map(Difference::not).collect();
            let note =
                format!("`{b}`: its config.json is not that of `{a}`, which the result takes: {}", said.join("; "));
            self.plan.notes.push(note);
        }
        Ok(())
    }

    /// Names and shapes of a model's tensors: of the layers, named without prefix and number; or,
    /// given `outside`, of the tensors outside the layers, named as in a model of that many layers.
    pub(super) fn shapes(
        &self,
        source: usize,
        outside: Option<usize>,
        names: &dyn Fn(&str) -> bool,
    ) -> BTreeSet<(String, Vec<usize>)> {
        let index = self.models[source].1.index();
        let layers = self.layers(source, names);
        let mut shapes = BTreeSet::new();
        for (name, meta) in index.iter().filter(|(name, _)| names(name)) {
            match (layers.of_tensor(name), outside) {
                (Some(_), None) => drop(shapes.insert((layers.rest(name).to_owned(), meta.shape.clone()))),
                (None, Some(count)) => drop(shapes.insert((layers.outside(name, count), meta.shape.clone()))),
                _ => {}
            }
        }
        shapes
    }

    /// Refuses a model whose tensors in a view differ from the first one's in names or shapes.
    pub(super) fn comparable(
        &self,
        first: &Member<'_>,
        firsts: &BTreeMap<TensorKey, &str>,
        member: &Member<'_>,
        theirs: &BTreeMap<TensorKey, &str>,
    ) -> Result<()> {
        let [donor, model] = [first, member].map(|member| &self.models[member.source].1);
        let shapes = |index: &Index, keys: &BTreeMap<TensorKey, &str>| {
            let mut shapes: Vec<Vec<usize>> = keys.values().map(|name| index[*name].shape.clone()).collect();
            shapes.sort_unstable();
            shapes
        };
        let lacks = |one: &dyn Weights,
                     has: &BTreeMap<TensorKey, &str>,
                     other: &dyn Weights,
                     wanted: &BTreeMap<TensorKey, &str>| {
            let missing: Vec<&str> =
                wanted.iter().filter(|(key, _)| !has.contains_key(*key)).map(|(_, name)| *name).collect();
            let (name, more) = (missing.first()?, missing.len() - 1);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("{} lacks `{name}`{more}, which {} has", one.place(), other.place());
            let renamed = has.len() == wanted.len() && shapes(one.index(), has) == shapes(other.index(), wanted);
            Some(Error::user(message).hint(if renamed {
                "only the names of their tensors differ: store one of them anew with the version of its program that \
                     stored the other"
            } else {
                "only models of one architecture and size can be merged"
            }))
        };
        if let Some(error) =
            lacks(&**model, theirs, &**donor, firsts).or_else(|| lacks(&**donor, firsts, &**model, theirs))
        {
            return Err(error);
        }
        for (key, name) in firsts {
            let (shape, other) = (&donor.index()[*name].shape, &model.index()[theirs[key]].shape);
            if shape != other {
                let (a, b) = (donor.place(), model.place());
                let message = format!("{a} and {b}: the shapes of `{name}` differ: {shape:?} and {other:?}");
                return Err(Error::user(message).hint(if key.0.is_none() && shape.get(1..) == other.get(1..) {
                    vocabulary::VOCABULARIES_DIFFER
                } else {
                    "only models of one architecture and size can be merged"
                }));
            }
        }
        Ok(())
    }
}
