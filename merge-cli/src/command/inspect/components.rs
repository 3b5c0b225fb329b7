//! A short list of a model's tensors: names that differ only in numbers share a line.

use merge_core::model::{Index, Meta, layers::Layers};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Tensors of one type and shape whose names differ only in numbers.
#[derive(Serialize)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) dtype: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) tensors: usize,
    pub(super) parameters: u64,
}

/// Groups all tensors: first those before the layers, last those after them.
pub(super) fn components(index: &Index, layers: &Layers) -> Vec<Component> {
    // By place, name without numbers, type and shape: the numbers in the names.
    let mut groups: BTreeMap<_, Vec<Vec<usize>>> = BTreeMap::new();
    for (name, Meta { dtype, shape }) in index {
        let place = match layers.of_tensor(name) {
            Some(_) => 1,
            None if layers.embeddings.contains(name) => 0,
            None => 2,
        };
        let number = |part: &str| part.parse().ok();
        let pattern: Vec<&str> = name.split('.').map(|part| if number(part).is_some() { "*" } else { part }).collect();
        let group = groups.entry((place, pattern.join("."), dtype.name(), shape)).or_default();
        group.push(name.split('.').filter_map(number).collect());
    }
    let components = groups.into_iter().map(|((_, pattern, dtype, shape), numbers)| {
        let parameters = numbers.len() as u64 * shape.iter().product::<usize>() as u64;
        let (name, tensors) = (numbered(&pattern, &numbers), numbers.len());
        Component { name, dtype, shape: shape.clone(), tensors, parameters }
    });
    components.collect()
}

/// Replaces each star by the tensors' numbers: `model.layers.{0..27}.mlp.up_proj.weight`.
fn numbered(pattern: &str, numbers: &[Vec<usize>]) -> String {
    let mut parts = pattern.split('*');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for (star, part) in parts.enumerate() {
        let set: BTreeSet<usize> = numbers.iter().map(|numbers| numbers[star]).collect();
        let runs = runs(&set);
        name.extend(if set.len() == 1 { ["", &runs, "", part] } else { ["{", &runs, "}", part] });
    }
    name
}

/// Formats numbers as ranges: `0..27`, or `0..3,8,10..11` with gaps.
fn runs(set: &BTreeSet<usize>) -> String {
    let mut runs: Vec<[usize; 2]> = Vec::new();
    for number in set {
        match runs.last_mut() {
            Some([_, last]) if *last + 1 == *number => *last = *number,
            _ => runs.push([*number; 2]),
        }
    }
    let text = |[first, last]: &[usize; 2]| if first == last { first.to_string() } else { format!("{first}..{last}") };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn numbers_of_a_name_are_collapsed() {
        let all = |numbers: &[&[usize]]| numbers.iter().map(|numbers| numbers.to_vec()).collect::<Vec<_>>();
        assert_eq!(numbered("norm.weight", &all(&[&[]])), "norm.weight");
        assert_eq!(numbered("h.*.w", &all(&[&[0], &[1], &[2]])), "h.{0..2}.w");
        assert_eq!(numbered("h.*.w", &all(&[&[7]])), "h.7.w");
        assert_eq!(numbered("h.*.e.*.w", &all(&[&[0, 1], &[2, 1], &[3, 1], &[5, 1]])), "h.{0,2..3,5}.e.1.w");
    }
}
