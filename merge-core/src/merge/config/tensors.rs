//! Corrects a configuration where its tensors contradict it on vocabulary and head.

use crate::model::{
    Config, Index,
    layers::{embeddings, is_numbered},
};

/// Names of embeddings of tokens, not of positions.
const OF_TOKENS: [&str; 5] = ["embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings"];
/// Names of output heads.
const HEADS: [&str; 3] = ["lm_head.weight", "embed_out.weight", "output.weight"];

/// Corrects the size of the vocabulary if embedding and head agree on another, and notes a missing
/// head. `name` is the model of the configuration.
pub(super) fn correct(config: &mut Config, index: &Index, name: &str) -> Vec<String> {
    let all = embeddings(index);
    let is_of_tokens =
        |name: &&String| OF_TOKENS.iter().any(|part| name.contains(part)) && index[*name].shape.len() == 2;
    let is_head = |name: &&String| HEADS.iter().any(|head| name == head || name.ends_with(&format!(".{head}")));
    let heads: Vec<&String> = index.keys().filter(|name| !is_numbered(name)).filter(is_head).collect();
    let Some(embedding) = all.iter().find(is_of_tokens) else { return Vec::new() };
    let shape = &index[embedding].shape;
    let mut notes = Vec::new();
    let rows = |name: &&String| index[*name].shape.first() == shape.first();
    if all.iter().filter(is_of_tokens).chain(heads.iter().copied()).all(|name| rows(&name)) {
        notes.extend(resize(config, shape[0], name));
    }
    let is_like = |name: &&String| !is_numbered(name) && !all.contains(name) && index[*name].shape == *shape;
    if heads.is_empty() && wants_head(config) && !index.keys().any(|name| is_like(&name)) {
        notes.push(format!(
            "`{name}`: config.json: tie_word_embeddings is false, and no output head is among the tensors: loaders begin with a random one"
        ));
    }
    notes
}

/// Sets `vocab_size` to the number of rows, unless some value in the configuration is that number.
fn resize(config: &mut Config, rows: usize, name: &str) -> Option<String> {
    let is_said =
        config.blocks().iter().any(|(_, block)| block.values().any(|value| value.as_u64() == Some(rows as u64)));
    let depth = (0..config.blocks().len()).rev().find(|depth| config.blocks()[*depth].1.contains_key("vocab_size"))?;
    let size = config.block_mut(depth).get_mut("vocab_size").filter(|size| size.is_u64() && !is_said)?;
    let was = std::mem::replace(size, rows.into());
    Some(format!(
        "`{name}`: config.json: vocab_size is {was}, and the embedding has {rows} rows: the result says {rows}"
    ))
}

/// True if a configuration says that a language model has a head of its own.
fn wants_head(config: &Config) -> bool {
    let blocks = config.blocks();
    let mut tied = blocks.iter().filter_map(|(_, block)| block.get("tie_word_embeddings")?.as_bool()).peekable();
    let class = config.0.get("architectures").and_then(|list| list.get(0)?.as_str()).unwrap_or_default();
    tied.peek().is_some()
        && !tied.any(|tied| tied)
        && ["ForCausalLM", "LMHeadModel"].iter().any(|end| class.ends_with(end))
}
