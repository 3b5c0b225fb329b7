//! Proves that an engine holds the weights that it was given, by the hashes of its parameters.
//!
//! vLLM tells the SHA-256 of each parameter's bytes. Some of its parameters are tensors of the checkpoint, or several of
//! them under each other; their hashes are computed from the file, too, and must be equal. Other parameters have another
//! form (a part for each GPU, another order): these are set to zero before each load and must not be zero after it.

use merge_core::model::{Meta, Weights, dtype::Dtype, hash::hex};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// SHA-256 of no byte: the engine keeps the parameter's bytes where it cannot hash them.
const HIDDEN: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Hashes by parameter: `dp0:pp0:pcp0:tp0:model.norm.weight` and its SHA-256 in hexadecimal.
pub(super) type Hashes = BTreeMap<String, String>;

/// What can be proved of an engine's parameters.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Hashes of the parameters that the engine shows and that are not zero in its own model, while all are zero.
    zeros: Hashes,
    /// Number of parameters that it hides, and of all.
    hidden: (usize, usize),
    /// Parameters whose hashes can be computed from a checkpoint; `None` until a checkpoint was compared.
    exact: Option<BTreeSet<String>>,
}

impl Proof {
    /// What an engine can prove whose own model has the hashes `own`, and `zeros` when it was zeroed. `files` computes
    /// hashes from its own model's files, if these can be read.
    pub(super) fn new(own: &Hashes, zeros: Hashes, files: Option<impl FnOnce(&[&str]) -> Hashes>) -> Self {
        let hidden = own.values().filter(|hash| *hash == HIDDEN).count();
        let shows = |name: &String, zero: &String| zero != HIDDEN && own.get(name).is_some_and(|own| own != zero);
        let zeros: Hashes = zeros.into_iter().filter(|(name, zero)| shows(name, zero)).collect();
        let shown = own.iter().filter(|(_, hash)| *hash != HIDDEN).map(|(name, _)| name.as_str());
        let exact = files.map(|files| equal(own, &files(&shown.collect::<Vec<_>>())));
        // An engine whose files say nothing of its parameters may still tell something of a candidate's.
        Self { zeros, hidden: (hidden, own.len()), exact: exact.filter(|exact| !exact.is_empty()) }
    }

    /// Number of hidden parameters and of all, if any is hidden.
    pub(super) fn hidden(&self) -> Option<(usize, usize)> {
        Some(self.hidden).filter(|(hidden, _)| *hidden > 0)
    }

    /// Checks the hashes `found` after a load. `expected` computes hashes of parameters from the file that was loaded, as
    /// far as their names tell what they are made of.
    ///
    /// The first load over zeros tells which of these computations are right for the engine; from then on they must be.
    /// Returns what is wrong.
    pub(super) fn check(&mut self, found: &Hashes, expected: impl Fn(&[&str]) -> Hashes) -> Result<(), String> {
        let lost = self.zeros.iter().filter(|(name, zero)| found.get(*name).is_none_or(|hash| hash == *zero));
        let mut lost: Vec<&str> = lost.map(|(name, _)| name.as_str()).collect();
        if !lost.is_empty() {
            // A tensor of the file may be zero, in whatever form the engine keeps it.
            let zero = equal(found, &expected(&lost));
            lost.retain(|name| !zero.contains(*name));
        }
        if let Some(first) = lost.first() {
            return Err(format!(
                "{} of its {} parameters were not loaded, among them {first}",
                lost.len(),
                self.hidden.1
            ));
        }
        let Some(exact) = &self.exact else {
            let found = equal(found, &expected(&self.zeros.keys().map(String::as_str).collect::<Vec<_>>()));
            if found.is_empty() {
                return Err("none of its parameters has the bytes of the file".to_owned());
            }
            self.exact = Some(found);
            return Ok(());
        };
        let now = equal(found, &expected(&exact.iter().map(String::as_str).collect::<Vec<_>>()));
        match exact.difference(&now).next() {
            Some(other) => Err(format!("{other} has other bytes than the file")),
            None => Ok(()),
        }
    }
}

/// Parameters with the same hash in both.
fn equal(found: &Hashes, expected: &Hashes) -> BTreeSet<String> {
    let same = expected.iter().filter(|(name, hash)| found.get(*name) == Some(hash));
    same.map(|(name, _)| name.clone()).collect()
}

/// Hashes of an engine's parameters, computed from a checkpoint, if the parameters' names tell what they are made of.
///
/// `dtype` is the type in which the engine keeps them; without it, that of the file.
pub(super) fn expected(weights: &dyn Weights, parameters: &[&str], dtype: Option<Dtype>) -> Hashes {
    let hash = |parameter: &&str| Some(((*parameter).to_owned(), hash(weights, &tensors_of(parameter), dtype)?));
    parameters.par_iter().filter_map(hash).collect()
}

/// Rows of an embedding that vLLM makes of a vocabulary: a multiple of this, the last of zeros.
const PADDED_TO: usize = 64;

/// The hash of tensors under each other, as an engine keeps them.
fn hash(weights: &dyn Weights, names: &[String], dtype: Option<Dtype>) -> Option<String> {
    let mut hash = Sha256::new();
    for name in names {
        let Meta { dtype: stored, shape } = weights.index().get(name)?;
        let kept = dtype.filter(|_| stored.is_float()).unwrap_or(*stored);
        let tensor = weights.tensor(name).ok()?;
        let mut values = vec![0.0; (1 << 16).min(tensor.len())];
        let mut bytes = vec![0; values.len() * kept.size()];
        for start in (0..tensor.len()).step_by(values.len().max(1)) {
            let len = values.len().min(tensor.len() - start);
            let out = &mut bytes[..len * kept.size()];
            if kept == *stored {
                tensor.copy(start, out).ok()?;
            } else {
                tensor.read(start, &mut values[..len]).ok()?;
                kept.narrow(&values[..len], out);
            }
            hash.update(&out);
        }
        let is_vocabulary = name.ends_with("embed_tokens.weight") || name.ends_with("lm_head.weight");
        if let (true, [rows, width]) = (is_vocabulary, &shape[..]) {
            let missing = rows.next_multiple_of(PADDED_TO) - rows;
            hash.update(vec![0; missing * width * kept.size()]);
        }
    }
    Some(hex(&hash.finalize()))
}

/// Tensors of a checkpoint that a parameter of vLLM is made of, under each other. It joins projections that have the same
/// input.
fn tensors_of(parameter: &str) -> Vec<String> {
    // The prefix numbers the process: `dp0:pp0:pcp0:tp0:`.
    let name = parameter.rsplit(':').next().unwrap_or(parameter);
    let joined = [("qkv_proj", &["q_proj", "k_proj", "v_proj"][..]), ("gate_up_proj", &["gate_proj", "up_proj"][..])];
    for (one, parts) in joined {
        if let Some((before, after)) = name.split_once(&format!(".{one}.")) {
            return parts.iter().map(|part| format!("{before}.{part}.{after}")).collect();
        }
    }
    vec![name.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(all: &[(&str, &str)]) -> Hashes {
        all.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect()
    }

    /// `a` and `b` are as in the file, `c` has a form of its own, `d` is hidden, and `z` is zero in the engine's own model.
    fn proof() -> Proof {
        let own = hashes(&[("a", "a0"), ("b", "b0"), ("c", "c0"), ("d", HIDDEN), ("z", "0")]);
        Proof::new(&own, zeros(), None::<fn(&[&str]) -> Hashes>)
    }

    fn zeros() -> Hashes {
        hashes(&[("a", "0"), ("b", "0"), ("c", "0"), ("d", HIDDEN), ("z", "0")])
    }

    #[track_caller]
    fn check(proof: &mut Proof, found: [&str; 3], file: [&str; 3], wrong: Option<&str>) {
        let found = hashes(&[("a", found[0]), ("b", found[1]), ("c", found[2]), ("d", HIDDEN), ("z", "0")]);
        let file = hashes(&[("a", file[0]), ("b", file[1]), ("c", file[2])]);
        let checked = proof.check(&found, |names| {
            file.clone().into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect()
        });
        assert_eq!(checked.err().as_deref(), wrong);
    }

    #[test]
    fn weights_are_those_of_the_file_or_are_refused() {
        let mut proof = proof();
        assert_eq!(proof.hidden(), Some((1, 5)));
        check(&mut proof, ["a1", "b1", "x1"], ["a1", "b1", "c1"], None);
        check(&mut proof, ["a2", "b2", "x2"], ["a2", "b2", "c2"], None);
        // The old weights, of one parameter or of all.
        check(&mut proof, ["a2", "b3", "x3"], ["a3", "b3", "c3"], Some("a has other bytes than the file"));
        check(&mut proof, ["a2", "b2", "x2"], ["a3", "b3", "c3"], Some("a has other bytes than the file"));
        // A parameter that no file tells was not loaded.
        let lost = "1 of its 5 parameters were not loaded, among them c";
        check(&mut proof, ["a3", "b3", "0"], ["a3", "b3", "c3"], Some(lost));
    }

    #[test]
    fn a_part_that_is_not_loaded_the_first_time_is_noticed_too() {
        let lost = "2 of its 5 parameters were not loaded, among them b";
        check(&mut proof(), ["a1", "0", "0"], ["a1", "b1", "c1"], Some(lost));
    }

    #[test]
    fn old_weights_are_noticed_the_first_time_too() {
        check(
            &mut proof(),
            ["a0", "b0", "c0"],
            ["a1", "b1", "c1"],
            Some("none of its parameters has the bytes of the file"),
        );
        // With the files of the engine's own model it is known from the beginning what can be compared.
        let own = hashes(&[("a", "a0"), ("b", "b0"), ("c", "c0"), ("d", HIDDEN), ("z", "0")]);
        let files = |_: &[&str]| hashes(&[("a", "a0"), ("b", "b0"), ("c", "another form")]);
        let mut proof = Proof::new(&own, zeros(), Some(files));
        check(&mut proof, ["a0", "b1", "c1"], ["a1", "b1", "c1"], Some("a has other bytes than the file"));
        check(&mut proof, ["a1", "b1", "c1"], ["a1", "b1", "another form"], None);
    }

    #[test]
    fn a_tensor_of_zeros_is_loaded_too() {
        let mut proof = proof();
        check(&mut proof, ["a1", "b1", "x1"], ["a1", "b1", "c1"], None);
        check(&mut proof, ["a2", "b2", "0"], ["a2", "b2", "0"], None);
        check(&mut proof, ["a3", "0", "x3"], ["a3", "0", "c3"], None);
    }

    #[test]
    fn joined_projections_are_found_by_name() {
        let check = |parameter: &str, tensors: &[&str]| assert_eq!(tensors_of(parameter), tensors);
        check("dp0:pp0:pcp0:tp0:model.norm.weight", &["model.norm.weight"]);
        let attention = ["q", "k", "v"].map(|part| format!("model.layers.1.self_attn.{part}_proj.bias"));
        check("tp0:model.layers.1.self_attn.qkv_proj.bias", &attention.each_ref().map(String::as_str));
        let mlp = ["model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"];
        check("model.layers.0.mlp.gate_up_proj.weight", &mlp);
    }
}
